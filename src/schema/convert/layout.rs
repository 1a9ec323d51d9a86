//! The arrays of the layout, from their parts.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, FixedSizeListArray, new_null_array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{Field, FieldRef};
use arrow::error::ArrowError;

use super::COLUMN_BYTES_MAX;
use crate::schema::{ColumnKind, VectorColumn};

/// Whether a vector column of `rows` rows, null or not, stays below the limit of a column.
pub(super) fn fits_column(shape: VectorColumn, rows: usize) -> bool {
    // At most 64 KiB by the limit on dimensions: only the product with the rows can overflow.
    let row = shape.dimension * shape.element.size();
    row.checked_mul(rows).is_some_and(|bytes| bytes <= COLUMN_BYTES_MAX)
}

/// A column of nulls, or `None` if it would be too large: in a list of fixed size a null takes as much memory as a
/// vector, so that a few bytes of a batch without that column could allocate terabytes.
pub(super) fn null_column(kind: ColumnKind, rows: usize) -> Option<ArrayRef> {
    match kind {
        ColumnKind::Attribute(kind) => Some(new_null_array(&kind.arrow_type(), rows)),
        ColumnKind::Vector(shape) => {
            fits_column(shape, rows).then(|| new_null_array(&shape.arrow_type(), rows))
        }
    }
}

/// The field of a list of `values` in the layout: elements are never null.
pub(super) fn item_field(values: &dyn Array) -> FieldRef {
    Arc::new(Field::new("item", values.data_type().clone(), false))
}

/// A column of vectors from the components of all rows.
pub(super) fn vector_array(
    shape: VectorColumn,
    components: ArrayRef,
    nulls: Option<NullBuffer>,
) -> Result<FixedSizeListArray, ArrowError> {
    FixedSizeListArray::try_new(item_field(&components), shape.arrow_size(), components, nulls)
}

/// The null buffer of rows, or `None` if all are valid: batches that are equal must also compare equal, with or without
/// a column that has no null.
pub(super) fn null_buffer(is_valid: impl Iterator<Item = bool>) -> Option<NullBuffer> {
    let nulls: NullBuffer = is_valid.collect();
    (nulls.null_count() > 0).then_some(nulls)
}

pub(super) fn to_shared(array: impl Array + 'static) -> ArrayRef {
    Arc::new(array)
}
