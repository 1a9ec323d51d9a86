//! A source file as the rules see it: its text, its code without comments and strings, and its tokens without tests.
//!
//! This is no parser of Rust. It knows strings, comments, characters and balanced brackets, which is enough for
//! every rule here and stays right when the language grows.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// One file below the root of the repository.
#[derive(Debug)]
pub(crate) struct Source {
    /// From the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The text with the insides of comments, strings and characters blanked: as long, with the same lines.
    pub(crate) code: String,
    /// The comments that are no documentation, with the index of the line each begins on.
    pub(crate) comments: Vec<(usize, String)>,
    /// The tokens of the code that is built without `cfg(test)`.
    pub(crate) tokens: Vec<Token>,
}

/// A word, a number, a quoted text, or one character of anything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    /// From 0.
    pub(crate) line: usize,
    /// From 0, in bytes.
    pub(crate) column: usize,
}

impl Token {
    pub(crate) fn is(&self, text: &str) -> bool {
        self.text == text
    }

    pub(crate) fn is_word(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let (code, comments) = blank(text);
        let all = tokenize(&code);
        let (tokens, tests) = cut_tests(&all);
        let in_test = |line: usize| tests.iter().any(|(first, last)| (*first..=*last).contains(&line));
        let comments = comments.into_iter().filter(|(line, _)| !in_test(*line)).collect();
        Self { path: path.to_owned(), text: text.to_owned(), code, comments, tokens }
    }

    /// The files of `src` that are built without `cfg(test)`.
    pub(crate) fn all_of_src(root: &Path) -> Vec<Self> {
        let read = |path: &PathBuf| Self::new(&relative(root, path), &fs::read_to_string(path).unwrap());
        let sources: Vec<_> = rust_files(&root.join("src")).iter().map(read).collect();
        let tests: BTreeSet<_> = sources.iter().flat_map(Self::test_modules).collect();
        let is_test = |path: &str| {
            tests.iter().any(|test| path == format!("{test}.rs") || path.starts_with(&format!("{test}/")))
        };
        sources.into_iter().filter(|source| !is_test(&source.path)).collect()
    }

    /// The folder of the file's child modules.
    pub(crate) fn folder(&self) -> &str {
        let stem = self.path.trim_end_matches(".rs");
        stem.strip_suffix("/mod").or_else(|| stem.strip_suffix("/lib")).unwrap_or(stem)
    }

    /// The first folder of a file in `src`, two for the indexes; the file itself if it is in none.
    pub(crate) fn room(&self) -> String {
        let mut parts = self.path.split('/').skip(1);
        let first = parts.next().unwrap_or_default();
        match parts.next() {
            Some(second) if first == "index" => format!("{first}/{second}"),
            _ => first.to_owned(),
        }
    }

    /// The files that `#[cfg(test)] mod x;` names, without their ending.
    fn test_modules(&self) -> Vec<String> {
        let all = tokenize(&self.code);
        let mut modules = Vec::new();
        for (start, end) in test_items(&all) {
            for item in all[start..end].windows(3) {
                if let [keyword, name, semicolon] = item
                    && keyword.is("mod")
                    && name.is_word()
                    && semicolon.is(";")
                {
                    modules.push(format!("{}/{}", self.folder(), name.text));
                }
            }
        }
        modules
    }

    /// The lines that hold a token.
    pub(crate) fn code_lines(&self) -> usize {
        self.tokens.iter().map(|token| token.line).collect::<BTreeSet<_>>().len()
    }
}

pub(crate) fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/")
}

/// The files below a folder that end in `.rs`, in order.
pub(crate) fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The code without what its comments and quotes say, and its comments that are no documentation.
fn blank(text: &str) -> (String, Vec<(usize, String)>) {
    let (mut code, mut comments, mut at, mut line) = (String::new(), Vec::new(), 0, 0);
    while let Some(next) = text[at..].chars().next() {
        let rest = &text[at..];
        let in_word = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        // (how much of the rest is one piece, how much of it stays at its beginning and its end)
        let (len, first, last) = if rest.starts_with("//") {
            let comment = rest.lines().next().unwrap_or_default();
            if !comment.starts_with("///") && !comment.starts_with("//!") {
                comments.push((line, comment.to_owned()));
            }
            (comment.len(), 0, 0)
        } else if rest.starts_with("/*") {
            (block_comment(rest), 0, 0)
        } else if let Some((open, close)) = raw_string(rest).filter(|_| !in_word) {
            let end = rest[open..].find(&close).map_or(rest.len(), |end| open + end + close.len());
            (end, open, close.len())
        } else if next == '"' {
            (1 + quoted(&rest[1..], '"'), 1, 1)
        } else if let Some(len) = character(rest) {
            (len, 1, 1)
        } else {
            (next.len_utf8(), next.len_utf8(), 0)
        };
        let piece = &rest[..len];
        line += piece.matches('\n').count();
        for (offset, c) in piece.char_indices() {
            if offset < first || offset >= len - last || c == '\n' {
                code.push(c);
            } else {
                code.extend(std::iter::repeat_n(' ', c.len_utf8()));
            }
        }
        at += len;
    }
    (code, comments)
}

/// The length of a block comment; they nest.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of a raw string's opening, and its closing.
fn raw_string(rest: &str) -> Option<(usize, String)> {
    let marks = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = marks.len() - marks.trim_start_matches('#').len();
    marks[hashes..].starts_with('"').then(|| {
        let open = rest.len() - marks.len() + hashes + 1;
        (open, format!("\"{}", "#".repeat(hashes)))
    })
}

/// The length up to the closing quote, with it.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of a character in quotes; none for a lifetime.
fn character(rest: &str) -> Option<usize> {
    let inside = rest.strip_prefix('\'')?;
    let mut chars = inside.chars();
    let first = chars.next()?;
    (first == '\\' || chars.next() == Some('\'')).then(|| 1 + quoted(inside, '\''))
}

pub(crate) fn tokenize(code: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (line, text) in code.split('\n').enumerate() {
        let mut at = 0;
        while let Some(next) = text[at..].chars().next() {
            let rest = &text[at..];
            let word = |c: char| c.is_alphanumeric() || c == '_';
            let len = if next == '"' {
                rest[1..].find('"').map_or(rest.len(), |end| end + 2)
            } else if word(next) || (next == '\'' && rest[1..].starts_with(word)) {
                1 + rest[next.len_utf8()..].find(|c| !word(c)).unwrap_or(rest.len() - next.len_utf8())
            } else {
                next.len_utf8()
            };
            let len = len.max(next.len_utf8());
            if !next.is_whitespace() {
                tokens.push(Token { text: rest[..len].to_owned(), line, column: at });
            }
            at += len;
        }
    }
    tokens
}

/// The index of the bracket that closes the one at `open`.
pub(crate) fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at;
                }
            }
            _ => {}
        }
    }
    tokens.len().saturating_sub(1)
}

/// The index of the bracket that opens the one at `close`.
pub(crate) fn opening(tokens: &[Token], close: usize) -> usize {
    let mut depth = 0usize;
    for at in (0..=close).rev() {
        match tokens[at].text.as_str() {
            ")" | "]" | "}" => depth += 1,
            "(" | "[" | "{" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at;
                }
            }
            _ => {}
        }
    }
    0
}

/// The tokens outside of tests, and the lines of tests.
fn cut_tests(all: &[Token]) -> (Vec<Token>, Vec<(usize, usize)>) {
    let (mut tokens, mut lines, mut at) = (Vec::new(), Vec::new(), 0);
    for (start, end) in test_items(all) {
        if start < at {
            continue;
        }
        tokens.extend_from_slice(&all[at..start]);
        lines.push((all[start].line, all[end - 1].line));
        at = end;
    }
    tokens.extend_from_slice(&all[at..]);
    (tokens, lines)
}

/// The ranges of the items behind `#[cfg(test)]` and `#[test]`, their attributes included.
fn test_items(all: &[Token]) -> Vec<(usize, usize)> {
    let starts = |at: usize, words: &[&str]| {
        words
            .iter()
            .enumerate()
            .all(|(offset, word)| all.get(at + offset).is_some_and(|token| token.is(word)))
    };
    let mut items = Vec::new();
    for at in 0..all.len() {
        let cfg = starts(at, &["#", "[", "cfg", "(", "test", ")"])
            || starts(at, &["#", "[", "cfg", "(", "all", "(", "test"])
            || starts(at, &["#", "[", "test", "]"]);
        if cfg {
            items.push((at, item_end(all, at)));
        }
    }
    items
}

/// What begins an item that ends with its braces.
const ITEMS: [&str; 6] = ["mod", "struct", "enum", "impl", "trait", "macro_rules"];
/// What begins an item that ends with a semicolon.
const VALUES: [&str; 5] = ["use", "const", "static", "let", "type"];

/// Behind the item, field or statement that begins with the attributes at `start`.
fn item_end(all: &[Token], start: usize) -> usize {
    let mut at = start;
    while at + 1 < all.len() && all[at].is("#") {
        at = closing(all, at + 1) + 1;
    }
    let has = |words: &[&str]| all[at..].iter().take(4).any(|token| words.contains(&token.text.as_str()));
    let is_fn = has(&["fn"]);
    let is_field = !is_fn && !has(&ITEMS) && !has(&VALUES);
    let is_value = !is_fn && !has(&ITEMS) && has(&VALUES);
    let mut angles = 0usize;
    while at < all.len() {
        match all[at].text.as_str() {
            ";" => return at + 1,
            "," if is_field && angles == 0 => return at + 1,
            // The braces of an import or a value do not end it.
            "{" if is_fn || !is_value => return closing(all, at) + 1,
            "{" | "(" | "[" => at = closing(all, at) + 1,
            // The end of what holds a last field.
            "}" | ")" | "]" => return at,
            bracket => {
                angles = match bracket {
                    "<" => angles + 1,
                    ">" => angles.saturating_sub(1),
                    _ => angles,
                };
                at += 1;
            }
        }
    }
    all.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(tokens: &[Token]) -> String {
        tokens.iter().map(|token| token.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_and_strings_say_nothing() {
        let text =
            "a(\"b \\\" // c\"); // why\n/// doc\nlet d = r#\"e\" f\"#; /* g /* h */ i */ 'j' '\\'' &'k l\n";
        let source = Source::new("src/x.rs", text);
        assert_eq!(
            texts(&source.tokens).replace("  ", ""),
            "a ( \" \" ) ; let d = r # \"\" # ; ' ' ' ' & 'k l"
        );
        assert_eq!(source.comments, [(0, "// why".to_owned())]);
        assert_eq!(source.code.len(), text.len());
    }

    #[test]
    fn tests_are_cut() {
        let text = "a;\n#[cfg(test)]\nuse b::{c, d};\ne;\n#[cfg(test)]\n#[derive(F)]\nstruct G { h: I } // j\nk;\n\
            #[cfg(test)]\nmod l {\n // m\n fn n() {} }\no { #[cfg(test)] p: Q<R>, s: T }\n#[test]\nfn u() { v }\nw";
        let source = Source::new("src/x.rs", text);
        assert_eq!(texts(&source.tokens), "a ; e ; k ; o { s : T } w");
        assert_eq!(source.comments, []);
        assert_eq!(Source::new("src/x/mod.rs", "#[cfg(test)] pub(crate) mod y;").test_modules(), ["src/x/y"]);
        assert_eq!(Source::new("src/x.rs", "#[cfg(test)] mod y; mod z;").test_modules(), ["src/x/y"]);
    }
}
