//! The safeguards of the commit protocol, each of which a test may switch off to see that it is needed.

/// A rule of the commit protocol without which acknowledged writes can be lost, doubled or missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[cfg_attr(not(feature = "testing"), expect(unreachable_pub, reason = "only tests switch them off"))]
pub enum Safeguard {
    /// After an unclean answer a writer knows its own entry by its batch id.
    OwnWrite,
    /// That a number is taken is believed only when it has been read back.
    VerifyExists,
    /// A writer whose last look at the log is old checks that its number was never used before.
    WriterFreshness,
    /// A reader whose last look at the log is old does not trust a missing entry.
    ReaderFreshness,
    /// On opening, a gap anywhere in the listed log means that the manifest is stale, from the last entry that it
    /// covers on.
    GapCheck,
    /// Each entry must name the batch before it.
    ChainCheck,
}

/// Which safeguards hold: all, but for one in a test.
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
