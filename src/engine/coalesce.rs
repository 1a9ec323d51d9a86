//! Shared runs of work: many callers wait for one run, and each needs a run that begins after it came.
//!
//! A run is polled by whichever callers wait for it, with no task of its own: when the caller that started it stops
//! polling, or is dropped, the others carry it on, and when the last is dropped it ends. No lock is held meanwhile, so
//! no caller can stop another by not being polled.
//!
//! **Invariant:** a run is joined only while its work has not begun.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared, select};

use crate::error::Result;

type BoxedWork<T> = BoxFuture<'static, Result<T>>;

/// One run of the work, for any number of callers.
pub(crate) type SharedRun<T> = Shared<BoxedWork<T>>;

/// The runs of one kind of work. Clones share them.
pub(crate) struct Coalescer<T>(Arc<Mutex<RunSlots<T>>>);

/// Weak references: a run that nobody waits for any more is dropped, and must not be kept alive from here.
struct RunSlots<T> {
    /// The run whose work has not begun: every caller that comes now may join it.
    waiting: Option<WeakShared<BoxedWork<T>>>,
    /// The newest run whose work has begun.
    begun: Option<WeakShared<BoxedWork<T>>>,
}

impl<T: Clone + Send + Sync + 'static> Coalescer<T> {
    /// A run whose work begins after this call: when that of the run before it has ended, or `patience` has.
    pub(crate) fn join_next_run<P, W>(&self, patience: P, work: impl FnOnce() -> W) -> SharedRun<T>
    where
        P: Future<Output = ()> + Send + 'static,
        W: Future<Output = Result<T>> + Send + 'static,
    {
        let mut slots = self.lock();
        if let Some(waiting) = slots.waiting.as_ref().and_then(WeakShared::upgrade) {
            return waiting;
        }
        let before = slots.begun.as_ref().and_then(WeakShared::upgrade);
        let (coalescer, work) = (self.clone(), work());
        let run = async move {
            if let Some(before) = before {
                // Polling the run before carries it on, even if all of its own callers have been parked.
                select(before, Box::pin(patience)).await;
            }
            coalescer.begin_waiting_run();
            work.await
        };
        let run = run.boxed().shared();
        slots.waiting = run.downgrade();
        run
    }

    /// The run whose work is under way, if there is one.
    pub(crate) fn current_run(&self) -> Option<SharedRun<T>> {
        let begun = self.lock().begun.as_ref().and_then(WeakShared::upgrade)?;
        begun.peek().is_none().then_some(begun)
    }

    /// Closes the waiting run to further callers. Only that run calls this: it is being polled, so callers still wait
    /// for it and no other has taken its slot.
    fn begin_waiting_run(&self) {
        let mut slots = self.lock();
        slots.begun = slots.waiting.take();
    }

    fn lock(&self) -> MutexGuard<'_, RunSlots<T>> {
        // Every change is one assignment: a panic elsewhere leaves it sound.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Coalescer<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Coalescer<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(RunSlots { waiting: None, begun: None })))
    }
}

impl<T> fmt::Debug for Coalescer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Coalescer")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures::future::pending;
    use futures::poll;
    use tokio::sync::watch;

    use super::*;

    /// Work that ends when its gate opens, and how often it was begun.
    struct GatedWork {
        runs: Coalescer<u32>,
        begun: Arc<AtomicU32>,
        gate: watch::Sender<bool>,
    }

    impl GatedWork {
        fn new() -> Self {
            Self { runs: Coalescer::default(), begun: Arc::default(), gate: watch::Sender::new(false) }
        }

        fn join_next(&self, patience: impl Future<Output = ()> + Send + 'static) -> SharedRun<u32> {
            let (begun, mut gate) = (Arc::clone(&self.begun), self.gate.subscribe());
            self.runs.join_next_run(patience, || async move {
                let number = begun.fetch_add(1, Ordering::SeqCst) + 1;
                let _ = gate.wait_for(|open| *open).await;
                Ok(number)
            })
        }

        fn begun_count(&self) -> u32 {
            self.begun.load(Ordering::SeqCst)
        }
    }

    #[tokio::test]
    async fn a_caller_that_comes_after_the_beginning_waits_for_the_next_run() -> Result<()> {
        let held = GatedWork::new();
        let mut first = held.join_next(pending());
        assert!(poll!(&mut first).is_pending());
        let (mut second, third) = (held.join_next(pending()), held.join_next(pending()));
        assert!(poll!(&mut second).is_pending());
        assert_eq!(held.begun_count(), 1, "one at a time");
        held.gate.send_replace(true);
        // The first is not polled again.
        assert_eq!((third.await?, held.begun_count()), (2, 2));
        assert_eq!((second.await?, first.await?), (2, 1));
        assert!(held.runs.current_run().is_none());
        Ok(())
    }

    #[tokio::test]
    async fn a_run_that_all_callers_dropped_begins_again() -> Result<()> {
        let held = GatedWork::new();
        drop(held.join_next(pending()));
        let mut begun = held.join_next(pending());
        assert!(poll!(&mut begun).is_pending() && held.runs.current_run().is_some());
        let waiting = held.join_next(pending());
        drop((begun, waiting));
        assert!(held.runs.current_run().is_none());
        held.gate.send_replace(true);
        assert_eq!(held.join_next(pending()).await?, 2);
        Ok(())
    }

    #[tokio::test]
    async fn patience_with_the_run_before_ends() {
        let held = GatedWork::new();
        let mut first = held.join_next(pending());
        let _ = poll!(&mut first);
        let mut second = held.join_next(async {});
        let _ = poll!(&mut second);
        assert_eq!(held.begun_count(), 2);
    }
}
