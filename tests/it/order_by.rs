//! Queries in order of attributes as a user meets them: the order is that of sorting by hand, wherever documents
//! lie. `tests/it/cold_filters.rs` holds what it costs to find the first of many.
#![expect(clippy::indexing_slicing, reason = "a test")]

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

use elacsym::schema::{AttributeType, TextOptions};
use elacsym::*;
use uuid::Uuid;

use crate::common::fixtures::{empty_namespace, random_namespace};
use crate::common::rng;
use rng::Rng;

#[derive(Clone, Debug)]
struct Row {
    name: Option<String>,
    year: Option<i64>,
    weight: Option<f64>,
    done: Option<bool>,
}

type Model = BTreeMap<u64, Row>;

fn schema() -> Result<Schema> {
    Schema::builder(IdKind::U64)
        .attribute("name", AttributeType::String)
        .attribute("year", AttributeType::Int)
        .attribute("weight", AttributeType::Float)
        .attribute("done", AttributeType::Bool)
        .attribute("tags", AttributeType::StringArray)
        .build()
}

fn row(rng: &mut Rng) -> Row {
    // Names begin with one another, hold zeros, and some are longer than the keys of an index.
    let name = |rng: &mut Rng| {
        let long = if rng.chance(0.2) { 130 } else { 0 };
        let few = usize::try_from(rng.below(3)).unwrap_or(0);
        format!("{}{}", "l".repeat(long), ["a", "a\0", "ab", "b"][few])
    };
    Row {
        name: rng.chance(0.9).then(|| name(rng)),
        year: rng.chance(0.9).then(|| rng.around(5).into()),
        weight: rng.chance(0.9).then(|| f64::from(rng.around(40)) / 4.0),
        done: rng.chance(0.7).then(|| rng.chance(0.5)),
    }
}

fn document(id: u64, row: &Row) -> Document {
    Document::new(id)
        .with("name", row.name.clone())
        .with("year", row.year)
        .with("weight", row.weight)
        .with("done", row.done)
}

/// Documents in several segments and the tail.
async fn filled(rng: &mut Rng) -> Result<(Namespace, Model)> {
    random_namespace(schema()?, rng, (900, 3_000), row, document).await
}

/// How an order compares two values.
fn compare<T>(
    a: Option<T>,
    b: Option<T>,
    (down, nulls): (bool, bool),
    by: impl Fn(&T, &T) -> Ordering,
) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) if down => by(&b, &a),
        (Some(a), Some(b)) => by(&a, &b),
        (a, b) if nulls => a.is_some().cmp(&b.is_some()),
        (a, b) => Reverse(a.is_some()).cmp(&Reverse(b.is_some())),
    }
}

#[tokio::test]
async fn the_order_is_that_of_sorting_by_hand_wherever_documents_lie() -> Result<()> {
    for seed in 0..3 {
        let mut rng = Rng::new(seed);
        let (ns, model) = filled(&mut rng).await?;
        for stage in 0..3 {
            match stage {
                1 => drop(ns.flush().await?),
                2 => drop(ns.compact().await?),
                _ => {}
            }
            for _ in 0..12 {
                let mut names = vec!["name", "year", "weight", "done"];
                let keys: Vec<(&str, bool, bool)> = (0..rng.between(1, 3))
                    .map(|_| {
                        let at = usize::try_from(rng.below(names.len() as u64)).unwrap_or(0);
                        (names.swap_remove(at), rng.chance(0.5), rng.chance(0.5))
                    })
                    .collect();
                let orders = keys.iter().map(|(name, down, nulls)| {
                    let order = if *down { Order::desc(*name) } else { Order::asc(*name) };
                    if *nulls { order.nulls_first() } else { order }
                });
                let limit = [1, 10, 100][usize::try_from(rng.below(3)).unwrap_or(0)];
                let filtered = rng.chance(0.5);
                let mut query = Query::order_by(orders).limit(limit).select(Select::All);
                if filtered {
                    query = query.filter(Filter::gte("year", 0));
                }
                let mut expected: Vec<(&u64, &Row)> = model
                    .iter()
                    .filter(|(_, row)| !filtered || row.year.is_some_and(|year| year >= 0))
                    .collect();
                let order = |a: &Row, b: &Row| {
                    keys.iter().fold(Ordering::Equal, |order, (name, down, nulls)| {
                        let way = (*down, *nulls);
                        order.then_with(|| match *name {
                            "name" => compare(a.name.as_ref(), b.name.as_ref(), way, Ord::cmp),
                            "year" => compare(a.year, b.year, way, Ord::cmp),
                            "weight" => compare(a.weight, b.weight, way, f64::total_cmp),
                            _ => compare(a.done, b.done, way, Ord::cmp),
                        })
                    })
                };
                expected.sort_by(|a, b| order(a.1, b.1).then(a.0.cmp(b.0)));
                let context = format!("seed {seed}, stage {stage}, {keys:?}, {limit} of {}", expected.len());
                // Two pages are as one that is twice as long.
                let page = ns.query(query.clone()).await?;
                let next = ns.query(query.after(page.cursor.clone())).await?;
                let found: Vec<DocumentId> = [page, next]
                    .iter()
                    .flat_map(|page| page.hits().unwrap_or_default())
                    .map(|hit| hit.document.id().clone())
                    .collect();
                let ids: Vec<DocumentId> =
                    expected.iter().take(2 * limit).map(|(id, _)| DocumentId::from(**id)).collect();
                assert_eq!(found, ids, "{context}");
            }
        }
    }
    Ok(())
}

/// Ids of each kind, in their order.
fn ids(kind: IdKind, count: u32) -> Vec<DocumentId> {
    (0..count)
        .map(|at| match kind {
            IdKind::U64 => DocumentId::from(u64::from(at) * 3 + u64::from(at / 100) * 1_000_000),
            IdKind::Uuid => Uuid::from_u128((u128::from(at) << 70) | 7).into(),
            IdKind::String => format!("{:05}{}", at, if at % 2 == 0 { "\0" } else { "é" }).into(),
            other => panic!("no ids of {other} here"),
        })
        .collect()
}

#[tokio::test]
async fn ids_are_an_order_both_ways_alone_and_behind_attributes() -> Result<()> {
    for kind in [IdKind::U64, IdKind::Uuid, IdKind::String] {
        let schema = Schema::builder(kind)
            .vector("v", VectorType::F32, 2, Metric::L2Squared)
            .text("body", TextOptions::default())
            .attribute("year", AttributeType::Int)
            .build()?;
        let ns = empty_namespace(schema).await?;
        let mut rng = Rng::new(11);
        let mut all = ids(kind, 9_000);
        let mut years = BTreeMap::new();
        let mut mixed = all.clone();
        rng.shuffle(&mut mixed);
        let parts = [0..6_000, 6_000..8_900, 8_900..9_000];
        for (at, part) in parts.into_iter().enumerate() {
            let mut batch = WriteBatch::new();
            for id in &mixed[part] {
                let year = rng.chance(0.9).then(|| i64::from(rng.around(2)));
                years.insert(id.clone(), year);
                let v = [f32::from(u8::try_from(rng.below(200)).unwrap_or(0)), 1.0];
                let document = Document::new(id.clone()).with("year", year).with("v", Vector::from(v));
                batch = batch.upsert(document.with("body", "tea"));
            }
            ns.write(batch).await?;
            if at < 2 {
                ns.flush().await?;
            }
        }
        ns.write(WriteBatch::new().delete(all.pop().unwrap()).delete(all.remove(0))).await?;
        let down: Vec<DocumentId> = all.iter().rev().cloned().collect();
        let mut by_year = all.clone();
        // The latest year first, no year last, and the greatest id first in each.
        by_year.sort_by_key(|id| (years[id].is_none(), Reverse(years[id]), Reverse(id.clone())));
        let orders: [(Vec<Order>, &[DocumentId]); 4] = [
            (vec![Order::asc("id")], &all),
            (vec![Order::desc("id")], &down),
            (vec![Order::desc("year"), Order::desc("id")], &by_year),
            // Nothing is left to decide behind an id.
            (vec![Order::desc("id"), Order::asc("year")], &down),
        ];
        for state in ["parts", "compacted"] {
            for (orders, expected) in &orders {
                let (mut paged, mut cursor) = (Vec::new(), None);
                for _ in 0..3 {
                    let page = ns.query(Query::order_by(orders.clone()).limit(70).after(cursor)).await?;
                    paged.extend(page.hits()?.iter().map(|hit| hit.document.id().clone()));
                    cursor = page.cursor;
                }
                assert_eq!(paged, expected[..210], "{kind:?}, {state}: {orders:?}");
                let filter = Filter::eq("year", 1);
                let filtered = ns.query(Query::order_by(orders.clone()).filter(filter).limit(50)).await?;
                let wanted = expected.iter().filter(|id| years[*id] == Some(1)).take(50);
                let found = filtered.hits()?;
                assert!(
                    found.iter().map(|hit| hit.document.id()).eq(wanted),
                    "{kind:?}, {state}: {orders:?}"
                );
                // As a leg: what others find alike is in its order.
                let legs = [Leg::text(TextQuery::any("body", "tea")), Leg::order_by(orders.clone())];
                let found = ns.query(Query::hybrid(legs).limit(5)).await?.hits()?;
                let first = found.iter().map(|hit| hit.document.id());
                let rank = |hit: &Hit| hit.legs[1].map(|leg| leg.rank);
                assert!(first.eq(&expected[..5]), "{kind:?}, {state}: {orders:?}");
                assert!((1..=5).map(Some).eq(found.iter().map(rank)), "{kind:?}, {state}: {orders:?}");
            }
            ns.flush().await?;
            ns.compact().await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_has_no_order_is_refused_by_name() -> Result<()> {
    let ns = empty_namespace(schema()?).await?;
    for (orders, why) in [
        (vec![Order::asc("x")], "no such attribute"),
        (vec![Order::asc("tags")], "no order by []string"),
        (vec![], "1 to 8"),
        (vec![Order::asc("year"); 9], "1 to 8"),
    ] {
        let error = ns.query(Query::order_by(orders)).await.unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
    Ok(())
}
