//! Objects that were written once and have to be read for ever: `tests/golden/` holds a database, as a folder.
//!
//! The test below reads it and compares everything with what is written down here. A change of the code that can no longer
//! read these objects fails it. Before the first release, a change of the format writes them again:
//!
//! ```sh
//! ELACSYM_WRITE_GOLDEN=1 cargo test --test it golden
//! ```
#![expect(clippy::disallowed_methods, reason = "an environment of its own")]
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test panics")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use elacsym::env::{Env, Runtime};
use elacsym::schema::{AttributeType, Language, TextOptions, Tokenizer};
use elacsym::storage::{MemoryBackend, ObjectKey, ObjectPrefix, StorageBackend};
use elacsym::{
    Consistency, Database, Document, DocumentId, ErrorKind, Filter, Hit, IdKind, Metric, Namespace,
    NamespaceName, Query, Result, Scan, Schema, Select, Settings, TextQuery, Value, Vector, VectorType,
    WriteBatch,
};
use futures::future::BoxFuture;
use half::f16;
use uuid::Uuid;

use crate::common::rng::Rng;

/// All objects together: they are in every clone.
const BYTES_MAX: u64 = 200 << 10;
/// Documents that are written before the first flush, before the second, and behind it.
const IDS: [std::ops::Range<u64>; 3] = [0..60, 60..80, 80..90];
/// Documents that are deleted: of the first segment, of the tail, of the segment that an entry links.
const DEAD: [u64; 3] = [3, 81, 86];

/// Chance by a seed, and a clock that stands still, so that the same code writes the same bytes.
#[derive(Debug)]
struct Fixed(Mutex<Rng>);

impl Runtime for Fixed {
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
    fn wall_ms(&self) -> i64 {
        1_700_000_000_000
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
    fn random(&self) -> u64 {
        self.0.lock().unwrap().bits()
    }
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }
    fn blocking(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Every type of column, and every option of one.
fn schema() -> Result<Schema> {
    let scalars = [
        AttributeType::String,
        AttributeType::Int,
        AttributeType::Uint,
        AttributeType::Float,
        AttributeType::Bool,
        AttributeType::Uuid,
        AttributeType::Datetime,
    ];
    let mut builder = Schema::builder(IdKind::U64).vector("f32", VectorType::F32, 4, Metric::L2Squared);
    for kind in scalars {
        builder = builder.attribute(kind.to_string(), kind);
        builder = builder.attribute(format!("{kind}s"), AttributeType::array(kind).unwrap());
    }
    let german = TextOptions::default().language(Language::German).ascii_folding(true);
    builder
        .trigrams("string", true)
        .attribute("bytes", AttributeType::Bytes)
        .filterable("bytes", false)
        .text("body", TextOptions::default())
        .full_text("strings", german)
        .text("given", TextOptions::default().tokenizer(Tokenizer::Raw))
        .vector("f16", VectorType::F16, 3, Metric::Cosine)
        .vector("i8", VectorType::I8, 5, Metric::Dot)
        .build()
}

/// Document `n`. Values are such that each type holds them exactly.
fn document(n: u64) -> Document {
    let small = i16::try_from(n).unwrap();
    let (int, float) = (i64::from(small) - 40, f64::from(small) / 4.0);
    let x = f32::from(small);
    let mut document = Document::new(n)
        .with("string", format!("text {n:03} Straße"))
        .with("int", int)
        .with("uint", u64::MAX - n)
        .with("bool", n.is_multiple_of(3))
        .with("uuid", Uuid::from_u128(u128::from(n) << 64 | 5))
        .with("datetime", Value::Datetime(1_600_000_000_000 + int * 1_000))
        .with("strings", vec![format!("Häuser {}", n % 4), "zwei Wörter".into()])
        .with("ints", vec![int, -int, i64::MIN])
        .with("bools", vec![true, false])
        .with("bytes", Bytes::from(vec![0xff; usize::try_from(n % 5).unwrap()]))
        .with("body", format!("common word{n} every{} and more", n % 10))
        .with("f32", Vector::from([x, 1.0, -x, 0.5]))
        .with("i8", Vector::I8(vec![i8::try_from(n).unwrap(), 1, 2, 3, 4]));
    // Nulls here and there, and a column that only some have.
    if !n.is_multiple_of(7) {
        document.set("float", float);
        document
            .set("f16", Vector::F16(vec![f16::from_f32(1.0), f16::from_f32(x / 4.0), f16::from_f32(0.25)]));
    }
    if n.is_multiple_of(20) {
        document.set("given", format!("Given {n}"));
        document.set("uints", vec![n, u64::MAX]);
        document.set("floats", vec![float, f64::INFINITY]);
        document.set("uuids", vec![Uuid::nil(), Uuid::max()]);
        document.set("datetimes", vec![Value::Datetime(0), Value::Datetime(-1)]);
    }
    document
}

fn expected() -> BTreeMap<u64, Document> {
    let ids = IDS.into_iter().flatten().filter(|n| !DEAD.contains(n));
    let mut documents: BTreeMap<u64, Document> = ids.map(|n| (n, document(n))).collect();
    // Document 2 was written again, in the tail.
    documents.get_mut(&2).unwrap().set("int", 1_000);
    documents
}

fn batch(ids: std::ops::Range<u64>) -> WriteBatch {
    WriteBatch::new().upsert_all(ids.map(document))
}

/// Writes the database: segments with and without dead rows, all with indexes, a tail of rows, deletes and a linked
/// segment, tokens, and a namespace that was deleted.
async fn write(backend: MemoryBackend) -> Result<()> {
    let env = Env::new(Fixed(Mutex::new(Rng::new(7))));
    let open = async |reference_bytes_min| {
        let mut settings = Settings::default();
        (settings.auto_flush, settings.auto_compact, settings.index_rows_min) = (false, false, 16);
        settings.auto_collect = false;
        settings.reference_bytes_min = reference_bytes_min;
        let builder = Database::builder().settings(settings).env(env.clone());
        builder.open_backend(Arc::new(backend.clone())).await
    };
    let db = open(usize::MAX).await?;
    let docs = db.create_namespace("Golden.1", schema()?).await?;
    docs.write(batch(IDS[0].clone()).token(1)).await?;
    docs.flush().await?;
    docs.write(batch(IDS[1].clone()).delete(DEAD[0]).token(2)).await?;
    docs.flush().await?;
    docs.write(batch(80..85)).await?;
    docs.write(WriteBatch::new().patch(Document::new(2).with("int", 1_000)).delete(DEAD[1]).token(3)).await?;
    open(1).await?.open_namespace("Golden.1").await?.write(batch(85..90)).await?;
    docs.write(WriteBatch::new().delete(DEAD[2])).await?;
    let old = db.create_namespace("old", schema()?).await?;
    old.write(batch(0..2)).await?;
    db.delete_namespace("old").await
}

/// Writes the folder, in place of what is in it.
async fn write_folder() -> Result<()> {
    let backend = MemoryBackend::new();
    write(backend.clone()).await?;
    if folder().exists() {
        fs::remove_dir_all(folder()).unwrap();
    }
    for info in backend.list(&ObjectPrefix::root(), None).await? {
        let path = folder().join(info.key.as_str());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, backend.get(&info.key).await?).unwrap();
    }
    Ok(())
}

/// The files below a folder, by their path in it.
fn files(root: &Path) -> BTreeMap<String, PathBuf> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let key = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
                found.insert(key, path);
            }
        }
    }
    found
}

/// What kind of object a key names.
fn kind_of(key: &str) -> String {
    let parts: Vec<&str> = key.split('/').collect();
    let file = parts[parts.len() - 1];
    match parts[..] {
        [.., folder @ ("manifest" | "wal" | "centroids" | "tokens"), _] => folder.to_owned(),
        // `vector.<number>`, `deletes.<manifest>-<nonce>`.
        _ => file.split('.').next().unwrap().to_owned(),
    }
}

fn number(id: &DocumentId) -> u64 {
    let DocumentId::U64(number) = id else { panic!("an id that is no number: {id}") };
    *number
}

fn numbers(hits: &[Hit]) -> Vec<u64> {
    hits.iter().map(|hit| number(hit.document.id())).collect()
}

async fn check_documents(docs: &Namespace) -> Result<()> {
    assert_eq!(*docs.schema(), schema()?);
    let expected = expected();
    let scan = docs.scan(Scan::new().select(Select::All)).await?;
    let found: BTreeMap<u64, Document> =
        scan.rows.documents()?.into_iter().map(|document| (number(document.id()), document)).collect();
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (n, expected) in expected {
        assert_eq!(found[&n], expected, "document {n}");
    }
    Ok(())
}

async fn check_indexes(docs: &Namespace) -> Result<()> {
    let ids = async |filter: Filter| -> Result<BTreeSet<u64>> {
        let scan = docs.scan(Scan::new().filter(filter).select(Select::only([""; 0]))).await?;
        Ok(scan.rows.documents()?.iter().map(|document| number(document.id())).collect())
    };
    let matching = |matches: &dyn Fn(u64) -> bool| -> BTreeSet<u64> {
        expected().into_keys().filter(|n| matches(*n)).collect()
    };
    assert_eq!(ids(Filter::lt("uint", u64::MAX - 70)).await?, matching(&|n| n > 70));
    assert_eq!(ids(Filter::gte("int", 1_000)).await?, [2].into());
    assert_eq!(ids(Filter::is_null("float")).await?, matching(&|n| n.is_multiple_of(7)));
    assert_eq!(ids(Filter::contains("strings", "Häuser 1")).await?, matching(&|n| n % 4 == 1));
    assert_eq!(ids(Filter::glob("string", "*06? *ße")).await?, matching(&|n| (60..70).contains(&n)));
    assert_eq!(ids(Filter::eq("bool", true) & Filter::is_not_null("given")).await?, [0, 60].into());

    let text = async |column: &str, words: &str| -> Result<BTreeSet<u64>> {
        let hits = docs.query(Query::text(TextQuery::all(column, words)).limit(100)).await?.hits()?;
        Ok(numbers(&hits).into_iter().collect())
    };
    assert_eq!(text("body", "every3 common").await?, matching(&|n| n % 10 == 3));
    assert_eq!(text("strings", "haus 2").await?, matching(&|n| n % 4 == 2));
    assert_eq!(text("given", "given 40").await?, [40].into());

    // Each vector is nearest to itself. The greatest inner product is that with the longest vector.
    for n in [0, 17, 61, 88] {
        let near = docs.query(Query::nearest("f32", document_vector(n, "f32")).limit(1)).await?.hits()?;
        assert_eq!(numbers(&near), [n]);
    }
    let near = docs.query(Query::nearest("f16", document_vector(65, "f16")).limit(1)).await?.hits()?;
    assert_eq!(numbers(&near), [65]);
    let near =
        docs.query(Query::nearest("i8", Vector::from([1.0, 0.0, 0.0, 0.0, 0.0])).limit(3)).await?.hits()?;
    assert_eq!(numbers(&near), [89, 88, 87]);
    Ok(())
}

fn document_vector(n: u64, column: &str) -> Vector {
    let document = document(n);
    let Some(Value::Vector(vector)) = document.get(column) else { panic!("document {n} has no {column}") };
    Vector::from(vector.to_f32())
}

/// Tokens are remembered, of entries in segments and in the tail; and the namespace goes on.
async fn check_writes(docs: &Namespace) -> Result<()> {
    let again = [batch(IDS[0].clone()), batch(IDS[1].clone()), WriteBatch::new().delete(5)];
    for (token, batch) in (1..).zip(again) {
        let receipt = docs.write(batch.token(token)).await?;
        assert!(receipt.replayed, "token {token}: {receipt:?}");
    }
    docs.write(WriteBatch::new().upsert(document(100))).await?;
    docs.flush().await?;
    docs.compact().await?;
    let count = docs.snapshot(Consistency::Strong).await?.count().await?;
    assert_eq!(count, expected().len() as u64 + 1);
    Ok(())
}

#[tokio::test]
async fn golden_objects_are_read() -> Result<()> {
    if std::env::var_os("ELACSYM_WRITE_GOLDEN").is_some() {
        write_folder().await?;
    }
    assert!(folder().exists(), "write the objects first, by the command above");
    let files = files(&folder());
    let bytes: u64 = files.values().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(bytes <= BYTES_MAX, "{bytes} bytes");
    let kinds: BTreeSet<String> = files.keys().map(|key| kind_of(key)).collect();
    let expected = [
        "CLOSED",
        "HINT",
        "OPEN",
        "STORE",
        "centroids",
        "deletes",
        "index",
        "manifest",
        "rows",
        "text",
        "tokens",
        "vector",
        "wal",
    ];
    assert_eq!(
        kinds.iter().map(String::as_str).collect::<Vec<_>>(),
        expected,
        "a kind of object without an example"
    );

    // A copy: the writes below must not change what was written then.
    let copy = tempfile::tempdir().unwrap();
    for (key, path) in &files {
        ObjectKey::new(key.as_str())?;
        let to = copy.path().join(key);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(path, to).unwrap();
    }
    let db = Database::open(copy.path().to_str().unwrap()).await?;
    let names = db.list_namespaces().await?;
    assert_eq!(names.iter().map(NamespaceName::as_str).collect::<Vec<_>>(), ["Golden.1"]);
    assert_eq!(db.open_namespace("old").await.unwrap_err().kind(), ErrorKind::NotFound);
    let docs = db.open_namespace("Golden.1").await?;
    check_documents(&docs).await?;
    check_indexes(&docs).await?;
    check_writes(&docs).await
}

/// A text index but for the id that tantivy draws for its segment.
fn without_segment_id(index: &[u8]) -> Vec<u8> {
    let name = br#""segment_id": ""#;
    let at = index.windows(name.len()).position(|window| window == name).unwrap() + name.len();
    [&index[..at], &index[at + Uuid::nil().to_string().len()..]].concat()
}

/// What tantivy writes is its own business, and read here block by block: a version that writes it otherwise must not come
/// in unnoticed, nor a change of ours.
#[tokio::test]
async fn text_indexes_are_written_as_they_were() -> Result<()> {
    let backend = MemoryBackend::new();
    write(backend.clone()).await?;
    let mut count = 0;
    for (key, path) in files(&folder()).into_iter().filter(|(key, _)| kind_of(key) == "text") {
        let now = backend.get(&ObjectKey::new(key.as_str())?).await?;
        assert!(
            without_segment_id(&now) == without_segment_id(&fs::read(path).unwrap()),
            "{key} differs: read `index/text/store` before it is written again"
        );
        count += 1;
    }
    assert_eq!(count, 3);
    Ok(())
}
