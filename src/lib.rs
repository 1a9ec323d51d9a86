//! Hybrid search as an embedded crate whose only stateful dependency is an object store.
#![warn(missing_docs)]
#![forbid(unsafe_code)]

mod cache;
mod codec;
mod context;
mod database;
mod engine;
pub mod env;
mod error;
mod maintenance;
mod manifest;
mod memtable;
mod namespace;
pub mod query;
mod safeguard;
pub mod schema;
mod segment;
mod settings;
pub mod storage;
#[cfg(feature = "testing")]
pub mod testing;
mod types;
mod wal;
mod write;

pub use cache::CacheStats;
pub use database::{Database, DatabaseBuilder};
pub use error::{Error, ErrorKind, Indeterminate, Outcome, Result};
pub use maintenance::{CompactReport, FlushReport};
pub use namespace::{Consistency, Namespace, Snapshot};
pub use query::{Cursor, Filter, Operand, Query, Scan, Select};
pub use schema::Schema;
#[cfg(feature = "disk-cache")]
pub use settings::DiskCache;
pub use settings::{Backpressure, Durability, Settings};
pub use types::{
    AffectedIds, COLUMN_NAME_BYTES_MAX, DIMENSION_MAX, DOCUMENT_BYTES_MAX, Document, DocumentId,
    ID_BYTES_MAX, IdKind, Metric, NamespaceName, SegmentId, Sequence, VALUE_BYTES_MAX, Value, Vector,
    VectorType, WriteReceipt,
};
pub use write::{Condition, IfMissing, WriteBatch};

pub use arrow;
