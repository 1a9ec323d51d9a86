//! Access to internals for tests of the crate (feature `testing`).

use std::sync::Arc;

use uuid::Uuid;

pub use crate::index::vector::ScanTrial;
pub use crate::safeguard::Safeguard;

use crate::cache::BlockCache;
use crate::codec::{all_rows, subtract_rows};
use crate::env::Env;
use crate::error::Result;
use crate::schema::{Schema, SchemaVersions};
use crate::segment::Segment;
use crate::storage::{NamespaceKeys, StorageBackend};
use crate::types::{Document, DocumentId, NamespaceName};
use crate::wal::{EntryKind, LogEntry};

/// The contents of a log entry.
///
/// ```
/// use elacsym::storage::{MemoryBackend, ObjectKey, StorageBackend};
/// use elacsym::testing::decode_entry;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::{Database, Document, IdKind, Schema};
/// let store = MemoryBackend::new();
/// let db = Database::builder().open_backend(std::sync::Arc::new(store.clone())).await?;
/// let docs = db.create_namespace("docs", Schema::builder(IdKind::U64).build()?).await?;
/// docs.write(Document::new(7)).await?;
/// let entry = store.get(&ObjectKey::new("ns/n-docs/00000001/wal/00000000000000000001")?).await?;
/// let entry = decode_entry(docs.schema(), &entry)?;
/// assert_eq!((entry.sequence, entry.puts), (1, vec![Document::new(7)]));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct EntryView {
    /// Its sequence number.
    pub sequence: u64,
    /// The id of its batch.
    pub batch: Uuid,
    /// The id of the batch before it.
    pub previous: Uuid,
    /// The documents that it puts.
    pub puts: Vec<Document>,
    /// The ids that it deletes.
    pub deletes: Vec<DocumentId>,
    /// The number of segments that it links. Their rows are among `puts` only if the entry was read with
    /// [`read_entry`].
    pub linked: usize,
    /// The number of rows in these segments that it masks.
    pub masked: u64,
    /// Whether it seals its incarnation.
    pub sealed: bool,
}

/// Decodes a log entry, and reads the segments that it links.
///
/// # Errors
/// As for any bytes from a store.
pub async fn read_entry(
    env: &Env,
    backend: &Arc<dyn StorageBackend>,
    (name, incarnation): (&str, u32),
    schema: &Schema,
    bytes: &[u8],
) -> Result<EntryView> {
    let mut view = decode_entry(schema, bytes)?;
    let schemas = SchemaVersions::new(schema.clone());
    let entry = LogEntry::decode(&schemas, &bytes.to_vec().into()).map_err(|e| e.at("entry"))?;
    let keys = NamespaceKeys::new(&NamespaceName::new(name)?).incarnation(incarnation);
    for link in entry.body.segments {
        link.check(&schemas).map_err(|e| e.at("entry"))?;
        let segment = Segment::open(env, backend, &BlockCache::off(), &keys, &schemas, &link.meta).await?;
        let live = subtract_rows(&all_rows(link.meta.rows), &link.dead);
        let columns: Vec<usize> = (0..schema.columns().len()).collect();
        view.puts.extend(schema.documents(&segment.fetch_rows(&columns, &live).await?)?);
    }
    Ok(view)
}

/// Decodes a log entry, without the segments that it links.
///
/// # Errors
/// As for any bytes from a store.
pub fn decode_entry(schema: &Schema, bytes: &[u8]) -> Result<EntryView> {
    let schemas = SchemaVersions::new(schema.clone());
    let entry = LogEntry::decode(&schemas, &bytes.to_vec().into()).map_err(|e| e.at("entry"))?;
    Ok(EntryView {
        sequence: entry.head.sequence.0,
        batch: entry.head.batch,
        previous: entry.head.previous,
        puts: schema.documents(&entry.body.rows)?,
        deletes: entry.body.deletes,
        linked: entry.body.segments.len(),
        masked: entry.body.segments.iter().map(|link| link.dead.len()).sum(),
        sealed: entry.head.kind == EntryKind::Seal,
    })
}
