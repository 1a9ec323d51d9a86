//! The types that all layers share: names, ids, values, vectors and documents.

mod column_id;
pub(crate) mod datetime;
mod document;
mod id;
mod json;
mod list;
mod name;
mod receipt;
mod serialize;
mod tokens;
pub(crate) mod tree;
mod value;
mod vector;

pub use column_id::ColumnId;
pub use document::Document;
pub(crate) use id::ObjectId;
pub use id::{DocumentId, IdKind, Sequence};
pub use name::NamespaceName;
pub use receipt::{AffectedIds, WriteReceipt};
pub(crate) use tokens::{TokenLog, TokenRecord, pack_tokens, packed_tokens, unpack_tokens};
pub use value::Value;
pub use vector::{Metric, Vector, VectorType};

/// The longest string id, in bytes.
pub const ID_BYTES_MAX: usize = 64;
/// The longest name of an attribute or vector column, in bytes.
pub const COLUMN_NAME_BYTES_MAX: usize = 128;
/// The largest single value, in bytes. An array counts as the total of its elements.
pub const VALUE_BYTES_MAX: usize = 8 << 20;
/// The largest document, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 64 << 20;
/// The largest Euclidean length of a stored or queried vector in a column with squared distance or dot product: its
/// square leaves room for additions in 32-bit floats. With cosine distance, every length but zero is accepted.
pub const VECTOR_LENGTH_MAX: f64 = 1e15;
/// The highest dimension of a vector column.
pub const DIMENSION_MAX: usize = 16_384;
