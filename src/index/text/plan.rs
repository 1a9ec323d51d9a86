//! A text query after analysis: terms to look up, and a tree that combines their scores.

use super::terms::{EXPANSIONS_MAX, PLAN_EXPANSIONS_MAX, TermSpec};
use crate::error::{Error, Result};

/// A word of a query in a column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PlanTerm {
    /// The number of the column among the text columns.
    pub(crate) field: usize,
    pub(crate) spec: TermSpec,
    /// Whether positions of the word are needed: it is part of a phrase.
    pub(crate) positions: bool,
}

/// How rows are found and scored. A term is a number into [`TextPlan::terms`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TextNode {
    /// Every row, with a score of 0.
    Every,
    /// Rows with the term: its BM25 score times the boost.
    Term(usize, f32),
    /// Rows with all terms, each at its offset behind the first, with `slop` positions of tolerance in all.
    Phrase { terms: Vec<(usize, u32)>, slop: u32, boost: f32 },
    /// Rows of any node: the sum of its scores.
    Any(Vec<TextNode>),
    /// Rows of all nodes: the sum of their scores.
    All(Vec<TextNode>),
    /// Rows of any node: the maximum score.
    Best(Vec<TextNode>),
    /// Rows of all nodes: the product of their scores.
    Product(Vec<TextNode>),
    /// Rows of the first node that the second does not match, with the score of the first.
    Without(Box<TextNode>, Box<TextNode>),
    /// The score of a node, joined with a value of the row: the number of the value, and how it joins.
    Rank(Box<TextNode>, usize, ScoreJoin),
    /// The score of a node, times a factor.
    Boost(Box<TextNode>, f32),
}

/// How scores become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScoreJoin {
    Sum,
    Greatest,
    Product,
}

/// A query on the text columns of a schema.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TextPlan {
    pub(crate) terms: Vec<PlanTerm>,
    pub(crate) root: TextNode,
    /// k1 and b of each text column.
    pub(crate) columns: Vec<(f32, f32)>,
    /// The most terms of a part that a prefix or a misspelt word expands to.
    pub(super) expansions_max: usize,
}

impl TextPlan {
    pub(crate) fn new(terms: Vec<PlanTerm>, root: TextNode, columns: Vec<(f32, f32)>) -> Self {
        let expanding = terms.iter().filter(|term| !matches!(term.spec, TermSpec::Term(_))).count();
        // All words that expand share one budget, but none gets less than a misspelt word may keep in the end.
        let expansions_max = (PLAN_EXPANSIONS_MAX / expanding.max(1)).max(EXPANSIONS_MAX);
        Self { terms, root, columns, expansions_max }
    }

    /// The term of this number.
    pub(super) fn term(&self, number: usize) -> Result<&PlanTerm> {
        self.terms.get(number).ok_or_else(|| Error::internal("a node of a text plan names no term"))
    }

    /// k1 of a text column.
    pub(super) fn k1(&self, field: usize) -> Result<f32> {
        self.bm25_parameters(field).map(|(k1, _)| k1)
    }

    /// k1 and b of a text column.
    pub(super) fn bm25_parameters(&self, field: usize) -> Result<(f32, f32)> {
        self.columns.get(field).copied().ok_or_else(|| Error::internal("no such text column"))
    }

    /// Whether every row of a part is visited, whatever terms it holds.
    pub(super) fn visits_every_row(&self) -> bool {
        fn has_every(node: &TextNode) -> bool {
            match node {
                TextNode::Every => true,
                TextNode::Term(..) | TextNode::Phrase { .. } => false,
                TextNode::Any(nodes)
                | TextNode::All(nodes)
                | TextNode::Best(nodes)
                | TextNode::Product(nodes) => nodes.iter().any(has_every),
                TextNode::Without(node, excluded) => has_every(node) || has_every(excluded),
                TextNode::Rank(node, ..) | TextNode::Boost(node, _) => has_every(node),
            }
        }
        has_every(&self.root)
    }

    /// The text columns that the query reads, ascending.
    pub(super) fn fields(&self) -> Vec<usize> {
        let mut fields: Vec<usize> = self.terms.iter().map(|term| term.field).collect();
        fields.sort_unstable();
        fields.dedup();
        fields
    }
}
