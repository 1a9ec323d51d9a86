//! Settings: plain data, checked when a database is opened.

use std::time::Duration;

use crate::codec::u64_of;
use crate::error::{Error, Result};

/// The grace of a database whose creator chose none. A reader or writer that is slow or suspended for less than the
/// grace never misses an object it relies on. A day covers a backup and a machine that sleeps over night, and the
/// garbage of a day costs little.
pub(crate) const GRACE_DEFAULT: Duration = Duration::from_hours(24);
/// Timeouts are at most an eighth of the grace: with less than an hour they would be of the order of a slow request.
pub(crate) const GRACE_MIN: Duration = Duration::from_hours(1);
/// Ten years: practically never, and far from overflowing milliseconds anywhere.
pub(crate) const GRACE_MAX: Duration = Duration::from_hours(24 * 3_650);

/// With less, a search would send more requests for segments than for rows.
const MERGE_MEMORY_MIN: usize = 16 << 20;

/// What a write does when the tail is larger than [`Settings::tail_bytes_max`] or [`Settings::tail_entries_max`].
///
/// ```
/// use elacsym::{Backpressure, Settings};
///
/// // For a service that would rather answer "later" than let a request wait.
/// let settings = Settings::default().backpressure(Backpressure::Refuse);
/// assert_eq!(Settings::default().backpressure, Backpressure::FlushInline);
/// # let _ = settings;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backpressure {
    /// The write flushes the tail, then proceeds. If the flush fails, or failed a moment ago, the write returns its
    /// error and nothing of the batch is written: see [`Namespace::write`](crate::Namespace::write).
    #[default]
    FlushInline,
    /// The write fails with [`ErrorKind::Backpressure`](crate::ErrorKind::Backpressure), and starts an automatic flush if
    /// [`Settings::auto_flush`] is set and none is running or paused after a failure. Otherwise, call
    /// [`Namespace::flush`](crate::Namespace::flush).
    Refuse,
}

/// How far the safety of writes may rely on clocks.
///
/// ```
/// use elacsym::{Clocks, Settings};
///
/// // For virtual machines that are paused for days with all their clocks.
/// let settings = Settings::default().clocks(Clocks::Untrusted);
/// assert_eq!(Settings::default().clocks, Clocks::Trusted);
/// # let _ = settings;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Clocks {
    /// A process that was suspended for longer than [`Settings::grace`] must see that on one of its clocks when it
    /// resumes. Costs nothing.
    #[default]
    Trusted,
    /// No clock is trusted. Costs one more request (a list) per commit and per strong read.
    Untrusted,
}

/// A folder for the disk tier of the block cache (feature `disk-cache`). One process uses it at a time: another that is
/// given the same folder runs without a disk tier.
///
/// ```
/// use elacsym::{DiskCache, Settings};
///
/// let disk = DiskCache { dir: "/var/cache/search".into(), bytes: 50 << 30 };
/// let settings = Settings::default().cache_bytes(1 << 30).disk_cache(disk);
/// # let _ = settings;
/// ```
#[cfg(feature = "disk-cache")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskCache {
    /// The folder. It is created if absent.
    pub dir: std::path::PathBuf,
    /// The disk space that is reserved when the database is opened, in bytes.
    pub bytes: u64,
}

/// Settings of a database. Every process may have its own, except for `grace`, which the database stores.
///
/// ```
/// use elacsym::{Backpressure, Database, Settings};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// let settings = Settings::default().cache_bytes(1 << 30).backpressure(Backpressure::Refuse);
/// let db = Database::builder().settings(settings).open("memory://").await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Settings {
    /// The largest batch, in bytes. The documents that its patches result in may take as much again. Default 256 MiB.
    pub batch_bytes_max: usize,
    /// The most operations in a batch. Default 1,000,000.
    pub batch_operations_max: usize,
    /// The size in bytes from which a batch is written as a segment that its log entry links. Values above 32 MiB count
    /// as 32 MiB. Default 16 MiB.
    pub reference_bytes_min: usize,
    /// The most rows that a delete by filter may delete. Their ids may also take at most 80 MiB. Default 5,000,000.
    pub delete_by_filter_rows_max: usize,
    /// The most rows that a patch by filter may change. Default 50,000.
    pub patch_by_filter_rows_max: usize,
    /// Whether a write that leaves the tail above `tail_bytes_flush` or `tail_entries_flush` starts a flush on the
    /// caller's runtime. Default true.
    ///
    /// If that flush fails, the write has succeeded nevertheless: the error is logged by `tracing::warn`, the tail stays
    /// as it was, and automatic flushes pause, for 1 s after the first failure, twice as long after each further one, 60
    /// s at most. The next write after the pause starts one.
    pub auto_flush: bool,
    /// Whether segments are merged by themselves, on the caller's runtime after a flush: when four are of about one size,
    /// when more than a fifth of the rows of one are dead, when large batches wait for their vector index, or when there are
    /// four times as many vectors as clusters were made for. The namespaces of a database take turns. Default true. Without
    /// it, call [`Namespace::compact`](crate::Namespace::compact); [`Namespace::flush`](crate::Namespace::flush) indexes
    /// large batches even then.
    ///
    /// If a merge fails, the error is logged by `tracing::warn`. One that may succeed later is tried four times more, 1 s
    /// after the first failure, twice as long after each further one, 60 s at most; after that a later flush starts it.
    /// Segments of which one turned out to be damaged are left out from then on, until the process ends.
    pub auto_compact: bool,
    /// About how much memory a merge may take, in bytes: at least 16 MiB, default 1.25 GiB. A merge builds one segment at a
    /// time, of rows of at most two fifths of this, and the most that a merged segment has is the most that is searched in
    /// one piece. So less memory means more segments. A segment that is larger already, as of one large batch or from a process
    /// with more memory, is merged all the same; vectors of f16 and i8 take more, as they are compared as f32.
    pub merge_memory: usize,
    /// Whether what nothing needs any more is deleted by itself, on the caller's runtime: some seconds after a flush or a
    /// compaction, at most once in an eighth of the grace, and only where the store shows that no other process did it.
    /// Default true. A namespace that nobody writes to is left alone: call
    /// [`Namespace::collect`](crate::Namespace::collect).
    ///
    /// If a collection fails, the error is logged by `tracing::warn`, and none begins by itself for at least ten minutes,
    /// twice as long after each further failure, a day at most.
    pub auto_collect: bool,
    /// The size of the tail that starts a flush, in bytes. Default 64 MiB.
    pub tail_bytes_flush: usize,
    /// The number of log entries in the tail that starts a flush. Default 256.
    pub tail_entries_flush: usize,
    /// The size of the tail that causes backpressure, in bytes. Default 512 MiB.
    pub tail_bytes_max: usize,
    /// The number of log entries in the tail that causes backpressure. Default 4,096.
    pub tail_entries_max: usize,
    /// What writes do under backpressure. Default [`Backpressure::FlushInline`].
    pub backpressure: Backpressure,
    /// How far writes rely on clocks. Default [`Clocks::Trusted`].
    pub clocks: Clocks,
    /// How long objects at least outlive the last manifest that needed them: 1 hour to 10 years, in whole milliseconds. A
    /// snapshot can be read for that long. A flush or a merge that takes longer may be in vain.
    ///
    /// All processes must use the same grace, so the creator of the database decides. Default `None`: the grace that
    /// the database was created with, or 24 hours if this process creates it. A grace that differs from that of the
    /// database is [`ErrorKind::Invalid`](crate::ErrorKind::Invalid).
    pub grace: Option<Duration>,
    /// How long one request to the store may take before its outcome counts as unknown, plus one second for each
    /// megabyte that it carries. Default 30 s.
    pub request_timeout: Duration,
    /// How long a write may continue after its first unclear answer before it fails with
    /// [`ErrorKind::Indeterminate`](crate::ErrorKind::Indeterminate). Default 60 s.
    pub write_timeout: Duration,
    /// The size of the block cache in memory, in bytes. Default 256 MiB; 0 turns it off.
    pub cache_bytes: usize,
    /// The memory in bytes that namespaces without handles may keep, so that opening them again costs nothing: heads of
    /// segments, and the tail. Above it, the least recently used are dropped. Namespaces with handles are not limited,
    /// and are included in [`CacheStats::resident_bytes`](crate::CacheStats::resident_bytes). Default 64 MiB; 0 keeps
    /// none.
    pub idle_bytes_max: usize,
    /// The number of vectors in a column of a segment from which it is indexed; once the column has an index in one segment,
    /// an eighth of it is enough in others. Fewer are compared one by one, which is as fast. Default 4,096.
    pub index_rows_min: usize,
    /// The disk tier of the block cache. Default: none.
    #[cfg(feature = "disk-cache")]
    pub disk_cache: Option<DiskCache>,
    /// The largest `limit` of a query or page of a scan. Default 10,000.
    pub limit_max: usize,
    /// The most bytes of documents that are read for one answer: the hits of a query, the candidates of a rescoring, a
    /// page of a scan, the documents of a get, the documents that a patch by filter changes. More are
    /// [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded). Decoding takes more memory temporarily. Default 1
    /// GiB.
    pub answer_bytes_max: usize,
    /// The greatest depth of a filter. Default 32.
    pub filter_depth_max: usize,
    /// The most nodes of a filter. Default 4,096.
    pub filter_nodes_max: usize,
    /// The most values in one list of [`Filter::is_in`](crate::Filter::is_in) or
    /// [`Filter::contains_any`](crate::Filter::contains_any), negated or not. Default 100,000.
    pub filter_values_max: usize,
}

// A setter for each field, so that settings are made in one expression.
macro_rules! setters {
    ($($field:ident: $type:ty,)*) => {
        impl Settings {$(
            #[doc = concat!("Sets [`Settings::", stringify!($field), "`](Settings#structfield.", stringify!($field), ").")]
            #[must_use]
            pub fn $field(self, $field: $type) -> Self {
                Self { $field, ..self }
            }
        )*}
    };
}

setters! {
    batch_bytes_max: usize,
    batch_operations_max: usize,
    reference_bytes_min: usize,
    delete_by_filter_rows_max: usize,
    patch_by_filter_rows_max: usize,
    auto_flush: bool,
    auto_compact: bool,
    merge_memory: usize,
    auto_collect: bool,
    tail_bytes_flush: usize,
    tail_entries_flush: usize,
    tail_bytes_max: usize,
    tail_entries_max: usize,
    backpressure: Backpressure,
    clocks: Clocks,
    request_timeout: Duration,
    write_timeout: Duration,
    cache_bytes: usize,
    idle_bytes_max: usize,
    index_rows_min: usize,
    limit_max: usize,
    answer_bytes_max: usize,
    filter_depth_max: usize,
    filter_nodes_max: usize,
    filter_values_max: usize,
}

impl Settings {
    /// Sets [`Settings::grace`](Settings#structfield.grace).
    #[must_use]
    pub fn grace(self, grace: Duration) -> Self {
        Self { grace: Some(grace), ..self }
    }

    /// Sets [`Settings::disk_cache`](Settings#structfield.disk_cache).
    #[cfg(feature = "disk-cache")]
    #[must_use]
    pub fn disk_cache(self, disk_cache: DiskCache) -> Self {
        Self { disk_cache: Some(disk_cache), ..self }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            batch_bytes_max: 256 << 20,
            batch_operations_max: 1_000_000,
            reference_bytes_min: 16 << 20,
            delete_by_filter_rows_max: 5_000_000,
            patch_by_filter_rows_max: 50_000,
            auto_flush: true,
            auto_compact: true,
            merge_memory: 1_280 << 20,
            auto_collect: true,
            tail_bytes_flush: 64 << 20,
            tail_entries_flush: 256,
            tail_bytes_max: 512 << 20,
            tail_entries_max: 4_096,
            backpressure: Backpressure::default(),
            clocks: Clocks::default(),
            grace: None,
            request_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_mins(1),
            cache_bytes: 256 << 20,
            idle_bytes_max: 64 << 20,
            index_rows_min: 4_096,
            #[cfg(feature = "disk-cache")]
            disk_cache: None,
            limit_max: 10_000,
            answer_bytes_max: 1 << 30,
            filter_depth_max: 32,
            filter_nodes_max: 4_096,
            filter_values_max: 100_000,
        }
    }
}

impl Settings {
    /// How long an answer of the store may be relied on without asking again.
    ///
    /// An eighth of the grace: a request that begins at the end of it and takes a whole timeout, which is at most
    /// another eighth, still ends long before anything it relies on can be deleted. An hour at most, since looking
    /// costs little.
    pub(crate) fn trust_period(&self) -> Duration {
        (self.grace_period() / 8).min(Duration::from_hours(1))
    }

    /// The grace of the database.
    pub(crate) fn grace_period(&self) -> Duration {
        // invariant: before the database is opened its grace is unknown. `with_grace` checks the timeouts again.
        self.grace.unwrap_or(GRACE_DEFAULT)
    }

    /// The most bytes of rows that a merge writes as one segment, about. In memory are these rows, their vectors again as
    /// f32, and the files of the segment.
    pub(crate) fn segment_bytes_max(&self) -> u64 {
        u64_of(self.merge_memory / 5 * 2)
    }

    /// The settings with the grace of the database. The timeouts are checked against it again.
    pub(crate) fn with_grace(self, grace: Duration) -> Result<Self> {
        let settings = Self { grace: Some(grace), ..self };
        settings.validate()?;
        Ok(settings)
    }

    pub(crate) fn validate(&self) -> Result<()> {
        let bad = |why: &str| Err(Error::invalid(format!("bad setting: {why}")));
        if self.grace.is_some_and(|grace| grace < GRACE_MIN) {
            return bad("grace is below one hour");
        }
        if self.grace.is_some_and(|grace| grace > GRACE_MAX) {
            return bad("grace is above ten years");
        }
        if self.grace.is_some_and(|grace| grace.subsec_nanos() % 1_000_000 != 0) {
            return bad("grace is not a whole number of milliseconds");
        }
        if self.request_timeout.is_zero() || self.write_timeout.is_zero() {
            return bad("a timeout is zero");
        }
        if self.request_timeout > self.trust_period() || self.write_timeout > self.trust_period() {
            return bad("a timeout is above an eighth of grace");
        }
        let sizes = [
            self.batch_bytes_max,
            self.batch_operations_max,
            self.reference_bytes_min,
            self.tail_bytes_max,
            self.tail_entries_max,
            self.limit_max,
            self.answer_bytes_max,
        ];
        if sizes.contains(&0) {
            return bad("a limit is zero");
        }
        if self.merge_memory < MERGE_MEMORY_MIN {
            return bad("merge_memory is below 16 MiB");
        }
        // Backpressure would set in before a flush starts, so every write would end in it.
        if self.tail_bytes_flush > self.tail_bytes_max || self.tail_entries_flush > self.tail_entries_max {
            return bad("a tail flushes only above the size that causes backpressure");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound_and_contradictions_are_not() {
        assert!(Settings::default().validate().is_ok());
        let short = Settings { grace: Some(Duration::from_mins(1)), ..Settings::default() };
        assert!(short.validate().is_err());
        let upside = Settings { tail_bytes_flush: usize::MAX, ..Settings::default() };
        assert!(upside.validate().is_err());
    }
}
