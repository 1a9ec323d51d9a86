//! Aggregates and facets as a user meets them: what they give is what counting by hand gives, wherever documents
//! lie.
#![expect(clippy::cast_precision_loss, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};

use elacsym::query::{AggregateGroup, Aggregated};
use elacsym::schema::AttributeType;
use elacsym::*;

use crate::common::fixtures::{empty_namespace, random_namespace};
use crate::common::rng;
use rng::Rng;

#[derive(Clone, Debug)]
struct Row {
    kind: Option<String>,
    tags: Option<Vec<String>>,
    price: Option<i64>,
    weight: Option<f64>,
    sold: Option<bool>,
}

type Model = BTreeMap<u64, Row>;

fn schema() -> Result<Schema> {
    Schema::builder(IdKind::U64)
        .attribute("kind", AttributeType::String)
        .attribute("tags", AttributeType::StringArray)
        .attribute("price", AttributeType::Int)
        .attribute("weight", AttributeType::Float)
        .attribute("sold", AttributeType::Bool)
        .build()
}

/// Some kinds are longer than the keys of an index.
fn kind(rng: &mut Rng, long: bool) -> String {
    let number = rng.below(5);
    if long && rng.chance(0.3) { format!("{}{number}", "long".repeat(40)) } else { format!("kind{number}") }
}

fn row(rng: &mut Rng, long: bool) -> Row {
    Row {
        kind: rng.chance(0.9).then(|| kind(rng, long)),
        tags: rng.chance(0.8).then(|| (0..rng.below(4)).map(|_| kind(rng, long)).collect()),
        price: rng.chance(0.9).then(|| rng.around(6).into()),
        // Halves are added exactly.
        weight: rng.chance(0.9).then(|| f64::from(rng.around(9)) / 2.0),
        sold: rng.chance(0.5).then(|| rng.chance(0.5)),
    }
}

fn document(id: u64, row: &Row) -> Document {
    Document::new(id)
        .with("kind", row.kind.clone())
        .with("tags", row.tags.clone())
        .with("price", row.price)
        .with("weight", row.weight)
        .with("sold", row.sold)
}

/// Documents in several segments and the tail.
async fn filled(rng: &mut Rng, long: bool) -> Result<(Namespace, Model)> {
    random_namespace(schema()?, rng, (60, 150), |rng| row(rng, long), document).await
}

/// The figures of some rows, by hand.
fn figures(keys: Vec<Value>, rows: &[&Row]) -> AggregateGroupOf {
    let prices: Vec<i64> = rows.iter().filter_map(|row| row.price).collect();
    let weights: Vec<f64> = rows.iter().filter_map(|row| row.weight).collect();
    let kinds: Vec<&String> = rows.iter().filter_map(|row| row.kind.as_ref()).collect();
    let mean = |sum: f64, count: usize| (count > 0).then(|| sum / count as f64);
    let values = [
        ("sum", prices.iter().sum::<i64>().into()),
        ("mean", mean(prices.iter().sum::<i64>() as f64, prices.len()).into()),
        ("weight", weights.iter().sum::<f64>().into()),
        ("least weight", weights.iter().copied().min_by(f64::total_cmp).into()),
        ("most", prices.iter().max().copied().into()),
        ("first kind", kinds.iter().min().map(|kind| kind.as_str()).into()),
        ("kinds", (kinds.iter().collect::<BTreeSet<_>>().len() as u64).into()),
        ("answers", (rows.iter().filter_map(|row| row.sold).collect::<BTreeSet<_>>().len() as u64).into()),
    ];
    let values = values.map(|(name, value): (&str, Value)| (name.to_owned(), value)).into();
    (keys, rows.len() as u64, values)
}

/// A filter, and what it does.
type Filtered = (Option<Filter>, fn(&Row) -> bool);
type AggregateGroupOf = (Vec<Value>, u64, BTreeMap<String, Value>);

fn with_figures(of: Aggregation) -> Aggregation {
    of.aggregate("sum", Aggregate::sum("price"))
        .aggregate("mean", Aggregate::avg("price"))
        .aggregate("weight", Aggregate::sum("weight"))
        .aggregate("least weight", Aggregate::min("weight"))
        .aggregate("most", Aggregate::max("price"))
        .aggregate("first kind", Aggregate::min("kind"))
        .aggregate("kinds", Aggregate::distinct("kind"))
        .aggregate("answers", Aggregate::distinct("sold"))
}

fn groups(answer: &Aggregated) -> Vec<AggregateGroupOf> {
    let of = |group: &AggregateGroup| (group.keys.clone(), group.count, group.values.clone());
    answer.groups.iter().map(of).collect()
}

/// Groups by hand: `keys` gives every group that a row is in.
fn grouped<'m, K: Ord + Clone>(
    model: &[&'m Row],
    keys: impl Fn(&'m Row) -> BTreeSet<K>,
    values: impl Fn(&K) -> Vec<Value>,
    all: bool,
) -> Vec<AggregateGroupOf> {
    let mut groups: BTreeMap<K, Vec<&Row>> = BTreeMap::new();
    for row in model {
        for key in keys(row) {
            groups.entry(key).or_default().push(row);
        }
    }
    let mut found: Vec<_> = groups
        .iter()
        .map(|(key, rows)| {
            let (keys, count, figures) = figures(values(key), rows);
            (keys, count, if all { figures } else { BTreeMap::new() })
        })
        .collect();
    // By the count, and then by the keys: the sort is stable.
    found.sort_by_key(|(_, count, _)| std::cmp::Reverse(*count));
    found
}

fn tags(row: &Row) -> BTreeSet<&String> {
    row.tags.iter().flatten().collect()
}

#[tokio::test]
async fn they_are_what_counting_by_hand_gives_wherever_documents_lie() -> Result<()> {
    for seed in 0..6 {
        let mut rng = Rng::new(seed);
        let (ns, model) = filled(&mut rng, seed % 2 == 1).await?;
        for stage in 0..3 {
            match stage {
                1 => drop(ns.flush().await?),
                2 => drop(ns.compact().await?),
                _ => {}
            }
            let filters: [Filtered; 3] = [
                (None, |_| true),
                (Some(Filter::gt("price", 0)), |row| row.price.is_some_and(|price| price > 0)),
                (Some(Filter::lt("price", -1_000)), |_| false),
            ];
            for (filter, keep) in filters {
                let rows: Vec<&Row> = model.values().filter(|row| keep(row)).collect();
                let ask = || match &filter {
                    Some(filter) => Aggregation::new().filter(filter.clone()),
                    None => Aggregation::new(),
                };
                let context = format!("seed {seed}, stage {stage}, {filter:?}");
                let whole = ns.aggregate(with_figures(ask())).await?;
                assert_eq!(groups(&whole), [figures(Vec::new(), &rows)], "{context}");
                for all in [false, true] {
                    let with = |of: Aggregation| if all { with_figures(of) } else { of };
                    let kinds = ns.aggregate(with(ask().group_by("kind"))).await?;
                    let by_kind = grouped(
                        &rows,
                        |row| [row.kind.as_ref()].into(),
                        |kind| vec![kind.cloned().into()],
                        all,
                    );
                    assert_eq!(groups(&kinds), by_kind, "{context}");
                    let answer = ns.aggregate(with(ask().group_by_elements("tags"))).await?;
                    let by_tag = grouped(&rows, tags, |tag| vec![tag.as_str().into()], all);
                    assert_eq!(groups(&answer), by_tag, "{context}");
                    let both = with(ask().group_by("sold").group_by_elements("tags").groups(4));
                    let answer = ns.aggregate(&both).await?;
                    let keys = |row| tags(row).into_iter().map(|tag| (row.sold, tag)).collect();
                    let values =
                        |(sold, tag): &(Option<bool>, &String)| vec![(*sold).into(), tag.as_str().into()];
                    let mut expected = grouped(&rows, keys, values, all);
                    assert_eq!(answer.groups_total, expected.len(), "{context}");
                    expected.truncate(4);
                    assert_eq!(groups(&answer), expected, "{context}");
                }
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_sum_that_does_not_fit_is_an_error_and_its_average_is_not() -> Result<()> {
    let ns = empty_namespace(schema()?).await?;
    let row = |id: u64| Document::new(id).with("price", i64::MAX);
    ns.write(WriteBatch::new().upsert(row(1)).upsert(row(2))).await?;
    for _ in 0..2 {
        let error =
            ns.aggregate(Aggregation::new().aggregate("sum", Aggregate::sum("price"))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        assert!(error.to_string().contains("does not fit"), "{error}");
        let mean = ns.aggregate(Aggregation::new().aggregate("mean", Aggregate::avg("price"))).await?;
        assert_eq!(mean.groups[0].values["mean"], Value::Float(i64::MAX as f64));
        ns.flush().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_is_refused_by_name() -> Result<()> {
    let ns = empty_namespace(schema()?).await?;
    let new = Aggregation::new;
    let invalid = [
        (new().group_by("x"), "no such attribute"),
        (new().group_by("tags"), "by its elements"),
        (new().group_by_elements("kind"), "expected an array"),
        (new().group_by_elements("tags").group_by_elements("tags"), "one array"),
        (new().aggregate("a", Aggregate::sum("kind")), "not defined of string"),
        (new().aggregate("a", Aggregate::min("sold")), "not defined of bool"),
        (new().aggregate("a", Aggregate::distinct("tags")), "not defined of []string"),
        (new().aggregate("a", Aggregate::sum("price")).aggregate("a", Aggregate::avg("price")), "twice"),
    ];
    for (asked, why) in invalid {
        let error = ns.aggregate(&asked).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{asked:?}");
        assert!(error.to_string().contains(why), "{error}");
    }
    for asked in [new().groups(0), new().groups(10_001), (0..9).fold(new(), |all, _| all.group_by("kind"))] {
        assert_eq!(ns.aggregate(&asked).await.unwrap_err().kind(), ErrorKind::LimitExceeded, "{asked:?}");
    }
    Ok(())
}

#[tokio::test]
async fn figures_alone_are_asked_by_a_limit_of_nothing() -> Result<()> {
    let schema = Schema::builder(IdKind::U64)
        .vector("v", VectorType::F32, 2, Metric::L2Squared)
        .attribute("kind", AttributeType::String)
        .build()?;
    let ns = empty_namespace(schema).await?;
    for part in [0..30_u64, 30..40] {
        let documents = part.map(|id| {
            let kind = if id % 4 == 0 { "tea" } else { "pot" };
            Document::new(id).with("kind", kind).with("v", Vector::from([1.0, 2.0]))
        });
        ns.write(WriteBatch::new().upsert_all(documents)).await?;
        ns.flush().await?;
    }
    let kinds = || Aggregation::new().group_by("kind");
    for query in [
        Query::nearest("v", [0.0, 0.0]),
        Query::order_by([Order::asc("kind")]).limit_per(["kind"], 2),
        Query::hybrid([Leg::nearest("v", [0.0, 0.0]), Leg::order_by([Order::asc("id")])])
            .group_by(["kind"], 2),
    ] {
        let asked = query.clone().limit(0).facet("kinds", kinds());
        let answer = ns.query(asked.clone()).await?;
        let counts: Vec<u64> = answer.facets["kinds"].groups.iter().map(|group| group.count).collect();
        assert_eq!(counts, [30, 10]);
        assert!(answer.hits()?.is_empty() && answer.groups.is_empty() && answer.cursor.is_none());
        assert_eq!(answer.stats.rows_scanned, 0, "no leg is asked");
        assert_eq!(answer.to_batch()?.num_rows(), 0);
        let filtered = ns.query(asked.filter(Filter::eq("kind", "tea"))).await?;
        assert_eq!(filtered.facets["kinds"].groups[0].count, 10);
        // What is wrong is refused all the same, and so is asking for nothing.
        assert!(ns.query(query.clone().limit(0)).await.is_err());
        let wrong = Query::nearest("absent", [0.0, 0.0]).limit(0).facet("kinds", kinds());
        assert!(ns.query(wrong).await.is_err());
    }
    Ok(())
}
