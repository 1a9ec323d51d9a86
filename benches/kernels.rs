//! **Measures** the scan of sign codes against what the machine can do, in the same run: the read bandwidth of one thread
//! from each level of the memory, and the least number of instructions that the lookups take.
//!
//! The bound of a vector is the longer of two times: its bytes (one bit per dimension, 8 bytes of factors) at the
//! bandwidth of the level they are read from, and 3.5 cycles for 64 bytes of codes: two shuffles and one and a half shifts
//! for each 32 bytes, on processors that issue two of them per cycle.
//!
//! **Leaves out** everything else in a query: choosing clusters, the full codes, exact vectors.
//!
//! `cargo bench --bench kernels`.

#![expect(clippy::cast_precision_loss, reason = "a benchmark")]

#[path = "common/machine.rs"]
#[expect(
    dead_code,
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a benchmark"
)]
mod machine;

use elacsym::testing::ScanTrial;

/// Sizes that fit a level of memory on most processors.
const LEVELS: [(&str, usize); 3] = [("L2", 256 << 10), ("L3", 8 << 20), ("memory", 256 << 20)];

fn main() {
    let clock = clock();
    println!("clock {clock:.2} GHz");
    println!("| dimensions | level | reads GB/s | kernel | ns per vector | GB/s | bound ns | of the bound |");
    println!("|---|---|---|---|---|---|---|---|");
    for dimension in [100, 384, 768, 1536] {
        for (level, bytes) in LEVELS {
            let each = dimension_bytes(dimension);
            let trial = ScanTrial::new(dimension, bytes / each);
            let bandwidth = machine::bandwidth(trial.bytes());
            for kernel in ScanTrial::kernels() {
                let seconds = machine::best(|| {
                    std::hint::black_box(trial.run(kernel));
                });
                let time = seconds * 1e9 / trial.vectors() as f64;
                let bytes = trial.bytes() as f64 / trial.vectors() as f64;
                let instructions = (bytes - 8.0) / 64.0 * 3.5 / clock;
                let bound = (bytes / bandwidth).max(instructions);
                println!(
                    "| {dimension} | {level} | {bandwidth:.0} | {kernel} | {time:.2} | {:.1} | {bound:.2} | {:.2} |",
                    bytes / time,
                    bound / time
                );
            }
        }
    }
}

fn dimension_bytes(dimension: usize) -> usize {
    dimension.next_multiple_of(64) / 8 + 8
}

/// The clock in GHz: a chain of multiplications takes three cycles each on all x86-64 processors
/// since 2010, and on Arm servers.
fn clock() -> f64 {
    const STEPS: u32 = 300_000;
    let time = machine::best(|| {
        let mut number = std::hint::black_box(3_u64);
        for _ in 0..STEPS {
            number = std::hint::black_box(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        }
    });
    3.0 * f64::from(STEPS) / time / 1e9
}
