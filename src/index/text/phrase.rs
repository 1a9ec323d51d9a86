//! Words in a row, one behind the other.

use super::blocks::Blocks;
use super::postings::{END, Postings};
use super::scorer::Weigher;

/// A walk over the rows that hold a phrase.
pub(super) struct Phrase {
    words: Vec<Word>,
    slop: u32,
    weigher: Weigher,
    row: u32,
    frequency: f32,
}

/// A word of a phrase: the tokens that it may be.
struct Word {
    postings: Vec<Postings>,
    /// How far it lies behind the first.
    offset: u32,
    /// Where in the row at hand, less the offset, ascending.
    positions: Vec<i64>,
    read: Vec<u32>,
}

impl Phrase {
    /// It is on no row before [`Self::seek`].
    pub(super) fn new(words: Vec<(Vec<Postings>, u32)>, slop: u32, weigher: Weigher) -> Self {
        let word = |(postings, offset)| Word { postings, offset, positions: Vec::new(), read: Vec::new() };
        let mut words: Vec<Word> = words.into_iter().map(word).collect();
        if slop == 0 {
            // The rarest leads. With slop the order decides between places as good as each other.
            words.sort_by_cached_key(Word::cost);
        }
        Self { words, slop, weigher, row: 0, frequency: 0.0 }
    }

    pub(super) fn weigher(&self) -> &Weigher {
        &self.weigher
    }

    /// Whether each word is one token of a segment.
    pub(super) fn is_flat(&self) -> bool {
        self.words.iter().all(|word| matches!(word.postings.as_slice(), [Postings::Blocks(_)]))
    }

    /// The postings of its words, if it is flat.
    pub(super) fn blocks(&mut self) -> impl Iterator<Item = &mut Blocks> {
        self.words.iter_mut().flat_map(|word| &mut word.postings).filter_map(|postings| match postings {
            Postings::Blocks(blocks) => Some(blocks.as_mut()),
            Postings::Memory(..) => None,
        })
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

    /// How often a row that all words are at holds the phrase; what is apart counts less.
    pub(super) fn occurrences(&mut self, row: u32) -> f32 {
        self.words.iter_mut().for_each(|word| word.read(row));
        if self.slop == 0 {
            return self.exactly();
        }
        let mut at = vec![0; self.words.len()];
        let mut frequency = 0.0;
        loop {
            let (mut least, mut most, mut lowest) = (i64::MAX, i64::MIN, 0);
            for (number, (word, at)) in self.words.iter().zip(&at).enumerate() {
                let Some(position) = word.positions.get(*at).copied() else { return frequency };
                if position < least {
                    (least, lowest) = (position, number);
                }
                most = most.max(position);
            }
            let apart = most - least;
            if apart <= i64::from(self.slop) {
                #[expect(clippy::cast_precision_loss, reason = "at most the slop")]
                let share = 1.0 / (1.0 + apart as f32);
                frequency += share;
                for at in &mut at {
                    *at += 1;
                }
            } else if let Some(at) = at.get_mut(lowest) {
                *at += 1;
            }
        }
    }
}

impl Phrase {
    /// How often all words are at their places.
    fn exactly(&self) -> f32 {
        let Some((first, others)) = self.words.split_first() else { return 0.0 };
        let mut at = first
            .positions
            .iter()
            .filter(|position| others.iter().all(|word| word.positions.binary_search(position).is_ok()));
        let mut frequency = 0.0;
        while at.next().is_some() {
            frequency += 1.0;
        }
        frequency
    }
}

impl Word {
    fn cost(&self) -> u64 {
        self.postings.iter().map(Postings::cost).sum()
    }

    fn seek(&mut self, row: u32) -> u32 {
        let seek =
            |postings: &mut Postings| if postings.row() < row { postings.seek(row) } else { postings.row() };
        self.postings.iter_mut().map(seek).min().unwrap_or(END)
    }

    fn read(&mut self, row: u32) {
        self.read.clear();
        for postings in self.postings.iter_mut().filter(|postings| postings.row() == row) {
            postings.positions(&mut self.read);
        }
        if self.postings.len() > 1 {
            self.read.sort_unstable();
            self.read.dedup();
        }
        let offset = i64::from(self.offset);
        self.positions.clear();
        self.positions.extend(self.read.iter().map(|position| i64::from(*position) - offset));
    }
}
