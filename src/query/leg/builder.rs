//! A leg as a query describes it.

use std::fmt;

use super::order::Order;
use super::vector::{Effort, VectorQuery};
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::query::TextQuery;
use crate::types::Vector;

/// One way to rank documents. A [`Query`](crate::Query) has one, or fuses several.
///
/// ```
/// use elacsym::{Filter, Leg, TextQuery, Vector};
///
/// let meaning = Leg::nearest("embedding", Vector::from([0.1, 0.9])).depth(200).weight(2.0);
/// let words = Leg::text(TextQuery::any("body", "cold storage")).filter(Filter::gt("year", 1999));
/// # let _ = (meaning, words);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Leg {
    pub(super) ranking: RankBy,
    pub(in crate::query) depth: Option<usize>,
    pub(in crate::query) weight: f32,
    pub(in crate::query) filter: Option<Filter>,
}

/// What documents are ranked by.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum RankBy {
    Vector(VectorQuery),
    Text(TextQuery),
    Order(Vec<Order>),
}

impl Leg {
    /// The documents with the nearest vectors in a column, at the default recall: a [`VectorQuery`] says how thoroughly
    /// to search.
    #[doc(alias("knn", "ann", "similar"))]
    pub fn nearest(column: impl Into<String>, vector: impl Into<Vector>) -> Self {
        VectorQuery::new(column, vector).into()
    }

    /// The documents whose text matches, best first by BM25.
    #[doc(alias("bm25", "fts", "match"))]
    pub fn text(query: impl Into<TextQuery>) -> Self {
        Self::by(RankBy::Text(query.into()))
    }

    /// The documents sorted by up to 8 attributes, or by the id; the first attribute is the primary key. Documents with
    /// equal values share a rank, and hits with equal values are sorted by id. The score is minus the dense rank: 0, −1,
    /// −2 and so on.
    ///
    /// ```
    /// use elacsym::{Filter, Leg, Order, Query};
    ///
    /// let newest = Leg::order_by([Order::desc("year"), Order::asc("title")]).filter(Filter::eq("kind", "noun"));
    /// let query = Query::from(newest).limit(20);
    /// # let _ = query;
    /// ```
    pub fn order_by(orders: impl IntoIterator<Item = Order>) -> Self {
        Self::by(RankBy::Order(orders.into_iter().collect()))
    }

    fn by(ranking: RankBy) -> Self {
        Self { ranking, depth: None, weight: 1.0, filter: None }
    }

    /// How many of its best documents take part in fusion. Default: ten times the limit of the query, at least 100; at
    /// most [`Settings::limit_max`](crate::Settings::limit_max). The leg of a query with one leg ranks as many documents
    /// as the query returns; a greater depth finds more for the groups of [`Query::group_by`](crate::Query::group_by).
    pub fn depth(mut self, depth: usize) -> Self {
        self.depth = Some(depth);
        self
    }

    /// The weight of the leg in fusion: finite and not negative. Default 1. It has no effect in a query with one leg, and
    /// a custom fusion function does not receive it.
    pub fn weight(mut self, weight: f32) -> Self {
        self.weight = weight;
        self
    }

    /// Restricts the leg to documents that match, in addition to the filter of the query. Several filters are combined
    /// with *and*. Default: all documents.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(Filter::narrowed(self.filter, filter));
        self
    }

    /// Sets the effort if this is a vector leg. Returns whether it is.
    pub(in crate::query) fn set_effort(&mut self, effort: Effort) -> bool {
        let RankBy::Vector(query) = &mut self.ranking else { return false };
        query.effort = effort;
        true
    }

    pub(in crate::query) fn as_text(&self) -> Option<&TextQuery> {
        if let RankBy::Text(query) = &self.ranking { Some(query) } else { None }
    }

    /// Checks everything that does not depend on the schema.
    pub(in crate::query) fn check(&self) -> Result<()> {
        if !self.weight.is_finite() || self.weight < 0.0 {
            let weight = self.weight;
            return Err(Error::invalid(format!("bad weight: it must not be negative. weight=`{weight}`")));
        }
        match &self.ranking {
            RankBy::Vector(query) => query.effort.check(),
            RankBy::Text(_) | RankBy::Order(_) => Ok(()),
        }
    }
}

impl fmt::Display for Leg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.ranking {
            RankBy::Vector(query) => write!(f, "nearest by {}, {:?}", query.column, query.effort),
            RankBy::Text(_) => f.write_str("text by BM25"),
            RankBy::Order(keys) => write!(f, "in order of {} attributes", keys.len()),
        }
    }
}

impl From<VectorQuery> for Leg {
    fn from(query: VectorQuery) -> Self {
        Self::by(RankBy::Vector(query))
    }
}

impl From<TextQuery> for Leg {
    fn from(query: TextQuery) -> Self {
        Self::text(query)
    }
}
