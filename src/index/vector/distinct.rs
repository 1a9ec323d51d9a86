//! The different vectors of a column: what is the same as one before is kept as a copy of it.
//!
//! Missing values, templates and placeholders make collections in which most rows have one vector. Copies take no part
//! in placing clusters nor in measuring recall, where they would count for more than all others.

use std::collections::HashMap;

use crate::codec::checksum;

/// So many rows with one vector make a record of their own: one code for all, and one exact vector to compare.
pub(super) const COPIES_MIN: usize = 128;

/// The vectors of a column of a segment, as the metric compares them, each once, and the rows they are of.
#[derive(Debug, Default)]
pub(crate) struct DistinctVectors {
    pub(crate) dimension: usize,
    pub(crate) values: Vec<f32>,
    /// The first row of each.
    pub(crate) rows: Vec<u32>,
    /// The further rows that have one of them, by its number: ascending.
    pub(crate) copies: Vec<(u32, u32)>,
}

impl DistinctVectors {
    /// How many rows have a vector.
    pub(crate) fn len(&self) -> usize {
        self.rows.len() + self.copies.len()
    }

    /// The rows that have a vector.
    pub(super) fn rows_of(&self, vector: usize) -> impl Iterator<Item = u32> + Clone + '_ {
        let number = u32::try_from(vector).unwrap_or(u32::MAX);
        let start = self.copies.partition_point(|(of, _)| *of < number);
        let copies = self.copies.get(start..).unwrap_or_default().iter();
        let copies = copies.take_while(move |(of, _)| *of == number).map(|(_, row)| *row);
        self.rows.get(vector).copied().into_iter().chain(copies)
    }

    pub(super) fn values_of(&self, vector: usize) -> &[f32] {
        let start = vector * self.dimension;
        self.values.get(start..start + self.dimension).unwrap_or_default()
    }
}

/// Finds vectors that were seen before, bit by bit.
#[derive(Debug, Default)]
pub(crate) struct CopyFinder {
    /// By the checksum of the components, the number of the first that has it.
    first: HashMap<u64, u32>,
    bytes: Vec<u8>,
}

impl CopyFinder {
    /// The number of the vector with these components, if it is the first that has their checksum: whether they are
    /// the same is for the caller to see. What has none takes `number`.
    pub(crate) fn find(&mut self, components: &[f32], number: u32) -> Option<u32> {
        self.bytes.clear();
        self.bytes.extend(components.iter().flat_map(|x| x.to_le_bytes()));
        let first = *self.first.entry(checksum(&self.bytes)).or_insert(number);
        (first != number).then_some(first)
    }
}
