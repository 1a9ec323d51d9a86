//! Opening an incarnation: from a name to an [`Engine`], and back to the newest state when the known one is stale.

use std::sync::Arc;

use futures::future::{BoxFuture, join};
use futures::try_join;

use super::Engine;
use super::discover::{Discovery, DiscoveryStart};
use super::incarnation::{list_incarnations, mark_closed};
use super::load::Loader;
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{self, CLOSED_BYTES_MAX, Hint, Incarnation, Manifest, OPEN_BYTES_MAX};
use crate::storage::{NamespaceKeys, read_object};
use crate::types::NamespaceName;

/// The incarnation that most names have: its manifests are listed before it is known to be the newest.
const FIRST_INCARNATION: u32 = 1;

impl Engine {
    /// Opens the newest incarnation of a name: three round trips, two when the hint is good and the tail is empty,
    /// four for a name that was deleted before and has no hint.
    pub(crate) fn open<'a>(
        context: &'a Context,
        name: &'a NamespaceName,
    ) -> BoxFuture<'a, Result<Arc<Self>>> {
        Box::pin(async move {
            let names = NamespaceKeys::new(name);
            let hint_key = names.hint();
            let first_incarnation = names.incarnation(FIRST_INCARNATION);
            // Round trip one: which incarnations there are, beside guesses at what the answer will be.
            let hint = async { Ok(Hint::read(&context.backend, &hint_key).await) };
            let begun = context.env.moment();
            let listed = manifest::ManifestListing::first_page(&context.backend, &first_incarnation, 0);
            let (incarnations, hint, listed) = try_join!(list_incarnations(context, &names), hint, listed)?;
            let mut listed = Some((listed, begun));
            for number in incarnations {
                let keys = names.incarnation(number);
                let hint = hint.clone().filter(|hint| hint.incarnation == number);
                let listed = if number == FIRST_INCARNATION { listed.take() } else { None };
                let start = match &hint {
                    Some(hint) => DiscoveryStart::from_hint(listed, hint),
                    None => DiscoveryStart::from_list(listed),
                };
                let (begins, ends) = (keys.open(), keys.closed());
                let opened = read_object(&context.backend, &begins, OPEN_BYTES_MAX, |bytes| {
                    Incarnation::decode(bytes)
                });
                let closed = read_object(&context.backend, &ends, CLOSED_BYTES_MAX, |_| Ok(()));
                let records = async { try_join!(opened, closed) };
                // Round trip two. `join`, not `try_join`: an error of the lists matters only if the incarnation exists.
                let (records, first) = join(records, start.discover(context, &keys)).await;
                let (opened, closed) = records?;
                // Anybody who may write to the store can make a folder: without OPEN it is not an incarnation.
                let Some(incarnation) = opened else { continue };
                if incarnation.name != name.as_str() || incarnation.number != number {
                    return Err(Error::corrupt(keys.open(), "it belongs to another name or incarnation"));
                }
                if closed.is_some() {
                    break;
                }
                return Self::resume(context, name, incarnation, hint, Some(first?)).await;
            }
            Err(Error::new(ErrorKind::NotFound, format!("no such namespace. name=`{name}`")))
        })
    }

    /// Opens an incarnation that was just created.
    pub(crate) fn open_created<'a>(
        context: &'a Context,
        name: &'a NamespaceName,
        incarnation: Incarnation,
    ) -> BoxFuture<'a, Result<Arc<Self>>> {
        Box::pin(async move { Self::resume(context, name, incarnation, None, None).await })
    }

    async fn resume(
        context: &Context,
        name: &NamespaceName,
        incarnation: Incarnation,
        hint: Option<Hint>,
        first: Option<Discovery>,
    ) -> Result<Arc<Self>> {
        let keys = NamespaceKeys::new(name).incarnation(incarnation.number);
        let start = || DiscoveryStart::from_genesis(Manifest::genesis(&incarnation));
        let loader = Loader { name, context, incarnation: &incarnation, keys: &keys, known: None };
        let state = loader.load(hint, first, start).await?;
        let (sealed, sequence) = (state.sealed, state.sequence);
        let engine = Self::new(context.clone(), name.clone(), incarnation, state);
        if sealed {
            // The process that sealed it may have died before it could mark it.
            let marked = match engine.check_writable() {
                Ok(()) => mark_closed(context, &keys, sequence).await,
                Err(error) => Err(error),
            };
            if let Err(error) = marked {
                tracing::debug!(namespace = %name, %error, "could not mark a sealed incarnation as closed");
            }
            let missing = format!("no such namespace: it was deleted. name=`{name}`");
            return Err(Error::new(ErrorKind::NotFound, missing));
        }
        Ok(Arc::new(engine))
    }

    /// Looks for the newest state, from the known manifest on: the log after the known state may have been collected.
    pub(super) async fn reopen(&self) -> Result<()> {
        tracing::debug!(namespace = %self.name, "the known state is stale, loading the newest");
        let loader = Loader {
            name: &self.name,
            context: &self.context,
            incarnation: &self.incarnation,
            keys: &self.keys,
            known: Some(&self.schemas),
        };
        let found = loader.load(None, None, || DiscoveryStart::from_state(&self.state())).await?;
        let mut known = self.state();
        // Another task may have read or written further meanwhile, and the state must never go back.
        if found.sequence >= known.sequence {
            *known = found;
        }
        Ok(())
    }
}
