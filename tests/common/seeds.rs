//! Which seeds to run.

use std::ops::Range;

/// `SEED=n`, `SEEDS=a..b`, or the first of them.
pub fn seeds(number: u64) -> Range<u64> {
    let parse = |text: &str| text.parse::<u64>().expect("SEED=n or SEEDS=a..b");
    if let Ok(seed) = std::env::var("SEED") {
        return parse(&seed)..parse(&seed) + 1;
    }
    match std::env::var("SEEDS") {
        Ok(range) => {
            let (start, end) = range.split_once("..").expect("SEEDS=a..b");
            parse(start)..parse(end)
        }
        Err(_) => 0..number,
    }
}
