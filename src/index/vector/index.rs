//! The index of a column of a segment: which clusters it has, where their records lie, and searching them.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use roaring::RoaringBitmap;

use super::centroids::CentroidSet;
use super::curve::RecallCurve;
use super::query::{AllowedRows, RowCandidate, Shortlist, VectorQuery};
use super::record::{ClusterRecord, length};
use super::section::{IndexSection, OWNERS, RecordEntry, owners};
use crate::cache::{Blob, Span};
use crate::codec::CodecError;
use crate::env::{Cost, Env};
use crate::error::Result;

/// Blocks of owners that are read before it is known whether they are needed: 1 MiB.
const AHEAD: usize = 4;
/// Blocks of owners that are read at a time: 4 MiB.
const TOGETHER: usize = 16;

/// The index of a column of a segment.
#[derive(Clone, Debug)]
pub(crate) struct VectorIndex {
    blob: Blob,
    set: Arc<CentroidSet>,
    section: Arc<IndexSection>,
    /// Rows of the segment.
    rows: u32,
    /// Codes in all clusters.
    codes: u64,
}

/// How many of the codes of each cluster match a filter.
#[derive(Debug)]
pub(crate) struct MatchCounts {
    matching: Arc<RoaringBitmap>,
    /// The matching rows of each entry, where some list theirs.
    rows: Option<Vec<u32>>,
    /// Codes that match, of all clusters.
    codes: u64,
}

/// The records that a search reads, the nearest first.
#[derive(Debug, Default)]
pub(crate) struct ReadPlan {
    /// The numbers of entries, as many as are held at a time, and the bytes of their records.
    pub(crate) windows: Vec<(Vec<usize>, u64)>,
    pub(crate) clusters: u64,
    pub(crate) bytes: u64,
}

/// The rows that a search may find: all without a filter.
#[derive(Clone, Debug)]
pub(crate) struct RowFilter {
    matching: Arc<RoaringBitmap>,
    /// The same as bits, of the rows of the clusters that are searched.
    bits: Arc<[u64]>,
}

/// A search of an index under way.
#[derive(Debug)]
pub(crate) struct SearchState {
    list: Shortlist,
    found: SearchResult,
}

/// What a search of an index found.
#[derive(Debug, Default)]
pub(crate) struct SearchResult {
    /// Rows that may be among the nearest, the most likely first.
    pub(crate) candidates: Vec<RowCandidate>,
    /// Candidates that stand for all rows with their vector, with these.
    pub(crate) copies: Vec<(u32, RoaringBitmap)>,
    /// Codes that were looked at.
    pub(crate) scanned: u64,
}

impl MatchCounts {
    /// Codes that match, of all clusters.
    pub(crate) fn codes(&self) -> u64 {
        self.codes
    }
}

impl SearchState {
    /// For the `limit` nearest.
    pub(crate) fn new(limit: usize) -> Self {
        Self { list: Shortlist::new(limit), found: SearchResult::default() }
    }

    /// The rows that were found so far, those included that are sure not to be among the nearest by now.
    pub(crate) fn rows(&self) -> u64 {
        let copies: u64 = self.found.copies.iter().map(|(_, rows)| rows.len() - 1).sum();
        self.list.len() as u64 + copies
    }

    /// The estimated distances of those that seem the nearest, at most so many, and the clusters they lie in.
    pub(crate) fn likeliest(&self, count: usize) -> Vec<(f64, u32)> {
        self.list.likeliest(count)
    }

    /// What is in question for the `limit` nearest, of as many as were looked for or fewer.
    pub(crate) fn finish(self, limit: usize) -> SearchResult {
        SearchResult { candidates: self.list.finish(limit), ..self.found }
    }
}

impl VectorIndex {
    /// Reads an index, which must be of a segment of `rows` rows whose file is `blob`.
    pub(crate) fn decode(
        blob: Blob,
        set: Arc<CentroidSet>,
        rows: u32,
        section: &[u8],
    ) -> Result<Self, CodecError> {
        let section = IndexSection::decode(section, (rows, blob.size()), (set.len(), set.space()))?;
        let codes = section.entries.iter().map(|entry| u64::from(entry.codes)).sum();
        Ok(Self { blob, set, section: Arc::new(section), rows, codes })
    }

    pub(crate) fn set(&self) -> &Arc<CentroidSet> {
        &self.set
    }

    pub(crate) fn curve(&self) -> &RecallCurve {
        &self.section.curve
    }

    /// Codes in all clusters.
    pub(crate) fn codes(&self) -> u64 {
        self.codes
    }

    /// Rows whose vectors have no code: every search compares them.
    pub(crate) fn loose(&self) -> &RoaringBitmap {
        &self.section.loose
    }

    /// About how many bytes all clusters hold.
    pub(crate) fn bytes(&self) -> u64 {
        let space = self.set.space();
        let codes = usize::try_from(self.codes).unwrap_or(usize::MAX);
        length(space.padded(), space.bits(), codes, false) as u64
    }

    /// Counts what of each cluster matches. Where records list their rows, at most 4 bytes are read for each row of the
    /// segment, in one round trip for each million.
    pub(crate) async fn tally(&self, matching: &Arc<RoaringBitmap>) -> Result<MatchCounts> {
        let entries = &self.section.entries;
        let mut tally = MatchCounts { matching: Arc::clone(matching), rows: None, codes: 0 };
        if entries.iter().any(RecordEntry::is_listed) {
            tally.rows = Some(self.count(matching).await?);
        }
        let copies = (0..).zip(entries).filter(|(_, entry)| entry.is_of_copies());
        let more: u64 = copies.map(|(at, entry)| tally.of(at, entry).saturating_sub(1)).sum();
        let coded = matching.len().saturating_sub(matching.intersection_len(&self.section.loose));
        tally.codes = coded.saturating_sub(more);
        Ok(tally)
    }

    /// Reads what [`Self::tally`] may need, if it is not much: whoever waits for the matches meanwhile saves a round trip.
    pub(crate) async fn read_owners(&self) -> Result<()> {
        if self.section.owners.len() <= AHEAD {
            self.blob.read_many(&self.section.owners).await?;
        }
        Ok(())
    }

    /// The matching rows of each entry, by the owners of the rows that match, or of those that do not.
    async fn count(&self, matching: &RoaringBitmap) -> Result<Vec<u32>> {
        let few = matching.len() <= u64::from(self.rows / 2);
        let all = |entry: &RecordEntry| if few { 0 } else { entry.rows };
        let mut counts: Vec<u32> = self.section.entries.iter().map(all).collect();
        let rest = (!few).then(|| {
            let mut all = RoaringBitmap::new();
            all.insert_range(0..self.rows);
            all - matching
        });
        let rows = rest.as_ref().unwrap_or(matching);
        let blocks = (0..self.rows).step_by(OWNERS as usize).zip(&self.section.owners);
        let wanted =
            |(start, _): &(u32, &Span)| rows.range_cardinality(*start..start.saturating_add(OWNERS)) > 0;
        let blocks: Vec<(u32, Span)> =
            blocks.filter(wanted).map(|(start, span)| (start, span.clone())).collect();
        for blocks in blocks.chunks(TOGETHER) {
            let spans: Vec<Span> = blocks.iter().map(|(_, span)| span.clone()).collect();
            for ((start, _), bytes) in blocks.iter().zip(self.blob.read_many(&spans).await?) {
                for entry in owners(&bytes, *start, rows.range(*start..start.saturating_add(OWNERS))) {
                    if let Some(count) = counts.get_mut(entry) {
                        *count = if few { *count + 1 } else { count.saturating_sub(1) };
                    }
                }
            }
        }
        Ok(counts)
    }

    /// How many codes of a cluster match.
    pub(crate) fn matches_of(&self, cluster: u32, tally: Option<&MatchCounts>) -> u64 {
        let matches = |(at, entry): (usize, &RecordEntry)| {
            let codes = u64::from(entry.codes);
            tally.map_or(codes, |tally| tally.of(at, entry).min(codes))
        };
        self.entries_of(cluster).map(matches).sum()
    }

    /// What is read of some clusters, given nearest first, no more than about so many bytes at a time.
    pub(crate) fn plan(&self, clusters: &[u32], tally: Option<&MatchCounts>, bytes_max: u64) -> ReadPlan {
        let mut plan = ReadPlan::default();
        for cluster in clusters {
            let wanted = self.entries_of(*cluster);
            let wanted = wanted.filter(|(at, entry)| tally.is_none_or(|tally| tally.of(*at, entry) > 0));
            let before = plan.bytes;
            for (at, entry) in wanted {
                let bytes = entry.bytes(self.set.space());
                plan.bytes += bytes;
                match plan.windows.last_mut() {
                    Some((window, held)) if *held + bytes <= bytes_max => {
                        window.push(at);
                        *held += bytes;
                    }
                    _ => plan.windows.push((vec![at], bytes)),
                }
            }
            plan.clusters += u64::from(plan.bytes > before);
        }
        plan
    }

    /// The matching rows of some clusters as a search asks for them.
    pub(crate) fn filtered(&self, plan: &ReadPlan, matching: &Arc<RoaringBitmap>) -> RowFilter {
        let mut bits = vec![0_u64; self.rows.div_ceil(64) as usize];
        let mut set = |row: u32| {
            if let Some(word) = bits.get_mut(row as usize / 64) {
                *word |= 1 << (row % 64);
            }
        };
        let entries = || plan.windows.iter().flat_map(|(window, _)| window).filter_map(|at| self.entry(*at));
        if entries().any(RecordEntry::is_listed) {
            matching.iter().for_each(&mut set);
        } else {
            entries().filter_map(RecordEntry::run).for_each(|run| matching.range(run).for_each(&mut set));
        }
        RowFilter { matching: Arc::clone(matching), bits: bits.into() }
    }

    /// The records of a window of a plan. One round trip.
    pub(crate) async fn read(&self, window: &[usize]) -> Result<Vec<Bytes>> {
        let spans = window.iter().filter_map(|at| self.entry(*at)).map(|entry| entry.span(self.set.space()));
        self.blob.read_many(&spans.collect::<Vec<_>>()).await
    }

    /// Looks for rows that may be among the nearest in the records of a window.
    pub(crate) async fn scan(
        &self,
        env: &Env,
        query: &Arc<VectorQuery>,
        (window, records): (Vec<usize>, Vec<Bytes>),
        filtered: Option<RowFilter>,
        hunt: SearchState,
    ) -> Result<SearchState> {
        let codes: u64 =
            window.iter().filter_map(|at| self.entry(*at)).map(|entry| u64::from(entry.codes)).sum();
        let cost = Cost::code_dimensions(codes.saturating_mul(self.set.space().padded() as u64));
        let (this, query) = (self.clone(), Arc::clone(query));
        let work = move || {
            let mut hunt = hunt;
            for (at, bytes) in window.iter().zip(&records) {
                if let Some(entry) = this.entry(*at) {
                    this.scan_one(&query, entry, bytes, filtered.as_ref(), &mut hunt)?;
                }
            }
            hunt.found.scanned += codes;
            Ok(hunt)
        };
        env.compute(cost, work).await?.map_err(|e: CodecError| e.at(self.blob.key()))
    }

    fn scan_one(
        &self,
        query: &VectorQuery,
        entry: &RecordEntry,
        bytes: &[u8],
        filtered: Option<&RowFilter>,
        hunt: &mut SearchState,
    ) -> Result<(), CodecError> {
        let (set, space) = (&self.set, self.set.space());
        let (padded, bits, codes, cluster) =
            (space.padded(), space.bits(), entry.codes as usize, entry.cluster as usize);
        if !entry.is_of_copies() {
            let record = ClusterRecord::new(padded, bits, codes, entry.is_listed(), bytes)?;
            let allowed = AllowedRows(filtered.map(|filtered| filtered.bits.as_ref()));
            query.scan(set, cluster, &record, entry.first.unwrap_or_default(), allowed, &mut hunt.list);
            return Ok(());
        }
        let (record, listed) =
            bytes.split_at_checked(length(padded, bits, codes, false)).unwrap_or((bytes, &[]));
        let mut rows = RoaringBitmap::new();
        match entry.run() {
            Some(run) => {
                rows.insert_range(run);
            }
            None => rows.extend(listed.as_chunks().0.iter().map(|row| u32::from_le_bytes(*row))),
        }
        if let Some(filtered) = filtered {
            rows &= filtered.matching.as_ref();
        }
        let Some(first) = rows.min() else { return Ok(()) };
        let record = ClusterRecord::new(padded, bits, codes, false, record)?;
        query.scan(set, cluster, &record, first, AllowedRows(None), &mut hunt.list);
        hunt.found.copies.push((first, rows));
        Ok(())
    }

    fn entry(&self, at: usize) -> Option<&RecordEntry> {
        self.section.entries.get(at)
    }

    fn entries_of(&self, cluster: u32) -> impl Iterator<Item = (usize, &RecordEntry)> {
        let start = self.section.entries.partition_point(|entry| entry.cluster < cluster);
        let entries = (start..).zip(self.section.entries.get(start..).unwrap_or_default());
        entries.take_while(move |(_, entry)| entry.cluster == cluster)
    }
}

impl MatchCounts {
    /// How many rows of an entry match.
    fn of(&self, at: usize, entry: &RecordEntry) -> u64 {
        match (entry.run(), &self.rows) {
            (_, Some(rows)) => rows.get(at).copied().unwrap_or_default().into(),
            (Some(run), None) => self.matching.range_cardinality(run),
            (None, None) => 0,
        }
    }
}

impl RecordEntry {
    fn run(&self) -> Option<Range<u32>> {
        self.first.map(|first| first..first.saturating_add(self.rows))
    }
}
