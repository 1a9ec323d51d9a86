//! Modules of one folder that import each other in a circle.
//!
//! A path leads to the module that defines what it names: re-exports are followed. Of the path from one file to
//! another, what counts is the pair of siblings where the two part. A module and its parent may name each other, as
//! is usual in Rust.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Source, Token, closing};

/// The steps of a path of modules, the crate left out.
type ModulePath = Vec<String>;

/// How many re-exports a path may go through.
const REEXPORTS_MAX: usize = 8;

/// What the files import, and from where.
#[derive(Debug, Default)]
struct Tree {
    modules: BTreeSet<ModulePath>,
    /// By module: names and the paths that they stand for.
    reexports: BTreeMap<ModulePath, BTreeMap<String, ModulePath>>,
}

/// Siblings that import each other in a circle, each circle as `folder: one, two`.
pub(crate) fn circles(sources: &[Source]) -> Vec<Vec<String>> {
    let tree = Tree::new(sources);
    // By folder: which child imports which sibling.
    let mut folders: BTreeMap<ModulePath, BTreeSet<(String, String)>> = BTreeMap::new();
    for source in sources {
        let module = module_of(source);
        for path in paths(&source.tokens, &module) {
            let target = tree.resolve(&path, REEXPORTS_MAX);
            let shared = module.iter().zip(&target).take_while(|(a, b)| a == b).count();
            if let (Some(from), Some(to)) = (module.get(shared), target.get(shared)) {
                folders.entry(module[..shared].to_vec()).or_default().insert((from.clone(), to.clone()));
            }
        }
    }
    folders.iter().flat_map(|(folder, imports)| circles_of(folder, imports)).collect()
}

/// The strongly connected components with more than one module.
fn circles_of(folder: &[String], imports: &BTreeSet<(String, String)>) -> Vec<Vec<String>> {
    let reach: BTreeMap<_, _> = imports.iter().map(|(from, _)| (from, reachable(from, imports))).collect();
    let mut circles = BTreeSet::new();
    for (module, reached) in &reach {
        if reached.contains(module.as_str()) {
            let mutual = reached.iter().filter(|other| {
                reach.iter().any(|(name, back)| name.as_str() == **other && back.contains(module.as_str()))
            });
            let path = |name: &&str| [folder, &[(*name).to_owned()]].concat().join("::");
            circles.insert(mutual.map(path).collect::<Vec<_>>());
        }
    }
    circles.into_iter().collect()
}

fn reachable<'a>(from: &str, imports: &'a BTreeSet<(String, String)>) -> BTreeSet<&'a str> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(module) = open.pop() {
        for (_, to) in imports.iter().filter(|(from, _)| *from == module) {
            if reached.insert(to.as_str()) {
                open.push(to.clone());
            }
        }
    }
    reached
}

impl Tree {
    fn new(sources: &[Source]) -> Self {
        let modules: BTreeSet<_> = sources.iter().map(module_of).collect();
        let mut tree = Self { modules, reexports: BTreeMap::new() };
        for source in sources {
            let module = module_of(source);
            let names = reexports(&source.tokens, &module, &tree.modules);
            tree.reexports.insert(module, names);
        }
        tree
    }

    /// The module that defines what a path names.
    fn resolve(&self, path: &[String], depth: usize) -> ModulePath {
        let known = (0..=path.len()).rev().find(|len| self.modules.contains(&path[..*len])).unwrap_or(0);
        let (module, rest) = path.split_at(known);
        let reexport = rest.first().and_then(|name| self.reexports.get(module)?.get(name));
        match reexport {
            Some(target) if depth > 0 => self.resolve(&[target, &rest[1..]].concat(), depth - 1),
            _ => module.to_vec(),
        }
    }
}

/// The module that a file is.
fn module_of(source: &Source) -> ModulePath {
    source.folder().split('/').skip(1).map(str::to_owned).collect()
}

/// The paths of the crate that the tokens of a module name.
fn paths(tokens: &[Token], module: &[String]) -> Vec<ModulePath> {
    let mut paths = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let inside = at > 0 && tokens[at - 1].is(":");
        if ["crate", "super", "self"].contains(&token.text.as_str()) && !inside && is_path(tokens, at) {
            for (path, _) in expand(tokens, at) {
                paths.extend(absolute(&path, module));
            }
        }
    }
    paths
}

fn is_path(tokens: &[Token], at: usize) -> bool {
    tokens.get(at + 1).is_some_and(|token| token.is(":"))
        && tokens.get(at + 2).is_some_and(|token| token.is(":"))
}

/// A path from the crate's root; none if it leads out of the crate.
fn absolute(path: &[String], module: &[String]) -> Option<ModulePath> {
    let mut absolute = module.to_vec();
    let mut steps = path.iter().peekable();
    while let Some(step) = steps.next_if(|step| ["crate", "super", "self"].contains(&step.as_str())) {
        match step.as_str() {
            "crate" => absolute.clear(),
            "super" => drop(absolute.pop()?),
            _ => {}
        }
    }
    absolute.extend(steps.cloned());
    Some(absolute)
}

/// The paths of the tree that begins at a token, each with the name that an import gives to it.
pub(crate) fn expand(tokens: &[Token], start: usize) -> Vec<(ModulePath, String)> {
    let (mut path, mut at) = (Vec::new(), start);
    loop {
        match tokens.get(at) {
            Some(token) if token.is_word() => path.push(token.text.clone()),
            Some(token) if token.is("{") => {
                let (end, mut found) = (closing(tokens, at), Vec::new());
                at += 1;
                while at < end {
                    for (rest, name) in expand(tokens, at) {
                        let name =
                            if rest == ["self"] { path.last().cloned().unwrap_or_default() } else { name };
                        let rest = rest.into_iter().filter(|step| step != "self");
                        found.push((path.iter().cloned().chain(rest).collect(), name));
                    }
                    at = next_of_list(tokens, at, end);
                }
                return found;
            }
            _ => break,
        }
        if !is_path(tokens, at) {
            break;
        }
        at += 3;
    }
    let alias = match &tokens[at.min(tokens.len())..] {
        [_, keyword, alias, ..] if keyword.is("as") => Some(alias.text.clone()),
        _ => None,
    };
    let name = alias.or_else(|| path.last().cloned()).unwrap_or_default();
    vec![(path, name)]
}

/// Behind the next comma of a list that ends at `end`.
fn next_of_list(tokens: &[Token], mut at: usize, end: usize) -> usize {
    while at < end && !tokens[at].is(",") {
        at = if tokens[at].is("{") { closing(tokens, at) + 1 } else { at + 1 };
    }
    at + 1
}

/// The names that a module imports from its children, and what they stand for.
fn reexports(
    tokens: &[Token],
    module: &[String],
    modules: &BTreeSet<ModulePath>,
) -> BTreeMap<String, ModulePath> {
    let mut names = BTreeMap::new();
    for (at, _) in tokens.iter().enumerate().filter(|(_, token)| token.is("use")) {
        for (path, name) in expand(tokens, at + 1) {
            let relative = [module, &path].concat();
            let of_child = (module.len() + 1..=relative.len()).any(|len| modules.contains(&relative[..len]));
            let keyword =
                path.first().is_some_and(|step| ["crate", "super", "self"].contains(&step.as_str()));
            let target = if keyword { absolute(&path, module) } else { of_child.then_some(relative) };
            // A name that stands for itself would be followed for ever.
            if let Some(target) =
                target.filter(|target| *target != [module, std::slice::from_ref(&name)].concat())
            {
                names.insert(name, target);
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let sources: Vec<_> = files.iter().map(|(path, text)| Source::new(path, text)).collect();
        circles(&sources)
    }

    #[test]
    fn circles_are_found() {
        let parent = ("src/a/mod.rs", "mod b; mod c; mod d;");
        let b = ("src/a/b.rs", "use super::c::{X, Y};");
        assert_eq!(found(&[parent, b, ("src/a/c.rs", "use std::io;")]), Vec::<Vec<String>>::new());
        assert_eq!(found(&[parent, b, ("src/a/c.rs", "fn f() -> crate::a::b::Z {}")]), [["a::b", "a::c"]]);
        let c = ("src/a/c.rs", "use super::{d, e};");
        assert_eq!(found(&[parent, b, c, ("src/a/d/mod.rs", "mod e;")]), Vec::<Vec<String>>::new());
        let e = ("src/a/d/e.rs", "use super::super::b::Z;");
        assert_eq!(found(&[parent, b, c, ("src/a/d/mod.rs", "mod e;"), e]), [["a::b", "a::c", "a::d"]]);
    }

    #[test]
    fn reexports_hide_no_circle() {
        let parent = ("src/a/mod.rs", "mod b; mod c; pub(crate) use b::B; use c::inner::C as D;");
        let b = ("src/a/b.rs", "use super::D;");
        assert_eq!(found(&[parent, b, ("src/a/c.rs", "use crate::a::{B, E};")]), [["a::b", "a::c"]]);
        assert_eq!(found(&[parent, b, ("src/a/c.rs", "use crate::a::E;")]), Vec::<Vec<String>>::new());
    }
}
