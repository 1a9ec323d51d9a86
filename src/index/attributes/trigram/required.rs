//! The trigrams of texts, and those that every match of a pattern has.

/// The width of the keys of a column of trigrams, as its head writes it.
pub(super) const TRIGRAM_WIDTH: u8 = 3;
/// The bytes of a trigram. Pairs would be in too many keys, and of four bytes there are too many to store (Cox, 2012).
pub(super) const TRIGRAM_BYTES: usize = TRIGRAM_WIDTH as usize;

pub(super) type Trigram = [u8; TRIGRAM_BYTES];

/// The trigrams that a match must have: all of at least one of the alternatives.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RequiredTrigrams {
    pub(super) alternatives: Vec<Vec<Trigram>>,
}

impl RequiredTrigrams {
    /// The trigrams of literals, lists of which are alternatives. `None` if an alternative has no trigram: then every
    /// key can match.
    pub(crate) fn new<'a, L>(alternatives: impl IntoIterator<Item = L>, any_case: bool) -> Option<Self>
    where
        L: IntoIterator<Item = &'a str>,
    {
        let mut required = Vec::new();
        for literals in alternatives {
            let mut trigrams = Vec::new();
            for literal in literals {
                each_trigram(literal, |trigram| {
                    // The index folds ASCII alone: of another letter it has the bytes of one case only, so that a
                    // pattern in any case cannot require them.
                    if !any_case || trigram.is_ascii() {
                        trigrams.push(trigram);
                    }
                });
            }
            if trigrams.is_empty() {
                return None;
            }
            trigrams.sort_unstable();
            trigrams.dedup();
            required.push(trigrams);
        }
        if required.is_empty() { None } else { Some(Self { alternatives: required }) }
    }
}

/// Calls `each` with every trigram of a text, folded.
pub(super) fn each_trigram(text: &str, each: impl FnMut(Trigram)) {
    let folded: Vec<u8> = if text.is_ascii() {
        text.bytes().map(|byte| byte.to_ascii_lowercase()).collect()
    } else {
        let fold = |c: char| match c {
            // The long s and the Kelvin sign: the only characters beyond ASCII that equal a letter of it but for case.
            '\u{17F}' => 's',
            '\u{212A}' => 'k',
            c => c.to_ascii_lowercase(),
        };
        text.chars().map(fold).collect::<String>().into_bytes()
    };
    // Windows of bytes, not of characters: trigrams have one length, and substrings of UTF-8 are substrings of bytes.
    // invariant: a window has the length of a trigram, so that the conversion keeps every one.
    folded.windows(TRIGRAM_BYTES).filter_map(|window| window.try_into().ok()).for_each(each);
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
