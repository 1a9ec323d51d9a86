//! A leg of a query: one way to rank documents.

use std::fmt;

use super::probe::Effort;
use super::{Order, TextQuery};
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::types::Vector;

/// One way to rank documents. A [`Query`](crate::Query) has one, or fuses several.
///
/// ```
/// use elacsym::query::TextQuery;
/// use elacsym::{Filter, Leg, Vector};
///
/// let meaning = Leg::nearest("embedding", Vector::from([0.1, 0.9])).depth(200).weight(2.0);
/// let words = Leg::text(TextQuery::any("body", "cold storage")).filter(Filter::gt("year", 1999));
/// # let _ = (meaning, words);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Leg {
    pub(super) ask: Ask,
    effort: Option<Effort>,
    pub(super) depth: Option<usize>,
    pub(super) weight: f32,
    pub(super) filter: Option<Filter>,
}

/// What ranks.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Ask {
    Nearest { column: String, vector: Vector },
    Text(TextQuery),
    Order(Vec<Order>),
}

impl Leg {
    /// The documents whose vector in `column` is nearest to `vector` by the metric of the column. Documents
    /// without a vector there are left out.
    pub fn nearest(column: impl Into<String>, vector: impl Into<Vector>) -> Self {
        let (column, vector) = (column.into(), vector.into());
        Self::of(Ask::Nearest { column, vector })
    }

    /// The documents whose text matches, best first by BM25.
    pub fn text(query: impl Into<TextQuery>) -> Self {
        Self::of(Ask::Text(query.into()))
    }

    /// The documents in order of attributes, or of the id, at most 8, the first one deciding first. Equal ones have one
    /// rank, and as hits they are in order of their ids. The score is 0 for the first values, and one less for every different
    /// ones behind them.
    ///
    /// ```
    /// use elacsym::{Filter, Leg, Order, Query};
    ///
    /// let newest = Leg::order_by([Order::desc("year"), Order::asc("title")]).filter(Filter::eq("kind", "noun"));
    /// let query = Query::from(newest).limit(20);
    /// # let _ = query;
    /// ```
    pub fn order_by(orders: impl IntoIterator<Item = Order>) -> Self {
        Self::of(Ask::Order(orders.into_iter().collect()))
    }

    fn of(ask: Ask) -> Self {
        Self { ask, effort: None, depth: None, weight: 1.0, filter: None }
    }

    /// How many of its best documents go into fusion. Default ten times what the query asks for, at least 100;
    /// at most [`Settings::limit_max`](crate::Settings::limit_max). A query with one leg goes as deep as it asks for
    /// hits, or deeper if this says so: for the groups of [`Query::group_by`](crate::Query::group_by).
    pub fn depth(mut self, depth: usize) -> Self {
        self.depth = Some(depth);
        self
    }

    /// How much it counts in fusion: not negative. Default 1. Where nothing is fused, as with one leg or by a function
    /// of yours, it does not count.
    pub fn weight(mut self, weight: f32) -> Self {
        self.weight = weight;
        self
    }

    /// Only documents that match, besides the filter of the query. Several hold together. Default: all.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(Filter::narrowed(self.filter, filter));
        self
    }

    /// Of a vector leg: the share of the true nearest documents that should be found, on average over queries
    /// like the different vectors that are stored: above 0, and at most 1, which is [`Leg::exact`]. Default 0.95.
    /// Regions of the space where neighbours are harder to find are searched more thoroughly than others. Of queries
    /// that are unlike what is stored, less may be found: they are asked for another 60 % of what a recall leaves
    /// open, and no more is promised. Columns without an index are searched exactly, whatever is asked. Other legs are
    /// exact, and refuse it. The last of this, [`Leg::probes`] and [`Leg::exact`] holds.
    pub fn recall(mut self, recall: f64) -> Self {
        self.effort = Some(Effort::of(recall));
        self
    }

    /// Of a vector leg: probes this many of the nearest clusters of the index, at least 1, whatever recall that gives, and
    /// however few hits. With a filter, clusters without a match are not counted.
    pub fn probes(mut self, probes: usize) -> Self {
        self.effort = Some(Effort::Probes(probes));
        self
    }

    /// Of a vector leg: compares every vector that the filter lets through.
    pub fn exact(mut self) -> Self {
        self.effort = Some(Effort::Exact);
        self
    }

    /// Sets the effort of a vector leg. Gives whether it is one.
    pub(super) fn set_effort(&mut self, effort: Effort) -> bool {
        let nearest = matches!(self.ask, Ask::Nearest { .. });
        if nearest {
            self.effort = Some(effort);
        }
        nearest
    }

    pub(super) fn as_text(&self) -> Option<&TextQuery> {
        if let Ask::Text(query) = &self.ask { Some(query) } else { None }
    }

    pub(super) fn effort(&self) -> Effort {
        self.effort.unwrap_or_default()
    }

    /// What is wrong whatever the schema.
    pub(super) fn check(&self) -> Result<()> {
        if !self.weight.is_finite() || self.weight < 0.0 {
            let weight = self.weight;
            return Err(Error::invalid(format!("bad weight: it must not be negative. weight=`{weight}`")));
        }
        match (&self.ask, self.effort) {
            (Ask::Nearest { .. }, effort) => effort.map_or(Ok(()), Effort::check),
            (Ask::Text(_) | Ask::Order(_), None) => Ok(()),
            (Ask::Text(_) | Ask::Order(_), Some(_)) => Err(Error::invalid(format!(
                "recall, probes and exact are of vector legs alone: others are exact. leg=`{self}`"
            ))),
        }
    }
}

impl fmt::Display for Leg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.ask {
            Ask::Nearest { column, .. } => write!(f, "nearest by {column}, {:?}", self.effort()),
            Ask::Text(_) => f.write_str("text by BM25"),
            Ask::Order(keys) => write!(f, "in order of {} attributes", keys.len()),
        }
    }
}

impl From<TextQuery> for Leg {
    fn from(query: TextQuery) -> Self {
        Self::text(query)
    }
}
