//! The last stage of a query: the documents of the hits, in the order of the answer.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;

use super::plan::QueryPlan;
use super::rank::{Fused, SelectedHits, first_hits, positions_in_order, take_positions};
use super::{Group, QueryResponse, QueryStats, Rows};
use crate::error::{OrInternal, Result};
use crate::schema::Ids;
use crate::types::DocumentId;
use crate::view::{RowAddr, View};

/// Fetches the documents of the selected hits, and computes what depends on them.
pub(super) async fn fetch_answer(
    view: &View,
    plan: &QueryPlan<'_>,
    selected: SelectedHits,
    stats: QueryStats,
) -> Result<QueryResponse> {
    let query = plan.query;
    let candidates = Candidates::new(view, plan, selected).await?;
    let Candidates { fused, groups, batch, .. } = &candidates;
    let ids = Ids::new(view.schema.id(), batch.column(0))?;
    let Page { positions, mut more } = candidates.page(view, plan, &ids)?;
    let cursor = query.next_cursor(positions.iter().map(|at| ids.get(*at)), more, &view.settings);
    more |= plan.diversity.is_some() && candidates.is_bounded;
    let picks = UInt64Array::from_iter_values(positions.iter().map(|at| *at as u64));
    let rows = Rows::new(Arc::clone(&view.schema), take_record_batch(batch, &picks).or_internal()?);
    let hits = take_positions(fused.iter().collect(), positions.into_iter())?;
    let addrs: Vec<RowAddr> = hits.iter().map(|fused| fused.addr).collect();
    let computed = plan.computes.compute_columns(view, &addrs, rows.batch()).await?;
    let (scores, legs) = hits.into_iter().map(|fused| (fused.score, fused.legs.clone())).unzip();
    Ok(QueryResponse {
        rows: rows.project_columns(&plan.columns)?,
        scores,
        legs,
        groups: groups.clone(),
        computed,
        facets: BTreeMap::new(),
        cursor,
        more,
        unfinished: Vec::new(),
        sequence: view.sequence,
        stats,
    })
}

/// Documents that may be on the page, fetched.
struct Candidates {
    fused: Vec<Fused>,
    groups: Vec<Group>,
    /// The id and the columns of each, in the order of `fused`.
    batch: RecordBatch,
    /// Whether the selection goes on behind the page.
    more: bool,
    is_bounded: bool,
}

/// The hits of an answer, as positions among the candidates.
struct Page {
    positions: Vec<usize>,
    more: bool,
}

impl Candidates {
    async fn new(view: &View, plan: &QueryPlan<'_>, selected: SelectedHits) -> Result<Self> {
        let query = plan.query;
        let SelectedHits { mut fused, mut groups, mut more, is_bounded, .. } = selected;
        if query.is_grouped() {
            more = groups.len() > query.page_end(&view.settings);
            (fused, groups) = page_of_groups(fused, &groups, query.offset, query.limit);
        } else {
            // A few ties beyond the page are fetched with it: their ids decide which of them are on it.
            fused = first_hits(view, fused, query.rank_count(&view.settings)).await?;
        }
        let batch = view
            .fetch_documents(&Fused::addrs(&fused), &plan.computes.columns_to_fetch(&plan.columns))
            .await?;
        Ok(Self { fused, groups, batch, more, is_bounded })
    }

    fn page(&self, view: &View, plan: &QueryPlan<'_>, ids: &Ids) -> Result<Page> {
        let query = plan.query;
        let shown: HashSet<&DocumentId> = query.shown_ids().iter().collect();
        let is_new = |at: &usize| !shown.contains(&ids.get(*at));
        if query.is_grouped() {
            // Diversity has sorted the groups and their hits.
            return Ok(Page { positions: (0..self.fused.len()).filter(is_new).collect(), more: self.more });
        }
        let order = positions_in_order(&view.schema, &self.batch, &self.fused)?;
        let unseen: Vec<usize> = order.into_iter().filter(is_new).collect();
        let more = unseen.len() > query.offset.saturating_add(query.limit)
            || (plan.diversity.is_some() && self.more);
        Ok(Page { positions: unseen.into_iter().skip(query.offset).take(query.limit).collect(), more })
    }
}

/// Some of the groups, with their hits alone.
fn page_of_groups(
    fused: Vec<Fused>,
    groups: &[Group],
    offset: usize,
    limit: usize,
) -> (Vec<Fused>, Vec<Group>) {
    let page: Vec<&Group> = groups.iter().skip(offset).take(limit).collect();
    let (Some(first), Some(last)) = (page.first(), page.last()) else { return (Vec::new(), Vec::new()) };
    let (start, end) = (first.hits.start, last.hits.end);
    // The hits of groups lie together, one group after the other.
    let fused = fused.into_iter().skip(start).take(end - start).collect();
    let moved = |group: &&Group| Group {
        values: group.values.clone(),
        hits: group.hits.start - start..group.hits.end - start,
    };
    (fused, page.iter().map(moved).collect())
}
