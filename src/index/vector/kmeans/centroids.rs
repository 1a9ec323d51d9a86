//! The centroids of clusters, ready to be compared with rows.

use super::arithmetic::Mean;
use super::tile::{LANES, Panels, Tile};
use super::{Error, Points, Result, TrainingProgress};

/// Centroids, and which of them is nearest to a row.
#[derive(Clone, Debug)]
pub(crate) struct Centroids {
    dim: usize,
    values: Vec<f32>,
    /// The mean of the centroids. It is taken from rows and centroids before they are multiplied, so that a
    /// common mean, however large, costs no digits.
    offset: Vec<f32>,
    panels: Panels,
}

impl Centroids {
    pub(crate) fn new(values: Vec<f32>, dim: usize) -> Result<Self> {
        let points = Points::new(&values, dim)?;
        let offset = Mean::of(dim, points.iter());
        let panels = pack(points, &offset);
        Ok(Self { dim, values, offset, panels })
    }

    pub(crate) fn points(&self) -> Points<'_> {
        Points { values: &self.values, dim: self.dim }
    }

    pub(crate) fn len(&self) -> usize {
        self.points().rows()
    }

    /// The nearest centroid of every row: the least ‖c‖² − 2·x·c, the first of equals. What it says of a row
    /// does not depend on the others, so that slices may be assigned apart from one another.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](crate::error::ErrorKind::Internal) if the rows have another dimension,
    /// [`ErrorKind::Closed`](crate::error::ErrorKind::Closed) if it was cancelled.
    pub(crate) fn assign(&self, points: Points<'_>, progress: &TrainingProgress) -> Result<Vec<u32>> {
        self.nearest(points, 0..points.rows(), progress)
    }

    /// [`assign`](Self::assign) for some rows.
    pub(super) fn nearest(
        &self,
        points: Points<'_>,
        rows: impl ExactSizeIterator<Item = usize>,
        progress: &TrainingProgress,
    ) -> Result<Vec<u32>> {
        if points.dim() != self.dim {
            let (of, found) = (self.dim, points.dim());
            let message = format!("centroids do not fit the rows. dimension=`{of}` rows=`{found}`");
            return Err(Error::internal(message));
        }
        let mut rows = rows;
        let mut nearest = Vec::with_capacity(rows.len());
        let mut tile = Tile::new(self.dim);
        loop {
            let count = tile.fill(points, &mut rows, &self.offset);
            if count == 0 {
                return Ok(nearest);
            }
            tile.scan(&self.panels);
            nearest.extend(tile.nearest());
            progress.advance(count * self.len())?;
        }
    }
}

fn pack(centroids: Points<'_>, offset: &[f32]) -> Panels {
    let (dim, count) = (centroids.dim(), centroids.rows().div_ceil(LANES));
    let mut panels =
        Panels { components: vec![[0.0; LANES]; count * dim], squares: vec![[f32::INFINITY; LANES]; count] };
    let spaces = panels.components.chunks_exact_mut(dim).zip(&mut panels.squares);
    for ((components, squares), centroids) in spaces.zip(centroids.values.chunks(LANES * dim)) {
        for (lane, centroid) in centroids.chunks_exact(dim).enumerate() {
            let mut square = 0.0;
            for ((component, value), offset) in components.iter_mut().zip(centroid).zip(offset) {
                let value = value - offset;
                square += f64::from(value) * f64::from(value);
                set(component, lane, -2.0 * value);
            }
            #[expect(
                clippy::cast_possible_truncation,
                reason = "what is too large is infinite, so never near"
            )]
            set(squares, lane, square as f32);
        }
    }
    panels
}

fn set(lanes: &mut [f32; LANES], lane: usize, value: f32) {
    if let Some(place) = lanes.get_mut(lane) {
        *place = value;
    }
}
