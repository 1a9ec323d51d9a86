//! Values of one type where another is expected: the one exact answer, or a stated rule, wherever documents lie and
//! whatever way they came in.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test panics")]

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use elacsym::arrow::array::{
    ArrayRef, FixedSizeListArray, Float32Array, Float64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, TimestampNanosecondArray, UInt64Array,
};
use elacsym::arrow::datatypes::{DataType, Field};
use elacsym::schema::AttributeType;
use elacsym::{
    Condition, Consistency, Database, Document, DocumentId, ErrorKind, Filter, IdKind, Metric, Namespace,
    Query, Result, Scan, Schema, Select, Settings, Value, Vector, VectorType, WriteBatch,
};

const TWO_53: i64 = 1 << 53;

fn ints() -> Vec<Value> {
    let ints = [i64::MIN, -TWO_53 - 1, -6, -1, 0, 1, 5, 6, TWO_53, TWO_53 + 1, i64::MAX];
    ints.map(Value::Int).to_vec()
}

fn uints() -> Vec<Value> {
    [0, 1, 5, 1 << 53, (1 << 53) + 1, 1 << 63, u64::MAX].map(Value::Uint).to_vec()
}

fn floats() -> Vec<Value> {
    let floats = [
        f64::NEG_INFINITY,
        -9_223_372_036_854_775_808.0,
        -5.5,
        -0.0,
        0.5,
        5.0,
        9_007_199_254_740_992.0,
        9_007_199_254_740_994.0,
        9_223_372_036_854_775_808.0,
        18_446_744_073_709_551_616.0,
        f64::INFINITY,
    ];
    floats.map(Value::Float).to_vec()
}

/// Numbers as they are: against an integer a float is its floor, and whether there is something above it.
fn order(a: &Value, b: &Value) -> Ordering {
    if let (Value::Float(a), Value::Float(b)) = (a, b) {
        return a.partial_cmp(b).unwrap();
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "far beyond what 64 bits hold it only has to be beyond"
    )]
    let parts = |value: &Value| match value {
        Value::Int(x) => (i128::from(*x), false),
        Value::Uint(x) => (i128::from(*x), false),
        Value::Float(x) => (x.floor() as i128, x.is_finite() && *x > x.floor()),
        other => panic!("{other:?}"),
    };
    parts(a).cmp(&parts(b))
}

/// Every column with every value of its type, some null; `plain` ones have no index.
const COLUMNS: [&str; 6] = ["i", "u", "f", "plain_i", "plain_u", "plain_f"];

fn documents() -> Vec<Document> {
    let values = [ints(), uints(), floats()];
    let all = (0..24u64).map(|id| {
        let mut document = Document::new(id);
        for (at, column) in COLUMNS.iter().enumerate() {
            let values = &values[at % 3];
            // The last ids have nulls.
            if let Some(value) = values.get(usize::try_from(id).unwrap() % (values.len() + 1)) {
                document.set(*column, value.clone());
            }
        }
        for (column, values) in [("is", &values[0]), ("us", &values[1]), ("fs", &values[2])] {
            let from = usize::try_from(id).unwrap() % values.len();
            let some: Vec<Value> =
                values.iter().skip(from).take(usize::try_from(id % 3).unwrap()).cloned().collect();
            document.set(column, Value::Array(some));
        }
        document
    });
    all.collect()
}

fn number_schema() -> Result<Schema> {
    let mut schema = Schema::builder(IdKind::U64)
        .attribute("is", AttributeType::IntArray)
        .attribute("us", AttributeType::UintArray)
        .attribute("fs", AttributeType::FloatArray);
    for (at, column) in COLUMNS.iter().enumerate() {
        let kind = [AttributeType::Int, AttributeType::Uint, AttributeType::Float][at % 3];
        schema = schema.attribute(*column, kind).filterable(column, at < 3);
    }
    schema.build()
}

async fn found(namespace: &Namespace, filter: Filter) -> Result<BTreeSet<DocumentId>> {
    let scan = Scan::new().filter(filter).select(Select::only([""; 0]));
    Ok(namespace.scan(scan).await?.rows.documents()?.iter().map(|d| d.id().clone()).collect())
}

type Make = fn(&str, Value) -> Filter;
type Holds = fn(Ordering) -> bool;

#[tokio::test]
async fn numbers_of_all_types_compare_as_what_they_are() -> Result<()> {
    let db = Database::open("memory://").await?;
    let namespace = db.create_namespace("docs", number_schema()?).await?;
    let documents = documents();
    for state in ["tail", "segments", "segment"] {
        for (at, document) in documents.iter().enumerate().filter(|_| state != "segment") {
            namespace.write(WriteBatch::new().upsert(document.clone())).await?;
            if state == "segments" && at % 8 == 7 {
                namespace.flush().await?;
            }
        }
        if state == "segment" {
            namespace.compact().await?;
        }
        let compare: [(Make, Holds); 5] = [
            (|c, v| Filter::eq(c, v), Ordering::is_eq),
            (|c, v| Filter::lt(c, v), Ordering::is_lt),
            (|c, v| Filter::lte(c, v), Ordering::is_le),
            (|c, v| Filter::gt(c, v), Ordering::is_gt),
            (|c, v| Filter::gte(c, v), Ordering::is_ge),
        ];
        let any: [(Make, Holds); 5] = [
            (|c, v| Filter::contains(c, v), Ordering::is_eq),
            (|c, v| Filter::any_lt(c, v), Ordering::is_lt),
            (|c, v| Filter::any_lte(c, v), Ordering::is_le),
            (|c, v| Filter::any_gt(c, v), Ordering::is_gt),
            (|c, v| Filter::any_gte(c, v), Ordering::is_ge),
        ];
        for asked in ints().into_iter().chain(uints()).chain(floats()) {
            for (column, (make, holds)) in COLUMNS.iter().flat_map(|c| compare.map(|make| (*c, make))) {
                let expected =
                    documents.iter().filter(|d| d.get(column).is_some_and(|v| holds(order(v, &asked))));
                let expected: BTreeSet<DocumentId> = expected.map(|d| d.id().clone()).collect();
                let filter = make(column, asked.clone());
                assert_eq!(found(&namespace, filter.clone()).await?, expected, "{state}: {filter:?}");
                if *column == *"f" {
                    let others = found(&namespace, !filter).await?;
                    assert!(
                        others.is_disjoint(&expected) && others.len() + expected.len() == documents.len()
                    );
                }
            }
            for (column, (make, holds)) in
                ["is", "us", "fs"].into_iter().flat_map(|c| any.map(|make| (c, make)))
            {
                let has = |d: &&Document| match d.get(column) {
                    Some(Value::Array(values)) => values.iter().any(|v| holds(order(v, &asked))),
                    _ => false,
                };
                let expected: BTreeSet<DocumentId> =
                    documents.iter().filter(has).map(|d| d.id().clone()).collect();
                let filter = make(column, asked.clone());
                assert_eq!(found(&namespace, filter.clone()).await?, expected, "{state}: {filter:?}");
            }
        }
        // Lists and ranges.
        let equal = |column: &str, values: &[Value]| -> BTreeSet<DocumentId> {
            let is = |d: &&Document| {
                d.get(column).is_some_and(|v| values.iter().any(|w| order(v, w) == Ordering::Equal))
            };
            documents.iter().filter(is).map(|d| d.id().clone()).collect()
        };
        let all: Vec<Value> = ints().into_iter().chain(uints()).chain(floats()).collect();
        for column in COLUMNS {
            for values in all.chunks(3).chain([all.as_slice(), &[Value::Float(0.25), Value::Float(-0.25)]]) {
                let filter = Filter::is_in(column, values.to_vec());
                assert_eq!(
                    found(&namespace, filter).await?,
                    equal(column, values),
                    "{state}: {column} {values:?}"
                );
            }
            let within = Filter::gt(column, 4.5) & Filter::lt(column, 5.5);
            assert_eq!(found(&namespace, within).await?, equal(column, &[5.into()]), "{state}: {column}");
        }
        // The id is a uint.
        assert_eq!(found(&namespace, Filter::gt("id", -1)).await?.len(), documents.len());
        assert_eq!(found(&namespace, Filter::eq("id", 3.0)).await?, [3.into()].into());
        assert_eq!(found(&namespace, Filter::lt("id", 2.5)).await?, [0.into(), 1.into(), 2.into()].into());
        assert_eq!(found(&namespace, Filter::eq("is", vec![5.0, 6.0])).await?.len(), {
            let exact = Value::Array(vec![Value::Int(5), Value::Int(6)]);
            documents.iter().filter(|d| d.get("is") == Some(&exact)).count()
        });
        assert!(found(&namespace, Filter::eq("is", vec![5.0, 6.5])).await?.is_empty());
    }
    for (column, value) in
        [("i", Value::from(f64::NAN)), ("f", f64::NAN.into()), ("i", "5".into()), ("u", true.into())]
    {
        let error = found(&namespace, Filter::lt(column, value)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(&format!("column=`{column}`")), "{error}");
    }
    // The condition of a write compares in the same way.
    let patch = |filter| WriteBatch::new().upsert_if(Document::new(1).with("i", 7), Condition::from(filter));
    assert_eq!(namespace.write(patch(Filter::eq("i", 1.5))).await?.skipped, 1);
    assert_eq!(
        namespace.write(patch(Filter::lt("u", u64::MAX) & Filter::gt("f", i64::MIN))).await?.skipped,
        1
    );
    Ok(())
}

fn time_schema() -> Result<Schema> {
    Schema::builder(IdKind::U64)
        .attribute("at", AttributeType::Datetime)
        .attribute("plain", AttributeType::Datetime)
        .filterable("plain", false)
        .attribute("times", AttributeType::DatetimeArray)
        .attribute("key", AttributeType::Uuid)
        .build()
}

const MS: i64 = 1_709_211_600_123;

/// 2024-02-29 13:00:00.123456789 UTC as all ways in have it, each under an id of its own.
async fn write_times(namespace: &Namespace) -> Result<()> {
    #[derive(serde::Serialize)]
    struct Row {
        id: u64,
        at: &'static str,
        plain: i64,
        times: [&'static str; 1],
        key: &'static str,
    }
    const TEXT: &str = "2024-02-29T14:00:00.123456789+01:00";
    const KEY: &str = "00000000-0000-0000-0000-000000000007";
    let row = Row { id: 1, at: TEXT, plain: MS, times: [TEXT], key: KEY };
    let serde = Document::from_serialize(namespace.schema(), &row)?;
    let document = Document::new(2).with("at", TEXT).with("plain", Value::Datetime(MS));
    let document = document.with("times", ["2024-02-29T13:00:00.123999"]).with("key", KEY);
    namespace.write(WriteBatch::new().upsert_all([serde, document])).await?;
    let micro = TimestampMicrosecondArray::from(vec![MS * 1_000 + 456]).with_timezone("Europe/Berlin");
    let nano = TimestampNanosecondArray::from(vec![MS * 1_000_000 + 456_789]);
    let text: ArrayRef = Arc::new(StringArray::from(vec![TEXT]));
    let columns: [(u64, ArrayRef, ArrayRef); 3] = [
        (3, Arc::new(micro.clone()), Arc::new(nano.clone())),
        (4, Arc::new(nano.with_timezone("-08:00")), Arc::new(micro.with_timezone("UTC"))),
        (5, Arc::clone(&text), text),
    ];
    for (id, at, plain) in columns {
        let ids: ArrayRef = Arc::new(UInt64Array::from(vec![id]));
        let key: ArrayRef = Arc::new(StringArray::from(vec![KEY]));
        let batch =
            RecordBatch::try_from_iter([("id", ids), ("at", at), ("plain", plain), ("key", key)]).unwrap();
        namespace.write(WriteBatch::new().upsert_batch(batch)).await?;
    }
    // A millisecond before, one after, and one before 1970.
    for (id, ms) in [(6, MS - 1), (7, MS + 1), (8, -1)] {
        let document = Document::new(id).with("at", Value::Datetime(ms)).with("plain", Value::Datetime(ms));
        namespace.write(WriteBatch::new().upsert(document)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn datetimes_are_cut_to_milliseconds_on_every_way_in_and_in_filters() -> Result<()> {
    let db = Database::open("memory://").await?;
    let namespace = db.create_namespace("docs", time_schema()?).await?;
    write_times(&namespace).await?;
    for flushed in [false, true] {
        if flushed {
            namespace.flush().await?;
        }
        let ids = |ids: &[u64]| ids.iter().map(|id| DocumentId::from(*id)).collect::<BTreeSet<_>>();
        let now = [
            "2024-02-29T13:00:00.123Z",
            "2024-02-29T13:00:00.1234567+00:00",
            "2024-02-29T13:00:00.123999999",
            "2024-02-29 13:00:00.123Z",
            "2024-02-29T05:00:00.1235-08:00",
        ];
        for (column, text) in ["at", "plain"].into_iter().flat_map(|c| now.map(|text| (c, text))) {
            let cases = [
                (Filter::eq(column, text), ids(&[1, 2, 3, 4, 5])),
                (Filter::not_eq(column, text), ids(&[6, 7, 8])),
                (Filter::lt(column, text), ids(&[6, 8])),
                (Filter::lte(column, text), ids(&[1, 2, 3, 4, 5, 6, 8])),
                (Filter::gt(column, text), ids(&[7])),
                (Filter::gte(column, text), ids(&[1, 2, 3, 4, 5, 7])),
                (Filter::is_in(column, [text, "1969-12-31T23:59:59.9999999Z"]), ids(&[1, 2, 3, 4, 5, 8])),
                (Filter::eq(column, Value::Datetime(MS)), ids(&[1, 2, 3, 4, 5])),
            ];
            for (filter, expected) in cases {
                assert_eq!(found(&namespace, filter.clone()).await?, expected, "{filter:?}");
            }
        }
        assert_eq!(found(&namespace, Filter::contains("times", now[1])).await?, ids(&[1, 2]));
        assert_eq!(found(&namespace, Filter::any_gt("times", now[1])).await?, ids(&[]));
        let key = "00000000-0000-0000-0000-000000000007";
        assert_eq!(found(&namespace, Filter::eq("key", key)).await?, ids(&[1, 2, 3, 4, 5]));
        assert_eq!(found(&namespace, Filter::is_in("key", [key])).await?, ids(&[1, 2, 3, 4, 5]));
        for (column, value) in [("at", "yesterday"), ("at", "2024-13-01T00:00:00Z"), ("key", "7")] {
            let error = found(&namespace, Filter::eq(column, value)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(&format!("column=`{column}`")), "{error}");
        }
    }
    Ok(())
}

/// A batch of one vector, of floats of either width.
fn batch(id: u64, column: &str, vector: [f64; 2], wide: bool) -> RecordBatch {
    let ids: ArrayRef = Arc::new(UInt64Array::from(vec![id]));
    #[expect(clippy::cast_possible_truncation, reason = "as a user would")]
    let values: ArrayRef = if wide {
        Arc::new(Float64Array::from(vector.to_vec()))
    } else {
        Arc::new(Float32Array::from(vector.map(|x| x as f32).to_vec()))
    };
    let field = Arc::new(Field::new("item", if wide { DataType::Float64 } else { DataType::Float32 }, true));
    let list: ArrayRef = Arc::new(FixedSizeListArray::new(field, 2, values, None));
    RecordBatch::try_from_iter([("id", ids), (column, list)]).unwrap()
}

#[derive(serde::Serialize)]
struct Row {
    id: u64,
    v: [f64; 2],
}

#[tokio::test]
async fn by_cosine_only_the_direction_of_an_f16_vector_counts() -> Result<()> {
    let db = Database::open("memory://").await?;
    let schema = Schema::builder(IdKind::U64).vector("v", VectorType::F16, 2, Metric::Cosine).build()?;
    let namespace = db.create_namespace("docs", schema).await?;
    // At 0, 30, 60 and 90 degrees, of lengths that f16 does not hold, by every way in.
    let at = |degrees: f64, length: f64| {
        [degrees.to_radians().cos() * length, degrees.to_radians().sin() * length]
    };
    let row = Row { id: 1, v: at(0.0, 1e-9) };
    namespace.write(WriteBatch::new().upsert(Document::from_serialize(namespace.schema(), &row)?)).await?;
    namespace.write(WriteBatch::new().upsert_batch(batch(2, "v", at(30.0, 1e-12), false))).await?;
    namespace.write(WriteBatch::new().upsert_batch(batch(3, "v", at(60.0, 1e6), true))).await?;
    let last = at(90.0, 1e30);
    namespace.write(WriteBatch::new().upsert(Document::new(4).with("v", last.to_vec()))).await?;
    for flushed in [false, true] {
        if flushed {
            namespace.flush().await?;
        }
        for length in [1e-30, 1e-9, 1.0, 1e6, 1e30] {
            #[expect(clippy::cast_possible_truncation, reason = "vectors are of f32")]
            let query = at(20.0, length).map(|x| x as f32);
            let hits = namespace.query(Query::nearest("v", query).limit(4)).await?.hits()?;
            let order: Vec<DocumentId> = hits.iter().map(|h| h.document.id().clone()).collect();
            assert_eq!(order, [2, 1, 3, 4], "{length}");
            for (hit, degrees) in hits.iter().zip([10f64, 20.0, 40.0, 70.0]) {
                let expected = 1.0 - degrees.to_radians().cos();
                let distance = hit.distance().unwrap();
                assert!((f64::from(distance) - expected).abs() < 2e-3, "{length}: {distance} for {expected}");
            }
        }
    }
    for zero in [[0.0, 0.0], [-0.0, 0.0]] {
        let error = namespace.query(Query::nearest("v", zero)).await.unwrap_err();
        assert!(error.to_string().contains("length zero"), "{error}");
    }
    Ok(())
}

#[tokio::test]
async fn a_vector_that_its_metric_cannot_measure_is_refused_by_name() -> Result<()> {
    let db = Database::builder().settings(Settings::default()).open("memory://").await?;
    for metric in [Metric::L2Squared, Metric::Dot] {
        let schema = Schema::builder(IdKind::U64).vector("v", VectorType::F32, 2, metric).build()?;
        let namespace = db.create_namespace(&format!("{metric:?}"), schema).await?;
        let refused = |error: elacsym::Error, words: &[&str]| {
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
            let text = error.to_string();
            assert!(words.iter().all(|word| text.contains(word)), "{text}");
        };
        let long = [1e30, 0.0];
        let words = ["1e15 at most", "column=`v`", "id=`7`"];
        let document = Document::new(7).with("v", long.to_vec());
        refused(namespace.write(WriteBatch::new().upsert(document)).await.unwrap_err(), &words);
        let row = Row { id: 7, v: long };
        refused(Document::from_serialize(namespace.schema(), &row).unwrap_err(), &words);
        for wide in [false, true] {
            let batch = WriteBatch::new().upsert_batch(batch(7, "v", long, wide));
            refused(namespace.write(batch).await.unwrap_err(), &words);
        }
        // Within the range long and short ones are taken, also as a query.
        for vector in [[7e14, -7e14], [1e-30, 0.0], [0.0, 0.0]] {
            namespace
                .write(WriteBatch::new().upsert(Document::new(1).with("v", Vector::from(vector))))
                .await?;
            namespace.query(Query::nearest("v", vector)).await?;
        }
        let error = namespace.query(Query::nearest("v", [1e15, 1e15])).await.unwrap_err();
        refused(error, &["1e15 at most", "column=`v`"]);
        assert_eq!(namespace.snapshot(Consistency::Strong).await?.count().await?, 1);
    }
    Ok(())
}
