//! Patterns: globs and regular expressions, compiled within limits.

use regex::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Hir, HirKind, Look};

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
    let regex = compile(pattern, RegexBuilder::new(pattern))?;
    Ok(Pattern::regex(regex, &literals(pattern)))
}

/// A glob, matched against the whole value; see [`Filter::glob`](super::Filter::glob) for the syntax.
pub(super) fn glob(pattern: &str, any_case: bool) -> Result<Pattern> {
    check_length(pattern)?;
    let glob = Glob::parse(pattern).map_err(|why| bad(pattern, why))?;
    if glob.only_stars && !any_case {
        return Ok(Pattern::literals(&glob.literals));
    }
    let mut builder = RegexBuilder::new(&glob.regex);
    builder.dot_matches_new_line(true).case_insensitive(any_case);
    let regex = compile(pattern, builder)?;
    Ok(if any_case {
        Pattern::any_case(regex, &glob.literals)
    } else {
        Pattern::regex(regex, &glob.literals)
    })
}

/// What stands fast in a regular expression, in order: first what every match of the whole string begins with, last
/// what it ends with, both often empty.
fn literals(pattern: &str) -> Vec<String> {
    let (mut first, mut inner, mut last) = (String::new(), Vec::new(), String::new());
    if let Ok(hir) = ParserBuilder::new().nest_limit(NEST_MAX).build().parse(pattern) {
        let parts = if let HirKind::Concat(parts) = hir.kind() { parts } else { std::slice::from_ref(&hir) };
        for part in parts {
            required(part, &mut inner);
        }
        if let [from, begin, ..] = parts
            && is(from, Look::Start)
        {
            first = text(begin);
        }
        // One literal is not both.
        if let [.., end, to] = parts
            && is(to, Look::End)
            && (first.is_empty() || parts.len() > 3)
        {
            last = text(end);
        }
    }
    // Neither stands between the two.
    if inner.first().is_some_and(|literal| !first.is_empty() && *literal == first) {
        inner.remove(0);
    }
    if inner.last().is_some_and(|literal| !last.is_empty() && *literal == last) {
        inner.pop();
    }
    std::iter::once(first).chain(inner).chain([last]).collect()
}

fn is(hir: &Hir, look: Look) -> bool {
    matches!(hir.kind(), HirKind::Look(found) if *found == look)
}

fn text(hir: &Hir) -> String {
    let HirKind::Literal(literal) = hir.kind() else { return String::new() };
    String::from_utf8(literal.0.to_vec()).unwrap_or_default()
}

/// Adds the literals that every match has.
fn required(hir: &Hir, out: &mut Vec<String>) {
    match hir.kind() {
        HirKind::Literal(_) => out.push(text(hir)),
        HirKind::Concat(parts) => parts.iter().for_each(|part| required(part, out)),
        HirKind::Capture(capture) => required(&capture.sub, out),
        HirKind::Repetition(repetition) if repetition.min > 0 => required(&repetition.sub, out),
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

fn compile(pattern: &str, mut builder: RegexBuilder) -> Result<Regex> {
    builder.size_limit(PROGRAM_BYTES_MAX).dfa_size_limit(STATES_BYTES_MAX).nest_limit(NEST_MAX);
    builder.build().map_err(|error| match error {
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

/// A glob as it was read.
struct Glob {
    /// The regular expression that says the same.
    regex: String,
    /// What stands fast outside of all braces, split by what does not.
    literals: Vec<String>,
    /// Whether nothing but `*` lies between these.
    only_stars: bool,
}

impl Glob {
    fn parse(glob: &str) -> Result<Self, &'static str> {
        let mut read = Self { regex: String::from(r"\A"), literals: vec![String::new()], only_stars: true };
        let mut open = 0_usize;
        let mut chars = glob.chars();
        while let Some(c) = chars.next() {
            match c {
                '*' => read.other(".*", true),
                '?' => read.other(".", false),
                '[' => {
                    read.other("", false);
                    class(&mut chars, &mut read.regex)?;
                }
                '{' => {
                    open += 1;
                    read.other("(?:", false);
                }
                '}' => {
                    open = open.checked_sub(1).ok_or("a `}` without its `{`; `\\}` stands for itself")?;
                    read.other(")", false);
                }
                ',' if open > 0 => read.regex.push('|'),
                '\\' => read.literal(chars.next().ok_or("a `\\` at its end")?, open > 0),
                c => read.literal(c, open > 0),
            }
        }
        if open > 0 {
            return Err("a `{` without its `}`; `\\{` stands for itself");
        }
        read.regex.push_str(r"\z");
        Ok(read)
    }

    /// What stands for more than itself, after which another literal begins.
    fn other(&mut self, regex: &str, star: bool) {
        self.regex.push_str(regex);
        self.only_stars &= star;
        self.literals.push(String::new());
    }

    fn literal(&mut self, c: char, within_braces: bool) {
        literal(c, &mut self.regex);
        if let Some(last) = self.literals.last_mut().filter(|_| !within_braces) {
            last.push(c);
        }
    }
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

    /// By its literals, and by the regular expression alone.
    fn matches(pattern: &str, value: &str) -> bool {
        let by_literals = glob(pattern, false).unwrap().is_match(value);
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
        assert!(glob("GRÜN[a-z]", true).unwrap().is_match("grünQ"));
        assert!(!glob("GRÜN[!a-z]", true).unwrap().is_match("grünQ"));
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
        assert!(glob("dir*", false).unwrap().is_prefix() && glob("*", false).unwrap().is_prefix());
        for other in ["dir", "dir?*", "dir*x", "dir**"] {
            assert!(!glob(other, false).unwrap().is_prefix() || other == "dir**", "{other}");
        }
    }

    #[test]
    fn what_stands_fast_in_a_regular_expression_is_known() {
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
            assert_eq!(literals(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn literals_of_regular_expressions_change_no_answer() {
        let patterns = [
            "^a", "a$", "^a$", "^ab*a$", "^aa.*a$", "a(b|a)+a", "^(ab)+$", "^a|b$", "(?i)^AB", "b{2}a*$",
            "^$",
        ];
        for pattern in patterns {
            let (ours, plain) = (regex(pattern).unwrap(), Regex::new(pattern).unwrap());
            for bits in 0..3_u32.pow(6) {
                let digit = |at: u32| ["", "a", "b"][(bits / 3_u32.pow(at) % 3) as usize];
                let value: String = (0..6).map(digit).collect();
                assert_eq!(ours.is_match(&value), plain.is_match(&value), "{pattern} {value:?}");
            }
        }
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
