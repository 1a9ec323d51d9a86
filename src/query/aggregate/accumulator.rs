//! What is added up for one aggregate of a group.

use std::collections::HashSet;

use super::bind::{AggregateFunction, BoundAggregate};
use crate::error::{Error, Result};
use crate::index::attributes::{bits_of, value_of};
use crate::schema::AttributeType;
use crate::types::Value;

/// What an entry of a hash table costs besides the bytes of its key: the slot, and the allocator's share of the key.
pub(super) const ENTRY_BYTES: usize = 64;

/// The running state of an aggregate. An average keeps its sum and divides once at the end, so that it is rounded once.
#[derive(Debug)]
pub(super) enum Accumulator {
    /// A sum of ints or uints.
    // 128 bits, so that only the result can overflow its type: the order of the rows does not decide whether a sum of
    // positive and negative values is an error.
    Integer {
        sum: i128,
        values: u64,
    },
    Float {
        sum: f64,
        values: u64,
    },
    /// The smallest or largest key.
    Extreme(Option<Box<[u8]>>),
    // Exact, not a sketch: the answer must not change with the order in which segments are read, and the memory is bounded.
    Distinct(HashSet<Box<[u8]>>),
}

impl Accumulator {
    pub(super) fn new(aggregate: &BoundAggregate) -> Self {
        match (aggregate.function, aggregate.kind) {
            (AggregateFunction::Sum | AggregateFunction::Avg, AttributeType::Float) => {
                Self::Float { sum: 0.0, values: 0 }
            }
            (AggregateFunction::Sum | AggregateFunction::Avg, _) => Self::Integer { sum: 0, values: 0 },
            (AggregateFunction::Min | AggregateFunction::Max, _) => Self::Extreme(None),
            (AggregateFunction::Distinct, _) => Self::Distinct(HashSet::new()),
        }
    }

    /// Adds a value that `rows` rows have. Returns the bytes of memory that it takes.
    pub(super) fn add_value(&mut self, aggregate: &BoundAggregate, key: &[u8], rows: u64) -> usize {
        match self {
            Self::Integer { sum, values } => {
                // It cannot saturate with fewer than 2^62 rows. If it did, `to_value` would refuse the sum: it does not fit
                // its type.
                *sum = sum.saturating_add(integer_value(aggregate.kind, key).saturating_mul(rows.into()));
                *values += rows;
                0
            }
            Self::Float { sum, values } => {
                #[expect(clippy::cast_precision_loss, reason = "a part has fewer than 2^53 rows")]
                let times = rows as f64;
                *sum += f64::from_bits(bits_of(aggregate.kind, key)) * times;
                *values += rows;
                0
            }
            Self::Extreme(best) => {
                let is_min = aggregate.function == AggregateFunction::Min;
                let is_better = |best: &[u8]| if is_min { key < best } else { key > best };
                if best.as_deref().is_some_and(|best| !is_better(best)) {
                    return 0;
                }
                let bytes_before = best.as_ref().map_or(0, |best| best.len());
                *best = Some(key.into());
                // A shorter key gives nothing back: the budget is a bound, and the group may grow again.
                key.len().saturating_sub(bytes_before)
            }
            // Looked up before it is inserted: most values are known, and need no allocation.
            Self::Distinct(seen) if seen.contains(key) => 0,
            Self::Distinct(seen) => {
                seen.insert(key.into());
                key.len() + ENTRY_BYTES
            }
        }
    }

    /// The value of the aggregate.
    pub(super) fn to_value(&self, aggregate: &BoundAggregate) -> Result<Value> {
        let is_average = aggregate.function == AggregateFunction::Avg;
        Ok(match self {
            #[expect(clippy::cast_precision_loss, reason = "an average is rounded")]
            Self::Integer { sum, values } if is_average => divide_or_null(*sum as f64, *values),
            Self::Integer { sum, .. } => {
                let value = match aggregate.kind {
                    AttributeType::Int => i64::try_from(*sum).ok().map(Value::Int),
                    _ => u64::try_from(*sum).ok().map(Value::Uint),
                };
                value.ok_or_else(|| {
                    let (kind, name) = (aggregate.kind, &aggregate.name);
                    Error::limit(format!("a sum does not fit its type, {kind}. sum=`{sum}` name=`{name}`"))
                })?
            }
            Self::Float { sum, values } if is_average => divide_or_null(*sum, *values),
            Self::Float { sum, .. } => Value::Float(*sum),
            Self::Extreme(best) => key_value(aggregate.kind, best.as_deref())?,
            Self::Distinct(seen) => Value::Uint(seen.len() as u64),
        })
    }
}

fn integer_value(kind: AttributeType, key: &[u8]) -> i128 {
    let bits = bits_of(kind, key);
    if kind == AttributeType::Int { bits.cast_signed().into() } else { bits.into() }
}

#[expect(clippy::cast_precision_loss, reason = "an average is rounded")]
fn divide_or_null(sum: f64, values: u64) -> Value {
    if values == 0 { Value::Null } else { Value::Float(sum / values as f64) }
}

/// The value of a key; null without one.
pub(super) fn key_value(kind: AttributeType, key: Option<&[u8]>) -> Result<Value> {
    let Some(key) = key else { return Ok(Value::Null) };
    value_of(kind, key).ok_or_else(|| Error::internal(format!("group key is not a valid {kind}")))
}
