//! Patterns: globs and regular expressions, compiled within limits.

use regex::RegexBuilder;

use crate::error::{Error, Result};
use crate::index::attributes::Pattern;

/// The longest pattern, in bytes.
const BYTES_MAX: usize = 1 << 10;
/// The largest compiled program, in bytes.
const PROGRAM_BYTES_MAX: usize = 1 << 20;
/// The largest cache of states a search may build, in bytes.
const STATES_BYTES_MAX: usize = 2 << 20;
/// How deep groups may nest.
const NEST_MAX: u32 = 64;

/// A regular expression, searched for anywhere.
pub(super) fn regex(pattern: &str) -> Result<Pattern> {
    check_length(pattern)?;
    compile(pattern, RegexBuilder::new(pattern))
}

/// A glob, matched against the whole value; see [`Filter::glob`](super::Filter::glob) for the syntax.
pub(super) fn glob(pattern: &str, any_case: bool) -> Result<Pattern> {
    check_length(pattern)?;
    let translated = translate(pattern).map_err(|why| bad(pattern, why))?;
    let mut builder = RegexBuilder::new(&translated);
    builder.dot_matches_new_line(true).case_insensitive(any_case);
    compile(pattern, builder)
}

fn check_length(pattern: &str) -> Result<()> {
    if pattern.len() > BYTES_MAX {
        return Err(Error::limit(format!(
            "pattern of {} bytes: at most {BYTES_MAX} are allowed",
            pattern.len()
        )));
    }
    Ok(())
}

fn compile(pattern: &str, mut builder: RegexBuilder) -> Result<Pattern> {
    builder.size_limit(PROGRAM_BYTES_MAX).dfa_size_limit(STATES_BYTES_MAX).nest_limit(NEST_MAX);
    builder.build().map(Pattern::Regex).map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => Error::limit(format!(
            "a pattern takes more than {PROGRAM_BYTES_MAX} bytes when compiled. pattern=`{pattern}`"
        )),
        // The text is a drawing of several lines: the reason stands on the last.
        other => {
            let text = other.to_string();
            let last = text.lines().last().unwrap_or_default();
            bad(pattern, last.trim().trim_start_matches("error: "))
        }
    })
}

fn bad(pattern: &str, why: &str) -> Error {
    Error::invalid(format!("bad pattern: {why}. pattern=`{pattern}`"))
}

/// The regular expression of a glob.
fn translate(glob: &str) -> Result<String, &'static str> {
    let mut out = String::from(r"\A");
    let mut open = 0_usize;
    let mut chars = glob.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' => out.push_str(".*"),
            '?' => out.push('.'),
            '[' => class(&mut chars, &mut out)?,
            '{' => {
                open += 1;
                out.push_str("(?:");
            }
            '}' => {
                open = open.checked_sub(1).ok_or("a `}` without its `{`; `\\}` stands for itself")?;
                out.push(')');
            }
            ',' if open > 0 => out.push('|'),
            '\\' => literal(chars.next().ok_or("a `\\` at its end")?, &mut out),
            c => literal(c, &mut out),
        }
    }
    if open > 0 {
        return Err("a `{` without its `}`; `\\{` stands for itself");
    }
    out.push_str(r"\z");
    Ok(out)
}

/// What stands between brackets, the first of which has been read.
fn class(chars: &mut std::str::Chars<'_>, out: &mut String) -> Result<(), &'static str> {
    const OPEN: &str = "a `[` without its `]`; `\\[` stands for itself";
    out.push('[');
    let mut next = chars.next().ok_or(OPEN)?;
    if matches!(next, '!' | '^') {
        out.push('^');
        next = chars.next().ok_or(OPEN)?;
    }
    let mut first = true;
    while first || next != ']' {
        first = false;
        literal(next, out);
        let mut rest = chars.clone();
        // A `-` before the closing bracket stands for itself.
        if let (Some('-'), Some(end)) = (rest.next(), rest.next().filter(|end| *end != ']')) {
            if end < next {
                return Err("a range that ends before it begins");
            }
            out.push('-');
            literal(end, out);
            *chars = rest;
        }
        next = chars.next().ok_or(OPEN)?;
    }
    out.push(']');
    Ok(())
}

fn literal(c: char, out: &mut String) {
    out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn matches(pattern: &str, value: &str) -> bool {
        glob(pattern, false).unwrap().is_match(value)
    }

    #[test]
    fn globs_match_whole_values() {
        let yes = [
            ("", ""),
            ("*", ""),
            ("*", "a/b\nc"),
            ("**/x", "a/x"),
            ("a?c", "a\u{10ffff}c"),
            ("[a-c]x", "bx"),
            ("[!a-c]", "d"),
            ("[^a]", "^"),
            ("[]a]", "]"),
            ("[!]a]", "x"),
            ("[a-]", "-"),
            ("[-a]", "-"),
            ("[*?{}]", "{"),
            ("[a&&b]", "&"),
            ("[[:alpha:]", ":"),
            ("[\\]", "\\"),
            ("{a,b*}c", "bxxc"),
            ("x{,.txt}", "x"),
            ("{a,{b,c}}d", "cd"),
            ("a,b", "a,b"),
            ("\\*\\{\\a", "*{a"),
            ("a.(b)+|$^#", "a.(b)+|$^#"),
            ("[+--]", ","),
            ("é*", "éa"),
        ];
        for (pattern, value) in yes {
            assert!(matches(pattern, value), "{pattern:?} {value:?}");
        }
        let no = [
            ("a", "ab"),
            ("a", "ba"),
            ("a", "a\n"),
            ("?", ""),
            ("?", "ab"),
            ("[!a]", ""),
            ("[a-c]", "B"),
            ("{a,b}", "a,b"),
            ("a|b", "a"),
            ("A", "a"),
        ];
        for (pattern, value) in no {
            assert!(!matches(pattern, value), "{pattern:?} {value:?}");
        }
        assert!(glob("GRÜN[a-z]", true).unwrap().is_match("grünQ"));
        assert!(!glob("GRÜN[!a-z]", true).unwrap().is_match("grünQ"));
    }

    #[test]
    fn bad_patterns_say_why() {
        let refused = [
            ("a[", "without its `]`"),
            ("[]", "without its `]`"),
            ("[!", "without its `]`"),
            ("[z-a]", "ends before"),
            ("{a", "without its `}`"),
            ("a}", "without its `{`"),
            ("a\\", "at its end"),
        ];
        for (pattern, why) in refused {
            let error = glob(pattern, false).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(why), "{error}");
        }
        for (pattern, why) in
            [("a(", "unclosed group"), ("(?=a)", "look-around"), (r"(a)\1", "backreferences")]
        {
            let error = regex(pattern).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(why), "{error}");
        }
    }

    #[test]
    fn a_pattern_cannot_take_more_than_its_share() {
        let kind = |result: Result<Pattern>| result.unwrap_err().kind();
        assert_eq!(kind(regex(&"x".repeat(BYTES_MAX + 1))), ErrorKind::LimitExceeded);
        assert_eq!(kind(glob(&"x".repeat(BYTES_MAX + 1), false)), ErrorKind::LimitExceeded);
        assert_eq!(kind(regex("((((a{100}){100}){100}){100}){100}")), ErrorKind::LimitExceeded);
        assert_eq!(kind(regex(&format!("{}a{}", "(".repeat(100), ")".repeat(100)))), ErrorKind::Invalid);
        assert_eq!(kind(glob(&format!("{}{}", "{".repeat(100), "}".repeat(100)), true)), ErrorKind::Invalid);
        assert!(glob(&"*a".repeat(300), true).unwrap().is_match(&"a".repeat(5000)));
    }
}
