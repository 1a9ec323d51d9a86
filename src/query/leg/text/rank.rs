//! Ranking by what a document is, besides what it says: attributes and filters as scores.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use futures::future::try_join_all;
use roaring::RoaringBitmap;

use crate::error::{Error, OrInternal, Result};
use crate::filter::{BoundFilter, Filter};
use crate::index::text::{RankValues, ScoreJoin};
use crate::schema::{AttributeType, ColumnKind, Schema};
use crate::settings::Settings;
use crate::view::{Part, RowAddr, View};

const DEPTH_MAX: usize = 32;
const NODES_MAX: usize = 256;
/// Rows whose values are read at a time.
const ROWS: usize = 1 << 16;

/// A value of a document that joins its score: see [`TextQuery::ranked`](super::TextQuery::ranked).
///
/// ```
/// use elacsym::{Combine, Filter, Rank, TextQuery};
///
/// let liked = Rank::attribute("likes").saturate(50.0, 1.0).times(3.0);
/// let fresh = Rank::distance("published", 1.7e12).decay(86_400_000.0, 1.0);
/// let query = TextQuery::any("body", "cold storage")
///     .ranked(Combine::Sum, liked)
///     .ranked(Combine::Product, Rank::sum([Rank::Constant(1.0), fresh, Rank::Filter(Filter::eq("hot", true))]));
/// # let _ = query;
/// ```
///
/// # What counts
/// Never less than 0: a negative attribute counts as 0. A document without a value gets nothing for it: 0, however
/// the value would have been bent. Datetimes are milliseconds since 1970. Arithmetic is of 64 bits, its result
/// a score of 32.
///
/// A value ranks what the text query finds, and finds nothing by itself. The values of all documents that the text
/// finds are read: the query costs as many rows of those columns, and 8 bytes of memory for each. At most 256 nodes
/// and 32 levels, and of a text leg at most 33,554,432 values in all: more documents to rank are
/// [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded).
///
/// A rank of any depth is cloned, compared and dropped safely; what is printed of one ends below 64 levels.
#[non_exhaustive]
pub enum Rank {
    /// This number.
    Constant(f64),
    /// 1 for a document that matches, 0 for others.
    Filter(Filter),
    /// The value of an attribute that is an int, uint, float or datetime.
    Attribute(String),
    /// How far such a value is from an origin.
    Distance(String, f64),
    /// x^e / (x^e + m^e), with the midpoint m and the exponent e: from 0 up to 1, at m a half.
    Saturate(Box<Rank>, f64, f64),
    /// m^e / (x^e + m^e), with the midpoint m and the exponent e: from 1 down to 0, at m a half.
    Decay(Box<Rank>, f64, f64),
    /// Several as one.
    Join(Combine, Vec<Rank>),
}

/// How values become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Combine {
    /// They add up.
    Sum,
    /// The greatest.
    Max,
    /// They are multiplied.
    Product,
}

impl Rank {
    /// The value of an attribute.
    pub fn attribute(column: impl Into<String>) -> Self {
        Self::Attribute(column.into())
    }

    /// How far the value of an attribute is from `origin`.
    pub fn distance(column: impl Into<String>, origin: f64) -> Self {
        Self::Distance(column.into(), origin)
    }

    /// Up to 1, the slower the greater it is.
    #[must_use]
    pub fn saturate(self, midpoint: f64, exponent: f64) -> Self {
        Self::Saturate(Box::new(self), midpoint, exponent)
    }

    /// From 1 down to 0.
    #[must_use]
    pub fn decay(self, midpoint: f64, exponent: f64) -> Self {
        Self::Decay(Box::new(self), midpoint, exponent)
    }

    /// So many times.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self::Join(Combine::Product, vec![self, Self::Constant(factor)])
    }

    /// All together.
    pub fn sum(ranks: impl IntoIterator<Item = Self>) -> Self {
        Self::Join(Combine::Sum, ranks.into_iter().collect())
    }

    /// The greatest of these.
    pub fn max(ranks: impl IntoIterator<Item = Self>) -> Self {
        Self::Join(Combine::Max, ranks.into_iter().collect())
    }

    /// Their product.
    pub fn product(ranks: impl IntoIterator<Item = Self>) -> Self {
        Self::Join(Combine::Product, ranks.into_iter().collect())
    }
}

impl From<Combine> for ScoreJoin {
    fn from(combine: Combine) -> Self {
        match combine {
            Combine::Sum => Self::Sum,
            Combine::Max => Self::Greatest,
            Combine::Product => Self::Product,
        }
    }
}

/// A value, checked against a schema.
#[derive(Debug)]
pub(in crate::query) struct BoundRank {
    root: Expression,
    /// The places of its columns in the schema, ascending.
    columns: Vec<usize>,
    filters: Vec<Arc<BoundFilter>>,
}

/// Columns are named by their places in the schema, filters by theirs in [`BoundRank::filters`].
#[derive(Debug)]
enum Expression {
    Constant(f64),
    Filter(usize),
    Attribute(usize),
    Distance(usize, f64),
    /// Midpoint, exponent, and whether it goes up.
    Bent(Box<Expression>, f64, f64, bool),
    Join(Combine, Vec<Expression>),
}

impl BoundRank {
    pub(in crate::query) fn new(rank: &Rank, schema: &Schema, settings: &Settings) -> Result<Self> {
        let mut binder = Binder { schema, settings, columns: Vec::new(), filters: Vec::new(), nodes: 0 };
        let root = binder.node(rank, 1)?;
        let (mut columns, filters) = (binder.columns, binder.filters);
        columns.sort_unstable();
        columns.dedup();
        Ok(Self { root, columns, filters })
    }

    /// The values of rows of a part.
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
        let all: Vec<u32> = rows.iter().collect();
        for rows in all.chunks(ROWS) {
            let batch = match self.columns.as_slice() {
                [] => None,
                columns => Some(part.fetch_rows(schema, columns, &rows.iter().copied().collect()).await?),
            };
            let columns = self.numbers(batch.as_ref())?;
            let read = Read { columns: &columns, filters: &filters };
            for (at, row) in rows.iter().enumerate() {
                let value = read.value(&self.root, at, *row).unwrap_or_default();
                #[expect(clippy::cast_possible_truncation, reason = "a score")]
                values.push(*row, if value > 0.0 { value.min(f64::from(f32::MAX)) as f32 } else { 0.0 });
            }
        }
        Ok(values)
    }

    /// The values of documents at some places.
    pub(in crate::query) async fn read_values_at(
        &self,
        view: &View,
        places: impl Iterator<Item = RowAddr>,
    ) -> Result<HashMap<RowAddr, f32>> {
        let parts = view.parts();
        let mut rows = vec![RoaringBitmap::new(); parts.len()];
        for place in places {
            let of = rows.get_mut(place.part).ok_or_else(|| Error::internal("a place in no part"))?;
            of.insert(place.row);
        }
        let wanted = parts.iter().zip(&rows).enumerate().filter(|(_, (_, rows))| !rows.is_empty());
        let reads = wanted.map(|(number, (part, rows))| async move {
            let values = self.read_values(view, part, rows).await?;
            let place = |row| (RowAddr { part: number, row }, values.get(row));
            Ok::<_, Error>(rows.iter().map(place).collect::<Vec<_>>())
        });
        Ok(try_join_all(reads).await?.into_iter().flatten().collect())
    }

    /// The columns of a batch as numbers, each with its place in the schema.
    fn numbers(&self, batch: Option<&RecordBatch>) -> Result<Vec<(usize, arrow::array::Float64Array)>> {
        let Some(batch) = batch else { return Ok(Vec::new()) };
        let number = |(place, array): (&usize, &arrow::array::ArrayRef)| {
            let whole = matches!(array.data_type(), DataType::Timestamp(..));
            let array = if whole { cast(array, &DataType::Int64).or_internal()? } else { Arc::clone(array) };
            Ok((
                *place,
                cast(&array, &DataType::Float64).or_internal()?.as_primitive::<Float64Type>().clone(),
            ))
        };
        self.columns.iter().zip(batch.columns().iter().skip(1)).map(number).collect()
    }
}

struct Read<'a> {
    columns: &'a [(usize, arrow::array::Float64Array)],
    filters: &'a [RoaringBitmap],
}

impl Read<'_> {
    /// The value of a row, which is number `at` of those that were read; `None` without a value.
    fn value(&self, expression: &Expression, at: usize, row: u32) -> Option<f64> {
        match expression {
            Expression::Constant(number) => Some(*number),
            Expression::Filter(number) => {
                Some(f64::from(u8::from(self.filters.get(*number).is_some_and(|rows| rows.contains(row)))))
            }
            Expression::Attribute(column) => self.number(*column, at).map(|value| value.max(0.0)),
            Expression::Distance(column, origin) => {
                self.number(*column, at).map(|value| (value - origin).abs())
            }
            Expression::Bent(of, midpoint, exponent, up) => {
                let x = self.value(of, at, row)?.max(0.0) / midpoint;
                // A ratio, so that no power overflows both above and below.
                let bent = 1.0 / (1.0 + x.powf(if *up { -exponent } else { *exponent }));
                Some(bent)
            }
            Expression::Join(combine, of) => {
                let mut values = of.iter().map(|one| self.value(one, at, row));
                match combine {
                    Combine::Sum => Some(values.flatten().sum()),
                    Combine::Max => Some(values.flatten().fold(0.0, f64::max)),
                    Combine::Product => values.try_fold(1.0, |product, value| Some(product * value?)),
                }
            }
        }
    }

    fn number(&self, column: usize, at: usize) -> Option<f64> {
        let (_, array) = self.columns.iter().find(|(place, _)| *place == column)?;
        (at < array.len() && array.is_valid(at)).then(|| array.value(at)).filter(|value| !value.is_nan())
    }
}

struct Binder<'a> {
    schema: &'a Schema,
    settings: &'a Settings,
    columns: Vec<usize>,
    filters: Vec<Arc<BoundFilter>>,
    nodes: usize,
}

impl Binder<'_> {
    fn node(&mut self, rank: &Rank, depth: usize) -> Result<Expression> {
        self.nodes += 1;
        if self.nodes > NODES_MAX || depth > DEPTH_MAX {
            let most = format!("at most {NODES_MAX} nodes and {DEPTH_MAX} levels are allowed");
            return Err(Error::limit(format!("the rank is too large: {most}")));
        }
        Ok(match rank {
            Rank::Constant(number) => Expression::Constant(checked("constant", *number, *number >= 0.0)?),
            Rank::Filter(filter) => {
                let bound = BoundFilter::new(filter, self.schema, self.settings, false)?;
                self.filters.push(Arc::new(bound));
                Expression::Filter(self.filters.len() - 1)
            }
            Rank::Attribute(name) => Expression::Attribute(self.column(name)?),
            Rank::Distance(name, origin) => {
                Expression::Distance(self.column(name)?, checked("origin", *origin, true)?)
            }
            Rank::Saturate(of, midpoint, exponent) => self.bent(of, (*midpoint, *exponent), true, depth)?,
            Rank::Decay(of, midpoint, exponent) => self.bent(of, (*midpoint, *exponent), false, depth)?,
            Rank::Join(combine, of) => {
                let of = of.iter().map(|one| self.node(one, depth + 1)).collect::<Result<_>>()?;
                Expression::Join(*combine, of)
            }
        })
    }

    fn bent(&mut self, of: &Rank, (m, e): (f64, f64), up: bool, depth: usize) -> Result<Expression> {
        let (m, e) = (checked("midpoint", m, m > 0.0)?, checked("exponent", e, e > 0.0)?);
        Ok(Expression::Bent(Box::new(self.node(of, depth + 1)?), m, e, up))
    }

    fn column(&mut self, name: &str) -> Result<usize> {
        let mut columns = self.schema.columns().iter();
        let at = columns.position(|column| {
            use AttributeType::{Datetime, Float, Int, Uint};
            column.name == name && matches!(column.kind, ColumnKind::Attribute(Int | Uint | Float | Datetime))
        });
        let at = at.ok_or_else(|| {
            Error::invalid(format!(
                "no such attribute to rank by: it is an int, uint, float or datetime. column=`{name}`"
            ))
        })?;
        self.columns.push(at);
        Ok(at)
    }
}

fn checked(what: &str, number: f64, good: bool) -> Result<f64> {
    if good && number.is_finite() {
        return Ok(number);
    }
    Err(Error::invalid(format!("bad {what} of a rank. {what}=`{number}`")))
}
