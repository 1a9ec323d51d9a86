//! The memtable: the entries newer than what the manifest covers, as layers that hide everything older.
//!
//! A [`Layer`] is [`MemRows`], rows and deletes in memory, or a segment that an entry links. Layers are
//! immutable and shared: a snapshot of the memtable is a copy of a few pointers. Neighbouring small layers are merged,
//! so that their number grows with the logarithm of the entries.
//!
//! **Invariant:** layers are in the order of the log; of two rows with one id the newer layer's counts.

mod layer;
mod mem_rows;

pub(crate) use layer::{Layer, PartId, PartSource};
pub(crate) use mem_rows::{MemRows, batch_bytes};

use std::sync::Arc;

use crate::error::Result;
use crate::types::Sequence;

/// Layers are merged up to this size: a merge copies both, and a writer waits for it.
const MERGED_BYTES_MAX: usize = 4 << 20;

/// Layers in the order of the log, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memtable {
    layers: Vec<Arc<Layer>>,
    /// Up to here a flush is under way, or was.
    flushing: Sequence,
}

impl Memtable {
    pub(crate) fn layers(&self) -> &[Arc<Layer>] {
        &self.layers
    }

    /// The bytes in memory, and of linked segments.
    pub(crate) fn bytes(&self) -> usize {
        self.layers.iter().map(|layer| layer.bytes()).sum()
    }

    /// Adds a layer at the end, and merges small layers there.
    pub(crate) fn push(&mut self, layer: Layer) -> Result<()> {
        let mut layer = layer;
        // Once the flush is done, a layer that reaches over its end would be written a second time.
        while let Some(last) = self.layers.last().filter(|last| last.last() > self.flushing) {
            let Some(merged) = last.merge(&layer, MERGED_BYTES_MAX)? else { break };
            layer = merged;
            self.layers.pop();
        }
        self.layers.push(Arc::new(layer));
        Ok(())
    }

    /// Notes that a flush of everything up to an entry begins.
    pub(crate) fn begin_flush(&mut self, through: Sequence) {
        self.flushing = self.flushing.max(through);
    }

    /// Drops what the manifest covers. A layer that reaches beyond it stays whole: its
    /// entries give what the segments give.
    pub(crate) fn drop_through(&mut self, flushed: Sequence) {
        self.layers.retain(|layer| layer.last() > flushed);
    }
}
