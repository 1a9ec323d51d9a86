//! Edit distance to a word, as an automaton over the bytes of a term.
//!
//! An edit inserts, deletes or replaces a character (a Unicode scalar value) or swaps two neighbours; what was swapped is
//! not edited again. This is the optimal string alignment distance, as in Lucene's fuzzy queries.
//!
//! The state is one row of the dynamic programming table, the row before it (for swaps), and of both only the diagonals
//! that two edits can reach: E. Ukkonen, "Algorithms for approximate string matching", 1985. A dictionary skips what lies
//! behind a dead state: whole blocks and all terms with the prefix.

use tantivy_fst::Automaton;

/// The most edits that are counted, as in Lucene: at three edits short words match nearly anything.
const EDITS_MAX: u8 = 2;
/// Diagonals that two edits reach, to both sides of the main diagonal.
const BAND: usize = 2 * EDITS_MAX as usize + 1;
/// Stands for any number of edits that is too large.
const TOO_MANY: u8 = EDITS_MAX + 1;

/// Accepts the terms within a number of edits of a word.
#[derive(Clone, Debug)]
pub(crate) struct LevenshteinAutomaton {
    word: Vec<char>,
    edits_max: u8,
}

/// The state after a prefix of a term.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LevenshteinState {
    /// Characters of the term that were read.
    chars_read: usize,
    /// Entry `d`: the edits between what was read and the first `chars_read + d - EDITS_MAX` characters of the word.
    row: [u8; BAND],
    /// The row before the last character, for swaps.
    row_before: [u8; BAND],
    last_char: char,
    /// The bits so far of a UTF-8 character that is not complete, and the bytes it still lacks.
    partial_char: u32,
    missing_bytes: u8,
    /// Whether no continuation can match.
    is_dead: bool,
}

impl LevenshteinAutomaton {
    /// An automaton for up to `edits_max` edits, at most two.
    pub(crate) fn new(word: &str, edits_max: u8) -> Self {
        Self { word: word.chars().collect(), edits_max: edits_max.min(EDITS_MAX) }
    }

    /// The edits between the word and a term, if there are at most `edits_max`.
    pub(crate) fn edits_to(&self, term: &[u8]) -> Option<u8> {
        let mut state = self.start();
        for byte in term {
            state = self.accept(&state, *byte);
            if state.is_dead {
                return None;
            }
        }
        self.edits_of_state(&state)
    }

    /// The edits between the word and what was read.
    fn edits_of_state(&self, state: &LevenshteinState) -> Option<u8> {
        if state.is_dead || state.missing_bytes > 0 {
            return None;
        }
        // The diagonal of the whole word. A term much longer or shorter than the word has none within the band.
        let diagonal = (self.word.len() + usize::from(EDITS_MAX)).checked_sub(state.chars_read)?;
        state.row.get(diagonal).copied().filter(|edits| *edits <= self.edits_max)
    }

    /// The state after one more character: the next row of the table.
    #[expect(
        clippy::indexing_slicing,
        reason = "diagonals lie in the band, and ends of prefixes in the word"
    )]
    fn step_char(&self, state: &LevenshteinState, c: char) -> LevenshteinState {
        let mut row = [TOO_MANY; BAND];
        let mut fewest_edits = TOO_MANY;
        for diagonal in 0..BAND {
            // The length of the prefix of the word that this entry compares with. The top rows of the table have no
            // entry on the lower diagonals.
            let Some(length) = (state.chars_read + 1 + diagonal).checked_sub(EDITS_MAX.into()) else {
                continue;
            };
            if length > self.word.len() {
                break;
            }
            // Insertion: the same prefix of the word one row up. Moving down a row shifts it by one diagonal.
            // invariant: beyond the band an entry exceeds every limit.
            let above = state.row.get(diagonal + 1).copied().unwrap_or(TOO_MANY);
            let mut edits = above.saturating_add(1);
            // Deletion: the prefix that is one shorter, in this row.
            if let Some(left) = diagonal.checked_sub(1) {
                edits = edits.min(row[left].saturating_add(1));
            }
            if let Some(last) = length.checked_sub(1) {
                // Replacement, or no edit where the characters agree.
                edits = edits.min(state.row[diagonal].saturating_add(u8::from(self.word[last] != c)));
                // Swap: the last two characters of both agree crosswise.
                let is_swap = last > 0
                    && state.chars_read > 0
                    && self.word[last - 1] == c
                    && self.word[last] == state.last_char;
                if is_swap {
                    edits = edits.min(state.row_before[diagonal].saturating_add(1));
                }
            }
            row[diagonal] = edits.min(TOO_MANY);
            fewest_edits = fewest_edits.min(edits);
        }
        LevenshteinState {
            chars_read: state.chars_read + 1,
            row,
            row_before: state.row,
            last_char: c,
            partial_char: 0,
            missing_bytes: 0,
            // A path to a match passes through every row, and edits never decrease along it. A swap skips a row, but
            // the row it skips has an entry of as many edits.
            is_dead: fewest_edits > self.edits_max,
        }
    }
}

impl Automaton for LevenshteinAutomaton {
    type State = LevenshteinState;

    fn start(&self) -> LevenshteinState {
        let mut row = [TOO_MANY; BAND];
        // Before anything is read, a prefix of the word is as many edits away as it is long.
        for (entry, length) in row.iter_mut().skip(EDITS_MAX.into()).zip(0..) {
            *entry = if usize::from(length) <= self.word.len() { length } else { TOO_MANY };
        }
        LevenshteinState {
            chars_read: 0,
            row,
            row_before: [TOO_MANY; BAND],
            last_char: '\0',
            partial_char: 0,
            missing_bytes: 0,
            is_dead: false,
        }
    }

    fn is_match(&self, state: &LevenshteinState) -> bool {
        self.edits_of_state(state).is_some()
    }

    fn can_match(&self, state: &LevenshteinState) -> bool {
        !state.is_dead
    }

    /// Edits count characters, dictionaries walk bytes: a character is compared when its last byte is read. Bytes that are
    /// not UTF-8 match nothing; a forged dictionary may have them.
    fn accept(&self, state: &LevenshteinState, byte: u8) -> LevenshteinState {
        let dead = LevenshteinState { is_dead: true, ..*state };
        if state.is_dead {
            return dead;
        }
        let (partial_char, missing_bytes) = match (state.missing_bytes, byte) {
            (0, 0..=0x7f) => return self.step_char(state, char::from(byte)),
            (0, 0xc2..=0xdf) => (u32::from(byte & 0x1f), 1),
            (0, 0xe0..=0xef) => (u32::from(byte & 0x0f), 2),
            (0, 0xf0..=0xf4) => (u32::from(byte & 0x07), 3),
            (1.., 0x80..=0xbf) => (state.partial_char << 6 | u32::from(byte & 0x3f), state.missing_bytes - 1),
            _ => return dead,
        };
        if missing_bytes > 0 {
            return LevenshteinState { partial_char, missing_bytes, ..*state };
        }
        // Surrogates and numbers above U+10FFFF are no characters.
        char::from_u32(partial_char).map_or(dead, |c| self.step_char(state, c))
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
        let edits =
            |word: &str, token: &str, most| LevenshteinAutomaton::new(word, most).edits_to(token.as_bytes());
        assert_eq!(edits("kitcehn", "kitchen", 2), Some(1));
        assert_eq!(edits("kitcehn", "kitten", 2), Some(2));
        assert_eq!(edits("house", "mouse", 1), Some(1));
        assert_eq!(edits("house", "houses", 1), Some(1));
        assert_eq!(edits("house", "mouth", 1), None);
        assert_eq!(edits("straße", "strase", 1), Some(1));
        assert_eq!(edits("東京", "京東", 1), Some(1));
        assert_eq!(LevenshteinAutomaton::new("a", 2).edits_to(b"\xff"), None);
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
            let automaton = LevenshteinAutomaton::new(&word, most);
            let found = automaton.edits_to(token.as_bytes());
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
