//! A namespace: one searchable collection of documents.

mod snapshot;

pub use snapshot::{Consistency, Snapshot};

use std::fmt;
use std::sync::Arc;

use crate::engine::{Engine, close_life};
use crate::error::{Error, ErrorKind, Result};
use crate::maintenance::{CompactReport, FlushReport, IndexProgress};
use crate::maintenance::{compact, flush, flush_while, index_progress};
use crate::query::{Aggregated, Aggregation, Page, Query, QueryResponse, RecallCheck, RecallReport, Scan};
use crate::schema::Schema;
use crate::settings::Backpressure;
use crate::types::{Document, DocumentId, NamespaceName, Sequence, WriteReceipt};
use crate::write::{Checked, Committer, WriteBatch, seal};

/// Batches above this size are checked on the blocking pool.
const INLINE_OPERATIONS: usize = 256;

/// A namespace, opened. Clones share all they know; dropping the last one loses nothing acknowledged.
///
/// Reads are strong unless said otherwise: they see every write that was acknowledged, in any process,
/// before they were called. See [`Namespace::snapshot`] for others.
#[derive(Clone)]
pub struct Namespace {
    engine: Arc<Engine>,
    committer: Arc<Committer>,
}

impl Namespace {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine, committer: Arc::default() }
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

    /// Which life of its name this is.
    pub(crate) fn life(&self) -> u32 {
        self.engine.life.number
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
    /// - [`ErrorKind::Backpressure`] if too much waits to be flushed and the settings say to refuse.
    /// - [`ErrorKind::Indeterminate`] if the store gave no clear answer for
    ///   [`Settings::write_timeout`](crate::Settings::write_timeout): the batch may be written.
    /// - [`ErrorKind::Unavailable`] if the store does not answer, or if other processes took the next place in the log
    ///   again and again for that time: nothing was written.
    /// - [`ErrorKind::Deleted`] after the namespace was deleted, [`ErrorKind::Closed`] after `close`.
    pub async fn write(&self, batch: WriteBatch) -> Result<WriteReceipt> {
        let batch = self.check(batch).await?;
        self.hold_back().await?;
        let receipt = self.committer.write(&self.engine, batch).await?;
        self.flush_if_due();
        Ok(receipt)
    }

    async fn check(&self, batch: WriteBatch) -> Result<Checked> {
        let (schema, settings) = (Arc::clone(&self.engine.schema), Arc::clone(&self.engine.context.settings));
        if batch.is_small(INLINE_OPERATIONS) {
            return Checked::new(&schema, &settings, batch);
        }
        self.engine.context.env.blocking(move || Checked::new(&schema, &settings, batch)).await?
    }

    /// With too much in the tail, flushes first or refuses.
    async fn hold_back(&self) -> Result<()> {
        let settings = &self.engine.context.settings;
        let over = || {
            let (bytes, entries) = self.engine.backlog();
            bytes > settings.tail_bytes_max || entries > settings.tail_entries_max
        };
        if !over() {
            return Ok(());
        }
        if settings.backpressure == Backpressure::Refuse {
            // Another process may have flushed without our knowing.
            self.engine.newest_manifest().await?;
            if over() {
                let (bytes, entries) = self.engine.backlog();
                return Err(Error::new(
                    ErrorKind::Backpressure,
                    format!("too much waits to be flushed: call flush. bytes=`{bytes}` entries=`{entries}`"),
                ));
            }
            return Ok(());
        }
        flush_while(&self.engine, over).await.map(drop)
    }

    fn flush_if_due(&self) {
        let engine = Arc::clone(&self.engine);
        let due = move || {
            let settings = &engine.context.settings;
            let (bytes, entries) = engine.backlog();
            settings.auto_flush
                && (bytes > settings.tail_bytes_flush || entries > settings.tail_entries_flush)
        };
        if !due() {
            return;
        }
        let engine = Arc::clone(&self.engine);
        self.engine.context.env.spawn(async move {
            if let Err(error) = flush_while(&engine, due).await {
                tracing::warn!(namespace = %engine.name, %error, "a flush failed; the next write tries again");
            }
        });
    }

    /// A snapshot: all reads of it see one state.
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
    pub async fn snapshot(&self, consistency: Consistency) -> Result<Snapshot> {
        let behind = match consistency {
            Consistency::Strong => true,
            Consistency::Eventual => false,
            Consistency::AtLeast(sequence) => self.engine.sequence() < sequence,
        };
        if behind {
            self.engine.catch_up().await?;
        }
        let view = self.engine.view()?;
        if let Consistency::AtLeast(sequence) = consistency
            && view.sequence < sequence
        {
            return Err(Error::invalid(format!("no write has this sequence yet. sequence=`{sequence}`")));
        }
        Ok(Snapshot::new(view))
    }

    /// The documents of these ids, whole, in their order. One round trip when the namespace is warm: the look
    /// for newer writes and the read of the rows go out together.
    ///
    /// # Errors
    /// As [`Namespace::snapshot`]; [`ErrorKind::Invalid`] for ids of another kind.
    pub async fn get(&self, ids: &[DocumentId]) -> Result<Vec<Option<Document>>> {
        let before = Snapshot::new(self.engine.view()?);
        let (newest, early) = futures::join!(self.engine.catch_up(), before.get(ids));
        newest?;
        let now = Snapshot::new(self.engine.view()?);
        if now.sequence() == before.sequence() && early.is_ok() {
            return early;
        }
        now.get(ids).await
    }

    /// One page of documents in order of their ids.
    ///
    /// # Errors
    /// As [`Snapshot::scan`].
    pub async fn scan(&self, scan: Scan) -> Result<Page> {
        self.snapshot(Consistency::Strong).await?.scan(scan).await
    }

    /// The nearest documents, with exact distances. See [`Snapshot::query`].
    ///
    /// # Errors
    /// As [`Snapshot::query`].
    pub async fn query(&self, query: Query) -> Result<QueryResponse> {
        self.snapshot(Consistency::Strong).await?.query(query).await
    }

    /// Several queries of one state, in their order. See [`Snapshot::query_all`].
    ///
    /// # Errors
    /// As [`Snapshot::query_all`].
    pub async fn query_all(&self, queries: &[Query]) -> Result<Vec<QueryResponse>> {
        self.snapshot(Consistency::Strong).await?.query_all(queries).await
    }

    /// Counts, sums, averages and facets of the documents that match, with strong consistency. See
    /// [`Snapshot::aggregate`].
    ///
    /// # Errors
    /// As [`Snapshot::aggregate`].
    pub async fn aggregate(&self, aggregation: &Aggregation) -> Result<Aggregated> {
        self.snapshot(Consistency::Strong).await?.aggregate(aggregation).await
    }

    /// Measures the recall of approximate search on what is stored. See [`Snapshot::measure_recall`].
    ///
    /// # Errors
    /// As [`Snapshot::query`].
    pub async fn measure_recall(&self, check: &RecallCheck) -> Result<RecallReport> {
        self.snapshot(Consistency::Strong).await?.measure_recall(check).await
    }

    /// Turns everything acknowledged so far into segments. Writes and reads go on meanwhile, and any number
    /// of processes may do this at once.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the store does not answer. Nothing is lost: the next flush does it.
    pub async fn flush(&self) -> Result<FlushReport> {
        flush(&self.engine).await
    }

    /// Merges all segments into as few as can be and drops dead rows. Writes, reads and flushes go on
    /// meanwhile, in any process. Files that are no longer named stay on the store until collection.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the store does not answer. Nothing is lost.
    pub async fn compact(&self) -> Result<CompactReport> {
        compact(&self.engine).await
    }

    /// How far a flush or compaction of this process, of any handle, is with indexing vectors; `None` while none
    /// does.
    #[must_use]
    pub fn index_progress(&self) -> Option<IndexProgress> {
        index_progress(&self.engine)
    }

    /// Refuses new writes through this handle and its clones, and waits for those under way, however large.
    pub async fn close(&self) {
        self.committer.close(&self.engine).await;
    }

    /// Seals the log: no write comes after this in any process.
    pub(crate) async fn delete(&self) -> Result<Sequence> {
        let sequence = seal(&self.engine).await?;
        // The seal decides; this only lets a listing tell, and whoever opens the name next can do it.
        if let Err(error) = close_life(&self.engine.context, &self.engine.keys, sequence).await {
            tracing::debug!(namespace = %self.engine.name, %error, "a sealed life was not marked as closed");
        }
        Ok(sequence)
    }
}

/// Nothing of a document is shown, whatever waits to be written.
impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespace").field("name", self.name()).finish_non_exhaustive()
    }
}
