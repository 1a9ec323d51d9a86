//! What a namespace consists of, what it takes on the store, and which maintenance is due.

use std::fmt;
use std::sync::Arc;

use super::collect::{count_objects, find_replacement};
use super::compact::{CompactionGoal, unindexed_rows};
use super::merge_scheduler::MergeScheduler;
use super::objects::ObjectsByKind;
use crate::codec::u64_of;
use crate::engine::{BaseState, Engine};
use crate::error::Result;
use crate::memtable::PartSource;
use crate::types::Sequence;

/// What a namespace consists of, what it takes on the store, and which maintenance is due.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::*;
/// # let schema = Schema::builder(IdKind::U64).build()?;
/// # let docs = Database::open("memory://").await?.create_namespace("docs", schema).await?;
/// docs.write(vec![Document::new(1), Document::new(2)]).await?;
/// docs.flush().await?;
/// docs.write(Document::new(2)).await?;
/// let stats = docs.stats().await?;
/// assert_eq!((stats.documents, stats.segments.rows, stats.segments.dead_rows), (2, 2, 1));
/// assert_eq!((stats.tail.entries, stats.tail.rows), (1, 1));
/// println!("{stats}");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct NamespaceStats {
    /// Documents, as [`Namespace::count`](crate::Namespace::count) counts them.
    pub documents: u64,
    /// The last write that is counted.
    pub sequence: Sequence,
    /// When the newest manifest was put, by the clock of the store: milliseconds since 1970-01-01 UTC. `None` before the first
    /// flush, or if another process replaced it and collected it a moment ago.
    pub committed_ms: Option<i64>,
    /// The segments of the newest manifest.
    pub segments: SegmentStats,
    /// The writes that are in the log alone.
    pub tail: TailStats,
    /// Everything the namespace has on the store but its names and its hint: what is current, what was replaced within the
    /// [grace](crate::Settings::grace), and garbage.
    pub stored: ObjectsByKind,
    /// Of these, what the newest state consists of.
    pub current: ObjectsByKind,
    /// The maintenance that is due, in the order in which it is best done.
    pub due: Vec<DueWork>,
}

/// The segments of a namespace.
///
/// ```
/// # use elacsym::SegmentStats;
/// assert_eq!(SegmentStats::default().to_string(), "0 segments of 0 rows, 0 of them dead and 0 unindexed");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentStats {
    /// How many.
    pub segments: u64,
    /// Their rows, dead ones too.
    pub rows: u64,
    /// Rows that a later write replaced or deleted.
    pub dead_rows: u64,
    /// Rows whose vectors queries compare one by one until a merge indexes them. Segments of fewer vectors than are indexed
    /// at all are not counted.
    pub unindexed_rows: u64,
}

/// The tail of the log: what no flush has written to segments yet. Every process that opens the namespace reads it.
///
/// ```
/// # use elacsym::TailStats;
/// assert_eq!(TailStats::default().to_string(), "0 entries of 0 rows, 0 bytes in memory");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TailStats {
    /// Entries of the log. Writes that wait for each other share one.
    pub entries: u64,
    /// Their rows, those that later entries replaced too.
    pub rows: u64,
    /// What the rows that are not in linked segments take in the memory of each process, in bytes.
    pub bytes: u64,
    /// The files of linked segments, in bytes. They count for
    /// [`Settings::tail_bytes_flush`](crate::Settings::tail_bytes_flush) as those in memory do.
    pub linked_bytes: u64,
    /// Large batches, which are segments already. Their rows are counted above, and are not in memory.
    pub linked_segments: u64,
}

/// Maintenance that is due.
///
/// ```
/// # use elacsym::DueWork;
/// assert_eq!(DueWork::Merge.to_string(), "merge");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DueWork {
    /// The tail is longer than [`Settings::tail_bytes_flush`](crate::Settings::tail_bytes_flush) or
    /// [`Settings::tail_entries_flush`](crate::Settings::tail_entries_flush):
    /// [`Namespace::flush`](crate::Namespace::flush).
    Flush,
    /// Segments have vectors without an index, which a flush gives them, too. Other merges are not looked for until it is
    /// done.
    Index,
    /// Segments are many, or have many dead rows. Flushes start these merges, and
    /// [`Namespace::compact`](crate::Namespace::compact) does more than them.
    Merge,
    /// Manifests were replaced for longer than the grace, by the clocks of the store and of this process:
    /// [`Namespace::collect`](crate::Namespace::collect).
    Collect,
}

impl NamespaceStats {
    /// About how many times the bytes of live documents, with their indexes, are stored, if rows are of one size: dead rows,
    /// replaced files and garbage make it larger than 1. `None` without documents.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a ratio that is shown")]
    pub fn space_amplification(&self) -> Option<f64> {
        let rows = self.segments.rows + self.tail.rows;
        let live_bytes = self.current.total().bytes as f64 * self.documents as f64 / rows.max(1) as f64;
        (live_bytes > 0.0).then(|| self.stored.total().bytes as f64 / live_bytes)
    }
}

/// Measures a namespace as of now. Documents are not read.
pub(super) async fn measure(engine: &Arc<Engine>, merges: &MergeScheduler) -> Result<NamespaceStats> {
    engine.catch_up_from_newest_manifest().await?;
    // All figures of rows are of this one state. The store moves on while it is listed.
    let base = engine.base_state()?;
    let live = base.view.find_all_live_rows().await?;
    let live: Vec<u64> = live.iter().map(|(_, rows)| rows.len()).collect();
    // The parts of a view are its segments, and behind them its layers.
    let segments = measure_segments(engine, &base, live.iter().take(base.view.segments.len()).sum())?;
    let objects = count_objects(engine, &base).await?;
    Ok(NamespaceStats {
        documents: live.iter().sum(),
        sequence: base.view.sequence,
        committed_ms: objects.committed_ms,
        segments,
        tail: measure_tail(&base),
        stored: objects.stored,
        current: objects.current,
        due: find_due(engine, merges).await?,
    })
}

fn measure_segments(engine: &Engine, base: &BaseState, live_rows: u64) -> Result<SegmentStats> {
    let segments = &base.view.segments;
    let rows: u64 = segments.iter().map(|part| u64::from(part.source.rows())).sum();
    Ok(SegmentStats {
        segments: u64_of(segments.len()),
        rows,
        // invariant: live rows are among all.
        dead_rows: rows.saturating_sub(live_rows),
        unindexed_rows: unindexed_rows(engine, base)?,
    })
}

fn measure_tail(base: &BaseState) -> TailStats {
    let mut tail = TailStats {
        // invariant: a view never ends before what is flushed.
        entries: base.view.sequence.0.saturating_sub(base.manifest.flushed_through.0),
        ..TailStats::default()
    };
    for layer in &base.view.layers {
        tail.rows += u64::from(layer.source().rows());
        match layer.source() {
            PartSource::Memory(_) => tail.bytes += u64_of(layer.bytes()),
            PartSource::Segment(_) => {
                tail.linked_segments += 1;
                tail.linked_bytes += u64_of(layer.bytes());
            }
        }
    }
    tail
}

async fn find_due(engine: &Arc<Engine>, merges: &MergeScheduler) -> Result<Vec<DueWork>> {
    // By the rules that start the work. What is under way is due until it is committed.
    let is_flush_due = engine.backlog().calls_for_flush(&engine.context.settings);
    let mut due: Vec<DueWork> = is_flush_due.then_some(DueWork::Flush).into_iter().collect();
    let is_index_due = merges.has_work(engine, CompactionGoal::Index)?;
    due.extend(is_index_due.then_some(DueWork::Index));
    // A merge that indexes comes first of those that are due.
    let is_merge_due = !is_index_due && merges.has_work(engine, CompactionGoal::Due)?;
    due.extend(is_merge_due.then_some(DueWork::Merge));
    // Not what a collection would find, which it takes a look at every manifest to know. The clock of the store would have to
    // be asked by a write.
    let (now, replacement) = (engine.context.env.wall_ms(), find_replacement(engine).await?);
    let is_due = replacement.is_some_and(|replacement| replacement.is_due(&engine.context.settings, now));
    due.extend(is_due.then_some(DueWork::Collect));
    Ok(due)
}

impl fmt::Display for NamespaceStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { documents, segments, tail, stored, due, .. } = self;
        write!(f, "{documents} documents in {segments}, and a tail of {tail}; {}", stored.total())?;
        if let Some(amplification) = self.space_amplification() {
            write!(f, ", {amplification:.2} times what is live")?;
        }
        for (at, work) in due.iter().enumerate() {
            write!(f, "{}{work}", if at == 0 { "; due: " } else { ", " })?;
        }
        Ok(())
    }
}

impl fmt::Display for SegmentStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segments, rows, dead_rows, unindexed_rows } = self;
        write!(
            f,
            "{segments} segments of {rows} rows, {dead_rows} of them dead and {unindexed_rows} unindexed"
        )
    }
}

impl fmt::Display for TailStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entries, rows, bytes, linked_bytes, linked_segments } = self;
        write!(f, "{entries} entries of {rows} rows, {bytes} bytes in memory")?;
        if *linked_segments > 0 {
            write!(f, " and {linked_bytes} in {linked_segments} linked segments")?;
        }
        Ok(())
    }
}

impl fmt::Display for DueWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flush => "flush",
            Self::Index => "index",
            Self::Merge => "merge",
            Self::Collect => "collect",
        })
    }
}
