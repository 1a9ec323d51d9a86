//! Groups, and what is added up in them.
//!
//! Values are keys of the index of attributes, bytes that compare as the values do, whatever part they come from.

use std::collections::{BTreeMap, HashMap, HashSet};

use arrow::array::RecordBatch;

use super::AggregateGroup;
use super::bind::{Grouping, Plan, Tally, What};
use crate::error::{Error, Result};
use crate::index::attributes::{bits_of, value_of};
use crate::query::keys::Keys;
use crate::schema::AttributeType;
use crate::types::Value;

/// What groups and different values may take of memory.
const BYTES_MAX: usize = 128 << 20;
/// What a group or a value takes beside its bytes, about.
const ENTRY_BYTES: usize = 64;

/// The count of a group, its keys and its number.
type Ranked<'a> = (u64, Vec<Option<&'a [u8]>>, usize);

/// The groups that were found so far.
#[derive(Debug, Default)]
pub(super) struct Table {
    numbers: HashMap<Box<[u8]>, usize>,
    groups: Vec<Summed>,
    bytes: usize,
}

/// What was added up in a group.
#[derive(Debug)]
struct Summed {
    count: u64,
    states: Vec<State>,
}

#[derive(Debug)]
enum State {
    Whole { sum: i128, values: u64 },
    Float { sum: f64, values: u64 },
    Extreme(Option<Box<[u8]>>),
    Distinct(HashSet<Box<[u8]>>),
}

impl Table {
    /// Adds the rows of a batch: the id, and the columns of the plan.
    pub(super) fn add_batch(&mut self, plan: &Plan, batch: &RecordBatch) -> Result<()> {
        let columns: Vec<Keys> = batch.columns().iter().skip(1).map(Keys::new).collect::<Result<_>>()?;
        let mut name = Vec::new();
        for row in 0..batch.num_rows() {
            self.add_row(plan, &columns, row, &plan.keys, &mut name)?;
        }
        Ok(())
    }

    /// Adds a row to the groups whose names begin with `name`.
    fn add_row(
        &mut self,
        plan: &Plan,
        columns: &[Keys],
        row: usize,
        rest: &[Grouping],
        name: &mut Vec<u8>,
    ) -> Result<()> {
        let cell = |column: usize| columns.get(column).into_iter().flat_map(move |keys| keys.of(row));
        let Some((first, rest)) = rest.split_first() else {
            let number = self.group(plan, name)?;
            for (at, tally) in plan.tallies.iter().enumerate() {
                for key in cell(tally.column) {
                    self.tally((number, at), tally, key, 1)?;
                }
            }
            return self.count(number, 1);
        };
        let mut keys: Vec<Option<&[u8]>> = cell(first.column).map(Some).collect();
        if first.elements {
            keys.sort_unstable();
            keys.dedup();
        } else if keys.is_empty() {
            keys.push(None);
        }
        for key in keys {
            let length = name.len();
            push(key, name);
            self.add_row(plan, columns, row, rest, name)?;
            name.truncate(length);
        }
        Ok(())
    }

    /// Adds rows that are known to have a value, or none.
    pub(super) fn add_rows(&mut self, plan: &Plan, key: Option<&[u8]>, rows: u64) -> Result<()> {
        let mut name = Vec::new();
        push(key, &mut name);
        let number = self.group(plan, &name)?;
        self.count(number, rows)
    }

    /// Adds rows that are in the one group.
    pub(super) fn add_all(&mut self, plan: &Plan, rows: u64) -> Result<()> {
        let number = self.group(plan, &[])?;
        self.count(number, rows)
    }

    /// Adds a value that so many rows have to the figures of its column in the one group.
    pub(super) fn add_value(&mut self, plan: &Plan, column: usize, key: &[u8], rows: u64) -> Result<()> {
        let number = self.group(plan, &[])?;
        for (at, tally) in plan.tallies.iter().enumerate().filter(|(_, tally)| tally.column == column) {
            self.tally((number, at), tally, key, rows)?;
        }
        Ok(())
    }

    fn group(&mut self, plan: &Plan, name: &[u8]) -> Result<usize> {
        if let Some(number) = self.numbers.get(name) {
            return Ok(*number);
        }
        let number = self.groups.len();
        self.groups.push(Summed { count: 0, states: plan.tallies.iter().map(State::new).collect() });
        self.numbers.insert(name.into(), number);
        self.take(name.len() + (plan.tallies.len() + 1) * ENTRY_BYTES)?;
        Ok(number)
    }

    fn count(&mut self, number: usize, rows: u64) -> Result<()> {
        let group = self.groups.get_mut(number).ok_or_else(|| Error::internal("no such group"))?;
        group.count += rows;
        Ok(())
    }

    fn tally(&mut self, (number, at): (usize, usize), tally: &Tally, key: &[u8], rows: u64) -> Result<()> {
        let state = self.groups.get_mut(number).and_then(|group| group.states.get_mut(at));
        let taken = state.ok_or_else(|| Error::internal("no such group"))?.add(tally, key, rows);
        if taken > 0 { self.take(taken) } else { Ok(()) }
    }

    fn take(&mut self, bytes: usize) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > BYTES_MAX {
            return Err(Error::limit(format!(
                "too many groups or different values: at most {BYTES_MAX} bytes of them are allowed"
            )));
        }
        Ok(())
    }

    /// The greatest groups, and how many there are.
    pub(super) fn finish(mut self, plan: &Plan) -> Result<(Vec<AggregateGroup>, usize)> {
        if plan.keys.is_empty() {
            self.group(plan, &[])?;
        }
        let total = self.groups.len();
        let mut order: Vec<Ranked<'_>> = self
            .numbers
            .iter()
            .map(|(name, number)| {
                (self.groups.get(*number).map_or(0, |group| group.count), split(name), *number)
            })
            .collect();
        let first = |a: &Ranked<'_>, b: &Ranked<'_>| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1));
        if plan.groups < order.len() {
            order.select_nth_unstable_by(plan.groups, first);
            order.truncate(plan.groups);
        }
        order.sort_unstable_by(first);
        let group = |(count, keys, number): Ranked<'_>| {
            let keys = keys
                .into_iter()
                .zip(&plan.keys)
                .map(|(key, of)| value(of.kind, key))
                .collect::<Result<_>>()?;
            let states = self.groups.get(number).map(|group| group.states.as_slice()).unwrap_or_default();
            let values = states.iter().zip(&plan.tallies);
            let values = values.map(|(state, tally)| Ok((tally.name.clone(), state.finish(tally)?)));
            Ok(AggregateGroup { keys, count, values: values.collect::<Result<BTreeMap<_, _>>>()? })
        };
        Ok((order.into_iter().map(group).collect::<Result<_>>()?, total))
    }
}

impl State {
    fn new(tally: &Tally) -> Self {
        match (tally.what, tally.kind) {
            (What::Sum | What::Avg, AttributeType::Float) => Self::Float { sum: 0.0, values: 0 },
            (What::Sum | What::Avg, _) => Self::Whole { sum: 0, values: 0 },
            (What::Min | What::Max, _) => Self::Extreme(None),
            (What::Distinct, _) => Self::Distinct(HashSet::new()),
        }
    }

    /// Adds a value that some rows have. Gives the bytes that it takes.
    fn add(&mut self, tally: &Tally, key: &[u8], rows: u64) -> usize {
        match self {
            // As many rows as there can be, each with the greatest number, stay below the greatest sum.
            Self::Whole { sum, values } => {
                *sum = sum.saturating_add(whole(tally.kind, key).saturating_mul(rows.into()));
                *values += rows;
                0
            }
            Self::Float { sum, values } => {
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "a segment has fewer rows than a float counts"
                )]
                let times = rows as f64;
                *sum += f64::from_bits(bits_of(tally.kind, key)) * times;
                *values += rows;
                0
            }
            Self::Extreme(best) => {
                let better = best
                    .as_deref()
                    .is_none_or(|best| if tally.what == What::Min { key < best } else { key > best });
                if !better {
                    return 0;
                }
                let before = best.as_ref().map_or(0, |best| best.len());
                *best = Some(key.into());
                key.len().saturating_sub(before)
            }
            Self::Distinct(seen) if seen.contains(key) => 0,
            Self::Distinct(seen) => {
                seen.insert(key.into());
                key.len() + ENTRY_BYTES
            }
        }
    }

    fn finish(&self, tally: &Tally) -> Result<Value> {
        Ok(match self {
            #[expect(clippy::cast_precision_loss, reason = "an average is rounded")]
            Self::Whole { sum, values } if tally.what == What::Avg => average(*sum as f64, *values),
            Self::Whole { sum, .. } => {
                let fits = match tally.kind {
                    AttributeType::Int => i64::try_from(*sum).ok().map(Value::Int),
                    _ => u64::try_from(*sum).ok().map(Value::Uint),
                };
                let why = || {
                    format!("a sum does not fit its type, {}. sum=`{sum}` name=`{}`", tally.kind, tally.name)
                };
                fits.ok_or_else(|| Error::limit(why()))?
            }
            Self::Float { sum, values } if tally.what == What::Avg => average(*sum, *values),
            Self::Float { sum, .. } => Value::Float(*sum),
            Self::Extreme(best) => value(tally.kind, best.as_deref())?,
            Self::Distinct(seen) => Value::Uint(seen.len() as u64),
        })
    }
}

fn whole(kind: AttributeType, key: &[u8]) -> i128 {
    let bits = bits_of(kind, key);
    if kind == AttributeType::Int { bits.cast_signed().into() } else { bits.into() }
}

#[expect(clippy::cast_precision_loss, reason = "an average is rounded")]
fn average(sum: f64, values: u64) -> Value {
    if values == 0 { Value::Null } else { Value::Float(sum / values as f64) }
}

fn value(kind: AttributeType, key: Option<&[u8]>) -> Result<Value> {
    let Some(key) = key else { return Ok(Value::Null) };
    value_of(kind, key).ok_or_else(|| Error::internal(format!("a key is of no {kind}")))
}

/// Appends a key to the name of a group.
fn push(key: Option<&[u8]>, name: &mut Vec<u8>) {
    match key {
        None => name.extend([u8::MAX; 4]),
        Some(key) => {
            name.extend(u32::try_from(key.len()).unwrap_or_default().to_be_bytes());
            name.extend(key);
        }
    }
}

/// The keys of the name of a group.
fn split(mut name: &[u8]) -> Vec<Option<&[u8]>> {
    let mut keys = Vec::new();
    while let Some((length, rest)) = name.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length);
        let end = if length == u32::MAX { 0 } else { length as usize };
        let (key, rest) = rest.split_at_checked(end).unwrap_or_default();
        keys.push((length != u32::MAX).then_some(key));
        name = rest;
    }
    keys
}
