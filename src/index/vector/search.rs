//! Searching the records of an index for rows that may be among the nearest.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use roaring::RoaringBitmap;

use super::index::VectorIndex;
use super::query::{AllowedRows, QuantizedQuery, RecordSource, RowCandidate, Shortlist};
use super::read_plan::{ReadPlan, ReadWindow};
use super::record::ClusterRecord;
use super::section::RecordEntry;
use crate::codec::{CodecError, u64_of, usize_of, zip_equal};
use crate::env::{Cost, Env};
use crate::error::{Error, Result};

const WHAT: &str = "cluster record";

/// The rows that a search may find: all without a filter.
#[derive(Clone, Debug)]
pub(crate) struct RowFilter {
    matching: Arc<RoaringBitmap>,
    /// The same as bits, for the rows of the clusters that are searched.
    // A scan tests 32 rows at a time. A bitmap would have to look up its container for each.
    bits: Arc<[u64]>,
}

impl RowFilter {
    /// What it takes in memory, besides the rows that match.
    pub(crate) fn resident_bytes(&self) -> u64 {
        u64_of(size_of_val::<[u64]>(&self.bits))
    }
}

/// A search of indexes in progress: of the segments of one centroid set.
// One list for all of them: what was found in one segment rules out rows of the others.
#[derive(Debug)]
pub(crate) struct SearchState {
    list: Shortlist,
    found: SearchResult,
}

/// What a search of indexes found.
#[derive(Debug, Default)]
pub(crate) struct SearchResult {
    /// Rows that may be among the nearest, the most likely first.
    pub(crate) candidates: Vec<RowCandidate>,
    /// The candidates that represent all rows with their vector.
    pub(crate) copies: Vec<FoundCopies>,
    /// Codes that were scanned, by the number of the segment.
    pub(crate) scanned: BTreeMap<u32, u64>,
}

/// Rows of a segment that have one vector.
#[derive(Debug)]
pub(crate) struct FoundCopies {
    /// The number of their segment among those of the search.
    pub(crate) segment: u32,
    /// The candidate that stands for them.
    pub(crate) candidate: u32,
    pub(crate) rows: RoaringBitmap,
}

impl SearchState {
    /// A search for the `limit` nearest.
    pub(crate) fn new(limit: usize) -> Self {
        Self { list: Shortlist::new(limit), found: SearchResult::default() }
    }

    /// The rows that were found so far in the segments that count, including those that are certainly not among the nearest
    /// by now.
    pub(crate) fn count_rows(&self, counts: impl Fn(u32) -> bool) -> u64 {
        let copies = self.found.copies.iter().filter(|copies| counts(copies.segment));
        let copies: u64 = copies.map(|copies| copies.rows.len() - 1).sum();
        u64_of(self.list.count(|candidate| counts(candidate.source.segment))) + copies
    }

    /// The `count` best estimates of distances, and the clusters of these rows.
    pub(crate) fn best_estimates(&self, count: usize) -> Vec<(f64, u32)> {
        self.list.best_estimates(count)
    }

    /// The rows that are in question for the `limit` nearest; no more than the search was made for.
    pub(crate) fn finish(self, limit: usize) -> SearchResult {
        SearchResult { candidates: self.list.finish(limit), ..self.found }
    }
}

impl VectorIndex {
    /// The matching rows of the clusters of a plan, in the form that a scan needs.
    pub(crate) fn filter_rows(&self, plan: &ReadPlan, matching: &Arc<RoaringBitmap>) -> Result<RowFilter> {
        let entries = || plan.windows.iter().flat_map(|window| &window.entries);
        if entries().any(RecordEntry::is_listed) {
            return self.filter_all_rows(matching);
        }
        // Only the rows that will be scanned: a filter may match millions of others.
        let runs = entries().filter_map(RecordEntry::run);
        self.make_filter(matching, runs.flat_map(|run| matching.range(run)))
    }

    /// The matching rows of all clusters.
    pub(crate) fn filter_all_rows(&self, matching: &Arc<RoaringBitmap>) -> Result<RowFilter> {
        self.make_filter(matching, matching.iter())
    }

    fn make_filter(
        &self,
        matching: &Arc<RoaringBitmap>,
        rows: impl Iterator<Item = u32>,
    ) -> Result<RowFilter> {
        let mut bits = vec![0_u64; usize_of(self.rows.div_ceil(64))];
        for row in rows {
            let word = bits.get_mut(usize_of(row / 64));
            *word.ok_or_else(|| Error::internal("a filter has a row beyond the last"))? |= 1 << (row % 64);
        }
        Ok(RowFilter { matching: Arc::clone(matching), bits: bits.into() })
    }

    /// Looks for rows that may be among the nearest in the records of a window. `segment` is the number of this index in the
    /// search.
    pub(crate) async fn scan_records(
        &self,
        env: &Env,
        query: &Arc<QuantizedQuery>,
        segment: u32,
        (window, records): (ReadWindow, Vec<Bytes>),
        filtered: Option<RowFilter>,
        state: SearchState,
    ) -> Result<SearchState> {
        let codes: u64 = window.entries.iter().map(|entry| u64::from(entry.codes)).sum();
        let cost = Cost::code_dimensions(codes.saturating_mul(u64_of(self.set.space().padded())));
        let (this, query) = (self.clone(), Arc::clone(query));
        let work = move || {
            let mut state = state;
            for (entry, bytes) in zip_equal(&window.entries, &records, "records and their bytes")? {
                let scanned =
                    this.scan_record(&query, segment, (entry, bytes), filtered.as_ref(), &mut state);
                scanned.map_err(|e| e.at(this.blob.key()))?;
            }
            *state.found.scanned.entry(segment).or_default() += codes;
            Ok(state)
        };
        env.compute(cost, work).await?
    }

    fn scan_record(
        &self,
        query: &QuantizedQuery,
        segment: u32,
        (entry, bytes): (&RecordEntry, &[u8]),
        filtered: Option<&RowFilter>,
        state: &mut SearchState,
    ) -> Result<(), CodecError> {
        let (set, space) = (&self.set, self.set.space());
        let (padded, bits) = (space.padded(), space.bits());
        if entry.is_of_copies() {
            return self.scan_copies(query, segment, (entry, bytes), filtered, state);
        }
        let record = ClusterRecord::new(padded, bits, entry.codes, entry.first, bytes)?;
        // Rows index the bits of a filter, and later the exact vectors of the segment.
        record.check_rows(self.rows)?;
        let allowed = AllowedRows(filtered.map(|filtered| filtered.bits.as_ref()));
        let source = RecordSource { segment, cluster: entry.cluster };
        query.scan_record(set, source, &record, allowed, &mut state.list);
        Ok(())
    }

    /// Scans the single code of a record of copies, for all of its rows that match.
    fn scan_copies(
        &self,
        query: &QuantizedQuery,
        segment: u32,
        (entry, bytes): (&RecordEntry, &[u8]),
        filtered: Option<&RowFilter>,
        state: &mut SearchState,
    ) -> Result<(), CodecError> {
        let (padded, bits) = (self.set.space().padded(), self.set.space().bits());
        let listed = if entry.is_listed() { 4 * usize_of(entry.rows) } else { 0 };
        let record_len = bytes.len().checked_sub(listed).ok_or(CodecError::Truncated { what: WHAT })?;
        let (record, listed) = bytes.split_at(record_len);
        let mut rows = RoaringBitmap::new();
        match entry.run() {
            Some(run) => {
                rows.insert_range(run);
            }
            None => rows.extend(listed.as_chunks().0.iter().map(|row| u32::from_le_bytes(*row))),
        }
        if rows.max().is_some_and(|row| row >= self.rows) {
            return Err(CodecError::malformed(WHAT, "a row beyond the last"));
        }
        if let Some(filtered) = filtered {
            rows &= filtered.matching.as_ref();
        }
        // One row stands for all in the shortlist: thousands of equal distances would displace every other candidate.
        let Some(first) = rows.min() else { return Ok(()) };
        let record = ClusterRecord::new(padded, bits, entry.codes, Some(first), record)?;
        let source = RecordSource { segment, cluster: entry.cluster };
        query.scan_record(&self.set, source, &record, AllowedRows(None), &mut state.list);
        state.found.copies.push(FoundCopies { segment, candidate: first, rows });
        Ok(())
    }
}
