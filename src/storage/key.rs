//! The names of all objects: which object of a database has which key.
//!
//! **Invariant:** two namespaces never share a key, not even on a case-insensitive file system.

use std::fmt;

use super::{ObjectKey, ObjectPrefix};
use crate::types::{ColumnId, NamespaceName, ObjectId, Sequence};

/// The greatest number of a log entry or a manifest. No namespace gets near it, and sums of two numbers cannot
/// overflow.
pub(crate) const NUMBER_MAX: u64 = u64::MAX / 2;

/// The folder of segments in that of an incarnation.
const SEGMENTS: &str = "segment";

/// Keys of the objects of a database.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DatabaseKeys;

impl DatabaseKeys {
    pub(crate) fn store() -> ObjectKey {
        ObjectPrefix::root().object("STORE")
    }

    /// Objects that the probe of a store creates and deletes.
    pub(crate) fn probe(name: impl fmt::Display) -> ObjectKey {
        Self::probes().object(name)
    }

    pub(crate) fn probes() -> ObjectPrefix {
        ObjectPrefix::root().subfolder("probe")
    }

    pub(crate) fn namespaces() -> ObjectPrefix {
        ObjectPrefix::root().subfolder("ns")
    }

    /// The name of the namespace in a folder of [`Self::namespaces`]; `None` for a foreign folder.
    pub(crate) fn namespace_of(folder: &str) -> Option<NamespaceName> {
        let name = NamespaceName::new(&decode_name(folder)?).ok()?;
        // Each name has one spelling: `n-~~a` is foreign.
        (encode_name(name.as_str()) == folder).then_some(name)
    }
}

/// Keys of the objects of a namespace.
#[derive(Clone, Debug)]
pub(crate) struct NamespaceKeys(ObjectPrefix);

impl NamespaceKeys {
    pub(crate) fn new(name: &NamespaceName) -> Self {
        Self(DatabaseKeys::namespaces().subfolder(encode_name(name.as_str())))
    }

    pub(crate) fn hint(&self) -> ObjectKey {
        self.0.object("HINT")
    }

    pub(crate) fn incarnations(&self) -> &ObjectPrefix {
        &self.0
    }

    /// The number of the incarnation in a folder of [`Self::incarnations`]; `None` for a foreign folder.
    pub(crate) fn incarnation_number(folder: &str) -> Option<u32> {
        // Each number has one spelling: `0000000A` is foreign.
        u32::from_str_radix(folder, 16).ok().filter(|incarnation| format!("{incarnation:08x}") == folder)
    }

    pub(crate) fn incarnation(&self, incarnation: u32) -> IncarnationKeys {
        IncarnationKeys(self.0.subfolder(format_args!("{incarnation:08x}")))
    }
}

/// Keys of the objects of one incarnation of a namespace.
#[derive(Clone, Debug)]
pub(crate) struct IncarnationKeys(ObjectPrefix);

impl IncarnationKeys {
    /// The prefix of all objects of the incarnation.
    pub(crate) fn prefix(&self) -> &ObjectPrefix {
        &self.0
    }

    pub(crate) fn open(&self) -> ObjectKey {
        self.0.object("OPEN")
    }

    pub(crate) fn closed(&self) -> ObjectKey {
        self.0.object("CLOSED")
    }

    pub(crate) fn manifests(&self) -> ObjectPrefix {
        self.0.subfolder("manifest")
    }

    pub(crate) fn manifest(&self, number: u64) -> ObjectKey {
        self.manifests().object(Number(number))
    }

    pub(crate) fn wal(&self) -> ObjectPrefix {
        self.0.subfolder("wal")
    }

    pub(crate) fn entry(&self, sequence: Sequence) -> ObjectKey {
        self.wal().object(Number(sequence.0))
    }

    /// The number of a listed manifest or log entry; `None` for a foreign object. Numbers above [`NUMBER_MAX`] are
    /// foreign: anyone with write access to the store could put one there, and nothing after it could be numbered.
    pub(crate) fn number_of(key: &ObjectKey) -> Option<u64> {
        let name = key.file_name();
        let number =
            (name.len() == 20 && name.bytes().all(|b| b.is_ascii_digit())).then(|| name.parse().ok());
        number.flatten().filter(|number| *number <= NUMBER_MAX)
    }

    pub(crate) fn segments(&self) -> ObjectPrefix {
        self.0.subfolder(SEGMENTS)
    }

    /// A centroid set. The sets of all columns share a folder: their names are unique.
    pub(crate) fn centroids(&self, id: ObjectId) -> ObjectKey {
        self.0.subfolder("centroids").object(id)
    }

    /// A list of tokens.
    pub(crate) fn tokens(&self, id: ObjectId) -> ObjectKey {
        self.0.subfolder("tokens").object(id)
    }

    pub(crate) fn segment(&self, id: ObjectId) -> SegmentKeys {
        SegmentKeys(self.segments().subfolder(id))
    }
}

/// Keys of the files of a segment.
#[derive(Clone, Debug)]
pub(crate) struct SegmentKeys(ObjectPrefix);

impl SegmentKeys {
    /// Whether a folder is that of a segment.
    pub(super) fn is_folder(folder: &str) -> bool {
        let mut parts = folder.rsplit('/');
        parts.next().is_some_and(|name| name.parse::<ObjectId>().is_ok()) && parts.next() == Some(SEGMENTS)
    }

    pub(crate) fn rows(&self) -> ObjectKey {
        self.0.object("rows.parquet")
    }

    /// The indexes of the id and of the attributes, and the heads of all files.
    pub(crate) fn index(&self) -> ObjectKey {
        self.0.object("index")
    }

    /// The index of all text columns.
    pub(crate) fn text(&self) -> ObjectKey {
        self.0.object("text")
    }

    /// The vectors of a column.
    pub(crate) fn vector(&self, column: ColumnId) -> ObjectKey {
        self.0.object(format_args!("vector.{column}"))
    }

    /// The dead rows as of a manifest. Two processes may compete for the same manifest: the nonce keeps their files
    /// apart.
    pub(crate) fn deletes(&self, manifest: u64, nonce: uuid::Uuid) -> ObjectKey {
        self.0.object(format_args!("deletes.{}-{}", Number(manifest), nonce.simple()))
    }
}

/// A number in twenty digits, so that names sort like numbers. Twenty hold any u64.
struct Number(u64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}", self.0)
    }
}

/// The folder of a namespace.
///
/// File systems may be case-insensitive and limit names to 255 bytes. So all letters are written in lower case, those
/// of the less frequent case are escaped with `~`, and the prefix says which case that is: at most half of a name of
/// 128 bytes is escaped. A dot at the end, which Windows drops, becomes `~0`.
fn encode_name(name: &str) -> String {
    let capitals = name.bytes().filter(u8::is_ascii_uppercase).count();
    let mostly_upper = capitals > name.bytes().filter(u8::is_ascii_lowercase).count();
    let mut folder = String::from(if mostly_upper { "u-" } else { "n-" });
    for letter in name.chars() {
        if letter.is_ascii_alphabetic() && letter.is_ascii_uppercase() != mostly_upper {
            folder.push('~');
        }
        folder.push(letter.to_ascii_lowercase());
    }
    if folder.ends_with('.') {
        folder.pop();
        folder.push_str("~0");
    }
    folder
}

/// The name that a folder may stand for. It may have another spelling: the caller encodes it again and compares.
fn decode_name(folder: &str) -> Option<String> {
    let (mostly_upper, rest) = match folder.split_at_checked(2)? {
        ("n-", rest) => (false, rest),
        ("u-", rest) => (true, rest),
        _ => return None,
    };
    let mut name = String::with_capacity(rest.len());
    let mut letters = rest.chars();
    while let Some(letter) = letters.next() {
        let (letter, capital) = match letter {
            '~' => (letters.next()?, !mostly_upper),
            letter => (letter, mostly_upper),
        };
        name.push(match letter {
            '0' if capital != mostly_upper => '.',
            letter if capital => letter.to_ascii_uppercase(),
            letter => letter,
        });
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_spelt_as_the_format_says() {
        let keys = NamespaceKeys::new(&NamespaceName::new("Docs.v1").unwrap());
        let incarnation = keys.incarnation(1);
        assert_eq!(keys.hint().as_str(), "ns/n-~docs.v1/HINT");
        assert_eq!(
            incarnation.entry(Sequence(42)).as_str(),
            "ns/n-~docs.v1/00000001/wal/00000000000000000042"
        );
        let set = ObjectId { birth: 7, uuid: uuid::Uuid::from_u128(0xabc) };
        assert_eq!(
            incarnation.centroids(set).as_str(),
            "ns/n-~docs.v1/00000001/centroids/00000000000000000007-00000000000000000000000000000abc"
        );
        assert_eq!(IncarnationKeys::number_of(&incarnation.entry(Sequence(42))), Some(42));
        assert_eq!(NamespaceKeys::incarnation_number("00000001"), Some(1));
        assert_eq!(NamespaceKeys::incarnation_number("0000000a"), Some(10));
        for foreign in ["0000000A", "1", "000000001", "0000000g"] {
            assert_eq!(NamespaceKeys::incarnation_number(foreign), None);
        }
        for (name, folder) in [("docs", "n-docs"), ("DOCS", "u-docs"), ("Ab.", "n-~ab~0"), ("ABc", "u-ab~c")]
        {
            assert_eq!(encode_name(name), folder);
        }
        for foreign in ["docs", "n-", "n-~~a", "n-a~", "n-a~0b", "n-A", "u-a~b", "n-~1"] {
            assert_eq!(DatabaseKeys::namespace_of(foreign), None, "{foreign}");
        }
        // What counts too far is nobody's.
        for (number, known) in [(NUMBER_MAX, Some(NUMBER_MAX)), (NUMBER_MAX + 1, None), (u64::MAX, None)] {
            assert_eq!(IncarnationKeys::number_of(&incarnation.manifest(number)), known);
        }
    }

    #[test]
    fn the_longest_names_fit_into_a_file_name() {
        for pattern in ["a", "A", "aB", "ABa", ".", "aB."] {
            let name: String = pattern.chars().cycle().take(128).collect();
            let folder = encode_name(NamespaceName::new(&name).unwrap().as_str());
            assert!(folder.len() <= 255, "{pattern}: {}", folder.len());
            assert_eq!(DatabaseKeys::namespace_of(&folder).unwrap().as_str(), name);
        }
    }

    proptest! {
        #[test]
        fn names_read_back_and_never_meet(a in "[A-Za-z0-9._-]{1,128}", b in "[A-Za-z0-9._-]{1,128}") {
            prop_assume!(a != "." && a != ".." && b != "." && b != "..");
            let folder = encode_name;
            let read = DatabaseKeys::namespace_of(&folder(&a)).unwrap();
            prop_assert_eq!(read.as_str(), &a);
            // Two cases of one name are two names, on a file system that knows no case too.
            for other in [&b, &a.to_ascii_lowercase(), &a.to_ascii_uppercase()] {
                prop_assert_eq!(a == *other, folder(&a).eq_ignore_ascii_case(&folder(other)));
            }
        }

        #[test]
        fn no_part_of_a_key_is_longer_than_a_file_system_takes(
            name in "[A-Z.]{128}|[A-Za-z0-9._-]{66,128}",
            column in any::<u32>(),
        ) {
            let id = ObjectId { birth: u64::MAX, uuid: uuid::Uuid::max() };
            let names = NamespaceKeys::new(&NamespaceName::new(&name).unwrap());
            let (incarnation, segment) = (names.incarnation(u32::MAX), names.incarnation(u32::MAX).segment(id));
            let keys = [
                names.hint(), incarnation.open(), incarnation.closed(), incarnation.manifest(u64::MAX), incarnation.entry(Sequence(u64::MAX)),
                incarnation.centroids(id), incarnation.tokens(id), segment.rows(), segment.index(), segment.text(),
                segment.vector(ColumnId(column)), segment.deletes(u64::MAX, uuid::Uuid::max()),
            ];
            for key in keys {
                prop_assert!(ObjectKey::new(key.as_str()).is_ok());
                prop_assert!(key.as_str().split('/').all(|part| part.len() <= 240), "{key}");
            }
        }
    }
}
