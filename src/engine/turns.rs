//! Work that many wait for and of which each run must begin after those who wait for it came.
//!
//! A turn is polled by whoever waits for it, with no task of its own: when the one that started it stops polling,
//! or is dropped, the others carry it on, and when the last is dropped it ends. No lock is held meanwhile, so no
//! caller can stop another by not being polled.
//!
//! **Invariant:** a turn is joined only while its work has not begun.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared, select};

use crate::error::Result;

type Work<T> = BoxFuture<'static, Result<T>>;

/// One run of the work, for any number of those who wait.
pub(crate) type Turn<T> = Shared<Work<T>>;

/// The turns of one kind of work. Clones share them.
pub(crate) struct Turns<T>(Arc<Mutex<Board<T>>>);

struct Board<T> {
    /// The turn whose work has not begun: whoever comes now may join it.
    open: Option<WeakShared<Work<T>>>,
    /// The newest turn whose work has begun.
    begun: Option<WeakShared<Work<T>>>,
}

impl<T: Clone + Send + Sync + 'static> Turns<T> {
    /// A turn whose work begins after this call: when that of the turn before it has ended, or `patience` has.
    pub(crate) fn next<P, W>(&self, patience: P, work: impl FnOnce() -> W) -> Turn<T>
    where
        P: Future<Output = ()> + Send + 'static,
        W: Future<Output = Result<T>> + Send + 'static,
    {
        let mut board = self.lock();
        if let Some(open) = board.open.as_ref().and_then(WeakShared::upgrade) {
            return open;
        }
        let before = board.begun.as_ref().and_then(WeakShared::upgrade);
        let (turns, work) = (self.clone(), work());
        let turn = async move {
            if let Some(before) = before {
                select(before, Box::pin(patience)).await;
            }
            turns.begin();
            work.await
        };
        let turn = turn.boxed().shared();
        board.open = turn.downgrade();
        turn
    }

    /// The turn whose work is under way, if one is.
    pub(crate) fn under_way(&self) -> Option<Turn<T>> {
        let begun = self.lock().begun.as_ref().and_then(WeakShared::upgrade)?;
        begun.peek().is_none().then_some(begun)
    }

    /// The open turn is joined no more. It alone calls this: it is polled, so it was not given up for another.
    fn begin(&self) {
        let mut board = self.lock();
        board.begun = board.open.take();
    }

    fn lock(&self) -> MutexGuard<'_, Board<T>> {
        // Every change is one assignment: a panic elsewhere leaves it sound.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Turns<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Board { open: None, begun: None })))
    }
}

impl<T> fmt::Debug for Turns<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Turns")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures::future::pending;
    use futures::poll;
    use tokio::sync::watch;

    use super::*;

    /// Work that ends when it may, and how often it was begun.
    struct Held {
        turns: Turns<u32>,
        begun: Arc<AtomicU32>,
        gate: watch::Sender<bool>,
    }

    impl Held {
        fn new() -> Self {
            Self { turns: Turns::default(), begun: Arc::default(), gate: watch::Sender::new(false) }
        }

        fn next(&self, patience: impl Future<Output = ()> + Send + 'static) -> Turn<u32> {
            let (begun, mut gate) = (Arc::clone(&self.begun), self.gate.subscribe());
            self.turns.next(patience, || async move {
                let number = begun.fetch_add(1, Ordering::SeqCst) + 1;
                let _ = gate.wait_for(|open| *open).await;
                Ok(number)
            })
        }

        fn begun(&self) -> u32 {
            self.begun.load(Ordering::SeqCst)
        }
    }

    #[tokio::test]
    async fn who_comes_after_the_beginning_waits_for_the_next() -> Result<()> {
        let held = Held::new();
        let mut first = held.next(pending());
        assert!(poll!(&mut first).is_pending());
        let (mut second, third) = (held.next(pending()), held.next(pending()));
        assert!(poll!(&mut second).is_pending());
        assert_eq!(held.begun(), 1, "one at a time");
        held.gate.send_replace(true);
        // The first is not polled again.
        assert_eq!((third.await?, held.begun()), (2, 2));
        assert_eq!((second.await?, first.await?), (2, 1));
        assert!(held.turns.under_way().is_none());
        Ok(())
    }

    #[tokio::test]
    async fn a_turn_that_all_gave_up_is_begun_anew() -> Result<()> {
        let held = Held::new();
        drop(held.next(pending()));
        let mut begun = held.next(pending());
        assert!(poll!(&mut begun).is_pending() && held.turns.under_way().is_some());
        let waiting = held.next(pending());
        drop((begun, waiting));
        assert!(held.turns.under_way().is_none());
        held.gate.send_replace(true);
        assert_eq!(held.next(pending()).await?, 2);
        Ok(())
    }

    #[tokio::test]
    async fn patience_with_the_turn_before_ends() {
        let held = Held::new();
        let mut first = held.next(pending());
        let _ = poll!(&mut first);
        let mut second = held.next(async {});
        let _ = poll!(&mut second);
        assert_eq!(held.begun(), 2);
    }
}
