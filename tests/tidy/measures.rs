//! Figures that say how well a stranger can read the source, by room, and the limits that they keep.
//!
//! `cargo test --test tidy measures -- --nocapture` prints them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};

use crate::modules::circles;
use crate::source::{Source, Token, closing, opening};

/// A file with more lines usually holds two nouns.
const FILE_LINES: usize = 400;
/// A longer function does not fit on a screen.
const FUNCTION_LINES: usize = 60;

/// Types with an `impl` in a folder other than their own, each for a reason.
const FOREIGN_IMPLS_ALLOWED: [(&str, &str); 1] = [
    // From and to serde: they need the schema, which is a layer above documents.
    ("Document", "src/schema/row/"),
];

/// What the source must not exceed. Only ever lowered, to what holds.
const LIMITS: Limits = Limits {
    circles: 0,
    foreign_impls: 0,
    silent_defaults: 0,
    shared_types_percent: 1.0,
    one_word_percent: 40.0,
    comments_per_1000: 41.0,
    long_files: 2,
    long_functions: 0,
};

#[derive(Debug)]
struct Limits {
    circles: usize,
    foreign_impls: usize,
    silent_defaults: usize,
    shared_types_percent: f64,
    one_word_percent: f64,
    /// At least.
    comments_per_1000: f64,
    long_files: usize,
    long_functions: usize,
}

/// The figures of a room, or of all.
#[derive(Clone, Debug, Default)]
struct Figures {
    code_lines: usize,
    comments: usize,
    functions: usize,
    one_word: usize,
    long_functions: Vec<String>,
    long_files: Vec<String>,
    silent_defaults: Vec<String>,
    foreign_impls: Vec<String>,
}

#[derive(Debug)]
struct Report {
    rooms: BTreeMap<String, Figures>,
    all: Figures,
    circles: Vec<Vec<String>>,
    types: usize,
    /// The files of each name that more than one type has.
    shared_types: BTreeMap<String, Vec<String>>,
}

impl Report {
    fn new(sources: &[Source]) -> Self {
        let types = types(sources);
        let mut rooms: BTreeMap<String, Figures> = BTreeMap::new();
        for source in sources {
            rooms.entry(source.room()).or_default().add(&Figures::new(source, &types));
        }
        let mut all = Figures::default();
        for figures in rooms.values() {
            all.add(figures);
        }
        let circles = circles(sources);
        let number = types.len();
        let shared_types = types.into_iter().filter(|(_, files)| files.len() > 1).collect();
        Self { rooms, all, circles, types: number, shared_types }
    }

    /// What exceeds its limit, with where.
    fn faults(&self, limits: &Limits) -> Vec<String> {
        let all = &self.all;
        let circles: Vec<_> = self.circles.iter().map(|circle| circle.join(", ")).collect();
        let shared: Vec<_> =
            self.shared_types.iter().map(|(name, files)| format!("{name}: {}", files.join(", "))).collect();
        let in_circles = self.circles.iter().map(Vec::len).sum::<usize>();
        let mut faults = Vec::new();
        let mut most = |what: &str, found: f64, limit: f64, places: &[String]| {
            if found > limit {
                faults.push(format!("{what}: {found:.1}, at most {limit}\n    {}", places.join("\n    ")));
            }
        };
        let mut count = |what: &str, found: usize, limit: usize, places: &[String]| {
            most(what, float(found), float(limit), places);
        };
        count("sibling modules that import each other in a circle", in_circles, limits.circles, &circles);
        count(
            "`impl T` outside the folder that defines T",
            all.foreign_impls.len(),
            limits.foreign_impls,
            &all.foreign_impls,
        );
        count(
            "defaults for what cannot happen: return an error, or say why it is right by `// invariant:` above",
            all.silent_defaults.len(),
            limits.silent_defaults,
            &all.silent_defaults,
        );
        count("files over 400 lines", all.long_files.len(), limits.long_files, &all.long_files);
        count(
            "functions over 60 lines",
            all.long_functions.len(),
            limits.long_functions,
            &all.long_functions,
        );
        most(
            "types that share their name, in per cent of all names",
            self.shared_percent(),
            limits.shared_types_percent,
            &shared,
        );
        most(
            "functions named by one word, in per cent",
            all.one_word_percent(),
            limits.one_word_percent,
            &[],
        );
        if all.comments_per_1000() < limits.comments_per_1000 {
            faults.push(format!(
                "comments in 1,000 lines of code: {:.1}, at least {}",
                all.comments_per_1000(),
                limits.comments_per_1000
            ));
        }
        faults
    }

    fn shared_percent(&self) -> f64 {
        100.0 * float(self.shared_types.len()) / float(self.types.max(1))
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:22}{:>7}{:>6}{:>8}{:>7}{:>8}{:>6}{:>6}{:>8}{:>7}",
            "room", "code", "//", "/1,000", "fn", "one %", ">60", ">400", "silent", "impl"
        )?;
        let all = ("all".to_owned(), self.all.clone());
        for (room, figures) in self.rooms.clone().into_iter().chain([all]) {
            writeln!(
                f,
                "{room:22}{:7}{:6}{:8.0}{:7}{:8.0}{:6}{:6}{:8}{:7}",
                figures.code_lines,
                figures.comments,
                figures.comments_per_1000(),
                figures.functions,
                figures.one_word_percent(),
                figures.long_functions.len(),
                figures.long_files.len(),
                figures.silent_defaults.len(),
                figures.foreign_impls.len(),
            )?;
        }
        let in_circles = self.circles.iter().map(Vec::len).sum::<usize>();
        writeln!(f, "sibling modules in circles: {in_circles}")?;
        let (shared, percent) = (self.shared_types.len(), self.shared_percent());
        write!(f, "names of types: {}, shared: {shared} ({percent:.1} %)", self.types)
    }
}

impl Figures {
    fn new(source: &Source, types: &BTreeMap<String, Vec<String>>) -> Self {
        let functions = functions(source);
        let lines = source.text.lines().count();
        let place = |line: usize, what: &str| format!("{}:{}: {what}", source.path, line + 1);
        let long = functions.iter().filter(|function| function.lines > FUNCTION_LINES);
        Self {
            code_lines: source.code_lines(),
            comments: source.comments.len(),
            functions: functions.len(),
            one_word: functions.iter().filter(|f| !f.name.trim_matches('_').contains('_')).count(),
            long_functions: long
                .map(|f| place(f.line, &format!("`{}` has {} lines", f.name, f.lines)))
                .collect(),
            long_files: (lines > FILE_LINES)
                .then(|| place(FILE_LINES, &format!("{lines} lines")))
                .into_iter()
                .collect(),
            silent_defaults: silent_defaults(source).map(|line| place(line, line_of(source, line))).collect(),
            foreign_impls: inherent_impls(source)
                .filter(|(_, name)| {
                    types.get(name).is_some_and(|files| !files.iter().any(|f| holds(f, source)))
                })
                .filter(|(_, name)| {
                    !FOREIGN_IMPLS_ALLOWED
                        .iter()
                        .any(|(t, folder)| name == t && source.path.starts_with(folder))
                })
                .map(|(line, name)| place(line, &format!("`impl {name}`")))
                .collect(),
        }
    }

    fn add(&mut self, other: &Self) {
        self.code_lines += other.code_lines;
        self.comments += other.comments;
        self.functions += other.functions;
        self.one_word += other.one_word;
        self.long_functions.extend_from_slice(&other.long_functions);
        self.long_files.extend_from_slice(&other.long_files);
        self.silent_defaults.extend_from_slice(&other.silent_defaults);
        self.foreign_impls.extend_from_slice(&other.foreign_impls);
    }

    fn comments_per_1000(&self) -> f64 {
        1_000.0 * float(self.comments) / float(self.code_lines.max(1))
    }

    fn one_word_percent(&self) -> f64 {
        100.0 * float(self.one_word) / float(self.functions.max(1))
    }
}

fn float(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap())
}

fn line_of(source: &Source, line: usize) -> &str {
    source.text.lines().nth(line).unwrap_or_default().trim()
}

/// Whether the folder of a file, or one below it, holds `source`. A file of the top level is a folder of its own.
fn holds(file: &str, source: &Source) -> bool {
    let folder = match file.rsplit_once('/') {
        Some((folder, _)) if folder != "src" => folder,
        _ => file.trim_end_matches(".rs"),
    };
    source.path.strip_prefix(folder).is_some_and(|rest| rest.starts_with(['/', '.']))
}

/// The files that define a type, by its name.
fn types(sources: &[Source]) -> BTreeMap<String, Vec<String>> {
    let mut types: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in sources {
        for pair in source.tokens.windows(2) {
            let [keyword, name] = pair else { continue };
            let defines = ["struct", "enum", "trait", "union"].contains(&keyword.text.as_str())
                // An indented one belongs to a trait.
                || keyword.is("type") && line_of_token(source, keyword).starts_with(['t', 'p']);
            if defines && name.text.starts_with(char::is_uppercase) {
                types.entry(name.text.clone()).or_default().push(source.path.clone());
            }
        }
    }
    types
}

fn line_of_token<'a>(source: &'a Source, token: &Token) -> &'a str {
    source.text.lines().nth(token.line).unwrap_or_default()
}

#[derive(Debug)]
struct Function {
    name: String,
    line: usize,
    lines: usize,
}

fn functions(source: &Source) -> Vec<Function> {
    let tokens = &source.tokens;
    let mut functions = Vec::new();
    for (at, keyword) in tokens.iter().enumerate().filter(|(_, token)| token.is("fn")) {
        let Some(name) = tokens.get(at + 1).filter(|name| name.is_word()) else { continue };
        let mut end = at;
        while end < tokens.len() && !tokens[end].is("{") && !tokens[end].is(";") {
            end = if ["(", "["].contains(&tokens[end].text.as_str()) {
                closing(tokens, end) + 1
            } else {
                end + 1
            };
        }
        let end = if tokens.get(end).is_some_and(|token| token.is("{")) { closing(tokens, end) } else { at };
        let lines = tokens[end].line - keyword.line + 1;
        functions.push(Function { name: name.text.clone(), line: keyword.line, lines });
    }
    functions
}

/// The inherent impls: their line, and the name of their type.
pub(crate) fn inherent_impls(source: &Source) -> impl Iterator<Item = (usize, String)> {
    let tokens = &source.tokens;
    let impls = tokens.iter().enumerate().filter(|(_, token)| token.is("impl"));
    // Elsewhere it is a type: `-> impl T`, `&impl T`, `(t: impl T)`.
    let items = impls.filter(|(at, _)| {
        at.checked_sub(1).is_none_or(|before| ["}", ";", "{", "]", "unsafe"].contains(&&*tokens[before].text))
    });
    items.filter_map(|(at, keyword)| {
        let start = behind_generics(tokens, at + 1);
        let (mut at, mut name) = (start, None);
        // The last step of the path, without its generics.
        while at < tokens.len() && !tokens[at].is("{") && !tokens[at].is("where") {
            match tokens[at].text.as_str() {
                "for" => return None,
                "<" => at = behind_generics(tokens, at),
                _ => {
                    if tokens[at].is_word() && !tokens[at].is("dyn") {
                        name = Some(tokens[at].text.clone());
                    }
                    at += 1;
                }
            }
        }
        name.map(|name| (keyword.line, name))
    })
}

/// Behind the generics that begin here, if any do.
fn behind_generics(tokens: &[Token], start: usize) -> usize {
    let (mut depth, mut at) = (0usize, start);
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            "<" => depth += 1,
            // Not the arrow of a function.
            ">" if !tokens[at - 1].is("-") => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return if at == start { start } else { at + 1 };
        }
        at += 1;
    }
    at
}

/// What ends an `Option` or `Result` by a value for its failure.
const DEFAULTS: [&str; 4] = ["unwrap_or", "unwrap_or_default", "unwrap_or_else", "map_or"];
/// What may stand between the lookup and its default.
const BETWEEN: [&str; 9] =
    ["copied", "cloned", "map", "and_then", "flatten", "map_or", "filter", "ok", "as_deref"];
/// Lookups and conversions that mostly fail only by a mistake in this crate.
const LOOKUPS: [&str; 15] = [
    "get",
    "get_mut",
    "first",
    "first_mut",
    "last",
    "last_mut",
    "nth",
    "next",
    "pop",
    "position",
    "split_at_checked",
    "split_at_mut_checked",
    "try_from",
    "try_into",
    "parse",
];

/// The lines of lookups and conversions that have a default instead of an error, with no reason above.
fn silent_defaults(source: &Source) -> impl Iterator<Item = usize> {
    let tokens = &source.tokens;
    let defaults = tokens.iter().enumerate().filter(|(at, token)| {
        DEFAULTS.contains(&token.text.as_str()) && *at > 1 && tokens[at - 1].is(".") && tokens[at - 2].is(")")
    });
    let silent: BTreeSet<_> = defaults
        .filter_map(|(at, token)| {
            let mut close = at - 2;
            loop {
                let method = opening(tokens, close).checked_sub(1)?;
                let name = tokens[method].text.as_str();
                if LOOKUPS.contains(&name) || name.starts_with("checked_") {
                    let reasoned = has_reason(source, tokens[method].line);
                    return (!reasoned).then_some(token.line);
                }
                let chained = method > 1 && tokens[method - 1].is(".") && tokens[method - 2].is(")");
                if !BETWEEN.contains(&name) || !chained {
                    return None;
                }
                close = method - 2;
            }
        })
        .collect();
    silent.into_iter()
}

/// Whether the comment above the statement of a line gives an invariant.
fn has_reason(source: &Source, line: usize) -> bool {
    let lines: Vec<_> = source.text.lines().collect();
    let code: Vec<_> = source.code.lines().collect();
    let mut above = (0..line).rev().skip_while(|line| {
        let text = code[*line].trim();
        !lines[*line].trim().starts_with("//") && !text.is_empty() && !text.ends_with([';', '}'])
    });
    // The whole comment, which may be longer than a line.
    above
        .by_ref()
        .map_while(|line| lines[line].trim().strip_prefix("//"))
        .any(|text| text.contains("invariant:"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_measures_hold() {
        let report = Report::new(&Source::all_of_src(Path::new(env!("CARGO_MANIFEST_DIR"))));
        println!("{report}");
        let faults = report.faults(&LIMITS);
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    const NONE: Limits = Limits {
        circles: 0,
        foreign_impls: 0,
        silent_defaults: 0,
        shared_types_percent: 0.0,
        one_word_percent: 0.0,
        comments_per_1000: 0.0,
        long_files: 0,
        long_functions: 0,
    };

    /// What the files break, with no limit but those of zero.
    fn faults(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<_> = files.iter().map(|(path, text)| Source::new(path, text)).collect();
        Report::new(&sources).faults(&NONE)
    }

    #[test]
    fn every_measure_bites() {
        let bites = |files: &[(&str, &str)], words: &str| {
            let faults = faults(files);
            assert!(matches!(&faults[..], [one] if one.contains(words)), "{files:?}: {faults:?}");
        };
        let circle = [("src/a/b.rs", "use super::c::C;"), ("src/a/c.rs", "use super::b::B;")];
        bites(&circle, "in a circle: 2.0, at most 0\n    a::b, a::c");
        let elsewhere = [("src/a/b.rs", "struct T<U>;"), ("src/a/c/d.rs", "impl<U: Fn() -> V> T<U> {}")];
        assert_eq!(faults(&elsewhere), Vec::<String>::new());
        let elsewhere = [elsewhere[0], ("src/e.rs", "\nimpl<U: Fn() -> V> a::T<U> {}")];
        bites(&elsewhere, "outside the folder that defines T: 1.0, at most 0\n    src/e.rs:2: `impl T`");
        bites(&[("src/a.rs", "struct T; // T"), ("src/b.rs", "trait T {}")], "share their name, in per cent");
        bites(&[("src/a.rs", "fn _go() {}\nfn go_on() {}")], "one word, in per cent: 50.0, at most 0");
        bites(
            &[("src/a.rs", &"//\n".repeat(401))],
            "files over 400 lines: 1.0, at most 0\n    src/a.rs:401: ",
        );
        let long = format!("\nfn go_on(a: [u8; 2])\nwhere\n{{{}}}", "b;\n".repeat(59));
        bites(&[("src/a.rs", &long)], "src/a.rs:2: `go_on` has 62 lines");
        let some_comments = Limits { comments_per_1000: 501.0, ..NONE };
        let source =
            Source::new("src/a.rs", "a; // Why.\n/// What.\nb;\n#[cfg(test)]\nmod c {\n// Why.\n}\n");
        let faults = Report::new(&[source]).faults(&some_comments);
        assert_eq!(faults, ["comments in 1,000 lines of code: 500.0, at least 501"]);
    }

    #[test]
    fn silent_defaults_are_found() {
        let silent = |code: &str| silent_defaults(&Source::new("src/a.rs", code)).collect::<Vec<_>>();
        for code in [
            "a.get(b).unwrap_or_default()",
            "a.get(b(c)).copied().map(|d| e(d)).unwrap_or(0)",
            "u16::try_from(a).unwrap_or(u16::MAX)",
            "a.try_into().ok().unwrap_or_else(|| f())",
            "// Why not.\na.last().map_or(0, B::end)",
            "// invariant: of another statement\nb;\na.next().unwrap_or(c)",
            "a.checked_sub(1).unwrap_or(c)",
        ] {
            assert_eq!(silent(code), [code.lines().count() - 1], "{code}");
        }
        for code in [
            "// invariant: an empty list ends at 0\na.last().map_or(0, B::end)",
            "// invariant: an empty list\n// ends at 0\nlet c =\n    a.last().map_or(0, B::end)",
            "a.get(b).ok_or_else(c)?",
            "a.min_by(b).unwrap_or(c)",
            "a.unwrap_or(b.get(c)?)",
            "#[cfg(test)]\nmod a { fn b() { c.get(0).unwrap_or(1) } }",
        ] {
            assert_eq!(silent(code), [0; 0], "{code}");
        }
    }
}
