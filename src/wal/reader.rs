//! Reading entries from the store, and listing them.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, FuturesOrdered};
use futures::{FutureExt, Stream, StreamExt};

use super::codec::ENTRY_BYTES_MAX;
use super::entry::LogEntry;
use crate::codec::CodecError;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::SchemaVersions;
use crate::storage::{IncarnationKeys, ObjectInfo, ObjectKey, StorageBackend, check_ascends, read_object};
use crate::types::Sequence;

/// Entries that are requested at a time: a tail of the default length at which it is flushed takes one round trip.
const REQUESTS_MAX: usize = 256;
/// Bytes that are requested at a time: entries are held in memory until those before them have been applied. An entry
/// that is larger is read alone.
const BYTES_IN_FLIGHT_MAX: u64 = 64 << 20;

/// An entry as a listing shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListedEntry {
    pub(crate) sequence: Sequence,
    pub(crate) size: u64,
}

/// Where a list begins that is to show `sequence` itself, and what comes after it.
pub(crate) fn list_start(sequence: Sequence) -> Sequence {
    // Entries are numbered from 1: a list after 0 shows all of them.
    Sequence(sequence.0.saturating_sub(1))
}

/// A listing of the log, as far as it was read, in ascending order.
#[derive(Clone, Debug)]
pub(crate) struct LogListing {
    pub(crate) entries: Vec<ListedEntry>,
    /// Where the next page begins, if there may be one.
    pub(crate) next: Option<ObjectKey>,
}

impl LogListing {
    /// The first page of the entries after a number.
    pub(crate) async fn first_page(
        backend: &Arc<dyn StorageBackend>,
        keys: &IncarnationKeys,
        after: Sequence,
    ) -> Result<Self> {
        let mut listing = Self { entries: Vec::new(), next: Some(keys.entry(after)) };
        listing.read_next_page(backend, keys).await?;
        Ok(listing)
    }

    /// The last entry, if no page is missing.
    pub(crate) fn last_sequence(&self) -> Option<Sequence> {
        self.entries.last().filter(|_| self.next.is_none()).map(|last| last.sequence)
    }

    /// All entries after a number.
    pub(crate) async fn read_whole(
        backend: &Arc<dyn StorageBackend>,
        keys: &IncarnationKeys,
        after: Sequence,
    ) -> Result<Self> {
        Self::first_page(backend, keys, after).await?.read_remaining(backend, keys).await
    }

    /// Reads the pages that were not read yet.
    pub(crate) async fn read_remaining(
        mut self,
        backend: &Arc<dyn StorageBackend>,
        keys: &IncarnationKeys,
    ) -> Result<Self> {
        while self.next.is_some() {
            self.read_next_page(backend, keys).await?;
        }
        Ok(self)
    }

    async fn read_next_page(
        &mut self,
        backend: &Arc<dyn StorageBackend>,
        keys: &IncarnationKeys,
    ) -> Result<()> {
        let Some(after) = self.next.take() else { return Ok(()) };
        let prefix = keys.wal();
        let page = backend.list_page(&prefix, Some(&after)).await?;
        check_ascends(&prefix, &after, page.objects.first().map(|info| &info.key))?;
        self.next = page.objects.last().filter(|_| page.more).map(|info| info.key.clone());
        // Objects with other names are not entries: whoever may write to the store could put them there.
        let listed = |info: &ObjectInfo| {
            let sequence = Sequence(IncarnationKeys::number_of(&info.key)?);
            Some(ListedEntry { sequence, size: info.size })
        };
        self.entries.extend(page.objects.iter().filter_map(listed));
        Ok(())
    }
}

/// The entry of a number, or `None` if there is none.
pub(crate) async fn read_entry(
    backend: &Arc<dyn StorageBackend>,
    keys: &IncarnationKeys,
    schemas: &SchemaVersions,
    sequence: Sequence,
) -> Result<Option<LogEntry>> {
    let decode = |bytes: &Bytes| {
        let entry = LogEntry::decode(schemas, bytes)?;
        // An object that was copied to another name has a right checksum.
        if entry.head.sequence == sequence {
            return Ok(entry);
        }
        Err(CodecError::malformed("log entry", format!("it holds entry {}", entry.head.sequence)))
    };
    read_object(backend, &keys.entry(sequence), ENTRY_BYTES_MAX, decode).await
}

/// The entries of a listing, in its order. As many are fetched at a time as their sizes allow. An entry that is missing
/// is an error of kind `NotFound`.
pub(crate) fn read_entries<'a>(
    backend: &'a Arc<dyn StorageBackend>,
    keys: &'a IncarnationKeys,
    schemas: &'a SchemaVersions,
    listed: Vec<ListedEntry>,
) -> impl Stream<Item = Result<LogEntry>> + Send + 'a {
    let fetch = move |listed: ListedEntry| async move {
        let entry = read_entry(backend, keys, schemas, listed.sequence).await;
        entry?.ok_or_else(|| {
            let key = keys.entry(listed.sequence);
            Error::new(ErrorKind::NotFound, format!("no such entry. key=`{key}`"))
        })
    };
    let start = (VecDeque::from(listed), FuturesOrdered::new(), 0u64);
    stream::unfold(start, move |(mut waiting, mut in_flight, mut bytes)| async move {
        while let Some(next) = waiting.front().copied() {
            // An entry that has arrived counts until its turn comes: it is still in memory. Sizes are those of the
            // listing, which a store could get wrong: they bound memory and nothing else.
            let fits =
                in_flight.len() < REQUESTS_MAX && bytes.saturating_add(next.size) <= BYTES_IN_FLIGHT_MAX;
            if !fits && !in_flight.is_empty() {
                break;
            }
            waiting.pop_front();
            bytes += next.size;
            in_flight.push_back(fetch(next).map(move |entry| (entry, next.size)));
        }
        let (entry, size) = in_flight.next().await?;
        Some((entry, (waiting, in_flight, bytes - size)))
    })
}
