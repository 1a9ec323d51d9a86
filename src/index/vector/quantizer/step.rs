//! How many levels a unit of a direction spans: the one choice that a code of several bits leaves.
//!
//! With magnitudes |oᵢ| of a unit vector and a step count t, the level of a dimension is ⌊t·|oᵢ|⌋, at most
//! 2^(bits−1) − 1, and the code points along yᵢ = ±(level + ½). The best t has the largest cosine between y
//! and o.

use crate::index::vector::random::Random;

// The exact optimum needs a sorted sweep over all D·2^(bits−1) points where a level changes, 10 to 80 µs per vector, which
// would be most of the time of building an index. The best of eight candidates takes 8·D steps without a branch, and its
// error exceeds the optimum by .3 % up to 3 bits, 1.2 % at 5, 2.6 % at 6 and up to 7 % at 7 and 8. The typical step alone
// would not do: with 5 bits at 100 dimensions its error is 1.2 times the optimum, with 8 bits 4.9 times.

/// How many values are summed at once: two of the widest registers of AVX2.
const LANES: usize = 16;
/// Adding and subtracting this rounds an f32 to an integer, in its lowest bits, on every processor.
const ROUND: f32 = 12_582_912.0; // 1.5 · 2^23
/// Candidates around the step that is best on average. It clips the largest values, which pays with few bits.
const AROUND_TYPICAL: [f32; 5] = [0.85, 0.92, 1.0, 1.08, 1.16];
/// Candidates below the step at which the largest value would be clipped: best with many bits.
const BELOW_CLIPPING: [f32; 3] = [0.90, 0.95, 0.999_99];

const CANDIDATES: usize = AROUND_TYPICAL.len() + BELOW_CLIPPING.len();

/// Finds steps for vectors of one dimension and number of bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct StepSearch {
    /// The largest level: 2^(bits−1) − 1.
    top: u8,
    /// The best step of random unit vectors, on average.
    typical: f32,
}

impl StepSearch {
    /// Measures the typical step on random vectors, the same ones every time.
    pub(super) fn new(padded: usize, top: u8) -> Self {
        let mut steps = Self { top, typical: 0.0 };
        if top > 0 {
            steps.typical = steps.measure_typical(padded);
        }
        steps
    }

    pub(super) fn top_level(self) -> u8 {
        self.top
    }

    /// The best step for `vector` times `scale`, a unit vector; `largest` is the largest
    /// magnitude of that.
    pub(super) fn choose_step(self, vector: &[f32], scale: f32, largest: f32) -> f32 {
        // One bit has one level: any step is the best.
        if self.top == 0 {
            return 0.0;
        }
        let clipping = self.clipping_step(largest);
        let mut candidates = [0.0; CANDIDATES];
        let around = AROUND_TYPICAL.iter().map(|factor| factor * self.typical);
        let below = BELOW_CLIPPING.iter().map(|factor| factor * clipping);
        for (candidate, step) in candidates.iter_mut().zip(around.chain(below)) {
            *candidate = step;
        }
        self.best_candidate(vector, scale, candidates).1
    }

    /// The step at which a magnitude would go beyond the largest level.
    fn clipping_step(self, largest: f32) -> f32 {
        (f32::from(self.top) + 1.0) / largest
    }

    /// The largest cosine, but for a factor, and the candidate that has it.
    fn best_candidate(self, vector: &[f32], scale: f32, candidates: [f32; CANDIDATES]) -> (f32, f32) {
        let mut sums = [([0.0; LANES], [0.0; LANES]); CANDIDATES];
        for group in vector.as_chunks::<64>().0 {
            let mut magnitudes = [0.0; 64];
            for (magnitude, component) in magnitudes.iter_mut().zip(group) {
                *magnitude = component.abs() * scale;
            }
            for ((products, squares), step) in sums.iter_mut().zip(candidates) {
                add_group(&magnitudes, step, self.top.into(), products, squares);
            }
        }
        let total = |lanes: &[f32; LANES]| lanes.iter().sum::<f32>();
        let cosine = |(products, squares): &_| total(products) / total(squares).sqrt();
        let scored = sums.iter().map(cosine).zip(candidates);
        // The first of equals: all sums are in a fixed order, so every processor chooses the same.
        scored.fold((f32::NEG_INFINITY, 0.0), |best, next| if next.0 > best.0 { next } else { best })
    }

    /// The mean of the best steps of random unit vectors; fewer of them where there are many dimensions, as
    /// they differ less. Each is searched on a grid of 2.5 %.
    fn measure_typical(self, padded: usize) -> f32 {
        // Drawn, not stored as a table: the typical step depends on the dimension and the number of bits alone, and a fixed
        // seed makes it the same on every machine.
        let count = (49_152 / padded.max(1)).clamp(8, 64);
        let mut random = Random::new(0x656c_6163_7379_6d00);
        let mut total = 0.0;
        for _ in 0..count {
            let vector: Vec<f32> = (0..padded).map(|_| random.next_normal()).collect();
            let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            let largest = vector.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
            let mut factor = 0.5 * self.clipping_step(largest / length);
            let mut best = (f32::NEG_INFINITY, 0.0);
            for _ in 0..8 {
                let candidates = std::array::from_fn(|_| {
                    factor *= 1.025;
                    factor
                });
                let found = self.best_candidate(&vector, length.recip(), candidates);
                if found.0 > best.0 {
                    best = found;
                }
            }
            total += best.1;
        }
        #[expect(clippy::cast_precision_loss, reason = "there are at most 64 vectors")]
        let mean = total / count as f32;
        mean
    }
}

#[inline]
fn add_group(
    magnitudes: &[f32; 64],
    step: f32,
    top: f32,
    products: &mut [f32; LANES],
    squares: &mut [f32; LANES],
) {
    for chunk in magnitudes.as_chunks::<LANES>().0 {
        for ((product, square), magnitude) in products.iter_mut().zip(squares.iter_mut()).zip(chunk) {
            let value = (shifted_level(*magnitude, step, top) - ROUND) + 0.5;
            *product += magnitude * value;
            *square += value * value;
        }
    }
}

/// The level of a magnitude, ⌊step·magnitude⌋ but at most `top`, plus [`ROUND`]: in the low bits of the float.
/// Not a number becomes `top`.
#[inline]
pub(super) fn shifted_level(magnitude: f32, step: f32, top: f32) -> f32 {
    // Half below, as adding rounds to the nearest; a little above, so that products which should be whole do not fall to
    // the level below.
    let scaled = magnitude * step + (1e-5 - 0.5);
    // NaN fails the comparison, so that no level is out of range whatever the residual.
    (if scaled < top { scaled } else { top }) + ROUND
}

/// A level as an integer, from the result of [`shifted_level`].
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low bits are the level")]
pub(super) fn level_u8(shifted: f32) -> u8 {
    shifted.to_bits() as u8
}

/// A level as a float, from the result of [`shifted_level`].
#[inline]
pub(super) fn level_f32(shifted: f32) -> f32 {
    shifted - ROUND
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "the numbers are small")]
#[expect(clippy::float_cmp, reason = "a power of two changes no digit")]
mod tests {
    use super::*;

    fn direction(random: &mut Random, padded: usize) -> Vec<f32> {
        let vector: Vec<f32> = (0..padded).map(|_| random.next_normal()).collect();
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        vector.iter().map(|x| x / length).collect()
    }

    fn tangent(vector: &[f32], step: f32, top: f32) -> f64 {
        let (mut a, mut g, mut n) = (0.0, 0.0, 0.0);
        for x in vector.iter().map(|x| f64::from(x.abs())) {
            let y = (f64::from(step) * x + 1e-5).floor().min(f64::from(top)) + 0.5;
            (a, g, n) = (a + x * y, g + y * y, n + x * x);
        }
        (n * g / (a * a) - 1.0).max(0.0).sqrt()
    }

    /// The sweep over all places where a level changes.
    fn exact(vector: &[f32], top: u8) -> f64 {
        let magnitudes: Vec<f64> = vector.iter().map(|x| f64::from(x.abs())).collect();
        let changes = |x: &f64| (1..=top).map(|k| (f64::from(k) / x, *x, f64::from(k))).collect::<Vec<_>>();
        let mut events: Vec<_> = magnitudes.iter().filter(|x| **x > 0.0).flat_map(changes).collect();
        events.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut a: f64 = magnitudes.iter().sum::<f64>() / 2.0;
        let mut g = magnitudes.len() as f64 / 4.0;
        let n: f64 = magnitudes.iter().map(|x| x * x).sum();
        let mut best = a / g.sqrt();
        for (_, x, k) in events {
            (a, g) = (a + x, g + 2.0 * k);
            best = best.max(a / g.sqrt());
        }
        (n / (best * best) - 1.0).max(0.0).sqrt()
    }

    fn largest(vector: &[f32]) -> f32 {
        vector.iter().fold(0.0, |largest, x| x.abs().max(largest))
    }

    #[test]
    fn levels_are_floors_within_their_range() {
        for top in [0_u8, 1, 15, 127] {
            for step in [0.0, 0.3, 1.0, 17.0] {
                for i in 0..2000_u16 {
                    let magnitude = f32::from(i) * 0.01 + 0.001;
                    let expected = (magnitude * step + 1e-5).floor().min(top.into());
                    let found = shifted_level(magnitude, step, top.into());
                    assert_eq!((level_f32(found), f32::from(level_u8(found))), (expected, expected));
                }
                for odd in [f32::NAN, f32::INFINITY, 1e30] {
                    assert!(level_u8(shifted_level(odd, step, top.into())) <= top);
                }
            }
        }
    }

    #[test]
    fn the_candidates_are_close_to_the_exact_sweep() {
        let allowed = [(1, 1.01), (3, 1.01), (7, 1.012), (15, 1.02), (31, 1.04), (63, 1.08), (127, 1.12)];
        for padded in [64, 128, 768] {
            let mut random = Random::new(3);
            for (top, allowed) in allowed {
                let steps = StepSearch::new(padded, top);
                let (mut found, mut best) = (0.0, 0.0);
                for _ in 0..(if padded == 768 { 3 } else { 12 }) {
                    let vector = direction(&mut random, padded);
                    let step = steps.choose_step(&vector, 1.0, largest(&vector));
                    found += tangent(&vector, step, top.into());
                    best += exact(&vector, top);
                }
                assert!(found <= best * allowed, "{padded}, {top}: {}", found / best);
                assert!(found >= best * (1.0 - 1e-5), "{padded}, {top}: better than the best");
            }
        }
    }

    #[test]
    fn the_scale_of_a_vector_does_not_matter() {
        let vector = direction(&mut Random::new(4), 128);
        let steps = StepSearch::new(128, 15);
        let step = steps.choose_step(&vector, 1.0, largest(&vector));
        for scale in [2_f32.powi(-90), 2_f32.powi(-10), 2_f32.powi(100)] {
            let scaled: Vec<f32> = vector.iter().map(|x| x * scale).collect();
            assert_eq!(steps.choose_step(&scaled, scale.recip(), largest(&vector)), step);
        }
    }
}
