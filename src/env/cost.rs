//! How much CPU time a piece of work takes, estimated before it runs: [`Env::compute`](super::Env::compute) decides
//! by it where to run the work.
//!
//! The figures for one item are rough estimates for a current server core. They need not be better: work near the
//! threshold costs about the same on either side of it, and work far from it is far by more than any error here.

use std::ops::Add;

/// Work that is estimated to take longer than this runs on the blocking pool.
///
/// A hop to the pool costs about 5 to 20 µs (an allocation, a queue, and a wake-up each way), so moving much smaller
/// work would cost more than it saves. In the other direction, tokio advises against holding up a worker for more
/// than 10 to 100 µs between two awaits, because no other task of that worker runs in the meantime. 100 µs is the upper
/// end of that: a query runs several such pieces in a row, and its latency is what a hop would add to.
const INLINE_MAX: Cost = Cost { picoseconds: 100_000_000 };

/// The estimated CPU time of a piece of work.
///
/// Counted in picoseconds, because vector kernels pass tens of dimensions in a nanosecond. Estimates saturate: whatever
/// does not fit is far above the threshold anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cost {
    picoseconds: u64,
}

impl Cost {
    const fn new(items: u64, picoseconds_each: u64) -> Self {
        Self { picoseconds: items.saturating_mul(picoseconds_each) }
    }

    /// Whether a hop to the blocking pool would cost more than it spares other tasks.
    pub(super) fn is_inline(self) -> bool {
        self <= INLINE_MAX
    }

    /// Ids that are sorted, merged or encoded in bulk: 25 ns each, a few comparisons of short keys.
    pub(crate) const fn ids(count: usize) -> Self {
        Self::new(count as u64, 25_000)
    }

    /// Ids that are looked up in an index or decoded from its blocks: 100 ns each, a binary search whose steps miss the
    /// processor's caches, or an allocation.
    pub(crate) const fn id_lookups(count: u64) -> Self {
        Self::new(count, 100_000)
    }

    /// Operations or rows of a batch that are checked against the schema: 400 ns each, for some ten attributes.
    pub(crate) const fn operations(count: usize) -> Self {
        Self::new(count as u64, 400_000)
    }

    /// Rows that a filter is evaluated on: 50 ns each, for a few predicates over decoded columns.
    pub(crate) const fn filtered_rows(count: usize) -> Self {
        Self::new(count as u64, 50_000)
    }

    /// Bytes of rows in memory that are encoded as Arrow IPC: 100 ps each, a copy and a checksum.
    pub(crate) const fn encoded_bytes(count: usize) -> Self {
        Self::new(count as u64, 100)
    }

    /// Rows of a bitmap that are copied bit by bit: 3 ns each.
    pub(crate) const fn masked_rows(count: u64) -> Self {
        Self::new(count, 3_000)
    }

    /// Pages of Parquet that a read is planned for: 1.6 µs each, an entry of the offset index and its row selection.
    pub(crate) const fn planned_pages(count: u64) -> Self {
        Self::new(count, 1_600_000)
    }

    /// Bytes of Parquet that are decompressed and decoded: 1.5 ns each, for zstd and short pages.
    pub(crate) const fn compressed_bytes(count: u64) -> Self {
        Self::new(count, 1_500)
    }

    /// Bytes of blocks of the attribute index that are searched for keys and their rows: 400 ps each.
    pub(crate) const fn index_bytes(count: u64) -> Self {
        Self::new(count, 400)
    }

    /// Bytes of exact vectors that are in the processor's caches, or nearly so, and are compared with a query: 100 ps each.
    pub(crate) const fn compared_bytes(count: usize) -> Self {
        Self::new(count as u64, 100)
    }

    /// Bytes of exact vectors that are checked and copied, or compared: 400 ps each, memory bandwidth included.
    pub(crate) const fn vector_bytes(count: usize) -> Self {
        Self::new(count as u64, 400)
    }

    /// Dimensions of quantized vectors that are scanned: 25 ps each, since a kernel looks up 32 of them at once.
    pub(crate) const fn code_dimensions(count: u64) -> Self {
        Self::new(count, 25)
    }

    /// Rows whose texts are analysed and indexed in memory: 1.5 µs each, for texts of about a hundred tokens.
    pub(crate) const fn indexed_rows(count: u32) -> Self {
        Self::new(count as u64, 1_500_000)
    }

    /// Bytes of text that are analysed to highlight matches: 6 ns each.
    pub(crate) const fn analyzed_bytes(count: usize) -> Self {
        Self::new(count as u64, 6_000)
    }

    /// Terms of a dictionary that an automaton or a prefix walks over: 25 ns each. Finding one term walks over none.
    pub(crate) const fn dictionary_terms(count: usize) -> Self {
        Self::new(count as u64, 25_000)
    }

    /// Postings that are all decoded and collected: 25 ns each, with the positions of phrases.
    pub(crate) const fn postings(count: u64) -> Self {
        Self::new(count, 25_000)
    }

    /// Postings that are searched for the best scores: 750 ps each, since block maxima skip most of them.
    pub(crate) const fn ranked_postings(count: u64) -> Self {
        Self::new(count, 750)
    }

    /// Seeks in postings, in ascending order of rows: 25 ns each.
    pub(crate) const fn posting_seeks(count: u64) -> Self {
        Self::new(count, 25_000)
    }
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { picoseconds: self.picoseconds.saturating_add(other.picoseconds) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_work_stays_inline_and_large_work_does_not() {
        assert!(Cost::ids(0).is_inline());
        assert!(Cost::ids(4_000).is_inline());
        assert!(!Cost::ids(4_001).is_inline());
        assert!(
            !(Cost::ids(4_000) + Cost::encoded_bytes(10)).is_inline(),
            "costs of one piece of work add up"
        );
        assert!(!Cost::postings(u64::MAX).is_inline(), "an estimate saturates");
        assert!(!(Cost::postings(u64::MAX) + Cost::postings(u64::MAX)).is_inline());
    }
}
