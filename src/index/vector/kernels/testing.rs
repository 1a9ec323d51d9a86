//! Chance for tests, the same on every run.

use crate::index::vector::random::Random;

pub(super) struct TestRng(Random);

impl TestRng {
    pub(super) fn new(seed: u64) -> Self {
        Self(Random::new(seed))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0.next()
    }

    pub(super) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    /// Nearly normal: a sum of four even ones.
    pub(super) fn float(&mut self) -> f32 {
        let bytes = self.next().to_le_bytes();
        let even = |bytes: &[u8; 2]| f32::from(u16::from_le_bytes(*bytes)) / 65_536.0 - 0.5;
        bytes.as_chunks().0.iter().map(even).sum::<f32>() * 1.732
    }

    pub(super) fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.float()).collect()
    }
}
