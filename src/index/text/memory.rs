//! The inverted index of a run of the tail, in memory: as small as the run, and built when it is first asked.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use tantivy::directory::OwnedBytes;
use tantivy::fieldnorm::FieldNormReader;
use tantivy_fst::Automaton;

use super::analyzer::Analyzer;
use super::bm25::Totals;
use super::expand::{Gathered, Spec};
use super::levenshtein::Levenshtein;
use super::source::{Entry, Found, Looked};
use super::stored::successor;
use crate::error::{Error, Result};
use crate::schema::Schema;

/// The text columns of a run.
#[derive(Debug)]
pub(crate) struct MemoryIndex {
    pub(super) fields: Vec<MemoryField>,
    pub(super) rows: u32,
}

#[derive(Debug)]
pub(super) struct MemoryField {
    pub(super) terms: BTreeMap<Box<[u8]>, Arc<MemoryPostings>>,
    /// The length of each row, as one byte.
    pub(super) norms: OwnedBytes,
    pub(super) totals: Totals,
}

/// The rows that hold a token, and where in them.
#[derive(Debug, Default)]
pub(super) struct MemoryPostings {
    pub(super) rows: Vec<u32>,
    /// Where the positions of each row end.
    pub(super) ends: Vec<u32>,
    pub(super) positions: Vec<u32>,
}

impl MemoryIndex {
    /// Indexes rows in the layout of [`Schema::arrow`].
    pub(crate) fn new(schema: &Schema, rows: &RecordBatch) -> Result<Self> {
        let field = |(name, options)| {
            let array = rows.column_by_name(name);
            let array = array.ok_or_else(|| Error::internal("a text column is missing"))?;
            let mut analyzer = Analyzer::new(options)?;
            let mut terms: BTreeMap<Box<[u8]>, MemoryPostings> = BTreeMap::new();
            let mut norms = Vec::with_capacity(rows.num_rows());
            let mut totals = Totals::default();
            for row in 0..rows.num_rows() {
                let mut tokens = 0_u32;
                let at = u32::try_from(row).unwrap_or(u32::MAX);
                analyzer.each_of_row(array, row, |token, position| {
                    tokens = tokens.saturating_add(1);
                    if let Some(postings) = terms.get_mut(token.as_bytes()) {
                        postings.push(at, position);
                    } else {
                        let mut postings = MemoryPostings::default();
                        postings.push(at, position);
                        terms.insert(token.as_bytes().into(), postings);
                    }
                });
                let norm = FieldNormReader::fieldnorm_to_id(tokens);
                totals.add(norm);
                norms.push(norm);
            }
            let terms = terms.into_iter().map(|(term, postings)| (term, Arc::new(postings))).collect();
            Ok(MemoryField { terms, norms: OwnedBytes::new(norms), totals })
        };
        let fields = schema.texts().map(field).collect::<Result<_>>()?;
        Ok(Self { fields, rows: u32::try_from(rows.num_rows()).unwrap_or(u32::MAX) })
    }
}

impl MemoryField {
    /// The tokens that stand for one, at most so many.
    pub(super) fn look_up(&self, spec: &Spec, most: usize) -> Looked {
        let found = |edits, term: &[u8], postings: &Arc<MemoryPostings>| Found {
            edits,
            term: term.into(),
            entry: Entry::Memory(Arc::clone(postings)),
        };
        let mut gathered = Gathered::new(spec, most);
        match spec {
            Spec::Term(text) => {
                let own = self.terms.get(text.as_bytes()).map(|postings| found(0, text.as_bytes(), postings));
                return Looked { found: own.into_iter().collect(), cut: false };
            }
            Spec::Prefix(stem) | Spec::Every(stem) => {
                let stem = stem.as_bytes();
                let terms = self.terms.range::<[u8], _>((Bound::Included(stem), Bound::Unbounded));
                for (term, postings) in terms.take_while(|(term, _)| term.starts_with(stem)) {
                    if !gathered.push(found(0, term, postings)) {
                        break;
                    }
                }
            }
            Spec::Fuzzy(text, edits) => {
                let automaton = Levenshtein::new(text, *edits);
                self.near(&automaton, |edits, term, postings| {
                    gathered.push(found(edits, term, postings));
                });
            }
        }
        let (found, cut) = gathered.finish();
        Looked { found, cut }
    }

    /// Calls `each` with the tokens near a word, in order. What no token near it begins with is leapt over.
    fn near(&self, automaton: &Levenshtein, mut each: impl FnMut(u8, &[u8], &Arc<MemoryPostings>)) {
        let mut from = Bound::Unbounded;
        while let Some((term, postings)) =
            self.terms.range::<[u8], _>((borrowed(&from), Bound::Unbounded)).next()
        {
            let mut state = automaton.start();
            let dead = term.iter().position(|byte| {
                state = automaton.accept(&state, *byte);
                !automaton.can_match(&state)
            });
            from = match dead {
                Some(at) => match successor(term.get(..=at).unwrap_or_default()) {
                    Some(next) => Bound::Included(next),
                    None => return,
                },
                None => Bound::Excluded(term.to_vec()),
            };
            if let Some(edits) = automaton.edits(term) {
                each(edits, term, postings);
            }
        }
    }
}

fn borrowed(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

impl MemoryPostings {
    /// One more position: rows ascend, and so do the positions of a row.
    pub(super) fn push(&mut self, row: u32, position: u32) {
        self.positions.push(position);
        let end = u32::try_from(self.positions.len()).unwrap_or(u32::MAX);
        match (self.rows.last(), self.ends.last_mut()) {
            (Some(last), Some(last_end)) if *last == row => *last_end = end,
            _ => {
                self.rows.push(row);
                self.ends.push(end);
            }
        }
    }

    /// The positions within the row at a place.
    pub(super) fn positions(&self, at: usize) -> &[u32] {
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let end = self.ends.get(at).copied().unwrap_or(start);
        self.positions.get(start as usize..end as usize).unwrap_or_default()
    }
}
