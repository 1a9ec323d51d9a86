//! A leg of a query: one way to rank documents.

use std::fmt;

use super::probe::Effort;
use super::{Filter, Order, TextQuery};
use crate::error::{Error, Result};
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
    pub(super) depth: Option<usize>,
    pub(super) weight: f32,
    pub(super) filter: Option<Filter>,
}

/// What ranks.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Ask {
    Nearest { column: String, vector: Vector, effort: Effort },
    Text(TextQuery),
    Order(Vec<Order>),
}

impl Leg {
    /// The documents whose vector in `column` is nearest to `vector` by the metric of the column. Documents
    /// without a vector there are left out.
    pub fn nearest(column: impl Into<String>, vector: impl Into<Vector>) -> Self {
        let (column, vector) = (column.into(), vector.into());
        Self::of(Ask::Nearest { column, vector, effort: Effort::default() })
    }

    /// The documents whose text matches, best first by BM25.
    pub fn text(query: impl Into<TextQuery>) -> Self {
        Self::of(Ask::Text(query.into()))
    }

    /// The documents in order of attributes, at most 8, the first one deciding first. Equal ones have one rank, and
    /// as hits they are in order of their ids. The score is 0 for the first values, and one less for every different
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
        Self { ask, depth: None, weight: 1.0, filter: None }
    }

    /// How many of its best documents go into fusion. Default ten times what the query asks for, at least 100;
    /// at most [`Settings::limit_max`](crate::Settings::limit_max). A query with one leg needs none.
    pub fn depth(mut self, depth: usize) -> Self {
        self.depth = Some(depth);
        self
    }

    /// How much it counts in fusion: not negative. Default 1.
    pub fn weight(mut self, weight: f32) -> Self {
        self.weight = weight;
        self
    }

    /// Only documents that match, besides the filter of the query. Default: all.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Of a vector leg: the share of the true nearest documents that should be found, on average over queries
    /// like the different vectors that are stored: above 0, and at most 1, which is [`Leg::exact`]. Default 0.95.
    /// Regions of the space where neighbours are harder to find are searched more thoroughly than others. Of queries
    /// that are unlike what is stored, less may be found: they are asked for another 60 % of what a recall leaves
    /// open, and no more is promised. Columns without an index are searched exactly, whatever is asked. Of other legs:
    /// nothing, they are exact.
    pub fn recall(mut self, recall: f64) -> Self {
        self.set_effort(Effort::of(recall));
        self
    }

    /// Of a vector leg: probes this many of the nearest leaves of the index, at least 1, whatever recall that gives, and
    /// however few hits. With a filter, leaves without a match are not counted.
    pub fn probes(mut self, probes: usize) -> Self {
        self.set_effort(Effort::Probes(probes));
        self
    }

    /// Of a vector leg: compares every vector that the filter lets through.
    pub fn exact(mut self) -> Self {
        self.set_effort(Effort::Exact);
        self
    }

    pub(super) fn set_effort(&mut self, wanted: Effort) {
        match &mut self.ask {
            Ask::Nearest { effort, .. } => *effort = wanted,
            Ask::Text(_) | Ask::Order(_) => {}
        }
    }

    /// What is wrong whatever the schema.
    pub(super) fn check(&self) -> Result<()> {
        if !self.weight.is_finite() || self.weight < 0.0 {
            let weight = self.weight;
            return Err(Error::invalid(format!("bad weight: it must not be negative. weight=`{weight}`")));
        }
        match &self.ask {
            Ask::Nearest { effort, .. } => effort.check(),
            Ask::Text(_) | Ask::Order(_) => Ok(()),
        }
    }
}

impl fmt::Display for Leg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.ask {
            Ask::Nearest { column, effort, .. } => write!(f, "nearest by {column}, {effort:?}"),
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
