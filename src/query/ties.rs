//! Rows that are as good as each other: which of them come first when more tie than are wanted.
//!
//! Rows of an indexed segment lie in the order of its clusters, so a cut by row would keep any of them, and others
//! after the next compaction. Here ties are cut by the ids of the documents, of which there is one order.

use roaring::RoaringBitmap;

use crate::error::Result;
use crate::schema::{Ids, Schema};
use crate::types::DocumentId;
use crate::view::{Part, RowAddr, View};

/// How many more rows than its depth a leg of several keeps for being as good as the last: those with the least ids.
pub(super) const TIES_MAX: usize = 4_096;

/// The number of a part, and rows of it that tie under a key.
pub(super) type Tied = (usize, f64, RoaringBitmap);

/// Rows of a part with what ranks them, before ties are cut.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranked {
    /// Those that are better than the last that is wanted, best first.
    pub(super) sure: Vec<(f64, u32)>,
    /// Those that are as good as the last, with their key: more than are wanted, perhaps.
    pub(super) tied: Option<(f64, RoaringBitmap)>,
}

impl Ranked {
    /// Of rows in order of their keys, all that tie with the last of the first `limit` among them.
    pub(super) fn of(mut rows: Vec<(f64, u32)>, limit: usize) -> Self {
        let Some(last) = limit.min(rows.len()).checked_sub(1).and_then(|last| rows.get(last)) else {
            return Self::default();
        };
        let key = last.0;
        let start = rows.iter().position(|(other, _)| other.total_cmp(&key).is_eq()).unwrap_or_default();
        let tied = rows.split_off(start).into_iter().take_while(|(other, _)| other.total_cmp(&key).is_eq());
        let tied = tied.map(|(_, row)| row).collect();
        Self { sure: rows, tied: Some((key, tied)) }
    }

    /// The rows that tie, with their key, if a cut after `count` leaves some of them out.
    pub(super) fn parted(&self, count: usize) -> Option<(f64, RoaringBitmap)> {
        let left = count.saturating_sub(self.sure.len()) as u64;
        self.tied.as_ref().filter(|(_, tied)| tied.len() > left).cloned()
    }

    /// The first `count` of these rows of a part: of those that tie, the ones with the least ids. Best first, ties by row.
    pub(super) async fn cut(self, part: &Part, schema: &Schema, count: usize) -> Result<Vec<(f64, u32)>> {
        let Self { sure: mut rows, tied } = self;
        rows.truncate(count);
        if let Some((key, tied)) = tied {
            let tied = part.select_smallest_ids(schema, &tied, count - rows.len()).await?;
            rows.extend(tied.into_iter().map(|row| (key, row)));
        }
        Ok(rows)
    }

    /// With more rows that tie with the last.
    pub(super) fn with(mut self, more: RoaringBitmap) -> Self {
        if let Some((_, tied)) = &mut self.tied {
            *tied |= more;
        }
        self
    }
}

impl View {
    /// The first `count` of the places that parts found, which lie in order of their keys: of those that tie with the
    /// last, the ones with the least ids.
    pub(super) async fn cut(
        &self,
        mut found: Vec<(f64, RowAddr)>,
        count: usize,
    ) -> Result<Vec<(f64, RowAddr)>> {
        if found.len() <= count {
            return Ok(found);
        }
        let Some(last) = count.checked_sub(1).and_then(|last| found.get(last)).map(|(key, _)| *key) else {
            return Ok(Vec::new());
        };
        let equals_last = |other: &(f64, RowAddr)| other.0.total_cmp(&last).is_eq();
        let start = found.iter().position(equals_last).unwrap_or_default();
        let mut tied = found.split_off(start);
        tied.truncate(tied.iter().take_while(|other| equals_last(other)).count());
        let wanted = count - start;
        if tied.len() > wanted {
            let places: Vec<RowAddr> = tied.iter().map(|(_, place)| *place).collect();
            let batch = self.fetch_documents(&places, &[]).await?;
            let ids = Ids::new(self.schema.id(), batch.column(0))?;
            let mut order: Vec<(DocumentId, RowAddr)> =
                places.into_iter().enumerate().map(|(at, place)| (ids.get(at), place)).collect();
            order.sort_unstable();
            order.truncate(wanted);
            tied = order.into_iter().map(|(_, place)| (last, place)).collect();
            tied.sort_unstable_by_key(|(_, place)| *place);
        }
        found.append(&mut tied);
        Ok(found)
    }
}
