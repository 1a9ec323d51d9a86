//! Documents that score alike come in order of their ids, however many they are and wherever they lie.
#![expect(clippy::indexing_slicing, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};

use elacsym::schema::{AttributeType, TextOptions};
use elacsym::*;

use crate::common::fixtures::{empty_namespace, hit_numbers};
use crate::common::rng;
use rng::Rng;

const AUTHORS: [&str; 3] = ["ann", "bob", "cyd"];

/// What tells documents apart: all else of them is the same.
type Model = BTreeMap<u64, usize>;

fn schema() -> Result<Schema> {
    Schema::builder(IdKind::U64)
        // The first vectors put the rows of a segment in the order of their clusters.
        .vector("apart", VectorType::F32, 8, Metric::L2Squared)
        .vector("same", VectorType::F32, 4, Metric::L2Squared)
        .text("text", TextOptions::default())
        .attribute("author", AttributeType::String)
        .attribute("same_year", AttributeType::Int)
        .build()
}

fn document(id: u64, author: usize, rng: &mut Rng) -> Document {
    let apart: Vec<f32> = (0..8).map(|_| f32::from(i16::try_from(rng.around(1_000)).unwrap_or(0))).collect();
    Document::new(id)
        .with("apart", Vector::from(apart))
        .with("same", Vector::from([1.0, 2.0, 3.0, 4.0]))
        .with("text", "a red label")
        .with("author", AUTHORS[author])
        .with("same_year", 1999)
}

/// Ids in no order, some of them far from others.
fn ids(count: u64, rng: &mut Rng) -> Vec<u64> {
    let mut ids: Vec<u64> = (0..count).map(|at| at * 7 + at % 3 * 1_000_000).collect();
    rng.shuffle(&mut ids);
    ids
}

async fn write(ns: &Namespace, model: &mut Model, ids: &[u64], rng: &mut Rng) -> Result<()> {
    let mut batch = WriteBatch::new();
    for id in ids {
        let author = usize::try_from(rng.below(3)).unwrap_or(0);
        batch = batch.upsert(document(*id, author, rng));
        model.insert(*id, author);
    }
    ns.write(batch).await.map(drop)
}

fn words() -> TextQuery {
    TextQuery::any("text", "red")
}

fn same() -> Leg {
    Leg::nearest("same", [4.0, 3.0, 2.0, 1.0])
}

/// Queries for which every document is as good as every other.
fn queries() -> Vec<(&'static str, Query)> {
    let text = || Leg::text(words());
    let order = || Leg::order_by([Order::desc("same_year")]);
    let rank = || Rescore::rank(Combine::Sum, Rank::attribute("same_year"));
    vec![
        ("nearest", same().into()),
        ("exactly nearest", Query::from(same()).exact()),
        ("by few clusters", Query::from(same()).probes(1_000_000)),
        ("text", Query::text(words())),
        ("order", order().into()),
        ("text and nearest", Query::hybrid([text(), same()])),
        ("no deeper than the page", Query::hybrid([text().depth(10), same().depth(10)])),
        ("scores", Query::hybrid([text(), same()]).exact().fuse(Fusion::z_score())),
        ("all three", Query::hybrid([text(), same(), order()])),
        ("text by distance", Query::text(words()).rescore(Rescore::nearest("same", [1.0; 4]))),
        ("nearest by value", Query::from(same()).rescore(rank().depth(50))),
        ("fused and rescored", Query::hybrid([text(), order()]).rescore(rank())),
    ]
}

async fn check(ns: &Namespace, model: &Model, state: &str) -> Result<()> {
    let all: Vec<u64> = model.keys().copied().collect();
    for (name, query) in queries() {
        for (limit, offset) in [(10, 0), (10, 4_500)] {
            // These look at some documents alone.
            if offset > 0 && (name == "no deeper than the page" || name == "nearest by value") {
                continue;
            }
            let query = query.clone().select(Select::only(["author"]));
            let hits = ns.query(query.limit(limit).offset(offset)).await?.hits()?;
            assert_eq!(hit_numbers(&hits), all[offset..offset + limit], "{state}: {name} from {offset}");
            let first = hits[0].legs.clone();
            assert!(offset > 0 || hits.iter().all(|hit| hit.legs == first), "{state}: {name}, {first:?}");
        }
        // With a filter that a third passes, and the first few of every author.
        let filter = Filter::eq("author", AUTHORS[1]);
        let hits = ns.query(query.clone().filter(filter)).await?.hits()?;
        let expected: Vec<u64> =
            model.iter().filter(|(_, author)| **author == 1).map(|(id, _)| *id).collect();
        assert_eq!(hit_numbers(&hits), expected[..10], "{state}: {name}, filtered");
        if !["text", "nearest", "all three", "fused and rescored"].contains(&name) {
            continue;
        }
        let mut left = [3, 3, 3];
        let few = model.iter().filter(|(_, author)| {
            let left = &mut left[**author];
            *left -= i32::from(*left > -1);
            *left >= 0
        });
        let few: Vec<u64> = few.map(|(id, _)| *id).collect();
        let hits = ns.query(query.clone().limit_per(["author"], 3)).await?.hits()?;
        assert_eq!(hit_numbers(&hits), few, "{state}: {name}, limited");
        let answer = ns.query(query.group_by(["author"], 2)).await?;
        let grouped = hit_numbers(&answer.hits()?);
        let mut groups: Vec<(u64, usize)> =
            (0..3).filter_map(|a| Some((*model.iter().find(|(_, author)| **author == a)?.0, a))).collect();
        groups.sort_unstable();
        let expected = groups.iter().flat_map(|(_, a)| {
            model.iter().filter(move |(_, author)| **author == *a).map(|(id, _)| *id).take(2)
        });
        assert_eq!(grouped, expected.collect::<Vec<_>>(), "{state}: {name}, grouped");
    }
    Ok(())
}

#[tokio::test]
async fn equals_come_in_order_of_ids_wherever_they_lie() -> Result<()> {
    let mut rng = Rng::new(7);
    let ns = empty_namespace(schema()?).await?;
    let mut model = Model::new();
    let ids = ids(6_000, &mut rng);
    write(&ns, &mut model, &ids, &mut rng).await?;
    check(&ns, &model, "tail").await?;
    ns.flush().await?;
    check(&ns, &model, "one segment").await?;
    // Some again, some gone, more beside.
    write(&ns, &mut model, &ids[..500], &mut rng).await?;
    let gone: Vec<u64> = model.keys().copied().step_by(9).collect();
    ns.write(gone.iter().fold(WriteBatch::new(), |batch, id| batch.delete(*id))).await?;
    model.retain(|id, _| !gone.contains(id));
    ns.flush().await?;
    let more: Vec<u64> = (0..3_000).map(|at| at * 13 + 1_000).filter(|id| !ids.contains(id)).collect();
    write(&ns, &mut model, &more, &mut rng).await?;
    ns.flush().await?;
    write(&ns, &mut model, &ids[500..700], &mut rng).await?;
    check(&ns, &model, "three segments and a tail").await?;
    ns.flush().await?;
    ns.compact().await?;
    check(&ns, &model, "compacted").await
}

#[tokio::test]
async fn twenty_thousand_equals_are_paged_by_offset_without_a_gap_or_a_repeat() -> Result<()> {
    let mut rng = Rng::new(8);
    let ns = empty_namespace(schema()?).await?;
    let mut model = Model::new();
    let ids = ids(20_000, &mut rng);
    write(&ns, &mut model, &ids[..11_000], &mut rng).await?;
    ns.flush().await?;
    write(&ns, &mut model, &ids[11_000..], &mut rng).await?;
    ns.flush().await?;
    let all: Vec<u64> = model.keys().copied().collect();
    let snapshot = ns.snapshot(Consistency::Strong).await?;
    for query in [Query::text(words()), same().into(), Leg::order_by([Order::asc("same_year")]).into()] {
        let mut paged = Vec::new();
        for page in 0..18 {
            let query = query.clone().select(Select::only(["author"])).limit(500).offset(page * 500);
            paged.extend(hit_numbers(&snapshot.query(query).await?.hits()?));
        }
        assert_eq!(paged, all[..9_000], "{query:?}");
        assert_eq!(paged.iter().collect::<BTreeSet<_>>().len(), 9_000);
    }
    Ok(())
}

#[tokio::test]
async fn short_labels_rank_alike_before_and_after_a_flush() -> Result<()> {
    let mut rng = Rng::new(9);
    let ns = empty_namespace(schema()?).await?;
    let mut batch = WriteBatch::new();
    for id in ids(9_000, &mut rng) {
        let label = if id % 10 == 0 { "red wine" } else { "red" };
        batch = batch.upsert(document(id, 0, &mut rng).with("text", label));
    }
    ns.write(batch).await?;
    let query = || Query::text(words()).limit(1_000).select(Select::only(["author"]));
    let before = ns.query(query()).await?.hits()?;
    assert!(before.iter().all(|hit| matches!(hit.document.id(), DocumentId::U64(id) if id % 10 != 0)));
    assert!(hit_numbers(&before).is_sorted());
    for _ in 0..2 {
        ns.flush().await?;
        assert_eq!(ns.query(query()).await?.hits()?, before);
        ns.compact().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_legs_score_alike_is_fused_alike_wherever_it_lies() -> Result<()> {
    let mut rng = Rng::new(10);
    let ns = empty_namespace(schema()?).await?;
    let mut model = Model::new();
    write(&ns, &mut model, &ids(9_000, &mut rng), &mut rng).await?;
    let hybrid = || {
        let apart = Leg::from(VectorQuery::new("apart", vec![0.0; 8]).exact());
        Query::hybrid([Leg::text(words()), apart, Leg::order_by([Order::asc("same_year")])]).limit(300)
    };
    let before = ns.query(hybrid()).await?.hits()?;
    ns.flush().await?;
    assert_eq!(ns.query(hybrid()).await?.hits()?, before);
    write(&ns, &mut model, &[900_000_000], &mut rng).await?;
    ns.flush().await?;
    ns.compact().await?;
    assert_eq!(hit_numbers(&ns.query(hybrid()).await?.hits()?), hit_numbers(&before));
    Ok(())
}

#[tokio::test]
async fn what_another_leg_finds_is_not_parted_from_its_equals_by_depth() -> Result<()> {
    let mut rng = Rng::new(12);
    let ns = empty_namespace(schema()?).await?;
    let mut model = Model::new();
    let ids = ids(9_000, &mut rng);
    write(&ns, &mut model, &ids[..7_000], &mut rng).await?;
    ns.flush().await?;
    write(&ns, &mut model, &ids[7_000..], &mut rng).await?;
    let newest: Vec<u64> = model.keys().rev().copied().take(20).collect();
    for equal in [Leg::text(words()), Leg::order_by([Order::asc("same_year")])] {
        for depth in [1, 30] {
            // All are alike to the first leg, and the last ids are the first of the other.
            let by_id = Leg::order_by([Order::desc("id")]).depth(depth.max(20));
            let query = Query::hybrid([equal.clone().depth(depth), by_id]).limit(20);
            let hits = ns.query(query.clone()).await?.hits()?;
            assert_eq!(hit_numbers(&hits), newest, "{query:?}");
            assert!(hits.iter().all(|hit| hit.legs[0].is_some_and(|leg| leg.rank == 1)), "{query:?}");
        }
    }
    Ok(())
}
