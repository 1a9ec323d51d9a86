//! Random schemas, documents that they accept, and batches of other types with the same values.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, TimeUnit};
use half::f16;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use uuid::Uuid;

use crate::schema::{AttributeType, ColumnKind, Schema, VectorColumn};
use crate::types::{Document, DocumentId, IdKind, Metric, Value, Vector, VectorType};

pub(super) const SCALARS: [AttributeType; 8] = [
    AttributeType::String,
    AttributeType::Int,
    AttributeType::Uint,
    AttributeType::Float,
    AttributeType::Bool,
    AttributeType::Uuid,
    AttributeType::Datetime,
    AttributeType::Bytes,
];

pub(super) fn column_kinds() -> impl Strategy<Value = ColumnKind> {
    let scalar = select(&SCALARS[..]).prop_map(ColumnKind::Attribute);
    let array = select(&SCALARS[..])
        .prop_filter_map("no array of it", |s| AttributeType::array(s).map(ColumnKind::Attribute));
    let element = select(vec![VectorType::F32, VectorType::F16, VectorType::I8]);
    let metric = select(vec![Metric::Cosine, Metric::L2Squared, Metric::Dot]);
    let vector = (element, 1..5usize, metric).prop_map(|(element, dimension, metric)| {
        ColumnKind::Vector(VectorColumn { element, dimension, metric, code_bits: crate::schema::CODE_BITS })
    });
    prop_oneof![scalar, array, vector]
}

pub(super) fn schema_of(id: IdKind, kinds: &[ColumnKind]) -> Schema {
    let mut builder = Schema::builder(id);
    for (place, kind) in kinds.iter().enumerate() {
        let name = format!("c{place}");
        builder = match *kind {
            ColumnKind::Attribute(kind) => builder.attribute(name, kind),
            ColumnKind::Vector(v) => builder.vector(name, v.element, v.dimension, v.metric),
        };
    }
    builder.build().unwrap()
}

pub(super) fn scalar_values(kind: AttributeType) -> BoxedStrategy<Value> {
    // Small numbers often: they fit other types.
    match kind {
        AttributeType::String => ".{0,6}".prop_map(Value::String).boxed(),
        AttributeType::Int => prop_oneof![any::<i64>(), -9..200i64, -9..200i64].prop_map(Value::Int).boxed(),
        AttributeType::Uint => prop_oneof![any::<u64>(), 0..200u64].prop_map(Value::Uint).boxed(),
        AttributeType::Float => {
            let number = any::<f64>().prop_filter("NaN", |x| !x.is_nan());
            prop_oneof![number, Just(-0.0), Just(f64::INFINITY)].prop_map(Value::Float).boxed()
        }
        AttributeType::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        AttributeType::Uuid => any::<u128>().prop_map(|x| Value::Uuid(Uuid::from_u128(x))).boxed(),
        AttributeType::Datetime => prop_oneof![any::<i64>(), 0..1i64 << 41].prop_map(Value::Datetime).boxed(),
        _ => vec(any::<u8>(), 0..6).prop_map(|x| Value::Bytes(x.into())).boxed(),
    }
}

pub(super) fn column_values(kind: ColumnKind) -> BoxedStrategy<Value> {
    match kind {
        ColumnKind::Attribute(kind) => match kind.element() {
            Some(element) => vec(scalar_values(element), 0..4).prop_map(Value::Array).boxed(),
            None => scalar_values(kind),
        },
        ColumnKind::Vector(shape) => {
            // Never all zero.
            let component = (1..100i8).prop_flat_map(|x| prop_oneof![Just(x), Just(-x)]);
            let vector = vec(component, shape.dimension);
            let exact = move |v: Vec<i8>| match shape.element {
                VectorType::F32 => Vector::F32(v.iter().map(|x| f32::from(*x) / 7.0).collect()),
                VectorType::F16 => {
                    Vector::F16(v.iter().map(|x| f16::from_f32(f32::from(*x) / 8.0)).collect())
                }
                VectorType::I8 => Vector::I8(v),
            };
            vector.prop_map(move |v| Value::Vector(exact(v))).boxed()
        }
    }
}

pub(super) fn document_ids(kind: IdKind) -> BoxedStrategy<DocumentId> {
    match kind {
        IdKind::U64 => any::<u64>().prop_map(Into::into).boxed(),
        IdKind::Uuid => any::<u128>().prop_map(|x| Uuid::from_u128(x).into()).boxed(),
        IdKind::String => ".{1,8}".prop_map(DocumentId::from).boxed(),
    }
}

/// A schema, and documents that it accepts.
pub(super) fn schemas_with_documents() -> impl Strategy<Value = (Schema, Vec<Document>)> {
    let id = select(vec![IdKind::U64, IdKind::Uuid, IdKind::String]);
    (id, vec(column_kinds(), 0..8)).prop_flat_map(|(id, kinds)| {
        let schema = schema_of(id, &kinds);
        let cells: Vec<_> = kinds.iter().map(|kind| prop::option::of(column_values(*kind))).collect();
        let row = (document_ids(id), cells).prop_map(|(id, cells)| {
            cells.into_iter().enumerate().fold(Document::new(id), |d, (i, v)| d.with(format!("c{i}"), v))
        });
        vec(row, 0..10).prop_map(move |rows| (schema.clone(), rows))
    })
}

pub(super) fn without_nulls(schema: &Schema, documents: &[Document]) -> Vec<Document> {
    let checked = documents.iter().map(|d| schema.check(d.clone()).unwrap());
    let stripped = checked.map(|document| {
        let (id, values) = document.into_parts();
        let values = values.into_iter().filter(|(_, value)| !value.is_null());
        values.fold(Document::new(id), |d, (column, value)| d.with(column, value))
    });
    stripped.collect()
}

/// Other types that hold the same, where every value fits.
pub(super) fn castable_types(kind: &DataType) -> Vec<DataType> {
    use DataType as T;
    let list = |element: DataType| Arc::new(Field::new("element", element, true));
    match kind {
        T::Utf8 => vec![T::LargeUtf8, T::Utf8View, T::Dictionary(Box::new(T::Int8), Box::new(T::LargeUtf8))],
        T::Binary => vec![T::LargeBinary, T::BinaryView],
        T::Int64 => {
            vec![
                T::Int8,
                T::Int16,
                T::UInt8,
                T::UInt64,
                T::Dictionary(Box::new(T::UInt32), Box::new(T::Int64)),
            ]
        }
        T::UInt64 => vec![T::UInt8, T::UInt32, T::Int16, T::Int64],
        T::Timestamp(..) => [TimeUnit::Microsecond, TimeUnit::Nanosecond, TimeUnit::Millisecond]
            .map(|unit| T::Timestamp(unit, Some("+02:00".into())))
            .to_vec(),
        T::List(field) => {
            let mut lists: Vec<_> =
                castable_types(field.data_type()).into_iter().map(|t| T::List(list(t))).collect();
            lists.push(T::LargeList(list(field.data_type().clone())));
            lists
        }
        T::FixedSizeList(field, size) => {
            let wider = match field.data_type() {
                T::Float32 => T::Float64,
                T::Float16 => T::Float32,
                _ => T::Int32,
            };
            vec![
                T::FixedSizeList(list(wider.clone()), *size),
                T::LargeList(list(wider)),
                T::List(list(field.data_type().clone())),
            ]
        }
        _ => Vec::new(),
    }
}

/// The batch with columns in other types and another order.
pub(super) fn cast_columns(batch: &RecordBatch, choices: &[Index]) -> RecordBatch {
    let mut columns: Vec<_> = batch
        .schema_ref()
        .fields()
        .iter()
        .zip(batch.columns())
        .zip(choices)
        .map(|((field, array), choice)| {
            let mut kinds = castable_types(field.data_type());
            kinds.push(field.data_type().clone());
            let kind = choice.get(&kinds);
            let safe = arrow::compute::CastOptions { safe: false, ..Default::default() };
            let cast = arrow::compute::cast_with_options(array, kind, &safe);
            (field.name().clone(), cast.unwrap_or_else(|_| array.clone()))
        })
        .collect();
    columns.reverse();
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).unwrap()
}
