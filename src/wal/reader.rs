//! Reading entries from the store.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};

use super::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::Schema;
use crate::storage::{LifeKeys, StorageBackend};
use crate::types::Sequence;

/// Entries fetched at a time: enough to fill a connection, few enough to bound memory.
const PARALLEL: usize = 32;

/// The entry of a number, or `None` if there is none. Bytes that do not read are fetched once more, for the
/// damage may be on the way; then it is an error.
pub(crate) async fn read(
    backend: &Arc<dyn StorageBackend>,
    keys: &LifeKeys,
    schema: &Schema,
    sequence: Sequence,
) -> Result<Option<Entry>> {
    let key = keys.entry(sequence);
    let mut second = false;
    loop {
        let bytes = match backend.get(&key).await {
            Ok(bytes) => bytes,
            Err(e) if e.is(ErrorKind::NotFound) => return Ok(None),
            Err(e) => return Err(e),
        };
        match Entry::decode(schema, &bytes) {
            Ok(entry) if entry.head.sequence == sequence => return Ok(Some(entry)),
            Ok(entry) => {
                return Err(Error::corrupt(&key, format!("it holds entry {}", entry.head.sequence)));
            }
            Err(e) if second => return Err(e.at(&key)),
            Err(_) => second = true,
        }
    }
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
