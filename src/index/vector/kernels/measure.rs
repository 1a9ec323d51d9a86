//! The scan kernel by itself, for benchmarks.

use std::fmt;

use super::kernel_set::{Kernels, ScanParams};
use super::layout::{SignFactors, block_len, push_block};
use super::select::supported_kernels;
use super::tables::SignTable;
use crate::index::vector::Random;

/// How many blocks a query scans at a time.
const AT_ONCE: usize = 4;

/// Sign blocks of random codes, and a query to scan them by.
///
/// ```
/// use elacsym::testing::ScanTrial;
///
/// let trial = ScanTrial::new(768, 1_000);
/// for kernel in ScanTrial::kernels() {
///     let start = std::time::Instant::now();
///     std::hint::black_box(trial.run(kernel));
///     println!("{kernel}: {:?} for {} vectors", start.elapsed(), trial.vectors());
/// }
/// assert_eq!(trial.vectors(), 1_024); // whole blocks of 32
/// ```
pub struct ScanTrial {
    blocks: Vec<u8>,
    padded: usize,
    vectors: usize,
    table: SignTable,
}

impl fmt::Debug for ScanTrial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScanTrial")
            .field("padded", &self.padded)
            .field("vectors", &self.vectors)
            .finish_non_exhaustive()
    }
}

impl ScanTrial {
    /// Codes of at least `vectors` vectors, of `dimension` rounded up to a multiple of 64.
    #[must_use]
    pub fn new(dimension: usize, vectors: usize) -> Self {
        let padded = dimension.next_multiple_of(64);
        let mut random = Random::new(1);
        let mut draw = || {
            let [.., low, high] = random.next().to_le_bytes();
            u16::from_le_bytes([low, high])
        };
        let query: Vec<f32> = (0..padded).map(|_| f32::from(draw()) / 32_768.0 - 1.0).collect();
        let count = vectors.div_ceil(32);
        let mut blocks = Vec::with_capacity(count * block_len(padded));
        for _ in 0..count {
            let codes: Vec<Vec<u8>> =
                (0..32).map(|_| (0..padded / 8).map(|_| draw().to_le_bytes()[1]).collect()).collect();
            let factors =
                SignFactors { add: 1.0, mul: half::f16::from_f32(-0.1), err: half::f16::from_f32(0.01) };
            push_block(codes.iter().map(|code| (code.as_slice(), factors)), padded, &mut blocks);
        }
        Self { blocks, padded, vectors: count * 32, table: SignTable::new(&query, false) }
    }

    /// The kernels of this processor by name, the fastest last.
    #[must_use]
    pub fn kernels() -> Vec<&'static str> {
        supported_kernels().into_iter().map(Kernels::name).collect()
    }

    /// Scans all blocks with the kernel of that name, under a limit that rules out all vectors, and counts
    /// those that remain.
    ///
    /// # Panics
    /// If there is no such kernel.
    #[must_use]
    pub fn run(&self, name: &str) -> u32 {
        let kernels = supported_kernels().into_iter().find(|kernels| kernels.name() == name);
        let Some(kernels) = kernels else { panic!("no such kernel: {name}") };
        let (step, base) = (self.table.step(), self.table.base() + self.table.error());
        let params = ScanParams { add_weight: 1.0, g_err: 2.5, step, base, limit: -1e30, adds: None };
        let mut left = 0;
        for blocks in self.blocks.chunks(AT_ONCE * block_len(self.padded)) {
            let mut masks = [0; AT_ONCE];
            let (masks, _) = masks.split_at_mut(blocks.len() / block_len(self.padded));
            kernels.scan(blocks, &self.table, &params, masks);
            left += masks.iter().map(|mask| mask.count_ones()).sum::<u32>();
        }
        left
    }

    /// How many vectors a run scans.
    #[must_use]
    pub fn vectors(&self) -> usize {
        self.vectors
    }

    /// How many bytes a run reads.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.blocks.len()
    }
}
