//! Random schemas, documents and filters. A new operator is drawn in one of the `*_predicate` functions.

use bytes::Bytes;
use uuid::Uuid;

use crate::filter::{Filter, Fuzzy, Operand};
use crate::schema::{AttributeType, Schema};
use crate::types::{Document, DocumentId, IdKind, Metric, Value, Vector, VectorType};

pub(super) const TYPES: [AttributeType; 15] = [
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
pub(super) struct Dice<'a>(pub(super) std::slice::Iter<'a, u8>);

impl Dice<'_> {
    pub(super) fn below(&mut self, sides: usize) -> usize {
        usize::from(self.0.next().copied().unwrap_or(0)) % sides
    }

    pub(super) fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    pub(super) fn some<T>(&mut self, fewer_than: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(fewer_than)).map(|_| make(self)).collect()
    }

    pub(super) fn draw_scalar(&mut self, kind: AttributeType) -> Value {
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
    fn draw_operand(&mut self, kind: AttributeType) -> Value {
        match self.draw_value(kind) {
            Value::Int(_) | Value::Uint(_) | Value::Float(_) if self.below(2) == 1 => self.draw_number(),
            Value::Array(elements) => {
                let number = |v: &Value| matches!(v, Value::Int(_) | Value::Uint(_) | Value::Float(_));
                let loose = |v: Value| if number(&v) && self.below(4) == 3 { self.draw_number() } else { v };
                Value::Array(elements.into_iter().map(loose).collect())
            }
            value => value,
        }
    }

    /// Numbers that the columns hold, and others between and beyond them.
    fn draw_number(&mut self) -> Value {
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

    fn draw_value(&mut self, kind: AttributeType) -> Value {
        match kind.element() {
            Some(element) => Value::Array(self.some(4, |dice| dice.draw_scalar(element))),
            None => self.draw_scalar(kind),
        }
    }

    pub(super) fn draw_schema(&mut self) -> Schema {
        let id = self.pick(&[IdKind::U64, IdKind::String, IdKind::Uuid]);
        let mut builder = Schema::builder(id).vector("v", VectorType::F32, 1, Metric::Dot);
        for column in 0..=self.below(5) {
            let (name, kind) = (format!("c{column}"), self.pick(&TYPES));
            let strings = matches!(kind, AttributeType::String | AttributeType::StringArray);
            builder = builder.attribute(name.as_str(), kind).trigrams(&name, strings && self.below(3) > 0);
        }
        builder.build().unwrap()
    }

    pub(super) fn draw_document(&mut self, schema: &Schema) -> Document {
        let mut document = Document::new(match (schema.id(), self.below(8)) {
            (IdKind::U64, n) => DocumentId::U64([0, 1, 7, u64::MAX][n % 4]),
            (IdKind::Uuid, n) => Uuid::from_u128([0, 1, u128::MAX, 1 << 127][n % 4]).into(),
            (IdKind::String, n) => TEXTS[n + 1].into(),
        });
        for (name, kind) in schema.attributes() {
            if self.below(4) != 3 {
                document.set(name, self.draw_value(kind));
            }
        }
        if self.below(2) == 1 {
            document.set("v", Vector::from([1.0]));
        }
        schema.check(document).unwrap()
    }

    pub(super) fn draw_filter(&mut self, schema: &Schema, depth: usize) -> Filter {
        if depth > 0 {
            match self.below(6) {
                1 => return Filter::And(self.some(4, |dice| dice.draw_filter(schema, depth - 1))),
                2 => return Filter::Or(self.some(4, |dice| dice.draw_filter(schema, depth - 1))),
                3 => return Filter::Not(Box::new(self.draw_filter(schema, depth - 1))),
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
                let values = self
                    .some(4, |dice| if dice.below(5) == 4 { Value::Null } else { dice.draw_operand(kind) });
                Filter::is_in(name, values)
            }
            3 if matches!(kind, AttributeType::String | AttributeType::StringArray) => {
                self.pattern_predicate(name)
            }
            4 if kind.element().is_some() => self.element_predicate(&columns, name, kind.element().unwrap()),
            _ => self.scalar_predicate(&columns, name, kind),
        }
    }

    /// A value, or the new value of a column of the same type.
    fn comparand(&mut self, columns: &[(&str, AttributeType)], kind: AttributeType) -> Operand {
        let same: Vec<_> = columns.iter().filter(|c| c.1 == kind).collect();
        if self.below(3) == 2 && !same.is_empty() {
            return Operand::new_value(self.pick(&same).0);
        }
        self.draw_operand(kind).into()
    }

    pub(super) fn scalar_predicate(
        &mut self,
        columns: &[(&str, AttributeType)],
        name: &str,
        kind: AttributeType,
    ) -> Filter {
        let operand = self.comparand(columns, kind);
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

    pub(super) fn element_predicate(
        &mut self,
        columns: &[(&str, AttributeType)],
        name: &str,
        element: AttributeType,
    ) -> Filter {
        let operand = self.comparand(columns, element);
        match self.below(if element == AttributeType::Bool { 3 } else { 7 }) {
            0 => Filter::contains(name, operand),
            1 => Filter::not_contains(name, operand),
            2 => Filter::contains_any(name, self.some(4, |dice| dice.draw_operand(element))),
            3 => Filter::any_lt(name, operand),
            4 => Filter::any_lte(name, operand),
            5 => Filter::any_gt(name, operand),
            _ => Filter::any_gte(name, operand),
        }
    }

    fn pattern_predicate(&mut self, name: &str) -> Filter {
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
            6 => Filter::fuzzy(name, self.fuzzy_query()),
            _ => Filter::not_fuzzy(name, self.fuzzy_query()),
        }
    }

    fn fuzzy_query(&mut self) -> Fuzzy {
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
