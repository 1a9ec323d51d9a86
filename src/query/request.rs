//! What is asked.

use super::probe::Effort;
use super::{Filter, Fusion, Leg, Select, TextQuery};
use crate::error::{Error, Result};
use crate::settings::Settings;
use crate::types::Vector;

/// The most legs of a query.
const LEGS_MAX: usize = 16;
/// The most columns whose values limit hits.
const PER_MAX: usize = 8;
/// A leg goes so many times as deep as hits are asked for, and at least so deep.
const DEPTH_TIMES: usize = 10;
const DEPTH_MIN: usize = 100;

/// A search for the best documents: by one leg, or by several whose rankings are fused.
///
/// ```
/// use elacsym::query::TextQuery;
/// use elacsym::{Filter, Leg, Query, Vector};
///
/// let near = Query::nearest("embedding", Vector::from([0.1, 0.9])).filter(Filter::eq("kind", "noun")).limit(5);
/// let words = Query::text(TextQuery::any("body", "cold object storage"));
/// let both = Query::hybrid([
///     Leg::nearest("embedding", Vector::from([0.1, 0.9])).weight(2.0),
///     Leg::text(TextQuery::any("body", "cold object storage")),
/// ])
/// .limit_per(["author"], 2);
/// # let _ = (near, words, both);
/// ```
///
/// # Limits
/// A query has at most 16 legs. [`Query::offset`] and [`Query::limit`] together are at most
/// [`Settings::limit_max`](crate::Settings::limit_max), and so is the depth of a leg.
#[derive(Clone, Debug)]
#[must_use]
pub struct Query {
    pub(super) legs: Vec<Leg>,
    pub(super) fusion: Fusion,
    pub(super) filter: Option<Filter>,
    pub(super) limit: usize,
    pub(super) offset: usize,
    pub(super) per: Option<LimitPer>,
    pub(super) select: Select,
}

/// How many hits may have the same values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LimitPer {
    pub(super) columns: Vec<String>,
    pub(super) limit: usize,
}

impl Query {
    /// The documents whose vector in `column` is nearest to `vector` by the metric of the column. Documents
    /// without a vector there are left out. Equal distances are in order of ids.
    pub fn nearest(column: impl Into<String>, vector: impl Into<Vector>) -> Self {
        Leg::nearest(column, vector).into()
    }

    /// The documents whose text matches, best first by BM25. Equal scores are in order of ids.
    ///
    /// ```
    /// use elacsym::Query;
    /// use elacsym::query::TextQuery;
    ///
    /// let query = Query::text(TextQuery::any("body", "cold object storage")).limit(5);
    /// ```
    pub fn text(query: impl Into<TextQuery>) -> Self {
        Leg::text(query).into()
    }

    /// The documents that some legs rank, fused by [`Fusion::default`]. A document needs to be found by one of
    /// them; a leg that finds none is no error. Equal scores are in order of ids.
    pub fn hybrid<L: Into<Leg>>(legs: impl IntoIterator<Item = L>) -> Self {
        Self {
            legs: legs.into_iter().map(Into::into).collect(),
            fusion: Fusion::default(),
            filter: None,
            limit: 10,
            offset: 0,
            per: None,
            select: Select::default(),
        }
    }

    /// How rankings of several legs become one. Default: reciprocal ranks, with the constant 60.
    pub fn fuse(mut self, fusion: Fusion) -> Self {
        self.fusion = fusion;
        self
    }

    /// Only documents that match; every leg looks at them alone. Default: all.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// [`Leg::recall`] of all its vector legs.
    pub fn recall(self, recall: f64) -> Self {
        self.effort(Effort::of(recall))
    }

    /// [`Leg::probes`] of all its vector legs.
    pub fn probes(self, probes: usize) -> Self {
        self.effort(Effort::Probes(probes))
    }

    /// [`Leg::exact`] of all its vector legs.
    pub fn exact(self) -> Self {
        self.effort(Effort::Exact)
    }

    pub(super) fn effort(mut self, effort: Effort) -> Self {
        self.legs.iter_mut().for_each(|leg| leg.set_effort(effort));
        self
    }

    /// The most hits. Default 10, at most [`Settings::limit_max`](crate::Settings::limit_max).
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Leaves out the first hits. Default 0. To page while others write, use one
    /// [`Snapshot`](crate::Snapshot).
    pub fn offset(mut self, offset: usize) -> Self {
        self.offset = offset;
        self
    }

    /// At most `limit` hits that have the same values in these attributes, the best ones; no value is a value
    /// like others. At most 8 attributes, and no vectors.
    pub fn limit_per<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>, limit: usize) -> Self {
        self.per = Some(LimitPer { columns: columns.into_iter().map(Into::into).collect(), limit });
        self
    }

    /// The columns of the hits. Default [`Select::Attributes`].
    pub fn select(mut self, select: Select) -> Self {
        self.select = select;
        self
    }

    /// Hits that are ranked: those asked for, and those left out before them.
    pub(super) fn ranked(&self) -> usize {
        self.offset.saturating_add(self.limit)
    }

    /// How deep a leg goes at first.
    pub(super) fn depth(&self, leg: &Leg, settings: &Settings) -> usize {
        let ranked = self.ranked();
        let default = || ranked.saturating_mul(DEPTH_TIMES).max(DEPTH_MIN);
        let depth = if self.legs.len() == 1 { ranked } else { leg.depth.unwrap_or_else(default) };
        depth.min(settings.limit_max)
    }

    /// What is wrong whatever the schema.
    pub(super) fn check(&self, settings: &Settings) -> Result<()> {
        check_limit("limit", self.limit, settings)?;
        check_limit("offset and limit", self.ranked(), settings)?;
        if !(1..=LEGS_MAX).contains(&self.legs.len()) {
            let legs = self.legs.len();
            return Err(Error::limit(format!(
                "bad number of legs: 1 to {LEGS_MAX} are allowed. legs=`{legs}`"
            )));
        }
        for leg in &self.legs {
            leg.check()?;
            leg.depth.map_or(Ok(()), |depth| check_limit("depth", depth, settings))?;
        }
        self.fusion.check()?;
        match &self.per {
            Some(per) if !(1..=PER_MAX).contains(&per.columns.len()) => Err(Error::limit(format!(
                "bad number of attributes in a limit per value: 1 to {PER_MAX} are allowed. attributes=`{}`",
                per.columns.len()
            ))),
            Some(per) if per.limit == 0 => {
                Err(Error::limit("bad limit per value: at least 1 is allowed. limit=`0`"))
            }
            _ => Ok(()),
        }
    }
}

impl From<Leg> for Query {
    fn from(leg: Leg) -> Self {
        Self::hybrid([leg])
    }
}

pub(super) fn check_limit(what: &str, limit: usize, settings: &Settings) -> Result<()> {
    if (1..=settings.limit_max).contains(&limit) {
        return Ok(());
    }
    Err(Error::limit(format!("bad {what}: 1 to {} are allowed. {what}=`{limit}`", settings.limit_max)))
}
