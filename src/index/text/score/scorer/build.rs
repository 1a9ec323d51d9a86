//! From the nodes of a plan to scorers over a part.

use super::expanded_term::ExpandedTermScorer;
use super::phrase::PhraseScorer;
use super::term::TermScorer;
use super::tree::{Conjunction, RankFactor, Scorer, skip_excluded};
use crate::error::Result;
use crate::index::text::plan::{ScoreJoin, TextNode};
use crate::index::text::postings::{PhraseCursor, PhraseWordTerms, open_phrase_words};
use crate::index::text::score::part::LoadedTextPart;
use crate::index::text::score::stats::TextStats;
use crate::index::text::score::weight::Bm25Weight;
use crate::index::text::terms::{ExpandedTerm, TermSpec};

impl Scorer {
    /// The scorer of the root of a plan. Unlike those of [`Self::new`], a phrase is on no row yet: its own loop over
    /// windows would have no use for a first row, which may be far away.
    pub(in crate::index::text::score) fn new_root(
        part: &LoadedTextPart,
        stats: &TextStats,
        node: &TextNode,
    ) -> Result<Option<Self>> {
        if let TextNode::Any(nodes) | TextNode::All(nodes) = node
            && let [only] = nodes.as_slice()
        {
            return Self::new_root(part, stats, only);
        }
        if let TextNode::Phrase { terms, slop, boost } = node {
            let phrase = build_phrase(part, stats, terms, *slop, *boost)?;
            return Ok(phrase.map(|phrase| Self::Phrase(Box::new(phrase))));
        }
        Self::new(part, stats, node)
    }

    /// The scorer of a node; `None` if no row of the part can match.
    pub(in crate::index::text::score) fn new(
        part: &LoadedTextPart,
        stats: &TextStats,
        node: &TextNode,
    ) -> Result<Option<Self>> {
        let build_all = |nodes: &[TextNode]| -> Result<Vec<Option<Self>>> {
            nodes.iter().map(|node| Self::new(part, stats, node)).collect()
        };
        Ok(match node {
            TextNode::Every => Some(Self::Every(0, part.source.rows())),
            TextNode::Term(number, boost) => build_term(part, stats, *number, *boost)?,
            TextNode::Phrase { terms, slop, boost } => {
                let phrase = build_phrase(part, stats, terms, *slop, *boost)?;
                phrase.map(|mut phrase| {
                    phrase.cursor.seek(0);
                    Self::Phrase(Box::new(phrase))
                })
            }
            TextNode::Any(nodes) => unite(build_all(nodes)?, ScoreJoin::Sum),
            TextNode::Best(nodes) => unite(build_all(nodes)?, ScoreJoin::Greatest),
            TextNode::All(nodes) => intersect(build_all(nodes)?, ScoreJoin::Sum),
            TextNode::Product(nodes) => intersect(build_all(nodes)?, ScoreJoin::Product),
            TextNode::Without(node, excluded) => {
                match (Self::new(part, stats, node)?, Self::new(part, stats, excluded)?) {
                    (Some(mut scorer), Some(mut excluded)) => {
                        skip_excluded(&mut scorer, &mut excluded);
                        Some(Self::Without(Box::new(scorer), Box::new(excluded)))
                    }
                    // Nothing to exclude, or nothing to exclude it from.
                    (scorer, _) => scorer,
                }
            }
            TextNode::Rank(node, number, join) => {
                let scorer = Self::new(part, stats, node)?;
                match part.rank_value(*number)? {
                    Some(values) => {
                        let factor = RankFactor { values, join: *join };
                        scorer.map(|scorer| Self::Rank(Box::new(scorer), factor))
                    }
                    // The rows that match are found first, to read their values. Values change scores, not matches.
                    None => scorer,
                }
            }
            TextNode::Boost(node, factor) => {
                Self::new(part, stats, node)?.map(|scorer| Self::Boost(Box::new(scorer), *factor))
            }
        })
    }
}

fn build_term(part: &LoadedTextPart, stats: &TextStats, number: usize, boost: f32) -> Result<Option<Scorer>> {
    let (plan_term, term_stats) = (part.plan.term(number)?, stats.term(number)?);
    let terms = part.expansion(number)?.terms.iter();
    let terms: Vec<&ExpandedTerm<_>> = terms.filter(|term| term_stats.keeps_term(&term.term)).collect();
    if terms.is_empty() {
        return Ok(None);
    }
    let field = plan_term.field;
    let weight = Bm25Weight::new(part, stats, field, term_stats.idf * boost)?;
    // A fuzzy word with a single term is no plain term: the term may be some edits away, and counts less then.
    if let ([term], TermSpec::Term(_)) = (terms.as_slice(), &plan_term.spec) {
        let postings = part.source.open_postings(field, term, false)?;
        return Ok(Some(Scorer::Term(TermScorer::new(postings, weight))));
    }
    let scorer = ExpandedTermScorer::new(&part.source, field, &terms, weight)?;
    Ok(Some(Scorer::ExpandedTerm(scorer)))
}

fn build_phrase(
    part: &LoadedTextPart,
    stats: &TextStats,
    terms: &[(usize, u32)],
    slop: u32,
    boost: f32,
) -> Result<Option<PhraseScorer>> {
    let mut words = Vec::new();
    let mut idf = 0.0;
    let mut field = 0;
    for (number, offset) in terms {
        let (plan_term, expansion) = (part.plan.term(*number)?, part.expansion(*number)?);
        if expansion.terms.is_empty() {
            return Ok(None);
        }
        // All words of a phrase are in one column.
        field = plan_term.field;
        idf += stats.term(*number)?.idf;
        words.push(PhraseWordTerms {
            terms: expansion.terms.as_slice(),
            term_number: *number,
            offset: *offset,
            is_prefix: !matches!(plan_term.spec, TermSpec::Term(_)),
        });
    }
    let words = open_phrase_words(words.into_iter(), |term| part.source.open_postings(field, term, true))?;
    let weight = Bm25Weight::new(part, stats, field, idf * boost)?;
    Ok(Some(PhraseScorer { cursor: PhraseCursor::new(words, slop), weight }))
}

fn unite(scorers: Vec<Option<Scorer>>, join: ScoreJoin) -> Option<Scorer> {
    // A node that no row of the part matches adds nothing to a union.
    let mut scorers: Vec<Scorer> = scorers.into_iter().flatten().collect();
    if scorers.len() <= 1 {
        return scorers.pop();
    }
    Some(Scorer::Any(scorers, join))
}

fn intersect(scorers: Vec<Option<Scorer>>, join: ScoreJoin) -> Option<Scorer> {
    let mut scorers: Vec<Scorer> = scorers.into_iter().collect::<Option<_>>()?;
    if scorers.len() <= 1 {
        return scorers.pop();
    }
    scorers.sort_by_cached_key(Scorer::row_count_max);
    let mut scorers = scorers.into_iter();
    let lead = Box::new(scorers.next()?);
    let mut all = Conjunction { lead, others: scorers.collect(), join };
    all.align();
    Some(Scorer::All(all))
}
