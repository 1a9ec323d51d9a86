//! From a text query to a plan: columns are found, texts become tokens, limits hold.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use super::{BoundRank, Rank, TextMatch, TextPhrase, TextQuery};
use crate::error::{Error, Result};
use crate::filter::{InputTokens, check_phrase_positions, text_column};
use crate::index::text::{PlanTerm, TermSpec, TextNode, TextPlan};
use crate::schema::{Schema, TextOptions};
use crate::settings::Settings;

const LEAVES_MAX: usize = 1_024;
const NODES_MAX: usize = 1_024;
const DEPTH_MAX: usize = 32;
const COLUMNS_MAX: usize = 64;

/// The plan of a query, and what its rows are ranked by besides.
pub(in crate::query) fn bind_query(
    query: &TextQuery,
    schema: &Schema,
    settings: &Settings,
) -> Result<(TextPlan, Vec<BoundRank>)> {
    let (plan, ranks) = plan_query(query, schema)?;
    let ranks = ranks.iter().map(|rank| BoundRank::new(rank, schema, settings));
    Ok((plan, ranks.collect::<Result<_>>()?))
}

/// The plan of a query alone.
pub(super) fn plan_query(query: &TextQuery, schema: &Schema) -> Result<(TextPlan, Vec<Rank>)> {
    let mut binder = Binder::new(schema);
    let root = binder.node(query, 1)?.unwrap_or(TextNode::Any(Vec::new()));
    let columns = schema.texts().map(|(_, options)| (options.k1, options.b)).collect();
    Ok((TextPlan::new(binder.leaves, root, columns), binder.ranks))
}

pub(super) struct Binder<'a> {
    schema: &'a Schema,
    leaves: Vec<PlanTerm>,
    ranks: Vec<Rank>,
    tokens: InputTokens,
    nodes: usize,
}

/// Leaves with the factors of their scores, by the number of the token in its text.
type Places = BTreeMap<u32, Vec<(usize, f32)>>;

impl<'a> Binder<'a> {
    pub(super) fn new(schema: &'a Schema) -> Self {
        Self { schema, leaves: Vec::new(), ranks: Vec::new(), tokens: InputTokens::default(), nodes: 0 }
    }

    /// `None` for a query that says nothing: analysis leaves no token of its text.
    fn node(&mut self, query: &TextQuery, depth: usize) -> Result<Option<TextNode>> {
        self.nodes += 1;
        if self.nodes > NODES_MAX || depth > DEPTH_MAX {
            let most = format!("at most {NODES_MAX} nodes and {DEPTH_MAX} levels are allowed");
            return Err(Error::limit(format!("the text query is too large: {most}")));
        }
        let mut each =
            |queries: &[TextQuery], join: fn(Vec<TextNode>) -> TextNode| -> Result<Option<TextNode>> {
                let nodes = queries.iter().map(|query| self.node(query, depth + 1));
                let nodes: Vec<Option<TextNode>> = nodes.collect::<Result<_>>()?;
                let silent = !nodes.is_empty() && nodes.iter().all(Option::is_none);
                Ok((!silent).then(|| join(nodes.into_iter().flatten().collect())))
            };
        Ok(match query {
            TextQuery::Everything => Some(TextNode::Every),
            TextQuery::Any(queries) => each(queries, TextNode::Any)?,
            TextQuery::All(queries) => each(queries, TextNode::All)?,
            TextQuery::Best(queries) => each(queries, TextNode::Best)?,
            TextQuery::Product(queries) => each(queries, TextNode::Product)?,
            TextQuery::Without(query, not) => {
                let query = self.node(query, depth + 1)?;
                let not = self.node(not, depth + 1)?;
                query.map(|query| match not {
                    Some(not) => TextNode::Without(Box::new(query), Box::new(not)),
                    None => query,
                })
            }
            TextQuery::Ranked(query, rank, combine) => {
                let number = self.ranks.len();
                self.ranks.push(rank.clone());
                let query = self.node(query, depth + 1)?;
                query.map(|query| TextNode::Rank(Box::new(query), number, (*combine).into()))
            }
            TextQuery::Boost(query, factor) => {
                check_factor(*factor)?;
                self.node(query, depth + 1)?.map(|query| TextNode::Boost(Box::new(query), *factor))
            }
            TextQuery::Match(query) => self.tokens(query)?,
            TextQuery::Phrase(query) => self.phrase(query)?,
        })
    }

    /// What is looked for in the columns, each group of those that cut text alike for itself: the numbers of tokens that
    /// were cut otherwise do not speak of the same words.
    fn tokens(&mut self, query: &TextMatch) -> Result<Option<TextNode>> {
        if query.columns.is_empty() || query.columns.len() > COLUMNS_MAX {
            return Err(Error::invalid(format!("text is searched in 1 to {COLUMNS_MAX} columns")));
        }
        let mut groups: Vec<(&TextOptions, Places)> = Vec::new();
        for (name, factor) in &query.columns {
            check_factor(*factor)?;
            let column = text_column(self.schema, name)?;
            let at = groups.iter().position(|(options, _)| options.tokenizes_like(column.1));
            let words = self.tokens.tokenize(column.1, &query.input)?;
            let last = words.len();
            let mut places = Places::new();
            for (number, (text, position)) in words.into_iter().enumerate() {
                let spec = if query.prefix && number + 1 == last {
                    TermSpec::Prefix(text)
                } else if let Some(edits) = edits(&text).filter(|_| query.fuzzy) {
                    TermSpec::Fuzzy(text, edits)
                } else {
                    TermSpec::Term(text)
                };
                let leaf = self.leaf(column.0, spec, false)?;
                places.entry(position).or_default().push((leaf, *factor));
            }
            match at.and_then(|at| groups.get_mut(at)) {
                Some((_, group)) => {
                    for (position, leaves) in places {
                        group.entry(position).or_default().extend(leaves);
                    }
                }
                None => groups.push((column.1, places)),
            }
        }
        let groups: Vec<Places> =
            groups.into_iter().map(|(_, places)| places).filter(|places| !places.is_empty()).collect();
        if groups.is_empty() {
            return Ok(None);
        }
        if query.every {
            let mut groups: Vec<TextNode> = groups
                .into_iter()
                .map(|places| {
                    let places = once(places.into_values().collect());
                    TextNode::All(places.into_iter().map(|leaves| TextNode::Any(nodes(leaves))).collect())
                })
                .collect();
            return Ok(if groups.len() == 1 { groups.pop() } else { Some(TextNode::Any(groups)) });
        }
        let single =
            groups.into_iter().flat_map(Places::into_values).flatten().map(|leaf| vec![leaf]).collect();
        Ok(Some(TextNode::Any(nodes(once(single).into_iter().flatten().collect()))))
    }

    fn phrase(&mut self, query: &TextPhrase) -> Result<Option<TextNode>> {
        let column = text_column(self.schema, &query.column)?;
        let words = self.tokens.tokenize(column.1, &query.input)?;
        check_phrase_positions(&query.column, self.schema, &words, query.slop)?;
        let (first, last) = (words.first().map_or(0, |(_, position)| *position), words.len());
        let mut leaves = Vec::new();
        for (number, (text, position)) in words.into_iter().enumerate() {
            let goes_on = query.prefix && number + 1 == last;
            let spec = if goes_on { TermSpec::Prefix(text) } else { TermSpec::Term(text) };
            leaves.push((self.leaf(column.0, spec, last > 1)?, position - first));
        }
        Ok(match leaves.as_slice() {
            [] => None,
            [(leaf, _)] => Some(TextNode::Term(*leaf, 1.0)),
            _ => Some(TextNode::Phrase { terms: leaves, slop: query.slop, boost: 1.0 }),
        })
    }

    fn leaf(&mut self, field: usize, spec: TermSpec, positions: bool) -> Result<usize> {
        let same = |leaf: &PlanTerm| leaf.field == field && leaf.spec == spec;
        if let Some(at) = self.leaves.iter().position(same) {
            if let Some(leaf) = self.leaves.get_mut(at) {
                leaf.positions |= positions;
            }
            return Ok(at);
        }
        if self.leaves.len() >= LEAVES_MAX {
            return Err(Error::limit(format!("more than {LEAVES_MAX} tokens in a text query")));
        }
        self.leaves.push(PlanTerm { field, spec, positions });
        Ok(self.leaves.len() - 1)
    }
}

/// Words that are asked for more than once as one that counts as often: so each is walked over once.
fn once(places: Vec<Vec<(usize, f32)>>) -> Vec<Vec<(usize, f32)>> {
    let mut merged: Vec<Vec<(usize, f32)>> = Vec::new();
    let mut known: HashMap<Vec<usize>, usize> = HashMap::new();
    for leaves in places {
        let key = leaves.iter().map(|(leaf, _)| *leaf).collect();
        match known.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(merged.len());
                merged.push(leaves);
            }
            Entry::Occupied(entry) => {
                let same = merged.get_mut(*entry.get()).into_iter().flatten();
                same.zip(leaves).for_each(|(kept, again)| kept.1 += again.1);
            }
        }
    }
    merged
}

fn nodes(leaves: Vec<(usize, f32)>) -> Vec<TextNode> {
    leaves.into_iter().map(|(leaf, factor)| TextNode::Term(leaf, factor)).collect()
}

/// How many edits a token may be away: as Elasticsearch's `AUTO`.
fn edits(text: &str) -> Option<u8> {
    match text.chars().count() {
        0..=2 => None,
        3..=5 => Some(1),
        _ => Some(2),
    }
}

fn check_factor(factor: f32) -> Result<()> {
    if factor.is_finite() && factor >= 0.0 {
        return Ok(());
    }
    Err(Error::invalid(format!("bad factor of a score: it is a number from 0 on. factor=`{factor}`")))
}
