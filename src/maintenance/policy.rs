//! Which segments to merge next: a policy of sizes and states alone.
//!
//! It is size-tiered: segments of about one size are merged when there are several, so a row is written once for each tier
//! and not with every flush. Segments in a namespace that no one compacts are therefore at most [`TIER_SEGMENTS`] − 1 for
//! each tier, and those that are too large to be merged; of these at most [`DEAD_SHARE_MAX`] is dead.

use crate::codec::u64_of;

/// How many segments of one tier are merged, and by how many times the segments of the next tier are larger.
// With t of them, n bytes of flushes are written log_t(n) times, and up to t − 1 segments of each tier are searched. Four
// keeps both below five.
const TIER_SEGMENTS: usize = 4;
/// Segments of the lowest tier are smaller than this. To merge them takes a few requests whatever their size.
const TIER_BYTES_MIN: u64 = 1 << 20;
/// The share of dead rows from which a segment is rewritten.
// Queries pass over dead rows, at about the cost of live ones. Rewriting at one in five writes each row at most five times
// for each time that all rows are replaced.
const DEAD_SHARE_MAX: f64 = 0.2;

/// Which segments are merged.
#[derive(Clone, Copy, Debug)]
pub(super) struct MergePolicy {
    /// The most bytes of rows that a merged segment has, about. It is built in memory together with its indexes.
    pub(super) segment_bytes_max: u64,
}

/// What the policy knows of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct SegmentFacts {
    /// The bytes of its rows, dead ones too.
    pub(super) bytes: u64,
    pub(super) rows: u64,
    pub(super) dead_rows: u64,
    /// Whether it has vectors that a merge would index.
    pub(super) lacks_index: bool,
}

impl SegmentFacts {
    /// The bytes that a merge writes of it.
    fn live_bytes(&self) -> u64 {
        let share = u128::from(self.rows.saturating_sub(self.dead_rows));
        // invariant: at most the bytes, as a share of the rows is live.
        u64::try_from(u128::from(self.bytes) * share / u128::from(self.rows.max(1))).unwrap_or(self.bytes)
    }

    #[expect(clippy::cast_precision_loss, reason = "rows are below 2^32")]
    fn has_many_dead_rows(&self) -> bool {
        self.bytes >= TIER_BYTES_MIN && self.dead_rows as f64 > DEAD_SHARE_MAX * self.rows as f64
    }
}

impl MergePolicy {
    /// The positions of segments that are not indexed, as many as fit into one.
    pub(super) fn choose_unindexed(self, segments: &[SegmentFacts]) -> Vec<usize> {
        let unindexed = (0..).zip(segments).filter(|(_, segment)| segment.lacks_index);
        self.take_fitting(unindexed)
    }

    /// The positions of the segments to merge into one, or of one to rewrite; none if the namespace is as it should be.
    pub(super) fn choose_merge(self, segments: &[SegmentFacts]) -> Vec<usize> {
        // In the order of what it costs queries: without an index they compare all vectors.
        let unindexed = self.choose_unindexed(segments);
        if !unindexed.is_empty() {
            return unindexed;
        }
        let crowded = self.choose_crowded(segments);
        if !crowded.is_empty() {
            return crowded;
        }
        segments.iter().position(SegmentFacts::has_many_dead_rows).into_iter().collect()
    }

    /// The segments of the lowest tier that has too many, and of those below: to write these too costs little.
    fn choose_crowded(self, segments: &[SegmentFacts]) -> Vec<usize> {
        let mut counts: Vec<usize> = Vec::new();
        for tier in segments.iter().filter_map(|segment| self.tier_of(segment)) {
            counts.resize(counts.len().max(tier + 1), 0);
            if let Some(count) = counts.get_mut(tier) {
                *count += 1;
            }
        }
        let Some(crowded) = counts.iter().position(|count| *count >= TIER_SEGMENTS) else {
            return Vec::new();
        };
        let within = |segment: &SegmentFacts| self.tier_of(segment).is_some_and(|tier| tier <= crowded);
        let mut small: Vec<_> = (0..).zip(segments).filter(|(_, segment)| within(segment)).collect();
        small.sort_by_key(|(_, segment)| segment.live_bytes());
        self.take_fitting(small)
    }

    /// The tier of a segment, the lowest being 0; `None` if it is too large for any.
    // From half of the maximum on: two of them would be more than one may be.
    fn tier_of(self, segment: &SegmentFacts) -> Option<usize> {
        let (bytes, mut end, mut tier) = (segment.live_bytes(), TIER_BYTES_MIN, 0);
        if bytes >= self.segment_bytes_max / 2 {
            return None;
        }
        while bytes >= end {
            end = end.saturating_mul(u64_of(TIER_SEGMENTS));
            tier += 1;
        }
        Some(tier)
    }

    /// The first of some segments, as many as fit into one; at least one.
    fn take_fitting<'a>(self, segments: impl IntoIterator<Item = (usize, &'a SegmentFacts)>) -> Vec<usize> {
        let mut bytes = 0_u64;
        let fits = |(_, segment): &(usize, &SegmentFacts)| {
            let is_first = bytes == 0;
            // Not 0: an empty segment counts as one, too.
            bytes = bytes.saturating_add(segment.live_bytes().max(1));
            is_first || bytes <= self.segment_bytes_max
        };
        segments.into_iter().take_while(fits).map(|(position, _)| position).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::vector::Random;

    const POLICY: MergePolicy = MergePolicy { segment_bytes_max: 512 << 20 };

    fn clean(bytes: u64) -> SegmentFacts {
        SegmentFacts { bytes, rows: bytes / 1_000 + 1, ..SegmentFacts::default() }
    }

    /// A namespace that is flushed and kept by the policy, as far as the policy sees it.
    #[derive(Default)]
    struct Simulation {
        segments: Vec<SegmentFacts>,
        flushed: u64,
        merged: u64,
    }

    impl Simulation {
        fn flush(&mut self, segment: SegmentFacts) {
            self.flushed += segment.bytes;
            self.segments.push(segment);
            let mut merges = 0;
            loop {
                let chosen = POLICY.choose_merge(&self.segments);
                if chosen.is_empty() {
                    return;
                }
                let mut inputs = chosen.iter().map(|position| self.segments[*position]).collect::<Vec<_>>();
                let bytes: u64 = inputs.iter().map(SegmentFacts::live_bytes).sum();
                assert!(inputs.len() == 1 || bytes <= POLICY.segment_bytes_max);
                let rows = inputs.drain(..).map(|segment| segment.rows - segment.dead_rows).sum();
                let mut position = 0..;
                self.segments.retain(|_| !chosen.contains(&position.next().unwrap()));
                if rows > 0 {
                    self.segments.push(SegmentFacts { bytes, rows, ..SegmentFacts::default() });
                }
                self.merged += bytes;
                merges += 1;
                assert!(merges < 1_000, "the policy never comes to rest");
            }
        }

        fn bytes(&self) -> u64 {
            self.segments.iter().map(|segment| segment.bytes).sum()
        }
    }

    #[test]
    fn what_is_fine_is_left_alone() {
        assert!(POLICY.choose_merge(&[]).is_empty());
        assert!(POLICY.choose_merge(&[clean(10); TIER_SEGMENTS - 1]).is_empty());
        assert!(POLICY.choose_merge(&[clean(POLICY.segment_bytes_max); 100]).is_empty());
        let few_dead = SegmentFacts { dead_rows: 1_000, ..clean(10 << 20) };
        assert!(POLICY.choose_merge(&[few_dead, clean(100)]).is_empty());
    }

    #[test]
    fn the_reasons_to_merge_have_an_order() {
        let raw = SegmentFacts { lacks_index: true, ..clean(16 << 20) };
        let dying = SegmentFacts { dead_rows: 5_000, ..clean(10 << 20) };
        let mut segments = vec![clean(300 << 20), dying, raw, clean(10), clean(20), clean(30), clean(40)];
        assert_eq!(POLICY.choose_merge(&segments), [2]);
        segments[2] = clean(5);
        assert_eq!(POLICY.choose_merge(&segments), [2, 3, 4, 5, 6]);
        segments.truncate(3);
        assert_eq!(POLICY.choose_merge(&segments), [1]);
        // Of a large load each merge takes as much as one segment may be.
        assert_eq!(
            POLICY.choose_merge(&[SegmentFacts { lacks_index: true, ..clean(100 << 20) }; 9]),
            [0, 1, 2, 3, 4]
        );
    }

    #[test]
    fn a_merge_takes_what_is_smaller_too_but_nothing_larger() {
        let segments =
            [clean(5 << 20), clean(100), clean(6 << 20), clean(7 << 20), clean(70 << 20), clean(15 << 20)];
        assert_eq!(POLICY.choose_merge(&segments), [1, 0, 2, 3, 5]);
        let large = [clean(200 << 20); 4];
        assert_eq!(POLICY.choose_merge(&large).len(), 2, "four would be more than a segment may be");
    }

    /// A seed, how many flushes of at most how many bytes, and how often their bytes may be written again.
    const WORKLOADS: [(u64, u32, usize, u64); 3] =
        [(1, 4_000, 100_000, 8), (2, 2_000, 64 << 20, 3), (3, 300, 600 << 20, 1)];

    #[test]
    fn segments_and_what_is_written_stay_few_whatever_is_flushed() {
        for (seed, flushes, bytes_max, written) in WORKLOADS {
            let (mut random, mut namespace) = (Random::new(seed), Simulation::default());
            let mut most = 0;
            for _ in 0..flushes {
                namespace.flush(clean(u64_of(random.below(bytes_max)) + 1));
                let full = namespace.bytes() / (POLICY.segment_bytes_max / 2);
                most = most.max(u64_of(namespace.segments.len()).saturating_sub(full));
            }
            assert!(most <= 15, "{most} segments more than full ones");
            // Each byte is written by its flush, then once for each tier, and within the lowest more often.
            let Simulation { merged, flushed, .. } = namespace;
            assert!(merged < written * flushed, "of {flushed} bytes {merged} were written again");
        }
    }

    #[test]
    fn a_namespace_whose_rows_are_all_replaced_again_and_again_stays_as_large_as_they_are() {
        let (mut random, mut namespace) = (Random::new(4), Simulation::default());
        let live = 1_u64 << 30;
        for _ in 0..64 {
            namespace.flush(clean(16 << 20));
        }
        for _ in 0..1_000 {
            // A flush of 16 MiB of one GiB that replaces rows anywhere.
            for segment in &mut namespace.segments {
                let alive = segment.rows - segment.dead_rows;
                segment.dead_rows += alive * u64_of(500 + random.below(1_000)) / 64_000;
            }
            namespace.segments.retain(|segment| segment.dead_rows < segment.rows);
            namespace.flush(clean(16 << 20));
            assert!(namespace.bytes() < live * 3 / 2, "{} bytes", namespace.bytes());
        }
        let Simulation { merged, flushed, .. } = namespace;
        assert!(merged < 9 * flushed, "of {flushed} bytes {merged} were written again");
    }
}
