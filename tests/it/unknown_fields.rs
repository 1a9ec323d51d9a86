//! Fields that another version has added to manifests: they are carried, and hinder nobody.
#![expect(clippy::indexing_slicing, reason = "a test panics")]

use std::sync::Arc;

use elacsym::schema::AttributeType;
use elacsym::storage::MemoryBackend;
use elacsym::{
    Database, Document, IdKind, Metric, Namespace, Result, Scan, Schema, Settings, Vector, VectorType,
    WriteBatch,
};
use serde_json::{Value, json};

use crate::common::forge::{
    Objects, edit_checksummed, edit_json, framed_json, last_key, objects_of, store_of,
};

/// The paths, within a segment, of objects that carry what they do not know.
const IN_SEGMENTS: [&str; 5] = ["", "/statistics/1", "/parquet", "/vectors/2", "/deletes"];
/// The same within a manifest.
const IN_MANIFESTS: [&str; 3] = ["", "/floors", "/features"];

/// What another version added.
fn addition() -> Value {
    json!({
        "large": 9_007_199_254_740_993_u64,
        "largest": [u64::MAX, i64::MIN],
        "fraction": [0.1, 5e-324, 1.797_693_134_862_315_7e308, 0.123_456_789_012_345_67],
        "nested": {"b": [null, {"a": "\u{1f600}\"\\"}], "a": true},
    })
}

fn add(object: &mut Value, path: &str) {
    if path == "/features" && object["features"].is_null() {
        object["features"] = json!({});
    }
    object.pointer_mut(path).unwrap_or_else(|| panic!("no {path}"))["addition"] = addition();
}

#[track_caller]
fn assert_carried(object: &Value, paths: &[&str]) {
    for path in paths {
        let found = object.pointer(path).map(|object| &object["addition"]);
        assert_eq!(found, Some(&addition()), "{path}");
    }
}

async fn open(store: &MemoryBackend) -> Result<Namespace> {
    let mut settings = Settings::default();
    (settings.auto_flush, settings.auto_compact) = (false, false);
    settings.reference_bytes_min = 10_000;
    let db = Database::builder().settings(settings).open_backend(Arc::new(store.clone())).await?;
    let builder = Schema::builder(IdKind::U64).attribute("n", AttributeType::Uint);
    db.open_or_create_namespace("docs", builder.vector("v", VectorType::F32, 2, Metric::L2Squared).build()?)
        .await
}

fn rows(ids: std::ops::Range<u64>) -> WriteBatch {
    WriteBatch::new()
        .upsert_all(ids.map(|id| Document::new(id).with("n", id).with("v", Vector::from([1.0, 0.5]))))
}

async fn count(docs: &Namespace) -> Result<usize> {
    Ok(docs.scan(Scan::new().limit(10_000)).await?.rows.documents()?.len())
}

/// A namespace with two segments, one of which has dead rows, and fields of another version at every level of its
/// manifest.
async fn forged_objects() -> Result<Objects> {
    let store = MemoryBackend::new();
    let docs = open(&store).await?;
    docs.write(rows(0..10)).await?;
    docs.flush().await?;
    docs.write(rows(10..20).delete(3)).await?;
    docs.flush().await?;
    let mut objects = objects_of(&store).await?;
    let key = last_key(&objects, "/manifest/");
    let forged = edit_json(&objects[&key], |manifest| {
        for path in IN_MANIFESTS {
            add(manifest, path);
        }
        for path in IN_SEGMENTS {
            add(&mut manifest["segments"][0], path);
        }
    });
    objects.insert(key, forged);
    // It has a copy of the manifest, which would be preferred.
    objects.retain(|key, _| !key.ends_with("HINT"));
    Ok(objects)
}

async fn newest_manifest(store: &MemoryBackend) -> Result<Value> {
    let objects = objects_of(store).await?;
    Ok(framed_json(&objects[&last_key(&objects, "/manifest/")]))
}

#[tokio::test]
async fn a_flush_carries_what_another_version_has_added() -> Result<()> {
    let store = store_of(&forged_objects().await?).await?;
    let docs = open(&store).await?;
    assert_eq!(count(&docs).await?, 19);
    docs.write(rows(20..25)).await?;
    docs.flush().await?;
    // The next process begins with the copy of the manifest in the hint.
    let docs = open(&store).await?;
    docs.write(rows(25..30)).await?;
    docs.flush().await?;
    let manifest = newest_manifest(&store).await?;
    assert_eq!(manifest["number"], 4);
    assert_carried(&manifest, &IN_MANIFESTS);
    assert_carried(&manifest["segments"][0], &IN_SEGMENTS);
    assert_eq!(count(&open(&store).await?).await?, 29);
    Ok(())
}

#[tokio::test]
async fn what_is_written_anew_loses_what_was_added_to_the_old() -> Result<()> {
    let store = store_of(&forged_objects().await?).await?;
    let docs = open(&store).await?;
    // One more row of the segment dies: it has another file of dead rows.
    docs.write(WriteBatch::new().delete(4)).await?;
    docs.flush().await?;
    let manifest = newest_manifest(&store).await?;
    assert_carried(&manifest, &IN_MANIFESTS);
    let (deletes, others) = IN_SEGMENTS.split_last().expect("there are some");
    assert_carried(&manifest["segments"][0], others);
    assert!(manifest["segments"][0].pointer(deletes).expect("dead rows")["addition"].is_null());
    docs.compact().await?;
    let manifest = newest_manifest(&store).await?;
    assert_carried(&manifest, &IN_MANIFESTS);
    assert!(!manifest["segments"].to_string().contains("addition"));
    assert_eq!(count(&open(&store).await?).await?, 18);
    Ok(())
}

#[tokio::test]
async fn what_was_added_to_a_linked_segment_gets_into_the_manifest() -> Result<()> {
    let store = MemoryBackend::new();
    open(&store).await?.write(rows(0..1_000)).await?;
    let mut objects = objects_of(&store).await?;
    let key = last_key(&objects, "/wal/");
    let forged = edit_checksummed(&objects[&key], |entry| {
        let length = u64::from_le_bytes(entry[96..104].try_into().expect("8 bytes"));
        let end = 120 + usize::try_from(length).expect("a length");
        let mut extension: Value = serde_json::from_slice(&entry[120..end]).expect("JSON");
        let link = &mut extension["segments"][0];
        link["addition"] = addition();
        add(&mut link["meta"], "");
        let mut text = extension.to_string().into_bytes();
        text.resize((120 + text.len()).next_multiple_of(64) - 120, b' ');
        entry[96..104].copy_from_slice(&(text.len() as u64).to_le_bytes());
        entry.splice(120..end, text);
    });
    objects.insert(key, forged);
    let store = store_of(&objects).await?;
    let docs = open(&store).await?;
    assert_eq!(count(&docs).await?, 1_000);
    docs.flush().await?;
    assert_carried(&newest_manifest(&store).await?["segments"][0], &[""]);
    Ok(())
}

#[tokio::test]
async fn fields_of_objects_that_nobody_writes_again_are_ignored() -> Result<()> {
    let mut objects = forged_objects().await?;
    for part in ["STORE", "/OPEN"] {
        let key = last_key(&objects, part);
        let forged = edit_json(&objects[&key], |object| add(object, ""));
        objects.insert(key, forged);
    }
    let docs = open(&store_of(&objects).await?).await?;
    docs.write(rows(0..1)).await?;
    docs.flush().await?;
    assert_eq!(count(&docs).await?, 19);
    Ok(())
}
