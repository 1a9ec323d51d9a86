//! Births of segments that entries link. Collection relies on them: it counts on the entries that name such a segment
//! being prepared before a manifest forbids the birth.
//!
//! **Invariant:** when an entry is prepared for its number, the manifest of each birth in it was the newest a short while
//! ago, or a look at the newest manifest has shown that it still allows the birth.

use super::Engine;
use crate::env::Moment;
use crate::error::Result;
use crate::safeguard::Safeguard;

/// The birth of a segment that the log will publish.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Birth {
    /// The number of the manifest.
    pub(crate) number: u64,
    /// Just before a request that showed it to be the newest.
    newest_at: Moment,
}

impl Engine {
    /// The birth of a segment that is about to be uploaded. Looks for a newer manifest if that was not done for long.
    pub(crate) async fn take_birth(&self) -> Result<Birth> {
        let known = self.known_birth();
        if self.is_fresh(known.newest_at, Safeguard::WriterFreshness) {
            return Ok(known);
        }
        self.refresh_newest_manifest().await?;
        Ok(self.known_birth())
    }

    /// Whether an entry that follows the known state may link a segment with this birth.
    pub(crate) async fn allows_birth(&self, birth: Birth) -> Result<bool> {
        // A floor above the birth is only set when the next manifest is older than the grace.
        if self.is_fresh(birth.newest_at, Safeguard::WriterFreshness) {
            return Ok(true);
        }
        // After the last entry was read: whoever has set a floor takes a number of the log before it collects.
        let newest = self.refresh_newest_manifest().await?;
        Ok(birth.number >= newest.floors.segment)
    }

    fn known_birth(&self) -> Birth {
        let state = self.state();
        Birth { number: state.manifest.number, newest_at: state.manifest_newest_at }
    }
}
