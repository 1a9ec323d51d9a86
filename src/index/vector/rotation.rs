//! The random rotation before RaBitQ codes: it spreads every vector evenly over all dimensions.
//!
//! A vector is padded with zeros to D, the next multiple of 64, and goes through four rounds. With p the
//! largest power of two that is at most D, a round
//! 1. multiplies by a vector of signs,
//! 2. applies the orthonormal Hadamard transform to the first p coordinates, in the second and fourth round to
//!    the last p.
//!
//! Unless p = D, the second round ends with a turn of every pair (i, i + D/2) by π/4: (u, v) becomes
//! ((u + v)/√2, (u − v)/√2). It evens out what the two halves hold. A turn in every round, as other libraries do it,
//! would carry a coordinate around the transforms: a quarter of its length could end in one coordinate.
//!
//! On storage it is a seed. The 4·D signs are the bits of the numbers that [`Random`] draws from it, low bits first, and
//! belong to coordinate after coordinate, round after round; a one is a minus. All versions of a column's centroid set
//! have the same seed, so that a query is rotated once for codes of any of them.

use super::numeric::{count_to_f64, round_to_f32};
use super::random::Random;

// A dense random matrix takes 2·D² operations per vector, 1.2 million at 768 dimensions, where four rounds take about a
// microsecond.
const ROUNDS: usize = 4;
/// The round, from 0, that ends with the turn.
const TURN: usize = 1;
/// Dimensions are padded to a multiple of this.
// Kernels work on groups of 64 dimensions, and fewer would be too few to spread a vector over. Padding comes before the
// rotation, so that the added coordinates carry a part of the vector: from 100 to 128, they cost 28 % more bytes and lower
// the error by 12 %.
const GROUP: usize = 64;

/// A random orthogonal map from `dimension` coordinates into `padded` ones.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rotation {
    seed: u64,
    dimension: usize,
    padded: usize,
    /// The signs of every round, times the factors that keep transforms and turn orthonormal.
    // One multiplication for both. Applied before the transform, the factors also keep its sums from overflowing unless
    // the length of the vector does.
    scales: Vec<f32>,
}

impl Rotation {
    /// The rotation of a seed. A dimension is at least 1.
    pub(crate) fn new(dimension: usize, seed: u64) -> Self {
        let padded = dimension.max(1).next_multiple_of(GROUP);
        let window = window_len(padded);
        let mut random = Random::new(seed);
        let words = (0..ROUNDS * padded / 64).map(|_| random.next());
        let signs = words.flat_map(|word| (0..64).map(move |bit| word >> bit & 1 == 1));
        let scales = signs.enumerate().map(|(at, minus)| {
            let (round, coordinate) = (at / padded, at % padded);
            let transformed =
                if round % 2 == 0 { coordinate < window } else { coordinate >= padded - window };
            let turned = round == TURN && window != padded;
            let square =
                if turned { 0.5 } else { 1.0 } / if transformed { count_to_f64(window) } else { 1.0 };
            let scale = round_to_f32(square.sqrt());
            if minus { -scale } else { scale }
        });
        Self { seed, dimension, padded, scales: scales.collect() }
    }

    /// What determines it.
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// The dimension of the vectors that go in.
    #[cfg(test)]
    pub(crate) fn dimension(&self) -> usize {
        self.dimension
    }

    /// The dimension of the vectors that come out: the next multiple of 64.
    pub(crate) fn padded(&self) -> usize {
        self.padded
    }

    /// Rotates a vector of [`dimension`](Self::dimension) into `out`, of [`padded`](Self::padded) coordinates.
    pub(crate) fn apply(&self, vector: &[f32], out: &mut [f32]) {
        debug_assert_eq!((vector.len(), out.len()), (self.dimension, self.padded), "dimensions");
        let (head, tail) = out.split_at_mut(vector.len());
        head.copy_from_slice(vector);
        tail.fill(0.0);
        let window = window_len(self.padded);
        for (round, scales) in self.scales.chunks_exact(self.padded).enumerate() {
            for (out, scale) in out.iter_mut().zip(scales) {
                *out *= scale;
            }
            let start = if round % 2 == 0 { 0 } else { self.padded - window };
            let (_, transformed) = out.split_at_mut(start);
            let (transformed, _) = transformed.split_at_mut(window);
            hadamard(transformed);
            if round == TURN && window != self.padded {
                let (low, high) = out.split_at_mut(self.padded / 2);
                butterfly(low, high);
            }
        }
    }
}

/// The largest power of two that is not above `padded`.
fn window_len(padded: usize) -> usize {
    1 << padded.ilog2()
}

/// The Hadamard transform in place, without its factor. The length is a power of two, 64 or more.
// All stages within blocks of 64 run while the block is in registers and first-level cache. Of the later stages, each pass
// does two, which halves the traffic to memory.
fn hadamard(values: &mut [f32]) {
    for block in values.as_chunks_mut::<64>().0 {
        hadamard_64(block);
    }
    let mut half = 64;
    while half * 4 <= values.len() {
        for block in values.chunks_exact_mut(half * 4) {
            double_butterfly(block, half);
        }
        half *= 4;
    }
    if half * 2 == values.len() {
        let (low, high) = values.split_at_mut(half);
        butterfly(low, high);
    }
}

fn hadamard_64(block: &mut [f32; 64]) {
    for row in block.as_chunks_mut::<8>().0 {
        *row = hadamard_8(*row);
    }
    for half in [8, 16, 32] {
        for block in block.chunks_exact_mut(half * 2) {
            let (low, high) = block.split_at_mut(half);
            butterfly(low, high);
        }
    }
}

#[expect(clippy::many_single_char_names, reason = "they are the places of a row")]
fn hadamard_8([a, b, c, d, e, f, g, h]: [f32; 8]) -> [f32; 8] {
    let [a, b, c, d, e, f, g, h] = [a + b, a - b, c + d, c - d, e + f, e - f, g + h, g - h];
    let [a, b, c, d, e, f, g, h] = [a + c, b + d, a - c, b - d, e + g, f + h, e - g, f - h];
    [a + e, b + f, c + g, d + h, a - e, b - f, c - g, d - h]
}

fn butterfly(low: &mut [f32], high: &mut [f32]) {
    for (low, high) in low.iter_mut().zip(high) {
        (*low, *high) = (*low + *high, *low - *high);
    }
}

/// The stages of `half` and of `half * 2` over four times `half` values.
fn double_butterfly(values: &mut [f32], half: usize) {
    let (low, high) = values.split_at_mut(half * 2);
    let ((a, b), (c, d)) = (low.split_at_mut(half), high.split_at_mut(half));
    for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
        let (sum_1, difference_1, sum_2, difference_2) = (*a + *b, *a - *b, *c + *d, *c - *d);
        (*a, *b, *c, *d) =
            (sum_1 + sum_2, difference_1 + difference_2, sum_1 - sum_2, difference_1 - difference_2);
    }
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "the numbers are small")]
#[expect(clippy::many_single_char_names, reason = "they are those of the header")]
mod tests {
    use super::*;

    const DIMENSIONS: [usize; 13] = [1, 2, 63, 64, 65, 100, 128, 192, 384, 768, 784, 1536, 3072];

    fn uniform(random: &mut Random, length: usize) -> Vec<f32> {
        (0..length).map(|_| (random.next() >> 40) as f32 / (1 << 23) as f32 - 1.0).collect()
    }

    fn dot(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    }

    fn rotated(rotation: &Rotation, vector: &[f32]) -> Vec<f32> {
        let mut out = vec![f32::NAN; rotation.padded()];
        rotation.apply(vector, &mut out);
        out
    }

    fn impulse(length: usize, at: usize) -> Vec<f32> {
        (0..length).map(|i| f32::from(u8::from(i == at))).collect()
    }

    #[test]
    fn lengths_and_angles_are_kept() {
        for dimension in DIMENSIONS {
            let mut random = Random::new(dimension as u64);
            let rotation = Rotation::new(dimension, random.next());
            assert_eq!(rotation.dimension(), dimension);
            assert_eq!(rotation.padded(), dimension.div_ceil(64) * 64);
            let vectors: Vec<_> = (0..8).map(|_| uniform(&mut random, dimension)).collect();
            let images: Vec<_> = vectors.iter().map(|v| rotated(&rotation, v)).collect();
            for (a, a_image) in vectors.iter().zip(&images) {
                for (b, b_image) in vectors.iter().zip(&images) {
                    let lengths = (dot(a, a) * dot(b, b)).sqrt();
                    let off = (dot(a, b) - dot(a_image, b_image)).abs();
                    assert!(off <= 1e-6 * lengths, "{dimension}: {off} of {lengths}");
                }
            }
        }
    }

    #[test]
    fn the_images_of_the_axes_are_orthonormal() {
        for dimension in [2, 64, 100, 192, 384] {
            let rotation = Rotation::new(dimension, 5);
            let images: Vec<_> =
                (0..dimension).map(|at| rotated(&rotation, &impulse(dimension, at))).collect();
            for (at, a) in images.iter().enumerate() {
                for (other, b) in images.iter().enumerate().skip(at) {
                    let expected = f64::from(u8::from(at == other));
                    assert!((dot(a, b) - expected).abs() <= 1e-6, "{dimension}: {at} and {other}");
                }
            }
        }
    }

    /// As a Gaussian: a kurtosis of 3, and a little less for lack of dimensions.
    #[test]
    fn every_axis_is_spread_over_all_dimensions() {
        for dimension in DIMENSIONS.into_iter().chain([448, 960]) {
            let mut random = Random::new(7);
            let padded = dimension.next_multiple_of(64);
            let axes: Vec<_> = (0..dimension).step_by(dimension.div_ceil(24)).collect();
            let kurtosis = |at: usize| {
                let times = 8192 / padded + 4;
                let fourth = |_| {
                    let image = rotated(&Rotation::new(dimension, random.next()), &impulse(dimension, at));
                    image.iter().map(|x| f64::from(*x).powi(4)).sum::<f64>() * padded as f64
                };
                (0..times).map(fourth).sum::<f64>() / times as f64
            };
            let found: Vec<f64> = axes.iter().copied().map(kurtosis).collect();
            let mean = found.iter().sum::<f64>() / found.len() as f64;
            assert!((2.8..3.12).contains(&mean), "{dimension}: {mean}");
            assert!(found.iter().all(|kurtosis| (2.6..3.7).contains(kurtosis)), "{dimension}: {found:?}");
        }
    }

    #[test]
    fn the_transform_is_the_hadamard_matrix() {
        for length in [64_usize, 128, 256, 512, 1024] {
            let values = uniform(&mut Random::new(length as u64), length);
            let mut found = values.clone();
            hadamard(&mut found);
            for (row, found) in found.iter().enumerate() {
                let sign =
                    |column: usize| if (row & column).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
                let expected: f64 = values.iter().enumerate().map(|(i, v)| sign(i) * f64::from(*v)).sum();
                assert!((f64::from(*found) - expected).abs() < 1e-4, "{length}: row {row}");
            }
        }
    }

    /// The steps as the header lists them, in f64.
    #[test]
    fn the_rounds_are_those_of_the_header() {
        for dimension in [5, 100, 192, 256] {
            let rotation = Rotation::new(dimension, 9);
            let vector = uniform(&mut Random::new(10), dimension);
            let d = rotation.padded();
            let mut random = Random::new(9);
            let words: Vec<u64> = (0..4 * d / 64).map(|_| random.next()).collect();
            let p = if d.is_power_of_two() { d } else { d.next_power_of_two() / 2 };
            let mut x: Vec<f64> = vector.iter().map(|x| f64::from(*x)).collect();
            x.resize(d, 0.0);
            for round in 0..4 {
                for (i, x) in x.iter_mut().enumerate() {
                    let bit = round * d + i;
                    *x *= if words[bit / 64] >> (bit % 64) & 1 == 1 { -1.0 } else { 1.0 };
                }
                let start = if round % 2 == 0 { 0 } else { d - p };
                let old = x[start..start + p].to_vec();
                for row in 0..p {
                    let sign = |column: usize| {
                        if (row & column).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 }
                    };
                    let sum: f64 = old.iter().enumerate().map(|(i, v)| sign(i) * v).sum();
                    x[start + row] = sum / (p as f64).sqrt();
                }
                for i in 0..if p == d || round != 1 { 0 } else { d / 2 } {
                    let (u, v) = (x[i], x[i + d / 2]);
                    (x[i], x[i + d / 2]) = ((u + v) / 2_f64.sqrt(), (u - v) / 2_f64.sqrt());
                }
            }
            for (found, expected) in rotated(&rotation, &vector).iter().zip(&x) {
                assert!((f64::from(*found) - expected).abs() < 1e-5, "{dimension}");
            }
        }
    }

    /// Values of another implementation, made from the format page: stored codes depend on them.
    #[test]
    fn a_seed_means_the_same_rotation_for_ever() {
        for (dimension, seed, first, last) in [
            (3, 1, [-0.2070, 0.1367, -0.2617, -0.0742], -0.6523),
            (64, 2, [-33.2578, -28.0703, 25.4766, -24.5547], 5.1484),
            (100, 0xdead_beef, [1.3359, 52.2930, 37.7578, -62.0586], -13.4453),
            (192, 5, [-193.698, 65.3592, 80.0860, 65.7449], -84.9507),
            (384, u64::MAX, [-328.4566, -9.3526, -261.2262, -172.6611], -222.972),
        ] {
            let vector: Vec<f32> = (1..=dimension).map(|x| x as f32).collect();
            let image = rotated(&Rotation::new(dimension, seed), &vector);
            let found = image.iter().take(4).chain(image.last());
            for (found, expected) in found.zip(first.into_iter().chain([last])) {
                assert!((found - expected).abs() < 2e-3, "{dimension}: {found} {expected}");
            }
        }
    }

    #[test]
    fn the_largest_numbers_do_not_overflow_on_the_way() {
        for dimension in [64, 100, 768] {
            let rotation = Rotation::new(dimension, 13);
            let image =
                rotated(&rotation, &impulse(dimension, 1).iter().map(|x| x * 3e38).collect::<Vec<_>>());
            assert!(image.iter().all(|x| x.is_finite()), "{dimension}");
        }
        assert!(rotated(&Rotation::new(100, 13), &[0.0; 100]).iter().all(|x| *x == 0.0));
    }
}
