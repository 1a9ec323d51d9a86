//! Reads of the newest state: behind the methods of a [`Namespace`], compiled once.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Namespace, Snapshot};
use crate::env::Moment;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::query::{
    Aggregated, Aggregation, Page, Query, QueryResponse, RecallCheck, RecallReport, Scan, Select, too_late,
};
use crate::types::{Document, DocumentId};

/// How often a read starts over because files of its state were collected. Each attempt has a newer manifest, whose files
/// are kept for the grace: only a process that is suspended for hours fails more than once.
const READ_ATTEMPTS_MAX: u32 = 4;

impl Namespace {
    /// Reads the state as it is known now. If files of it are gone, the newer state that replaced it is read instead.
    async fn read_newest<T, F>(&self, read: impl Fn(Snapshot) -> F + Send + Sync) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        for _ in 1..READ_ATTEMPTS_MAX {
            match read(Snapshot::new(&self.engine)?).await {
                Err(e) if e.is(ErrorKind::SnapshotExpired) => {}
                outcome => return outcome,
            }
        }
        match read(Snapshot::new(&self.engine)?).await {
            // The caller holds no snapshot, so it must not be asked to take another.
            Err(e) if e.is(ErrorKind::SnapshotExpired) => Err(self.engine.overtaken_error()),
            outcome => outcome,
        }
    }

    /// Reads the state after every write that was acknowledged before the call.
    pub(super) async fn read_strong<T, F>(&self, read: impl Fn(Snapshot) -> F + Send + Sync) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        self.engine.catch_up().await?;
        self.read_newest(read).await
    }

    pub(super) fn get_only(&self, id: DocumentId) -> BoxFuture<'_, Result<Option<Document>>> {
        async move { Ok(self.read_documents(&[id]).await?.pop().flatten()) }.boxed()
    }

    pub(super) fn get_all(&self, ids: Vec<DocumentId>) -> BoxFuture<'_, Result<Vec<Option<Document>>>> {
        async move { self.read_documents(&ids).await }.boxed()
    }

    async fn read_documents(&self, ids: &[DocumentId]) -> Result<Vec<Option<Document>>> {
        let before = Snapshot::new(&self.engine)?;
        // The read is speculative: most often there are no newer writes, and it was of the newest state.
        let (newest, early) =
            futures::join!(self.engine.catch_up(), before.read_documents(ids, &Select::All));
        newest?;
        if self.engine.sequence() == before.sequence() && early.is_ok() {
            return early;
        }
        self.read_newest(|now| async move { now.read_documents(ids, &Select::All).await }).await
    }

    pub(super) fn scan_page(&self, scan: Scan) -> BoxFuture<'_, Result<Page>> {
        async move {
            let scan = &scan;
            self.read_strong(|now| async move { now.read_page(scan).await }).await
        }
        .boxed()
    }

    pub(super) fn answer(&self, query: Query) -> BoxFuture<'_, Result<QueryResponse>> {
        async move {
            let mut answers = self.run_queries(&[query]).await?;
            answers.pop().ok_or_else(|| Error::internal("a query without an answer"))
        }
        .boxed()
    }

    pub(super) fn answer_all(&self, queries: Vec<Query>) -> BoxFuture<'_, Result<Vec<QueryResponse>>> {
        async move { self.run_queries(&queries).await }.boxed()
    }

    async fn run_queries(&self, queries: &[Query]) -> Result<Vec<QueryResponse>> {
        // All queries see the state that this one request finds, so the shortest time limit holds for it.
        let called = self.engine.context.env.moment();
        self.catch_up_within(queries.iter().filter_map(Query::time_limit).min(), called).await?;
        self.read_newest(|now| async move { now.run_queries(queries, called).await }).await
    }

    async fn catch_up_within(&self, limit: Option<Duration>, called: Moment) -> Result<()> {
        let env = &self.engine.context.env;
        match limit {
            Some(limit) => {
                let left = limit.saturating_sub(env.elapsed(called));
                env.timeout(left, self.engine.catch_up()).await.unwrap_or_else(|| Err(too_late()))
            }
            None => self.engine.catch_up().await,
        }
    }

    pub(super) fn count_rows(&self, filter: Filter) -> BoxFuture<'_, Result<u64>> {
        async move {
            let filter = &filter;
            self.read_strong(|now| async move { now.read_count(filter).await }).await
        }
        .boxed()
    }

    pub(super) fn compute_aggregation(&self, aggregation: Aggregation) -> BoxFuture<'_, Result<Aggregated>> {
        async move {
            let aggregation = &aggregation;
            self.read_strong(|now| async move { now.read_aggregation(aggregation).await }).await
        }
        .boxed()
    }

    pub(super) fn check_recall(&self, check: RecallCheck) -> BoxFuture<'_, Result<RecallReport>> {
        async move {
            let check = &check;
            self.read_strong(|now| async move { now.read_recall(check).await }).await
        }
        .boxed()
    }
}
