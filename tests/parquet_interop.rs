//! Our Parquet read by an implementation that is not ours, and our namespaces by a reader written from the format page.
//!
//! Needs `python3`, pyarrow and xxhash: set `ELACSYM_TEST_PYARROW` to the folder they are installed in.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test panics")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use arrow::row::{RowConverter, SortField};
use bytes::Bytes;
use elacsym::schema::AttributeType;
use elacsym::{
    Database, Document, DocumentId, Filter, IdKind, Metric, Namespace, Result, Scan, Schema, Settings, Value,
    Vector, VectorType, WriteBatch,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value as Json;
use uuid::Uuid;

#[path = "common/rng.rs"]
#[expect(dead_code, unreachable_pub, reason = "this crate uses a part of it")]
mod rng;

use rng::Rng;

/// Engines that merge or cut by what the footer says of the order would answer wrongly if it were not so.
#[tokio::test]
async fn the_footer_claims_the_order_of_ids_just_where_rows_are_in_it() -> Result<()> {
    const ROWS: u64 = 1_500;
    for kind in [IdKind::U64, IdKind::Uuid, IdKind::String] {
        let id = |n: u64| -> DocumentId {
            match kind {
                IdKind::U64 => n.into(),
                IdKind::Uuid => Uuid::from_u128(u128::from(n) << 60).into(),
                IdKind::String => format!("é{n}").into(),
                other => panic!("no ids of {other} here"),
            }
        };
        // Neighbours in the order of ids are far from each other: clusters part them.
        let vector = |n: u64| {
            let mut rng = Rng::new(n);
            Vector::from([(); 8].map(|()| f32::from(u16::try_from(rng.bits() >> 48).unwrap())))
        };
        let documents = || (0..ROWS).rev().map(|n| Document::new(id(n)).with("n", n).with("v", vector(n)));
        for (indexed, linked) in [(true, false), (false, false), (false, true)] {
            let temp = tempfile::tempdir().unwrap();
            let mut settings = Settings::default();
            settings.index_rows_min = if indexed { 100 } else { 10_000 };
            settings.reference_bytes_min = if linked { 1 } else { 1 << 30 };
            let db = Database::builder().settings(settings).open(temp.path().to_str().unwrap()).await?;
            let schema = Schema::builder(kind).attribute("n", AttributeType::Int).vector(
                "v",
                VectorType::F32,
                8,
                Metric::L2Squared,
            );
            let docs = db.create_namespace("docs", schema.build()?).await?;
            docs.write(WriteBatch::new().upsert_all(documents())).await?;
            docs.flush().await?;
            let found = files(temp.path());
            assert!(!found.is_empty());
            for file in found {
                let (claimed, ascending) = order(&file);
                assert_eq!((claimed, ascending), (!indexed, !indexed), "{kind} {file:?}");
            }
        }
    }
    Ok(())
}

/// Whether every row group of a file is said to be in ascending order of ids, and whether the file is.
fn order(file: &Path) -> (bool, bool) {
    let builder = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(file).unwrap()).unwrap();
    let claims: Vec<bool> = builder
        .metadata()
        .row_groups()
        .iter()
        .map(|group| match group.sorting_columns().map(Vec::as_slice) {
            None | Some([]) => false,
            Some(columns) => {
                let [column] = columns else { panic!("{columns:?}") };
                assert_eq!((column.column_idx, column.descending), (0, false));
                true
            }
        })
        .collect();
    assert!(claims.windows(2).all(|pair| pair[0] == pair[1]), "{claims:?}");
    let mut ids = Vec::new();
    for batch in builder.build().unwrap() {
        let batch = batch.unwrap();
        let converter = RowConverter::new(vec![SortField::new(batch.column(0).data_type().clone())]).unwrap();
        let rows = converter.convert_columns(&batch.columns()[..1]).unwrap();
        ids.extend(rows.iter().map(|row| row.as_ref().to_vec()));
    }
    (claims[0], ids.windows(2).all(|pair| pair[0] < pair[1]))
}

#[tokio::test(flavor = "multi_thread")]
async fn pyarrow_reads_what_was_written() -> Result<()> {
    let Ok(pyarrow) = std::env::var("ELACSYM_TEST_PYARROW") else {
        println!("skipped: set ELACSYM_TEST_PYARROW to a folder with pyarrow in it");
        return Ok(());
    };
    let temp = tempfile::tempdir().unwrap();
    let db = Database::open(temp.path().to_str().unwrap()).await?;
    let docs = db.create_namespace("docs", schema()?).await?;
    let mut expected: BTreeMap<String, Json> = BTreeMap::new();
    for documents in [first(), second()] {
        docs.write(WriteBatch::new().upsert_all(documents.clone())).await?;
        docs.flush().await?;
        expected.extend(documents.iter().map(|document| (id_of(document.id()), row(&docs, document))));
    }
    let files = files(temp.path());
    assert_eq!(files.len(), 2, "{files:?}");
    let mut found = BTreeMap::new();
    for file in files {
        found.extend(read(&pyarrow, &file).into_iter().map(|row| (text(&row["id"]), row)));
    }
    assert_eq!(found, expected);
    // And what is deleted is not in a merged file.
    docs.write(WriteBatch::new().delete_by_filter(Filter::is_null("text"))).await?;
    docs.flush().await?;
    docs.compact().await?;
    expected.retain(|_, row| !row["text"].is_null());
    let merged = newest(temp.path());
    let rows: BTreeMap<_, _> =
        read(&pyarrow, &merged).into_iter().map(|row| (text(&row["id"]), row)).collect();
    assert_eq!(rows, expected);
    Ok(())
}

/// The reader that was written from the format page alone, against ours, in every state that rows come to lie in.
#[tokio::test]
async fn the_reader_of_the_format_page_finds_the_same_documents() -> Result<()> {
    let Ok(packages) = std::env::var("ELACSYM_TEST_PYARROW") else {
        println!("skipped: set ELACSYM_TEST_PYARROW to a folder with pyarrow and xxhash in it");
        return Ok(());
    };
    let temp = tempfile::tempdir().unwrap();
    let open = async |linked_from: usize| {
        let mut settings = Settings::default();
        (settings.auto_flush, settings.auto_compact, settings.index_rows_min) = (false, false, 200);
        settings.reference_bytes_min = linked_from;
        let db = Database::builder().settings(settings).open(temp.path().to_str().unwrap()).await?;
        db.open_or_create_namespace("docs", schema()?).await
    };
    let docs = open(usize::MAX).await?;
    let row = |n: usize, rng: &mut Rng| {
        let mut document = second()[n].clone();
        if rng.chance(0.7) {
            document.set(
                "v",
                Vector::from([rng.below(9), rng.below(9)].map(|x| f32::from(u8::try_from(x).unwrap()))),
            );
        }
        document
    };
    let mut rng = Rng::new(3);
    docs.write(WriteBatch::new().upsert_all(first()).upsert_all((0..400).map(|n| row(n, &mut rng)))).await?;
    compare(&packages, temp.path(), &docs, "in the tail").await?;
    docs.flush().await?;
    compare(&packages, temp.path(), &docs, "in a segment").await?;
    docs.write((300..600).map(|n| row(n, &mut rng)).collect::<WriteBatch>()).await?;
    docs.write(WriteBatch::new().delete_by_filter(Filter::lt("int", 50)).token(9)).await?;
    docs.flush().await?;
    open(1).await?.write((100..200).map(|n| row(n, &mut rng)).collect::<WriteBatch>()).await?;
    docs.write(WriteBatch::new().patch(Document::new("all").with("int", 5)).delete("none").delete("ü150"))
        .await?;
    compare(&packages, temp.path(), &docs, "with updates, deletes and a linked segment").await?;
    docs.flush().await?;
    docs.compact().await?;
    compare(&packages, temp.path(), &docs, "compacted").await
}

/// All documents as the crate has them and as `tests/format_reader.py` has them.
async fn compare(packages: &str, root: &Path, docs: &Namespace, state: &str) -> Result<()> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/format_reader.py");
    let read: Json = serde_json::from_str(&run_python(packages, script, &[root, Path::new("docs")])).unwrap();
    let read = read["documents"].as_array().unwrap();
    let ours = docs.scan(Scan::new().limit(10_000)).await?.rows.documents()?;
    assert_eq!(read.len(), ours.len(), "{state}");
    assert!(!ours.is_empty(), "{state}");
    for (read, ours) in read.iter().zip(&ours) {
        let of_format = |name: &str| ours.get(name).map_or(Json::Null, by_format_page);
        let names = docs.schema().attributes().map(|(name, _)| name).chain(["v"]);
        let values: serde_json::Map<_, _> = names.map(|name| (name.to_owned(), of_format(name))).collect();
        assert_eq!(read["id"], id_of(ours.id()), "{state}");
        assert_eq!(read["values"], Json::from(values), "{state}: {}", ours.id());
    }
    Ok(())
}

/// A value as the reader of the format page prints it.
fn by_format_page(value: &Value) -> Json {
    match value {
        Value::Uuid(id) => id.to_string().into(),
        Value::Datetime(ms) => (*ms).into(),
        Value::Array(values) => values.iter().map(by_format_page).collect(),
        Value::Vector(Vector::F32(v)) => v.iter().copied().collect(),
        value => plain(value),
    }
}

fn schema() -> Result<Schema> {
    use AttributeType as T;
    let scalars = [
        ("text", T::String),
        ("int", T::Int),
        ("uint", T::Uint),
        ("float", T::Float),
        ("bool", T::Bool),
        ("uuid", T::Uuid),
        ("time", T::Datetime),
        ("bytes", T::Bytes),
    ];
    let mut schema = Schema::builder(IdKind::String);
    for (name, kind) in scalars {
        schema = schema.attribute(name, kind);
        if let Some(array) = T::array(kind) {
            schema = schema.attribute(format!("{name}s"), array);
        }
    }
    schema.attribute("Ünï/cödé 名", T::String).vector("v", VectorType::F32, 2, Metric::Dot).build()
}

fn first() -> Vec<Document> {
    let uuid = Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
    let time = |ms| Value::Datetime(ms);
    vec![
        Document::new("all")
            .with("text", "naïve 😀 \"quoted\"\n名前")
            .with("int", i64::MIN)
            .with("uint", u64::MAX)
            .with("float", 0.1)
            .with("bool", true)
            .with("uuid", uuid)
            .with("time", time(1_700_000_000_123))
            .with("bytes", Bytes::from_static(b"\x00\xff\x80"))
            .with("texts", vec!["", "ä", "😀"])
            .with("ints", vec![i64::MIN, 0, i64::MAX])
            .with("uints", vec![0, u64::MAX])
            .with("floats", vec![-1.5, 1e300])
            .with("bools", vec![true, false])
            .with("uuids", vec![uuid, Uuid::nil()])
            .with("times", vec![time(0), time(1)])
            .with("Ünï/cödé 名", "x")
            .with("v", Vector::from([1.0, 2.0])),
        Document::new("none"),
    ]
}

fn second() -> Vec<Document> {
    let some = |n: i64| Document::new(format!("ü{n}")).with("text", format!("row {n}")).with("int", n);
    let mut documents: Vec<_> = (0..600).map(some).collect();
    let empty: Vec<&str> = Vec::new();
    documents.push(Document::new("empty").with("text", "").with("texts", empty).with("bytes", Bytes::new()));
    documents
}

fn id_of(id: &DocumentId) -> String {
    id.to_string()
}

fn text(value: &Json) -> String {
    value.as_str().unwrap().to_owned()
}

/// The row as the script prints it.
fn row(docs: &Namespace, document: &Document) -> Json {
    let attributes = docs.schema().attributes();
    let mut row: serde_json::Map<String, Json> =
        attributes.map(|(name, _)| (name.to_owned(), document.get(name).map_or(Json::Null, plain))).collect();
    row.insert("id".to_owned(), id_of(document.id()).into());
    row.into()
}

fn plain(value: &Value) -> Json {
    match value {
        Value::String(text) => text.as_str().into(),
        Value::Int(n) => (*n).into(),
        Value::Uint(n) => (*n).into(),
        Value::Float(x) => (*x).into(),
        Value::Bool(yes) => (*yes).into(),
        Value::Uuid(id) => id.simple().to_string().into(),
        Value::Datetime(ms) => time(*ms).into(),
        Value::Bytes(bytes) => format!("{bytes:x}").into(),
        Value::Array(values) => values.iter().map(plain).collect(),
        _ => Json::Null,
    }
}

/// A time as Python prints it.
fn time(ms: i64) -> String {
    match ms {
        0 => "1970-01-01 00:00:00+00:00",
        1 => "1970-01-01 00:00:00.001000+00:00",
        _ => "2023-11-14 22:13:20.123000+00:00",
    }
    .to_owned()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.ends_with("rows.parquet") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Segments are named by when they began: the last is the newest.
fn newest(folder: &Path) -> PathBuf {
    files(folder).pop().unwrap()
}

fn read(pyarrow: &str, file: &Path) -> Vec<Json> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parquet_interop.py");
    let lines = run_python(pyarrow, script, &[file]);
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What a script prints, with the packages of a folder.
fn run_python(packages: &str, script: &str, arguments: &[&Path]) -> String {
    let mut python = Command::new("python3");
    let python = python.arg(script).args(arguments).env("PYTHONPATH", packages).output().unwrap();
    assert!(python.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&python.stderr));
    String::from_utf8(python.stdout).unwrap()
}
