//! Pseudo-random numbers: `SplitMix64` (Steele, Lea and Flood 2014), the same on every platform.
//!
//! Clusters and curves are functions of rows and seed, bit by bit, and tests compare them with recorded checksums: a
//! generator of a crate that may change with its version would not do.

/// A sequence of numbers that its seed determines.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 if that is 0.
    // By multiplication (Lemire): without a division, and with a bias below 2^-32 for any number of rows.
    #[expect(clippy::cast_possible_truncation, reason = "the product's upper half is below `bound`")]
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// A number of [0, 1).
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what an f64 has")]
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Close to normally distributed, of mean 0: a sum of 32 bytes.
    // Logarithm and cosine, as of Box and Muller, differ between system libraries in the last bit.
    pub(super) fn next_normal(&mut self) -> f32 {
        let sum: u16 = (0..4).flat_map(|_| self.next().to_le_bytes()).map(u16::from).sum();
        f32::from(sum) - 127.5 * 32.0
    }

    /// `count` of the items, each as likely as any other, in their order.
    // Selection sampling (Knuth, algorithm S): one pass, and the sample needs no sort.
    pub(super) fn sample(&mut self, items: impl ExactSizeIterator<Item = u32>, count: usize) -> Vec<u32> {
        let (mut remaining, mut wanted) = (items.len(), count.min(items.len()));
        let mut chosen = Vec::with_capacity(wanted);
        for item in items {
            if self.below(remaining) < wanted {
                chosen.push(item);
                wanted -= 1;
            }
            remaining -= 1;
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_the_published_one() {
        let mut random = Random::new(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn a_sample_is_ordered_distinct_and_even() {
        let mut hits = [0; 10];
        for seed in 0..2000 {
            let sample = Random::new(seed).sample(0..10, 3);
            assert!(sample.len() == 3 && sample.is_sorted_by(|a, b| a < b));
            for item in sample {
                hits[item as usize] += 1;
            }
        }
        assert!(hits.iter().all(|hits| (520..=680).contains(hits)), "{hits:?}");
        assert_eq!(Random::new(1).sample(0..3, 9), [0, 1, 2]);
        assert!(Random::new(1).sample(0..0, 9).is_empty());
    }
}
