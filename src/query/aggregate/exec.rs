//! Answers an aggregation: every part from its index if that can tell, else from its columns.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};
use roaring::RoaringBitmap;

use super::bind::Plan;
use super::table::Table;
use super::{Aggregated, Aggregation};
use crate::cache::Span;
use crate::error::Result;
use crate::index::attributes::AttributeIndex;
use crate::memtable::Source;
use crate::query::scope::{Scope, Scopes};
use crate::query::{Filter, Part, View};

/// Windows of a segment that are fetched at a time.
const PARALLEL: usize = 2;
/// An index is asked that tells by so few bytes; past them the columns are read in windows.
const INDEX_BYTES_MAX: u64 = 64 << 20;

/// Rows are read themselves where an index has more bytes than these for each of them: a row that lies alone costs
/// about its page.
const ROW_BYTES: u64 = 4 << 10;

/// A value of a column, and how many rows have it.
type Counted = (usize, Box<[u8]>, u64);

/// An aggregation that was checked, and the documents it is of.
pub(in crate::query) struct PreparedFacet {
    plan: Arc<Plan>,
    scope: Scope,
}

impl View {
    /// The answer to an aggregation.
    pub(crate) fn aggregate<'a>(&'a self, asked: &'a Aggregation) -> BoxFuture<'a, Result<Aggregated>> {
        Box::pin(async move {
            let facet = self.prepare_facet(asked, None, &mut Scopes::default())?;
            self.facet(&facet).await
        })
    }

    /// Checks an aggregation over the documents that a filter lets through besides its own.
    pub(in crate::query) fn prepare_facet(
        &self,
        asked: &Aggregation,
        filter: Option<&Filter>,
        scopes: &mut Scopes,
    ) -> Result<PreparedFacet> {
        let plan = Arc::new(Plan::new(asked, &self.schema)?);
        Ok(PreparedFacet { plan, scope: scopes.of(self, Filter::both(filter, asked.filter.as_ref()))? })
    }

    pub(in crate::query) async fn facet(&self, facet: &PreparedFacet) -> Result<Aggregated> {
        let plan = Arc::clone(&facet.plan);
        let mut table = Table::default();
        for (part, rows) in facet.scope.matching(self).await? {
            if !rows.is_empty() {
                table = self.add(&plan, table, part, rows).await?;
            }
        }
        let (groups, groups_total) = self.env.blocking(move || table.finish(&plan)).await??;
        Ok(Aggregated { groups, groups_total, sequence: self.sequence })
    }

    /// Adds the matching rows of a part.
    async fn add(
        &self,
        plan: &Arc<Plan>,
        mut table: Table,
        part: &Part,
        rows: &Arc<RoaringBitmap>,
    ) -> Result<Table> {
        if plan.columns.is_empty() {
            table.add_all(plan, rows.len())?;
            return Ok(table);
        }
        if let Some(counted) = self.counted(plan, part, rows).await? {
            let (plan, rows) = (Arc::clone(plan), rows.len());
            return self.env.blocking(move || add_counted(&plan, table, &counted, rows)).await?;
        }
        let windows = stream::iter(part.windows(&plan.columns, rows));
        let fetch = |rows: RoaringBitmap| async move { part.fetch(&self.schema, &plan.columns, &rows).await };
        let mut batches = windows.map(fetch).buffered(PARALLEL);
        while let Some(batch) = batches.try_next().await? {
            let plan = Arc::clone(plan);
            let add = move || table.add_batch(&plan, &batch).map(|()| table);
            table = self.env.blocking(add).await??;
        }
        Ok(table)
    }

    /// The values of all columns, each with the rows that have it, if the index of a segment has them whole and
    /// nothing is asked of a value together with another.
    async fn counted(
        &self,
        plan: &Arc<Plan>,
        part: &Part,
        rows: &Arc<RoaringBitmap>,
    ) -> Result<Option<Vec<Counted>>> {
        let Source::Segment(segment) = &part.source else { return Ok(None) };
        let apart = plan.keys.is_empty() || (plan.keys.len() == 1 && plan.tallies.is_empty());
        let Some(index) = segment.attributes().filter(|_| apart) else { return Ok(None) };
        let (mut names, mut spans) = (Vec::new(), Vec::new());
        for column in plan.columns.iter().filter_map(|at| self.schema.columns().get(*at)) {
            let Some(indexed) = index.column(&column.name) else { return Ok(None) };
            let of = indexed.all_spans();
            names.push((column.name.clone(), of.len()));
            spans.extend(of);
        }
        let bytes = spans.iter().map(|span: &Span| span.end.saturating_sub(span.start));
        if bytes.fold(0, u64::saturating_add) > INDEX_BYTES_MAX.min(rows.len().saturating_mul(ROW_BYTES)) {
            return Ok(None);
        }
        let blocks = index.read(&spans).await?;
        let (index, rows) = (Arc::clone(index), Arc::clone(rows));
        self.env.blocking(move || count(&index, &names, &blocks, &rows)).await?
    }
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
        if !column.count(these, rows, &mut add).map_err(|e| index.corrupt(e))? {
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
