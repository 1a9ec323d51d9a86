//! What a query reads of a part, fetched before it is scored.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use roaring::RoaringBitmap;

use super::dead_rows::DeadRows;
use super::rank_values::RankValues;
use super::stats::{PlanTermCounts, TermCount, TextCounts};
use crate::codec::u64_of;
use crate::error::{Error, Result};
use crate::index::text::plan::TextPlan;
use crate::index::text::postings::{TermPostings, TextSource};
use crate::index::text::store::{NO_MORE_ROWS, RangePins};
use crate::index::text::terms::{ExpandedTerm, Expansion, RowCount};
use crate::index::text::totals::FieldTotals;

/// The terms of a query in a part, with their postings readable without waiting.
#[derive(Debug)]
pub(crate) struct LoadedTextPart {
    pub(super) source: TextSource,
    pub(super) plan: Arc<TextPlan>,
    /// For each term of the plan.
    expansions: Vec<Expansion<TermPostings>>,
    /// What rows are ranked by besides their text, once it has been read.
    rank_values: OnceLock<Vec<Arc<RankValues>>>,
    /// Keep postings and lengths readable.
    _pins: [Option<RangePins>; 2],
}

impl LoadedTextPart {
    /// Makes readable what was looked up. One round trip, or none. `rows`: whether rows are searched; `dead`: whether
    /// some rows are dead. With neither, the dictionary alone gives the statistics.
    pub(crate) async fn new(
        source: TextSource,
        plan: Arc<TextPlan>,
        expansions: Vec<Expansion<TermPostings>>,
        (rows, dead): (bool, bool),
    ) -> Result<Self> {
        // The totals of the head count all rows. The lengths of dead rows tell what to subtract.
        let norm_fields = if dead { plan.fields() } else { Vec::new() };
        let load_postings =
            async { if rows || dead { source.load(&plan, &expansions).await } else { Ok(None) } };
        let (postings, norms) =
            futures::future::try_join(load_postings, source.load_norms(&norm_fields)).await?;
        Ok(Self { source, plan, expansions, rank_values: OnceLock::new(), _pins: [postings, norms] })
    }

    /// What the part has for the plan's term of this number.
    pub(super) fn expansion(&self, number: usize) -> Result<&Expansion<TermPostings>> {
        self.expansions.get(number).ok_or_else(|| Error::internal("a term of the plan was not looked up"))
    }

    /// Counts live documents. CPU work in proportion to [`Self::count_seeks`].
    pub(crate) fn count_live(&self, dead: &DeadRows) -> Result<TextCounts> {
        let mut counts = TextCounts::default();
        for (number, plan_term) in self.plan.terms.iter().enumerate() {
            let expansion = self.expansion(number)?;
            let mut by_term = BTreeMap::new();
            for term in &expansion.terms {
                let rows = term.postings.row_count();
                let field = plan_term.field;
                let count = |dead: &RoaringBitmap| self.count_dead_rows(field, term, dead);
                let dead_rows = dead.count_term(field, &term.term, count)?;
                // invariant: saturating, since a forged dictionary may state fewer rows than the postings have.
                let documents = rows.saturating_sub(dead_rows);
                by_term.insert(term.term.clone(), TermCount { edits: term.edits, documents });
            }
            counts.terms.push(PlanTermCounts { by_term, truncated: expansion.truncated });
        }
        for field in self.plan.fields() {
            let subtract = |totals, dead: &RoaringBitmap| self.subtract_lengths(field, totals, dead);
            let totals = dead.live_totals(field, self.source.totals(field)?, subtract)?;
            counts.totals.insert(field, totals);
        }
        Ok(counts)
    }

    /// How many look-ups of dead rows it takes to count live documents: none for what was counted before.
    pub(crate) fn count_seeks(&self, dead: &DeadRows) -> u64 {
        let terms = self.plan.terms.iter().zip(&self.expansions).flat_map(|(plan_term, expansion)| {
            expansion.terms.iter().map(|term| dead.rows_with_term(plan_term.field, &term.term).is_some())
        });
        let totals = self.plan.fields().into_iter().map(|field| dead.has_totals(field));
        let unknown = terms.chain(totals).filter(|known| !known).count();
        dead.rows().len().saturating_mul(u64_of(unknown))
    }

    fn subtract_lengths(
        &self,
        field: usize,
        mut totals: FieldTotals,
        dead: &RoaringBitmap,
    ) -> Result<FieldTotals> {
        let norms = self.source.norms(field)?;
        for row in dead {
            let norm = norms.get(row as usize);
            totals.remove_norm(*norm.ok_or_else(|| Error::internal("a dead row is beyond its part"))?);
        }
        Ok(totals)
    }

    fn count_dead_rows(
        &self,
        field: usize,
        term: &ExpandedTerm<TermPostings>,
        dead: &RoaringBitmap,
    ) -> Result<u64> {
        let mut postings = self.source.open_postings(field, term, false)?;
        let mut count = 0;
        // Walk over whichever is shorter, and look up in the other.
        if dead.len() < term.postings.row_count() {
            for row in dead {
                match postings.seek(row) {
                    NO_MORE_ROWS => break,
                    found => count += u64::from(found == row),
                }
            }
        } else {
            while postings.row() != NO_MORE_ROWS {
                count += u64::from(dead.contains(postings.row()));
                postings.advance();
            }
        }
        Ok(count)
    }

    /// The most postings that a search looks at: a measure of its work.
    pub(crate) fn count_postings(&self) -> u64 {
        let terms = self.expansions.iter().flat_map(|expansion| &expansion.terms);
        let postings: u64 = terms.map(|term| term.postings.row_count()).sum();
        postings + if self.plan.visits_every_row() { self.source.rows().into() } else { 0 }
    }

    /// Sets what rows are ranked by besides their text: before [`Self::find_top_rows`], for all rows that may match.
    pub(crate) fn set_rank_values(&self, values: Vec<RankValues>) {
        let result = self.rank_values.set(values.into_iter().map(Arc::new).collect());
        debug_assert!(result.is_ok(), "values are read once");
    }

    /// The rank value of this number; `None` before any were set.
    pub(super) fn rank_value(&self, number: usize) -> Result<Option<Arc<RankValues>>> {
        let Some(values) = self.rank_values.get() else { return Ok(None) };
        let values = values.get(number).cloned();
        values.map(Some).ok_or_else(|| Error::internal("a rank of the plan was not read"))
    }
}
