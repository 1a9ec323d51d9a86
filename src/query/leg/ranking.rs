//! What a leg gives: rows with scores of one kind, best first, and the ties at its end.
//!
//! Rows of an indexed segment lie in the order of its clusters, so cutting ties by row would keep an arbitrary few of
//! them, and others after the next compaction. Ties are cut by the ids of the documents instead, of which there is
//! one order wherever the documents lie.

use std::cmp::Ordering;
use std::sync::Arc;

use roaring::RoaringBitmap;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::query::QueryStats;
use crate::schema::{Ids, Schema};
use crate::types::DocumentId;
use crate::view::{Part, RowAddr, View};

/// Ties that a query with one leg reads along with its hits, to order them by id. Reading a few documents that are
/// not shown is cheaper than a round trip for their ids; for more ties than these the ids are read first.
pub(in crate::query) const TIES_READ_MAX: usize = 32;

/// Ties that each of several legs ranks beyond its depth. Fusion may lift any of them above the others, so a small
/// number would make the result depend on ids; an unbounded one would rank a whole namespace for a query in which
/// every document scores alike.
const TIES_FUSED_MAX: usize = 4_096;

/// How one leg found a hit.
///
/// ```
/// use elacsym::Fusion;
/// use elacsym::query::LegHit;
///
/// // The best rank counts, in whichever leg it is.
/// let best = |legs: &[Option<LegHit>]| legs.iter().flatten().map(|hit| 1.0 / hit.rank as f32).fold(0.0, f32::max);
/// assert_eq!(best(&[Some(LegHit::new(4, 7.5)), None, Some(LegHit::at_distance(2, 0.25))]), 0.5);
/// let fusion = Fusion::custom(best);
/// # let _ = fusion;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LegHit {
    /// Its rank in the leg, from 1. Hits with equal scores share a rank.
    pub rank: usize,
    /// Its score, where greater is better: BM25 for text, the negated distance for vectors, minus the dense rank of its
    /// values for orders.
    pub score: f32,
    /// Its distance from the vector of a vector leg.
    pub distance: Option<f32>,
}

impl LegHit {
    /// A hit of a leg that does not compare vectors.
    #[must_use]
    pub fn new(rank: usize, score: f32) -> Self {
        Self { rank, score, distance: None }
    }

    /// A hit of a vector leg, whose score is the negated distance.
    #[must_use]
    pub fn at_distance(rank: usize, distance: f32) -> Self {
        Self { rank, score: -distance, distance: Some(distance) }
    }
}

/// The score of a row in one leg. The order of a type is that of its results: the least value is the best.
pub(in crate::query) trait Score: Copy + Ord + Send {
    /// The score that a hit reports, where greater is better.
    fn reported(self) -> f32;

    /// The distance that a hit reports, if the leg compares vectors.
    fn distance(self) -> Option<f32> {
        None
    }
}

/// How deep a leg ranks.
#[derive(Clone, Copy, Debug)]
pub(in crate::query) struct Depth {
    /// Rows that are ranked, if that many match.
    pub(in crate::query) rows: usize,
    /// Whether the ranking is fused with others, so that all ties of the last row count.
    pub(in crate::query) is_fused: bool,
}

impl Depth {
    /// Ties of the last row that are ranked beyond the depth.
    pub(in crate::query) fn ties(self) -> usize {
        if self.is_fused { TIES_FUSED_MAX } else { TIES_READ_MAX }
    }

    /// Rows that are ranked at most.
    pub(in crate::query) fn rows_with_ties(self) -> usize {
        self.rows.saturating_add(self.ties())
    }
}

/// The best rows of one part, before the ties at the end are cut.
#[derive(Clone, Debug)]
pub(in crate::query) struct PartRanking<K> {
    /// Rows before the last that is wanted, best first.
    pub(in crate::query) ahead: Vec<(K, u32)>,
    /// All rows that tie with the last that is wanted, with their key. They may be more than are wanted.
    pub(in crate::query) tied: Option<(K, RoaringBitmap)>,
}

impl<K> Default for PartRanking<K> {
    fn default() -> Self {
        Self { ahead: Vec::new(), tied: None }
    }
}

impl<K: Ord + Clone> PartRanking<K> {
    /// Splits rows that are sorted by their keys at the ties of number `limit`, or of the last if there are fewer.
    pub(in crate::query) fn from_sorted(mut rows: Vec<(K, u32)>, limit: usize) -> Self {
        let limit = limit.min(rows.len());
        let tied = split_ties(&mut rows, limit).map(|(last, tied)| (last, tied.into_iter().collect()));
        Self { ahead: rows, tied }
    }

    /// Adds rows that tie with the last.
    pub(in crate::query) fn with_ties(mut self, rows: &RoaringBitmap) -> Self {
        if let Some((_, tied)) = &mut self.tied {
            *tied |= rows;
        }
        self
    }

    /// As many rows as a leg ranks, and the ties if some of them are cut.
    pub(in crate::query) async fn cut(
        self,
        part: &Part,
        schema: &Schema,
        depth: Depth,
    ) -> Result<PartRows<K>> {
        let count = depth.rows_with_ties();
        let room = count.saturating_sub(self.ahead.len()) as u64;
        let cut_ties = self.tied.as_ref().filter(|(_, tied)| tied.len() > room).cloned();
        Ok(PartRows { rows: self.into_first(part, schema, count).await?, cut_ties })
    }

    /// The first `count` rows, best first, of the ties those with the least ids.
    pub(in crate::query) async fn into_first(
        self,
        part: &Part,
        schema: &Schema,
        count: usize,
    ) -> Result<Vec<(K, u32)>> {
        let Self { ahead: mut rows, tied } = self;
        rows.truncate(count);
        if let Some((key, tied)) = tied {
            let tied = part.select_smallest_ids(schema, &tied, count - rows.len()).await?;
            rows.extend(tied.into_iter().map(|row| (key.clone(), row)));
        }
        Ok(rows)
    }
}

/// The rows of one part that are ranked.
#[derive(Debug)]
pub(in crate::query) struct PartRows<K> {
    rows: Vec<(K, u32)>,
    /// All rows that tie with the last, if not all of them are ranked.
    cut_ties: Option<(K, RoaringBitmap)>,
}

impl<K> Default for PartRows<K> {
    fn default() -> Self {
        Self { rows: Vec::new(), cut_ties: None }
    }
}

/// Rows of one part that tie, not all of which are ranked.
#[derive(Clone, Debug)]
pub(in crate::query) struct TiedRows<K> {
    pub(in crate::query) part: usize,
    pub(in crate::query) key: K,
    pub(in crate::query) rows: RoaringBitmap,
}

/// The rows that a leg found in all parts, in no order.
#[derive(Clone, Debug)]
pub(in crate::query) struct LegRows<S> {
    /// At least the [`Depth::rows`] best, and up to [`Depth::ties`] of those that tie with the last.
    pub(in crate::query) rows: Vec<(S, RowAddr)>,
    /// Ties that parts left out. A leg that cannot know them gives none.
    pub(in crate::query) cut_ties: Vec<TiedRows<S>>,
    pub(in crate::query) stats: QueryStats,
}

/// The documents that a leg found, best first.
#[derive(Clone, Debug, Default)]
pub(in crate::query) struct Ranking {
    pub(in crate::query) hits: Vec<(RowAddr, LegHit)>,
    /// Of a leg among several: all documents that tie with the last hit.
    pub(in crate::query) tied: Option<TiedHits>,
}

/// Documents that a leg finds as good as the last of its ranking, whether or not they are in it.
#[derive(Clone, Debug)]
pub(in crate::query) struct TiedHits {
    pub(in crate::query) hit: LegHit,
    /// By part.
    pub(in crate::query) rows: Arc<[RoaringBitmap]>,
}

impl<S> LegRows<S> {
    /// The rows of parts, by their numbers.
    pub(in crate::query) fn collect(
        parts: impl IntoIterator<Item = (usize, PartRows<S>)>,
        stats: QueryStats,
    ) -> Self {
        let mut found = Self { rows: Vec::new(), cut_ties: Vec::new(), stats };
        for (part, PartRows { rows, cut_ties }) in parts {
            found.rows.extend(rows.into_iter().map(|(key, row)| (key, RowAddr { part, row })));
            found.cut_ties.extend(cut_ties.map(|(key, rows)| TiedRows { part, key, rows }));
        }
        found
    }
}

impl<S: Score> LegRows<S> {
    /// Ranks the rows as hits, after the first `rank_offset` ranks, which other pages showed.
    pub(in crate::query) async fn into_ranking(
        mut self,
        view: &View,
        depth: Depth,
        rank_offset: usize,
    ) -> Result<Ranking> {
        self.rows.sort_unstable();
        truncate_after_ties(&mut self.rows, depth.rows, |a, b| a.0.cmp(&b.0));
        let mut tied = None;
        if depth.is_fused {
            tied = self.ties_by_part(view.parts().len(), depth.rows)?;
            self.rows = cut_by_ids(view, self.rows, depth.rows_with_ties()).await?;
        }
        let (mut rank, mut last) = (0, None);
        let hits = self.rows.into_iter().zip(rank_offset + 1..).map(|((score, addr), number)| {
            // Scores are compared before they are rounded: ranks tell apart what single precision does not.
            if last != Some(score) {
                (rank, last) = (number, Some(score));
            }
            (addr, LegHit { rank, score: score.reported(), distance: score.distance() })
        });
        let hits: Vec<(RowAddr, LegHit)> = hits.collect();
        let tied = tied.zip(hits.last()).map(|(rows, (_, hit))| TiedHits { hit: *hit, rows });
        Ok(Ranking { hits, tied })
    }

    /// All rows that tie with row number `depth`, whether they were found or left out, by part.
    fn ties_by_part(&self, parts: usize, depth: usize) -> Result<Option<Arc<[RoaringBitmap]>>> {
        let Some((last, _)) = depth.checked_sub(1).and_then(|last| self.rows.get(last)) else {
            return Ok(None);
        };
        let mut by_part = vec![RoaringBitmap::new(); parts];
        let mut add = |part: usize, rows: &RoaringBitmap| {
            let ties = by_part.get_mut(part).ok_or_else(|| Error::internal("a leg found rows of no part"))?;
            *ties |= rows;
            Ok::<_, Error>(())
        };
        for (_, addr) in self.rows.iter().rev().take_while(|(score, _)| score == last) {
            add(addr.part, &RoaringBitmap::from([addr.row]))?;
        }
        for cut in self.cut_ties.iter().filter(|cut| cut.key == *last) {
            add(cut.part, &cut.rows)?;
        }
        Ok(Some(by_part.into()))
    }
}

/// Truncates what is sorted to the first `count`, and all that tie with the last of them.
pub(in crate::query) fn truncate_after_ties<T>(
    sorted: &mut Vec<T>,
    count: usize,
    compare: impl Fn(&T, &T) -> Ordering,
) {
    let Some(last) = count.checked_sub(1).and_then(|last| sorted.get(last)) else { return };
    let ties = sorted.iter().skip(count).take_while(|item| compare(item, last).is_eq()).count();
    sorted.truncate(count + ties);
}

/// The first `count` of rows that are sorted by their scores: of those that tie with the last, the ones with the least
/// ids.
async fn cut_by_ids<S: Score>(
    view: &View,
    mut rows: Vec<(S, RowAddr)>,
    count: usize,
) -> Result<Vec<(S, RowAddr)>> {
    if rows.len() <= count {
        return Ok(rows);
    }
    let Some((last, mut tied)) = split_ties(&mut rows, count) else { return Ok(Vec::new()) };
    let wanted = count - rows.len();
    if tied.len() > wanted {
        let batch = view.fetch_documents(&tied, &[]).await?;
        let ids = Ids::new(view.schema.id(), batch.column(0))?;
        let mut by_id: Vec<(DocumentId, RowAddr)> =
            tied.into_iter().enumerate().map(|(at, addr)| (ids.get(at), addr)).collect();
        by_id.sort_unstable();
        by_id.truncate(wanted);
        tied = by_id.into_iter().map(|(_, addr)| addr).collect();
        // Ties lie in the order of rows, as `sort_unstable` left the others.
        tied.sort_unstable();
    }
    rows.extend(tied.into_iter().map(|addr| (last, addr)));
    Ok(rows)
}

/// Splits off all items that tie with number `limit` of those that are sorted by their keys, and drops what is behind them.
/// `None`, and nothing is split off, if there are fewer.
pub(super) fn split_ties<K: Ord + Clone, T>(sorted: &mut Vec<(K, T)>, limit: usize) -> Option<(K, Vec<T>)> {
    let (last, _) = limit.checked_sub(1).and_then(|last| sorted.get(last))?;
    let last = last.clone();
    let mut tied = sorted.split_off(sorted.partition_point(|(key, _)| *key < last));
    tied.truncate(tied.partition_point(|(key, _)| *key <= last));
    Some((last, tied.into_iter().map(|(_, item)| item).collect()))
}
