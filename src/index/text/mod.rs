//! Full text: which rows hold which tokens, where, and how much each weighs.
//!
//! A segment has one tantivy index of all its text columns, packed into one file that is read by range; a run of
//! the tail has a small inverted index in memory. Both give the same postings and the same lengths, and one
//! executor scores over either, so a score does not depend on where a document lies.
//!
//! The length of a text is what tantivy keeps of it in one byte, everywhere, also in the average.
//!
//! **Invariant:** a read from a packed file that was not fetched before is an error of this crate, never a wait.

mod analyzer;
mod blocks;
mod bm25;
mod bounds;
mod contains;
mod cut;
mod expand;
mod group;
mod levenshtein;
mod memory;
mod packed;
mod pages;
mod phrase;
mod places;
mod plan;
mod postings;
mod recent;
mod scorer;
mod search;
mod source;
mod stored;
mod sweep;
mod top;
mod values;
mod words;

#[cfg(test)]
mod tests;

pub(crate) use analyzer::{Analyzer, GAP};
pub(crate) use contains::{Contains, Enough};
pub(crate) use expand::Spec;
pub(crate) use levenshtein::Levenshtein;
pub(crate) use memory::MemoryIndex;
pub(crate) use packed::TextWriter;
pub(crate) use plan::{Join, Leaf, Node, Plan};
pub(crate) use search::{Counts, Loaded, Stats};
pub(crate) use source::TextSource;
pub(crate) use stored::StoredIndex;
pub(crate) use values::Values;

use arrow::array::{Array, ArrayRef, AsArray};

/// Calls `each` with every string of a row of a string or string-array column.
fn strings(array: &ArrayRef, row: usize, mut each: impl FnMut(&str)) {
    if array.is_null(row) {
        return;
    }
    if let Some(strings) = array.as_string_opt::<i32>() {
        each(strings.value(row));
    } else if let Some(lists) = array.as_list_opt::<i32>() {
        let list = lists.value(row);
        if let Some(strings) = list.as_string_opt::<i32>() {
            strings.iter().flatten().for_each(each);
        }
    }
}
