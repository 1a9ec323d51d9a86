//! Hybrid search for claims in scientific abstracts: two fusions, a facet, highlights, and ranks by leg.
//!
//! `cargo run --example hybrid_search`
#![expect(clippy::print_stdout, reason = "an example prints")]

mod common;

use std::error::Error;

use common::{Collection, DIMENSION};
use elacsym::query::Highlight;
use elacsym::schema::{AttributeType, Language, TextOptions};
use elacsym::{
    Aggregation, Compute, Database, Filter, Fusion, Hit, IdKind, Leg, Metric, Namespace, Query, Schema,
    TextMatch, Value, VectorType, WriteBatch,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let Collection { documents, queries } = Collection::load()?;
    let papers = Database::open("memory://").await?.create_namespace("papers", schema()?).await?;
    papers.write(WriteBatch::new().upsert_batch(documents)).await?;
    papers.flush().await?;
    for claim in queries.iter().filter(|claim| claim.relevant.len() > 1).take(3) {
        search(&papers, claim).await?;
    }
    Ok(())
}

fn schema() -> elacsym::Result<Schema> {
    let english = || TextOptions::default().language(Language::English);
    Schema::builder(IdKind::U64)
        .text("title", english())
        .text("text", english())
        .attribute("words", AttributeType::Int)
        .attribute("sentences", AttributeType::Int)
        .attribute("structured", AttributeType::Bool)
        .vector("embedding", VectorType::F16, DIMENSION, Metric::Cosine)
        .build()
}

async fn search(papers: &Namespace, claim: &common::Query) -> elacsym::Result<()> {
    println!("\n{}", claim.text);
    let words = TextMatch::any(claim.text.as_str()).column("title", 2.0).column("text", 1.0);
    let legs = [Leg::nearest("embedding", claim.embedding.clone()), Leg::text(words.clone())];

    // The filter applies to both legs. The score of a document is the sum of 1 / (60 + rank) over the legs.
    let highlight = Compute::highlight("text", words, Highlight::default().limit(1).ranked());
    let query = Query::hybrid(legs.clone())
        .filter(Filter::gte("words", 80))
        .limit(4)
        .compute("highlight", highlight)
        .facet("structured", Aggregation::new().group_by("structured"))
        .select(["title"]);
    println!("  by rank            vector   text");
    let answer = papers.query(query).await?;
    print_hits(&answer.hits()?, &claim.relevant);
    for group in answer.facets.get("structured").iter().flat_map(|facet| &facet.groups) {
        let structured = group.keys.first().and_then(Value::as_bool).unwrap_or(false);
        println!("  {} abstracts {} sections", group.count, if structured { "with" } else { "without" });
    }

    // Scores instead of ranks, vectors weighted by two, and one hit for each value of `structured`.
    let [nearest, text] = legs;
    let query = Query::hybrid([nearest.weight(2.0), text])
        .fuse(Fusion::min_max())
        .limit_per(["structured"], 1)
        .select(["title"]);
    println!("  by score           vector   text");
    print_hits(&papers.query(query).await?.hits()?, &claim.relevant);
    Ok(())
}

/// Prints the score of each hit, its rank in each leg, and whether experts judged it relevant.
fn print_hits(hits: &[Hit], relevant: &[u64]) {
    for hit in hits {
        let rank = |leg| hit.rank(leg).map_or("–".to_owned(), |rank| rank.to_string());
        let mark = if relevant.iter().any(|id| hit.document.id() == id) { '✓' } else { ' ' };
        let title: String = hit.document.str("title").unwrap_or("(no title)").chars().take(70).collect();
        println!("  {:.4}  {mark}  {:>14}  {:>5}  {title}", hit.score, rank(0), rank(1));
        for fragment in hit.fragments("highlight") {
            let marked: String = fragment.marked("[", "]").chars().take(110).collect();
            println!("{:>33}{marked}", "");
        }
    }
}
