//! Secrets: no credential and no value of a document is in an error, or in what a handle shows of itself.
//!
//! What a client of a cloud says is scrubbed where it enters; the tests of `storage` hold that. These look at
//! the database from outside.

use std::error::Error as _;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use elacsym::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, UInt64Array};
use elacsym::schema::AttributeType;
use elacsym::storage::{MemoryBackend, ObjectPrefix, PutMode, StorageBackend};
use elacsym::{
    Consistency, Database, Document, Error, ErrorKind, Filter, IdKind, Metric, Query, Result, Scan, Schema,
    VALUE_BYTES_MAX, Value, Vector, VectorType, WriteBatch,
};

const CANARY: &str = "CANARY";
/// A number that is in no message by chance.
const NUMBER: i64 = -77_421_337_733;

fn shows_nothing(what: &str, shown: &(impl fmt::Debug + ?Sized)) {
    let text = format!("{shown:?} {shown:#?}");
    for secret in [CANARY, "Q0FOQVJZ", "77421337733", "77_421", "[67, 65, 78, 65"] {
        assert!(!text.contains(secret), "{what} shows {secret}: {text}");
    }
}

/// The error and all its sources, in every way they can be shown.
fn tells_nothing(error: &Error) {
    shows_nothing("an error", &format!("{error} {error:#} {error:?} {error:#?}"));
    let mut source = error.source();
    while let Some(inner) = source {
        shows_nothing("a source", &format!("{inner} {inner:?}"));
        source = inner.source();
    }
}

#[tokio::test]
async fn a_location_is_never_shown() {
    for location in [
        "s3://CANARY:CANARY@bucket/a",
        "s3://CANARY@bucket",
        "s3://bucket/a?X-Amz-Signature=CANARY",
        "gs://bucket/a#CANARY",
        "az://container?sig=CANARY",
        "az://CANARY:secret@container",
        "https://account.blob.core.windows.net/c?sig=CANARY",
        "postgres://CANARY:CANARY@host/db",
        "file://CANARY@host/a",
        "memory://CANARY",
        "CANARY://",
    ] {
        tells_nothing(&Database::open(location).await.expect_err(location));
        let builder = Database::builder();
        shows_nothing("a builder", &builder);
        tells_nothing(&builder.open(location).await.expect_err(location));
    }
}

#[tokio::test]
async fn store_options_are_never_shown() {
    let with = |name: &str| Database::builder().store_option(name, CANARY).store_option("region", "eu");
    for (builder, location) in [
        (with("secret_access_key"), "memory://"),
        (with("secret_access_key"), "./never-created"),
        (with("CANARY"), "memory://"),
        (with("no_such_option"), "s3://bucket"),
        (with("CANARY"), "s3://bucket"),
        (with("no_such_option"), "gs://bucket"),
        (with("no_such_option"), "az://container"),
    ] {
        shows_nothing("a builder", &builder);
        let error = builder.open(location).await.expect_err(location);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{location}: {error}");
        tells_nothing(&error);
    }
    let backend = with("region").open_backend(Arc::new(MemoryBackend::new())).await;
    tells_nothing(&backend.expect_err("a backend has none"));
}

fn schema() -> Result<Schema> {
    Schema::builder(IdKind::U64)
        .attribute("int", AttributeType::Int)
        .attribute("uint", AttributeType::Uint)
        .attribute("float", AttributeType::Float)
        .attribute("text", AttributeType::String)
        .attribute("texts", AttributeType::StringArray)
        .attribute("bool", AttributeType::Bool)
        .attribute("uuid", AttributeType::Uuid)
        .attribute("bytes", AttributeType::Bytes)
        .vector("v", VectorType::I8, 2, Metric::Dot)
        .build()
}

/// Of every type, each of them a secret.
fn values() -> Vec<Value> {
    let text = || Value::from(CANARY);
    vec![
        text(),
        Value::Int(NUMBER),
        Value::Int(NUMBER - (1 << 60)),
        Value::Uint(NUMBER.unsigned_abs() + (1 << 63)),
        Value::Float(77_421_337_733.5),
        Value::Bytes(Bytes::from_static(b"CANARY")),
        Value::Array(vec![text(), Value::Int(NUMBER)]),
        Value::Array(vec![text(), Value::Null]),
        Value::Vector(Vector::from([77_421_337_733.0, 0.5])),
        Value::from(CANARY.repeat(VALUE_BYTES_MAX / 6 + 1)),
    ]
}

#[tokio::test]
async fn an_error_about_a_document_shows_no_value_of_it() -> Result<()> {
    let db = Database::open("memory://").await?;
    let docs = db.create_namespace("docs", schema()?).await?;
    let columns: Vec<String> = docs.schema().columns().iter().map(|column| column.name.clone()).collect();
    let mut refused = 0;
    for column in columns.iter().map(String::as_str).chain(["absent"]) {
        for value in values() {
            let document = || Document::new(7).with(column, value.clone());
            let batches = [
                WriteBatch::new().upsert(document()),
                WriteBatch::new().patch(document()),
                WriteBatch::new().upsert(document()).upsert(document()),
                WriteBatch::new().patch_by_filter(Filter::is_null("int"), [(column, value.clone())]),
            ];
            for batch in batches {
                if let Err(error) = docs.write(batch).await {
                    tells_nothing(&error);
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 300, "{refused}");
    Ok(())
}

#[tokio::test]
async fn an_error_about_a_record_batch_shows_no_value_of_it() -> Result<()> {
    let db = Database::open("memory://").await?;
    let docs = db.create_namespace("docs", schema()?).await?;
    let ids: ArrayRef = Arc::new(UInt64Array::from(vec![1, 2]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec![CANARY, CANARY]));
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![NUMBER, NUMBER - (1 << 60)]));
    let large: ArrayRef = Arc::new(UInt64Array::from(vec![NUMBER.unsigned_abs() + (1 << 63); 2]));
    let names = ["int", "uint", "float", "bool", "uuid", "bytes", "texts", "v"];
    for name in names {
        for values in [&texts, &numbers, &large] {
            let batch = RecordBatch::try_from_iter([("id", Arc::clone(&ids)), (name, Arc::clone(values))]);
            if let Err(error) = docs.write(WriteBatch::new().upsert_batch(batch.unwrap())).await {
                tells_nothing(&error);
            }
        }
    }
    let batch = RecordBatch::try_from_iter([("id", texts)]).unwrap();
    tells_nothing(&docs.write(WriteBatch::new().upsert_batch(batch)).await.unwrap_err());
    Ok(())
}

#[tokio::test]
async fn a_handle_shows_nothing_of_the_documents_behind_it() -> Result<()> {
    let memory = MemoryBackend::new();
    let db = Database::builder().open_backend(Arc::new(memory.clone())).await?;
    let docs = db.create_namespace("docs", schema()?).await?;
    let secret = |id: u64| {
        Document::new(id)
            .with("text", CANARY)
            .with("int", NUMBER)
            .with("bytes", Bytes::from_static(b"CANARY"))
            .with("texts", vec![CANARY])
    };
    docs.write(WriteBatch::new().upsert_all((0..9).map(secret))).await?;
    docs.flush().await?;
    docs.write(WriteBatch::new().upsert(secret(9)).delete(1).token(5)).await?;
    docs.scan(Scan::new().filter(Filter::eq("text", CANARY))).await?;
    for consistency in [Consistency::Strong, Consistency::Eventual] {
        shows_nothing("a snapshot", &docs.snapshot(consistency).await?);
    }
    shows_nothing("a namespace", &docs);
    shows_nothing("a database", &db);
    shows_nothing("a store", &memory);
    shows_nothing("a name", &format!("{} {:?}", docs.name(), docs.schema()));
    // A damaged object: the error names it and shows nothing of it.
    for info in memory.list(&ObjectPrefix::root(), None).await? {
        let mut bytes = memory.get(&info.key).await?.to_vec();
        let sound = Bytes::from(bytes.clone());
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        memory.put(&info.key, bytes.into(), PutMode::Overwrite).await?;
        if let Err(error) = read(&memory).await {
            tells_nothing(&error);
        }
        memory.put(&info.key, sound.into(), PutMode::Overwrite).await?;
    }
    Ok(())
}

async fn read(memory: &MemoryBackend) -> Result<()> {
    let db = Database::builder().open_backend(Arc::new(memory.clone())).await?;
    let docs = db.open_namespace("docs").await?;
    docs.scan(Scan::new().filter(Filter::eq("text", CANARY))).await?;
    docs.query(Query::nearest("v", Vector::from([1.0, 1.0]))).await.map(drop)
}

/// Opens a store that is not there through a client that knows secrets.
#[cfg(any(feature = "aws", feature = "gcp", feature = "azure"))]
async fn fails_silently(store: Arc<dyn object_store::ObjectStore>) -> Result<()> {
    use elacsym::storage::ObjectStoreBackend;
    let backend = ObjectStoreBackend::new(store, "folder")?;
    shows_nothing("a backend", &format!("{backend} {backend:?}"));
    let mut settings = elacsym::Settings::default();
    settings.request_timeout = std::time::Duration::from_millis(500);
    let builder = Database::builder().settings(settings);
    let error = builder.open_backend(Arc::new(backend)).await.expect_err("nothing listens there");
    assert_eq!(error.kind(), elacsym::ErrorKind::Unavailable, "{error}");
    tells_nothing(&error);
    Ok(())
}

#[cfg(any(feature = "aws", feature = "gcp", feature = "azure"))]
fn impatient() -> (object_store::RetryConfig, object_store::ClientOptions) {
    let retry = object_store::RetryConfig { max_retries: 0, ..Default::default() };
    (retry, object_store::ClientOptions::new().with_allow_http(true))
}

#[cfg(feature = "aws")]
#[tokio::test(flavor = "multi_thread")]
async fn s3_that_does_not_answer_shows_no_key() -> Result<()> {
    let (retry, client) = impatient();
    let store = object_store::aws::AmazonS3Builder::new()
        .with_endpoint("http://127.0.0.1:1")
        .with_region("us-east-1")
        .with_bucket_name("bucket")
        .with_access_key_id(CANARY)
        .with_secret_access_key(CANARY)
        .with_token(CANARY)
        .with_retry(retry)
        .with_client_options(client)
        .build()
        .unwrap();
    fails_silently(Arc::new(store)).await
}

#[cfg(feature = "azure")]
#[tokio::test(flavor = "multi_thread")]
async fn azure_that_does_not_answer_shows_no_key() -> Result<()> {
    use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
    let keys = [(AzureConfigKey::AccessKey, "Q0FOQVJZ"), (AzureConfigKey::SasKey, "sv=1&sig=CANARY")];
    for (key, secret) in keys {
        let (retry, client) = impatient();
        let store = MicrosoftAzureBuilder::new()
            .with_account("account")
            .with_container_name("container")
            .with_endpoint("http://127.0.0.1:1".to_owned())
            .with_config(key, secret)
            .with_retry(retry)
            .with_client_options(client)
            .build()
            .unwrap();
        fails_silently(Arc::new(store)).await?;
    }
    Ok(())
}

#[cfg(feature = "gcp")]
#[tokio::test(flavor = "multi_thread")]
async fn google_that_does_not_answer_shows_no_key() -> Result<()> {
    use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder};
    let (retry, client) = impatient();
    let bearer = GcpCredential { bearer: CANARY.to_owned() };
    let store = GoogleCloudStorageBuilder::new()
        .with_base_url("http://127.0.0.1:1")
        .with_bucket_name("bucket")
        .with_credentials(Arc::new(object_store::StaticCredentialProvider::new(bearer)))
        .with_retry(retry)
        .with_client_options(client)
        .build()
        .unwrap();
    fails_silently(Arc::new(store)).await
}
