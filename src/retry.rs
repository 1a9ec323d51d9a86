//! How often a failed request is sent again, and how long to wait before each attempt.
//!
//! Every loop in the crate that waits between attempts takes its numbers from the [`RetryPolicy`] constants here.
//! What counts as a failure worth another attempt is for the caller to decide.
//!
//! **Invariant:** pauses and jitter come from [`Env`], so that a simulation replays them.

use std::time::Duration;

use crate::env::Env;
use crate::error::{Error, Result};

/// Exponential backoff: the pause doubles with each failure up to `pause_max`, and up to as much again is added at
/// random.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetryPolicy {
    /// How often the request is sent at most, counting the first attempt.
    attempts_max: u32,
    /// The pause before the second attempt, without jitter.
    first_pause: Duration,
    /// The longest pause, without jitter.
    pause_max: Duration,
}

/// No limit by count: the caller gives up by a deadline of its own.
const UNLIMITED: u32 = u32::MAX;
/// The longest pause of loops that wait for other processes rather than for the store: much longer, and a process
/// that lost a race a few times would hardly get another turn.
const CONTENTION_PAUSE_MAX: Duration = Duration::from_millis(1_280);

impl RetryPolicy {
    /// A single request to the store that is safe to repeat. Four pauses come to between 0.75 and 1.5 seconds: enough
    /// for a store that throttles, and short beside the request timeout of 30 seconds.
    pub(crate) const STORE_REQUEST: Self = Self::new(5, Duration::from_millis(50));
    /// A create without a clear answer. The object is read back between attempts, and others may be waiting to build on
    /// it, so the first pauses are short.
    pub(crate) const CREATE_OBJECT: Self = Self::new(6, Duration::from_millis(20));
    /// A request of the probe, which goes to the bare backend: nothing below it repeats requests.
    pub(crate) const STORE_PROBE: Self = Self::new(4, Duration::from_millis(50));
    /// Loading a state whose objects are deleted or replaced while it is read. Each attempt starts from a newer
    /// listing, so it can only fail again if maintenance was as quick again.
    pub(crate) const LOAD_STATE: Self = Self::new(8, Duration::from_millis(20));
    /// Reading the newest manifest while others keep committing. The caller can go on from an older one.
    pub(crate) const READ_MANIFEST: Self = Self::new(4, Duration::from_millis(20));
    /// Appending to the log, which has no limit but
    /// [`Settings::write_timeout`](crate::settings::Settings::write_timeout).
    pub(crate) const APPEND_ENTRY: Self =
        Self::new(UNLIMITED, Duration::from_millis(40)).capped(CONTENTION_PAUSE_MAX);
    /// Committing a manifest against other processes, up to the patience of the job.
    pub(crate) const COMMIT_MANIFEST: Self =
        Self::new(UNLIMITED, Duration::from_millis(40)).capped(CONTENTION_PAUSE_MAX);

    /// Automatic flushes after one that failed. Writes go on meanwhile, and a store that refuses segments for a reason
    /// (a full disk, an expired credential) should not be sent one every second.
    pub(crate) const AUTOMATIC_FLUSH: Self =
        Self::new(UNLIMITED, Duration::from_secs(1)).capped(Duration::from_mins(1));

    /// Automatic collections after one that failed. Nothing is urgent: garbage costs storage, and only that.
    pub(crate) const AUTOMATIC_COLLECTION: Self =
        Self::new(UNLIMITED, Duration::from_mins(10)).capped(Duration::from_hours(24));

    const fn new(attempts_max: u32, first_pause: Duration) -> Self {
        Self { attempts_max, first_pause, pause_max: Duration::MAX }
    }

    const fn capped(self, pause_max: Duration) -> Self {
        Self { pause_max, ..self }
    }

    /// The pause after this many failures, without jitter.
    pub(crate) fn pause_after(&self, failures: u32) -> Duration {
        // invariant: a factor or a product that overflows is above any cap, and is cut down to it.
        let factor = 2_u32.saturating_pow(failures.saturating_sub(1));
        self.first_pause.saturating_mul(factor).min(self.pause_max)
    }
}

/// The attempts of one operation: counts failures, and pauses after each.
#[derive(Debug)]
pub(crate) struct Backoff {
    policy: RetryPolicy,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(policy: RetryPolicy) -> Self {
        Self { policy, failures: 0 }
    }

    /// Whether the attempt under way is the first.
    pub(crate) fn is_first_attempt(&self) -> bool {
        self.failures == 0
    }

    /// Waits until it is time for the next attempt. Returns `false`, without a pause, if the policy allows no more.
    pub(crate) async fn pause(&mut self, env: &Env) -> bool {
        if self.failures.saturating_add(1) >= self.policy.attempts_max {
            return false;
        }
        self.failures += 1;
        let pause = self.policy.pause_after(self.failures);
        // Jitter, so that processes that failed together do not come back together.
        env.sleep(pause + env.jitter(pause)).await;
        true
    }
}

/// Sends a request until it succeeds, fails with an error that `is_transient` rejects, or the policy allows no more
/// attempts. The last error is returned as it is.
pub(crate) async fn retry<T, F>(
    env: &Env,
    policy: RetryPolicy,
    is_transient: impl Fn(&Error) -> bool + Send + Sync,
    request: impl Fn() -> F + Send + Sync,
) -> Result<T>
where
    F: Future<Output = Result<T>> + Send,
{
    let mut backoff = Backoff::new(policy);
    loop {
        match request().await {
            Err(error) if is_transient(&error) => {
                if !backoff.pause(env).await {
                    return Err(error);
                }
            }
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_cap() {
        let capped = RetryPolicy::APPEND_ENTRY;
        let pauses = [1, 2, 5, 6, 7, 100].map(|failures| capped.pause_after(failures).as_millis());
        assert_eq!(pauses, [40, 80, 640, 1_280, 1_280, 1_280]);
        assert_eq!(RetryPolicy::STORE_REQUEST.pause_after(4).as_millis(), 400);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_attempt_has_no_pause_after_it() -> Result<()> {
        let env = Env::current()?;
        let mut backoff = Backoff::new(RetryPolicy::STORE_PROBE);
        let mut attempts = 1;
        while backoff.pause(&env).await {
            attempts += 1;
        }
        assert_eq!(attempts, 4);
        assert!(!backoff.is_first_attempt());
        Ok(())
    }
}
