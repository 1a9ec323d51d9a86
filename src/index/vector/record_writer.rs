//! Writing the records of clusters one after another.

use roaring::RoaringBitmap;

use super::centroids::CentroidSet;
use super::common_direction::CommonDirection;
use super::distinct::{COPIES_MIN, DistinctVectors};
use super::kernels::kernels;
use super::numeric::{count_to_f64, median, power_of_two, round_to_f32};
use super::quantizer::{Form, Quantizer, ResidualTerms};
use super::record::RecordBuilder;
use super::section::RecordEntry;
use crate::codec::{checksum, to_u32, u64_of, usize_of};
use crate::error::{Error, Result};

/// Residuals of a cluster are scaled so that half of them are longer than 1, but none longer than this times 2.
// Factors are stored as f16, from 6e-8 to 65,504: within these scales they neither overflow nor lose their digits. With
// one scale for all clusters, a narrow cluster beside wide ones would lose them.
const SCALED_MAX: f64 = 4_096.0;

/// The vectors of a record to be written.
#[derive(Debug)]
pub(super) struct RecordPlan {
    pub(super) cluster: u32,
    /// By their numbers in [`DistinctVectors`]: some, or one that has many rows.
    pub(super) vectors: Vec<u32>,
}

/// Writes the records of a column.
pub(super) struct RecordWriter<'a> {
    set: &'a CentroidSet,
    vectors: &'a DistinctVectors,
    positions: &'a [u32],
    listed: bool,
    base: u64,
    records: Vec<u8>,
    builder: RecordBuilder<'a>,
    residuals: Residuals<'a>,
    /// Rows whose vectors have no code.
    loose: RoaringBitmap,
}

impl<'a> RecordWriter<'a> {
    /// `positions` has the final position of each row. Records list them if `listed`. The first record is written at `base`.
    pub(super) fn new(
        set: &'a CentroidSet,
        vectors: &'a DistinctVectors,
        quantizer: &'a Quantizer,
        positions: &'a [u32],
        listed: bool,
        base: u64,
    ) -> Self {
        Self {
            set,
            vectors,
            positions,
            listed,
            base,
            records: Vec::new(),
            builder: RecordBuilder::new(quantizer),
            residuals: Residuals::new(set, vectors),
            loose: RoaringBitmap::new(),
        }
    }

    /// The records, and the rows whose vectors have no code.
    pub(super) fn finish(self) -> (Vec<u8>, RoaringBitmap) {
        (self.records, self.loose)
    }

    /// Leaves a vector without a code.
    pub(super) fn add_loose(&mut self, vector: u32) -> Result<()> {
        self.loose.extend(self.positions_of(vector)?);
        Ok(())
    }

    /// The final positions of the rows that have a vector.
    fn positions_of(&self, vector: u32) -> Result<Vec<u32>> {
        let position_of = |row: u32| {
            let position = self.positions.get(usize_of(row)).copied();
            position.ok_or_else(|| Error::internal("a row without a position"))
        };
        self.vectors.rows_of(vector).map(position_of).collect()
    }

    /// Writes a record and returns its rows; `None` if none of its vectors has a code.
    pub(super) fn write_record(&mut self, plan: &RecordPlan) -> Result<Option<(RecordEntry, Vec<u32>)>> {
        let (mut rows, mut codes) = (Vec::new(), 0);
        self.residuals.enter_cluster(plan);
        for vector in &plan.vectors {
            let positions = self.positions_of(*vector)?;
            let times = code_count(positions.len());
            if self.residuals.push_vector(*vector, times, &mut self.builder) {
                rows.extend(positions);
                codes += times;
            } else {
                self.loose.extend(positions);
            }
        }
        // Codes of an ordinary record are in the order of its rows; the single one of copies has no order.
        if codes < rows.len() {
            rows.sort_unstable();
        }
        // A vector without a code leaves a gap, and a run with a gap is none.
        let run = !self.listed && rows.windows(2).all(|pair| matches!(pair, [a, b] if a + 1 == *b));
        let start = self.records.len();
        let scale = round_to_f32(self.residuals.scale);
        self.builder.finish(scale, (!run).then_some(rows.as_slice()), &mut self.records);
        let Some(first) = rows.first().copied() else {
            self.records.truncate(start);
            return Ok(None);
        };
        let (_, record) = self.records.split_at(start);
        let number = self.set.numbers().number_of(plan.cluster);
        let entry = RecordEntry {
            number: number.ok_or_else(|| Error::internal("a cluster without a number"))?,
            cluster: plan.cluster,
            rows: to_u32(rows.len(), "the number of rows in a record")?,
            first: run.then_some(first),
            codes: to_u32(codes, "the number of codes in a record")?,
            offset: self.base + u64_of(start),
            checksum: checksum(record),
        };
        Ok(Some((entry, rows)))
    }
}

/// Residuals of the vectors of one cluster after another, in memory that is reused.
struct Residuals<'a> {
    set: &'a CentroidSet,
    vectors: &'a DistinctVectors,
    /// The factor that the residuals of the cluster are multiplied by.
    scale: f64,
    cluster: u32,
    common: CommonDirection,
    /// The centroid in the scale of the cluster, less the origin of queries, rotated.
    centroid: Vec<f32>,
    residual: Vec<f32>,
    scratch: Vec<f32>,
}

impl<'a> Residuals<'a> {
    fn new(set: &'a CentroidSet, vectors: &'a DistinctVectors) -> Self {
        let zeros = vec![0.0; set.space().padded()];
        Self {
            set,
            vectors,
            scale: 1.0,
            cluster: 0,
            common: CommonDirection::default(),
            centroid: zeros.clone(),
            residual: zeros,
            scratch: Vec::new(),
        }
    }

    fn enter_cluster(&mut self, plan: &RecordPlan) {
        let kernels = kernels();
        self.cluster = plan.cluster;
        let (centroid, space) = (self.set.centroid(self.cluster), self.set.space());
        let vectors = || plan.vectors.iter().map(|vector| self.vectors.values_of(*vector));
        let lengths: Vec<f64> = vectors().map(|vector| kernels.wide_l2(vector, centroid).sqrt()).collect();
        let rows = plan.vectors.iter().map(|vector| code_count(self.vectors.rows_of(*vector).count()));
        let residuals = vectors().zip(&lengths).zip(rows);
        let residuals = residuals.map(|((vector, length), rows)| (residual(vector, centroid), *length, rows));
        self.common = CommonDirection::new(space.dimension(), residuals);
        let lengths: Vec<f64> = lengths.into_iter().filter(|length| *length > 0.0).collect();
        let longest = lengths.iter().copied().fold(0.0, f64::max);
        self.scale = power_of_two(median(&lengths)).min(power_of_two(longest) * SCALED_MAX);
        let components = centroid.iter().zip(space.origin()).map(|(c, origin)| f64::from(*c) - origin);
        space.rotate(components, self.scale, &mut self.scratch, &mut self.centroid);
    }

    /// Codes a vector of the cluster `times` times; `false` if it has no code.
    fn push_vector(&mut self, vector: u32, times: usize, builder: &mut RecordBuilder<'_>) -> bool {
        let (values, centroid) = (self.vectors.values_of(vector), self.set.centroid(self.cluster));
        let space = self.set.space();
        // The difference in f64, before the rotation: between a vector and a close centroid, both far from the origin, f32
        // would leave no digits of it.
        let exact = || residual(values, centroid);
        space.rotate(exact(), self.scale, &mut self.scratch, &mut self.residual);
        let product = match space.form() {
            Form::L2 => 0.0,
            Form::Dot => {
                let products = exact().zip(centroid).map(|(r, c)| r * f64::from(*c));
                products.sum::<f64>() * self.scale * self.scale
            }
        };
        let widening = self.common.widening(exact());
        let noise = space.rounding_error() * self.scale / count_to_f64(space.dimension()).sqrt();
        // The code is the same each time, and so is the answer: none or all are added.
        let terms = ResidualTerms { product, noise, widening };
        (0..times).all(|_| builder.push(&self.residual, &self.centroid, terms))
    }
}

/// How many codes a vector of so many rows gets.
fn code_count(rows: usize) -> usize {
    if rows >= COPIES_MIN { 1 } else { rows }
}

/// The difference of a vector from its centroid.
fn residual<'a>(vector: &'a [f32], centroid: &'a [f32]) -> impl Iterator<Item = f64> + 'a {
    vector.iter().zip(centroid).map(|(x, c)| f64::from(*x) - f64::from(*c))
}
