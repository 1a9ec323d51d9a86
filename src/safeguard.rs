//! The safeguards of the commit protocol. Tests switch each one off to show that it is needed.

/// A rule of the commit protocol without which acknowledged writes can be lost, doubled or missed.
///
/// ```
/// use elacsym::Database;
/// use elacsym::testing::Safeguard;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// // A test of the protocol has to find an error here, or the safeguard is of no use.
/// let db = Database::builder().without(Safeguard::OwnWrite).open("memory://").await?;
/// # drop(db);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[cfg_attr(not(feature = "testing"), expect(unreachable_pub, reason = "only tests switch them off"))]
pub enum Safeguard {
    /// After an unclear answer a writer recognises its own entry by its batch id.
    OwnWrite,
    /// A store's answer that a number is taken is believed only after the entry has been read back.
    VerifyExists,
    /// A writer that has not looked at the log for long checks that its number was never used before.
    WriterFreshness,
    /// A reader that has not looked at the log for long does not take a missing entry for its end.
    ReaderFreshness,
    /// On opening, a gap anywhere in the listed log, from the last entry that the manifest covers on, means that the
    /// manifest is stale.
    GapCheck,
    /// Each entry must name the batch before it.
    ChainCheck,
    /// Collection keeps what a manifest needs until that was replaced for the grace.
    Grace,
    /// Collection keeps the segments that entries of the log link.
    KeptLinks,
    /// Collection keeps linked segments whose last row died before they were flushed.
    KeptDropped,
    /// Collection keeps the centroid sets that segments name, not those of the manifest alone.
    KeptCentroids,
    /// Collection leaves alone what nothing names as long as its birth is not below the floor.
    BirthFloor,
    /// The birth of a file of dead rows is its own number, not that of its segment.
    DeletesBirth,
    /// Before segments are deleted, an entry is known that was put after the floor was raised.
    LogFence,
    /// An entry links a segment only if the birth of that is fresh, or not below the newest floor.
    LinkBirth,
    /// A flush or merge commits what it built only if the birth of that is not below the newest floor.
    BuildBirth,
}

/// The safeguards that hold: all, or in a test all but one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Safeguards {
    #[cfg(feature = "testing")]
    without: Option<Safeguard>,
}

impl Safeguards {
    #[cfg(feature = "testing")]
    pub(crate) fn without(safeguard: Safeguard) -> Self {
        Self { without: Some(safeguard) }
    }

    #[cfg(feature = "testing")]
    pub(crate) fn hold(self, safeguard: Safeguard) -> bool {
        self.without != Some(safeguard)
    }

    #[cfg(not(feature = "testing"))]
    #[expect(clippy::unused_self, reason = "the same call in both builds")]
    pub(crate) fn hold(self, _: Safeguard) -> bool {
        true
    }
}
