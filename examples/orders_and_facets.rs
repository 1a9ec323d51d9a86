//! Orders, pages, groups and facets: what a result list needs in an application.
//!
//! `cargo run --example orders_and_facets`
#![expect(clippy::print_stdout, reason = "an example prints")]

use elacsym::schema::{AttributeType, TextOptions};
use elacsym::{
    Aggregate, Aggregation, Database, Document, Filter, IdKind, Order, Query, Result, Schema, TextQuery,
    Value, WriteBatch,
};

#[tokio::main]
async fn main() -> Result<()> {
    let schema = Schema::builder(IdKind::U64)
        .text("name", TextOptions::default())
        .attribute("kind", AttributeType::String)
        .attribute("tags", AttributeType::StringArray)
        .attribute("price", AttributeType::Float)
        .build()?;
    let shop = Database::open("memory://").await?.create_namespace("shop", schema).await?;
    let item = |id: u64, name: &str, kind: &str, tags: &[&str], price: f64| {
        let tags: Vec<String> = tags.iter().map(ToString::to_string).collect();
        Document::new(id).with("name", name).with("kind", kind).with("tags", tags).with("price", price)
    };
    shop.write(
        WriteBatch::new()
            .upsert(item(1, "green tea", "leaves", &["loose", "organic"], 4.5))
            .upsert(item(2, "black tea", "leaves", &["bags"], 3.0))
            .upsert(item(3, "smoky black tea", "leaves", &["loose"], 9.0))
            .upsert(item(4, "tea pot of black iron", "pots", &["gift"], 45.0))
            .upsert(item(5, "glass tea pot", "pots", &["gift", "fragile"], 30.0)),
    )
    .await?;

    // The most expensive items first, two per page. A cursor can be sent to a browser as text.
    let expensive = Query::order_by([Order::desc("price"), Order::asc("name")]).limit(2);
    let mut cursor = None;
    loop {
        let page = shop.query(expensive.clone().after(cursor)).await?;
        let hits = page.hits()?;
        let names: Vec<&str> = hits.iter().filter_map(|hit| hit.document.str("name")).collect();
        println!("page: {}", names.join(", "));
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }

    // The best hit of every kind, and the number of affordable items by tag.
    let tea = Query::text(TextQuery::any("name", "black tea"))
        .filter(Filter::lt("price", 40.0))
        .group_by(["kind"], 1)
        .facet("tags", Aggregation::new().group_by_elements("tags"));
    let answer = shop.query(tea).await?;
    let hits = answer.hits()?;
    for group in &answer.groups {
        for hit in hits.get(group.hits.clone()).unwrap_or_default() {
            println!("best of {}: {}", shown(&group.values), hit.document.str("name").unwrap_or("(no name)"));
        }
    }
    for tag in answer.facets.get("tags").iter().flat_map(|facet| &facet.groups) {
        println!("tagged {}: {}", shown(&tag.keys), tag.count);
    }

    // Aggregates alone.
    let prices = Aggregation::new().group_by("kind").aggregate("mean", Aggregate::avg("price"));
    for kind in shop.aggregate(&prices).await?.groups {
        let mean = kind.values.get("mean").unwrap_or(&Value::Null);
        println!("{}: {} items, {mean:.2} on average", shown(&kind.keys), kind.count);
    }
    Ok(())
}

fn shown(values: &[Value]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
