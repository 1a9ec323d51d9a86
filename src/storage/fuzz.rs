//! Hostile locations, keys and names of folders.

use super::location::parse_location;
use super::{DatabaseKeys, IncarnationKeys, NamespaceKeys, ObjectKey, ObjectPrefix};
use crate::error::Result;
use crate::fuzzing::FuzzTarget;
use crate::types::NamespaceName;

#[test]
fn fuzz_location() {
    let seeds =
        ["memory://", "./data", "file:///srv/my%20data", "s3://books/a/b/", "gs://b", "az://c/d", "C:\\data"];
    let words =
        &["://", "//", ":", "/", "s3", "file", "memory", "%", "%2f", "%zz", "@", "?", "#", "localhost", ".."];
    FuzzTarget::new("location", seeds)
        .words(words)
        .memory(4, 4 << 10)
        .run(|input| parse_location(&String::from_utf8_lossy(input)));
}

#[test]
fn fuzz_object_key() {
    let seeds = ["STORE", "ns/n-a~b.c/00000001/manifest/00000000000000000007", "a/deletes.1-ff"];
    let words = &["/", "..", ".", "~", "~0", "\0", "é", "n-", "u-", "ffffffff", "18446744073709551615"];
    FuzzTarget::new("object_key", seeds).words(words).memory(4, 4 << 10).run(|input| -> Result<()> {
        let text = String::from_utf8_lossy(input);
        let key = ObjectKey::new(&*text)?;
        assert!(key.as_str().split('/').all(|part| !part.is_empty() && !part.starts_with('.')));
        let _ = (IncarnationKeys::number_of(&key), ObjectPrefix::folder(&key));
        Ok(())
    });
}

#[test]
fn fuzz_namespace_folder() {
    let seeds = ["n-papers", "u-p~apers_1", "n-a~0", "n-~a.b", "0000002a"];
    let words = &["n-", "u-", "~", "~0", ".", "A", "a", "~~", "é", "00000001", "+"];
    FuzzTarget::new("namespace_folder", seeds).words(words).memory(8, 4 << 10).run(|input| {
        let folder = String::from_utf8_lossy(input);
        if let Some(name) = DatabaseKeys::namespace_of(&folder) {
            // One spelling for each name: the key of the name is in this folder.
            let key = NamespaceKeys::new(&name).hint();
            assert_eq!(key.as_str(), format!("ns/{folder}/HINT"));
            return Ok(());
        }
        NamespaceKeys::incarnation_number(&folder).map(drop).ok_or("a foreign folder")
    });
}

#[test]
fn fuzz_namespace_name() {
    FuzzTarget::new("namespace_name", ["papers", "A-Z_0.9", "..."])
        .words(&[".", "/", "é", "\0"])
        .memory(8, 4 << 10)
        .run(|input| -> Result<()> {
            let name = NamespaceName::new(&String::from_utf8_lossy(input))?;
            let hint = NamespaceKeys::new(&name).hint();
            let folder = hint.as_str().split('/').nth(1).expect("a folder");
            assert_eq!(DatabaseKeys::namespace_of(folder), Some(name));
            assert!(folder.len() <= 255);
            Ok(())
        });
}
