//! Record batches of a user's making into the layout of the schema, column by column.

use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType;

use super::list::{list, vector};
use super::nulls;
use super::refusal::Refusal;
use super::scalar::{length, scalar};
use crate::error::{Error, OrInternal, Result};
use crate::schema::{AttributeType, Column, ColumnKind, ID_COLUMN, Ids, Schema};
use crate::types::{DOCUMENT_BYTES_MAX, IdKind, VALUE_BYTES_MAX};

impl Schema {
    /// Checks a record batch by the rules of [`Schema::check`] and brings it into the layout of
    /// [`Schema::arrow`].
    ///
    /// Columns go by name, in any order; those that are missing become null. The id is needed in every row.
    /// A column may be in any type that loses nothing:
    ///
    /// | column | takes |
    /// |---|---|
    /// | string | `Utf8`, `LargeUtf8`, `Utf8View` |
    /// | bytes | `Binary`, `LargeBinary`, `BinaryView`, `FixedSizeBinary` |
    /// | int, uint | integers of any width and sign, where every value fits |
    /// | float | floats of any width, and integers where every value fits exactly |
    /// | bool | `Boolean` |
    /// | uuid | `FixedSizeBinary(16)`, and strings that spell one |
    /// | datetime | `Timestamp` of any unit and zone, `Date32`, `Date64`, and strings in RFC 3339; without a zone it is UTC |
    /// | array | `List`, `LargeList`, `FixedSizeList` of what its elements take |
    /// | vector | lists like these, of any type of number |
    ///
    /// A scalar may come in a dictionary, and any column as `Null`. What of a timestamp is finer than a millisecond
    /// is cut off, towards the past. The components of a vector round to the column's floats, as those of an array of
    /// numbers in a document do; an i8 column takes whole numbers alone. Nulls inside arrays and vectors are
    /// refused. Whether an id comes twice is not looked at.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for an unknown column or one that comes twice, for a
    /// type not listed above, and for what [`Schema::check`] refuses;
    /// [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded) for a value over 8 MiB, a document over
    /// 64 MiB, a token over the column's limit or a column over 2 GiB. The message names the column and the row's id.
    pub fn check_batch(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let (layout, arrays, rows) = batch.into_parts();
        let mut seen = HashSet::new();
        for field in layout.fields() {
            let name = field.name().as_str();
            if !seen.insert(name) {
                return Err(Error::invalid(format!("a column comes twice. column=`{name}`")));
            }
            if name != ID_COLUMN && self.column(name).is_none() {
                return Err(Error::invalid(format!("unknown column. column=`{name}`")));
            }
        }
        let find = |name: &str| layout.index_of(name).ok().and_then(|index| arrays.get(index));
        let ids = find(ID_COLUMN).ok_or_else(|| Error::invalid("the batch has no id column"))?;
        let ids = import_ids(self.id(), ids)?;
        let names = Ids::new(self.id(), &ids)?;
        let mut totals = vec![0; rows];
        let mut columns = vec![ids];
        for column in self.columns() {
            let imported = match (find(&column.name), column.kind) {
                (None, kind) => nulls(kind, rows).ok_or_else(Refusal::too_large),
                (Some(array), ColumnKind::Vector(shape)) => vector(shape, array),
                (Some(array), ColumnKind::Attribute(kind)) => match kind.element() {
                    Some(element) => list(element, array),
                    None => scalar(kind, array),
                },
            };
            let measured = imported.and_then(|array| {
                measure(&array, &mut totals)?;
                check_tokens(column, &array)?;
                Ok(array)
            });
            columns.push(measured.map_err(|refusal| refusal.name(&column.name, &names))?);
        }
        if let Some(row) = totals.iter().position(|total| *total > DOCUMENT_BYTES_MAX) {
            return Err(Error::limit(format!(
                "document of {} bytes: at most {DOCUMENT_BYTES_MAX} are allowed. id=`{}`",
                totals.get(row).copied().unwrap_or_default(),
                names.get(row)
            )));
        }
        RecordBatch::try_new(self.arrow(), columns).or_internal()
    }
}

/// The column of ids in its Arrow type: no null, and no string that is empty or too long.
fn import_ids(kind: IdKind, array: &ArrayRef) -> Result<ArrayRef> {
    let attribute = match kind {
        IdKind::U64 => AttributeType::Uint,
        IdKind::Uuid => AttributeType::Uuid,
        IdKind::String => AttributeType::String,
    };
    let refused = |refusal: Refusal| {
        let row = refusal.row().map(|row| format!(" row=`{row}`")).unwrap_or_default();
        refusal.error(ID_COLUMN, &row)
    };
    let ids = scalar(attribute, array).map_err(refused)?;
    if let Some(row) = (0..ids.len()).find(|row| ids.is_null(*row)) {
        return Err(refused(Refusal::at(row, "an id is null")));
    }
    let names = Ids::new(kind, &ids)?;
    if kind == IdKind::String {
        for row in 0..names.len() {
            names.get(row).check(kind).map_err(|e| e.context(format!("row {row}")))?;
        }
    }
    Ok(ids)
}

/// Adds the size of every value to its row's total, and refuses one that is too large.
fn measure(array: &ArrayRef, totals: &mut [usize]) -> Result<(), Refusal> {
    let size = size_of_rows(array);
    for (row, total) in totals.iter_mut().enumerate() {
        if array.is_null(row) {
            continue;
        }
        let bytes = size(row);
        if bytes > VALUE_BYTES_MAX {
            let why = format!("value of {bytes} bytes: at most {VALUE_BYTES_MAX} are allowed");
            return Err(Refusal::limit(row, why));
        }
        *total += bytes;
    }
    Ok(())
}

/// Refuses strings that would be tokens as they are, and are too long for it.
fn check_tokens(column: &Column, array: &ArrayRef) -> Result<(), Refusal> {
    let Some(options) = &column.text else { return Ok(()) };
    let refuse = |row: usize, text: &str| match options.refuse(text.len()) {
        Some(why) if array.is_valid(row) => Err(Refusal::limit(row, why)),
        _ => Ok(()),
    };
    if let Some(texts) = array.as_string_opt::<i32>() {
        return texts.iter().enumerate().try_for_each(|(row, text)| refuse(row, text.unwrap_or_default()));
    }
    let Some(lists) = array.as_list_opt::<i32>() else { return Ok(()) };
    lists.iter().enumerate().try_for_each(|(row, list)| {
        let list = list.as_ref().and_then(|list| list.as_string_opt::<i32>());
        list.into_iter().flatten().try_for_each(|text| refuse(row, text.unwrap_or_default()))
    })
}

/// `Value::size` of the values in an array of the layout, by row.
fn size_of_rows(array: &ArrayRef) -> Box<dyn Fn(usize) -> usize + '_> {
    match array.data_type() {
        DataType::Utf8 => Box::new(|row| length(array.as_string::<i32>().offsets(), row)),
        DataType::Binary => Box::new(|row| length(array.as_binary::<i32>().offsets(), row)),
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            if let Some(text) = list.values().as_string_opt::<i32>() {
                let place = |row: usize| list.offsets().get(row).and_then(|x| usize::try_from(*x).ok());
                let start =
                    move |row| place(row).and_then(|place| text.offsets().get(place).copied()).unwrap_or(0);
                return Box::new(move |row| usize::try_from(start(row + 1) - start(row)).unwrap_or(0));
            }
            let width = width(list.values().data_type());
            Box::new(move |row| length(list.offsets(), row) * width)
        }
        DataType::FixedSizeList(field, size) => {
            let bytes = usize::try_from(*size).unwrap_or(0) * width(field.data_type());
            Box::new(move |_| bytes)
        }
        other => {
            let width = width(other);
            Box::new(move |_| width)
        }
    }
}

fn width(kind: &DataType) -> usize {
    match kind {
        DataType::FixedSizeBinary(_) => 16,
        other => other.primitive_width().unwrap_or(1),
    }
}
