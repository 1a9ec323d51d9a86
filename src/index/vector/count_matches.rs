//! Counting how many codes of each cluster match a filter, with as few reads as possible.
//!
//! Where the rows of a record are a run, its matches are a range count over the filter, without a read. Where any
//! records list their rows, the owners of the matching rows are read: the entry that each row of the segment is in.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::index::VectorIndex;
use super::match_counts::MatchCounts;
use super::section::{OWNERS, RecordEntry, read_owners};
use crate::cache::Span;
use crate::codec::{CodecError, all_rows, subtract_rows, usize_of, zip_equal};
use crate::error::{Error, Result};

/// Blocks of owners that are read before it is known whether they are needed: 1 MiB.
const AHEAD: usize = 4;
/// Blocks of owners that are read at a time: 4 MiB.
const TOGETHER: usize = 16;

impl VectorIndex {
    /// Counts the matches of each cluster. Where records list their rows, at most 4 bytes are read for each row of the
    /// segment, in one round trip per million rows.
    pub(crate) async fn count_matches(&self, matching: &Arc<RoaringBitmap>) -> Result<MatchCounts> {
        let entries = &self.section.entries;
        let mut counts = if entries.iter().any(RecordEntry::is_listed) {
            MatchCounts::of_rows(Arc::clone(matching), self.count_owned_rows(matching).await?)
        } else {
            MatchCounts::of_runs(Arc::clone(matching), entries.len())
        };
        let copies = (0..).zip(entries).filter(|(_, entry)| entry.is_of_copies());
        // All matching rows of a record of copies but one have no code of their own; of none, none have.
        let without_code = |(number, entry)| counts.matching_rows(number, entry).saturating_sub(1);
        let without_code: u64 = copies.map(without_code).sum();
        let coded = matching.len() - matching.intersection_len(&self.section.loose);
        counts.codes = coded.checked_sub(without_code).ok_or_else(|| self.inconsistent())?;
        Ok(counts)
    }

    /// Reads what [`Self::count_matches`] may need, if it is not much. While the filter is evaluated, that costs no round trip of
    /// its own.
    pub(crate) async fn read_owners(&self) -> Result<()> {
        if self.section.owners.len() <= AHEAD {
            self.blob.read_many(&self.section.owners).await?;
        }
        Ok(())
    }

    /// The matching rows of each entry, by the owners of the rows that match, or of those that do not.
    async fn count_owned_rows(&self, matching: &RoaringBitmap) -> Result<Vec<u32>> {
        // A filter that most rows pass is counted by the rows that it rejects: fewer of them, in fewer blocks.
        let is_selective = matching.len() <= u64::from(self.rows / 2);
        let start = |entry: &RecordEntry| if is_selective { 0 } else { entry.rows };
        let mut counts: Vec<u32> = self.section.entries.iter().map(start).collect();
        let rejected = (!is_selective).then(|| subtract_rows(&all_rows(self.rows), matching));
        let rows = rejected.as_ref().unwrap_or(matching);
        let starts = (0..self.rows).step_by(usize_of(OWNERS));
        let blocks = zip_equal(starts, &self.section.owners, "rows and their owners")?;
        let range = |start: u32| start..start.saturating_add(OWNERS);
        let wanted = blocks.filter(|(start, _)| rows.range_cardinality(range(*start)) > 0);
        let wanted: Vec<(u32, &Span)> = wanted.collect();
        // Some at a time: of a large segment, all owners are more memory than the query is allowed.
        for blocks in wanted.chunks(TOGETHER) {
            let spans: Vec<Span> = blocks.iter().map(|(_, span)| (*span).clone()).collect();
            let bytes = self.blob.read_many(&spans).await?;
            for ((start, _), block) in zip_equal(blocks, bytes, "blocks of owners and their bytes")? {
                for entry in read_owners(&block, *start, rows.range(range(*start))) {
                    let count = counts.get_mut(entry.map_err(|e| e.at(self.blob.key()))?);
                    let count = count.ok_or_else(|| self.inconsistent())?;
                    let counted = if is_selective { count.checked_add(1) } else { count.checked_sub(1) };
                    *count = counted.ok_or_else(|| self.inconsistent())?;
                }
            }
        }
        Ok(counts)
    }

    #[cold]
    fn inconsistent(&self) -> Error {
        CodecError::malformed("vector index", "its owners contradict its entries").at(self.blob.key())
    }
}
