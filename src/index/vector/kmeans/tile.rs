//! The inner loop of k-means: a tile of rows against all centroids, keeping the least score of each row.
//!
//! Centroids are stored in panels of sixteen, component by component, so that a component of a row is multiplied with
//! sixteen of them at once; four rows at a time keep their sums in registers. The compiler vectorises the loops itself,
//! twice: for the baseline processor and for AVX2. Measured, this is as fast as the `matrixmultiply` crate
//! followed by a search for the least, and gives the same bits everywhere.

use super::points::Points;

/// The width of a panel.
pub(super) const LANES: usize = 16;
/// How many rows are compared at once.
// Four rows of sixteen sums take 8 registers of AVX2 out of 16; twice as many would spill.
const GROUP: usize = 4;
/// The size of a tile.
// Half of the smallest second-level caches: the panels, which are streamed past the tile, need the rest.
const TILE_BYTES: usize = 64 << 10;
const TILE_ROWS_MAX: usize = 128;

pub(super) type Lanes<T> = [T; LANES];

/// Centroids in the layout of the loop. The score of row x is ‖c‖² − 2·x·c: ‖x‖² would be the same for all.
#[derive(Clone, Debug, Default)]
pub(super) struct Panels {
    /// −2·c: for each panel and each component, that of sixteen centroids.
    pub(super) components: Vec<Lanes<f32>>,
    /// ‖c‖²; infinite in the free lanes of the last panel.
    pub(super) squares: Vec<Lanes<f32>>,
}

/// Some rows, and for each lane the panel that is nearest to a row.
#[derive(Debug)]
pub(super) struct Tile {
    dim: usize,
    rows: usize,
    values: Vec<f32>,
    scores: Vec<Lanes<f32>>,
    nearest: Vec<Lanes<u32>>,
}

impl Tile {
    pub(super) fn new(dim: usize) -> Self {
        let rows = (TILE_BYTES / (4 * dim)).clamp(GROUP, TILE_ROWS_MAX) / GROUP * GROUP;
        let (scores, nearest) = (vec![[0.0; LANES]; rows], vec![[0; LANES]; rows]);
        Self { dim, rows: 0, values: vec![0.0; rows * dim], scores, nearest }
    }

    /// Takes the next rows, less `offset`, as many as fit. Returns how many.
    pub(super) fn fill_rows(
        &mut self,
        points: Points<'_>,
        rows: &mut impl Iterator<Item = usize>,
        offset: &[f32],
    ) -> usize {
        self.rows = 0;
        // `zip` asks the tile before the rows, so no row is taken that has no space.
        for (place, row) in self.values.chunks_exact_mut(self.dim).zip(rows) {
            for ((place, value), offset) in place.iter_mut().zip(points.row(row)).zip(offset) {
                *place = value - offset;
            }
            self.rows += 1;
        }
        self.rows
    }

    /// Compares the rows with all centroids.
    pub(super) fn compare_with(&mut self, panels: &Panels) {
        self.scores.fill([f32::INFINITY; LANES]);
        self.nearest.fill([0; LANES]);
        // Whole groups: what follows the last row is left from an earlier tile, and its scores are not read.
        #[expect(clippy::indexing_slicing, reason = "a tile has space for a multiple of GROUP rows")]
        let values = &self.values[..self.rows.next_multiple_of(GROUP) * self.dim];
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has the one feature that the function needs.
            #[expect(unsafe_code, reason = "a function for a processor feature is called")]
            unsafe {
                scan_avx2(panels, self.dim, values, &mut self.scores, &mut self.nearest);
            }
            return;
        }
        scan_panels(panels, self.dim, values, &mut self.scores, &mut self.nearest);
    }

    /// The nearest centroid of each row and its score, the first of those equally near.
    pub(super) fn nearest_centroids(&self) -> impl Iterator<Item = (f32, u32)> {
        let rows = self.scores.iter().zip(&self.nearest).take(self.rows);
        rows.map(|(scores, panels)| least_lane(scores, panels))
    }

    /// For each row the nearest centroid of each lane and its score, the nearest first.
    pub(super) fn nearest_by_lane(&self) -> impl Iterator<Item = Lanes<(f32, u32)>> {
        let rows = self.scores.iter().zip(&self.nearest).take(self.rows);
        rows.map(|(scores, panels)| {
            let mut lanes = by_lane(scores, panels);
            lanes.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            lanes
        })
    }
}

/// [`scan_panels`], compiled for wider registers; additions and multiplications stay apart, so its bits are the
/// same.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn scan_avx2(
    panels: &Panels,
    dim: usize,
    values: &[f32],
    scores: &mut [Lanes<f32>],
    nearest: &mut [Lanes<u32>],
) {
    scan_panels(panels, dim, values, scores, nearest);
}

#[expect(clippy::inline_always, reason = "it is compiled with the features of its caller")]
#[inline(always)]
fn scan_panels(
    panels: &Panels,
    dim: usize,
    values: &[f32],
    scores: &mut [Lanes<f32>],
    nearest: &mut [Lanes<u32>],
) {
    for (number, (panel, squares)) in (0..).zip(panels.components.chunks_exact(dim).zip(&panels.squares)) {
        let kept = scores.chunks_exact_mut(GROUP).zip(nearest.chunks_exact_mut(GROUP));
        for (rows, (scores, nearest)) in values.chunks_exact(GROUP * dim).zip(kept) {
            let found = score_rows(panel, squares, dim, rows);
            update_least(number, found.as_flattened(), scores.as_flattened_mut(), nearest.as_flattened_mut());
        }
    }
}

/// The scores of four rows with the centroids of a panel.
#[expect(clippy::inline_always, reason = "it is compiled with the features of its caller")]
#[inline(always)]
fn score_rows(panel: &[Lanes<f32>], squares: &Lanes<f32>, dim: usize, rows: &[f32]) -> [Lanes<f32>; GROUP] {
    let mut scores = [*squares; GROUP];
    let ((a, b), (c, d)) = {
        let (first, second) = rows.split_at(2 * dim);
        (first.split_at(dim), second.split_at(dim))
    };
    for ((((lanes, a), b), c), d) in panel.iter().zip(a).zip(b).zip(c).zip(d) {
        for (scores, value) in scores.iter_mut().zip([a, b, c, d]) {
            for (score, lane) in scores.iter_mut().zip(lanes) {
                *score += value * lane;
            }
        }
    }
    scores
}

/// Replaces scores by smaller ones. Flat and without a branch, so that the compiler vectorises it.
#[expect(clippy::inline_always, reason = "it is compiled with the features of its caller")]
#[inline(always)]
fn update_least(number: u32, found: &[f32], scores: &mut [f32], nearest: &mut [u32]) {
    for ((found, score), nearest) in found.iter().zip(scores).zip(nearest) {
        let less = *found < *score;
        *nearest = if less { number } else { *nearest };
        *score = if less { *found } else { *score };
    }
}

/// The centroid with the least score, the lowest number of equals.
// A strict comparison in the loop keeps the first panel of each lane; across lanes the numbers decide.
fn least_lane(scores: &Lanes<f32>, panels: &Lanes<u32>) -> (f32, u32) {
    let mut best = (f32::INFINITY, 0);
    for (score, number) in by_lane(scores, panels) {
        if score < best.0 || (score <= best.0 && number < best.1) {
            best = (score, number);
        }
    }
    best
}

/// The score and the number of the centroid that is nearest in each lane.
#[expect(clippy::indexing_slicing, reason = "there are as many lanes of each")]
fn by_lane(scores: &Lanes<f32>, panels: &Lanes<u32>) -> Lanes<(f32, u32)> {
    #[expect(clippy::cast_possible_truncation, reason = "a panel has sixteen lanes")]
    std::array::from_fn(|lane| (scores[lane], panels[lane] * LANES as u32 + lane as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn wider_registers_give_the_same_bits() {
        if !std::arch::is_x86_feature_detected!("avx2") {
            return;
        }
        let (dim, rows, count) = (37, 8, 3);
        let wave = |i: usize| f32::from(u16::try_from(i * i % 9973).unwrap()).sin();
        let values: Vec<f32> = (0..rows * dim).map(wave).collect();
        let lanes = |i: usize| std::array::from_fn(|lane| wave(i * LANES + lane));
        let panels = Panels {
            components: (0..count * dim).map(lanes).collect(),
            squares: (0..count).map(lanes).collect(),
        };
        let run = |wide: bool| {
            let mut scores = vec![[f32::INFINITY; LANES]; rows];
            let mut nearest = vec![[0; LANES]; rows];
            if wide {
                #[expect(unsafe_code, reason = "a function for a processor feature is called")]
                // SAFETY: the feature was looked for above.
                unsafe {
                    scan_avx2(&panels, dim, &values, &mut scores, &mut nearest);
                }
            } else {
                scan_panels(&panels, dim, &values, &mut scores, &mut nearest);
            }
            let bits: Vec<_> = scores.into_iter().map(|lanes| lanes.map(f32::to_bits)).collect();
            (bits, nearest)
        };
        assert_eq!(run(true), run(false));
    }
}
