//! Fusion: one ranking of several.
//!
//! Everything here is arithmetic on ranks and scores, so it can be compared with its definition.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::LegHit;
use crate::error::{Error, Result};
use crate::view::RowAddr;

/// The constant of reciprocal rank fusion in the paper that introduced it.
const CONSTANT: f32 = 60.0;

/// How the rankings of several legs become one. A query with one leg is not fused: its score is the leg's.
///
/// ```
/// use elacsym::{Fusion, Leg, Query};
/// use elacsym::query::TextQuery;
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
type Combine = Arc<dyn Fn(&[Option<LegHit>]) -> f32 + Send + Sync>;

#[derive(Clone)]
enum Rule {
    ReciprocalRank(f32),
    MinMax,
    ZScore,
    Custom(Combine),
}

impl Fusion {
    /// The sum over legs of weight / (constant + rank), ranks counted from 1; a leg that did not find a document
    /// adds nothing. The constant is above 0. (Cormack, Clarke and Büttcher, SIGIR 2009.)
    #[must_use]
    pub fn reciprocal_rank(constant: f32) -> Self {
        Self(Rule::ReciprocalRank(constant))
    }

    /// The sum over legs of weight times score, where the scores of each leg are stretched to 0 for its worst and
    /// 1 for its best document. If all its scores are the same, they are 1. What a leg did not find has 0.
    #[must_use]
    pub fn min_max() -> Self {
        Self(Rule::MinMax)
    }

    /// The sum over legs of weight times score, where the scores of each leg have mean 0 and standard deviation 1.
    /// If all its scores are the same, they are 0. What a leg did not find has the least score of the leg.
    #[must_use]
    pub fn z_score() -> Self {
        Self(Rule::ZScore)
    }

    /// A function of yours of what each leg says of a document, in order of the legs: greater is better. It must
    /// not be NaN. Weights are left to it.
    pub fn custom(combine: impl Fn(&[Option<LegHit>]) -> f32 + Send + Sync + 'static) -> Self {
        Self(Rule::Custom(Arc::new(combine)))
    }

    pub(super) fn check(&self) -> Result<()> {
        match self.0 {
            Rule::ReciprocalRank(constant) if !(constant.is_finite() && constant > 0.0) => {
                Err(Error::invalid(format!(
                    "bad constant of reciprocal rank fusion: it must be above 0. constant=`{constant}`"
                )))
            }
            _ => Ok(()),
        }
    }

    /// The documents that any leg found, in no order.
    pub(super) fn fuse(&self, rankings: Vec<Ranking>) -> Result<Vec<Fused>> {
        if let [_] = rankings.as_slice() {
            let one = |(place, hit): (RowAddr, LegHit)| Fused {
                place,
                score: hit.score,
                rank: hit.rank,
                legs: vec![Some(hit)],
            };
            return Ok(rankings.into_iter().flat_map(|ranking| ranking.hits).map(one).collect());
        }
        let scales: Vec<Scale> = rankings.iter().map(|ranking| self.scale(ranking)).collect();
        let mut found: HashMap<RowAddr, Vec<Option<LegHit>>> = HashMap::new();
        for (at, ranking) in rankings.iter().enumerate() {
            for (place, hit) in &ranking.hits {
                let legs = found.entry(*place).or_insert_with(|| vec![None; rankings.len()]);
                if let Some(leg) = legs.get_mut(at) {
                    *leg = Some(*hit);
                }
            }
        }
        for (at, alike) in rankings.iter().enumerate().filter_map(|(at, of)| Some((at, of.alike.as_ref()?))) {
            for (place, legs) in &mut found {
                let is_one = || alike.rows.get(place.part).is_some_and(|rows| rows.contains(place.row));
                if let Some(leg) = legs.get_mut(at).filter(|leg| leg.is_none() && is_one()) {
                    *leg = Some(alike.hit);
                }
            }
        }
        let fused = found.into_iter().map(|(place, legs)| {
            // Of two zeros there is one here.
            let score = self.score(&legs, &scales) + 0.0;
            if score.is_nan() {
                return Err(Error::invalid("bad fusion: the function gave NaN"));
            }
            Ok(Fused { place, score, rank: 0, legs })
        });
        fused.collect()
    }

    /// The sum in double precision, rounded at the end: so that the order of addition makes no difference.
    #[expect(clippy::cast_possible_truncation, reason = "scores are single precision")]
    fn score(&self, legs: &[Option<LegHit>], scales: &[Scale]) -> f32 {
        if let Rule::Custom(combine) = &self.0 {
            return combine(legs);
        }
        let terms = legs.iter().zip(scales).map(|(hit, scale)| match (hit, &self.0) {
            (Some(hit), Rule::ReciprocalRank(constant)) => {
                #[expect(clippy::cast_precision_loss, reason = "ranks are small")]
                let rank = hit.rank as f64;
                scale.weight / (f64::from(*constant) + rank)
            }
            (Some(hit), _) => scale.weight * (finite(hit.score) - scale.zero) / scale.unit + scale.found,
            (None, _) => scale.missing,
        });
        terms.sum::<f64>() as f32
    }

    fn scale(&self, ranking: &Ranking) -> Scale {
        let weight = f64::from(ranking.weight);
        let plain = Scale { weight, zero: 0.0, unit: 1.0, found: 0.0, missing: 0.0 };
        let scores = || ranking.hits.iter().map(|(_, hit)| finite(hit.score));
        let (least, most) =
            scores().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), score| (a.min(score), b.max(score)));
        match self.0 {
            Rule::ReciprocalRank(_) | Rule::Custom(_) => plain,
            Rule::MinMax if most > least => Scale { zero: least, unit: most - least, ..plain },
            // Every score is the zero: all that were found have what is added.
            Rule::MinMax => Scale { zero: least, found: weight, ..plain },
            Rule::ZScore if most > least => {
                #[expect(clippy::cast_precision_loss, reason = "hits are few")]
                let count = ranking.hits.len() as f64;
                let mean = scores().sum::<f64>() / count;
                let deviation = (scores().map(|score| (score - mean).powi(2)).sum::<f64>() / count).sqrt();
                Scale { zero: mean, unit: deviation, missing: weight * (least - mean) / deviation, ..plain }
            }
            Rule::ZScore => Scale { zero: least, ..plain },
        }
    }
}

impl Default for Fusion {
    fn default() -> Self {
        Self::reciprocal_rank(CONSTANT)
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

/// What a leg found, best first.
#[derive(Clone, Debug)]
pub(super) struct Ranking {
    pub(super) weight: f32,
    pub(super) hits: Vec<(RowAddr, LegHit)>,
    /// Of several legs: what is as good as the last of these.
    pub(super) alike: Option<Alike>,
}

/// Documents that a leg finds as good as the last of its ranking, whether or not they are in it.
#[derive(Clone, Debug)]
pub(super) struct Alike {
    pub(super) hit: LegHit,
    /// The rows of each part.
    pub(super) rows: Arc<[RoaringBitmap]>,
}

/// A document with what the legs say of it.
#[derive(Clone, Debug)]
pub(super) struct Fused {
    pub(super) place: RowAddr,
    pub(super) score: f32,
    /// The rank of a score that is a leg's own, which tells apart what single precision does not; 0 of others.
    pub(super) rank: usize,
    pub(super) legs: Vec<Option<LegHit>>,
}

impl Fused {
    /// The better comes first; equals are those that only ids tell apart.
    pub(super) fn best_first(&self, other: &Self) -> Ordering {
        other.score.total_cmp(&self.score).then(self.rank.cmp(&other.rank))
    }
}

/// How the scores of a leg are stretched: weight × (score − zero) / unit + found; `missing` for what it did not
/// find.
#[derive(Debug)]
struct Scale {
    weight: f64,
    zero: f64,
    unit: f64,
    found: f64,
    missing: f64,
}

/// A score that can be reckoned with: distances of vectors may pass what single precision holds.
fn finite(score: f32) -> f64 {
    f64::from(score.clamp(f32::MIN, f32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranking(weight: f32, scores: &[(u32, f32)]) -> Ranking {
        let hit = |(at, (row, score)): (usize, &(u32, f32))| {
            (RowAddr { part: 0, row: *row }, LegHit { rank: at + 1, score: *score, distance: None })
        };
        Ranking { weight, hits: scores.iter().enumerate().map(hit).collect(), alike: None }
    }

    fn scores(fusion: &Fusion, rankings: &[Ranking]) -> Vec<(u32, f32)> {
        let mut fused: Vec<(u32, f32)> = fusion
            .fuse(rankings.to_vec())
            .unwrap()
            .into_iter()
            .map(|fused| (fused.place.row, fused.score))
            .collect();
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
        tags.alike = tags.hits.last().map(|(_, hit)| Alike { hit: *hit, rows: Arc::new(rows) });
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
        assert!(Fusion::custom(|_| f32::NAN).fuse(legs.to_vec()).is_err());
        assert!(Fusion::reciprocal_rank(0.0).check().is_err());
        assert!(Fusion::reciprocal_rank(f32::NAN).check().is_err());
    }
}
