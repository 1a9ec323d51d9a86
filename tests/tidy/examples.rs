//! Public types without an example: whoever looks a type up sees it in use, and `cargo test --doc` runs what they see.

use std::collections::BTreeSet;

use crate::measures::inherent_impls;
use crate::modules::expand;
use crate::source::{Source, closing};

/// What a code block says of itself when it is compiled and run.
const RUNNABLE: [&str; 2] = ["", "rust"];

/// A struct, enum or trait that a user can name.
#[derive(Debug)]
struct PublicType {
    name: String,
    /// `file:line` of its definition.
    place: String,
    /// Whether it has a code block that runs, in its own documentation or in that of a public method.
    has_example: bool,
}

/// The public types in the order of their files, and the exported names that stand for none.
fn public_types(sources: &[Source]) -> (Vec<PublicType>, BTreeSet<String>) {
    let modules = public_modules(sources, "src/lib.rs");
    let exports: BTreeSet<String> = modules.iter().flat_map(|module| exported_names(module)).collect();
    let mut unknown = exports.clone();
    let mut types = Vec::new();
    for source in sources {
        let is_public = modules.iter().any(|module| module.path == source.path);
        for definition in source.tokens.windows(3) {
            let [visibility, keyword, name] = definition else { continue };
            if !visibility.is("pub") || !(is_public || exports.contains(&name.text)) {
                continue;
            }
            match keyword.text.as_str() {
                "struct" | "enum" | "trait" | "union" => types.push(PublicType {
                    name: name.text.clone(),
                    place: format!("{}:{}", source.path, name.line + 1),
                    has_example: has_example(&docs_above(source, visibility.line))
                        || public_methods(source, &name.text)
                            .any(|line| has_example(&docs_above(source, line))),
                }),
                "type" => {}
                _ => continue,
            }
            unknown.remove(&name.text);
        }
    }
    (types, unknown)
}

/// A module, and the public ones below it that are files.
fn public_modules<'a>(sources: &'a [Source], path: &str) -> Vec<&'a Source> {
    let Some(module) = sources.iter().find(|source| source.path == path) else { return Vec::new() };
    let mut modules = vec![module];
    for declaration in module.tokens.windows(4) {
        if let [visibility, keyword, name, semicolon] = declaration
            && visibility.is("pub")
            && keyword.is("mod")
            && semicolon.is(";")
        {
            let child = format!("{}/{}", module.folder(), name.text);
            modules.extend(public_modules(sources, &format!("{child}.rs")));
            modules.extend(public_modules(sources, &format!("{child}/mod.rs")));
        }
    }
    modules
}

/// The names of types that a module exports: neither modules nor constants.
fn exported_names(module: &Source) -> BTreeSet<String> {
    let tokens = &module.tokens;
    let exports = (2..tokens.len()).filter(|at| tokens[at - 2].is("pub") && tokens[at - 1].is("use"));
    // By the name of the definition, not that of an `as`.
    let names = exports.flat_map(|at| expand(tokens, at)).filter_map(|(mut path, _)| path.pop());
    names.filter(|name| name.starts_with(char::is_uppercase) && name.contains(char::is_lowercase)).collect()
}

/// The lines of the public methods of a type, as far as they are in the file.
fn public_methods(source: &Source, name: &str) -> impl Iterator<Item = usize> {
    let tokens = &source.tokens;
    let impls = inherent_impls(source).filter(move |(_, of)| of == name);
    let bodies = impls.filter_map(|(line, _)| {
        let keyword = tokens.iter().position(|token| token.line == line && token.is("impl"))?;
        let open = keyword + tokens[keyword..].iter().position(|token| token.is("{"))?;
        Some(&tokens[open..closing(tokens, open)])
    });
    bodies.flat_map(|body| {
        let public = (0..body.len()).filter(|at| body[*at].is("pub") && !body[at + 1].is("("));
        // Between the two stand at most `const async unsafe`.
        public
            .filter(|at| body[*at..].iter().take(5).any(|token| token.is("fn")))
            .map(|at| body[at].line)
            .collect::<Vec<_>>()
    })
}

/// The documentation of the item that begins on a line, above its attributes or between them.
fn docs_above(source: &Source, line: usize) -> Vec<&str> {
    let (texts, code): (Vec<_>, Vec<_>) = (source.text.lines().collect(), source.code.lines().collect());
    let above = (0..line)
        .rev()
        .take_while(|line| !texts[*line].trim().is_empty() && !code[*line].trim().ends_with([';', '{', '}']));
    let mut docs: Vec<_> = above.filter_map(|line| texts[line].trim().strip_prefix("///")).collect();
    docs.reverse();
    docs
}

fn has_example(docs: &[&str]) -> bool {
    let mut inside = false;
    let mut fences = docs.iter().filter_map(|line| line.trim().strip_prefix("```"));
    fences.any(|says| {
        inside = !inside;
        inside && RUNNABLE.contains(&says.trim())
    })
}

/// The types without an example, as a table.
fn table_without(types: &[PublicType]) -> String {
    let without = types.iter().filter(|public| !public.has_example);
    without.map(|public| format!("{:24}{}", public.name, public.place)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_public_type_has_an_example() {
        let sources = Source::all_of_src(Path::new(env!("CARGO_MANIFEST_DIR")));
        let (types, unknown) = public_types(&sources);
        assert!(unknown.is_empty(), "exported, but defined nowhere: {unknown:?}");
        // One of the root, of a public module, of one within it, and one that is exported from far away.
        for name in ["Namespace", "StorageBackend", "Violation", "ScanTrial"] {
            assert!(types.iter().any(|public| public.name == name), "`{name}` was not found");
        }
        assert!(types.len() > 80, "only {} public types were found", types.len());
        let table = table_without(&types);
        assert!(table.is_empty(), "{} types without an example that runs\n{table}", table.lines().count());
    }

    #[test]
    fn what_lacks_an_example_is_found() {
        let root = "pub mod near;\nmod far;\npub use near::inner;\npub use far::{One as Uno, Two, MAX, deep::Alias};";
        let near = "/// It.\n///\n/// ```\n/// a();\n/// ```\n#[derive(X)]\n// Why.\n#[y]\npub struct Has;\n\
            pub trait Bare {}\n/// ```text\n/// no code\n/// ```\npub enum Text {}\npub(crate) struct Hidden;";
        let far = "pub struct One;\nimpl One {\n    /// ```\n    /// a();\n    /// ```\n    pub const fn f() {}\n}\n\
            pub struct Two;\nimpl Two {\n    /// ```\n    /// a();\n    /// ```\n    fn f() {}\n    pub fn g() {}\n}\n\
            impl Z for Two {\n    /// ```\n    /// ```\n    pub fn h() {}\n}\npub struct Unexported;\npub type Alias = One;";
        let sources: Vec<_> = [("src/lib.rs", root), ("src/near/mod.rs", near), ("src/far.rs", far)]
            .map(|(path, text)| Source::new(path, text))
            .into();
        let (types, unknown) = public_types(&sources);
        let found: Vec<_> = types.iter().map(|public| (&*public.name, public.has_example)).collect();
        assert_eq!(found, [("Has", true), ("Bare", false), ("Text", false), ("One", true), ("Two", false)]);
        let table = table_without(&types);
        let places: Vec<_> = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
        assert_eq!(
            places,
            [["Bare", "src/near/mod.rs:10"], ["Text", "src/near/mod.rs:14"], ["Two", "src/far.rs:8"]]
        );
        assert_eq!(unknown, BTreeSet::new());
        let (_, unknown) = public_types(&sources[..2]);
        assert_eq!(unknown, ["Alias", "One", "Two"].map(str::to_owned).into());
    }
}
