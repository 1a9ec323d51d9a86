//! A predicate on the keys of a column, and the blocks it needs.

use std::ops::Bound;
use std::sync::Arc;

use super::super::format::{KeyColumn, KeyList};
use super::pattern::Pattern;
use crate::cache::Span;

/// A predicate on the keys of a column. Its own keys are whole, however long.
#[derive(Clone, Debug)]
pub(crate) enum AttributeProbe {
    /// The rows without a value.
    Null,
    /// The rows that have one of these keys.
    In(Arc<KeyList>),
    /// The rows that have a key within these bounds.
    Range(Bound<Box<[u8]>>, Bound<Box<[u8]>>),
    /// The rows that have a matching string.
    Matches(Pattern),
    /// As `Matches`, but of each block that is read only the keys at these indexes are tested: trigrams rule out the
    /// others.
    MatchesAmong(Pattern, Vec<Vec<u32>>),
}

impl AttributeProbe {
    /// The blocks of a column that this probe needs, in their order.
    pub(crate) fn find_spans(&self, column: &KeyColumn) -> Vec<Span> {
        let range = match self {
            Self::Null => return column.null_block.iter().cloned().collect(),
            Self::In(keys) => return find_member_spans(keys, column),
            Self::Matches(pattern) | Self::MatchesAmong(pattern, _) => {
                column.find_prefix_blocks(pattern.prefix().as_bytes())
            }
            Self::Range(low, high) => {
                let start = bound_key(low).map_or(0, |key| column.find_blocks(key).start);
                let end = bound_key(high).map_or(column.blocks.len(), |key| column.find_blocks(key).end);
                // Bounds the wrong way round enclose nothing.
                start..end.max(start)
            }
        };
        column.block_spans(range).collect()
    }

    /// The answer, when no block is needed for it: the head has the bounds of the keys.
    pub(crate) fn constant_answer(&self, column: &KeyColumn) -> Option<bool> {
        match self {
            Self::Null if column.nulls == 0 => Some(false),
            Self::Null if column.nulls == column.rows => Some(true),
            Self::Null => None,
            probe => probe.find_spans(column).is_empty().then_some(false),
        }
    }
}

/// The blocks that may hold some of these keys, each once.
fn find_member_spans(keys: &KeyList, column: &KeyColumn) -> Vec<Span> {
    let (mut spans, mut from, mut index) = (Vec::new(), 0, 0);
    while let Some(key) = keys.get(index) {
        // Blocks before `from` are listed already.
        let range = column.find_blocks(key);
        let range = range.start.max(from)..range.end.max(from);
        from = range.end;
        spans.extend(column.block_spans(range));
        // Keys before the next block need no other blocks than those listed. A list may have many keys of one block,
        // so they are passed by a seek and not one by one.
        let Some(next_fence) = column.fence(from) else { break };
        index = keys.seek_key(index + 1, next_fence);
    }
    spans
}

/// The key of a bound, if it has one.
fn bound_key(bound: &Bound<Box<[u8]>>) -> Option<&[u8]> {
    match bound {
        Bound::Unbounded => None,
        Bound::Included(key) | Bound::Excluded(key) => Some(key),
    }
}
