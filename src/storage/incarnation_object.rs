//! What the name of an object of an incarnation says: the way back from keys.
//!
//! **Invariant:** an object is known only by the one name that its key has. Every other name is somebody else's.

use uuid::Uuid;

use super::key::NUMBER_MAX;
use super::{IncarnationKeys, ObjectKey};
use crate::types::{ColumnId, ObjectId, Sequence};

/// An object of an incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum IncarnationObject {
    Open,
    Closed,
    Manifest(u64),
    Entry(Sequence),
    SegmentFile(ObjectId, SegmentFile),
    Centroids(ObjectId),
    Tokens(ObjectId),
}

/// A file in the folder of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SegmentFile {
    Rows,
    Index,
    Text,
    Vector(ColumnId),
    Deletes { manifest: u64, nonce: Uuid },
}

impl IncarnationKeys {
    pub(crate) fn key_of(&self, object: IncarnationObject) -> ObjectKey {
        match object {
            IncarnationObject::Open => self.open(),
            IncarnationObject::Closed => self.closed(),
            IncarnationObject::Manifest(number) => self.manifest(number),
            IncarnationObject::Entry(sequence) => self.entry(sequence),
            IncarnationObject::SegmentFile(id, file) => {
                let files = self.segment(id);
                match file {
                    SegmentFile::Rows => files.rows(),
                    SegmentFile::Index => files.index(),
                    SegmentFile::Text => files.text(),
                    SegmentFile::Vector(column) => files.vector(column),
                    SegmentFile::Deletes { manifest, nonce } => files.deletes(manifest, nonce),
                }
            }
            IncarnationObject::Centroids(id) => self.centroids(id),
            IncarnationObject::Tokens(id) => self.tokens(id),
        }
    }

    /// The object of a key; `None` for a foreign one.
    pub(crate) fn object_of(&self, key: &ObjectKey) -> Option<IncarnationObject> {
        let object = parse_object(key.as_str().strip_prefix(self.prefix().as_str())?)?;
        // One spelling: what parses may have fewer digits, capitals or hyphens.
        (self.key_of(object) == *key).then_some(object)
    }
}

fn parse_object(name: &str) -> Option<IncarnationObject> {
    let parts: Vec<&str> = name.split('/').collect();
    let number = |text: &str| text.parse().ok().filter(|number| *number <= NUMBER_MAX);
    Some(match parts.as_slice() {
        ["OPEN"] => IncarnationObject::Open,
        ["CLOSED"] => IncarnationObject::Closed,
        ["manifest", name] => IncarnationObject::Manifest(number(name)?),
        ["wal", name] => IncarnationObject::Entry(Sequence(number(name)?)),
        ["segment", id, file] => IncarnationObject::SegmentFile(id.parse().ok()?, parse_file(file)?),
        ["centroids", id] => IncarnationObject::Centroids(id.parse().ok()?),
        ["tokens", id] => IncarnationObject::Tokens(id.parse().ok()?),
        _ => return None,
    })
}

fn parse_file(name: &str) -> Option<SegmentFile> {
    Some(match name {
        "rows.parquet" => SegmentFile::Rows,
        "index" => SegmentFile::Index,
        "text" => SegmentFile::Text,
        _ => match name.split_once('.')? {
            ("vector", column) => SegmentFile::Vector(ColumnId(column.parse().ok()?)),
            ("deletes", name) => {
                let (manifest, nonce) = name.split_once('-')?;
                SegmentFile::Deletes {
                    manifest: manifest.parse().ok().filter(|number| *number <= NUMBER_MAX)?,
                    nonce: Uuid::try_parse(nonce).ok()?,
                }
            }
            _ => return None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::NamespaceKeys;
    use crate::types::NamespaceName;

    #[test]
    fn objects_are_known_by_their_keys_and_by_nothing_else() {
        let keys = NamespaceKeys::new(&NamespaceName::new("docs").unwrap()).incarnation(3);
        let id = ObjectId { birth: 7, uuid: Uuid::from_u128(0xabc) };
        let files = [
            SegmentFile::Rows,
            SegmentFile::Index,
            SegmentFile::Text,
            SegmentFile::Vector(ColumnId(12)),
            SegmentFile::Deletes { manifest: 9, nonce: Uuid::from_u128(5) },
        ];
        let objects = [
            IncarnationObject::Open,
            IncarnationObject::Closed,
            IncarnationObject::Manifest(1),
            IncarnationObject::Entry(Sequence(NUMBER_MAX)),
            IncarnationObject::Centroids(id),
            IncarnationObject::Tokens(id),
        ];
        for object in files.map(|file| IncarnationObject::SegmentFile(id, file)).into_iter().chain(objects) {
            let key = keys.key_of(object);
            assert_eq!(keys.object_of(&key), Some(object), "{key}");
            // Neither a longer name, nor one with capitals, nor that of another incarnation.
            let other = key.as_str().replace("/00000003/", "/00000004/");
            let capitals = key.as_str().replace('b', "B").replace("OPEN", "open").replace("CLOSED", "Closed");
            for foreign in [format!("{key}x"), format!("{key}/x"), format!("{key}.tmp"), other, capitals] {
                let found = keys.object_of(&ObjectKey::new(foreign.as_str()).unwrap());
                assert!(found.is_none() || foreign == key.as_str(), "{foreign}: {found:?}");
            }
        }
        for foreign in
            ["manifest/1", "wal/+0000000000000000001", "pin/a", "segment/rows.parquet", "HINT", "x"]
        {
            let key = ObjectKey::new(format!("{}{foreign}", keys.prefix()));
            assert_eq!(key.ok().and_then(|key| keys.object_of(&key)), None, "{foreign}");
        }
    }
}
