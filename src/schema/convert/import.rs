//! Record batches of callers into the layout of the schema, column by column.

use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};

use super::import_error::ImportError;
use super::layout::null_column;
use super::list::{import_lists, import_vectors};
use super::scalar::import_scalars;
use super::size::add_value_sizes;
use crate::error::{Error, OrInternal, Result};
use crate::schema::{AttributeType, Column, ColumnKind, ID_COLUMN, Ids, Schema};
use crate::types::{DOCUMENT_BYTES_MAX, IdKind};

impl Schema {
    /// Checks a record batch by the rules of [`Schema::check`] and converts it into the layout of [`Schema::arrow`].
    ///
    /// Columns are matched by name, in any order; missing columns become null. Every row needs an id. A column may have
    /// any type that converts without loss:
    ///
    /// | column | takes |
    /// |---|---|
    /// | string | `Utf8`, `LargeUtf8`, `Utf8View` |
    /// | bytes | `Binary`, `LargeBinary`, `BinaryView`, `FixedSizeBinary` |
    /// | int, uint | integers of any width and sign, where every value fits |
    /// | float | floats of any width, and integers where every value fits exactly |
    /// | bool | `Boolean` |
    /// | uuid | `FixedSizeBinary(16)`, and strings with a UUID's text form |
    /// | datetime | `Timestamp` of any unit and zone, `Date32`, `Date64`, and strings in RFC 3339; without a zone it is UTC |
    /// | array | `List`, `LargeList`, `FixedSizeList` of what its element type takes |
    /// | vector | the same lists, of any type of number |
    ///
    /// A scalar may be dictionary-encoded, and any column may have type `Null`. Digits of a timestamp below a
    /// millisecond are dropped, rounding towards the past. The components of a vector are rounded to the column's
    /// floats, like those of an array of numbers in a document; an i8 column takes whole numbers only. Nulls inside
    /// arrays and vectors are refused. Duplicate ids are not detected here.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for an unknown or duplicate column, for a type not listed
    /// above, and for what [`Schema::check`] refuses;
    /// [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded) for a value over 8 MiB, a document over
    /// 64 MiB, a token over the column's limit or a column over 2 GiB. The message names the column and the row's id.
    pub fn check_batch(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let (layout, arrays, rows) = batch.into_parts();
        let mut seen = HashSet::new();
        for field in layout.fields() {
            let name = field.name().as_str();
            if !seen.insert(name) {
                return Err(Error::invalid(format!("duplicate column. column=`{name}`")));
            }
            if name != ID_COLUMN && self.column(name).is_none() {
                return Err(Error::invalid(format!("unknown column. column=`{name}`")));
            }
        }
        // The layout of the schema decides the order: a batch is matched by name.
        let find_array = |name: &str| layout.index_of(name).ok().and_then(|index| arrays.get(index));
        let ids = find_array(ID_COLUMN).ok_or_else(|| Error::invalid("the batch has no id column"))?;
        // The ids first: the errors of all other columns name them.
        let ids = import_ids(self.id(), ids)?;
        let id_reader = Ids::new(self.id(), &ids)?;
        let mut row_sizes = vec![0; rows];
        let mut columns = vec![ids];
        for column in self.columns() {
            // Column by column, with the sizes of rows added up on the way: a document's limit concerns all of them.
            let imported = import_column(column, find_array(&column.name), rows, &mut row_sizes);
            columns.push(imported.map_err(|error| error.with_id(&column.name, &id_reader))?);
        }
        if let Some((row, size)) = row_sizes.iter().enumerate().find(|(_, size)| **size > DOCUMENT_BYTES_MAX)
        {
            return Err(Error::limit(format!(
                "document of {size} bytes: at most {DOCUMENT_BYTES_MAX} are allowed. id=`{}`",
                id_reader.get(row)
            )));
        }
        RecordBatch::try_new(self.arrow(), columns).or_internal()
    }
}

/// One column in its type, or nulls if the batch lacks it; the sizes of its values go to `row_sizes`.
fn import_column(
    column: &Column,
    array: Option<&ArrayRef>,
    rows: usize,
    row_sizes: &mut [usize],
) -> Result<ArrayRef, ImportError> {
    let imported = match (array, column.kind) {
        (None, kind) => null_column(kind, rows).ok_or_else(ImportError::too_large),
        (Some(array), ColumnKind::Vector(shape)) => import_vectors(shape, array),
        (Some(array), ColumnKind::Attribute(kind)) => match kind.element() {
            Some(element) => import_lists(element, array),
            None => import_scalars(kind, array),
        },
    }?;
    add_value_sizes(&imported, row_sizes)?;
    check_tokens(column, &imported)?;
    Ok(imported)
}

/// The column of ids in its Arrow type: no null, and no string that is empty or too long.
fn import_ids(kind: IdKind, array: &ArrayRef) -> Result<ArrayRef> {
    let attribute = AttributeType::of_id(kind);
    // Without ids, errors can name only the number of the row.
    let to_error = |error: ImportError| {
        // invariant: an error of the whole column has no row to name.
        let row = error.row().map(|row| format!(" row=`{row}`")).unwrap_or_default();
        error.with_suffix(ID_COLUMN, &row)
    };
    let ids = import_scalars(attribute, array).map_err(to_error)?;
    if let Some(row) = (0..ids.len()).find(|row| ids.is_null(*row)) {
        return Err(to_error(ImportError::in_row(row, "an id is null")));
    }
    let id_reader = Ids::new(kind, &ids)?;
    // Numbers and UUIDs have no further rule: only strings are checked one by one.
    if kind == IdKind::String {
        for row in 0..id_reader.len() {
            id_reader.get(row).check(kind).map_err(|e| e.context(format!("row {row}")))?;
        }
    }
    Ok(ids)
}

/// Checks the lengths of strings that are whole tokens.
fn check_tokens(column: &Column, array: &ArrayRef) -> Result<(), ImportError> {
    let Some(options) = &column.text else { return Ok(()) };
    let check = |row: usize, text: &str| {
        options.check_whole_token(text.len()).map_err(|why| ImportError::over_limit(row, why))
    };
    if let Some(texts) = array.as_string_opt::<i32>() {
        return texts
            .iter()
            .enumerate()
            .filter_map(|(row, text)| Some((row, text?)))
            .try_for_each(|(row, text)| check(row, text));
    }
    // Full text exists for strings and arrays of strings alone: the schema refuses it for other types.
    let Some(lists) = array.as_list_opt::<i32>() else { return Ok(()) };
    for (row, list) in lists.iter().enumerate() {
        let texts = list.as_ref().and_then(|list| list.as_string_opt::<i32>());
        texts.into_iter().flatten().flatten().try_for_each(|text| check(row, text))?;
    }
    Ok(())
}
