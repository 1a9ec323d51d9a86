//! Row sizes: how many bytes the values of 64 rows take, so that a scan keeps to its memory.
//!
//! A section of `index`: for each attribute of variable width, in the order they were declared, a
//! little-endian `u32` for each group of 64 rows. Columns of fixed width need none.

use std::ops::Range;

use arrow::array::{Array, AsArray};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;

use crate::codec::{CodecError, to_u32, u64_of, usize_of, zip_equal};
use crate::error::{Error, Result};
use crate::schema::{ColumnKind, Schema};

const WHAT: &str = "row sizes";
/// Rows that share a number: half a bit a row and column, and a quarter of a page of 256 rows, the least that a scan
/// reads.
const GROUP_ROWS: u32 = 64;
/// What a batch of a scan may take in memory. Large enough that reading it takes longer than the round trip, and small
/// enough that a few batches in flight fit a small process.
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

/// A group and the rows it has: the last has fewer.
#[derive(Clone, Debug)]
struct RowGroup {
    number: u32,
    rows: Range<u32>,
}

/// The rows of a batch that fall into one group.
struct GroupShare {
    group: usize,
    rows: Range<usize>,
}

impl RowSizes {
    /// The sizes of no rows.
    pub(super) fn new(schema: &Schema) -> Self {
        let sizes_of = |kind| match kind {
            ColumnKind::Vector(vector) => {
                ColumnSizes::Fixed(u64_of(vector.dimension * vector.element.size()))
            }
            ColumnKind::Attribute(kind) => match kind.arrow_type().primitive_width() {
                Some(width) => ColumnSizes::Fixed(u64_of(width)),
                None if matches!(kind.arrow_type(), DataType::Boolean) => ColumnSizes::Fixed(1),
                None if matches!(kind.arrow_type(), DataType::FixedSizeBinary(_)) => ColumnSizes::Fixed(16),
                None => ColumnSizes::Groups(Vec::new()),
            },
        };
        Self { rows: 0, columns: schema.columns().iter().map(|column| sizes_of(column.kind)).collect() }
    }

    /// Adds the rows of a batch: the id, then every column of the schema.
    pub(super) fn push_batch(&mut self, batch: &RecordBatch) -> Result<()> {
        let rows = to_u32(batch.num_rows(), "the number of rows in a batch")?;
        let arrays = batch.columns().iter().skip(1);
        for (column, array) in zip_equal(&mut self.columns, arrays, "columns and their sizes")? {
            let ColumnSizes::Groups(groups) = column else { continue };
            for share in divide_by_group(self.rows, rows) {
                if share.group == groups.len() {
                    groups.push(0);
                }
                let size = groups.get_mut(share.group);
                let size = size.ok_or_else(|| Error::internal("row sizes are not in the order of rows"))?;
                // invariant: 64 rows of 4 GiB pass the limit of a write. A saturated size only makes a window smaller.
                let bytes = u32::try_from(value_bytes(array, share.rows)?).unwrap_or(u32::MAX);
                *size = size.saturating_add(bytes);
            }
        }
        self.rows += rows;
        Ok(())
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let groups = self.columns.iter().filter_map(|column| match column {
            ColumnSizes::Groups(groups) => Some(groups),
            ColumnSizes::Fixed(_) => None,
        });
        groups.flatten().flat_map(|bytes| bytes.to_le_bytes()).collect()
    }

    pub(super) fn decode(schema: &Schema, rows: u32, section: &[u8]) -> Result<Self, CodecError> {
        let (mut unread, remainder) = section.as_chunks::<4>();
        let mut sizes = Self { rows, ..Self::new(schema) };
        for column in &mut sizes.columns {
            let ColumnSizes::Groups(groups) = column else { continue };
            let count = usize_of(rows.div_ceil(GROUP_ROWS));
            let (words, behind) =
                unread.split_at_checked(count).ok_or(CodecError::Truncated { what: WHAT })?;
            groups.extend(words.iter().map(|word| u32::from_le_bytes(*word)));
            unread = behind;
        }
        if unread.is_empty() && remainder.is_empty() {
            return Ok(sizes);
        }
        Err(CodecError::malformed(WHAT, "too many sizes"))
    }

    /// The sizes of the columns of `schema` in its order, where these are those of `written`.
    pub(super) fn for_schema(mut self, schema: &Schema, written: &Schema) -> Self {
        let columns = schema.map_columns(written).into_iter().map(|index| {
            let stored = index.and_then(|index| self.columns.get_mut(index));
            // invariant: all values of a column that was not written are null, and take nothing.
            stored.map_or(ColumnSizes::Fixed(0), |sizes| std::mem::replace(sizes, ColumnSizes::Fixed(0)))
        });
        let columns = columns.collect();
        Self { rows: self.rows, columns }
    }

    /// About how many bytes the values of `columns` of a row take: the average of its group.
    pub(super) fn row_bytes(&self, columns: &[usize], row: u32) -> u64 {
        let group = self.group_of(row);
        average_row_bytes(self.select_columns(columns), &group)
    }

    /// What all rows take in all columns.
    pub(super) fn total_bytes(&self) -> u64 {
        let rows = u64::from(self.rows);
        let columns = self.columns.iter().map(|column| match column {
            ColumnSizes::Fixed(bytes) => bytes.saturating_mul(rows),
            ColumnSizes::Groups(groups) => groups.iter().map(|bytes| u64::from(*bytes)).sum(),
        });
        columns.fold(rows * ROW_BYTES, u64::saturating_add)
    }

    /// The rows from `from` on whose values of `columns` are read together: at least one, if there is any.
    pub(super) fn scan_window(&self, columns: &[usize], from: u32) -> Range<u32> {
        let columns: Vec<&ColumnSizes> = self.select_columns(columns).collect();
        let (mut end, mut budget) = (from, WINDOW_BYTES);
        while end < self.rows {
            let group = self.group_of(end);
            let row_bytes = average_row_bytes(columns.iter().copied(), &group);
            let rows_left = group.rows.end - end;
            // invariant: a quotient above `u32::MAX` is more than any group has rows, and the minimum is taken.
            let fit = u32::try_from(budget / row_bytes).unwrap_or(u32::MAX).min(rows_left);
            end += fit;
            budget = budget.saturating_sub(row_bytes.saturating_mul(fit.into()));
            if fit < rows_left {
                break;
            }
        }
        // A row larger than the whole budget is read by itself: the scan must go on.
        from..end.max(from.saturating_add(1)).min(self.rows)
    }

    fn group_of(&self, row: u32) -> RowGroup {
        let number = row / GROUP_ROWS;
        let start = number * GROUP_ROWS;
        RowGroup { number, rows: start..start.saturating_add(GROUP_ROWS).min(self.rows).max(start) }
    }

    // invariant: a column that the schema does not have is refused by the read that this is an estimate of.
    fn select_columns<'a>(&'a self, columns: &'a [usize]) -> impl Iterator<Item = &'a ColumnSizes> {
        columns.iter().filter_map(|column| self.columns.get(*column))
    }
}

impl ColumnSizes {
    /// What a value of a group takes, on average.
    fn average_bytes(&self, group: &RowGroup) -> u64 {
        match self {
            Self::Fixed(bytes) => *bytes,
            Self::Groups(groups) => {
                let rows = u64_of(group.rows.len()).max(1);
                // invariant: there is a size for each group of the rows, and rows past the end take nothing.
                groups.get(usize_of(group.number)).map_or(0, |bytes| u64::from(*bytes).div_ceil(rows))
            }
        }
    }
}

/// What a row of a group takes in some columns, on average.
fn average_row_bytes<'a>(columns: impl Iterator<Item = &'a ColumnSizes>, group: &RowGroup) -> u64 {
    columns.map(|column| column.average_bytes(group)).fold(ROW_BYTES, u64::saturating_add)
}

/// Divides `rows` rows, the first of which is row `first` of the segment, among the groups.
fn divide_by_group(first: u32, rows: u32) -> impl Iterator<Item = GroupShare> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let row = first + done;
        let len = (GROUP_ROWS - row % GROUP_ROWS).min(rows - done);
        let rows = usize_of(done)..usize_of(done + len);
        done += len;
        (len > 0).then(|| GroupShare { group: usize_of(row / GROUP_ROWS), rows })
    })
}

/// The bytes that the values of some rows take.
fn value_bytes(array: &dyn Array, rows: Range<usize>) -> Result<u64> {
    let between_offsets = |offsets: &[i32]| {
        let offset = |row: usize| {
            let offset = offsets.get(row).and_then(|offset| usize::try_from(*offset).ok());
            offset.ok_or_else(|| Error::internal("a row beyond the end of its column"))
        };
        Ok::<_, Error>(offset(rows.start)?..offset(rows.end)?)
    };
    Ok(match array.data_type() {
        DataType::Utf8 => u64_of(between_offsets(array.as_string::<i32>().value_offsets())?.len()),
        DataType::Binary => u64_of(between_offsets(array.as_binary::<i32>().value_offsets())?.len()),
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let elements = between_offsets(list.value_offsets())?;
            // Four bytes more for the offset of each string.
            u64_of(elements.len()) * 4 + value_bytes(list.values(), elements)?
        }
        DataType::FixedSizeBinary(width) => u64::from(width.unsigned_abs()) * u64_of(rows.len()),
        // invariant: of the types of elements only booleans have no width, and they count as a byte.
        other => u64_of(other.primitive_width().unwrap_or(1) * rows.len()),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ListBuilder, StringArray, StringBuilder, UInt64Array};
    use arrow::datatypes::Field;

    use super::*;
    use crate::fuzzing::FuzzTarget;
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
        sizes.push_batch(&RecordBatch::try_from_iter(wide).unwrap()).unwrap();
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

        assert_eq!(sizes.scan_window(&[0], 0), 0..700);
        assert_eq!(sizes.scan_window(&[3], 0), 0..700);
        let mut from = 0;
        while from < 700 {
            let window = sizes.scan_window(&[1, 2], from);
            assert!(window.start == from && !window.is_empty() && window.end <= 700);
            let long = window.clone().filter(|row| (300..600).contains(row)).count();
            assert!(long <= 44, "{window:?} holds {long} MiB");
            from = window.end;
        }
        assert!(sizes.scan_window(&[1], 700).is_empty());
    }

    #[test]
    fn fuzz_row_sizes() {
        let mut sizes = RowSizes::new(&schema());
        push(&mut sizes, 300, "short");
        push(&mut sizes, 400, &"x".repeat(1 << 10));
        FuzzTarget::new("row_sizes", [sizes.encode()]).memory(2, 4 << 10).run(|section| {
            let sizes = RowSizes::decode(&schema(), 700, section)?;
            for from in (0..800).step_by(50) {
                let window = sizes.scan_window(&[1, 2, 9], from);
                assert!(window.start == from && window.end <= from.max(700));
                assert!(sizes.row_bytes(&[1, 2, 9], from) <= sizes.total_bytes());
            }
            Ok::<_, CodecError>(())
        });
    }
}
