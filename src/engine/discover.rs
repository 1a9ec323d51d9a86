//! What the listings of an incarnation show: its newest manifest, and the log from where it may have been flushed.
//!
//! Lists and speculative reads go out together, so that finding the newest state takes one round trip here and one more
//! for what the lists name. How good the guess is with which it starts decides how much of the second is saved.

use std::sync::Arc;

use futures::future::join_all;
use futures::try_join;

use super::objects::read_deletes;
use super::state::{EngineState, OpenedSegment};
use crate::context::Context;
use crate::env::Moment;
use crate::error::{Error, Result};
use crate::manifest::{self, Hint, Manifest};
use crate::segment::Segment;
use crate::storage::IncarnationKeys;
use crate::types::Sequence;
use crate::wal::{LogListing, list_start};

/// What is known of an incarnation before its lists are read.
pub(super) struct DiscoveryStart {
    /// Some manifest covers the log this far, or so the hint says.
    flushed: Sequence,
    /// The manifest that is believed to be about the newest; 0 is the state before the first.
    number: u64,
    /// That manifest, if it is at hand.
    manifest: Option<Arc<Manifest>>,
    /// The number is certain: this process has read that manifest, so any newer one covers at least as much of the log.
    certain: bool,
    /// The first page of all manifests, and just before what time it was asked for.
    listed: Option<(manifest::ManifestListing, Moment)>,
    /// Segments that are open.
    opened: Vec<OpenedSegment>,
}

/// What the lists of an incarnation show at one time.
pub(super) struct Discovery {
    /// The newest manifest; 0 if there is none yet.
    pub(super) newest: u64,
    /// The newest manifest, if there was time to read it.
    pub(super) manifest: Option<Arc<Manifest>>,
    /// Just before the first of the lists was asked for.
    pub(super) begun: Moment,
    pub(super) log: LogStart,
    /// Segments that are open.
    pub(super) opened: Vec<OpenedSegment>,
}

/// The log as it was listed beside the manifests, before it is known how far the newest of them reaches.
pub(super) struct LogStart {
    /// The first page of the entries from `after` on, that one included.
    pub(super) listing: LogListing,
    pub(super) after: Sequence,
    /// Just before the entries were listed.
    pub(super) verified: Moment,
}

impl DiscoveryStart {
    /// Starts from nothing but the list of manifests that was read beside the names.
    pub(super) fn from_list(listed: Option<(manifest::ManifestListing, Moment)>) -> Self {
        Self {
            flushed: Sequence::ZERO,
            number: 0,
            manifest: None,
            certain: false,
            listed,
            opened: Vec::new(),
        }
    }

    /// Starts from what a hint says, which may be wrong.
    pub(super) fn from_hint(listed: Option<(manifest::ManifestListing, Moment)>, hint: &Hint) -> Self {
        Self {
            flushed: hint.flushed_through,
            number: hint.number,
            manifest: hint.manifest.clone(),
            ..Self::from_list(listed)
        }
    }

    /// Starts from the manifest of a new incarnation, which no object holds.
    pub(super) fn from_genesis(genesis: Manifest) -> Self {
        Self { manifest: Some(Arc::new(genesis)), certain: true, ..Self::from_list(None) }
    }

    /// Starts from what this process has read.
    pub(super) fn from_state(state: &EngineState) -> Self {
        Self {
            flushed: state.manifest.flushed_through,
            number: state.manifest.number,
            manifest: Some(Arc::clone(&state.manifest)),
            certain: true,
            listed: None,
            opened: state.opened_segments(),
        }
    }

    /// Reads the lists of an incarnation, and meanwhile opens what the hint names.
    pub(super) async fn discover(self, context: &Context, keys: &IncarnationKeys) -> Result<Discovery> {
        let after = self.flushed;
        let verified = context.env.moment();
        let begun = self.listed.as_ref().map_or(verified, |(_, asked)| *asked);
        let speculate = async {
            if self.certain {
                return Ok(self.opened.clone());
            }
            Ok(open_named_segments(context, keys, self.manifest.as_deref()).await)
        };
        let listing = LogListing::first_page(&context.backend, keys, list_start(after));
        let ((newest, manifest), listing, opened) =
            try_join!(self.find_newest_manifest(context, keys), listing, speculate)?;
        Ok(Discovery { newest, manifest, begun, log: LogStart { listing, after, verified }, opened })
    }

    /// The number of the newest manifest, with its contents if they are at hand or if there is time to read them.
    async fn find_newest_manifest(
        &self,
        context: &Context,
        keys: &IncarnationKeys,
    ) -> Result<(u64, Option<Arc<Manifest>>)> {
        let newest = self.find_newest_number(context, keys).await?;
        let at_hand = self.manifest.as_ref().filter(|manifest| manifest.number == newest);
        // Without a list from the round trip before, this is the round trip: reading the manifest now would add one.
        if at_hand.is_some() || newest == 0 || self.listed.is_none() {
            // The copy in a hint is checked by whoever knows the hint before it counts.
            return Ok((newest, at_hand.filter(|_| self.certain).cloned()));
        }
        Ok((newest, manifest::read_manifest(&context.backend, keys, newest).await?.map(Arc::new)))
    }

    async fn find_newest_number(&self, context: &Context, keys: &IncarnationKeys) -> Result<u64> {
        let backend = &context.backend;
        if self.certain {
            // invariant: nothing newer than a manifest that was read means that it is still the newest.
            return Ok(manifest::find_latest(backend, keys, self.number).await?.unwrap_or(self.number));
        }
        if let Some((page, _)) = &self.listed {
            return page.clone().find_newest(backend, keys, self.number).await;
        }
        // The list starts at the supposed number itself: if that shows nothing the hint promised too much.
        match manifest::find_latest(backend, keys, self.number.saturating_sub(1)).await? {
            Some(newest) => Ok(newest),
            // invariant: an incarnation without a manifest is at number 0.
            None if self.number > 1 => Ok(manifest::find_latest(backend, keys, 0).await?.unwrap_or(0)),
            None => Ok(0),
        }
    }
}

/// Opens what the manifest in the hint names. The hint may be stale and its segments gone: that is not an error, for
/// what is missing here is opened again once the true manifest is known.
async fn open_named_segments(
    context: &Context,
    keys: &IncarnationKeys,
    manifest: Option<&Manifest>,
) -> Vec<OpenedSegment> {
    let Some(manifest) = manifest else { return Vec::new() };
    let schemas = &manifest.schemas;
    let sound = manifest.segments.iter().filter(|meta| meta.check_version(schemas).is_ok());
    let opened = sound.map(|meta| async move {
        let Context { env, backend, cache, .. } = context;
        let segment = Segment::open(env, backend, cache, keys, schemas, meta);
        let (segment, dead) = try_join!(segment, read_deletes(context, keys, meta))?;
        Ok::<_, Error>(OpenedSegment { segment: Arc::new(segment), dead: Some(dead) })
    });
    join_all(opened).await.into_iter().filter_map(Result::ok).collect()
}
