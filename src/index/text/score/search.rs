//! Finds the rows of a part that match, all of them or the best.

use std::cmp::Ordering;

use roaring::RoaringBitmap;

use super::max_score::{
    BoundedTerm, offer_expanded_term, offer_intersection, offer_phrase, offer_term, offer_union,
};
use super::part::LoadedTextPart;
use super::scorer::Scorer;
use super::stats::TextStats;
use super::top_rows::{ScoreFloor, TopRowCollector, TopRows};
use crate::error::Result;
use crate::index::text::plan::ScoreJoin;
use crate::index::text::store::NO_MORE_ROWS;

/// If fewer than one row in this many is allowed, the allowed rows lead, and postings are sought for each. Loops over
/// windows look at all rows whether they are allowed or not, at a small fraction of the cost for each.
const SPARSE_ONE_IN: u64 = 16;

impl LoadedTextPart {
    /// The rows among `allowed` that match. CPU work.
    pub(crate) fn find_rows(&self, stats: &TextStats, allowed: &RoaringBitmap) -> Result<RoaringBitmap> {
        let mut rows = RoaringBitmap::new();
        if let Some(mut scorer) = Scorer::new(self, stats, &self.plan.root)? {
            while scorer.row() != NO_MORE_ROWS {
                rows.insert(scorer.row());
                scorer.advance();
            }
        }
        Ok(rows & allowed)
    }

    /// The best `limit` rows among `allowed` (`None` allows all), best first, ties by row; with `ties` all further rows
    /// too that tie with the last. Rows below the floor, which all parts of the query share, may be missing. CPU work.
    pub(crate) fn find_top_rows(
        &self,
        stats: &TextStats,
        allowed: Option<&RoaringBitmap>,
        (limit, ties): (usize, bool),
        floor: &ScoreFloor,
    ) -> Result<TopRows> {
        let mut top = TopRowCollector::new(limit, ties, allowed, floor);
        if let Some(scorer) = Scorer::new_root(self, stats, &self.plan.root)? {
            offer_all_rows(scorer, self.source.rows(), &mut top);
        }
        let top = top.finish();
        // Rows that are allowed are rows of the part.
        if allowed.is_none() {
            self.source.check_row(top.rows.iter().map(|(_, row)| *row).chain(top.ties.max()).max())?;
        }
        Ok(top)
    }
}

/// Offers every row of a scorer, over a part of so many rows, that may be a hit.
fn offer_all_rows(mut scorer: Scorer, rows: u32, top: &mut TopRowCollector<'_>) {
    let is_dense = top.allowed().is_none_or(|allowed| allowed.len() >= u64::from(rows) / SPARSE_ONE_IN);
    if is_dense && offer_by_windows(&mut scorer, rows, top) {
        return;
    }
    // A phrase at the root is on no row yet, see `Scorer::new_root`.
    if let Scorer::Phrase(phrase) = &mut scorer {
        phrase.cursor.seek(0);
    }
    match top.allowed() {
        None => offer_by_walking(scorer, top),
        Some(allowed) => offer_by_leapfrog(scorer, allowed, top),
    }
}

/// Offers the rows of a scorer that has a loop of its own. Returns whether it has one.
fn offer_by_windows(scorer: &mut Scorer, rows: u32, top: &mut TopRowCollector<'_>) -> bool {
    match scorer {
        Scorer::ExpandedTerm(term) => offer_expanded_term(term, top),
        Scorer::Term(term) => {
            let Some(mut term) = BoundedTerm::new(term) else { return false };
            offer_term(&mut term, top);
        }
        Scorer::Phrase(phrase) if phrase.cursor.has_block_postings() => offer_phrase(phrase, rows, top),
        Scorer::Any(scorers, ScoreJoin::Sum) => {
            let Some(mut terms) = BoundedTerm::all_of(scorers.iter_mut()) else { return false };
            offer_union(&mut terms, rows, top);
        }
        Scorer::All(all) if all.join == ScoreJoin::Sum => {
            let Some(mut terms) = BoundedTerm::all_of(all.scorers_mut()) else { return false };
            offer_intersection(&mut terms, rows, top);
        }
        _ => return false,
    }
    true
}

fn offer_by_walking(mut scorer: Scorer, top: &mut TopRowCollector<'_>) {
    while scorer.seek_competitive(top.threshold()) != NO_MORE_ROWS {
        let score = scorer.score();
        top.offer(score, scorer.row());
        scorer.advance();
    }
}

/// The scorer and the allowed rows take turns: each moves to the row of the other, or beyond.
fn offer_by_leapfrog(mut scorer: Scorer, allowed: &RoaringBitmap, top: &mut TopRowCollector<'_>) {
    let mut allowed_rows = allowed.iter();
    let mut next_allowed = allowed_rows.next();
    while let Some(allowed_row) = next_allowed {
        let row = scorer.seek_competitive(top.threshold());
        if row == NO_MORE_ROWS {
            return;
        }
        match row.cmp(&allowed_row) {
            Ordering::Greater => {
                allowed_rows.advance_to(row);
                next_allowed = allowed_rows.next();
            }
            Ordering::Less => {
                scorer.seek(allowed_row);
            }
            Ordering::Equal => {
                let score = scorer.score();
                top.push(score, row);
                scorer.advance();
                next_allowed = allowed_rows.next();
            }
        }
    }
}
