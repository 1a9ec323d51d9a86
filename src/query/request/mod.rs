//! The query as callers build it: legs, filter, paging, and what is computed of the hits.

mod check;
mod json;
mod paging;

use std::time::Duration;

use super::leg::vector::Effort;
use super::rank::Diversity;
use super::{
    Aggregation, Compute, Fusion, Leg, Order, QueryCursor, Rank, Rescore, Select, TextQuery, VectorQuery,
};
use crate::filter::Filter;
use crate::types::Vector;

/// A search for the best documents: by one leg, or by several whose rankings are fused.
///
/// ```
/// use elacsym::{Filter, Leg, Query, TextQuery, Vector};
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
/// With serde, a query is JSON: [its form](crate::_docs::json).
///
/// ```
/// use elacsym::Query;
///
/// let json = r#"{"legs": [{"text": {"any": "cold storage", "in": "body"}}], "filter": ["year", "Gte", 2000]}"#;
/// let query: Query = serde_json::from_str(json).unwrap();
/// let error = serde_json::from_str::<Query>(r#"{"legs": [{"text": {"any": "cold storage"}}]}"#).unwrap_err();
/// assert!(error.to_string().starts_with("bad query at $.legs[0].text: a field is missing. field=`in`"));
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
/// | distinct patterns and fuzzy queries in the filters of one call | 128 | |
/// | memory of the filters of one call: values, names, and 64 bytes for each node | 64 MiB | |
/// | documents read for one response | [`Settings::answer_bytes_max`] | |
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
    /// Whether [`Query::recall`] or a sibling was called on a query without a vector leg. The builder cannot fail, so
    /// `check` reports it.
    effort_without_leg: bool,
}

impl Query {
    /// The documents whose vector in `column` is nearest to `vector` by the metric of the column. Documents
    /// without a vector there are left out. Equal distances are in order of ids.
    #[doc(alias("knn", "ann", "similar"))]
    pub fn nearest(column: impl Into<String>, vector: impl Into<Vector>) -> Self {
        Leg::nearest(column, vector).into()
    }

    /// The documents whose text matches, best first by BM25. Equal scores are in order of ids.
    ///
    /// ```
    /// use elacsym::Query;
    /// use elacsym::TextQuery;
    ///
    /// let query = Query::text(TextQuery::any("body", "cold object storage")).limit(5);
    /// ```
    #[doc(alias("bm25", "fts", "match"))]
    pub fn text(query: impl Into<TextQuery>) -> Self {
        Leg::text(query).into()
    }

    /// The documents in order of attributes: [`Leg::order_by`].
    #[doc(alias = "sort")]
    pub fn order_by(orders: impl IntoIterator<Item = Order>) -> Self {
        Leg::order_by(orders).into()
    }

    /// The documents that several legs rank, fused by [`Fusion::default`]. A document needs to be found by only one of
    /// them; an empty leg is not an error. Equal scores are in order of ids.
    ///
    /// Documents with equal scores in a leg share a rank, and the depth of the leg does not separate them: a document
    /// that another leg found, and that ties with the last one within the depth, counts as found by both. Of the ties
    /// that no other leg found, a leg returns at most 4,096 beyond its depth, those with the smallest ids; a vector leg
    /// does not know of any others.
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
            effort_without_leg: false,
        }
    }

    /// How the rankings of several legs are fused. Default: reciprocal ranks, with the constant 60. A single leg keeps
    /// its scores. The last call wins.
    pub fn fuse(mut self, fusion: Fusion) -> Self {
        self.fusion = fusion;
        self
    }

    /// Restricts all legs to documents that match. Several calls are combined with `and`. Default: all documents.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(Filter::narrowed(self.filter, filter));
        self
    }

    /// [`VectorQuery::recall`](crate::VectorQuery::recall) of all its vector legs, overriding what a leg had set. An error for a query without a vector leg.
    pub fn recall(self, recall: f64) -> Self {
        self.with_effort(Effort::for_recall(recall))
    }

    /// [`VectorQuery::probes`](crate::VectorQuery::probes) of all its vector legs, as [`Query::recall`].
    pub fn probes(self, probes: usize) -> Self {
        self.with_effort(Effort::Probes(probes))
    }

    /// [`VectorQuery::exact`](crate::VectorQuery::exact) of all its vector legs, as [`Query::recall`].
    pub fn exact(self) -> Self {
        self.with_effort(Effort::Exact)
    }

    fn with_effort(mut self, effort: Effort) -> Self {
        // `filter` and `count`, not `any`: every vector leg gets the effort, so the iterator must not stop early.
        let vector_legs = self.legs.iter_mut().map(|leg| leg.set_effort(effort));
        self.effort_without_leg = vector_legs.filter(|is_vector| *is_vector).count() == 0;
        self
    }

    /// The most hits. Default 10, at most [`Settings::limit_max`](crate::Settings::limit_max). With facets it may be 0:
    /// then no leg runs, and the response holds the facets alone.
    #[doc(alias("top_k", "k", "size"))]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Skips the first hits. Default 0. For pages on one [`Snapshot`](crate::Snapshot); while others write,
    /// use [`Query::after`].
    pub fn offset(mut self, offset: usize) -> Self {
        self.offset = offset;
        self
    }

    /// Continues after the hits of another page: [`QueryResponse::cursor`](crate::QueryResponse::cursor) of
    /// the same query. No document is returned twice, even if others write in between: a page holds the best documents
    /// that were not returned yet. Without writes, the pages together equal one long page if the depths of legs and
    /// rescorings are set and cover all pages; the default depths grow with the pages.
    ///
    /// Pages continue past [`Settings::limit_max`](crate::Settings::limit_max) hits, up to 100,000. From there on, the
    /// query runs on the documents that were not returned yet: a single leg continues its ranking, and several legs rank
    /// and fuse the remaining documents again. With [`Query::limit_per`] pages end there:
    /// [`QueryResponse::more`](crate::QueryResponse::more) reports whether documents are left.
    #[doc(alias("cursor", "search_after"))]
    pub fn after(mut self, cursor: impl Into<Option<QueryCursor>>) -> Self {
        self.after = cursor.into();
        self
    }

    /// At most `limit` hits with the same values in these attributes, the best ones. Null is a value like any other. At
    /// most 8 attributes, no vectors. Replaces [`Query::group_by`].
    pub fn limit_per<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>, limit: usize) -> Self {
        let columns = columns.into_iter().map(Into::into).collect();
        self.diversity = Some(Diversity { columns, limit, groups: false });
        self
    }

    /// Groups hits by their values in these attributes and keeps the best `hits` of each group. Groups are in order of
    /// their best hits; [`Query::limit`] and [`Query::offset`] count groups. Values and limits as in
    /// [`Query::limit_per`], which it replaces.
    ///
    /// No group is missed. A group holds the hits within the depth of the legs, which may be fewer than exist: a greater
    /// depth finds more.
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

    /// Rescores the best documents. Several rescorings run in order, at most 4.
    #[doc(alias = "rerank")]
    pub fn rescore(mut self, rescore: Rescore) -> Self {
        self.rescores.push(rescore);
        self
    }

    /// The columns of the hits. Default [`Select::Attributes`]. The last call wins.
    pub fn select(mut self, select: impl Into<Select>) -> Self {
        self.select = select.into();
        self
    }

    /// Adds a computed column, under a name that no stored column has. At most 64.
    pub fn compute(mut self, name: impl Into<String>, compute: Compute) -> Self {
        self.computes.push((name.into(), compute));
        self
    }

    /// Aggregates all documents that match the filter of the query, hits or not, under a name of its own: see
    /// [`Aggregation`]. Facets run concurrently with the legs and share their filtered rows. At most 16. A partial
    /// answer omits facets that ran out of time or budget.
    ///
    /// ```
    /// use elacsym::{Aggregation, Filter, Query, TextQuery};
    ///
    /// let query = Query::text(TextQuery::any("body", "cold storage"))
    ///     .filter(Filter::gte("year", 2000))
    ///     .facet("authors", Aggregation::new().group_by("author").groups(10));
    /// # let _ = query;
    /// ```
    #[doc(alias = "aggregations")]
    pub fn facet(mut self, name: impl Into<String>, facet: Aggregation) -> Self {
        self.facets.push((name.into(), facet));
        self
    }

    /// Ends the query this long after the call, with
    /// [`ErrorKind::DeadlineExceeded`](crate::ErrorKind::DeadlineExceeded) or as [`Query::partial`] says. The time
    /// includes the check for newer writes of [`Namespace::query`](crate::Namespace::query), which even a partial answer
    /// needs; for several queries in one call, that check gets the shortest of their timeouts. Default: none.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    pub(crate) fn time_limit(&self) -> Option<Duration> {
        self.timeout
    }

    /// Limits the bytes that the query requests from the store. Instead of exceeding the limit it ends with
    /// [`ErrorKind::BudgetExceeded`](crate::ErrorKind::BudgetExceeded), or as [`Query::partial`] says. Cached ranges are
    /// free. Default: no limit.
    pub fn bytes_max(mut self, bytes: u64) -> Self {
        self.bytes_max = Some(bytes);
        self
    }

    /// Leaves out legs that exceed [`Query::timeout`] or [`Query::bytes_max`] and lists them in
    /// [`QueryResponse::unfinished`](crate::QueryResponse::unfinished). The other legs are fused, and their
    /// documents are read regardless of the limits. Default: the query fails. No effect without either limit.
    pub fn partial(mut self) -> Self {
        self.partial = true;
        self
    }

    /// Every filter inside a [`Rank`], in text queries, rescorings and computed columns. They count towards the limits
    /// of filters as those that select documents do.
    pub(super) fn ranking_filters(&self) -> impl Iterator<Item = &Filter> {
        let texts = self.legs.iter().filter_map(Leg::as_text);
        let texts = texts.chain(self.computes.iter().filter_map(|(_, compute)| compute.as_text()));
        let ranks = self.rescores.iter().filter_map(Rescore::as_rank);
        let ranks = ranks.chain(self.computes.iter().filter_map(|(_, compute)| compute.as_rank()));
        let ranks = ranks.chain(texts.flat_map(TextQuery::ranks));
        ranks.flat_map(Rank::filters)
    }
}

impl From<Leg> for Query {
    fn from(leg: Leg) -> Self {
        Self::hybrid([leg])
    }
}

impl From<TextQuery> for Query {
    fn from(query: TextQuery) -> Self {
        Leg::from(query).into()
    }
}

impl From<VectorQuery> for Query {
    fn from(query: VectorQuery) -> Self {
        Leg::from(query).into()
    }
}

/// A copy, for a query that is asked more than once.
impl From<&Query> for Query {
    fn from(query: &Query) -> Self {
        query.clone()
    }
}
