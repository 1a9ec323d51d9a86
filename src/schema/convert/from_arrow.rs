//! Record batches back to documents, and columns to values.

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, FixedSizeBinaryArray, Float16Array, Float32Array,
    Float64Array, Int8Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::ArrowNativeType;
use bytes::Bytes;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::schema::{AttributeType, Column, ColumnKind, ID_COLUMN, Ids, Schema, VectorColumn, type_mismatch};
use crate::types::{Document, Value, Vector, VectorType};

impl Schema {
    /// Converts the rows of a batch into documents. The batch has the id and any of the schema's columns, in any order,
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
            // Read above: it is the identity of a document, not a value in it.
            if field.name() == ID_COLUMN {
                continue;
            }
            let column = self
                .column(field.name())
                .ok_or_else(|| Error::invalid(format!("unknown column. column=`{}`", field.name())))?;
            // Column by column, so that the type is decided once and not for every row.
            let cells = ColumnValues::new(column, array)?;
            for (row, document) in documents.iter_mut().enumerate() {
                // A document without a value and one with a null are the same; the shorter form is returned.
                if let Some(value) = cells.get(row) {
                    document.set(&column.name, value);
                }
            }
        }
        Ok(documents)
    }
}

/// A column, downcast once, to be read value by value.
#[derive(Clone, Debug)]
struct ColumnValues {
    nulls: Option<NullBuffer>,
    values: TypedArray,
}

#[derive(Clone, Debug)]
// Lists keep their offsets and a typed array of elements, so that reading an element needs no downcast.
enum TypedArray {
    String(StringArray),
    Int(Int64Array),
    Uint(UInt64Array),
    Float(Float64Array),
    Bool(BooleanArray),
    Uuid(FixedSizeBinaryArray),
    Datetime(TimestampMillisecondArray),
    Bytes(BinaryArray),
    Array(OffsetBuffer<i32>, Box<TypedArray>),
    F32(Float32Array, usize),
    F16(Float16Array, usize),
    I8(Int8Array, usize),
}

impl ColumnValues {
    /// Takes `array`, which must be in the Arrow type of `column`, without nulls inside its lists.
    fn new(column: &Column, array: &ArrayRef) -> Result<Self> {
        let values = match column.kind {
            ColumnKind::Attribute(kind) => TypedArray::from_attribute(kind, array),
            ColumnKind::Vector(shape) => TypedArray::from_vector(shape, array),
        };
        let values = values.ok_or_else(|| {
            Error::invalid(format!(
                "{}, or nulls inside a list. column=`{}`",
                type_mismatch(column.arrow_field().data_type(), array.data_type()),
                column.name
            ))
        })?;
        Ok(Self { nulls: array.nulls().cloned(), values })
    }

    /// The value of a row, unless it is null. `row` must be within the column.
    fn get(&self, row: usize) -> Option<Value> {
        let is_null = self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        (!is_null).then(|| self.values.get(row))
    }
}

impl TypedArray {
    fn from_attribute(kind: AttributeType, array: &ArrayRef) -> Option<Self> {
        if let Some(element) = kind.element() {
            let list = array.as_list_opt::<i32>().filter(|list| list.values().null_count() == 0)?;
            let values = Self::from_attribute(element, list.values())?;
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

    fn from_vector(shape: VectorColumn, array: &ArrayRef) -> Option<Self> {
        let dimension = shape.dimension;
        let list = array
            .as_fixed_size_list_opt()
            .filter(|list| usize::try_from(list.value_length()) == Ok(dimension))?;
        let flat = list.values();
        // Other writers fill the room of a null vector with null components. Those are never read; others would be.
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
            // invariant: the width of 16 bytes was checked when the column was opened.
            Self::Uuid(a) => Value::Uuid(Uuid::from_slice(a.value(row)).unwrap_or_default()),
            Self::Datetime(a) => Value::Datetime(a.value(row)),
            Self::Bytes(a) => Value::Bytes(Bytes::copy_from_slice(a.value(row))),
            Self::Array(offsets, values) => {
                Value::Array(element_range(offsets, row).map(|element| values.get(element)).collect())
            }
            Self::F32(a, dimension) => {
                Value::Vector(Vector::F32(copy_components(a.values(), *dimension, row)))
            }
            Self::F16(a, dimension) => {
                Value::Vector(Vector::F16(copy_components(a.values(), *dimension, row)))
            }
            Self::I8(a, dimension) => Value::Vector(Vector::I8(copy_components(a.values(), *dimension, row))),
        }
    }
}

/// The elements of a row. `row` must be within the column.
#[expect(clippy::indexing_slicing, reason = "a row has an offset before and behind it")]
fn element_range(offsets: &[i32], row: usize) -> std::ops::Range<usize> {
    debug_assert!(row + 1 < offsets.len(), "row {row} of {} offsets", offsets.len());
    offsets[row].as_usize()..offsets[row + 1].as_usize()
}

/// The components of a row. `row` must be within the column.
#[expect(clippy::indexing_slicing, reason = "a list of fixed size holds `dimension` values for each row")]
fn copy_components<T: Copy>(components: &[T], dimension: usize, row: usize) -> Vec<T> {
    debug_assert!((row + 1) * dimension <= components.len(), "row {row} of {} values", components.len());
    components[row * dimension..(row + 1) * dimension].to_vec()
}
