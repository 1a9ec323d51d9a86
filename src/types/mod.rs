//! The vocabulary: names, ids, values, vectors, documents and batches.

mod document;
mod id;
mod name;
mod receipt;
mod tokens;
pub(crate) mod tree;
mod value;
mod vector;

pub use document::Document;
pub use id::{DocumentId, IdKind, SegmentId, Sequence};
pub use name::NamespaceName;
pub use receipt::{AffectedIds, WriteReceipt};
pub(crate) use tokens::{TokenLog, TokenRecord, packed_tokens};
pub use value::Value;
pub use vector::{Metric, Vector, VectorType};

/// The longest string id, in bytes.
pub const ID_BYTES_MAX: usize = 64;
/// The longest name of an attribute or vector column, in bytes.
pub const COLUMN_NAME_BYTES_MAX: usize = 128;
/// The largest single value, in bytes; an array counts as the sum of its elements.
pub const VALUE_BYTES_MAX: usize = 8 << 20;
/// The largest document, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 64 << 20;
/// The greatest Euclidean length of a vector, stored or asked for, of a column measured by squared distance or dot
/// product: squares of it still leave room for sums. By cosine every length but zero is taken.
pub const VECTOR_LENGTH_MAX: f64 = 1e15;
/// The highest dimension of a vector column.
pub const DIMENSION_MAX: usize = 16_384;
