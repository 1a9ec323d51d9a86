//! Births of linked segments, by which collection tells what an entry may still name. Time is tokio's, paused.
#![expect(clippy::indexing_slicing, reason = "a test panics")]

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use elacsym::env::Env;
use elacsym::schema::AttributeType;
use elacsym::storage::{CountingBackend, MemoryBackend, ObjectKey, PutMode, StorageBackend, Verb};
use elacsym::{Clocks, Database, Document, IdKind, Namespace, Result, Scan, Schema, Settings, WriteBatch};
use tokio::time::advance;

use crate::common::forge::{edit_json, framed_json, last_key, objects_of};
use crate::common::paused::Paused;
use crate::liveness::gate::Gate;

/// Twice the time for which a look at the store counts.
const LONG: Duration = Duration::from_mins(15);

async fn open(backend: Arc<dyn StorageBackend>, clocks: Clocks) -> Result<Namespace> {
    let mut settings = Settings::default();
    settings.grace = Some(Duration::from_hours(1));
    (settings.auto_flush, settings.auto_compact) = (false, false);
    settings.reference_bytes_min = 10_000;
    settings.clocks = clocks;
    let database = Database::builder().env(Env::new(Paused::new(1))).settings(settings);
    let schema = Schema::builder(IdKind::U64).attribute("n", AttributeType::Uint).build()?;
    database.open_backend(backend).await?.open_or_create_namespace("docs", schema).await
}

fn row(id: u64) -> WriteBatch {
    WriteBatch::new().upsert(Document::new(id).with("n", id))
}

/// A batch that is linked.
fn large() -> WriteBatch {
    WriteBatch::new().upsert_all((1_000..3_000).map(|id| Document::new(id).with("n", id)))
}

/// The births of the segments on the store, ascending.
async fn births(store: &MemoryBackend) -> Result<Vec<u64>> {
    let objects = objects_of(store).await?;
    let rows = objects.keys().filter(|key| key.ends_with("rows.parquet"));
    let birth = |key: &String| {
        let id = key.split('/').nth_back(1).expect("a folder");
        id.split('-').next().expect("a birth").parse().expect("a number")
    };
    Ok(rows.map(birth).collect())
}

#[tokio::test(start_paused = true)]
async fn a_birth_is_that_of_a_manifest_that_was_the_newest_a_short_while_ago() -> Result<()> {
    for (clocks, pause, looks) in [(Clocks::Trusted, LONG, true), (Clocks::Trusted, Duration::ZERO, false)] {
        let store = MemoryBackend::new();
        let other = open(Arc::new(store.clone()), Clocks::Trusted).await?;
        other.write(row(1)).await?;
        let counting = CountingBackend::new(Arc::new(store.clone()));
        let docs = open(Arc::new(counting.clone()), clocks).await?;
        docs.write(row(2)).await?;
        advance(pause).await;
        // The process reads no manifest for that.
        other.flush().await?;
        counting.reset();
        docs.write(large()).await?;
        let log = counting.log();
        let lists = log.iter().filter(|r| r.verb == Verb::List && r.name.ends_with("/manifest/")).count();
        assert_eq!(lists > 0, looks, "{pause:?}");
        // The first is that of the flush, before which there was no manifest.
        assert_eq!(births(&store).await?, [0, u64::from(looks)], "{pause:?}");
    }
    Ok(())
}

/// Puts the successor of the newest manifest, with a floor.
async fn raise_floor(store: &MemoryBackend, floor: u64) -> Result<()> {
    let objects = objects_of(store).await?;
    let key = last_key(&objects, "/manifest/");
    let number = framed_json(&objects[&key])["number"].as_u64().expect("a number");
    let next = edit_json(&objects[&key], |manifest| {
        let before = serde_json::json!([number, manifest["nonce"]]);
        manifest["ring"].as_array_mut().expect("a ring").push(before);
        manifest["number"] = (number + 1).into();
        manifest["nonce"] = uuid::Uuid::from_u128(7).to_string().into();
        manifest["floors"]["segment"] = floor.into();
    });
    let key = key.replace(&format!("{number:020}"), &format!("{:020}", number + 1));
    store.put(&ObjectKey::new(key)?, next.into(), PutMode::Create).await
}

/// A process sleeps between the upload of rows and the put of their entry. Meanwhile a collector commits a floor above the
/// birth, takes the number by an entry, and deletes the segment, which no entry names.
#[tokio::test(start_paused = true)]
async fn rows_that_were_collected_before_their_entry_are_uploaded_again() -> Result<()> {
    for clocks in [Clocks::Trusted, Clocks::Untrusted] {
        let store = MemoryBackend::new();
        let other = open(Arc::new(store.clone()), Clocks::Trusted).await?;
        other.write(row(1)).await?;
        other.flush().await?;
        let gate = Gate::new(Arc::new(store.clone()));
        let docs = open(Arc::new(gate.clone()), clocks).await?;
        gate.hold(Verb::Create, "/wal/");
        let mut write = pin!(docs.write(large()));
        gate.poll_until_held(&mut write).await;
        let uploaded = last_key(&objects_of(&store).await?, "/segment/00000000000000000001-");
        raise_floor(&store, 2).await?;
        other.write(row(2)).await?;
        for key in objects_of(&store).await?.keys() {
            if key.rsplit_once('/').map(|(folder, _)| folder)
                == uploaded.rsplit_once('/').map(|(folder, _)| folder)
            {
                store.delete(&ObjectKey::new(key.as_str())?).await?;
            }
        }
        gate.release();
        advance(LONG).await;
        let receipt = write.await?;
        assert_eq!((receipt.sequence.0, receipt.upserted), (3, 2_000), "{clocks:?}");
        assert_eq!(births(&store).await?.last(), Some(&2), "{clocks:?}");
        let all = open(Arc::new(store.clone()), clocks).await?;
        assert_eq!(all.scan(Scan::new().limit(10_000)).await?.rows.documents()?.len(), 2_002);
    }
    Ok(())
}

/// Without a floor above it, a birth is good however long ago it was taken.
#[tokio::test(start_paused = true)]
async fn rows_are_not_uploaded_again_because_others_flush() -> Result<()> {
    for clocks in [Clocks::Trusted, Clocks::Untrusted] {
        let store = MemoryBackend::new();
        let other = open(Arc::new(store.clone()), Clocks::Trusted).await?;
        let gate = Gate::new(Arc::new(store.clone()));
        let docs = open(Arc::new(gate.clone()), clocks).await?;
        gate.hold(Verb::Create, "/wal/");
        let mut write = pin!(docs.write(large()));
        gate.poll_until_held(&mut write).await;
        other.write(row(1)).await?;
        other.flush().await?;
        gate.release();
        advance(LONG).await;
        assert_eq!(write.await?.sequence.0, 2);
        assert_eq!(births(&store).await?, [0, 0], "{clocks:?}");
    }
    Ok(())
}
