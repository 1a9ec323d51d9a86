//! Approximate search: whether a text holds a match of a query within some edits.
//!
//! An edit inserts, deletes or replaces one character, a Unicode scalar value. The columns of the table of the dynamic
//! programme (P. Sellers, "The theory and computation of evolutionary distances", 1980) are kept as bits of their
//! differences, 64 rows to a word (G. Myers, "A fast bit-vector algorithm for approximate string matching based on
//! dynamic programming", 1999; words one below the other as in H. Hyyrö, "A bit-vector algorithm for computing
//! Levenshtein and Damerau edit distances", 2003).
//!
//! If the query is cut into one piece more than there may be edits, every match holds a piece as it is: pieces are
//! searched first, and the exact search only looks around them. That takes about half the time for texts of 12 bytes
//! already, and a fifth or less for those of 100.

use std::mem;
use std::ops::Range;

use regex::{Regex, RegexBuilder};

use super::fold::fold_case;

/// The longest query, in characters.
pub(crate) const QUERY_CHARS_MAX: usize = 64 * WORDS_MAX;
const WORDS_MAX: usize = 4;
/// Limits the search for the pieces in bytes: its program, and its cache of states. A query of 256 characters of
/// many cases would compile to more; then every text is searched exactly.
const PIECES_BYTES_MAX: usize = 1 << 20;

/// A query, prepared for the search in many texts.
#[derive(Debug)]
pub(crate) struct FuzzyMatcher {
    edits_max: usize,
    any_case: bool,
    pieces: Vec<String>,
    /// Finds the pieces; `None` if that would take too much memory.
    piece_search: Option<Regex>,
    /// Characters of the query.
    length: usize,
    /// By the code of a character, its positions in the query as bits. Code 0 is of all characters that are not in
    /// the query, and has no positions.
    positions: Vec<[u64; WORDS_MAX]>,
    /// The codes of ASCII characters.
    ascii_codes: [u16; 128],
    /// The codes of other characters, in their order.
    other_codes: Vec<(char, u16)>,
}

/// The vertical differences of a column of the table, between 64 neighbouring rows: +1 where a bit of `plus` is set, -1
/// where one of `minus` is. No bit is set in both.
#[derive(Clone, Copy)]
struct VerticalDeltas {
    plus: u64,
    minus: u64,
}

/// The horizontal difference between two columns in one row: at most one of the two is 1.
#[derive(Clone, Copy, Default)]
struct HorizontalDelta {
    plus: u64,
    minus: u64,
}

impl FuzzyMatcher {
    /// Matches `query` with at most `edits_max` edits. With `any_case`, characters are equal that [`fold_case`] maps
    /// alike.
    ///
    /// Characters of the query beyond [`QUERY_CHARS_MAX`] are left out.
    pub(crate) fn new(query: &str, edits_max: u8, any_case: bool) -> Self {
        let chars = query.chars().take(QUERY_CHARS_MAX);
        let chars: Vec<char> = chars.map(|c| if any_case { fold_case(c) } else { c }).collect();
        let pieces = cut_into_pieces(&chars, usize::from(edits_max) + 1);
        let mut matcher = Self {
            edits_max: edits_max.into(),
            any_case,
            piece_search: compile_piece_search(&pieces, any_case),
            pieces,
            length: chars.len(),
            positions: vec![[0; WORDS_MAX]],
            ascii_codes: [0; 128],
            other_codes: Vec::new(),
        };
        let mut codes = 0;
        for (position, c) in chars.into_iter().enumerate() {
            if matcher.char_code(c) == 0 {
                codes += 1;
                matcher.assign_code(c, codes);
                matcher.positions.push([0; WORDS_MAX]);
            }
            matcher.mark_position(c, position);
        }
        matcher
    }

    /// Disjoint pieces of the query, one more than there may be edits, folded if case is ignored. Every match holds a
    /// piece as it is, but for ignored case.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().map(String::as_str)
    }

    /// Whether characters that differ by case are equal.
    pub(super) fn ignores_case(&self) -> bool {
        self.any_case
    }

    /// Notes that a character, which has a code, is at a position of the query.
    #[expect(clippy::indexing_slicing, reason = "each code has positions, and queries fit into the words")]
    fn mark_position(&mut self, c: char, position: usize) {
        debug_assert!(position < QUERY_CHARS_MAX, "the query was cut");
        let code = self.char_code(c);
        self.positions[code][position / 64] |= 1 << (position % 64);
    }

    #[expect(clippy::indexing_slicing, reason = "an ASCII character is below 128")]
    fn assign_code(&mut self, c: char, code: u16) {
        if c.is_ascii() {
            // Both cases, so that ASCII texts, which most are, need no folding.
            self.ascii_codes[c as usize] = code;
            if self.any_case {
                self.ascii_codes[c.to_ascii_uppercase() as usize] = code;
            }
        } else {
            let at = self.other_codes.partition_point(|(other, _)| *other < c);
            self.other_codes.insert(at, (c, code));
        }
    }

    /// The index of a character in `positions`: 0 if it is not in the query.
    fn char_code(&self, c: char) -> usize {
        if let Some(code) = self.ascii_codes.get(c as usize) {
            return usize::from(*code);
        }
        let c = if self.any_case { fold_case(c) } else { c };
        // A character that is not ASCII may fold to one that is, such as the Kelvin sign.
        if let Some(code) = self.ascii_codes.get(c as usize) {
            return usize::from(*code);
        }
        let found = self.other_codes.binary_search_by_key(&c, |(other, _)| *other);
        // invariant: a character that is not found is not in the query, which is code 0.
        found.ok().and_then(|at| self.other_codes.get(at)).map_or(0, |(_, code)| usize::from(*code))
    }

    /// Whether the text holds a match.
    pub(crate) fn is_match(&self, text: &str) -> bool {
        match &self.piece_search {
            Some(piece_search) => self.matches_around_pieces(piece_search, text),
            None => self.search_text(text),
        }
    }

    /// Whether there is a match around a piece.
    fn matches_around_pieces(&self, piece_search: &Regex, text: &str) -> bool {
        // How far a match reaches, in bytes: it has at most this many characters of up to four bytes. Pieces that
        // overlap a found piece are not found themselves, but a match with one of them does not reach farther.
        let reach = (self.length + self.edits_max) * 4;
        let mut ranges = piece_search.find_iter(text).map(|piece| {
            let from = text.floor_char_boundary(piece.start().saturating_sub(reach));
            from..text.ceil_char_boundary((piece.end() + reach).min(text.len()))
        });
        let Some(mut around) = ranges.next() else { return false };
        // Ranges that overlap are searched as one, so that no text is searched twice.
        let search = |around: Range<usize>| self.search_text(&text[around]);
        for next in ranges {
            if next.start <= around.end {
                around.end = next.end;
            } else if search(mem::replace(&mut around, next)) {
                return true;
            }
        }
        search(around)
    }

    fn search_text(&self, text: &str) -> bool {
        // The number of words as a constant keeps the columns in registers.
        match self.length.div_ceil(64) {
            0 | 1 => self.search_words::<1>(text),
            2 => self.search_words::<2>(text),
            3 => self.search_words::<3>(text),
            _ => self.search_words::<WORDS_MAX>(text),
        }
    }

    /// The exact search of a query whose rows take `WORDS` words.
    #[expect(clippy::indexing_slicing, reason = "each code has positions; this is the innermost loop")]
    fn search_words<const WORDS: usize>(&self, text: &str) -> bool {
        debug_assert!(self.length <= WORDS * 64, "a bit for each character");
        // The first column is 0, 1, 2, …: to match the whole query against nothing is to delete it.
        let mut column = [VerticalDeltas { plus: u64::MAX, minus: 0 }; WORDS];
        let mut distance = self.length;
        if distance <= self.edits_max {
            return true;
        }
        let last_bit = 1 << ((self.length - 1) % 64);
        for c in text.chars() {
            let positions = &self.positions[self.char_code(c)];
            // A match may begin anywhere: along the first row nothing is added.
            let mut horizontal = HorizontalDelta::default();
            // A query that takes fewer words than there can be has no positions in the others.
            for (number, (word, positions)) in column.iter_mut().zip(positions).enumerate() {
                let bottom = if number + 1 == WORDS { last_bit } else { 1 << 63 };
                horizontal = word.advance(*positions, horizontal, bottom);
            }
            // Only the last row is needed: the distance of the best match that ends here.
            distance = distance + usize::from(horizontal.plus != 0) - usize::from(horizontal.minus != 0);
            if distance <= self.edits_max {
                return true;
            }
        }
        false
    }
}

impl VerticalDeltas {
    /// Moves to the next column: with the positions of its character, and the horizontal difference in the row above
    /// these. Returns that in the row of the bit `bottom`.
    ///
    /// The formulas are those of Myers (1999), with `Eq`, `Pv`, `Mv`, `Xv`, `Xh`, `Ph` and `Mh` in this order.
    #[inline]
    fn advance(&mut self, mut positions: u64, above: HorizontalDelta, bottom: u64) -> HorizontalDelta {
        let xv = positions | self.minus;
        positions |= above.minus;
        // The addition carries a match down through the rows that are one more than those above them.
        let xh = ((positions & self.plus).wrapping_add(self.plus) ^ self.plus) | positions;
        let (ph, mh) = (self.minus | !(xh | self.plus), self.plus & xh);
        let below = HorizontalDelta { plus: u64::from(ph & bottom != 0), minus: u64::from(mh & bottom != 0) };
        let (ph, mh) = (ph << 1 | above.plus, mh << 1 | above.minus);
        self.plus = mh | !(xv | ph);
        self.minus = ph & xv;
        below
    }
}

/// A search for any of the pieces; `None` if it would take too much memory.
fn compile_piece_search(pieces: &[String], any_case: bool) -> Option<Regex> {
    let escaped: Vec<String> = pieces.iter().map(|piece| regex::escape(piece)).collect();
    let mut builder = RegexBuilder::new(&escaped.join("|"));
    builder.case_insensitive(any_case).size_limit(PIECES_BYTES_MAX).dfa_size_limit(PIECES_BYTES_MAX);
    builder.build().ok()
}

/// Cuts a query into pieces of about the same length.
#[expect(clippy::indexing_slicing, reason = "no cut is behind the last character")]
fn cut_into_pieces(chars: &[char], count: usize) -> Vec<String> {
    let cut = |number: usize| number * chars.len() / count;
    (0..count).map(|number| chars[cut(number)..cut(number + 1)].iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The whole table, as Sellers has it.
    fn naive(query: &str, distance: u8, any_case: bool, text: &str) -> bool {
        let chars = |text: &str| -> Vec<char> {
            text.chars().map(|c| if any_case { fold_case(c) } else { c }).collect()
        };
        let text = chars(text);
        let mut row = vec![0; text.len() + 1];
        for (above, c) in (1..).zip(chars(query)) {
            let mut next = vec![above];
            for (at, t) in text.iter().enumerate() {
                next.push((row[at] + usize::from(c != *t)).min(row[at + 1] + 1).min(next[at] + 1));
            }
            row = next;
        }
        row.iter().any(|found| *found <= usize::from(distance))
    }

    /// Strings over few characters: of one byte, of several that fold to one, and of such that do not.
    fn text(lengths: Range<usize>) -> impl Strategy<Value = String> {
        let alphabet = prop_oneof![
            3 => Just(vec!['a', 'b']),
            1 => Just(vec!['a', 'A', 'k', '\u{212a}', 'é', 'É', 'σ', 'ς', 'Σ', 'ß', 'ẞ', 's', 'ſ']),
            1 => Just(vec!['i', 'I', 'ı', 'İ', '\0', '\u{7f}', '\u{80}', '海', '\u{10ffff}', '|', '(']),
        ];
        (alphabet, lengths).prop_flat_map(|(alphabet, lengths)| {
            proptest::collection::vec(proptest::sample::select(alphabet), lengths)
                .prop_map(|chars| chars.into_iter().collect())
        })
    }

    /// Some of these are lengths at which words end.
    fn query() -> impl Strategy<Value = String> {
        prop_oneof![Just(3..20), Just(62..67), Just(126..131), Just(190..195), Just(254..257)]
            .prop_flat_map(text)
    }

    fn check(query: &str, distance: u8, any_case: bool, text: &str) -> Result<(), TestCaseError> {
        let expected = naive(query, distance, any_case, text);
        let made = FuzzyMatcher::new(query, distance, any_case);
        prop_assert_eq!(made.search_text(text), expected);
        prop_assert!(made.piece_search.is_some());
        prop_assert_eq!(made.is_match(text), expected);
        if expected && text.chars().count() < 400 {
            let folded: String = text.chars().map(|c| if any_case { fold_case(c) } else { c }).collect();
            prop_assert!(made.pieces().any(|piece| folded.contains(piece)));
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn it_agrees_with_the_whole_table(
            query in query(), text in text(0..300), distance in 0..3_u8, any_case in any::<bool>(),
        ) {
            check(&query, distance, any_case, &text)?;
        }

        #[test]
        fn it_finds_what_was_misspelt(
            query in query(),
            edits in proptest::collection::vec((0..3, any::<proptest::sample::Index>(), any::<char>()), 0..5),
            (before, behind) in (text(0..2000), text(0..2000)),
            distance in 0..3_u8,
            any_case in any::<bool>(),
        ) {
            let mut chars: Vec<char> = query.chars().collect();
            for (edit, at, c) in edits {
                let at = at.index(chars.len());
                match edit {
                    0 => chars.insert(at, c),
                    1 if chars.len() > 1 => drop(chars.remove(at)),
                    _ => chars[at] = c,
                }
            }
            let misspelt: String = chars.into_iter().collect();
            check(&query, distance, any_case, &misspelt)?;
            check(&query, distance, any_case, &format!("{before}{misspelt}{behind}"))?;
            let upper: String = misspelt.chars().map(|c| c.to_uppercase().next().unwrap()).collect();
            check(&query, distance, any_case, &upper)?;
        }
    }

    #[test]
    fn ends_of_words_and_texts_are_exact() {
        for length in [63, 64, 65, 127, 128, 129, 255, 256] {
            let query: String = ('a'..='z').cycle().step_by(7).take(length).collect();
            for cut in [0, 1, 2, 3] {
                let text = &query[cut..];
                for distance in 0..3 {
                    let made = FuzzyMatcher::new(&query, distance, false);
                    assert_eq!(
                        made.is_match(text),
                        cut <= usize::from(distance),
                        "{length} {cut} {distance}"
                    );
                    let around = format!("{}{text}{}", "#".repeat(5000), "#".repeat(5000));
                    assert_eq!(
                        made.is_match(&around),
                        cut <= usize::from(distance),
                        "{length} {cut} {distance}"
                    );
                    assert!(!made.is_match(""));
                }
            }
        }
    }

    #[test]
    fn pieces_are_disjoint_and_whole() {
        let pieces = |query: &str, distance, any_case| -> Vec<String> {
            FuzzyMatcher::new(query, distance, any_case).pieces().map(str::to_owned).collect()
        };
        assert_eq!(pieces("Elacsym", 1, false), ["Ela", "csym"]);
        assert_eq!(pieces("ΟΔΟΣ ÉTÉ", 1, true), ["οδοσ", " été"]);
        assert_eq!(pieces("abcdefghi", 2, true), ["abc", "def", "ghi"]);
        assert_eq!(pieces("abc", 0, true), ["abc"]);
    }
}
