//! Walks of an index: the first matching rows in order, without reading the others.

use std::sync::Arc;

use bytes::Bytes;
use roaring::RoaringBitmap;

use super::OrderSearch;
use super::sort_key::{KeyBytes, SortKey};
use crate::codec::to_usize;
use crate::error::{Error, Result};
use crate::index::attributes::{AttributeIndex, AttributeProbe, is_whole};
use crate::query::leg::ranking::PartRanking;
use crate::schema::ID_COLUMN;
use crate::segment::Segment;
use crate::types::DocumentId;
use crate::view::View;

/// Up to this many matching rows are sorted without a walk: reading their values takes one round trip, a walk several.
const SORTED_DIRECTLY_MAX: u64 = 1_024;
/// Ids that are walked at a time.
const ID_PAGE_MIN: u64 = 256;
const ID_PAGE_MAX: u64 = 1 << 16;

/// A value of the first sort key, and the matching rows that have it.
#[derive(Debug)]
pub(super) struct ValueRows {
    /// `None` for rows without a value.
    value: Option<KeyBytes>,
    pub(super) rows: Vec<u32>,
}

impl OrderSearch {
    /// Whether the values of a walk decide the order of its rows: they are the only key, and none was cut to a prefix in
    /// the index.
    pub(super) fn is_decided_by(&self, values: &[ValueRows]) -> bool {
        let is_whole_value = |walked: &ValueRows| walked.value.as_ref().is_none_or(|value| is_whole(value));
        self.keys.len() == 1 && values.iter().all(is_whole_value)
    }

    /// Ranks the rows of a walk by its values, which come in order.
    pub(super) fn rank_by_values(
        &self,
        values: Vec<ValueRows>,
        depth: usize,
    ) -> Result<PartRanking<KeyBytes>> {
        let key = self.first_key()?;
        let mut ranking = PartRanking::default();
        for ValueRows { value, rows } in values {
            if ranking.tied.is_some() || ranking.ahead.len() >= depth {
                break;
            }
            let mut bytes = Vec::new();
            key.encode(value.as_deref(), &mut bytes);
            let bytes = bytes.into_boxed_slice();
            if ranking.ahead.len() + rows.len() < depth {
                ranking.ahead.extend(rows.into_iter().map(|row| (bytes.clone(), row)));
            } else {
                ranking.tied = Some((bytes, rows.into_iter().collect()));
            }
        }
        Ok(ranking)
    }

    /// The first matching rows in order of their ids, if the id is the first key and a walk is cheaper than reading the
    /// ids of all matches.
    pub(super) async fn walk_ids(
        &self,
        segment: &Segment,
        matching: &RoaringBitmap,
        depth: usize,
    ) -> Result<Option<RoaringBitmap>> {
        let key = self.first_key()?;
        if key.order.column != ID_COLUMN {
            return Ok(None);
        }
        let wanted = depth as u64;
        // If matches are spread evenly, this many ids hold enough of them.
        let walk = wanted.saturating_mul(segment.meta().rows.into()) / matching.len().max(1) + 1;
        if matching.len() <= wanted.max(SORTED_DIRECTLY_MAX) || walk >= matching.len() {
            return Ok(None);
        }
        let page = to_usize(walk.clamp(ID_PAGE_MIN, ID_PAGE_MAX), "ids of a page")?;
        let (mut found, mut from): (_, Option<DocumentId>) = (RoaringBitmap::new(), None);
        while found.len() < wanted {
            let ids = if key.order.descending {
                segment.previous_ids(from.as_ref(), page).await?
            } else {
                segment.next_ids(from.as_ref(), page).await?
            };
            let missing = to_usize(wanted - found.len(), "ids")?;
            let rows = ids.iter().map(|(_, row)| *row).filter(|row| matching.contains(*row));
            found.extend(rows.take(missing));
            match ids.into_iter().next_back() {
                Some((last, _)) => from = Some(last),
                None => break,
            }
        }
        Ok(Some(found))
    }

    /// The matching rows with the first values of the first key: at least `depth` of them, and all that have the last of
    /// these values. `None` without an index, or if a walk gains nothing.
    pub(super) async fn walk_values(
        &self,
        view: &View,
        segment: &Segment,
        matching: &Arc<RoaringBitmap>,
        depth: usize,
    ) -> Result<Option<Vec<ValueRows>>> {
        let key = self.first_key()?;
        let Some(index) = segment.attribute_index() else { return Ok(None) };
        let Some(column) = index.column(key.column) else { return Ok(None) };
        let wanted = depth as u64;
        if matching.len() <= wanted.max(SORTED_DIRECTLY_MAX) {
            return Ok(None);
        }
        let walk = ValueWalk { view, index, key, matching };
        let (mut found, mut count) = (Vec::new(), 0);
        if key.order.nulls_first {
            count += walk.read_nulls(&mut found).await?;
        }
        let mut spans = column.all_spans();
        if key.order.descending {
            spans.reverse();
        }
        let mut spans = spans.as_slice();
        // If matches are spread evenly, this many blocks hold enough of them. Doubling bounds the round trips where they
        // are not.
        let share = wanted.saturating_mul(spans.len() as u64) / matching.len().max(1) + 1;
        let mut blocks = to_usize(share, "blocks of an index")?;
        while count < wanted && !spans.is_empty() {
            let (next, rest) = spans.split_at(blocks.min(spans.len()));
            (spans, blocks) = (rest, blocks.saturating_mul(2));
            let read = index.read_blocks(next).await?;
            count += walk.take_values(read, wanted - count, &mut found).await?;
        }
        if count < wanted && !key.order.nulls_first {
            walk.read_nulls(&mut found).await?;
        }
        Ok(Some(found))
    }

    fn first_key(&self) -> Result<&SortKey> {
        self.keys.first().ok_or_else(|| Error::internal("an order without a key"))
    }
}

/// A walk of an attribute index along the first sort key.
struct ValueWalk<'a> {
    view: &'a View,
    index: &'a Arc<AttributeIndex>,
    key: &'a SortKey,
    matching: &'a Arc<RoaringBitmap>,
}

impl ValueWalk<'_> {
    /// Adds the matching rows without a value. Returns how many there are.
    async fn read_nulls(&self, found: &mut Vec<ValueRows>) -> Result<u64> {
        let column = self.index.column(self.key.column);
        let column = column.ok_or_else(|| Error::internal("an index lost the column that is walked"))?;
        let blocks = self.index.read_blocks(&column.find_spans(&AttributeProbe::Null)).await?;
        let candidates = column.find_candidates(&AttributeProbe::Null, &blocks);
        let candidates = candidates.map_err(|e| self.index.corrupt_block(e))?;
        let rows: Vec<u32> = (candidates.definite & self.matching.as_ref()).into_iter().collect();
        let count = rows.len() as u64;
        found.push(ValueRows { value: None, rows });
        Ok(count)
    }

    /// Adds the values of blocks in order, until `wanted` matching rows have been added. Returns how many were.
    async fn take_values(&self, blocks: Vec<Bytes>, wanted: u64, found: &mut Vec<ValueRows>) -> Result<u64> {
        let (index, matching) = (Arc::clone(self.index), Arc::clone(self.matching));
        let (column, descending) = (self.key.column, self.key.order.descending);
        let decode = move || {
            let column = index.column(column);
            let column = column.ok_or_else(|| Error::internal("an index lost the column that is walked"))?;
            let (mut values, mut count) = (Vec::new(), 0);
            for block in &blocks {
                let mut entries = column.read_rows(block, &matching).map_err(|e| index.corrupt_block(e))?;
                if descending {
                    entries.reverse();
                }
                for (value, rows) in entries {
                    if count >= wanted {
                        break;
                    }
                    count += rows.len() as u64;
                    values.push(ValueRows { value: Some(value), rows });
                }
            }
            Ok::<_, Error>((values, count))
        };
        let (values, count) = self.view.env.blocking(decode).await??;
        found.extend(values);
        Ok(count)
    }
}
