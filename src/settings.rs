//! Settings: plain data, checked when a database is opened.

use std::time::Duration;

use crate::error::{Error, Result};

/// The grace of a database whose creator did not say.
pub(crate) const GRACE_DEFAULT: Duration = Duration::from_hours(24);
pub(crate) const GRACE_MIN: Duration = Duration::from_hours(1);
pub(crate) const GRACE_MAX: Duration = Duration::from_hours(24 * 3_650);

/// What a write does when more waits to be flushed than [`Settings::tail_bytes_max`] allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backpressure {
    /// It flushes first, then goes on: slower, but no error.
    #[default]
    Help,
    /// It fails with [`ErrorKind::Backpressure`](crate::ErrorKind::Backpressure).
    Refuse,
}

/// How much the safety of a write may lean on clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// A process that was stopped for longer than [`Settings::grace`] must see it on one of its clocks when it
    /// wakes. Costs nothing.
    #[default]
    Standard,
    /// No clock is trusted: one more request (a list) per commit and per strong read.
    Paranoid,
}

/// A folder for the on-disk tier of the block cache (feature `disk-cache`). One process uses it at a time:
/// another that names the same folder goes without.
#[cfg(feature = "disk-cache")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskCache {
    /// The folder; it is made if need be.
    pub dir: std::path::PathBuf,
    /// How many bytes it may take. They are reserved when the database is opened.
    pub bytes: u64,
}

/// Settings of a database. Every process may use its own but for `grace`, which the database keeps.
///
/// ```
/// use elacsym::{Backpressure, Database, Settings};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// let mut settings = Settings::default();
/// settings.cache_bytes = 1 << 30;
/// settings.backpressure = Backpressure::Refuse;
/// let db = Database::builder().with_settings(settings).open("memory://").await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Settings {
    /// The largest batch, in bytes; what its patches come to may take as much. Default 256 MiB.
    pub batch_bytes_max: usize,
    /// The most operations in a batch. Default 1,000,000.
    pub batch_operations_max: usize,
    /// From how many bytes on a batch is written as a segment that its log entry links. Above 32 MiB it counts as
    /// that. Default 16 MiB.
    pub reference_bytes_min: usize,
    /// The most rows a delete by filter may take. Their ids may take 80 MiB besides. Default 5,000,000.
    pub delete_by_filter_rows_max: usize,
    /// The most rows a patch by filter may take. Default 50,000.
    pub patch_by_filter_rows_max: usize,
    /// Whether a write that leaves the tail above `tail_bytes_flush` or `tail_entries_flush` starts a flush
    /// on the caller's runtime. Default true.
    pub auto_flush: bool,
    /// How many bytes of tail start a flush. Default 64 MiB.
    pub tail_bytes_flush: usize,
    /// How many log entries of tail start a flush. Default 256.
    pub tail_entries_flush: usize,
    /// How many bytes of tail hold up writes. Default 512 MiB.
    pub tail_bytes_max: usize,
    /// How many log entries of tail hold up writes. Default 4,096.
    pub tail_entries_max: usize,
    /// What a write does then. Default [`Backpressure::Help`].
    pub backpressure: Backpressure,
    /// How far clocks are trusted. Default [`Durability::Standard`].
    pub durability: Durability,
    /// How long objects outlive the last manifest that needed them: 1 hour to 10 years, in whole milliseconds.
    ///
    /// All processes must hold to one grace, so who creates the database decides on it. Default `None`: what the
    /// database was created with, 24 hours if this process creates it. To say another than the database has is
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid).
    pub grace: Option<Duration>,
    /// How long one request to the store may take before its outcome counts as unknown, besides one second for each
    /// megabyte that it carries. Default 30 s.
    pub request_timeout: Duration,
    /// How long a write may go on after its first unclean answer before it ends as
    /// [`ErrorKind::Indeterminate`](crate::ErrorKind::Indeterminate). Default 60 s.
    pub write_timeout: Duration,
    /// How many bytes of immutable blocks are kept in memory. Default 256 MiB; 0 keeps none.
    pub cache_bytes: usize,
    /// How many bytes namespaces may keep in memory when no handle of them is left, so that to open them again costs
    /// nothing: heads of segments, and the tail. Beyond it those that were used longest ago are let go. What namespaces
    /// with handles keep is not limited by it, and counted with it in
    /// [`CacheStats::resident_bytes`](crate::CacheStats::resident_bytes). Default 64 MiB; 0 keeps none.
    pub idle_bytes_max: usize,
    /// From how many vectors on a column of a segment is indexed: fewer are compared one by one, which is as
    /// fast. Default 4,096.
    pub index_rows_min: usize,
    /// Where blocks are kept beyond memory. Default: nowhere.
    #[cfg(feature = "disk-cache")]
    pub disk_cache: Option<DiskCache>,
    /// The largest `limit` of a query or page of a scan. Default 10,000.
    pub limit_max: usize,
    /// The most bytes of documents that are read for one answer: the hits of a query, the candidates of a rescoring, a
    /// page of a scan, the documents of a get, what a patch by filter changes. More are [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded).
    /// Default 1 GiB; what decoding takes for a moment comes besides.
    pub answer_bytes_max: usize,
    /// How deep a filter may nest. Default 32.
    pub filter_depth_max: usize,
    /// The most nodes of a filter. Default 4,096.
    pub filter_nodes_max: usize,
    /// The most values in one `In`, `NotIn`, `ContainsAny` or `NotContainsAny`. Default 100,000.
    pub filter_values_max: usize,
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
            tail_bytes_flush: 64 << 20,
            tail_entries_flush: 256,
            tail_bytes_max: 512 << 20,
            tail_entries_max: 4_096,
            backpressure: Backpressure::default(),
            durability: Durability::default(),
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
    /// How long after a look at the store its answer may be built upon without another look.
    pub(crate) fn trust(&self) -> Duration {
        (self.grace.unwrap_or(GRACE_DEFAULT) / 8).min(Duration::from_hours(1))
    }

    /// The settings with the grace of the database, against which timeouts are checked again.
    pub(crate) fn held_to(self, grace: Duration) -> Result<Self> {
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
            return bad("grace is no whole number of milliseconds");
        }
        if self.request_timeout.is_zero() || self.write_timeout.is_zero() {
            return bad("a timeout is zero");
        }
        if self.request_timeout > self.trust() || self.write_timeout > self.trust() {
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
        if self.tail_bytes_flush > self.tail_bytes_max || self.tail_entries_flush > self.tail_entries_max {
            return bad("a tail flushes only above the size that holds up writes");
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
