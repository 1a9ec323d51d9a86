//! The list of tokens: only who needs it reads it, and it decides whatever happens around it.
#![expect(clippy::indexing_slicing, reason = "a test panics")]

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use elacsym::schema::AttributeType;
use elacsym::storage::{CountingBackend, MemoryBackend, StorageBackend, Verb};
use elacsym::{
    Database, Document, ErrorKind, Filter, IdKind, Namespace, Result, Scan, Schema, Settings, WriteBatch,
    WriteReceipt,
};
use futures::future::{join_all, try_join_all};
use serde_json::{Value, json};

use crate::common::forge::{
    Objects, edit_checksummed, edit_json, framed_json, last_key, objects_of, store_of,
};
use crate::liveness::gate::Gate;

async fn database(backend: Arc<dyn StorageBackend>) -> Result<Database> {
    let mut settings = Settings::default();
    (settings.auto_flush, settings.auto_compact) = (false, false);
    Database::builder().settings(settings).open_backend(backend).await
}

async fn open(store: &MemoryBackend) -> Result<Namespace> {
    let schema = Schema::builder(IdKind::U64).attribute("n", AttributeType::Uint).build()?;
    database(Arc::new(store.clone())).await?.open_or_create_namespace("docs", schema).await
}

fn write(id: u64) -> WriteBatch {
    WriteBatch::new().upsert(Document::new(id).with("n", id))
}

/// A write with the token of a number.
fn with_token(n: u64) -> WriteBatch {
    // As random as tokens are.
    let bits = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    write(n % 50).token((u128::from(bits) << 64) | u128::from(!bits))
}

async fn write_tokens(docs: &Namespace, numbers: std::ops::Range<u64>) -> Result<Vec<WriteReceipt>> {
    let mut receipts = Vec::new();
    for some in numbers.collect::<Vec<_>>().chunks(500) {
        receipts.extend(try_join_all(some.iter().map(|n| docs.write(with_token(*n)))).await?);
    }
    Ok(receipts)
}

async fn newest_manifest(store: &MemoryBackend) -> Result<(Bytes, Value)> {
    let objects = objects_of(store).await?;
    let bytes = objects[&last_key(&objects, "/manifest/")].clone();
    let json = framed_json(&bytes);
    Ok((bytes, json))
}

fn assert_replayed(again: &WriteReceipt, first: &WriteReceipt) {
    let mut expected = first.clone();
    expected.replayed = true;
    assert_eq!(*again, expected);
}

/// How many requests were for a list of tokens.
fn list_requests(counting: &CountingBackend) -> usize {
    counting.log().iter().filter(|request| request.name.contains("/tokens/")).count()
}

#[tokio::test]
async fn ten_thousand_tokens_are_beside_the_manifest_and_read_by_who_needs_them() -> Result<()> {
    let store = MemoryBackend::new();
    let docs = open(&store).await?;
    let first = write_tokens(&docs, 0..10_000).await?;
    docs.flush().await?;
    let (bytes, manifest) = newest_manifest(&store).await?;
    assert!(bytes.len() < 8 << 10, "{} bytes", bytes.len());
    assert_eq!(manifest["tokens"]["count"], 10_000);

    let counting = CountingBackend::new(Arc::new(store.clone()));
    let db = database(Arc::new(counting.clone())).await?;
    let docs = db.open_namespace("docs").await?;
    assert_eq!(docs.scan(Scan::new()).await?.rows.documents()?.len(), 50);
    docs.scan(Scan::new().filter(Filter::gt("n", 3)).limit(3)).await?;
    docs.write(write(1)).await?;
    docs.flush().await?;
    docs.compact().await?;
    assert_eq!(list_requests(&counting), 0);
    let resident = db.cache_stats().resident_bytes;

    // Many at once, and one after the other: one request.
    let some = [0, 1, 4_999, 9_998, 9_999];
    let again = join_all(some.map(|n| docs.write(with_token(n)))).await;
    for (again, n) in again.into_iter().zip(some) {
        assert_replayed(&again?, &first[usize::try_from(n).expect("small")]);
    }
    assert_replayed(&docs.write(with_token(7)).await?, &first[7]);
    let new = docs.write(with_token(10_000)).await?;
    assert!(!new.replayed);
    assert_eq!(list_requests(&counting), 1);
    assert!(db.cache_stats().resident_bytes > resident + 1_000_000, "the list counts as memory");
    // The flush has the list, and writes the next.
    docs.flush().await?;
    assert_eq!(list_requests(&counting), 2);
    assert_replayed(&docs.write(with_token(10_000)).await?, &new);
    // The oldest is forgotten.
    assert!(!docs.write(with_token(0)).await?.replayed);
    assert_eq!(list_requests(&counting), 2);
    Ok(())
}

#[tokio::test]
async fn the_list_is_named_by_every_manifest_and_written_by_those_with_new_tokens() -> Result<()> {
    let store = MemoryBackend::new();
    let docs = open(&store).await?;
    docs.write(write(1)).await?;
    docs.flush().await?;
    assert!(newest_manifest(&store).await?.1["tokens"].is_null());
    let first = docs.write(with_token(1)).await?;
    docs.flush().await?;
    let named = newest_manifest(&store).await?.1["tokens"].clone();
    let name = format!("{}-", "0".repeat(19) + "1");
    assert!(named["id"].as_str().is_some_and(|id| id.starts_with(&name)), "the birth: {named}");
    docs.write(write(2)).await?;
    docs.flush().await?;
    assert_eq!(newest_manifest(&store).await?.1["tokens"], named);
    docs.compact().await?;
    assert_eq!(newest_manifest(&store).await?.1["tokens"], named);
    // Another process goes on from the list.
    let other = open(&store).await?;
    other.write(with_token(2)).await?;
    other.flush().await?;
    let extended = newest_manifest(&store).await?.1["tokens"].clone();
    assert_eq!(extended["count"], 2);
    assert_ne!(extended["id"], named["id"]);
    // The first did not see that flush, and its list is not the newest.
    assert_replayed(&docs.write(with_token(1)).await?, &first);
    docs.flush().await?;
    assert!(docs.write(with_token(2)).await?.replayed);
    Ok(())
}

#[tokio::test]
async fn fields_of_another_version_stay_with_the_list() -> Result<()> {
    let mut objects = objects_with_tokens().await?;
    let key = last_key(&objects, "/manifest/");
    let forged = edit_json(&objects[&key], |manifest| manifest["tokens"]["addition"] = json!([u64::MAX]));
    objects.insert(key, forged);
    let store = store_of(&objects).await?;
    let docs = open(&store).await?;
    docs.write(write(2)).await?;
    docs.flush().await?;
    assert_eq!(newest_manifest(&store).await?.1["tokens"]["addition"], json!([u64::MAX]));
    assert!(docs.write(with_token(1)).await?.replayed);
    docs.write(with_token(2)).await?;
    docs.flush().await?;
    assert!(newest_manifest(&store).await?.1["tokens"]["addition"].is_null(), "another list");
    Ok(())
}

/// A manifest with a list, and a tail with a token, without the hint.
async fn objects_with_tokens() -> Result<Objects> {
    let store = MemoryBackend::new();
    let docs = open(&store).await?;
    docs.write(with_token(1)).await?;
    docs.flush().await?;
    docs.write(write(30)).await?;
    let mut objects = objects_of(&store).await?;
    objects.retain(|key, _| !key.ends_with("HINT"));
    Ok(objects)
}

/// What may have become of the list, each with the objects that are left and a part of the error.
fn damaged_lists(objects: &Objects) -> Vec<(Objects, &'static str)> {
    let (key, manifest) = (last_key(objects, "/tokens/"), last_key(objects, "/manifest/"));
    let bytes = &objects[&key];
    let with = |bytes: Bytes| {
        let mut objects = objects.clone();
        objects.insert(key.clone(), bytes);
        objects
    };
    let mut flipped = bytes.to_vec();
    flipped[14] ^= 1;
    let mut lost = objects.clone();
    lost.remove(&key);
    let named = |field: &str, value: Value| {
        let mut objects = objects.clone();
        let forged = edit_json(&objects[&manifest], |manifest| manifest["tokens"][field] = value);
        objects.insert(manifest.clone(), forged);
        objects
    };
    // A list with a right checksum, and a manifest that names it.
    let other = edit_checksummed(bytes, |list| list[8..12].copy_from_slice(&u32::MAX.to_le_bytes()));
    let checksum = u64::from_le_bytes(*other.last_chunk().expect("8 bytes"));
    let mut forged = named("checksum", json!(format!("{checksum:016x}")));
    forged.insert(key.clone(), other);
    vec![
        (with(flipped.into()), "checksum"),
        (with(bytes.slice(..bytes.len() - 1)), "ends early"),
        (with([bytes.as_ref(), b"x"].concat().into()), "more than the maximum"),
        (lost, "missing"),
        (named("size", json!(u64::MAX)), "too large"),
        (named("count", json!(7)), "number of records"),
        (forged, "number of records"),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_damaged_list_stops_writes_with_tokens_and_no_others() -> Result<()> {
    let objects = objects_with_tokens().await?;
    let key = last_key(&objects, "/tokens/");
    for (objects, why) in damaged_lists(&objects) {
        let store = store_of(&objects).await?;
        let docs = open(&store).await?;
        assert_eq!(docs.scan(Scan::new()).await?.rows.documents()?.len(), 2, "{why}");
        // All in one group: the one with a token is answered by itself.
        let patch = WriteBatch::new().patch(Document::new(1).with("n", 9)).token(77);
        let (plain, token, patch, other) = futures::join!(
            docs.write(write(2)),
            docs.write(with_token(1)),
            docs.write(patch),
            docs.write(write(3))
        );
        assert_eq!(plain?.upserted + other?.upserted, 2, "{why}");
        for failed in [token, patch] {
            let error = failed.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{why}: {error}");
            assert!(error.to_string().contains(&key) && error.to_string().contains(why), "{why}: {error}");
        }
        docs.flush().await?;
        docs.compact().await?;
        assert_eq!(docs.scan(Scan::new()).await?.rows.documents()?.len(), 4, "{why}");
        let error = docs.write(with_token(5)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{why}: {error}");
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_flush_that_cannot_extend_the_list_leaves_nothing_behind() -> Result<()> {
    let memory = store_of(&objects_with_tokens().await?).await?;
    open(&memory).await?.write(with_token(2)).await?;
    let mut objects = objects_of(&memory).await?;
    objects.remove(&last_key(&objects, "/tokens/"));
    let store = store_of(&objects).await?;
    let docs = open(&store).await?;
    // A token of the tail needs no list.
    assert!(docs.write(with_token(2)).await?.replayed);
    let error = docs.flush().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert_eq!(objects_of(&store).await?, objects);
    Ok(())
}

/// A process that has flushed a token, and another that has not read the list, behind a gate.
async fn open_two() -> Result<(Namespace, Gate, Namespace)> {
    let memory = MemoryBackend::new();
    let other = open(&memory).await?;
    other.write(with_token(1)).await?;
    other.flush().await?;
    let gate = Gate::new(Arc::new(memory));
    let docs = database(Arc::new(gate.clone())).await?.open_namespace("docs").await?;
    Ok((other, gate, docs))
}

/// While a write waits for the list, another process writes its token and flushes it, and this process goes over to the
/// newer manifest: the token is in neither the list that was read nor the tail.
#[tokio::test]
async fn a_list_that_is_replaced_while_it_is_read_does_not_decide() -> Result<()> {
    let (other, gate, docs) = open_two().await?;
    gate.hold(Verb::Get, "/tokens/");
    let mut waiting = pin!(docs.write(with_token(2)));
    gate.poll_until_held(&mut waiting).await;
    let first = other.write(with_token(2)).await?;
    other.flush().await?;
    docs.flush().await?;
    gate.release();
    assert_replayed(&waiting.await?, &first);
    assert_eq!(docs.scan(Scan::new()).await?.rows.documents()?.len(), 2);
    assert_eq!(other.write(write(9)).await?.sequence.0, first.sequence.0 + 1, "no entry but these");
    Ok(())
}

/// A write that waits for the list is under way: dropping its future does not stop it.
#[tokio::test]
async fn a_dropped_write_that_waits_for_the_list_is_written() -> Result<()> {
    let (other, gate, docs) = open_two().await?;
    gate.hold(Verb::Get, "/tokens/");
    {
        let mut waiting = pin!(docs.write(with_token(2)));
        gate.poll_until_held(&mut waiting).await;
    }
    gate.release();
    docs.close().await;
    assert!(other.write(with_token(2)).await?.replayed);
    Ok(())
}

/// The file that the known manifest names may be collected once a newer one has taken its place.
#[tokio::test]
async fn a_collected_list_leads_to_the_newer_one() -> Result<()> {
    let memory = MemoryBackend::new();
    let other = open(&memory).await?;
    let first = other.write(with_token(1)).await?;
    other.flush().await?;
    let docs = open(&memory).await?;
    let old = last_key(&objects_of(&memory).await?, "/tokens/");
    other.write(with_token(2)).await?;
    other.flush().await?;
    memory.delete(&elacsym::storage::ObjectKey::new(old)?).await?;
    assert_replayed(&docs.write(with_token(1)).await?, &first);
    assert!(docs.write(with_token(2)).await?.replayed);
    Ok(())
}
