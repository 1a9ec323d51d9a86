//! Collection: what goes, when, and what never does. Time is tokio's, paused; the store has the same clock.
#![expect(clippy::disallowed_methods, reason = "the clock is stopped")]

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use elacsym::env::Env;
use elacsym::schema::AttributeType;
use elacsym::storage::{
    CountingBackend, LocalBackend, MemoryBackend, ObjectKey, PutMode, StorageBackend, Verb,
};
use elacsym::testing::Safeguard;
use elacsym::{
    Consistency, Database, DatabaseBuilder, Document, ErrorKind, Filter, GarbageReason, IdKind, Metric,
    Namespace, Result, Scan, Schema, Settings, VectorType, WriteBatch,
};
use tokio::time::advance;

use crate::common::forge::{edit_json, framed_json, last_key, objects_of};
use crate::common::paused::Paused;
use crate::liveness::gate::Gate;

const GRACE: Duration = Duration::from_hours(1);

fn builder(env: &Env, auto_collect: bool) -> DatabaseBuilder {
    let mut settings = Settings::default();
    settings.grace = Some(GRACE);
    (settings.auto_flush, settings.auto_compact) = (false, false);
    settings.auto_collect = auto_collect;
    settings.reference_bytes_min = 10_000;
    settings.index_rows_min = 200;
    Database::builder().env(env.clone()).settings(settings)
}

pub(super) fn schema() -> Result<Schema> {
    let schema = Schema::builder(IdKind::U64).attribute("n", AttributeType::Uint);
    schema.vector("v", VectorType::F32, 4, Metric::L2Squared).build()
}

async fn open(env: &Env, backend: Arc<dyn StorageBackend>) -> Result<Namespace> {
    builder(env, false).open_backend(backend).await?.open_or_create_namespace("docs", schema()?).await
}

/// Opens it with a rule of the protocol switched off, if one is given.
async fn open_without(
    env: &Env,
    backend: Arc<dyn StorageBackend>,
    safeguard: Option<Safeguard>,
) -> Result<Namespace> {
    let builder = builder(env, false);
    let builder = match safeguard {
        Some(safeguard) => builder.without(safeguard),
        None => builder,
    };
    builder.open_backend(backend).await?.open_namespace("docs").await
}

pub(super) fn paused() -> (Env, MemoryBackend) {
    let env = Env::new(Paused::new(1));
    let store = MemoryBackend::with_env(&env);
    (env, store)
}

fn row(id: u64) -> WriteBatch {
    WriteBatch::new().upsert(Document::new(id).with("n", id))
}

pub(super) fn rows(ids: std::ops::Range<u64>) -> WriteBatch {
    let number = |id: u64| f32::from(u16::try_from(id).expect("a small id"));
    let vector = |id: u64| elacsym::Vector::from([number(id), 1.0, number(id % 7), 0.0]);
    WriteBatch::new().upsert_all(ids.map(|id| Document::new(id).with("n", id).with("v", vector(id))))
}

/// A batch that is linked.
fn large() -> WriteBatch {
    rows(1_000..3_000)
}

async fn keys(store: &MemoryBackend) -> Result<Vec<String>> {
    Ok(objects_of(store).await?.into_keys().filter(|key| key.starts_with("ns/")).collect())
}

async fn segments(store: &MemoryBackend) -> Result<usize> {
    Ok(keys(store).await?.iter().filter(|key| key.ends_with("rows.parquet")).count())
}

async fn ids(docs: &Namespace) -> Result<Vec<u64>> {
    let found = docs.scan(Scan::new().limit(10_000)).await?.rows.documents()?;
    Ok(found.iter().map(|document| crate::common::fixtures::id_number(document.id())).collect())
}

/// A namespace with two segments that were merged, and a list of tokens that was replaced.
async fn merged(env: &Env, store: &MemoryBackend) -> Result<Namespace> {
    let docs = open(env, Arc::new(store.clone())).await?;
    for (token, batch) in [(1, rows(1..300)), (2, rows(200..500))] {
        docs.write(batch.token(token)).await?;
        docs.flush().await?;
    }
    docs.compact().await?;
    Ok(docs)
}

#[tokio::test(start_paused = true)]
async fn what_was_replaced_goes_after_the_grace_and_not_before() -> Result<()> {
    let (env, store) = paused();
    let docs = merged(&env, &store).await?;
    let before = keys(&store).await?;
    // One millisecond short of it.
    advance(Duration::from_millis(3_599_999)).await;
    assert_eq!(docs.garbage().await?, []);
    assert_eq!(docs.collect().await?.deleted.total().objects, 0);
    assert_eq!(keys(&store).await?, before);
    advance(Duration::from_millis(1)).await;
    let listed = docs.garbage().await?;
    // A dry run changes nothing, and lists what the run deletes.
    assert_eq!(keys(&store).await?, before);
    let report = docs.collect().await?;
    let left = keys(&store).await?;
    let gone: Vec<&String> = before.iter().filter(|key| !left.contains(key)).collect();
    let listed_keys: Vec<String> = listed.iter().map(|garbage| garbage.key.to_string()).collect();
    assert_eq!(gone, listed_keys.iter().collect::<Vec<_>>());
    assert_eq!(report.deleted.total().objects, listed.len() as u64);
    assert_eq!(report.deleted.total().bytes, listed.iter().map(|garbage| garbage.bytes).sum::<u64>());
    assert_eq!((report.deleted.manifests.objects, report.deleted.log_entries.objects), (2, 1), "{report}");
    assert!(report.deleted.row_files.objects >= 2 && report.deleted.token_lists.objects == 1, "{report}");
    for garbage in &listed {
        let key = garbage.key.as_str();
        let expected = match garbage.reason {
            GarbageReason::Replaced => key.contains("/manifest/"),
            GarbageReason::Flushed => key.contains("/wal/"),
            _ => !key.contains("/manifest/") && !key.contains("/wal/"),
        };
        assert!(expected, "{garbage}");
    }
    assert_eq!(ids(&docs).await?, (1..500).collect::<Vec<_>>());
    let all = open(&env, Arc::new(store.clone())).await?;
    assert_eq!(ids(&all).await?, (1..500).collect::<Vec<_>>());
    // What it committed is garbage in turn, and then there is an end.
    assert_eq!(docs.collect().await?.deleted.total().objects, 0);
    advance(GRACE).await;
    let last = docs.collect().await?;
    assert_eq!((last.deleted.manifests.objects, last.deleted.total().objects), (1, 1), "{last}");
    let settled = keys(&store).await?;
    advance(GRACE * 2).await;
    assert_eq!(docs.collect().await?.to_string(), "deleted nothing");
    assert_eq!(keys(&store).await?, settled);
    Ok(())
}

/// A process that caches nothing holds a snapshot for too long.
#[tokio::test(start_paused = true)]
async fn a_snapshot_that_was_held_for_too_long_says_so() -> Result<()> {
    let (env, store) = paused();
    let docs = merged(&env, &store).await?;
    let mut settings = Settings::default();
    (settings.grace, settings.cache_bytes) = (Some(GRACE), 0);
    let cold = Database::builder().env(env.clone()).settings(settings);
    let cold = cold.open_backend(Arc::new(store.clone())).await?.open_namespace("docs").await?;
    let held = cold.snapshot(Consistency::Strong).await?;
    docs.write(rows(1..3)).await?;
    docs.flush().await?;
    docs.compact().await?;
    advance(Duration::from_secs(3_599)).await;
    docs.collect().await?;
    assert_eq!(held.scan(Scan::new().limit(1_000)).await?.rows.documents()?.len(), 499);
    advance(Duration::from_secs(1)).await;
    docs.collect().await?;
    let error = held.scan(Scan::new().limit(1_000)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SnapshotExpired, "{error}");
    // One that is taken now is of the newest manifest, though nothing was written since.
    for consistency in [Consistency::Eventual, Consistency::Strong] {
        let now = cold.snapshot(consistency).await?;
        assert_eq!(now.scan(Scan::new().limit(1_000)).await?.rows.documents()?.len(), 499);
    }
    Ok(())
}

/// The rows of a batch are in no manifest yet, and its birth is far below the floor.
#[tokio::test(start_paused = true)]
async fn linked_rows_stay_whether_they_are_flushed_or_not() -> Result<()> {
    for safeguard in [None, Some(Safeguard::KeptLinks)] {
        let (env, store) = paused();
        let docs = open(&env, Arc::new(store.clone())).await?;
        docs.write(row(1)).await?;
        docs.flush().await?;
        docs.write(row(2)).await?;
        docs.flush().await?;
        let gate = Gate::new(Arc::new(store.clone()));
        let linking = open(&env, Arc::new(gate.clone())).await?;
        linking.write(large()).await?;
        docs.compact().await?;
        advance(GRACE * 2).await;
        let collector = open_without(&env, Arc::new(store.clone()), safeguard).await?;
        assert!(collector.collect().await?.deleted.total().objects > 0);
        let reader = open(&env, Arc::new(store.clone())).await;
        if safeguard.is_some() {
            assert!(reader.is_err(), "the segment of the batch was kept");
            continue;
        }
        let expected: Vec<u64> = [1, 2].into_iter().chain(1_000..3_000).collect();
        assert_eq!(ids(&reader?).await?, expected);
        docs.flush().await?;
        advance(GRACE * 2).await;
        docs.collect().await?;
        assert_eq!(ids(&open(&env, Arc::new(store.clone())).await?).await?, expected);
    }
    Ok(())
}

/// Rows are uploaded before a manifest, linked after it, and replaced before they are flushed: no manifest has the segment,
/// and those who read an earlier one with its tail need it.
#[tokio::test(start_paused = true)]
async fn linked_rows_that_died_before_their_flush_stay_for_the_grace() -> Result<()> {
    for safeguard in [None, Some(Safeguard::KeptDropped)] {
        let (env, store) = paused();
        let docs = open(&env, Arc::new(store.clone())).await?;
        docs.write(row(1)).await?;
        let gate = Gate::new(Arc::new(store.clone()));
        let linking = open(&env, Arc::new(gate.clone())).await?;
        gate.hold(Verb::Create, "/wal/");
        let mut write = pin!(linking.write(large()));
        gate.poll_until_held(&mut write).await;
        docs.flush().await?;
        gate.release();
        write.await?;
        let held = docs.snapshot(Consistency::Strong).await?;
        advance(GRACE).await;
        docs.write(WriteBatch::new().delete_by_filter(Filter::gte("n", 1_000))).await?;
        docs.flush().await?;
        let objects = objects_of(&store).await?;
        let manifest = framed_json(&objects[&last_key(&objects, "/manifest/")]);
        assert_eq!(manifest["dropped"].as_array().map(Vec::len), Some(1));
        let collector = open_without(&env, Arc::new(store.clone()), safeguard).await?;
        let rows_before = segments(&store).await?;
        collector.collect().await?;
        let rows_after = segments(&store).await?;
        assert_eq!(rows_before - rows_after, usize::from(safeguard.is_some()));
        assert_eq!(held.count().await?, 2_001);
        // Later it goes.
        advance(GRACE * 2).await;
        docs.write(row(7)).await?;
        docs.flush().await?;
        advance(GRACE * 2).await;
        docs.collect().await?;
        let left = segments(&store).await?;
        assert_eq!(left, 2);
    }
    Ok(())
}

/// A merge makes new clusters, while a segment is flushed that is coded by the old ones.
#[tokio::test(start_paused = true)]
async fn a_centroid_set_stays_as_long_as_a_segment_names_it() -> Result<()> {
    for safeguard in [None, Some(Safeguard::KeptCentroids)] {
        let (env, store) = paused();
        let docs = open(&env, Arc::new(store.clone())).await?;
        docs.write(rows(1..400)).await?;
        docs.flush().await?;
        // As if another set had taken the place of this one in the manifest.
        let objects = objects_of(&store).await?;
        let key = last_key(&objects, "/manifest/");
        let number = framed_json(&objects[&key])["number"].as_u64().expect("a number");
        let forged = edit_json(&objects[&key], |manifest| {
            let before = serde_json::json!([number, manifest["nonce"]]);
            manifest["ring"].as_array_mut().expect("a ring").push(before);
            manifest["number"] = (number + 1).into();
            manifest["nonce"] = uuid::Uuid::from_u128(7).to_string().into();
            manifest.as_object_mut().expect("a manifest").remove("centroids").expect("a set");
        });
        let next = key.replace(&format!("{number:020}"), &format!("{:020}", number + 1));
        let next = ObjectKey::new(next)?;
        store.put(&next, forged.into(), PutMode::Create).await?;
        advance(GRACE * 2).await;
        let collector = open_without(&env, Arc::new(store.clone()), safeguard).await?;
        let report = collector.collect().await?;
        assert_eq!(report.deleted.centroid_sets.objects, u64::from(safeguard.is_some()), "{report}");
    }
    Ok(())
}

/// The requests that `docs/costs.md` tells of.
#[tokio::test(start_paused = true)]
async fn a_run_costs_a_few_requests() -> Result<()> {
    let (env, store) = paused();
    drop(merged(&env, &store).await?);
    advance(GRACE).await;
    let counting = CountingBackend::new(Arc::new(store.clone()));
    let docs = open(&env, Arc::new(counting.clone())).await?;
    counting.reset();
    docs.garbage().await?;
    let verbs = [Verb::Overwrite, Verb::Create, Verb::Head, Verb::Get, Verb::List, Verb::DeleteMany];
    let count = || verbs.map(|verb| counting.count(verb));
    // One manifest lives.
    assert_eq!(count(), [1, 0, 1, 2, 5, 0]);
    counting.reset();
    docs.collect().await?;
    assert_eq!(count(), [2, 2, 1, 4, 9, 1]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_failed_work_left_goes_and_unknown_names_stay() -> Result<()> {
    let (env, store) = paused();
    let docs = open(&env, Arc::new(store.clone())).await?;
    docs.write(row(1)).await?;
    let prefix = "ns/n-docs/00000001";
    let nil = "00000000000000000000";
    let uuid = "0123456789abcdef0123456789abcdef";
    let orphans = [
        format!("{prefix}/segment/{nil}-{uuid}/rows.parquet"),
        format!("{prefix}/segment/{nil}-{uuid}/vector.3"),
        format!("{prefix}/segment/{nil}-{uuid}/deletes.{nil}-{uuid}"),
        format!("{prefix}/centroids/{nil}-{uuid}"),
        format!("{prefix}/tokens/{nil}-{uuid}"),
    ];
    let born_later = format!("{prefix}/segment/00000000000000000001-{uuid}/index");
    let foreign = [
        format!("{prefix}/pin/monday"),
        format!("{prefix}/segment/{nil}-{uuid}/sparse.3"),
        format!("{prefix}/segment/{nil}-{}/index", uuid.to_uppercase()),
        format!("{prefix}/manifest/1"),
        format!("{prefix}/wal/{nil}.bak"),
        format!("{prefix}/export/rows.parquet"),
        "ns/n-docs/README".to_owned(),
        "backup/rows.parquet".to_owned(),
    ];
    for key in orphans.iter().chain(&foreign).chain([&born_later]) {
        store.put(&ObjectKey::new(key.as_str())?, "x".into(), PutMode::Create).await?;
    }
    advance(GRACE * 3).await;
    // However old: without a manifest it may belong to the flush that is under way.
    assert_eq!(docs.garbage().await?, []);
    docs.flush().await?;
    advance(GRACE).await;
    let garbage: Vec<String> = docs.garbage().await?.iter().map(|garbage| garbage.key.to_string()).collect();
    let mut expected = orphans.to_vec();
    expected.sort_unstable();
    assert_eq!(garbage, expected);
    docs.collect().await?;
    let left: Vec<String> = objects_of(&store).await?.into_keys().collect();
    assert!(foreign.iter().chain([&born_later]).all(|key| left.contains(key)));
    assert!(!orphans.iter().any(|key| left.contains(key)));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn two_collectors_at_once_and_one_that_is_dropped_do_no_harm() -> Result<()> {
    let (env, store) = paused();
    let docs = merged(&env, &store).await?;
    let other = open(&env, Arc::new(store.clone())).await?;
    advance(GRACE).await;
    let expected = docs.garbage().await?.len();
    let gate = Gate::new(Arc::new(store.clone()));
    let dropped = open(&env, Arc::new(gate.clone())).await?;
    gate.hold(Verb::Create, "/wal/");
    {
        let mut collect = pin!(dropped.collect());
        gate.poll_until_held(&mut collect).await;
    }
    gate.release();
    let (one, two) = futures::future::join(docs.collect(), other.collect()).await;
    let most = one?.deleted.total().objects.max(two?.deleted.total().objects);
    assert!(most <= expected as u64);
    assert_eq!(docs.garbage().await?, []);
    assert_eq!(ids(&docs).await?.len(), 499);
    Ok(())
}

/// The process sleeps between the upload of a flush and its manifest, and a merge of another raises the floor.
#[tokio::test(start_paused = true)]
async fn a_flush_that_collection_has_passed_is_done_again() -> Result<()> {
    for safeguard in [None, Some(Safeguard::BuildBirth)] {
        let (env, store) = paused();
        let docs = open(&env, Arc::new(store.clone())).await?;
        for id in [1, 2] {
            docs.write(row(id)).await?;
            docs.flush().await?;
        }
        docs.write(row(3)).await?;
        let gate = Gate::new(Arc::new(store.clone()));
        let slow = open_without(&env, Arc::new(gate.clone()), safeguard).await?;
        gate.hold(Verb::Overwrite, "/index");
        let mut flush = pin!(slow.flush());
        gate.poll_until_held(&mut flush).await;
        docs.compact().await?;
        advance(GRACE).await;
        docs.collect().await?;
        gate.release();
        flush.await?;
        assert_eq!(is_lost(&env, &store, &[1, 2, 3]).await?, safeguard.is_some());
    }
    Ok(())
}

/// The process sleeps between the upload of dead rows, of a segment far older than the floor, and their manifest.
#[tokio::test(start_paused = true)]
async fn dead_rows_of_an_old_segment_are_not_as_old_as_it_is() -> Result<()> {
    for safeguard in [None, Some(Safeguard::DeletesBirth)] {
        let (env, store) = paused();
        let docs = merged(&env, &store).await?;
        docs.write(rows(500..510)).await?;
        docs.flush().await?;
        advance(GRACE).await;
        // It raises the floor above the birth of the merged segment.
        assert!(docs.collect().await?.deleted.total().objects > 0);
        docs.write(WriteBatch::new().delete(1)).await?;
        let gate = Gate::new(Arc::new(store.clone()));
        let slow = open(&env, Arc::new(gate.clone())).await?;
        gate.hold(Verb::Create, "/manifest/");
        let mut flush = pin!(slow.flush());
        gate.poll_until_held(&mut flush).await;
        assert!(keys(&store).await?.iter().any(|key| key.contains("/deletes.")), "nothing is under way");
        let collector = open_without(&env, Arc::new(store.clone()), safeguard).await?;
        collector.collect().await?;
        gate.release();
        let flushed = flush.await;
        assert_eq!(flushed.is_err(), safeguard.is_some());
        let left: Vec<u64> = (2..510).collect();
        assert_eq!(is_lost(&env, &store, &left).await?, safeguard.is_some());
    }
    Ok(())
}

/// Whether a process that opens the namespace now misses an object; otherwise it finds just these rows.
async fn is_lost(env: &Env, store: &MemoryBackend, left: &[u64]) -> Result<bool> {
    let found = match open(env, Arc::new(store.clone())).await {
        Ok(reader) => ids(&reader).await,
        Err(error) => Err(error),
    };
    match found {
        Ok(found) => {
            assert_eq!(found, left);
            Ok(false)
        }
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(true),
        Err(error) => Err(error),
    }
}

#[tokio::test(start_paused = true)]
async fn collections_begin_by_themselves_where_nobody_collects() -> Result<()> {
    let (env, store) = paused();
    let one = builder(&env, true).open_backend(Arc::new(store.clone())).await?;
    let docs = one.create_namespace("docs", schema()?).await?;
    for id in 0..5 {
        docs.write(row(id)).await?;
        docs.flush().await?;
        docs.compact().await?;
        tokio::time::sleep(GRACE).await;
    }
    let manifests = keys(&store).await?.into_iter().filter(|key| key.contains("/manifest/"));
    let first = format!("{:020}", 1);
    assert!(manifests.clone().count() > 1 && !manifests.clone().any(|key| key.ends_with(&first)));
    assert_eq!(ids(&docs).await?, [0, 1, 2, 3, 4]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_store_that_must_not_be_written_to_says_so() -> Result<()> {
    let (env, store) = paused();
    drop(merged(&env, &store).await?);
    let gate = Gate::new(Arc::new(store.clone()));
    let docs = open(&env, Arc::new(gate.clone())).await?;
    advance(GRACE * 2).await;
    gate.refuse(Verb::Overwrite, "HINT");
    let before = keys(&store).await?;
    assert_eq!(docs.collect().await.unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(docs.garbage().await.unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(keys(&store).await?, before);
    Ok(())
}

/// On a local disk no folder of a segment is left without files. Times are those of the file system: they are set back.
#[tokio::test]
async fn emptied_folders_of_segments_disappear_from_disk() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let open = async || {
        let mut settings = Settings::default();
        settings.grace = Some(GRACE);
        (settings.auto_flush, settings.auto_compact, settings.auto_collect) = (false, false, false);
        let backend = Arc::new(LocalBackend::new(folder.path(), &Env::current()?)?);
        let database = Database::builder().settings(settings).open_backend(backend).await?;
        database.open_or_create_namespace("docs", schema()?).await
    };
    let docs = open().await?;
    for ids in [1..40, 30..60] {
        docs.write(rows(ids)).await?;
        docs.flush().await?;
    }
    docs.compact().await?;
    let root = folder.path().join("ns/n-docs/00000001");
    let segments = || std::fs::read_dir(root.join("segment")).expect("segments").count();
    assert_eq!(segments(), 3);
    assert_eq!(docs.collect().await?.deleted.total().objects, 0);
    // One from before a clock was set back has no age: were it now, all others would be old.
    let manifests = std::fs::read_dir(root.join("manifest")).expect("manifests");
    let first = manifests.map(|manifest| manifest.expect("a file").path()).min().expect("a manifest");
    let first = std::fs::File::options().append(true).open(first).expect("a manifest");
    let ahead = std::time::SystemTime::now() + Duration::from_hours(24 * 365);
    first.set_modified(ahead).expect("a time");
    assert_eq!(docs.collect().await?.deleted.total().objects, 0);
    for manifest in std::fs::read_dir(root.join("manifest")).expect("manifests") {
        let file =
            std::fs::File::options().append(true).open(manifest.expect("a file").path()).expect("a manifest");
        let long_ago = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        file.set_modified(long_ago).expect("a time");
    }
    assert!(docs.collect().await?.deleted.row_files.objects > 0);
    assert_eq!(segments(), 1);
    assert_eq!(ids(&open().await?).await?, (1..60).collect::<Vec<_>>());
    Ok(())
}
