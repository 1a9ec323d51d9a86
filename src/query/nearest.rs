//! Vector legs: the nearest rows of all parts.

use std::sync::Arc;

use futures::future::{try_join, try_join_all};
use roaring::RoaringBitmap;

use super::QueryStats;
use super::compare::VectorSearch;
use super::distance::Prepared;
use super::probe::{Effort, Target, is_worth_probing, probe};
use super::room::Room;
use crate::error::{Error, Result};
use crate::index::vector::VectorIndex;
use crate::memtable::PartSource;
use crate::schema::{ColumnKind, coerce_vector};
use crate::segment::Segment;
use crate::types::Vector;
use crate::view::Scope;
use crate::view::{RowAddr, View};

impl View {
    /// A search of a vector column, checked against the schema.
    pub(super) fn nearest(&self, column: &str, vector: &Vector, effort: Effort) -> Result<VectorSearch> {
        let mut columns = self.schema.columns().iter().enumerate();
        let found = columns.find(|(_, described)| described.name == column);
        let Some((at, ColumnKind::Vector(shape))) = found.map(|(at, described)| (at, described.kind)) else {
            return Err(Error::invalid(format!("no such vector column. column=`{column}`")));
        };
        let vector = coerce_vector(shape, vector.clone())
            .map_err(|why| Error::invalid(format!("bad query vector: {why}. column=`{column}`")))?;
        Ok(VectorSearch {
            column: at,
            vector: vector.to_f32(),
            prepared: Arc::new(Prepared::new(column, shape, vector)?),
            row_bytes: shape.dimension * shape.element.size(),
            limit: 0,
            beyond: 0,
            ties: 0,
            metric: shape.metric,
            effort,
            room: Arc::new(Room::new()),
        })
    }

    /// The nearest places of every part, with their exact distances, whatever found them.
    pub(super) async fn search(&self, search: &VectorSearch, scope: &Scope) -> Result<Near> {
        let (parts, ()) = try_join(scope.matching_rows(self), owners_ahead(search, scope)).await?;
        let mut stats = QueryStats { segments_pruned: scope.pruned_count(), ..QueryStats::default() };
        let (mut targets, mut others) = (Vec::new(), Vec::new());
        for (at, (part, matching)) in parts.enumerate() {
            stats.parts += 1;
            stats.rows += u64::from(part.source.rows());
            stats.tail_rows += part.tail_rows();
            let mut matching = Arc::clone(matching);
            if let PartSource::Segment(segment) = &part.source {
                let nulls = segment.rows_without_vector(search.column)?;
                if !nulls.is_empty() {
                    matching = Arc::new(matching.as_ref() - nulls);
                }
            }
            match &part.source {
                PartSource::Segment(segment) if search.probes(segment, &matching) => {
                    targets.push(Target { at, part: part.clone(), segment: Arc::clone(segment), matching });
                }
                _ => {
                    stats.rows_scanned += matching.len();
                    others.push((at, part, matching));
                }
            }
        }
        let searches = others.into_iter().map(|(at, part, matching)| async move {
            let near = search.nearest_of(self, part, &matching).await?;
            Ok::<_, Error>(near.into_iter().map(move |(distance, row)| (distance, RowAddr { part: at, row })))
        });
        let (probed, near) = try_join(probe(self, search, targets), try_join_all(searches)).await?;
        stats.rows_scanned += probed.scanned;
        stats.rows_reranked = probed.reranked;
        stats.clusters_probed = probed.clusters;
        // What was compared one by one was found for sure.
        let (promised, matches) = probed.promised;
        let expected = if matches > 0.0 { promised / matches } else { 1.0 };
        let probed = probed.near.into_iter().map(|(part, distance, row)| (distance, RowAddr { part, row }));
        Ok(Near { places: near.into_iter().flatten().chain(probed).collect(), stats, expected })
    }
}

/// Reads what tells the clusters of rows that a filter matches, while the filter is worked out: it takes no round trip of
/// its own then.
async fn owners_ahead(search: &VectorSearch, scope: &Scope) -> Result<()> {
    if search.effort == Effort::Exact {
        return Ok(());
    }
    let indexes = scope.undecided_parts().filter_map(|part| match &part.source {
        PartSource::Segment(segment) => segment.vector_index(search.column),
        PartSource::Memory(_) => None,
    });
    try_join_all(indexes.map(VectorIndex::read_owners)).await.map(drop)
}

/// What a search found in all parts.
#[derive(Debug)]
pub(super) struct Near {
    /// The nearest of each part.
    pub(super) places: Vec<(f64, RowAddr)>,
    pub(super) stats: QueryStats,
    /// The recall that was expected where clusters were probed.
    pub(super) expected: f64,
}

impl VectorSearch {
    /// Whether a segment is probed for these matches, or all of them are compared.
    pub(super) fn probes(&self, segment: &Segment, matching: &RoaringBitmap) -> bool {
        self.effort != Effort::Exact
            && segment.vector_index(self.column).is_some()
            && is_worth_probing(matching.len())
    }
}
