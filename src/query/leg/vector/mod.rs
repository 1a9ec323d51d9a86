//! Vector legs: the documents with the nearest vectors.
//!
//! A segment with an index is probed by the clusters of the index ([`probe`]) as long as enough of its rows match;
//! everything else is compared row by row ([`exact`]). Either way the distances that rank rows are exact.

#[expect(clippy::cast_precision_loss, reason = "clusters are counted, and shares of them compared")]
mod clusters;
mod distance;
mod effort;
mod exact;
mod json;
#[expect(clippy::cast_precision_loss, reason = "rows and clusters are counted, and shares of them compared")]
mod probe;
mod query;
#[expect(clippy::cast_precision_loss, reason = "rows and codes are counted, and shares of them compared")]
mod segment_probe;
mod top_k;

pub(in crate::query) use distance::{Distance, round_to_f32};
pub(in crate::query) use effort::Effort;
pub(in crate::query) use json::{read_vector_in, write_vector};
pub use query::VectorQuery;

use std::sync::Arc;

use futures::future::{try_join, try_join_all};
use roaring::RoaringBitmap;

use super::ranking::{Depth, LegRows};
use crate::codec::{all_rows, subtract_shared};
use crate::error::{Error, Result};
use crate::index::vector::VectorIndex;
use crate::memtable::PartSource;
use crate::query::QueryStats;
use crate::query::leg::SearchPlan;
use crate::query::room::Room;
use crate::schema::{ColumnKind, Schema, VectorColumn};
use crate::types::{Metric, Vector};
use crate::view::{LiveRows, LiveVectors, Part, RowAddr, Scope, View};
use distance::ExactVector;
use segment_probe::ProbeTarget;

/// Matches of all segments that are compared one by one instead of probing indexes. A few vectors are read in fewer bytes
/// than whole clusters of codes, and a comparison finds all neighbours.
// Of all, not of one: in one order of clusters, what lies near in some segments spares the others a search of their own.
const COMPARED_MATCHES_MAX: u64 = 1_000;

/// A nearest-neighbour search of one column, checked against the schema.
#[derive(Clone, Debug)]
pub(in crate::query) struct VectorSearch {
    /// The position of the column in the schema.
    pub(in crate::query) column: usize,
    /// The query vector for exact distances.
    pub(in crate::query) exact: Arc<ExactVector>,
    /// Bytes of one stored vector.
    row_bytes: usize,
    /// Rows to find.
    limit: usize,
    /// How many of these only show whether there are more: the recall is not promised of them.
    lookahead: usize,
    /// Rows that tie with the last, to find beyond the limit: those with the least ids.
    ties: usize,
    metric: Metric,
    /// The query vector for estimates by codes.
    components: Vec<f32>,
    effort: Effort,
    /// Bounds the memory of vectors and codes that are being read.
    room: Arc<Room>,
}

/// What a search found in all parts.
#[derive(Debug)]
pub(in crate::query) struct NearestRows {
    /// The nearest of each part.
    pub(in crate::query) rows: Vec<(Distance, RowAddr)>,
    pub(in crate::query) stats: QueryStats,
    /// The recall that the curves of the indexes promise.
    pub(in crate::query) expected_recall: f64,
}

/// Finds a vector column by its name: its position in the schema, and its shape.
pub(in crate::query) fn find_vector_column(schema: &Schema, name: &str) -> Result<(usize, VectorColumn)> {
    let why = match schema.find_column(name).map(|(at, column)| (at, column.kind)) {
        Some((at, ColumnKind::Vector(shape))) => return Ok((at, shape)),
        Some((_, ColumnKind::Attribute(kind))) => format!("this one holds {kind}"),
        None => format!("the schema has {}", schema.list_columns()),
    };
    Err(Error::invalid(format!("no such vector column: {why}. column=`{name}`")))
}

impl VectorSearch {
    /// Checks a search against the schema.
    pub(in crate::query) fn plan(
        schema: &Schema,
        column: &str,
        vector: &Vector,
        effort: Effort,
    ) -> Result<Self> {
        let (at, shape) = find_vector_column(schema, column)?;
        let exact = ExactVector::new(column, shape, vector.clone())?;
        Ok(Self {
            column: at,
            components: exact.to_f32(),
            exact: Arc::new(exact),
            row_bytes: shape.dimension * shape.element.size(),
            limit: 0,
            lookahead: 0,
            ties: 0,
            metric: shape.metric,
            effort,
            room: Arc::new(Room::new()),
        })
    }

    /// This search as deep as a leg ranks.
    pub(in crate::query) fn with_depth(&self, depth: Depth) -> Self {
        // A query with one leg ranks one row more than it shows, to tell whether there are more.
        let lookahead = usize::from(!depth.is_fused);
        Self { limit: depth.rows, lookahead, ties: depth.ties(), ..self.clone() }
    }

    /// This search for some rows, and no ties of the last.
    pub(in crate::query) fn with_limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// This search as thorough as an effort.
    pub(in crate::query) fn with_effort(self, effort: Effort) -> Self {
        Self { effort, ..self }
    }

    /// Ranks the documents of a scope.
    pub(in crate::query) async fn rank(
        &self,
        view: &View,
        scope: &Scope,
        depth: Depth,
    ) -> Result<LegRows<Distance>> {
        let NearestRows { rows, stats, .. } = self.with_depth(depth).find_nearest(view, scope).await?;
        // An index estimates distances: that a row it passed over ties with the last is not known.
        Ok(LegRows { rows, cut_ties: Vec::new(), stats })
    }

    /// The nearest rows of every part, with exact distances.
    pub(in crate::query) async fn find_nearest(&self, view: &View, scope: &Scope) -> Result<NearestRows> {
        let (parts, ()) = try_join(scope.matching_rows(view), self.read_owners_ahead(scope)).await?;
        let parts: Vec<_> = parts.collect();
        let mut stats = QueryStats::of_scope(scope, parts.iter().map(|(part, _)| *part));
        let (mut searched, mut indexed) = (Vec::with_capacity(parts.len()), 0);
        for (number, (part, matching)) in parts.into_iter().enumerate() {
            let live = scope.all_live_rows(number);
            let (matching, live) = self.rows_with_vector(part, matching, live)?;
            if self.is_indexed(part) {
                indexed += matching.len();
            } else {
                stats.rows_unindexed += u64::from(part.source.rows());
            }
            searched.push((number, part, matching, live));
        }
        let (mut targets, mut compared) = (Vec::new(), Vec::new());
        for (number, part, matching, live) in searched {
            match &part.source {
                PartSource::Segment(segment) if self.is_indexed(part) && self.probes(indexed) => {
                    let (part, segment) = (part.clone(), Arc::clone(segment));
                    targets.push(ProbeTarget { number, part, segment, matching, live });
                }
                _ => {
                    stats.rows_scanned += matching.len();
                    compared.push((number, part, matching));
                }
            }
        }
        let compared = compared.into_iter().map(|(number, part, matching)| async move {
            let nearest = self.compare_part(view, part, &matching).await?;
            let addr = move |(distance, row)| (distance, RowAddr { part: number, row });
            Ok::<_, Error>(nearest.into_iter().map(addr))
        });
        let (probed, compared) =
            try_join(probe::probe_segments(view, self, targets), try_join_all(compared)).await?;
        stats.rows_scanned += probed.rows_scanned;
        stats.rows_reranked = probed.rows_reranked;
        stats.clusters_probed = probed.clusters;
        Ok(NearestRows {
            expected_recall: probed.expected_recall(),
            rows: compared.into_iter().flatten().chain(probed.rows).collect(),
            stats,
        })
    }

    /// The matching rows of a part that have a vector; of a segment all of whose live rows match, with what is known of
    /// them.
    fn rows_with_vector(
        &self,
        part: &Part,
        matching: &Arc<RoaringBitmap>,
        live: Option<&Arc<LiveRows>>,
    ) -> Result<(Arc<RoaringBitmap>, Option<Arc<LiveVectors>>)> {
        let PartSource::Segment(segment) = &part.source else { return Ok((Arc::clone(matching), None)) };
        let nulls = segment.rows_without_vector(self.column)?;
        if let Some(live) = live {
            let live = live.with_vector(self.column, nulls);
            return Ok((Arc::clone(live.rows()), Some(live)));
        }
        Ok((subtract_shared(matching, nulls), None))
    }

    /// Whether an index of the column covers a part.
    fn is_indexed(&self, part: &Part) -> bool {
        matches!(&part.source, PartSource::Segment(segment) if segment.vector_index(self.column).is_some())
    }

    /// Whether indexes are probed for as many matches as they have together, or all of these are compared.
    fn probes(&self, matches: u64) -> bool {
        self.effort != Effort::Exact && matches > COMPARED_MATCHES_MAX
    }

    /// Reads the clusters that rows belong to while the filter is evaluated. A filtered probe needs both, and would
    /// otherwise wait a round trip for the clusters after the one for the filter.
    async fn read_owners_ahead(&self, scope: &Scope) -> Result<()> {
        if self.effort == Effort::Exact {
            return Ok(());
        }
        let indexes = scope.undecided_parts().filter_map(|part| match &part.source {
            PartSource::Segment(segment) => segment.vector_index(self.column),
            PartSource::Memory(_) => None,
        });
        try_join_all(indexes.map(VectorIndex::read_owners)).await.map(drop)
    }

    /// How many of the nearest the recall is promised of.
    fn promised(&self) -> usize {
        self.limit.saturating_sub(self.lookahead).max(1)
    }

    /// How the leg searches a part, as far as that is known without evaluating its filter.
    pub(super) fn explain(&self, part: &Part, depth: usize) -> Result<SearchPlan> {
        let compared = u64::from(part.source.rows()) * self.row_bytes as u64;
        let compare = SearchPlan::Compare { bytes: compared };
        let PartSource::Segment(segment) = &part.source else { return Ok(compare) };
        let matching = all_rows(segment.meta().rows);
        if !(self.is_indexed(part) && self.probes(matching.len())) {
            return Ok(compare);
        }
        let search = self.with_depth(Depth { rows: depth, is_fused: false });
        let (part, segment, matching) = (part.clone(), Arc::clone(segment), Arc::new(matching));
        let target = ProbeTarget { number: 0, part, segment, matching, live: None };
        let probe::ProbeEstimate { probes, clusters, bytes } = probe::estimate_probes(&search, &target)?;
        if bytes >= compared {
            return Ok(compare);
        }
        Ok(SearchPlan::Probe { clusters: probes, of: clusters, bytes })
    }
}
