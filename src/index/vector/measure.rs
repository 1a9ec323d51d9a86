//! Measuring the [`RecallCurve`] of an index when it is built.
//!
//! The queries are distinct vectors of the segment itself, the same number from each cluster. For each, its
//! true nearest among the distinct vectors are found, and with each the rank of its cluster in the order in which
//! the query would probe the clusters. Copies of a vector would be each other's neighbours in the one cluster they share,
//! and a curve that counts them promises what other vectors do not get. For the same reason the query's own part in the
//! centroid of its cluster is taken out: a query that is not stored has none.

use super::assignment::Assignment;
use super::centroids::CentroidSet;
use super::curve::{NEIGHBOURS, RecallCurve, probe_grid};
use super::kernels::kernels;
use super::kmeans::Points;
use super::numeric::{count_to_f64, round_to_f32};
use super::quantizer::Form;
use super::query_recall::QueryRecall;
use super::random::Random;
use super::regions::form_regions;
use crate::codec::{to_u32, usize_of};
use crate::error::Result;

/// The number of queries: between these two, and otherwise as many as [`PRODUCTS_MAX`] products of components allow.
// Each query is compared with all vectors, so their number bounds what measuring costs. At a recall of .95, 64 queries
// have a standard error below 3 %.
const QUERIES_MAX: usize = 256;
const QUERIES_MIN: usize = 64;
const PRODUCTS_MAX: usize = 20_000_000_000;
/// Distances in memory at a time, of all queries that are compared together: 32 MiB.
const DISTANCES_MAX: usize = 1 << 22;
/// Queries that are compared together, at most.
// They share each tile of vectors that is read from memory.
const TOGETHER_MAX: usize = 16;
/// Components of the vectors that are compared with one query after another: 128 KiB stay in a core's cache.
const TILE: usize = 32 << 10;
/// Seed for drawing the queries: the same rows give the same curve.
const SEED: u64 = 0x63_7572_7665;

impl RecallCurve {
    /// Measures the curve of distinct vectors, as the metric compares them, in their clusters.
    pub(super) fn measure(set: &CentroidSet, vectors: Points<'_>, assignment: &Assignment) -> Result<Self> {
        let clusters = to_u32(set.len(), "the number of clusters")?;
        let grid = probe_grid(clusters);
        let queries = sample_queries(vectors, assignment.members());
        let together = (DISTANCES_MAX / vectors.rows().max(1)).clamp(1, TOGETHER_MAX);
        let mut recalls = Vec::with_capacity(queries.len());
        for queries in queries.chunks(together) {
            let neighbours = find_neighbours(vectors, queries, set.space().form())?;
            for (query, neighbours) in queries.iter().zip(neighbours) {
                let ranks = rank_clusters(set, vectors, *query, assignment);
                recalls.push(QueryRecall::new(&ranks, &neighbours, assignment, &grid));
            }
        }
        let regions = form_regions(recalls, grid.len());
        Ok(Self { vectors: to_u32(vectors.rows(), "the number of vectors")?, clusters, grid, regions })
    }
}

/// Vectors to search for: the clusters take turns, so that a few clusters far from all others are represented like any.
#[expect(
    clippy::indexing_slicing,
    reason = "a turn is below the number of turns, and a seat within its cluster"
)]
fn sample_queries(vectors: Points<'_>, members: &[Vec<u32>]) -> Vec<u32> {
    // One vector alone has no neighbour to find.
    if vectors.rows() < 2 {
        return Vec::new();
    }
    let work = vectors.rows().saturating_mul(vectors.dim()).max(1);
    let wanted = (PRODUCTS_MAX / work).clamp(QUERIES_MIN, QUERIES_MAX).min(vectors.rows());
    let mut members: Vec<Vec<u32>> = members.iter().filter(|members| !members.is_empty()).cloned().collect();
    let mut random = Random::new(SEED);
    let mut queries = Vec::with_capacity(wanted);
    let (clusters, mut round) = (members.len(), 0);
    while queries.len() < wanted {
        // Fewer queries than clusters are spread over all of them, not taken from the first.
        let turns = (wanted - queries.len()).min(clusters);
        let before = queries.len();
        for turn in 0..turns {
            let members = &mut members[turn * clusters / turns];
            if members.len() > round {
                // A shuffle that stops early (Fisher and Yates): the first `round` members were drawn before.
                let seat = round + random.below(members.len() - round);
                members.swap(round, seat);
                queries.push(members[round]);
            }
        }
        // All clusters of this round are exhausted. Larger ones may not be, but one more query of each is all that fewer
        // turns than clusters would bring.
        if queries.len() == before {
            break;
        }
        round += 1;
    }
    queries
}

/// The rank of each cluster in the order in which a vector that is not part of its own cluster would probe them.
#[expect(clippy::indexing_slicing, reason = "scores, ranks and members have an element for each cluster")]
fn rank_clusters(set: &CentroidSet, vectors: Points<'_>, query: u32, assignment: &Assignment) -> Vec<u32> {
    let vector = vectors.row(usize_of(query));
    let mut scores = set.score_vector(vector);
    if let Some(own) = assignment.cluster_of(query) {
        let own = usize_of(own);
        let others = count_to_f64(assignment.members()[own].len()) - 1.0;
        if others > 0.0 {
            scores[own] = score_without(set, vector, scores[own], others);
        }
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_unstable_by(|a, b| scores[*a].total_cmp(&scores[*b]).then(a.cmp(b)));
    let mut ranks = vec![0; scores.len()];
    for (rank, cluster) in (0..).zip(order) {
        ranks[cluster] = rank;
    }
    ranks
}

/// The score of a cluster for one of its vectors if its centroid were the mean of the `others` alone.
fn score_without(set: &CentroidSet, vector: &[f32], score: f32, others: f64) -> f32 {
    let (with, count) = (f64::from(score), others + 1.0);
    round_to_f32(match set.space().form() {
        // x − (n·c − x)/(n − 1) = n/(n − 1) · (x − c)
        Form::L2 => with * (count / others).powi(2),
        // Scores are of centroids less the mean of the space.
        Form::Dot => {
            let (scale, pairs) = (set.space().scale(), vector.iter().zip(set.space().mean()));
            let own: f64 = pairs.map(|(x, mean)| f64::from(*x) * (f64::from(*x) - mean)).sum();
            (with * count + scale * scale * own) / others
        }
    })
}

/// The nearest vectors of each query, itself left out, as [`select_nearest`] orders them.
fn find_neighbours(vectors: Points<'_>, queries: &[u32], form: Form) -> Result<Vec<Vec<u32>>> {
    let kernels = kernels();
    let mut found: Vec<Vec<(f32, u32)>> = vec![Vec::with_capacity(vectors.rows()); queries.len()];
    let tile = to_u32((TILE / vectors.dim().max(1)).max(1), "the vectors of a tile")?;
    let numbers = vectors.row_numbers()?;
    for start in numbers.clone().step_by(usize_of(tile)) {
        let end = numbers.end.min(start.saturating_add(tile));
        for (query, found) in queries.iter().zip(&mut found) {
            let vector = vectors.row(usize_of(*query));
            for other in (start..end).filter(|other| other != query) {
                let row = vectors.row(usize_of(other));
                let distance = match form {
                    Form::L2 => kernels.l2(vector, row),
                    Form::Dot => -kernels.dot(vector, row),
                };
                found.push((round_to_f32(distance), other));
            }
        }
    }
    Ok(found.into_iter().map(select_nearest).collect())
}

/// The nearest vectors, as many as the largest of [`NEIGHBOURS`]: those of each number before all others, in no order.
// Only the sets of the nearest 1, 10, … matter. Selecting within what was selected before is linear; a sort is not.
fn select_nearest(mut found: Vec<(f32, u32)>) -> Vec<u32> {
    let mut within = found.len();
    for count in NEIGHBOURS.into_iter().rev().map(usize_of) {
        let (selected, _) = found.split_at_mut(within);
        if count < selected.len() {
            selected.select_nth_unstable_by(count, |a, b| a.0.total_cmp(&b.0));
            within = count;
        }
    }
    let [.., most] = NEIGHBOURS;
    found.into_iter().take(usize_of(most)).map(|(_, vector)| vector).collect()
}
