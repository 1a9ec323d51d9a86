//! Hybrid search as an embedded crate whose only stateful dependency is an object store.
#![warn(missing_docs)]

mod cache;
mod codec;
pub mod env;
mod error;
pub mod query;
pub mod schema;
mod segment;
mod settings;
pub mod storage;
mod types;

pub use error::{Error, ErrorKind, Indeterminate, Outcome, Result};
pub use query::{Filter, Operand};
pub use schema::Schema;
pub use settings::{Backpressure, Durability, Settings};
pub use types::{
    COLUMN_NAME_BYTES_MAX, DIMENSION_MAX, DOCUMENT_BYTES_MAX, Document, DocumentId, ID_BYTES_MAX, IdKind,
    Metric, NamespaceName, SegmentId, Sequence, VALUE_BYTES_MAX, Value, Vector, VectorType,
};

pub use arrow;
