//! What the blocks of a column answer to a probe.

use std::ops::Bound;

use bytes::Bytes;
use roaring::RoaringBitmap;

use super::block::{self, Block};
use super::column::{AttributeColumn, cut};
use super::gather::Gathered;
use super::key::KEY_BYTES_MAX;
use super::keys::{KeyList, seek};
use super::pattern::Pattern;
use super::probe::{AttributeProbe, Candidates};
use crate::codec::CodecError;

/// What a probe says of the values of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Says {
    No,
    Maybe,
    Yes,
}

/// The rows that match so far.
struct Answer<'a> {
    definite: Gathered<'a>,
    possible: Gathered<'a>,
}

impl AttributeColumn {
    /// The answer to a probe by the blocks it needs.
    pub(crate) fn find_candidates(
        &self,
        probe: &AttributeProbe,
        blocks: &[Bytes],
    ) -> Result<Candidates, CodecError> {
        let mut answer = Answer { definite: Gathered::new(self.rows), possible: Gathered::new(self.rows) };
        match probe {
            AttributeProbe::Null => {
                let nulls = match blocks {
                    [block] => block::bitmap(block, self.rows)?,
                    _ if self.nulls == 0 => RoaringBitmap::new(),
                    _ => every(self.rows),
                };
                return Ok(Candidates::exactly(nulls));
            }
            AttributeProbe::Range(low, high) => {
                for block in blocks {
                    answer.range(Block::open(self.width, block)?, low, high)?;
                }
            }
            AttributeProbe::In(keys) => {
                let mut next = 0;
                for block in blocks {
                    answer.members(Block::open(self.width, block)?, keys, &mut next)?;
                }
            }
            AttributeProbe::Matches(pattern) => {
                for block in blocks {
                    answer.matches(Block::open(self.width, block)?, pattern)?;
                }
            }
            AttributeProbe::MatchesAmong(pattern, places) => {
                for (block, places) in blocks.iter().zip(places) {
                    answer.narrow_by_trigrams(Block::open(self.width, block)?, pattern, places)?;
                }
            }
        }
        let (definite, possible) = (answer.definite.finish()?, answer.possible.finish()?);
        Ok(if possible.is_empty() {
            Candidates::exactly(definite)
        } else {
            Candidates { possible: possible | &definite, definite }
        })
    }
}

impl<'a> Answer<'a> {
    /// Adds the keys within bounds, which are neighbours.
    fn range(
        &mut self,
        block: Block<'a>,
        low: &Bound<Box<[u8]>>,
        high: &Bound<Box<[u8]>>,
    ) -> Result<(), CodecError> {
        let Block { keys, mut postings } = block;
        let last = keys.get(keys.len().saturating_sub(1));
        // Most blocks of a wide range lie within it.
        if above(low, keys.get(0)) == Says::Yes && below(high, last) == Says::Yes {
            return postings.take(keys.len(), &mut self.definite);
        }
        // A key that is not whole may be on either side of a bound it is the beginning of.
        let from = keys.partition_point(0, |key| above(low, key) == Says::No);
        let to = keys.partition_point(from, |key| below(high, key) > Says::No);
        let sure_from = keys.partition_point(from, |key| above(low, key) < Says::Yes).min(to);
        let sure_to = keys.partition_point(sure_from, |key| below(high, key) == Says::Yes).min(to);
        postings.skip(from)?;
        postings.take(sure_from - from, &mut self.possible)?;
        postings.take(sure_to - sure_from, &mut self.definite)?;
        postings.take(to - sure_to, &mut self.possible)
    }

    /// Adds the keys that are among some from one of them on, which becomes the first that a later block may have.
    fn members(&mut self, block: Block<'a>, wanted: &KeyList, next: &mut usize) -> Result<(), CodecError> {
        let Block { keys, mut postings } = block;
        let (mut at, mut behind) = (0, 0);
        *next = wanted.seek(*next, keys.get(0));
        while let Some(key) = wanted.get(*next) {
            let stored = cut(key, KEY_BYTES_MAX);
            at = keys.seek(at, |key| key < stored);
            if at == keys.len() {
                break;
            }
            *next += 1;
            // Of keys that are cut, several may be one.
            if keys.get(at) == stored && at >= behind {
                postings.skip(at - behind)?;
                let whole = stored.len() < KEY_BYTES_MAX;
                postings.take(1, if whole { &mut self.definite } else { &mut self.possible })?;
                behind = at + 1;
            }
        }
        Ok(())
    }

    /// Adds those of some keys that match a pattern.
    fn narrow_by_trigrams(
        &mut self,
        block: Block<'a>,
        pattern: &Pattern,
        places: &[u32],
    ) -> Result<(), CodecError> {
        let Block { keys, mut postings } = block;
        let mut behind = 0;
        for at in places.iter().map(|at| *at as usize) {
            let gathered = match says(pattern, keys.get(at)) {
                Says::No => continue,
                Says::Maybe => &mut self.possible,
                Says::Yes => &mut self.definite,
            };
            postings.skip(at - behind)?;
            postings.take(1, gathered)?;
            behind = at + 1;
        }
        Ok(())
    }

    /// Adds the keys that match a pattern.
    fn matches(&mut self, block: Block<'a>, pattern: &Pattern) -> Result<(), CodecError> {
        let Block { keys, mut postings } = block;
        let mut behind = 0;
        let mut add = |at: usize, says| {
            let gathered = match says {
                Says::No => return Ok(()),
                Says::Maybe => &mut self.possible,
                Says::Yes => &mut self.definite,
            };
            postings.skip(at - behind)?;
            behind = at + 1;
            postings.take(1, gathered)
        };
        let prefix = cut(pattern.prefix().as_bytes(), KEY_BYTES_MAX);
        let begin = keys.partition_point(0, |key| key < prefix);
        let end = keys.partition_point(begin, |key| key.starts_with(prefix));
        // What is not whole may end in anything, and have anything.
        let long = (begin..end).any(|at| keys.span(at).len() >= KEY_BYTES_MAX);
        let suffix = if long { "" } else { pattern.suffix() };
        if !suffix.is_empty() {
            let mut suffixed = (begin..end).filter(|at| keys.get(*at).ends_with(suffix.as_bytes()));
            return suffixed.try_for_each(|at| add(at, says(pattern, keys.get(at))));
        }
        // One search through all keys finds the few that can match.
        if let Some(needle) = pattern.needle().filter(|_| !long) {
            let mut from = keys.span(begin).start;
            let (mut at, stop) = (begin, keys.span(end.saturating_sub(1)).end);
            while let Some(found) = keys.bytes().get(from..stop).and_then(|bytes| needle.find(bytes)) {
                at = seek(at, end, |at| keys.span(at).end <= from + found);
                add(at, says(pattern, keys.get(at)))?;
                (from, at) = (keys.span(at).end, at + 1);
            }
            return Ok(());
        }
        (begin..end).try_for_each(|at| add(at, says(pattern, keys.get(at))))
    }
}

fn says(pattern: &Pattern, key: &[u8]) -> Says {
    match std::str::from_utf8(key) {
        _ if key.len() >= KEY_BYTES_MAX => Says::Maybe,
        Ok(text) if pattern.is_match(text) => Says::Yes,
        Ok(_) => Says::No,
        // Nothing that was stored as a string.
        Err(_) => Says::Maybe,
    }
}

/// Whether what a key stands for is above a bound. What is not whole stands for all that begins with it.
fn above(low: &Bound<Box<[u8]>>, key: &[u8]) -> Says {
    let (bound, included) = match low {
        Bound::Unbounded => return Says::Yes,
        Bound::Included(bound) => (&**bound, true),
        Bound::Excluded(bound) => (&**bound, false),
    };
    if key > bound || (included && key == bound) {
        Says::Yes
    } else if key.len() >= KEY_BYTES_MAX && bound.starts_with(key) {
        Says::Maybe
    } else {
        Says::No
    }
}

fn below(high: &Bound<Box<[u8]>>, key: &[u8]) -> Says {
    let (bound, included) = match high {
        Bound::Unbounded => return Says::Yes,
        Bound::Included(bound) => (&**bound, true),
        Bound::Excluded(bound) => (&**bound, false),
    };
    if key > bound || (!included && key == bound) {
        Says::No
    } else if key.len() >= KEY_BYTES_MAX && bound.starts_with(key) {
        Says::Maybe
    } else {
        Says::Yes
    }
}

/// All rows of a segment.
fn every(rows: u32) -> RoaringBitmap {
    let mut all = RoaringBitmap::new();
    all.insert_range(0..rows);
    all
}
