//! Dividing the rows of a merge among its outputs by cluster, so that a query finds each cluster in one of them.

use std::collections::VecDeque;

use roaring::RoaringBitmap;

use crate::codec::usize_of;
use crate::error::{Error, Result};
use crate::index::vector::RowClusters;

/// Live rows of a source, and what dividing them takes.
pub(super) struct SourceShare<'a> {
    pub(super) live: &'a RoaringBitmap,
    pub(super) row_bytes: u64,
    pub(super) clusters: &'a RowClusters,
}

/// The rows of each output: for each source, which of its rows.
///
/// An output has about `bytes_max` bytes at most and whole clusters, in the order in which they lie in space. Only a
/// cluster that is larger than half an output is divided, and so are the rows that are in no cluster.
pub(super) fn divide_rows(
    sources: &[SourceShare<'_>],
    cluster_count: usize,
    bytes_max: u64,
) -> Result<Vec<Vec<RoaringBitmap>>> {
    let mut bytes = vec![0_u64; cluster_count + 1];
    // Rows in no cluster are as one more, behind all others.
    let cluster_of = |source: &SourceShare<'_>, row| match source.clusters.get(row) {
        Some(cluster) => usize_of(cluster).min(cluster_count),
        None => cluster_count,
    };
    let foreign = || Error::internal("a row is in a cluster that does not exist");
    for source in sources {
        for row in source.live {
            *bytes.get_mut(cluster_of(source, row)).ok_or_else(foreign)? += source.row_bytes;
        }
    }
    let (outputs, mut quotas) = divide_clusters(&bytes, bytes_max.max(1));
    let mut rows = vec![vec![RoaringBitmap::new(); sources.len()]; outputs];
    for (number, source) in sources.iter().enumerate() {
        for row in source.live {
            let quotas = quotas.get_mut(cluster_of(source, row)).ok_or_else(foreign)?;
            let output = take_quota(quotas, source.row_bytes).ok_or_else(foreign)?;
            let rows = rows.get_mut(output).and_then(|rows| rows.get_mut(number));
            rows.ok_or_else(foreign)?.insert(row);
        }
    }
    rows.retain(|rows| rows.iter().any(|rows| !rows.is_empty()));
    Ok(rows)
}

/// The output that the next bytes of a cluster go to, and how many of them.
struct Quota {
    output: usize,
    bytes: u64,
}

/// How many outputs there are, and which of them each cluster goes to.
fn divide_clusters(clusters: &[u64], bytes_max: u64) -> (usize, Vec<VecDeque<Quota>>) {
    let total: u64 = clusters.iter().sum();
    let outputs = total.div_ceil(bytes_max).max(1);
    // About equal ones: a small rest would be searched as any segment is.
    let target = total.div_ceil(outputs);
    let (mut output, mut end, mut before) = (0_usize, target, 0_u64);
    let mut quotas = Vec::with_capacity(clusters.len());
    for bytes in clusters {
        let (mut pieces, mut left) = (VecDeque::new(), *bytes);
        while before + left > end {
            // A cut at the nearest border of a cluster, unless the cluster is too large for that.
            let within = end - before;
            let is_divided = left > target / 2;
            if !is_divided && within >= left / 2 {
                break;
            }
            let piece = if is_divided { within } else { 0 };
            if piece > 0 {
                pieces.push_back(Quota { output, bytes: piece });
            }
            (left, before) = (left - piece, before + piece);
            (output, end) = (output + 1, end + target);
        }
        pieces.push_back(Quota { output, bytes: left });
        before += left;
        // The next cluster begins another output if this one went beyond the end.
        if before >= end && before < total {
            (output, end) = (output + 1, end + target);
        }
        quotas.push(pieces);
    }
    (output + 1, quotas)
}

/// Where the next row of a cluster goes.
fn take_quota(quotas: &mut VecDeque<Quota>, bytes: u64) -> Option<usize> {
    while quotas.len() > 1 && quotas.front().is_some_and(|quota| quota.bytes == 0) {
        quotas.pop_front();
    }
    let quota = quotas.front_mut()?;
    quota.bytes = quota.bytes.saturating_sub(bytes);
    Some(quota.output)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: u32) -> RoaringBitmap {
        (0..count).collect()
    }

    /// Rows of ten bytes in these clusters.
    fn divide(clusters: &[&[Option<u32>]], count: usize, bytes_max: u64) -> Vec<Vec<RoaringBitmap>> {
        let of = |known: &&[Option<u32>]| {
            let mut clusters = RowClusters::default();
            known.iter().for_each(|cluster| clusters.push(*cluster));
            (rows(u32::try_from(known.len()).unwrap()), clusters)
        };
        let sources: Vec<_> = clusters.iter().map(of).collect();
        let shares = sources.iter().map(|(live, clusters)| SourceShare { live, row_bytes: 10, clusters });
        divide_rows(&shares.collect::<Vec<_>>(), count, bytes_max).unwrap()
    }

    #[test]
    fn a_cluster_is_in_one_output_whatever_sources_it_comes_from() {
        let one: Vec<Option<u32>> = (0..100).map(|row| Some(row % 10)).collect();
        let other: Vec<Option<u32>> = (0..60).map(|row| Some(row / 6)).collect();
        let outputs = divide(&[&one, &other], 10, 500);
        assert_eq!(outputs.len(), 4);
        let mut seen = [None; 10];
        for (number, output) in outputs.iter().enumerate() {
            let clusters = output[0].iter().map(|row| one[row as usize]);
            let clusters = clusters.chain(output[1].iter().map(|row| other[row as usize]));
            for cluster in clusters.flatten() {
                let before = seen[cluster as usize].get_or_insert(number);
                assert_eq!(*before, number, "cluster {cluster}");
            }
            let bytes: u64 = output.iter().map(|rows| 10 * rows.len()).sum();
            assert!((320..=480).contains(&bytes), "{bytes}");
        }
        assert_eq!(outputs.iter().flatten().map(RoaringBitmap::len).sum::<u64>(), 160);
    }

    #[test]
    fn a_cluster_that_is_too_large_and_rows_in_none_are_divided() {
        let one: Vec<Option<u32>> = (0..100).map(|row| (row < 60).then_some(u32::from(row >= 5))).collect();
        let outputs = divide(&[&one], 2, 200);
        assert_eq!(outputs.len(), 5);
        assert!(outputs.iter().all(|output| output[0].len() == 20), "{outputs:?}");
        assert_eq!(divide(&[&one], 2, 10_000).len(), 1);
    }

    #[test]
    fn every_row_is_in_one_output() {
        let mut random = crate::index::vector::Random::new(7);
        for _ in 0..200 {
            let count = 1 + random.below(30);
            let mut cluster = || {
                let cluster = random.below(count + 1);
                (cluster < count).then(|| u32::try_from(cluster).unwrap())
            };
            let sources: Vec<Vec<Option<u32>>> =
                (0..3).map(|_| (0..50).map(|_| cluster()).collect()).collect();
            let sources: Vec<&[Option<u32>]> = sources.iter().map(Vec::as_slice).collect();
            let bytes_max = 10 + random.below(2_000) as u64;
            let outputs = divide(&sources, count, bytes_max);
            for source in 0..3 {
                let all: RoaringBitmap = outputs.iter().flat_map(|output| &output[source]).collect();
                assert_eq!(all, rows(50));
                assert_eq!(outputs.iter().map(|output| output[source].len()).sum::<u64>(), 50);
            }
        }
    }
}
