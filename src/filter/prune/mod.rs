//! Pruning: whole segments are skipped by the statistics of their columns (zone maps), before anything else of them is
//! read.
//!
//! **Invariant:** an answer holds for every row, null or not, whatever values lie between the bounds. A truncated bound
//! stands for all keys with that prefix, and the elements of an array are tested separately.

mod key_bounds;
mod zone_test;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use self::zone_test::ZoneTest;
use super::bound::{BoundFilter, BoundNode};
use crate::segment::{ColumnStatistics, SegmentMeta};
use crate::types::ColumnId;

/// A filter prepared to be tested against the statistics of many segments.
#[derive(Debug)]
pub(crate) struct ZoneMapFilter(PruneNode);

#[derive(Debug)]
enum PruneNode {
    Const(bool),
    All(Vec<PruneNode>),
    Any(Vec<PruneNode>),
    Not(Box<PruneNode>),
    Predicate { column: ColumnId, elements: bool, test: ZoneTest },
}

impl ZoneMapFilter {
    pub(crate) fn new(bound: &BoundFilter) -> Self {
        Self(PruneNode::new(&bound.root))
    }

    /// Whether no row of a segment matches.
    pub(crate) fn can_prune(&self, meta: &SegmentMeta) -> bool {
        self.find_answer(meta.rows, &|column| meta.column_statistics(column)) == Some(false)
    }

    /// The answer, if the statistics of the columns prove that it is the same for all `rows` rows.
    pub(super) fn find_answer<'s>(
        &self,
        rows: u32,
        statistics: &dyn Fn(ColumnId) -> Option<Cow<'s, ColumnStatistics>>,
    ) -> Option<bool> {
        self.0.find_answer(rows, statistics)
    }
}

impl PruneNode {
    fn new(node: &BoundNode) -> Self {
        let each = |nodes: &[BoundNode]| nodes.iter().map(Self::new).collect();
        match node {
            BoundNode::Const(answer) => Self::Const(*answer),
            BoundNode::All(nodes) => Self::All(each(nodes)),
            BoundNode::Any(nodes) => Self::Any(each(nodes)),
            BoundNode::Not(inner) => Self::Not(Box::new(Self::new(inner))),
            BoundNode::Predicate(predicate) => Self::Predicate {
                column: predicate.label.id,
                elements: predicate.elements,
                test: ZoneTest::new(&predicate.test),
            },
        }
    }

    fn find_answer<'s>(
        &self,
        rows: u32,
        statistics: &dyn Fn(ColumnId) -> Option<Cow<'s, ColumnStatistics>>,
    ) -> Option<bool> {
        let each =
            |nodes: &[Self], any| join_answers(any, nodes.iter().map(|n| n.find_answer(rows, statistics)));
        match self {
            Self::Const(answer) => Some(*answer),
            Self::All(nodes) => each(nodes, false),
            Self::Any(nodes) => each(nodes, true),
            // Exact in both directions, as logic is two-valued: what is false for all rows is true for all rows negated.
            Self::Not(inner) => inner.find_answer(rows, statistics).map(|answer| !answer),
            Self::Predicate { column, elements, test } => {
                test.find_answer(&*statistics(*column)?, rows, *elements)
            }
        }
    }
}

/// Joins answers by or if `any`, else by and.
fn join_answers(any: bool, answers: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut joined = Some(!any);
    for answer in answers {
        match answer {
            Some(answer) if answer == any => return Some(any),
            Some(_) => {}
            None => joined = None,
        }
    }
    joined
}
