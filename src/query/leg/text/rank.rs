//! Query-independent ranking: attributes and filters as factors of a score.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::filter::Filter;
use crate::index::text::ScoreJoin;

/// A number computed from attributes and filters of a document, which is combined with its score: see [`TextQuery::ranked`](super::TextQuery::ranked).
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use elacsym::{Combine, Filter, Rank, TextQuery};
///
/// let liked = Rank::attribute("likes").saturate(50.0, 1.0).times(3.0);
/// let fresh = Rank::age("published", SystemTime::now()).half_at(Duration::from_secs(7 * 86_400));
/// let query = TextQuery::any("body", "cold storage")
///     .ranked(Combine::Sum, liked)
///     .ranked(Combine::Product, Rank::sum([Rank::Constant(1.0), fresh, Rank::Filter(Filter::eq("hot", true))]));
/// # let _ = query;
/// ```
///
/// # Values
/// A rank is never negative: a negative attribute counts as 0. A document without a value gets 0, whatever curve the
/// value would go through. Datetimes are milliseconds since 1970. Arithmetic has 64 bits, the resulting score 32.
///
/// # Cost and limits
/// A rank orders what the text query finds, and finds nothing by itself. The values of all documents that the text
/// finds are read: rows of the columns involved, and 8 bytes of memory for each value. A rank has at most 256 nodes and
/// 32 levels, and a text leg reads at most 33,554,432 values in all; exceeding this is
/// [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded).
///
/// A rank of any depth can be cloned, compared and dropped safely; `Debug` prints at most 64 levels.
#[non_exhaustive]
pub enum Rank {
    /// This number.
    Constant(f64),
    /// 1 for a document that matches, 0 for others.
    Filter(Filter),
    /// The value of an attribute that is an int, uint, float or datetime.
    Attribute(String),
    /// The absolute difference of such a value from an origin.
    Distance(String, f64),
    /// x^e / (x^e + m^e), with the midpoint m and the exponent e: rises from 0 to 1, one half at m.
    Saturate(Box<Rank>, f64, f64),
    /// m^e / (x^e + m^e), with the midpoint m and the exponent e: falls from 1 to 0, one half at m.
    Decay(Box<Rank>, f64, f64),
    /// Several ranks combined.
    Join(Combine, Vec<Rank>),
}

/// How values are combined.
///
/// ```
/// use elacsym::{Combine, Filter, Rank, Rescore, TextQuery};
///
/// // Likes add to the score of the text; what is sold out counts nothing, once the best are known.
/// let liked = Rank::attribute("likes").saturate(50.0, 1.0);
/// let text = TextQuery::any("body", "tea").ranked(Combine::Sum, liked);
/// let rescore = Rescore::rank(Combine::Product, Rank::Filter(Filter::gt("stock", 0)));
/// # let _ = (text, rescore);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Combine {
    /// Their sum.
    Sum,
    /// The greatest of them.
    Max,
    /// Their product.
    Product,
}

impl Rank {
    /// The value of an attribute.
    pub fn attribute(column: impl Into<String>) -> Self {
        Self::Attribute(column.into())
    }

    /// The absolute difference of an attribute from `origin`.
    pub fn distance(column: impl Into<String>, origin: f64) -> Self {
        Self::Distance(column.into(), origin)
    }

    /// The age in milliseconds of a datetime attribute at `now`: its absolute difference, so that what lies in the future
    /// is as old as what lies equally far in the past.
    pub fn age(column: impl Into<String>, now: SystemTime) -> Self {
        Self::distance(column, milliseconds_since_1970(now))
    }

    /// [`Rank::decay`] of a [`Rank::age`] with the exponent 1: one half at this age, a third at twice this age.
    #[must_use]
    pub fn half_at(self, age: Duration) -> Self {
        self.decay(age.as_secs_f64() * 1e3, 1.0)
    }

    /// Saturates towards 1 as the value grows; one half at `midpoint`.
    #[must_use]
    pub fn saturate(self, midpoint: f64, exponent: f64) -> Self {
        Self::Saturate(Box::new(self), midpoint, exponent)
    }

    /// Decays from 1 to 0 as the value grows; one half at `midpoint`.
    #[must_use]
    pub fn decay(self, midpoint: f64, exponent: f64) -> Self {
        Self::Decay(Box::new(self), midpoint, exponent)
    }

    /// Multiplies by a factor.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        // No variant of its own: binding, evaluation and display have one case less.
        Self::Join(Combine::Product, vec![self, Self::Constant(factor)])
    }

    /// The sum of ranks.
    pub fn sum(ranks: impl IntoIterator<Item = Self>) -> Self {
        Self::Join(Combine::Sum, ranks.into_iter().collect())
    }

    /// The greatest of ranks.
    pub fn max(ranks: impl IntoIterator<Item = Self>) -> Self {
        Self::Join(Combine::Max, ranks.into_iter().collect())
    }

    /// The product of ranks.
    pub fn product(ranks: impl IntoIterator<Item = Self>) -> Self {
        Self::Join(Combine::Product, ranks.into_iter().collect())
    }
}

fn milliseconds_since_1970(time: SystemTime) -> f64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_secs_f64() * 1e3,
        Err(before) => before.duration().as_secs_f64() * -1e3,
    }
}

impl From<Combine> for ScoreJoin {
    fn from(combine: Combine) -> Self {
        match combine {
            Combine::Sum => Self::Sum,
            Combine::Max => Self::Greatest,
            Combine::Product => Self::Product,
        }
    }
}
