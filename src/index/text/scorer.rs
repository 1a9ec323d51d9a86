//! Walking over the rows that match a query, in ascending order, and scoring them.

use std::fmt;
use std::sync::Arc;

use tantivy::directory::OwnedBytes;

use super::bm25::{Lengths, Totals, score};
use super::bounds::{SLACK, bounds};
use super::expand::Spec;
use super::group::Group;
use super::phrase::{Phrase, asked};
use super::plan::{Join, Node};
use super::postings::{END, Postings};
use super::search::{Loaded, Stats};
use super::source::Found;
use super::values::Values;
use crate::error::{Error, Result};

/// A walk over the rows of a node. It begins on the first.
pub(super) enum Scorer {
    /// Every row from the first to before the second.
    Every(u32, u32),
    Term(Term),
    Group(Group),
    Phrase(Box<Phrase>),
    Any(Vec<Scorer>, Join),
    All(Vec<Scorer>, Join),
    Without(Box<Scorer>, Box<Scorer>),
    Boost(Box<Scorer>, f32),
    Rank(Box<Scorer>, Ranked),
}

/// Values that join scores, and how.
pub(super) struct Ranked {
    loaded: Arc<Vec<Values>>,
    number: usize,
    join: Join,
}

/// What weighs rows of one column.
#[derive(Clone, Debug)]
pub(super) struct Weigher {
    pub(super) weight: f32,
    pub(super) lengths: Arc<Lengths>,
    pub(super) norms: OwnedBytes,
    /// The average length by which the index was made.
    pub(super) average: f32,
}

/// A single token.
pub(super) struct Term {
    pub(super) postings: Postings,
    pub(super) weigher: Weigher,
    /// What the rows of each block score at most; of a run nothing.
    pub(super) bounds: Vec<f32>,
    most: f32,
}

impl Weigher {
    fn new(part: &Loaded, stats: &Stats, field: usize, rarity: f32) -> Result<Self> {
        let (k1, _) = part.plan.columns.get(field).copied().unwrap_or_default();
        let weight = rarity * (k1 + 1.0);
        let (norms, average) = (part.source.norms(field)?, part.source.average(field)?);
        Ok(Self { weight, lengths: stats.lengths(field)?, norms, average })
    }

    /// All rows alike: where only the rows matter.
    pub(super) fn nothing() -> Self {
        let lengths = Arc::new(Lengths::new(0.0, 0.0, Totals::default()));
        Self { weight: 0.0, lengths, norms: OwnedBytes::empty(), average: 0.0 }
    }

    /// What the frequencies of a row are set against.
    pub(super) fn length(&self, row: u32) -> f32 {
        self.lengths.of(self.norms.get(row as usize).copied().unwrap_or_default())
    }

    pub(super) fn score(&self, row: u32, frequency: f32) -> f32 {
        score(self.weight, frequency, self.length(row))
    }
}

impl Scorer {
    /// As [`Self::new`], for [`Top::scan`](super::top::Top::scan): a phrase is on no row yet.
    pub(super) fn root(part: &Loaded, stats: &Stats, node: &Node) -> Result<Option<Self>> {
        match node {
            Node::Any(nodes) | Node::All(nodes) if nodes.len() == 1 => {
                nodes.first().map_or(Ok(None), |node| Self::root(part, stats, node))
            }
            Node::Phrase { leaves, slop, boost } => {
                let phrase = Self::phrase(part, stats, leaves, *slop, *boost)?;
                Ok(phrase.map(|phrase| Self::Phrase(Box::new(phrase))))
            }
            node => Self::new(part, stats, node),
        }
    }

    /// `None` if no row of the part can match.
    pub(super) fn new(part: &Loaded, stats: &Stats, node: &Node) -> Result<Option<Self>> {
        let each = |nodes: &[Node]| -> Result<Vec<Option<Self>>> {
            nodes.iter().map(|node| Self::new(part, stats, node)).collect()
        };
        Ok(match node {
            Node::Every => Some(Self::Every(0, part.source.rows())),
            Node::Leaf(leaf, boost) => Self::leaf(part, stats, *leaf, *boost)?,
            Node::Phrase { leaves, slop, boost } => {
                let phrase = Self::phrase(part, stats, leaves, *slop, *boost)?;
                phrase.map(|mut phrase| {
                    phrase.seek(0);
                    Self::Phrase(Box::new(phrase))
                })
            }
            Node::Any(nodes) => Self::any(each(nodes)?, Join::Sum),
            Node::Best(nodes) => Self::any(each(nodes)?, Join::Greatest),
            Node::All(nodes) => Self::all(each(nodes)?, Join::Sum),
            Node::Product(nodes) => Self::all(each(nodes)?, Join::Product),
            Node::Without(node, not) => match (Self::new(part, stats, node)?, Self::new(part, stats, not)?) {
                (Some(scorer), Some(not)) => {
                    let mut without = Self::Without(Box::new(scorer), Box::new(not));
                    without.settle();
                    Some(without)
                }
                (scorer, _) => scorer,
            },
            Node::Rank(node, number, join) => {
                let scorer = Self::new(part, stats, node)?;
                match part.values.get() {
                    Some(loaded) => scorer.map(|scorer| {
                        let ranked = Ranked { loaded: Arc::clone(loaded), number: *number, join: *join };
                        Self::Rank(Box::new(scorer), ranked)
                    }),
                    None => scorer,
                }
            }
            Node::Boost(node, factor) => {
                Self::new(part, stats, node)?.map(|scorer| Self::Boost(Box::new(scorer), *factor))
            }
        })
    }

    fn leaf(part: &Loaded, stats: &Stats, leaf: usize, boost: f32) -> Result<Option<Self>> {
        let (Some(of), Some(looked)) = (part.plan.leaves.get(leaf), part.looked.get(leaf)) else {
            return Err(Error::internal("no such leaf"));
        };
        let found = looked.found.iter().filter(|found| stats.keeps(leaf, &found.term));
        let found: Vec<&Found> = found.collect();
        if found.is_empty() {
            return Ok(None);
        }
        let weigher = Weigher::new(part, stats, of.field, stats.rarity(leaf) * boost)?;
        if let ([one], Spec::Term(_)) = (found.as_slice(), &of.spec) {
            let mut postings = part.source.postings(of.field, one, false)?;
            let bounds = match &mut postings {
                Postings::Blocks(blocks) => bounds(blocks, &weigher),
                Postings::Memory(..) => Vec::new(),
            };
            let most = bounds.iter().copied().reduce(f32::max).unwrap_or(weigher.weight) * SLACK;
            return Ok(Some(Self::Term(Term { postings, weigher, bounds, most })));
        }
        Ok(Some(Self::Group(Group::new(part, of.field, &found, weigher)?)))
    }

    pub(super) fn phrase(
        part: &Loaded,
        stats: &Stats,
        leaves: &[(usize, u32)],
        slop: u32,
        boost: f32,
    ) -> Result<Option<Phrase>> {
        let mut words = Vec::new();
        let mut rarity = 0.0;
        let mut column = 0;
        for (leaf, offset) in leaves {
            let (Some(of), Some(looked)) = (part.plan.leaves.get(*leaf), part.looked.get(*leaf)) else {
                return Err(Error::internal("no such leaf"));
            };
            if looked.found.is_empty() {
                return Ok(None);
            }
            column = of.field;
            rarity += stats.rarity(*leaf);
            words.push((looked.found.as_slice(), *leaf, *offset, !matches!(of.spec, Spec::Term(_))));
        }
        let words = asked(words.into_iter(), |_, found| part.source.postings(column, found, true))?;
        let weigher = Weigher::new(part, stats, column, rarity * boost)?;
        Ok(Some(Phrase::new(words, slop, weigher)))
    }

    fn any(scorers: Vec<Option<Self>>, join: Join) -> Option<Self> {
        let mut scorers: Vec<Self> = scorers.into_iter().flatten().collect();
        match scorers.len() {
            0 => None,
            1 => scorers.pop(),
            _ => Some(Self::Any(scorers, join)),
        }
    }

    fn all(scorers: Vec<Option<Self>>, join: Join) -> Option<Self> {
        let mut scorers: Vec<Self> = scorers.into_iter().collect::<Option<_>>()?;
        if scorers.len() <= 1 {
            return scorers.pop();
        }
        // The rarest leads.
        scorers.sort_by_cached_key(Self::cost);
        let mut all = Self::All(scorers, join);
        all.settle();
        Some(all)
    }

    /// How many rows it has, at most and about.
    fn cost(&self) -> u64 {
        match self {
            Self::Every(row, end) => end.saturating_sub(*row).into(),
            Self::Term(term) => term.postings.cost(),
            Self::Group(group) => group.cost(),
            Self::Phrase(phrase) => phrase.cost(),
            Self::Any(scorers, _) => scorers.iter().map(Self::cost).sum(),
            Self::All(scorers, _) => scorers.first().map_or(0, Self::cost),
            Self::Without(scorer, _) | Self::Boost(scorer, _) | Self::Rank(scorer, _) => scorer.cost(),
        }
    }

    pub(super) fn row(&self) -> u32 {
        match self {
            Self::Every(row, end) => {
                if row < end {
                    *row
                } else {
                    END
                }
            }
            Self::Term(term) => term.postings.row(),
            Self::Group(group) => group.row(),
            Self::Phrase(phrase) => phrase.row(),
            Self::Any(scorers, _) => scorers.iter().map(Self::row).min().unwrap_or(END),
            Self::All(scorers, _) => scorers.first().map_or(END, Self::row),
            Self::Without(scorer, _) | Self::Boost(scorer, _) | Self::Rank(scorer, _) => scorer.row(),
        }
    }

    pub(super) fn advance(&mut self) -> u32 {
        let row = self.row();
        if row == END { END } else { self.seek(row + 1) }
    }

    /// On to the first row that is not below `row`.
    pub(super) fn seek(&mut self, row: u32) -> u32 {
        match self {
            Self::Every(at, _) => *at = row.max(*at),
            Self::Term(term) if term.postings.row() + 1 == row => return term.postings.advance(),
            Self::Term(term) => return term.postings.seek(row),
            Self::Group(group) => return group.seek(row),
            Self::Phrase(phrase) => phrase.seek(row),
            Self::Any(scorers, _) => {
                let mut least = END;
                for scorer in scorers {
                    let at = scorer.row();
                    least = least.min(if at < row { scorer.seek(row) } else { at });
                }
                return least;
            }
            Self::All(scorers, _) => {
                if let Some(first) = scorers.first_mut() {
                    first.seek(row);
                }
                self.settle();
            }
            Self::Without(scorer, _) => {
                scorer.seek(row);
                self.settle();
            }
            Self::Boost(scorer, _) | Self::Rank(scorer, _) => {
                scorer.seek(row);
            }
        }
        self.row()
    }

    /// Goes on until the row at hand matches.
    fn settle(&mut self) {
        match self {
            Self::All(scorers, _) => {
                let Some((first, others)) = scorers.split_first_mut() else { return };
                let mut row = first.row();
                'rows: while row != END {
                    for other in others.iter_mut() {
                        let found = if other.row() < row { other.seek(row) } else { other.row() };
                        if found != row {
                            row = if found == END { first.seek(END) } else { first.seek(found) };
                            continue 'rows;
                        }
                    }
                    return;
                }
            }
            Self::Without(scorer, not) => {
                while scorer.row() != END {
                    let row = scorer.row();
                    if not.row() < row {
                        not.seek(row);
                    }
                    if not.row() != row {
                        return;
                    }
                    scorer.advance();
                }
            }
            _ => {}
        }
    }

    /// On to the first row from here on that may score `threshold` or more.
    pub(super) fn reach(&mut self, threshold: f32) -> u32 {
        let scorers = match self {
            Self::Any(scorers, Join::Sum) => scorers,
            Self::Term(term) => return term.reach(threshold),
            _ => return self.row(),
        };
        // WAND (Broder et al. 2003): rows that too few of the scorers hold cannot get there.
        loop {
            scorers.sort_unstable_by_key(Self::row);
            let mut bound = 0.0;
            let pivot = scorers.iter().position(|scorer| {
                bound += scorer.bound();
                bound >= threshold
            });
            let Some(row) = pivot.and_then(|pivot| scorers.get(pivot)).map(Self::row) else {
                for scorer in scorers {
                    scorer.seek(END);
                }
                return END;
            };
            match scorers.first_mut() {
                Some(first) if first.row() < row => {
                    first.seek(row);
                }
                _ => match skip(scorers, row, threshold) {
                    None => return row,
                    Some(next) => {
                        for scorer in scorers.iter_mut().filter(|scorer| scorer.row() < next) {
                            scorer.seek(next);
                        }
                    }
                },
            }
        }
    }

    /// No row up to the second scores more. Just of the row at hand, if no block is known.
    fn block_bound(&self) -> (f32, u32) {
        match self {
            Self::Term(term) => term.block(),
            other => (other.bound(), END),
        }
    }

    /// No score is greater. A little more than the sum, for floats round.
    fn bound(&self) -> f32 {
        match self {
            Self::Every(..) => 0.0,
            Self::Term(term) => term.most(),
            Self::Group(group) => group.bound() * SLACK,
            Self::Phrase(phrase) => phrase.bound() * SLACK,
            Self::Any(scorers, Join::Greatest) | Self::All(scorers, Join::Greatest) => {
                scorers.iter().map(Self::bound).fold(0.0, f32::max)
            }
            Self::Any(scorers, _) | Self::All(scorers, Join::Sum) => {
                scorers.iter().map(Self::bound).sum::<f32>() * SLACK
            }
            Self::All(scorers, Join::Product) => scorers.iter().map(Self::bound).product::<f32>() * SLACK,
            Self::Without(scorer, _) => scorer.bound(),
            Self::Boost(scorer, factor) => scorer.bound() * factor * SLACK,
            Self::Rank(..) => f32::INFINITY,
        }
    }

    /// The score of the row at hand.
    pub(super) fn score(&mut self) -> f32 {
        match self {
            Self::Every(..) => 0.0,
            Self::Term(term) => term.score(term.postings.row()),
            Self::Group(group) => group.score(),
            Self::Phrase(phrase) => phrase.score(),
            Self::Any(scorers, join) => {
                let row = scorers.iter().map(Self::row).min().unwrap_or(END);
                let here = scorers.iter_mut().filter(|scorer| scorer.row() == row).map(Self::score);
                joined(here, *join)
            }
            Self::All(scorers, join) => joined(scorers.iter_mut().map(Self::score), *join),
            Self::Without(scorer, _) => scorer.score(),
            Self::Boost(scorer, factor) => scorer.score() * *factor,
            Self::Rank(scorer, ranked) => {
                let value = ranked.loaded.get(ranked.number).map_or(0.0, |values| values.of(scorer.row()));
                joined([scorer.score(), value].into_iter(), ranked.join)
            }
        }
    }
}

/// When no row from `row` on can score `threshold` for a while, where that ends: the blocks at hand of those that
/// are on `row` say so, up to the first of their ends and of the rows of the others. Scorers are sorted by row.
fn skip(scorers: &[Scorer], row: u32, threshold: f32) -> Option<u32> {
    let (mut bound, mut next) = (0.0, END);
    for scorer in scorers {
        if scorer.row() > row {
            next = next.min(scorer.row());
            break;
        }
        let (most, last) = scorer.block_bound();
        bound += most;
        next = next.min(if last >= END { END } else { last + 1 });
    }
    (bound < threshold && next > row).then_some(next)
}

impl Term {
    /// No score is greater.
    fn most(&self) -> f32 {
        self.most
    }

    /// The score of the row at hand.
    fn score(&self, row: u32) -> f32 {
        #[expect(clippy::cast_precision_loss, reason = "frequencies become weights")]
        let frequency = self.postings.frequency() as f32;
        self.weigher.score(row, frequency)
    }

    /// What the rows of the block at hand score at most, and its last row; of all, if no block is known.
    fn block(&self) -> (f32, u32) {
        let Postings::Blocks(blocks) = &self.postings else { return (self.most, END) };
        let (at, of) = (blocks.block(), blocks.blocks());
        match (self.bounds.get(at), of.get(at)) {
            (Some(bound), Some(block)) => (*bound, block.last),
            _ => (self.most, END),
        }
    }

    /// On to the first row from here on whose block may score `threshold` or more.
    fn reach(&mut self, threshold: f32) -> u32 {
        while self.postings.row() != END {
            let (bound, last) = self.block();
            if bound >= threshold || last >= END {
                break;
            }
            self.postings.seek(last + 1);
        }
        self.postings.row()
    }
}

fn joined(scores: impl Iterator<Item = f32>, join: Join) -> f32 {
    match join {
        // In f64 the order hardly matters, and it differs from part to part.
        #[expect(clippy::cast_possible_truncation, reason = "scores are f32")]
        Join::Sum => scores.map(f64::from).sum::<f64>() as f32,
        Join::Greatest => scores.fold(0.0, f32::max),
        Join::Product => scores.product(),
    }
}

impl fmt::Debug for Scorer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scorer(at row {})", self.row())
    }
}
