//! Inputs from sound ones: a few changes at random, of the kinds that parsers fall for.

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

/// No input grows beyond this: what a parser does with more bytes of one kind it does with these too.
const BYTES_MAX: usize = 1 << 20;
/// Numbers at which lengths, counts and widths change their nature.
const EDGES: [u64; 14] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0x8000,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    i64::MAX as u64,
    u64::MAX,
];

/// Draws changes. The same seed draws the same ones.
#[derive(Debug)]
pub(super) struct Mutator<'a> {
    rng: TestRng,
    /// Pieces of the language of the inputs, if it has any.
    words: &'a [&'static str],
    /// Whether the language is JSON.
    is_json: bool,
}

impl<'a> Mutator<'a> {
    pub(super) fn new(seed: u64, words: &'a [&'static str], is_json: bool) -> Self {
        let seed = u128::from(seed).to_le_bytes();
        Self { rng: TestRng::from_seed(RngAlgorithm::ChaCha, &[seed, seed].concat()), words, is_json }
    }

    /// An input with one to eight changes. Mostly of those that a decoder accepts: what was refused once is mostly
    /// refused again, at the same place.
    pub(super) fn next_input(&mut self, sound: &[Vec<u8>], refused: &[Vec<u8>]) -> Vec<u8> {
        let pool = if refused.is_empty() || self.below(4) > 0 { sound } else { refused };
        let mut input = self.pick(pool).cloned().unwrap_or_default();
        // Mostly few: each change may end the input at the first check, and what lies behind is not reached.
        let changes = 1 + self.below(8).min(self.below(8)).min(self.below(8));
        for _ in 0..changes {
            self.change(&mut input, pool);
        }
        input.truncate(BYTES_MAX);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, pool: &[Vec<u8>]) {
        if self.is_json && self.below(2) == 0 && self.change_json(input) {
            return;
        }
        // Texts are changed by their words half of the time: a flipped bit seldom leaves one that parses.
        if !self.words.is_empty() && self.below(2) == 0 {
            return self.change_words(input);
        }
        match self.below(12) {
            0 => self.flip_bit(input),
            1 => self.set_byte(input),
            2..=4 => self.set_number(input),
            5 => self.add_to_number(input),
            6 => self.rewrite_decimal(input),
            7 => input.truncate(self.below(input.len() + 1)),
            8 => {
                let range = self.range(input.len(), 64);
                input.drain(range);
            }
            9 => self.copy_within(input),
            10 => self.insert_from(input, pool),
            _ => self.fill(input),
        }
    }

    fn flip_bit(&mut self, input: &mut [u8]) {
        let bit = 1 << self.below(8);
        let at = self.below(input.len());
        if let Some(byte) = input.get_mut(at) {
            *byte ^= bit;
        }
    }

    fn set_byte(&mut self, input: &mut [u8]) {
        let value = self.edge().to_le_bytes()[0].wrapping_add(self.small());
        let at = self.below(input.len());
        if let Some(byte) = input.get_mut(at) {
            *byte = value;
        }
    }

    /// Replaces a number of 2, 4 or 8 bytes.
    fn set_number(&mut self, input: &mut [u8]) {
        let edge = match self.below(4) {
            // Lengths that point right behind the end, and counts of as much as there is.
            0 => input.len() as u64,
            1 => self.rng.next_u64() >> self.below(64),
            _ => self.edge(),
        };
        let value = edge.wrapping_add(self.small().into()).wrapping_sub(self.small().into());
        self.write_number(input, |_| value);
    }

    fn add_to_number(&mut self, input: &mut [u8]) {
        let (plus, minus) = (self.small(), self.small());
        self.write_number(input, |old| old.wrapping_add(plus.into()).wrapping_sub(minus.into()));
    }

    fn write_number(&mut self, input: &mut [u8], value: impl FnOnce(u64) -> u64) {
        let width = 2 << self.below(3);
        if input.len() < width {
            return;
        }
        let mut at = self.below(input.len() - width + 1);
        // Fields are mostly aligned.
        if self.below(4) > 0 {
            at -= at % width.min(4);
        }
        let field = &mut input[at..at + width];
        let mut number = [0; 8];
        number[..width].copy_from_slice(field);
        field.copy_from_slice(&value(u64::from_le_bytes(number)).to_le_bytes()[..width]);
    }

    /// Replaces a number in decimal digits, as JSON has them.
    fn rewrite_decimal(&mut self, input: &mut Vec<u8>) {
        let from = self.below(input.len());
        let Some(start) = input.iter().skip(from).position(u8::is_ascii_digit).map(|at| from + at) else {
            return;
        };
        let digits = input.iter().skip(start).take_while(|byte| byte.is_ascii_digit()).count();
        let number = match self.below(6) {
            0 => "-1".to_owned(),
            1 => "1e999".to_owned(),
            _ => self.edge().wrapping_add(self.small().into()).to_string(),
        };
        input.splice(start..start + digits, number.into_bytes());
    }

    /// Inserts a word, or replaces what lies between two separators by one.
    fn change_words(&mut self, input: &mut Vec<u8>) {
        let word = self.pick(self.words).copied().unwrap_or_default().bytes();
        let at = self.below(input.len() + 1);
        let separates = |byte: &u8| byte.is_ascii_punctuation() || byte.is_ascii_whitespace();
        match self.below(3) {
            0 => drop(input.splice(at..at, word)),
            1 => {
                let end = input.iter().skip(at).position(separates).map_or(input.len(), |len| at + len);
                input.splice(at..end, word);
            }
            // Nesting is what recursion falls for.
            _ => {
                let times = 1 << self.below(10);
                let repeated: Vec<u8> = word.collect::<Vec<_>>().repeat(times);
                input.splice(at..at, repeated);
            }
        }
    }

    /// Copies a part of the input over another, or between two bytes.
    fn copy_within(&mut self, input: &mut Vec<u8>) {
        let range = self.range(input.len(), 256);
        let copy = input[range].to_vec();
        let at = self.below(input.len() + 1);
        let end = if self.below(2) == 0 { at } else { (at + copy.len()).min(input.len()) };
        input.splice(at..end, copy);
    }

    /// Inserts or appends a part of another input.
    fn insert_from(&mut self, input: &mut Vec<u8>, pool: &[Vec<u8>]) {
        let other = self.pick(pool).map_or(&[][..], Vec::as_slice);
        let range = self.range(other.len(), other.len());
        let at = self.below(input.len() + 1);
        let end = if self.below(2) == 0 { input.len() } else { at };
        input.splice(at..end, other[range].iter().copied());
    }

    fn fill(&mut self, input: &mut [u8]) {
        let value = [0, 0xff][self.below(2)];
        let range = self.range(input.len(), 32);
        input[range].fill(value);
    }

    /// A range below `len`, of at most `longest`.
    fn range(&mut self, len: usize, longest: usize) -> std::ops::Range<usize> {
        let start = self.below(len + 1);
        start..(start + self.below(longest + 1)).min(len)
    }

    fn edge(&mut self) -> u64 {
        self.pick(&EDGES).copied().unwrap_or_default()
    }

    fn small(&mut self) -> u8 {
        [0, 0, 1, 1, 2, 3, 4, 8][self.below(8)]
    }

    pub(super) fn pick<'b, T>(&mut self, items: &'b [T]) -> Option<&'b T> {
        items.get(self.below(items.len()))
    }

    /// A number below `bound`; 0 if that is 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let product = u128::from(self.rng.next_u64()) * bound as u128;
        // invariant: the upper half of the product is below `bound`.
        usize::try_from(product >> 64).unwrap_or_default()
    }
}
