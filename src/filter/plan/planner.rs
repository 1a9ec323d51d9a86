//! Turns a bound filter into a plan. A new test of values gets an arm in [`Planner::plan_predicate`].

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};

use super::super::bound::{BoundNode, BoundPredicate, ColumnLabel, Comparand, Comparison, ValueTest};
use super::SegmentIndexes;
use super::node::PlanNode;
use super::probe::TokenProbe;
use crate::cache::total_bytes;
use crate::index::attributes::{AttributeColumn, AttributeProbe, KeyList, Pattern, each_key};
use crate::types::ColumnId;

/// An end of a range of keys.
type KeyBound = Bound<Box<[u8]>>;

/// The keys of a column between two bounds.
struct KeyRange {
    column: ColumnLabel,
    low: KeyBound,
    high: KeyBound,
}

pub(super) struct Planner<'a> {
    pub(super) indexes: &'a SegmentIndexes,
}

impl Planner<'_> {
    pub(super) fn plan_node(&self, node: &BoundNode) -> PlanNode {
        match node {
            BoundNode::Const(answer) => PlanNode::Const(*answer),
            BoundNode::Not(inner) => self.plan_node(inner).negate(),
            BoundNode::All(nodes) => {
                // Ranges are planned last, once each is as narrow as all comparisons make it.
                let (mut ranges, mut planned) = (Vec::new(), Vec::new());
                for node in nodes {
                    if !intersect_ranges(node, &mut ranges) {
                        planned.push(self.plan_node(node));
                    }
                }
                planned.extend(ranges.into_iter().map(|range| self.plan_range(range)));
                PlanNode::fold(false, planned)
            }
            BoundNode::Any(nodes) => PlanNode::fold(true, nodes.iter().map(|node| self.plan_node(node))),
            BoundNode::Predicate(predicate) => self.plan_predicate(predicate).unwrap_or(PlanNode::Unknown),
        }
    }

    /// `None` if the indexes have no answer, which is always correct: the rows are then compared by their values.
    fn plan_predicate(&self, predicate: &BoundPredicate) -> Option<PlanNode> {
        let label = &predicate.label;
        if let ValueTest::Tokens(tokens) = &predicate.test {
            self.indexes.text.as_ref()?;
            return Some(PlanNode::Tokens(TokenProbe::new(tokens)));
        }
        let column = self.column(label.id)?;
        let probe = match &predicate.test {
            ValueTest::Null => AttributeProbe::Null,
            ValueTest::Pattern(pattern) => {
                prefix_range(pattern).unwrap_or_else(|| AttributeProbe::Matches(pattern.clone()))
            }
            ValueTest::Member(set) => AttributeProbe::In(set.keys()?),
            // A comparison with the incoming row differs from row to row.
            ValueTest::Compare(_, Comparand::New(_)) | ValueTest::Tokens(_) => return None,
            ValueTest::Compare(comparison, Comparand::Literal(literal)) => {
                if let Some(list) = literal.as_list_opt::<i32>() {
                    return Some(plan_array_equality(label, column, list.values()));
                }
                match comparison_probe(*comparison, literal)? {
                    AttributeProbe::Range(low, high) if !predicate.elements => {
                        return Some(self.plan_range(KeyRange { column: label.clone(), low, high }));
                    }
                    probe => probe,
                }
            }
        };
        Some(PlanNode::probe(label, column, probe))
    }

    /// A range of a column that is no array. If the range is wide, what lies outside is probed and negated.
    // On a column of n distinct values, `x > smallest` would otherwise read all n keys to leave out one. Arrays cannot
    // be negated so: a row may have elements inside and outside of the range.
    fn plan_range(&self, range: KeyRange) -> PlanNode {
        let KeyRange { column: label, low, high } = range;
        let Some(column) = self.column(label.id) else { return PlanNode::Unknown };
        let inside = AttributeProbe::Range(low.clone(), high.clone());
        // A null is in no range.
        let mut outside = vec![AttributeProbe::Null];
        match low {
            Bound::Unbounded => {}
            Bound::Included(key) => {
                outside.push(AttributeProbe::Range(Bound::Unbounded, Bound::Excluded(key)));
            }
            Bound::Excluded(key) => {
                outside.push(AttributeProbe::Range(Bound::Unbounded, Bound::Included(key)));
            }
        }
        match high {
            Bound::Unbounded => {}
            Bound::Included(key) => {
                outside.push(AttributeProbe::Range(Bound::Excluded(key), Bound::Unbounded));
            }
            Bound::Excluded(key) => {
                outside.push(AttributeProbe::Range(Bound::Included(key), Bound::Unbounded));
            }
        }
        let bytes = |probe: &AttributeProbe| total_bytes(&column.find_spans(probe));
        if outside.iter().map(bytes).fold(0, u64::saturating_add) < bytes(&inside) {
            let outside = outside.into_iter().map(|probe| PlanNode::probe(&label, column, probe));
            return PlanNode::fold(true, outside).negate();
        }
        PlanNode::probe(&label, column, inside)
    }

    fn column(&self, id: ColumnId) -> Option<&AttributeColumn> {
        self.indexes.attributes.as_ref()?.column(id)
    }
}

/// Intersects the range of a comparison with the others of its column; false if `node` is no such comparison.
// `a < x and x < b` selects far less than either side. Two comparisons on the elements of an array must stay apart:
// each may be satisfied by another element.
fn intersect_ranges(node: &BoundNode, ranges: &mut Vec<KeyRange>) -> bool {
    let BoundNode::Predicate(BoundPredicate { label, elements: false, test, .. }) = node else {
        return false;
    };
    let ValueTest::Compare(comparison, Comparand::Literal(literal)) = test else { return false };
    let Some(AttributeProbe::Range(low, high)) = comparison_probe(*comparison, literal) else { return false };
    match ranges.iter_mut().find(|range| range.column == *label) {
        None => ranges.push(KeyRange { column: label.clone(), low, high }),
        Some(range) => {
            if is_tighter(&low, &range.low, Ordering::Greater) {
                range.low = low;
            }
            if is_tighter(&high, &range.high, Ordering::Less) {
                range.high = high;
            }
        }
    }
    true
}

/// Whether a bound excludes more than another. `inward` is the order of a tighter key relative to a looser one.
fn is_tighter(bound: &KeyBound, other: &KeyBound, inward: Ordering) -> bool {
    match (bound_key(bound), bound_key(other)) {
        (None, _) => false,
        (_, None) => true,
        (Some(key), Some(other)) => match key.cmp(other) {
            Ordering::Equal => matches!(bound, Bound::Excluded(_)),
            order => order == inward,
        },
    }
}

fn bound_key(bound: &KeyBound) -> Option<&[u8]> {
    match bound {
        Bound::Unbounded => None,
        Bound::Included(key) | Bound::Excluded(key) => Some(key),
    }
}

/// Equality with an array. The index knows the elements of a row, but neither their order nor how often they occur, so
/// that having all of them is necessary and not sufficient.
fn plan_array_equality(label: &ColumnLabel, column: &AttributeColumn, elements: &ArrayRef) -> PlanNode {
    // Of an empty array the index knows only that it is not null.
    let mut nodes = vec![PlanNode::probe(label, column, AttributeProbe::Null).negate()];
    let each = |_, key: &[u8]| {
        let member = AttributeProbe::In(Arc::new(KeyList::single(key)));
        nodes.push(PlanNode::probe(label, column, member));
    };
    // Arrays of a type without keys, whose elements no index knows.
    if each_key(elements, each).is_err() {
        return PlanNode::Unknown;
    }
    match PlanNode::fold(false, nodes) {
        PlanNode::Const(false) => PlanNode::Const(false),
        // Every row has the elements, but not necessarily in that order.
        PlanNode::Const(true) => PlanNode::Unknown,
        node => PlanNode::AtMost(Box::new(node)),
    }
}

/// The range of all strings with a prefix, if a pattern is no more than that. A range is decided without running the
/// pattern on keys.
fn prefix_range(pattern: &Pattern) -> Option<AttributeProbe> {
    let prefix = pattern.is_prefix().then(|| pattern.prefix().as_bytes())?;
    let mut successor = prefix.to_vec();
    let high = match successor.last_mut() {
        Some(byte) => {
            // invariant: no byte of UTF-8 is 0xff, so nothing saturates.
            *byte = byte.saturating_add(1);
            Bound::Excluded(successor.into())
        }
        None => Bound::Unbounded,
    };
    Some(AttributeProbe::Range(Bound::Included(prefix.into()), high))
}

/// The probe of a comparison with a scalar.
fn comparison_probe(comparison: Comparison, literal: &ArrayRef) -> Option<AttributeProbe> {
    let mut key = None;
    each_key(literal, |_, bytes| key = Some(Box::<[u8]>::from(bytes))).ok()?;
    let key = key?;
    Some(match comparison {
        Comparison::Eq => AttributeProbe::In(Arc::new(KeyList::single(&key))),
        Comparison::Lt => AttributeProbe::Range(Bound::Unbounded, Bound::Excluded(key)),
        Comparison::Lte => AttributeProbe::Range(Bound::Unbounded, Bound::Included(key)),
        Comparison::Gt => AttributeProbe::Range(Bound::Excluded(key), Bound::Unbounded),
        Comparison::Gte => AttributeProbe::Range(Bound::Included(key), Bound::Unbounded),
    })
}
