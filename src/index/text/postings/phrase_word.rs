//! A word of a phrase: cursors over the terms that it stands for, and its positions in the current row.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::cursor::PostingsCursor;
use super::memory_postings::MemoryPostings;
use crate::error::{Error, Result};
use crate::index::text::store::NO_MORE_ROWS;
use crate::index::text::terms::ExpandedTerm;

/// A word that stands for more terms than this is merged into one list of positions first. Every step of a phrase
/// touches all cursors of a word; a few are cheaper to step than to merge and sort.
const MERGED_TERMS_MIN: usize = 16;

/// The terms of a word of a phrase, as a plan has them.
pub(in crate::index::text) struct PhraseWordTerms<'a, P> {
    pub(in crate::index::text) terms: &'a [ExpandedTerm<P>],
    /// Words with the same number are the same terms.
    pub(in crate::index::text) term_number: usize,
    /// How far the word is behind the first.
    pub(in crate::index::text) offset: u32,
    /// Whether the word stands for all terms with a prefix, which may be other words of the phrase too.
    pub(in crate::index::text) is_prefix: bool,
}

/// A word of a phrase.
pub(in crate::index::text) struct PhraseWord {
    pub(super) postings: Vec<PostingsCursor>,
    pub(super) term_number: usize,
    pub(super) offset: u32,
    pub(super) is_prefix: bool,
    /// Its shifts in the current row, ascending: positions less `offset`.
    pub(super) shifts: Vec<i64>,
    /// Reused between rows.
    positions: Vec<u32>,
}

impl PhraseWord {
    pub(super) fn new(
        postings: Vec<PostingsCursor>,
        term_number: usize,
        offset: u32,
        is_prefix: bool,
    ) -> Self {
        Self { postings, term_number, offset, is_prefix, shifts: Vec::new(), positions: Vec::new() }
    }

    /// The most rows that can hold the word.
    pub(super) fn row_count_max(&self) -> u64 {
        self.postings.iter().map(PostingsCursor::row_count).sum()
    }

    /// Moves to the first row that is not below `row` and holds any of the terms.
    pub(super) fn seek(&mut self, row: u32) -> u32 {
        let seek = |postings: &mut PostingsCursor| {
            if postings.row() < row { postings.seek(row) } else { postings.row() }
        };
        // invariant: a word without terms is on no row.
        self.postings.iter_mut().map(seek).min().unwrap_or(NO_MORE_ROWS)
    }

    /// Reads the positions in a row that the word is on.
    pub(super) fn read_shifts(&mut self, row: u32) {
        self.positions.clear();
        for postings in self.postings.iter_mut().filter(|postings| postings.row() == row) {
            postings.read_positions(&mut self.positions);
        }
        if self.postings.len() > 1 {
            self.positions.sort_unstable();
            self.positions.dedup();
        }
        let offset = i64::from(self.offset);
        self.shifts.clear();
        self.shifts.extend(self.positions.iter().map(|position| i64::from(*position) - offset));
    }

    /// The first shift that is not below `from`.
    pub(super) fn first_shift_from(&self, from: i64) -> Option<i64> {
        let index = self.shifts.partition_point(|shift| *shift < from);
        self.shifts.get(index).copied()
    }
}

/// Opens the words of a phrase. `open` opens the postings of a term.
pub(in crate::index::text) fn open_phrase_words<'a, P: 'a>(
    words: impl Iterator<Item = PhraseWordTerms<'a, P>>,
    open: impl Fn(&ExpandedTerm<P>) -> Result<PostingsCursor>,
) -> Result<Vec<PhraseWord>> {
    let (mut opened, mut to_merge) = (Vec::new(), Vec::new());
    for (number, PhraseWordTerms { terms, term_number, offset, is_prefix }) in words.enumerate() {
        let mut postings = Vec::new();
        if terms.len() > MERGED_TERMS_MIN {
            to_merge.push((number, terms));
        } else {
            postings = terms.iter().map(&open).collect::<Result<_>>()?;
        }
        opened.push(PhraseWord::new(postings, term_number, offset, is_prefix));
    }
    for (number, terms) in to_merge {
        // Only positions in rows that hold the other words matter. A prefix may have thousands of terms, and those
        // words mostly leave a few of their rows.
        let others = opened.iter().filter(|word| !word.postings.is_empty());
        let rows = others.map(|word| union_rows(&word.postings)).reduce(|all, rows| all & rows);
        let merged = merge_postings(terms.iter().map(&open), rows.as_ref())?;
        let word = opened.get_mut(number);
        word.ok_or_else(|| Error::internal("a phrase lost a word"))?.postings.push(merged);
    }
    Ok(opened)
}

fn union_rows(postings: &[PostingsCursor]) -> RoaringBitmap {
    let mut rows = RoaringBitmap::new();
    for mut postings in postings.iter().cloned() {
        while postings.row() != NO_MORE_ROWS {
            rows.insert(postings.row());
            postings.advance();
        }
    }
    rows
}

/// The positions of many terms as those of one, in the given rows.
fn merge_postings(
    terms: impl Iterator<Item = Result<PostingsCursor>>,
    rows: Option<&RoaringBitmap>,
) -> Result<PostingsCursor> {
    let mut occurrences: Vec<(u32, u32)> = Vec::new();
    let mut positions = Vec::new();
    for postings in terms {
        let mut postings = postings?;
        while postings.row() != NO_MORE_ROWS {
            let row = postings.row();
            if rows.is_none_or(|rows| rows.contains(row)) {
                positions.clear();
                postings.read_positions(&mut positions);
                occurrences.extend(positions.iter().map(|position| (row, *position)));
            }
            postings.advance();
        }
    }
    occurrences.sort_unstable();
    // n-grams and pretokenized strings may put several terms at one position.
    occurrences.dedup();
    let mut merged = MemoryPostings::default();
    for (row, position) in occurrences {
        merged.push(row, position);
    }
    Ok(PostingsCursor::Memory(Arc::new(merged.finish()?), 0))
}
