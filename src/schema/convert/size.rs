//! How many bytes values take, before they are copied or accepted.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{ArrowNativeType, DataType};

use super::COLUMN_BYTES_MAX;
use super::import_error::ImportError;
use crate::types::VALUE_BYTES_MAX;

/// Adds the size of every value to the total of its row, and returns an error for a value over the limit.
pub(super) fn add_value_sizes(array: &ArrayRef, totals: &mut [usize]) -> Result<(), ImportError> {
    let size_of_row = size_of_rows(array);
    for (row, total) in totals.iter_mut().enumerate() {
        if array.is_null(row) {
            continue;
        }
        let bytes = size_of_row(row);
        if bytes > VALUE_BYTES_MAX {
            let why = format!("value of {bytes} bytes: at most {VALUE_BYTES_MAX} are allowed");
            return Err(ImportError::over_limit(row, why));
        }
        *total += bytes;
    }
    Ok(())
}

/// Checks that values of these lengths fit one column together.
pub(super) fn check_column_size(lengths: impl Iterator<Item = usize>) -> Result<(), ImportError> {
    // A sum that saturates is over the limit as well.
    if lengths.fold(0usize, usize::saturating_add) > COLUMN_BYTES_MAX {
        return Err(ImportError::too_large());
    }
    Ok(())
}

/// The number of bytes or elements of a row between its two offsets. Arrow checks where an offset buffer is made that
/// its numbers ascend from zero on.
#[expect(clippy::indexing_slicing, reason = "a row has an offset before and behind it")]
pub(super) fn offset_length(offsets: &[i32], row: usize) -> usize {
    debug_assert!(row + 1 < offsets.len(), "row {row} of {} offsets", offsets.len());
    (offsets[row + 1] - offsets[row]).as_usize()
}

/// `Value::size` of the values in an array of the layout, by row. It decides on the type once, not once per row.
fn size_of_rows(array: &ArrayRef) -> Box<dyn Fn(usize) -> usize + '_> {
    match array.data_type() {
        DataType::Utf8 => Box::new(|row| offset_length(array.as_string::<i32>().offsets(), row)),
        DataType::Binary => Box::new(|row| offset_length(array.as_binary::<i32>().offsets(), row)),
        DataType::List(_) => size_of_lists(array),
        DataType::FixedSizeList(field, size) => {
            let bytes = size.as_usize() * width_of(field.data_type());
            Box::new(move |_| bytes)
        }
        other => {
            let width = width_of(other);
            Box::new(move |_| width)
        }
    }
}

#[expect(
    clippy::indexing_slicing,
    reason = "a row has an offset before and behind it, and so has an element"
)]
fn size_of_lists(array: &ArrayRef) -> Box<dyn Fn(usize) -> usize + '_> {
    let list = array.as_list::<i32>();
    let Some(text) = list.values().as_string_opt::<i32>() else {
        let width = width_of(list.values().data_type());
        return Box::new(move |row| offset_length(list.offsets(), row) * width);
    };
    // The strings of a row lie one behind the other: two offsets of the list lead to two of the text.
    let start = |row: usize| text.offsets()[list.offsets()[row].as_usize()];
    Box::new(move |row| (start(row + 1) - start(row)).as_usize())
}

/// The bytes of one value of a type without offsets.
fn width_of(kind: &DataType) -> usize {
    match kind {
        DataType::FixedSizeBinary(_) => 16,
        // invariant: the only type of the layout without a width in bytes is Boolean, which counts as one.
        other => other.primitive_width().unwrap_or(1),
    }
}
