//! Measuring the [`RecallCurve`] of an index that is built.
//!
//! Different vectors of the segment itself are the queries, as many from each cluster as from the others. For each, its
//! true nearest among the different vectors are found, and in which cluster each of them lies by the order in which the
//! query would probe the clusters. Copies of a vector would be one another's neighbours in the one cluster they share, and
//! a curve that counts them promises what other vectors do not get. For the same reason the query's own part in the
//! centroid of its cluster is taken out: a query that is not stored has none.

use super::centroids::CentroidSet;
use super::curve::{CurveRegion, NEIGHBOURS, REGIONS_MAX, RecallCurve, grid};
use super::kernels::kernels;
use super::kmeans::Points;
use super::quantizer::Form;
use super::random::Random;
use super::space::narrow;

/// At most this many vectors are asked for, at least that many, and otherwise this many products of components are
/// spent on them.
const QUERIES_MAX: usize = 256;
const QUERIES_MIN: usize = 64;
const PRODUCTS_MAX: usize = 20_000_000_000;
/// Queries of a region, at least: of fewer, their mean tells little.
const REGION_QUERIES: usize = 16;
/// Distances that are held at a time, of all queries that are compared together.
const DISTANCES_MAX: usize = 1 << 22;
/// Components of vectors that are compared with one query after another: they stay in a processor's cache.
const TILE: usize = 32 << 10;
/// Where the seats of the queries in their clusters are drawn from: the same rows give the same curve.
const SEED: u64 = 0x63_7572_7665;

/// What a query found.
struct QueryRecall {
    /// The cluster that it probes first.
    home: u32,
    /// For each of [`NEIGHBOURS`] and point of the grid, the share that is found.
    shares: Vec<[f64; NEIGHBOURS.len()]>,
}

impl RecallCurve {
    /// Measures the curve of different vectors, as the metric compares them, that lie in these clusters.
    pub(super) fn measure(set: &CentroidSet, rows: Points<'_>, assignment: &[u32]) -> Self {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let grid = grid(set.len());
        let mut sizes = vec![0_u32; set.len()];
        for cluster in assignment {
            if let Some(size) = sizes.get_mut(*cluster as usize) {
                *size += 1;
            }
        }
        let queries = queries(rows, assignment, &sizes);
        let together = (DISTANCES_MAX / rows.rows().max(1)).clamp(1, 16);
        let mut asked = Vec::with_capacity(queries.len());
        for queries in queries.chunks(together) {
            for (query, near) in queries.iter().zip(neighbours(rows, queries, set.space().form())) {
                let ranks = ranks(set, rows.row(*query), assignment.get(*query).copied(), &sizes);
                asked.push(QueryRecall::new(&ranks, &near, assignment, &grid));
            }
        }
        let regions = regions(asked, &grid);
        Self { vectors: number(rows.rows()), clusters: number(set.len()), grid, regions }
    }
}

/// Rows to ask for: the clusters take turns, so that a few that lie apart are asked for like any others.
fn queries(rows: Points<'_>, assignment: &[u32], sizes: &[u32]) -> Vec<usize> {
    if rows.rows() < 2 {
        return Vec::new();
    }
    let work = rows.rows().saturating_mul(rows.dim()).max(1);
    let wanted = (PRODUCTS_MAX / work).clamp(QUERIES_MIN, QUERIES_MAX).min(rows.rows());
    let mut members: Vec<Vec<u32>> = vec![Vec::new(); sizes.len()];
    for (row, cluster) in (0..).zip(assignment) {
        if let Some(members) = members.get_mut(*cluster as usize) {
            members.push(row);
        }
    }
    members.retain(|members| !members.is_empty());
    let mut random = Random::new(SEED);
    let mut queries = Vec::with_capacity(wanted);
    let (clusters, mut round) = (members.len(), 0);
    while queries.len() < wanted {
        let left = wanted - queries.len();
        // Fewer than there are clusters are spread over them.
        let turns = left.min(clusters);
        let before = queries.len();
        for turn in 0..turns {
            let Some(members) = members.get_mut(turn * clusters / turns) else { continue };
            if members.len() > round {
                let seat = round + random.below(members.len() - round);
                members.swap(round, seat);
                queries.extend(members.get(round).map(|row| *row as usize));
            }
        }
        if queries.len() == before {
            break;
        }
        round += 1;
    }
    queries
}

/// The place of each cluster in the order in which a row that is no part of its cluster would probe them.
fn ranks(set: &CentroidSet, row: &[f32], own: Option<u32>, sizes: &[u32]) -> Vec<u32> {
    let mut scores = set.scores_of(row);
    let own = own.map(|own| own as usize);
    let others = own.and_then(|own| sizes.get(own)).map_or(0.0, |size| f64::from(*size) - 1.0);
    if let Some(score) = own.and_then(|own| scores.get_mut(own)).filter(|_| others > 0.0) {
        let (with, count) = (f64::from(*score), others + 1.0);
        *score = narrow(match set.space().form() {
            Form::L2 => with * (count / others).powi(2),
            // Scores are of centroids less the mean of the space.
            Form::Dot => {
                let (scale, pairs) = (set.space().scale(), row.iter().zip(set.space().mean()));
                let own: f64 = pairs.map(|(x, mean)| f64::from(*x) * (f64::from(*x) - mean)).sum();
                (with * count + scale * scale * own) / others
            }
        });
    }
    let mut order: Vec<u32> = (0..).take(scores.len()).collect();
    let score = |cluster: &u32| scores.get(*cluster as usize).copied().unwrap_or(f32::NAN);
    order.sort_unstable_by(|a, b| score(a).total_cmp(&score(b)).then(a.cmp(b)));
    let mut ranks = vec![0; scores.len()];
    for (rank, cluster) in (0..).zip(order) {
        if let Some(place) = ranks.get_mut(cluster as usize) {
            *place = rank;
        }
    }
    ranks
}

/// The rows nearest to each of some rows, itself left out, as [`nearest`] orders them.
fn neighbours(rows: Points<'_>, queries: &[usize], form: Form) -> Vec<Vec<u32>> {
    let kernels = kernels();
    let mut all: Vec<Vec<(f32, u32)>> = vec![Vec::with_capacity(rows.rows()); queries.len()];
    let tile = (TILE / rows.dim().max(1)).max(1);
    for start in (0..rows.rows()).step_by(tile) {
        let end = rows.rows().min(start + tile);
        for (query, found) in queries.iter().zip(&mut all) {
            let vector = rows.row(*query);
            for row in (start..end).filter(|row| row != query) {
                let distance = match form {
                    Form::L2 => kernels.l2(vector, rows.row(row)),
                    Form::Dot => -kernels.dot(vector, rows.row(row)),
                };
                found.push((narrow(distance), u32::try_from(row).unwrap_or(u32::MAX)));
            }
        }
    }
    all.into_iter().map(nearest).collect()
}

/// The nearest rows, as many as the largest of [`NEIGHBOURS`]: those of each number before all others, in no order.
fn nearest(mut found: Vec<(f32, u32)>) -> Vec<u32> {
    let mut within = found.len();
    for count in NEIGHBOURS.iter().rev().map(|count| *count as usize) {
        let Some(some) = found.get_mut(..within).filter(|some| count < some.len()) else { continue };
        some.select_nth_unstable_by(count, |a, b| a.0.total_cmp(&b.0));
        within = count;
    }
    let most = NEIGHBOURS.last().map_or(0, |most| *most as usize);
    found.into_iter().take(most).map(|(_, row)| row).collect()
}

impl QueryRecall {
    fn new(ranks: &[u32], near: &[u32], assignment: &[u32], grid: &[u32]) -> Self {
        let home = (0..).zip(ranks).find(|(_, rank)| **rank == 0).map_or(0, |(cluster, _)| cluster);
        // What is in no cluster is always compared.
        let rank_of = |row: &u32| {
            let cluster = assignment.get(*row as usize);
            cluster.and_then(|cluster| ranks.get(*cluster as usize)).copied().unwrap_or_default()
        };
        let mut shares = vec![[1.0; NEIGHBOURS.len()]; grid.len()];
        // How many lie in the cluster of each rank, of more and more of them.
        let (mut counts, mut counted) = (vec![0_u32; ranks.len()], 0);
        for (which, wanted) in NEIGHBOURS.iter().enumerate() {
            let wanted = near.len().min(*wanted as usize);
            for row in near.get(counted..wanted).unwrap_or_default() {
                if let Some(count) = counts.get_mut(rank_of(row) as usize) {
                    *count += 1;
                }
            }
            counted = wanted;
            let (mut found, mut from) = (0_u32, 0);
            for (probes, shares) in grid.iter().zip(&mut shares) {
                let to = *probes as usize;
                found += counts.get(from..to).unwrap_or_default().iter().sum::<u32>();
                from = to;
                if let Some(share) = shares.get_mut(which).filter(|_| wanted > 0) {
                    *share = f64::from(found) / float(wanted);
                }
            }
        }
        Self { home, shares }
    }
}

/// The curves of regions: queries by their first cluster, as many in each.
fn regions(mut asked: Vec<QueryRecall>, grid: &[u32]) -> Vec<CurveRegion> {
    asked.sort_by_key(|asked| asked.home);
    let each = asked.len().div_ceil((asked.len() / REGION_QUERIES).clamp(1, REGIONS_MAX));
    let mut groups: Vec<&[QueryRecall]> = Vec::new();
    let mut rest = asked.as_slice();
    while let Some(last) = rest.get(each.min(rest.len()).wrapping_sub(1)) {
        // Those with one home stay together, and too few at the end go with those before.
        let mut cut = rest.partition_point(|asked| asked.home <= last.home);
        if rest.len() - cut < each / 2 {
            cut = rest.len();
        }
        let (group, behind) = rest.split_at(cut);
        groups.push(group);
        rest = behind;
    }
    let last = |group: &&[QueryRecall]| group.last().map_or(0, |asked| asked.home);
    let region = |group: &&[QueryRecall]| CurveRegion {
        last: last(group),
        queries: 1.0,
        points: vec![[0.0; NEIGHBOURS.len()]; grid.len()],
    };
    let mut regions: Vec<CurveRegion> = groups.iter().map(region).collect();
    // The weights of the regions' own means, where it is uncertain what all of them hold.
    let (mut weights, mut uncertain) = (0.0, 0.0);
    for which in 0..NEIGHBOURS.len() {
        let mut highest = vec![0.0_f32; groups.len()];
        for point in 0..grid.len() {
            let share =
                |asked: &QueryRecall| asked.shares.get(point).and_then(|shares| shares.get(which)).copied();
            let shares: Vec<Vec<f64>> =
                groups.iter().map(|group| group.iter().filter_map(share).collect()).collect();
            let (shrunk, mean, weight) = shrink(&shares);
            weights += weight * mean * (1.0 - mean);
            uncertain += mean * (1.0 - mean);
            for ((region, highest), shrunk) in regions.iter_mut().zip(&mut highest).zip(shrunk) {
                // More clusters hold no less.
                *highest = highest.max(narrow(shrunk).clamp(0.0, 1.0));
                if let Some(recall) = region.points.get_mut(point).and_then(|recalls| recalls.get_mut(which))
                {
                    *recall = *highest;
                }
            }
        }
    }
    let weight = if uncertain > 0.0 { weights / uncertain } else { 0.0 };
    let all = float(asked.len());
    for (region, group) in regions.iter_mut().zip(&groups) {
        region.queries = narrow(1.0 / (weight / float(group.len()) + (1.0 - weight) / all)).max(1.0);
    }
    regions
}

/// The means of groups, drawn to the mean of all as far as they differ by chance alone (Efron and Morris, JASA 1975),
/// the mean of all, and the weight of a group's own.
fn shrink(groups: &[Vec<f64>]) -> (Vec<f64>, f64, f64) {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / float(values.len()).max(1.0);
    let means: Vec<f64> = groups.iter().map(|group| mean(group)).collect();
    let count: usize = groups.iter().map(Vec::len).sum();
    let all = groups.iter().flatten().sum::<f64>() / float(count).max(1.0);
    if groups.len() < 2 || count <= groups.len() {
        return (means, all, 1.0);
    }
    let squares = |values: &[f64], mean: f64| values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    let within = groups.iter().zip(&means).map(|(group, mean)| squares(group, *mean)).sum::<f64>();
    let within = within / float(count - groups.len());
    // The variance of a mean by chance, and that of the means.
    let chance = within * float(groups.len()) / float(count);
    let found = squares(&means, all) / float(groups.len() - 1);
    let weight = if found > 0.0 { (1.0 - chance / found).clamp(0.0, 1.0) } else { 0.0 };
    (means.into_iter().map(|mean| all + weight * (mean - all)).collect(), all, weight)
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
fn float(count: usize) -> f64 {
    count as f64
}
