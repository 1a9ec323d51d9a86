//! Rows of every type that look random and are the same in every run.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::{DataType, Float16Type, Float32Type, Int8Type};
use half::f16;
use uuid::Uuid;

use crate::index::vector::Random;
use crate::schema::{AttributeType, ColumnKind, Ids, Schema, VectorColumn};
use crate::types::{DocumentId, IdKind, Metric, VectorType};

const SCALARS: [AttributeType; 7] = [
    AttributeType::String,
    AttributeType::Int,
    AttributeType::Uint,
    AttributeType::Float,
    AttributeType::Bool,
    AttributeType::Uuid,
    AttributeType::Datetime,
];

/// Every type of column, a vector column among them and two behind.
pub(super) fn schema(kind: IdKind) -> Arc<Schema> {
    let mut builder = Schema::builder(kind).vector("f32", VectorType::F32, 3, Metric::Dot);
    for scalar in SCALARS {
        builder = builder.attribute(scalar.to_string(), scalar);
        builder = builder.attribute(format!("{scalar}.[é]"), AttributeType::array(scalar).unwrap());
    }
    let builder = builder.attribute("bytes", AttributeType::Bytes);
    let builder = builder.vector("f16", VectorType::F16, 5, Metric::L2Squared);
    Arc::new(builder.vector("I8 ", VectorType::I8, 7, Metric::Cosine).build().unwrap())
}

/// What the values of rows are drawn from.
struct RowGenerator(Random);

impl RowGenerator {
    fn roll(&mut self, below: u64) -> u64 {
        self.0.next() % below
    }

    fn text(&mut self) -> String {
        ["", "a", "naïve", "日本語", "a longer piece of text, as it happens", "\0"][self.roll(6) as usize]
            .repeat(self.roll(4) as usize)
    }

    fn scalars(&mut self, kind: AttributeType, count: usize, nulls: bool) -> ArrayRef {
        let picks: Vec<Option<u64>> =
            (0..count).map(|_| (!nulls || self.roll(4) > 0).then(|| self.roll(1 << 20))).collect();
        let pick = |p: u64, n: usize| p as usize % n;
        match kind {
            AttributeType::String => {
                Arc::new(picks.iter().map(|p| p.map(|_| self.text())).collect::<StringArray>())
            }
            AttributeType::Int => {
                let ints = [i64::MIN, -1, 0, i64::MAX];
                Arc::new(picks.iter().map(|p| p.map(|p| ints[pick(p, 4)])).collect::<Int64Array>())
            }
            AttributeType::Uint => Arc::new(
                picks.iter().map(|p| p.map(|p| [0, p, u64::MAX][pick(p, 3)])).collect::<UInt64Array>(),
            ),
            AttributeType::Float => {
                let floats = [f64::MIN, f64::MIN_POSITIVE, f64::INFINITY, 0.0, 1e-310];
                Arc::new(picks.iter().map(|p| p.map(|p| floats[pick(p, 5)])).collect::<Float64Array>())
            }
            AttributeType::Bool => {
                Arc::new(picks.iter().map(|p| p.map(|p| p % 2 == 0)).collect::<BooleanArray>())
            }
            AttributeType::Uuid => {
                let mut builder = FixedSizeBinaryBuilder::new(16);
                for p in picks {
                    match p {
                        Some(p) => builder.append_value(u128::from(p).to_le_bytes()).unwrap(),
                        None => builder.append_null(),
                    }
                }
                Arc::new(builder.finish())
            }
            AttributeType::Datetime => {
                let times = [i64::MIN, 0, i64::MAX, 1_700_000_000_000];
                let times = picks.iter().map(|p| p.map(|p| times[pick(p, 4)]));
                Arc::new(times.collect::<TimestampMillisecondArray>().with_timezone("UTC"))
            }
            _ => Arc::new(picks.iter().map(|p| p.map(u64::to_le_bytes)).collect::<BinaryArray>()),
        }
    }

    fn attribute(&mut self, kind: AttributeType, count: usize) -> ArrayRef {
        let Some(element) = kind.element() else { return self.scalars(kind, count, true) };
        let lengths: Vec<usize> = (0..count).map(|_| self.roll(4) as usize).collect();
        let values = self.scalars(element, lengths.iter().sum(), false);
        let valid: Vec<bool> = lengths.iter().map(|len| *len > 0 || self.roll(2) == 0).collect();
        let DataType::List(field) = kind.arrow_type() else { panic!("an array is a list") };
        let offsets = arrow::buffer::OffsetBuffer::from_lengths(lengths);
        Arc::new(ListArray::new(field, offsets, values, Some(valid.into())))
    }

    fn vectors(&mut self, shape: VectorColumn, count: usize) -> ArrayRef {
        let len = count * shape.dimension;
        let values: ArrayRef = match shape.element {
            VectorType::F32 => Arc::new(PrimitiveArray::<Float32Type>::from_iter_values(
                (0..len).map(|_| self.roll(1000) as f32 / 7.0),
            )),
            VectorType::F16 => Arc::new(PrimitiveArray::<Float16Type>::from_iter_values(
                (0..len).map(|_| f16::from_f32(self.roll(1000) as f32 / 7.0)),
            )),
            VectorType::I8 => Arc::new(PrimitiveArray::<Int8Type>::from_iter_values(
                (0..len).map(|_| self.roll(256) as u8 as i8),
            )),
        };
        let valid: Vec<bool> = (0..count).map(|_| self.roll(5) > 0).collect();
        let DataType::FixedSizeList(field, dimension) = shape.arrow_type() else {
            panic!("a vector is a list")
        };
        Arc::new(FixedSizeListArray::new(field, dimension, values, Some(valid.into())))
    }
}

/// Id number `n`; only every third number is used.
pub(super) fn id(kind: IdKind, n: u64) -> DocumentId {
    match kind {
        IdKind::U64 => (n << 40).into(),
        IdKind::Uuid => Uuid::from_u128(u128::from(n) << 90 | 7).into(),
        IdKind::String => format!("{n:08}{}", "ü".repeat(n as usize % 9)).into(),
    }
}

pub(super) fn batch(schema: &Schema, first: u64, rows: usize) -> RecordBatch {
    let mut generator = RowGenerator(Random::new(first + rows as u64));
    let ids: Vec<_> = (0..rows as u64).map(|n| id(schema.id(), (first + n) * 3)).collect();
    let mut columns = vec![Ids::build_array(schema.id(), &ids).unwrap()];
    for column in schema.columns() {
        columns.push(match column.kind {
            ColumnKind::Attribute(kind) => generator.attribute(kind, rows),
            ColumnKind::Vector(shape) => generator.vectors(shape, rows),
        });
    }
    RecordBatch::try_new(schema.arrow(), columns).unwrap()
}
