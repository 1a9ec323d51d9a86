//! Fairness among processes that write one namespace at once.
//!
//! The process that won a number can send the next entry before the others have even read that they lost, so it would
//! win again and again. A process that sees entries of others therefore pauses after each entry of its own.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::env::{Env, Moment};
use crate::types::Sequence;

/// How long an entry of another process counts as contention. Longer than any put, so that a slow rival is not
/// forgotten between two of its entries.
const CONTENTION_MEMORY: Duration = Duration::from_secs(2);
/// The longest pause. In a model of contention with the latencies of S3, a random pause of up to 150 ms takes about a
/// fifth off the 99th percentile of waits among four or more writers. Two lose a third of their commits per second, but
/// each commit carries more batches.
const PAUSE_MAX: Duration = Duration::from_millis(150);

/// Decides how long this process pauses between entries.
#[derive(Debug, Default)]
pub(super) struct CommitPacer {
    state: Mutex<PaceState>,
}

#[derive(Debug, Default)]
struct PaceState {
    /// The end of the log as it is known, once this process has appended an entry.
    known_end: Option<Sequence>,
    /// When an entry of another process was last seen.
    foreign_seen: Option<Moment>,
    /// When the current pause began, and how long it is.
    pause: Option<(Moment, Duration)>,
}

impl CommitPacer {
    fn state(&self) -> MutexGuard<'_, PaceState> {
        // Each change leaves the state sound, so a panic elsewhere does not matter.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that the log is known up to `sequence`: beyond the last entry of this process, entries are others'.
    pub(super) fn note_log_end(&self, env: &Env, sequence: Sequence) {
        let mut state = self.state();
        if state.known_end.is_some_and(|known| sequence > known) {
            state.foreign_seen = Some(env.moment());
            state.known_end = Some(sequence);
        }
    }

    /// Records an entry of this process, whose put took `took`, and begins a pause if others write too.
    pub(super) fn note_own_entry(&self, env: &Env, sequence: Sequence, took: Duration) {
        let mut state = self.state();
        state.known_end = Some(sequence);
        let contended = state.foreign_seen.is_some_and(|seen| env.elapsed(seen) < CONTENTION_MEMORY);
        // Up to one put: the others need about that long to read the entry and send their own. At random, or those
        // that pause would come back at the same time.
        state.pause = contended.then(|| (env.moment(), env.jitter(took.min(PAUSE_MAX))));
    }

    /// The rest of the pause, if one is under way. It is taken once.
    pub(super) fn take_pause(&self, env: &Env) -> Option<Duration> {
        let (begun, pause) = self.state().pause.take()?;
        pause.checked_sub(env.elapsed(begun)).filter(|rest| !rest.is_zero())
    }
}
