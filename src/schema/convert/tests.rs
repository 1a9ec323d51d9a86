//! Conversions: by example, and over random schemas and documents.

use std::sync::Arc;

use arrow::array::*;
use arrow::compute::cast;
use arrow::datatypes::*;
use half::f16;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use uuid::Uuid;

use super::testing::{SCALARS, cast_columns, schema_of, schemas_with_documents, without_nulls};
use crate::error::{ErrorKind, Result};
use crate::schema::{AttributeType, ColumnKind, Schema, VectorColumn};
use crate::types::{Document, IdKind, Metric, VALUE_BYTES_MAX, Value, Vector, VectorType};

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn documents_come_back_from_a_batch((schema, documents) in schemas_with_documents()) {
        let batch = schema.to_batch(&documents).unwrap();
        prop_assert_eq!(batch.schema(), schema.arrow());
        prop_assert_eq!(schema.documents(&batch).unwrap(), without_nulls(&schema, &documents));
        prop_assert_eq!(schema.check_batch(batch.clone()).unwrap(), batch);
    }

    #[test]
    fn a_batch_in_other_types_is_the_same_batch(
        (schema, documents) in schemas_with_documents(),
        choices in vec(any::<Index>(), 9),
        (from, to) in (any::<Index>(), any::<Index>()),
    ) {
        let batch = schema.to_batch(&documents).unwrap();
        let cast = cast_columns(&batch, &choices);
        prop_assert_eq!(&schema.check_batch(cast.clone()).unwrap(), &batch);
        let rows = batch.num_rows();
        let start = from.index(rows + 1);
        let length = to.index(rows - start + 1);
        let slice = schema.check_batch(cast.slice(start, length)).unwrap();
        prop_assert_eq!(schema.documents(&slice).unwrap(), &without_nulls(&schema, &documents)[start..start + length]);
        prop_assert_eq!(slice, batch.slice(start, length));
    }

    /// Values that one schema takes, put to another: both ways refuse the same.
    #[test]
    fn batches_and_documents_are_refused_alike(
        numbers in vec((any::<i64>(), prop_oneof![Just(f64::NAN), any::<f64>()]), 1..3),
        vectors in vec(vec(select(vec![0.0f32, 0.5, -0.0, 3.0, 1e6, f32::NAN, f32::INFINITY, 200.0, 1e30, 1e-9]), 2), 1..3),
        small in any::<bool>(),
        element in select(vec![VectorType::F32, VectorType::F16, VectorType::I8]),
        metric in select(vec![Metric::Cosine, Metric::Dot, Metric::L2Squared]),
    ) {
        let loose = Schema::builder(IdKind::U64)
            .attribute("u", AttributeType::Int)
            .attribute("fs", AttributeType::IntArray)
            .attribute("f", AttributeType::Float)
            .vector("v", VectorType::F32, 2, Metric::Dot)
            .build()
            .unwrap();
        let strict = Schema::builder(IdKind::U64)
            .attribute("u", AttributeType::Uint)
            .attribute("fs", AttributeType::FloatArray)
            .attribute("f", AttributeType::Float)
            .vector("v", element, 2, metric)
            .build()
            .unwrap();
        let rows: Vec<_> = numbers.iter().zip(&vectors).zip(1u64..).map(|(((x, f), v), id)| {
            let x = if small { x.rem_euclid(100) } else { *x };
            let row = Document::new(id).with("u", x).with("fs", vec![x, 1]);
            row.with("f", *f).with("v", Vector::F32(v.clone()))
        }).collect();
        let by_document = rows.iter().map(|d| strict.check(d.clone())).collect::<Result<Vec<_>>>();
        let by_batch = strict.check_batch(loose.encode(&rows).unwrap());
        match (by_document, by_batch) {
            (Ok(documents), Ok(batch)) => prop_assert_eq!(strict.encode(&documents).unwrap(), batch),
            (Err(one), Err(other)) => prop_assert_eq!(one.kind(), other.kind()),
            (one, other) => prop_assert!(false, "{one:?} against {other:?}"),
        }
    }
}

#[test]
fn every_type_goes_in_and_out() {
    let time = Value::Datetime(1_700_000_000_123);
    let uuid = Uuid::from_u128(7);
    let schema = Schema::builder(IdKind::String);
    let schema = SCALARS.iter().fold(schema, |s, kind| s.attribute(kind.to_string(), *kind));
    let arrays = SCALARS.iter().filter(|kind| **kind != AttributeType::Bytes);
    let schema = arrays.fold(schema, |s, k| s.attribute(format!("[]{k}"), AttributeType::array(*k).unwrap()));
    let schema = schema
        .vector("f32", VectorType::F32, 2, Metric::Cosine)
        .vector("f16", VectorType::F16, 2, Metric::Dot)
        .vector("i8", VectorType::I8, 2, Metric::L2Squared)
        .build()
        .unwrap();
    let whole = Document::new("a")
        .with("string", "é")
        .with("int", i64::MIN)
        .with("uint", u64::MAX)
        .with("float", 0.1)
        .with("bool", true)
        .with("uuid", uuid)
        .with("datetime", time.clone())
        .with("bytes", Value::Bytes(vec![0, 255].into()))
        .with("[]string", vec!["", "b"])
        .with("[]int", vec![-1i64])
        .with("[]uint", vec![1u64, 2])
        .with("[]float", Vec::<f64>::new())
        .with("[]bool", vec![true, false])
        .with("[]uuid", vec![uuid])
        .with("[]datetime", vec![time.clone(), time])
        .with("f32", Vector::from([0.1, -0.2]))
        .with("f16", Vector::from(vec![f16::from_f32(0.1), f16::ZERO]))
        .with("i8", Vector::from(vec![-128i8, 127]));
    assert_eq!(whole.iter().count(), schema.columns().len());
    let documents = [Document::new("0"), whole, Document::new("z")];
    let batch = schema.to_batch(&documents).unwrap();
    assert_eq!(schema.documents(&batch).unwrap(), documents);
    assert_eq!(schema.check_batch(batch.clone()).unwrap(), batch);
    // Any subset, in any order.
    let some = batch.project(&[5, 0, 16]).unwrap();
    assert_eq!(
        schema.documents(&some).unwrap()[1].iter().map(|(c, _)| c).collect::<Vec<_>>(),
        ["bool", "f32"]
    );
    assert!(schema.documents(&batch.project(&[1]).unwrap()).is_err());
}

fn schema() -> Schema {
    schema_of(
        IdKind::U64,
        &[
            ColumnKind::Attribute(AttributeType::Int),
            ColumnKind::Attribute(AttributeType::Datetime),
            ColumnKind::Attribute(AttributeType::Uuid),
            ColumnKind::Attribute(AttributeType::StringArray),
            ColumnKind::Vector(VectorColumn {
                element: VectorType::F32,
                dimension: 2,
                metric: Metric::Cosine,
                code_bits: crate::schema::CODE_BITS,
            }),
            ColumnKind::Attribute(AttributeType::String),
            ColumnKind::Attribute(AttributeType::Float),
        ],
    )
}

/// A batch with ids 10, 11, … and one more column.
fn batch(column: &str, array: ArrayRef) -> RecordBatch {
    let ids = Int8Array::from_iter_values((0..array.len()).map(|row| 10 + i8::try_from(row).unwrap()));
    RecordBatch::try_from_iter_with_nullable([("id", Arc::new(ids) as _, true), (column, array, true)])
        .unwrap()
}

fn imported(column: &str, array: impl Array + 'static) -> Vec<Option<Value>> {
    let checked = schema().check_batch(batch(column, Arc::new(array))).unwrap();
    schema().documents(&checked).unwrap().iter().map(|d| d.get(column).cloned()).collect()
}

fn refused(column: &str, array: impl Array + 'static, words: &str) {
    let error = schema().check_batch(batch(column, Arc::new(array))).unwrap_err();
    assert!(error.is(ErrorKind::Invalid) || error.is(ErrorKind::LimitExceeded), "{error:?}");
    let error = error.to_string();
    assert!(error.contains(words) && error.contains(&format!("column=`{column}`")), "{error}");
}

#[test]
fn times_dates_and_uuids_come_in() {
    let time = |x| Some(Value::Datetime(x));
    assert_eq!(imported("c1", TimestampSecondArray::from(vec![Some(3), None])), [time(3_000), None]);
    let micro = TimestampMicrosecondArray::from(vec![-5_000]).with_timezone("Europe/Berlin");
    assert_eq!(imported("c1", micro), [time(-5)]);
    // What is finer than a millisecond is cut off towards the past, on both sides of 1970.
    let micro = TimestampMicrosecondArray::from(vec![1_999, 1_000, 0, -1, -1_000, -1_001, i64::MIN]);
    let least = time(-9_223_372_036_854_776);
    assert_eq!(imported("c1", micro), [time(1), time(1), time(0), time(-1), time(-1), time(-2), least]);
    let nano = TimestampNanosecondArray::from(vec![1_700_000_000_123_456_789, -1]).with_timezone("+02:00");
    assert_eq!(imported("c1", nano), [time(1_700_000_000_123), time(-1)]);
    let text = StringViewArray::from(vec![Some("2023-11-14T23:13:20.123999999+01:00"), None]);
    assert_eq!(imported("c1", text), [time(1_700_000_000_123), None]);
    refused("c1", StringArray::from(vec![Some("today")]), "RFC 3339. column=`c1` id=`10`");
    assert_eq!(imported("c1", Date32Array::from(vec![-1])), [time(-86_400_000)]);
    assert_eq!(imported("c1", Date64Array::from(vec![86_400_000])), [time(86_400_000)]);
    refused("c1", TimestampSecondArray::from(vec![i64::MAX]), "out of range");
    refused("c1", Int64Array::from(vec![1]), "expected datetime");
    let uuid = Uuid::from_u128(77);
    let text = StringViewArray::from(vec![Some(uuid.to_string()), None]);
    assert_eq!(imported("c2", text), [Some(Value::Uuid(uuid)), None]);
    refused("c2", StringArray::from(vec![Some("x")]), "not a uuid. column=`c2` id=`10`");
}

#[test]
fn numbers_that_do_not_fit_name_column_and_id() {
    let wide = UInt64Array::from(vec![Some(1), Some(u64::MAX), None]);
    refused("c0", wide, "does not fit an int. column=`c0` id=`11`");
    refused("c0", Float64Array::from(vec![1.0]), "expected int");
    refused("c6", Int64Array::from(vec![0, i64::MAX]), "exactly. column=`c6` id=`11`");
    refused(
        "c6",
        Float32Array::from(vec![Some(1.0), None, Some(f32::NAN)]),
        "NaN is not a value. column=`c6` id=`12`",
    );
    assert_eq!(imported("c6", Float32Array::from(vec![0.5])), [Some(Value::Float(0.5))]);
    assert_eq!(imported("c0", NullArray::new(2)), [None, None]);
    // What lies under a null is not looked at.
    let hidden = Float64Array::new(vec![f64::NAN].into(), Some(vec![false].into()));
    assert_eq!(imported("c6", hidden), [None]);
}

#[test]
fn lists_and_vectors_keep_their_rules() {
    let strings = |rows: Vec<Option<Vec<Option<&str>>>>| {
        let mut builder = ListBuilder::new(StringBuilder::new());
        builder.extend(rows);
        builder.finish()
    };
    refused(
        "c3",
        strings(vec![None, Some(vec![Some("a"), None])]),
        "null inside an array. column=`c3` id=`11`",
    );
    refused("c3", StringArray::from(vec!["a"]), "expected []string");
    let floats = |rows: Vec<Option<Vec<Option<f64>>>>| {
        let rows = ListArray::from_iter_primitive::<Float64Type, _, _>(rows);
        Arc::new(rows) as ArrayRef
    };
    let vectors = floats(vec![None, Some(vec![Some(0.1), Some(1e30)]), None]);
    let vector = Some(Value::Vector(Vector::from([0.1, 1e30])));
    assert_eq!(imported("c4", vectors), [None, vector, None]);
    let bad = |vector: Vec<Option<f64>>, words: &str| {
        refused("c4", floats(vec![None, Some(vec![Some(1.0); 2]), Some(vector)]), words);
    };
    bad(vec![Some(1.0)], "wrong dimension: expected 2, found 1. column=`c4` id=`12`");
    bad(vec![Some(1.0), None], "null inside a vector. column=`c4` id=`12`");
    bad(vec![Some(1.0), Some(f64::NAN)], "NaN, infinite or too large. column=`c4` id=`12`");
    bad(vec![Some(1.0), Some(1e300)], "too large. column=`c4` id=`12`");
    bad(vec![Some(-0.0), Some(0.0)], "no cosine. column=`c4` id=`12`");
    refused("c4", strings(vec![Some(vec![Some("a")])]), "expected a vector");
    let nested = cast(
        &floats(vec![Some(vec![Some(1.0)])]),
        &DataType::LargeList(Arc::new(Field::new(
            "x",
            DataType::List(Arc::new(Field::new("y", DataType::Float64, true))),
            true,
        ))),
    );
    refused("c4", nested.unwrap(), "expected a vector");
}

#[test]
fn fixed_size_lists_may_hold_nulls_where_the_row_is_null() {
    let mut builder = FixedSizeListBuilder::new(Float32Builder::new(), 2);
    builder.values().append_nulls(2);
    builder.append(false);
    builder.values().append_slice(&[f32::NAN, 1.0]);
    builder.append(false);
    builder.values().append_slice(&[0.5, 1.0]);
    builder.append(true);
    let vectors = builder.finish();
    let vector = Some(Value::Vector(Vector::from([0.5, 1.0])));
    assert_eq!(imported("c4", vectors.clone()), [None, None, vector]);
    let checked = schema().check_batch(batch("c4", Arc::new(vectors))).unwrap();
    let flat = checked.column(5).as_fixed_size_list().values().as_primitive::<Float32Type>().clone();
    assert_eq!(flat.values(), &[0.0, 0.0, 0.0, 0.0, 0.5, 1.0]);
}

#[test]
fn dictionaries_are_measured_before_they_are_unpacked() {
    let keys = Int32Array::from(vec![0; 300]);
    let large = StringArray::from(vec!["x".repeat(8 << 20)]);
    let dictionary = DictionaryArray::new(keys, Arc::new(large));
    let ids = UInt64Array::from_iter_values(0..300);
    let batch = RecordBatch::try_from_iter([("id", Arc::new(ids) as ArrayRef), ("c5", Arc::new(dictionary))]);
    let error = schema().check_batch(batch.unwrap()).unwrap_err();
    assert!(error.is(ErrorKind::LimitExceeded), "{error:?}");
}

#[test]
fn limits_hold_in_batches() {
    refused(
        "c5",
        StringArray::from(vec![String::new(), "x".repeat(VALUE_BYTES_MAX + 1)]),
        "column=`c5` id=`11`",
    );
    let schema =
        (0..9).fold(Schema::builder(IdKind::U64), |s, i| s.attribute(format!("c{i}"), AttributeType::String));
    let schema = schema.build().unwrap();
    let text: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(VALUE_BYTES_MAX)]));
    let id: ArrayRef = Arc::new(UInt64Array::from(vec![1]));
    let columns = |count: usize| {
        let texts = (0..count).map(|i| (format!("c{i}"), text.clone()));
        RecordBatch::try_from_iter(std::iter::once(("id".to_owned(), id.clone())).chain(texts)).unwrap()
    };
    assert!(schema.check_batch(columns(8)).is_ok());
    assert!(schema.check_batch(columns(9)).unwrap_err().is(ErrorKind::LimitExceeded));
    // Null vectors take room: a batch that would need terabytes of them is refused.
    let wide =
        Schema::builder(IdKind::U64).vector("v", VectorType::F32, 16_384, Metric::Dot).build().unwrap();
    let ids: ArrayRef = Arc::new(UInt64Array::from_iter_values(0..40_000));
    let batch = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    assert!(wide.check_batch(batch).unwrap_err().is(ErrorKind::LimitExceeded));
    let documents: Vec<_> = (0..40_000u64).map(Document::new).collect();
    assert!(wide.to_batch(&documents).unwrap_err().is(ErrorKind::LimitExceeded));
}

#[test]
fn ids_and_names_of_a_batch_are_checked() {
    let refused = |schema: &Schema, columns: Vec<(&str, ArrayRef)>, words: &str| {
        let columns = columns.into_iter().map(|(name, array)| (name, array, true));
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let error = schema.check_batch(batch).unwrap_err();
        assert!(error.is(ErrorKind::Invalid) && error.to_string().contains(words), "{error}");
    };
    let ids = |ids: Vec<Option<i64>>| Arc::new(Int64Array::from(ids)) as ArrayRef;
    refused(&schema(), vec![("c0", ids(vec![Some(1)]))], "no id column");
    refused(&schema(), vec![("id", ids(vec![Some(1), None]))], "an id is null. column=`id` row=`1`");
    refused(&schema(), vec![("id", ids(vec![Some(-1)]))], "does not fit a uint. column=`id` row=`0`");
    refused(
        &schema(),
        vec![("id", ids(vec![Some(1)])), ("x", ids(vec![None]))],
        "unknown column. column=`x`",
    );
    refused(&schema(), vec![("id", ids(vec![])), ("id", ids(vec![]))], "duplicate column");
    let strings = Schema::builder(IdKind::String).build().unwrap();
    let id = |text: &str| vec![("id", Arc::new(StringArray::from(vec![text])) as ArrayRef)];
    refused(&strings, id(""), "empty string id");
    refused(&strings, id(&"x".repeat(65)), "at most 64");
    let uuids = Schema::builder(IdKind::Uuid).build().unwrap();
    refused(&uuids, id("7"), "not a uuid");
}

#[test]
fn unchecked_documents_are_an_error_not_a_panic() {
    for value in [Value::from("x"), vec![1].into(), Vector::from([1.0; 3]).into()] {
        for column in schema().columns() {
            let document = Document::new(1).with(&column.name, value.clone());
            let _ = schema().encode(&[document]);
        }
    }
    let error = schema().encode(&[Document::new(1).with("c0", "x")]).unwrap_err();
    assert!(error.is(ErrorKind::Internal) && error.to_string().contains("c0"));
}
