//! The numbers of the clusters of a set, which outlive it.
//!
//! A cluster is known in two ways. Its *position* is its place in the set: positions are in the order of the clusters in
//! space, and each version of a set has its own. Its *number* is the same in every version that has the cluster, and no
//! other cluster of these versions gets it. Code works with positions; the index of a segment names clusters by number.
//! New clusters of a version begin at the `next` of the version before.
//!
//! **Invariant:** versions that have a cluster have the same centroid for it and the same mean. Codes are made of both.
//!
//! On storage: clusters u32 | next u32 | runs u32 | run by run: clusters u32, number of the first u32, parent u32 or all
//! ones. The clusters of a run are neighbours in position and in number, and came from the same parent. So clusters that
//! were trained together take one run.

use crate::codec::{CodecError, Reader, put_len_u32};
use crate::error::Result;

const WHAT: &str = "centroid set";
/// In place of the parent of clusters that came from none. It is the number of no cluster.
const NO_PARENT: u32 = u32::MAX;

/// Clusters that are neighbours in position and in number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::index::vector) struct NumberRun {
    /// How many there are.
    pub(in crate::index::vector) clusters: u32,
    /// The number of the first.
    pub(in crate::index::vector) first: u32,
    /// The number of the cluster of an older version that all of them came from.
    pub(in crate::index::vector) parent: Option<u32>,
}

/// The numbers of the clusters of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::index::vector) struct ClusterNumbers {
    /// In the order of positions.
    by_position: Vec<PlacedRun>,
    /// The same runs in the order of numbers.
    by_number: Vec<PlacedRun>,
    /// How many clusters there are.
    clusters: u32,
    /// All numbers that were ever given are below this.
    next: u32,
}

/// A run, and the position of its first cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PlacedRun {
    position: u32,
    run: NumberRun,
}

impl ClusterNumbers {
    /// Numbers by runs, which are in the order of positions.
    pub(in crate::index::vector) fn new(runs: &[NumberRun], next: u32) -> Result<Self, CodecError> {
        let bad = |why: &str| CodecError::malformed(WHAT, why);
        let (mut by_position, mut clusters) = (Vec::with_capacity(runs.len()), 0_u32);
        for run in runs {
            let ends = run.first.checked_add(run.clusters).is_some_and(|end| end <= next);
            let comes_later = run.parent.is_none_or(|parent| parent < run.first);
            if run.clusters == 0 || !ends || !comes_later {
                return Err(bad("the numbers of its clusters are out of bounds"));
            }
            by_position.push(PlacedRun { position: clusters, run: *run });
            let counted = clusters.checked_add(run.clusters);
            clusters = counted.ok_or_else(|| bad("more clusters than have numbers"))?;
        }
        let mut by_number = by_position.clone();
        by_number.sort_unstable_by_key(|placed| placed.run.first);
        if !by_number.is_sorted_by(|a, b| a.run.first + a.run.clusters <= b.run.first) {
            return Err(bad("two clusters have one number"));
        }
        Ok(Self { by_position, by_number, clusters, next })
    }

    /// The numbers of clusters that come from no others: those from `first` on. `None` if there are not as many.
    pub(in crate::index::vector) fn consecutive(first: u32, clusters: u32) -> Option<Self> {
        let next = first.checked_add(clusters)?;
        let run = PlacedRun { position: 0, run: NumberRun { clusters, first, parent: None } };
        Some(Self { by_position: vec![run], by_number: vec![run], clusters, next })
    }

    /// How many clusters there are.
    pub(in crate::index::vector) fn len(&self) -> u32 {
        self.clusters
    }

    /// The first number that no cluster has had.
    pub(in crate::index::vector) fn next(&self) -> u32 {
        self.next
    }

    /// The number of the cluster at a position.
    pub(in crate::index::vector) fn number_of(&self, position: u32) -> Option<u32> {
        let after = self.by_position.partition_point(|placed| placed.position <= position);
        let PlacedRun { position: start, run } = self.by_position.get(after.checked_sub(1)?)?;
        let within = position - start;
        (within < run.clusters).then(|| run.first + within)
    }

    /// The position of the cluster with a number.
    pub(in crate::index::vector) fn position_of(&self, number: u32) -> Option<u32> {
        let after = self.by_number.partition_point(|placed| placed.run.first <= number);
        let PlacedRun { position, run } = self.by_number.get(after.checked_sub(1)?)?;
        let within = number - run.first;
        (within < run.clusters).then(|| position + within)
    }

    pub(in crate::index::vector) fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        out.extend(self.clusters.to_le_bytes());
        out.extend(self.next.to_le_bytes());
        put_len_u32(out, self.by_position.len())?;
        for PlacedRun { run, .. } in &self.by_position {
            let parent = match run.parent {
                Some(parent) => parent,
                None => NO_PARENT,
            };
            out.extend([run.clusters, run.first, parent].iter().flat_map(|number| number.to_le_bytes()));
        }
        Ok(())
    }

    pub(in crate::index::vector) fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let (clusters, next, count) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let mut runs = Vec::new();
        for _ in 0..count {
            let [clusters, first, parent] = [reader.u32()?, reader.u32()?, reader.u32()?];
            let parent = Some(parent).filter(|parent| *parent != NO_PARENT);
            runs.push(NumberRun { clusters, first, parent });
        }
        let numbers = Self::new(&runs, next)?;
        if numbers.clusters != clusters {
            return Err(CodecError::malformed(WHAT, "not as many numbers as clusters"));
        }
        Ok(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(clusters: u32, first: u32, parent: Option<u32>) -> NumberRun {
        NumberRun { clusters, first, parent }
    }

    #[test]
    fn numbers_and_positions_lead_to_each_other() {
        let numbers =
            ClusterNumbers::new(&[run(2, 7, None), run(1, 30, Some(9)), run(3, 0, None)], 31).unwrap();
        let by_position: Vec<_> = (0..7).map(|position| numbers.number_of(position)).collect();
        assert_eq!(by_position, [Some(7), Some(8), Some(30), Some(0), Some(1), Some(2), None]);
        for number in 0..40 {
            let position = (0..6).find(|position| numbers.number_of(*position) == Some(number));
            assert_eq!(numbers.position_of(number), position, "{number}");
        }
        let mut bytes = Vec::new();
        numbers.encode(&mut bytes).unwrap();
        assert_eq!(bytes.len(), 12 + 3 * 12);
        let mut reader = Reader::new("numbers", &bytes);
        assert_eq!(ClusterNumbers::decode(&mut reader).unwrap(), numbers);
        assert!(reader.end().is_ok());
        bytes[0] += 1;
        assert!(
            ClusterNumbers::decode(&mut Reader::new("numbers", &bytes)).is_err(),
            "7 clusters, 6 numbers"
        );
    }

    #[test]
    fn numbers_that_are_no_names_are_refused() {
        let new = |runs: &[NumberRun], next| ClusterNumbers::new(runs, next).map(|numbers| numbers.len());
        assert_eq!(new(&[run(2, 4, Some(3))], 6).unwrap(), 2);
        assert!(new(&[run(2, 4, None)], 5).is_err(), "beyond the next");
        assert!(new(&[run(2, 4, Some(4))], 6).is_err(), "a parent that is not older");
        assert!(new(&[run(0, 4, None)], 6).is_err(), "a run of none");
        assert!(new(&[run(2, 4, None), run(2, 3, None)], 6).is_err(), "4 twice");
        assert!(new(&[run(2, u32::MAX, None)], u32::MAX).is_err());
    }

    #[test]
    fn new_clusters_begin_where_the_version_before_ended() {
        let before = ClusterNumbers::new(&[run(1, 8, None), run(1, 3, None)], 9).unwrap();
        let numbers = ClusterNumbers::consecutive(before.next(), 2).unwrap();
        assert_eq!([0, 1, 2].map(|position| numbers.number_of(position)), [Some(9), Some(10), None]);
        assert_eq!(numbers.next(), 11);
        assert!(ClusterNumbers::consecutive(u32::MAX - 1, 2).is_none());
    }
}
