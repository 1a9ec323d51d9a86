//! A borrowed matrix of f32, row by row.

use std::ops::Range;

use crate::codec::to_u32;
use crate::error::{Error, Result};

/// The vectors of a column, or the centroids of clusters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Points<'a> {
    pub(super) values: &'a [f32],
    pub(super) dim: usize,
}

impl<'a> Points<'a> {
    /// The rows of `values`, of `dim` components each.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](crate::error::ErrorKind::Internal) if they do not make whole rows, or more rows than a
    /// `u32` counts.
    pub(crate) fn new(values: &'a [f32], dim: usize) -> Result<Self> {
        if dim == 0 || !values.len().is_multiple_of(dim) || u32::try_from(values.len() / dim).is_err() {
            let length = values.len();
            return Err(Error::internal(format!("not a matrix. values=`{length}` dimension=`{dim}`")));
        }
        Ok(Self { values, dim })
    }

    pub(crate) fn values(&self) -> &'a [f32] {
        self.values
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> usize {
        self.values.len() / self.dim
    }

    /// The numbers of all rows.
    pub(crate) fn row_numbers(&self) -> Result<Range<u32>> {
        Ok(0..to_u32(self.rows(), "the number of vectors")?)
    }

    pub(crate) fn dim(&self) -> usize {
        self.dim
    }

    /// The components of a row.
    ///
    /// # Panics
    /// If there is no such row.
    #[expect(clippy::indexing_slicing, reason = "a wrong row would be a wrong distance: better none")]
    pub(crate) fn row(&self, row: usize) -> &'a [f32] {
        &self.values[row * self.dim..(row + 1) * self.dim]
    }

    /// A range of the rows.
    ///
    /// # Panics
    /// If it is not within the matrix.
    #[cfg(test)]
    pub(crate) fn slice(&self, rows: Range<usize>) -> Points<'a> {
        Points { values: &self.values[rows.start * self.dim..rows.end * self.dim], dim: self.dim }
    }

    pub(super) fn iter(self) -> impl ExactSizeIterator<Item = &'a [f32]> {
        self.values.chunks_exact(self.dim)
    }
}
