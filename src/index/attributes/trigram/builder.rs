//! Building the trigrams of a column.

use std::collections::{HashMap, HashSet};

use super::super::format::{HeadWriter, KeyColumnWriter, is_whole};
use super::required::{TRIGRAM_WIDTH, Trigram, each_trigram};
use crate::error::{Error, Result};

/// Gathers the trigrams of a column: first [`push_value`](Self::push_value) for its values in any order, then
/// [`push_key`](Self::push_key) for its keys in their order.
#[derive(Debug, Default)]
pub(crate) struct TrigramIndexBuilder {
    /// The trigrams of values whose keys are truncated, by the key: it stands for every value that begins with it, and
    /// their trigrams may be behind its end.
    truncated: HashMap<Box<[u8]>, HashSet<Trigram>>,
    keys: u32,
    /// The numbers of the keys that hold each trigram, ascending.
    postings: HashMap<Trigram, Vec<u32>>,
}

impl TrigramIndexBuilder {
    /// Notes a value if its key is truncated.
    pub(crate) fn push_value(&mut self, value: &[u8], key: &[u8]) {
        if !is_whole(key)
            && let Ok(text) = std::str::from_utf8(value)
        {
            let trigrams = self.truncated.entry(key.into()).or_default();
            each_trigram(text, |trigram| {
                trigrams.insert(trigram);
            });
        }
    }

    /// Adds the next key.
    pub(crate) fn push_key(&mut self, key: &[u8]) -> Result<()> {
        let number = self.keys;
        let next = number.checked_add(1);
        self.keys = next.ok_or_else(|| Error::internal("more keys than trigrams can number"))?;
        let mut add = |trigram| {
            let keys = self.postings.entry(trigram).or_default();
            // A key may hold a trigram twice; its number is the last, as keys are added in order.
            if keys.last() != Some(&number) {
                keys.push(number);
            }
        };
        if let Some(trigrams) = self.truncated.remove(key) {
            trigrams.into_iter().for_each(add);
            return Ok(());
        }
        let text = std::str::from_utf8(key).map_err(|_| Error::internal("a key of a string is not UTF-8"))?;
        each_trigram(text, &mut add);
        Ok(())
    }

    /// Writes the blocks, and their part of the head.
    pub(crate) fn write(self, block_bytes: usize, head: &mut HeadWriter, out: &mut Vec<u8>) -> Result<()> {
        let mut postings: Vec<(Trigram, Vec<u32>)> = self.postings.into_iter().collect();
        postings.sort_unstable();
        // invariant: without a trigram the column has no key, and its greatest key is empty.
        let max = postings.last().map_or(&[][..], |(trigram, _)| trigram.as_slice());
        head.begin_part(Some(TRIGRAM_WIDTH), 0, max)?;
        let mut writer = KeyColumnWriter::new(head, out, true, block_bytes);
        for (trigram, keys) in &postings {
            writer.push_key(trigram, keys)?;
        }
        writer.finish()?;
        Ok(())
    }
}
