//! A namespace: one searchable collection of documents.
#![expect(clippy::must_use_candidate, reason = "rustc warns of a boxed future that nobody awaits")]

mod lease;
mod newest;
mod snapshot;
mod upkeep;

pub(crate) use lease::Lease;
pub use snapshot::{Consistency, Snapshot};

use std::fmt;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::codec::u64_of;
use crate::engine::{Backlog, Engine, mark_closed};
use crate::env::Cost;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::maintenance::MaintenanceScheduler;
use crate::query::{Aggregated, Aggregation, Page, Query, QueryResponse, RecallCheck, RecallReport, Scan};
use crate::schema::Schema;
use crate::settings::Backpressure;
use crate::types::{Document, DocumentId, NamespaceName, Sequence, WriteReceipt};
use crate::write::{CheckedBatch, Committer, WriteBatch, seal};

/// A handle to an open namespace. Clones share its state, and so do all handles of a name that one [`Database`] opened.
///
/// Dropping the last one loses nothing acknowledged. Its state stays in memory, so that opening the namespace again is
/// free, within [`Settings::idle_bytes_max`](crate::Settings::idle_bytes_max).
///
/// [`Database`]: crate::Database
///
/// Reads are strong unless said otherwise: they see every write that was acknowledged, in any process,
/// before they were called. See [`Namespace::snapshot`] for others.
#[doc(alias("collection", "table"))]
#[derive(Clone)]
pub struct Namespace {
    engine: Arc<Engine>,
    committer: Arc<Committer>,
    maintenance: Arc<MaintenanceScheduler>,
    /// Notifies the database when the last handle is dropped.
    lease: Option<Arc<Lease>>,
}

impl Namespace {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine, committer: Arc::default(), maintenance: Arc::default(), lease: None }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &NamespaceName {
        &self.engine.name
    }

    /// The schema.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.engine.schema
    }

    /// Which incarnation of its name this is.
    pub(crate) fn incarnation(&self) -> u32 {
        self.engine.incarnation.number
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.committer.is_closed() && !self.engine.state().sealed
    }

    /// Writes a batch, whole or not at all. When this returns, the batch is durable on the store, and every
    /// later strong read in any process sees it. Dropping the future does not stop a batch that is under way.
    ///
    /// Costs one put, if no other process writes at the same time.
    ///
    /// ```
    /// # use elacsym::{Database, Document, Filter, IdKind, Schema, WriteBatch};
    /// # use elacsym::schema::AttributeType;
    /// # tokio_test(async {
    /// # let db = Database::open("memory://").await?;
    /// # let schema = Schema::builder(IdKind::U64).attribute("n", AttributeType::Int).build()?;
    /// # let docs = db.create_namespace("docs", schema).await?;
    /// docs.write(WriteBatch::new().upsert(Document::new(1).with("n", 1))).await?;
    /// let again = WriteBatch::new().patch_if(Document::new(1).with("n", 2), Filter::eq("n", 1));
    /// assert_eq!(docs.write(again.clone()).await?.patched, 1);
    /// assert_eq!(docs.write(again).await?.skipped, 1);
    /// # Ok(()) });
    /// # fn tokio_test(f: impl Future<Output = elacsym::Result<()>>) {
    /// #     tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(f).unwrap();
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`ErrorKind::Invalid`] and [`ErrorKind::LimitExceeded`] for a batch that is wrong or too large:
    ///   nothing was written.
    /// - [`ErrorKind::Backpressure`] if too much waits to be flushed and the settings say
    ///   [`Backpressure::Refuse`]: nothing was written.
    /// - The error of the flush if too much waits to be flushed and the settings say [`Backpressure::FlushInline`]: nothing
    ///   was written. It is returned again, without a new attempt, for 1 s after the first failure, twice as long after
    ///   each further one, 60 s at most.
    /// - [`ErrorKind::Indeterminate`] if the store gave no clear answer for
    ///   [`Settings::write_timeout`](crate::Settings::write_timeout): the batch may be written.
    /// - [`ErrorKind::Unavailable`] if the store does not answer, or if other processes took the next place in the log
    ///   again and again for that time: nothing was written.
    /// - [`ErrorKind::UnsupportedVersion`] if a newer version of this crate uses a feature in the namespace that writers
    ///   have to know: nothing was written. Reads go on.
    /// - [`ErrorKind::Deleted`] after the namespace was deleted, [`ErrorKind::Closed`] after `close`.
    #[doc(alias("upsert", "insert", "put", "add"))]
    pub fn write(&self, batch: impl Into<WriteBatch>) -> BoxFuture<'_, Result<WriteReceipt>> {
        self.write_batch(batch.into())
    }

    fn write_batch(&self, batch: WriteBatch) -> BoxFuture<'_, Result<WriteReceipt>> {
        async move {
            // Before the backpressure: a batch that is wrong is refused at once, not after a flush.
            let batch = self.check_batch(batch).await?;
            self.engine.check_writable()?;
            self.apply_backpressure().await?;
            let receipt = self.committer.write(&self.engine, batch).await?;
            // In a task of its own: this write is durable, and only later writes and reads gain from a flush.
            self.flush_if_due();
            Ok(receipt)
        }
        .boxed()
    }

    async fn check_batch(&self, batch: WriteBatch) -> Result<CheckedBatch> {
        let (schema, settings) = (Arc::clone(&self.engine.schema), Arc::clone(&self.engine.context.settings));
        let cost = Cost::operations(batch.item_count());
        self.engine.context.env.compute(cost, move || CheckedBatch::new(&schema, &settings, batch)).await?
    }

    /// Stalls or refuses a write when the tail is too long. The tail is never hidden from reads, so it must not grow
    /// without bound: every process has it in memory, and every query scans it.
    async fn apply_backpressure(&self) -> Result<()> {
        let settings = &self.engine.context.settings;
        let is_over = || {
            let backlog = self.engine.backlog();
            backlog.bytes > settings.tail_bytes_max || backlog.entries > u64_of(settings.tail_entries_max)
        };
        if !is_over() {
            return Ok(());
        }
        if settings.backpressure == Backpressure::Refuse {
            // Another process may have flushed, and this one has not read its manifest yet.
            self.engine.refresh_newest_manifest().await?;
            if is_over() {
                // No write gets through that could start one later: a flush that failed once would never be repeated.
                self.flush_if_due();
                let Backlog { bytes, entries } = self.engine.backlog();
                return Err(Error::new(
                    ErrorKind::Backpressure,
                    format!(
                        "the tail is too large, retry after a flush. bytes=`{bytes}` entries=`{entries}`"
                    ),
                ));
            }
            return Ok(());
        }
        self.maintenance.flush_while(&self.engine, is_over).await
    }

    fn flush_if_due(&self) {
        self.maintenance.start_flush_if(&self.engine, |engine| {
            engine.context.settings.auto_flush && engine.backlog().calls_for_flush(&engine.context.settings)
        });
    }

    /// Takes a snapshot: all its reads see the same state.
    ///
    /// ```
    /// # use elacsym::{Consistency, Database, Document, IdKind, Scan, Schema, WriteBatch};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
    /// # let db = Database::open("memory://").await?;
    /// # let docs = db.create_namespace("docs", Schema::builder(IdKind::U64).build()?).await?;
    /// docs.write(WriteBatch::new().upsert(Document::new(1))).await?;
    /// let snapshot = docs.snapshot(Consistency::Strong).await?;
    /// docs.write(WriteBatch::new().delete(1).upsert(Document::new(2))).await?;
    /// assert_eq!(snapshot.scan(Scan::new()).await?.rows.documents()?, [Document::new(1)]);
    /// assert_eq!(docs.scan(Scan::new()).await?.rows.documents()?, [Document::new(2)]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the store does not answer, [`ErrorKind::Deleted`] after a deletion.
    pub fn snapshot(&self, consistency: Consistency) -> BoxFuture<'_, Result<Snapshot>> {
        self.take_snapshot(consistency).boxed()
    }

    async fn take_snapshot(&self, consistency: Consistency) -> Result<Snapshot> {
        let may_be_behind = match consistency {
            Consistency::Strong => true,
            Consistency::Eventual => false,
            Consistency::AtLeast(sequence) => self.engine.sequence() < sequence,
        };
        if may_be_behind {
            self.engine.catch_up().await?;
        }
        // A snapshot lasts for the grace from when its manifest was the newest.
        self.engine.refresh_if_stale().await;
        let snapshot = Snapshot::new(&self.engine)?;
        if let Consistency::AtLeast(sequence) = consistency
            && snapshot.sequence() < sequence
        {
            return Err(Error::invalid(format!("no write has this sequence yet. sequence=`{sequence}`")));
        }
        Ok(snapshot)
    }

    /// How many documents there are in the newest state.
    ///
    /// # Errors
    /// As [`Snapshot::count`].
    pub fn count(&self) -> BoxFuture<'_, Result<u64>> {
        self.read_strong(|now| async move { now.count().await }).boxed()
    }

    /// How many documents match in the newest state. See [`Snapshot::count_matching`].
    ///
    /// ```
    /// # use elacsym::*;
    /// # use elacsym::schema::AttributeType;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
    /// # let schema = Schema::builder(IdKind::U64).attribute("year", AttributeType::Int).build()?;
    /// # let papers = Database::open("memory://").await?.create_namespace("papers", schema).await?;
    /// papers.write([1998, 2004, 2024].map(|year| Document::new(year).with("year", year))).await?;
    /// assert_eq!(papers.count_matching(Filter::gte("year", 2000)).await?, 2);
    /// assert_eq!(papers.count().await?, 3);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Snapshot::count_matching`].
    pub fn count_matching(&self, filter: impl Into<Filter>) -> BoxFuture<'_, Result<u64>> {
        self.count_rows(filter.into())
    }

    /// The documents of these ids, whole, in their order. One round trip when the namespace is warm: the request for newer
    /// writes and the read of the rows are sent together.
    ///
    /// # Errors
    /// As [`Namespace::snapshot`]; [`ErrorKind::Invalid`] for ids of another kind.
    pub fn get<I: Into<DocumentId>>(
        &self,
        ids: impl IntoIterator<Item = I>,
    ) -> BoxFuture<'_, Result<Vec<Option<Document>>>> {
        self.get_all(ids.into_iter().map(Into::into).collect())
    }

    /// The document of an id, whole; `None` if there is none. Costs as much as [`Namespace::get`].
    ///
    /// # Errors
    /// As [`Namespace::get`].
    #[doc(alias = "fetch")]
    pub fn get_one(&self, id: impl Into<DocumentId>) -> BoxFuture<'_, Result<Option<Document>>> {
        self.get_only(id.into())
    }

    /// One page of documents in order of their ids.
    ///
    /// # Errors
    /// As [`Snapshot::scan`].
    pub fn scan(&self, scan: impl Into<Scan>) -> BoxFuture<'_, Result<Page>> {
        self.scan_page(scan.into())
    }

    /// Runs a query on the newest state. See [`Snapshot::query`].
    ///
    /// # Errors
    /// As [`Snapshot::query`].
    #[doc(alias = "search")]
    pub fn query(&self, query: impl Into<Query>) -> BoxFuture<'_, Result<QueryResponse>> {
        self.answer(query.into())
    }

    /// Several queries of one state, in their order. See [`Snapshot::query_all`].
    ///
    /// # Errors
    /// As [`Snapshot::query_all`].
    pub fn query_all<Q: Into<Query>>(
        &self,
        queries: impl IntoIterator<Item = Q>,
    ) -> BoxFuture<'_, Result<Vec<QueryResponse>>> {
        self.answer_all(queries.into_iter().map(Into::into).collect())
    }

    /// Counts, sums, averages and facets of the documents that match, with strong consistency. See
    /// [`Snapshot::aggregate`].
    ///
    /// # Errors
    /// As [`Snapshot::aggregate`].
    #[doc(alias("facet", "aggregations"))]
    pub fn aggregate(&self, aggregation: impl Into<Aggregation>) -> BoxFuture<'_, Result<Aggregated>> {
        self.compute_aggregation(aggregation.into())
    }

    /// Measures the recall of approximate search on the stored vectors. See [`Snapshot::measure_recall`].
    ///
    /// # Errors
    /// As [`Snapshot::query`].
    pub fn measure_recall(&self, check: impl Into<RecallCheck>) -> BoxFuture<'_, Result<RecallReport>> {
        self.check_recall(check.into())
    }

    /// Refuses new writes through this handle and its clones, and waits for those under way, however large they are.
    pub fn close(&self) -> BoxFuture<'_, ()> {
        // Not flushed: the log has everything that was acknowledged, and whoever opens the namespace next reads it.
        self.committer.close(&self.engine)
    }

    /// Seals the log: no write comes after this in any process.
    pub(crate) async fn seal_log(&self) -> Result<Sequence> {
        let sequence = seal(&self.engine).await?;
        // The seal decides. CLOSED only spares a listing of names the log, and the next process that opens the name
        // writes it if this one cannot.
        if let Err(error) = mark_closed(&self.engine.context, &self.engine.keys, sequence).await {
            tracing::debug!(namespace = %self.engine.name, %error, "a sealed incarnation was not marked as closed");
        }
        Ok(sequence)
    }
}

/// No value of a document is shown, not even of batches on their way.
impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespace").field("name", self.name()).finish_non_exhaustive()
    }
}
