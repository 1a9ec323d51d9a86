//! The centroids of clusters, ready to be compared with rows.

use super::arithmetic::Mean;
use super::points::Points;
use super::progress::TrainingProgress;
use super::tile::{LANES, Panels, Tile};
use crate::error::{Error, Result};

/// Centroids, and which of them is nearest to a row.
#[derive(Clone, Debug)]
pub(crate) struct Centroids {
    dim: usize,
    values: Vec<f32>,
    /// The mean of the centroids.
    // ‖c‖² − 2·x·c cancels where both are far from the origin: with a common mean of 10⁴ an f32 has no digit left for
    // what distinguishes two centroids. Distances do not change when the mean is taken from rows and centroids first.
    offset: Vec<f32>,
    panels: Panels,
}

impl Centroids {
    pub(crate) fn new(values: Vec<f32>, dim: usize) -> Result<Self> {
        let points = Points::new(&values, dim)?;
        let offset = Mean::of_vectors(dim, points.iter());
        let panels = pack_panels(points, &offset);
        Ok(Self { dim, values, offset, panels })
    }

    pub(crate) fn points(&self) -> Points<'_> {
        // `new` has checked that this is a matrix.
        Points { values: &self.values, dim: self.dim }
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len() / self.dim
    }

    /// The nearest centroid of every row: the least ‖c‖² − 2·x·c, the first of equals. The answer for a row
    /// does not depend on the other rows, so slices may be assigned independently.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](crate::error::ErrorKind::Internal) if the rows have another dimension,
    /// [`ErrorKind::Closed`](crate::error::ErrorKind::Closed) if it was cancelled.
    pub(crate) fn assign(&self, points: Points<'_>, progress: &TrainingProgress) -> Result<Vec<u32>> {
        self.assign_rows(points, 0..points.rows(), progress)
    }

    /// [`assign`](Self::assign) for some rows.
    pub(super) fn assign_rows(
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
        let mut rows = rows;
        let mut nearest = Vec::with_capacity(rows.len());
        let mut tile = Tile::new(self.dim);
        loop {
            let count = tile.fill_rows(points, &mut rows, &self.offset);
            if count == 0 {
                return Ok(nearest);
            }
            tile.compare_with(&self.panels);
            nearest.extend(tile.nearest_centroids());
            progress.advance(count * self.len())?;
        }
    }
}

/// Arranges centroids in panels of [`LANES`], the last of which may have free lanes.
fn pack_panels(centroids: Points<'_>, offset: &[f32]) -> Panels {
    let (dim, count) = (centroids.dim(), centroids.rows().div_ceil(LANES));
    // Infinite squares: a free lane is never nearest, and the inner loop needs no case for it.
    let mut panels =
        Panels { components: vec![[0.0; LANES]; count * dim], squares: vec![[f32::INFINITY; LANES]; count] };
    let spaces = panels.components.chunks_exact_mut(dim).zip(&mut panels.squares);
    for ((components, squares), centroids) in spaces.zip(centroids.values().chunks(LANES * dim)) {
        for (square, (lane, centroid)) in squares.iter_mut().zip(centroids.chunks_exact(dim).enumerate()) {
            let mut total = 0.0;
            for ((component, value), offset) in components.iter_mut().zip(centroid).zip(offset) {
                let value = value - offset;
                total += f64::from(value) * f64::from(value);
                set_lane(component, lane, -2.0 * value);
            }
            #[expect(
                clippy::cast_possible_truncation,
                reason = "what is too large is infinite, so never near"
            )]
            let rounded = total as f32;
            *square = rounded;
        }
    }
    panels
}

#[expect(clippy::indexing_slicing, reason = "a panel is made of at most as many centroids as it has lanes")]
fn set_lane(lanes: &mut [f32; LANES], lane: usize, value: f32) {
    lanes[lane] = value;
}
