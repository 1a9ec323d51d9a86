//! The order of documents with equal scores: by their ids, wherever they lie.

use arrow::array::RecordBatch;

use super::fusion::Fused;
use crate::error::{Error, Result};
use crate::query::leg::ranking::{TIES_READ_MAX, truncate_after_ties};
use crate::schema::{Ids, Schema};
use crate::view::View;

/// Sorts by score, the best first. Ties lie in the order of rows, until their ids are read.
pub(in crate::query) fn sort_best_first(fused: &mut [Fused]) {
    fused.sort_unstable_by(|a, b| a.best_first(b).then(a.addr.cmp(&b.addr)));
}

/// The first `count` of sorted documents, and the ties of the last, if these are few enough to be read with them. More
/// ties are cut by their ids.
pub(in crate::query) async fn first_hits(
    view: &View,
    mut fused: Vec<Fused>,
    count: usize,
) -> Result<Vec<Fused>> {
    truncate_after_ties(&mut fused, count, Fused::best_first);
    if fused.len() > count.saturating_add(TIES_READ_MAX) {
        order_ties_by_id(view, fused, count).await
    } else {
        Ok(fused)
    }
}

/// The first `count` of sorted documents, ties by their ids.
pub(in crate::query) async fn order_ties_by_id(
    view: &View,
    fused: Vec<Fused>,
    count: usize,
) -> Result<Vec<Fused>> {
    let ids = view.fetch_documents(&Fused::addrs(&fused), &[]).await?;
    let order = positions_in_order(&view.schema, &ids, &fused)?;
    take_positions(fused, order.into_iter().take(count))
}

/// The positions of sorted documents in order of score and id; the batch holds their ids, in the same order as they.
pub(in crate::query) fn positions_in_order(
    schema: &Schema,
    batch: &RecordBatch,
    fused: &[Fused],
) -> Result<Vec<usize>> {
    let ids = Ids::new(schema.id(), batch.column(0))?;
    let mut order: Vec<(usize, &Fused)> = fused.iter().enumerate().collect();
    for ties in order.chunk_by_mut(|a, b| a.1.best_first(b.1).is_eq()).filter(|ties| ties.len() > 1) {
        ties.sort_by_cached_key(|(at, _)| ids.get(*at));
    }
    Ok(order.into_iter().map(|(at, _)| at).collect())
}

/// The items at some positions, each of which is taken once.
pub(in crate::query) fn take_positions<T>(
    items: Vec<T>,
    positions: impl Iterator<Item = usize>,
) -> Result<Vec<T>> {
    let mut items: Vec<Option<T>> = items.into_iter().map(Some).collect();
    let missing = || Error::internal("a document of a ranking was taken twice, or is not in it");
    positions.map(|at| items.get_mut(at).and_then(Option::take).ok_or_else(missing)).collect()
}
