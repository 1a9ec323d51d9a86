//! From a ranking to an answer: ties, pages, documents.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;

use super::diversity::Picked;
use super::exec::Prepared;
use super::fusion::Fused;
use super::{Group, QueryResponse, QueryStats, Rows};
use crate::error::{OrInternal, Result};
use crate::schema::Ids;
use crate::types::DocumentId;
use crate::view::{RowAddr, View};

/// So many documents that are as good as the last hit are read with the hits, to choose by their ids. Of more of
/// them the ids are read first.
pub(super) const TIES: usize = 32;

impl View {
    /// The rows of a batch of documents that were fetched in order of their scores, ties in order of ids.
    pub(super) fn order<'f>(
        &self,
        batch: &RecordBatch,
        fused: impl Iterator<Item = &'f Fused>,
    ) -> Result<Vec<usize>> {
        let ids = Ids::new(self.schema.id(), batch.column(0))?;
        let mut order: Vec<(usize, &Fused)> = fused.enumerate().collect();
        for tied in order.chunk_by_mut(|a, b| a.1.best_first(b.1).is_eq()).filter(|tied| tied.len() > 1) {
            tied.sort_by_cached_key(|(at, _)| ids.get(*at));
        }
        Ok(order.into_iter().map(|(at, _)| at).collect())
    }

    /// The first `count` of documents that lie in order of their scores, and perhaps some that are as good as the
    /// last: no more than are read with the hits.
    pub(super) async fn first(&self, mut fused: Vec<Fused>, count: usize) -> Result<Vec<Fused>> {
        through(&mut fused, count, Fused::best_first);
        if fused.len() > count + TIES { self.settle_ties(fused, count).await } else { Ok(fused) }
    }

    /// The first of documents that lie in order of their scores, ties in order of ids.
    pub(super) async fn settle_ties(&self, fused: Vec<Fused>, count: usize) -> Result<Vec<Fused>> {
        let places: Vec<RowAddr> = fused.iter().map(|fused| fused.place).collect();
        let ids = self.fetch_documents(&places, &[]).await?;
        let order = self.order(&ids, fused.iter())?;
        let mut fused: Vec<Option<Fused>> = fused.into_iter().map(Some).collect();
        let first = order.into_iter().take(count);
        Ok(first.filter_map(|at| fused.get_mut(at).and_then(Option::take)).collect())
    }

    /// The answer of what was picked.
    pub(super) async fn hits(
        &self,
        prepared: &Prepared<'_>,
        picked: Picked,
        stats: QueryStats,
    ) -> Result<QueryResponse> {
        let query = prepared.query;
        let Picked { mut fused, mut groups, more: found_more, is_bounded, .. } = picked;
        let grouped = prepared.diversity.is_some() && query.is_grouped();
        let mut more = groups.len() > query.page_end(&self.settings);
        if grouped {
            (fused, groups) = page_of_groups(fused, &groups, query.offset, query.limit);
        } else {
            fused = self.first(fused, query.rank_count(&self.settings)).await?;
        }
        let places: Vec<RowAddr> = fused.iter().map(|fused| fused.place).collect();
        let batch = self.fetch_documents(&places, &prepared.computes.columns(&prepared.columns)).await?;
        let order = if grouped { (0..fused.len()).collect() } else { self.order(&batch, fused.iter())? };
        let ids = Ids::new(self.schema.id(), batch.column(0))?;
        let shown: HashSet<&DocumentId> = query.shown_ids().iter().collect();
        let mut page: Vec<usize> = order.into_iter().filter(|at| !shown.contains(&ids.get(*at))).collect();
        if !grouped {
            more = page.len() > query.offset.saturating_add(query.limit);
            more |= prepared.diversity.is_some() && found_more;
            page = page.into_iter().skip(query.offset).take(query.limit).collect();
        }
        let cursor = query.next_cursor(page.iter().map(|at| ids.get(*at)), more, &self.settings);
        more |= prepared.diversity.is_some() && is_bounded;
        let picks = UInt64Array::from_iter_values(page.iter().map(|at| *at as u64));
        let rows = Rows::new(Arc::clone(&self.schema), take_record_batch(&batch, &picks).or_internal()?);
        let at: Vec<RowAddr> = page.iter().filter_map(|at| places.get(*at).copied()).collect();
        let computed = prepared.computes.evaluate(self, &at, &rows).await?;
        let mut fused: Vec<Option<Fused>> = fused.into_iter().map(Some).collect();
        let hits = page.iter().filter_map(|at| fused.get_mut(*at).and_then(Option::take));
        let (scores, legs) = hits.map(|fused| (fused.score, fused.legs)).unzip();
        let rows = rows.project(&prepared.columns)?;
        let sequence = self.sequence;
        Ok(QueryResponse {
            rows,
            scores,
            legs,
            groups,
            computed,
            facets: BTreeMap::new(),
            cursor,
            more,
            unfinished: Vec::new(),
            sequence,
            stats,
        })
    }
}

/// Some groups of those at hand, with their hits.
fn page_of_groups(
    fused: Vec<Fused>,
    groups: &[Group],
    offset: usize,
    limit: usize,
) -> (Vec<Fused>, Vec<Group>) {
    let page: Vec<&Group> = groups.iter().skip(offset).take(limit).collect();
    let start = page.first().map_or(0, |group| group.hits.start);
    let end = page.last().map_or(0, |group| group.hits.end);
    let fused = fused.into_iter().skip(start).take(end.saturating_sub(start)).collect();
    let moved = |group: &&Group| Group {
        values: group.values.clone(),
        hits: group.hits.start - start..group.hits.end - start,
    };
    (fused, page.iter().map(moved).collect())
}

/// Keeps the first `count` of what is in order, and all that are as good as the last of them.
pub(super) fn through<T>(sorted: &mut Vec<T>, count: usize, compare: impl Fn(&T, &T) -> Ordering) {
    let Some(last) = count.checked_sub(1).and_then(|last| sorted.get(last)) else { return };
    let more = sorted.iter().skip(count).take_while(|item| compare(item, last).is_eq()).count();
    sorted.truncate(count + more);
}
