//! Which texts hold tokens: yes or no, without a score.
//!
//! A segment is asked through its postings, and anything else by cutting its texts; both say the same. There is
//! no limit of how many tokens a prefix stands for: where a dictionary has too many the index does not answer.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::buffer::BooleanBuffer;
use roaring::RoaringBitmap;

use super::analyzer::Analyzer;
use super::expand::{EVERY_MAX, Spec};
use super::phrase::{Phrase, asked};
use super::postings::{END, Postings};
use super::scorer::Weigher;
use super::stored::{Match, Matches, StoredIndex};
use crate::env::Env;
use crate::error::Result;

/// Rows of postings that are read where we are.
const INLINE_ROWS: u64 = 4_096;

/// What a dictionary has for each word.
type Looked = Vec<Arc<Matches>>;

/// How many of the tokens are enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Enough {
    One,
    All,
    /// All, each so far behind the first as is said.
    InARow,
}

/// Tokens that a text of a column may hold.
#[derive(Debug)]
pub(crate) struct Contains {
    /// The number of the column among the text columns.
    pub(crate) field: usize,
    pub(crate) enough: Enough,
    /// Tokens, and how far each lies behind the first: [`Spec::Term`] and [`Spec::Every`].
    pub(crate) words: Vec<(Spec, u32)>,
    pub(crate) analyzer: Analyzer,
}

impl Contains {
    /// Which rows of a column hold the tokens, by cutting their texts. CPU work.
    pub(crate) fn evaluate(&self, array: &ArrayRef) -> BooleanBuffer {
        let mut analyzer = self.analyzer.clone();
        BooleanBuffer::collect_bool(array.len(), |row| self.holds(&mut analyzer, array, row))
    }

    fn holds(&self, analyzer: &mut Analyzer, array: &ArrayRef, row: usize) -> bool {
        let mut places: Vec<Vec<u32>> = vec![Vec::new(); self.words.len()];
        analyzer.each_of_row(array, row, |token, position| {
            for ((spec, _), places) in self.words.iter().zip(&mut places) {
                if spec.edits(token.as_bytes()).is_some() {
                    places.push(position);
                }
            }
        });
        match self.enough {
            Enough::One => places.iter().any(|places| !places.is_empty()),
            Enough::All => places.iter().all(|places| !places.is_empty()),
            Enough::InARow => self.in_a_row(&places),
        }
    }

    /// Whether the tokens of a row, at these places, stand one behind the other anywhere.
    fn in_a_row(&self, places: &[Vec<u32>]) -> bool {
        let at = |start: u32| {
            let mut words = self.words.iter().zip(places);
            words.all(|((_, offset), places)| places.binary_search(&start.saturating_add(*offset)).is_ok())
        };
        places.first().is_some_and(|first| first.iter().any(|start| at(*start)))
    }

    fn rows(&self, index: &StoredIndex, found: &[Arc<Matches>]) -> Result<RoaringBitmap> {
        let of_word = |found: &Arc<Matches>| -> Result<RoaringBitmap> {
            let mut rows = RoaringBitmap::new();
            for found in &found.found {
                index.rows(self.field, &found.info, &mut rows)?;
            }
            Ok(rows)
        };
        if self.enough == Enough::InARow && self.words.len() > 1 {
            return self.rows_in_a_row(index, found);
        }
        let mut rows = found.iter().map(of_word);
        let first = rows.next().transpose()?.unwrap_or_default();
        rows.try_fold(first, |all, rows| {
            Ok(if self.enough == Enough::One { all | rows? } else { all & rows? })
        })
    }

    fn rows_in_a_row(&self, index: &StoredIndex, found: &[Arc<Matches>]) -> Result<RoaringBitmap> {
        if found.iter().any(|found| found.found.is_empty()) {
            return Ok(RoaringBitmap::new());
        }
        let words = self.words.iter().zip(found).enumerate().map(|(number, ((spec, offset), found))| {
            (found.found.as_slice(), number, *offset, matches!(spec, Spec::Every(_)))
        });
        let words = asked(words, |_, found: &Match| {
            let blocks = index.postings(self.field, &found.info, true)?;
            Ok(Postings::Blocks(Box::new(blocks)))
        })?;
        let mut phrase = Phrase::new(words, 0, Weigher::nothing());
        let mut rows = RoaringBitmap::new();
        phrase.seek(0);
        while phrase.row() != END {
            rows.insert(phrase.row());
            phrase.seek(phrase.row() + 1);
        }
        Ok(rows)
    }
}

impl StoredIndex {
    /// The rows that each of these holds for; `None` where a prefix stands for too many tokens. At most two round
    /// trips for all.
    pub(crate) async fn contains(
        self: &Arc<Self>,
        env: &Env,
        asked: &[Arc<Contains>],
    ) -> Result<Vec<Option<RoaringBitmap>>> {
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let leaves =
            asked.iter().flat_map(|one| one.words.iter().map(|(spec, _)| (one.field, spec, EVERY_MAX)));
        let mut found = self.look_up(env, &leaves.collect::<Vec<_>>()).await?.into_iter();
        let asked: Vec<(Arc<Contains>, Looked)> = asked
            .iter()
            .map(|one| (Arc::clone(one), found.by_ref().take(one.words.len()).collect()))
            .collect();
        let mut wanted = Vec::new();
        for (one, found) in asked.iter().filter(|(_, found)| !too_many(found)) {
            let positions = one.enough == Enough::InARow && one.words.len() > 1;
            // The tokens of a prefix lie one behind the other.
            let found = found.iter().filter(|found| !found.found.is_empty());
            wanted.extend(found.map(|found| {
                (one.field, found.found.iter().map(|found| &found.info).collect::<Vec<_>>(), positions)
            }));
        }
        let infos = wanted.iter().flat_map(|(_, infos, _)| infos);
        let rows: u64 = infos.map(|info| u64::from(info.doc_freq)).sum();
        let pins = self.load(&wanted, &[]).await?;
        let index = Arc::clone(self);
        let work =
            move || {
                let rows = asked.iter().map(|(one, found)| {
                    if too_many(found) { Ok(None) } else { one.rows(&index, found).map(Some) }
                });
                let rows = rows.collect();
                drop(pins);
                rows
            };
        if rows <= INLINE_ROWS { work() } else { env.blocking(work).await? }
    }
}

fn too_many(found: &[Arc<Matches>]) -> bool {
    found.iter().any(|found| found.cut)
}
