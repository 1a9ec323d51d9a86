//! Filters wherever documents lie, in the tail, in segments of their own values, hidden, deleted, compacted: every
//! answer is that of asking one document after the other, and the laws of logic hold.
#![expect(clippy::indexing_slicing, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};

use elacsym::schema::AttributeType;
use elacsym::*;

use crate::common;
use crate::common::fixtures::id_number;
use common::api::filter;
use common::predicate::Predicate;
use common::rng::Rng;
use common::seeds::seeds;

type Model = BTreeMap<u64, Document>;

const SCALARS: [&str; 4] = ["n", "s", "f", "plain"];
const ARRAYS: [&str; 2] = ["tags", "ints"];

fn schema() -> Result<Schema> {
    Schema::builder(IdKind::U64)
        .attribute("n", AttributeType::Int)
        .attribute("s", AttributeType::String)
        .attribute("f", AttributeType::Float)
        .attribute("plain", AttributeType::Uint)
        .filterable("plain", false)
        .attribute("tags", AttributeType::StringArray)
        .attribute("ints", AttributeType::IntArray)
        .build()
}

/// Chance, around what most values of a batch lie near.
struct Draw {
    rng: Rng,
    near: i64,
}

impl Draw {
    /// Strings that share their first bytes: fewer than a bound has, as many, more than a key has.
    fn text(&mut self) -> String {
        let start = *self.rng.pick(&[0, 0, 0, 3, 31, 32, 40, 127, 128, 140]);
        let end = ["", "a", "b", "\0", "é"][self.index(5)];
        format!("{}{}{end}", ["k", "m"][self.index(2)].repeat(start), self.near.rem_euclid(4))
    }

    fn index(&mut self, below: u64) -> usize {
        usize::try_from(self.rng.below(below)).unwrap_or(0)
    }

    fn int(&mut self) -> i64 {
        match self.rng.below(20) {
            0 => i64::MIN,
            1 => i64::MAX,
            _ => self.near + i64::from(self.rng.around(3)),
        }
    }

    fn value(&mut self, column: &str) -> Value {
        match column {
            "n" => self.int().into(),
            "s" => self.text().into(),
            // Minus zero and zero differ in the order of Arrow and are one to the naive evaluation.
            "f" => (f64::from(self.rng.around(4)) / 2.0 + 10.25).into(),
            "plain" => (self.near.unsigned_abs() * 10 + self.rng.below(9)).into(),
            "tags" => (0..self.rng.below(4)).map(|_| self.text()).collect::<Vec<_>>().into(),
            _ => (0..self.rng.below(3)).map(|_| self.int()).collect::<Vec<_>>().into(),
        }
    }

    fn element(&mut self, column: &str) -> Value {
        if column == "tags" { self.text().into() } else { self.int().into() }
    }

    /// A document; of some batches a column has no value at all.
    fn document(&mut self, id: u64, without: &str) -> Document {
        let mut document = Document::new(id);
        for column in SCALARS.iter().chain(&ARRAYS) {
            if *column != without && self.rng.chance(0.8) {
                document.set(*column, self.value(column));
            }
        }
        document
    }

    fn predicate(&mut self, depth: u32) -> Predicate {
        if depth > 0 && self.rng.chance(0.6) {
            let parts = |draw: &mut Self| {
                (0..draw.rng.between(1, 3)).map(|_| draw.predicate(depth - 1)).collect::<Vec<_>>()
            };
            return match self.rng.below(3) {
                0 => Predicate::And(parts(self)),
                1 => Predicate::Or(parts(self)),
                _ => Predicate::Not(Box::new(self.predicate(depth - 1))),
            };
        }
        self.near = self.rng.between(0, 6).cast_signed() * 10;
        if self.rng.chance(0.4) {
            let column = ARRAYS[self.index(2)];
            let element = self.element(column);
            return match self.rng.below(8) {
                0 => Predicate::Contains(column, element),
                1 => Predicate::NotContains(column, element),
                2 => Predicate::ContainsAny(column, vec![element, self.element(column)]),
                3 => Predicate::NotContainsAny(column, vec![element, self.element(column)]),
                4 => Predicate::AnyLt(column, element),
                5 => Predicate::AnyGte(column, element),
                6 => Predicate::Eq(column, self.value(column)),
                _ => Predicate::In(column, vec![self.value(column), self.value(column)]),
            };
        }
        if self.rng.chance(0.1) {
            let id = self.rng.below(400).into();
            return if self.rng.chance(0.5) { Predicate::Lt("id", id) } else { Predicate::NotEq("id", id) };
        }
        let column = SCALARS[self.index(4)];
        let value = self.value(column);
        match self.rng.below(9) {
            0 => Predicate::Eq(column, value),
            1 => Predicate::NotEq(column, value),
            2 => Predicate::Lt(column, value),
            3 => Predicate::Lte(column, value),
            4 => Predicate::Gt(column, value),
            5 => Predicate::Gte(column, value),
            6 => Predicate::In(column, vec![value, self.value(column)]),
            7 => Predicate::NotIn(column, vec![value, self.value(column)]),
            _ => Predicate::Eq(column, Value::Null),
        }
    }
}

/// Where documents lie.
#[derive(Clone, Copy, Debug)]
enum Lie {
    Tail,
    Segment,
    /// Segments, some of whose rows are dead, and a tail that hides more of them.
    Both,
    /// One segment of all that is alive, and a segment of its dead rows.
    Compacted,
}

/// Batches of their own values, some documents written again or deleted.
async fn filled(draw: &mut Draw, lie: Lie) -> Result<(Namespace, Model)> {
    // Segments that a merge joins cannot be left out one by one.
    let database = Database::builder().settings(Settings::default().auto_compact(false));
    let docs = database.open("memory://").await?.create_namespace("docs", schema()?).await?;
    let mut model = Model::new();
    for round in 0..6 {
        draw.near = round * 10;
        let without = *draw.rng.pick(&["", "", "n", "s", "f", "plain", "tags", "ints"]);
        let (mut batch, mut touched) = (WriteBatch::new(), BTreeSet::new());
        for _ in 0..50 {
            // Mostly new ids, so that ids of a batch lie together too.
            let id = round.unsigned_abs() * 50 + draw.rng.below(50);
            let id = if draw.rng.chance(0.1) { draw.rng.below(300) } else { id };
            if !touched.insert(id) {
                continue;
            }
            if draw.rng.chance(0.15) {
                model.remove(&id);
                batch = batch.delete(id);
            } else {
                let document = draw.document(id, without);
                model.insert(id, document.clone());
                batch = batch.upsert(document);
            }
        }
        docs.write(batch).await?;
        match lie {
            Lie::Both if round < 4 => drop(docs.flush().await?),
            Lie::Compacted if round < 3 => drop(docs.flush().await?),
            Lie::Compacted if round == 3 => drop(docs.compact().await?),
            _ => {}
        }
    }
    if matches!(lie, Lie::Segment | Lie::Compacted) {
        docs.flush().await?;
    }
    Ok((docs, model))
}

/// What a filter finds, by every way to ask that tells no less than how many.
async fn found(snapshot: &Snapshot, filter: &Filter) -> Result<BTreeSet<u64>> {
    let id = |document: &Document| id_number(document.id());
    let page = snapshot.scan(Scan::new().filter(filter.clone())).await?;
    let scanned: BTreeSet<u64> = page.rows.documents()?.iter().map(id).collect();
    assert_eq!(snapshot.count_matching(filter).await?, scanned.len() as u64, "{filter:?}");
    let all = snapshot.aggregate(Aggregation::new().filter(filter.clone())).await?;
    assert_eq!(all.groups.iter().map(|group| group.count).sum::<u64>(), scanned.len() as u64, "{filter:?}");
    let ordered = Query::order_by([Order::asc("n")]).filter(filter.clone()).limit(1_000);
    let ordered = snapshot.query(ordered).await?.rows.documents()?;
    assert_eq!(ordered.iter().map(id).collect::<BTreeSet<_>>(), scanned, "{filter:?}");
    Ok(scanned)
}

#[tokio::test]
async fn answers_are_the_naive_ones_and_the_laws_of_logic_hold() -> Result<()> {
    let mut pruned = 0;
    for seed in seeds(4) {
        for lie in [Lie::Tail, Lie::Segment, Lie::Both, Lie::Compacted] {
            let mut draw = Draw { rng: Rng::new(seed), near: 0 };
            let (docs, model) = filled(&mut draw, lie).await?;
            let snapshot = docs.snapshot(Consistency::Strong).await?;
            let everything: BTreeSet<u64> = model.keys().copied().collect();
            for _ in 0..12 {
                let (one, other) = (draw.predicate(2), draw.predicate(1));
                let (a, b) = (|| filter(&one), || filter(&other));
                let context = format!("seed {seed}, {lie:?}, {one:?}, {other:?}");
                let naive = model.iter().filter(|(_, document)| one.matches(document)).map(|(id, _)| *id);
                let naive: BTreeSet<u64> = naive.collect();
                assert_eq!(found(&snapshot, &a()).await?, naive, "{context}");
                let rest: BTreeSet<u64> = everything.difference(&naive).copied().collect();
                assert_eq!(found(&snapshot, &!a()).await?, rest, "not, {context}");
                assert_eq!(found(&snapshot, &!!a()).await?, naive, "not not, {context}");
                for (law, left, right) in [
                    ("not and", !(a() & b()), !a() | !b()),
                    ("not or", !(a() | b()), !a() & !b()),
                    ("and is commutative", a() & b(), b() & a()),
                    ("or absorbs and", a() | (a() & b()), a()),
                ] {
                    assert_eq!(
                        found(&snapshot, &left).await?,
                        found(&snapshot, &right).await?,
                        "{law}, {context}"
                    );
                }
                assert_eq!(found(&snapshot, &(a() | !a())).await?, everything, "{context}");
                assert!(found(&snapshot, &(a() & !a())).await?.is_empty(), "{context}");
                let query = Query::order_by([Order::asc("n")]).filter(a());
                pruned += snapshot.query(query).await?.stats.segments_pruned;
            }
        }
    }
    assert!(pruned > 30, "only {pruned} segments were left out: the test shows little");
    Ok(())
}

#[tokio::test]
async fn nulls_are_equal_to_null_alone_and_unequal_to_every_value() -> Result<()> {
    for seed in seeds(2) {
        for lie in [Lie::Tail, Lie::Segment, Lie::Both, Lie::Compacted] {
            let mut draw = Draw { rng: Rng::new(seed), near: 0 };
            let (docs, model) = filled(&mut draw, lie).await?;
            let snapshot = docs.snapshot(Consistency::Strong).await?;
            for column in SCALARS.into_iter().chain(ARRAYS) {
                let context = format!("seed {seed}, {lie:?}, {column}");
                let (null, value) = (|| Filter::is_null(column), draw.value(column));
                let naive = model.iter().filter(|(_, document)| document.get(column).is_none());
                let naive: BTreeSet<u64> = naive.map(|(id, _)| *id).collect();
                let nulls = found(&snapshot, &null()).await?;
                assert_eq!(nulls, naive, "{context}");
                assert_eq!(found(&snapshot, &Filter::eq(column, Value::Null)).await?, nulls, "{context}");
                assert_eq!(
                    found(&snapshot, &Filter::is_in(column, [Value::Null])).await?,
                    nulls,
                    "{context}"
                );
                assert_eq!(found(&snapshot, &!Filter::is_not_null(column)).await?, nulls, "{context}");
                // Every predicate on a null is false, and its negation true.
                let mut predicates = vec![Filter::eq(column, value.clone())];
                if SCALARS.contains(&column) {
                    predicates
                        .extend([Filter::lt(column, value.clone()), Filter::gte(column, value.clone())]);
                } else {
                    let element = draw.element(column);
                    predicates.push(Filter::contains(column, element.clone()));
                    predicates.push(Filter::any_gte(column, element));
                }
                for predicate in predicates {
                    assert!(found(&snapshot, &(null() & predicate.clone())).await?.is_empty(), "{context}");
                    assert_eq!(found(&snapshot, &(null() & !predicate)).await?, nulls, "{context}");
                }
                let unequal = null() & Filter::not_eq(column, value);
                assert_eq!(found(&snapshot, &unequal).await?, nulls, "{context}");
            }
        }
    }
    Ok(())
}
