//! One query over all parts: tokens are looked up everywhere, counted over the documents that exist, then scored
//! part by part.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use roaring::RoaringBitmap;

use super::bm25::{Lengths, Totals, rarity};
use super::expand::{EXPANSIONS_MAX, Spec};
use super::pages::Pins;
use super::plan::Plan;
use super::postings::END;
use super::scorer::Scorer;
use super::source::{Found, TextSource};
use super::top::{Best, Top};
use super::values::Values;
use crate::error::{Error, Result};

/// What a query reads of a part, ready to be read without waiting.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(super) source: TextSource,
    pub(super) plan: Arc<Plan>,
    pub(super) found: Vec<Vec<Found>>,
    /// What rows are ranked by besides, once it is known.
    pub(super) values: OnceLock<Arc<Vec<Values>>>,
    _pins: [Option<Pins>; 2],
}

/// What a part adds to the statistics: only documents that exist.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Of each leaf, the rows of each of its tokens.
    frequencies: Vec<BTreeMap<Box<[u8]>, u64>>,
    /// Of each text column that is looked at.
    totals: BTreeMap<usize, Totals>,
}

/// What scoring needs to know of all parts.
#[derive(Debug)]
pub(crate) struct Stats {
    /// Of each leaf its rarity.
    rarities: Vec<f32>,
    lengths: BTreeMap<usize, Arc<Lengths>>,
}

/// Leaves no more tokens than a leaf may stand for, over all parts.
pub(crate) fn cut(plan: &Plan, parts: &mut [Vec<Vec<Found>>]) {
    for (at, leaf) in plan.leaves.iter().enumerate() {
        if matches!(leaf.spec, Spec::Term(_)) {
            continue;
        }
        let found = parts.iter().filter_map(|part| part.get(at)).flatten();
        let all: BTreeSet<(u8, &[u8])> = found.map(|found| (found.edits, &*found.term)).collect();
        let Some(first_out) = all.iter().nth(EXPANSIONS_MAX).map(|(edits, term)| (*edits, Box::from(*term)))
        else {
            continue;
        };
        for found in parts.iter_mut().filter_map(|part| part.get_mut(at)) {
            found.retain(|found| (found.edits, &found.term) < (first_out.0, &first_out.1));
        }
    }
}

impl Loaded {
    /// Makes readable what `found` says. One round trip, or none. `rows`: whether rows are searched; `dead`: whether
    /// some are dead. With neither, statistics are counted of what was looked up.
    pub(crate) async fn new(
        source: TextSource,
        plan: Arc<Plan>,
        found: Vec<Vec<Found>>,
        (rows, dead): (bool, bool),
    ) -> Result<Self> {
        let fields = if dead { plan.fields() } else { Vec::new() };
        let wanted = if rows || dead { found.as_slice() } else { &[] };
        let (pins, lengths) =
            futures::future::try_join(source.load(&plan, wanted), source.load_lengths(&fields)).await?;
        Ok(Self { source, plan, found, values: OnceLock::new(), _pins: [pins, lengths] })
    }

    /// Counts what exists. CPU work in proportion to the dead rows.
    pub(crate) fn count(&self, dead: &RoaringBitmap) -> Result<Counts> {
        let mut counts = Counts::default();
        for (leaf, found) in self.plan.leaves.iter().zip(&self.found) {
            let mut frequencies = BTreeMap::new();
            for found in found {
                let mut frequency = found.frequency();
                if !dead.is_empty() {
                    frequency -= self.dead_rows(leaf.field, found, dead)?.min(frequency);
                }
                frequencies.insert(found.term.clone(), frequency);
            }
            counts.frequencies.push(frequencies);
        }
        for field in self.plan.fields() {
            let mut totals = self.source.totals(field)?;
            if !dead.is_empty() {
                let norms = self.source.norms(field)?;
                let norms = dead.iter().filter_map(|row| norms.get(row as usize));
                norms.for_each(|norm| totals.remove(*norm));
            }
            counts.totals.insert(field, totals);
        }
        Ok(counts)
    }

    fn dead_rows(&self, field: usize, found: &Found, dead: &RoaringBitmap) -> Result<u64> {
        let mut postings = self.source.postings(field, found, false)?;
        let mut count = 0;
        if dead.len() < found.frequency() {
            for row in dead {
                match postings.seek(row) {
                    END => break,
                    found => count += u64::from(found == row),
                }
            }
        } else {
            while postings.row() != END {
                count += u64::from(dead.contains(postings.row()));
                postings.advance();
            }
        }
        Ok(count)
    }

    /// How many tokens are looked for.
    pub(crate) fn leaves(&self) -> usize {
        self.plan.leaves.len()
    }

    /// How many entries of postings a search looks at, at most.
    pub(crate) fn work(&self) -> u64 {
        self.found.iter().flatten().map(Found::frequency).sum()
    }

    /// The rows among `allowed` that match. CPU work.
    pub(crate) fn rows(&self, stats: &Stats, allowed: &RoaringBitmap) -> Result<RoaringBitmap> {
        let mut rows = RoaringBitmap::new();
        if let Some(mut scorer) = Scorer::new(self, stats, &self.plan.root)? {
            while scorer.row() != END {
                rows.insert(scorer.row());
                scorer.advance();
            }
        }
        Ok(rows & allowed)
    }

    /// What rows are ranked by besides: before [`Self::search`], of all rows that may match.
    pub(crate) fn rank(&self, values: Vec<Values>) {
        // A second call would say the same.
        drop(self.values.set(Arc::new(values)));
    }

    /// The best `limit` rows among `allowed` (all without), best first, ties by row; with `ties` all others as well that
    /// tie with the last. CPU work.
    pub(crate) fn search(
        &self,
        stats: &Stats,
        allowed: Option<&RoaringBitmap>,
        limit: usize,
        ties: bool,
    ) -> Result<Best> {
        let mut top = Top::new(limit, ties, allowed);
        if let Some(scorer) = Scorer::root(self, stats, &self.plan.root)? {
            top.scan(scorer, self.source.rows());
        }
        Ok(top.finish())
    }
}

impl Stats {
    /// Sums up the parts.
    pub(crate) fn new(plan: &Plan, parts: &[Counts]) -> Self {
        let mut totals: BTreeMap<usize, Totals> = BTreeMap::new();
        for (field, of_part) in parts.iter().flat_map(|counts| &counts.totals) {
            totals.entry(*field).or_default().merge(*of_part);
        }
        let rarities = plan.leaves.iter().enumerate().map(|(at, leaf)| {
            let mut sums: BTreeMap<&[u8], u64> = BTreeMap::new();
            for (term, frequency) in parts.iter().filter_map(|counts| counts.frequencies.get(at)).flatten() {
                *sums.entry(term).or_default() += frequency;
            }
            let documents = totals.get(&leaf.field).map_or(0, |totals| totals.documents);
            // Tokens that stand for one count as the most frequent of them does.
            rarity(documents, sums.into_values().max().unwrap_or_default())
        });
        let lengths = totals.iter().map(|(field, totals)| {
            let (k1, b) = plan.columns.get(*field).copied().unwrap_or_default();
            (*field, Arc::new(Lengths::new(k1, b, *totals)))
        });
        Self { rarities: rarities.collect(), lengths: lengths.collect() }
    }

    pub(super) fn rarity(&self, leaf: usize) -> f32 {
        self.rarities.get(leaf).copied().unwrap_or_default()
    }

    pub(super) fn lengths(&self, field: usize) -> Result<Arc<Lengths>> {
        self.lengths.get(&field).cloned().ok_or_else(|| Error::internal("no such text column"))
    }
}
