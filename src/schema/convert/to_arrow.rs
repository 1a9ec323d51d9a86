//! Documents to record batches.

use std::borrow::Borrow;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryBuilder, Float64Array, Int64Array, ListArray,
    PrimitiveArray, RecordBatch, StringArray, TimestampMillisecondArray, UInt64Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{ArrowPrimitiveType, Float16Type, Float32Type, Int8Type};

use super::COLUMN_BYTES_MAX;
use super::layout::{fits_column, item_field, null_buffer, to_shared, vector_array};
use crate::error::{Error, OrInternal, Result};
use crate::schema::{AttributeType, Column, ColumnKind, Ids, Schema, VectorColumn};
use crate::types::{Document, ID_BYTES_MAX, Value, Vector, VectorType};

impl Schema {
    /// Checks the documents and converts them into a record batch in the layout of [`Schema::arrow`]: the id, then every
    /// column as declared, null where a document lacks it.
    ///
    /// ```
    /// use elacsym::schema::{AttributeType, Schema};
    /// use elacsym::{Document, IdKind, Metric, Vector, VectorType};
    ///
    /// let schema = Schema::builder(IdKind::U64)
    ///     .attribute("title", AttributeType::String)
    ///     .vector("embedding", VectorType::F32, 2, Metric::Cosine)
    ///     .build()?;
    /// let documents = [
    ///     Document::new(1).with("title", "Cold reads").with("embedding", Vector::from([0.1, 0.9])),
    ///     Document::new(2),
    /// ];
    /// let batch = schema.to_batch(&documents)?;
    /// assert_eq!((batch.num_rows(), batch.num_columns()), (2, 3));
    /// assert_eq!(schema.documents(&batch)?, documents);
    /// # Ok::<(), elacsym::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Schema::check`]; [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded) if a column
    /// would exceed 2 GiB. A null vector takes as much memory as a vector.
    pub fn to_batch(&self, documents: &[Document]) -> Result<RecordBatch> {
        let checked = documents.iter().map(|d| self.check(d.clone())).collect::<Result<Vec<_>>>()?;
        self.encode(&checked)
    }

    /// [`Schema::to_batch`] for documents that [`Schema::check`] has returned.
    pub(crate) fn encode<D: Borrow<Document>>(&self, documents: &[D]) -> Result<RecordBatch> {
        // This number of ids of the maximum length still fits 32-bit offsets, so that no id has to be measured.
        if documents.len() > COLUMN_BYTES_MAX / ID_BYTES_MAX {
            return Err(column_too_large("id"));
        }
        let mut arrays = vec![Ids::build_array(self.id(), documents.iter().map(|d| d.borrow().id()))?];
        // Arrow builds column by column: the values of all documents are borrowed first, in one buffer for all columns.
        let mut cells = Vec::with_capacity(documents.len());
        for column in self.columns() {
            cells.clear();
            cells.extend(documents.iter().map(|d| d.borrow().get(&column.name)));
            arrays.push(encode_column(column, &cells)?);
        }
        RecordBatch::try_new(self.arrow(), arrays).or_internal()
    }
}

/// A value of a document, or `None` for null.
type OptionalValue<'a> = Option<&'a Value>;

fn encode_column(column: &Column, cells: &[OptionalValue<'_>]) -> Result<ArrayRef> {
    let array = match column.kind {
        ColumnKind::Attribute(kind) => {
            // Elements count as well: an array of empty strings has no bytes, but an offset for each.
            let mut bytes = 0usize;
            for value in cells.iter().copied().flatten() {
                bytes = bytes.saturating_add(value.size().max(array_elements(value).len()));
            }
            if bytes > COLUMN_BYTES_MAX {
                return Err(column_too_large(&column.name));
            }
            encode_attribute(kind, cells)?
        }
        ColumnKind::Vector(shape) if fits_column(shape, cells.len()) => encode_vectors(shape, cells)?,
        ColumnKind::Vector(_) => return Err(column_too_large(&column.name)),
    };
    array.ok_or_else(|| {
        Error::internal(format!("a document was not checked before it was encoded. column=`{}`", column.name))
    })
}

fn column_too_large(column: &str) -> Error {
    Error::limit(format!(
        "a column of a batch takes more than {COLUMN_BYTES_MAX} bytes: send fewer rows. column=`{column}`"
    ))
}

/// Returns `None` if a value is of another type, which is a bug: `Schema::check` has converted all values.
fn encode_attribute(kind: AttributeType, cells: &[OptionalValue<'_>]) -> Result<Option<ArrayRef>> {
    // A list is its elements, flat, and an offset for each row: the elements go through the code for scalars.
    let Some(element) = kind.element() else { return encode_scalars(kind, cells) };
    if cells.iter().flatten().any(|value| !matches!(value, Value::Array(_))) {
        return Ok(None);
    }
    // invariant: a null array is empty in the layout.
    let offsets = cells.iter().map(|cell| cell.map_or(0, |value| array_elements(value).len()));
    let offsets = OffsetBuffer::from_lengths(offsets);
    let flat: Vec<_> = cells.iter().copied().flatten().flat_map(array_elements).map(Some).collect();
    let Some(values) = encode_scalars(element, &flat)? else { return Ok(None) };
    Ok(Some(to_shared(
        ListArray::try_new(
            item_field(&values),
            offsets,
            values,
            null_buffer(cells.iter().map(Option::is_some)),
        )
        .or_internal()?,
    )))
}

/// The elements of an array; none for any other value.
fn array_elements(value: &Value) -> &[Value] {
    if let Value::Array(values) = value { values } else { &[] }
}

/// Collects the values that match `$pattern` into an array, or returns `None` if another type occurs.
// A macro, since the arrays share no trait that could be collected into.
macro_rules! collect_array {
    ($cells:expr, $array:ty, $pattern:pat => $value:expr) => {
        $cells
            .iter()
            .map(|cell| match cell {
                None => Some(None),
                Some($pattern) => Some(Some($value)),
                Some(_) => None,
            })
            .collect::<Option<$array>>()
    };
}

fn encode_scalars(kind: AttributeType, cells: &[OptionalValue<'_>]) -> Result<Option<ArrayRef>> {
    Ok(match kind {
        AttributeType::String => collect_array!(cells, StringArray, Value::String(s) => s).map(to_shared),
        AttributeType::Int => collect_array!(cells, Int64Array, Value::Int(x) => *x).map(to_shared),
        AttributeType::Uint => collect_array!(cells, UInt64Array, Value::Uint(x) => *x).map(to_shared),
        AttributeType::Float => collect_array!(cells, Float64Array, Value::Float(x) => *x).map(to_shared),
        AttributeType::Bool => collect_array!(cells, BooleanArray, Value::Bool(x) => *x).map(to_shared),
        AttributeType::Datetime => collect_array!(cells, TimestampMillisecondArray, Value::Datetime(x) => *x)
            .map(|array| to_shared(array.with_timezone("UTC"))),
        AttributeType::Uuid => return encode_uuids(cells),
        _ => collect_array!(cells, BinaryArray, Value::Bytes(b) => b).map(to_shared),
    })
}

fn encode_uuids(cells: &[OptionalValue<'_>]) -> Result<Option<ArrayRef>> {
    let mut builder = FixedSizeBinaryBuilder::with_capacity(cells.len(), 16);
    for cell in cells {
        match cell {
            None => builder.append_null(),
            Some(Value::Uuid(x)) => builder.append_value(x.as_bytes()).or_internal()?,
            Some(_) => return Ok(None),
        }
    }
    Ok(Some(to_shared(builder.finish())))
}

fn encode_vectors(shape: VectorColumn, cells: &[OptionalValue<'_>]) -> Result<Option<ArrayRef>> {
    macro_rules! flatten {
        ($type:ty, $variant:ident) => {
            flatten_components::<$type>(shape, cells, |v| {
                if let Vector::$variant(v) = v { Some(v) } else { None }
            })
        };
    }
    let values = match shape.element {
        VectorType::F32 => flatten!(Float32Type, F32),
        VectorType::F16 => flatten!(Float16Type, F16),
        VectorType::I8 => flatten!(Int8Type, I8),
    };
    let Some(values) = values else { return Ok(None) };
    Ok(Some(to_shared(
        vector_array(shape, values, null_buffer(cells.iter().map(Option::is_some))).or_internal()?,
    )))
}

/// The components of all rows, zeros for null: a list of fixed size has no offsets by which to leave them out.
fn flatten_components<T: ArrowPrimitiveType>(
    shape: VectorColumn,
    cells: &[OptionalValue<'_>],
    components: impl Fn(&Vector) -> Option<&Vec<T::Native>>,
) -> Option<ArrayRef> {
    let mut values = Vec::with_capacity(cells.len() * shape.dimension);
    for cell in cells {
        match cell {
            None => values.resize(values.len() + shape.dimension, T::Native::default()),
            // Whole rows are copied. The dimension is checked again, since one wrong row would shift all behind it.
            Some(Value::Vector(vector)) if vector.dimension() == shape.dimension => {
                values.extend_from_slice(components(vector)?);
            }
            Some(_) => return None,
        }
    }
    Some(to_shared(PrimitiveArray::<T>::new(values.into(), None)))
}
