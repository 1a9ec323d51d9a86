//! What one query reads of the cache and of the store, and how much it may read.
//!
//! A query runs as one future, which carries its meter as a task-local value: every read on its behalf is counted
//! there, without a parameter through all layers in between.
//!
//! Rounds are counted like Lamport clocks: a request belongs to the round after the last one that had ended when it
//! began. Requests that were sent together are thus of one round, and the highest round is the number of sequential
//! round trips that the query waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, ErrorKind, Result};

tokio::task_local! {
    static METER: Arc<Meter>;
}

/// The counters of one query.
#[derive(Debug)]
pub(crate) struct Meter {
    bytes_max: AtomicU64,
    memory_hits: AtomicU64,
    disk_hits: AtomicU64,
    joined: AtomicU64,
    requests: AtomicU64,
    bytes: AtomicU64,
    rounds: AtomicU64,
}

/// What a meter counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Metered {
    pub(crate) memory_hits: u64,
    pub(crate) disk_hits: u64,
    pub(crate) joined: u64,
    pub(crate) requests: u64,
    pub(crate) bytes: u64,
    pub(crate) rounds: u64,
}

/// A counter of blocks that the cache found.
#[derive(Clone, Copy)]
pub(super) enum CacheCounter {
    MemoryHits,
    DiskHits,
    Joined,
}

impl Meter {
    /// A meter that allows `bytes_max` bytes to be read from the store.
    pub(crate) fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self {
            bytes_max: AtomicU64::new(bytes_max),
            memory_hits: AtomicU64::new(0),
            disk_hits: AtomicU64::new(0),
            joined: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            rounds: AtomicU64::new(0),
        })
    }

    /// Wraps a future so that its reads are counted here.
    pub(crate) fn scope<F: Future>(self: &Arc<Self>, future: F) -> impl Future<Output = F::Output> + use<F> {
        METER.scope(Arc::clone(self), future)
    }

    /// Removes the limit: bytes are still counted.
    pub(crate) fn lift_limit(&self) {
        self.bytes_max.store(u64::MAX, Ordering::Relaxed);
    }

    pub(crate) fn totals(&self) -> Metered {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Metered {
            memory_hits: load(&self.memory_hits),
            disk_hits: load(&self.disk_hits),
            joined: load(&self.joined),
            requests: load(&self.requests),
            bytes: load(&self.bytes),
            rounds: load(&self.rounds),
        }
    }

    /// Counts bytes and requests about to be sent, unless they would exceed the limit.
    fn charge(&self, requests: u64, bytes: u64) -> Result<()> {
        // Reserve first, then compare: parallel reads that fit into the rest of the budget one by one, but not
        // together, must not all pass. It may refuse more of them than needed, but one refusal already fails the query.
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let limit = self.bytes_max.load(Ordering::Relaxed);
        // invariant: only an unlimited query may read that much, and no machine reads 16 EiB.
        if before.saturating_add(bytes) > limit {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Error::new(
                ErrorKind::BudgetExceeded,
                format!("the query needs to read more from the store than its budget. bytes_max=`{limit}`"),
            ));
        }
        self.requests.fetch_add(requests, Ordering::Relaxed);
        Ok(())
    }
}

/// Counts for the query that runs here, if one does.
pub(super) fn record(counter: CacheCounter, count: u64) {
    // Reads of writers and of maintenance have no meter.
    let _ = METER.try_with(|meter| {
        let counter = match counter {
            CacheCounter::MemoryHits => &meter.memory_hits,
            CacheCounter::DiskHits => &meter.disk_hits,
            CacheCounter::Joined => &meter.joined,
        };
        counter.fetch_add(count, Ordering::Relaxed)
    });
}

/// Charges the query that runs here, if one does, for requests about to be sent.
pub(super) fn charge(requests: u64, bytes: u64) -> Result<()> {
    // Without a meter there is no budget.
    METER.try_with(|meter| meter.charge(requests, bytes)).unwrap_or(Ok(()))
}

/// Waits for the store, and counts that as one round of the query that runs here, if one does.
pub(super) async fn count_round<T>(wait: impl Future<Output = T>) -> T {
    let Ok(meter) = METER.try_with(Arc::clone) else { return wait.await };
    let round = meter.rounds.load(Ordering::Relaxed) + 1;
    let outcome = wait.await;
    // The maximum, not a sum: requests of one round end one by one, and each would add its own.
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
            count_round(
                async move { crate::env::Env::current().unwrap().sleep(Duration::from_millis(ms)).await },
            )
        };
        let meter = Meter::new(100);
        let chain = async {
            sleep(10).await;
            sleep(10).await;
        };
        meter.scope(join(join(sleep(10), sleep(10)), chain)).await;
        assert_eq!(meter.totals().rounds, 2);
        sleep(10).await;
        assert_eq!(meter.totals().rounds, 2);
    }

    #[tokio::test]
    async fn a_budget_holds_until_it_is_lifted() {
        let meter = Meter::new(100);
        let ask = |bytes| async move { charge(1, bytes) };
        assert!(meter.scope(ask(60)).await.is_ok());
        let error = meter.scope(ask(50)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BudgetExceeded);
        assert!(meter.scope(ask(40)).await.is_ok() && ask(1 << 40).await.is_ok());
        meter.lift_limit();
        assert!(meter.scope(ask(50)).await.is_ok());
        assert_eq!((meter.totals().bytes, meter.totals().requests), (150, 3));
    }
}
