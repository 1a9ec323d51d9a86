//! The centroids of clusters, and which of them is nearest to a row.

use std::sync::OnceLock;

use super::cells::Cells;
use super::points::Points;
use super::progress::TrainingProgress;
use crate::error::{Error, Result};

/// Centroids, and which of them is nearest to a row.
#[derive(Clone, Debug)]
pub(crate) struct Centroids {
    dim: usize,
    values: Vec<f32>,
    /// Made when the first row is assigned: who only searches needs none.
    cells: OnceLock<Cells>,
}

impl Centroids {
    pub(crate) fn new(values: Vec<f32>, dim: usize) -> Result<Self> {
        Points::new(&values, dim)?;
        Ok(Self { dim, values, cells: OnceLock::new() })
    }

    pub(crate) fn points(&self) -> Points<'_> {
        // `new` has checked that this is a matrix.
        Points { values: &self.values, dim: self.dim }
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len() / self.dim
    }

    /// The nearest centroid of every row: the least ‖c‖² − 2·x·c, the first of equals. Of many centroids, only those of
    /// some cells are compared, which have the nearest for nearly every row. The answer for a row does not depend on the
    /// other rows, so slices may be assigned independently.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](crate::error::ErrorKind::Internal) if the rows have another dimension,
    /// [`ErrorKind::Closed`](crate::error::ErrorKind::Closed) if it was cancelled.
    pub(crate) fn assign(&self, points: Points<'_>, progress: &TrainingProgress) -> Result<Vec<u32>> {
        self.assign_rows(points, 0..points.rows(), progress)
    }

    /// [`assign`](Self::assign) for some rows.
    pub(crate) fn assign_rows(
        &self,
        points: Points<'_>,
        rows: impl ExactSizeIterator<Item = usize>,
        progress: &TrainingProgress,
    ) -> Result<Vec<u32>> {
        if points.dim() != self.dim {
            let (expected, found) = (self.dim, points.dim());
            let message = format!("centroids do not fit the rows. dimension=`{expected}` rows=`{found}`");
            return Err(Error::internal(message));
        }
        self.cells.get_or_init(|| Cells::new(self.points())).assign_rows(points, rows, progress)
    }
}
