//! What is asked.

use std::time::Duration;

use super::diversity::Diversity;
use super::probe::Effort;
use super::{Aggregation, Compute, Filter, Fusion, Leg, Order, QueryCursor, Rescore, Select, TextQuery};
use crate::error::{Error, Result};
use crate::settings::Settings;
use crate::types::{DocumentId, Vector};

/// The most legs of a query.
const LEGS_MAX: usize = 16;
/// The most facets of a query.
const FACETS_MAX: usize = 16;
/// The most rescorings of a query.
const RESCORES_MAX: usize = 4;
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
/// | what | at most | default |
/// |---|---|---|
/// | legs | 16 | |
/// | [`Query::limit`], with what lies before it | [`Settings::limit_max`] | 10 |
/// | [`Leg::depth`], [`Rescore::depth`] | [`Settings::limit_max`] | ten times the above, at least 100 |
/// | rescorings | 4 | none |
/// | attributes of [`Query::limit_per`] and [`Query::group_by`] | 8 | none |
/// | computed columns | 64 | none |
/// | facets | 16 | none |
/// | queries of one call | 16 | |
/// | [`Query::timeout`], [`Query::bytes_max`] | | none |
///
/// [`Settings::limit_max`]: crate::Settings::limit_max
#[derive(Clone, Debug)]
#[must_use]
pub struct Query {
    pub(super) legs: Vec<Leg>,
    pub(super) fusion: Fusion,
    pub(super) filter: Option<Filter>,
    pub(super) limit: usize,
    pub(super) offset: usize,
    pub(super) after: Option<QueryCursor>,
    pub(super) diversity: Option<Diversity>,
    pub(super) rescores: Vec<Rescore>,
    pub(super) select: Select,
    pub(super) computes: Vec<(String, Compute)>,
    pub(super) facets: Vec<(String, Aggregation)>,
    pub(super) timeout: Option<Duration>,
    pub(super) bytes_max: Option<u64>,
    pub(super) partial: bool,
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

    /// The documents in order of attributes: [`Leg::order_by`].
    pub fn order_by(orders: impl IntoIterator<Item = Order>) -> Self {
        Leg::order_by(orders).into()
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
            after: None,
            diversity: None,
            rescores: Vec::new(),
            select: Select::default(),
            computes: Vec::new(),
            facets: Vec::new(),
            timeout: None,
            bytes_max: None,
            partial: false,
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

    /// Leaves out the first hits. Default 0. For pages on one [`Snapshot`](crate::Snapshot); while others write,
    /// use [`Query::after`].
    pub fn offset(mut self, offset: usize) -> Self {
        self.offset = offset;
        self
    }

    /// Goes on after the hits of another page: [`QueryResponse::cursor`](crate::query::QueryResponse::cursor) of
    /// the same query. No document is shown twice, whatever is written meanwhile: a page holds the best that were
    /// not yet shown. Where nothing is written, pages together are the hits of one long page, if the depths of legs
    /// and rescorings are given and as great as all pages: by default they grow with the pages.
    pub fn after(mut self, cursor: impl Into<Option<QueryCursor>>) -> Self {
        self.after = cursor.into();
        self
    }

    /// At most `limit` hits that have the same values in these attributes, the best ones; no value is a value
    /// like others. At most 8 attributes, and no vectors. Takes the place of [`Query::group_by`].
    pub fn limit_per<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>, limit: usize) -> Self {
        let columns = columns.into_iter().map(Into::into).collect();
        self.diversity = Some(Diversity { columns, limit, groups: false });
        self
    }

    /// Gives hits with the same values in these attributes together, at most `hits` of them, the best ones. Groups
    /// are in order of their best hits; [`Query::limit`] and [`Query::offset`] count groups. Values and limits as
    /// in [`Query::limit_per`], whose place it takes.
    ///
    /// As many groups are found as there are; in a group lie the hits that the legs found in their depth, which may
    /// be fewer than there are: greater depths find more.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
    /// # use elacsym::schema::{AttributeType, TextOptions};
    /// # use elacsym::*;
    /// # let schema = Schema::builder(IdKind::U64).text("body", TextOptions::default())
    /// #     .attribute("author", AttributeType::String).build()?;
    /// # let ns = Database::open("memory://").await?.create_namespace("docs", schema).await?;
    /// # let row = |id: u64, author: &str, body: &str| Document::new(id).with("author", author).with("body", body);
    /// ns.write(WriteBatch::new()
    ///     .upsert(row(1, "ann", "cold tea"))
    ///     .upsert(row(2, "bob", "tea tea"))
    ///     .upsert(row(3, "ann", "a pot of green tea"))).await?;
    /// let answer = ns.query(Query::text(TextQuery::any("body", "tea")).group_by(["author"], 2)).await?;
    /// let hits = answer.hits()?;
    /// for group in &answer.groups {
    ///     println!("{:?}: {} hits, best {}", group.values, group.hits.len(), hits[group.hits.start].document.id());
    /// }
    /// assert_eq!(answer.groups[1].hits, 1..3);
    /// # Ok(()) }
    /// ```
    pub fn group_by<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>, hits: usize) -> Self {
        let columns = columns.into_iter().map(Into::into).collect();
        self.diversity = Some(Diversity { columns, limit: hits, groups: true });
        self
    }

    /// One more look at the best documents. Several are done in order, at most 4.
    pub fn rescore(mut self, rescore: Rescore) -> Self {
        self.rescores.push(rescore);
        self
    }

    /// The columns of the hits. Default [`Select::Attributes`].
    pub fn select(mut self, select: Select) -> Self {
        self.select = select;
        self
    }

    /// Works something out of every hit, under a name that no column has. At most 64.
    pub fn compute(mut self, name: impl Into<String>, compute: Compute) -> Self {
        self.computes.push((name.into(), compute));
        self
    }

    /// Works something out of all documents that the filter of the query lets through, whether or not they are hits,
    /// under a name of its own: see [`Aggregation`]. Facets are worked out beside the legs, from the same rows. At
    /// most 16. A partial answer leaves out those that there was no time or budget for.
    ///
    /// ```
    /// use elacsym::{Aggregation, Filter, Query, TextQuery};
    ///
    /// let query = Query::text(TextQuery::any("body", "cold storage"))
    ///     .filter(Filter::gte("year", 2000))
    ///     .facet("authors", Aggregation::new().group_by("author").groups(10));
    /// # let _ = query;
    /// ```
    pub fn facet(mut self, name: impl Into<String>, facet: Aggregation) -> Self {
        self.facets.push((name.into(), facet));
        self
    }

    /// The query ends this long after the call with
    /// [`ErrorKind::DeadlineExceeded`](crate::ErrorKind::DeadlineExceeded), or as [`Query::partial`] says. That
    /// counts the look for newer writes of [`Namespace::query`](crate::Namespace::query), without which there is no
    /// answer, not even a partial one; of several queries of one call it takes no longer than the shortest time.
    /// Default: none.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How long it may take.
    pub(crate) fn time(&self) -> Option<Duration> {
        self.timeout
    }

    /// The query asks the store for at most so many bytes: it ends with
    /// [`ErrorKind::BudgetExceeded`](crate::ErrorKind::BudgetExceeded) before it would pass them, or as
    /// [`Query::partial`] says. What is cached costs nothing. Default: no limit.
    pub fn bytes_max(mut self, bytes: u64) -> Self {
        self.bytes_max = Some(bytes);
        self
    }

    /// A leg that passes [`Query::timeout`] or [`Query::bytes_max`] is left out, and the answer says so in
    /// [`QueryResponse::unfinished`](crate::query::QueryResponse::unfinished); the others are fused, and their
    /// documents are read whatever that costs. Default: the query fails.
    pub fn partial(mut self) -> Self {
        self.partial = true;
        self
    }

    pub(super) fn is_grouped(&self) -> bool {
        self.diversity.as_ref().is_some_and(|diversity| diversity.groups)
    }

    /// Hits or groups that are to be picked: those asked for, and those before them.
    pub(super) fn wanted(&self) -> usize {
        let shown = self.after.as_ref().map_or(0, |cursor| cursor.shown().len());
        self.offset.saturating_add(self.limit).saturating_add(shown)
    }

    /// Hits that are ranked, at least.
    pub(super) fn ranked(&self) -> usize {
        let each = self.diversity.as_ref().filter(|diversity| diversity.groups).map_or(1, |d| d.limit);
        self.wanted().saturating_mul(each)
    }

    /// How deep a leg goes at first.
    pub(super) fn depth(&self, leg: &Leg, settings: &Settings) -> usize {
        let depth = if self.legs.len() == 1 { self.ranked() } else { self.deep(leg.depth) };
        let looked_at = self.rescores.first().map_or(0, |rescore| self.deep(rescore.wanted()));
        depth.max(looked_at).min(settings.limit_max)
    }

    /// A depth that may have been given.
    pub(super) fn deep(&self, given: Option<usize>) -> usize {
        given.unwrap_or_else(|| self.ranked().saturating_mul(DEPTH_TIMES).max(DEPTH_MIN))
    }

    /// Where the next page begins, after a page of these; `None` after the last.
    pub(super) fn cursor(
        &self,
        page: impl ExactSizeIterator<Item = DocumentId>,
        settings: &Settings,
    ) -> Option<QueryCursor> {
        if page.len() < self.limit || self.is_grouped() || self.offset > 0 {
            return None;
        }
        let before = self.after.as_ref().map(|cursor| cursor.shown().to_vec()).unwrap_or_default();
        let shown: Vec<DocumentId> = before.into_iter().chain(page).collect();
        (shown.len() < settings.limit_max).then(|| QueryCursor::new(shown))
    }

    /// What is wrong whatever the schema.
    pub(super) fn check(&self, settings: &Settings) -> Result<()> {
        check_limit("limit", self.limit, settings)?;
        self.diversity.as_ref().map_or(Ok(()), Diversity::check)?;
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
        self.check_rescores(settings)?;
        self.check_facets()?;
        if self.after.is_some() && (self.offset > 0 || self.is_grouped()) {
            return Err(Error::invalid("a cursor goes with neither an offset nor groups"));
        }
        Ok(())
    }

    fn check_facets(&self) -> Result<()> {
        if self.facets.len() > FACETS_MAX {
            let count = self.facets.len();
            return Err(Error::limit(format!(
                "too many facets: at most {FACETS_MAX} are allowed. facets=`{count}`"
            )));
        }
        let twice = |at: usize, name: &String| self.facets.iter().take(at).any(|(other, _)| other == name);
        match self.facets.iter().enumerate().find(|(at, (name, _))| twice(*at, name)) {
            Some((_, (name, _))) => Err(Error::invalid(format!("two facets of a name. facet=`{name}`"))),
            None => Ok(()),
        }
    }

    fn check_rescores(&self, settings: &Settings) -> Result<()> {
        if self.rescores.len() > RESCORES_MAX {
            let count = self.rescores.len();
            return Err(Error::limit(format!(
                "too many rescorings: at most {RESCORES_MAX} are allowed. rescorings=`{count}`"
            )));
        }
        for depth in self.rescores.iter().filter_map(Rescore::wanted) {
            check_limit("depth of a rescoring", depth, settings)?;
            if depth < self.ranked() {
                return Err(Error::invalid(format!(
                    "bad depth of a rescoring: fewer than the query asks for. depth=`{depth}` hits=`{}`",
                    self.ranked()
                )));
            }
        }
        Ok(())
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
