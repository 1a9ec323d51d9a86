//! What statistics can decide of a predicate. A new test of values gets an arm in [`ZoneTest::new`].

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};

use super::super::bound::{Comparand, Comparison, ValueTest};
use super::key_bounds::KeyBounds;
use crate::index::attributes::{KeyList, each_key};
use crate::segment::ColumnStatistics;

/// A test of the values of a column, as far as bounds and null counts can decide it.
#[derive(Debug)]
pub(super) enum ZoneTest {
    Null,
    Compare(Comparison, Box<[u8]>),
    /// One of these keys.
    In(Arc<KeyList>),
    /// A key with this prefix.
    Prefix(Box<[u8]>),
    /// An array with all of these keys.
    Every(Vec<Box<[u8]>>),
    /// An array, with elements or without.
    Array,
    /// Bounds decide nothing, but there must be a value, or an element.
    Value,
    /// Not even the absence of values decides it.
    Anything,
}

impl ZoneTest {
    /// The test to use for `test`. [`ZoneTest::Anything`] is always correct: it prunes nothing.
    pub(super) fn new(test: &ValueTest) -> Self {
        match test {
            ValueTest::Null => Self::Null,
            // Bounds are of whole texts, not of tokens.
            ValueTest::Tokens(_) => Self::Value,
            ValueTest::Pattern(pattern) => Self::Prefix(pattern.prefix().as_bytes().into()),
            // Equality with a null of the incoming row is true of nulls.
            ValueTest::Compare(_, Comparand::New(_)) => Self::Anything,
            ValueTest::Member(set) => set.keys().map_or(Self::Array, Self::In),
            ValueTest::Compare(comparison, Comparand::Literal(literal)) => {
                if let Some(list) = literal.as_list_opt::<i32>() {
                    return encode_keys(list.values()).map_or(Self::Array, Self::Every);
                }
                // A literal is one scalar, so there is one key.
                let key = encode_keys(literal).and_then(|mut keys| keys.pop());
                key.map_or(Self::Anything, |key| Self::Compare(*comparison, key))
            }
        }
    }

    /// The answer, if it is the same for all `rows` rows.
    pub(super) fn find_answer(
        &self,
        statistics: &ColumnStatistics,
        rows: u32,
        elements: bool,
    ) -> Option<bool> {
        let all_null = statistics.nulls >= rows;
        // Without bounds no row has a value, or an element.
        let bounds = statistics.bounds.as_ref();
        let bounds = bounds.map(|(min, max)| KeyBounds { min: min.bytes(), max: max.bytes() });
        let answer = match self {
            Self::Anything => return None,
            Self::Null if statistics.nulls == 0 => return Some(false),
            Self::Null => return all_null.then_some(true),
            // The other predicates are false of a null.
            _ if all_null => return Some(false),
            Self::Array => return None,
            // An empty array equals only an empty one, for which there are no keys to look for.
            Self::Every(keys) => {
                let may_match = |bounds: KeyBounds<'_>| keys.iter().all(|key| bounds.may_contain(key));
                if bounds.map_or(keys.is_empty(), may_match) { None } else { Some(false) }
            }
            Self::Value => bounds.map_or(Some(false), |_| None),
            Self::Compare(comparison, key) => {
                bounds.map_or(Some(false), |bounds| bounds.compare_all(*comparison, key))
            }
            Self::In(keys) => bounds.map_or(Some(false), |bounds| bounds.compare_all_with_list(keys)),
            Self::Prefix(prefix) => {
                let none_match = |bounds: KeyBounds<'_>| {
                    bounds.are_below(prefix) || (bounds.are_above(prefix) && !bounds.min.starts_with(prefix))
                };
                if bounds.is_none_or(none_match) { Some(false) } else { None }
            }
        };
        // A row without a value, or an array without elements, fails the test. The number of empty arrays is unknown.
        answer.filter(|answer| !answer || (statistics.nulls == 0 && !elements))
    }
}

/// The keys of all values of an array; `None` for a type without keys, which is then not pruned by its bounds.
fn encode_keys(array: &ArrayRef) -> Option<Vec<Box<[u8]>>> {
    let mut keys = Vec::new();
    each_key(array, |_, key| keys.push(key.into())).ok()?;
    Some(keys)
}
