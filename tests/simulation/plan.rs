//! What a history is like, drawn from its seed: who takes part, how busy they are, and what fails.

use std::time::Duration;

use super::actors::Role;
use crate::common::api::{Options, Safeguard};
use crate::common::rng::Rng;
use crate::world::Faults;

/// The grace period of every history: the shortest there is.
pub const GRACE: Duration = Duration::from_hours(1);

/// What a history is like.
#[derive(Debug)]
pub struct Plan {
    pub options: Options,
    pub roles: Vec<Role>,
    /// Documents have ids from 1 to this.
    pub ids: u64,
    /// Requests to the store after which it ends.
    pub requests: u64,
    /// Time after which it ends.
    pub length: Duration,
    /// Somebody deletes the namespace and creates it again.
    pub undertaker: bool,
    /// Little is written, and much collected, by processes that often stand still.
    quiet: bool,
    /// The usual pause between two calls of a task.
    tempo: Duration,
    /// The part of pauses that are as good as none.
    bursts: f64,
    /// The part of pauses that outlast a window of freshness.
    idle: f64,
    /// The part of pauses that end together with those of others: then writers race.
    meet: f64,
}

impl Plan {
    pub fn draw(rng: &mut Rng, without: Option<Safeguard>) -> Self {
        let undertaker = rng.chance(0.15);
        let mut options = Options { without, ..Options::default() };
        options.settings.grace = Some(GRACE);
        options.settings.cache_bytes = 0;
        options.settings.auto_flush = rng.chance(0.5);
        options.settings.auto_compact = rng.chance(0.5);
        options.settings.auto_collect = rng.chance(0.5);
        if rng.chance(0.3) {
            options.settings.index_rows_min = usize::try_from(rng.between(2, 12)).unwrap_or(4);
        }
        options.settings.tail_entries_flush = usize::try_from(rng.between(4, 30)).unwrap_or(8);
        // Little is written, and much collected, by processes that often stand still: what they uploaded and did not
        // publish is overtaken by collections.
        let quiet = rng.chance(0.3);
        if quiet || rng.chance(0.25) {
            // Every batch with a row is linked, or those of some rows.
            options.settings.reference_bytes_min = *rng.pick(&[1, 200]);
        }
        let mut roles = Vec::new();
        let mut slot = 0;
        for _ in 0..rng.between(1, if quiet { 1 } else { 4 }) {
            let tasks = rng.between(1, if quiet { 1 } else { 2 });
            roles.push(Role::Writer { first: slot, tasks });
            slot += tasks;
        }
        roles.extend((0..rng.between(1, 2)).map(|_| Role::Reader));
        roles.extend((0..rng.between(0, 2)).map(|_| Role::Opener));
        roles.extend((0..rng.between(1, if quiet { 3 } else { 2 })).map(|_| Role::Maintenance));
        roles.extend((0..if quiet { 3 } else { rng.between(0, 2) }).map(|_| Role::Collector));
        roles.extend(undertaker.then_some(Role::Undertaker));
        Self {
            options,
            roles,
            ids: rng.between(20, 60),
            requests: rng.between(300, 800),
            length: GRACE * u32::try_from(rng.between(12, 48)).unwrap_or(12),
            undertaker,
            quiet,
            tempo: Duration::from_secs(*rng.pick(if quiet { &[400, 900] } else { &[60, 400, 900, 1_800] })),
            bursts: *rng.pick(&[0.2, 0.5]),
            idle: *rng.pick(&[0.02, 0.1, 0.2]),
            meet: *rng.pick(&[0.0, 0.2, 0.5]),
        }
    }

    pub fn faults(&self, rng: &mut Rng) -> Faults {
        let mut faults = Faults::draw(rng, GRACE, self.length);
        if self.quiet {
            faults.freeze = *rng.pick(&[0.02, 0.05]);
            faults.publish_freeze = *rng.pick(&[0.05, 0.2]);
        }
        faults
    }

    /// How long a task waits before its next call.
    pub fn gap(&self, rng: &mut Rng, now: Duration) -> Duration {
        if rng.chance(self.bursts) {
            return Duration::from_millis(rng.below(500));
        }
        if rng.chance(self.idle) {
            return match rng.below(4) {
                0 => (GRACE / 8).mul_f64(0.9 + 0.4 * rng.unit()),
                1 => GRACE.mul_f64(1.0 + 0.8 * rng.unit()),
                // Long enough for others to flush, and for collection to follow.
                _ => GRACE.mul_f64(1.5 + 3.5 * rng.unit()),
            };
        }
        if rng.chance(self.meet) {
            let ahead = self.tempo.as_millis() - now.as_millis() % self.tempo.as_millis();
            return Duration::from_millis(u64::try_from(ahead).unwrap_or(0) + rng.below(40));
        }
        self.tempo.mul_f64(2.0 * rng.unit())
    }
}
