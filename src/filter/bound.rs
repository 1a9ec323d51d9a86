//! A filter checked against a schema: typed, folded, and ready to be pruned, planned and evaluated.

use std::sync::Arc;

use arrow::array::ArrayRef;

use super::literal::ValueSet;
use super::tree::join_nodes;
use crate::index::attributes::Pattern;
use crate::index::text::TokenPredicate;
use crate::schema::AttributeType;
use crate::types::ColumnId;

/// A filter checked against a schema.
#[derive(Debug)]
pub(crate) struct BoundFilter {
    pub(super) root: BoundNode,
    /// The columns that predicates test, each once.
    pub(super) columns: Vec<BoundColumn>,
    /// The columns of the incoming row that predicates compare with, each once.
    pub(super) new_columns: Vec<BoundColumn>,
}

/// The number of a column, by which everything stored of it is found, and its name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ColumnLabel {
    pub(super) id: ColumnId,
    pub(super) name: Arc<str>,
}

/// A column that a filter reads.
#[derive(Debug)]
pub(super) struct BoundColumn {
    pub(super) label: ColumnLabel,
    /// The type of the attribute; `None` for a vector.
    pub(super) kind: Option<AttributeType>,
}

/// A node of a bound filter, folded: no constant within another node, no negation of a negation.
#[derive(Debug)]
pub(super) enum BoundNode {
    Const(bool),
    // At least two nodes in each: one alone takes the place of the list.
    All(Vec<BoundNode>),
    Any(Vec<BoundNode>),
    // Not pushed down to the predicates: negation is exact in every stage, and the negation of a range on nulls would
    // need predicates of its own.
    Not(Box<BoundNode>),
    Predicate(BoundPredicate),
}

/// A predicate on a column.
#[derive(Debug)]
pub(super) struct BoundPredicate {
    /// The index into [`BoundFilter::columns`].
    pub(super) column: usize,
    /// That column as indexes and statistics know it, without a detour over the index.
    pub(super) label: ColumnLabel,
    /// Whether the test applies to the elements of an array, of which any may pass.
    pub(super) elements: bool,
    pub(super) test: ValueTest,
}

/// What a predicate tests a value for. A new operator that is none of these extends the matches of `cost` below, of
/// `evaluate`, `plan::planner` and `prune`.
#[derive(Debug)]
pub(super) enum ValueTest {
    Null,
    Compare(Comparison, Comparand),
    Member(ValueSet),
    Pattern(Pattern),
    Tokens(Arc<TokenPredicate>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Eq,
    Lt,
    Lte,
    Gt,
    Gte,
}

/// The right side of a comparison.
#[derive(Debug)]
pub(super) enum Comparand {
    /// An array of one row.
    Literal(ArrayRef),
    /// The index into [`BoundFilter::new_columns`].
    New(usize),
}

impl BoundFilter {
    /// The columns that [`Self::evaluate`] needs, each once.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| &*column.label.name)
    }

    /// The columns of the incoming row that it needs.
    #[cfg(test)]
    pub(crate) fn new_columns(&self) -> impl Iterator<Item = &str> {
        self.new_columns.iter().map(|column| &*column.label.name)
    }

    /// The answer, if it is the same for every row.
    pub(crate) fn constant(&self) -> Option<bool> {
        if let BoundNode::Const(answer) = self.root { Some(answer) } else { None }
    }
}

impl BoundNode {
    /// Joins nodes by or if `any`, else by and.
    pub(super) fn fold(any: bool, nodes: Vec<Self>) -> Self {
        let mut kept = Vec::with_capacity(nodes.len());
        for node in nodes {
            match node {
                Self::Const(answer) if answer == any => return Self::Const(any),
                Self::Const(_) => {}
                node => kept.push(node),
            }
        }
        // Evaluation stops once all rows are decided, so cheap tests first spare the expensive ones. The sort is
        // stable: among equals the order stays the caller's, who may know which one is selective.
        kept.sort_by_key(Self::cost);
        join_nodes(kept, Self::Const(!any), if any { Self::Any } else { Self::All })
    }

    pub(super) fn negate(self) -> Self {
        match self {
            Self::Const(answer) => Self::Const(!answer),
            Self::Not(inner) => *inner,
            node => Self::Not(Box::new(node)),
        }
    }

    /// A rank of the cost per row, not a measure: a null mask, a vectorised kernel, a hash lookup, a regular
    /// expression, a tokenizer.
    fn cost(&self) -> u8 {
        match self {
            Self::Const(_) => 0,
            Self::Predicate(predicate) => {
                let base = match predicate.test {
                    ValueTest::Null => 1,
                    ValueTest::Compare(..) => 2,
                    ValueTest::Member(_) => 3,
                    ValueTest::Pattern(_) => 6,
                    ValueTest::Tokens(_) => 8,
                };
                base + u8::from(predicate.elements)
            }
            Self::Not(inner) => inner.cost(),
            Self::All(nodes) | Self::Any(nodes) => nodes.iter().map(Self::cost).fold(0, u8::max),
        }
    }
}
