//! Trigrams: of a column that asks for them, which keys hold which three bytes.
//!
//! They are a column of their own, whose keys are the trigrams and whose rows are the numbers of keys. So a pattern
//! that has a literal in it is decided by the few blocks of keys that can match, at the cost of a round trip more.
//! (As in R. Cox, "Regular expression matching with a trigram index", 2012; here a pattern asks for all trigrams of
//! any of some literals.)
//!
//! Case is folded among ASCII letters, and what folds to one: a pattern that minds no case asks for nothing else.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use roaring::RoaringBitmap;

use super::block::BlockWriter;
use super::build::BlocksWriter;
use super::column::AttributeColumn;
use super::index::HeadWriter;
use super::key::is_whole;
use super::keys::KeyList;
use super::pattern::Pattern;
use super::probe::AttributeProbe;
use crate::cache::Span;
use crate::codec::CodecError;

/// Bytes of a trigram.
pub(super) const WIDTH: usize = 3;
/// So many of the rarest trigrams of a literal are looked up: more seldom leave fewer keys.
const ASKED_MAX: usize = 6;

type Trigram = [u8; WIDTH];

/// What a pattern needs: the trigrams of any of some literals.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RequiredTrigrams(Vec<Vec<Trigram>>);

impl RequiredTrigrams {
    /// Of literal strings, lists of which are alternatives. `None` if one has no trigram: then all keys are needed.
    pub(super) fn new<'a, L>(alternatives: impl IntoIterator<Item = L>, any_case: bool) -> Option<Self>
    where
        L: IntoIterator<Item = &'a str>,
    {
        let mut needs = Vec::new();
        for literals in alternatives {
            let mut all = Vec::new();
            for literal in literals {
                each_trigram(literal, |trigram| {
                    if !any_case || trigram.is_ascii() {
                        all.push(trigram);
                    }
                });
            }
            if all.is_empty() {
                return None;
            }
            all.sort_unstable();
            all.dedup();
            needs.push(all);
        }
        if needs.is_empty() { None } else { Some(Self(needs)) }
    }
}

/// Calls `each` with every trigram of a text.
fn each_trigram(text: &str, each: impl FnMut(Trigram)) {
    let folded: Vec<u8> = if text.is_ascii() {
        text.bytes().map(|byte| byte.to_ascii_lowercase()).collect()
    } else {
        let fold = |c: char| match c {
            // The only ones beyond ASCII that are the same as a letter of it but for case.
            '\u{17F}' => 's',
            '\u{212A}' => 'k',
            c => c.to_ascii_lowercase(),
        };
        text.chars().map(fold).collect::<String>().into_bytes()
    };
    folded.windows(WIDTH).filter_map(|window| window.try_into().ok()).for_each(each);
}

/// Gathers the trigrams of a column.
#[derive(Debug, Default)]
pub(super) struct TrigramsBuilder {
    /// Those of values whose keys are not whole, by the keys: of all that begin with it.
    long: HashMap<Box<[u8]>, HashSet<Trigram>>,
    keys: u32,
    /// The numbers of keys, ascending.
    found: HashMap<Trigram, Vec<u32>>,
}

impl TrigramsBuilder {
    /// Notes a value, if its key is not whole.
    pub(super) fn value(&mut self, value: &[u8], key: &[u8]) {
        if !is_whole(key)
            && let Ok(text) = std::str::from_utf8(value)
        {
            let trigrams = self.long.entry(key.into()).or_default();
            each_trigram(text, |trigram| {
                trigrams.insert(trigram);
            });
        }
    }

    /// Adds the next key.
    pub(super) fn key(&mut self, key: &[u8]) {
        let number = self.keys;
        self.keys = number.saturating_add(1);
        let mut add = |trigram| {
            let keys = self.found.entry(trigram).or_default();
            if keys.last() != Some(&number) {
                keys.push(number);
            }
        };
        match self.long.remove(key) {
            Some(trigrams) => trigrams.into_iter().for_each(add),
            None => each_trigram(std::str::from_utf8(key).unwrap_or_default(), &mut add),
        }
    }

    pub(super) fn write(self, block_bytes: usize, head: &mut HeadWriter, out: &mut Vec<u8>) {
        let mut found: Vec<(Trigram, Vec<u32>)> = self.found.into_iter().collect();
        found.sort_unstable();
        let max = found.last().map(|(trigram, _)| *trigram);
        head.part(Some(WIDTH), 0, max.as_ref().map_or(&[][..], |max| max.as_slice()));
        let mut blocks = BlocksWriter::new(BlockWriter::new(true), block_bytes);
        for (trigram, keys) in &found {
            blocks.push(trigram, keys, head, out);
        }
        blocks.close(head, out);
        head.end_part();
    }
}

/// The trigrams of a column.
#[derive(Debug)]
pub(crate) struct Trigrams {
    pub(super) column: AttributeColumn,
    /// The number of the first key of each block of keys.
    pub(super) firsts: Vec<u32>,
}

/// What is read of the trigrams for a pattern.
#[derive(Clone, Debug)]
pub(crate) struct TrigramLookup {
    pub(crate) spans: Vec<Span>,
    /// For each alternative what is looked up, with the number of its spans.
    asked: Vec<Vec<(AttributeProbe, usize)>>,
}

impl Trigrams {
    /// What to read for a pattern; `None` if no trigram is known of it.
    pub(super) fn plan_trigrams(&self, pattern: &Pattern) -> Option<TrigramLookup> {
        let needs = pattern.needs()?;
        let mut sieve = TrigramLookup { spans: Vec::new(), asked: Vec::new() };
        for trigrams in &needs.0 {
            let mut asked: Vec<(AttributeProbe, Vec<Span>, u64)> =
                trigrams.iter().map(|trigram| self.ask(*trigram)).collect();
            asked.sort_by_key(|(.., bytes)| *bytes);
            asked.truncate(ASKED_MAX);
            // A trigram that no key has leaves none.
            if asked.iter().any(|(_, spans, _)| spans.is_empty()) {
                continue;
            }
            sieve.asked.push(asked.iter().map(|(probe, spans, _)| (probe.clone(), spans.len())).collect());
            sieve.spans.extend(asked.into_iter().flat_map(|(_, spans, _)| spans));
        }
        Some(sieve)
    }

    /// The blocks of a trigram, and how many bytes they are.
    fn ask(&self, trigram: Trigram) -> (AttributeProbe, Vec<Span>, u64) {
        let probe = AttributeProbe::In(KeyList::single(&trigram).into());
        let spans = self.column.find_spans(&probe);
        let bytes = spans.iter().map(|span| span.end.saturating_sub(span.start)).sum();
        (probe, spans, bytes)
    }

    /// Which keys of each block can match, by what was read.
    pub(super) fn sift(
        &self,
        sieve: &TrigramLookup,
        mut read: &[Bytes],
    ) -> Result<Vec<Vec<u32>>, CodecError> {
        let mut keys = RoaringBitmap::new();
        for asked in &sieve.asked {
            let mut all: Option<RoaringBitmap> = None;
            for (probe, count) in asked {
                let (these, rest) = read.split_at_checked(*count).unwrap_or((read, &[]));
                read = rest;
                let one = self.column.find_candidates(probe, these)?.definite;
                all = Some(all.map_or_else(|| one.clone(), |all| all & &one));
            }
            keys |= all.unwrap_or_default();
        }
        let ends = self.firsts.iter().skip(1).copied().chain([u32::MAX]);
        let places = |(first, end): (&u32, u32)| keys.range(*first..end).map(|key| key - first).collect();
        Ok(self.firsts.iter().zip(ends).map(places).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_counts_only_where_it_can() {
        let of = |text: &str, any_case| RequiredTrigrams::new([[text]], any_case);
        assert_eq!(of("AbC", false), of("aBc", false));
        assert_eq!(of("\u{212A}as\u{17F}e", true), of("kasse", true));
        assert_eq!(of("äöü", true), None);
        assert!(of("äöü", false).is_some());
        assert_eq!(of("ab", false), None);
        assert_eq!(RequiredTrigrams::new([vec!["abc"], vec!["ab"]], false), None);
    }
}
