//! Documents as record batches, as untidy as Arrow allows.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, FixedSizeListArray, Float32Array,
    Float64Array, Int64Array, ListArray, RecordBatch, StringArray, TimestampMillisecondArray, UInt64Array,
    new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::concat;
use arrow::datatypes::DataType;

use super::dice::Dice;
use crate::schema::{AttributeType, ColumnKind, Ids, Schema};
use crate::types::{Document, Value};

/// A column of values. The slots of nulls hold junk, as Arrow allows.
fn build_column(kind: AttributeType, values: &[Option<Value>]) -> ArrayRef {
    let nulls = values.iter().map(Option::is_some).collect::<NullBuffer>();
    let DataType::List(field) = kind.arrow_type() else {
        let arrays: Vec<ArrayRef> = values.iter().map(|value| build_scalar(kind, value.as_ref())).collect();
        let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
        return if arrays.is_empty() {
            build_scalar(kind, None).slice(0, 0)
        } else {
            concat(&arrays).unwrap()
        };
    };
    let element = kind.element().unwrap();
    let junk = Dice([1, 1].iter()).draw_scalar(element);
    let rows = values.iter().map(|value| match value {
        Some(Value::Array(elements)) => elements.clone(),
        _ => vec![junk.clone(); 2],
    });
    let rows: Vec<_> = rows.collect();
    let flat: Vec<_> = rows.iter().flatten().cloned().map(Some).collect();
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(Vec::len));
    Arc::new(ListArray::new(field, offsets, build_column(element, &flat), Some(nulls)))
}

fn build_scalar(kind: AttributeType, value: Option<&Value>) -> ArrayRef {
    match value {
        None => new_null_array(&kind.arrow_type(), 1),
        Some(Value::String(x)) => Arc::new(StringArray::from(vec![x.as_str()])),
        Some(Value::Int(x)) => Arc::new(Int64Array::from(vec![*x])),
        Some(Value::Uint(x)) => Arc::new(UInt64Array::from(vec![*x])),
        Some(Value::Float(x)) => Arc::new(Float64Array::from(vec![*x])),
        Some(Value::Bool(x)) => Arc::new(BooleanArray::from(vec![*x])),
        Some(Value::Bytes(x)) => Arc::new(BinaryArray::from(vec![x.as_ref()])),
        Some(Value::Datetime(x)) => Arc::new(TimestampMillisecondArray::from(vec![*x]).with_timezone("UTC")),
        Some(Value::Uuid(x)) => {
            Arc::new(FixedSizeBinaryArray::try_from_iter([x.as_bytes()].into_iter()).unwrap())
        }
        Some(other) => panic!("not a scalar: {other:?}"),
    }
}

/// Documents as a slice out of the middle of a larger batch.
pub(super) fn build_batch(schema: &Schema, documents: &[Document]) -> RecordBatch {
    let pad = documents.first().cloned();
    let padded: Vec<_> = pad.iter().chain(documents).chain(&pad).collect();
    let ids: Vec<_> = padded.iter().map(|d| d.id()).cloned().collect();
    let mut columns = vec![Ids::build_array(schema.id(), &ids).unwrap()];
    for declared in schema.columns() {
        let values: Vec<_> = padded.iter().map(|d| d.get(&declared.name).cloned()).collect();
        columns.push(match declared.kind {
            ColumnKind::Attribute(kind) => build_column(kind, &values),
            ColumnKind::Vector(_) => {
                let DataType::FixedSizeList(field, _) = declared.arrow_field().data_type().clone() else {
                    panic!("a vector is a list");
                };
                let nulls = values.iter().map(Option::is_some).collect::<NullBuffer>();
                let flat = Arc::new(Float32Array::from(vec![1.0; values.len()]));
                Arc::new(FixedSizeListArray::new(field, 1, flat, Some(nulls)))
            }
        });
    }
    let whole = RecordBatch::try_new(schema.arrow(), columns).unwrap();
    whole.slice(usize::from(!documents.is_empty()), documents.len())
}
