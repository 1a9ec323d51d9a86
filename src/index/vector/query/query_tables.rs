//! A rotated query in the two forms that kernels read.

use crate::index::vector::centroids::Space;
use crate::index::vector::kernels::{LevelTable, SignTable};
use crate::index::vector::numeric::power_of_two;

/// The tables of one vector: the query, or its difference from a centroid.
#[derive(Debug)]
pub(super) struct QueryTables {
    pub(super) signs: SignTable,
    pub(super) levels: LevelTable,
    /// What 1 in the tables stands for.
    pub(super) unit: f64,
}

/// The power of two that brings the largest of some components to between 1 and 2 when they are divided by it.
pub(super) fn unit_of(components: &[f64]) -> f64 {
    power_of_two(components.iter().fold(0.0, |most: f64, x| most.max(x.abs()))).recip()
}

/// Rotates components in the scale of `unit`.
// Tables are made in f32, where a query of any magnitude would overflow or lose digits. A power of two changes none.
pub(super) fn rotate_in_unit(space: &Space, components: &[f64], unit: f64) -> Vec<f32> {
    let mut rotated = vec![0.0; space.padded()];
    space.rotate(components.iter().copied(), unit.recip(), &mut Vec::new(), &mut rotated);
    rotated
}

impl QueryTables {
    /// `rotated` is in the scale of `unit`.
    pub(super) fn new(rotated: &[f32], bits: u32, wide: bool, unit: f64) -> Self {
        Self { signs: SignTable::new(rotated, wide), levels: LevelTable::new(rotated, bits, wide), unit }
    }
}
