//! Seeded histories of a database over a faulty store: many processes, one namespace, paused time. Every
//! answer is held against a model.
//!
//! `SEED=n` plays one history, `SEEDS=a..b` a range.
#![expect(unreachable_pub, reason = "a test crate has no API")]

#[cfg(test)]
mod actors;
#[cfg(test)]
mod collector;
#[cfg(test)]
#[path = "../common/mod.rs"]
mod common;
#[cfg(test)]
mod drama;
#[cfg(test)]
mod history;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod plan;
#[cfg(test)]
mod world;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ops::Range;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    use crate::common::api::Safeguard;
    use crate::common::seeds::seeds;
    use crate::drama::{self, Outcome};

    /// Histories of a plain test run.
    const SEEDS: u64 = 2_000;

    /// Plays histories on every core until one fails `go_on`.
    fn play_all(seeds: Range<u64>, without: Option<Safeguard>, go_on: impl Fn(u64, &Outcome) -> bool + Sync) {
        let next = AtomicU64::new(seeds.start);
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..cores {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= seeds.end {
                            return;
                        }
                        if !go_on(seed, &drama::play(seed, without)) {
                            next.store(seeds.end, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
    }

    #[test]
    fn seeds_hold() {
        let totals: Mutex<BTreeMap<&str, u64>> = Mutex::default();
        let broken: Mutex<BTreeMap<u64, String>> = Mutex::default();
        play_all(seeds(SEEDS), None, |seed, outcome| {
            let mut totals = totals.lock().unwrap();
            let mut add = |what, number| *totals.entry(what).or_insert(0) += number;
            add("histories", 1);
            add("requests", outcome.counts.requests);
            add("faults", outcome.counts.faults);
            add("crashes", outcome.counts.crashes);
            add("freezes", outcome.counts.freezes);
            add("collected", outcome.counts.collected);
            add("deleted", outcome.counts.deleted);
            match &outcome.verdict {
                Ok(summary) => {
                    add("acknowledged", summary.acknowledged);
                    add("doubtful", summary.doubtful);
                    add("reads", summary.reads);
                    add("entries", summary.entries);
                    add("slots taken again", summary.retaken);
                    add("linking entries", summary.linked);
                    add("masking entries", summary.masked);
                    true
                }
                Err(violation) => {
                    broken.lock().unwrap().insert(seed, violation.clone());
                    false
                }
            }
        });
        println!("{:?}", totals.into_inner().unwrap());
        if let Some((seed, violation)) = broken.into_inner().unwrap().first_key_value() {
            panic!("{violation}\nagain: SEED={seed} cargo test --test simulation -- seeds_hold --nocapture");
        }
    }

    #[test]
    fn same_seed_same_trace() {
        for seed in (0..8).map(|n| n * 251) {
            let (first, second) = (drama::play(seed, None), drama::play(seed, None));
            assert_eq!(first.trace, second.trace, "seed {seed} has two histories");
            assert!(first.counts.requests > 0);
        }
    }

    #[test]
    fn each_safeguard_is_needed() {
        let safeguards = [
            (Safeguard::OwnWrite, true),
            (Safeguard::VerifyExists, true),
            (Safeguard::WriterFreshness, true),
            (Safeguard::ReaderFreshness, true),
            // What the others leave to these takes damage, not crashes: since opening checks that its manifest is the newest
            // still, a process that slept between two lists is told so before it meets a gap.
            (Safeguard::GapCheck, false),
            (Safeguard::ChainCheck, false),
            (Safeguard::Grace, true),
            (Safeguard::KeptLinks, true),
            // An upload that a manifest overtakes, and rows that die within the tail: `tests/it/collection.rs` has both, and the
            // set that no manifest but a segment names.
            (Safeguard::KeptDropped, false),
            (Safeguard::KeptCentroids, false),
            (Safeguard::BirthFloor, true),
            (Safeguard::LogFence, true),
            (Safeguard::LinkBirth, true),
            // These take a job that is overtaken by another's and by a collection, but must not lose to either: too rare to
            // be left to chance. `tests/it/collection.rs` has them step by step.
            (Safeguard::DeletesBirth, false),
            (Safeguard::BuildBirth, false),
        ];
        let most = std::env::var("MUTANTS").ok().and_then(|n| n.parse().ok());
        let mut unneeded = Vec::new();
        println!("| safeguard removed | histories that broke, of | what breaks first |\n|---|---|---|");
        let only = std::env::var("SAFEGUARD").ok();
        for (safeguard, needed) in safeguards {
            if only.as_ref().is_some_and(|only| *only != format!("{safeguard:?}")) {
                continue;
            }
            let played = AtomicU64::new(0);
            let broken: Mutex<BTreeMap<u64, String>> = Mutex::default();
            let end = most.unwrap_or(if needed { 1_500 } else { 100 });
            play_all(0..end, Some(safeguard), |seed, outcome| {
                played.fetch_add(1, Ordering::Relaxed);
                let mut broken = broken.lock().unwrap();
                if let Err(violation) = &outcome.verdict {
                    broken.insert(seed, violation.clone());
                }
                most.is_some() || broken.len() < 3
            });
            let broken = broken.into_inner().unwrap();
            let first = broken.values().next().map_or("", |v| v.lines().next().unwrap_or_default());
            let first: String = first.chars().take(100).collect();
            println!("| {safeguard:?} | {} of {} | {first} |", broken.len(), played.into_inner());
            if needed && broken.is_empty() {
                unneeded.push(safeguard);
            }
        }
        assert!(unneeded.is_empty(), "nothing breaks without {unneeded:?}");
    }
}
