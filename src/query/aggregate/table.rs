//! Groups and their accumulators.
//!
//! Values are keys of the attribute index, bytes that compare as the values do. Parts that are answered from their index
//! and parts that are answered from their columns therefore add up in the same table.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use arrow::array::RecordBatch;

use super::AggregateGroup;
use super::accumulator::{Accumulator, ENTRY_BYTES, key_value};
use super::bind::{AggregatePlan, BoundAggregate, GroupKey};
use crate::codec::{put_len_u32, usize_of, zip_equal};
use crate::error::{Error, Result};
use crate::query::keys::ColumnKeys;
use crate::types::Value;

/// The memory that groups and distinct values may take.
// Their number depends on the data, so a query that wants ten groups may build millions. Beyond the limit the query
// fails: leaving groups out while counting would make the largest ones wrong, not only incomplete.
const BYTES_MAX: usize = 128 << 20;
/// The length that marks a null in the name of a group.
// Keys are far shorter, so it cannot be one of theirs.
const NULL_LENGTH: u32 = u32::MAX;

/// The groups found so far.
#[derive(Debug, Default)]
pub(super) struct GroupTable {
    /// The number of each group by its name, which encodes its keys: see [`append_key`].
    numbers: HashMap<Box<[u8]>, usize>,
    groups: Vec<GroupState>,
    bytes: usize,
}

#[derive(Debug)]
struct GroupState {
    count: u64,
    /// One for each aggregate of the plan.
    accumulators: Vec<Accumulator>,
}

/// A group with what orders it.
struct RankedGroup<'a> {
    keys: Vec<Option<&'a [u8]>>,
    state: &'a GroupState,
}

/// A row of the columns of a plan.
#[derive(Clone, Copy)]
struct RowKeys<'a> {
    columns: &'a [ColumnKeys],
    row: usize,
}

impl<'a> RowKeys<'a> {
    fn column_keys(self, column: usize) -> Result<impl Iterator<Item = &'a [u8]>> {
        let keys = self.columns.get(column);
        keys.ok_or_else(|| Error::internal("a column of an aggregation was not read"))?.row_keys(self.row)
    }
}

impl GroupTable {
    /// Adds the rows of a batch, which has the id and the columns of the plan.
    pub(super) fn add_batch(&mut self, plan: &AggregatePlan, batch: &RecordBatch) -> Result<()> {
        // The id comes first in every batch.
        let columns: Vec<ColumnKeys> =
            batch.columns().iter().skip(1).map(ColumnKeys::new).collect::<Result<_>>()?;
        // One buffer for the names of all rows: most rows belong to a group that exists.
        let mut name = Vec::new();
        for row in 0..batch.num_rows() {
            self.add_row(plan, RowKeys { columns: &columns, row }, &plan.keys, &mut name)?;
        }
        Ok(())
    }

    /// Adds a row to all groups whose names begin with `name`, by the keys that are left.
    ///
    /// It recurses over at most eight keys and branches only at the one that may be an array.
    fn add_row(
        &mut self,
        plan: &AggregatePlan,
        row: RowKeys<'_>,
        keys_left: &[GroupKey],
        name: &mut Vec<u8>,
    ) -> Result<()> {
        let Some((first, keys_left)) = keys_left.split_first() else {
            let number = self.find_or_insert(plan, name)?;
            for (slot, aggregate) in plan.aggregates.iter().enumerate() {
                for key in row.column_keys(aggregate.column)? {
                    self.add_to_aggregate((number, slot), aggregate, key, 1)?;
                }
            }
            return self.add_count(number, 1);
        };
        let mut keys: Vec<Option<&[u8]>> = row.column_keys(first.column)?.map(Some).collect();
        if first.elements {
            // A document counts once in the group of an element that it has twice.
            keys.sort_unstable();
            keys.dedup();
        } else if keys.is_empty() {
            keys.push(None);
        }
        for key in keys {
            let length = name.len();
            append_key(key, name)?;
            self.add_row(plan, row, keys_left, name)?;
            name.truncate(length);
        }
        Ok(())
    }

    /// Adds `rows` rows to the group of a key, or of null.
    pub(super) fn add_key_rows(&mut self, plan: &AggregatePlan, key: Option<&[u8]>, rows: u64) -> Result<()> {
        let mut name = Vec::new();
        append_key(key, &mut name)?;
        let number = self.find_or_insert(plan, &name)?;
        self.add_count(number, rows)
    }

    /// Adds `rows` rows to the only group of a plan without keys.
    pub(super) fn add_ungrouped_rows(&mut self, plan: &AggregatePlan, rows: u64) -> Result<()> {
        let number = self.find_or_insert(plan, &[])?;
        self.add_count(number, rows)
    }

    /// Adds a value that `rows` rows have in `column` to the aggregates of the only group.
    pub(super) fn add_ungrouped_value(
        &mut self,
        plan: &AggregatePlan,
        column: usize,
        key: &[u8],
        rows: u64,
    ) -> Result<()> {
        let number = self.find_or_insert(plan, &[])?;
        let aggregates = plan.aggregates.iter().enumerate();
        for (slot, aggregate) in aggregates.filter(|(_, aggregate)| aggregate.column == column) {
            self.add_to_aggregate((number, slot), aggregate, key, rows)?;
        }
        Ok(())
    }

    fn find_or_insert(&mut self, plan: &AggregatePlan, name: &[u8]) -> Result<usize> {
        if let Some(number) = self.numbers.get(name) {
            return Ok(*number);
        }
        let number = self.groups.len();
        let accumulators = plan.aggregates.iter().map(Accumulator::new).collect();
        self.groups.push(GroupState { count: 0, accumulators });
        self.numbers.insert(name.into(), number);
        self.reserve_bytes(name.len() + (plan.aggregates.len() + 1) * ENTRY_BYTES)?;
        Ok(number)
    }

    fn add_count(&mut self, number: usize, rows: u64) -> Result<()> {
        self.groups.get_mut(number).ok_or_else(no_such_group)?.count += rows;
        Ok(())
    }

    fn add_to_aggregate(
        &mut self,
        (number, slot): (usize, usize),
        aggregate: &BoundAggregate,
        key: &[u8],
        rows: u64,
    ) -> Result<()> {
        let group = self.groups.get_mut(number).ok_or_else(no_such_group)?;
        let accumulator = group.accumulators.get_mut(slot).ok_or_else(no_such_group)?;
        let bytes = accumulator.add_value(aggregate, key, rows);
        if bytes > 0 { self.reserve_bytes(bytes) } else { Ok(()) }
    }

    fn reserve_bytes(&mut self, bytes: usize) -> Result<()> {
        self.bytes += bytes;
        if self.bytes > BYTES_MAX {
            return Err(Error::limit(format!(
                "too many groups or distinct values: at most {BYTES_MAX} bytes of them are allowed"
            )));
        }
        Ok(())
    }

    /// The largest groups, and the number of all groups.
    pub(super) fn into_groups(mut self, plan: &AggregatePlan) -> Result<(Vec<AggregateGroup>, usize)> {
        if plan.keys.is_empty() {
            // The figures of no documents are an answer too: a count of 0, a sum of 0.
            self.find_or_insert(plan, &[])?;
        }
        let total = self.groups.len();
        let ranked = self.numbers.iter().map(|(name, number)| {
            let state = self.groups.get(*number).ok_or_else(no_such_group)?;
            Ok(RankedGroup { keys: split_name(name)?, state })
        });
        let mut ranked: Vec<RankedGroup<'_>> = ranked.collect::<Result<_>>()?;
        // Most aggregations return a few of many groups: those are selected first, and only they are sorted.
        if plan.groups_max < ranked.len() {
            ranked.select_nth_unstable_by(plan.groups_max, RankedGroup::largest_first);
            ranked.truncate(plan.groups_max);
        }
        ranked.sort_unstable_by(RankedGroup::largest_first);
        Ok((ranked.iter().map(|group| group.to_public(plan)).collect::<Result<_>>()?, total))
    }
}

impl RankedGroup<'_> {
    /// The order of a response. Keys make it total, so that equal counts are in the same order for any set of segments.
    fn largest_first(&self, other: &Self) -> Ordering {
        other.state.count.cmp(&self.state.count).then_with(|| self.keys.cmp(&other.keys))
    }

    fn to_public(&self, plan: &AggregatePlan) -> Result<AggregateGroup> {
        let keys = zip_equal(&self.keys, &plan.keys, "keys of a group")?;
        let keys = keys.map(|(key, described)| key_value(described.kind, *key)).collect::<Result<_>>()?;
        let values = zip_equal(&self.state.accumulators, &plan.aggregates, "accumulators of a group")?;
        let values =
            values.map(|(state, aggregate)| Ok((aggregate.name.clone(), state.to_value(aggregate)?)));
        let values = values.collect::<Result<BTreeMap<String, Value>>>()?;
        Ok(AggregateGroup { keys, count: self.state.count, values })
    }
}

#[cold]
fn no_such_group() -> Error {
    Error::internal("no such group in an aggregation")
}

/// Appends a key to the name of a group, after its length: keys hold any bytes, so no separator would do.
fn append_key(key: Option<&[u8]>, name: &mut Vec<u8>) -> Result<()> {
    match key {
        None => name.extend(NULL_LENGTH.to_le_bytes()),
        Some(key) => {
            put_len_u32(name, key.len())?;
            name.extend(key);
        }
    }
    Ok(())
}

/// The keys in the name of a group.
fn split_name(mut name: &[u8]) -> Result<Vec<Option<&[u8]>>> {
    let broken = || Error::internal("the name of a group does not hold its keys");
    let mut keys = Vec::new();
    while !name.is_empty() {
        let (length, rest) = name.split_first_chunk::<4>().ok_or_else(broken)?;
        name = match u32::from_le_bytes(*length) {
            NULL_LENGTH => {
                keys.push(None);
                rest
            }
            length => {
                let (key, rest) = rest.split_at_checked(usize_of(length)).ok_or_else(broken)?;
                keys.push(Some(key));
                rest
            }
        };
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_gives_back_its_keys_and_a_broken_one_is_an_error() {
        for keys in [vec![], vec![None], vec![Some(&b""[..]), None, Some(&[0xff; 5][..])]] {
            let mut name = Vec::new();
            keys.iter().try_for_each(|key| append_key(*key, &mut name)).unwrap();
            assert_eq!(split_name(&name).unwrap(), keys);
        }
        let mut name = Vec::new();
        append_key(Some(b"abc"), &mut name).unwrap();
        assert!(split_name(&name[..name.len() - 1]).is_err() && split_name(&name[..2]).is_err());
    }
}
