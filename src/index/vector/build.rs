//! Building: from the vectors of a column to leaf records, their index, and the order that rows should lie in.
//!
//! Everything here is pure and heavy: it runs where blocking work does.

use roaring::RoaringBitmap;

use super::centroids::CentroidSet;
use super::copies::{COPIES_MIN, Coded};
use super::curve::Curve;
use super::entry::{Entry, Section, push_owners};
use super::kmeans::{Centroids, Leaves, Points, Progress, Training};
use super::quantizer::Quantizer;
use super::record::{RecordBuilder, length};
use super::space::Space;
use crate::codec::checksum;
use crate::error::{Error, Result};
use crate::types::Metric;

/// The bytes that the record of a leaf should have: one request, and a few hundred vectors.
const RECORD_BYTES: usize = 64 << 10;
const LEAF_ROWS_MIN: usize = 64;
const LEAF_ROWS_MAX: usize = 512;

/// The index of a column of a segment, before the rows have found their places.
#[derive(Debug)]
pub(crate) struct Built {
    leaves: Vec<Leaf>,
    curve: Curve,
    quantizer: Quantizer,
}

/// What is to be one record of a leaf.
#[derive(Debug)]
struct Leaf {
    number: u32,
    /// The places of its vectors in [`Coded`]: some, or one that has many rows.
    vectors: Vec<usize>,
}

/// How many rows a leaf is to have.
pub(crate) fn leaf_rows(dimension: usize, bits: u8) -> usize {
    let padded = dimension.next_multiple_of(64);
    let (none, many) = (length(padded, bits, 0, false), length(padded, bits, 1 << 10, false));
    let each = (many - none).div_ceil(1 << 10).max(1);
    (RECORD_BYTES / each).clamp(LEAF_ROWS_MIN, LEAF_ROWS_MAX)
}

/// Makes the leaves of a column from some of its vectors.
pub(crate) fn train(
    metric: Metric,
    bits: u8,
    coded: &Coded,
    random: &mut impl FnMut() -> u64,
    progress: &Progress,
) -> Result<CentroidSet> {
    let points = Points::new(&coded.values, coded.dimension)?;
    let training = Training::new(leaf_rows(coded.dimension, bits), random());
    progress.expect(training.work(points.rows()));
    let leaves = Leaves::train(points, &training, progress)?;
    let (mean, spread) = moments(points, &leaves);
    let space = Space::new(metric, bits, mean, spread, random);
    let plain = Centroids::new(leaves.centroids, coded.dimension)?;
    Ok(CentroidSet::new(space, points.rows() as u64, plain))
}

/// The mean of the vectors, and the root of their mean squared distance from their centroids.
fn moments(points: Points<'_>, leaves: &Leaves) -> (Vec<f32>, f64) {
    let mut sums = vec![0.0_f64; points.dim()];
    let mut squares = 0.0;
    for (row, leaf) in leaves.assignment.iter().enumerate() {
        let start = *leaf as usize * points.dim();
        let centroid = leaves.centroids.get(start..start + points.dim()).unwrap_or_default();
        for ((sum, x), c) in sums.iter_mut().zip(points.row(row)).zip(centroid) {
            *sum += f64::from(*x);
            squares += (f64::from(*x) - f64::from(*c)).powi(2);
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of rows")]
    let count = points.rows().max(1) as f64;
    (sums.into_iter().map(|sum| super::space::narrow(sum / count)).collect(), (squares / count).sqrt())
}

impl Built {
    /// Finds the leaf of every vector.
    pub(crate) fn new(set: &CentroidSet, coded: &Coded, progress: &Progress) -> Result<Self> {
        let points = Points::new(&coded.values, coded.dimension)?;
        progress.expect((points.rows() as u64).saturating_mul(set.len() as u64));
        let assignment = set.plain().assign(points, progress)?;
        let space = set.space();
        let mut members: Vec<Vec<usize>> = vec![Vec::new(); set.len()];
        for (vector, leaf) in assignment.iter().enumerate() {
            if let Some(members) = members.get_mut(*leaf as usize) {
                members.push(vector);
            }
        }
        let most = 2 * leaf_rows(coded.dimension, space.bits());
        let leaves = (0..).zip(members);
        let leaves = leaves.flat_map(|(number, vectors)| {
            records(coded, vectors, most).map(move |vectors| Leaf { number, vectors })
        });
        let leaves = leaves.collect();
        Ok(Self {
            leaves,
            curve: Curve::measure(set, points, &assignment),
            quantizer: Quantizer::new(space.padded(), space.bits(), space.form()),
        })
    }

    /// The rows in the order of their leaves.
    pub(crate) fn order(&self, coded: &Coded) -> Vec<u32> {
        let vectors = self.leaves.iter().flat_map(|leaf| &leaf.vectors);
        vectors.flat_map(|vector| coded.rows_of(*vector)).collect()
    }

    /// The records, and the section that tells where they are if they are put at `base` of the file.
    ///
    /// `place` gives the row at which each row of the segment has come to lie. If it is the order of this index that
    /// they lie in, `listed` is false.
    pub(crate) fn finish(
        self,
        set: &CentroidSet,
        coded: &Coded,
        place: &[u32],
        listed: bool,
        base: u64,
    ) -> Result<(Vec<u8>, Vec<u8>)> {
        let mut writer =
            Writer { set, coded, place, listed, base, records: Vec::new(), residuals: Residuals::new(set) };
        let mut section = Section { curve: self.curve, ..Section::default() };
        let mut builder = RecordBuilder::new(&self.quantizer);
        let mut owned = Vec::new();
        for leaf in &self.leaves {
            let Some((entry, rows)) = writer.write(leaf, &mut builder, &mut section.loose)? else { continue };
            if entry.is_listed() {
                let number = u32::try_from(section.entries.len()).unwrap_or(u32::MAX);
                owned.extend(rows.iter().map(|row| (*row, number)));
            }
            section.entries.push(entry);
        }
        let mut records = writer.records;
        if section.entries.iter().any(Entry::is_listed) {
            let runs = (0..)
                .zip(&section.entries)
                .filter_map(|(number, entry)| Some((number, entry.first?, entry.rows)));
            owned.extend(
                runs.flat_map(|(number, first, rows)| (first..first + rows).map(move |row| (row, number))),
            );
            section.owners = push_owners(place.len(), owned.into_iter(), base, &mut records);
        }
        Ok((records, section.encode(place.len())))
    }
}

/// The vectors of a leaf, in as many records as keep each below so many rows: what many rows have gets its own.
fn records(coded: &Coded, vectors: Vec<usize>, most: usize) -> impl Iterator<Item = Vec<usize>> {
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
struct Writer<'a> {
    set: &'a CentroidSet,
    coded: &'a Coded,
    place: &'a [u32],
    listed: bool,
    base: u64,
    records: Vec<u8>,
    residuals: Residuals<'a>,
}

impl Writer<'_> {
    /// Writes a record and returns its rows; none if none of its vectors has a code. What has none is added to the
    /// loose rows.
    fn write(
        &mut self,
        leaf: &Leaf,
        builder: &mut RecordBuilder<'_>,
        loose: &mut RoaringBitmap,
    ) -> Result<Option<(Entry, Vec<u32>)>> {
        let (mut rows, mut codes) = (Vec::new(), 0);
        let centroid = self.set.inner(leaf.number as usize);
        for vector in &leaf.vectors {
            let at = |row: u32| {
                let place = self.place.get(row as usize).copied();
                place.ok_or_else(|| Error::internal("a row without a place"))
            };
            let here = self.coded.rows_of(*vector).map(at).collect::<Result<Vec<u32>>>()?;
            let times = if here.len() >= COPIES_MIN { 1 } else { here.len() };
            let residual = self.residuals.of(self.coded.values_of(*vector), centroid);
            // Its code is the same each time.
            if (0..times).all(|_| builder.push(residual, centroid)) {
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
        builder.finish(centroid, (!run).then_some(rows.as_slice()), &mut self.records);
        let Some(first) = rows.first().copied() else {
            self.records.truncate(start);
            return Ok(None);
        };
        let narrow =
            |count: usize| u32::try_from(count).map_err(|_| Error::internal("a record of too many rows"));
        let entry = Entry {
            leaf: leaf.number,
            rows: narrow(rows.len())?,
            first: run.then_some(first),
            codes: narrow(codes)?,
            offset: self.base + start as u64,
            sum: checksum(self.records.get(start..).unwrap_or_default()),
        };
        Ok(Some((entry, rows)))
    }
}

/// Residuals of vectors, in memory that is used again.
struct Residuals<'a> {
    space: &'a Space,
    scratch: Vec<f32>,
    inner: Vec<f32>,
}

impl<'a> Residuals<'a> {
    fn new(set: &'a CentroidSet) -> Self {
        let space = set.space();
        Self { space, scratch: Vec::new(), inner: vec![0.0; space.padded()] }
    }

    fn of(&mut self, vector: &[f32], centroid: &[f32]) -> &[f32] {
        self.space.enter(vector, &mut self.scratch, &mut self.inner);
        for (x, c) in self.inner.iter_mut().zip(centroid) {
            *x -= c;
        }
        &self.inner
    }
}
