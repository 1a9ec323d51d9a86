//! Reading entries from the store.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use super::Entry;
use crate::codec::CodecError;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::Schema;
use crate::storage::{LifeKeys, StorageBackend, read_whole};
use crate::types::Sequence;

/// Entries fetched at a time: enough to fill a connection, few enough to bound memory.
const PARALLEL: usize = 32;

/// The entry of a number, or `None` if there is none.
pub(crate) async fn read(
    backend: &Arc<dyn StorageBackend>,
    keys: &LifeKeys,
    schema: &Schema,
    sequence: Sequence,
) -> Result<Option<Entry>> {
    let decode = |bytes: &Bytes| {
        let entry = Entry::decode(schema, bytes)?;
        if entry.head.sequence == sequence {
            return Ok(entry);
        }
        Err(CodecError::malformed("log entry", format!("it holds entry {}", entry.head.sequence)))
    };
    read_whole(backend, &keys.entry(sequence), decode).await
}

/// The entries of these numbers, in order, fetched together. One that is missing is an error of kind
/// `NotFound`.
pub(crate) async fn read_all(
    backend: &Arc<dyn StorageBackend>,
    keys: &LifeKeys,
    schema: &Schema,
    sequences: impl IntoIterator<Item = Sequence>,
) -> Result<Vec<Entry>> {
    let one = |sequence| async move {
        let entry = read(backend, keys, schema, sequence).await?;
        entry.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("no such entry. key=`{}`", keys.entry(sequence)))
        })
    };
    stream::iter(sequences).map(one).buffered(PARALLEL).try_collect().await
}
