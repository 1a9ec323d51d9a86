//! What a text query comes to once its text is tokens: leaves to look up, and how their scores join.

use super::expand::{EXPANSIONS_MAX, Spec, TOGETHER_MAX};

/// A token, or some that stand for one, in a column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Leaf {
    /// The number of the column among the text columns.
    pub(crate) field: usize,
    pub(crate) spec: Spec,
    /// Whether it matters where in a row it lies.
    pub(crate) positions: bool,
}

/// How rows are found and scored. Leaves are named by their places in [`Plan::leaves`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    /// Every row, with a score of 0.
    Every,
    /// Rows with the leaf: its BM25 score times the boost.
    Leaf(usize, f32),
    /// Rows with all leaves, each so far behind the first as is said, give or take `slop` in all.
    Phrase { leaves: Vec<(usize, u32)>, slop: u32, boost: f32 },
    /// Rows of any: the sum.
    Any(Vec<Node>),
    /// Rows of all: the sum.
    All(Vec<Node>),
    /// Rows of any: the greatest.
    Best(Vec<Node>),
    /// Rows of all: the product.
    Product(Vec<Node>),
    /// Rows of the first that are not of the second: the score of the first.
    Without(Box<Node>, Box<Node>),
    /// The score of another, joined with the value of this number of the row.
    Rank(Box<Node>, usize, Join),
    /// The score of another, times a factor.
    Boost(Box<Node>, f32),
}

/// How scores join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Join {
    Sum,
    Greatest,
    Product,
}

/// A query on the text columns of a schema.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) leaves: Vec<Leaf>,
    pub(crate) root: Node,
    /// Of each text column k1 and b.
    pub(crate) columns: Vec<(f32, f32)>,
    /// How many tokens of a part a prefix or a misspelt token stands for at most.
    pub(super) expansions_max: usize,
}

impl Plan {
    pub(crate) fn new(leaves: Vec<Leaf>, root: Node, columns: Vec<(f32, f32)>) -> Self {
        let open = leaves.iter().filter(|leaf| !matches!(leaf.spec, Spec::Term(_))).count();
        let expansions_max = (TOGETHER_MAX / open.max(1)).max(EXPANSIONS_MAX);
        Self { leaves, root, columns, expansions_max }
    }

    /// Whether every row is looked at, whatever tokens it has.
    pub(super) fn is_open(&self) -> bool {
        fn within(node: &Node) -> bool {
            match node {
                Node::Every => true,
                Node::Leaf(..) | Node::Phrase { .. } => false,
                Node::Any(nodes) | Node::All(nodes) | Node::Best(nodes) | Node::Product(nodes) => {
                    nodes.iter().any(within)
                }
                Node::Without(node, not) => within(node) || within(not),
                Node::Rank(node, ..) | Node::Boost(node, _) => within(node),
            }
        }
        within(&self.root)
    }

    /// The text columns that are looked at, ascending.
    pub(super) fn fields(&self) -> Vec<usize> {
        let mut fields: Vec<usize> = self.leaves.iter().map(|leaf| leaf.field).collect();
        fields.sort_unstable();
        fields.dedup();
        fields
    }
}
