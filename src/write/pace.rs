//! Fairness among processes that write one namespace at once.
//!
//! Who won a number is ready for the next before any other has even read that it lost. So a process that sees entries
//! of others waits a little before it goes on.

use std::time::Duration;

use crate::env::{Env, Moment};
use crate::types::Sequence;

/// How long an entry of another process makes us wait.
const MEMORY: Duration = Duration::from_secs(2);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_millis(150);

/// What one process knows of others.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// How far the log was known last, after an entry of our own.
    known: Option<Sequence>,
    /// When an entry of another was seen.
    foreign: Option<Moment>,
    /// When the last pause began, and how long it is.
    pause: Option<(Moment, Duration)>,
}

impl Pace {
    /// The log is known up to here.
    pub(super) fn see(&mut self, env: &Env, sequence: Sequence) {
        if self.known.is_some_and(|known| sequence > known) {
            self.foreign = Some(env.moment());
            self.known = Some(sequence);
        }
    }

    /// An entry is ours; to put it took so long.
    pub(super) fn win(&mut self, env: &Env, sequence: Sequence, took: Duration) {
        self.known = Some(sequence);
        let contended = self.foreign.is_some_and(|foreign| env.elapsed(foreign) < MEMORY);
        self.pause = contended.then(|| (env.moment(), env.jitter(took.min(PAUSE_MAX))));
    }

    /// What is left of the pause.
    pub(super) fn rest(&mut self, env: &Env) -> Option<Duration> {
        let (begun, pause) = self.pause.take()?;
        pause.checked_sub(env.elapsed(begun)).filter(|rest| !rest.is_zero())
    }
}
