//! The index of a column of a segment: the records of its clusters, and the plan of reading some of them.

use std::sync::Arc;

use bytes::Bytes;
use roaring::RoaringBitmap;

use super::centroids::CentroidSet;
use super::curve::RecallCurve;
use super::match_counts::MatchCounts;
use super::read_plan::{ReadPlan, ReadWindow};
use super::record::record_len;
use super::row_clusters::RowClusters;
use super::section::{IndexSection, RecordEntry};
use crate::cache::Blob;
use crate::codec::CodecError;
use crate::error::Result;

/// The index of a column of a segment.
#[derive(Clone, Debug)]
pub(crate) struct VectorIndex {
    pub(super) blob: Blob,
    pub(super) set: Arc<CentroidSet>,
    pub(super) section: Arc<IndexSection>,
    /// Rows of the segment.
    pub(super) rows: u32,
    /// Codes in all clusters.
    codes: u64,
}

impl VectorIndex {
    /// Decodes the index of a segment of `rows` rows whose file is `blob`.
    pub(crate) fn decode(
        blob: Blob,
        set: Arc<CentroidSet>,
        rows: u32,
        section: &[u8],
    ) -> Result<Self, CodecError> {
        let section = IndexSection::decode(section, (rows, blob.size()), &set)?;
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

    /// The clusters of `set` that rows are in, of those that lie in the order of the index. Another version of the set that
    /// the index is coded by has some of its clusters, or none.
    pub(crate) fn row_clusters(&self, set: &CentroidSet) -> RowClusters {
        let mut clusters = RowClusters::unknown(self.rows);
        for entry in &self.section.entries {
            let (Some(run), Some(cluster)) = (entry.run(), set.numbers().position_of(entry.number)) else {
                continue;
            };
            run.for_each(|row| clusters.set(row, cluster));
        }
        clusters
    }

    /// The first cluster that has a row and the last, by their positions in the set.
    pub(crate) fn cluster_bounds(&self) -> Option<(u32, u32)> {
        let clusters = || self.section.entries.iter().map(|entry| entry.cluster);
        clusters().min().zip(clusters().max())
    }

    /// About how many bytes the records of all clusters have.
    pub(crate) fn bytes(&self) -> u64 {
        let space = self.set.space();
        record_len(space.padded(), space.bits(), self.codes, false)
    }

    /// How many codes of a cluster match.
    pub(crate) fn matches_of(&self, cluster: u32, counts: Option<&MatchCounts>) -> u64 {
        let matches = |(number, entry): (usize, &RecordEntry)| {
            let codes = u64::from(entry.codes);
            // Any number of matching copies is one code.
            counts.map_or(codes, |counts| counts.matching_rows(number, entry).min(codes))
        };
        self.entries_of(cluster).map(matches).sum()
    }

    /// The records to read for some clusters, given nearest first, with at most about `bytes_max` bytes per window.
    pub(crate) fn plan_reads(
        &self,
        clusters: &[u32],
        counts: Option<&MatchCounts>,
        bytes_max: u64,
    ) -> ReadPlan {
        let mut plan = ReadPlan::default();
        for cluster in clusters {
            // A count over the filter costs no read, so records without a match are not even requested.
            let wanted = self.entries_of(*cluster);
            let wanted = wanted.filter(|(number, entry)| {
                counts.is_none_or(|counts| counts.matching_rows(*number, entry) > 0)
            });
            let before = plan.bytes;
            for (_, entry) in wanted {
                let bytes = entry.record_bytes(self.set.space());
                plan.bytes += bytes;
                match plan.windows.last_mut() {
                    Some(window) if window.bytes + bytes <= bytes_max => {
                        window.entries.push(*entry);
                        window.bytes += bytes;
                    }
                    // The first record, or one that does not fit. A record larger than a window is one alone.
                    _ => plan.windows.push(ReadWindow { entries: vec![*entry], bytes }),
                }
            }
            plan.clusters += u64::from(plan.bytes > before);
        }
        plan
    }

    /// The records of a window of a plan. One round trip.
    pub(crate) async fn read_records(&self, window: &ReadWindow) -> Result<Vec<Bytes>> {
        let spans = window.entries.iter().map(|entry| entry.record_span(self.set.space()));
        self.blob.read_many(&spans.collect::<Vec<_>>()).await
    }

    /// The entries of a cluster, each with its place among all.
    fn entries_of(&self, cluster: u32) -> impl Iterator<Item = (usize, &RecordEntry)> {
        let number = self.set.numbers().number_of(cluster);
        let start = self.section.entries.partition_point(|entry| Some(entry.number) < number);
        let (_, entries) = self.section.entries.split_at(start);
        (start..).zip(entries).take_while(move |(_, entry)| Some(entry.number) == number)
    }
}
