//! Random filters over random documents: the evaluation by columns agrees with the one by documents, and the
//! laws of logic hold.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, Float32Array, Float64Array, Int64Array,
    ListArray, RecordBatch, StringArray, TimestampMillisecondArray, UInt64Array, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::concat;
use arrow::datatypes::DataType;
use bytes::Bytes;
use proptest::prelude::*;
use uuid::Uuid;

use super::{BoundFilter, Filter, Fuzzy, IndexPlan, Operand, SegmentIndexes, ZoneMapFilter, oracle};
use crate::cache::{Blob, BlockCache, Span};
use crate::env::Env;
use crate::index::Candidates;
use crate::index::attributes::{AttributeIndex, AttributeIndexBuilder};
use crate::schema::{AttributeType, ColumnKind, Schema};
use crate::segment::{ColumnStatistics, ColumnStatisticsBuilder};
use crate::settings::Settings;
use crate::storage::{MemoryBackend, ObjectKey, PutMode, StorageBackend};
use crate::types::{Document, DocumentId, IdKind, Metric, Value, Vector, VectorType};

const TYPES: [AttributeType; 15] = [
    AttributeType::String,
    AttributeType::StringArray,
    AttributeType::Int,
    AttributeType::IntArray,
    AttributeType::Float,
    AttributeType::FloatArray,
    AttributeType::Uint,
    AttributeType::UintArray,
    AttributeType::Uuid,
    AttributeType::UuidArray,
    AttributeType::Datetime,
    AttributeType::DatetimeArray,
    AttributeType::Bool,
    AttributeType::BoolArray,
    AttributeType::Bytes,
];
/// The last four begin alike and are longer than a fence, as long as a key of the index, and longer.
const TEXTS: [&str; 16] = [
    "",
    "a",
    "ab",
    "B",
    "é",
    "É",
    "aab",
    "a*b",
    "a\nb",
    "{a}",
    "\u{10ffff}",
    "b/a",
    LONG.split_at(40).0,
    LONG.split_at(128).0,
    LONG.split_at(129).0,
    LONG,
];
const LONG: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\
    bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbba";

/// Choices drawn from bytes, zero when they run out: what fails shrinks to few and simple choices.
struct Dice<'a>(std::slice::Iter<'a, u8>);

impl Dice<'_> {
    fn below(&mut self, sides: usize) -> usize {
        usize::from(self.0.next().copied().unwrap_or(0)) % sides
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    fn some<T>(&mut self, fewer_than: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(fewer_than)).map(|_| make(self)).collect()
    }

    fn scalar(&mut self, kind: AttributeType) -> Value {
        match kind {
            AttributeType::String => self.pick(&TEXTS).into(),
            AttributeType::Int => self.pick(&[0, 1, -1, 7, i64::MIN, i64::MAX]).into(),
            AttributeType::Uint => self.pick(&[0, 1, 7, u64::MAX, 1 << 63]).into(),
            AttributeType::Float => self
                .pick(&[0.0, -0.0, 1.0, -1.0, 7.0, f64::INFINITY, f64::MIN, 5e-324, 9_007_199_254_740_992.0])
                .into(),
            AttributeType::Bool => (self.below(2) == 1).into(),
            AttributeType::Uuid => Uuid::from_u128(self.pick(&[0, 1, u128::MAX, 1 << 127])).into(),
            AttributeType::Datetime => Value::Datetime(self.pick(&[0, 1, -1, i64::MAX])),
            _ => Bytes::from_static(self.pick(&[b"".as_slice(), b"a", b"\xff\x00"])).into(),
        }
    }

    /// A value as a caller may spell it: of numbers, any number of any type.
    fn operand(&mut self, kind: AttributeType) -> Value {
        match self.value(kind) {
            Value::Int(_) | Value::Uint(_) | Value::Float(_) if self.below(2) == 1 => self.number(),
            Value::Array(elements) => {
                let number = |v: &Value| matches!(v, Value::Int(_) | Value::Uint(_) | Value::Float(_));
                let loose = |v: Value| if number(&v) && self.below(4) == 3 { self.number() } else { v };
                Value::Array(elements.into_iter().map(loose).collect())
            }
            value => value,
        }
    }

    /// Numbers that the columns hold, and others between and beyond them.
    fn number(&mut self) -> Value {
        let numbers: [Value; 14] = [
            0.into(),
            1u64.into(),
            1.0.into(),
            7.0.into(),
            (-1).into(),
            (-1.0).into(),
            0.5.into(),
            (-0.5).into(),
            u64::MAX.into(),
            i64::MAX.into(),
            ((1i64 << 53) + 1).into(),
            (-9_223_372_036_854_775_808.0).into(),
            f64::NEG_INFINITY.into(),
            1e30.into(),
        ];
        self.pick(&numbers)
    }

    fn value(&mut self, kind: AttributeType) -> Value {
        match kind.element() {
            Some(element) => Value::Array(self.some(4, |dice| dice.scalar(element))),
            None => self.scalar(kind),
        }
    }

    fn schema(&mut self) -> Schema {
        let id = self.pick(&[IdKind::U64, IdKind::String, IdKind::Uuid]);
        let mut builder = Schema::builder(id).vector("v", VectorType::F32, 1, Metric::Dot);
        for column in 0..=self.below(5) {
            let (name, kind) = (format!("c{column}"), self.pick(&TYPES));
            let strings = matches!(kind, AttributeType::String | AttributeType::StringArray);
            builder = builder.attribute(name.as_str(), kind).trigrams(&name, strings && self.below(3) > 0);
        }
        builder.build().unwrap()
    }

    fn document(&mut self, schema: &Schema) -> Document {
        let mut document = Document::new(match (schema.id(), self.below(8)) {
            (IdKind::U64, n) => DocumentId::U64([0, 1, 7, u64::MAX][n % 4]),
            (IdKind::Uuid, n) => Uuid::from_u128([0, 1, u128::MAX, 1 << 127][n % 4]).into(),
            (IdKind::String, n) => TEXTS[n + 1].into(),
        });
        for (name, kind) in schema.attributes() {
            if self.below(4) != 3 {
                document.set(name, self.value(kind));
            }
        }
        if self.below(2) == 1 {
            document.set("v", Vector::from([1.0]));
        }
        schema.check(document).unwrap()
    }

    fn filter(&mut self, schema: &Schema, depth: usize) -> Filter {
        if depth > 0 {
            match self.below(6) {
                1 => return Filter::And(self.some(4, |dice| dice.filter(schema, depth - 1))),
                2 => return Filter::Or(self.some(4, |dice| dice.filter(schema, depth - 1))),
                3 => return Filter::Not(Box::new(self.filter(schema, depth - 1))),
                _ => {}
            }
        }
        let mut columns: Vec<_> = schema.attributes().collect();
        columns.push(("id", AttributeType::of_id(schema.id())));
        let (name, kind) = self.pick(&columns);
        match self.below(7) {
            0 => Filter::is_null(self.pick(&[name, "v"])),
            1 => Filter::not_eq(self.pick(&[name, "v"]), Value::Null),
            2 => {
                let values =
                    self.some(4, |dice| if dice.below(5) == 4 { Value::Null } else { dice.operand(kind) });
                Filter::is_in(name, values)
            }
            3 if matches!(kind, AttributeType::String | AttributeType::StringArray) => self.pattern(name),
            4 if kind.element().is_some() => self.of_elements(&columns, name, kind.element().unwrap()),
            _ => self.predicate(&columns, name, kind),
        }
    }

    /// A value, or the new value of a column of the same type.
    fn against(&mut self, columns: &[(&str, AttributeType)], kind: AttributeType) -> Operand {
        let same: Vec<_> = columns.iter().filter(|c| c.1 == kind).collect();
        if self.below(3) == 2 && !same.is_empty() {
            return Operand::new_value(self.pick(&same).0);
        }
        self.operand(kind).into()
    }

    fn predicate(&mut self, columns: &[(&str, AttributeType)], name: &str, kind: AttributeType) -> Filter {
        let operand = self.against(columns, kind);
        let unordered = matches!(kind, AttributeType::Bool | AttributeType::Bytes);
        match self.below(if unordered || kind.element().is_some() { 2 } else { 6 }) {
            0 => Filter::eq(name, operand),
            1 => Filter::not_eq(name, operand),
            2 => Filter::lt(name, operand),
            3 => Filter::lte(name, operand),
            4 => Filter::gt(name, operand),
            _ => Filter::gte(name, operand),
        }
    }

    fn of_elements(
        &mut self,
        columns: &[(&str, AttributeType)],
        name: &str,
        element: AttributeType,
    ) -> Filter {
        let operand = self.against(columns, element);
        match self.below(if element == AttributeType::Bool { 3 } else { 7 }) {
            0 => Filter::contains(name, operand),
            1 => Filter::not_contains(name, operand),
            2 => Filter::contains_any(name, self.some(4, |dice| dice.operand(element))),
            3 => Filter::any_lt(name, operand),
            4 => Filter::any_lte(name, operand),
            5 => Filter::any_gt(name, operand),
            _ => Filter::any_gte(name, operand),
        }
    }

    fn pattern(&mut self, name: &str) -> Filter {
        const GLOBS: [&str; 12] =
            ["*", "a", "?", "[ab]", "[!a]", "[a-c]", "{a,b*}", "{,{é,?}}", "\\*", "\\{", "b", "/"];
        let glob = self.some(4, |dice| dice.pick(&GLOBS)).concat();
        match self.below(8) {
            0 => Filter::glob(name, glob),
            1 => Filter::not_glob(name, glob),
            2 => Filter::iglob(name, glob),
            3 => Filter::not_iglob(name, glob),
            4 => Filter::regex(name, self.pick(&["", "a", "^a", "b$", "[^a]b", "(?i)É", "^$", "a|B"])),
            5 => Filter::not_regex(name, self.pick(&["a", ".", r"\*", "é"])),
            6 => Filter::fuzzy(name, self.fuzzy()),
            _ => Filter::not_fuzzy(name, self.fuzzy()),
        }
    }

    fn fuzzy(&mut self) -> Fuzzy {
        const PARTS: [&str; 8] = ["a", "b", "B", "é", "*", "bbb", LONG.split_at(60).0, LONG];
        let query = self.some(7, |dice| dice.pick(&PARTS)).concat();
        let query: String = query.chars().take(256).collect();
        let fuzzy = match self.below(3) {
            0 => Fuzzy::new(query),
            1 => Fuzzy::new(query).distance(4, 0),
            _ => Fuzzy::new(query).distance(9, 2).distance(6, 1).distance(150, 0),
        };
        if self.below(2) == 1 { fuzzy.any_case() } else { fuzzy }
    }
}

/// A column of values. The slots of nulls hold junk, as Arrow allows.
fn column(kind: AttributeType, values: &[Option<Value>]) -> ArrayRef {
    let nulls = values.iter().map(Option::is_some).collect::<NullBuffer>();
    let DataType::List(field) = kind.arrow_type() else {
        let arrays: Vec<ArrayRef> = values.iter().map(|value| scalar(kind, value.as_ref())).collect();
        let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
        return if arrays.is_empty() { scalar(kind, None).slice(0, 0) } else { concat(&arrays).unwrap() };
    };
    let element = kind.element().unwrap();
    let junk = Dice([1, 1].iter()).scalar(element);
    let rows = values.iter().map(|value| match value {
        Some(Value::Array(elements)) => elements.clone(),
        _ => vec![junk.clone(); 2],
    });
    let rows: Vec<_> = rows.collect();
    let flat: Vec<_> = rows.iter().flatten().cloned().map(Some).collect();
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(Vec::len));
    Arc::new(ListArray::new(field, offsets, column(element, &flat), Some(nulls)))
}

fn scalar(kind: AttributeType, value: Option<&Value>) -> ArrayRef {
    match value {
        None => new_null_array(&kind.arrow_type(), 1),
        Some(Value::String(x)) => Arc::new(StringArray::from(vec![x.as_str()])),
        Some(Value::Int(x)) => Arc::new(Int64Array::from(vec![*x])),
        Some(Value::Uint(x)) => Arc::new(UInt64Array::from(vec![*x])),
        Some(Value::Float(x)) => Arc::new(Float64Array::from(vec![*x])),
        Some(Value::Bool(x)) => Arc::new(BooleanArray::from(vec![*x])),
        Some(Value::Bytes(x)) => Arc::new(BinaryArray::from(vec![x.as_ref()])),
        Some(Value::Datetime(x)) => Arc::new(TimestampMillisecondArray::from(vec![*x]).with_timezone("UTC")),
        Some(Value::Uuid(x)) => {
            Arc::new(FixedSizeBinaryArray::try_from_iter([x.as_bytes()].into_iter()).unwrap())
        }
        Some(other) => panic!("not a scalar: {other:?}"),
    }
}

/// Documents as a slice out of the middle of a larger batch.
fn batch(schema: &Schema, documents: &[Document]) -> RecordBatch {
    let pad = documents.first().cloned();
    let padded: Vec<_> = pad.iter().chain(documents).chain(&pad).collect();
    let ids: Vec<_> = padded.iter().map(|d| d.id()).cloned().collect();
    let mut columns = vec![crate::schema::Ids::build_array(schema.id(), &ids).unwrap()];
    for declared in schema.columns() {
        let values: Vec<_> = padded.iter().map(|d| d.get(&declared.name).cloned()).collect();
        columns.push(match declared.kind {
            ColumnKind::Attribute(kind) => column(kind, &values),
            ColumnKind::Vector(_) => {
                let DataType::FixedSizeList(field, _) = declared.arrow_field().data_type().clone() else {
                    panic!("a vector is a list");
                };
                let nulls = values.iter().map(Option::is_some).collect::<NullBuffer>();
                let flat = Arc::new(Float32Array::from(vec![1.0; values.len()]));
                Arc::new(arrow::array::FixedSizeListArray::new(field, 1, flat, Some(nulls)))
            }
        });
    }
    let whole = RecordBatch::try_new(schema.arrow(), columns).unwrap();
    whole.slice(usize::from(!documents.is_empty()), documents.len())
}

/// What an index of these rows says.
async fn candidates(
    bound: &BoundFilter,
    schema: &Schema,
    rows: &RecordBatch,
    block_bytes: usize,
) -> Candidates {
    let mut builder = AttributeIndexBuilder::new(schema).with_block_bytes(block_bytes);
    let middle = rows.num_rows() / 2;
    builder.push(&rows.slice(0, middle)).unwrap();
    builder.push(&rows.slice(middle, rows.num_rows() - middle)).unwrap();
    let (head, blocks) = builder.finish().unwrap();
    let (key, size) = (ObjectKey::new("attributes").unwrap(), blocks.len() as u64);
    let backend: Arc<dyn StorageBackend> = Arc::new(MemoryBackend::new());
    backend.put(&key, blocks.into(), PutMode::Overwrite).await.unwrap();
    let section = Span { start: 0, end: size, checksum: None };
    let count = u32::try_from(rows.num_rows()).unwrap();
    let decode = |blob, head: &[u8]| AttributeIndex::open(count, blob, &section, head);
    let blob = Blob::new(backend, BlockCache::off(), key, size);
    for end in 0..head.len() {
        assert!(decode(blob.clone(), &head[..end]).is_err(), "cut at {end}");
    }
    let index = Arc::new(decode(blob, &head).unwrap());
    let rows = u32::try_from(rows.num_rows()).unwrap();
    let indexes = SegmentIndexes { attributes: Some(index), text: None, rows };
    IndexPlan::new(bound, &indexes).run(&Env::current().unwrap(), &indexes).await.unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_index_knows_nothing_that_is_not_so(
        bytes in proptest::collection::vec(any::<u8>(), 0..1500),
        block_bytes in 1usize..400,
    ) {
        let mut dice = Dice(bytes.iter());
        let schema = dice.schema();
        let filter = dice.filter(&schema, 3);
        let documents = dice.some(60, |dice| dice.document(&schema));
        let rows = batch(&schema, &documents);
        let bound = BoundFilter::new(&filter, &schema, &Settings::default(), true).unwrap();
        let answers = bound.evaluate(&rows, None).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let candidates = runtime.block_on(candidates(&bound, &schema, &rows, block_bytes));
        for (row, matches) in (0..).zip(answers.values().iter()) {
            let (definite, possible) = (candidates.definite.contains(row), candidates.possible.contains(row));
            prop_assert!(definite <= matches && matches <= possible, "{:?} row {}: {} {} {}", filter, row, definite, matches, possible);
        }
        prop_assert!(candidates.possible.max().is_none_or(|row| (row as usize) < documents.len()));
    }

    #[test]
    fn statistics_say_nothing_that_is_not_so(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut dice = Dice(bytes.iter());
        let schema = dice.schema();
        let filter = dice.filter(&schema, 3);
        // Of few rows more is the same for all.
        let mut documents = dice.some(5, |dice| dice.document(&schema));
        documents.push(dice.document(&schema));
        let rows = batch(&schema, &documents);
        let bound = BoundFilter::new(&filter, &schema, &Settings::default(), true).unwrap();
        let answers = bound.evaluate(&rows, None).unwrap();
        let mut builder = ColumnStatisticsBuilder::new(&schema);
        builder.push(&rows).unwrap();
        let mut statistics: BTreeMap<String, ColumnStatistics> = builder.finish().collect();
        let (min, max) = (documents.iter().map(Document::id).min(), documents.iter().map(Document::id).max());
        statistics.insert("id".to_owned(), ColumnStatistics::from_id_range(min.unwrap(), max.unwrap()));
        let count = u32::try_from(rows.num_rows()).unwrap();
        let told = ZoneMapFilter::new(&bound).answer(count, &|column| statistics.get(column).map(Cow::Borrowed));
        if let Some(told) = told {
            prop_assert!(answers.values().iter().all(|answer| answer == told), "{:?} {}", filter, told);
        }
    }

    #[test]
    fn scalars_are_decided_by_the_index_alone(
        bytes in proptest::collection::vec(any::<u8>(), 0..1500),
        block_bytes in 1usize..400,
    ) {
        let mut dice = Dice(bytes.iter());
        let kind = dice.pick(&TYPES);
        let schema = Schema::builder(IdKind::U64)
            .attribute("c", kind)
            .vector("v", VectorType::F32, 1, Metric::Dot)
            .build().unwrap();
        let mut values = dice.some(60, |dice| dice.document(&schema));
        values.retain(|d| match d.get("c") {
            Some(Value::String(text)) => text.len() < 128,
            Some(Value::Array(elements)) => {
                elements.iter().all(|e| !matches!(e, Value::String(text) if text.len() >= 128))
            }
            _ => true,
        });
        let filter = match kind.element() {
            Some(element) => dice.of_elements(&[], "c", element),
            None => dice.predicate(&[], "c", kind),
        };
        let rows = batch(&schema, &values);
        let bound = BoundFilter::new(&filter, &schema, &Settings::default(), true).unwrap();
        let answers = bound.evaluate(&rows, None).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let candidates = runtime.block_on(candidates(&bound, &schema, &rows, block_bytes));
        let found: Vec<bool> = (0..).take(values.len()).map(|row| candidates.definite.contains(row)).collect();
        prop_assert_eq!(found, answers.values().iter().collect::<Vec<_>>(), "{:?}", filter);
        prop_assert_eq!(candidates.definite, candidates.possible);
    }

    #[test]
    fn columns_agree_with_documents_and_with_logic(bytes in proptest::collection::vec(any::<u8>(), 0..1500)) {
        let mut dice = Dice(bytes.iter());
        let schema = dice.schema();
        let (a, b) = (dice.filter(&schema, 3), dice.filter(&schema, 2));
        let pairs = dice.some(20, |dice| (dice.document(&schema), dice.document(&schema)));
        let (old, new): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let (rows, new_rows) = (batch(&schema, &old), batch(&schema, &new));
        let evaluate = |filter: &Filter, new: Option<&RecordBatch>| -> Vec<bool> {
            let bound = BoundFilter::new(filter, &schema, &Settings::default(), true).unwrap();
            let answers = bound.evaluate(&rows, new).unwrap();
            assert_eq!(answers.null_count(), 0);
            answers.values().iter().collect()
        };
        let not = |filter: &Filter| Filter::Not(Box::new(filter.clone()));
        let flipped = |answers: &[bool]| answers.iter().map(|x| !x).collect::<Vec<_>>();

        let answers = evaluate(&a, Some(&new_rows));
        let naive: Vec<_> =
            old.iter().zip(&new).map(|(old, new)| oracle::matches(&a, old, Some(new))).collect();
        prop_assert_eq!(&answers, &naive, "{:?} on {:?} new {:?}", a, old, new);
        let naive: Vec<_> = old.iter().map(|old| oracle::matches(&a, old, None)).collect();
        prop_assert_eq!(evaluate(&a, None), naive, "{:?} on {:?} without new", a, old);

        let new = Some(&new_rows);
        prop_assert_eq!(evaluate(&not(&a), new), flipped(&answers));
        prop_assert_eq!(evaluate(&not(&not(&a)), new), answers);
        let both = not(&Filter::and([a.clone(), b.clone()]));
        prop_assert_eq!(evaluate(&both, new), evaluate(&Filter::or([not(&a), not(&b)]), new));
        let either = not(&Filter::or([a.clone(), b.clone()]));
        prop_assert_eq!(evaluate(&either, new), evaluate(&Filter::and([not(&a), not(&b)]), new));
    }
}
