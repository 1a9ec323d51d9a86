//! The dictionary of a text column: from words of a query to the terms they stand for.

use std::sync::{Arc, Mutex, PoisonError};

use tantivy::InvertedIndexReader;
use tantivy::postings::TermInfo;

use super::head::ColumnHead;
use super::lookup_cache::LookupCache;
use crate::index::text::terms::{
    ExpandedTerm, Expansion, ExpansionCollector, LevenshteinAutomaton, RowCount, TermSpec, prefix_successor,
};

/// Terms that the lookup cache of a column keeps in each of its two generations.
///
/// Decoding dictionary blocks was a third of a warm query for a rare word. 2,048 terms of about 100 bytes are 200 KiB
/// for a column.
const CACHED_TERMS_MAX: usize = 2_048;

/// A text column of a segment.
pub(super) struct TextField {
    /// Its number among the fields of the file.
    pub(super) number: u32,
    inverted: Arc<InvertedIndexReader>,
    lookups: Mutex<LookupCache<TermSpec, Arc<DictionaryMatches>>>,
    pub(super) head: ColumnHead,
    /// The average length of a row as tantivy has it: by all rows, also those without text.
    pub(super) average_length: f32,
}

/// The terms of a dictionary that a word stands for.
#[derive(Debug)]
pub(in crate::index::text) struct DictionaryMatches {
    pub(in crate::index::text) expansion: Expansion<TermInfo>,
    /// How many terms were allowed.
    terms_max: usize,
}

impl RowCount for TermInfo {
    fn row_count(&self) -> u64 {
        self.doc_freq.into()
    }
}

impl TextField {
    pub(super) fn new(number: u32, inverted: Arc<InvertedIndexReader>, head: ColumnHead, rows: u32) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a length")]
        let average_length = inverted.total_num_tokens() as f32 / rows.max(1) as f32;
        let lookups = Mutex::new(LookupCache::new(CACHED_TERMS_MAX));
        Self { number, inverted, lookups, head, average_length }
    }

    /// The terms of the dictionary.
    pub(super) fn term_count(&self) -> usize {
        self.inverted.terms().num_terms()
    }

    /// Looks a word up. A block of the dictionary that was not fetched is an error,
    /// [`NotFetched`](super::packed_file::NotFetched).
    pub(super) fn look_up(
        &self,
        spec: &TermSpec,
        terms_max: usize,
    ) -> std::io::Result<Arc<DictionaryMatches>> {
        // invariant: the cache is whole after each call, whatever panicked.
        let lookups = || self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        // A word without terms weighs too, or misses would fill the cache without bound.
        let weigh = |matches: &Arc<DictionaryMatches>| matches.expansion.terms.len() + 1;
        if let Some(matches) = lookups().get(spec, weigh).filter(|matches| matches.answers(terms_max)) {
            return Ok(matches);
        }
        let expansion = self.expand(spec, terms_max)?;
        let matches = Arc::new(DictionaryMatches { expansion, terms_max });
        lookups().put(spec.clone(), Arc::clone(&matches), weigh(&matches));
        Ok(matches)
    }

    fn expand(&self, spec: &TermSpec, terms_max: usize) -> std::io::Result<Expansion<TermInfo>> {
        let dictionary = self.inverted.terms();
        let mut collector = ExpansionCollector::new(spec, terms_max);
        match spec {
            TermSpec::Term(text) => {
                let info = dictionary.get(text.as_bytes())?;
                return Ok(Expansion::of_term(info.map(|info| ExpandedTerm::new(0, text.as_bytes(), info))));
            }
            TermSpec::Fuzzy(text, edits_max) => {
                let automaton = LevenshteinAutomaton::new(text, *edits_max);
                let mut stream = dictionary.search(&automaton).into_stream()?;
                while stream.advance() {
                    // The stream yields matches only, but not how many edits away they are.
                    if let Some(edits) = automaton.edits_to(stream.key()) {
                        collector.push(ExpandedTerm::new(edits, stream.key(), stream.value().clone()));
                    }
                }
            }
            TermSpec::Prefix(prefix) | TermSpec::CompletePrefix(prefix) => {
                let range = dictionary.range().ge(prefix.as_bytes());
                let range = match prefix_successor(prefix.as_bytes()) {
                    Some(end) => range.lt(end),
                    None => range,
                };
                let mut stream = range.into_stream()?;
                while stream.advance() {
                    let term = ExpandedTerm::new(0, stream.key(), stream.value().clone());
                    if !collector.push(term) {
                        break;
                    }
                }
            }
        }
        Ok(collector.finish())
    }

    /// Runs a search of the dictionary as far as to read the blocks that it needs.
    pub(super) fn touch_blocks(
        inverted: &InvertedIndexReader,
        automaton: &LevenshteinAutomaton,
    ) -> std::io::Result<()> {
        // All blocks are read when the stream is made, and none is decoded before the stream advances. So empty
        // stand-ins for missing blocks do no harm.
        inverted.terms().search(automaton).into_stream().map(drop)
    }
}

impl DictionaryMatches {
    /// Those of a column without text.
    pub(super) fn none(terms_max: usize) -> Self {
        Self { expansion: Expansion::of_term(None), terms_max }
    }

    /// Whether a lookup that allows `terms_max` terms would find the same. Which terms are left out of a truncated
    /// expansion depends on the limit.
    fn answers(&self, terms_max: usize) -> bool {
        let is_complete = !self.expansion.truncated && self.expansion.terms.len() <= terms_max;
        self.terms_max == terms_max || is_complete
    }
}
