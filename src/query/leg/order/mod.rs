//! Order legs: documents sorted by attributes or by id.
//!
//! A segment is walked along the attribute index of the first sort key, from the end that is asked for, until enough rows
//! are found ([`walk`]). Only these are then sorted by the other keys. Rows that tie in all keys are kept as a bitmap and
//! cut by their ids, however many they are.

mod first_rows;
mod json;
mod sort_key;
mod walk;

use std::sync::Arc;

use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt, stream};
use roaring::RoaringBitmap;

use self::first_rows::FirstRows;
use self::sort_key::{KeyBytes, SortKey};
use super::ranking::{Depth, LegRows, PartRanking, Score, TiedRows};
use crate::codec::to_u32;
use crate::error::{Error, Result};
use crate::memtable::PartSource;
use crate::query::QueryStats;
use crate::query::keys::ColumnKeys;
use crate::schema::{AttributeType, ColumnKind, ID_COLUMN, Schema};
use crate::types::{ColumnId, IdKind};
use crate::view::{Part, Scope, View};

/// The most sort keys. It bounds the columns that are read for every candidate.
const KEYS_MAX: usize = 8;
/// Windows of a part that are read ahead.
const WINDOWS_AHEAD: usize = 2;

/// A sort key of [`Leg::order_by`](crate::Leg::order_by): an attribute of type string, int, uint, float, datetime, uuid
/// or bool (false before true), or the id, named `id`. Documents without a value come last, or first with
/// [`Order::nulls_first`].
///
/// ```
/// use elacsym::{Order, Query};
///
/// // With ids that grow with time, the newest first.
/// let newest = Query::order_by([Order::desc("id")]).limit(20);
/// let by_year = Query::order_by([Order::asc("year"), Order::desc("id")]);
/// # let _ = (newest, by_year);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Order {
    column: String,
    descending: bool,
    nulls_first: bool,
}

impl Order {
    /// Ascending: the least value first.
    pub fn asc(column: impl Into<String>) -> Self {
        Self { column: column.into(), descending: false, nulls_first: false }
    }

    /// Descending: the greatest value first.
    pub fn desc(column: impl Into<String>) -> Self {
        Self { descending: true, ..Self::asc(column) }
    }

    /// Sorts documents without a value first.
    pub fn nulls_first(mut self) -> Self {
        self.nulls_first = true;
        self
    }
}

/// The dense rank of a row's values in the order, from 0: the least is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ordinal(u32);

impl Score for Ordinal {
    #[expect(
        clippy::cast_precision_loss,
        reason = "ranks of hits are exact, their scores are single precision"
    )]
    fn reported(self) -> f32 {
        0.0 - self.0 as f32
    }
}

/// An order, checked against the schema.
#[derive(Debug)]
pub(in crate::query) struct OrderSearch {
    keys: Vec<SortKey>,
    /// The positions of all columns in the schema, ascending.
    columns: Vec<usize>,
}

impl OrderSearch {
    /// Checks an order against the schema.
    pub(super) fn plan(schema: &Schema, orders: &[Order]) -> Result<Self> {
        if !(1..=KEYS_MAX).contains(&orders.len()) {
            let found = orders.len();
            return Err(Error::limit(format!(
                "bad number of attributes in an order: 1 to {KEYS_MAX} are allowed. attributes=`{found}`"
            )));
        }
        let mut found: Vec<(Option<usize>, bool)> =
            orders.iter().map(|order| find_column(schema, &order.column)).collect::<Result<_>>()?;
        // Ids are unique: keys behind the id never decide.
        if let Some(id) = found.iter().position(|(column, _)| column.is_none()) {
            found.truncate(id + 1);
        }
        let mut columns: Vec<usize> = found.iter().filter_map(|(column, _)| *column).collect();
        columns.sort_unstable();
        columns.dedup();
        let position_in_batch = |column: Option<usize>| match column {
            // The id is the first column of a batch.
            None => Ok(0),
            Some(column) => match columns.binary_search(&column) {
                Ok(position) => Ok(position + 1),
                Err(_) => Err(Error::internal("an order reads no column for one of its keys")),
            },
        };
        let keys = orders.iter().zip(found).map(|(order, (column, is_fixed_width))| {
            let id = match column {
                None => Some(ColumnId::DOCUMENT_ID),
                Some(column) => schema.columns().get(column).map(|column| column.id),
            };
            let id = id.ok_or_else(|| Error::internal("an order by no column"))?;
            let position = position_in_batch(column)?;
            Ok(SortKey { order: order.clone(), column: id, position, is_fixed_width })
        });
        Ok(Self { keys: keys.collect::<Result<_>>()?, columns })
    }

    /// Ranks the documents of a scope.
    pub(super) async fn rank(&self, view: &View, scope: &Scope, depth: Depth) -> Result<LegRows<Ordinal>> {
        let parts: Vec<_> = scope.matching_rows(view).await?.collect();
        let mut stats = QueryStats::of_scope(scope, parts.iter().map(|(part, _)| *part));
        stats.rows_scanned = parts.iter().map(|(_, matching)| matching.len().min(depth.rows as u64)).sum();
        let sorts = parts.into_iter().enumerate().map(|(number, (part, matching))| async move {
            let ranking = self.sort_part(view, part, matching, depth.rows).await?;
            Ok::<_, Error>((number, ranking.cut(part, &view.schema, depth).await?))
        });
        number_keys(LegRows::collect(try_join_all(sorts).await?, stats), depth.rows)
    }

    /// The first rows of a part in order, with all that tie with the last of them.
    async fn sort_part(
        &self,
        view: &View,
        part: &Part,
        matching: &Arc<RoaringBitmap>,
        depth: usize,
    ) -> Result<PartRanking<KeyBytes>> {
        let mut candidates = Arc::clone(matching);
        if let PartSource::Segment(segment) = &part.source {
            if let Some(rows) = self.walk_ids(segment, matching, depth).await? {
                candidates = Arc::new(rows);
            } else if let Some(values) = self.walk_values(view, segment, matching, depth).await? {
                if self.is_decided_by(&values) {
                    return self.rank_by_values(values, depth);
                }
                candidates = Arc::new(values.into_iter().flat_map(|value| value.rows).collect());
            }
        }
        let fetch = |rows: RoaringBitmap| async move {
            Ok::<_, Error>((part.fetch_rows(&view.schema, &self.columns, &rows).await?, rows))
        };
        let windows = part.split_into_windows(&self.columns, &candidates);
        let mut batches = stream::iter(windows).map(fetch).buffered(WINDOWS_AHEAD);
        let mut first = FirstRows::new(depth);
        while let Some((batch, rows)) = batches.try_next().await? {
            let columns: Vec<ColumnKeys> =
                batch.columns().iter().map(ColumnKeys::new).collect::<Result<_>>()?;
            for (at, row) in rows.iter().enumerate() {
                let mut bytes = Vec::new();
                for key in &self.keys {
                    let values = columns.get(key.position);
                    let values =
                        values.ok_or_else(|| Error::internal("a batch lacks the column of a sort key"))?;
                    key.encode(values.row_keys(at)?.next(), &mut bytes);
                }
                first.push(bytes, row);
            }
            first.prune()?;
        }
        Ok(first.into_ranking())
    }
}

/// The position of a sort key's column in the schema, `None` for the id; and whether its values have one width.
fn find_column(schema: &Schema, name: &str) -> Result<(Option<usize>, bool)> {
    use AttributeType::{Bool, Datetime, Float, Int, String, Uint, Uuid};
    if name == ID_COLUMN {
        return Ok((None, schema.id() != IdKind::String));
    }
    match schema.find_column(name).map(|(at, column)| (at, column.kind)) {
        Some((at, ColumnKind::Attribute(Bool | Datetime | Float | Int | Uint | Uuid))) => {
            Ok((Some(at), true))
        }
        Some((at, ColumnKind::Attribute(String))) => Ok((Some(at), false)),
        Some((_, ColumnKind::Attribute(kind))) => {
            Err(Error::invalid(format!("documents have no order by {kind}. column=`{name}`")))
        }
        _ => Err(Error::invalid(format!("no such attribute to order by. column=`{name}`"))),
    }
}

/// Numbers the different keys of the rows of all parts in their order, as far as the first `depth` rows and their ties go.
fn number_keys(found: LegRows<KeyBytes>, depth: usize) -> Result<LegRows<Ordinal>> {
    let LegRows { mut rows, mut cut_ties, stats } = found;
    rows.sort_unstable();
    let mut last: Option<KeyBytes> = None;
    let mut ordinal = 0;
    let mut numbered = Vec::with_capacity(rows.len().min(depth));
    for (key, addr) in rows {
        if last.as_ref().is_some_and(|last| *last != key) {
            if numbered.len() >= depth {
                break;
            }
            ordinal += 1;
        }
        numbered.push((Ordinal(to_u32(ordinal, "values of an order")?), addr));
        last = Some(key);
    }
    // What a part cut ties with its own last row, which ties with the last of all or comes behind it.
    cut_ties.retain(|cut| last.as_ref() == Some(&cut.key));
    let score = Ordinal(to_u32(ordinal, "values of an order")?);
    let cut_ties =
        cut_ties.into_iter().map(|TiedRows { part, rows, .. }| TiedRows { part, key: score, rows }).collect();
    Ok(LegRows { rows: numbered, cut_ties, stats })
}
