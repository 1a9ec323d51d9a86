//! Patterns: globs and regular expressions, compiled within limits.
//!
//! globset has globs of paths, where `/` and `**` have meanings that texts do not give them, and no literals for trigrams.

use regex::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Hir, HirKind, Look};

use crate::error::{Error, Result};
use crate::index::attributes::Pattern;

/// The longest pattern, in bytes. Repetitions multiply: 1 KiB is enough to exceed every limit below.
const BYTES_MAX: usize = 1 << 10;
/// The largest compiled program, in bytes.
const PROGRAM_BYTES_MAX: usize = 1 << 20;
/// The largest cache of lazy DFA states of a search, in bytes. When it is full, the search falls back to a slower
/// engine and does not fail.
const STATES_BYTES_MAX: usize = 2 << 20;
/// How deep groups may nest: the parser recurses.
const NEST_MAX: u32 = 64;

/// Compiles a regular expression that is searched for anywhere in the value.
pub(super) fn compile_regex(pattern: &str) -> Result<Pattern> {
    check_length(pattern)?;
    let regex = build_regex(pattern, RegexBuilder::new(pattern))?;
    Ok(Pattern::regex(regex, &required_literals(pattern)))
}

/// Compiles a glob that is matched against the whole value; see [`Filter::glob`](super::Filter::glob) for the syntax.
pub(super) fn compile_glob(pattern: &str, any_case: bool) -> Result<Pattern> {
    check_length(pattern)?;
    let glob = Glob::parse(pattern).map_err(|why| bad_pattern(pattern, why))?;
    // Literals and stars are matched by substring searches, several times as fast as a regular expression.
    if glob.only_stars && !any_case {
        return Ok(Pattern::literals(&glob.literals));
    }
    let mut builder = RegexBuilder::new(&glob.regex);
    // A star matches any text of a value, line breaks included.
    builder.dot_matches_new_line(true).case_insensitive(any_case);
    let regex = build_regex(pattern, builder)?;
    Ok(if any_case {
        Pattern::any_case(regex, &glob.literals)
    } else {
        Pattern::regex(regex, &glob.literals)
    })
}

/// The literals of a regular expression that every matching string contains, in order. The first is a prefix of the
/// string and the last a suffix; both may be empty.
// Indexes use them: the prefix bounds the keys, and the trigrams of all of them leave few candidates. Too few literals
// are correct, one too many loses matches.
fn required_literals(pattern: &str) -> Vec<String> {
    let (mut first, mut inner, mut last) = (String::new(), Vec::new(), String::new());
    if let Ok(hir) = ParserBuilder::new().nest_limit(NEST_MAX).build().parse(pattern) {
        let parts = if let HirKind::Concat(parts) = hir.kind() { parts } else { std::slice::from_ref(&hir) };
        for part in parts {
            push_literals(part, &mut inner);
        }
        if let [from, begin, ..] = parts
            && is_look(from, Look::Start)
        {
            first = literal_text(begin);
        }
        // In `^abc$` one literal would be prefix and suffix, and then required twice.
        if let [.., end, to] = parts
            && is_look(to, Look::End)
            && (first.is_empty() || parts.len() > 3)
        {
            last = literal_text(end);
        }
    }
    // The literals between the two were collected with them.
    if inner.first().is_some_and(|literal| !first.is_empty() && *literal == first) {
        inner.remove(0);
    }
    if inner.last().is_some_and(|literal| !last.is_empty() && *literal == last) {
        inner.pop();
    }
    std::iter::once(first).chain(inner).chain([last]).collect()
}

fn is_look(hir: &Hir, look: Look) -> bool {
    matches!(hir.kind(), HirKind::Look(found) if *found == look)
}

/// The text of a literal; empty for anything else, which then requires nothing.
fn literal_text(hir: &Hir) -> String {
    let HirKind::Literal(literal) = hir.kind() else { return String::new() };
    // invariant: bytes that are not UTF-8 are in no string. Requiring nothing of them is correct.
    String::from_utf8(literal.0.to_vec()).unwrap_or_default()
}

/// Adds the literals that every match contains.
fn push_literals(hir: &Hir, out: &mut Vec<String>) {
    match hir.kind() {
        HirKind::Literal(_) => out.push(literal_text(hir)),
        HirKind::Concat(parts) => parts.iter().for_each(|part| push_literals(part, out)),
        HirKind::Capture(capture) => push_literals(&capture.sub, out),
        HirKind::Repetition(repetition) if repetition.min > 0 => push_literals(&repetition.sub, out),
        // Alternatives, classes and what may be absent guarantee no literal.
        _ => {}
    }
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

fn build_regex(pattern: &str, mut builder: RegexBuilder) -> Result<Regex> {
    builder.size_limit(PROGRAM_BYTES_MAX).dfa_size_limit(STATES_BYTES_MAX).nest_limit(NEST_MAX);
    builder.build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => Error::limit(format!(
            "a pattern takes more than {PROGRAM_BYTES_MAX} bytes when compiled. pattern=`{pattern}`"
        )),
        // The message marks the position over several lines. The reason is on the last.
        other => {
            let text = other.to_string();
            // invariant: only an empty message has no lines, and then there is no reason to show.
            let last = text.lines().last().unwrap_or_default();
            bad_pattern(pattern, last.trim().trim_start_matches("error: "))
        }
    })
}

fn bad_pattern(pattern: &str, why: &str) -> Error {
    Error::invalid(format!("bad pattern: {why}. pattern=`{pattern}`"))
}

/// A parsed glob.
struct Glob {
    /// The equivalent regular expression.
    regex: String,
    /// The literals outside of all braces, split by wildcards, classes and braces.
    literals: Vec<String>,
    /// Whether they are split by `*` only.
    only_stars: bool,
}

impl Glob {
    fn parse(glob: &str) -> Result<Self, &'static str> {
        let mut parsed = Self { regex: String::from(r"\A"), literals: vec![String::new()], only_stars: true };
        // Depth of braces. A comma outside of them is literal.
        let mut open = 0_usize;
        let mut chars = glob.chars();
        while let Some(c) = chars.next() {
            match c {
                '*' => parsed.push_wildcard(".*", true),
                '?' => parsed.push_wildcard(".", false),
                '[' => {
                    parsed.push_wildcard("", false);
                    push_class(&mut chars, &mut parsed.regex)?;
                }
                '{' => {
                    open += 1;
                    parsed.push_wildcard("(?:", false);
                }
                '}' => {
                    open = open.checked_sub(1).ok_or("a `}` without its `{`; `\\}` stands for itself")?;
                    parsed.push_wildcard(")", false);
                }
                ',' if open > 0 => parsed.regex.push('|'),
                '\\' => parsed.push_literal(chars.next().ok_or("a `\\` at its end")?, open > 0),
                c => parsed.push_literal(c, open > 0),
            }
        }
        if open > 0 {
            return Err("a `{` without its `}`; `\\{` stands for itself");
        }
        parsed.regex.push_str(r"\z");
        Ok(parsed)
    }

    /// Adds something that is not a literal, after which another one begins.
    fn push_wildcard(&mut self, regex: &str, is_star: bool) {
        self.regex.push_str(regex);
        self.only_stars &= is_star;
        self.literals.push(String::new());
    }

    fn push_literal(&mut self, c: char, within_braces: bool) {
        escape_char(c, &mut self.regex);
        // Of the alternatives in braces, only one has to occur.
        if let Some(last) = self.literals.last_mut().filter(|_| !within_braces) {
            last.push(c);
        }
    }
}

/// Adds the class of a `[` that has been read, up to its `]`.
fn push_class(chars: &mut std::str::Chars<'_>, out: &mut String) -> Result<(), &'static str> {
    const OPEN: &str = "a `[` without its `]`; `\\[` stands for itself";
    out.push('[');
    let mut next = chars.next().ok_or(OPEN)?;
    if matches!(next, '!' | '^') {
        out.push('^');
        next = chars.next().ok_or(OPEN)?;
    }
    // `[]a]`: a bracket that comes first does not close the class.
    let mut first = true;
    while first || next != ']' {
        first = false;
        escape_char(next, out);
        let mut rest = chars.clone();
        // A `-` before the closing bracket is literal.
        if let (Some('-'), Some(end)) = (rest.next(), rest.next().filter(|end| *end != ']')) {
            if end < next {
                return Err("a range that ends before it begins");
            }
            out.push('-');
            escape_char(end, out);
            *chars = rest;
        }
        next = chars.next().ok_or(OPEN)?;
    }
    out.push(']');
    Ok(())
}

fn escape_char(c: char, out: &mut String) {
    out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    /// Matches by literals and by the regular expression, which must agree.
    fn matches(pattern: &str, value: &str) -> bool {
        let by_literals = compile_glob(pattern, false).unwrap().is_match(value);
        let regex = Regex::new(&format!("(?s){}", Glob::parse(pattern).unwrap().regex)).unwrap();
        assert_eq!(by_literals, regex.is_match(value), "{pattern:?} {value:?}");
        by_literals
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
        assert!(compile_glob("GRÜN[a-z]", true).unwrap().is_match("grünQ"));
        assert!(!compile_glob("GRÜN[!a-z]", true).unwrap().is_match("grünQ"));
    }

    #[test]
    fn literals_decide_as_the_regular_expression_does() {
        let patterns = [
            "*", "**", "a", "a*", "*a", "a*a", "aa*a", "*ab*", "*a*b*", "a*b*a", "*aba*ab", "a?b*", "a*[ab]b",
        ];
        let patterns = patterns.into_iter().chain(["{a,b}*ab", "a{b*,}a", "*\\**", "b*{a,}"]);
        let mut matched = 0;
        for pattern in patterns {
            for bits in 0..3_u32.pow(6) {
                let digit = |at: u32| ["", "a", "b"][(bits / 3_u32.pow(at) % 3) as usize];
                matched += u32::from(matches(pattern, &(0..6).map(digit).collect::<String>()));
            }
        }
        assert!(matched > 1000);
        assert!(
            compile_glob("dir*", false).unwrap().is_prefix() && compile_glob("*", false).unwrap().is_prefix()
        );
        for other in ["dir", "dir?*", "dir*x", "dir**"] {
            assert!(!compile_glob(other, false).unwrap().is_prefix() || other == "dir**", "{other}");
        }
    }

    #[test]
    fn required_literals_of_regular_expressions_are_found() {
        let cases = [
            ("abc", &["", "abc", ""][..]),
            ("^abc", &["abc", ""]),
            ("^abc$", &["abc", ""]),
            ("^abc.*d$", &["abc", "d"]),
            ("abc$", &["", "abc"]),
            ("a+(bc)*x(yz){2,3}", &["", "a", "x", "yz", ""]),
            ("(?i)abc", &["", ""]),
            ("abc|def", &["", ""]),
            ("(?m)^abc$", &["", "abc", ""]),
            ("", &["", ""]),
        ];
        for (pattern, expected) in cases {
            assert_eq!(required_literals(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn literals_of_regular_expressions_change_no_answer() {
        let patterns = [
            "^a", "a$", "^a$", "^ab*a$", "^aa.*a$", "a(b|a)+a", "^(ab)+$", "^a|b$", "(?i)^AB", "b{2}a*$",
            "^$",
        ];
        for pattern in patterns {
            let (ours, plain) = (compile_regex(pattern).unwrap(), Regex::new(pattern).unwrap());
            for bits in 0..3_u32.pow(6) {
                let digit = |at: u32| ["", "a", "b"][(bits / 3_u32.pow(at) % 3) as usize];
                let value: String = (0..6).map(digit).collect();
                assert_eq!(ours.is_match(&value), plain.is_match(&value), "{pattern} {value:?}");
            }
        }
    }

    #[test]
    fn errors_of_bad_patterns_state_the_reason() {
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
            let error = compile_glob(pattern, false).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(why), "{error}");
        }
        for (pattern, why) in
            [("a(", "unclosed group"), ("(?=a)", "look-around"), (r"(a)\1", "backreferences")]
        {
            let error = compile_regex(pattern).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(why), "{error}");
        }
    }

    #[test]
    fn patterns_are_limited_in_size() {
        let kind = |result: Result<Pattern>| result.unwrap_err().kind();
        assert_eq!(kind(compile_regex(&"x".repeat(BYTES_MAX + 1))), ErrorKind::LimitExceeded);
        assert_eq!(kind(compile_glob(&"x".repeat(BYTES_MAX + 1), false)), ErrorKind::LimitExceeded);
        assert_eq!(kind(compile_regex("((((a{100}){100}){100}){100}){100}")), ErrorKind::LimitExceeded);
        assert_eq!(
            kind(compile_regex(&format!("{}a{}", "(".repeat(100), ")".repeat(100)))),
            ErrorKind::Invalid
        );
        assert_eq!(
            kind(compile_glob(&format!("{}{}", "{".repeat(100), "}".repeat(100)), true)),
            ErrorKind::Invalid
        );
        assert!(compile_glob(&"*a".repeat(300), true).unwrap().is_match(&"a".repeat(5000)));
    }
}
