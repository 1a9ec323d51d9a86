//! Centroids in cells, so that a row need not be compared with all of them.

use super::arithmetic::Mean;
use super::points::Points;
use super::progress::TrainingProgress;
use super::tile::{LANES, Panels, Tile};
use crate::codec::{usize_of, zip_equal};
use crate::error::Result;

/// From this many centroids on, a row is compared with those of the nearest cells alone.
// Comparing all rows with all centroids takes time in proportion to the square of the rows. At this size it still costs
// less than the rest of an index.
const CELLS_FROM: usize = 2_048;
/// The cells whose centroids a row is compared with.
// Of those that are in one lane of their panel it is the nearest alone: 16 at most.
const CELLS_COMPARED: usize = 8;
/// Rows whose near cells are in memory at a time.
const ROWS_AT_ONCE: usize = 1 << 16;
/// How often the cells are moved to the means of their centroids.
const ROUNDS: usize = 4;

/// Centroids, those near each other together.
#[derive(Clone, Debug)]
pub(super) struct Cells {
    dim: usize,
    /// How many centroids there are.
    count: usize,
    /// The mean of the centroids.
    // ‖c‖² − 2·x·c cancels where both are far from the origin: with a common mean of 10⁴ an f32 has no digit left for
    // what distinguishes two centroids. Distances do not change when the mean is taken from rows and centroids first.
    offset: Vec<f32>,
    /// All centroids in one cell if they are few, and otherwise about √k cells.
    groups: Vec<Cell>,
    /// The mean of each cell.
    means: Panels,
}

#[derive(Clone, Debug)]
struct Cell {
    /// The numbers of its centroids, ascending.
    numbers: Vec<u32>,
    panels: Panels,
}

impl Cells {
    pub(super) fn new(centroids: Points<'_>) -> Self {
        let (dim, count) = (centroids.dim(), centroids.rows());
        let offset = Mean::of_vectors(dim, centroids.iter());
        let size = if count < CELLS_FROM { count.max(1) } else { count.isqrt() };
        // Neighbours in number are neighbours in space: a good start.
        let numbers: Vec<u32> = (0..).take(count).collect();
        let mut members: Vec<Vec<u32>> = numbers.chunks(size).map(<[u32]>::to_vec).collect();
        let mut means = pack_means(centroids, &members, &offset);
        for _ in 0..if members.len() > 1 { ROUNDS } else { 0 } {
            members = nearest_means(centroids, &means, &offset, members.len());
            members.retain(|members| !members.is_empty());
            means = pack_means(centroids, &members, &offset);
        }
        let cell = |numbers: Vec<u32>| {
            let rows = numbers.iter().map(|number| centroids.row(usize_of(*number)));
            Cell { panels: pack_panels(dim, rows, &offset), numbers }
        };
        Self { dim, count, groups: members.into_iter().map(cell).collect(), offset, means }
    }

    /// The nearest centroid of some rows.
    pub(super) fn assign_rows(
        &self,
        points: Points<'_>,
        rows: impl ExactSizeIterator<Item = usize>,
        progress: &TrainingProgress,
    ) -> Result<Vec<u32>> {
        if let [cell] = self.groups.as_slice() {
            return self.assign_by_all(cell, points, rows, progress);
        }
        let (rows, mut nearest) = (rows.collect::<Vec<_>>(), Vec::new());
        for rows in rows.chunks(ROWS_AT_ONCE) {
            nearest.extend(self.assign_by_cells(points, rows, progress)?);
        }
        Ok(nearest)
    }

    fn assign_by_all(
        &self,
        cell: &Cell,
        points: Points<'_>,
        mut rows: impl ExactSizeIterator<Item = usize>,
        progress: &TrainingProgress,
    ) -> Result<Vec<u32>> {
        let mut nearest = Vec::with_capacity(rows.len());
        let mut tile = Tile::new(self.dim);
        loop {
            let count = tile.fill_rows(points, &mut rows, &self.offset);
            if count == 0 {
                return Ok(nearest);
            }
            tile.compare_with(&cell.panels);
            nearest.extend(tile.nearest_centroids().map(|(_, centroid)| centroid));
            progress.advance(count * self.count)?;
        }
    }

    /// Cell by cell: the centroids of one stay in a core's cache while all rows near it are compared with them.
    fn assign_by_cells(
        &self,
        points: Points<'_>,
        rows: &[usize],
        progress: &TrainingProgress,
    ) -> Result<Vec<u32>> {
        let mut nearest = vec![(f32::INFINITY, 0); rows.len()];
        let mut tile = Tile::new(self.dim);
        let near = self.rows_near_cells(points, rows, progress)?;
        for (cell, near) in zip_equal(&self.groups, near, "cells and the rows near them")? {
            let mut near_rows = near.iter().filter_map(|place| rows.get(*place).copied());
            let mut places = near.iter();
            while tile.fill_rows(points, &mut near_rows, &self.offset) > 0 {
                tile.compare_with(&cell.panels);
                for ((score, within), place) in tile.nearest_centroids().zip(places.by_ref()) {
                    let number = cell.numbers.get(usize_of(within)).copied();
                    let best = nearest.get_mut(*place).zip(number);
                    if let Some((best, number)) = best.filter(|(best, number)| (score, *number) < **best) {
                        *best = (score, number);
                    }
                }
            }
            progress.advance(rows.len() * cell.numbers.len())?;
        }
        Ok(nearest.into_iter().map(|(_, centroid)| centroid).collect())
    }

    /// For each cell, the places of the rows that are compared with its centroids.
    fn rows_near_cells(
        &self,
        points: Points<'_>,
        rows: &[usize],
        progress: &TrainingProgress,
    ) -> Result<Vec<Vec<usize>>> {
        let mut near = vec![Vec::new(); self.groups.len()];
        let (mut tile, mut left, mut place) = (Tile::new(self.dim), rows.iter().copied(), 0..);
        while tile.fill_rows(points, &mut left, &self.offset) > 0 {
            tile.compare_with(&self.means);
            for (cells, place) in tile.nearest_by_lane().zip(place.by_ref()) {
                let cells = cells.iter().take(CELLS_COMPARED).filter(|(score, _)| score.is_finite());
                for (_, cell) in cells {
                    near.get_mut(usize_of(*cell)).into_iter().for_each(|near| near.push(place));
                }
            }
            progress.advance(0)?;
        }
        Ok(near)
    }
}

/// The centroids that are nearest to each of `count` means.
fn nearest_means(centroids: Points<'_>, means: &Panels, offset: &[f32], count: usize) -> Vec<Vec<u32>> {
    let mut members = vec![Vec::new(); count];
    let (mut tile, mut left, mut numbers) = (Tile::new(centroids.dim()), 0..centroids.rows(), 0..);
    while tile.fill_rows(centroids, &mut left, offset) > 0 {
        tile.compare_with(means);
        for ((_, cell), number) in tile.nearest_centroids().zip(numbers.by_ref()) {
            members.get_mut(usize_of(cell)).into_iter().for_each(|members| members.push(number));
        }
    }
    members
}

fn pack_means(centroids: Points<'_>, members: &[Vec<u32>], offset: &[f32]) -> Panels {
    let dim = centroids.dim();
    let mean = |members: &Vec<u32>| {
        let rows = members.iter().map(|number| centroids.row(usize_of(*number)));
        Mean::of_vectors(dim, rows.collect::<Vec<_>>())
    };
    let means: Vec<Vec<f32>> = members.iter().map(mean).collect();
    pack_panels(dim, means.iter().map(Vec::as_slice), offset)
}

/// Arranges centroids in panels of [`LANES`], the last of which may have free lanes.
fn pack_panels<'a>(dim: usize, centroids: impl Iterator<Item = &'a [f32]>, offset: &[f32]) -> Panels {
    let centroids: Vec<&[f32]> = centroids.collect();
    let count = centroids.len().div_ceil(LANES);
    // Infinite squares: a free lane is never nearest, and the inner loop needs no case for it.
    let mut panels =
        Panels { components: vec![[0.0; LANES]; count * dim], squares: vec![[f32::INFINITY; LANES]; count] };
    let spaces = panels.components.chunks_exact_mut(dim).zip(&mut panels.squares);
    for ((components, squares), centroids) in spaces.zip(centroids.chunks(LANES)) {
        for (square, (lane, centroid)) in squares.iter_mut().zip(centroids.iter().enumerate()) {
            let mut total = 0.0;
            for ((component, value), offset) in components.iter_mut().zip(*centroid).zip(offset) {
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
