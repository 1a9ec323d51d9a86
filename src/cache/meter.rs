//! What one query asks of the cache and of the store, and how much it may.
//!
//! A query runs as one future, which carries its meter as a task-local value: whatever reads on its behalf counts
//! there, however deep it lies.
//!
//! Rounds are counted as clocks of Lamport's are: a request is one round after the latest that had ended when it
//! began. Requests that were issued together are so of one round, and the greatest round is how many the query
//! had to wait for, one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, ErrorKind, Result};

tokio::task_local! {
    static METER: Arc<Meter>;
}

/// Counts of one query.
#[derive(Debug)]
pub(crate) struct Meter {
    bytes_max: AtomicU64,
    counts: [AtomicU64; 5],
    rounds: AtomicU64,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Metered {
    pub(crate) memory_hits: u64,
    pub(crate) disk_hits: u64,
    pub(crate) joined: u64,
    pub(crate) requests: u64,
    pub(crate) bytes: u64,
    pub(crate) rounds: u64,
}

/// What is counted, by its place in [`Meter::counts`].
#[derive(Clone, Copy)]
pub(super) enum Count {
    MemoryHits,
    DiskHits,
    Joined,
    Requests,
    Bytes,
}

impl Meter {
    /// A meter that lets so many bytes be asked of the store.
    pub(crate) fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self {
            bytes_max: AtomicU64::new(bytes_max),
            counts: Default::default(),
            rounds: AtomicU64::new(0),
        })
    }

    /// The future, with what it reads counted here.
    pub(crate) fn scope<F: Future>(self: &Arc<Self>, future: F) -> impl Future<Output = F::Output> + use<F> {
        METER.scope(Arc::clone(self), future)
    }

    /// From here on bytes are counted and not held back.
    pub(crate) fn lift(&self) {
        self.bytes_max.store(u64::MAX, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Metered {
        let [memory_hits, disk_hits, joined, requests, bytes] =
            [0, 1, 2, 3, 4].map(|at| self.counts.get(at).map_or(0, |count| count.load(Ordering::Relaxed)));
        let rounds = self.rounds.load(Ordering::Relaxed);
        Metered { memory_hits, disk_hits, joined, requests, bytes, rounds }
    }

    fn add(&self, what: Count, number: u64) -> u64 {
        self.counts.get(what as usize).map_or(0, |count| count.fetch_add(number, Ordering::Relaxed))
    }
}

/// Counts something for the query that runs here, if one does.
pub(super) fn count(what: Count, number: u64) {
    // Reads of writers and of maintenance are nobody's.
    let _ = METER.try_with(|meter| meter.add(what, number));
}

/// Asks the meter of the query that runs here for bytes of the store.
pub(super) fn spend(requests: u64, bytes: u64) -> Result<()> {
    let spend = |meter: &Arc<Meter>| {
        let before = meter.add(Count::Bytes, bytes);
        let most = meter.bytes_max.load(Ordering::Relaxed);
        if before.saturating_add(bytes) > most {
            meter.add(Count::Bytes, bytes.wrapping_neg());
            return Err(Error::new(
                ErrorKind::BudgetExceeded,
                format!("the query needs to read more of the store than its budget. bytes_max=`{most}`"),
            ));
        }
        meter.add(Count::Requests, requests);
        Ok(())
    };
    METER.try_with(spend).unwrap_or(Ok(()))
}

/// A wait for the store. It is one round of the query that runs here.
pub(super) async fn round<T>(wait: impl Future<Output = T>) -> T {
    let Ok(meter) = METER.try_with(Arc::clone) else { return wait.await };
    let round = meter.rounds.load(Ordering::Relaxed) + 1;
    let outcome = wait.await;
    meter.rounds.fetch_max(round, Ordering::Relaxed);
    outcome
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::future::join;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rounds_are_those_one_had_to_wait_for() {
        let sleep = |ms| {
            round(async move { crate::env::Env::current().unwrap().sleep(Duration::from_millis(ms)).await })
        };
        let meter = Meter::new(100);
        let chain = async {
            sleep(10).await;
            sleep(10).await;
        };
        meter.scope(join(join(sleep(10), sleep(10)), chain)).await;
        assert_eq!(meter.read().rounds, 2);
        sleep(10).await;
        assert_eq!(meter.read().rounds, 2);
    }

    #[tokio::test]
    async fn a_budget_holds_until_it_is_lifted() {
        let meter = Meter::new(100);
        let ask = |bytes| async move { spend(1, bytes) };
        assert!(meter.scope(ask(60)).await.is_ok());
        let error = meter.scope(ask(50)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BudgetExceeded);
        assert!(meter.scope(ask(40)).await.is_ok() && ask(1 << 40).await.is_ok());
        meter.lift();
        assert!(meter.scope(ask(50)).await.is_ok());
        assert_eq!((meter.read().bytes, meter.read().requests), (150, 3));
    }
}
