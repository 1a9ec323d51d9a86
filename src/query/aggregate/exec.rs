//! Answers an aggregation: every part from its index if that can tell, else from its columns.

use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::future::{BoxFuture, try_join_all};
use futures::{StreamExt, TryStreamExt, stream};
use roaring::RoaringBitmap;

use super::bind::Plan;
use super::table::Table;
use super::{Aggregated, Aggregation};
use crate::cache::total_bytes;
use crate::error::Result;
use crate::filter::Filter;
use crate::index::attributes::AttributeIndex;
use crate::memtable::PartSource;
use crate::view::{Part, View};
use crate::view::{Scope, Scopes};

/// Windows of a segment that are fetched at a time.
const PARALLEL: usize = 2;
/// An index is asked that tells by so few bytes; past them the columns are read in windows.
const INDEX_BYTES_MAX: u64 = 64 << 20;

/// Rows are read themselves where an index has more bytes than these for each of them: a row that lies alone costs
/// about its page.
const ROW_BYTES: u64 = 4 << 10;

/// Parts are read ahead as long as they have fewer bytes than these together.
const AHEAD_BYTES: u64 = 256 << 20;
/// The most parts that are read at a time.
const AHEAD_PARTS: usize = 64;

/// A part with its rows that match.
type Matched<'a> = (&'a Part, &'a Arc<RoaringBitmap>);

/// What was read of a part at first.
enum Looked {
    /// How many rows match.
    All(u64),
    /// Their values, and how many there are.
    Counted(Vec<Counted>, u64),
    /// The columns of some of them, and the windows of the others.
    Windows(RecordBatch, Vec<RoaringBitmap>),
}

/// A value of a column, and how many rows have it.
type Counted = (usize, Box<[u8]>, u64);

/// An aggregation that was checked, and the documents it is of.
pub(in crate::query) struct PreparedFacet {
    plan: Arc<Plan>,
    scope: Scope,
}

impl Aggregation {
    /// The answer on a view.
    pub(crate) fn run<'a>(&'a self, view: &'a View) -> BoxFuture<'a, Result<Aggregated>> {
        Box::pin(async move {
            let facet = PreparedFacet::new(view, self, None, &mut Scopes::default())?;
            facet.run(view).await
        })
    }
}

impl PreparedFacet {
    /// Checks an aggregation over the documents that a filter lets through besides its own.
    pub(in crate::query) fn new(
        view: &View,
        aggregation: &Aggregation,
        filter: Option<&Filter>,
        scopes: &mut Scopes,
    ) -> Result<Self> {
        let plan = Arc::new(Plan::new(aggregation, &view.schema)?);
        Ok(Self { plan, scope: scopes.scope_for(view, Filter::both(filter, aggregation.filter.as_ref()))? })
    }

    pub(in crate::query) async fn run(&self, view: &View) -> Result<Aggregated> {
        let mut table = Table::default();
        let parts = self.scope.matching_rows(view).await?.filter(|(_, rows)| !rows.is_empty());
        // What is read ahead is added in the order of the parts.
        for parts in ahead(parts.collect()) {
            let reads = parts.iter().map(|(part, rows)| look(view, &self.plan, part, rows));
            for ((part, _), looked) in parts.iter().zip(try_join_all(reads).await?) {
                table = add(view, &self.plan, table, part, looked).await?;
            }
        }
        let plan = Arc::clone(&self.plan);
        let (groups, groups_total) = view.env.blocking(move || table.finish(&plan)).await??;
        Ok(Aggregated { groups, groups_total, sequence: view.sequence })
    }
}

/// Reads what tells of the matching rows of a part: all of it, or the first window.
async fn look(view: &View, plan: &Arc<Plan>, part: &Part, rows: &Arc<RoaringBitmap>) -> Result<Looked> {
    if plan.columns.is_empty() {
        return Ok(Looked::All(rows.len()));
    }
    if let Some(counted) = counted(view, plan, part, rows).await? {
        return Ok(Looked::Counted(counted, rows.len()));
    }
    let mut windows = part.split_into_windows(&plan.columns, rows).into_iter();
    let first = windows.next().unwrap_or_default();
    let first = part.fetch_rows(&view.schema, &plan.columns, &first).await?;
    Ok(Looked::Windows(first, windows.collect()))
}

/// Adds the matching rows of a part.
async fn add(view: &View, plan: &Arc<Plan>, mut table: Table, part: &Part, looked: Looked) -> Result<Table> {
    let (first, rest) = match looked {
        Looked::All(rows) => {
            table.add_all(plan, rows)?;
            return Ok(table);
        }
        Looked::Counted(counted, rows) => {
            let plan = Arc::clone(plan);
            return view.env.blocking(move || add_counted(&plan, table, &counted, rows)).await?;
        }
        Looked::Windows(first, rest) => (first, rest),
    };
    let fetch =
        |rows: RoaringBitmap| async move { part.fetch_rows(&view.schema, &plan.columns, &rows).await };
    let rest = stream::iter(rest).map(fetch).buffered(PARALLEL);
    let mut batches = stream::once(async { Ok(first) }).chain(rest).boxed();
    while let Some(batch) = batches.try_next().await? {
        let plan = Arc::clone(plan);
        let add = move || table.add_batch(&plan, &batch).map(|()| table);
        table = view.env.blocking(add).await??;
    }
    Ok(table)
}

/// The values of all columns, each with the rows that have it, if the index of a segment has them whole and
/// nothing is asked of a value together with another.
async fn counted(
    view: &View,
    plan: &Arc<Plan>,
    part: &Part,
    rows: &Arc<RoaringBitmap>,
) -> Result<Option<Vec<Counted>>> {
    let PartSource::Segment(segment) = &part.source else { return Ok(None) };
    let apart = plan.keys.is_empty() || (plan.keys.len() == 1 && plan.tallies.is_empty());
    let Some(index) = segment.attribute_index().filter(|_| apart) else { return Ok(None) };
    let (mut names, mut spans) = (Vec::new(), Vec::new());
    for column in plan.columns.iter().filter_map(|at| view.schema.columns().get(*at)) {
        let Some(indexed) = index.column(&column.name) else { return Ok(None) };
        let of = indexed.all_spans();
        names.push((column.name.clone(), of.len()));
        spans.extend(of);
    }
    if total_bytes(&spans) > INDEX_BYTES_MAX.min(rows.len().saturating_mul(ROW_BYTES)) {
        return Ok(None);
    }
    let blocks = index.read_blocks(&spans).await?;
    let (index, rows) = (Arc::clone(index), Arc::clone(rows));
    view.env.blocking(move || count(&index, &names, &blocks, &rows)).await?
}

/// Parts that are read together, in their order.
fn ahead<'a>(parts: Vec<Matched<'a>>) -> Vec<Vec<Matched<'a>>> {
    let (mut together, mut bytes): (Vec<Vec<Matched<'a>>>, u64) = (Vec::new(), u64::MAX);
    for (part, rows) in parts {
        // No more is read of a part at first than it has, nor than a window or the index may take.
        let of = match &part.source {
            PartSource::Segment(segment) => segment.meta().total_bytes().min(INDEX_BYTES_MAX),
            PartSource::Memory(_) => 0,
        };
        bytes = bytes.saturating_add(of);
        let last = together.last_mut();
        if let Some(some) = last.filter(|some| bytes <= AHEAD_BYTES && some.len() < AHEAD_PARTS) {
            some.push((part, rows));
        } else {
            together.push(vec![(part, rows)]);
            bytes = of;
        }
    }
    together
}

/// The values of columns, by their blocks; `None` if one is not whole.
fn count(
    index: &AttributeIndex,
    columns: &[(String, usize)],
    mut blocks: &[Bytes],
    rows: &RoaringBitmap,
) -> Result<Option<Vec<Counted>>> {
    let mut counted = Vec::new();
    for (at, (name, length)) in columns.iter().enumerate() {
        let (these, rest) = blocks.split_at_checked(*length).unwrap_or_default();
        blocks = rest;
        let Some(column) = index.column(name) else { return Ok(None) };
        let mut add = |key: &[u8], rows| counted.push((at, key.into(), rows));
        if !column.count_rows(these, rows, &mut add).map_err(|e| index.corrupt_block(e))? {
            return Ok(None);
        }
    }
    Ok(Some(counted))
}

/// Adds the values of a part, of which so many rows match.
fn add_counted(plan: &Plan, mut table: Table, counted: &[Counted], rows: u64) -> Result<Table> {
    let Some(key) = plan.keys.first() else {
        table.add_all(plan, rows)?;
        for (column, key, rows) in counted {
            table.add_value(plan, *column, key, *rows)?;
        }
        return Ok(table);
    };
    let mut left = rows;
    for (_, key, rows) in counted {
        table.add_rows(plan, Some(key), *rows)?;
        left = left.saturating_sub(*rows);
    }
    // What is no array has one value or none.
    if !key.elements && left > 0 {
        table.add_rows(plan, None, left)?;
    }
    Ok(table)
}
