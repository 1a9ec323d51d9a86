//! Evaluates a bound filter on record batches, a column at a time.
//!
//! **Invariant:** no answer is ever null.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder, ListArray, RecordBatch, Scalar,
    UInt32Array, make_comparator, new_null_array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::kernels::cmp;
use arrow::compute::{SortOptions, take};
use arrow::datatypes::DataType;

use super::bind::{Against, BoundFilter, Comparison, Leaf, Node, Source, Test};
use crate::error::{Error, OrInternal, Result};
use crate::index::attributes::Pattern;

impl BoundFilter {
    /// Which rows match. `rows` has at least [`Self::columns`], in the layout of the schema's Arrow types.
    ///
    /// `new` holds what the rows are about to become, row by row, with at least [`Self::new_columns`]. Without
    /// it every new value is null, as when rows are deleted.
    pub(crate) fn evaluate(&self, rows: &RecordBatch, new: Option<&RecordBatch>) -> Result<BooleanArray> {
        let len = rows.num_rows();
        if let Some(new) = new.filter(|new| new.num_rows() != len) {
            return Err(Error::internal(format!("{} new rows for {len} rows", new.num_rows())));
        }
        let input = Input {
            len,
            rows: read(&self.columns, Some(rows), len)?,
            new: read(&self.new_columns, new, len)?,
        };
        Ok(BooleanArray::new(input.node(&self.root)?, None))
    }
}

/// The columns of a batch; all null without one.
fn read(sources: &[Source], batch: Option<&RecordBatch>, len: usize) -> Result<Vec<ArrayRef>> {
    let column = |source: &Source| {
        let expected = source.kind.map(crate::schema::AttributeType::arrow_type);
        let Some(batch) = batch else {
            return Ok(new_null_array(&expected.unwrap_or(DataType::Null), len));
        };
        let name = &source.name;
        let found = batch.column_by_name(name);
        let found =
            found.ok_or_else(|| Error::internal(format!("a batch lacks a column. column=`{name}`")))?;
        if expected.is_some_and(|expected| !same(&expected, found.data_type())) {
            return Err(Error::internal(format!(
                "a column of a batch is {}, not of the schema's type. column=`{name}`",
                found.data_type()
            )));
        }
        Ok(Arc::clone(found))
    };
    sources.iter().map(column).collect()
}

/// Readers may name the element of a list as they like.
fn same(expected: &DataType, found: &DataType) -> bool {
    match (expected, found) {
        (DataType::List(expected), DataType::List(found)) => expected.data_type() == found.data_type(),
        (expected, found) => expected == found,
    }
}

struct Input {
    len: usize,
    rows: Vec<ArrayRef>,
    new: Vec<ArrayRef>,
}

impl Input {
    fn node(&self, node: &Node) -> Result<BooleanBuffer> {
        match node {
            Node::Const(true) => Ok(BooleanBuffer::new_set(self.len)),
            Node::Const(false) => Ok(BooleanBuffer::new_unset(self.len)),
            Node::Not(inner) => Ok(!&self.node(inner)?),
            Node::Leaf(leaf) => self.leaf(leaf),
            Node::All(nodes) => {
                let mut all = BooleanBuffer::new_set(self.len);
                for node in nodes {
                    all = &all & &self.node(node)?;
                    if !all.has_true() {
                        break;
                    }
                }
                Ok(all)
            }
            Node::Any(nodes) => {
                let mut any = BooleanBuffer::new_unset(self.len);
                for node in nodes {
                    any = &any | &self.node(node)?;
                    if !any.has_false() {
                        break;
                    }
                }
                Ok(any)
            }
        }
    }

    fn leaf(&self, leaf: &Leaf) -> Result<BooleanBuffer> {
        let column = self.rows.get(leaf.column).ok_or_else(lost)?;
        if leaf.elements {
            let list = column.as_list_opt::<i32>().ok_or_else(lost)?;
            return any_element(list, |elements, row_of| self.test(leaf, elements, Some(row_of)));
        }
        self.test(leaf, column, None)
    }

    /// The test on each value. `row_of` gives the row of each value when they are elements of arrays.
    fn test(
        &self,
        leaf: &Leaf,
        values: &ArrayRef,
        row_of: Option<&dyn Fn() -> UInt32Array>,
    ) -> Result<BooleanBuffer> {
        match &leaf.test {
            Test::Null => {
                let nulls = values.logical_nulls();
                Ok(nulls.map_or_else(|| BooleanBuffer::new_unset(values.len()), |nulls| !nulls.inner()))
            }
            Test::Member(set) => Ok(present(set.contains(values)?, values.nulls())),
            Test::Pattern(pattern) => search(pattern, values),
            Test::Tokens(contains) => Ok(contains.evaluate(values)),
            Test::Compare(comparison, Against::Literal(literal)) => {
                compare(*comparison, values, literal, true)
            }
            Test::Compare(comparison, Against::New(new)) => {
                let new = self.new.get(*new).ok_or_else(lost)?;
                match row_of {
                    None => compare(*comparison, values, new, false),
                    Some(row_of) => {
                        compare(*comparison, values, &take(new, &row_of(), None).or_internal()?, false)
                    }
                }
            }
        }
    }
}

fn lost() -> Error {
    Error::internal("a bound filter does not fit its columns")
}

/// True only where there is a value.
fn present(answers: BooleanBuffer, nulls: Option<&NullBuffer>) -> BooleanBuffer {
    match nulls {
        Some(nulls) => &answers & nulls.inner(),
        None => answers,
    }
}

/// Compares each value with its counterpart, or all with the only row of `other`.
fn compare(
    comparison: Comparison,
    values: &ArrayRef,
    other: &ArrayRef,
    literal: bool,
) -> Result<BooleanBuffer> {
    if values.data_type().is_nested() {
        // Of arrays, only equality is asked. Two nulls are equal here as well.
        let order = make_comparator(values, other, SortOptions::default()).or_internal()?;
        let counterpart = |row| if literal { 0 } else { row };
        return Ok(BooleanBuffer::collect_bool(values.len(), |row| order(row, counterpart(row)).is_eq()));
    }
    let kernel = match comparison {
        Comparison::Eq => cmp::not_distinct,
        Comparison::Lt => cmp::lt,
        Comparison::Lte => cmp::lt_eq,
        Comparison::Gt => cmp::gt,
        Comparison::Gte => cmp::gt_eq,
    };
    let answers = if literal {
        kernel(values, &Scalar::new(Arc::clone(other))).or_internal()?
    } else {
        kernel(values, other).or_internal()?
    };
    let (answers, nulls) = answers.into_parts();
    Ok(present(answers, nulls.as_ref()))
}

fn search(pattern: &Pattern, values: &ArrayRef) -> Result<BooleanBuffer> {
    let strings = values.as_string_opt::<i32>().ok_or_else(lost)?;
    let found = |row| strings.is_valid(row) && pattern.is_match(strings.value(row));
    Ok(BooleanBuffer::collect_bool(strings.len(), found))
}

/// The rows that have an element which passes `test`. It is given all elements of the rows as one flat column,
/// and a way to the row of each.
fn any_element(
    list: &ListArray,
    test: impl FnOnce(&ArrayRef, &dyn Fn() -> UInt32Array) -> Result<BooleanBuffer>,
) -> Result<BooleanBuffer> {
    // The offsets of a sliced array begin anywhere in the values it shares with the whole.
    let offsets = list.value_offsets();
    let position = |offset: Option<&i32>| offset.and_then(|o| usize::try_from(*o).ok()).ok_or_else(lost);
    let (first, end) = (position(offsets.first())?, position(offsets.last())?);
    let elements = list.values().slice(first, end.saturating_sub(first));
    let ends = || offsets.iter().skip(1).map(|end| usize::try_from(*end).unwrap_or(0).saturating_sub(first));
    let row_of = || {
        let mut start = 0;
        let rows = (0..).zip(ends()).flat_map(|(row, end)| {
            let count = end.saturating_sub(start);
            start = end;
            std::iter::repeat_n(row, count)
        });
        UInt32Array::from_iter_values(rows)
    };
    let passed = test(&elements, &row_of)?;

    let mut rows = BooleanBufferBuilder::new(list.len());
    rows.append_n(list.len(), false);
    let mut ends = ends().enumerate().peekable();
    for element in passed.set_indices() {
        while ends.next_if(|(_, end)| *end <= element).is_some() {}
        if let Some((row, _)) = ends.peek() {
            rows.set_bit(*row, true);
        }
    }
    // The slot of a null may hold elements.
    Ok(present(rows.finish(), list.nulls()))
}

#[cfg(test)]
mod tests {
    use arrow::array::{StringArray, UInt64Array};
    use arrow::datatypes::{Field, Schema as ArrowSchema};

    use super::*;
    use crate::filter::Filter;
    use crate::schema::{AttributeType, Schema};
    use crate::settings::Settings;
    use crate::types::{IdKind, Value};

    fn bound(filter: &Filter) -> BoundFilter {
        let schema = Schema::builder(IdKind::U64)
            .attribute("s", AttributeType::String)
            .attribute("t", AttributeType::StringArray)
            .build()
            .unwrap();
        BoundFilter::new(filter, &schema, &Settings::default(), true).unwrap()
    }

    fn rows(ids: std::ops::Range<u64>) -> RecordBatch {
        let strings: StringArray = ids.clone().map(|i| (i % 3 != 0).then(|| i.to_string())).collect();
        let ids = UInt64Array::from_iter_values(ids);
        RecordBatch::try_from_iter([("id", Arc::new(ids) as ArrayRef), ("s", Arc::new(strings))]).unwrap()
    }

    #[test]
    fn nulls_follow_the_rule() {
        // Of four rows, the first and the last are null.
        let cases = [
            (Filter::is_null("s"), [true, false, false, true]),
            (Filter::eq("s", "1"), [false, true, false, false]),
            (Filter::not_eq("s", "1"), [true, false, true, true]),
            (Filter::eq("s", Value::Null), [true, false, false, true]),
            (Filter::not_eq("s", Value::Null), [false, true, true, false]),
            (Filter::is_in("s", [Value::Null, "2".into()]), [true, false, true, true]),
            (Filter::not_in("s", ["1", "2"]), [true, false, false, true]),
            (Filter::not_in("s", [Value::Null, "2".into()]), [false, true, false, false]),
            (Filter::lte("s", "1"), [false, true, false, false]),
            (!Filter::lte("s", "1"), [true, false, true, true]),
            (Filter::not_glob("s", "1*"), [true, false, true, true]),
            (Filter::not_regex("s", "."), [true, false, false, true]),
        ];
        for (filter, expected) in cases {
            let answers = bound(&filter).evaluate(&rows(0..4), None).unwrap();
            assert_eq!(answers, BooleanArray::from(expected.to_vec()), "{filter:?}");
        }
    }

    #[test]
    fn a_hundred_thousand_values_are_one_set() {
        let values = 0..100_000_u64;
        let numbers = bound(&Filter::is_in("id", values.clone().map(|i| i * 2)));
        let strings = bound(&Filter::not_in("s", values.map(|i| i.to_string())));
        let rows = rows(0..200_000);
        assert_eq!(numbers.evaluate(&rows, None).unwrap().true_count(), 100_000);
        assert_eq!(strings.evaluate(&rows, None).unwrap().true_count(), 200_000 - 66_666);
    }

    #[test]
    fn a_batch_that_does_not_fit_is_an_error_not_a_panic() {
        let lists = Field::new("t", DataType::Utf8, true);
        let wrong = RecordBatch::new_empty(Arc::new(ArrowSchema::new(vec![lists])));
        let filter = bound(&Filter::contains("t", "x"));
        assert!(filter.evaluate(&wrong, None).is_err());
        assert!(filter.evaluate(&rows(0..2), None).is_err());
        let filter = bound(&Filter::eq("s", crate::filter::Operand::new_value("s")));
        assert!(filter.evaluate(&rows(0..2), Some(&rows(0..1))).is_err());
        assert!(filter.evaluate(&rows(0..2), Some(&rows(0..2).project(&[0]).unwrap())).is_err());
    }
}
