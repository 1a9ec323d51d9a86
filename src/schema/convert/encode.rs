//! Documents into record batches.

use std::borrow::Borrow;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryBuilder, Float64Array, Int64Array, ListArray,
    PrimitiveArray, RecordBatch, StringArray, TimestampMillisecondArray, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{ArrowPrimitiveType, Float16Type, Float32Type, Int8Type};

use super::{COLUMN_BYTES_MAX, holds, item, shared, vectors};
use crate::error::{Error, OrInternal, Result};
use crate::schema::{AttributeType, Column, ColumnKind, Ids, Schema, VectorColumn};
use crate::types::{Document, ID_BYTES_MAX, Value, Vector, VectorType};

impl Schema {
    /// The documents, checked, as a record batch in the layout of [`Schema::arrow`]: the id, then every
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
    /// would pass 2 GiB. Null vectors take the room of vectors.
    pub fn to_batch(&self, documents: &[Document]) -> Result<RecordBatch> {
        let checked = documents.iter().map(|d| self.check(d.clone())).collect::<Result<Vec<_>>>()?;
        self.encode(&checked)
    }

    /// [`Schema::to_batch`] for documents that [`Schema::check`] has returned.
    pub(crate) fn encode<D: Borrow<Document>>(&self, documents: &[D]) -> Result<RecordBatch> {
        if documents.len() > COLUMN_BYTES_MAX / ID_BYTES_MAX {
            return Err(too_large("id"));
        }
        let mut arrays = vec![Ids::array(self.id(), documents.iter().map(|d| d.borrow().id()))?];
        let mut cells = Vec::with_capacity(documents.len());
        for column in self.columns() {
            cells.clear();
            cells.extend(documents.iter().map(|d| d.borrow().get(&column.name)));
            arrays.push(encode_column(column, &cells)?);
        }
        RecordBatch::try_new(self.arrow(), arrays).or_internal()
    }
}

/// A value, or nothing for null.
type Slot<'a> = Option<&'a Value>;

fn encode_column(column: &Column, cells: &[Slot<'_>]) -> Result<ArrayRef> {
    let array = match column.kind {
        ColumnKind::Attribute(kind) => {
            let mut bytes = 0usize;
            for value in cells.iter().copied().flatten() {
                bytes = bytes.saturating_add(value.size().max(elements(value).len()));
            }
            if bytes > COLUMN_BYTES_MAX {
                return Err(too_large(&column.name));
            }
            encode_attribute(kind, cells)?
        }
        ColumnKind::Vector(shape) if holds(shape, cells.len()) => encode_vectors(shape, cells)?,
        ColumnKind::Vector(_) => return Err(too_large(&column.name)),
    };
    array.ok_or_else(|| Error::internal(format!("a document was not checked. column=`{}`", column.name)))
}

fn too_large(column: &str) -> Error {
    Error::limit(format!(
        "a column of a batch takes more than {COLUMN_BYTES_MAX} bytes: send fewer rows at once. column=`{column}`"
    ))
}

/// `None` if a value is of another type.
fn encode_attribute(kind: AttributeType, cells: &[Slot<'_>]) -> Result<Option<ArrayRef>> {
    let Some(element) = kind.element() else { return encode_scalars(kind, cells) };
    if cells.iter().flatten().any(|value| !matches!(value, Value::Array(_))) {
        return Ok(None);
    }
    let offsets = cells.iter().map(|cell| cell.map_or(0, |value| elements(value).len()));
    let offsets = OffsetBuffer::from_lengths(offsets);
    let flat: Vec<_> = cells.iter().copied().flatten().flat_map(elements).map(Some).collect();
    let Some(values) = encode_scalars(element, &flat)? else { return Ok(None) };
    Ok(Some(shared(ListArray::try_new(item(&values), offsets, values, validity(cells)).or_internal()?)))
}

fn elements(value: &Value) -> &[Value] {
    if let Value::Array(values) = value { values } else { &[] }
}

/// The array of the values that `$pattern` takes, or `None` if there is another.
macro_rules! collect {
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

fn encode_scalars(kind: AttributeType, cells: &[Slot<'_>]) -> Result<Option<ArrayRef>> {
    Ok(match kind {
        AttributeType::String => collect!(cells, StringArray, Value::String(s) => s).map(shared),
        AttributeType::Int => collect!(cells, Int64Array, Value::Int(x) => *x).map(shared),
        AttributeType::Uint => collect!(cells, UInt64Array, Value::Uint(x) => *x).map(shared),
        AttributeType::Float => collect!(cells, Float64Array, Value::Float(x) => *x).map(shared),
        AttributeType::Bool => collect!(cells, BooleanArray, Value::Bool(x) => *x).map(shared),
        AttributeType::Datetime => collect!(cells, TimestampMillisecondArray, Value::Datetime(x) => *x)
            .map(|array| shared(array.with_timezone("UTC"))),
        AttributeType::Uuid => return encode_uuids(cells),
        _ => collect!(cells, BinaryArray, Value::Bytes(b) => b).map(shared),
    })
}

fn encode_uuids(cells: &[Slot<'_>]) -> Result<Option<ArrayRef>> {
    let mut builder = FixedSizeBinaryBuilder::with_capacity(cells.len(), 16);
    for cell in cells {
        match cell {
            None => builder.append_null(),
            Some(Value::Uuid(x)) => builder.append_value(x.as_bytes()).or_internal()?,
            Some(_) => return Ok(None),
        }
    }
    Ok(Some(shared(builder.finish())))
}

fn encode_vectors(shape: VectorColumn, cells: &[Slot<'_>]) -> Result<Option<ArrayRef>> {
    macro_rules! flat {
        ($type:ty, $variant:ident) => {
            flat::<$type>(shape, cells, |v| if let Vector::$variant(v) = v { Some(v) } else { None })
        };
    }
    let values = match shape.element {
        VectorType::F32 => flat!(Float32Type, F32),
        VectorType::F16 => flat!(Float16Type, F16),
        VectorType::I8 => flat!(Int8Type, I8),
    };
    let Some(values) = values else { return Ok(None) };
    Ok(Some(shared(vectors(shape, values, validity(cells)).or_internal()?)))
}

/// All components one after the other, zeros for null.
fn flat<T: ArrowPrimitiveType>(
    shape: VectorColumn,
    cells: &[Slot<'_>],
    components: impl Fn(&Vector) -> Option<&Vec<T::Native>>,
) -> Option<ArrayRef> {
    let mut values = Vec::with_capacity(cells.len() * shape.dimension);
    for cell in cells {
        match cell {
            None => values.resize(values.len() + shape.dimension, T::Native::default()),
            Some(Value::Vector(vector)) if vector.dimension() == shape.dimension => {
                values.extend_from_slice(components(vector)?);
            }
            Some(_) => return None,
        }
    }
    Some(shared(PrimitiveArray::<T>::new(values.into(), None)))
}

fn validity(cells: &[Slot<'_>]) -> Option<NullBuffer> {
    let nulls: NullBuffer = cells.iter().map(Option::is_some).collect();
    (nulls.null_count() > 0).then_some(nulls)
}
