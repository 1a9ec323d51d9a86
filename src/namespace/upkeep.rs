//! What keeps a namespace up, and tells how it is.
#![expect(clippy::must_use_candidate, reason = "rustc warns of a boxed future that nobody awaits")]

use futures::future::BoxFuture;

use super::Namespace;
use crate::error::Result;
use crate::maintenance::{
    CollectReport, CompactReport, FlushReport, Garbage, IndexProgress, MaintainReport, MaintenanceScheduler,
    NamespaceStats, index_progress,
};

impl Namespace {
    /// Writes everything acknowledged so far to segments. Writes and reads continue meanwhile, and any number of processes
    /// may flush at once; in one process calls share the work. It runs in a task of its own, which ends when every future
    /// that waits for it is dropped.
    ///
    /// When it returns, vectors that came in large batches are indexed, too, in merges of their segments; should one of these
    /// fail, that is logged, and the next flush tries again. Other merges that are due begin in a task of their own: see
    /// [`Settings::auto_compact`](crate::Settings::auto_compact).
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if the store does not answer; [`ErrorKind::UnsupportedVersion`](crate::ErrorKind::UnsupportedVersion) as of
    /// [`Namespace::write`]. Nothing is lost: the next flush does it.
    pub fn flush(&self) -> BoxFuture<'_, Result<FlushReport>> {
        self.maintenance.flush(&self.engine)
    }

    /// Merges all segments into as few as possible and drops dead rows. A merge of some segments that is under way is finished
    /// first. Writes, reads and flushes continue meanwhile, in
    /// any process. Files that are no longer named stay on the store until they are [collected](Self::collect). It runs in a
    /// task of its own, which ends when every future that waits for it is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if the store does not answer; [`ErrorKind::UnsupportedVersion`](crate::ErrorKind::UnsupportedVersion) as of
    /// [`Namespace::write`]. Nothing is lost.
    pub fn compact(&self) -> BoxFuture<'_, Result<CompactReport>> {
        self.maintenance.compact(&self.engine)
    }

    /// Deletes what nothing needs any more: entries of the log that are in segments, replaced manifests and files, each once
    /// what replaced it is older than the [grace](crate::Settings::grace), and what work that failed has left behind. Objects
    /// that this version does not know are not touched.
    ///
    /// Any number of processes may collect at once, beside all other work. It runs in a task of its own, which ends when this
    /// future is dropped; what was deleted until then was garbage. By itself it begins after flushes and compactions: see
    /// [`Settings::auto_collect`](crate::Settings::auto_collect).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
    /// # use elacsym::*;
    /// # let schema = Schema::builder(IdKind::U64).build()?;
    /// # let docs = Database::open("memory://").await?.create_namespace("docs", schema).await?;
    /// let report = docs.collect().await?;
    /// println!("{report}"); // for example "deleted 9 objects of 51200 bytes: 4 log entries, 1 manifests, 4 row files"
    /// # assert_eq!(report, CollectReport::default());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`](crate::ErrorKind::PermissionDenied) on a store that must not be written to, [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if it does not
    /// answer, [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) if a manifest that lives cannot be read;
    /// [`ErrorKind::UnsupportedVersion`](crate::ErrorKind::UnsupportedVersion) and [`ErrorKind::Deleted`](crate::ErrorKind::Deleted) as of [`Namespace::write`]. Objects may have been deleted
    /// before the error, and the next collection goes on.
    #[doc(alias("vacuum", "gc", "cleanup"))]
    pub fn collect(&self) -> BoxFuture<'_, Result<CollectReport>> {
        MaintenanceScheduler::collect(&self.engine)
    }

    /// What [`collect`](Self::collect) would delete now, in the order of the keys, and why. Nothing is deleted. The list is in
    /// memory as a whole.
    ///
    /// # Errors
    /// As [`Namespace::collect`]: the time of the store is asked for by writing the hint again.
    pub fn garbage(&self) -> BoxFuture<'_, Result<Vec<Garbage>>> {
        MaintenanceScheduler::garbage(&self.engine)
    }

    /// Does the maintenance that is due: a flush, merges, a collection, as [`stats`](Self::stats) lists them. What becomes due
    /// meanwhile is done as well, up to a bound that writers cannot move.
    /// With the defaults writes start the same work by themselves. This is for who switches that off, to do it when there is
    /// little else to do or in a process of its own, and for namespaces that nobody writes to any more.
    ///
    /// Any number of processes may call it at once, beside all other work: they compete for the next manifest, and who was
    /// slower waits a little and looks again. The work ends when this future is dropped; what was committed until then stays.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
    /// # use elacsym::*;
    /// # let schema = Schema::builder(IdKind::U64).build()?;
    /// let settings = Settings::default().auto_compact(false);
    /// let db = Database::builder().settings(settings).open("memory://").await?;
    /// let docs = db.create_namespace("docs", schema).await?;
    /// for id in 0..10 {
    ///     docs.write(Document::new(id)).await?;
    ///     docs.flush().await?;
    /// }
    /// let report = docs.maintain().await?;
    /// assert_eq!((report.merged.merged, report.merged.written), (10, 1));
    /// assert!(docs.stats().await?.due.is_empty());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As of [`flush`](Self::flush), [`compact`](Self::compact) and [`collect`](Self::collect), whichever is due; [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) of a
    /// segment that cannot be merged, after the rest is done.
    #[doc(alias("upkeep", "optimize"))]
    pub fn maintain(&self) -> BoxFuture<'_, Result<MaintainReport>> {
        self.maintenance.maintain(&self.engine)
    }

    /// What the namespace consists of, what it takes on the store, and which maintenance is due, as of every write that was
    /// acknowledged before this call. No document is read: it takes what a strong read takes to begin, and one list for a
    /// thousand objects on the store.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
    /// # use elacsym::*;
    /// # let schema = Schema::builder(IdKind::U64).build()?;
    /// # let docs = Database::open("memory://").await?.create_namespace("docs", schema).await?;
    /// let stats = docs.stats().await?;
    /// for (kind, count) in stats.stored.by_kind() {
    ///     println!("{kind}: {count}");
    /// }
    /// assert!(stats.due.is_empty());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As of every strong read.
    pub fn stats(&self) -> BoxFuture<'_, Result<NamespaceStats>> {
        self.maintenance.stats(&self.engine)
    }

    /// The progress of indexing vectors, over the flushes and compactions of all handles of this process; `None` while
    /// none is under way.
    #[must_use]
    pub fn index_progress(&self) -> Option<IndexProgress> {
        index_progress(&self.engine)
    }
}
