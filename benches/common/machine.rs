//! What the machine itself can do, measured in the same run.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// The CPU time of this process so far; zero where the system does not report it.
pub(crate) fn cpu_time() -> Duration {
    // Fields 14 and 15, in hundredths of a second.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    Duration::from_millis(fields.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10)
}

/// The memory of this process in bytes: what it has, and the most it had since [`forget_peak`]. Zero where the
/// system does not report it.
pub(crate) fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|rest| rest.split_whitespace().next()).and_then(|n| n.parse::<u64>().ok());
        number.unwrap_or_default() << 10
    };
    (field("VmRSS:"), field("VmHWM:"))
}

pub(crate) fn forget_peak() {
    // Where the system refuses, the peak is that of the whole run.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Gigabytes per second that one thread reads from an array of this size, repeatedly.
pub(crate) fn bandwidth(bytes: usize) -> f64 {
    let array: Vec<[u64; 32]> = vec![[1; 32]; bytes / 256];
    best(|| {
        let mut lanes = [0_u64; 32];
        for line in black_box(&array) {
            for (lane, value) in lanes.iter_mut().zip(line) {
                *lane |= value;
            }
        }
        black_box(lanes);
    })
    .recip()
        * (array.len() * 256) as f64
        / 1e9
}

/// The shortest time of some work in seconds, over runs of a few milliseconds.
pub(crate) fn best(mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    work();
    let once = start.elapsed().as_secs_f64().max(1e-9);
    let times = (0.004 / once).clamp(1.0, 1e6) as u32;
    let round = |_| {
        let start = Instant::now();
        (0..times).for_each(|_| work());
        start.elapsed().as_secs_f64() / f64::from(times)
    };
    (0..25).map(round).fold(f64::INFINITY, f64::min)
}
