//! Binding a text query to a schema: columns are found, texts become terms, and limits are checked.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use super::{BoundRank, Rank, TextMatch, TextPhrase, TextQuery};
use crate::error::{Error, Result};
use crate::filter::{InputTokens, check_phrase_positions, text_column};
use crate::index::text::{PlanTerm, TermSpec, TextNode, TextPlan};
use crate::schema::{Schema, TextOptions};
use crate::settings::Settings;

/// The most distinct terms, nodes and levels of a query.
// Every term is looked up in every segment, and nodes are scored by recursion. The public type is a tree that a caller can
// nest without bound, so the depth is checked here, before anything recurses over it.
const TERMS_MAX: usize = 1_024;
const NODES_MAX: usize = 1_024;
const DEPTH_MAX: usize = 32;
/// The most columns of a match.
const COLUMNS_MAX: usize = 64;

/// The plan of a query, and the ranks that its scores are combined with.
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
    let mut binder = TextBinder::new(schema);
    // A query of stop words alone finds nothing: that is an `any` of nothing.
    let root = binder.bind_node(query, 1)?.unwrap_or(TextNode::Any(Vec::new()));
    let columns = schema.texts().map(|(_, options)| (options.k1, options.b)).collect();
    Ok((TextPlan::new(binder.terms, root, columns), binder.ranks))
}

struct TextBinder<'a> {
    schema: &'a Schema,
    /// Distinct terms. Nodes name them by their index.
    terms: Vec<PlanTerm>,
    ranks: Vec<Rank>,
    tokens: InputTokens,
    nodes: usize,
}

/// A term and the factor of its score.
type WeightedTerm = (usize, f32);
/// Terms by the position of their token in the text. At a position there is one for each column.
type TermsByPosition = BTreeMap<u32, Vec<WeightedTerm>>;

impl<'a> TextBinder<'a> {
    fn new(schema: &'a Schema) -> Self {
        Self { schema, terms: Vec::new(), ranks: Vec::new(), tokens: InputTokens::default(), nodes: 0 }
    }

    /// `None` for a query without tokens, such as one of stop words alone.
    fn bind_node(&mut self, query: &TextQuery, depth: usize) -> Result<Option<TextNode>> {
        self.nodes += 1;
        if self.nodes > NODES_MAX || depth > DEPTH_MAX {
            let most = format!("at most {NODES_MAX} nodes and {DEPTH_MAX} levels are allowed");
            return Err(Error::limit(format!("the text query is too large: {most}")));
        }
        let mut bind_all =
            |queries: &[TextQuery], join: fn(Vec<TextNode>) -> TextNode| -> Result<Option<TextNode>> {
                let nodes = queries.iter().map(|query| self.bind_node(query, depth + 1));
                let nodes: Vec<Option<TextNode>> = nodes.collect::<Result<_>>()?;
                // A part without tokens is left out: an `all` of it and others must not fail for a stop word. A list that was
                // empty from the start keeps its meaning.
                let has_no_tokens = !nodes.is_empty() && nodes.iter().all(Option::is_none);
                Ok((!has_no_tokens).then(|| join(nodes.into_iter().flatten().collect())))
            };
        Ok(match query {
            TextQuery::Everything => Some(TextNode::Every),
            TextQuery::AnyOf(queries) => bind_all(queries, TextNode::Any)?,
            TextQuery::AllOf(queries) => bind_all(queries, TextNode::All)?,
            TextQuery::Best(queries) => bind_all(queries, TextNode::Best)?,
            TextQuery::Product(queries) => bind_all(queries, TextNode::Product)?,
            TextQuery::Without(query, not) => {
                let query = self.bind_node(query, depth + 1)?;
                let not = self.bind_node(not, depth + 1)?;
                query.map(|query| match not {
                    Some(not) => TextNode::Without(Box::new(query), Box::new(not)),
                    None => query,
                })
            }
            TextQuery::Ranked(query, rank, combine) => {
                let number = self.ranks.len();
                self.ranks.push(rank.clone());
                let query = self.bind_node(query, depth + 1)?;
                query.map(|query| TextNode::Rank(Box::new(query), number, (*combine).into()))
            }
            TextQuery::Boost(query, factor) => {
                check_factor(*factor)?;
                self.bind_node(query, depth + 1)?.map(|query| TextNode::Boost(Box::new(query), *factor))
            }
            TextQuery::Match(query) => self.bind_match(query)?,
            TextQuery::Phrase(query) => self.bind_phrase(query)?,
        })
    }

    /// Binds tokens in one or several columns. Columns are grouped by how they tokenize.
    fn bind_match(&mut self, query: &TextMatch) -> Result<Option<TextNode>> {
        if query.columns.is_empty() || query.columns.len() > COLUMNS_MAX {
            return Err(Error::invalid(format!("text is searched in 1 to {COLUMNS_MAX} columns")));
        }
        // Positions of tokens can only be compared between columns that tokenize alike: the third token of words is not the
        // third of n-grams.
        let mut groups: Vec<(&TextOptions, TermsByPosition)> = Vec::new();
        for (name, factor) in &query.columns {
            check_factor(*factor)?;
            let column = text_column(self.schema, name)?;
            let words = self.tokens.tokenize(column.1, &query.input)?;
            let count = words.len();
            let mut terms = TermsByPosition::new();
            for (number, (text, position)) in words.into_iter().enumerate() {
                let spec = if query.prefix && number + 1 == count {
                    TermSpec::Prefix(text)
                } else if let Some(edits) = allowed_edits(&text).filter(|_| query.fuzzy) {
                    TermSpec::Fuzzy(text, edits)
                } else {
                    TermSpec::Term(text)
                };
                let term = self.find_or_add_term(column.0, spec, false)?;
                terms.entry(position).or_default().push((term, *factor));
            }
            match groups.iter_mut().find(|(options, _)| options.tokenizes_like(column.1)) {
                Some((_, group)) => {
                    for (position, terms) in terms {
                        group.entry(position).or_default().extend(terms);
                    }
                }
                None => groups.push((column.1, terms)),
            }
        }
        let groups = groups.into_iter().map(|(_, terms)| terms);
        let groups: Vec<TermsByPosition> = groups.filter(|terms| !terms.is_empty()).collect();
        if groups.is_empty() {
            return Ok(None);
        }
        if query.every {
            let mut groups: Vec<TextNode> = groups
                .into_iter()
                .map(|terms| {
                    let terms = merge_repeated(terms.into_values().collect());
                    TextNode::All(terms.into_iter().map(|terms| TextNode::Any(term_nodes(terms))).collect())
                })
                .collect();
            return Ok(if groups.len() == 1 { groups.pop() } else { Some(TextNode::Any(groups)) });
        }
        let single = groups
            .into_iter()
            .flat_map(TermsByPosition::into_values)
            .flatten()
            .map(|term| vec![term])
            .collect();
        Ok(Some(TextNode::Any(term_nodes(merge_repeated(single).into_iter().flatten().collect()))))
    }

    fn bind_phrase(&mut self, query: &TextPhrase) -> Result<Option<TextNode>> {
        let column = text_column(self.schema, &query.column)?;
        let words = self.tokens.tokenize(column.1, &query.input)?;
        check_phrase_positions(&query.column, self.schema, &words, query.slop)?;
        let Some((_, first)) = words.first() else { return Ok(None) };
        // Positions are counted from the first word that is left: a stop word before it is not part of the phrase, but one
        // between two words keeps them apart.
        let (first, count) = (*first, words.len());
        let mut terms = Vec::with_capacity(count);
        for (number, (text, position)) in words.into_iter().enumerate() {
            let is_prefix = query.prefix && number + 1 == count;
            let spec = if is_prefix { TermSpec::Prefix(text) } else { TermSpec::Term(text) };
            // Positions are read apart from postings, and a single word needs none.
            terms.push((self.find_or_add_term(column.0, spec, count > 1)?, position - first));
        }
        Ok(Some(match terms.as_slice() {
            [(term, _)] => TextNode::Term(*term, 1.0),
            _ => TextNode::Phrase { terms, slop: query.slop, boost: 1.0 },
        }))
    }

    /// The index of a term. Equal terms of a column are one, so that each is looked up and counted once.
    fn find_or_add_term(&mut self, field: usize, spec: TermSpec, positions: bool) -> Result<usize> {
        let is_same = |term: &PlanTerm| term.field == field && term.spec == spec;
        let mut known = self.terms.iter_mut().enumerate();
        if let Some((index, term)) = known.find(|(_, term)| is_same(term)) {
            term.positions |= positions;
            return Ok(index);
        }
        if self.terms.len() >= TERMS_MAX {
            return Err(Error::limit(format!(
                "too many tokens in a text query: at most {TERMS_MAX} are allowed"
            )));
        }
        self.terms.push(PlanTerm { field, spec, positions });
        Ok(self.terms.len() - 1)
    }
}

/// Merges lists of the same terms into one that counts as much as all of them.
fn merge_repeated(lists: Vec<Vec<WeightedTerm>>) -> Vec<Vec<WeightedTerm>> {
    // A word that is repeated in the query is scored once with a greater factor, instead of walking its postings again.
    let mut merged: Vec<Vec<WeightedTerm>> = Vec::new();
    let mut known: HashMap<Vec<usize>, usize> = HashMap::new();
    for terms in lists {
        let key = terms.iter().map(|(term, _)| *term).collect();
        match known.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(merged.len());
                merged.push(terms);
            }
            Entry::Occupied(entry) => {
                #[expect(
                    clippy::indexing_slicing,
                    reason = "an entry is the index of a list that was pushed"
                )]
                let first = &mut merged[*entry.get()];
                // Lists with the same key have the same terms in the same order.
                first.iter_mut().zip(terms).for_each(|(kept, repeated)| kept.1 += repeated.1);
            }
        }
    }
    merged
}

fn term_nodes(terms: Vec<WeightedTerm>) -> Vec<TextNode> {
    terms.into_iter().map(|(term, factor)| TextNode::Term(term, factor)).collect()
}

/// The edits that a misspelt token may have, by its length.
// As the `AUTO` fuzziness of Elasticsearch: shorter words have too many others within one edit.
fn allowed_edits(text: &str) -> Option<u8> {
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
    Err(Error::invalid(format!(
        "bad factor of a score: it must be finite and not negative. factor=`{factor}`"
    )))
}
