//! The distinct vectors of a column: a vector that equals an earlier one is kept as a copy of it.
//!
//! Missing values, templates and placeholders make collections in which most rows have one vector. Copies take no part
//! in placing clusters or in measuring recall, where they would outweigh all others.

use std::collections::HashMap;
use std::iter;

use crate::codec::{checksum, usize_of};

/// From this many rows on, a vector gets a record of its own: one code for all rows, and one exact vector to compare.
// Below, a code per row costs little, and a record of its own would cost an entry, a checksum and often a request.
pub(super) const COPIES_MIN: usize = 128;

/// The vectors of a column of a segment, as the metric compares them, each once, and the rows they belong to.
#[derive(Debug, Default)]
pub(crate) struct DistinctVectors {
    pub(crate) dimension: usize,
    pub(crate) values: Vec<f32>,
    /// The first row of each vector.
    pub(crate) rows: Vec<u32>,
    /// Vector and row of each further row of a vector: ascending.
    pub(crate) copies: Vec<(u32, u32)>,
}

impl DistinctVectors {
    /// How many rows have a vector.
    pub(crate) fn len(&self) -> usize {
        self.rows.len() + self.copies.len()
    }

    /// The rows that have a vector.
    ///
    /// # Panics
    /// If there is no such vector.
    #[expect(clippy::indexing_slicing, reason = "a vector that is not there would lose its rows in silence")]
    pub(super) fn rows_of(&self, vector: u32) -> impl Iterator<Item = u32> + Clone + '_ {
        let start = self.copies.partition_point(|(copied, _)| *copied < vector);
        let (_, copies) = self.copies.split_at(start);
        let copies = copies.iter().take_while(move |(copied, _)| *copied == vector).map(|(_, row)| *row);
        iter::once(self.rows[usize_of(vector)]).chain(copies)
    }

    /// The components of a vector.
    ///
    /// # Panics
    /// If there is no such vector.
    #[expect(clippy::indexing_slicing, reason = "a vector that is not there would get a wrong code")]
    pub(super) fn values_of(&self, vector: u32) -> &[f32] {
        let start = usize_of(vector) * self.dimension;
        &self.values[start..start + self.dimension]
    }
}

/// Finds vectors that were seen before, bit by bit.
#[derive(Debug, Default)]
pub(crate) struct CopyFinder {
    /// The number of the first vector with a checksum of components.
    first: HashMap<u64, u32>,
    bytes: Vec<u8>,
}

impl CopyFinder {
    /// The number of the first vector whose components have the same checksum: the caller has to compare them. A vector
    /// with a new checksum is entered under `number`.
    // Checksums instead of components: a map of the components would hold all vectors a second time.
    pub(crate) fn find(&mut self, components: &[f32], number: u32) -> Option<u32> {
        self.bytes.clear();
        self.bytes.extend(components.iter().flat_map(|x| x.to_le_bytes()));
        let first = *self.first.entry(checksum(&self.bytes)).or_insert(number);
        (first != number).then_some(first)
    }
}
