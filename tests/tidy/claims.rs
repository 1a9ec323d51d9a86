//! What prose says about the crate, held against the crate.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::source::{Source, rust_files};

/// Sentences about a time that is not now. Before the first release there are no earlier versions, and what may come
/// later is no documentation.
const NOT_NOW: [&str; 6] = [
    "is to come.",
    "what is to come",
    "are to come.",
    "an earlier version",
    "of earlier versions",
    "in a future version",
];

/// What a page or a file says that is not true now, each as `file:line: what is wrong`.
fn not_now(file: &str, text: &str) -> Vec<String> {
    let lines = (1..).zip(text.lines().map(str::to_lowercase));
    lines
        .flat_map(|(line, text)| {
            let claims: Vec<_> = NOT_NOW.iter().filter(|claim| text.contains(**claim)).collect();
            claims.into_iter().map(move |claim| format!("{file}:{line}: \"{claim}\": say what is so now"))
        })
        .collect()
}

/// The variants of an enum that no expression constructs. Patterns, comparisons and imports mention one too.
fn unused_variants(name: &str, definition: &Source, sources: &[Source]) -> Vec<String> {
    let mut variants = variants(name, definition);
    for source in sources {
        let token = |at: usize| source.tokens.get(at).map_or("", |token| token.text.as_str());
        let (mut imports, mut body) = (false, false);
        for at in 0..source.tokens.len() {
            imports = token(at) == "use" || imports && token(at) != ";";
            // The definition itself.
            body = body && token(at) != "}" || token(at) == "enum" && token(at + 1) == name;
            let start = if at > 2 && token(at - 1) == ":" && token(at - 3) == name { at - 3 } else { at };
            let before = |offset: usize| start.checked_sub(offset).map_or("", token);
            let pattern = before(1) == "|" || token(at + 1) == "|" || token(at + 1) == "=";
            let compared = before(1) == "=" || (before(2) == "is" && before(1) == "(");
            if !imports && !body && !pattern && !compared && before(1) != ":" {
                variants.remove(token(at));
            }
        }
    }
    variants.into_iter().collect()
}

fn variants(name: &str, source: &Source) -> BTreeSet<String> {
    let tokens = &source.tokens;
    let start = tokens.windows(2).position(|pair| pair[0].is("enum") && pair[1].is(name)).unwrap();
    let body = tokens[start..].iter().skip_while(|token| !token.is("{")).take_while(|token| !token.is("}"));
    body.filter(|token| token.text.starts_with(char::is_uppercase)).map(|token| token.text.clone()).collect()
}

/// The first sentence below the title.
fn first_sentence(page: &str) -> &str {
    let line = page.lines().find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default();
    line.split_inclusive(". ").next().unwrap_or_default().trim()
}

/// The files that a page names: targets of links, and paths in backticks, where `root` is where they begin.
fn named_files(page: &str) -> Vec<(usize, String)> {
    let mut files = Vec::new();
    for (line, text) in (1..).zip(page.lines()) {
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let links = links.filter(|target| !target.contains("://") && !target.contains("::"));
        let quoted = text.split('`').skip(1).step_by(2);
        let quoted = quoted.filter(|words| {
            let path = words.trim_end_matches('/');
            let plain = path.chars().all(|c| c.is_alphanumeric() || "/._-".contains(c));
            plain
                && (words.ends_with('/')
                    || [Some("rs"), Some("md")].contains(&path.rsplit_once('.').map(|p| p.1)))
        });
        files.extend(links.chain(quoted).map(|file| (line, file.split('#').next().unwrap().to_owned())));
    }
    files.retain(|(_, file)| !file.is_empty());
    files
}

/// The modules of the crate that a page names in backticks, such as `engine::append`. The last step may be a function or a
/// type.
fn named_modules(root: &Path, page: &str) -> Vec<(usize, String)> {
    let exists = |path: &str| {
        let file = root.join("src").join(path);
        file.is_dir() || file.with_extension("rs").exists()
    };
    let mut modules = Vec::new();
    for (line, text) in (1..).zip(page.lines()) {
        for path in text.split('`').skip(1).step_by(2).filter(|quoted| quoted.contains("::")) {
            let steps: Vec<_> = path.split("::").collect();
            let word = |step: &&str| step.chars().all(|c| c.is_lowercase() || c == '_');
            let (last, folders) = steps.split_last().unwrap();
            let name = last.chars().all(|c| c.is_alphanumeric() || c == '_');
            if name && folders.iter().all(word) && exists(steps[0]) {
                modules.push((line, steps.join("/")));
            }
        }
    }
    modules
}

/// Whether a path of modules leads to a file, to a function of one, or to a type that is defined in or below one.
fn is_module_or_item(root: &Path, path: &str) -> bool {
    let file = root.join("src").join(path);
    let (parent, name) = path.rsplit_once('/').unwrap();
    let parent = root.join("src").join(parent);
    let texts = [parent.with_extension("rs"), parent.join("mod.rs")].map(fs::read_to_string);
    if name.starts_with(char::is_uppercase) {
        let below = if parent.is_dir() { rust_files(&parent) } else { vec![parent.with_extension("rs")] };
        let mut texts = below.iter().map(fs::read_to_string);
        return texts.any(|text| text.is_ok_and(|text| defines_type(&text, name)));
    }
    file.is_dir()
        || file.with_extension("rs").exists()
        || texts.iter().flatten().any(|text| text.contains(&format!("fn {name}(")))
}

fn defines_type(text: &str, name: &str) -> bool {
    ["struct", "enum", "trait", "type"].iter().any(|kind| {
        let definition = format!("{kind} {name}");
        text.split(&definition)
            .skip(1)
            .any(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    })
}

/// Where a file that a page names may be.
fn places(root: &Path, page: &str, file: &str) -> [PathBuf; 3] {
    let folder = root.join(page).parent().unwrap().to_owned();
    [folder.join(file), root.join(file), root.join("src").join(file)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR"))
    }

    fn read(file: &str) -> String {
        fs::read_to_string(root().join(file)).unwrap()
    }

    #[test]
    fn the_claims_are_true() {
        let mut faults = Vec::new();
        let pages = |folder: &Path| {
            let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
            entries.filter(|path| path.extension().is_some_and(|e| e == "md")).collect::<Vec<_>>()
        };
        let docs = root().join("src/docs");
        let pages = [pages(root()), pages(&docs), pages(&docs.join("decisions"))].concat();
        for path in rust_files(&root().join("src")).iter().chain(&pages) {
            let name = crate::source::relative(root(), path);
            faults.extend(not_now(&name, &fs::read_to_string(path).unwrap()));
        }
        let sources = Source::all_of_src(root());
        let definition = sources.iter().find(|source| source.path == "src/error.rs").unwrap();
        for kind in unused_variants("ErrorKind", definition, &sources) {
            faults.push(format!("src/error.rs:1: no code makes `ErrorKind::{kind}`: remove it"));
        }
        let pages = pages.iter().map(|path| crate::source::relative(root(), path));
        for page in pages.chain([".clippy.toml".to_owned()]) {
            for (line, file) in named_files(&read(&page)) {
                if !places(root(), &page, &file).iter().any(|path| path.exists()) {
                    faults.push(format!("{page}:{line}: there is no `{file}`"));
                }
            }
            for (line, path) in named_modules(root(), &read(&page)) {
                if !is_module_or_item(root(), &path) {
                    faults.push(format!("{page}:{line}: there is no module `{}`", path.replace('/', "::")));
                }
            }
        }
        assert!(faults.is_empty(), "{} faults\n{}\n", faults.len(), faults.join("\n"));
    }

    #[test]
    fn the_crate_says_the_same_everywhere() {
        let manifest = read("Cargo.toml");
        let description = manifest.lines().find_map(|line| line.strip_prefix("description = ")).unwrap();
        let sentence = first_sentence(&read("README.md")).trim_end_matches('.').to_owned();
        assert_eq!(description.trim_matches('"'), sentence, "Cargo.toml and the README describe the crate");
        let page = read("src/lib.rs").lines().map_while(|line| line.strip_prefix("//!")).collect::<String>();
        assert!(page.trim().starts_with(&sentence), "the crate's page begins with another sentence");
    }

    #[test]
    fn every_claim_is_checked() {
        assert_eq!(
            not_now("README.md", "Fusion is to come.\nSo are\nsegments of earlier versions"),
            [
                "README.md:1: \"is to come.\": say what is so now",
                "README.md:3: \"of earlier versions\": say what is so now"
            ]
        );
        let definition =
            Source::new("src/error.rs", "pub enum Kind { /// One.\n One, Two, Three, Four, Five }");
        let user = "\nfn f() { match k { Kind::One => g(Kind::Two), Kind::Three | Kind::Four => {} } k == Kind::Five || k.is(Kind::Five) }";
        let sources = [Source::new("src/a.rs", user), definition];
        let definition = &sources[1];
        assert_eq!(unused_variants("Kind", definition, &sources), ["Five", "Four", "One", "Three"]);
        let page = "# T\n\nSee [a](../a/b.rs#c), [d](crate::d), [e](https://e.f) and `g/h.rs`, `i::j`, `k/`, `l l.rs`.";
        let files: Vec<_> =
            named_files(page).into_iter().map(|(line, file)| format!("{line} {file}")).collect();
        assert_eq!(files, ["3 ../a/b.rs", "3 g/h.rs", "3 k/"]);
        let page = "`storage::conformance::check`, `storage::nowhere`, `std::fs`, `Filter::and`, `error`, `engine::Engine`, `engine::Eng`";
        let modules: Vec<_> = named_modules(root(), page).into_iter().map(|(_, path)| path).collect();
        assert_eq!(modules, ["storage/conformance/check", "storage/nowhere", "engine/Engine", "engine/Eng"]);
        let found: Vec<_> = modules.iter().map(|path| is_module_or_item(root(), path)).collect();
        assert_eq!(found, [true, false, true, false]);
        assert_eq!(first_sentence("# T\n\nOne, two. Three."), "One, two.");
    }
}
