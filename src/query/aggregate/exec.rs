//! Running an aggregation: each part is answered from its attribute index where possible, else from its columns.

use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::future::{BoxFuture, try_join_all};
use futures::{StreamExt, TryStreamExt, stream};
use roaring::RoaringBitmap;

use super::bind::AggregatePlan;
use super::table::GroupTable;
use super::{Aggregated, Aggregation};
use crate::cache::total_bytes;
use crate::codec::zip_equal;
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::index::attributes::AttributeIndex;
use crate::memtable::PartSource;
use crate::types::ColumnId;
use crate::view::{Part, View};
use crate::view::{Scope, Scopes};

/// Windows of a segment that are fetched concurrently.
// One is read while another is added up. More would only hold memory.
const PARALLEL: usize = 2;
/// The most bytes of an index that are read for one part.
// They are all in memory at once, whereas columns pass through in windows.
const INDEX_BYTES_MAX: u64 = 64 << 20;

/// The most bytes of an index for each matching row: above it the rows themselves are read.
// A row that is far from other matching rows costs about one page of its column, which is of this order.
const ROW_BYTES: u64 = 4 << 10;

/// The most bytes of parts that are read concurrently, and the most parts.
// What was read waits for its turn: floats are added in the order of the parts, so that a view gives the same sum each
// time. The limits bound what waits.
const CONCURRENT_BYTES: u64 = 256 << 20;
const CONCURRENT_PARTS: usize = 64;

/// A part with its matching rows.
type Matched<'a> = (&'a Part, &'a Arc<RoaringBitmap>);

/// The first read of a part.
enum FirstRead {
    /// No column is needed: the number of matching rows is enough.
    Rows(u64),
    /// The values of all columns with their counts, and the number of matching rows.
    Counted(Vec<ValueCount>, u64),
    /// The columns of the first window, and the rows of the other windows.
    Windows(RecordBatch, Vec<RoaringBitmap>),
}

/// A value of a column, and how many matching rows have it.
struct ValueCount {
    /// The index in [`AggregatePlan::columns`].
    column: usize,
    key: Box<[u8]>,
    rows: u64,
}

/// A column to count in an attribute index.
struct CountedColumn {
    id: ColumnId,
    blocks: usize,
}

/// An aggregation that was checked, and the documents it covers.
pub(in crate::query) struct PreparedFacet {
    plan: Arc<AggregatePlan>,
    scope: Scope,
}

impl Aggregation {
    /// Runs the aggregation on a view.
    pub(crate) fn run_on<'a>(&'a self, view: &'a View) -> BoxFuture<'a, Result<Aggregated>> {
        Box::pin(async move {
            let facet = PreparedFacet::new(view, self, None, &mut Scopes::default())?;
            facet.run_on(view).await
        })
    }
}

impl PreparedFacet {
    /// Checks an aggregation over the documents that match both `filter` and its own filter.
    pub(in crate::query) fn new(
        view: &View,
        aggregation: &Aggregation,
        filter: Option<&Filter>,
        scopes: &mut Scopes,
    ) -> Result<Self> {
        let plan = Arc::new(AggregatePlan::new(aggregation, &view.schema)?);
        Ok(Self { plan, scope: scopes.scope_for(view, Filter::both(filter, aggregation.filter.as_ref()))? })
    }

    pub(in crate::query) async fn run_on(&self, view: &View) -> Result<Aggregated> {
        let mut table = GroupTable::default();
        let parts = self.scope.matching_rows(view).await?.filter(|(_, rows)| !rows.is_empty());
        for parts in split_for_reading(parts.collect()) {
            let reads = parts.iter().map(|(part, rows)| read_first(view, &self.plan, part, rows));
            let reads = try_join_all(reads).await?;
            for ((part, _), read) in zip_equal(parts, reads, "parts and their reads")? {
                table = add_part(view, &self.plan, table, part, read).await?;
            }
        }
        let plan = Arc::clone(&self.plan);
        let (groups, groups_total) = view.env.blocking(move || table.into_groups(&plan)).await??;
        Ok(Aggregated { groups, groups_total, sequence: view.sequence })
    }
}

/// Splits parts into runs that are read concurrently.
fn split_for_reading(parts: Vec<Matched<'_>>) -> Vec<Vec<Matched<'_>>> {
    let mut runs: Vec<Vec<Matched<'_>>> = Vec::new();
    let mut run_bytes = 0_u64;
    for (part, rows) in parts {
        // The first read of a part takes at most one window or the index, and never more than the part has.
        let bytes = match &part.source {
            PartSource::Segment(segment) => segment.meta().total_bytes().min(INDEX_BYTES_MAX),
            PartSource::Memory(_) => 0,
        };
        match runs.last_mut() {
            Some(run) if run_bytes + bytes <= CONCURRENT_BYTES && run.len() < CONCURRENT_PARTS => {
                run.push((part, rows));
                run_bytes += bytes;
            }
            _ => {
                runs.push(vec![(part, rows)]);
                run_bytes = bytes;
            }
        }
    }
    runs
}

/// Reads the matching rows of a part: all of them from the index, or else the first window of the columns.
async fn read_first(
    view: &View,
    plan: &Arc<AggregatePlan>,
    part: &Part,
    rows: &Arc<RoaringBitmap>,
) -> Result<FirstRead> {
    if plan.columns.is_empty() {
        return Ok(FirstRead::Rows(rows.len()));
    }
    if let Some(counts) = count_by_index(view, plan, part, rows).await? {
        return Ok(FirstRead::Counted(counts, rows.len()));
    }
    let mut windows = part.split_into_windows(&plan.columns, rows).into_iter();
    let first = windows.next().ok_or_else(|| Error::internal("a part with matching rows has no window"))?;
    let first = part.fetch_rows(&view.schema, &plan.columns, &first).await?;
    Ok(FirstRead::Windows(first, windows.collect()))
}

/// Adds the matching rows of a part.
async fn add_part(
    view: &View,
    plan: &Arc<AggregatePlan>,
    mut table: GroupTable,
    part: &Part,
    read: FirstRead,
) -> Result<GroupTable> {
    let (first, windows) = match read {
        FirstRead::Rows(rows) => {
            table.add_ungrouped_rows(plan, rows)?;
            return Ok(table);
        }
        FirstRead::Counted(counts, rows) => {
            let plan = Arc::clone(plan);
            return view.env.blocking(move || add_value_counts(&plan, table, &counts, rows)).await?;
        }
        FirstRead::Windows(first, windows) => (first, windows),
    };
    let fetch =
        |rows: RoaringBitmap| async move { part.fetch_rows(&view.schema, &plan.columns, &rows).await };
    let rest = stream::iter(windows).map(fetch).buffered(PARALLEL);
    let mut batches = stream::once(async { Ok(first) }).chain(rest).boxed();
    while let Some(batch) = batches.try_next().await? {
        let plan = Arc::clone(plan);
        let add = move || table.add_batch(&plan, &batch).map(|()| table);
        table = view.env.blocking(add).await??;
    }
    Ok(table)
}

/// The values of all columns with the number of matching rows that have them. `None` if the index cannot answer, or
/// reading the columns is cheaper.
async fn count_by_index(
    view: &View,
    plan: &Arc<AggregatePlan>,
    part: &Part,
    rows: &Arc<RoaringBitmap>,
) -> Result<Option<Vec<ValueCount>>> {
    let PartSource::Segment(segment) = &part.source else { return Ok(None) };
    // The index lists the rows of each value, not the values of each row: it cannot say which value of one attribute goes
    // with which of another. That leaves aggregates without groups, and counts by one key.
    let is_separable = plan.keys.is_empty() || (plan.keys.len() == 1 && plan.aggregates.is_empty());
    let Some(index) = segment.attribute_index().filter(|_| is_separable) else { return Ok(None) };
    let (mut columns, mut spans) = (Vec::new(), Vec::new());
    for column in &plan.columns {
        let described = view.schema.columns().get(*column);
        let id = described.ok_or_else(|| Error::internal("an aggregation of no column"))?.id;
        let Some(indexed) = index.column(id) else { return Ok(None) };
        let column_spans = indexed.all_spans();
        columns.push(CountedColumn { id, blocks: column_spans.len() });
        spans.extend(column_spans);
    }
    // Few matching rows make the index expensive: all its blocks are read to find them.
    let row_bytes = rows.len().saturating_mul(ROW_BYTES);
    if total_bytes(&spans) > INDEX_BYTES_MAX.min(row_bytes) {
        return Ok(None);
    }
    let blocks = index.read_blocks(&spans).await?;
    let (index, rows) = (Arc::clone(index), Arc::clone(rows));
    view.env.blocking(move || count_values(&index, &columns, &blocks, &rows)).await?
}

/// The values in the blocks of some columns, with their counts. `None` if a key is cut off, so that it may stand for
/// several values.
fn count_values(
    index: &AttributeIndex,
    columns: &[CountedColumn],
    mut blocks: &[Bytes],
    rows: &RoaringBitmap,
) -> Result<Option<Vec<ValueCount>>> {
    let mut counts = Vec::new();
    for (column, counted) in columns.iter().enumerate() {
        let missing = || Error::internal("fewer blocks were read than an attribute index has");
        let (column_blocks, rest) = blocks.split_at_checked(counted.blocks).ok_or_else(missing)?;
        blocks = rest;
        let indexed = index.column(counted.id).ok_or_else(|| Error::internal("an indexed column is gone"))?;
        let mut add = |key: &[u8], rows| counts.push(ValueCount { column, key: key.into(), rows });
        if !indexed.count_rows(column_blocks, rows, &mut add).map_err(|e| index.corrupt_block(e))? {
            return Ok(None);
        }
    }
    Ok(Some(counts))
}

/// Adds the value counts of a part with `rows` matching rows.
fn add_value_counts(
    plan: &AggregatePlan,
    mut table: GroupTable,
    counts: &[ValueCount],
    rows: u64,
) -> Result<GroupTable> {
    let Some(key) = plan.keys.first() else {
        table.add_ungrouped_rows(plan, rows)?;
        for count in counts {
            table.add_ungrouped_value(plan, count.column, &count.key, count.rows)?;
        }
        return Ok(table);
    };
    for count in counts {
        table.add_key_rows(plan, Some(&count.key), count.rows)?;
    }
    // Nulls are not among the keys of an index: they are the rows that no value accounts for. A row of an array may have
    // several elements, and is in no group without one.
    if !key.elements {
        let with_value: u64 = counts.iter().map(|count| count.rows).sum();
        let nulls = rows.checked_sub(with_value);
        let nulls = nulls.ok_or_else(|| Error::internal("an attribute index counts more rows than match"))?;
        if nulls > 0 {
            table.add_key_rows(plan, None, nulls)?;
        }
    }
    Ok(table)
}
