//! One query over all parts: tokens are looked up everywhere, counted over the documents that exist, then scored
//! part by part.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use roaring::RoaringBitmap;

use super::bm25::{Lengths, Totals, rarity};
use super::expand::{EXPANSIONS_MAX, Spec};
use super::pages::Pins;
use super::plan::Plan;
use super::postings::END;
use super::scorer::Scorer;
use super::source::{Found, Looked, TextSource};
use super::top::{Best, Top};
use super::values::Values;
use crate::error::{Error, Result};

/// What a query reads of a part, ready to be read without waiting.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(super) source: TextSource,
    pub(super) plan: Arc<Plan>,
    pub(super) looked: Vec<Looked>,
    /// What rows are ranked by besides, once it is known.
    pub(super) values: OnceLock<Arc<Vec<Values>>>,
    _pins: [Option<Pins>; 2],
}

/// Of each token that a leaf stands for, its edits and the rows that hold it.
type Frequencies = BTreeMap<Box<[u8]>, (u8, u64)>;

/// What a part adds to the statistics: only documents that exist.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Of each leaf.
    frequencies: Vec<Frequencies>,
    /// Of each leaf, whether the part has more tokens that it could stand for.
    cut: Vec<bool>,
    /// Of each text column that is looked at.
    totals: BTreeMap<usize, Totals>,
}

/// What scoring needs to know of all parts.
#[derive(Debug)]
pub(crate) struct Stats {
    /// Of each leaf its rarity.
    rarities: Vec<f32>,
    /// Of each leaf the tokens that stand for it, if they are fewer than were found.
    kept: Vec<Option<BTreeSet<Box<[u8]>>>>,
    /// Leaves that do not stand for all the tokens that they could.
    cut: u64,
    lengths: BTreeMap<usize, Arc<Lengths>>,
}

impl Loaded {
    /// Makes readable what was looked up. One round trip, or none. `rows`: whether rows are searched; `dead`: whether
    /// some are dead. With neither, statistics are counted of what was looked up.
    pub(crate) async fn new(
        source: TextSource,
        plan: Arc<Plan>,
        looked: Vec<Looked>,
        (rows, dead): (bool, bool),
    ) -> Result<Self> {
        let fields = if dead { plan.fields() } else { Vec::new() };
        let wanted = if rows || dead { looked.as_slice() } else { &[] };
        let (pins, lengths) =
            futures::future::try_join(source.load(&plan, wanted), source.load_lengths(&fields)).await?;
        Ok(Self { source, plan, looked, values: OnceLock::new(), _pins: [pins, lengths] })
    }

    /// Counts what exists. CPU work in proportion to the dead rows.
    pub(crate) fn count(&self, dead: &RoaringBitmap) -> Result<Counts> {
        let mut counts = Counts::default();
        for (leaf, looked) in self.plan.leaves.iter().zip(&self.looked) {
            let mut frequencies = BTreeMap::new();
            for found in &looked.found {
                let mut frequency = found.frequency();
                if !dead.is_empty() {
                    frequency -= self.dead_rows(leaf.field, found, dead)?.min(frequency);
                }
                frequencies.insert(found.term.clone(), (found.edits, frequency));
            }
            counts.frequencies.push(frequencies);
            counts.cut.push(looked.cut);
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

    /// How many tokens were found.
    pub(crate) fn tokens(&self) -> usize {
        self.looked.iter().map(|looked| looked.found.len()).sum()
    }

    /// How many entries of postings a search looks at, at most.
    pub(crate) fn work(&self) -> u64 {
        let postings: u64 = self.looked.iter().flat_map(|looked| &looked.found).map(Found::frequency).sum();
        postings + if self.plan.is_open() { self.source.rows().into() } else { 0 }
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
        let mut stats = Self { rarities: Vec::new(), kept: Vec::new(), cut: 0, lengths: BTreeMap::new() };
        for (at, leaf) in plan.leaves.iter().enumerate() {
            let mut sums: BTreeMap<&[u8], (u8, u64)> = BTreeMap::new();
            for (term, (edits, frequency)) in
                parts.iter().filter_map(|part| part.frequencies.get(at)).flatten()
            {
                let sum = sums.entry(term).or_insert((*edits, 0));
                sum.1 += frequency;
            }
            let kept = matches!(leaf.spec, Spec::Fuzzy(..)).then(|| nearest(&mut sums)).flatten();
            let cut = kept.is_some() || parts.iter().any(|part| part.cut.get(at) == Some(&true));
            stats.cut += u64::from(cut);
            stats.kept.push(kept);
            let documents = totals.get(&leaf.field).map_or(0, |totals| totals.documents);
            // Tokens that stand for one count as the most frequent of them does.
            let most = sums.into_values().map(|(_, frequency)| frequency).max();
            stats.rarities.push(rarity(documents, most.unwrap_or_default()));
        }
        stats.lengths = totals
            .iter()
            .map(|(field, totals)| {
                let (k1, b) = plan.columns.get(*field).copied().unwrap_or_default();
                (*field, Arc::new(Lengths::new(k1, b, *totals)))
            })
            .collect();
        stats
    }

    /// How many prefixes and misspelt tokens do not stand for all the tokens that they could.
    pub(crate) fn cut(&self) -> u64 {
        self.cut
    }

    pub(super) fn rarity(&self, leaf: usize) -> f32 {
        self.rarities.get(leaf).copied().unwrap_or_default()
    }

    /// Whether a token that was found stands for a leaf.
    pub(super) fn keeps(&self, leaf: usize, term: &[u8]) -> bool {
        self.kept.get(leaf).is_none_or(|kept| kept.as_ref().is_none_or(|kept| kept.contains(term)))
    }

    pub(super) fn lengths(&self, field: usize) -> Result<Arc<Lengths>> {
        self.lengths.get(&field).cloned().ok_or_else(|| Error::internal("no such text column"))
    }
}

/// Leaves the nearest tokens and, of those, what most documents hold, if there are too many that any holds.
fn nearest(sums: &mut BTreeMap<&[u8], (u8, u64)>) -> Option<BTreeSet<Box<[u8]>>> {
    sums.retain(|_, (_, frequency)| *frequency > 0);
    if sums.len() <= EXPANSIONS_MAX {
        return None;
    }
    let mut order: Vec<_> =
        sums.iter().map(|(term, (edits, frequency))| (*edits, Reverse(*frequency), *term)).collect();
    order.sort_unstable();
    order.truncate(EXPANSIONS_MAX);
    let kept: BTreeSet<Box<[u8]>> = order.into_iter().map(|(.., term)| term.into()).collect();
    sums.retain(|term, _| kept.contains(*term));
    Some(kept)
}
