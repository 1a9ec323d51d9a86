//! Watches deletes: nothing may go that a living manifest, or the log behind the oldest of them, names.
//!
//! It knows no more of the format than how manifests are framed: an object is named where the random part of its own name
//! is found in the bytes of a manifest or an entry.

use std::time::Duration;

use elacsym::storage::ObjectKey;

use super::store::{Store, slot};

/// The oldest manifest of an incarnation that lives, and the entry up to which it covers the log: the newest of those that
/// are older than the grace. `None` if none is.
pub fn oldest_living(store: &Store, prefix: &str, now_ms: i64, grace: Duration) -> Option<(u64, u64)> {
    let grace = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
    let folder = format!("{prefix}manifest/");
    let manifests = store.below(&folder);
    let old = manifests.filter(|(_, _, modified_ms)| now_ms - modified_ms >= grace);
    old.filter_map(|(_, bytes, _)| numbers(bytes)).max()
}

/// The number of a manifest, and how far it covers the log.
fn numbers(bytes: &[u8]) -> Option<(u64, u64)> {
    let start = bytes.iter().position(|b| *b == b'\n')? + 1;
    let json: serde_json::Value = serde_json::from_slice(&bytes[start..]).ok()?;
    let number = |field: &str| json.get(field)?.as_u64();
    Some((number("number")?, number("flushed_through")?))
}

/// Why an object must not be deleted now, if so.
pub fn refuse_delete(store: &Store, key: &ObjectKey, now_ms: i64, grace: Duration) -> Option<String> {
    let (prefix, rest) = split_incarnation(key.as_str())?;
    let refuse = |why: String| Some(format!("{key} was deleted: {why}"));
    let Some((oldest, flushed_through)) = oldest_living(store, prefix, now_ms, grace) else {
        return refuse("no manifest was replaced for the grace".into());
    };
    let number: Option<u64> = rest.split_once('/').and_then(|(_, name)| name.parse().ok());
    match (rest.split('/').next()?, number) {
        ("manifest", Some(number)) if number < oldest => None,
        ("wal", Some(number)) if number < flushed_through => None,
        ("segment" | "centroids" | "tokens", None) => {
            let namers = namers(store, prefix, (oldest, flushed_through), needle(rest)?);
            if namers.is_empty() { None } else { refuse(format!("{namers:?} name it")) }
        }
        _ => refuse(format!("manifest {oldest}, at entry {flushed_through}, is the oldest that lives")),
    }
}

/// What has to be found for an object to be named: its own random part.
fn needle(rest: &str) -> Option<&str> {
    let mut parts = rest.split('/');
    let (_, id, file) = (parts.next()?, parts.next()?, parts.next());
    match file.and_then(|file| file.strip_prefix("deletes.")) {
        Some(deletes) => deletes.split_once('-').map(|(_, nonce)| nonce),
        None => Some(id),
    }
}

/// The living manifests, and the entries that they need, which hold some text.
fn namers(store: &Store, prefix: &str, (oldest, flushed): (u64, u64), needle: &str) -> Vec<String> {
    let holds = |bytes: &[u8]| bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
    let needed = |folder: &str, after: u64| {
        let folder = format!("{prefix}{folder}/");
        let below = store.below(&folder).filter(move |(key, ..)| number_of(key).is_some_and(|n| n > after));
        let found: Vec<String> =
            below.filter(|(_, b, _)| holds(b)).map(|(key, ..)| key.to_string()).collect();
        found
    };
    [needed("manifest", oldest - 1), needed("wal", flushed)].concat()
}

fn number_of(key: &ObjectKey) -> Option<u64> {
    key.as_str().rsplit('/').next()?.parse().ok()
}

/// The prefix of the incarnation that a key is in, and the rest.
fn split_incarnation(key: &str) -> Option<(&str, &str)> {
    let name_end = key.strip_prefix("ns/")?.find('/')? + 4;
    let end = name_end + key[name_end..].find('/')? + 1;
    Some(key.split_at(end))
}

/// What an incarnation has that its newest manifest and its log do not name, and what they name that it does not have.
///
/// # Errors
/// Both, if there are any.
pub fn exactly_named(store: &Store, prefix: &str) -> Result<(), String> {
    let folder = format!("{prefix}manifest/");
    let manifests = store.below(&folder);
    let newest = manifests.last().ok_or("there is no manifest")?;
    let (_, flushed_through) = numbers(newest.1).ok_or("a manifest that cannot be read")?;
    let start = newest.1.iter().position(|b| *b == b'\n').unwrap_or(0) + 1;
    let manifest: serde_json::Value =
        serde_json::from_slice(&newest.1[start..]).map_err(|e| e.to_string())?;
    let mut named = vec![format!("{prefix}OPEN"), newest.0.to_string()];
    name_sets(prefix, &manifest["centroids"], &mut named);
    if let Some(id) = manifest["tokens"]["id"].as_str() {
        named.push(format!("{prefix}tokens/{id}"));
    }
    for segment in manifest["segments"].as_array().into_iter().flatten() {
        name_segment(prefix, segment, &mut named);
    }
    for id in manifest["dropped"].as_array().into_iter().flatten().filter_map(|id| id.as_str()) {
        let folder = format!("{prefix}segment/{id}/");
        named.extend(store.below(&folder).map(|(key, ..)| key.to_string()));
    }
    for (key, bytes, _) in store.below(&format!("{prefix}wal/")) {
        let number = slot(key.as_str()).map_or(0, |(_, number)| number);
        if number < flushed_through {
            continue;
        }
        named.push(key.to_string());
        if number > flushed_through {
            let links = links(bytes).ok_or_else(|| format!("{key} cannot be read"))?;
            for link in links {
                name_segment(prefix, &link["meta"], &mut named);
            }
        }
    }
    named.sort_unstable();
    named.dedup();
    let there: Vec<String> = store.below(prefix).map(|(key, ..)| key.to_string()).collect();
    let too_many: Vec<_> = there.iter().filter(|key| !named.contains(key)).collect();
    let missing: Vec<_> = named.iter().filter(|key| !there.contains(key)).collect();
    if too_many.is_empty() && missing.is_empty() {
        return Ok(());
    }
    Err(format!("nothing names {too_many:?}; lost are {missing:?}"))
}

fn name_segment(prefix: &str, segment: &serde_json::Value, named: &mut Vec<String>) {
    let folder = format!("{prefix}segment/{}/", segment["id"].as_str().unwrap_or_default());
    named.extend(["rows.parquet", "index"].map(|file| format!("{folder}{file}")));
    let vectors = segment["vectors"].as_object().into_iter().flatten();
    named.extend(vectors.map(|(column, _)| format!("{folder}vector.{column}")));
    if segment["text"].is_object() {
        named.push(format!("{folder}text"));
    }
    if let (Some(manifest), Some(nonce)) =
        (segment["deletes"]["manifest"].as_u64(), segment["deletes"]["nonce"].as_str())
    {
        named.push(format!("{folder}deletes.{manifest:020}-{nonce}"));
    }
    name_sets(prefix, &segment["centroids"], named);
}

fn name_sets(prefix: &str, sets: &serde_json::Value, named: &mut Vec<String>) {
    let ids = sets.as_object().into_iter().flatten().filter_map(|(_, set)| set["id"].as_str());
    named.extend(ids.map(|id| format!("{prefix}centroids/{id}")));
}

/// The links of an entry, from its extension.
fn links(entry: &[u8]) -> Option<Vec<serde_json::Value>> {
    let length = usize::try_from(u64::from_le_bytes(entry.get(96..104)?.try_into().ok()?)).ok()?;
    let extension: serde_json::Value = serde_json::from_slice(entry.get(120..120 + length)?).ok()?;
    Some(extension["segments"].as_array().cloned().unwrap_or_default())
}
