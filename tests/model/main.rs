//! Thousands of random calls without faults, each answer held against a map: every kind of write, reads by id,
//! scans, filters and exact search, over several handles of several databases on one store, with flushes,
//! compactions and reopening in between.
//!
//! `SEED=n` plays one run, `SEEDS=a..b` a range.
#![expect(unreachable_pub, reason = "a test crate has no API")]

#[cfg(test)]
#[path = "../common/mod.rs"]
mod common;
#[cfg(test)]
mod draw;
#[cfg(test)]
mod run;
#[cfg(test)]
#[path = "../simulation/world/mod.rs"]
mod world;

#[cfg(test)]
mod tests {
    use crate::common::seeds::seeds;

    /// Runs of a plain test run.
    const SEEDS: u64 = 60;

    #[test]
    fn every_answer_equals_the_models() {
        let mut calls = 0;
        for seed in seeds(SEEDS) {
            match crate::run::play(seed) {
                Ok(made) => calls += made,
                Err(why) => panic!("{why}\nagain: SEED={seed} cargo test --test model -- --nocapture"),
            }
        }
        println!("{calls} calls");
    }
}
