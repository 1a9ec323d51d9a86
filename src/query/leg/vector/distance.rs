//! Exact distances between a query vector and the rows of a vector column.
//!
//! # Precision
//! Sums run in f64. A product of two f32 is exact there, so with u = 2⁻⁵³ and n components [`Metric::L2Squared`] has
//! a relative error of at most n·u, [`Metric::Dot`] an absolute one of at most n·u · Σ|aᵢ bᵢ|, and
//! [`Metric::Cosine`] one of at most 2n·u, against the exact distance of the stored components; of i8 sums are
//! exact. Stored components neither overflow nor underflow. Results are ordered by these distances, and rounded to
//! f32 ([`round_to_f32`]) where they are reported.
//!
//! **Invariants:** the distance of a row depends on its components and the query alone, never on its position in
//! a batch or on the processor; for finite components it is never NaN nor minus zero, a cosine lies between 0 and
//! 2, and the distance of a vector from itself is 0 except by the inner product.

use std::cmp::Ordering;

use arrow::array::types::{ArrowPrimitiveType, Float16Type, Float32Type, Int8Type};
use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray};
use arrow::buffer::BooleanBuffer;
use half::slice::HalfFloatSliceExt;

use crate::error::{Error, Result};
use crate::index::vector::kernels;
use crate::query::leg::ranking::Score;
use crate::schema::{VectorColumn, coerce_vector};
use crate::types::{Metric, Vector};

/// Products of i8 that are summed in an i32 before they are widened. A product is at most 2¹⁶ (of differences), so
/// the sum of a block is at most 2²⁵, and a block is long enough for the compiler to vectorise it.
const I8_BLOCK: usize = 512;

/// A distance as the score of a row: the least is the best, and NaN is behind all others.
#[derive(Clone, Copy, Debug)]
pub(in crate::query) struct Distance(pub(in crate::query) f64);

impl Score for Distance {
    fn reported(self) -> f32 {
        // Not a negation: the distance 0 scores 0, not minus zero.
        0.0 - round_to_f32(self.0)
    }

    fn distance(self) -> Option<f32> {
        Some(round_to_f32(self.0))
    }
}

impl Ord for Distance {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Distance {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Distance {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Distance {}

/// A query vector in the components of a column, to compare it with the rows of the column.
#[derive(Clone, Debug)]
pub(in crate::query) struct ExactVector {
    metric: Metric,
    components: Components,
}

#[derive(Clone, Debug)]
enum Components {
    /// Of an f32 column, with the sum of squares.
    F32(Vec<f32>, f64),
    /// Of an f16 column, widened.
    F16(Vec<f32>, f64),
    I8(Vec<i8>, i64),
}

impl ExactVector {
    /// Coerces `query` to the element type and dimension of a column; `column` is its name, for messages.
    pub(in crate::query) fn new(column: &str, shape: VectorColumn, query: Vector) -> Result<Self> {
        let query = coerce_vector(shape, query)
            .map_err(|why| Error::invalid(format!("bad query vector: {why}. column=`{column}`")))?;
        let components = match query {
            Vector::F32(v) => {
                let square = kernels().wide_dot(&v, &v);
                Components::F32(v, square)
            }
            Vector::F16(v) => {
                let v = v.to_f32_vec();
                let square = kernels().wide_dot(&v, &v);
                Components::F16(v, square)
            }
            Vector::I8(v) => {
                let square = dot_i8(&v, &v);
                Components::I8(v, square)
            }
        };
        Ok(Self { metric: shape.metric, components })
    }

    /// Appends the distance of every row to `out`; that of a null row is NaN, which sorts behind all others.
    #[cfg(test)]
    pub(in crate::query) fn distances(&self, rows: &ArrayRef, out: &mut Vec<f32>) -> Result<()> {
        let start = out.len();
        out.resize(start + rows.len(), f32::NAN);
        let (_, out) = out.split_at_mut(start);
        self.for_each_distance(rows, None, |row, distance| {
            if let Some(slot) = out.get_mut(row) {
                *slot = round_to_f32(distance);
            }
        })
    }

    /// Calls `visit` with the position and distance of every vector that is not null, in their order; with a `mask`,
    /// of those that it selects.
    pub(in crate::query) fn for_each_distance(
        &self,
        rows: &ArrayRef,
        mask: Option<&BooleanBuffer>,
        visit: impl FnMut(usize, f64),
    ) -> Result<()> {
        let list = rows.as_fixed_size_list_opt().ok_or_else(|| shape_mismatch(rows))?;
        if usize::try_from(list.value_length()).ok() != Some(self.dimension()) {
            return Err(shape_mismatch(rows));
        }
        let selected = selected_rows(list, mask)?;
        match &self.components {
            Components::F32(query, square) => visit_distances::<Float32Type>(
                list,
                &selected,
                |row| self.distance_of_floats(query, *square, row),
                visit,
            ),
            Components::F16(query, square) => {
                let mut wide = vec![0.0; query.len()];
                let distance = |row: &[half::f16]| {
                    row.convert_to_f32_slice(&mut wide);
                    self.distance_of_floats(query, *square, &wide)
                };
                visit_distances::<Float16Type>(list, &selected, distance, visit)
            }
            Components::I8(query, square) => visit_distances::<Int8Type>(
                list,
                &selected,
                |row| self.distance_of_integers(query, *square, row),
                visit,
            ),
        }
    }

    /// The components, widened.
    pub(in crate::query) fn to_f32(&self) -> Vec<f32> {
        match &self.components {
            Components::F32(v, _) | Components::F16(v, _) => v.clone(),
            Components::I8(v, _) => v.iter().copied().map(f32::from).collect(),
        }
    }

    fn dimension(&self) -> usize {
        match &self.components {
            Components::F32(v, _) | Components::F16(v, _) => v.len(),
            Components::I8(v, _) => v.len(),
        }
    }

    fn distance_of_floats(&self, query: &[f32], query_square: f64, row: &[f32]) -> f64 {
        let kernels = kernels();
        match self.metric {
            Metric::L2Squared => kernels.wide_l2(query, row),
            // Not a negation: results order minus zero before zero.
            Metric::Dot => 0.0 - kernels.wide_dot(query, row),
            Metric::Cosine => {
                cosine_distance(kernels.wide_dot(query, row), query_square, kernels.wide_dot(row, row))
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "sums of 16,384 products of i8 are below 2^31")]
    fn distance_of_integers(&self, query: &[i8], query_square: i64, row: &[i8]) -> f64 {
        match self.metric {
            Metric::L2Squared => sum_i8(query, row, |a, b| (a - b) * (a - b)) as f64,
            Metric::Dot => 0.0 - dot_i8(query, row) as f64,
            Metric::Cosine => {
                cosine_distance(dot_i8(query, row) as f64, query_square as f64, dot_i8(row, row) as f64)
            }
        }
    }
}

/// A distance as results report it.
#[expect(clippy::cast_possible_truncation, reason = "rounding is the point; what is too large is infinite")]
pub(in crate::query) fn round_to_f32(distance: f64) -> f32 {
    // Less than an f32 holds, and negative, would be minus zero.
    distance as f32 + 0.0
}

fn shape_mismatch(rows: &ArrayRef) -> Error {
    Error::internal(format!("a vector column is {}, not of the schema's shape", rows.data_type()))
}

/// The rows of `mask` that are not null.
fn selected_rows(list: &FixedSizeListArray, mask: Option<&BooleanBuffer>) -> Result<BooleanBuffer> {
    if let Some(mask) = mask.filter(|mask| mask.len() != list.len()) {
        return Err(Error::internal(format!("a mask of {} rows for {} vectors", mask.len(), list.len())));
    }
    let valid = list.nulls().map(arrow::buffer::NullBuffer::inner);
    Ok(match (mask, valid) {
        (Some(mask), Some(valid)) => mask & valid,
        (Some(one), None) | (None, Some(one)) => one.clone(),
        (None, None) => BooleanBuffer::new_set(list.len()),
    })
}

fn visit_distances<T: ArrowPrimitiveType>(
    list: &FixedSizeListArray,
    selected: &BooleanBuffer,
    mut distance: impl FnMut(&[T::Native]) -> f64,
    mut visit: impl FnMut(usize, f64),
) -> Result<()> {
    let short = || Error::internal("a vector column is shorter than its rows or of another type");
    let values = list.values().as_primitive_opt::<T>().ok_or_else(short)?.values();
    let dimension = usize::try_from(list.value_length()).map_err(|_| short())?;
    for row in selected.set_indices() {
        let start = row * dimension;
        let components = values.get(start..start + dimension).ok_or_else(short)?;
        visit(row, distance(components));
    }
    Ok(())
}

/// One minus the cosine; 1 when either vector has no length.
fn cosine_distance(dot: f64, a_square: f64, b_square: f64) -> f64 {
    // One root of the product, not two roots: the root of a square is exact, so a vector has distance 0 from itself.
    let lengths = (a_square * b_square).sqrt();
    if lengths == 0.0 {
        return 1.0;
    }
    (1.0 - dot / lengths).clamp(0.0, 2.0)
}

fn dot_i8(a: &[i8], b: &[i8]) -> i64 {
    sum_i8(a, b, |a, b| a * b)
}

fn sum_i8(a: &[i8], b: &[i8], term: impl Fn(i32, i32) -> i32) -> i64 {
    let block = |(a, b): (&[i8], &[i8])| {
        let sum: i32 = a.iter().zip(b).map(|(a, b)| term(i32::from(*a), i32::from(*b))).sum();
        i64::from(sum)
    };
    a.chunks(I8_BLOCK).zip(b.chunks(I8_BLOCK)).map(block).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float16Array, Float32Array, Int8Array};
    use arrow::buffer::NullBuffer;
    use arrow::datatypes::{DataType, Field};
    use half::f16;
    use proptest::prelude::*;

    use super::*;
    use crate::schema::Schema;
    use crate::types::{IdKind, VECTOR_LENGTH_MAX, VectorType};

    const METRICS: [Metric; 3] = [Metric::Cosine, Metric::L2Squared, Metric::Dot];

    fn shape(element: VectorType, dimension: usize, metric: Metric) -> VectorColumn {
        let schema = Schema::builder(IdKind::U64).vector("v", element, dimension, metric).build().unwrap();
        schema.vectors().next().unwrap().1
    }

    /// A column of vectors, with a null of junk before each.
    fn column(vectors: &[Vector]) -> ArrayRef {
        let dimension = vectors[0].dimension();
        macro_rules! flat {
            ($variant:ident, $junk:expr) => {{
                let flat = vectors.iter().flat_map(|v| {
                    let Vector::$variant(v) = v else { panic!("mixed vectors") };
                    std::iter::repeat_n($junk, dimension).chain(v.iter().copied())
                });
                flat.collect::<Vec<_>>()
            }};
        }
        let (element, values): (_, ArrayRef) = match vectors[0].kind() {
            VectorType::F32 => (DataType::Float32, Arc::new(Float32Array::from(flat!(F32, f32::NAN)))),
            VectorType::F16 => (DataType::Float16, Arc::new(Float16Array::from(flat!(F16, f16::NAN)))),
            VectorType::I8 => (DataType::Int8, Arc::new(Int8Array::from(flat!(I8, 1)))),
        };
        let nulls = (0..2 * vectors.len()).map(|row| row % 2 == 1).collect::<NullBuffer>();
        let field = Arc::new(Field::new("item", element, false));
        Arc::new(FixedSizeListArray::new(field, i32::try_from(dimension).unwrap(), values, Some(nulls)))
    }

    /// The distance in f64, and how far off a result may be.
    fn reference(metric: Metric, a: &Vector, b: &Vector) -> (f64, f64) {
        let wide = |v: &Vector| v.to_f32().into_iter().map(f64::from).collect::<Vec<_>>();
        let (a, b) = (wide(a), wide(b));
        let sum = |f: &dyn Fn(f64, f64) -> f64| a.iter().zip(&b).map(|(a, b)| f(*a, *b)).sum::<f64>();
        let unit = 2f64.powi(-24);
        match metric {
            Metric::L2Squared => {
                let distance = sum(&|a, b| (a - b) * (a - b));
                // It is reported in f32.
                (distance, 2.0 * unit * distance + 1e-45)
            }
            Metric::Dot => {
                let (distance, size) = (-sum(&|a, b| a * b), sum(&|a, b| (a * b).abs()));
                (distance, 2.0 * unit * distance.abs() + 1e-12 * size + 1e-45)
            }
            Metric::Cosine => {
                let lengths = sum(&|a, _| a * a).sqrt() * sum(&|_, b| b * b).sqrt();
                let distance = if lengths == 0.0 { 1.0 } else { 1.0 - sum(&|a, b| a * b) / lengths };
                (distance, 2.0 * unit * distance.abs() + 1e-11)
            }
        }
    }

    fn check(query: &Vector, rows: &[Vector]) {
        let column = column(rows);
        for metric in METRICS {
            let shape = shape(query.kind(), query.dimension(), metric);
            let Ok(prepared) = ExactVector::new("v", shape, query.clone()) else {
                // By cosine one of length zero is refused, by others one that is too long.
                let (square, _) =
                    reference(Metric::L2Squared, query, &Vector::F32(vec![0.0; query.dimension()]));
                assert!(if metric == Metric::Cosine {
                    square == 0.0
                } else {
                    square.sqrt() > VECTOR_LENGTH_MAX
                });
                continue;
            };
            let mut out = Vec::new();
            prepared.distances(&column, &mut out).unwrap();
            assert_eq!(out.len(), 2 * rows.len());
            for (row, found) in rows.iter().zip(out.chunks(2)) {
                assert!(found[0].is_nan(), "the distance of a null");
                let (expected, slack) = reference(metric, query, row);
                let found = f64::from(found[1]);
                let near = (found - expected).abs() <= slack;
                // What is too large for an f32 is infinite.
                let large = found.is_infinite()
                    && found.signum() == expected.signum()
                    && expected.abs() + slack >= f64::from(f32::MAX);
                assert!(near || large, "{metric:?}: {found} for {expected} ± {slack}");
                assert!(found != 0.0 || found.is_sign_positive());
                assert!(metric != Metric::Cosine || (0.0..=2.0).contains(&found));
            }
            // Alone, sliced, and under a mask: the same bits.
            let mask = BooleanBuffer::collect_bool(out.len(), |row| row % 4 != 1);
            let mut seen = Vec::new();
            prepared
                .for_each_distance(&column, Some(&mask), |row, distance| {
                    seen.push((row, round_to_f32(distance)));
                })
                .unwrap();
            let wanted = (0..out.len()).filter(|row| row % 4 == 3).map(|row| (row, out[row]));
            assert_eq!(seen, wanted.collect::<Vec<_>>());
            for row in (1..out.len()).step_by(2) {
                let mut one = Vec::new();
                prepared.distances(&column.slice(row, 1), &mut one).unwrap();
                assert_eq!(one, [out[row]]);
            }
        }
    }

    fn component() -> impl Strategy<Value = f32> {
        let extreme = [0.0, -0.0, f32::MAX, f32::MIN, 1e-45, f32::MIN_POSITIVE, 1e19, -1e-19, 1.0, 65504.0];
        prop_oneof![4 => -1.0_f32..1.0, 1 => proptest::sample::select(extreme.to_vec())]
    }

    fn vectors<T: std::fmt::Debug + 'static>(
        component: BoxedStrategy<T>,
    ) -> impl Strategy<Value = Vec<Vec<T>>> {
        let dimension = prop_oneof![1_usize..70, 500_usize..1100];
        dimension.prop_flat_map(move |dimension| {
            let vector = proptest::collection::vec(component.clone(), dimension);
            proptest::collection::vec(vector, 2..5)
        })
    }

    #[test]
    fn a_product_too_small_for_f32_is_no_minus_zero() {
        let tiny = Vector::F32(vec![1e-45]);
        let prepared = ExactVector::new("v", shape(tiny.kind(), 1, Metric::Dot), tiny.clone()).unwrap();
        let (mut out, mut exact) = (Vec::new(), Vec::new());
        let rows = column(&[tiny]);
        prepared.distances(&rows, &mut out).unwrap();
        prepared.for_each_distance(&rows, None, |_, distance| exact.push(distance)).unwrap();
        assert!(out.iter().any(|distance| *distance == 0.0 && distance.is_sign_positive()), "{out:?}");
        assert!(exact.iter().any(|distance| *distance < 0.0), "the order is of the exact ones");
        assert!(Distance(-1e-90).reported().is_sign_positive());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn floats_agree_with_f64(vectors in vectors(component().boxed())) {
            let mut vectors: Vec<_> = vectors.into_iter().map(Vector::F32).collect();
            let query = vectors.pop().unwrap();
            vectors.push(query.clone());
            check(&query, &vectors);
        }

        #[test]
        fn halves_agree_with_f64(vectors in vectors((-300.0_f32..300.0).boxed())) {
            let half = |v: Vec<f32>| Vector::F16(v.into_iter().map(f16::from_f32).collect());
            let vectors: Vec<_> = vectors.into_iter().map(half).collect();
            check(&vectors[0], &vectors);
        }

        #[test]
        fn integers_agree_with_f64(vectors in vectors(any::<i8>().boxed())) {
            let vectors: Vec<_> = vectors.into_iter().map(Vector::I8).collect();
            check(&vectors[0], &vectors);
        }
    }

    #[test]
    fn the_largest_sums_are_exact_for_i8() {
        let dimension = crate::types::DIMENSION_MAX;
        let (low, high) = (Vector::I8(vec![-128; dimension]), Vector::I8(vec![127; dimension]));
        check(&low, &[low.clone(), high.clone()]);
        check(&high, &[low, high.clone()]);
    }

    #[test]
    fn a_vector_is_at_no_distance_from_itself_and_zero_has_no_direction() {
        let query = Vector::F32((0..700_u16).map(|i| f32::from(i).sin()).collect());
        let rows = column(&[query.clone(), Vector::F32(vec![0.0; 700])]);
        for (metric, expected) in [(Metric::Cosine, 1.0), (Metric::L2Squared, 0.0), (Metric::Dot, 0.0)] {
            let prepared = ExactVector::new("v", shape(VectorType::F32, 700, metric), query.clone()).unwrap();
            let mut out = Vec::new();
            prepared.distances(&rows, &mut out).unwrap();
            assert!(metric == Metric::Dot || out[1].to_bits() == 0);
            assert!(metric == Metric::L2Squared || out[3].to_bits() == f32::to_bits(expected));
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let shape = shape(VectorType::F32, 2, Metric::Dot);
        assert!(ExactVector::new("v", shape, Vector::from([1.0])).is_err());
        let prepared = ExactVector::new("v", shape, Vector::from([1.0, 2.0])).unwrap();
        let mut out = Vec::new();
        for wrong in [Vector::from([1.0]), Vector::I8(vec![1, 2])] {
            assert!(prepared.distances(&column(&[wrong]), &mut out).is_err());
        }
        let mask = BooleanBuffer::new_set(1);
        assert!(
            prepared.for_each_distance(&column(&[Vector::from([1.0, 2.0])]), Some(&mask), |_, _| ()).is_err()
        );
    }
}
