//! Whether this version may write: nothing that it has read requires a feature of writers that it does not know.

use super::Engine;
use crate::codec::{CodecError, FeatureUser, check_feature_bits};
use crate::error::Result;
use crate::types::Sequence;
use crate::wal::EntryHead;

/// The unknown features that entries of the tail require of writers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TailFeatures {
    bits: u32,
    /// The last entry that requires one.
    sequence: Sequence,
}

impl TailFeatures {
    /// Adds what an entry requires.
    pub(super) fn apply_entry(&mut self, head: &EntryHead) {
        if head.write_features != 0 {
            *self = Self { bits: self.bits | head.write_features, sequence: head.sequence };
        }
    }

    /// Forgets the entries up to `flushed`. What still counts of them is in the manifest.
    pub(super) fn forget_through(&mut self, flushed: Sequence) {
        if self.sequence <= flushed {
            *self = Self::default();
        }
    }

    fn check(self) -> Result<(), CodecError> {
        check_feature_bits("log entry", FeatureUser::Writers, self.bits)
    }
}

impl Engine {
    /// Checks that this version may write to the namespace.
    ///
    /// # Errors
    /// `UnsupportedVersion`, which names the unknown features and what requires them.
    pub(crate) fn check_writable(&self) -> Result<()> {
        self.context.check_writable()?;
        self.incarnation.check_writable().map_err(|e| e.at(self.keys.open()))?;
        let state = self.state();
        let manifest = &state.manifest;
        manifest.check_writable().map_err(|e| e.at(self.keys.manifest(manifest.number)))?;
        let tail = state.tail_features;
        tail.check().map_err(|e| e.at(self.keys.entry(tail.sequence)))
    }
}
