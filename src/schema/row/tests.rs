//! Rows: there and back, and what is refused.

use std::collections::{BTreeMap, HashMap};

use half::f16;
use proptest::prelude::*;
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::deserialize::{Cell, RowDeserializer};
use crate::error::ErrorKind;
use crate::schema::{AttributeType, Schema};
use crate::types::datetime::{format_datetime, parse_datetime};
use crate::types::{Document, IdKind, Metric, Value, Vector, VectorType};

fn schema_with(id: IdKind) -> Schema {
    let scalar = [
        AttributeType::String,
        AttributeType::Int,
        AttributeType::Uint,
        AttributeType::Float,
        AttributeType::Bool,
        AttributeType::Uuid,
        AttributeType::Datetime,
        AttributeType::Bytes,
    ];
    let builder = scalar.iter().fold(Schema::builder(id), |b, kind| b.attribute(kind.to_string(), *kind));
    let arrays = scalar.iter().filter(|kind| **kind != AttributeType::Bytes);
    let builder =
        arrays.fold(builder, |b, kind| b.attribute(format!("{kind}s"), AttributeType::array(*kind).unwrap()));
    builder
        .vector("f32", VectorType::F32, 3, Metric::Dot)
        .vector("f16", VectorType::F16, 3, Metric::Dot)
        .vector("i8", VectorType::I8, 3, Metric::Dot)
        .build()
        .unwrap()
}

fn schema() -> Schema {
    schema_with(IdKind::U64)
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Colour {
    Red,
    Blue,
}

/// Bytes as bytes, where `Vec<u8>` is a sequence.
#[derive(Clone, Debug, PartialEq)]
struct Blob(Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Blob;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }
        }
        deserializer.deserialize_byte_buf(Visitor)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Meters(f32);

/// The shape of half's own `f16` under serde.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename = "f16")]
struct Bits(u16);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    id: u64,
    string: Option<Colour>,
    int: i8,
    uint: Option<u64>,
    float: Meters,
    bool: bool,
    uuid: [u8; 16],
    datetime: i64,
    bytes: Blob,
    strings: Vec<String>,
    ints: Vec<i64>,
    uints: (u8, u16),
    floats: Vec<f64>,
    bools: Option<Vec<bool>>,
    uuids: Vec<String>,
    datetimes: Vec<String>,
    f32: Vec<Meters>,
    f16: [f32; 3],
    i8: Vec<i8>,
}

fn row() -> Row {
    Row {
        id: u64::MAX,
        string: Some(Colour::Blue),
        int: -3,
        uint: None,
        float: Meters(0.1),
        bool: true,
        uuid: [7; 16],
        datetime: -1,
        bytes: Blob(vec![0, 255]),
        strings: vec!["a".into(), String::new()],
        ints: vec![i64::MIN, i64::MAX],
        uints: (1, 500),
        floats: vec![0.1, -5.5],
        bools: Some(vec![true, false]),
        uuids: vec!["0000002a-0000-0000-0000-000000000000".into()],
        datetimes: vec!["2024-02-29T12:00:00.250Z".into()],
        f32: vec![Meters(0.1), Meters(f32::MIN_POSITIVE), Meters(16_777_217.0)],
        f16: [0.5, -1.0, 2048.0],
        i8: vec![-128, 0, 127],
    }
}

#[test]
fn a_row_of_all_kinds_comes_back() {
    let document = Document::from_serialize(&schema(), &row()).unwrap();
    assert_eq!(document.get("string"), Some(&"blue".into()));
    assert_eq!(document.get("float"), Some(&Value::Float(f64::from(0.1f32))));
    assert_eq!(document.get("uuid"), Some(&Uuid::from_bytes([7; 16]).into()));
    assert_eq!(document.get("f32"), Some(&Vector::from([0.1, f32::MIN_POSITIVE, 16_777_217.0]).into()));
    assert_eq!(document.get("i8"), Some(&Vector::I8(vec![-128, 0, 127]).into()));
    assert_eq!(document.get("uint"), None);
    assert_eq!(document.deserialize::<Row>().unwrap(), row());
}

fn one<T: Serialize>(column: &'static str, value: T) -> Result<Value, crate::error::Error> {
    #[derive(Serialize)]
    struct Two<T> {
        id: u64,
        #[serde(flatten)]
        rest: BTreeMap<&'static str, T>,
    }
    let row = Two { id: 1, rest: BTreeMap::from([(column, value)]) };
    let document = Document::from_serialize(&schema(), &row)?;
    Ok(document.get(column).cloned().unwrap_or(Value::Null))
}

#[test]
fn columns_take_what_their_type_allows() {
    let uuid = Uuid::from_u128(9);
    assert_eq!(one("uuid", uuid.to_string()).unwrap(), uuid.into());
    assert_eq!(one("uuid", Blob(uuid.as_bytes().to_vec())).unwrap(), uuid.into());
    assert_eq!(one("uuids", [uuid.to_string()]).unwrap(), vec![uuid].into());
    assert_eq!(one("datetime", "1970-01-01T01:00:01+01:00").unwrap(), Value::Datetime(1_000));
    assert_eq!(one("datetime", "1970-01-01T00:00:00.000999Z").unwrap(), Value::Datetime(0));
    assert_eq!(one("datetime", "1969-12-31T23:59:59.999999Z").unwrap(), Value::Datetime(-1));
    assert_eq!(one("datetime", 5u32).unwrap(), Value::Datetime(5));
    assert_eq!(one("bytes", vec![1u8, 2]).unwrap(), Value::Bytes(vec![1, 2].into()));
    assert_eq!(one("string", 'é').unwrap(), "é".into());
    assert_eq!(one("int", Some(Some(3u128))).unwrap(), Value::Int(3));
    assert_eq!(one("float", 3).unwrap(), Value::Float(3.0));
    assert_eq!(one("int", ()).unwrap(), Value::Null);
    assert_eq!(one("f32", None::<Vec<f32>>).unwrap(), Value::Null);
    assert_eq!(one("f32", (1u8, -2i64, 0.5f64)).unwrap(), Vector::from([1.0, -2.0, 0.5]).into());
    assert_eq!(one("i8", [1i64, -1, 0]).unwrap(), Vector::I8(vec![1, -1, 0]).into());
    let halves = [0.5, 1.5, -2.0].map(f16::from_f32);
    assert_eq!(one("f16", halves.map(|x| Bits(x.to_bits()))).unwrap(), Vector::F16(halves.to_vec()).into());
}

#[test]
fn what_a_column_does_not_take_names_it() {
    let refused = |result: Result<Value, crate::error::Error>, words: &str| {
        let error = result.unwrap_err();
        assert!(error.is(ErrorKind::Invalid) && error.to_string().contains(words), "{error}");
    };
    refused(one("other", 1), "unknown field. column=`other`");
    refused(one("int", "secret"), "expected int, found string. column=`int`");
    refused(one("int", u64::MAX), "column=`int`");
    refused(one("int", u128::MAX), "64 bits. column=`int`");
    refused(one("uint", -1), "column=`uint`");
    refused(one("float", f64::NAN), "NaN is not a value. column=`float`");
    refused(one("uuid", "x"), "not a uuid. column=`uuid`");
    refused(one("uuid", vec![1u8; 15]), "16 bytes, found 15. column=`uuid`");
    refused(one("datetime", "yesterday"), "RFC 3339. column=`datetime`");
    refused(one("bytes", vec![256]), "numbers from 0 to 255. column=`bytes`");
    refused(one("strings", vec![None, Some("x")]), "null inside an array. column=`strings`");
    refused(one("strings", vec![vec!["x"]]), "a sequence. column=`strings`");
    refused(one("string", vec!["x"]), "a sequence. column=`string`");
    refused(one("strings", "x"), "expected []string, found string");
    refused(one("string", BTreeMap::from([("a", 1)])), "columns are flat. column=`string`");
    refused(one("string", Ok::<u8, u8>(1)), "columns are flat. column=`string`");
    refused(one("f32", [0.5; 2]), "wrong dimension: expected 3, found 2. column=`f32`");
    refused(one("f32", [0.5; 4]), "wrong dimension: expected 3, found more. column=`f32`");
    refused(one("f32", [Some(1.0), None, None]), "null inside a vector. column=`f32`");
    refused(one("f32", ["1", "2", "3"]), "only numbers. column=`f32`");
    refused(one("f32", [f32::NAN; 3]), "NaN");
    refused(one("f16", [1e9; 3]), "too large");
    refused(one("i8", [0.5; 3]), "whole numbers");
}

#[test]
fn ids_are_of_the_kind_the_schema_says() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Id<T> {
        id: T,
    }
    let uuid = Uuid::from_u128(5);
    let make = |kind, row: &dyn Fn(&Schema) -> crate::error::Result<Document>| {
        row(&schema_with(kind)).map(|d| d.id().clone())
    };
    assert_eq!(make(IdKind::U64, &|s| Document::from_serialize(s, &Id { id: 7i32 })).unwrap(), 7);
    assert_eq!(make(IdKind::String, &|s| Document::from_serialize(s, &Id { id: "a" })).unwrap(), "a");
    let text = uuid.to_string();
    assert_eq!(make(IdKind::Uuid, &|s| Document::from_serialize(s, &Id { id: &text })).unwrap(), uuid);
    for kind in [IdKind::U64, IdKind::Uuid, IdKind::String] {
        assert!(make(kind, &|s| Document::from_serialize(s, &Id { id: -1 })).is_err());
        assert!(make(kind, &|s| Document::from_serialize(s, &Id { id: None::<u8> })).is_err());
        assert!(make(kind, &|s| Document::from_serialize(s, &Id { id: "" })).is_err());
        assert!(make(kind, &|s| Document::from_serialize(s, &BTreeMap::<&str, u8>::new())).is_err());
    }
    assert_eq!(Document::new(uuid).deserialize::<Id<String>>().unwrap().id, text);
    assert_eq!(Document::new(uuid).deserialize::<Id<[u8; 16]>>().unwrap().id, *uuid.as_bytes());
    assert_eq!(Document::new("red").deserialize::<Id<Colour>>().unwrap().id, Colour::Red);
    assert_eq!(Document::new(7).deserialize::<Id<f64>>().unwrap().id.to_bits(), 7f64.to_bits());
}

#[test]
fn values_go_into_the_types_that_ask() {
    #[derive(Deserialize)]
    struct Times {
        number: i64,
        text: String,
    }
    #[derive(Debug, Deserialize)]
    struct Wrong {
        #[serde(rename = "number")]
        _number: Vec<u8>,
    }
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Few {
        #[serde(rename = "id")]
        _id: u64,
    }
    let time = Value::Datetime(951_782_400_001);
    let document = Document::new(1).with("number", time.clone()).with("text", time);
    let times: Times = document.deserialize().unwrap();
    assert_eq!((times.number, times.text.as_str()), (951_782_400_001, "2000-02-29T00:00:00.001Z"));
    assert_eq!(format_datetime(i64::MAX), None);
    let error = document.deserialize::<Wrong>().unwrap_err();
    assert!(error.is(ErrorKind::Invalid), "{error:?}");
    let error = error.to_string();
    assert!(error.contains("column=`number`") && error.contains("document `1`"), "{error}");
    assert!(!error.contains("951"), "{error}");
    assert!(document.deserialize::<Few>().is_err());
    assert!(document.deserialize::<Vec<u8>>().is_err());
    assert!(document.deserialize::<Option<serde::de::IgnoredAny>>().unwrap().is_some());
}

#[test]
fn rows_may_have_further_fields() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Hit {
        id: u64,
        title: String,
        gone: Option<i64>,
        #[serde(rename = "$score")]
        score: f32,
    }
    let document = Document::new(4).with("title", "x").with("gone", Value::Null);
    let score = Value::Float(0.25);
    let cells = Cell::of_document(&document).chain([("$score", Cell::Value(&score))]);
    let hit = Hit::deserialize(RowDeserializer::new(cells)).unwrap();
    assert_eq!(hit, Hit { id: 4, title: "x".into(), gone: None, score: 0.25 });
}

/// Serializes as many times `value` as it says, and claims still more.
struct Endless<T>(usize, T);

impl<T: Serialize> Serialize for Endless<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut items = serializer.serialize_seq(Some(usize::MAX))?;
        for _ in 0..self.0 {
            items.serialize_element(&self.1)?;
        }
        items.end()
    }
}

#[derive(Serialize)]
struct Deep(Option<Box<Deep>>);

#[test]
fn hostile_rows_end_early() {
    let deep = (0..1_000).fold(Deep(None), |inner, _| Deep(Some(Box::new(inner))));
    assert!(one("string", &deep).unwrap_err().to_string().contains("nested too deep"));
    assert!(Document::from_serialize(&schema(), &deep).unwrap_err().to_string().contains("nested too deep"));
    assert!(one("f32", Endless(usize::MAX, 0.5)).is_err());
    assert!(one("strings", Endless(usize::MAX, "")).unwrap_err().is(ErrorKind::LimitExceeded));
    assert!(one("ints", Endless(usize::MAX, 1)).unwrap_err().is(ErrorKind::LimitExceeded));
    assert!(one("ints", Endless(usize::MAX, "x")).unwrap_err().is(ErrorKind::Invalid));
    assert!(one("bytes", Endless(usize::MAX, 1)).unwrap_err().is(ErrorKind::LimitExceeded));
    assert!(one("string", "x".repeat((8 << 20) + 1)).unwrap_err().is(ErrorKind::LimitExceeded));
    for error in [
        Document::from_serialize(&schema(), &7).unwrap_err(),
        Document::from_serialize(&schema(), &[1, 2]).unwrap_err(),
        Document::from_serialize(&schema(), &Colour::Red).unwrap_err(),
        Document::from_serialize(&schema(), &Ok::<u8, u8>(1)).unwrap_err(),
        Document::from_serialize(&schema(), &None::<u8>).unwrap_err(),
    ] {
        assert!(error.to_string().contains("a row is a struct or a map"), "{error}");
    }
    assert!(Document::from_serialize(&schema(), &HashMap::from([(1, 2)])).is_err());
}

#[test]
fn a_field_that_comes_twice_is_refused() {
    struct Twice(&'static str);
    impl Serialize for Twice {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            map.serialize_entry("id", &1)?;
            map.serialize_entry(self.0, &1)?;
            map.serialize_entry(self.0, &None::<u8>)?;
            map.end()
        }
    }
    for field in ["id", "int"] {
        let error = Document::from_serialize(&schema(), &Twice(field)).unwrap_err().to_string();
        assert!(error.contains(&format!("column=`{field}`")), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn json_of_any_shape_is_a_document_or_an_error(text in json(), column in column()) {
        let row = serde_json::json!({ "id": 1, column: text });
        let _ = Document::from_serialize(&schema(), &row);
    }

    #[test]
    fn datetimes_read_what_they_write(time in -62_167_219_200_000i64..=253_402_300_799_999) {
        prop_assert_eq!(parse_datetime(&format_datetime(time).unwrap()), Ok(time));
    }

    #[test]
    fn any_text_as_a_datetime_is_a_time_or_an_error(text in "[0-9TtZz:+. é-]{0,40}", tail in ".{0,4}") {
        let _ = parse_datetime(&text);
        let _ = parse_datetime(&format!("2024-01-01{text}"));
        let _ = parse_datetime(&format!("2024-01-01T00:00:00{text}{tail}"));
    }

    #[test]
    fn floats_of_32_bits_come_back_bit_by_bit(bits in any::<[u32; 3]>()) {
        // Below 2: none is too long.
        let bits = bits.map(|bits| bits & !0x4000_0000);
        let vector = bits.map(f32::from_bits);
        let Value::Vector(Vector::F32(stored)) = one("f32", vector).unwrap() else { panic!() };
        prop_assert_eq!(stored.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), bits);
        prop_assert_eq!(one("float", vector[0]).unwrap(), Value::Float(f64::from(vector[0])));
    }
}

fn column() -> impl Strategy<Value = String> {
    let names: Vec<_> = schema().columns().iter().map(|c| c.name.clone()).collect();
    proptest::sample::select(names)
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let map = proptest::collection::btree_map(".{0,3}", inner.clone(), 0..4);
        prop_oneof![
            proptest::collection::vec(inner, 0..4).prop_map(Into::into),
            map.prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}
