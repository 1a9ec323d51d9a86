//! How much a leg may hold of what it reads.

#[expect(clippy::disallowed_types, reason = "all who wait are polled by the future of one search")]
use tokio::sync::Semaphore;
use tokio::sync::SemaphorePermit;

use crate::error::{Error, Result};

/// The most bytes of vectors and codes that a vector leg holds at a time, besides one piece that is larger by itself.
const BYTES_MAX: u32 = 32 << 20;
/// What is counted.
const UNIT: u64 = 1 << 10;

/// Room for bytes that are read from the store until they have been looked at. Pieces get it in the order in which
/// they ask, and none of them asks twice, so that no piece waits for one behind it.
#[derive(Debug)]
#[expect(clippy::disallowed_types, reason = "all who wait are polled by the future of one search")]
pub(super) struct Room(Semaphore);

#[expect(clippy::disallowed_types, reason = "all who wait are polled by the future of one search")]
impl Room {
    pub(super) fn new() -> Self {
        Self(Semaphore::new(Self::units(u64::from(BYTES_MAX)) as usize))
    }

    /// Waits until there is room for so many bytes. It is theirs until what is returned is dropped.
    pub(super) async fn take(&self, bytes: u64) -> Result<SemaphorePermit<'_>> {
        let units = Self::units(bytes.min(BYTES_MAX.into()));
        self.0.acquire_many(units).await.map_err(|e| Error::internal(format!("no room for bytes: {e}")))
    }

    fn units(bytes: u64) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn there_is_room_for_so_many_bytes_and_one_piece_that_is_larger() {
        let room = Room::new();
        let take = |bytes| room.take(bytes).now_or_never().map(Result::unwrap);
        let first = take(u64::from(BYTES_MAX) - 1_024).unwrap();
        let second = take(1).unwrap();
        assert!(take(1).is_none(), "all of it is taken");
        drop(first);
        assert!(take(1).is_some() && take(u64::MAX).is_none());
        drop(second);
        assert!(take(u64::MAX).is_some(), "a piece that is larger has it to itself");
    }
}
