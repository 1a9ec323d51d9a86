//! Hybrid search: claims are looked for among scientific abstracts by meaning and by words at once.
//!
//! `cargo run --example hybrid_search`
#![expect(clippy::print_stdout, reason = "an example prints")]

mod common;

use std::error::Error;

use common::Collection;
use elacsym::query::{Computed, Fragment, Highlight, Hit, TextMatch};
use elacsym::schema::{AttributeType, Language, TextOptions};
use elacsym::{
    Aggregation, Compute, Database, Filter, Fusion, IdKind, Leg, Metric, Query, Schema, Select, Value,
    VectorType, WriteBatch,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let Collection { documents, queries } = Collection::load()?;
    let dimension = queries.first().map_or(1, |claim| claim.embedding.len());
    let english = || TextOptions::default().with_language(Language::English);
    let schema = Schema::builder(IdKind::U64)
        .text("title", english())
        .text("text", english())
        .attribute("words", AttributeType::Int)
        .attribute("sentences", AttributeType::Int)
        .attribute("structured", AttributeType::Bool)
        .vector("embedding", VectorType::F16, dimension, Metric::Cosine)
        .build()?;
    let papers = Database::open("memory://").await?.create_namespace("papers", schema).await?;
    papers.write(WriteBatch::new().upsert_batch(documents)).await?;
    papers.flush().await?;

    for claim in queries.iter().filter(|claim| claim.relevant.len() > 1).take(3) {
        println!("\n{}", claim.text);
        let words = TextMatch::any(claim.text.as_str()).column("title", 2.0).column("text", 1.0);
        let legs = [Leg::nearest("embedding", claim.embedding.clone()), Leg::text(words.clone())];

        // Both legs look at the rows that the filter lets through. A document's score is the sum of 1 / (60 + rank).
        let query = Query::hybrid(legs.clone())
            .filter(Filter::gte("words", 80))
            .limit(4)
            .compute(
                "said",
                Compute::highlight("text", words.clone(), Highlight::default().limit(1).ranked()),
            )
            .facet("structured", Aggregation::new().group_by("structured"))
            .select(Select::only(["title"]));
        println!("  by ranks          meaning  words");
        let answer = papers.query(query).await?;
        print(&answer.hits()?, &claim.relevant);
        for group in answer.facets.get("structured").iter().flat_map(|facet| &facet.groups) {
            println!("  structured {:?}: {} abstracts", group.keys, group.count);
        }

        // Scores instead of ranks, meaning counting twice, and at most one structured abstract and one plain one.
        let [meaning, words] = legs;
        let query = Query::hybrid([meaning.weight(2.0), words])
            .fuse(Fusion::min_max())
            .limit_per(["structured"], 1)
            .select(Select::only(["title"]));
        println!("  by scores         meaning  words");
        print(&papers.query(query).await?.hits()?, &claim.relevant);
    }
    Ok(())
}

/// The score of each hit, its ranks in the legs, and whether experts judged it relevant.
fn print(hits: &[Hit], relevant: &[u64]) {
    for hit in hits {
        let rank = |leg: usize| {
            hit.legs.get(leg).copied().flatten().map_or("–".to_owned(), |leg| leg.rank.to_string())
        };
        let mark = if relevant.iter().any(|id| *hit.document.id() == (*id).into()) { '✓' } else { ' ' };
        let title = match hit.document.get("title") {
            Some(Value::String(title)) => title.as_str(),
            _ => "(no title)",
        };
        let title: String = title.chars().take(70).collect();
        println!("  {:.4}  {mark}  {:>14}  {:>5}  {title}", hit.score, rank(0), rank(1));
        for fragment in hit.computed.get("said").map(Computed::fragments).unwrap_or_default() {
            println!("{:>33}{}", "", marked(fragment));
        }
    }
}

/// The first hundred characters or so of a fragment, its matches in brackets.
fn marked(fragment: &Fragment) -> String {
    let (mut text, mut end) = (String::new(), 0);
    for found in &fragment.matches {
        if found.end > 100 {
            break;
        }
        text += fragment.text.get(end..found.start).unwrap_or_default();
        text.extend(["[", fragment.text.get(found.clone()).unwrap_or_default(), "]"]);
        end = found.end;
    }
    let rest: String =
        fragment.text.get(end..).unwrap_or_default().chars().take(100_usize.saturating_sub(end)).collect();
    text + &rest
}
