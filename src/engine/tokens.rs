//! Writes by their idempotency token: those of the tail, and those of the list that the manifest names.
//!
//! The list is read only where a write with a token has to be decided or a flush extends it, and once for each list.
//!
//! **Invariant:** the tail and the manifest whose list decides are of one state. A token that leaves the tail is in the
//! list of the manifest that takes its place.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, WeakShared};
use uuid::Uuid;

use super::{Engine, SharedRun};
use crate::codec::u64_of;
use crate::error::{Error, Result};
use crate::manifest::TokensMeta;
use crate::types::{ObjectId, TokenLog, WriteReceipt};

/// How often a look-up reads a list because the manifest was replaced meanwhile.
const READS_MAX: u32 = 4;

type ListRead = BoxFuture<'static, Result<Arc<TokenLog>>>;

/// The list of tokens that was used last, and the request for one that is under way. Clones share it.
#[derive(Clone, Default)]
pub(super) struct TokenLists(Arc<Mutex<ListSlots>>);

#[derive(Default)]
struct ListSlots {
    list: Option<(ObjectId, Arc<TokenLog>)>,
    /// Weak: a read that nobody waits for any more ends.
    read: Option<(ObjectId, WeakShared<ListRead>)>,
}

/// What is known of a token without a request.
enum TokenLookup {
    Decided(Option<WriteReceipt>),
    /// The list of manifest `number` decides, and is not in memory.
    Unread {
        meta: TokensMeta,
        number: u64,
    },
}

impl Engine {
    /// The receipt that answers a repeated write: that of the write with this token, if it is remembered.
    ///
    /// # Errors
    /// None says [`Error::is_missing`]: a list that is lost concerns this write and no other.
    pub(crate) async fn find_receipt(&self, token: Option<Uuid>) -> Result<Option<WriteReceipt>> {
        let Some(token) = token else { return Ok(None) };
        let mut read = None;
        for _ in 0..READS_MAX {
            let (meta, number) = match self.look_up_token(token, read.take())? {
                TokenLookup::Decided(receipt) => return Ok(receipt),
                TokenLookup::Unread { meta, number } => (meta, number),
            };
            match self.read_token_list(&meta).await {
                // Not yet decided: while it was read, a newer manifest may have taken over tokens of the tail.
                Ok(list) => read = Some((meta.id, list)),
                Err(gone) if gone.is_missing() => {
                    let explained = self.explain_missing_file(number, &gone).await;
                    explained.map_err(|error| Error::new(error.kind(), error.to_string()))?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(self.overtaken_error())
    }

    /// The same, if it is remembered in memory.
    pub(crate) fn find_known_receipt(&self, token: Option<Uuid>) -> Result<Option<WriteReceipt>> {
        let Some(token) = token else { return Ok(None) };
        Ok(match self.look_up_token(token, None)? {
            TokenLookup::Decided(receipt) => receipt,
            TokenLookup::Unread { .. } => None,
        })
    }

    /// Whether writes with tokens can be decided without a request.
    pub(crate) fn has_token_list(&self) -> bool {
        let state = self.state();
        state.manifest.tokens.as_ref().is_none_or(|meta| self.tokens.get(meta.id).is_some())
    }

    /// The list that a manifest names; an empty one if it names none.
    pub(crate) async fn token_list(&self, meta: Option<&TokensMeta>) -> Result<Arc<TokenLog>> {
        match meta {
            Some(meta) => self.read_token_list(meta).await,
            None => Ok(Arc::default()),
        }
    }

    /// Keeps a list in memory that was just written.
    pub(crate) fn keep_token_list(&self, meta: &TokensMeta, list: TokenLog) {
        self.tokens.keep(meta.id, Arc::new(list));
    }

    /// How many tokens are in memory.
    pub(crate) fn token_count(&self) -> u64 {
        u64_of(self.state().tokens.len() + self.tokens.len())
    }

    /// Looks a token up in one state, whose list may be the one that was just `read`.
    fn look_up_token(&self, token: Uuid, read: Option<(ObjectId, Arc<TokenLog>)>) -> Result<TokenLookup> {
        let state = self.state();
        let replay = |receipt: &WriteReceipt| WriteReceipt { replayed: true, ..receipt.clone() };
        if let Some(receipt) = state.tokens.find_receipt(token)? {
            return Ok(TokenLookup::Decided(Some(replay(receipt))));
        }
        let Some(meta) = &state.manifest.tokens else { return Ok(TokenLookup::Decided(None)) };
        let read = read.filter(|(id, _)| *id == meta.id).map(|(_, list)| list);
        match read.or_else(|| self.tokens.get(meta.id)) {
            Some(list) => Ok(TokenLookup::Decided(list.find_receipt(token)?.map(replay))),
            None => Ok(TokenLookup::Unread { meta: meta.clone(), number: state.manifest.number }),
        }
    }

    fn read_token_list(&self, meta: &TokensMeta) -> SharedRun<Arc<TokenLog>> {
        let (lists, meta) = (self.tokens.clone(), meta.clone());
        let (backend, keys) = (Arc::clone(&self.context.backend), self.keys.clone());
        self.tokens.join_read(meta.id, async move {
            let list = match lists.get(meta.id) {
                Some(list) => return Ok(list),
                None => Arc::new(meta.read(&backend, &keys).await?),
            };
            lists.keep(meta.id, Arc::clone(&list));
            Ok(list)
        })
    }
}

impl TokenLists {
    fn get(&self, id: ObjectId) -> Option<Arc<TokenLog>> {
        self.lock().list.as_ref().filter(|(known, _)| *known == id).map(|(_, list)| Arc::clone(list))
    }

    fn keep(&self, id: ObjectId, list: Arc<TokenLog>) {
        let before = self.lock().list.replace((id, list));
        // After the lock: it may have thousands of records.
        drop(before);
    }

    fn len(&self) -> usize {
        self.lock().list.as_ref().map_or(0, |(_, list)| list.len())
    }

    /// The read of a list that is under way, or this one.
    fn join_read(
        &self,
        id: ObjectId,
        read: impl Future<Output = Result<Arc<TokenLog>>> + Send + 'static,
    ) -> SharedRun<Arc<TokenLog>> {
        let mut slots = self.lock();
        let begun = slots.read.as_ref().filter(|(known, _)| *known == id);
        // One that has ended may have failed: the next caller asks again.
        if let Some(begun) = begun.and_then(|(_, read)| read.upgrade()).filter(|read| read.peek().is_none()) {
            return begun;
        }
        let read = read.boxed().shared();
        slots.read = read.downgrade().map(|weak| (id, weak));
        read
    }

    fn lock(&self) -> MutexGuard<'_, ListSlots> {
        // Every change is one assignment: a panic elsewhere leaves it sound.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for TokenLists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenLists({} tokens)", self.len())
    }
}
