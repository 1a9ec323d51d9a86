//! Words in a row, one behind the other, or nearly so.
//!
//! Of a word that lies at a place its *shift* is the place less how far the word lies behind the first of the phrase:
//! where all are where they belong their shifts are the same. A *span* is a choice of one place for each word, no place
//! twice, and as wide as its greatest shift less its least. The phrase occurs where a span is at most as wide as the slop;
//! a span that holds a narrower one within counts for nothing besides it, as in C. Clarke, G. Cormack and F. Burkowski,
//! "An algebra for structured text search and a framework for its implementation", 1995.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::blocks::Blocks;
use super::memory::MemoryPostings;
use super::postings::{END, Postings};
use super::scorer::Weigher;
use crate::error::Result;

/// A word that stands for more tokens than this is made one list of places first.
const MERGED_MIN: usize = 16;

/// A walk over the rows that hold a phrase.
pub(super) struct Phrase {
    words: Vec<Word>,
    slop: u32,
    /// The word that stands for several tokens, if one does and slop matters.
    open: Option<usize>,
    weigher: Weigher,
    row: u32,
    frequency: f32,
}

/// A word of a phrase as it is asked for: the tokens that it may be.
pub(super) struct Asked {
    pub(super) postings: Vec<Postings>,
    /// How far it lies behind the first.
    pub(super) offset: u32,
    /// Words with the same number are the same tokens.
    pub(super) token: usize,
    /// Whether it stands for all tokens that begin alike, which may be other words of the phrase too.
    pub(super) open: bool,
}

struct Word {
    asked: Asked,
    /// Its shifts in the row at hand, ascending.
    shifts: Vec<i64>,
    read: Vec<u32>,
}

impl Phrase {
    /// It is on no row before [`Self::seek`]. At most one word is open.
    pub(super) fn new(words: Vec<Asked>, slop: u32, weigher: Weigher) -> Self {
        let word = |asked| Word { asked, shifts: Vec::new(), read: Vec::new() };
        let mut words: Vec<Word> = words.into_iter().map(word).collect();
        if slop == 0 {
            // The rarest leads.
            words.sort_by_cached_key(Word::cost);
        } else {
            // The same tokens take their places one after another.
            words.sort_by_key(|word| (word.asked.token, word.asked.offset));
        }
        let open = words.iter().position(|word| word.asked.open).filter(|_| slop > 0);
        Self { words, slop, open, weigher, row: 0, frequency: 0.0 }
    }

    pub(super) fn weigher(&self) -> &Weigher {
        &self.weigher
    }

    /// Whether each word is one token of a segment.
    pub(super) fn is_flat(&self) -> bool {
        self.words.iter().all(|word| matches!(word.asked.postings.as_slice(), [Postings::Blocks(_)]))
    }

    /// The postings of its words, if it is flat.
    pub(super) fn blocks(&mut self) -> impl Iterator<Item = &mut Blocks> {
        self.words.iter_mut().flat_map(|word| &mut word.asked.postings).filter_map(
            |postings| match postings {
                Postings::Blocks(blocks) => Some(blocks.as_mut()),
                Postings::Memory(..) => None,
            },
        )
    }

    pub(super) fn row(&self) -> u32 {
        self.row
    }

    /// How many rows at most.
    pub(super) fn cost(&self) -> u64 {
        self.words.iter().map(Word::cost).min().unwrap_or_default()
    }

    pub(super) fn bound(&self) -> f32 {
        self.weigher.weight
    }

    pub(super) fn score(&self) -> f32 {
        self.weigher.score(self.row, self.frequency)
    }

    /// On to the first row that is not below `row`.
    pub(super) fn seek(&mut self, row: u32) {
        let mut row = row;
        loop {
            row = self.align(row);
            if row == END {
                break;
            }
            self.frequency = self.occurrences(row);
            if self.frequency > 0.0 {
                break;
            }
            row += 1;
        }
        self.row = row;
    }

    /// The first row from `row` on that holds every word.
    fn align(&mut self, row: u32) -> u32 {
        let mut row = row;
        'rows: while row < END {
            for word in &mut self.words {
                let found = word.seek(row);
                if found > row {
                    row = found;
                    continue 'rows;
                }
            }
            return row;
        }
        END
    }

    /// How often a row that all words are at holds the phrase: a span counts the less the wider it is. Never more than
    /// the row holds any one of the words: of k spans that share a place each is k - 1 wide at least.
    pub(super) fn occurrences(&mut self, row: u32) -> f32 {
        self.words.iter_mut().for_each(|word| word.read(row));
        if self.slop == 0 { self.exactly() } else { self.nearly() }
    }

    /// How often all words are at their places: two of them cannot be at one.
    fn exactly(&self) -> f32 {
        let Some((first, others)) = self.words.split_first() else { return 0.0 };
        let mut at = first
            .shifts
            .iter()
            .filter(|shift| others.iter().all(|word| word.shifts.binary_search(shift).is_ok()));
        let mut frequency = 0.0;
        while at.next().is_some() {
            frequency += 1.0;
        }
        frequency
    }

    /// The narrowest spans, from left to right.
    fn nearly(&self) -> f32 {
        let slop = i64::from(self.slop);
        let mut frequency = 0.0;
        let mut from = i64::MIN;
        while let Some(end) = self.end(from) {
            if from < end - slop {
                from = end - slop;
                continue;
            }
            // From where on is there none that ends there?
            while let Some(least) = self.least(from) {
                from = least + 1;
                if self.end(from) != Some(end) {
                    #[expect(clippy::cast_precision_loss, reason = "at most the slop")]
                    let share = 1.0 / (1.0 + (end - least) as f32);
                    frequency += share;
                    break;
                }
            }
        }
        frequency
    }

    /// The least shift from `from` on.
    fn least(&self, from: i64) -> Option<i64> {
        self.words.iter().filter_map(|word| word.shift(from)).min()
    }

    /// The least greatest shift of a span without a shift below `from`.
    fn end(&self, from: i64) -> Option<i64> {
        let best = self.end_without(from, None)?;
        let Some((number, open)) = self.open.and_then(|at| Some((at, self.words.get(at)?))) else {
            return Some(best);
        };
        // It takes each of its places in turn, until another cannot do better.
        let first = open.shifts.partition_point(|shift| *shift < from);
        let shifts = open.shifts.get(first..).unwrap_or_default();
        let best = best.max(*shifts.first()?);
        let mut found: Option<i64> = None;
        for shift in shifts.iter().copied() {
            if found.is_some_and(|found| found <= shift.max(best)) {
                break;
            }
            let place = shift + i64::from(open.asked.offset);
            let others = self.end_without(from, Some((number, place)));
            found = others.map(|end| end.max(shift)).into_iter().chain(found).min();
        }
        found
    }

    /// The same of all words but the open one, which is at a place that they cannot have, if it is known.
    ///
    /// Words that are the same tokens take the first place that is left, in their order: what may begin first must end
    /// first, so no other choice ends earlier.
    fn end_without(&self, from: i64, open: Option<(usize, i64)>) -> Option<i64> {
        let mut end = i64::MIN;
        let mut last: Option<(usize, i64)> = None;
        for (number, word) in self.words.iter().enumerate() {
            if self.open == Some(number) {
                continue;
            }
            let offset = i64::from(word.asked.offset);
            let free =
                last.filter(|(token, _)| *token == word.asked.token).map(|(_, place)| place + 1 - offset);
            let mut shift = word.shift(free.map_or(from, |free| free.max(from)))?;
            if open.is_some_and(|(_, place)| place == shift + offset) {
                shift = word.shift(shift + 1)?;
            }
            last = Some((word.asked.token, shift + offset));
            end = end.max(shift);
        }
        Some(end)
    }
}

impl Word {
    fn cost(&self) -> u64 {
        cost(&self.asked.postings)
    }

    fn seek(&mut self, row: u32) -> u32 {
        let seek =
            |postings: &mut Postings| if postings.row() < row { postings.seek(row) } else { postings.row() };
        self.asked.postings.iter_mut().map(seek).min().unwrap_or(END)
    }

    fn read(&mut self, row: u32) {
        self.read.clear();
        for postings in self.asked.postings.iter_mut().filter(|postings| postings.row() == row) {
            postings.positions(&mut self.read);
        }
        if self.asked.postings.len() > 1 {
            self.read.sort_unstable();
            self.read.dedup();
        }
        let offset = i64::from(self.asked.offset);
        self.shifts.clear();
        self.shifts.extend(self.read.iter().map(|position| i64::from(*position) - offset));
    }

    /// The first shift from `from` on.
    fn shift(&self, from: i64) -> Option<i64> {
        let at = self.shifts.partition_point(|shift| *shift < from);
        self.shifts.get(at).copied()
    }
}

fn cost(postings: &[Postings]) -> u64 {
    postings.iter().map(Postings::cost).sum()
}

/// The words of a phrase: of each its tokens, the number of its leaf, how far it lies behind the first, and whether it is
/// open. `open` opens the postings of a token.
pub(super) fn asked<'a, T: 'a>(
    words: impl Iterator<Item = (&'a [T], usize, u32, bool)>,
    open: impl Fn(usize, &T) -> Result<Postings>,
) -> Result<Vec<Asked>> {
    let (mut asked, mut many) = (Vec::new(), Vec::new());
    for (number, (tokens, leaf, offset, is_open)) in words.enumerate() {
        let mut postings = Vec::new();
        if tokens.len() > MERGED_MIN {
            many.push((number, leaf, tokens));
        } else {
            postings = tokens.iter().map(|token| open(leaf, token)).collect::<Result<_>>()?;
        }
        asked.push(Asked { postings, offset, token: leaf, open: is_open });
    }
    for (number, leaf, tokens) in many {
        // Only rows that hold the other words matter.
        let others = asked.iter().filter(|word| !word.postings.is_empty()).map(|word| rows(&word.postings));
        let rows = others.reduce(|all, rows| all & rows);
        let merged = merged(tokens.iter().map(|token| open(leaf, token)), rows.as_ref())?;
        if let Some(word) = asked.get_mut(number) {
            word.postings.push(merged);
        }
    }
    Ok(asked)
}

fn rows(postings: &[Postings]) -> RoaringBitmap {
    let mut rows = RoaringBitmap::new();
    for mut postings in postings.iter().cloned() {
        while postings.row() != END {
            rows.insert(postings.row());
            postings.advance();
        }
    }
    rows
}

/// The places of many tokens as those of one, in some rows.
fn merged(tokens: impl Iterator<Item = Result<Postings>>, rows: Option<&RoaringBitmap>) -> Result<Postings> {
    let mut places: Vec<(u32, u32)> = Vec::new();
    let mut read = Vec::new();
    for postings in tokens {
        let mut postings = postings?;
        while postings.row() != END {
            let row = postings.row();
            if rows.is_none_or(|rows| rows.contains(row)) {
                read.clear();
                postings.positions(&mut read);
                places.extend(read.iter().map(|place| (row, *place)));
            }
            postings.advance();
        }
    }
    places.sort_unstable();
    places.dedup();
    let mut merged = MemoryPostings::default();
    for (row, place) in places {
        merged.push(row, place);
    }
    Ok(Postings::Memory(Arc::new(merged), 0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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

    fn postings(text: &[u8], token: u8) -> Postings {
        let mut postings = MemoryPostings::default();
        for (at, _) in text.iter().enumerate().filter(|(_, other)| **other == token) {
            postings.push(0, u32::try_from(at).unwrap());
        }
        Postings::Memory(Arc::new(postings), 0)
    }

    fn found(phrase: &[(Vec<u8>, u32)], text: &[u8], slop: u32) -> f32 {
        let words = phrase.iter().map(|(tokens, offset)| Asked {
            postings: tokens.iter().map(|token| postings(text, *token)).collect(),
            offset: *offset,
            token: if tokens.len() > 1 { usize::MAX } else { tokens[0].into() },
            open: tokens.len() > 1,
        });
        let mut phrase = Phrase::new(words.collect(), slop, Weigher::nothing());
        phrase.seek(0);
        if phrase.row() == END { 0.0 } else { phrase.frequency }
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
