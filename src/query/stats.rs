//! What a query cost.

use std::fmt;
use std::time::Duration;

use crate::cache::Metered;

/// What a query looked at, and what it took. It prints as one line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueryStats {
    /// Segments and layers of the tail.
    pub parts: usize,
    /// Of those, segments of which statistics tell that the filter matches nothing in them; of several legs, those of
    /// the leg that has the most. Nothing is read of them, but for words that texts are ranked by: these are counted
    /// over all documents.
    pub segments_pruned: usize,
    /// Rows of all parts, deleted and replaced ones included until a compaction drops them.
    pub rows: u64,
    /// Of those, rows in the tail, which no index covers.
    pub tail_rows: u64,
    /// Rows whose vector was looked at: of those that the filter let through all, or what the probed clusters of
    /// an index hold. Of 128 rows or more with one vector it is one.
    pub rows_scanned: u64,
    /// Of those, rows that an index left in question, whose exact vector was compared.
    pub rows_reranked: u64,
    /// Clusters of indexes that were probed.
    pub clusters_probed: u64,
    /// Prefixes and misspelt words that stood for fewer words of their column than they could: see the limits of
    /// [`TextQuery`](super::TextQuery).
    pub expansions_cut: u64,
    /// Rounds of requests: one that began after another had ended counts as the next. What the query shares with
    /// others of one call is counted for whoever asked first.
    pub round_trips: u64,
    /// Requests to the store, for ranges of segments. What it takes to learn of newer writes is not counted.
    pub requests: u64,
    /// Bytes of the store that these asked for.
    pub bytes: u64,
    /// Ranges that were found in memory.
    pub memory_hits: u64,
    /// Ranges that were found on the local disk.
    pub disk_hits: u64,
    /// Ranges that another query was asking for already.
    pub joined: u64,
    /// How long it took until every leg had ranked: filters, indexes, scores.
    pub ranking: Duration,
    /// How long the rest took: fusion, rescoring, and the documents.
    pub fetching: Duration,
}

impl QueryStats {
    /// Of the legs of a query together.
    pub(super) fn of_legs<'a>(legs: impl IntoIterator<Item = &'a Self>) -> Self {
        let add = |sum: Self, leg: &Self| Self {
            parts: sum.parts.max(leg.parts),
            segments_pruned: sum.segments_pruned.max(leg.segments_pruned),
            rows: sum.rows.max(leg.rows),
            tail_rows: sum.tail_rows.max(leg.tail_rows),
            rows_scanned: sum.rows_scanned + leg.rows_scanned,
            rows_reranked: sum.rows_reranked + leg.rows_reranked,
            clusters_probed: sum.clusters_probed + leg.clusters_probed,
            expansions_cut: sum.expansions_cut + leg.expansions_cut,
            ..sum
        };
        legs.into_iter().fold(Self::default(), add)
    }

    /// Tells the subscriber of the caller.
    pub(super) fn trace(&self, hits: usize, unfinished: usize) {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        tracing::debug!(
            hits,
            unfinished,
            parts = self.parts,
            segments_pruned = self.segments_pruned,
            rows = self.rows,
            tail_rows = self.tail_rows,
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

    /// With what was metered.
    pub(super) fn metered(self, metered: Metered) -> Self {
        let Metered { memory_hits, disk_hits, joined, requests, bytes, rounds } = metered;
        Self { memory_hits, disk_hits, joined, requests, bytes, round_trips: rounds, ..self }
    }
}

impl fmt::Display for QueryStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} parts ({} pruned), {} rows ({} in the tail): {} scanned, {} reranked, {} clusters, {} expansions cut; {} round trips, {} requests, \
             {} bytes; {} in memory, {} on disk, {} joined; {:?} ranking, {:?} fetching",
            self.parts,
            self.segments_pruned,
            self.rows,
            self.tail_rows,
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
