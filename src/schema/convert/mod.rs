//! Documents to Arrow and back, and record batches of a user's making into the layout of the schema.
//!
//! **Invariant:** a batch that leaves this module is in the layout of `schema.arrow()` and keeps every rule of
//! `Schema::check`. A null array is empty in it, and a null vector is zeros.

mod decode;
mod encode;
mod import;
mod list;
mod refusal;
mod scalar;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, FixedSizeListArray, new_null_array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{Field, FieldRef};
use arrow::error::ArrowError;

use super::{ColumnKind, VectorColumn};

/// The most bytes, and the most elements, of one column of a batch: what Arrow's 32-bit offsets can say.
const COLUMN_BYTES_MAX: usize = i32::MAX as usize;

/// Whether a vector column of `rows` rows, null or not, stays below the limit of a column.
fn holds(shape: VectorColumn, rows: usize) -> bool {
    let row = shape.dimension * shape.element.size();
    row.checked_mul(rows).is_some_and(|bytes| bytes <= COLUMN_BYTES_MAX)
}

/// A column of nulls, unless it would be too large: null vectors take the room of vectors.
fn nulls(kind: ColumnKind, rows: usize) -> Option<ArrayRef> {
    match kind {
        ColumnKind::Attribute(kind) => Some(new_null_array(&kind.arrow_type(), rows)),
        ColumnKind::Vector(shape) => holds(shape, rows).then(|| new_null_array(&shape.arrow_type(), rows)),
    }
}

/// The field of a list of `values`, as the layout has it.
fn item(values: &dyn Array) -> FieldRef {
    Arc::new(Field::new("item", values.data_type().clone(), false))
}

/// Vectors from their components, one after the other.
fn vectors(
    shape: VectorColumn,
    flat: ArrayRef,
    nulls: Option<NullBuffer>,
) -> Result<FixedSizeListArray, ArrowError> {
    let size = i32::try_from(shape.dimension).unwrap_or(i32::MAX);
    FixedSizeListArray::try_new(item(&flat), size, flat, nulls)
}

fn shared(array: impl Array + 'static) -> ArrayRef {
    Arc::new(array)
}
