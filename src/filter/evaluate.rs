//! Evaluation of a bound filter on record batches, a column at a time.
//!
//! **Invariant:** the result has no nulls.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder, ListArray, RecordBatch, Scalar,
    UInt32Array, make_comparator, new_null_array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::kernels::cmp;
use arrow::compute::{SortOptions, take};
use arrow::datatypes::DataType;

use super::bound::{BoundColumn, BoundFilter, BoundNode, BoundPredicate, Comparand, Comparison, ValueTest};
use crate::codec::to_usize;
use crate::error::{Error, OrInternal, Result};
use crate::index::attributes::Pattern;
use crate::schema::AttributeType;

impl BoundFilter {
    /// Which rows match. `rows` has at least [`Self::columns`], in the Arrow types of the schema.
    ///
    /// `new` has the incoming version of each row, with at least [`Self::new_columns`]. Without it every new value is
    /// null, as when rows are deleted.
    pub(crate) fn evaluate(&self, rows: &RecordBatch, new: Option<&RecordBatch>) -> Result<BooleanArray> {
        let len = rows.num_rows();
        if let Some(new) = new.filter(|new| new.num_rows() != len) {
            return Err(Error::internal(format!("{} new rows for {len} rows", new.num_rows())));
        }
        let input = FilterInput {
            len,
            rows: resolve_columns(&self.columns, Some(rows), len)?,
            new: resolve_columns(&self.new_columns, new, len)?,
        };
        Ok(BooleanArray::new(input.evaluate_node(&self.root)?, None))
    }
}

/// The columns of a batch; all null without one.
fn resolve_columns(
    columns: &[BoundColumn],
    batch: Option<&RecordBatch>,
    len: usize,
) -> Result<Vec<ArrayRef>> {
    let resolve = |column: &BoundColumn| {
        let expected = column.kind.map(AttributeType::arrow_type);
        let Some(batch) = batch else {
            // A vector is only tested for null, so its type does not matter.
            return Ok(new_null_array(&expected.unwrap_or(DataType::Null), len));
        };
        let name = &column.label.name;
        let found = batch.column_by_name(name);
        let found =
            found.ok_or_else(|| Error::internal(format!("a batch lacks a column. column=`{name}`")))?;
        if expected.is_some_and(|expected| !is_same_type(&expected, found.data_type())) {
            return Err(Error::internal(format!(
                "a column of a batch is {}, not of the schema's type. column=`{name}`",
                found.data_type()
            )));
        }
        Ok(Arc::clone(found))
    };
    columns.iter().map(resolve).collect()
}

/// Whether two types are equal but for the element's field of a list: readers choose its name and nullability.
fn is_same_type(expected: &DataType, found: &DataType) -> bool {
    match (expected, found) {
        (DataType::List(expected), DataType::List(found)) => expected.data_type() == found.data_type(),
        (expected, found) => expected == found,
    }
}

/// The columns of [`BoundFilter::columns`] and [`BoundFilter::new_columns`], in their order.
struct FilterInput {
    len: usize,
    rows: Vec<ArrayRef>,
    new: Vec<ArrayRef>,
}

impl FilterInput {
    fn evaluate_node(&self, node: &BoundNode) -> Result<BooleanBuffer> {
        match node {
            BoundNode::Const(true) => Ok(BooleanBuffer::new_set(self.len)),
            BoundNode::Const(false) => Ok(BooleanBuffer::new_unset(self.len)),
            BoundNode::Not(inner) => Ok(!&self.evaluate_node(inner)?),
            BoundNode::Predicate(predicate) => self.evaluate_predicate(predicate),
            BoundNode::All(nodes) => {
                let mut all = BooleanBuffer::new_set(self.len);
                // A predicate is evaluated on all rows or not at all: kernels over a whole column are cheaper than
                // selecting the rows that are left, except when there are none.
                for node in nodes {
                    all = &all & &self.evaluate_node(node)?;
                    if !all.has_true() {
                        break;
                    }
                }
                Ok(all)
            }
            BoundNode::Any(nodes) => {
                let mut any = BooleanBuffer::new_unset(self.len);
                for node in nodes {
                    any = &any | &self.evaluate_node(node)?;
                    if !any.has_false() {
                        break;
                    }
                }
                Ok(any)
            }
        }
    }

    fn evaluate_predicate(&self, predicate: &BoundPredicate) -> Result<BooleanBuffer> {
        let column = self.rows.get(predicate.column).ok_or_else(misfit)?;
        if predicate.elements {
            let list = column.as_list_opt::<i32>().ok_or_else(misfit)?;
            return rows_with_any_element(list, |elements, element_rows| {
                self.test_values(&predicate.test, elements, Some(element_rows))
            });
        }
        self.test_values(&predicate.test, column, None)
    }

    /// Tests each value. `element_rows` returns the row of each value if the values are elements of arrays.
    // Only a comparison with new values needs the rows, so they are computed on demand.
    fn test_values(
        &self,
        test: &ValueTest,
        values: &ArrayRef,
        element_rows: Option<&dyn Fn() -> UInt32Array>,
    ) -> Result<BooleanBuffer> {
        match test {
            ValueTest::Null => {
                let nulls = values.logical_nulls();
                Ok(nulls.map_or_else(|| BooleanBuffer::new_unset(values.len()), |nulls| !nulls.inner()))
            }
            ValueTest::Member(set) => Ok(unset_nulls(set.contains(values)?, values.nulls())),
            ValueTest::Pattern(pattern) => search_strings(pattern, values),
            ValueTest::Tokens(contains) => Ok(contains.evaluate(values)),
            ValueTest::Compare(comparison, Comparand::Literal(literal)) => {
                compare_values(*comparison, values, literal, true)
            }
            ValueTest::Compare(comparison, Comparand::New(new)) => {
                let new = self.new.get(*new).ok_or_else(misfit)?;
                match element_rows {
                    None => compare_values(*comparison, values, new, false),
                    Some(element_rows) => {
                        let new = take(new, &element_rows(), None).or_internal()?;
                        compare_values(*comparison, values, &new, false)
                    }
                }
            }
        }
    }
}

fn misfit() -> Error {
    Error::internal("a bound filter does not fit its columns")
}

/// Sets the bits of nulls to false.
fn unset_nulls(answers: BooleanBuffer, nulls: Option<&NullBuffer>) -> BooleanBuffer {
    match nulls {
        Some(nulls) => &answers & nulls.inner(),
        None => answers,
    }
}

/// Compares each value with its counterpart in `other`, or all values with its only row if `is_literal`.
fn compare_values(
    comparison: Comparison,
    values: &ArrayRef,
    other: &ArrayRef,
    is_literal: bool,
) -> Result<BooleanBuffer> {
    if values.data_type().is_nested() {
        // Arrow's kernels do not compare lists. Binding lets only equality through; `not_distinct` semantics hold here
        // too, as the comparator treats two nulls as equal.
        let order = make_comparator(values, other, SortOptions::default()).or_internal()?;
        let counterpart = |row| if is_literal { 0 } else { row };
        return Ok(BooleanBuffer::collect_bool(values.len(), |row| order(row, counterpart(row)).is_eq()));
    }
    let kernel = match comparison {
        // `x == new.x` is true where both are null, in two-valued logic.
        Comparison::Eq => cmp::not_distinct,
        Comparison::Lt => cmp::lt,
        Comparison::Lte => cmp::lt_eq,
        Comparison::Gt => cmp::gt,
        Comparison::Gte => cmp::gt_eq,
    };
    let answers = if is_literal {
        kernel(values, &Scalar::new(Arc::clone(other))).or_internal()?
    } else {
        kernel(values, other).or_internal()?
    };
    let (answers, nulls) = answers.into_parts();
    Ok(unset_nulls(answers, nulls.as_ref()))
}

fn search_strings(pattern: &Pattern, values: &ArrayRef) -> Result<BooleanBuffer> {
    let strings = values.as_string_opt::<i32>().ok_or_else(misfit)?;
    let found = |row| strings.is_valid(row) && pattern.is_match(strings.value(row));
    Ok(BooleanBuffer::collect_bool(strings.len(), found))
}

/// The rows with an element that passes `test`. It is given the elements of all rows as one flat array, and a function
/// that computes the row of each.
fn rows_with_any_element(
    list: &ListArray,
    test: impl FnOnce(&ArrayRef, &dyn Fn() -> UInt32Array) -> Result<BooleanBuffer>,
) -> Result<BooleanBuffer> {
    // A sliced array shares the values of the whole, so that its offsets may start anywhere.
    let offsets = list.value_offsets().iter().map(|offset| to_usize(*offset, "an offset of a list"));
    let offsets = offsets.collect::<Result<Vec<usize>>>()?;
    let Some((first, ends)) = offsets.split_first() else { return Err(misfit()) };
    // invariant: a list of no rows has one offset, and no elements.
    let length = ends.last().unwrap_or(first) - first;
    let elements = list.values().slice(*first, length);
    let element_rows = || {
        let starts = std::iter::once(first).chain(ends);
        let lengths = ends.iter().zip(starts).map(|(end, start)| end - start);
        let rows = (0_u32..).zip(lengths).flat_map(|(row, length)| std::iter::repeat_n(row, length));
        UInt32Array::from_iter_values(rows)
    };
    let passed = test(&elements, &element_rows)?;

    // Elements and rows are both in ascending order, so one pass merges them.
    let mut rows = BooleanBufferBuilder::new(list.len());
    rows.append_n(list.len(), false);
    let mut ends = ends.iter().enumerate().peekable();
    for element in passed.set_indices() {
        while ends.next_if(|(_, end)| **end - first <= element).is_some() {}
        let (row, _) = ends.peek().ok_or_else(misfit)?;
        rows.set_bit(*row, true);
    }
    // Arrow allows elements in the slot of a null.
    Ok(unset_nulls(rows.finish(), list.nulls()))
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
        // The first and the last of four rows are null.
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
    fn lists_of_a_hundred_thousand_values_are_hashed() {
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
