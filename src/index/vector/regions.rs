//! From the recall of single queries to the curves of regions.

use super::curve::{CurveRegion, NEIGHBOURS, REGIONS_MAX};
use super::numeric::{count_to_f64, round_to_f32};
use super::query_recall::QueryRecall;

/// Queries of a region, at least.
// The mean of fewer says little: at a recall of .9, 16 queries have a standard error of 7.5 %.
const REGION_QUERIES: usize = 16;

/// How certain a curve is depends on how much the recall of single queries varies: of so many neighbours.
// Of one neighbour a query finds all or nothing. Of ten it mostly finds some, so that a mean over queries says more.
const CERTAIN_OF: u32 = 10;
/// Of ten neighbours that lie where they lie by chance, a query says ten times as much as of one.
const CERTAINTY_MAX: f64 = 10.0;

/// The curves of regions: queries by their first cluster, about the same number in each.
#[expect(clippy::indexing_slicing, reason = "every query and region has all points of the grid")]
pub(super) fn form_regions(mut recalls: Vec<QueryRecall>, points: usize) -> Vec<CurveRegion> {
    recalls.sort_by_key(|recall| recall.home);
    let groups = group_by_home(&recalls);
    let region =
        |last: u32| CurveRegion { last, queries: 1.0, points: vec![[0.0; NEIGHBOURS.len()]; points] };
    let mut regions: Vec<CurveRegion> = groups.iter().map(|(last, _)| region(*last)).collect();
    // The weights of the regions' own means, summed where it is uncertain what all of them hold: near a recall of 0 or 1
    // all means agree, and the weight is that of noise.
    let (mut weights, mut uncertain) = (0.0, 0.0);
    // The variance of the recall of a single query, and what it would be if a query found all or nothing.
    let (mut variance, mut variance_max) = (0.0, 0.0);
    for (which, neighbours) in NEIGHBOURS.into_iter().enumerate() {
        let mut highest = vec![0.0_f32; groups.len()];
        for point in 0..points {
            let share = |recall: &QueryRecall| recall.shares[point][which];
            let shares: Vec<Vec<f64>> =
                groups.iter().map(|(_, group)| group.iter().map(share).collect()).collect();
            let Shrunk { means, all, weight, within } = shrink_means(&shares);
            if neighbours == CERTAIN_OF {
                variance += within;
                variance_max += all * (1.0 - all);
            }
            weights += weight * all * (1.0 - all);
            uncertain += all * (1.0 - all);
            for ((region, highest), mean) in regions.iter_mut().zip(&mut highest).zip(means) {
                // More clusters hold no less. Each query's curve rises, but the weight differs from point to point.
                *highest = highest.max(round_to_f32(mean).clamp(0.0, 1.0));
                region.points[point][which] = *highest;
            }
        }
    }
    let weight = if uncertain > 0.0 { weights / uncertain } else { 0.0 };
    let certainty = if variance > 0.0 { (variance_max / variance).clamp(1.0, CERTAINTY_MAX) } else { 1.0 };
    let all = count_to_f64(recalls.len());
    for (region, (_, group)) in regions.iter_mut().zip(&groups) {
        // The variance of a mean of n queries is in proportion to 1/n: so is that of the weighted mean of two such means.
        let queries = 1.0 / (weight / count_to_f64(group.len()) + (1.0 - weight) / all);
        region.queries = round_to_f32(queries * certainty).max(1.0);
    }
    regions
}

/// Divides queries, which are sorted by their home, into groups; each with the last home of the group.
fn group_by_home(recalls: &[QueryRecall]) -> Vec<(u32, &[QueryRecall])> {
    let group_size = recalls.len().div_ceil((recalls.len() / REGION_QUERIES).clamp(1, REGIONS_MAX));
    let mut groups = Vec::new();
    let mut rest = recalls;
    while !rest.is_empty() {
        let (group, _) = rest.split_at(group_size.min(rest.len()));
        let Some(last) = group.last() else { break };
        // Queries with one home stay together, as a region is found by that home; and too few at the end join the group
        // before.
        let mut end = rest.partition_point(|recall| recall.home <= last.home);
        if rest.len() - end < group_size / 2 {
            end = rest.len();
        }
        let (group, behind) = rest.split_at(end);
        groups.extend(group.last().map(|last| (last.home, group)));
        rest = behind;
    }
    groups
}

/// The means of groups, and how they were made.
struct Shrunk {
    means: Vec<f64>,
    /// The mean of all.
    all: f64,
    /// The weight of a group's own mean; that of all has the rest.
    weight: f64,
    /// The variance within the groups.
    within: f64,
}

/// The means of groups, drawn to the mean of all as far as they differ by chance alone (Efron and Morris, JASA 1975).
// With 16 queries, the own mean of a region is off by several percent. The mean of all is certain, but wrong for regions
// that differ. The weight between the two follows from how much the means vary beyond what chance explains.
fn shrink_means(groups: &[Vec<f64>]) -> Shrunk {
    // invariant: no values have a sum of 0, and 0 is their mean.
    let mean = |values: &[f64]| values.iter().sum::<f64>() / count_to_f64(values.len()).max(1.0);
    let means: Vec<f64> = groups.iter().map(|group| mean(group)).collect();
    let count: usize = groups.iter().map(Vec::len).sum();
    let all = groups.iter().flatten().sum::<f64>() / count_to_f64(count).max(1.0);
    if groups.len() < 2 || count <= groups.len() {
        return Shrunk { means, all, weight: 1.0, within: all * (1.0 - all) };
    }
    let squares = |values: &[f64], mean: f64| values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    let within = groups.iter().zip(&means).map(|(group, mean)| squares(group, *mean)).sum::<f64>();
    let within = within / count_to_f64(count - groups.len());
    // The variance of a mean by chance, and the variance that the means have.
    let chance = within * count_to_f64(groups.len()) / count_to_f64(count);
    let found = squares(&means, all) / count_to_f64(groups.len() - 1);
    let weight = if found > 0.0 { (1.0 - chance / found).clamp(0.0, 1.0) } else { 0.0 };
    Shrunk { means: means.into_iter().map(|mean| all + weight * (mean - all)).collect(), all, weight, within }
}
