//! Ranks bound to a schema, and their evaluation on rows.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use futures::future::try_join_all;
use roaring::RoaringBitmap;

use super::{Combine, Rank};
use crate::codec::zip_equal;
use crate::error::{Error, OrInternal, Result};
use crate::filter::BoundFilter;
use crate::index::text::RankValues;
use crate::schema::{AttributeType, ColumnKind, Schema};
use crate::settings::Settings;
use crate::view::{Part, RowAddr, View};

/// The most levels and nodes of a rank.
// It is evaluated by recursion, and once for every row that a text finds.
const DEPTH_MAX: usize = 32;
const NODES_MAX: usize = 256;
/// Rows whose values are read at a time.
// They are held as batches of all columns of the rank until they are evaluated.
const BATCH_ROWS: usize = 1 << 16;

/// A rank, checked against a schema.
#[derive(Debug)]
pub(in crate::query) struct BoundRank {
    root: Expression,
    /// The indexes of its columns in the schema, ascending.
    columns: Vec<usize>,
    filters: Vec<Arc<BoundFilter>>,
}

/// A node of a rank. Columns are indexes in the schema, filters in [`BoundRank::filters`].
#[derive(Debug)]
enum Expression {
    Constant(f64),
    Filter(usize),
    Attribute(usize),
    Distance(usize, f64),
    Sigmoid(Box<Expression>, Curve),
    Join(Combine, Vec<Expression>),
}

/// The curve of a saturation or a decay.
#[derive(Clone, Copy, Debug)]
struct Curve {
    midpoint: f64,
    exponent: f64,
    /// Whether greater values count more.
    is_rising: bool,
}

impl Curve {
    fn value_at(self, x: f64) -> f64 {
        // x^e / (x^e + m^e) as 1 / (1 + (x/m)^-e): powers of large values would both be infinite, and their ratio NaN.
        let exponent = if self.is_rising { -self.exponent } else { self.exponent };
        1.0 / (1.0 + (x / self.midpoint).powf(exponent))
    }
}

impl BoundRank {
    pub(in crate::query) fn new(rank: &Rank, schema: &Schema, settings: &Settings) -> Result<Self> {
        let mut binder = RankBinder { schema, settings, columns: Vec::new(), filters: Vec::new(), nodes: 0 };
        let root = binder.bind_node(rank, 1)?;
        let (mut columns, filters) = (binder.columns, binder.filters);
        columns.sort_unstable();
        columns.dedup();
        Ok(Self { root, columns, filters })
    }

    /// Reads the values of rows of a part.
    pub(in crate::query) async fn read_values(
        &self,
        view: &View,
        part: &Part,
        rows: &RoaringBitmap,
    ) -> Result<RankValues> {
        let (schema, env) = (&view.schema, &view.env);
        let filters = self.filters.iter().map(|bound| part.find_matching_rows(env, schema, bound, rows));
        let filters = try_join_all(filters).await?;
        let mut values = RankValues::default();
        let rows: Vec<u32> = rows.iter().collect();
        for rows in rows.chunks(BATCH_ROWS) {
            let batch = match self.columns.as_slice() {
                [] => None,
                columns => Some(part.fetch_rows(schema, columns, &rows.iter().copied().collect()).await?),
            };
            let columns = self.to_floats(batch.as_ref())?;
            let inputs = RankInputs { columns: &columns, filters: &filters };
            for (index, row) in rows.iter().enumerate() {
                // invariant: a document without a value gets nothing for it.
                let value = inputs.evaluate(&self.root, index, *row)?.unwrap_or(0.0);
                // Scores are f32. Beyond its range a value is cut to the greatest finite one: an infinite score would turn
                // into NaN once it is multiplied by 0. NaN itself compares as not greater than 0.
                #[expect(clippy::cast_possible_truncation, reason = "a score")]
                values.push(*row, if value > 0.0 { value.min(f64::from(f32::MAX)) as f32 } else { 0.0 });
            }
        }
        Ok(values)
    }

    /// The values of the documents at `addrs`, in their order. Each part is read once, all parts concurrently.
    pub(in crate::query) async fn read_values_at(&self, view: &View, addrs: &[RowAddr]) -> Result<Vec<f32>> {
        let parts = view.parts();
        let no_part = || Error::internal("a row address names no part");
        let mut rows = vec![RoaringBitmap::new(); parts.len()];
        for addr in addrs {
            rows.get_mut(addr.part).ok_or_else(no_part)?.insert(addr.row);
        }
        let reads = zip_equal(&parts, &rows, "parts and their rows")?;
        let reads = reads.map(|(part, rows)| async move {
            if rows.is_empty() { Ok(RankValues::default()) } else { self.read_values(view, part, rows).await }
        });
        let values = try_join_all(reads).await?;
        addrs.iter().map(|addr| Ok(values.get(addr.part).ok_or_else(no_part)?.get(addr.row))).collect()
    }

    /// The columns of a batch as floats, each with its index in the schema.
    fn to_floats(&self, batch: Option<&RecordBatch>) -> Result<Vec<(usize, Float64Array)>> {
        let Some(batch) = batch else { return Ok(Vec::new()) };
        let to_float = |(column, array): (&usize, &ArrayRef)| {
            // Arrow casts timestamps to integers only.
            let is_datetime = matches!(array.data_type(), DataType::Timestamp(..));
            let array =
                if is_datetime { cast(array, &DataType::Int64).or_internal()? } else { Arc::clone(array) };
            let floats = cast(&array, &DataType::Float64).or_internal()?;
            Ok((*column, floats.as_primitive::<Float64Type>().clone()))
        };
        // The id comes first.
        let arrays: Vec<&ArrayRef> = batch.columns().iter().skip(1).collect();
        zip_equal(&self.columns, arrays, "columns of a rank and of its batch")?.map(to_float).collect()
    }
}

/// The values of some rows that a rank is evaluated on.
struct RankInputs<'a> {
    columns: &'a [(usize, Float64Array)],
    filters: &'a [RoaringBitmap],
}

impl RankInputs<'_> {
    /// The value of `row`, whose index among the rows at hand is `index`; `None` without a value.
    fn evaluate(&self, expression: &Expression, index: usize, row: u32) -> Result<Option<f64>> {
        Ok(match expression {
            Expression::Constant(number) => Some(*number),
            Expression::Filter(number) => {
                let rows =
                    self.filters.get(*number).ok_or_else(|| Error::internal("no such filter in a rank"))?;
                Some(if rows.contains(row) { 1.0 } else { 0.0 })
            }
            Expression::Attribute(column) => self.read_value(*column, index)?.map(|value| value.max(0.0)),
            Expression::Distance(column, origin) => {
                self.read_value(*column, index)?.map(|value| (value - origin).abs())
            }
            Expression::Sigmoid(input, curve) => {
                self.evaluate(input, index, row)?.map(|x| curve.value_at(x.max(0.0)))
            }
            Expression::Join(combine, inputs) => {
                let mut values = inputs.iter().map(|input| self.evaluate(input, index, row));
                match combine {
                    Combine::Sum => {
                        Some(values.try_fold(0.0, |sum, value| Ok::<_, Error>(sum + value?.unwrap_or(0.0)))?)
                    }
                    Combine::Max => {
                        Some(values.try_fold(0.0, |max: f64, value| {
                            Ok::<_, Error>(max.max(value?.unwrap_or(0.0)))
                        })?)
                    }
                    // Without one of its factors a product has no value, which then counts 0. Leaving the factor out would
                    // rank documents without a value above those with a small one.
                    Combine::Product => values.try_fold(Some(1.0), |product: Option<f64>, value| {
                        Ok::<_, Error>(product.zip(value?).map(|(product, value)| product * value))
                    })?,
                }
            }
        })
    }

    /// The value of an attribute. NaN counts as no value.
    fn read_value(&self, column: usize, index: usize) -> Result<Option<f64>> {
        let array = self.columns.iter().find(|(read, _)| *read == column).map(|(_, array)| array);
        let array = array.filter(|array| index < array.len());
        let array = array.ok_or_else(|| Error::internal("a value of a rank was not read"))?;
        Ok(array.is_valid(index).then(|| array.value(index)).filter(|value| !value.is_nan()))
    }
}

/// Binds the nodes of a rank, and counts them.
struct RankBinder<'a> {
    schema: &'a Schema,
    settings: &'a Settings,
    columns: Vec<usize>,
    filters: Vec<Arc<BoundFilter>>,
    nodes: usize,
}

impl RankBinder<'_> {
    fn bind_node(&mut self, rank: &Rank, depth: usize) -> Result<Expression> {
        self.nodes += 1;
        if self.nodes > NODES_MAX || depth > DEPTH_MAX {
            return Err(Error::limit(format!(
                "the rank is too large: at most {NODES_MAX} nodes and {DEPTH_MAX} levels are allowed"
            )));
        }
        Ok(match rank {
            Rank::Constant(number) => {
                Expression::Constant(check_number("constant", *number, *number >= 0.0)?)
            }
            Rank::Filter(filter) => {
                let bound = BoundFilter::new(filter, self.schema, self.settings, false)?;
                self.filters.push(Arc::new(bound));
                Expression::Filter(self.filters.len() - 1)
            }
            Rank::Attribute(name) => Expression::Attribute(self.bind_column(name)?),
            Rank::Distance(name, origin) => {
                Expression::Distance(self.bind_column(name)?, check_number("origin", *origin, true)?)
            }
            Rank::Saturate(input, midpoint, exponent) => {
                let curve = Curve { midpoint: *midpoint, exponent: *exponent, is_rising: true };
                self.bind_sigmoid(input, curve, depth)?
            }
            Rank::Decay(input, midpoint, exponent) => {
                let curve = Curve { midpoint: *midpoint, exponent: *exponent, is_rising: false };
                self.bind_sigmoid(input, curve, depth)?
            }
            Rank::Join(combine, ranks) => {
                let inputs =
                    ranks.iter().map(|rank| self.bind_node(rank, depth + 1)).collect::<Result<_>>()?;
                Expression::Join(*combine, inputs)
            }
        })
    }

    fn bind_sigmoid(&mut self, input: &Rank, curve: Curve, depth: usize) -> Result<Expression> {
        check_number("midpoint", curve.midpoint, curve.midpoint > 0.0)?;
        check_number("exponent", curve.exponent, curve.exponent > 0.0)?;
        Ok(Expression::Sigmoid(Box::new(self.bind_node(input, depth + 1)?), curve))
    }

    fn bind_column(&mut self, name: &str) -> Result<usize> {
        use AttributeType::{Datetime, Float, Int, Uint};
        let found = self.schema.find_column(name).map(|(index, column)| (index, column.kind));
        let Some((index, ColumnKind::Attribute(Int | Uint | Float | Datetime))) = found else {
            return Err(Error::invalid(format!(
                "no such attribute to rank by: it must be an int, uint, float or datetime. column=`{name}`"
            )));
        };
        self.columns.push(index);
        Ok(index)
    }
}

fn check_number(what: &str, number: f64, is_valid: bool) -> Result<f64> {
    if is_valid && number.is_finite() {
        return Ok(number);
    }
    Err(Error::invalid(format!("bad {what} of a rank. {what}=`{number}`")))
}
