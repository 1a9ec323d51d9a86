//! A cursor over the rows that hold a phrase.

use super::cursor::PostingsCursor;
use super::phrase_word::PhraseWord;
use super::spans::{SpanFinder, count_exact};
use crate::index::text::store::{BlockPostings, NO_MORE_ROWS};

/// A cursor over the rows that hold a phrase. It is on no row before the first [`Self::seek`].
pub(in crate::index::text) struct PhraseCursor {
    words: Vec<PhraseWord>,
    slop: u32,
    /// The word that stands for several terms, if there is one and slop matters.
    prefix_word: Option<usize>,
    row: u32,
    frequency: f32,
}

impl PhraseCursor {
    /// At most one word is a prefix.
    pub(in crate::index::text) fn new(mut words: Vec<PhraseWord>, slop: u32) -> Self {
        if slop == 0 {
            // The rarest word leads: it skips the most rows of the others.
            words.sort_by_cached_key(PhraseWord::row_count_max);
        } else {
            // Words that are the same term take their positions one after another, see `SpanFinder`.
            words.sort_by_key(|word| (word.term_number, word.offset));
        }
        // Without slop a position has just one word that can be there, so no word has to make way.
        let prefix_word = words.iter().position(|word| word.is_prefix).filter(|_| slop > 0);
        Self { words, slop, prefix_word, row: 0, frequency: 0.0 }
    }

    /// Whether each word is one term of a segment.
    pub(in crate::index::text) fn has_block_postings(&self) -> bool {
        self.words.iter().all(|word| matches!(word.postings.as_slice(), [PostingsCursor::Blocks(_)]))
    }

    /// The postings of the words that are in blocks: of each word, see [`Self::has_block_postings`].
    pub(in crate::index::text) fn block_postings_mut(&mut self) -> impl Iterator<Item = &mut BlockPostings> {
        let postings = self.words.iter_mut().flat_map(|word| &mut word.postings);
        postings.filter_map(|postings| match postings {
            PostingsCursor::Blocks(blocks) => Some(blocks.as_mut()),
            PostingsCursor::Memory(..) => None,
        })
    }

    pub(in crate::index::text) fn row(&self) -> u32 {
        self.row
    }

    /// How often the current row holds the phrase: a span counts the less the wider it is.
    pub(in crate::index::text) fn frequency(&self) -> f32 {
        self.frequency
    }

    /// The most rows that can hold the phrase.
    pub(in crate::index::text) fn row_count_max(&self) -> u64 {
        // invariant: a phrase without words is in no row.
        self.words.iter().map(PhraseWord::row_count_max).min().unwrap_or_default()
    }

    /// Moves to the first row that is not below `row` and holds the phrase.
    pub(in crate::index::text) fn seek(&mut self, row: u32) {
        let mut row = row;
        loop {
            row = self.align_words(row);
            if row == NO_MORE_ROWS {
                break;
            }
            self.frequency = self.count_occurrences(row);
            if self.frequency > 0.0 {
                break;
            }
            row += 1;
        }
        self.row = row;
    }

    /// The first row that is not below `row` and holds every word.
    fn align_words(&mut self, row: u32) -> u32 {
        let mut row = row;
        'rows: while row < NO_MORE_ROWS {
            for word in &mut self.words {
                let found = word.seek(row);
                if found > row {
                    row = found;
                    continue 'rows;
                }
            }
            return row;
        }
        NO_MORE_ROWS
    }

    /// How often a row holds the phrase. All words are on the row.
    ///
    /// Never more than the row holds any of the words, which is what bounds of scores rely on: of k spans that share a
    /// position, each is at least k - 1 wide, so that together they count at most once.
    pub(in crate::index::text) fn count_occurrences(&mut self, row: u32) -> f32 {
        self.words.iter_mut().for_each(|word| word.read_shifts(row));
        if self.slop == 0 {
            return count_exact(&self.words);
        }
        let (words, slop, prefix_word) = (self.words.as_slice(), self.slop, self.prefix_word);
        SpanFinder { words, slop, prefix_word }.sum_minimal_spans()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::index::text::postings::memory_postings::MemoryPostings;

    /// Every choice of places, one by one.
    fn naive(phrase: &[(Vec<u8>, u32)], text: &[u8], slop: u32) -> f32 {
        let mut spans: Vec<(i64, i64)> = Vec::new();
        let mut chosen = vec![0_usize; phrase.len()];
        loop {
            let distinct: std::collections::BTreeSet<_> = chosen.iter().collect();
            let fits = chosen.iter().zip(phrase).all(|(at, (tokens, _))| tokens.contains(&text[*at]));
            if fits && distinct.len() == chosen.len() {
                let shifts = chosen.iter().zip(phrase);
                let shifts = shifts.map(|(at, (_, offset))| i64::try_from(*at).unwrap() - i64::from(*offset));
                let span = (shifts.clone().min().unwrap(), shifts.max().unwrap());
                if span.1 - span.0 <= i64::from(slop) {
                    spans.push(span);
                }
            }
            // The next choice, as a number is counted up.
            let Some(at) = chosen.iter().rposition(|at| *at + 1 < text.len()) else { break };
            chosen[at] += 1;
            chosen[at + 1..].fill(0);
        }
        spans.sort_unstable();
        spans.dedup();
        let holds = |outer: &(i64, i64), inner: &(i64, i64)| {
            outer != inner && outer.0 <= inner.0 && inner.1 <= outer.1
        };
        let narrowest = spans.iter().filter(|span| !spans.iter().any(|other| holds(span, other)));
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        narrowest.map(|(start, end)| 1.0 / (1.0 + (end - start) as f32)).sum()
    }

    fn postings(text: &[u8], token: u8) -> PostingsCursor {
        let mut postings = MemoryPostings::default();
        for (at, _) in text.iter().enumerate().filter(|(_, other)| **other == token) {
            postings.push(0, u32::try_from(at).unwrap());
        }
        PostingsCursor::Memory(Arc::new(postings), 0)
    }

    fn found(phrase: &[(Vec<u8>, u32)], text: &[u8], slop: u32) -> f32 {
        let words = phrase.iter().map(|(tokens, offset)| {
            let postings = tokens.iter().map(|token| postings(text, *token)).collect();
            let term_number = if tokens.len() > 1 { usize::MAX } else { tokens[0].into() };
            PhraseWord::new(postings, term_number, *offset, tokens.len() > 1)
        });
        let mut phrase = PhraseCursor::new(words.collect(), slop);
        phrase.seek(0);
        if phrase.row() == NO_MORE_ROWS { 0.0 } else { phrase.frequency() }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        #[test]
        fn each_word_has_a_place_of_its_own(
            text in proptest::collection::vec(0..3_u8, 1..8),
            words in proptest::collection::vec(0..3_u8, 2..5),
            steps in proptest::collection::vec(1..3_u32, 4),
            open in any::<bool>(),
            slop in 0..5_u32,
        ) {
            let mut offset = 0;
            let mut phrase = Vec::new();
            for (word, step) in words.iter().zip(steps) {
                phrase.push((vec![*word], offset));
                offset += step;
            }
            if open {
                // As a prefix: the last may be other words of the phrase too.
                phrase.last_mut().unwrap().0 = vec![0, 1];
            }
            let (expected, found) = (naive(&phrase, &text, slop), found(&phrase, &text, slop));
            prop_assert!((expected - found).abs() < 1e-5, "{phrase:?} {text:?} {slop}: {found}, not {expected}");
        }
    }
}
