//! Reads of one state.
#![expect(clippy::must_use_candidate, reason = "rustc warns of a boxed future that nobody awaits")]

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, stream};

use crate::engine::Engine;
use crate::env::Moment;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::query::{
    Aggregated, Aggregation, Explain, Page, Query, QueryResponse, RecallCheck, RecallReport, Rows, Scan,
    Select, run_queries,
};
use crate::types::{Document, DocumentId, Sequence};
use crate::view::View;

/// The most queries of one call: all of them have their candidates in memory at once.
const QUERIES_MAX: usize = 16;

/// Which state a snapshot shows.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::*;
/// # let schema = Schema::builder(IdKind::U64).build()?;
/// # let docs = Database::open("memory://").await?.create_namespace("docs", schema).await?;
/// let receipt = docs.write(Document::new(1)).await?;
/// // In any process that was told the sequence.
/// let after = docs.snapshot(Consistency::AtLeast(receipt.sequence)).await?;
/// assert_eq!(after.count().await?, 1);
/// // Without a request; another process may see an older state.
/// let quick = docs.snapshot(Consistency::Eventual).await?;
/// assert!(quick.sequence() >= receipt.sequence);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Consistency {
    /// Every write that was acknowledged, in any process, before the call. Costs one request.
    #[default]
    Strong,
    /// What this process knows. Costs nothing, or one list if no newer manifest was looked for within an eighth of the grace,
    /// at most an hour.
    Eventual,
    /// At least this write: read-your-writes across processes. Costs nothing if it is known here.
    AtLeast(Sequence),
}

/// One state of a namespace. It holds what it needs in memory; the files it names stay on the store at
/// least for [`Settings::grace`](crate::Settings::grace) after newer ones took their place. If
/// one is gone, reads end with [`ErrorKind::SnapshotExpired`]: take a new snapshot.
#[derive(Clone)]
pub struct Snapshot {
    engine: Arc<Engine>,
    view: View,
}

impl Snapshot {
    /// The state as this process knows it.
    pub(super) fn new(engine: &Arc<Engine>) -> Result<Self> {
        Ok(Self { engine: Arc::clone(engine), view: engine.view()? })
    }

    /// The outcome of a read. If a file is gone, this finds out why: a newer manifest has replaced the one that names it,
    /// and the snapshot has expired; or the file is lost.
    async fn explain_outcome<T>(&self, outcome: Result<T>) -> Result<T> {
        match outcome {
            Err(gone) if gone.is_missing() => {
                self.engine.explain_missing_file(self.view.manifest, &gone).await?;
                let why = format!("the snapshot is too old, take a new one: {gone}");
                Err(Error::new(ErrorKind::SnapshotExpired, why))
            }
            outcome => outcome,
        }
    }

    /// The newest write that the snapshot shows.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        self.view.sequence
    }

    /// How many documents there are.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the store does not answer, and, as of every read,
    /// [`ErrorKind::SnapshotExpired`] if what it needs has been collected.
    pub fn count(&self) -> BoxFuture<'_, Result<u64>> {
        async move {
            let live = self.explain_outcome(self.view.find_all_live_rows().await).await?;
            Ok(live.iter().map(|(_, rows)| rows.len()).sum())
        }
        .boxed()
    }

    /// How many documents match. No document is read where the attribute index has the answer.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a wrong filter.
    pub fn count_matching(&self, filter: impl Into<Filter>) -> BoxFuture<'_, Result<u64>> {
        self.count_rows(filter.into())
    }

    fn count_rows(&self, filter: Filter) -> BoxFuture<'_, Result<u64>> {
        async move { self.read_count(&filter).await }.boxed()
    }

    pub(super) async fn read_count(&self, filter: &Filter) -> Result<u64> {
        let bound = self.view.bind(Some(filter))?;
        let matching = self.view.find_matching_rows(bound.as_ref()).await;
        let matching = self.explain_outcome(matching).await?;
        Ok(matching.iter().map(|(_, rows)| rows.len()).sum())
    }

    /// Counts, sums, least and greatest values, averages and facets of the documents that match.
    ///
    /// The attribute index answers counts by one attribute and figures over all matches. Everything else is computed from
    /// the attributes themselves, read in batches.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a wrong filter, attribute or name,
    /// [`ErrorKind::LimitExceeded`] for more than [`Aggregation`] allows, and for a
    /// sum that does not fit its type.
    pub fn aggregate(&self, aggregation: impl Into<Aggregation>) -> BoxFuture<'_, Result<Aggregated>> {
        self.compute_aggregation(aggregation.into())
    }

    fn compute_aggregation(&self, aggregation: Aggregation) -> BoxFuture<'_, Result<Aggregated>> {
        async move { self.read_aggregation(&aggregation).await }.boxed()
    }

    pub(super) async fn read_aggregation(&self, aggregation: &Aggregation) -> Result<Aggregated> {
        self.explain_outcome(aggregation.run_on(&self.view).await).await
    }

    /// The documents of these ids, whole, in their order.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for ids of another kind than the namespace's.
    pub fn get<I: Into<DocumentId>>(
        &self,
        ids: impl IntoIterator<Item = I>,
    ) -> BoxFuture<'_, Result<Vec<Option<Document>>>> {
        self.get_all(ids.into_iter().map(Into::into).collect(), Select::All)
    }

    /// The document of an id, whole; `None` if there is none.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub fn get_one(&self, id: impl Into<DocumentId>) -> BoxFuture<'_, Result<Option<Document>>> {
        self.get_only(id.into())
    }

    /// The documents of these ids with some of their columns.
    ///
    /// # Errors
    /// As [`Snapshot::get`], and for a column that does not exist.
    pub fn get_columns<I: Into<DocumentId>>(
        &self,
        ids: impl IntoIterator<Item = I>,
        select: impl Into<Select>,
    ) -> BoxFuture<'_, Result<Vec<Option<Document>>>> {
        self.get_all(ids.into_iter().map(Into::into).collect(), select.into())
    }

    fn get_only(&self, id: DocumentId) -> BoxFuture<'_, Result<Option<Document>>> {
        async move { Ok(self.read_documents(&[id], &Select::All).await?.pop().flatten()) }.boxed()
    }

    fn get_all(&self, ids: Vec<DocumentId>, select: Select) -> BoxFuture<'_, Result<Vec<Option<Document>>>> {
        async move { self.read_documents(&ids, &select).await }.boxed()
    }

    pub(super) async fn read_documents(
        &self,
        ids: &[DocumentId],
        select: &Select,
    ) -> Result<Vec<Option<Document>>> {
        // Ids of another kind would be looked up in vain, and the caller told that they do not exist.
        ids.iter().try_for_each(|id| id.check(self.view.schema.id()))?;
        self.explain_outcome(self.view.get(ids, &select.column_indexes(&self.view.schema)?).await).await
    }

    /// One page of documents in order of their ids.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a wrong filter, selection or cursor,
    /// [`ErrorKind::LimitExceeded`] for a wrong limit.
    pub fn scan(&self, scan: impl Into<Scan>) -> BoxFuture<'_, Result<Page>> {
        self.scan_page(scan.into())
    }

    fn scan_page(&self, scan: Scan) -> BoxFuture<'_, Result<Page>> {
        async move { self.read_page(&scan).await }.boxed()
    }

    pub(super) async fn read_page(&self, scan: &Scan) -> Result<Page> {
        self.explain_outcome(scan.read_page(&self.view).await).await
    }

    /// All documents of a scan, in order of their ids, page by page: each item has up to [`Scan::limit`] documents. A
    /// page is read when the stream is polled for it. Without any document there is one empty page.
    ///
    /// ```
    /// # use elacsym::*;
    /// # use futures::TryStreamExt;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
    /// # let db = Database::open("memory://").await?;
    /// # let docs = db.create_namespace("docs", Schema::builder(IdKind::U64).build()?).await?;
    /// docs.write((0..250).map(|id: u64| Document::new(id)).collect::<WriteBatch>()).await?;
    /// let snapshot = docs.snapshot(Consistency::Strong).await?;
    /// let mut pages = snapshot.stream(Scan::new().limit(100));
    /// let mut count = 0;
    /// while let Some(rows) = pages.try_next().await? {
    ///     count += rows.len();
    /// }
    /// assert_eq!(count, 250);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Snapshot::scan`]; the stream ends after an error.
    pub fn stream(&self, scan: impl Into<Scan>) -> BoxStream<'static, Result<Rows>> {
        self.stream_pages(scan.into())
    }

    fn stream_pages(&self, scan: Scan) -> BoxStream<'static, Result<Rows>> {
        stream::try_unfold((self.clone(), Some(scan)), |(snapshot, scan)| async move {
            let Some(scan) = scan else { return Ok(None) };
            let page = snapshot.read_page(&scan).await?;
            let next = page.cursor.map(|cursor| scan.after(cursor));
            Ok(Some((page.rows, (snapshot, next))))
        })
        .boxed()
    }

    /// Runs a query on this state: its legs, what fuses, rescores and groups their results, and the documents of the
    /// hits. A vector leg compares all vectors of the tail and of small segments, and finds of the others the share
    /// that [`Query::recall`] asks for; distances in the answer are exact.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a wrong column, vector, recall, filter or selection,
    /// [`ErrorKind::LimitExceeded`] for a wrong limit.
    pub fn query(&self, query: impl Into<Query>) -> BoxFuture<'_, Result<QueryResponse>> {
        self.answer(query.into())
    }

    fn answer(&self, query: Query) -> BoxFuture<'_, Result<QueryResponse>> {
        async move {
            let mut answers = self.run_queries(&[query], self.view.env.moment()).await?;
            answers.pop().ok_or_else(|| Error::internal("a query without an answer"))
        }
        .boxed()
    }

    /// Several queries at once, answered in their order. What they share is computed and read once.
    ///
    /// # Errors
    /// As [`Snapshot::query`]; [`ErrorKind::LimitExceeded`] for more than 16
    /// queries.
    pub fn query_all<Q: Into<Query>>(
        &self,
        queries: impl IntoIterator<Item = Q>,
    ) -> BoxFuture<'_, Result<Vec<QueryResponse>>> {
        self.answer_all(queries.into_iter().map(Into::into).collect())
    }

    fn answer_all(&self, queries: Vec<Query>) -> BoxFuture<'_, Result<Vec<QueryResponse>>> {
        async move { self.run_queries(&queries, self.view.env.moment()).await }.boxed()
    }

    /// The answers to queries whose time limits began at `called`.
    pub(super) async fn run_queries(&self, queries: &[Query], called: Moment) -> Result<Vec<QueryResponse>> {
        if queries.len() > QUERIES_MAX {
            let count = queries.len();
            return Err(Error::limit(format!(
                "too many queries: at most {QUERIES_MAX} are allowed. queries=`{count}`"
            )));
        }
        self.explain_outcome(run_queries(&self.view, queries, called).await).await
    }

    /// Describes what a query would do, without running it. Costs no request.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
    /// # use elacsym::*;
    /// # let schema = Schema::builder(IdKind::U64).vector("v", VectorType::F32, 2, Metric::Cosine).build()?;
    /// # let ns = Database::open("memory://").await?.create_namespace("docs", schema).await?;
    /// # ns.write(WriteBatch::new().upsert(Document::new(1).with("v", Vector::from([1.0, 0.0])))).await?;
    /// let snapshot = ns.snapshot(Consistency::Strong).await?;
    /// println!("{}", snapshot.explain(Query::nearest("v", [0.6, 0.8]))?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Snapshot::query`] for a wrong query.
    pub fn explain(&self, query: impl Into<Query>) -> Result<Explain> {
        Explain::new(&self.view, &query.into())
    }

    /// Searches for some of the stored vectors, approximately and exactly, and compares. It reads every vector
    /// for each of them: in a large namespace take a small sample.
    ///
    /// # Errors
    /// As [`Snapshot::query`].
    pub fn measure_recall(&self, check: impl Into<RecallCheck>) -> BoxFuture<'_, Result<RecallReport>> {
        self.check_recall(check.into())
    }

    fn check_recall(&self, check: RecallCheck) -> BoxFuture<'_, Result<RecallReport>> {
        async move { self.read_recall(&check).await }.boxed()
    }

    pub(super) async fn read_recall(&self, check: &RecallCheck) -> Result<RecallReport> {
        self.explain_outcome(check.measure_recall(&self.view).await).await
    }
}

/// No value of a document is shown.
impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("sequence", &self.sequence()).finish_non_exhaustive()
    }
}
