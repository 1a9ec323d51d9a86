//! Execution statistics of a query.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::cache::Metered;
use crate::view::{Part, Scope};

/// Execution statistics of a query. Displays as one line.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::{schema::TextOptions, *};
/// # let schema = Schema::builder(IdKind::U64).text("body", TextOptions::default()).build()?;
/// # let notes = Database::open("memory://").await?.create_namespace("notes", schema).await?;
/// notes.write(Document::new(1).with("body", "cold tea")).await?;
/// let stats = notes.query(TextQuery::any("body", "tea")).await?.stats;
/// println!("{stats}");
/// // The tail is in memory.
/// assert_eq!((stats.rows, stats.tail_rows, stats.requests), (1, 1, 0));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct QueryStats {
    /// Segments, and layers of the tail.
    pub parts: usize,
    /// Segments skipped because their statistics prove that the filter cannot match; with several legs, the maximum over
    /// the legs. Nothing is read from them, except the counts of query words that BM25 needs, which cover all documents.
    pub segments_pruned: usize,
    /// Rows of all parts, including deleted and replaced rows that compaction has not dropped yet.
    pub rows: u64,
    /// Of those, rows in the tail, which no index covers.
    pub tail_rows: u64,
    /// Rows that no index of the column of a vector leg covers: those in the tail, in segments of too few vectors to need one
    /// ([`Settings::index_rows_min`](crate::Settings::index_rows_min)), and in large batches that were not merged yet. All of
    /// them that the filter lets through are compared. With several legs, the maximum over the legs.
    pub rows_unindexed: u64,
    /// Rows whose vector was looked at: all rows that the filter let through, or the rows of the probed clusters. A
    /// vector that 128 or more rows share counts once.
    pub rows_scanned: u64,
    /// Of those, rows that the codes of the index could not decide, so that their exact vectors were compared.
    pub rows_reranked: u64,
    /// Probed clusters of vector indexes.
    pub clusters_probed: u64,
    /// Prefixes and misspelt words that were expanded to fewer words than exist: see the limits of
    /// [`TextQuery`](super::TextQuery).
    pub expansions_cut: u64,
    /// Sequential rounds of requests: a request that starts after another has ended belongs to the next round. A read
    /// shared by several queries of one call counts for the query that issued it.
    pub round_trips: u64,
    /// Requests to the store for ranges of segments. The check for newer writes is not counted.
    pub requests: u64,
    /// Bytes that these requested.
    pub bytes: u64,
    /// Ranges found in the memory cache.
    pub memory_hits: u64,
    /// Ranges found in the disk cache.
    pub disk_hits: u64,
    /// Ranges that another query was already fetching.
    pub joined: u64,
    /// Time until every leg had its ranking: filters, indexes, scores.
    pub ranking: Duration,
    /// Time for the rest: fusion, rescoring, and the documents.
    pub fetching: Duration,
}

impl QueryStats {
    /// What a leg searches: the parts of its scope.
    pub(super) fn of_scope<'a>(scope: &Scope, parts: impl IntoIterator<Item = &'a Part>) -> Self {
        let mut stats = Self { segments_pruned: scope.pruned_count(), ..Self::default() };
        for part in parts {
            stats.parts += 1;
            stats.rows += u64::from(part.source.rows());
            stats.tail_rows += part.tail_rows();
        }
        stats
    }

    /// The statistics of a query from those of its legs.
    pub(super) fn merge_legs<'a>(legs: impl IntoIterator<Item = &'a Self>) -> Self {
        // All legs search the same parts, so what describes the parts is not added up.
        let add = |sum: Self, leg: &Self| Self {
            parts: sum.parts.max(leg.parts),
            segments_pruned: sum.segments_pruned.max(leg.segments_pruned),
            rows: sum.rows.max(leg.rows),
            tail_rows: sum.tail_rows.max(leg.tail_rows),
            rows_unindexed: sum.rows_unindexed.max(leg.rows_unindexed),
            rows_scanned: sum.rows_scanned + leg.rows_scanned,
            rows_reranked: sum.rows_reranked + leg.rows_reranked,
            clusters_probed: sum.clusters_probed + leg.clusters_probed,
            expansions_cut: sum.expansions_cut + leg.expansions_cut,
            ..sum
        };
        legs.into_iter().fold(Self::default(), add)
    }

    /// Emits a `tracing` event.
    pub(super) fn emit_event(&self, hits: usize, unfinished: usize) {
        // invariant: saturating is right, for 2^64 microseconds are 584,000 years.
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        tracing::debug!(
            hits,
            unfinished,
            parts = self.parts,
            segments_pruned = self.segments_pruned,
            rows = self.rows,
            tail_rows = self.tail_rows,
            rows_unindexed = self.rows_unindexed,
            rows_scanned = self.rows_scanned,
            rows_reranked = self.rows_reranked,
            clusters_probed = self.clusters_probed,
            expansions_cut = self.expansions_cut,
            round_trips = self.round_trips,
            requests = self.requests,
            bytes = self.bytes,
            memory_hits = self.memory_hits,
            disk_hits = self.disk_hits,
            joined = self.joined,
            ranking_us = micros(self.ranking),
            fetching_us = micros(self.fetching),
            "answered"
        );
    }

    /// These statistics with the counts of a meter.
    pub(super) fn with_metered(self, metered: Metered) -> Self {
        // Every field by name: a new one in `Metered` does not compile until it is shown here.
        let Metered { memory_hits, disk_hits, joined, requests, bytes, rounds } = metered;
        Self { memory_hits, disk_hits, joined, requests, bytes, round_trips: rounds, ..self }
    }
}

impl fmt::Display for QueryStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} parts ({} pruned), {} rows ({} in the tail): {} unindexed, {} scanned, {} reranked, {} clusters, {} expansions cut; {} round trips, {} requests, \
             {} bytes; {} in memory, {} on disk, {} joined; {:?} ranking, {:?} fetching",
            self.parts,
            self.segments_pruned,
            self.rows,
            self.tail_rows,
            self.rows_unindexed,
            self.rows_scanned,
            self.rows_reranked,
            self.clusters_probed,
            self.expansions_cut,
            self.round_trips,
            self.requests,
            self.bytes,
            self.memory_hits,
            self.disk_hits,
            self.joined,
            self.ranking,
            self.fetching,
        )
    }
}
