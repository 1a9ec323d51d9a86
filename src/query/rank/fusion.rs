//! Fusion: one ranking of several.
//!
//! Everything here is arithmetic on ranks and scores, so that tests can compare it with its definition.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::query::LegHit;
use crate::query::leg::ranking::Ranking;
use crate::view::RowAddr;

/// The constant of reciprocal rank fusion that its paper found best, though results hardly depend on it (Cormack, Clarke
/// and Büttcher, SIGIR 2009).
const RECIPROCAL_RANK_CONSTANT: f32 = 60.0;

/// How the rankings of several legs become one. A query with one leg is not fused: its score is the leg's.
///
/// ```
/// use elacsym::{Fusion, Leg, Query, TextQuery};
///
/// let legs = || [Leg::nearest("embedding", [0.1, 0.9]), Leg::text(TextQuery::any("body", "storage"))];
/// let ranks = Query::hybrid(legs());
/// let scores = Query::hybrid(legs()).fuse(Fusion::min_max());
/// let own = Query::hybrid(legs()).fuse(Fusion::custom(|legs| {
///     legs.iter().flatten().map(|hit| 1.0 / hit.rank as f32).fold(0.0, f32::max)
/// }));
/// # let _ = (ranks, scores, own);
/// ```
#[derive(Clone)]
pub struct Fusion(Rule);

/// A caller's own function.
pub(super) type CustomScore = Arc<dyn Fn(&[Option<LegHit>]) -> f32 + Send + Sync>;

#[derive(Clone)]
pub(super) enum Rule {
    ReciprocalRank(f32),
    MinMax,
    ZScore,
    Custom(CustomScore),
}

impl Fusion {
    /// Reciprocal rank fusion: the sum over legs of weight / (constant + rank), where ranks count from 1 and a leg that
    /// did not find a document adds nothing. The constant is above 0 (Cormack, Clarke and Büttcher, SIGIR 2009).
    #[must_use]
    pub fn reciprocal_rank(constant: f32) -> Self {
        Self(Rule::ReciprocalRank(constant))
    }

    /// The sum over legs of weight times score, where the scores of each leg are scaled to 0 for its worst and 1 for its
    /// best document. If all its scores are equal, they are 1. A document that a leg did not find scores 0 there.
    #[must_use]
    pub fn min_max() -> Self {
        Self(Rule::MinMax)
    }

    /// The sum over legs of weight times score, where the scores of each leg are scaled to mean 0 and standard deviation
    /// 1. If all its scores are equal, they are 0. A document that a leg did not find has the least score of the leg.
    #[must_use]
    pub fn z_score() -> Self {
        Self(Rule::ZScore)
    }

    /// A custom score of a document, from its hit in each leg, in the order of the legs; `None` where a leg did not find
    /// it. Greater is better, and NaN fails the query. Weights of legs are not applied.
    pub fn custom(combine: impl Fn(&[Option<LegHit>]) -> f32 + Send + Sync + 'static) -> Self {
        Self(Rule::Custom(Arc::new(combine)))
    }

    pub(super) fn rule(&self) -> &Rule {
        &self.0
    }

    pub(in crate::query) fn check(&self) -> Result<()> {
        match self.0 {
            Rule::ReciprocalRank(constant) if !(constant.is_finite() && constant > 0.0) => {
                Err(Error::invalid(format!(
                    "bad constant of reciprocal rank fusion: it must be above 0. constant=`{constant}`"
                )))
            }
            _ => Ok(()),
        }
    }

    /// Fuses the rankings of the legs, in their order. Returns the documents that any leg found, in no order.
    pub(in crate::query) fn fuse(&self, legs: &[WeightedRanking<'_>]) -> Result<Vec<Fused>> {
        if let [leg] = legs {
            let only = |(addr, hit): &(RowAddr, LegHit)| Fused {
                addr: *addr,
                score: hit.score,
                rank: hit.rank,
                legs: vec![Some(*hit)],
            };
            return Ok(leg.ranking.hits.iter().map(only).collect());
        }
        let scales: Vec<ScoreScale> = legs.iter().map(|leg| self.scale_of(leg)).collect();
        let fused = collect_hits(legs)?.into_iter().map(|(addr, hits)| {
            // Minus zero becomes zero: they are one score.
            let score = self.score_of(&hits, &scales) + 0.0;
            if score.is_nan() {
                return Err(Error::invalid("bad fusion: the function gave NaN"));
            }
            Ok(Fused { addr, score, rank: 0, legs: hits })
        });
        fused.collect()
    }

    /// The fused score. The sum is in double precision and rounded at the end, so that the order of the legs makes no
    /// difference.
    #[expect(clippy::cast_possible_truncation, reason = "scores are single precision")]
    fn score_of(&self, legs: &[Option<LegHit>], scales: &[ScoreScale]) -> f32 {
        if let Rule::Custom(combine) = &self.0 {
            return combine(legs);
        }
        let terms = legs.iter().zip(scales).map(|(hit, scale)| match (hit, &self.0) {
            (Some(hit), Rule::ReciprocalRank(constant)) => {
                #[expect(clippy::cast_precision_loss, reason = "ranks are small")]
                let rank = hit.rank as f64;
                scale.weight / (f64::from(*constant) + rank)
            }
            (Some(hit), _) => {
                scale.weight * (clamp_finite(hit.score) - scale.zero) / scale.unit + scale.found
            }
            (None, _) => scale.missing,
        });
        terms.sum::<f64>() as f32
    }

    fn scale_of(&self, leg: &WeightedRanking<'_>) -> ScoreScale {
        let (weight, ranking) = (f64::from(leg.weight), leg.ranking);
        let plain = ScoreScale { weight, zero: 0.0, unit: 1.0, found: 0.0, missing: 0.0 };
        let scores = || ranking.hits.iter().map(|(_, hit)| clamp_finite(hit.score));
        let (least, most) =
            scores().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), score| (a.min(score), b.max(score)));
        match self.0 {
            Rule::ReciprocalRank(_) | Rule::Custom(_) => plain,
            Rule::MinMax if most > least => ScoreScale { zero: least, unit: most - least, ..plain },
            // All scores are equal, and so is their distance from the zero: what was found scores 1.
            Rule::MinMax => ScoreScale { zero: least, found: weight, ..plain },
            Rule::ZScore if most > least => {
                #[expect(clippy::cast_precision_loss, reason = "hits are few")]
                let count = ranking.hits.len() as f64;
                let mean = scores().sum::<f64>() / count;
                let deviation = (scores().map(|score| (score - mean).powi(2)).sum::<f64>() / count).sqrt();
                ScoreScale {
                    zero: mean,
                    unit: deviation,
                    missing: weight * (least - mean) / deviation,
                    ..plain
                }
            }
            Rule::ZScore => ScoreScale { zero: least, ..plain },
        }
    }
}

impl Default for Fusion {
    fn default() -> Self {
        Self::reciprocal_rank(RECIPROCAL_RANK_CONSTANT)
    }
}

impl fmt::Debug for Fusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Rule::ReciprocalRank(constant) => write!(f, "reciprocal rank, constant {constant}"),
            Rule::MinMax => write!(f, "min-max"),
            Rule::ZScore => write!(f, "z-score"),
            Rule::Custom(_) => write!(f, "custom"),
        }
    }
}

/// The ranking of a leg with its weight.
#[derive(Clone, Copy, Debug)]
pub(in crate::query) struct WeightedRanking<'a> {
    pub(in crate::query) weight: f32,
    pub(in crate::query) ranking: &'a Ranking,
}

/// A document with its hits in the legs.
#[derive(Clone, Debug)]
pub(in crate::query) struct Fused {
    pub(in crate::query) addr: RowAddr,
    pub(in crate::query) score: f32,
    /// The rank of a query with one leg, which tells apart what single precision does not; else 0.
    pub(in crate::query) rank: usize,
    pub(in crate::query) legs: Vec<Option<LegHit>>,
}

impl Fused {
    /// Where documents lie, in their order.
    pub(in crate::query) fn addrs(fused: &[Self]) -> Vec<RowAddr> {
        fused.iter().map(|fused| fused.addr).collect()
    }

    /// Orders the better document first. Equal documents are ordered by their ids elsewhere.
    pub(in crate::query) fn best_first(&self, other: &Self) -> Ordering {
        other.score.total_cmp(&self.score).then(self.rank.cmp(&other.rank))
    }
}

/// The hits of every document that any leg found, by leg.
fn collect_hits(legs: &[WeightedRanking<'_>]) -> Result<HashMap<RowAddr, Vec<Option<LegHit>>>> {
    let no_leg = || Error::internal("a document is fused from more legs than there are");
    let mut found: HashMap<RowAddr, Vec<Option<LegHit>>> = HashMap::new();
    for (number, leg) in legs.iter().enumerate() {
        for (addr, hit) in &leg.ranking.hits {
            let hits = found.entry(*addr).or_insert_with(|| vec![None; legs.len()]);
            *hits.get_mut(number).ok_or_else(no_leg)? = Some(*hit);
        }
    }
    // A leg finds what ties with its last hit too: which of the ties are among its hits is decided by ids, and the result
    // must not depend on those.
    for (number, leg) in legs.iter().enumerate() {
        let Some(last) = &leg.ranking.tied else { continue };
        for (addr, hits) in &mut found {
            let hit = hits.get_mut(number).ok_or_else(no_leg)?;
            let is_tied = last.rows.get(addr.part).is_some_and(|rows| rows.contains(addr.row));
            if hit.is_none() && is_tied {
                *hit = Some(last.hit);
            }
        }
    }
    Ok(found)
}

/// How the scores of a leg are scaled: weight × (score − zero) / unit + found; `missing` for documents that it did not
/// find.
#[derive(Debug)]
struct ScoreScale {
    weight: f64,
    zero: f64,
    unit: f64,
    found: f64,
    missing: f64,
}

/// A score within the range of single precision. Distances of extreme vectors are infinite there, and an infinite score
/// would make the scaled scores of all other documents NaN or zero.
fn clamp_finite(score: f32) -> f64 {
    f64::from(score.clamp(f32::MIN, f32::MAX))
}

#[cfg(test)]
mod tests {
    use roaring::RoaringBitmap;

    use super::*;
    use crate::query::leg::ranking::TiedHits;

    type Leg = (f32, Ranking);

    fn ranking(weight: f32, scores: &[(u32, f32)]) -> Leg {
        let hit = |(at, (row, score)): (usize, &(u32, f32))| {
            (RowAddr { part: 0, row: *row }, LegHit { rank: at + 1, score: *score, distance: None })
        };
        let hits = scores.iter().enumerate().map(hit).collect();
        (weight, Ranking { hits, tied: None })
    }

    fn fuse(fusion: &Fusion, legs: &[Leg]) -> Result<Vec<Fused>> {
        let legs = legs.iter().map(|(weight, ranking)| WeightedRanking { weight: *weight, ranking });
        fusion.fuse(&legs.collect::<Vec<_>>())
    }

    fn scores(fusion: &Fusion, legs: &[Leg]) -> Vec<(u32, f32)> {
        let mut fused: Vec<(u32, f32)> =
            fuse(fusion, legs).unwrap().into_iter().map(|fused| (fused.addr.row, fused.score)).collect();
        fused.sort_by_key(|(row, _)| *row);
        fused
    }

    fn assert_near(left: &[(u32, f32)], right: &[(u32, f64)]) {
        assert_eq!(left.len(), right.len(), "{left:?} {right:?}");
        for ((a, x), (b, y)) in left.iter().zip(right) {
            assert!(a == b && (f64::from(*x) - y).abs() < 1e-6, "{left:?} {right:?}");
        }
    }

    #[test]
    fn reciprocal_ranks_add_up_by_weight() {
        let legs = [ranking(1.0, &[(1, 9.0), (2, 8.0)]), ranking(2.0, &[(2, 0.5), (3, 0.1)])];
        let expected = [(1, 1.0 / 61.0), (2, 1.0 / 62.0 + 2.0 / 61.0), (3, 2.0 / 62.0)];
        assert_near(&scores(&Fusion::default(), &legs), &expected);
    }

    #[test]
    fn what_is_as_good_as_the_last_of_a_leg_is_found_by_it() {
        let mut tags = ranking(1.0, &[(1, 1.0)]);
        let rows = [RoaringBitmap::from([1, 3, 5])];
        let (_, last) = *tags.1.hits.last().unwrap();
        tags.1.tied = Some(TiedHits { hit: last, rows: Arc::new(rows) });
        let legs = [tags, ranking(1.0, &[(3, 9.0), (4, 8.0)])];
        let expected = [(1, 1.0 / 61.0), (3, 2.0 / 61.0), (4, 1.0 / 62.0)];
        assert_near(&scores(&Fusion::default(), &legs), &expected);
    }

    #[test]
    fn scores_are_stretched_and_what_is_missing_is_worst() {
        let legs = [ranking(1.0, &[(1, 9.0), (2, 8.0), (4, 5.0)]), ranking(2.0, &[(2, -0.5), (3, -0.7)])];
        let expected = [(1, 1.0), (2, 0.75 + 2.0), (3, 0.0), (4, 0.0)];
        assert_near(&scores(&Fusion::min_max(), &legs), &expected);
        // Mean 22/3, deviation √(26/9); mean −0.6, deviation 0.1.
        let (mean, deviation) = (22.0 / 3.0, (26.0_f64 / 9.0).sqrt());
        let z = |score: f64| (score - mean) / deviation;
        let expected = [(1, z(9.0) - 2.0), (2, z(8.0) + 2.0), (3, z(5.0) - 2.0), (4, z(5.0) - 2.0)];
        assert_near(&scores(&Fusion::z_score(), &legs), &expected);
    }

    #[test]
    fn equal_scores_empty_legs_and_infinities_give_numbers() {
        let same = [ranking(3.0, &[(1, 2.0), (2, 2.0)]), ranking(1.0, &[])];
        assert_near(&scores(&Fusion::min_max(), &same), &[(1, 3.0), (2, 3.0)]);
        assert_near(&scores(&Fusion::z_score(), &same), &[(1, 0.0), (2, 0.0)]);
        assert_near(&scores(&Fusion::default(), &same), &[(1, 3.0 / 61.0), (2, 3.0 / 62.0)]);
        let far = [ranking(1.0, &[(1, 0.0), (2, f32::NEG_INFINITY)]), ranking(1.0, &[(2, 1.0)])];
        assert_near(&scores(&Fusion::min_max(), &far), &[(1, 1.0), (2, 1.0)]);
        assert!(scores(&Fusion::z_score(), &far).iter().all(|(_, score)| score.is_finite()));
        assert!(scores(&Fusion::default(), &[ranking(1.0, &[]), ranking(1.0, &[])]).is_empty());
    }

    #[test]
    fn a_function_of_the_caller_sees_every_leg_and_must_give_numbers() {
        let legs = [ranking(1.0, &[(1, 9.0)]), ranking(2.0, &[(1, 0.5), (2, 0.25)])];
        let best = Fusion::custom(|legs| legs.iter().flatten().map(|hit| hit.score).fold(0.0, f32::max));
        assert_near(&scores(&best, &legs), &[(1, 9.0), (2, 0.25)]);
        assert!(fuse(&Fusion::custom(|_| f32::NAN), &legs).is_err());
        assert!(Fusion::reciprocal_rank(0.0).check().is_err());
        assert!(Fusion::reciprocal_rank(f32::NAN).check().is_err());
    }
}
