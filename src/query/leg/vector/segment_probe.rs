//! One segment in a search of the segments of its centroid set: how many of its rows match, which of its records are read,
//! and the exact distances of the rows that were found.

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::VectorSearch;
use super::clusters::SegmentCurve;
use super::distance::Distance;
use super::effort::Effort;
use super::exact::SPARSE;
use crate::error::{Error, Result};
use crate::index::vector::{MatchCounts, ReadPlan, ReadWindow, RowFilter, SearchResult, VectorIndex};
use crate::segment::Segment;
use crate::view::{LiveVectors, Part, RowAddr, View};

/// Bytes of cluster records that are read and scanned at a time.
const WINDOW_BYTES: u64 = 4 << 20;
/// Bytes that could be transferred in the time a request takes besides the transfer, in comparing the costs of plans.
const REQUEST_COST_BYTES: u64 = 16 << 10;

/// A segment to probe.
#[derive(Clone, Debug)]
pub(super) struct ProbeTarget {
    /// The number of its part.
    pub(super) number: usize,
    pub(super) part: Part,
    pub(super) segment: Arc<Segment>,
    /// Rows that may be found. All of them have a vector.
    pub(super) matching: Arc<RoaringBitmap>,
    /// What is known of them, if they are all that live.
    pub(super) live: Option<Arc<LiveVectors>>,
}

impl ProbeTarget {
    pub(super) fn index(&self, column: usize) -> Result<&VectorIndex> {
        self.segment
            .vector_index(column)
            .ok_or_else(|| Error::internal("a segment without a vector index is probed"))
    }
}

/// The rows of one segment that may be among the nearest.
#[derive(Debug, Default)]
pub(super) struct SegmentCandidates {
    pub(super) rows: RoaringBitmap,
    /// Those that stand for all rows with their vector, with these.
    pub(super) copies: BTreeMap<u32, RoaringBitmap>,
}

/// The probe of one segment.
pub(super) struct SegmentProbe<'a> {
    pub(super) target: &'a ProbeTarget,
    pub(super) index: &'a VectorIndex,
    /// What other queries counted of the rows that match, if that is worth it.
    live: Option<&'a LiveVectors>,
    /// Matches by cluster; `None` if all rows match.
    match_counts: Option<Arc<MatchCounts>>,
    /// The nearest rows, if it turned out cheaper to compare every match.
    pub(super) compared: Option<Vec<(Distance, u32)>>,
    pub(super) clusters: u64,
}

impl<'a> SegmentProbe<'a> {
    pub(super) async fn new(search: &VectorSearch, target: &'a ProbeTarget) -> Result<Self> {
        let index = target.index(search.column)?;
        let nulls = target.segment.rows_without_vector(search.column)?.len();
        let all_match = target.matching.len() + nulls == u64::from(target.segment.meta().rows);
        let live = target.live.as_deref().filter(|live| !all_match && live.is_reused());
        let match_counts = match live {
            _ if all_match => None,
            Some(live) => Some(live.match_counts(index).await?),
            None => Some(Arc::new(index.count_matches(&target.matching).await?)),
        };
        Ok(Self { target, index, live, match_counts, compared: None, clusters: 0 })
    }

    /// Whether some rows do not match.
    pub(super) fn is_filtered(&self) -> bool {
        self.match_counts.is_some()
    }

    /// Codes whose rows match.
    pub(super) fn count_matches(&self) -> u64 {
        self.match_counts.as_ref().map_or(self.index.codes(), |counts| counts.codes())
    }

    /// Codes of a cluster whose rows match.
    pub(super) fn count_matches_in(&self, cluster: u32) -> u64 {
        self.index.matches_of(cluster, self.match_counts.as_deref())
    }

    /// Rows that are found without a scan. Loose ones are in no cluster: they are compared at the end.
    pub(super) fn count_found_apart(&self) -> u64 {
        let loose = || self.index.loose().intersection_len(&self.target.matching);
        self.compared.as_ref().map_or_else(loose, |nearest| nearest.len() as u64)
    }

    /// The recall curve where the nearest cluster is `home`. `near` codes around the query match.
    pub(super) fn curve_at(&self, home: u32, near: u64) -> SegmentCurve<'a> {
        SegmentCurve {
            curve: self.index.curve().for_cluster(home),
            codes: self.index.codes() as f64,
            matches: self.count_matches() as f64,
            near: near as f64,
        }
    }

    /// The records of further clusters to read and scan, and which of their rows match. If reading these costs more than
    /// reading the vectors of all matches, all matches are compared instead, and the segment is done.
    pub(super) async fn plan_scan(
        &mut self,
        view: &View,
        search: &VectorSearch,
        clusters: &[u32],
    ) -> Result<(Vec<ReadWindow>, Option<RowFilter>)> {
        if self.compared.is_some() {
            return Ok((Vec::new(), None));
        }
        let (index, ProbeTarget { part, matching, .. }) = (self.index, self.target);
        let plan = index.plan_reads(clusters, self.match_counts.as_deref(), WINDOW_BYTES);
        if !matches!(search.effort, Effort::Probes(_)) && self.is_comparison_cheaper(search, &plan) {
            self.compared = Some(search.compare_part(view, part, matching).await?);
            return Ok((Vec::new(), None));
        }
        self.clusters += plan.clusters;
        let filtered = match (&self.match_counts, self.live) {
            (None, _) => None,
            // One for all queries of the state, whichever clusters they read.
            (Some(_), Some(live)) => Some(live.filter(&view.env, index).await?),
            (Some(_), None) => Some(index.filter_rows(&plan, matching)?),
        };
        Ok((plan.windows, filtered))
    }

    fn is_comparison_cheaper(&self, search: &VectorSearch, plan: &ReadPlan) -> bool {
        let (rows, matches) = (u64::from(self.target.segment.meta().rows), self.target.matching.len());
        let row = search.row_bytes as u64;
        let cost = if matches < rows / SPARSE { matches * (row + REQUEST_COST_BYTES) } else { rows * row };
        cost <= plan.bytes
    }

    /// The exact distances of the candidates, and how many there were: codes only estimate.
    pub(super) async fn rerank(
        self,
        view: &View,
        search: &VectorSearch,
        candidates: SegmentCandidates,
    ) -> Result<(Vec<(Distance, RowAddr)>, u64)> {
        let ProbeTarget { number, part, segment, matching, .. } = self.target;
        let (nearest, reranked) = if let Some(nearest) = self.compared {
            (nearest, 0)
        } else {
            let SegmentCandidates { mut rows, copies } = candidates;
            rows |= self.index.loose();
            rows &= matching.as_ref();
            let top = search.compare_rows(&view.env, segment, &rows, &copies).await?;
            (search.cut_ties(view, part, top.into_ranking()).await?, rows.len())
        };
        let addr = |(distance, row)| (distance, RowAddr { part: *number, row });
        Ok((nearest.into_iter().map(addr).collect(), reranked))
    }
}

impl SegmentCandidates {
    /// The candidates of each of `segments` segments.
    pub(super) fn by_segment(found: SearchResult, segments: usize) -> Result<Vec<Self>> {
        let mut all: Vec<Self> = std::iter::repeat_with(Self::default).take(segments).collect();
        let unknown = || Error::internal("a search found rows of a segment that it did not scan");
        for candidate in &found.candidates {
            let segment = all.get_mut(candidate.source.segment as usize).ok_or_else(unknown)?;
            segment.rows.insert(candidate.row);
        }
        for copies in found.copies {
            let segment = all.get_mut(copies.segment as usize).ok_or_else(unknown)?;
            segment.copies.insert(copies.candidate, copies.rows);
        }
        Ok(all)
    }
}
