//! Row sizes: how many bytes the values of 64 rows take, so that a scan keeps to its memory.
//!
//! A section of `attributes`: for each attribute of variable width, in the order they were declared, a
//! little-endian `u32` for each group of 64 rows. Columns of fixed width need none.

use std::ops::Range;

use arrow::array::{Array, AsArray};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;

use crate::codec::CodecError;
use crate::schema::{ColumnKind, Schema};

const WHAT: &str = "row sizes";
/// Rows that share a number.
const GROUP: u32 = 64;
/// What a batch of a scan may take in memory.
const WINDOW_BYTES: u64 = 32 << 20;
/// What any row costs, in bytes: the id, offsets, validity.
const ROW_BYTES: u64 = 32;

/// The sizes of the rows of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RowSizes {
    rows: u32,
    /// For each column of the schema.
    columns: Vec<ColumnSizes>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum ColumnSizes {
    /// Every row takes as many bytes.
    Fixed(u64),
    /// Each group takes as many bytes.
    Groups(Vec<u32>),
}

impl RowSizes {
    /// The sizes of no rows.
    pub(super) fn new(schema: &Schema) -> Self {
        let sizes_of = |kind| match kind {
            ColumnKind::Vector(vector) => {
                ColumnSizes::Fixed((vector.dimension * vector.element.size()) as u64)
            }
            ColumnKind::Attribute(kind) => match kind.arrow_type().primitive_width() {
                Some(width) => ColumnSizes::Fixed(width as u64),
                None if matches!(kind.arrow_type(), DataType::Boolean) => ColumnSizes::Fixed(1),
                None if matches!(kind.arrow_type(), DataType::FixedSizeBinary(_)) => ColumnSizes::Fixed(16),
                None => ColumnSizes::Groups(Vec::new()),
            },
        };
        Self { rows: 0, columns: schema.columns().iter().map(|column| sizes_of(column.kind)).collect() }
    }

    /// Adds the sizes of the rows of a batch: the id, then every column of the schema.
    pub(super) fn push(&mut self, batch: &RecordBatch) {
        let rows = u32::try_from(batch.num_rows()).unwrap_or(u32::MAX);
        for (column, array) in self.columns.iter_mut().zip(batch.columns().iter().skip(1)) {
            let ColumnSizes::Groups(groups) = column else { continue };
            for (group, span) in spans(self.rows, rows) {
                let bytes = u32::try_from(bytes_of(array, span)).unwrap_or(u32::MAX);
                match groups.get_mut(group) {
                    Some(sum) => *sum = sum.saturating_add(bytes),
                    None => groups.push(bytes),
                }
            }
        }
        self.rows += rows;
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let groups =
            self.columns.iter().filter_map(|w| if let ColumnSizes::Groups(g) = w { Some(g) } else { None });
        groups.flatten().flat_map(|bytes| bytes.to_le_bytes()).collect()
    }

    pub(super) fn decode(schema: &Schema, rows: u32, section: &[u8]) -> Result<Self, CodecError> {
        let (mut words, rest) = section.as_chunks::<4>();
        let mut sizes = Self { rows, ..Self::new(schema) };
        for column in &mut sizes.columns {
            let ColumnSizes::Groups(groups) = column else { continue };
            let count = rows.div_ceil(GROUP) as usize;
            let (these, others) =
                words.split_at_checked(count).ok_or(CodecError::Truncated { what: WHAT })?;
            groups.extend(these.iter().map(|word| u32::from_le_bytes(*word)));
            words = others;
        }
        if words.is_empty() && rest.is_empty() {
            return Ok(sizes);
        }
        Err(CodecError::malformed(WHAT, "too many sizes"))
    }

    /// What the values of `columns` of a row take, as they do on average of the rows beside it.
    pub(super) fn row_bytes(&self, columns: &[usize], row: u32) -> u64 {
        let group = row / GROUP;
        let rows = (group + 1).saturating_mul(GROUP).min(self.rows).saturating_sub(group * GROUP);
        let chosen = columns.iter().filter_map(|column| self.columns.get(*column));
        chosen.map(|column| column.row(group, rows)).fold(ROW_BYTES, u64::saturating_add)
    }

    /// What all rows take in all columns.
    pub(super) fn total(&self) -> u64 {
        let rows = u64::from(self.rows);
        let columns = self.columns.iter().map(|column| match column {
            ColumnSizes::Fixed(bytes) => bytes.saturating_mul(rows),
            ColumnSizes::Groups(groups) => groups.iter().map(|bytes| u64::from(*bytes)).sum(),
        });
        columns.fold(rows * ROW_BYTES, u64::saturating_add)
    }

    /// The rows from `from` on whose values of `columns` are read together: at least one, if there is any.
    pub(super) fn window(&self, columns: &[usize], from: u32) -> Range<u32> {
        let chosen: Vec<_> = columns.iter().filter_map(|column| self.columns.get(*column)).collect();
        let (mut end, mut budget) = (from, WINDOW_BYTES);
        while end < self.rows {
            let group = end / GROUP;
            let stop = (group + 1).saturating_mul(GROUP).min(self.rows);
            let rows = stop - group * GROUP;
            let row = chosen.iter().map(|w| w.row(group, rows)).fold(ROW_BYTES, u64::saturating_add);
            let fit = u32::try_from(budget / row).unwrap_or(u32::MAX).min(stop - end);
            end += fit;
            budget = budget.saturating_sub(row.saturating_mul(fit.into()));
            if end < stop {
                break;
            }
        }
        from..end.max(from.saturating_add(1)).min(self.rows)
    }
}

impl ColumnSizes {
    /// What a row of a group of `rows` rows takes, on average.
    fn row(&self, group: u32, rows: u32) -> u64 {
        match self {
            Self::Fixed(bytes) => *bytes,
            Self::Groups(groups) => {
                groups.get(group as usize).map_or(0, |bytes| u64::from(*bytes).div_ceil(rows.max(1).into()))
            }
        }
    }
}

/// `rows` rows from row `first` on, by group: the group, and which of these rows.
fn spans(first: u32, rows: u32) -> impl Iterator<Item = (usize, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let row = first + done;
        let len = (GROUP - row % GROUP).min(rows - done);
        let span = (len > 0).then_some(((row / GROUP) as usize, done as usize..(done + len) as usize));
        done += len;
        span
    })
}

/// The bytes that the values of a span take.
fn bytes_of(array: &dyn Array, span: Range<usize>) -> u64 {
    let between = |offsets: &[i32]| {
        let at = |row: usize| offsets.get(row).and_then(|o| usize::try_from(*o).ok()).unwrap_or_default();
        at(span.start)..at(span.end)
    };
    match array.data_type() {
        DataType::Utf8 => between(array.as_string::<i32>().value_offsets()).len() as u64,
        DataType::Binary => between(array.as_binary::<i32>().value_offsets()).len() as u64,
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let elements = between(list.value_offsets());
            // Four bytes more for the offset of each string.
            elements.len() as u64 * 4 + bytes_of(list.values(), elements)
        }
        DataType::FixedSizeBinary(width) => u64::from(width.unsigned_abs()) * span.len() as u64,
        other => other.primitive_width().unwrap_or(1) as u64 * span.len() as u64,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ListBuilder, StringArray, StringBuilder, UInt64Array};
    use arrow::datatypes::Field;

    use super::*;
    use crate::schema::AttributeType;
    use crate::types::{IdKind, Metric, VectorType};

    fn schema() -> Schema {
        Schema::builder(IdKind::U64)
            .attribute("n", AttributeType::Int)
            .attribute("text", AttributeType::String)
            .attribute("tags", AttributeType::StringArray)
            .vector("v", VectorType::F32, 1 << 12, Metric::Dot)
            .build()
            .unwrap()
    }

    fn push(sizes: &mut RowSizes, rows: usize, text: &str) {
        let ids = UInt64Array::from_iter_values(0..rows as u64);
        let mut tags =
            ListBuilder::new(StringBuilder::new()).with_field(Field::new("item", DataType::Utf8, false));
        for _ in 0..rows {
            tags.append_value([Some("ab"), Some("c")]);
        }
        let texts = StringArray::from_iter_values((0..rows).map(|_| text));
        let narrow = schema().arrow_projection(|c| ["text", "tags"].contains(&c.name.as_str()));
        let batch =
            RecordBatch::try_new(narrow, vec![Arc::new(ids), Arc::new(texts), Arc::new(tags.finish())]);
        let batch = batch.unwrap();
        // Columns of fixed width are not looked at.
        let columns = [0, 0, 1, 2, 0].map(|at| Arc::clone(batch.column(at)));
        let wide = columns.iter().enumerate().map(|(i, a)| (i.to_string(), Arc::clone(a)));
        sizes.push(&RecordBatch::try_from_iter(wide).unwrap());
    }

    #[test]
    fn windows_keep_to_their_bytes_and_cover_all_rows() {
        let mut sizes = RowSizes::new(&schema());
        push(&mut sizes, 300, "short");
        push(&mut sizes, 300, &"x".repeat(1 << 20));
        push(&mut sizes, 100, "");
        let ColumnSizes::Groups(tags) = &sizes.columns[2] else { panic!("tags have no width") };
        assert_eq!((tags.len(), tags[0], tags[10]), (11, 64 * 11, 60 * 11));
        assert_eq!(RowSizes::decode(&schema(), 700, &sizes.encode()).unwrap(), sizes);
        assert!(RowSizes::decode(&schema(), 1000, &sizes.encode()).is_err());
        assert!(RowSizes::decode(&schema(), 10, &sizes.encode()).is_err());

        assert_eq!(sizes.window(&[0], 0), 0..700);
        assert_eq!(sizes.window(&[3], 0), 0..700);
        let mut from = 0;
        while from < 700 {
            let window = sizes.window(&[1, 2], from);
            assert!(window.start == from && !window.is_empty() && window.end <= 700);
            let long = window.clone().filter(|row| (300..600).contains(row)).count();
            assert!(long <= 44, "{window:?} holds {long} MiB");
            from = window.end;
        }
        assert!(sizes.window(&[1], 700).is_empty());
    }
}
