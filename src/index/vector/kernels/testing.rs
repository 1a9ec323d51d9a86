//! Chance for tests, the same on every run.

/// `SplitMix64`.
pub(super) struct Draw(pub(super) u64);

impl Draw {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
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
