//! The caller's runtime on a clock that tests stop: tokio's, while it is paused.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use elacsym::env::Runtime;
use futures::future::BoxFuture;
use tokio::time::Instant;

/// Tokio as it is, but for the clock, and for chance, which is a count that is stirred.
#[derive(Debug)]
pub struct Paused {
    start: Instant,
    drawn: AtomicU64,
}

impl Paused {
    pub fn new(seed: u64) -> Self {
        Self { start: Instant::now(), drawn: AtomicU64::new(seed << 32) }
    }
}

impl Runtime for Paused {
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall_ms(&self) -> i64 {
        1_750_000_000_000 + i64::try_from(self.start.elapsed().as_millis()).unwrap()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn random(&self) -> u64 {
        // SplitMix64.
        let drawn = self.drawn.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let stirred = (drawn ^ (drawn >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let stirred = (stirred ^ (stirred >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        stirred ^ (stirred >> 31)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) {
        tokio::task::spawn_blocking(work);
    }
}
