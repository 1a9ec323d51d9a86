//! Names of objects: every one is spelt in this file only.
//!
//! **Invariants:** a key never leaves its database (`..`, empty and hidden parts cannot be made), and two
//! different names of a namespace never share a key, not even on a file system without case.

use std::fmt;

use crate::error::{Error, Result};
use crate::types::{NamespaceName, SegmentId, Sequence};

/// The name of an object, relative to the root of the database: parts of `A-Z a-z 0-9 - _ . ~` with `/`
/// between them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(String);

/// The beginning of object names: some parts with a `/` after each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectPrefix(String);

impl ObjectKey {
    /// Checks a name.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for an empty part, one that begins with a dot, or
    /// other characters.
    pub fn new(key: impl Into<String>) -> Result<Self> {
        let key = key.into();
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
        let sound = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(allowed);
        if key.split('/').all(sound) { Ok(Self(key)) } else { Err(Error::invalid("bad object key")) }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last part.
    pub(crate) fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }
}

impl ObjectPrefix {
    /// The prefix of everything.
    #[must_use]
    pub fn root() -> Self {
        Self(String::new())
    }

    /// A folder: the parts of `key` as a prefix.
    #[must_use]
    pub fn folder(key: &ObjectKey) -> Self {
        Self(format!("{key}/"))
    }

    /// The prefix as text: empty, or with a `/` at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn join(&self, name: impl fmt::Display) -> ObjectKey {
        ObjectKey(format!("{}{name}", self.0))
    }

    fn sub(&self, name: impl fmt::Display) -> Self {
        Self(format!("{}{name}/", self.0))
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ObjectPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Objects of a database.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DatabaseKeys;

impl DatabaseKeys {
    pub(crate) fn store() -> ObjectKey {
        ObjectPrefix::root().join("STORE")
    }

    /// Objects that the capability probe makes and deletes.
    pub(crate) fn probe(name: impl fmt::Display) -> ObjectKey {
        Self::probes().join(name)
    }

    pub(crate) fn probes() -> ObjectPrefix {
        ObjectPrefix::root().sub("probe")
    }

    pub(crate) fn namespaces() -> ObjectPrefix {
        ObjectPrefix::root().sub("ns")
    }

    /// The name behind a folder of [`Self::namespaces`], if it is one of ours.
    pub(crate) fn namespace_of(folder: &str) -> Option<NamespaceName> {
        let name = match folder.split_at_checked(2)? {
            ("n-", spelt) => decode(spelt)?,
            ("b-", digits) => from_base32(digits)?,
            _ => return None,
        };
        let name = NamespaceName::new(std::str::from_utf8(&name).ok()?).ok()?;
        // One spelling a name: `n-~61` for `a` is not ours.
        (namespace_folder(&name) == folder).then_some(name)
    }
}

/// Objects of a namespace.
#[derive(Clone, Debug)]
pub(crate) struct NamespaceKeys(ObjectPrefix);

impl NamespaceKeys {
    pub(crate) fn new(name: &NamespaceName) -> Self {
        Self(DatabaseKeys::namespaces().sub(namespace_folder(name)))
    }

    pub(crate) fn hint(&self) -> ObjectKey {
        self.0.join("HINT")
    }

    pub(crate) fn lives(&self) -> &ObjectPrefix {
        &self.0
    }

    /// The number behind a folder of [`Self::lives`].
    pub(crate) fn life_of(folder: &str) -> Option<u32> {
        (folder.len() == 8).then(|| u32::from_str_radix(folder, 16).ok()).flatten()
    }

    pub(crate) fn life(&self, life: u32) -> LifeKeys {
        LifeKeys(self.0.sub(format_args!("{life:08x}")))
    }
}

/// Objects of one incarnation of a namespace.
#[derive(Clone, Debug)]
pub(crate) struct LifeKeys(ObjectPrefix);

impl LifeKeys {
    pub(crate) fn open(&self) -> ObjectKey {
        self.0.join("OPEN")
    }

    pub(crate) fn closed(&self) -> ObjectKey {
        self.0.join("CLOSED")
    }

    pub(crate) fn manifests(&self) -> ObjectPrefix {
        self.0.sub("manifest")
    }

    pub(crate) fn manifest(&self, number: u64) -> ObjectKey {
        self.manifests().join(Number(number))
    }

    pub(crate) fn wal(&self) -> ObjectPrefix {
        self.0.sub("wal")
    }

    pub(crate) fn entry(&self, sequence: Sequence) -> ObjectKey {
        self.wal().join(Number(sequence.0))
    }

    /// The number of a manifest or an entry, from a listing.
    pub(crate) fn number_of(key: &ObjectKey) -> Option<u64> {
        let name = key.file_name();
        (name.len() == 20 && name.bytes().all(|b| b.is_ascii_digit())).then(|| name.parse().ok()).flatten()
    }

    pub(crate) fn segments(&self) -> ObjectPrefix {
        self.0.sub("segment")
    }

    /// A centroid set. Sets of all columns lie together: their names are unique.
    pub(crate) fn centroids(&self, id: uuid::Uuid) -> ObjectKey {
        self.0.sub("centroids").join(id.simple())
    }

    pub(crate) fn segment(&self, id: SegmentId) -> SegmentKeys {
        SegmentKeys(self.segments().sub(id))
    }
}

/// Files of a segment.
#[derive(Clone, Debug)]
pub(crate) struct SegmentKeys(ObjectPrefix);

impl SegmentKeys {
    pub(crate) fn rows(&self) -> ObjectKey {
        self.0.join("rows.parquet")
    }

    pub(crate) fn attributes(&self) -> ObjectKey {
        self.0.join("attributes")
    }

    /// The index of all text columns.
    pub(crate) fn text(&self) -> ObjectKey {
        self.0.join("text")
    }

    /// The vectors of the column at this place of the schema. Its name would be too long for a file, spelt so that
    /// any file system takes it.
    pub(crate) fn vector(&self, column: usize) -> ObjectKey {
        self.0.join(format_args!("vector.{column}"))
    }

    /// The dead rows as of a manifest. Two processes may try for the same manifest: the nonce keeps their
    /// files apart.
    pub(crate) fn deletes(&self, manifest: u64, nonce: uuid::Uuid) -> ObjectKey {
        self.0.join(format_args!("deletes.{}-{}", Number(manifest), nonce.simple()))
    }
}

/// Twenty digits: the order of names is the order of numbers.
struct Number(u64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}", self.0)
    }
}

/// The folder of a namespace: its name as it is, as far as any store and file system can tell names apart. Where
/// that is longer than a file system takes (255 bytes on most) it is the name in base 32.
fn namespace_folder(name: &NamespaceName) -> String {
    let spelt = encode(name.as_str());
    if spelt.len() <= SPELT_MAX {
        format!("n-{spelt}")
    } else {
        format!("b-{}", base32(name.as_str().as_bytes()))
    }
}

/// Longer names are spelt in base 32, where the longest has 205 digits.
const SPELT_MAX: usize = 200;
const BASE32: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

/// The bytes five bits at a time, the first ones highest; the last digit is filled up with zeros.
fn base32(bytes: &[u8]) -> String {
    let mut out = String::with_capacity((bytes.len() * 8).div_ceil(5));
    let digit = |value: u32| BASE32.get(value as usize & 31).map_or('0', |digit| char::from(*digit));
    let (mut pending, mut bits) = (0u32, 0);
    for byte in bytes {
        pending = (pending << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            out.push(digit(pending >> bits));
        }
        pending &= (1 << bits) - 1;
    }
    if bits > 0 {
        out.push(digit(pending << (5 - bits)));
    }
    out
}

fn from_base32(digits: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(digits.len() * 5 / 8);
    let (mut pending, mut bits) = (0u32, 0);
    for digit in digits.bytes() {
        let value = BASE32.iter().position(|known| *known == digit)?;
        pending = (pending << 5) | u32::try_from(value).ok()?;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            out.push(u8::try_from(pending >> bits).ok()?);
            pending &= (1 << bits) - 1;
        }
    }
    Some(out)
}

/// Lower-case letters, digits, `-` and `_` as they are, every other byte as `~hh`.
fn encode(name: &str) -> String {
    name.bytes().fold(String::with_capacity(name.len()), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => out.push(char::from(byte)),
            _ => out.extend(['~', hex_digit(byte >> 4), hex_digit(byte & 15)]),
        }
        out
    })
}

fn hex_digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16).unwrap_or('0')
}

fn decode(name: &str) -> Option<Vec<u8>> {
    let mut bytes = name.bytes();
    let mut out = Vec::with_capacity(name.len());
    while let Some(byte) = bytes.next() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => out.push(byte),
            b'~' => {
                let pair = [bytes.next()?, bytes.next()?];
                out.push(u8::from_str_radix(std::str::from_utf8(&pair).ok()?, 16).ok()?);
            }
            _ => return None,
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_spelt_as_the_format_says() {
        let keys = NamespaceKeys::new(&NamespaceName::new("Docs.v1").unwrap());
        let life = keys.life(1);
        assert_eq!(keys.hint().as_str(), "ns/n-~44ocs~2ev1/HINT");
        assert_eq!(life.entry(Sequence(42)).as_str(), "ns/n-~44ocs~2ev1/00000001/wal/00000000000000000042");
        assert_eq!(LifeKeys::number_of(&life.entry(Sequence(42))), Some(42));
        assert_eq!(NamespaceKeys::life_of("00000001"), Some(1));
    }

    #[test]
    fn a_name_has_one_spelling() {
        let long = "A".repeat(128);
        let folder = namespace_folder(&NamespaceName::new(&long).unwrap());
        assert_eq!(DatabaseKeys::namespace_of(&folder).unwrap().as_str(), long);
        // Base 32 of a name that has a shorter spelling, a last digit that says more, a spelling that is too long.
        let others = [format!("b-{}", base32(b"docs")), format!("{folder}1"), format!("n-{}", encode(&long))];
        for folder in
            others.iter().map(String::as_str).chain(["n-~61", "n-~4", "n-~zz", "b-", "x-a", "n", "n-É"])
        {
            assert!(DatabaseKeys::namespace_of(folder).is_none(), "{folder}");
        }
        assert_eq!((base32(b"fo"), from_base32("cpng")), ("cpng".to_owned(), Some(b"fo".to_vec())));
    }

    #[test]
    fn a_key_cannot_leave_its_root() {
        for key in ["", "/a", "a/", "a//b", "../a", "a/..", ".a", "a b", "a\0", "a%2f", "a\\b"] {
            assert!(ObjectKey::new(key).is_err(), "{key:?}");
        }
    }

    proptest! {
        #[test]
        fn names_read_back_and_never_meet(a in "[A-Za-z0-9._-]{1,128}", b in "[A-Za-z0-9._-]{1,128}") {
            prop_assume!(a != "." && a != ".." && b != "." && b != "..");
            let folder = |name: &str| namespace_folder(&NamespaceName::new(name).unwrap());
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
            column in 0..crate::schema::COLUMNS_MAX,
        ) {
            let id = SegmentId { birth: u64::MAX, uuid: uuid::Uuid::max() };
            let names = NamespaceKeys::new(&NamespaceName::new(&name).unwrap());
            let (life, segment) = (names.life(u32::MAX), names.life(u32::MAX).segment(id));
            let keys = [
                names.hint(), life.open(), life.closed(), life.manifest(u64::MAX), life.entry(Sequence(u64::MAX)),
                life.centroids(uuid::Uuid::max()), segment.rows(), segment.attributes(), segment.text(),
                segment.vector(column), segment.deletes(u64::MAX, uuid::Uuid::max()),
            ];
            for key in keys {
                prop_assert!(ObjectKey::new(key.as_str()).is_ok());
                prop_assert!(key.as_str().split('/').all(|part| part.len() <= 240), "{key}");
            }
        }
    }
}
