//! Objects as another version of the crate, or whoever may write to the store, could have written them.

use std::collections::BTreeMap;

use bytes::Bytes;
use elacsym::Result;
use elacsym::storage::{MemoryBackend, ObjectKey, ObjectPrefix, PutMode, StorageBackend};
use twox_hash::XxHash3_64;

/// Everything on a store, by key.
pub type Objects = BTreeMap<String, Bytes>;

/// What is on a store now.
pub async fn objects_of(store: &MemoryBackend) -> Result<Objects> {
    let mut objects = Objects::new();
    for info in store.list(&ObjectPrefix::root(), None).await? {
        objects.insert(info.key.to_string(), store.get(&info.key).await?);
    }
    Ok(objects)
}

/// A store with these objects.
pub async fn store_of(objects: &Objects) -> Result<MemoryBackend> {
    let store = MemoryBackend::new();
    for (key, bytes) in objects {
        store.put(&ObjectKey::new(key.as_str())?, bytes.clone().into(), PutMode::Create).await?;
    }
    Ok(store)
}

/// The key of the last object whose key has this part.
///
/// # Panics
/// If there is none.
pub fn last_key(objects: &Objects, part: &str) -> String {
    objects.keys().rfind(|key| key.contains(part)).unwrap_or_else(|| panic!("no {part}")).clone()
}

/// The JSON of a framed object.
///
/// # Panics
/// If it is none.
pub fn framed_json(bytes: &Bytes) -> serde_json::Value {
    let start = bytes.iter().position(|byte| *byte == b'\n').expect("a line") + 1;
    serde_json::from_slice(&bytes[start..]).expect("JSON")
}

/// A framed object with another JSON, and the frame that belongs to it.
///
/// # Panics
/// If it is no framed object.
pub fn edit_json(bytes: &Bytes, edit: impl FnOnce(&mut serde_json::Value)) -> Bytes {
    let mut json = framed_json(bytes);
    edit(&mut json);
    reframe(bytes, &json.to_string())
}

/// A framed object with another text in place of its JSON, and the frame that belongs to it.
///
/// # Panics
/// If it is no framed object.
pub fn reframe(bytes: &Bytes, json: &str) -> Bytes {
    let line = bytes.split(|byte| *byte == b'\n').next().expect("a line");
    let line = std::str::from_utf8(line).expect("ASCII");
    let words: Vec<&str> = line.split(' ').take(3).collect();
    let checksum = XxHash3_64::oneshot(json.as_bytes());
    format!("{} {} {checksum:016x}\n{json}", words.join(" "), json.len()).into()
}

/// A binary object with other bytes before its checksum, and the checksum that belongs to them.
pub fn edit_checksummed(bytes: &Bytes, edit: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut changed = bytes[..bytes.len() - 8].to_vec();
    edit(&mut changed);
    let checksum = XxHash3_64::oneshot(&changed);
    changed.extend(checksum.to_le_bytes());
    changed.into()
}
