//! Which vectors a column accepts: finite vectors of a length whose square stays accurate, and for cosine any vector with
//! a direction.

use half::f16;

use crate::types::{Metric, VECTOR_LENGTH_MAX};

const NOT_FINITE: &str = "a vector component is NaN, infinite or too large";
const NOT_HALF: &str = "a vector component is NaN, infinite or too large: f16 ends at 65504";
const TOO_LONG: &str = "a vector is too long: its Euclidean length may be 1e15 at most, except for cosine";
const ZERO: &str = "a vector of length zero has no cosine";

/// Checks a vector of an f32 column.
pub(super) fn check_f32(metric: Metric, vector: &[f32]) -> Result<(), &'static str> {
    // The bits of absolute floats order as the floats do, with infinity and NaN on top: one integer maximum answers all
    // three questions. Without an early exit the loop vectorizes.
    let max_bits = vector.iter().fold(0, |max: u32, x| max.max(x.abs().to_bits()));
    if max_bits >= f32::INFINITY.to_bits() {
        return Err(NOT_FINITE);
    }
    if metric == Metric::Cosine {
        return if max_bits == 0 { Err(ZERO) } else { Ok(()) };
    }
    // The length is at most the largest component times the root of the dimension. That bound settles nearly all
    // vectors without a second pass.
    let max = f64::from(f32::from_bits(max_bits));
    #[expect(clippy::cast_precision_loss, reason = "a dimension is at most 16,384")]
    let bound = max * (vector.len() as f64).sqrt();
    if bound > VECTOR_LENGTH_MAX && euclidean_length(vector) > VECTOR_LENGTH_MAX {
        return Err(TOO_LONG);
    }
    Ok(())
}

/// Checks a vector of an f16 column. No finite vector of halves is too long: 65,504 times the root of 16,384 is far
/// below the limit.
pub(super) fn check_f16(metric: Metric, vector: &[f16]) -> Result<(), &'static str> {
    let max_bits = vector.iter().fold(0, |max: u16, x| max.max(x.to_bits() & 0x7fff));
    match max_bits {
        _ if max_bits >= f16::INFINITY.to_bits() => Err(NOT_HALF),
        0 if metric == Metric::Cosine => Err(ZERO),
        _ => Ok(()),
    }
}

/// Checks a vector of an i8 column.
pub(super) fn check_i8(metric: Metric, vector: &[i8]) -> Result<(), &'static str> {
    if metric == Metric::Cosine && vector.iter().all(|x| *x == 0) { Err(ZERO) } else { Ok(()) }
}

/// Rounds a vector to f16. For cosine only the direction counts: a vector whose components would overflow, or fall into
/// f16's subnormal range and lose digits, is scaled to length 1 first.
pub(super) fn to_f16(metric: Metric, vector: &[f32]) -> impl Iterator<Item = f16> {
    let scale = if metric == Metric::Cosine { 1.0 / f16_divisor(vector) } else { 1.0 };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a scaled component is at most 1, any other an f32 already"
    )]
    vector.iter().map(move |x| f16::from_f32((f64::from(*x) * scale) as f32))
}

/// What to divide a vector by before it is rounded to f16.
fn f16_divisor(vector: &[f32]) -> f64 {
    // f16 has all its digits from 2^-14 on. If the largest component is at least 2^-10, components a sixteenth of its
    // size keep theirs; smaller ones hardly turn the direction.
    const MIN: f32 = 1.0 / 1_024.0;
    let max = vector.iter().fold(0.0, |max: f32, x| max.max(x.abs()));
    let fits = (MIN..=65_504.0).contains(&max);
    // A vector that is not finite, or zero, has no direction to keep; the check behind the conversion refuses it.
    if fits || max == 0.0 || vector.iter().any(|x| !x.is_finite()) { 1.0 } else { euclidean_length(vector) }
}

/// In f64, since the squares of large components leave f32.
fn euclidean_length(vector: &[f32]) -> f64 {
    vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_takes_what_can_be_measured() {
        let cases: [(Metric, Vec<f32>, Result<(), &str>); 12] = [
            (Metric::L2Squared, vec![0.0, 0.0], Ok(())),
            (Metric::L2Squared, vec![1e-45, 0.0], Ok(())),
            (Metric::L2Squared, vec![9.9e14, 0.0], Ok(())),
            (Metric::L2Squared, vec![9.9e14, -9.9e14], Err(TOO_LONG)),
            (Metric::L2Squared, vec![7e14, -7e14], Ok(())),
            (Metric::Dot, vec![1e30, 0.0], Err(TOO_LONG)),
            (Metric::Dot, vec![f32::NEG_INFINITY, 0.0], Err(NOT_FINITE)),
            (Metric::Cosine, vec![-f32::NAN, 0.0], Err(NOT_FINITE)),
            (Metric::Cosine, vec![f32::MAX, f32::MAX], Ok(())),
            (Metric::Cosine, vec![1e-45, 0.0], Ok(())),
            (Metric::Cosine, vec![-0.0, 0.0], Err(ZERO)),
            (Metric::Cosine, vec![], Err(ZERO)),
        ];
        for (metric, vector, expected) in cases {
            assert_eq!(check_f32(metric, &vector), expected, "{metric:?} {vector:?}");
        }
        let halves = |x: f32| [f16::from_f32(x), f16::ZERO];
        assert_eq!(check_f16(Metric::Dot, &halves(1e5)), Err(NOT_HALF));
        assert_eq!(check_f16(Metric::Dot, &halves(0.0)), Ok(()));
        assert_eq!(check_f16(Metric::Cosine, &halves(-0.0)), Err(ZERO));
        assert_eq!(check_f16(Metric::Cosine, &halves(-6e-8)), Ok(()));
        assert_eq!(check_i8(Metric::Cosine, &[0, 0]), Err(ZERO));
    }

    #[test]
    fn a_direction_survives_in_f16_whatever_the_length() {
        let direction = [0.6, -0.8, 0.001];
        for length in [1e-38, 1e-20, 1e-9, 1e-4, 1.0, 100.0, 1e5, 1e20, 3e38] {
            let vector = direction.map(|x: f32| x * length);
            let halves: Vec<f32> = to_f16(Metric::Cosine, &vector).map(f16::to_f32).collect();
            let (dot, square) = halves.iter().zip(direction).fold((0.0, 0.0), |(dot, square), (x, y)| {
                (dot + f64::from(*x) * f64::from(y), square + f64::from(*x) * f64::from(*x))
            });
            let cosine = dot / (square.sqrt() * euclidean_length(&direction));
            assert!(cosine > 1.0 - 1e-6, "{length}: {halves:?}");
            // What fits is stored as it is.
            if (0.01..1e4).contains(&length) {
                assert!(
                    halves
                        .iter()
                        .zip(vector)
                        .all(|(x, y)| x.to_bits() == f16::from_f32(y).to_f32().to_bits())
                );
            }
        }
        // By other metrics the length counts.
        assert!(to_f16(Metric::Dot, &[1e5, 0.0]).next().is_some_and(f16::is_infinite));
        assert!(to_f16(Metric::Cosine, &[f32::INFINITY, 1.0]).any(|x| !x.is_finite()));
    }
}
