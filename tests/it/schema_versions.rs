//! A namespace whose schema has changed: what was written before is read by the numbers of columns, not by their names.
//!
//! There is no public way to change a schema yet, so the next manifest is written here.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a test panics"
)]

use std::sync::Arc;

use elacsym::schema::{AttributeType, TextOptions};
use elacsym::storage::{MemoryBackend, ObjectKey, ObjectPrefix, PutMode, StorageBackend};
use elacsym::*;
use serde_json::{Value as Json, json};
use twox_hash::XxHash3_64;

use crate::common::fixtures::{hit_numbers, id_number, small_index_settings};

const ROWS: u64 = 400;

async fn open(memory: &MemoryBackend) -> Result<Namespace> {
    let database = Database::builder().settings(small_index_settings());
    let database = database.open_backend(Arc::new(memory.clone())).await?;
    let schema = Schema::builder(IdKind::U64)
        .text("title", TextOptions::default())
        .attribute("n", AttributeType::Int)
        .attribute("color", AttributeType::String)
        .vector("v", VectorType::F32, 4, Metric::L2Squared)
        .build()?;
    match database.open_namespace("docs").await {
        Err(error) if error.kind() == ErrorKind::NotFound => database.create_namespace("docs", schema).await,
        found => found,
    }
}

fn vector(id: u64) -> Vec<f32> {
    (0..4_u64).map(|i| ((id * (i + 3) * 7919) % 101) as f32).collect()
}

/// A document as it was written, with the names that columns have in a schema.
fn document(id: u64, title: &str, vector_name: &str) -> Document {
    Document::new(id)
        .with(title, format!("word{} common", id % 7))
        .with("n", id.cast_signed() % 10)
        .with(vector_name, Vector::from(vector(id)))
}

/// The schema after a change: `title` and `v` have other names, `color` was dropped and one of another type added, and
/// a text column and a vector column are new.
fn changed(schema: &Json) -> Json {
    let mut schema = schema.clone();
    schema["version"] = json!(2);
    let columns = schema["columns"].as_array_mut().unwrap();
    columns[0]["name"] = json!("headline");
    columns[3]["name"] = json!("embedding");
    let text = columns[0]["text"].clone();
    let mut shape = columns[3]["vector"].clone();
    shape["dimension"] = json!(2);
    columns.remove(2);
    // Not in the order of their numbers, and among those that were there.
    columns.insert(0, json!({"id": 5, "name": "color", "attribute": "int"}));
    columns.insert(2, json!({"id": 6, "name": "body", "attribute": "string", "text": text}));
    columns.push(json!({"id": 7, "name": "w", "vector": shape}));
    schema["next_column"] = json!(8);
    schema
}

/// Puts a manifest with the changed schema after the newest one.
async fn change_schema(memory: &MemoryBackend) -> Result<()> {
    let listed = memory.list(&ObjectPrefix::root(), None).await?;
    let newest = listed.iter().rfind(|info| info.key.as_str().contains("/manifest/")).unwrap().key.clone();
    let bytes = memory.get(&newest).await?;
    let start = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let mut manifest: Json = serde_json::from_slice(&bytes[start..]).unwrap();
    let number = manifest["number"].as_u64().unwrap() + 1;
    let before = json!([manifest["number"], manifest["nonce"]]);
    manifest["ring"].as_array_mut().unwrap().push(before);
    manifest["number"] = json!(number);
    manifest["nonce"] = json!("00000000-0000-0000-0000-000000000001");
    let schemas = manifest["schemas"].as_array_mut().unwrap();
    let next = changed(schemas.last().unwrap());
    schemas.push(next);
    let json = serde_json::to_vec(&manifest).unwrap();
    let checksum = XxHash3_64::oneshot(&json);
    let mut framed = format!("elacsym manifest 1 {} {checksum:016x}\n", json.len()).into_bytes();
    framed.extend(json);
    let (folder, _) = newest.as_str().rsplit_once('/').unwrap();
    let key = ObjectKey::new(format!("{folder}/{number:020}"))?;
    memory.put(&key, framed.into(), PutMode::Create).await
}

async fn found(docs: &Namespace, query: Query) -> Result<Vec<u64>> {
    Ok(hit_numbers(&docs.query(query).await?.hits()?))
}

fn nearest(column: &str, query: u64) -> Query {
    Query::hybrid([Leg::from(VectorQuery::new(column, vector(query)).exact())]).limit(10)
}

fn words(column: &str) -> Query {
    Query::text(TextQuery::any(column, "word3")).limit(1_000)
}

fn matching(filter: Filter) -> Query {
    Query::order_by([Order::asc("id")]).filter(filter).limit(1_000)
}

/// What the old rows answer, by the names of the changed schema.
async fn check_old_rows(docs: &Namespace, nearest_before: &[u64], words_before: &[u64]) -> Result<()> {
    let every = found(docs, matching(Filter::lt("id", ROWS))).await?;
    assert_eq!(every.len() as u64, ROWS);
    let old = || Filter::lt("id", ROWS);
    for document in docs.get([3, ROWS - 1].map(DocumentId::from)).await?.into_iter().flatten() {
        assert_eq!(document, self::document(id_number(document.id()), "headline", "embedding"));
    }
    assert_eq!(found(docs, nearest("embedding", 5).filter(old())).await?, nearest_before);
    assert_eq!(found(docs, words("headline").filter(old())).await?, words_before);
    let by_n = found(docs, matching(old() & Filter::eq("n", 4))).await?;
    assert_eq!(by_n.len() as u64, ROWS / 10);
    // Nothing of the old `color` is read as the new one, and what is new is null.
    assert_eq!(found(docs, matching(old() & !Filter::is_null("color"))).await?, [0; 0]);
    assert_eq!(found(docs, matching(old() & Filter::gte("color", i64::MIN))).await?, [0; 0]);
    assert_eq!(found(docs, matching(old() & Filter::is_null("body") & Filter::is_null("w"))).await?, every);
    assert_eq!(found(docs, words("body").filter(old())).await?, [0; 0]);
    assert_eq!(found(docs, Query::nearest("w", [1.0, 2.0]).filter(old())).await?, [0; 0]);
    Ok(())
}

#[tokio::test]
async fn columns_are_renamed_dropped_and_added_again_and_old_rows_stay_readable() -> Result<()> {
    let memory = MemoryBackend::new();
    let docs = open(&memory).await?;
    let written = |id| document(id, "title", "v").with("color", format!("blue{id}"));
    docs.write(WriteBatch::new().upsert_all((0..350).map(written))).await?;
    docs.flush().await?;
    docs.write(WriteBatch::new().upsert_all((350..390).map(written))).await?;
    docs.flush().await?;
    // The last ones stay in the log.
    docs.write(WriteBatch::new().upsert_all((390..ROWS).map(written))).await?;
    let nearest_before = found(&docs, nearest("v", 5)).await?;
    let words_before = found(&docs, words("title")).await?;
    change_schema(&memory).await?;

    // A process that has the namespace open does not take the new schema for its own.
    let error = docs.flush().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedVersion, "{error}");
    assert!(error.to_string().contains("open it again"), "{error}");

    let docs = open(&memory).await?;
    let names: Vec<&str> = docs.schema().columns().iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["color", "headline", "body", "n", "embedding", "w"]);
    check_old_rows(&docs, &nearest_before, &words_before).await?;

    let new = document(1_000, "headline", "embedding")
        .with("color", 5)
        .with("body", "word3")
        .with("w", Vector::from([1.0, 2.0]));
    docs.write(WriteBatch::new().upsert(new.clone())).await?;
    for step in ["in the log", "flushed", "compacted"] {
        match step {
            "flushed" => drop(docs.flush().await?),
            "compacted" => drop(docs.compact().await?),
            _ => {}
        }
        check_old_rows(&docs, &nearest_before, &words_before).await?;
        assert_eq!(docs.get([1_000]).await?, [Some(new.clone())], "{step}");
        for query in [
            matching(Filter::eq("color", 5)),
            words("body"),
            Query::nearest("w", [1.0, 2.0]),
            Query::order_by([Order::asc("color")]).limit(1),
        ] {
            assert_eq!(found(&docs, query).await?, [1_000], "{step}");
        }
        assert_eq!(found(&open(&memory).await?, words("body")).await?, [1_000], "{step}, opened again");
    }
    Ok(())
}
