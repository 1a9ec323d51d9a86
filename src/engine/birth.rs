//! Births of what is uploaded before anything names it. Collection relies on them: it counts on the entries that link a
//! segment being prepared, and on manifests being committed, before a manifest forbids the birth.
//!
//! **Invariant:** when an entry is prepared for its number, the manifest of each birth in it was the newest a short while
//! ago, or a look at the newest manifest has shown that it still allows the birth.

use super::Engine;
use crate::env::Moment;
use crate::error::Result;
use crate::manifest::Manifest;
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
        if self.is_birth_fresh(known) {
            return Ok(known);
        }
        self.refresh_newest_manifest().await?;
        Ok(self.known_birth())
    }

    /// Whether an entry that follows the known state may link a segment with this birth.
    pub(crate) async fn allows_birth(&self, birth: Birth) -> Result<bool> {
        // A floor above the birth is only set when the next manifest is older than the grace.
        if self.is_birth_fresh(birth) {
            return Ok(true);
        }
        // After the last entry was read: whoever has set a floor takes a number of the log before it collects.
        let newest = self.refresh_newest_manifest().await?;
        Ok(birth.number >= newest.floors.segment)
    }

    fn is_birth_fresh(&self, birth: Birth) -> bool {
        self.is_fresh(birth.newest_at, Safeguard::LinkBirth)
    }

    /// Whether what was built on the manifest `base` may be named by the successor of `newest`: otherwise collection may
    /// have taken it, or what it refers to.
    pub(crate) fn allows_build(&self, base: &Manifest, newest: &Manifest) -> bool {
        // The floors of `newest` are those of its successor, and a floor that another sets meanwhile takes the number of
        // that first. Files of the job have the number of `base` as their birth.
        base.number >= newest.floors.segment || !self.context.safeguards.hold(Safeguard::BuildBirth)
    }

    fn known_birth(&self) -> Birth {
        let state = self.state();
        Birth { number: state.manifest.number, newest_at: state.manifest_newest_at }
    }
}
