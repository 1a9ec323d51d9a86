//! A search for the nearest vectors as callers describe it.

use super::Effort;
use crate::types::Vector;

/// A search for the documents whose vector in a column is nearest to a query vector, by the metric of the column.
/// Documents without a vector there are not found.
///
/// ```
/// use elacsym::{Leg, Query, TextQuery, VectorQuery};
///
/// let thorough = VectorQuery::new("embedding", [0.1, 0.9]).recall(0.99);
/// let both = Query::hybrid([Leg::from(thorough).weight(2.0), Leg::text(TextQuery::any("body", "tea"))]);
/// # let _ = both;
/// ```
///
/// The last call of [`VectorQuery::recall`], [`VectorQuery::probes`] and [`VectorQuery::exact`] applies.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct VectorQuery {
    pub(in crate::query::leg) column: String,
    pub(in crate::query::leg) vector: Vector,
    pub(in crate::query::leg) effort: Effort,
}

impl VectorQuery {
    /// The documents whose vector in `column` is nearest to `vector`.
    pub fn new(column: impl Into<String>, vector: impl Into<Vector>) -> Self {
        Self { column: column.into(), vector: vector.into(), effort: Effort::default() }
    }

    /// The share of the true nearest documents to find, on average over queries that resemble the stored vectors. Above 0
    /// and at most 1, which is [`VectorQuery::exact`]. Default 0.95.
    ///
    /// Regions of the space where neighbours are harder to find are searched more thoroughly. Queries that do not
    /// resemble the stored vectors may find less: the search aims for another 60 % of what a recall leaves open, and
    /// promises no more. Columns without an index are searched exactly.
    pub fn recall(mut self, recall: f64) -> Self {
        self.effort = Effort::for_recall(recall);
        self
    }

    /// Probes this many of the nearest clusters of each index, at least 1, whatever recall that gives and however few
    /// hits. With a filter, clusters without a match are not counted.
    pub fn probes(mut self, probes: usize) -> Self {
        self.effort = Effort::Probes(probes);
        self
    }

    /// Compares every vector whose document matches the filter.
    pub fn exact(mut self) -> Self {
        self.effort = Effort::Exact;
        self
    }
}
