//! The share of the true neighbours that the nearest clusters hold: read when a query asks for a recall.
//!
//! It is measured when an index is built (see [`super::measure`]), for queries of several regions of the space:
//! in some, clusters are well separated, in others they are not, and an average would promise the
//! latter what holds for the former.
//!
//! On storage: distinct vectors u32 | clusters u32 | regions u32 | grid: points u32, probes u32 × points | region by
//! region: last cluster u32, queries f32, recall f32 × [`NEIGHBOURS`] × points. Without regions, nothing was measured.

use crate::codec::{CodecError, Reader, put_len_u32, usize_of};
use crate::error::Result;

const WHAT: &str = "recall curve";
/// The numbers of neighbours that are measured.
// Powers of ten up to far beyond usual limits: with a filter that lets a share s through, the k-th match is about the
// k/s-th neighbour, so selective filters read the curve at high numbers. Between them it is interpolated.
pub(super) const NEIGHBOURS: [u32; 5] = [1, 10, 100, 1_000, 10_000];
pub(super) const POINTS_MAX: usize = 64;
pub(super) const REGIONS_MAX: usize = 64;
/// The share of the missing recall that is aimed at in addition.
// Curves are measured with rows that are stored. Queries tend to lie farther from rows than rows lie from each other, so
// without a margin they would find less than was promised.
const MARGIN: f64 = 0.3;
/// How many standard errors below the curve the recall must still be sufficient.
// A region is measured with few queries. Two errors leave one region in forty with a curve that promises too much.
const ERRORS: f64 = 2.0;

/// Recall by the number of clusters probed, in the order of the whole set.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RecallCurve {
    /// How many distinct vectors the clusters hold.
    pub(super) vectors: u32,
    /// How many clusters the set has.
    pub(super) clusters: u32,
    /// The numbers of probes that were measured, ascending; the last is all clusters.
    pub(super) grid: Vec<u32>,
    pub(super) regions: Vec<CurveRegion>,
}

/// Queries whose nearest cluster is in a range of clusters.
// Neighbours in number are neighbours in space, so a range is a region, and takes one number to store.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct CurveRegion {
    /// The last of the clusters; the region before has those before.
    pub(super) last: u32,
    /// The curve is as certain as that of this many queries.
    pub(super) queries: f32,
    /// For each point of the grid, the recall of the nearest of each of [`NEIGHBOURS`].
    pub(super) points: Vec<[f32; NEIGHBOURS.len()]>,
}

/// The curve for a query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RegionCurve<'a> {
    curve: &'a RecallCurve,
    region: Option<&'a CurveRegion>,
}

impl RecallCurve {
    /// The curve for a query with this nearest cluster.
    pub(crate) fn for_cluster(&self, cluster: u32) -> RegionCurve<'_> {
        let at = self.regions.partition_point(|region| region.last < cluster);
        // Clusters beyond the last region had no vector to measure with, and belong to it.
        RegionCurve { curve: self, region: self.regions.get(at).or(self.regions.last()) }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        out.extend(self.vectors.to_le_bytes());
        out.extend(self.clusters.to_le_bytes());
        put_len_u32(out, self.regions.len())?;
        put_len_u32(out, self.grid.len())?;
        out.extend(self.grid.iter().flat_map(|probes| probes.to_le_bytes()));
        for region in &self.regions {
            out.extend(region.last.to_le_bytes());
            out.extend(region.queries.to_le_bytes());
            out.extend(region.points.iter().flatten().flat_map(|recall| recall.to_le_bytes()));
        }
        Ok(())
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let bad = |why: &str| CodecError::malformed(WHAT, why);
        let (vectors, clusters) = (reader.u32()?, reader.u32()?);
        let (regions, points) = (usize_of(reader.u32()?), usize_of(reader.u32()?));
        if regions > REGIONS_MAX || points > POINTS_MAX {
            return Err(bad("too many points"));
        }
        let grid = (0..points).map(|_| reader.u32()).collect::<Result<Vec<_>, _>>()?;
        if !grid.is_sorted_by(|a, b| a < b) || grid.first() == Some(&0) {
            return Err(bad("points do not ascend"));
        }
        // Beyond its last point a curve promises everything. Only all clusters hold that.
        if grid.last() != Some(&clusters) && regions > 0 {
            return Err(bad("the last point is not all clusters"));
        }
        let mut curve = Self { vectors, clusters, grid, regions: Vec::new() };
        for _ in 0..regions {
            let region = CurveRegion::decode(reader, points)?;
            if curve.regions.last().is_some_and(|before| before.last >= region.last) {
                return Err(bad("regions do not ascend"));
            }
            curve.regions.push(region);
        }
        Ok(curve)
    }
}

impl CurveRegion {
    fn decode(reader: &mut Reader<'_>, points: usize) -> Result<Self, CodecError> {
        let (last, queries) = (reader.u32()?, f32::from_bits(reader.u32()?));
        let mut region = Self { last, queries, points: Vec::with_capacity(points) };
        for _ in 0..points {
            let mut recall = [0.0; NEIGHBOURS.len()];
            for recall in &mut recall {
                *recall = f32::from_bits(reader.u32()?);
            }
            region.points.push(recall);
        }
        let shares = region.points.iter().flatten().all(|recall| (0.0..=1.0).contains(recall));
        if !(queries.is_finite() && queries >= 1.0 && shares) {
            return Err(CodecError::malformed(WHAT, "a region has a recall that is no share"));
        }
        Ok(region)
    }

    /// The recall of the nearest `NEIGHBOURS[which]` by `probes` clusters, linear between the points of the grid.
    #[expect(
        clippy::indexing_slicing,
        reason = "`after` is below the length, and a region has all points of the grid"
    )]
    fn recall_at(&self, grid: &[u32], probes: f64, which: usize) -> f64 {
        let point = |at: usize| (f64::from(grid[at]), f64::from(self.points[at][which]));
        let after = grid.partition_point(|point| f64::from(*point) < probes);
        if after == grid.len() {
            return 1.0;
        }
        // Without a probe nothing is found: the curve starts at the origin.
        let (low, a) = if after == 0 { (0.0, 0.0) } else { point(after - 1) };
        let (high, b) = point(after);
        a + (b - a) * ((probes - low) / (high - low)).clamp(0.0, 1.0)
    }
}

impl RegionCurve<'_> {
    /// The share of the `count` nearest that the nearest `probes` clusters hold.
    pub(crate) fn recall(&self, probes: f64, count: f64) -> f64 {
        let count = count.max(1.0);
        let (all, clusters) = (f64::from(self.curve.vectors), f64::from(self.curve.clusters));
        if probes >= clusters {
            return 1.0;
        }
        // Of all vectors, clusters hold their share: the end of every curve. Where nothing was measured, the share is
        // also the pessimistic answer for the nearest.
        let evenly = (probes / clusters.max(1.0)).clamp(0.0, 1.0);
        let mut before: Option<(f64, f64)> = None;
        for (which, neighbours) in NEIGHBOURS.iter().enumerate() {
            let measured = f64::from(*neighbours).min(all);
            let share = match self.region {
                Some(region) => region.recall_at(&self.curve.grid, probes, which),
                None => evenly,
            };
            if count <= measured {
                return interpolate_log(before, (measured, share), count);
            }
            before = Some((measured, share));
        }
        interpolate_log(before, (all, evenly), count)
    }

    /// The curve is as certain as that of this many queries.
    pub(crate) fn query_count(&self) -> f64 {
        // Without a region nothing was measured, which is as uncertain as a curve may be.
        self.region.map_or(1.0, |region| f64::from(region.queries))
    }
}

/// Whether a recall that was measured with `queries` queries is sufficient for the one that is wanted.
// Two separate reasons to aim higher: queries are not like rows, a systematic difference that more measurements would not
// remove (`MARGIN`), and a measured recall is off by chance (`ERRORS`).
pub(crate) fn is_enough(recall: f64, queries: f64, wanted: f64) -> bool {
    let error = (recall * (1.0 - recall) / queries).sqrt();
    recall >= wanted + (1.0 - wanted) * MARGIN && recall - ERRORS * error >= wanted
}

/// Between two measured numbers of neighbours, by the logarithm of the number.
fn interpolate_log(before: Option<(f64, f64)>, after: (f64, f64), count: f64) -> f64 {
    let Some(before) = before.filter(|before| before.0 < after.0) else { return after.1 };
    let share = (count / before.0).ln() / (after.0 / before.0).ln();
    before.1 + (after.1 - before.1) * share.clamp(0.0, 1.0)
}

/// The numbers of probes that are measured: at first each, then about four for each doubling.
// Recall rises steeply over the first clusters and ever more slowly after them, so a grid of constant ratio loses little.
pub(super) fn probe_grid(clusters: u32) -> Vec<u32> {
    let mut grid = Vec::new();
    let mut probes = 1;
    while probes < clusters && grid.len() + 1 < POINTS_MAX {
        grid.push(probes);
        probes += (probes / 4).max(1);
    }
    grid.push(clusters);
    grid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_that_promises_more_than_was_measured_is_refused() {
        let region = |last, points| CurveRegion { last, queries: 16.0, points: vec![[0.5; 5]; points] };
        let decode = |grid: &[u32], regions: &[CurveRegion]| {
            let curve =
                RecallCurve { vectors: 900, clusters: 9, grid: grid.to_vec(), regions: regions.to_vec() };
            let mut bytes = Vec::new();
            curve.encode(&mut bytes).unwrap();
            RecallCurve::decode(&mut Reader::new("curve", &bytes)).map(|decoded| assert_eq!(decoded, curve))
        };
        assert!(decode(&[1, 9], &[region(3, 2), region(8, 2)]).is_ok() && decode(&[], &[]).is_ok());
        assert!(decode(&[1, 4], &[region(3, 2)]).is_err(), "everything after 4 of 9 clusters");
        assert!(decode(&[], &[region(3, 0)]).is_err(), "everything, whatever is probed");
        assert!(decode(&[1, 9], &[region(3, 2), region(3, 2)]).is_err());
    }
}
