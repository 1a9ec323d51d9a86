//! Features that this version does not know: what another version requires of readers stops them, and what it requires
//! of writers stops those alone.
#![expect(clippy::indexing_slicing, reason = "a test panics")]

use std::sync::Arc;

use elacsym::schema::AttributeType;
use elacsym::storage::{MemoryBackend, ObjectKey, PutMode, StorageBackend};
use elacsym::{
    Consistency, Database, Document, Error, ErrorKind, Filter, IdKind, Metric, Namespace, Query, Result,
    Scan, Schema, Settings, Vector, VectorType, WriteBatch,
};
use serde_json::json;

use crate::common::forge::{
    Objects, edit_checksummed, edit_json, framed_json, last_key, objects_of, store_of,
};

async fn open(store: &MemoryBackend) -> Result<Database> {
    let mut settings = Settings::default();
    (settings.auto_flush, settings.auto_compact) = (false, false);
    settings.reference_bytes_min = 10_000;
    Database::builder().settings(settings).open_backend(Arc::new(store.clone())).await
}

fn schema() -> Result<Schema> {
    let builder = Schema::builder(IdKind::U64).attribute("n", AttributeType::Uint);
    builder.vector("v", VectorType::F32, 2, Metric::L2Squared).build()
}

fn row(id: u64) -> Document {
    Document::new(id).with("n", id).with("v", Vector::from([1.0, 0.5]))
}

fn write(id: u64) -> WriteBatch {
    WriteBatch::new().upsert(row(id))
}

/// A namespace with a manifest and a tail, without the hint, which has a copy of the manifest.
async fn objects() -> Result<Objects> {
    let store = MemoryBackend::new();
    let docs = open(&store).await?.create_namespace("docs", schema()?).await?;
    docs.write(write(1)).await?;
    docs.flush().await?;
    docs.write(write(2)).await?;
    let mut objects = objects_of(&store).await?;
    objects.retain(|key, _| !key.ends_with("HINT"));
    Ok(objects)
}

/// The objects of each kind that can require a feature, and the feature's name.
fn featured(objects: &Objects) -> [(String, &'static str); 4] {
    let json = "time-machine";
    [("STORE", json), ("/OPEN", json), ("/manifest/", json), ("/wal/", "bit 5")]
        .map(|(part, name)| (last_key(objects, part), name))
}

/// The objects, of which one requires a feature of readers or of writers.
fn require(objects: &Objects, key: &str, user: &str) -> Objects {
    let mut objects = objects.clone();
    let bytes = &objects[key];
    let forged = if key.contains("/wal/") {
        edit_checksummed(bytes, |entry| entry[if user == "read" { 8 } else { 12 }] = 1 << 5)
    } else {
        edit_json(bytes, |object| object["features"] = json!({user: ["time-machine"]}))
    };
    objects.insert(key.to_owned(), forged);
    objects
}

async fn ids(docs: &Namespace) -> Result<Vec<String>> {
    let page = docs.scan(Scan::new()).await?;
    Ok(page.rows.documents()?.iter().map(|document| document.id().to_string()).collect())
}

#[track_caller]
fn assert_refused<T>(outcome: Result<T>, key: &str, name: &str) {
    let error: Error = outcome.err().unwrap_or_else(|| panic!("{key} is ignored"));
    assert_eq!(error.kind(), ErrorKind::UnsupportedVersion, "{key}: {error}");
    assert!(error.to_string().contains(name) && error.to_string().contains(key), "{key}: {error}");
}

#[tokio::test]
async fn a_feature_of_readers_stops_all() -> Result<()> {
    let objects = objects().await?;
    for (key, name) in featured(&objects) {
        let store = store_of(&require(&objects, &key, "read")).await?;
        let opened = async { open(&store).await?.open_namespace("docs").await };
        assert_refused(opened.await, &key, name);
    }
    Ok(())
}

#[tokio::test]
async fn a_feature_of_readers_is_reported_whatever_else_has_changed() -> Result<()> {
    let objects = objects().await?;
    for (key, name) in featured(&objects).into_iter().filter(|(key, _)| !key.contains("/wal/")) {
        let mut objects = require(&objects, &key, "read");
        let field = match key.as_str() {
            "STORE" => "store",
            key if key.ends_with("/OPEN") => "schema",
            _ => "schemas",
        };
        let forged = edit_json(&objects[&key], |object| object[field] = json!({"another": "shape"}));
        objects.insert(key.clone(), forged);
        let store = store_of(&objects).await?;
        let opened = async { open(&store).await?.open_namespace("docs").await };
        assert_refused(opened.await, &key, name);
    }
    Ok(())
}

#[tokio::test]
async fn a_feature_of_writers_stops_writers_and_nobody_else() -> Result<()> {
    let objects = objects().await?;
    for (key, name) in featured(&objects) {
        let store = store_of(&require(&objects, &key, "write")).await?;
        let before = objects_of(&store).await?;
        let db = open(&store).await?;
        let docs = db.open_namespace("docs").await?;
        assert_eq!(ids(&docs).await?, ["1", "2"], "{key}");
        let near = docs.query(Query::nearest("v", [1.0, 0.5]).filter(Filter::gt("n", 1))).await?;
        assert_eq!(near.hits()?.len(), 1, "{key}");
        assert_eq!(db.list_namespaces().await?.len(), 1, "{key}");
        let large = WriteBatch::new().upsert_all((0..1_000).map(row));
        let unmet = WriteBatch::new().patch_if(row(1), Filter::eq("n", 7));
        for batch in [write(3), WriteBatch::new().delete(1), large, unmet, write(4).token(9)] {
            assert_refused(docs.write(batch).await, &key, name);
        }
        assert_refused(docs.flush().await, &key, name);
        assert_refused(docs.compact().await, &key, name);
        assert_refused(db.delete_namespace("docs").await, &key, name);
        let created = db.create_namespace("more", schema()?).await;
        if key == "STORE" {
            assert_refused(created, &key, name);
            assert_refused(db.open_or_create_namespace("more", schema()?).await, &key, name);
        } else {
            created?.write(write(1)).await?;
        }
        let after = objects_of(&store).await?;
        let left: Vec<_> = after.keys().filter(|key| !before.contains_key(*key)).collect();
        assert!(left.iter().all(|key| key.starts_with("ns/n-more/")), "{key}: {left:?}");
        assert!(before.iter().all(|(key, bytes)| after.get(key) == Some(bytes)), "{key}");
        assert_eq!(ids(&db.open_namespace("docs").await?).await?, ["1", "2"], "{key}");
    }
    Ok(())
}

#[tokio::test]
async fn a_sealed_incarnation_is_not_marked_by_a_version_that_must_not_write() -> Result<()> {
    let store = store_of(&objects().await?).await?;
    open(&store).await?.delete_namespace("docs").await?;
    let mut objects = objects_of(&store).await?;
    objects.retain(|key, _| !key.ends_with("CLOSED"));
    for (key, _) in featured(&objects) {
        let store = store_of(&require(&objects, &key, "write")).await?;
        let before = objects_of(&store).await?;
        let opened = open(&store).await?.open_namespace("docs").await;
        assert_eq!(opened.unwrap_err().kind(), ErrorKind::NotFound, "{key}");
        assert_eq!(objects_of(&store).await?, before, "{key}");
    }
    Ok(())
}

/// Puts what a newer version wrote on a copy of the store.
async fn put_newer(store: &MemoryBackend, newer: &Objects, key: &str) -> Result<()> {
    let bytes = require(newer, key, "write")[key].clone();
    store.put(&ObjectKey::new(key)?, bytes.into(), PutMode::Create).await
}

#[tokio::test]
async fn a_process_stops_writing_as_soon_as_it_meets_the_feature() -> Result<()> {
    for reads in [true, false] {
        let store = store_of(&objects().await?).await?;
        let docs = open(&store).await?.open_namespace("docs").await?;
        docs.write(write(3)).await?;
        // A newer version writes an entry that requires a feature.
        let newer = store_of(&objects_of(&store).await?).await?;
        let docs_of_newer = open(&newer).await?.open_namespace("docs").await?;
        docs_of_newer.write(write(4)).await?;
        let written = objects_of(&newer).await?;
        let entry = last_key(&written, "/wal/");
        put_newer(&store, &written, &entry).await?;
        if reads {
            assert_eq!(ids(&docs).await?, ["1", "2", "3", "4"]);
        }
        // Otherwise the write loses the number, and finds out by that.
        assert_refused(docs.write(write(5)).await, &entry, "bit 5");
        assert_refused(docs.flush().await, &entry, "bit 5");
        assert_eq!(ids(&docs).await?, ["1", "2", "3", "4"]);
        // A manifest that covers the entry says what counts from there on: here, nothing.
        docs_of_newer.flush().await?;
        let flushed = objects_of(&newer).await?;
        for (key, bytes) in flushed.iter().filter(|(key, _)| !written.contains_key(*key)) {
            store.put(&ObjectKey::new(key.as_str())?, bytes.clone().into(), PutMode::Overwrite).await?;
        }
        docs.flush().await?;
        assert_eq!(docs.write(write(5)).await?.sequence.0, 5);
    }
    Ok(())
}

#[tokio::test]
async fn a_newer_manifest_stops_flushes_of_a_process_that_did_not_know_it() -> Result<()> {
    let store = store_of(&objects().await?).await?;
    let docs = open(&store).await?.open_namespace("docs").await?;
    let newer = store_of(&objects_of(&store).await?).await?;
    open(&newer).await?.open_namespace("docs").await?.flush().await?;
    let flushed = objects_of(&newer).await?;
    let manifest = last_key(&flushed, "/manifest/");
    assert_eq!(framed_json(&flushed[&manifest])["number"], 2);
    put_newer(&store, &flushed, &manifest).await?;
    let there = objects_of(&store).await?;
    for (key, bytes) in flushed.iter().filter(|(key, _)| !there.contains_key(*key)) {
        store.put(&ObjectKey::new(key.as_str())?, bytes.clone().into(), PutMode::Create).await?;
    }
    let before = objects_of(&store).await?;
    assert_refused(docs.flush().await, &manifest, "time-machine");
    assert_refused(docs.write(write(3)).await, &manifest, "time-machine");
    assert_eq!(docs.snapshot(Consistency::Strong).await?.sequence().0, 2);
    assert_eq!(ids(&docs).await?, ["1", "2"]);
    assert_eq!(objects_of(&store).await?, before);
    Ok(())
}
