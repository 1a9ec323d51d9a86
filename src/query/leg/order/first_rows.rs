//! The first rows of a part in order, collected batch by batch.

use roaring::RoaringBitmap;

use super::sort_key::KeyBytes;
use crate::error::{Error, Result};
use crate::query::leg::ranking::{PartRanking, split_ties};

/// The most bytes of keys that a part may hold at a time.
const KEY_BYTES_MAX: usize = 256 << 20;

/// Collects the first `depth` rows in order, and all rows that tie with the last of them.
#[derive(Debug)]
pub(super) struct FirstRows {
    depth: usize,
    /// Rows before the ties; since the last [`Self::prune`], in no order and more than are wanted.
    ahead: Vec<(KeyBytes, u32)>,
    /// Rows that tie with row number `depth`. Nothing behind them can be among the first.
    tied: Option<(KeyBytes, RoaringBitmap)>,
}

impl FirstRows {
    pub(super) fn new(depth: usize) -> Self {
        Self { depth, ahead: Vec::new(), tied: None }
    }

    pub(super) fn push(&mut self, key: Vec<u8>, row: u32) {
        match &mut self.tied {
            Some((last, _)) if *key > **last => {}
            Some((last, tied)) if *key == **last => drop(tied.insert(row)),
            _ => self.ahead.push((key.into(), row)),
        }
    }

    /// Sorts what was pushed, and drops what is not among the first.
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded) if the keys of the first rows take too much memory.
    pub(super) fn prune(&mut self) -> Result<()> {
        self.ahead.sort_unstable();
        if let Some((last, ties)) = split_ties(&mut self.ahead, self.depth) {
            match &mut self.tied {
                Some((key, rows)) if *key == last => rows.extend(ties),
                // Nearer ties: the former ones are behind the first rows now.
                _ => self.tied = Some((last, ties.into_iter().collect())),
            }
        }
        let bytes = self.ahead.iter().map(|(key, _)| key.len()).fold(0, usize::saturating_add);
        if bytes > KEY_BYTES_MAX {
            return Err(Error::limit(format!(
                "the values of an order are too large: those of the hits take at most {KEY_BYTES_MAX} bytes, ask for fewer"
            )));
        }
        Ok(())
    }

    /// What was collected, after the last [`Self::prune`].
    pub(super) fn into_ranking(self) -> PartRanking<KeyBytes> {
        PartRanking { ahead: self.ahead, tied: self.tied }
    }
}
