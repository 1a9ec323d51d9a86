//! The text index of a part, packed in a segment or in memory, behind one interface.

use std::sync::Arc;

use tantivy::directory::OwnedBytes;

use super::cursor::PostingsCursor;
use super::memory_index::MemoryTextIndex;
use super::term_postings::TermPostings;
use crate::env::{Cost, Env};
use crate::error::{Error, Result};
use crate::index::text::plan::TextPlan;
use crate::index::text::store::{PostingsRequest, RangePins, TermLookup, TextIndex};
use crate::index::text::terms::{ExpandedTerm, Expansion, TermSpec};
use crate::index::text::totals::FieldTotals;

/// The text index of a part.
#[derive(Clone, Debug)]
pub(crate) enum TextSource {
    Stored(Arc<TextIndex>),
    Memory(Arc<MemoryTextIndex>),
}

impl TextSource {
    /// For each term of the plan the terms of this part that it stands for. One round trip, or none.
    pub(crate) async fn look_up_terms(
        &self,
        env: &Env,
        plan: &Arc<TextPlan>,
    ) -> Result<Vec<Expansion<TermPostings>>> {
        match self {
            Self::Stored(index) => {
                let lookups = plan.terms.iter().map(|term| {
                    let is_single = matches!(term.spec, TermSpec::Term(_));
                    let terms_max = if is_single { 1 } else { plan.expansions_max };
                    TermLookup { field: term.field, spec: &term.spec, terms_max }
                });
                let found = index.look_up(env, &lookups.collect::<Vec<_>>()).await?;
                let expansions = found
                    .iter()
                    .map(|matches| matches.expansion.map_postings(|info| TermPostings::Stored(info.clone())));
                Ok(expansions.collect())
            }
            Self::Memory(index) => {
                let (index, plan) = (Arc::clone(index), Arc::clone(plan));
                let cost = lookup_cost(&index, &plan)?;
                let work = move || {
                    let mut expansions = Vec::with_capacity(plan.terms.len());
                    for term in &plan.terms {
                        expansions.push(index.field(term.field)?.look_up(&term.spec, plan.expansions_max));
                    }
                    Ok(expansions)
                };
                env.compute(cost, work).await?
            }
        }
    }

    /// Makes readable what scoring reads. One round trip, or none.
    pub(in crate::index::text) async fn load(
        &self,
        plan: &TextPlan,
        expansions: &[Expansion<TermPostings>],
    ) -> Result<Option<RangePins>> {
        let Self::Stored(index) = self else { return Ok(None) };
        debug_assert_eq!(plan.terms.len(), expansions.len(), "an expansion for each term");
        let (mut requests, mut fields) = (Vec::new(), Vec::new());
        let found = plan.terms.iter().zip(expansions).filter(|(_, expansion)| !expansion.terms.is_empty());
        for (term, expansion) in found {
            let infos = expansion.terms.iter().map(|term| match &term.postings {
                TermPostings::Stored(info) => Ok(info),
                TermPostings::Memory(_) => Err(foreign_term()),
            });
            let infos = infos.collect::<Result<Vec<_>>>()?;
            let (field, positions) = (term.field, term.positions);
            fields.push(field);
            if matches!(term.spec, TermSpec::Prefix(_)) {
                // Terms with a prefix are adjacent. Truncated expansions have gaps, whose bytes are read too: one range
                // with gaps costs less than thousands of small ones.
                requests.push(PostingsRequest { field, terms: infos, positions });
            } else {
                let single = |info| PostingsRequest { field, terms: vec![info], positions };
                requests.extend(infos.into_iter().map(single));
            }
        }
        fields.sort_unstable();
        fields.dedup();
        index.load(&requests, &fields).await.map(Some)
    }

    /// Makes the lengths of rows readable, to subtract those of dead rows from the totals.
    pub(in crate::index::text) async fn load_norms(&self, fields: &[usize]) -> Result<Option<RangePins>> {
        let Self::Stored(index) = self else { return Ok(None) };
        index.load(&[], fields).await.map(Some)
    }

    /// Opens a cursor over the postings of a term of this part, which were made readable.
    pub(in crate::index::text) fn open_postings(
        &self,
        field: usize,
        term: &ExpandedTerm<TermPostings>,
        positions: bool,
    ) -> Result<PostingsCursor> {
        match (self, &term.postings) {
            (Self::Stored(index), TermPostings::Stored(info)) => {
                Ok(PostingsCursor::Blocks(Box::new(index.open_postings(field, info, positions)?)))
            }
            (Self::Memory(_), TermPostings::Memory(postings)) => {
                Ok(PostingsCursor::Memory(Arc::clone(postings), 0))
            }
            _ => Err(foreign_term()),
        }
    }

    pub(in crate::index::text) fn rows(&self) -> u32 {
        match self {
            Self::Stored(index) => index.rows(),
            Self::Memory(index) => index.rows(),
        }
    }

    /// Checks the greatest of some rows that come from postings alone.
    pub(in crate::index::text) fn check_row(&self, greatest: Option<u32>) -> Result<()> {
        match self {
            Self::Stored(index) => index.check_row(greatest),
            Self::Memory(_) => Ok(()),
        }
    }

    /// The average length that the stored block maxima were computed with; `None` for a run, which has none.
    pub(in crate::index::text) fn indexed_average_length(&self, field: usize) -> Result<Option<f32>> {
        match self {
            Self::Stored(index) => index.average_length(field).map(Some),
            Self::Memory(_) => Ok(None),
        }
    }

    /// The lengths of all rows, as one byte each.
    pub(in crate::index::text) fn norms(&self, field: usize) -> Result<OwnedBytes> {
        match self {
            Self::Stored(index) => index.read_norms(field),
            Self::Memory(index) => Ok(index.field(field)?.norms.clone()),
        }
    }

    /// The totals of a column, dead rows included.
    pub(in crate::index::text) fn totals(&self, field: usize) -> Result<FieldTotals> {
        match self {
            Self::Stored(index) => index.totals(field),
            Self::Memory(index) => Ok(index.field(field)?.totals),
        }
    }
}

/// What it costs to look all terms up in memory: those that stand for several walk over a dictionary.
fn lookup_cost(index: &MemoryTextIndex, plan: &TextPlan) -> Result<Cost> {
    let mut cost = Cost::dictionary_terms(0);
    for term in &plan.terms {
        if !matches!(term.spec, TermSpec::Term(_)) {
            cost = cost + Cost::dictionary_terms(index.field(term.field)?.terms.len());
        }
    }
    Ok(cost)
}

fn foreign_term() -> Error {
    Error::internal("a term of another part")
}
