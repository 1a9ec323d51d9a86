//! The memtable: the entries newer than what the manifest covers, as layers that hide everything older.
//!
//! A [`Layer`] is [`MemRows`], rows and deletes in memory, or a segment that an entry links. Layers are immutable and
//! shared, so a snapshot of the memtable is a copy of a few pointers; a skip list, as other LSM stores have, would need
//! versions of each row instead. Neighbouring small layers are merged, so that their number grows with the logarithm of
//! the entries.
//!
//! **Invariant:** layers are in the order of the log; of two rows with one id the row of the newer layer counts.

mod layer;
mod mem_rows;

pub(crate) use layer::{Layer, PartId, PartSource};
pub(crate) use mem_rows::{MemRows, batch_bytes};

use std::sync::Arc;

use crate::error::Result;
use crate::types::Sequence;

/// Layers are merged up to this size. A merge copies both layers under the lock of the state, and a writer waits for
/// it: it has to be short beside the put of an entry, which takes tens of milliseconds.
const MERGED_BYTES_MAX: usize = 4 << 20;

/// Layers in the order of the log, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memtable {
    layers: Vec<Arc<Layer>>,
    /// The newest entry that a flush has begun to write.
    flushing: Sequence,
}

impl Memtable {
    pub(crate) fn layers(&self) -> &[Arc<Layer>] {
        &self.layers
    }

    /// The bytes in memory, and of linked segments.
    pub(crate) fn bytes(&self) -> usize {
        // Summed anew each time: there are few layers, and a counter would have to follow merges and flushes.
        self.layers.iter().map(|layer| layer.bytes()).sum()
    }

    /// Adds a layer at the end, and merges small layers there.
    pub(crate) fn push(&mut self, layer: Layer) -> Result<()> {
        let mut layer = layer;
        // Layers that are being flushed are left alone. Merged with a newer one, such a layer would outlive the flush,
        // and its rows would be written to a second segment.
        while let Some(last) = self.layers.last().filter(|last| last.last_sequence() > self.flushing) {
            let Some(merged) = last.merge(&layer, MERGED_BYTES_MAX)? else { break };
            layer = merged;
            self.layers.pop();
        }
        self.layers.push(Arc::new(layer));
        Ok(())
    }

    /// Records that a flush of all entries up to `through` begins.
    pub(crate) fn begin_flush(&mut self, through: Sequence) {
        self.flushing = self.flushing.max(through);
    }

    /// Drops the layers that the manifest covers. A layer that reaches beyond it stays whole: its older rows repeat what
    /// the segments hold, and hide it, so no read changes.
    pub(crate) fn drop_through(&mut self, flushed: Sequence) {
        self.layers.retain(|layer| layer.last_sequence() > flushed);
    }
}
