//! Tokens within so many edits of a word, as an automaton that reads them byte by byte: what cannot become one any more
//! is left behind early, by block of a dictionary and by token.
//!
//! An edit inserts, deletes or replaces a character, a Unicode scalar value, or swaps two neighbours; what was swapped is
//! not edited again (the optimal string alignment distance, as Lucene's fuzzy queries have it). Of the table of the
//! dynamic programme only the diagonals that so few edits reach are kept: E. Ukkonen, "Algorithms for approximate string
//! matching", 1985.

use tantivy_fst::Automaton;

/// The most edits that are counted.
const EDITS_MAX: u8 = 2;
/// Diagonals that they reach.
const BAND: usize = 2 * EDITS_MAX as usize + 1;
/// More edits than any that count.
const MANY: u8 = EDITS_MAX + 1;

/// A word, made ready to be compared.
#[derive(Clone, Debug)]
pub(crate) struct Levenshtein {
    word: Vec<char>,
    most: u8,
}

/// What was read of a token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    /// Characters.
    read: usize,
    /// Edits from the first `read + n - EDITS_MAX` characters of the word, for each n; and the same before the last
    /// character.
    row: [u8; BAND],
    before: [u8; BAND],
    last: char,
    /// Of a character that is not whole its bits, and the bytes that are missing.
    bits: u32,
    missing: u8,
    /// Whether no continuation can match.
    dead: bool,
}

impl Levenshtein {
    /// Of more than two edits only two are counted.
    pub(crate) fn new(word: &str, most: u8) -> Self {
        Self { word: word.chars().collect(), most: most.min(EDITS_MAX) }
    }

    /// The edits between the word and a token, if they are few enough.
    pub(crate) fn edits(&self, token: &[u8]) -> Option<u8> {
        let mut state = self.start();
        for byte in token {
            state = self.accept(&state, *byte);
            if state.dead {
                return None;
            }
        }
        self.edits_of(&state)
    }

    /// The edits between the word and what was read.
    fn edits_of(&self, state: &State) -> Option<u8> {
        if state.dead || state.missing > 0 {
            return None;
        }
        let diagonal = (self.word.len() + usize::from(EDITS_MAX)).checked_sub(state.read)?;
        state.row.get(diagonal).copied().filter(|edits| *edits <= self.most)
    }

    /// After one more character.
    fn step(&self, state: &State, c: char) -> State {
        let at = |row: &[u8; BAND], diagonal: usize| row.get(diagonal).copied().unwrap_or(MANY);
        let mut row = [MANY; BAND];
        let mut fewest = MANY;
        for diagonal in 0..BAND {
            // How much of the word is compared.
            let Some(length) = (state.read + 1 + diagonal).checked_sub(EDITS_MAX.into()) else { continue };
            if length > self.word.len() {
                break;
            }
            let mut edits = at(&state.row, diagonal + 1).saturating_add(1);
            if let Some(left) = diagonal.checked_sub(1) {
                edits = edits.min(at(&row, left).saturating_add(1));
            }
            if let Some(own) = length.checked_sub(1).and_then(|end| self.word.get(end)) {
                edits = edits.min(at(&state.row, diagonal).saturating_add(u8::from(*own != c)));
                let other = length.checked_sub(2).and_then(|end| self.word.get(end));
                if other == Some(&c) && *own == state.last && state.read > 0 {
                    edits = edits.min(at(&state.before, diagonal).saturating_add(1));
                }
            }
            if let Some(slot) = row.get_mut(diagonal) {
                *slot = edits.min(MANY);
            }
            fewest = fewest.min(edits);
        }
        State {
            read: state.read + 1,
            row,
            before: state.row,
            last: c,
            bits: 0,
            missing: 0,
            dead: fewest > self.most,
        }
    }
}

impl Automaton for Levenshtein {
    type State = State;

    fn start(&self) -> State {
        let mut row = [MANY; BAND];
        for (slot, edits) in row.iter_mut().skip(EDITS_MAX.into()).zip(0..) {
            *slot = if usize::from(edits) <= self.word.len() { edits } else { MANY };
        }
        State { read: 0, row, before: [MANY; BAND], last: '\0', bits: 0, missing: 0, dead: false }
    }

    fn is_match(&self, state: &State) -> bool {
        self.edits_of(state).is_some()
    }

    fn can_match(&self, state: &State) -> bool {
        !state.dead
    }

    fn accept(&self, state: &State, byte: u8) -> State {
        let dead = State { dead: true, ..*state };
        if state.dead {
            return dead;
        }
        let (bits, missing) = match (state.missing, byte) {
            (0, 0..=0x7f) => return self.step(state, char::from(byte)),
            (0, 0xc2..=0xdf) => (u32::from(byte & 0x1f), 1),
            (0, 0xe0..=0xef) => (u32::from(byte & 0x0f), 2),
            (0, 0xf0..=0xf4) => (u32::from(byte & 0x07), 3),
            (1.., 0x80..=0xbf) => (state.bits << 6 | u32::from(byte & 0x3f), state.missing - 1),
            _ => return dead,
        };
        if missing > 0 {
            return State { bits, missing, ..*state };
        }
        char::from_u32(bits).map_or(dead, |c| self.step(state, c))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The whole table.
    fn naive(from: &str, to: &str) -> usize {
        let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
        let mut table = vec![vec![0; to.len() + 1]; from.len() + 1];
        for row in 0..=from.len() {
            for column in 0..=to.len() {
                if row == 0 || column == 0 {
                    table[row][column] = row + column;
                    continue;
                }
                let replaced = usize::from(from[row - 1] != to[column - 1]);
                let mut edits = (table[row - 1][column] + 1)
                    .min(table[row][column - 1] + 1)
                    .min(table[row - 1][column - 1] + replaced);
                let swapped = row > 1
                    && column > 1
                    && from[row - 1] == to[column - 2]
                    && from[row - 2] == to[column - 1];
                if swapped {
                    edits = edits.min(table[row - 2][column - 2] + 1);
                }
                table[row][column] = edits;
            }
        }
        table[from.len()][to.len()]
    }

    #[test]
    fn a_swap_of_neighbours_is_one_edit() {
        let edits = |word: &str, token: &str, most| Levenshtein::new(word, most).edits(token.as_bytes());
        assert_eq!(edits("kitcehn", "kitchen", 2), Some(1));
        assert_eq!(edits("kitcehn", "kitten", 2), Some(2));
        assert_eq!(edits("house", "mouse", 1), Some(1));
        assert_eq!(edits("house", "houses", 1), Some(1));
        assert_eq!(edits("house", "mouth", 1), None);
        assert_eq!(edits("straße", "strase", 1), Some(1));
        assert_eq!(edits("東京", "京東", 1), Some(1));
        assert_eq!(Levenshtein::new("a", 2).edits(b"\xff"), None);
    }

    fn word() -> impl Strategy<Value = String> {
        proptest::collection::vec(proptest::sample::select(vec!['a', 'b', 'c', 'é', '海', '𝔘']), 0..9)
            .prop_map(|chars| chars.into_iter().collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        #[test]
        fn it_agrees_with_the_whole_table(word in word(), token in word(), most in 0..3_u8) {
            let expected = naive(&word, &token);
            let automaton = Levenshtein::new(&word, most);
            let found = automaton.edits(token.as_bytes());
            prop_assert_eq!(found.map(usize::from), Some(expected).filter(|edits| *edits <= usize::from(most)));
            // Nothing on the way to a match is given up.
            if found.is_some() {
                let mut state = automaton.start();
                for byte in token.bytes() {
                    prop_assert!(automaton.can_match(&state));
                    state = automaton.accept(&state, byte);
                }
                prop_assert!(automaton.is_match(&state));
            }
        }
    }
}
