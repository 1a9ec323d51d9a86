//! Sums over a residual and its code, from which factors are derived.

use super::step::{level_f32, level_u8, shifted_level};
use crate::index::vector::numeric::count_to_f64;

/// Independent sums in f64: two of the widest registers of AVX2.
pub(super) const LANES: usize = 8;

/// The norms of a residual: the square of its length, the sum of its magnitudes, and the largest.
#[derive(Clone, Copy, Debug)]
pub(super) struct ResidualNorms {
    pub(super) square: f64,
    sum: f64,
    pub(super) largest: f32,
}

impl ResidualNorms {
    pub(super) fn new(residual: &[f32]) -> Self {
        let (mut squares, mut sums, mut largest) = ([0.0; LANES], [0.0; LANES], [0.0_f32; LANES]);
        for chunk in residual.as_chunks::<LANES>().0 {
            let lanes = squares.iter_mut().zip(&mut sums).zip(&mut largest);
            for (((square, sum), largest), component) in lanes.zip(chunk) {
                let magnitude = component.abs();
                let wide = f64::from(magnitude);
                *square += wide * wide;
                *sum += wide;
                // Not `max`, which treats NaN specially and takes more instructions.
                *largest = if magnitude > *largest { magnitude } else { *largest };
            }
        }
        let largest = largest.into_iter().fold(0.0, f32::max);
        Self { square: squares.iter().sum(), sum: sums.iter().sum(), largest }
    }
}

/// The products of a code y: ⟨r,y⟩, ⟨y,y⟩ and ⟨c,y⟩.
#[derive(Clone, Copy, Debug)]
pub(super) struct Projection {
    pub(super) along: f64,
    pub(super) square: f64,
    pub(super) centroid: f64,
}

/// The sums of the fine code's [`Projection`], and Σ ±c for the coarse one.
#[derive(Debug, Default)]
pub(super) struct ProjectionSums {
    along: [f64; LANES],
    square: [f64; LANES],
    centroid: [f64; LANES],
    centroid_signs: [f64; LANES],
}

impl ProjectionSums {
    /// Adds some dimensions, and returns the low bits of their code.
    #[inline]
    pub(super) fn add_lanes(
        &mut self,
        residual: &[f32; LANES],
        centroid: &[f32; LANES],
        step: f32,
        top: u8,
    ) -> [u8; LANES] {
        let highest = f32::from(top);
        let mut bits = [0; LANES];
        let lanes = self.along.iter_mut().zip(&mut self.square);
        let lanes = lanes.zip(self.centroid.iter_mut().zip(&mut self.centroid_signs)).zip(&mut bits);
        let inputs = residual.iter().zip(centroid);
        for ((((along, square), (centroid, centroid_signs)), bits), (r, c)) in lanes.zip(inputs) {
            let shifted = shifted_level(r.abs(), step, highest);
            let magnitude = f64::from(level_f32(shifted) + 0.5);
            let turned = f64::from(if *r >= 0.0 { *c } else { -*c });
            *along += f64::from(r.abs()) * magnitude;
            *square += magnitude * magnitude;
            *centroid += turned * magnitude;
            *centroid_signs += turned;
            *bits = level_u8(shifted) ^ if *r >= 0.0 { 0 } else { top };
        }
        bits
    }

    /// Of the signs alone, y = ±½, and of the whole code.
    pub(super) fn projections(&self, norms: &ResidualNorms, padded: usize) -> (Projection, Projection) {
        let total = |lanes: &[f64; LANES]| lanes.iter().sum::<f64>();
        let coarse = Projection {
            along: norms.sum / 2.0,
            square: count_to_f64(padded) / 4.0,
            centroid: total(&self.centroid_signs) / 2.0,
        };
        let fine = Projection {
            along: total(&self.along),
            square: total(&self.square),
            centroid: total(&self.centroid),
        };
        (coarse, fine)
    }
}

/// Eight sign bits. Minus zero is not negative.
#[inline]
pub(super) fn sign_bits(residual: &[f32; LANES]) -> u8 {
    residual.iter().rev().fold(0, |byte, component| byte << 1 | u8::from(*component >= 0.0))
}
