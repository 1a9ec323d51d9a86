//! Record batches back into documents, and columns into values.

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, FixedSizeBinaryArray, Float16Array, Float32Array,
    Float64Array, Int8Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use bytes::Bytes;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::schema::{AttributeType, Column, ColumnKind, ID_COLUMN, Ids, Schema, VectorColumn};
use crate::types::{Document, Value, Vector, VectorType};

impl Schema {
    /// The rows of a batch as documents. The batch has the id and any of the schema's columns, in any order,
    /// each in the type that [`Schema::arrow`] gives it. Nulls are left out.
    ///
    /// For a batch in other types, call [`Schema::check_batch`] first.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a batch without an id column, with a null id, an
    /// unknown column, or a column in another type.
    pub fn documents(&self, batch: &RecordBatch) -> Result<Vec<Document>> {
        let ids =
            batch.column_by_name(ID_COLUMN).ok_or_else(|| Error::invalid("the batch has no id column"))?;
        let ids = Ids::new(self.id(), ids)?;
        let mut documents: Vec<_> = (0..ids.len()).map(|row| Document::new(ids.get(row))).collect();
        for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            if field.name() == ID_COLUMN {
                continue;
            }
            let column = self
                .column(field.name())
                .ok_or_else(|| Error::invalid(format!("unknown column. column=`{}`", field.name())))?;
            let cells = Cells::new(column, array)?;
            for (row, document) in documents.iter_mut().enumerate() {
                if !cells.is_null(row) {
                    document.set(&column.name, cells.get(row));
                }
            }
        }
        Ok(documents)
    }
}

/// A column, ready to be read value by value.
#[derive(Clone, Debug)]
pub(crate) struct Cells {
    nulls: Option<NullBuffer>,
    values: Values,
}

#[derive(Clone, Debug)]
enum Values {
    String(StringArray),
    Int(Int64Array),
    Uint(UInt64Array),
    Float(Float64Array),
    Bool(BooleanArray),
    Uuid(FixedSizeBinaryArray),
    Datetime(TimestampMillisecondArray),
    Bytes(BinaryArray),
    Array(OffsetBuffer<i32>, Box<Values>),
    F32(Float32Array, usize),
    F16(Float16Array, usize),
    I8(Int8Array, usize),
}

impl Cells {
    /// Reads `array`, which must be in the Arrow type of `column`, without nulls inside its lists.
    pub(crate) fn new(column: &Column, array: &ArrayRef) -> Result<Self> {
        let values = match column.kind {
            ColumnKind::Attribute(kind) => Values::attribute(kind, array),
            ColumnKind::Vector(shape) => Values::vector(shape, array),
        };
        let values = values.ok_or_else(|| {
            Error::invalid(format!(
                "the column is {} in the batch, which is not its type, or has nulls inside a list. column=`{}`",
                array.data_type(),
                column.name
            ))
        })?;
        Ok(Self { nulls: array.nulls().cloned(), values })
    }

    /// Whether a row is null. `row` must be within the column.
    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// The value of a row. `row` must be within the column.
    pub(crate) fn get(&self, row: usize) -> Value {
        if self.is_null(row) { Value::Null } else { self.values.get(row) }
    }
}

impl Values {
    fn attribute(kind: AttributeType, array: &ArrayRef) -> Option<Self> {
        if let Some(element) = kind.element() {
            let list = array.as_list_opt::<i32>().filter(|list| list.values().null_count() == 0)?;
            let values = Self::attribute(element, list.values())?;
            return Some(Self::Array(list.offsets().clone(), Box::new(values)));
        }
        let any = array.as_any();
        match kind {
            AttributeType::String => any.downcast_ref().cloned().map(Self::String),
            AttributeType::Int => any.downcast_ref().cloned().map(Self::Int),
            AttributeType::Uint => any.downcast_ref().cloned().map(Self::Uint),
            AttributeType::Float => any.downcast_ref().cloned().map(Self::Float),
            AttributeType::Bool => any.downcast_ref().cloned().map(Self::Bool),
            AttributeType::Datetime => any.downcast_ref().cloned().map(Self::Datetime),
            AttributeType::Uuid => {
                let uuids = array.as_fixed_size_binary_opt().filter(|a| a.value_length() == 16);
                uuids.cloned().map(Self::Uuid)
            }
            _ => any.downcast_ref().cloned().map(Self::Bytes),
        }
    }

    fn vector(shape: VectorColumn, array: &ArrayRef) -> Option<Self> {
        let dimension = shape.dimension;
        let list = array
            .as_fixed_size_list_opt()
            .filter(|list| usize::try_from(list.value_length()) == Ok(dimension))?;
        let flat = list.values();
        if flat.null_count() > 0 && list.null_count() == 0 {
            return None;
        }
        let any = flat.as_any();
        match shape.element {
            VectorType::F32 => any.downcast_ref().cloned().map(|flat| Self::F32(flat, dimension)),
            VectorType::F16 => any.downcast_ref().cloned().map(|flat| Self::F16(flat, dimension)),
            VectorType::I8 => any.downcast_ref().cloned().map(|flat| Self::I8(flat, dimension)),
        }
    }

    fn get(&self, row: usize) -> Value {
        match self {
            Self::String(a) => Value::String(a.value(row).to_owned()),
            Self::Int(a) => Value::Int(a.value(row)),
            Self::Uint(a) => Value::Uint(a.value(row)),
            Self::Float(a) => Value::Float(a.value(row)),
            Self::Bool(a) => Value::Bool(a.value(row)),
            Self::Uuid(a) => Value::Uuid(Uuid::from_slice(a.value(row)).unwrap_or_default()),
            Self::Datetime(a) => Value::Datetime(a.value(row)),
            Self::Bytes(a) => Value::Bytes(Bytes::copy_from_slice(a.value(row))),
            Self::Array(offsets, values) => {
                Value::Array(range(offsets, row).map(|element| values.get(element)).collect())
            }
            Self::F32(a, dimension) => Value::Vector(Vector::F32(components(a.values(), *dimension, row))),
            Self::F16(a, dimension) => Value::Vector(Vector::F16(components(a.values(), *dimension, row))),
            Self::I8(a, dimension) => Value::Vector(Vector::I8(components(a.values(), *dimension, row))),
        }
    }
}

/// Which elements belong to a row.
fn range(offsets: &[i32], row: usize) -> std::ops::Range<usize> {
    let at = |place: usize| offsets.get(place).and_then(|&x| usize::try_from(x).ok()).unwrap_or(0);
    at(row)..at(row + 1)
}

fn components<T: Clone>(flat: &[T], dimension: usize, row: usize) -> Vec<T> {
    flat.get(row * dimension..(row + 1) * dimension).unwrap_or_default().to_vec()
}
