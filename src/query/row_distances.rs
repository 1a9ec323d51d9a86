//! Exact distances of the vectors of an array, for rows that were fetched anyway.

use arrow::array::{Array, ArrayRef};

use super::leg::vector::{VectorSearch, round_to_f32};
use crate::error::Result;

/// The distance of each row of `array`; `None` for a null.
pub(super) fn row_distances(search: &VectorSearch, array: &ArrayRef) -> Result<Vec<Option<f32>>> {
    let mut distances = vec![None; array.len()];
    if array.is_empty() {
        return Ok(distances);
    }
    search.exact.for_each_distance(array, None, |row, distance| {
        #[expect(
            clippy::indexing_slicing,
            reason = "`for_each_distance` visits rows of the array, and there are as many distances"
        )]
        let slot = &mut distances[row];
        *slot = Some(round_to_f32(distance));
    })?;
    Ok(distances)
}
