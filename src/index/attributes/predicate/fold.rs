//! Folding of case as regular expressions fold it.

/// Maps characters that differ by case alone to the same character, as Unicode's simple case folding does (`(?i)` in
/// regular expressions), though to another of them. Neither the dotless nor the dotted capital i folds to an i.
pub(super) fn fold_case(c: char) -> char {
    /// The one character that `c` maps to; `c` itself if there are several.
    fn single(mut mapped: impl Iterator<Item = char>, c: char) -> char {
        match (mapped.next(), mapped.next()) {
            (Some(single), None) => single,
            _ => c,
        }
    }
    match c {
        '\0'..='\x7f' => c.to_ascii_lowercase(),
        // From the radicals to the end of the Yi syllables there is no case; nor is there for Hangul.
        '\u{2e80}'..='\u{a63f}' | '\u{ac00}'..='\u{d7ff}' | 'ı' | 'İ' => c,
        // Their capitals are several characters, and equal those of the characters they map to.
        '\u{1fd3}' => '\u{390}',
        '\u{1fe3}' => '\u{3b0}',
        'ﬅ' => 'ﬆ',
        _ => {
            // By way of the capital: some letters, as the final sigma, share it with another letter.
            let upper = single(c.to_uppercase(), c);
            single(upper.to_lowercase(), upper)
        }
    }
}

#[cfg(test)]
mod tests {
    use regex::{Regex, RegexBuilder};

    use super::*;

    #[test]
    fn characters_fold_as_in_regular_expressions() {
        let all = || (0..=0x0010_ffff).filter_map(char::from_u32);
        // What has a case by either: to the regular expressions, or to us.
        let cased = Regex::new(r"^[\p{CWCF}\p{CWCM}]$").unwrap();
        let known = Regex::new(r"^\P{Cn}$").unwrap();
        let has_case = |c: &char| {
            let maps = !c.to_uppercase().eq([*c]) || !c.to_lowercase().eq([*c]);
            fold_case(*c) != *c || maps || cased.is_match(c.encode_utf8(&mut [0; 4]))
        };
        let cased: String =
            all().filter(has_case).filter(|c| known.is_match(c.encode_utf8(&mut [0; 4]))).collect();
        assert!(cased.chars().count() > 2_500);
        for c in cased.chars() {
            let same =
                RegexBuilder::new(&regex::escape(&c.to_string())).case_insensitive(true).build().unwrap();
            let theirs: String = same.find_iter(&cased).map(|found| found.as_str()).collect();
            let ours: String = cased.chars().filter(|other| fold_case(*other) == fold_case(c)).collect();
            assert_eq!(ours, theirs, "{c:?}");
            assert_eq!(fold_case(fold_case(c)), fold_case(c));
        }
    }
}
