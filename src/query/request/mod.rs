//! What is asked.

use std::time::Duration;

use super::cursor::CURSOR_IDS_MAX;
use super::diversity::Diversity;
use super::probe::Effort;
use super::{Aggregation, Compute, Fusion, Leg, Order, QueryCursor, Rank, Rescore, Select, TextQuery};
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::settings::Settings;
use crate::types::{COLUMN_NAME_BYTES_MAX, DocumentId, Vector};

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
/// | [`Query::limit`] and [`Query::offset`] together | [`Settings::limit_max`] | 10 |
/// | hits of all pages by cursors | 100,000 | |
/// | [`Leg::depth`], [`Rescore::depth`] | [`Settings::limit_max`] | ten times the above, at least 100 |
/// | rescorings | 4 | none |
/// | attributes of [`Query::limit_per`] and [`Query::group_by`] | 8 | none |
/// | computed columns | 64 | none |
/// | facets | 16 | none |
/// | queries of one call | 16 | |
/// | patterns and fuzzy queries of the filters of one call, each that differs counted for itself | 128 | |
/// | what the filters of one call hold: values, names, and 64 bytes for each node | 64 MiB | |
/// | documents that are read for an answer | [`Settings::answer_bytes_max`] | |
/// | [`Query::timeout`], [`Query::bytes_max`] | | none |
///
/// [`Settings::limit_max`]: crate::Settings::limit_max
/// [`Settings::answer_bytes_max`]: crate::Settings::answer_bytes_max
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
    /// Whether an effort was asked for of a query without a vector leg.
    effort_in_vain: bool,
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
    ///
    /// Documents that a leg scores alike have one rank, and its depth does not part them: what another leg finds is
    /// found by it too if it is as good as the last one within its depth. Of what it alone finds as good as that it
    /// gives 4,096 more at most, those with the least ids; and a vector leg knows of no others.
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
            effort_in_vain: false,
        }
    }

    /// How rankings of several legs become one. Default: reciprocal ranks, with the constant 60. Of one leg nothing is
    /// fused: its scores stay as they are. The last call holds.
    pub fn fuse(mut self, fusion: Fusion) -> Self {
        self.fusion = fusion;
        self
    }

    /// Only documents that match; every leg looks at them alone. Several filters hold together. Default: all.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(Filter::narrowed(self.filter, filter));
        self
    }

    /// [`Leg::recall`] of all its vector legs, whatever was said of one. A query without a vector leg refuses it.
    pub fn recall(self, recall: f64) -> Self {
        self.effort(Effort::of(recall))
    }

    /// [`Leg::probes`] of all its vector legs, as [`Query::recall`].
    pub fn probes(self, probes: usize) -> Self {
        self.effort(Effort::Probes(probes))
    }

    /// [`Leg::exact`] of all its vector legs, as [`Query::recall`].
    pub fn exact(self) -> Self {
        self.effort(Effort::Exact)
    }

    pub(super) fn effort(mut self, effort: Effort) -> Self {
        let set = self.legs.iter_mut().map(|leg| leg.set_effort(effort));
        self.effort_in_vain = set.filter(|set| *set).count() == 0;
        self
    }

    /// The most hits. Default 10, at most [`Settings::limit_max`](crate::Settings::limit_max). With facets it may be 0:
    /// then no leg is asked, and the figures are all there is of an answer.
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
    ///
    /// Pages go on past [`Settings::limit_max`](crate::Settings::limit_max) hits, up to 100,000. From there on a page
    /// is what the query finds among the documents that were not shown: of one leg these are the next ones, and what
    /// several legs fuse begins with the best of the rest, ranked anew. With [`Query::limit_per`] pages end there:
    /// [`QueryResponse::more`](crate::query::QueryResponse::more) tells whether that was early.
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

    /// The columns of the hits. Default [`Select::Attributes`]. The last call holds.
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
    /// documents are read whatever that costs. Default: the query fails. Without either limit it changes nothing.
    pub fn partial(mut self) -> Self {
        self.partial = true;
        self
    }

    pub(super) fn is_grouped(&self) -> bool {
        self.diversity.as_ref().is_some_and(|diversity| diversity.groups)
    }

    /// The documents that other pages showed.
    pub(super) fn shown(&self) -> &[DocumentId] {
        self.after.as_ref().map_or(&[], QueryCursor::shown)
    }

    /// Whether the documents that were shown are left out before anything is ranked: there are so many of them that
    /// no leg goes as deep as they and a page. What they have in common with others counts for a diversity.
    pub(super) fn is_past_shown(&self, settings: &Settings) -> bool {
        self.diversity.is_none() && self.shown().len().saturating_add(self.limit) > settings.limit_max
    }

    /// Hits or groups of the answer, and those before them that the legs find.
    pub(super) fn reached(&self, settings: &Settings) -> usize {
        let shown = if self.is_past_shown(settings) { 0 } else { self.shown().len() };
        self.offset.saturating_add(self.limit).saturating_add(shown)
    }

    /// Hits or groups that are to be picked: what is reached, and one more that tells whether there are more.
    pub(super) fn wanted(&self, settings: &Settings) -> usize {
        self.reached(settings).saturating_add(1)
    }

    /// Hits that are ranked, at least.
    pub(super) fn ranked(&self, settings: &Settings) -> usize {
        self.wanted(settings).saturating_mul(self.each())
    }

    /// Hits of a group.
    fn each(&self) -> usize {
        self.diversity.as_ref().filter(|diversity| diversity.groups).map_or(1, |d| d.limit)
    }

    /// Whether another page may follow by a cursor.
    pub(super) fn has_pages(&self) -> bool {
        !self.is_grouped() && self.offset == 0
    }

    /// The deepest that a leg goes.
    pub(super) fn depth_max(settings: &Settings) -> usize {
        settings.limit_max.saturating_add(1)
    }

    /// How deep a leg goes at first.
    pub(super) fn depth(&self, leg: &Leg, settings: &Settings) -> usize {
        let depth = match self.legs.len() {
            1 => self.ranked(settings).max(leg.depth.unwrap_or_default()),
            _ => self.deep(leg.depth, settings),
        };
        let looked_at = self.rescores.first().map_or(0, |rescore| self.deep(rescore.wanted(), settings));
        depth.max(looked_at).min(Self::depth_max(settings))
    }

    /// A depth that may have been given.
    pub(super) fn deep(&self, given: Option<usize>, settings: &Settings) -> usize {
        let reached = || self.reached(settings).saturating_mul(self.each());
        given.unwrap_or_else(|| {
            reached().saturating_mul(DEPTH_TIMES).max(DEPTH_MIN).min(Self::depth_max(settings))
        })
    }

    /// Where the next page begins after a page of these, if there are more hits.
    pub(super) fn cursor(
        &self,
        page: impl Iterator<Item = DocumentId>,
        more: bool,
        settings: &Settings,
    ) -> Option<QueryCursor> {
        if !more || !self.has_pages() {
            return None;
        }
        let shown: Vec<DocumentId> = self.shown().iter().cloned().chain(page).collect();
        let most = if self.diversity.is_some() { settings.limit_max } else { CURSOR_IDS_MAX };
        (shown.len() < most).then(|| QueryCursor::new(shown))
    }

    /// The filters that documents are ranked by, wherever they stand.
    pub(super) fn ranking_filters(&self) -> impl Iterator<Item = &Filter> {
        let texts = self.legs.iter().filter_map(Leg::as_text);
        let texts = texts.chain(self.computes.iter().filter_map(|(_, compute)| compute.text()));
        let values = self.rescores.iter().filter_map(Rescore::value);
        let values = values.chain(self.computes.iter().filter_map(|(_, compute)| compute.value()));
        let values = values.chain(texts.flat_map(TextQuery::ranks));
        values.flat_map(Rank::filters)
    }

    /// What is wrong whatever the schema.
    pub(super) fn check(&self, settings: &Settings) -> Result<()> {
        let alone = self.limit == 0 && !self.facets.is_empty();
        if !alone {
            check_limit("limit", self.limit, settings)?;
        }
        self.diversity.as_ref().map_or(Ok(()), Diversity::check)?;
        if !alone {
            let asked = self.offset.saturating_add(self.limit).saturating_mul(self.each());
            check_limit("offset and limit", asked, settings)?;
        }
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
        if self.effort_in_vain {
            return Err(Error::invalid(
                "recall, probes and exact are of vector legs alone: the query has none",
            ));
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
        self.facets.iter().try_for_each(|(name, _)| check_name("facet", name))?;
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
        self.rescores.iter().try_for_each(Rescore::check)?;
        for depth in self.rescores.iter().filter_map(Rescore::wanted) {
            check_limit("depth of a rescoring", depth, settings)?;
            let asked = self.offset.saturating_add(self.limit).saturating_mul(self.each());
            if depth < asked {
                return Err(Error::invalid(format!(
                    "bad depth of a rescoring: fewer than the query asks for. depth=`{depth}` hits=`{asked}`"
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

/// Refuses a name that is longer than that of a column may be.
pub(super) fn check_name(of: &str, name: &str) -> Result<()> {
    if name.len() <= COLUMN_NAME_BYTES_MAX {
        return Ok(());
    }
    Err(Error::limit(format!(
        "name of a {of} of {} bytes: at most {COLUMN_NAME_BYTES_MAX} are allowed",
        name.len()
    )))
}

pub(super) fn check_limit(what: &str, limit: usize, settings: &Settings) -> Result<()> {
    if (1..=settings.limit_max).contains(&limit) {
        return Ok(());
    }
    Err(Error::limit(format!("bad {what}: 1 to {} are allowed. {what}=`{limit}`", settings.limit_max)))
}
