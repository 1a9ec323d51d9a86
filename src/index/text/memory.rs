//! The inverted index of a run of the tail, in memory: as small as the run, and built when it is first asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use tantivy::directory::OwnedBytes;
use tantivy::fieldnorm::FieldNormReader;

use super::analyzer::Analyzer;
use super::bm25::Totals;
use super::strings;
use crate::error::{Error, Result};
use crate::schema::Schema;

/// Positions left free between two strings of an array, as tantivy does: no phrase reaches across.
const GAP: u32 = 1;

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
                let (mut tokens, mut base) = (0_u32, 0_u32);
                strings(array, row, |text| {
                    let mut end = base;
                    analyzer.each(text, |token, position, _| {
                        let position = base.saturating_add(position);
                        end = end.max(position.saturating_add(1));
                        tokens = tokens.saturating_add(1);
                        let at = u32::try_from(row).unwrap_or(u32::MAX);
                        if let Some(postings) = terms.get_mut(token.as_bytes()) {
                            postings.push(at, position);
                        } else {
                            let mut postings = MemoryPostings::default();
                            postings.push(at, position);
                            terms.insert(token.as_bytes().into(), postings);
                        }
                    });
                    base = end.saturating_add(GAP);
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

impl MemoryPostings {
    fn push(&mut self, row: u32, position: u32) {
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
