//! The candidates of a probe, by the blocks it needs.

use std::ops::Bound;

use bytes::Bytes;
use roaring::RoaringBitmap;

use super::super::format::{
    BlockKeys, KEY_BYTES_MAX, KeyBlock, KeyColumn, KeyList, KeyPostings, RowGatherer, decode_bitmap,
    is_whole, seek_forward, truncate_key,
};
use super::pattern::Pattern;
use super::probe::AttributeProbe;
use crate::codec::{CodecError, all_rows, usize_of};
use crate::index::Candidates;

const WHAT: &str = "attribute index";

/// Whether the values of a key match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum KeyMatch {
    No,
    /// The key is truncated: values that begin with it may match or not.
    Possible,
    Definite,
}

/// The rows that match so far.
struct CandidateCollector<'a> {
    definite: RowGatherer<'a>,
    /// Rows of keys whose match is only possible. They may be definite too, by another key.
    doubtful: RowGatherer<'a>,
}

impl AttributeProbe {
    /// The candidates in a column, by the blocks that [`find_spans`](Self::find_spans) names.
    pub(crate) fn find_candidates(
        &self,
        column: &KeyColumn,
        blocks: &[Bytes],
    ) -> Result<Candidates, CodecError> {
        if matches!(self, Self::Null) {
            return find_nulls(column, blocks).map(Candidates::exact);
        }
        if let Self::MatchesAmong(_, indexes) = self
            && indexes.len() != blocks.len()
        {
            return Err(CodecError::malformed(WHAT, "another number of blocks than the probe names"));
        }
        let mut collector = CandidateCollector::new(column.rows);
        // Keys of a list are in order, and so are those of the blocks: each block goes on where the last one ended.
        let mut next_member = 0;
        for (number, bytes) in blocks.iter().enumerate() {
            let block = KeyBlock::open(column.width, bytes)?;
            match self {
                Self::Null => {}
                Self::Range(low, high) => collector.add_range(block, low, high)?,
                Self::In(keys) => collector.add_members(block, keys, &mut next_member)?,
                Self::Matches(pattern) => collector.add_matches(block, pattern)?,
                Self::MatchesAmong(pattern, indexes) => {
                    // invariant: as many lists as blocks, by the check above.
                    let indexes = indexes.get(number).map_or(&[][..], Vec::as_slice);
                    collector.add_matches_among(block, pattern, indexes)?;
                }
            }
        }
        collector.finish()
    }
}

/// The rows without a value.
fn find_nulls(column: &KeyColumn, blocks: &[Bytes]) -> Result<RoaringBitmap, CodecError> {
    match (&column.null_block, blocks) {
        (Some(_), [block]) => decode_bitmap(block, column.rows),
        (None, []) if column.nulls == 0 => Ok(RoaringBitmap::new()),
        // A column that has nulls and no block of them has nothing else.
        (None, []) => Ok(all_rows(column.rows)),
        _ => Err(CodecError::malformed(WHAT, "another number of blocks of nulls than the head names")),
    }
}

impl<'a> CandidateCollector<'a> {
    fn new(rows: u32) -> Self {
        Self { definite: RowGatherer::new(rows), doubtful: RowGatherer::new(rows) }
    }

    fn finish(self) -> Result<Candidates, CodecError> {
        let (definite, doubtful) = (self.definite.finish()?, self.doubtful.finish()?);
        // Most answers leave nothing in doubt, and need no union.
        Ok(if doubtful.is_empty() {
            Candidates::exact(definite)
        } else {
            Candidates { possible: doubtful | &definite, definite }
        })
    }

    /// Adds the keys within bounds, which are neighbours.
    fn add_range(
        &mut self,
        block: KeyBlock<'a>,
        low: &Bound<Box<[u8]>>,
        high: &Bound<Box<[u8]>>,
    ) -> Result<(), CodecError> {
        let KeyBlock { keys, mut postings } = block;
        let (first, last) = (keys.key(0), keys.key(keys.len() - 1));
        // Most blocks of a wide range lie within it.
        if is_above(low, first) == KeyMatch::Definite && is_below(high, last) == KeyMatch::Definite {
            return postings.gather_rows(keys.len(), &mut self.definite);
        }
        // In the order of the keys: before the range, in doubt at its low bound, within, in doubt at its high bound. A
        // truncated key is in doubt at a bound that begins with it.
        let from = keys.partition_point(0, |key| is_above(low, key) == KeyMatch::No);
        let to = keys.partition_point(from, |key| is_below(high, key) > KeyMatch::No);
        let definite_from = keys.partition_point(from, |key| is_above(low, key) < KeyMatch::Definite).min(to);
        let is_within = |key: &[u8]| is_below(high, key) == KeyMatch::Definite;
        let definite_to = keys.partition_point(definite_from, is_within).min(to);
        postings.skip_keys(from)?;
        postings.gather_rows(definite_from - from, &mut self.doubtful)?;
        postings.gather_rows(definite_to - definite_from, &mut self.definite)?;
        postings.gather_rows(to - definite_to, &mut self.doubtful)
    }

    /// Adds the keys that are in a list, which is looked at from `next` on. `next` becomes the first of the list that a
    /// later block can have.
    fn add_members(
        &mut self,
        block: KeyBlock<'a>,
        members: &KeyList,
        next: &mut usize,
    ) -> Result<(), CodecError> {
        let KeyBlock { keys, mut postings } = block;
        let (mut index, mut passed) = (0, 0);
        *next = members.seek_key(*next, keys.key(0));
        // Two sorted lists are merged, each by seeks.
        while let Some(member) = members.get(*next) {
            let stored = truncate_key(member, KEY_BYTES_MAX);
            index = keys.seek_key(index, |key| key < stored);
            if index == keys.len() {
                break;
            }
            *next += 1;
            // Members that differ only behind the limit have one key: its rows are added once.
            if keys.key(index) == stored && index >= passed {
                postings.skip_keys(index - passed)?;
                let gatherer = if is_whole(stored) { &mut self.definite } else { &mut self.doubtful };
                postings.gather_rows(1, gatherer)?;
                passed = index + 1;
            }
        }
        Ok(())
    }

    /// Adds the keys at some indexes, in ascending order, that match a pattern.
    fn add_matches_among(
        &mut self,
        block: KeyBlock<'a>,
        pattern: &Pattern,
        indexes: &[u32],
    ) -> Result<(), CodecError> {
        let mut matches = MatchCursor::new(self, block);
        for index in indexes.iter().map(|index| usize_of(*index)) {
            // Indexes come from the counts of keys in the head, which the block need not agree with.
            if index >= block.keys.len() {
                return Err(CodecError::malformed(WHAT, "a block with fewer keys than the head counts"));
            }
            matches.test_key(index, pattern)?;
        }
        Ok(())
    }

    /// Adds the keys that match a pattern.
    fn add_matches(&mut self, block: KeyBlock<'a>, pattern: &Pattern) -> Result<(), CodecError> {
        let keys = block.keys;
        let prefix = truncate_key(pattern.prefix().as_bytes(), KEY_BYTES_MAX);
        let begin = keys.partition_point(0, |key| key < prefix);
        let end = keys.partition_point(begin, |key| key.starts_with(prefix));
        if begin == end {
            return Ok(());
        }
        let mut matches = MatchCursor::new(self, block);
        // A truncated key may end in anything and hold anything, so that neither shortcut below applies.
        let has_truncated = (begin..end).any(|index| keys.byte_range(index).len() >= KEY_BYTES_MAX);
        let suffix = if has_truncated { "" } else { pattern.suffix() };
        if !suffix.is_empty() {
            // Comparing the end of each key is cheaper than any search, and leaves few keys.
            let mut suffixed = (begin..end).filter(|index| keys.key(*index).ends_with(suffix.as_bytes()));
            return suffixed.try_for_each(|index| matches.test_key(index, pattern));
        }
        if let Some(needle) = pattern.needle().filter(|_| !has_truncated) {
            // One search through the bytes of all keys finds the few that hold the needle: faster than one search a
            // key. A match across the border of two keys fails the test of the key it begins in.
            let mut from = keys.byte_range(begin).start;
            let (mut index, stop) = (begin, keys.byte_range(end - 1).end);
            while let Some(found) = keys.all_bytes().get(from..stop).and_then(|bytes| needle.find(bytes)) {
                index = seek_forward(index, end, |index| keys.byte_range(index).end <= from + found);
                matches.test_key(index, pattern)?;
                (from, index) = (keys.byte_range(index).end, index + 1);
            }
            return Ok(());
        }
        (begin..end).try_for_each(|index| matches.test_key(index, pattern))
    }
}

/// Tests keys of a block in ascending order, and gathers the rows of those that match.
struct MatchCursor<'a, 'b> {
    collector: &'b mut CandidateCollector<'a>,
    keys: BlockKeys<'a>,
    postings: KeyPostings<'a>,
    /// Keys whose rows `postings` has passed.
    passed: usize,
}

impl<'a, 'b> MatchCursor<'a, 'b> {
    fn new(collector: &'b mut CandidateCollector<'a>, block: KeyBlock<'a>) -> Self {
        Self { collector, keys: block.keys, postings: block.postings, passed: 0 }
    }

    fn test_key(&mut self, index: usize, pattern: &Pattern) -> Result<(), CodecError> {
        let gatherer = match match_pattern(pattern, self.keys.key(index)) {
            KeyMatch::No => return Ok(()),
            KeyMatch::Possible => &mut self.collector.doubtful,
            KeyMatch::Definite => &mut self.collector.definite,
        };
        // Rows of keys that do not match are skipped together, when the next one matches.
        self.postings.skip_keys(index - self.passed)?;
        self.passed = index + 1;
        self.postings.gather_rows(1, gatherer)
    }
}

fn match_pattern(pattern: &Pattern, key: &[u8]) -> KeyMatch {
    if !is_whole(key) {
        return KeyMatch::Possible;
    }
    match std::str::from_utf8(key) {
        Ok(text) if pattern.is_match(text) => KeyMatch::Definite,
        Ok(_) => KeyMatch::No,
        // Not what was stored as a string: its rows are compared.
        Err(_) => KeyMatch::Possible,
    }
}

/// Whether the values of a key are above a low bound. A truncated key stands for all values that begin with it.
fn is_above(low: &Bound<Box<[u8]>>, key: &[u8]) -> KeyMatch {
    let (bound, is_included) = match low {
        Bound::Unbounded => return KeyMatch::Definite,
        Bound::Included(bound) => (&**bound, true),
        Bound::Excluded(bound) => (&**bound, false),
    };
    if key > bound || (is_included && key == bound) {
        KeyMatch::Definite
    } else if !is_whole(key) && bound.starts_with(key) {
        KeyMatch::Possible
    } else {
        KeyMatch::No
    }
}

/// Whether the values of a key are below a high bound.
fn is_below(high: &Bound<Box<[u8]>>, key: &[u8]) -> KeyMatch {
    let (bound, is_included) = match high {
        Bound::Unbounded => return KeyMatch::Definite,
        Bound::Included(bound) => (&**bound, true),
        Bound::Excluded(bound) => (&**bound, false),
    };
    if key > bound || (!is_included && key == bound) {
        KeyMatch::No
    } else if !is_whole(key) && bound.starts_with(key) {
        KeyMatch::Possible
    } else {
        KeyMatch::Definite
    }
}
