//! Random documents, filters and batches over one schema with a column of every type.

use elacsym::schema::AttributeType;
use elacsym::{Document, DocumentId, IdKind, Metric, Schema, Value, Vector, VectorType};

use crate::common::model::{Batch, Op};
use crate::common::predicate::Predicate;
use crate::common::rng::Rng;

const WORDS: [&str; 7] = ["", "a", "b", "bird", "Bird", "naïve", "z"];
const ATTRIBUTES: [(&str, AttributeType); 10] = [
    ("string", AttributeType::String),
    ("int", AttributeType::Int),
    ("uint", AttributeType::Uint),
    ("float", AttributeType::Float),
    ("bool", AttributeType::Bool),
    ("uuid", AttributeType::Uuid),
    ("datetime", AttributeType::Datetime),
    ("bytes", AttributeType::Bytes),
    ("strings", AttributeType::StringArray),
    ("ints", AttributeType::IntArray),
];
/// The vector columns, all by squared distance: small whole numbers make it exact.
pub const VECTORS: [(&str, VectorType, usize); 3] =
    [("wide", VectorType::F32, 5), ("half", VectorType::F16, 3), ("narrow", VectorType::I8, 2)];

/// What a run draws from.
#[derive(Debug)]
pub struct Draw {
    pub kind: IdKind,
    /// How many different ids there are.
    pub ids: u64,
    /// The part of columns that are null.
    pub nulls: f64,
}

impl Draw {
    pub fn new(rng: &mut Rng) -> Self {
        let kind = *rng.pick(&[IdKind::U64, IdKind::Uuid, IdKind::String]);
        Self { kind, ids: *rng.pick(&[5, 30, 200]), nulls: *rng.pick(&[0.0, 0.2, 0.7]) }
    }

    pub fn schema(&self) -> Schema {
        let builder = Schema::builder(self.kind);
        let builder = ATTRIBUTES.iter().fold(builder, |b, (name, kind)| b.attribute(*name, *kind));
        let vectors = VECTORS.iter();
        let builder = vectors.fold(builder, |b, (name, element, dimension)| {
            b.vector(*name, *element, *dimension, Metric::L2Squared)
        });
        builder.build().expect("the schema is sound")
    }

    /// An id; now and then one at the edge of what there is.
    pub fn id(&self, rng: &mut Rng) -> DocumentId {
        let number = if rng.chance(0.02) { u64::MAX - rng.below(2) } else { rng.below(self.ids) };
        match self.kind {
            IdKind::U64 => number.into(),
            IdKind::Uuid => uuid(number).into(),
            IdKind::String => format!("id {number}").into(),
            other => panic!("no ids of {other} here"),
        }
    }

    pub fn document(&self, rng: &mut Rng, id: DocumentId) -> Document {
        let mut document = Document::new(id);
        for (column, kind) in ATTRIBUTES {
            if !rng.chance(self.nulls) {
                document.set(column, value(rng, kind));
            }
        }
        for (column, element, dimension) in VECTORS {
            if !rng.chance(self.nulls) {
                document.set(column, vector(rng, element, dimension));
            }
        }
        document
    }

    /// Some columns of a document, some of them cleared.
    fn patch(rng: &mut Rng, id: DocumentId) -> Document {
        let mut patch = Document::new(id);
        for (column, kind) in ATTRIBUTES {
            if rng.chance(0.3) {
                let value = if rng.chance(0.2) { Value::Null } else { value(rng, kind) };
                patch.set(column, value);
            }
        }
        if rng.chance(0.3) {
            let (column, element, dimension) = *rng.pick(&VECTORS);
            patch.set(column, vector(rng, element, dimension));
        }
        patch
    }

    pub fn predicate(&self, rng: &mut Rng, depth: u32) -> Predicate {
        if depth == 0 || rng.chance(0.4) {
            return self.leaf(rng);
        }
        let parts = |rng: &mut Rng| (0..rng.below(4)).map(|_| self.predicate(rng, depth - 1)).collect();
        match rng.below(3) {
            0 => Predicate::And(parts(rng)),
            1 => Predicate::Or(parts(rng)),
            _ => Predicate::Not(Box::new(self.predicate(rng, depth - 1))),
        }
    }

    fn leaf(&self, rng: &mut Rng) -> Predicate {
        if rng.chance(0.1) {
            let id = |rng: &mut Rng| match self.id(rng) {
                DocumentId::U64(id) => Value::Uint(id),
                DocumentId::Uuid(id) => Value::Uuid(id),
                DocumentId::String(id) => Value::String(id.to_string()),
                other => panic!("no document has the id {other}"),
            };
            return compare(rng, "id", id);
        }
        let (column, kind) = *rng.pick(&ATTRIBUTES);
        if kind == AttributeType::Bytes || rng.chance(0.1) {
            let null = Predicate::Eq(column, Value::Null);
            return if rng.chance(0.5) { null } else { Predicate::NotEq(column, Value::Null) };
        }
        match kind {
            AttributeType::Bool => {
                let wanted = value(rng, kind);
                if rng.chance(0.5) { Predicate::Eq(column, wanted) } else { Predicate::NotEq(column, wanted) }
            }
            AttributeType::StringArray => contains(rng, column, |rng| value(rng, AttributeType::String)),
            AttributeType::IntArray => contains(rng, column, |rng| value(rng, AttributeType::Int)),
            _ => compare(rng, column, |rng| value(rng, kind)),
        }
    }

    /// A batch of any operations; each id once.
    pub fn batch(&self, rng: &mut Rng) -> Batch {
        let mut ops = Vec::new();
        let mut used: Vec<DocumentId> = Vec::new();
        let most = *rng.pick(&[1, 4, 40]);
        for _ in 0..rng.between(0, most) {
            let id = self.id(rng);
            if !used.contains(&id) {
                used.push(id.clone());
                ops.push(self.by_id(rng, id));
            }
        }
        for _ in 0..2 {
            if rng.chance(0.06) {
                ops.push(Op::DeleteByFilter(Predicate::And(vec![self.predicate(rng, 2), self.leaf(rng)])));
            }
            if rng.chance(0.06) {
                let (column, kind) = *rng.pick(&ATTRIBUTES);
                let values = vec![(column, if rng.chance(0.2) { Value::Null } else { value(rng, kind) })];
                ops.push(Op::PatchByFilter(self.predicate(rng, 2), values));
            }
        }
        // By-id operations may stand anywhere among those by filter.
        rng.shuffle(&mut ops);
        let token = rng.chance(0.1).then(|| u128::from(rng.bits()));
        Batch { ops, token }
    }

    fn by_id(&self, rng: &mut Rng, id: DocumentId) -> Op {
        match rng.below(12) {
            0..=4 => Op::Upsert(self.document(rng, id)),
            5 => Op::Insert(self.document(rng, id)),
            6 => Op::UpsertIf(self.document(rng, id), self.predicate(rng, 2)),
            7 => Op::Patch(Self::patch(rng, id)),
            8 => Op::PatchIf(Self::patch(rng, id), self.predicate(rng, 2)),
            9 => Op::DeleteIf(id, self.predicate(rng, 2)),
            _ => Op::Delete(id),
        }
    }
}

fn compare(rng: &mut Rng, column: &'static str, draw: impl Fn(&mut Rng) -> Value) -> Predicate {
    let several = |rng: &mut Rng| (0..rng.below(4)).map(|_| draw(rng)).collect();
    match rng.below(8) {
        0 => Predicate::Eq(column, draw(rng)),
        1 => Predicate::NotEq(column, draw(rng)),
        2 => Predicate::Lt(column, draw(rng)),
        3 => Predicate::Lte(column, draw(rng)),
        4 => Predicate::Gt(column, draw(rng)),
        5 => Predicate::Gte(column, draw(rng)),
        6 => Predicate::In(column, several(rng)),
        _ => Predicate::NotIn(column, several(rng)),
    }
}

fn contains(rng: &mut Rng, column: &'static str, draw: impl Fn(&mut Rng) -> Value) -> Predicate {
    let several = |rng: &mut Rng| (0..rng.below(4)).map(|_| draw(rng)).collect();
    match rng.below(4) {
        0 => Predicate::Contains(column, draw(rng)),
        1 => Predicate::NotContains(column, draw(rng)),
        2 => Predicate::ContainsAny(column, several(rng)),
        _ => Predicate::NotContainsAny(column, several(rng)),
    }
}

/// A value of a type, of which there are few, so that filters meet them.
fn value(rng: &mut Rng, kind: AttributeType) -> Value {
    let small = |rng: &mut Rng| i64::from(rng.around(4));
    let edge = rng.chance(0.03);
    match kind {
        AttributeType::String => (*rng.pick(&WORDS)).into(),
        AttributeType::Int if edge => Value::Int(*rng.pick(&[i64::MIN, i64::MAX])),
        AttributeType::Int => Value::Int(small(rng)),
        AttributeType::Uint if edge => Value::Uint(u64::MAX),
        AttributeType::Uint => Value::Uint(rng.below(6)),
        AttributeType::Float if edge => Value::Float(*rng.pick(&[f64::INFINITY, f64::NEG_INFINITY])),
        AttributeType::Float => Value::Float(f64::from(rng.around(6)) / 2.0),
        AttributeType::Bool => Value::Bool(rng.chance(0.5)),
        AttributeType::Uuid => Value::Uuid(uuid(rng.below(4))),
        AttributeType::Datetime => Value::Datetime(1_700_000_000_000 + 1_000 * small(rng)),
        AttributeType::StringArray => {
            Value::Array((0..rng.below(4)).map(|_| value(rng, AttributeType::String)).collect())
        }
        AttributeType::IntArray => {
            Value::Array((0..rng.below(4)).map(|_| value(rng, AttributeType::Int)).collect())
        }
        _ => Value::Bytes(rng.bits().to_be_bytes()[..5].to_vec().into()),
    }
}

fn uuid(number: u64) -> uuid::Uuid {
    uuid::Uuid::from_u64_pair(number.wrapping_mul(0x9e37_79b9_7f4a_7c15), number)
}

/// A vector of small whole numbers.
pub fn components(rng: &mut Rng, dimension: usize) -> Vec<f32> {
    (0..dimension).map(|_| i16::try_from(rng.around(7)).map_or(0.0, f32::from)).collect()
}

fn vector(rng: &mut Rng, element: VectorType, dimension: usize) -> Vector {
    let components = components(rng, dimension);
    match element {
        VectorType::F32 => Vector::F32(components),
        VectorType::F16 => Vector::F16(components.into_iter().map(half::f16::from_f32).collect()),
        #[expect(clippy::cast_possible_truncation, reason = "small whole numbers")]
        VectorType::I8 => Vector::I8(components.into_iter().map(|x| x as i8).collect()),
        other => panic!("no vectors of {other:?} here"),
    }
}
