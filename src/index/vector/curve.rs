//! What share of the true neighbours lies in the nearest clusters: read when a query asks for a recall.
//!
//! It is measured when an index is built (see [`super::measure`]), for queries of several regions of the space apart:
//! some lie where clusters are told apart easily, others where they are not, and an average over all would promise the
//! latter what holds for the former.
//!
//! On storage: different vectors u32 | clusters u32 | regions u32 | grid: points u32, probes u32 × points | region by
//! region: last cluster u32, queries f32, recall f32 × [`NEIGHBOURS`] × points. Without regions, nothing was measured.

use crate::codec::{CodecError, Reader, put_len_u32};
use crate::error::Result;

const WHAT: &str = "recall curve";
/// The numbers of neighbours that are measured.
pub(super) const NEIGHBOURS: [u32; 5] = [1, 10, 100, 1_000, 10_000];
pub(super) const POINTS_MAX: usize = 64;
pub(super) const REGIONS_MAX: usize = 64;
/// How much of what a recall leaves open is aimed at besides: curves are measured with rows that are stored, and
/// queries tend to lie farther from them than they from each other.
const MARGIN: f64 = 0.6;
/// How many standard errors below the curve the recall is still to be what was asked for.
const ERRORS: f64 = 2.0;

/// Recall by the number of clusters probed, in the order of the whole set.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RecallCurve {
    /// How many different vectors the clusters hold.
    pub(super) vectors: u32,
    /// How many clusters the set has.
    pub(super) clusters: u32,
    /// The numbers of probes that were measured, ascending, the last one being all clusters.
    pub(super) grid: Vec<u32>,
    pub(super) regions: Vec<CurveRegion>,
}

/// Queries whose nearest cluster is one of some that follow each other.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct CurveRegion {
    /// The last of the clusters; those before are of the region before.
    pub(super) last: u32,
    /// The curve is as good as that of so many queries.
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
    /// The curve for a query whose nearest cluster this is.
    pub(crate) fn at(&self, cluster: u32) -> RegionCurve<'_> {
        let at = self.regions.partition_point(|region| region.last < cluster);
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
        let (regions, points) = (reader.u32()? as usize, reader.u32()? as usize);
        if regions > REGIONS_MAX || points > POINTS_MAX {
            return Err(bad("too many points"));
        }
        let grid = (0..points).map(|_| reader.u32()).collect::<Result<Vec<_>, _>>()?;
        if !grid.is_sorted_by(|a, b| a < b) || grid.first() == Some(&0) {
            return Err(bad("points do not ascend"));
        }
        let mut curve = Self { vectors, clusters, grid, regions: Vec::new() };
        for _ in 0..regions {
            let (last, queries) = (reader.u32()?, f32::from_bits(reader.u32()?));
            let ascends = curve.regions.last().is_none_or(|before| before.last < last);
            let mut region = CurveRegion { last, queries, points: Vec::with_capacity(points) };
            for _ in 0..points {
                let mut recall = [0.0; NEIGHBOURS.len()];
                for recall in &mut recall {
                    *recall = f32::from_bits(reader.u32()?);
                }
                region.points.push(recall);
            }
            let shares = || region.points.iter().flatten().all(|recall| (0.0..=1.0).contains(recall));
            if !(ascends && queries.is_finite() && queries >= 1.0 && shares()) {
                return Err(bad("a region is not sound"));
            }
            curve.regions.push(region);
        }
        Ok(curve)
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
        // Of all vectors, clusters hold what they hold.
        let evenly = (probes / clusters.max(1.0)).clamp(0.0, 1.0);
        let measured = NEIGHBOURS.iter().enumerate().map(|(at, count)| (f64::from(*count).min(all), at));
        let mut before: Option<(f64, f64)> = None;
        for (measured, at) in measured {
            let share = self.measured(probes, at).unwrap_or(evenly);
            if count <= measured {
                return between(before, (measured, share), count);
            }
            before = Some((measured, share));
        }
        between(before, (all, evenly), count)
    }

    /// The curve is as good as that of so many queries.
    pub(crate) fn queries(&self) -> f64 {
        self.region.map_or(1.0, |region| f64::from(region.queries))
    }

    /// The share of the nearest of a number that was measured.
    fn measured(&self, probes: f64, which: usize) -> Option<f64> {
        let (grid, points) = (&self.curve.grid, &self.region?.points);
        let of = |at: usize| Some((f64::from(*grid.get(at)?), f64::from(*points.get(at)?.get(which)?)));
        let after = grid.partition_point(|point| f64::from(*point) < probes);
        let (low, a) = after.checked_sub(1).map_or(Some((0.0, 0.0)), of)?;
        let Some((high, b)) = of(after) else { return Some(1.0) };
        Some(a + (b - a) * ((probes - low) / (high - low)).clamp(0.0, 1.0))
    }
}

/// Whether a recall that was measured with so many queries is enough for the one that is wanted. It is aimed higher: for
/// queries that are unlike rows, and for what the measured one may be off by chance.
pub(crate) fn is_enough(recall: f64, queries: f64, wanted: f64) -> bool {
    let error = (recall * (1.0 - recall) / queries).sqrt();
    recall >= wanted + (1.0 - wanted) * MARGIN && recall - ERRORS * error >= wanted
}

/// Between two measured numbers of neighbours, by the logarithm of the number.
fn between(before: Option<(f64, f64)>, after: (f64, f64), count: f64) -> f64 {
    let Some(before) = before.filter(|before| before.0 < after.0) else { return after.1 };
    let share = (count / before.0).ln() / (after.0 / before.0).ln();
    before.1 + (after.1 - before.1) * share.clamp(0.0, 1.0)
}

/// The numbers of probes that are measured: all at first, then about four for each doubling.
pub(super) fn grid(clusters: usize) -> Vec<u32> {
    let mut grid = Vec::new();
    let mut probes = 1;
    while probes < clusters && grid.len() + 1 < POINTS_MAX {
        grid.push(u32::try_from(probes).unwrap_or(u32::MAX));
        probes += (probes / 4).max(1);
    }
    grid.push(u32::try_from(clusters).unwrap_or(u32::MAX));
    grid
}
