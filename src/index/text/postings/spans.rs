//! Counts how often a row holds a phrase, exactly or with slop.
//!
//! The *shift* of a word at a position is the position less the word's offset in the phrase: where all words are in
//! place, their shifts are equal. A *span* chooses one position for each word, no position twice; its width is its
//! greatest shift less its smallest. The phrase occurs where a span is at most `slop` wide. A span that encloses a
//! narrower one does not count besides it: C. Clarke, G. Cormack and F. Burkowski, "An algebra for structured text
//! search and a framework for its implementation", 1995.

use super::phrase_word::PhraseWord;

/// How often the words are all in place. Two words of a phrase cannot be at one position then.
pub(super) fn count_exact(words: &[PhraseWord]) -> f32 {
    // invariant: a phrase without words occurs nowhere.
    let Some((first, others)) = words.split_first() else { return 0.0 };
    // The rarest word is the first, so the fewest shifts are searched for in the other lists.
    let shifts = first.shifts.iter();
    let in_place = shifts.filter(|shift| others.iter().all(|word| word.shifts.binary_search(shift).is_ok()));
    in_place.map(|_| 1.0_f32).sum()
}

/// Finds the spans of a phrase in a row. Words that are the same term are adjacent, in the order of their offsets.
pub(super) struct SpanFinder<'a> {
    pub(super) words: &'a [PhraseWord],
    pub(super) slop: u32,
    /// The word that stands for several terms, if there is one.
    pub(super) prefix_word: Option<usize>,
}

/// What the prefix word takes while the others are placed.
#[derive(Clone, Copy)]
struct TakenPosition {
    position: i64,
}

impl SpanFinder<'_> {
    /// The sum over the minimal spans of 1 / (1 + width), as Lucene's sloppy phrases count.
    ///
    /// From left to right: with no shift below `from`, the span that ends first ends at `end`. It is minimal once the
    /// smallest shift that still ends there is found; spans behind it are looked for from the next shift on.
    pub(super) fn sum_minimal_spans(&self) -> f32 {
        let slop = i64::from(self.slop);
        let mut frequency = 0.0;
        let mut from = i64::MIN;
        while let Some(end) = self.earliest_end(from) {
            // What begins further left is too wide for this end, and every later end is further right.
            if from < end - slop {
                from = end - slop;
                continue;
            }
            while let Some(smallest) = self.smallest_shift(from) {
                from = smallest + 1;
                if self.earliest_end(from) != Some(end) {
                    #[expect(clippy::cast_precision_loss, reason = "at most the slop")]
                    let width = (end - smallest) as f32;
                    frequency += 1.0 / (1.0 + width);
                    break;
                }
            }
        }
        frequency
    }

    /// The smallest shift that is not below `from`.
    fn smallest_shift(&self, from: i64) -> Option<i64> {
        // invariant: words without such a shift do not count here; `earliest_end` then finds no span.
        self.words.iter().filter_map(|word| word.first_shift_from(from)).min()
    }

    /// The smallest end of a span without a shift below `from`.
    fn earliest_end(&self, from: i64) -> Option<i64> {
        let lower_bound = self.place_fixed_words(from, None)?;
        let prefix_word = self.prefix_word.and_then(|number| self.words.get(number));
        let Some(prefix_word) = prefix_word else { return Some(lower_bound) };
        // The prefix word may stand where another word wants to be. It takes each of its positions in turn, and the
        // others make way, until a later position cannot end earlier.
        let first = prefix_word.shifts.partition_point(|shift| *shift < from);
        let (_, shifts) = prefix_word.shifts.split_at(first);
        let lower_bound = lower_bound.max(*shifts.first()?);
        let mut earliest: Option<i64> = None;
        for shift in shifts.iter().copied() {
            if earliest.is_some_and(|earliest| earliest <= shift.max(lower_bound)) {
                break;
            }
            let taken = TakenPosition { position: shift + i64::from(prefix_word.offset) };
            let end = self.place_fixed_words(from, Some(taken)).map(|end| end.max(shift));
            earliest = end.into_iter().chain(earliest).min();
        }
        earliest
    }

    /// The smallest end of all words but the prefix word, which has taken a position if that is given.
    ///
    /// Words that are the same term take the first position that is left, in their order: whichever may begin first must
    /// end first, so no other choice ends earlier.
    fn place_fixed_words(&self, from: i64, taken: Option<TakenPosition>) -> Option<i64> {
        let mut end = i64::MIN;
        // The term of the word before, and its position.
        let mut last: Option<(usize, i64)> = None;
        for (number, word) in self.words.iter().enumerate() {
            if self.prefix_word == Some(number) {
                continue;
            }
            let offset = i64::from(word.offset);
            let same_term = last.filter(|(term_number, _)| *term_number == word.term_number);
            let first_free = same_term.map(|(_, position)| position + 1 - offset);
            // invariant: a word whose term no word before it has takes any position.
            let mut shift = word.first_shift_from(first_free.map_or(from, |free| free.max(from)))?;
            if taken.is_some_and(|taken| taken.position == shift + offset) {
                shift = word.first_shift_from(shift + 1)?;
            }
            last = Some((word.term_number, shift + offset));
            end = end.max(shift);
        }
        Some(end)
    }
}
