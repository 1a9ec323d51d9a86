//! Which rows of a column hold tokens: yes or no, without a score.
//!
//! A segment answers from its postings. Where it cannot, and in the tail, the texts themselves are analyzed; both agree.
//! A predicate must be exact, so a prefix stands for all its terms: where a dictionary has too many, the index does not
//! answer.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::buffer::BooleanBuffer;
use roaring::RoaringBitmap;
use tantivy::postings::TermInfo;

use super::cursor::PostingsCursor;
use super::phrase::PhraseCursor;
use super::phrase_word::{PhraseWordTerms, open_phrase_words};
use crate::env::{Cost, Env};
use crate::error::Result;
use crate::index::text::analysis::Analyzer;
use crate::index::text::store::{DictionaryMatches, NO_MORE_ROWS, PostingsRequest, TermLookup, TextIndex};
use crate::index::text::terms::{COMPLETE_PREFIX_TERMS_MAX, ExpandedTerm, TermSpec};

/// How many of the tokens a text must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenMatch {
    Any,
    All,
    /// All, each at its offset behind the first.
    Phrase,
}

/// Tokens that a text of a column must hold.
#[derive(Debug)]
pub(crate) struct TokenPredicate {
    /// The number of the column among the text columns.
    pub(crate) field: usize,
    pub(crate) matching: TokenMatch,
    /// Tokens, and how far each is behind the first: [`TermSpec::Term`] and [`TermSpec::CompletePrefix`].
    pub(crate) words: Vec<(TermSpec, u32)>,
    pub(crate) analyzer: Analyzer,
}

/// A predicate, and for each of its words what the dictionary has.
type FoundPredicate = (Arc<TokenPredicate>, Vec<Arc<DictionaryMatches>>);

impl TokenPredicate {
    /// Which rows of a column hold the tokens, by analyzing their texts. CPU work.
    pub(crate) fn evaluate(&self, array: &ArrayRef) -> BooleanBuffer {
        let mut analyzer = self.analyzer.clone();
        BooleanBuffer::collect_bool(array.len(), |row| self.matches_row(&mut analyzer, array, row))
    }

    fn matches_row(&self, analyzer: &mut Analyzer, array: &ArrayRef, row: usize) -> bool {
        let mut positions: Vec<Vec<u32>> = vec![Vec::new(); self.words.len()];
        analyzer.for_each_row_token(array, row, |token, position| {
            for ((spec, _), positions) in self.words.iter().zip(&mut positions) {
                if spec.edits_to(token.as_bytes()).is_some() {
                    positions.push(position);
                }
            }
        });
        match self.matching {
            TokenMatch::Any => positions.iter().any(|positions| !positions.is_empty()),
            TokenMatch::All => positions.iter().all(|positions| !positions.is_empty()),
            TokenMatch::Phrase => self.matches_phrase(&positions),
        }
    }

    /// Whether the tokens of a row, at these positions, are a phrase anywhere.
    fn matches_phrase(&self, positions: &[Vec<u32>]) -> bool {
        let is_phrase_at = |start: u32| {
            let mut words = self.words.iter().zip(positions);
            words.all(|((_, offset), positions)| {
                positions.binary_search(&start.saturating_add(*offset)).is_ok()
            })
        };
        positions.first().is_some_and(|first| first.iter().any(|start| is_phrase_at(*start)))
    }

    /// Whether positions decide, and not rows alone.
    fn needs_positions(&self) -> bool {
        self.matching == TokenMatch::Phrase && self.words.len() > 1
    }

    /// The rows that match, from postings that were made readable.
    fn find_rows(&self, index: &TextIndex, matches: &[Arc<DictionaryMatches>]) -> Result<RoaringBitmap> {
        if self.needs_positions() {
            return self.find_phrase_rows(index, matches);
        }
        let rows_of_word = |matches: &Arc<DictionaryMatches>| -> Result<RoaringBitmap> {
            let mut rows = RoaringBitmap::new();
            for term in &matches.expansion.terms {
                index.collect_rows(self.field, &term.postings, &mut rows)?;
            }
            Ok(rows)
        };
        let mut rows = matches.iter().map(rows_of_word);
        // invariant: a predicate without words matches no row.
        let first = rows.next().transpose()?.unwrap_or_default();
        rows.try_fold(first, |all, rows| {
            Ok(if self.matching == TokenMatch::Any { all | rows? } else { all & rows? })
        })
    }

    fn find_phrase_rows(
        &self,
        index: &TextIndex,
        matches: &[Arc<DictionaryMatches>],
    ) -> Result<RoaringBitmap> {
        if matches.iter().any(|matches| matches.expansion.terms.is_empty()) {
            return Ok(RoaringBitmap::new());
        }
        let words = self.words.iter().zip(matches).enumerate();
        let words = words.map(|(number, ((spec, offset), matches))| PhraseWordTerms {
            terms: matches.expansion.terms.as_slice(),
            term_number: number,
            offset: *offset,
            is_prefix: matches!(spec, TermSpec::CompletePrefix(_)),
        });
        let words = open_phrase_words(words, |term: &ExpandedTerm<TermInfo>| {
            let blocks = index.open_postings(self.field, &term.postings, true)?;
            Ok(PostingsCursor::Blocks(Box::new(blocks)))
        })?;
        let mut phrase = PhraseCursor::new(words, 0);
        let mut rows = RoaringBitmap::new();
        phrase.seek(0);
        while phrase.row() != NO_MORE_ROWS {
            rows.insert(phrase.row());
            phrase.seek(phrase.row() + 1);
        }
        Ok(rows)
    }
}

/// The rows of a segment that each predicate matches; `None` where a prefix stands for too many terms. At most two round
/// trips for all.
pub(crate) async fn find_matching_rows(
    index: &Arc<TextIndex>,
    env: &Env,
    predicates: &[Arc<TokenPredicate>],
) -> Result<Vec<Option<RoaringBitmap>>> {
    if predicates.is_empty() {
        return Ok(Vec::new());
    }
    let found = look_up_words(index, env, predicates).await?;
    let requests = postings_requests(&found);
    let terms = requests.iter().flat_map(|request| &request.terms);
    let postings: u64 = terms.map(|info| u64::from(info.doc_freq)).sum();
    let pins = index.load(&requests, &[]).await?;
    drop(requests);
    let index = Arc::clone(index);
    let work = move || {
        let rows = found.iter().map(|(predicate, matches)| {
            if is_truncated(matches) {
                return Ok(None);
            }
            let rows = predicate.find_rows(&index, matches)?;
            index.check_row(rows.max())?;
            Ok(Some(rows))
        });
        let rows = rows.collect();
        // The postings must stay readable until here.
        drop(pins);
        rows
    };
    env.compute(Cost::postings(postings), work).await?
}

async fn look_up_words(
    index: &Arc<TextIndex>,
    env: &Env,
    predicates: &[Arc<TokenPredicate>],
) -> Result<Vec<FoundPredicate>> {
    let lookups = predicates.iter().flat_map(|predicate| {
        let field = predicate.field;
        let lookup = move |spec| TermLookup { field, spec, terms_max: COMPLETE_PREFIX_TERMS_MAX };
        predicate.words.iter().map(move |(spec, _)| lookup(spec))
    });
    // The lookups of all predicates go together, in one round trip. Their answers come in the same order.
    let mut matches = index.look_up(env, &lookups.collect::<Vec<_>>()).await?.into_iter();
    let found = predicates
        .iter()
        .map(|predicate| (Arc::clone(predicate), matches.by_ref().take(predicate.words.len()).collect()));
    Ok(found.collect())
}

fn postings_requests(found: &[FoundPredicate]) -> Vec<PostingsRequest<'_>> {
    let mut requests = Vec::new();
    for (predicate, matches) in found.iter().filter(|(_, matches)| !is_truncated(matches)) {
        // The terms of a prefix are adjacent in the dictionary, so they are one request.
        let matches = matches.iter().filter(|matches| !matches.expansion.terms.is_empty());
        requests.extend(matches.map(|matches| PostingsRequest {
            field: predicate.field,
            terms: matches.expansion.terms.iter().map(|term| &term.postings).collect(),
            positions: predicate.needs_positions(),
        }));
    }
    requests
}

fn is_truncated(matches: &[Arc<DictionaryMatches>]) -> bool {
    matches.iter().any(|matches| matches.expansion.truncated)
}
