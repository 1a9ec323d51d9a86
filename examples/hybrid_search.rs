//! Hybrid search for claims in scientific abstracts: two fusions, a facet, highlights, and ranks by leg.
//!
//! `cargo run --example hybrid_search`
#![expect(clippy::print_stdout, reason = "an example prints")]

mod common;

use std::error::Error;

use common::{Collection, DIMENSION};
use elacsym::query::{Computed, Fragment, Highlight, Hit};
use elacsym::schema::{AttributeType, Language, TextOptions};
use elacsym::{
    Aggregation, Compute, Database, Filter, Fusion, IdKind, Leg, Metric, Namespace, Query, Schema, Select,
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
    let english = || TextOptions::default().with_language(Language::English);
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
        .select(Select::only(["title"]));
    println!("  by rank            vector   text");
    let answer = papers.query(query).await?;
    print_hits(&answer.hits()?, &claim.relevant);
    for group in answer.facets.get("structured").iter().flat_map(|facet| &facet.groups) {
        println!("  structured {:?}: {} abstracts", group.keys, group.count);
    }

    // Scores instead of ranks, vectors weighted by two, and one hit for each value of `structured`.
    let [nearest, text] = legs;
    let query = Query::hybrid([nearest.weight(2.0), text])
        .fuse(Fusion::min_max())
        .limit_per(["structured"], 1)
        .select(Select::only(["title"]));
    println!("  by score           vector   text");
    print_hits(&papers.query(query).await?.hits()?, &claim.relevant);
    Ok(())
}

/// Prints the score of each hit, its rank in each leg, and whether experts judged it relevant.
fn print_hits(hits: &[Hit], relevant: &[u64]) {
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
        for fragment in hit.computed.get("highlight").map(Computed::fragments).unwrap_or_default() {
            println!("{:>33}{}", "", mark_matches(fragment));
        }
    }
}

/// About the first hundred characters of a fragment, with its matches in brackets.
fn mark_matches(fragment: &Fragment) -> String {
    let (mut text, mut end) = (String::new(), 0);
    for found in &fragment.matches {
        if found.end > 100 {
            break;
        }
        text += fragment.text.get(end..found.start).unwrap_or_default();
        text.extend(["[", fragment.text.get(found.clone()).unwrap_or_default(), "]"]);
        end = found.end;
    }
    let remainder = fragment.text.get(end..).unwrap_or_default();
    text.extend(remainder.chars().take(100_usize.saturating_sub(end)));
    text
}
