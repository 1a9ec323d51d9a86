//! Approximate search: whether a text holds something within so many edits of a query.
//!
//! An edit inserts, deletes or replaces one character, a Unicode scalar value. The columns of the table of the dynamic
//! programme (P. Sellers, "The theory and computation of evolutionary distances", 1980) are kept as bits of their
//! differences, 64 rows to a word (G. Myers, "A fast bit-vector algorithm for approximate string matching based on
//! dynamic programming", 1999; words one below the other as in H. Hyyrö, "A bit-vector algorithm for computing
//! Levenshtein and Damerau edit distances", 2003).
//!
//! Cut into one piece more than there may be edits, the query leaves a piece whole in every match: the pieces are looked
//! for first, and the exact search only looks around them. That takes about half the time of texts of 12 bytes already,
//! and a fifth or less of those of 100.

use std::mem;
use std::ops::Range;

use regex::{Regex, RegexBuilder};

/// The longest query, in characters.
pub(crate) const QUERY_CHARS_MAX: usize = 64 * WORDS_MAX;
const WORDS_MAX: usize = 4;
/// What the search for the pieces may take, in bytes: of its program and of its states.
const PIECES_BYTES_MAX: usize = 1 << 20;

/// A query, made ready to be looked for in many texts.
#[derive(Debug)]
pub(crate) struct FuzzyMatcher {
    distance: u32,
    any_case: bool,
    pieces: Vec<String>,
    /// Finds the pieces; `None` if that would take too much.
    sieve: Option<Regex>,
    /// Characters of the query.
    length: u32,
    /// Of each character of the query the places where it stands, as bits; first, of all others, none.
    places: Vec<[u64; WORDS_MAX]>,
    /// The number of a character among `places`.
    ascii: [u16; 128],
    /// The same of others than ASCII, in order.
    others: Vec<(char, u16)>,
}

/// Differences between the rows of a column, 64 of them: of bits at the same place at most one is set.
#[derive(Clone, Copy)]
struct Rows {
    up: u64,
    down: u64,
}

/// A difference between two columns in one row: at most one of the two is 1.
#[derive(Clone, Copy, Default)]
struct Across {
    up: u64,
    down: u64,
}

impl FuzzyMatcher {
    /// `query` with at most `distance` edits. With `any_case` characters are the same that [`fold`] alike.
    ///
    /// Of a query beyond [`QUERY_CHARS_MAX`] only so many characters count.
    pub(crate) fn new(query: &str, distance: u8, any_case: bool) -> Self {
        let chars = query.chars().take(QUERY_CHARS_MAX);
        let chars: Vec<char> = chars.map(|c| if any_case { fold(c) } else { c }).collect();
        let mut this = Self {
            distance: distance.into(),
            any_case,
            pieces: pieces(&chars, usize::from(distance) + 1),
            sieve: None,
            length: u32::try_from(chars.len()).unwrap_or(u32::MAX),
            places: vec![[0; WORDS_MAX]],
            ascii: [0; 128],
            others: Vec::new(),
        };
        this.sieve = this.sieve();
        for (at, c) in chars.into_iter().enumerate() {
            this.set(c, at);
        }
        this
    }

    /// Disjoint pieces of the query, folded if case does not count, of which every match holds one as it is (but for
    /// case): one more than there may be edits.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().map(String::as_str)
    }

    /// Whether characters are the same that fold alike.
    pub(super) fn minds_no_case(&self) -> bool {
        self.any_case
    }

    fn sieve(&self) -> Option<Regex> {
        let any: Vec<String> = self.pieces().map(regex::escape).collect();
        let mut builder = RegexBuilder::new(&any.join("|"));
        builder.case_insensitive(self.any_case).size_limit(PIECES_BYTES_MAX).dfa_size_limit(PIECES_BYTES_MAX);
        builder.build().ok()
    }

    /// Notes that a character stands at a place.
    fn set(&mut self, c: char, at: usize) {
        let mut number = self.number(c);
        if number == 0 {
            number = self.places.len();
            self.places.push([0; WORDS_MAX]);
            self.assign(c, u16::try_from(number).unwrap_or_default());
        }
        if let Some(word) = self.places.get_mut(number).and_then(|words| words.get_mut(at / 64)) {
            *word |= 1 << (at % 64);
        }
    }

    fn assign(&mut self, c: char, number: u16) {
        if c.is_ascii() {
            let both = [c, if self.any_case { c.to_ascii_uppercase() } else { c }];
            for c in both {
                if let Some(slot) = self.ascii.get_mut(c as usize) {
                    *slot = number;
                }
            }
        } else {
            let at = self.others.partition_point(|(other, _)| *other < c);
            self.others.insert(at, (c, number));
        }
    }

    /// The number of a character among `places`: 0 if it is not in the query.
    fn number(&self, c: char) -> usize {
        if let Some(number) = self.ascii.get(c as usize) {
            return usize::from(*number);
        }
        let c = if self.any_case { fold(c) } else { c };
        if let Some(number) = self.ascii.get(c as usize) {
            return usize::from(*number);
        }
        let found = self.others.binary_search_by_key(&c, |(other, _)| *other);
        found.ok().and_then(|at| self.others.get(at)).map_or(0, |(_, number)| usize::from(*number))
    }

    /// Whether the text holds a match.
    pub(crate) fn is_match(&self, text: &str) -> bool {
        match &self.sieve {
            Some(sieve) => self.is_around(sieve, text),
            None => self.search(text),
        }
    }

    /// Whether there is a match around one of the pieces.
    fn is_around(&self, sieve: &Regex, text: &str) -> bool {
        // How far a match reaches, in bytes. Pieces that overlap one found are not found themselves, but a match
        // with one of them does not reach farther.
        let reach = usize::try_from(self.length + self.distance).unwrap_or(usize::MAX).saturating_mul(4);
        let mut found = sieve.find_iter(text).map(|piece| {
            let from = text.floor_char_boundary(piece.start().saturating_sub(reach));
            from..text.ceil_char_boundary(piece.end().saturating_add(reach).min(text.len()))
        });
        let Some(mut around) = found.next() else { return false };
        let search = |around: Range<usize>| self.search(text.get(around).unwrap_or_default());
        for next in found {
            if next.start <= around.end {
                around.end = next.end;
            } else if search(mem::replace(&mut around, next)) {
                return true;
            }
        }
        search(around)
    }

    fn search(&self, text: &str) -> bool {
        match self.length.div_ceil(64) {
            0 | 1 => self.search_words::<1>(text),
            2 => self.search_words::<2>(text),
            3 => self.search_words::<3>(text),
            _ => self.search_words::<WORDS_MAX>(text),
        }
    }

    /// The exact search, of a query of so many words.
    fn search_words<const WORDS: usize>(&self, text: &str) -> bool {
        let none = [0; WORDS_MAX];
        let last = 1 << (self.length.wrapping_sub(1) % 64);
        let mut rows = [Rows { up: u64::MAX, down: 0 }; WORDS];
        let mut distance = self.length;
        if distance <= self.distance {
            return true;
        }
        for c in text.chars() {
            let places = self.places.get(self.number(c)).unwrap_or(&none);
            // A match may begin anywhere: nothing is added along the first row.
            let mut across = Across::default();
            for (number, (rows, places)) in rows.iter_mut().zip(places).enumerate() {
                let end = if number + 1 == WORDS { last } else { 1 << 63 };
                across = rows.step(*places, across, end);
            }
            distance = distance.wrapping_add(u32::from(across.up != 0)) - u32::from(across.down != 0);
            if distance <= self.distance {
                return true;
            }
        }
        false
    }
}

impl Rows {
    /// The next column: of its character the places, what changes in the row above, and the bit of the row below which
    /// the answer is asked.
    #[inline]
    fn step(&mut self, mut places: u64, above: Across, end: u64) -> Across {
        let either = places | self.down;
        places |= above.down;
        let same = ((places & self.up).wrapping_add(self.up) ^ self.up) | places;
        let (up, down) = (self.down | !(same | self.up), self.up & same);
        let below = Across { up: u64::from(up & end != 0), down: u64::from(down & end != 0) };
        let (up, down) = (up << 1 | above.up, down << 1 | above.down);
        self.up = down | !(either | up);
        self.down = up & either;
        below
    }
}

/// A query cut into so many pieces of about the same length.
fn pieces(chars: &[char], count: usize) -> Vec<String> {
    let cut = |number: usize| number * chars.len() / count;
    let piece = |number| chars.get(cut(number)..cut(number + 1)).unwrap_or_default().iter().collect();
    (0..count).map(piece).collect()
}

/// Makes characters the same that differ by case alone: those that Unicode's simple case folding (as in `(?i)` of
/// regular expressions) makes the same, though by another of them. Neither the dotless nor the dotted capital i folds to
/// an i.
pub(super) fn fold(c: char) -> char {
    fn only(mut mapped: impl ExactSizeIterator<Item = char>, c: char) -> char {
        if mapped.len() == 1 { mapped.next().unwrap_or(c) } else { c }
    }
    match c {
        '\0'..='\x7f' => c.to_ascii_lowercase(),
        // From the radicals to the end of the Yi syllables there is no case; nor is there for Hangul.
        '\u{2e80}'..='\u{a63f}' | '\u{ac00}'..='\u{d7ff}' | 'ı' | 'İ' => c,
        // Which have the same capitals, of several characters.
        '\u{1fd3}' => '\u{390}',
        '\u{1fe3}' => '\u{3b0}',
        'ﬅ' => 'ﬆ',
        _ => {
            let upper = only(c.to_uppercase(), c);
            only(upper.to_lowercase(), upper)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The whole table, as Sellers has it.
    fn naive(query: &str, distance: u8, any_case: bool, text: &str) -> bool {
        let chars =
            |text: &str| -> Vec<char> { text.chars().map(|c| if any_case { fold(c) } else { c }).collect() };
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
        prop_assert_eq!(made.search(text), expected);
        prop_assert!(made.sieve.is_some());
        prop_assert_eq!(made.is_match(text), expected);
        if expected && text.chars().count() < 400 {
            let folded: String = text.chars().map(|c| if any_case { fold(c) } else { c }).collect();
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

    #[test]
    fn characters_fold_as_in_regular_expressions() {
        let all = || (0..=0x0010_ffff).filter_map(char::from_u32);
        // What has a case by either: to the regular expressions, or to us.
        let cased = Regex::new(r"^[\p{CWCF}\p{CWCM}]$").unwrap();
        let known = Regex::new(r"^\P{Cn}$").unwrap();
        let has_case = |c: &char| {
            let maps = !c.to_uppercase().eq([*c]) || !c.to_lowercase().eq([*c]);
            fold(*c) != *c || maps || cased.is_match(c.encode_utf8(&mut [0; 4]))
        };
        let cased: String =
            all().filter(has_case).filter(|c| known.is_match(c.encode_utf8(&mut [0; 4]))).collect();
        assert!(cased.chars().count() > 2_500);
        for c in cased.chars() {
            let same =
                RegexBuilder::new(&regex::escape(&c.to_string())).case_insensitive(true).build().unwrap();
            let theirs: String = same.find_iter(&cased).map(|found| found.as_str()).collect();
            let ours: String = cased.chars().filter(|other| fold(*other) == fold(c)).collect();
            assert_eq!(ours, theirs, "{c:?}");
            assert_eq!(fold(fold(c)), fold(c));
        }
    }
}
