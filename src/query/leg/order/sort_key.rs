//! Sort keys as bytes: the values of a row, encoded so that bytes compare as the rows sort.

use super::Order;
use crate::types::ColumnId;

/// The encoded values of a row.
pub(super) type KeyBytes = Box<[u8]>;

/// The first byte of a value: nulls sort before or after all values.
const NULL_FIRST: u8 = 0;
const VALUE: u8 = 1;
const NULL_LAST: u8 = 2;

/// A sort key, checked against the schema.
#[derive(Debug)]
pub(super) struct SortKey {
    pub(super) order: Order,
    pub(super) column: ColumnId,
    /// The position of the column in a batch of the id and the columns of the order.
    pub(super) position: usize,
    /// Whether all values take the same number of bytes.
    pub(super) is_fixed_width: bool,
}

impl SortKey {
    /// Appends a value. The bytes compare as the values do in this order, whatever follows them.
    pub(super) fn encode(&self, value: Option<&[u8]>, out: &mut Vec<u8>) {
        let Some(value) = value else {
            out.push(if self.order.nulls_first { NULL_FIRST } else { NULL_LAST });
            return;
        };
        out.push(VALUE);
        let start = out.len();
        if self.is_fixed_width {
            out.extend(value);
        } else {
            // A string ends with two zeros and its own zeros are escaped, so that a prefix sorts before what extends
            // it, whatever the next key is.
            for byte in value {
                out.push(*byte);
                out.extend((*byte == 0).then_some(u8::MAX));
            }
            out.extend([0, 0]);
        }
        if self.order.descending {
            out.iter_mut().skip(start).for_each(|byte| *byte = !*byte);
        }
    }
}
