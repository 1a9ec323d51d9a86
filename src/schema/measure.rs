//! Which vectors a column takes: finite ones, of a length that arithmetic can square, and by cosine all that have a
//! direction.

use half::f16;

use crate::types::{Metric, VECTOR_LENGTH_MAX};

const NOT_FINITE: &str = "a vector component is NaN, infinite or too large";
const NOT_HALF: &str = "a vector component is NaN, infinite or too large: f16 ends at 65504";
const TOO_LONG: &str = "a vector is too long: its Euclidean length may be 1e15 at most, but for cosine";
const ZERO: &str = "a vector of length zero has no cosine";

/// Why a column of f32 does not take a vector, if it does not.
pub(super) fn check_f32(metric: Metric, vector: &[f32]) -> Result<(), &'static str> {
    // By bits, and without an early end: it runs on whole registers.
    let greatest = vector.iter().fold(0, |greatest: u32, x| greatest.max(x.abs().to_bits()));
    if greatest >= f32::INFINITY.to_bits() {
        return Err(NOT_FINITE);
    }
    if metric == Metric::Cosine {
        return if greatest == 0 { Err(ZERO) } else { Ok(()) };
    }
    // No vector is longer than its greatest component times the root of their number, which spares nearly all.
    let greatest = f64::from(f32::from_bits(greatest));
    let most = greatest * f64::from(u32::try_from(vector.len()).unwrap_or(u32::MAX)).sqrt();
    if most > VECTOR_LENGTH_MAX && length(vector) > VECTOR_LENGTH_MAX { Err(TOO_LONG) } else { Ok(()) }
}

/// Why a column of f16 does not take a vector, if it does not. None that is finite is too long.
pub(super) fn check_f16(metric: Metric, vector: &[f16]) -> Result<(), &'static str> {
    let greatest = vector.iter().fold(0, |greatest: u16, x| greatest.max(x.to_bits() & 0x7fff));
    match greatest {
        _ if greatest >= f16::INFINITY.to_bits() => Err(NOT_HALF),
        0 if metric == Metric::Cosine => Err(ZERO),
        _ => Ok(()),
    }
}

/// Why a column of i8 does not take a vector, if it does not.
pub(super) fn check_i8(metric: Metric, vector: &[i8]) -> Result<(), &'static str> {
    if metric == Metric::Cosine && vector.iter().all(|x| *x == 0) { Err(ZERO) } else { Ok(()) }
}

/// Rounds a vector to f16. By cosine only the direction counts: a vector that would become infinite, or lose digits
/// among the least numbers of f16 or vanish there, is brought to length 1 first.
pub(super) fn to_f16(metric: Metric, vector: &[f32]) -> impl Iterator<Item = f16> {
    let scale = if metric == Metric::Cosine { 1.0 / unit(vector) } else { 1.0 };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a scaled component is at most 1, any other an f32 already"
    )]
    vector.iter().map(move |x| f16::from_f32((f64::from(*x) * scale) as f32))
}

/// What to divide a vector by before it is rounded to f16.
fn unit(vector: &[f32]) -> f64 {
    // Numbers of f16 have all their digits from 2^-14 on: components a sixteenth as large as the greatest keep theirs.
    const LEAST: f32 = 1.0 / 1_024.0;
    let greatest = vector.iter().fold(0.0, |greatest: f32, x| greatest.max(x.abs()));
    let fits = (LEAST..=65_504.0).contains(&greatest);
    // One that is not finite, or zero, has no direction, and is refused for it.
    if fits || greatest == 0.0 || vector.iter().any(|x| !x.is_finite()) { 1.0 } else { length(vector) }
}

fn length(vector: &[f32]) -> f64 {
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
            let cosine = dot / (square.sqrt() * super::length(&direction));
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
