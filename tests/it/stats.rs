//! What a namespace says of itself agrees with what is on the store and what reads find; and what is due is done.
#![expect(clippy::disallowed_methods, reason = "the clock is stopped")]

use std::sync::Arc;
use std::time::Duration;

use elacsym::env::Env;
use elacsym::storage::{CountingBackend, DelayedBackend, MemoryBackend, StorageBackend, Verb};
use elacsym::{
    Database, Document, DueWork, ErrorKind, Namespace, NamespaceStats, Result, Settings, WriteBatch,
};
use tokio::time::advance;

use crate::collection::{paused, rows, schema};
use crate::common::forge::objects_of;
use crate::liveness::gate::Gate;

const GRACE: Duration = Duration::from_hours(1);

/// Nothing is done by itself, so that it can be seen to be due.
fn settings() -> Settings {
    let mut settings = Settings::default().auto_flush(false).auto_compact(false);
    settings.grace = Some(GRACE);
    settings.auto_collect = false;
    settings.reference_bytes_min = 10_000;
    settings.index_rows_min = 200;
    settings.tail_entries_flush = 5;
    settings
}

async fn create(settings: Settings, backend: Arc<dyn StorageBackend>, env: &Env) -> Result<Namespace> {
    let database = Database::builder().env(env.clone()).settings(settings).open_backend(backend).await?;
    database.create_namespace("docs", schema()?).await
}

/// The figures of a namespace, checked against the store and against reads.
async fn checked(docs: &Namespace, store: &MemoryBackend) -> Result<NamespaceStats> {
    let stats = docs.stats().await?;
    assert_eq!(stats.documents, docs.count().await?, "{stats}");
    assert_eq!(stats.documents, docs.count_matching(elacsym::Filter::is_not_null("n")).await?);
    let objects = objects_of(store).await?;
    // The folder of the incarnation; the names of the namespace and its hint are beside it.
    let own: Vec<_> =
        objects.iter().filter(|(key, _)| key.starts_with("ns/") && key.matches('/').count() > 2).collect();
    let total = stats.stored.total();
    assert_eq!(total.objects, own.len() as u64, "{stats:?} {:?}", objects.keys());
    assert_eq!(total.bytes, own.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>());
    for ((kind, stored), (_, current)) in stats.stored.by_kind().into_iter().zip(stats.current.by_kind()) {
        assert!(current.objects <= stored.objects && current.bytes <= stored.bytes, "{kind} of {stats:?}");
    }
    Ok(stats)
}

#[tokio::test(start_paused = true)]
async fn figures_are_those_of_reads_and_of_the_store_in_every_state() -> Result<()> {
    let (env, store) = paused();
    let docs = create(settings(), Arc::new(store.clone()), &env).await?;
    let empty = checked(&docs, &store).await?;
    assert_eq!((empty.documents, empty.segments.segments, empty.committed_ms), (0, 0, None));
    assert_eq!((empty.space_amplification(), empty.due.len()), (None, 0));
    for start in [0, 50, 100] {
        docs.write(rows(start..start + 100)).await?;
        docs.flush().await?;
        advance(Duration::from_secs(1)).await;
    }
    docs.write(WriteBatch::new().delete(7).upsert(Document::new(150).with("n", 1_u64))).await?;
    docs.write(rows(500..1_500)).await?;
    let stats = checked(&docs, &store).await?;
    // 0..50 and 50..100 lie in the first two, 100..200 in the last, and the tail hides two rows more.
    assert_eq!((stats.segments.rows, stats.segments.dead_rows), (300, 102), "{stats}");
    assert_eq!((stats.tail.rows, stats.tail.linked_segments), (1_001, 1), "{stats}");
    assert!(stats.committed_ms.is_some() && stats.stored.dead_row_files.objects > 0, "{stats:?}");

    docs.flush().await?;
    docs.compact().await?;
    let stats = checked(&docs, &store).await?;
    assert_eq!((stats.segments.segments, stats.segments.dead_rows, stats.segments.unindexed_rows), (1, 0, 0));
    assert!(stats.space_amplification() > Some(1.5), "{stats}");
    assert_eq!(stats.due, []);
    // What is collected leaves exactly what is current.
    advance(2 * GRACE).await;
    docs.collect().await?;
    advance(2 * GRACE).await;
    docs.collect().await?;
    let stats = checked(&docs, &store).await?;
    assert_eq!(stats.stored, stats.current, "{stats:?}");
    assert_eq!(stats.space_amplification(), Some(1.0));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn work_is_due_until_it_is_done() -> Result<()> {
    let (env, store) = paused();
    let docs = create(settings(), Arc::new(store.clone()), &env).await?;
    for id in 0..6 {
        docs.write(rows(id..id + 1)).await?;
    }
    assert_eq!(checked(&docs, &store).await?.due, [DueWork::Flush]);
    docs.flush().await?;
    assert_eq!(checked(&docs, &store).await?.due, []);
    for id in 10..14 {
        docs.write(rows(id..id + 1)).await?;
        docs.flush().await?;
    }
    assert_eq!(checked(&docs, &store).await?.due, [DueWork::Merge]);
    docs.compact().await?;
    assert_eq!(checked(&docs, &store).await?.due, []);
    // The first manifest is garbage once the second is older than the grace.
    advance(GRACE).await;
    assert_eq!(checked(&docs, &store).await?.due, [DueWork::Collect]);
    docs.collect().await?;
    assert_eq!(checked(&docs, &store).await?.due, []);
    // A large batch that nobody flushes is the tail's; with its flush it is indexed.
    docs.write(rows(1_000..3_000)).await?;
    assert_eq!(docs.stats().await?.tail.linked_segments, 1);
    docs.flush().await?;
    let stats = checked(&docs, &store).await?;
    assert_eq!((stats.segments.unindexed_rows, stats.due.contains(&DueWork::Index)), (0, false), "{stats}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn they_take_few_requests_and_no_right_to_write() -> Result<()> {
    let (env, store) = paused();
    let store = CountingBackend::new(Arc::new(store));
    let docs = create(settings(), Arc::new(store.clone()), &env).await?;
    for start in 0..9 {
        docs.write(rows(start * 100..start * 100 + 150)).await?;
        docs.flush().await?;
    }
    docs.stats().await?;
    store.reset();
    docs.stats().await?;
    let lists = store.count(Verb::List);
    // The newest manifest, the objects, and whether a collection is overdue.
    assert!(lists <= 3 && store.bytes_written() == 0, "{:?}", store.counts());
    assert!(store.requests() <= 5, "{:?}", store.counts());

    let database = Database::builder().env(env).settings(settings()).open_backend(Arc::new(store)).await?;
    database.delete_namespace("docs").await?;
    assert_eq!(docs.stats().await.unwrap_err().kind(), ErrorKind::Deleted);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn maintenance_does_what_is_due_and_no_more() -> Result<()> {
    let (env, store) = paused();
    let docs = create(settings(), Arc::new(store.clone()), &env).await?;
    assert_eq!(docs.maintain().await?.to_string(), "nothing was due");
    for round in 0..5 {
        for id in 0..6 {
            docs.write(rows(round * 10 + id..round * 10 + id + 1)).await?;
        }
        let report = docs.maintain().await?;
        assert_eq!(report.flushed.map(|flushed| flushed.rows), Some(6), "{report}");
        assert_eq!(report.merged.merged, if round == 3 { 4 } else { 0 }, "{report}");
        assert_eq!(docs.maintain().await?.to_string(), "nothing was due");
    }
    let before = docs.stats().await?;
    advance(2 * GRACE).await;
    // Nobody writes any more.
    assert_eq!(checked(&docs, &store).await?.due, [DueWork::Collect]);
    let report = docs.maintain().await?;
    assert!(report.flushed.is_none() && report.collected.deleted.total().objects > 10, "{report}");
    let after = checked(&docs, &store).await?;
    assert!(after.due.is_empty() && after.stored.total().bytes < before.stored.total().bytes, "{after}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn several_maintainers_do_the_work_once_and_one_that_is_dropped_leaves_it_to_others() -> Result<()> {
    let (env, store) = paused();
    let slow = Arc::new(DelayedBackend::new(Arc::new(store.clone()), &env, Duration::from_millis(20)));
    let docs = create(settings(), Arc::clone(&slow) as _, &env).await?;
    for start in [0, 100, 200, 300] {
        docs.write(rows(start..start + 150)).await?;
        docs.flush().await?;
    }
    docs.write(rows(600..601)).await?;
    // Dropped after some of its requests, wherever it is then.
    for requests in 0..12 {
        let patience = tokio::time::sleep(Duration::from_millis(20 * requests + 5));
        tokio::select! {
            biased;
            () = patience => {}
            report = docs.maintain() => drop(report?),
        }
    }
    let mut others = Vec::new();
    for _ in 0..3 {
        let builder = Database::builder().env(env.clone()).settings(settings());
        others.push(builder.open_backend(Arc::clone(&slow) as _).await?.open_namespace("docs").await?);
    }
    let reports = futures::future::try_join_all(others.iter().map(Namespace::maintain)).await?;
    let stats = checked(&docs, &store).await?;
    assert_eq!(
        (stats.segments.segments, stats.documents, stats.due.len()),
        (1, 451, 0),
        "{stats} {reports:?}"
    );
    // At most one of them has done each piece.
    let merged: usize = reports.iter().map(|report| report.merged.merged).sum();
    assert!(merged <= 4, "{reports:?}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn on_a_store_that_refuses_writes_figures_are_told_and_maintenance_is_refused() -> Result<()> {
    let (env, store) = paused();
    let gate = Gate::new(Arc::new(store.clone()));
    let docs = create(settings(), Arc::new(gate.clone()), &env).await?;
    for start in 0..4 {
        docs.write(rows(start..start + 1)).await?;
        docs.flush().await?;
    }
    gate.refuse(Verb::Create, "/manifest/");
    assert_eq!(checked(&docs, &store).await?.due, [DueWork::Merge]);
    assert_eq!(docs.maintain().await.unwrap_err().kind(), ErrorKind::PermissionDenied);
    // What was uploaded and not named is stored, and not current.
    let stats = checked(&docs, &store).await?;
    assert_eq!((stats.current.row_files.objects, stats.stored.row_files.objects), (4, 5), "{stats:?}");
    assert_eq!(stats.due, [DueWork::Merge]);
    gate.release();
    assert_eq!(docs.maintain().await?.merged.merged, 4);
    assert!(checked(&docs, &store).await?.due.is_empty());
    Ok(())
}

/// A process that only looks has applied entries that another one flushed since.
#[tokio::test(start_paused = true)]
async fn another_process_is_told_the_same() -> Result<()> {
    let (env, store) = paused();
    let docs = create(settings(), Arc::new(store.clone()), &env).await?;
    let builder = Database::builder().env(env.clone()).settings(settings());
    let other = builder.open_backend(Arc::new(store.clone())).await?.open_namespace("docs").await?;
    for id in 0..4 {
        docs.write(rows(id..id + 1)).await?;
        docs.flush().await?;
        docs.write(rows(10 + id..11 + id)).await?;
        let (own, others) = (checked(&docs, &store).await?, checked(&other, &store).await?);
        assert_eq!((others.segments, others.tail.rows), (own.segments, own.tail.rows), "{others} {own}");
    }
    Ok(())
}
