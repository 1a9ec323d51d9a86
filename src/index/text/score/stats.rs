//! Statistics of a query's terms over all parts.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::bm25::{NormTable, idf};
use crate::error::{Error, Result};
use crate::index::text::plan::TextPlan;
use crate::index::text::terms::{EXPANSIONS_MAX, TermSpec};
use crate::index::text::totals::FieldTotals;

/// What a part adds to the statistics: live documents alone.
#[derive(Debug, Default)]
pub(crate) struct TextCounts {
    /// For each term of the plan.
    pub(super) terms: Vec<PlanTermCounts>,
    /// By text column that the query reads.
    pub(super) totals: BTreeMap<usize, FieldTotals>,
}

/// What a part has of a word of the query.
#[derive(Debug)]
pub(super) struct PlanTermCounts {
    pub(super) by_term: BTreeMap<Box<[u8]>, TermCount>,
    /// Whether the part has more terms that the word could stand for.
    pub(super) truncated: bool,
}

/// A term that a word stands for.
#[derive(Clone, Copy, Debug)]
pub(super) struct TermCount {
    pub(super) edits: u8,
    /// Live documents that hold it.
    pub(super) documents: u64,
}

/// What scoring takes from all parts.
#[derive(Debug)]
pub(crate) struct TextStats {
    terms: Vec<PlanTermStats>,
    truncated_terms: u64,
    norm_tables: BTreeMap<usize, Arc<NormTable>>,
}

/// What all parts together have of a word of the query.
#[derive(Debug)]
pub(super) struct PlanTermStats {
    pub(super) idf: f32,
    /// The terms that stand for the word, if they are fewer than were found.
    kept: Option<BTreeSet<Box<[u8]>>>,
}

impl PlanTermStats {
    /// Whether a term that a part found stands for the word.
    pub(super) fn keeps_term(&self, term: &[u8]) -> bool {
        self.kept.as_ref().is_none_or(|kept| kept.contains(term))
    }
}

impl TextStats {
    /// Sums the parts up.
    pub(crate) fn new(plan: &TextPlan, parts: &[TextCounts]) -> Result<Self> {
        let mut totals: BTreeMap<usize, FieldTotals> = BTreeMap::new();
        for (field, totals_of_part) in parts.iter().flat_map(|counts| &counts.totals) {
            totals.entry(*field).or_default().merge(*totals_of_part);
        }
        let mut terms = Vec::with_capacity(plan.terms.len());
        let mut truncated_terms = 0;
        for (number, plan_term) in plan.terms.iter().enumerate() {
            let counts = parts.iter().map(|part| part.terms.get(number)).collect::<Option<Vec<_>>>();
            let counts = counts.ok_or_else(|| Error::internal("a part counted another query"))?;
            let mut by_term = sum_term_counts(&counts);
            let is_fuzzy = matches!(plan_term.spec, TermSpec::Fuzzy(..));
            // Each part kept its nearest terms; which of all are the nearest is known only now.
            let kept = if is_fuzzy { keep_nearest_terms(&mut by_term) } else { None };
            let is_truncated = kept.is_some() || counts.iter().any(|counts| counts.truncated);
            truncated_terms += u64::from(is_truncated);
            // invariant: a column that no part counted has no documents.
            let documents = totals.get(&plan_term.field).map_or(0, |totals| totals.documents);
            // All terms of a word count as frequent as the most frequent does: counted by themselves, a rare misspelling
            // would outscore the word. Lucene blends document frequencies of fuzzy terms for the same reason.
            let most_frequent = by_term.into_values().map(|count| count.documents).max();
            // invariant: a word without terms is in no document.
            terms.push(PlanTermStats { idf: idf(documents, most_frequent.unwrap_or(0)), kept });
        }
        let norm_tables = totals.into_iter().map(|(field, totals)| {
            let (k1, b) = plan.bm25_parameters(field)?;
            Ok((field, Arc::new(NormTable::new(k1, b, totals))))
        });
        Ok(Self { terms, truncated_terms, norm_tables: norm_tables.collect::<Result<_>>()? })
    }

    /// The prefixes and misspelt words that do not stand for all terms that they could.
    pub(crate) fn truncated_terms(&self) -> u64 {
        self.truncated_terms
    }

    /// The statistics of the plan's term of this number.
    pub(super) fn term(&self, number: usize) -> Result<&PlanTermStats> {
        self.terms.get(number).ok_or_else(|| Error::internal("statistics of another query"))
    }

    pub(super) fn norm_table(&self, field: usize) -> Result<Arc<NormTable>> {
        let table = self.norm_tables.get(&field);
        table.cloned().ok_or_else(|| Error::internal("a text column was not counted"))
    }
}

fn sum_term_counts<'a>(parts: &[&'a PlanTermCounts]) -> BTreeMap<&'a [u8], TermCount> {
    let mut sums: BTreeMap<&[u8], TermCount> = BTreeMap::new();
    for (term, count) in parts.iter().flat_map(|counts| &counts.by_term) {
        let sum = sums.entry(term).or_insert(TermCount { edits: count.edits, documents: 0 });
        sum.documents += count.documents;
    }
    sums
}

/// Keeps the nearest terms and, of equally near terms, those that most documents hold. `None` if all terms may stay.
fn keep_nearest_terms(by_term: &mut BTreeMap<&[u8], TermCount>) -> Option<BTreeSet<Box<[u8]>>> {
    // Terms of dead documents alone must not take the place of others: a flush or a compaction would change the answer.
    by_term.retain(|_, count| count.documents > 0);
    if by_term.len() <= EXPANSIONS_MAX {
        return None;
    }
    let mut ranking: Vec<_> =
        by_term.iter().map(|(term, count)| (count.edits, Reverse(count.documents), *term)).collect();
    ranking.sort_unstable();
    ranking.truncate(EXPANSIONS_MAX);
    let kept: BTreeSet<Box<[u8]>> = ranking.into_iter().map(|(.., term)| term.into()).collect();
    by_term.retain(|term, _| kept.contains(*term));
    Some(kept)
}
