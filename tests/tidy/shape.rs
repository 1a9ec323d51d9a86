//! Rules that a file breaks on a line: layers, headers, and what must not be in the source.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::source::{Source, relative, rust_files};

/// The top-level modules, lowest first: a module imports only from those before its own, and from itself.
const LAYERS: &str = "error json codec settings safeguard env fuzzing retry types schema storage cache context \
    index segment manifest wal memtable filter view query engine write maintenance namespace database testing";
const LINES_MAX: usize = 600;
/// Files that may say `unsafe`, each for a reason it states.
const UNSAFE_ALLOWED: [&str; 5] = [
    // Loads into registers, and calls of functions that need a processor feature that was found.
    "src/index/vector/kernels/avx2/mod.rs",
    "src/index/vector/kernels/avx2/register.rs",
    "src/index/vector/kernels/avx512.rs",
    "src/index/vector/kernels/neon.rs",
    "src/index/vector/kmeans/tile.rs",
];
/// What of `tokio::sync` is no lock: nobody waits for another to be polled.
const CHANNELS: [&str; 2] = ["oneshot", "watch"];
/// Files that may name a lock that is held over an await, each for a reason it states.
const LOCKS_ALLOWED: [&str; 5] = [
    // Turns of namespaces: only tasks of `env` wait for one.
    "src/context.rs",
    // Places for batches under way: only tasks of `env` wait for one, and no task is left unpolled.
    "src/write/committer.rs",
    "src/write/pending.rs",
    // Cells of one call: all who wait for one are polled by the future of that call.
    "src/view/scope.rs",
    "src/query/room.rs",
];
/// Where objects of a store are deleted: collection, the probe of a store, and what makes up a store. Whoever deletes what a
/// failed attempt has uploaded may delete what was committed all the same.
const DELETES_ALLOWED: [&str; 2] = ["src/maintenance/collect/", "src/storage/"];
/// What must not be in the source, and what to do instead.
const FORBIDDEN: [(&str, &str); 5] = [
    ("#[ignore", "an ignored test proves nothing: make it run, or remove it"),
    ("todo!", "write it, or return an error"),
    ("unimplemented!", "write it, or return an error"),
    ("dbg!", "remove it, or say it through `tracing`"),
    ("println!", "a library does not print: say it through `tracing`"),
];

/// Constants of generators of random numbers: of `SplitMix64`, and of Knuth's LCG.
const RANDOM: [&str; 2] = ["bf58476d1ce4e5b9", "6364136223846793005"];
/// Files that may make a generator: one for each part of the repository that cannot use another's.
const RANDOM_ALLOWED: [&str; 3] =
    ["src/index/vector/random.rs", "tests/common/rng.rs", "benches/common/mod.rs"];
/// More files in a folder cannot be taken in at a glance.
const FILES_MAX: usize = 25;

/// The faults of one file, each as `file:line: what is wrong: what to do`.
fn check(source: &Source) -> Vec<String> {
    let (file, text) = (source.path.as_str(), source.text.as_str());
    let mut faults = Vec::new();
    let module = file.split('/').nth(1).unwrap_or_default().trim_end_matches(".rs");
    let layer = layer_of(module);
    if !text.starts_with("//!") {
        faults.push((1, "no header: begin with `//!` and what this file is about".into()));
    }
    if text.lines().count() > LINES_MAX {
        faults.push((LINES_MAX + 1, format!("more than {LINES_MAX} lines: it holds two nouns, split it")));
    }
    if layer.is_none() && module != "lib" {
        faults.push((1, format!("`{module}` is in no layer: put it into `LAYERS` of tests/tidy/shape.rs")));
    }
    // How many `super::` lead out of the module at hand: one more within a `mod tests`.
    let mut depth = file.trim_end_matches("/mod.rs").matches('/').count();
    for (line, code) in (1..).zip(source.code.lines()) {
        depth += usize::from(!code.starts_with(' ') && code.contains("mod ") && code.ends_with('{'));
        if code.contains(&"super::".repeat(depth)) {
            faults.push((line, "`super` as the crate's root: write `crate`, so that the layer shows".into()));
        }
        if words(code, "unsafe").any(|rest| rest.starts_with(' ')) && !UNSAFE_ALLOWED.contains(&file) {
            faults.push((line, "`unsafe` outside the files of `UNSAFE_ALLOWED`: find a safe way".into()));
        }
        if !LOCKS_ALLOWED.contains(&file) && has_lock(code) {
            let advice = "share the work as `engine::Coalescer` and `cache::single_flight` do, or guard data by a lock of std";
            faults.push((
                line,
                format!("a lock that waits: a future that is not polled stops others: {advice}"),
            ));
        }
        let deletes = code.contains("backend.delete") || words(code, "delete_many").next().is_some();
        if deletes && !DELETES_ALLOWED.iter().any(|folder| file.starts_with(folder)) {
            faults.push((line, "an object is deleted outside of collection: leave it as garbage".into()));
        }
        let forbidden = FORBIDDEN.iter().filter(|(word, _)| code.contains(word));
        faults.extend(forbidden.map(|(word, advice)| (line, format!("`{word}`: {advice}"))));
        if let Some(layer) = layer {
            faults.extend(upward(code, layer).map(|what| (line, what)));
        }
    }
    faults.into_iter().map(|(line, what)| format!("{file}:{line}: {what}")).collect()
}

/// Whether a line names an asynchronous lock, or hides in a list whether it does.
fn has_lock(code: &str) -> bool {
    let channel = |rest: &str| {
        let name = rest.strip_prefix("::").unwrap_or_default();
        CHANNELS.iter().any(|channel| words(name, channel).next().is_some() && name.starts_with(channel))
    };
    let listed = ["tokio::{", "futures::{"].iter().any(|list| {
        words(code, list).any(|names| ["sync", "lock"].iter().any(|part| words(names, part).next().is_some()))
    });
    listed
        || words(code, "tokio::sync").any(|rest| !channel(rest))
        || ["futures::lock", "async_lock", "futures_locks"]
            .iter()
            .any(|lock| words(code, lock).next().is_some())
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.split(' ').position(|layer| layer == module)
}

/// The imports of a line that do not go down from `layer`.
fn upward(code: &str, layer: usize) -> impl Iterator<Item = String> {
    words(code, "crate::").filter_map(move |path| {
        let module = path.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
        match layer_of(module) {
            Some(imported) if imported <= layer => None,
            Some(_) => Some(format!("`{module}` is a layer above this one: move what both need down")),
            None => Some("a path through the crate's root: name the module, one a line".into()),
        }
    })
}

/// What follows each place where `word` begins, not as the end of a longer word.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = &'a str> {
    let begins = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    code.match_indices(word).filter(move |(at, _)| begins(*at)).map(move |(at, _)| &code[at + word.len()..])
}

/// Where a file makes a generator of random numbers of its own.
fn generators(source: &Source) -> Vec<String> {
    let lines = (1..).zip(source.code.lines());
    let constants = lines.filter(|(_, code)| {
        let code = code.replace('_', "").to_lowercase();
        RANDOM.iter().any(|constant| code.contains(constant))
    });
    let allowed = RANDOM_ALLOWED.contains(&source.path.as_str());
    constants
        .filter(|_| !allowed)
        .map(|(line, _)| {
            let path = &source.path;
            format!("{path}:{line}: another generator of random numbers: use that of `RANDOM_ALLOWED`")
        })
        .collect()
}

/// Folders with more files than a glance takes in; the files by their path.
fn crowded<'a>(files: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut folders: BTreeMap<&str, usize> = BTreeMap::new();
    for (folder, _) in files.filter_map(|file| file.rsplit_once('/')) {
        *folders.entry(folder).or_default() += 1;
    }
    let crowded = folders.into_iter().filter(|(folder, files)| *folder != "src" && *files > FILES_MAX);
    crowded
        .map(|(folder, files)| format!("{folder}:1: {files} files, at most {FILES_MAX}: divide it"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_is_tidy() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut faults = Vec::new();
        let read = |path: &Path| Source::new(&relative(root, path), &fs::read_to_string(path).unwrap());
        let paths = rust_files(&root.join("src"));
        for path in &paths {
            let source = read(path);
            faults.extend(check(&source));
            faults.extend(generators(&source));
            if !path.with_file_name("mod.rs").exists() && !path.with_file_name("lib.rs").exists() {
                let name = source.path;
                faults.push(format!(
                    "{name}:1: its folder has no mod.rs: add one that says what the folder is"
                ));
            }
        }
        for folder in ["tests", "benches", "examples"] {
            faults.extend(rust_files(&root.join(folder)).iter().flat_map(|path| generators(&read(path))));
        }
        let names: Vec<_> = paths.iter().map(|path| relative(root, path)).collect();
        faults.extend(crowded(names.iter().map(String::as_str)));
        assert!(faults.is_empty(), "{} faults\n{}\n", faults.len(), faults.join("\n"));
    }

    #[test]
    fn every_rule_bites() {
        let fault = |file: &str, code: &str, words: &str| {
            let faults = check(&Source::new(file, &format!("//! Header.\n{code}\n")));
            assert!(matches!(&faults[..], [one] if one.contains(words)), "{code}: {faults:?}");
            assert!(faults[0].starts_with(&format!("{file}:2: ")) || words == "no layer", "{faults:?}");
        };
        fault("src/cache/blob.rs", "use crate::segment::Reader;", "a layer above");
        fault("src/error.rs", "fn f(key: crate::storage::ObjectKey) {}", "a layer above");
        fault("src/wal/mod.rs", "use crate::Error;", "root");
        fault("src/wal/mod.rs", "use crate::{codec, error};", "root");
        fault("src/wal/mod.rs", "use super::query::Query;", "root");
        fault("src/helper.rs", "", "no layer");
        fault("src/lib.rs", "unsafe { f() }", "`unsafe`");
        fault("src/lib.rs", "    #[ignore = \"slow\"]", "ignored test");
        for lock in [
            "use tokio::sync::Mutex;",
            "    last: tokio::sync::RwLock<u32>,",
            "use tokio::sync::{oneshot, Semaphore};",
            "use tokio::sync;",
            "use tokio::{sync::OnceCell, time};",
            "use futures::lock::Mutex;",
            "use futures::{lock, FutureExt};",
        ] {
            fault("src/engine/mod.rs", lock, "a lock that waits");
        }
        for (word, advice) in FORBIDDEN {
            fault("src/query/mod.rs", &format!("    x({word}(1))"), advice);
        }
        for delete in ["context.backend.delete(&key).await?;", "store.delete_many(&keys).await?;"] {
            fault("src/maintenance/flush.rs", delete, "outside of collection");
            assert!(
                check(&Source::new("src/storage/probe.rs", &format!("//! Header.\n{delete}"))).is_empty()
            );
        }
        assert!(check(&Source::new("src/env.rs", "fn f() {}"))[0].contains("no header"));
        assert!(
            check(&Source::new("src/env.rs", &"//!\n".repeat(LINES_MAX + 1)))[0]
                .contains("src/env.rs:601: more than")
        );
        for constant in RANDOM {
            let source = |path| Source::new(path, &format!("fn next() {{ self.0 *= 0x{constant} }}"));
            assert!(
                generators(&source("tests/it/fuzzy.rs"))[0]
                    .starts_with("tests/it/fuzzy.rs:1: another generator")
            );
            assert!(generators(&source("tests/common/rng.rs")).is_empty());
        }
        let files: Vec<_> = (0..=FILES_MAX).map(|number| format!("src/wal/f{number}.rs")).collect();
        assert!(crowded(files.iter().map(String::as_str))[0].starts_with("src/wal:1: "));
        assert!(crowded(files[1..].iter().map(String::as_str)).is_empty());
    }

    #[test]
    fn what_is_allowed_is_left_alone() {
        let code = "//! See [`crate::Database`].\nmod tests {\nuse super::{x, y};\n}\nuse crate::error::Error;\nuse crate::wal::Entry; // crate::query::Q\n\
            pub(crate) fn f() { log(\"crate::query todo! \\\" unsafe \", '\"') }\n#![deny(unsafe_code)]\n\
            use tokio::sync::oneshot;\nuse std::sync::{Arc, Mutex};\nuse futures::{FutureExt, future};\nfn g(s: watch::Sender<tokio::sync::watch::Ref<()>>) {}\n";
        assert_eq!(check(&Source::new("src/wal/mod.rs", code)), Vec::<String>::new());
    }
}
