//! The inverted index of a run of the tail, in memory: built when a query first needs it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::record_batch::RecordBatch;
use tantivy::directory::OwnedBytes;
use tantivy::fieldnorm::FieldNormReader;
use tantivy_fst::Automaton;

use super::memory_postings::MemoryPostings;
use super::term_postings::TermPostings;
use crate::codec::usize_of;
use crate::error::{Error, Result};
use crate::index::text::analysis::Analyzer;
use crate::index::text::terms::{
    ExpandedTerm, Expansion, ExpansionCollector, LevenshteinAutomaton, TermSpec, prefix_successor,
};
use crate::index::text::totals::FieldTotals;
use crate::schema::{Schema, TextOptions};

/// The text columns of a run.
#[derive(Debug)]
pub(crate) struct MemoryTextIndex {
    fields: Vec<MemoryTextField>,
    rows: u32,
}

/// A text column of a run.
#[derive(Debug)]
pub(in crate::index::text) struct MemoryTextField {
    /// In order, as prefixes and fuzzy words look terms up by range.
    pub(in crate::index::text) terms: BTreeMap<Box<[u8]>, Arc<MemoryPostings>>,
    /// The length of each row as tantivy's one-byte code, so that scores equal those after a flush.
    pub(super) norms: OwnedBytes,
    pub(super) totals: FieldTotals,
}

impl MemoryTextIndex {
    /// Indexes rows in the layout of [`Schema::arrow`].
    pub(crate) fn new(schema: &Schema, batch: &RecordBatch) -> Result<Self> {
        let rows = u32::try_from(batch.num_rows());
        let rows = rows.map_err(|_| Error::internal("a run has more rows than 32 bits count"))?;
        let fields = schema.texts().map(|(name, options)| {
            let array = batch.column_by_name(name);
            let array = array.ok_or_else(|| Error::internal("a text column is missing"))?;
            MemoryTextField::new(options, array, rows)
        });
        Ok(Self { fields: fields.collect::<Result<_>>()?, rows })
    }

    /// The index of rows without text, for segments that were written before any text column was declared.
    pub(crate) fn without_text(schema: &Schema, rows: u32) -> Self {
        let field = || MemoryTextField {
            terms: BTreeMap::new(),
            norms: OwnedBytes::new(vec![0; usize_of(rows)]),
            totals: FieldTotals::default(),
        };
        Self { fields: schema.texts().map(|_| field()).collect(), rows }
    }

    pub(in crate::index::text) fn rows(&self) -> u32 {
        self.rows
    }

    /// The text column of this number.
    pub(in crate::index::text) fn field(&self, field: usize) -> Result<&MemoryTextField> {
        self.fields.get(field).ok_or_else(|| Error::internal("no such text column"))
    }
}

impl MemoryTextField {
    fn new(options: &TextOptions, array: &ArrayRef, rows: u32) -> Result<Self> {
        let mut analyzer = Analyzer::new(options)?;
        let mut terms: BTreeMap<Box<[u8]>, MemoryPostings> = BTreeMap::new();
        let mut norms = Vec::with_capacity(rows as usize);
        let mut totals = FieldTotals::default();
        for row in 0..rows {
            let mut tokens = 0_u32;
            analyzer.for_each_row_token(array, row as usize, |token, position| {
                tokens = tokens.saturating_add(1);
                // Most tokens are known: `entry` would allocate a key for each of them.
                if let Some(postings) = terms.get_mut(token.as_bytes()) {
                    postings.push(row, position);
                } else {
                    let mut postings = MemoryPostings::default();
                    postings.push(row, position);
                    terms.insert(token.as_bytes().into(), postings);
                }
            });
            let norm = FieldNormReader::fieldnorm_to_id(tokens);
            totals.add_norm(norm);
            norms.push(norm);
        }
        let terms = terms.into_iter().map(|(term, postings)| Ok((term, Arc::new(postings.finish()?))));
        Ok(Self { terms: terms.collect::<Result<_>>()?, norms: OwnedBytes::new(norms), totals })
    }

    /// The terms that a word stands for, at most `terms_max`.
    pub(super) fn look_up(&self, spec: &TermSpec, terms_max: usize) -> Expansion<TermPostings> {
        let expand = |edits, term: &[u8], postings: &Arc<MemoryPostings>| {
            ExpandedTerm::new(edits, term, TermPostings::Memory(Arc::clone(postings)))
        };
        let mut collector = ExpansionCollector::new(spec, terms_max);
        match spec {
            TermSpec::Term(text) => {
                let postings = self.terms.get(text.as_bytes());
                return Expansion::of_term(postings.map(|postings| expand(0, text.as_bytes(), postings)));
            }
            TermSpec::Prefix(prefix) | TermSpec::CompletePrefix(prefix) => {
                let prefix = prefix.as_bytes();
                let terms = self.terms.range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded));
                for (term, postings) in terms.take_while(|(term, _)| term.starts_with(prefix)) {
                    if !collector.push(expand(0, term, postings)) {
                        break;
                    }
                }
            }
            TermSpec::Fuzzy(text, edits_max) => {
                let automaton = LevenshteinAutomaton::new(text, *edits_max);
                self.for_each_near(&automaton, |edits, term, postings| {
                    collector.push(expand(edits, term, postings));
                });
            }
        }
        collector.finish()
    }

    fn first_term_from(&self, from: &Bound<Vec<u8>>) -> Option<(&[u8], &Arc<MemoryPostings>)> {
        let from = from.as_ref().map(Vec::as_slice);
        let mut terms = self.terms.range::<[u8], _>((from, Bound::Unbounded));
        terms.next().map(|(term, postings)| (&**term, postings))
    }

    /// Calls `visit` with the terms that an automaton accepts, in order.
    ///
    /// Where the automaton dies within a term, no term with the same bytes up to there can match: the walk skips to
    /// their successor. This is how an FST would be searched; the tail has a map instead, since it grows with writes.
    fn for_each_near(
        &self,
        automaton: &LevenshteinAutomaton,
        mut visit: impl FnMut(u8, &[u8], &Arc<MemoryPostings>),
    ) {
        let mut from: Bound<Vec<u8>> = Bound::Unbounded;
        while let Some((term, postings)) = self.first_term_from(&from) {
            let mut state = automaton.start();
            let mut dead_prefix = None;
            for (index, byte) in term.iter().enumerate() {
                state = automaton.accept(&state, *byte);
                if !automaton.can_match(&state) {
                    dead_prefix = term.get(..=index);
                    break;
                }
            }
            from = match dead_prefix.map(prefix_successor) {
                Some(Some(successor)) => Bound::Included(successor),
                // No term lies behind the dead prefix.
                Some(None) => return,
                None => Bound::Excluded(term.to_vec()),
            };
            if let Some(edits) = automaton.edits_to(term) {
                visit(edits, term, postings);
            }
        }
    }
}
