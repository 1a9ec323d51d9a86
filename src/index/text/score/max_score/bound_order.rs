//! Blocks or windows in the order of what they may score.

use std::collections::BinaryHeap;

/// Numbers of blocks or windows, the highest bound first.
///
/// A heap, not a sorted list: most searches stop after a few, and never pay for the order of the others.
pub(super) struct BoundOrder {
    /// Bounds are never negative, so their bits are in the order of their values.
    heap: BinaryHeap<(u32, u32)>,
}

impl BoundOrder {
    /// Numbers the bounds from 0. Those below 0 are left out.
    pub(super) fn new(bounds: impl Iterator<Item = f32>) -> Self {
        let bounds = bounds.zip(0..).filter(|(bound, _)| *bound >= 0.0);
        let bounds: Vec<(u32, u32)> = bounds.map(|(bound, number)| (bound.to_bits(), number)).collect();
        Self { heap: bounds.into() }
    }

    /// The next number whose bound reaches the threshold; `None` if no more do.
    pub(super) fn pop_reaching(&mut self, threshold: f32) -> Option<u32> {
        let (bound, number) = self.heap.pop()?;
        (f32::from_bits(bound) >= threshold).then_some(number)
    }
}
