//! Building: from the vectors of a column to cluster records, their index, and the order that rows should lie in.
//!
//! Everything here is pure and heavy: it runs where blocking work does.

use std::borrow::Cow;

use roaring::RoaringBitmap;

use super::centroids::{CentroidSet, ClusterFit};
use super::curve::RecallCurve;
use super::distinct::{COPIES_MIN, DistinctVectors};
use super::kernels::kernels;
use super::kmeans::{Centroids, Clusters, Points, Training, TrainingProgress};
use super::outliers::{middle, outliers};
use super::quantizer::{Form, Quantizer, ResidualTerms};
use super::record::{RecordBuilder, length};
use super::section::{IndexSection, RecordEntry, push_owners};
use super::space::{Space, narrow, power_of_two};
use crate::codec::{checksum, to_u32};
use crate::error::{Error, Result};
use crate::types::Metric;

/// The bytes that the record of a cluster should have: one request, and a few hundred vectors.
const RECORD_BYTES: usize = 64 << 10;
const CLUSTER_ROWS_MIN: usize = 64;
const CLUSTER_ROWS_MAX: usize = 512;
/// Residuals of a cluster are scaled so that half of them are longer than 1, but none longer than this times 2: what
/// is stored of them in an f16 then neither overflows nor loses its digits.
const SCALED_MAX: f64 = 4_096.0;
/// A cluster that holds no vector.
const APART: u32 = u32::MAX;
/// How many rows tell whether a set fits them.
const FIT_SAMPLE: usize = 1_024;
/// A set fits no longer where rows lie so many times farther from their centroids than those it was made of, or
/// are so many times as likely to share a cluster.
const SPREAD_MAX: f32 = 2.0;
const CROWDING_MAX: f32 = 4.0;

/// The index of a column of a segment, before the rows have found their places.
#[derive(Debug)]
pub(crate) struct VectorIndexBuilder {
    clusters: Vec<RecordPlan>,
    /// The places in [`DistinctVectors`] of vectors that have no code for lying out of all scale.
    loose: Vec<usize>,
    curve: RecallCurve,
    quantizer: Quantizer,
}

/// What is to be one record of a cluster.
#[derive(Debug)]
struct RecordPlan {
    number: u32,
    /// The places of its vectors in [`DistinctVectors`]: some, or one that has many rows.
    vectors: Vec<usize>,
}

/// How many rows a cluster is to have.
pub(crate) fn cluster_rows(dimension: usize, bits: u8) -> usize {
    let padded = dimension.next_multiple_of(64);
    let (none, many) = (length(padded, bits, 0, false), length(padded, bits, 1 << 10, false));
    let each = (many - none).div_ceil(1 << 10).max(1);
    (RECORD_BYTES / each).clamp(CLUSTER_ROWS_MIN, CLUSTER_ROWS_MAX)
}

/// Makes the clusters of a column from some of its vectors.
pub(crate) fn train(
    metric: Metric,
    bits: u8,
    coded: &DistinctVectors,
    random: &mut impl FnMut() -> u64,
    progress: &TrainingProgress,
) -> Result<CentroidSet> {
    let points = Points::new(&coded.values, coded.dimension)?;
    let rows = points.rows() as u64;
    let values = without(points, &outliers(points));
    let points = Points::new(&values, coded.dimension)?;
    let training = Training::new(cluster_rows(coded.dimension, bits), random());
    progress.expect(training.work(points.rows()));
    let clusters = Clusters::train(points, &training, progress)?;
    let plain = Centroids::new(clusters.centroids, coded.dimension)?;
    let distances = distances(points, &plain, &clusters.assignment);
    let fit = ClusterFit {
        spread: narrow(median(&distances)),
        crowding: crowding(&clusters.assignment, plain.len()),
    };
    let centroids: Vec<&[f32]> = (0..plain.len()).map(|cluster| plain.points().row(cluster)).collect();
    let mean = middle(coded.dimension, &centroids);
    let off = |centroid: &&[f32]| {
        let gaps = centroid.iter().zip(&mean).map(|(c, mean)| (f64::from(*c) - f64::from(*mean)).abs());
        gaps.fold(0.0, f64::max)
    };
    let reach = centroids.iter().map(off).fold(0.0, f64::max);
    // Of the rows that are not their centroid.
    let apart: Vec<f64> = distances.into_iter().filter(|distance| *distance > 0.0).collect();
    let space = Space::new(metric, bits, mean, median(&apart), reach, random);
    Ok(CentroidSet::new(space, rows, fit, plain))
}

/// Whether a set still fits rows about as well as those it was made of.
pub(crate) fn fits(set: &CentroidSet, coded: &DistinctVectors, progress: &TrainingProgress) -> Result<bool> {
    let points = Points::new(&coded.values, coded.dimension)?;
    let step = points.rows().div_ceil(FIT_SAMPLE).max(1);
    let sample: Vec<f32> =
        (0..points.rows()).step_by(step).flat_map(|row| points.row(row)).copied().collect();
    let sample = Points::new(&sample, coded.dimension)?;
    progress.expect((sample.rows() as u64).saturating_mul(set.len() as u64));
    let assignment = set.plain().assign(sample, progress)?;
    let spread = narrow(median(&distances(sample, set.plain(), &assignment)));
    let then = set.fit();
    Ok(spread <= then.spread * SPREAD_MAX && crowding(&assignment, set.len()) <= then.crowding * CROWDING_MAX)
}

/// The values of all rows but some, which are given in order.
fn without<'a>(points: Points<'a>, rows: &[u32]) -> Cow<'a, [f32]> {
    if rows.is_empty() {
        return Cow::Borrowed(points.values());
    }
    let others = (0..points.rows()).filter(|row| {
        let row = u32::try_from(*row).unwrap_or(u32::MAX);
        rows.binary_search(&row).is_err()
    });
    Cow::Owned(others.flat_map(|row| points.row(row)).copied().collect())
}

/// How far each row lies from its centroid.
fn distances(points: Points<'_>, centroids: &Centroids, assignment: &[u32]) -> Vec<f64> {
    let kernels = kernels();
    let rows = assignment.iter().enumerate();
    let square = |(row, cluster): (usize, &u32)| {
        kernels.wide_l2(points.row(row), centroids.points().row(*cluster as usize))
    };
    rows.map(square).map(f64::sqrt).collect()
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}

/// The chance that two rows share a cluster.
fn crowding(assignment: &[u32], clusters: usize) -> f32 {
    let mut sizes = vec![0_u32; clusters];
    for cluster in assignment {
        if let Some(size) = sizes.get_mut(*cluster as usize) {
            *size += 1;
        }
    }
    let pairs = |size: f64| size * (size - 1.0);
    #[expect(clippy::cast_precision_loss, reason = "a count of rows")]
    let all = pairs(assignment.len() as f64);
    if all <= 0.0 {
        return 0.0;
    }
    narrow((sizes.into_iter().map(|size| pairs(size.into())).sum::<f64>() / all).min(1.0))
}

impl VectorIndexBuilder {
    /// Finds the cluster of every vector.
    pub(crate) fn new(
        set: &CentroidSet,
        coded: &DistinctVectors,
        progress: &TrainingProgress,
    ) -> Result<Self> {
        let points = Points::new(&coded.values, coded.dimension)?;
        progress.expect((points.rows() as u64).saturating_mul(set.len() as u64));
        let mut assignment = set.plain().assign(points, progress)?;
        // What many rows have is compared once in a record of its own, and as often as there are rows without.
        let is_one_of_few = |vector: &usize| coded.rows_of(*vector).count() < COPIES_MIN;
        let loose: Vec<usize> =
            outliers(points).into_iter().map(|vector| vector as usize).filter(is_one_of_few).collect();
        for row in &loose {
            if let Some(cluster) = assignment.get_mut(*row) {
                *cluster = APART;
            }
        }
        let space = set.space();
        let mut members: Vec<Vec<usize>> = vec![Vec::new(); set.len()];
        for (vector, cluster) in assignment.iter().enumerate() {
            if let Some(members) = members.get_mut(*cluster as usize) {
                members.push(vector);
            }
        }
        let most = 2 * cluster_rows(coded.dimension, space.bits());
        let clusters = (0..).zip(members);
        let clusters = clusters.flat_map(|(number, vectors)| {
            records(coded, vectors, most).map(move |vectors| RecordPlan { number, vectors })
        });
        let clusters = clusters.collect();
        Ok(Self {
            clusters,
            loose,
            curve: RecallCurve::measure(set, points, &assignment),
            quantizer: Quantizer::new(space.padded(), space.bits(), space.form()),
        })
    }

    /// The rows in the order of their clusters, those in none last.
    pub(crate) fn order(&self, coded: &DistinctVectors) -> Vec<u32> {
        let vectors = self.clusters.iter().flat_map(|cluster| &cluster.vectors).chain(&self.loose);
        vectors.flat_map(|vector| coded.rows_of(*vector)).collect()
    }

    /// The records, and the section that tells where they are if they are put at `base` of the file.
    ///
    /// `place` gives the row at which each row of the segment has come to lie. If it is the order of this index that
    /// they lie in, `listed` is false.
    pub(crate) fn finish(
        self,
        set: &CentroidSet,
        coded: &DistinctVectors,
        place: &[u32],
        listed: bool,
        base: u64,
    ) -> Result<(Vec<u8>, Vec<u8>)> {
        let residuals = Residuals::new(set, coded);
        let mut writer = RecordWriter { coded, place, listed, base, records: Vec::new(), residuals };
        let mut section = IndexSection { curve: self.curve, ..IndexSection::default() };
        for vector in &self.loose {
            section.loose.extend(writer.places_of(*vector)?);
        }
        let mut builder = RecordBuilder::new(&self.quantizer);
        let mut owned = Vec::new();
        for cluster in &self.clusters {
            let Some((entry, rows)) = writer.write(cluster, &mut builder, &mut section.loose)? else {
                continue;
            };
            if entry.is_listed() {
                let number = to_u32(section.entries.len(), "the number of clusters in a segment")?;
                owned.extend(rows.iter().map(|row| (*row, number)));
            }
            section.entries.push(entry);
        }
        let mut records = writer.records;
        if section.entries.iter().any(RecordEntry::is_listed) {
            let runs = (0..)
                .zip(&section.entries)
                .filter_map(|(number, entry)| Some((number, entry.first?, entry.rows)));
            owned.extend(
                runs.flat_map(|(number, first, rows)| (first..first + rows).map(move |row| (row, number))),
            );
            section.owners = push_owners(place.len(), owned.into_iter(), base, &mut records);
        }
        Ok((records, section.encode(place.len())?))
    }
}

/// The vectors of a cluster, in as many records as keep each below so many rows: what many rows have gets its own.
fn records(coded: &DistinctVectors, vectors: Vec<usize>, most: usize) -> impl Iterator<Item = Vec<usize>> {
    let (mut records, mut copies) = (Vec::new(), Vec::new());
    let (mut open, mut rows) = (Vec::new(), 0);
    for vector in vectors {
        let here = coded.rows_of(vector).count();
        if here >= COPIES_MIN {
            copies.push(vec![vector]);
            continue;
        }
        if rows + here > most && rows > 0 {
            records.push(std::mem::take(&mut open));
            rows = 0;
        }
        open.push(vector);
        rows += here;
    }
    records.extend(Some(open).filter(|open| !open.is_empty()));
    records.into_iter().chain(copies)
}

/// Writes records behind one another.
struct RecordWriter<'a> {
    coded: &'a DistinctVectors,
    place: &'a [u32],
    listed: bool,
    base: u64,
    records: Vec<u8>,
    residuals: Residuals<'a>,
}

impl RecordWriter<'_> {
    /// Where the rows that have a vector have come to lie.
    fn places_of(&self, vector: usize) -> Result<Vec<u32>> {
        let at = |row: u32| {
            let place = self.place.get(row as usize).copied();
            place.ok_or_else(|| Error::internal("a row without a place"))
        };
        self.coded.rows_of(vector).map(at).collect()
    }

    /// Writes a record and returns its rows; none if none of its vectors has a code. What has none is added to the
    /// loose rows.
    fn write(
        &mut self,
        cluster: &RecordPlan,
        builder: &mut RecordBuilder<'_>,
        loose: &mut RoaringBitmap,
    ) -> Result<Option<(RecordEntry, Vec<u32>)>> {
        let (mut rows, mut codes) = (Vec::new(), 0);
        self.residuals.enter(cluster);
        for vector in &cluster.vectors {
            let here = self.places_of(*vector)?;
            let times = if here.len() >= COPIES_MIN { 1 } else { here.len() };
            if self.residuals.push(*vector, times, builder) {
                rows.extend(here);
                codes += times;
            } else {
                loose.extend(here);
            }
        }
        if codes < rows.len() {
            rows.sort_unstable();
        }
        // A run with a gap is no run.
        let run = !self.listed && rows.windows(2).all(|pair| matches!(pair, [a, b] if a + 1 == *b));
        let start = self.records.len();
        let scale = narrow(self.residuals.scale);
        builder.finish(scale, (!run).then_some(rows.as_slice()), &mut self.records);
        let Some(first) = rows.first().copied() else {
            self.records.truncate(start);
            return Ok(None);
        };
        let number =
            |count: usize| u32::try_from(count).map_err(|_| Error::internal("a record of too many rows"));
        let entry = RecordEntry {
            cluster: cluster.number,
            rows: number(rows.len())?,
            first: run.then_some(first),
            codes: number(codes)?,
            offset: self.base + start as u64,
            checksum: checksum(self.records.get(start..).unwrap_or_default()),
        };
        Ok(Some((entry, rows)))
    }
}

/// Residuals of the vectors of a cluster, in memory that is used again.
struct Residuals<'a> {
    set: &'a CentroidSet,
    coded: &'a DistinctVectors,
    /// What the residuals of the cluster are multiplied by.
    scale: f64,
    cluster: usize,
    /// The centroid in the scale of the cluster, less the origin of queries, rotated.
    centroid: Vec<f32>,
    residual: Vec<f32>,
    scratch: Vec<f32>,
}

impl<'a> Residuals<'a> {
    fn new(set: &'a CentroidSet, coded: &'a DistinctVectors) -> Self {
        let zeros = vec![0.0; set.space().padded()];
        Self {
            set,
            coded,
            scale: 1.0,
            cluster: 0,
            centroid: zeros.clone(),
            residual: zeros,
            scratch: Vec::new(),
        }
    }

    fn enter(&mut self, cluster: &RecordPlan) {
        let kernels = kernels();
        self.cluster = cluster.number as usize;
        let (centroid, space) = (self.set.centroid(self.cluster), self.set.space());
        let lengths = cluster
            .vectors
            .iter()
            .map(|vector| kernels.wide_l2(self.coded.values_of(*vector), centroid).sqrt());
        let lengths: Vec<f64> = lengths.filter(|length| *length > 0.0).collect();
        let longest = lengths.iter().copied().fold(0.0, f64::max);
        self.scale = power_of_two(median(&lengths)).min(power_of_two(longest) * SCALED_MAX);
        let components = centroid.iter().zip(space.origin()).map(|(c, origin)| f64::from(*c) - origin);
        space.rotated(components, self.scale, &mut self.scratch, &mut self.centroid);
    }

    /// Codes a vector of the cluster so many times; `false` if it has no code.
    fn push(&mut self, vector: usize, times: usize, builder: &mut RecordBuilder<'_>) -> bool {
        let (values, centroid) = (self.coded.values_of(vector), self.set.centroid(self.cluster));
        let space = self.set.space();
        let pairs = || values.iter().zip(centroid).map(|(x, c)| (f64::from(*x), f64::from(*c)));
        space.rotated(pairs().map(|(x, c)| x - c), self.scale, &mut self.scratch, &mut self.residual);
        let product = match space.form() {
            Form::L2 => 0.0,
            Form::Dot => pairs().map(|(x, c)| (x - c) * c).sum::<f64>() * self.scale * self.scale,
        };
        #[expect(clippy::cast_precision_loss, reason = "a dimension is small")]
        let noise = space.rounding() * self.scale / (space.dimension() as f64).sqrt();
        // The code is the same each time.
        (0..times).all(|_| builder.push(&self.residual, &self.centroid, ResidualTerms { product, noise }))
    }
}
