//! The probe of the log by strong reads: one under way serves all callers that came before it was sent, and one that is
//! slow is sent again.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::{Either, select};

use super::{Coalescer, Engine};
use crate::error::Result;
use crate::types::Sequence;
use crate::wal::LogEntry;

/// Latencies that are remembered, to know what is usual for the store.
const REMEMBERED: usize = 15;
/// With fewer the usual latency is not known.
const MEASURED_MIN: usize = 3;
/// A request that takes this many times the usual latency is sent again. The tail of an object store's latency is long:
/// a second request mostly overtakes a slow first one, and at this factor few requests are doubled.
const SLOW_FACTOR: u32 = 4;
/// Nothing is sent again sooner: on a quick store it is the caller's own runtime that is slow.
const PATIENCE_MIN: Duration = Duration::from_millis(100);
/// The patience while the usual latency is not known.
const PATIENCE_FIRST: Duration = Duration::from_secs(2);
/// How often patience doubles at most.
const DOUBLINGS_MAX: u32 = 8;

/// Probes of the log, and how long they take.
#[derive(Debug, Default)]
pub(super) struct LogProbe {
    pub(super) runs: Coalescer<()>,
    latencies: Mutex<VecDeque<Duration>>,
    /// Probes that have begun and not ended.
    under_way: AtomicU32,
}

/// A probe that is under way, until it is dropped.
struct ProbeGuard<'a>(&'a LogProbe);

impl Drop for ProbeGuard<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl LogProbe {
    /// How long to wait for an answer before the request is sent again. It doubles with each further probe under way:
    /// where all of them wait for one large entry, more requests would only share the bandwidth.
    pub(super) fn patience(&self) -> Duration {
        // invariant: before the first probe has begun there is none to subtract.
        let others = self.under_way.load(Ordering::Relaxed).saturating_sub(1);
        self.usual_patience().saturating_mul(1 << others.min(DOUBLINGS_MAX))
    }

    fn begin(&self) -> ProbeGuard<'_> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        ProbeGuard(self)
    }

    /// The patience with a probe that is alone.
    fn usual_patience(&self) -> Duration {
        let latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sorted: Vec<Duration> = latencies.iter().copied().collect();
        drop(latencies);
        sorted.sort_unstable();
        // The median, not the mean: one request that hung would make a mean useless for the next fifteen.
        match sorted.get(sorted.len() / 2) {
            Some(median) if sorted.len() >= MEASURED_MIN => {
                median.saturating_mul(SLOW_FACTOR).max(PATIENCE_MIN)
            }
            _ => PATIENCE_FIRST,
        }
    }

    fn record_latency(&self, took: Duration) {
        let mut latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        if latencies.len() == REMEMBERED {
            latencies.pop_front();
        }
        latencies.push_back(took);
    }
}

impl Engine {
    /// The entry of a number, or `None` if it did not exist after this call. A request that is slow is sent a second
    /// time, and the first answer counts: both were sent after the call.
    pub(super) async fn probe_entry(&self, sequence: Sequence) -> Result<Option<LogEntry>> {
        let env = &self.context.env;
        let _under_way = self.probe.begin();
        let sent = env.moment();
        let mut first = pin!(self.read_entry(sequence));
        let outcome = match env.timeout(self.probe.patience(), &mut first).await {
            Some(outcome) => outcome,
            // An error of one is no answer as long as the other may still give one.
            None => match select(first, pin!(self.read_entry(sequence))).await {
                Either::Left((Err(_), second)) => second.await,
                Either::Right((Err(_), first)) => first.await,
                Either::Left((found, _)) | Either::Right((found, _)) => found,
            },
        };
        // Errors are not recorded: one that comes at once would make every later answer look slow.
        if outcome.is_ok() {
            self.probe.record_latency(env.elapsed(sent));
        }
        outcome
    }
}
