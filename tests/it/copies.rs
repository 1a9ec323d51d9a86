//! Copies of a database that were made object by object while others wrote: in the order that the manual gives
//! each opens and shows whole batches; in any other it does so or says what is missing.
#![expect(clippy::unwrap_used, reason = "a test panics")]

use std::sync::Arc;

use elacsym::schema::AttributeType;
use elacsym::storage::{MemoryBackend, ObjectKey, ObjectPrefix, PutMode, StorageBackend};
use elacsym::{
    Database, Document, ErrorKind, IdKind, Metric, Namespace, Result, Scan, Schema, Settings, Vector,
    VectorType, WriteBatch,
};

/// Documents of a batch.
const BATCH: u64 = 3;

fn batch(number: u64) -> WriteBatch {
    let documents = (number * BATCH..(number + 1) * BATCH).map(|id| {
        Document::new(id).with("batch", i64::try_from(number).unwrap()).with("v", Vector::from([1.0, 2.0]))
    });
    WriteBatch::new().upsert_all(documents)
}

/// One who writes, and now and then flushes and compacts.
struct Writer {
    docs: Namespace,
    batches: u64,
}

impl Writer {
    async fn step(&mut self) -> Result<()> {
        self.docs.write(batch(self.batches)).await?;
        self.batches += 1;
        if self.batches.is_multiple_of(5) {
            self.docs.flush().await?;
        }
        if self.batches.is_multiple_of(20) {
            self.docs.compact().await?;
        }
        Ok(())
    }
}

async fn open(memory: &MemoryBackend) -> Result<Database> {
    let mut settings = Settings::default();
    // Some batches become segments that their entries link.
    settings.reference_bytes_min = 1;
    Database::builder().settings(settings).open_backend(Arc::new(memory.clone())).await
}

async fn source() -> Result<(MemoryBackend, Writer)> {
    let memory = MemoryBackend::new();
    let schema = Schema::builder(IdKind::U64)
        .attribute("batch", AttributeType::Int)
        .vector("v", VectorType::F32, 2, Metric::L2Squared)
        .build()?;
    let docs = open(&memory).await?.create_namespace("docs", schema).await?;
    Ok((memory, Writer { docs, batches: 0 }))
}

/// Copies the folders whose keys `wanted` takes, one pass after the other, with a write before each object.
async fn copy(
    from: &MemoryBackend,
    writer: &mut Writer,
    passes: &[&(dyn Fn(&str) -> bool + Sync)],
) -> Result<MemoryBackend> {
    let copy = MemoryBackend::new();
    for pass in passes {
        let listed = from.list(&ObjectPrefix::root(), None).await?;
        for key in listed.iter().map(|info| &info.key).filter(|key| pass(key.as_str())) {
            if writer.batches < 200 {
                writer.step().await?;
            }
            match copy.put(key, from.get(key).await?.into(), PutMode::Create).await {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                outcome => outcome?,
            }
        }
    }
    Ok(copy)
}

/// How many whole batches a copy shows. Half a batch, or one without those before it, is a failure.
async fn batches(copy: &MemoryBackend) -> Result<u64> {
    let docs = open(copy).await?.open_namespace("docs").await?;
    let mut shown = 0_u64;
    for document in docs.scan(Scan::new().limit(1_000)).await?.rows.documents()? {
        assert_eq!(*document.id(), shown, "a document is missing");
        shown += 1;
    }
    assert!(shown.is_multiple_of(BATCH), "half a batch: {shown} documents");
    Ok(shown / BATCH)
}

#[tokio::test(start_paused = true)]
async fn a_copy_in_the_order_of_the_manual_opens_and_shows_whole_batches() -> Result<()> {
    for before in [0, 1, 7, 23] {
        let (memory, mut writer) = source().await?;
        for _ in 0..before {
            writer.step().await?;
        }
        let manifests = |key: &str| key.contains("/manifest/");
        let log = |key: &str| key.contains("/wal/");
        let all = |key: &str| !key.contains("/manifest/") && !key.contains("/wal/");
        let copy = copy(&memory, &mut writer, &[&manifests, &log, &all]).await?;
        let shown = batches(&copy).await?;
        assert!(shown >= before, "{shown} of the {before} batches that were there before");
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_copy_in_any_order_opens_or_says_what_is_missing() -> Result<()> {
    let kinds: [&(dyn Fn(&str) -> bool + Sync); 3] =
        [&|key| key.contains("/manifest/"), &|key| key.contains("/wal/"), &|key| {
            !key.contains("/manifest/") && !key.contains("/wal/")
        }];
    let mut failed = 0;
    for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let (memory, mut writer) = source().await?;
        for _ in 0..23 {
            writer.step().await?;
        }
        let passes = order.map(|kind| *kinds.get(kind).unwrap());
        let copy = copy(&memory, &mut writer, &passes).await?;
        match batches(&copy).await {
            Ok(shown) => assert!(shown >= 23, "{order:?}: {shown}"),
            Err(error) => {
                failed += 1;
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{order:?}: {error:?}");
                assert!(error.to_string().contains("key=`ns/n-docs/"), "{order:?}: {error}");
            }
        }
    }
    assert!(failed > 0, "no order is wrong");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn without_its_log_a_namespace_does_not_open() -> Result<()> {
    let (memory, mut writer) = source().await?;
    for _ in 0..7 {
        writer.step().await?;
    }
    for hinted in [true, false] {
        let copy = MemoryBackend::new();
        for info in memory.list(&ObjectPrefix::root(), None).await? {
            let name = info.key.as_str();
            if !name.contains("/wal/") && (hinted || !name.ends_with("HINT")) {
                copy.put(&info.key, memory.get(&info.key).await?.into(), PutMode::Create).await?;
            }
        }
        let error = open(&copy).await?.open_namespace("docs").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains("entry 5"), "{error}");
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn junk_with_legal_names_does_no_harm() -> Result<()> {
    let (memory, mut writer) = source().await?;
    for _ in 0..7 {
        writer.step().await?;
    }
    let incarnation = "ns/n-docs/00000001";
    let junk = [
        format!("{incarnation}/wal/18446744073709551615"),
        format!("{incarnation}/wal/09223372036854775808"),
        format!("{incarnation}/wal/junk"),
        format!("{incarnation}/manifest/18446744073709551615"),
        format!("{incarnation}/manifest/00000000000000000001x"),
        "ns/n-docs/ffffffff/x".to_owned(),
        "ns/n-docs/fffffffe/manifest/00000000000000000007".to_owned(),
        "ns/n-docs/00000002/wal/00000000000000000001".to_owned(),
        "ns/n-other/ffffffff/x".to_owned(),
        "ns/n-~~/00000001/OPEN".to_owned(),
    ];
    for key in junk {
        memory.put(&ObjectKey::new(key)?, "junk".into(), PutMode::Create).await?;
    }
    assert_eq!(batches(&memory).await?, 7);
    writer.step().await?;
    assert_eq!(batches(&memory).await?, 8);
    let db = open(&memory).await?;
    let names: Vec<String> = db.list_namespaces().await?.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["docs"]);
    assert_eq!(db.open_namespace("other").await.unwrap_err().kind(), ErrorKind::NotFound);
    // Names can be used, and used again.
    for name in ["docs", "other"] {
        if name == "docs" {
            db.delete_namespace(name).await?;
        }
        let schema = Schema::builder(IdKind::U64).build()?;
        db.create_namespace(name, schema).await?.write(WriteBatch::new().upsert(Document::new(1))).await?;
        let found = open(&memory).await?.open_namespace(name).await?.get([1]).await?;
        assert_eq!(found, [Some(Document::new(1))]);
    }
    Ok(())
}
