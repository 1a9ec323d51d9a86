//! The memory budget of a vector leg for what it has read and not yet compared.

#[expect(clippy::disallowed_types, reason = "all who wait are polled by the future of one search")]
use tokio::sync::Semaphore;
use tokio::sync::SemaphorePermit;

use crate::codec::{to_u32, usize_of};
use crate::error::{Error, Result};

/// The most bytes of vectors and codes that a vector leg holds at a time, apart from a single larger piece.
// All segments of a leg are searched concurrently. Four windows of 8 MiB keep the store busy; without a limit the memory
// of a query would grow with the number of segments.
const BYTES_MAX: u32 = 32 << 20;
/// Permits are kibibytes, since a semaphore takes at most `u32::MAX` permits in one call.
const UNIT: u32 = 1 << 10;
const BYTES_MAX_UNITS: u32 = BYTES_MAX / UNIT;

/// Room for bytes between the read from the store and their comparison. It is granted in the order of the requests.
///
/// **Invariant:** a piece asks once, for all of its bytes. If it asked again while it held some, two pieces could each
/// wait for what the other holds.
#[derive(Debug)]
#[expect(clippy::disallowed_types, reason = "all who wait are polled by the future of one search")]
pub(super) struct Room(Semaphore);

#[expect(clippy::disallowed_types, reason = "all who wait are polled by the future of one search")]
impl Room {
    pub(super) fn new() -> Self {
        Self(Semaphore::new(usize_of(BYTES_MAX_UNITS)))
    }

    /// Waits for room for `bytes`, which are released when the permit is dropped. A piece above the limit gets all of
    /// it: it waits until it is alone, instead of forever.
    pub(super) async fn take(&self, bytes: u64) -> Result<SemaphorePermit<'_>> {
        let units = to_u32(bytes.min(BYTES_MAX.into()).div_ceil(UNIT.into()), "a piece of a search")?;
        self.0.acquire_many(units).await.map_err(|e| Error::internal(format!("no room for bytes: {e}")))
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
