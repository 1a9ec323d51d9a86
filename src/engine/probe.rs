//! The look at the log of strong reads: one under way serves all who came before it was sent, and one that is slow
//! is sent again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::{Either, select};

use super::{Engine, Turns};
use crate::error::Result;
use crate::types::Sequence;
use crate::wal::Entry;

/// Answers that tell what the store's usual time is.
const REMEMBERED: usize = 15;
/// Fewer tell nothing.
const TELLING: usize = 3;
/// A request that takes so many times the usual is sent again.
const SLOW: u32 = 4;
/// So long is always waited: on a quick store it is the caller's own runtime that is slow.
const PATIENCE_MIN: Duration = Duration::from_millis(100);
/// So long is waited while the usual time is not known.
const PATIENCE_FIRST: Duration = Duration::from_secs(2);

/// Patience doubles so often at most.
const DOUBLED_MAX: u32 = 8;

/// Looks at the log, and how long they take.
#[derive(Debug, Default)]
pub(super) struct Probe {
    pub(super) turns: Turns<()>,
    took: Mutex<VecDeque<Duration>>,
    /// Looks that have begun and not ended.
    under_way: AtomicU32,
}

/// A look that is under way, until it is dropped.
struct UnderWay<'a>(&'a Probe);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Probe {
    /// How long to wait for an answer before the request is sent again. It doubles with each look under way besides one:
    /// where all of them wait for one large entry, more requests would only share the bandwidth with those.
    pub(super) fn patience(&self) -> Duration {
        let others = self.under_way.load(Ordering::Relaxed).saturating_sub(1);
        self.usual().saturating_mul(1 << others.min(DOUBLED_MAX))
    }

    fn begin(&self) -> UnderWay<'_> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(self)
    }

    /// The patience with a look that is alone.
    fn usual(&self) -> Duration {
        let took = self.took.lock().unwrap_or_else(PoisonError::into_inner);
        if took.len() < TELLING {
            return PATIENCE_FIRST;
        }
        let mut sorted: Vec<Duration> = took.iter().copied().collect();
        sorted.sort_unstable();
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or(PATIENCE_FIRST);
        median.saturating_mul(SLOW).max(PATIENCE_MIN)
    }

    fn note(&self, took: Duration) {
        let mut all = self.took.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() == REMEMBERED {
            all.pop_front();
        }
        all.push_back(took);
    }
}

impl Engine {
    /// The entry of a number, or `None` if there was none after this call. A request that is slow is sent a second
    /// time, and the first answer counts: both were sent after the call.
    pub(super) async fn probe_entry(&self, sequence: Sequence) -> Result<Option<Entry>> {
        let env = &self.context.env;
        let _under_way = self.probe.begin();
        let sent = env.moment();
        let mut first = std::pin::pin!(self.read_entry(sequence));
        let outcome = match env.timeout(self.probe.patience(), &mut first).await {
            Some(outcome) => outcome,
            None => match select(first, std::pin::pin!(self.read_entry(sequence))).await {
                Either::Left((Err(_), second)) => second.await,
                Either::Right((Err(_), first)) => first.await,
                Either::Left((found, _)) | Either::Right((found, _)) => found,
            },
        };
        if outcome.is_ok() {
            self.probe.note(env.elapsed(sent));
        }
        outcome
    }
}
