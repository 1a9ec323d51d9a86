//! Work that goes on in a task of its own, and when such work begins by itself.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

use crate::env::Env;
use crate::error::{Error, Result};

/// Where several processes write, all see the tail grow beyond the limit at the same time, and all but one flush would be
/// in vain; so would be merges after it. So either is delayed at random, by up to this many times the duration of the last:
/// with this spread the first is mostly done before the second begins.
const SPREAD_FACTOR: u32 = 4;
/// Not less: the duration of the first flush is not known, and a list has to see the manifest of another.
const SPREAD_MIN: Duration = Duration::from_secs(1);
/// Not more: the tail goes on growing meanwhile, and each entry of it makes reads slower.
const SPREAD_MAX: Duration = Duration::from_secs(30);

/// Up to what time automatic work is delayed at random that took this long when it was done last.
pub(super) fn spread_of(took: Duration) -> Duration {
    took.saturating_mul(SPREAD_FACTOR).clamp(SPREAD_MIN, SPREAD_MAX)
}

/// Runs work in a task of its own. The future is its outcome; the work ends when that is dropped.
pub(super) fn run_in_task<T: Send + 'static>(
    env: Env,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> BoxFuture<'static, Result<T>> {
    let outcome = async move {
        let (mut answer, answered) = oneshot::channel();
        env.spawn(async move {
            let outcome = tokio::select! {
                // Checked before each poll of the work, so that it ends at its next await.
                biased;
                () = answer.closed() => None,
                outcome = work => Some(outcome),
            };
            if let Some(outcome) = outcome {
                // The caller may be gone by now.
                let _ = answer.send(outcome);
            }
        });
        answered
            .await
            .unwrap_or_else(|_| Err(Error::internal("a maintenance task panicked, or the runtime stopped")))
    };
    outcome.boxed()
}
