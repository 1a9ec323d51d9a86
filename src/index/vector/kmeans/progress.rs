//! Progress and cancellation of training, shared by the task that works and those that watch it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::{Error, ErrorKind, Result};

/// How far the work is, and the order to stop it. Its unit is a comparison of a row with a centroid, which is nearly all
/// that training does.
#[derive(Debug, Default)]
pub(crate) struct TrainingProgress {
    cancelled: AtomicBool,
    done: AtomicU64,
    expected: AtomicU64,
}

impl TrainingProgress {
    /// Ends the work with an error within milliseconds.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Comparisons so far.
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// About how many comparisons the work that has begun takes.
    pub(crate) fn expected(&self) -> u64 {
        self.expected.load(Ordering::Relaxed)
    }

    /// Announces work that begins.
    pub(crate) fn add_expected(&self, comparisons: u64) {
        self.expected.fetch_add(comparisons, Ordering::Relaxed);
    }

    /// Counts work that was done. Loops without comparisons call it with 0, to be cancelled in time.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] after [`cancel`](Self::cancel).
    pub(super) fn advance(&self, comparisons: usize) -> Result<()> {
        self.done.fetch_add(comparisons as u64, Ordering::Relaxed);
        // Relaxed is enough: the flag guards no other memory, and a few more comparisons do no harm.
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Closed, "clustering was cancelled"));
        }
        Ok(())
    }
}
