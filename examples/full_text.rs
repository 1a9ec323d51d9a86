//! Full-text search: any word, all words, phrases, misspelled words, several columns.
//!
//! `cargo run --example full_text`
#![expect(clippy::print_stdout, reason = "an example prints")]

mod common;

use std::error::Error;

use common::Collection;
use elacsym::schema::{AttributeType, Language, TextOptions};
use elacsym::{
    Database, Filter, IdKind, Namespace, Query, Schema, TextMatch, TextPhrase, TextQuery, WriteBatch,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let collection = Collection::load()?;
    // With a language, words are stemmed: "cells" finds "cell".
    let english = || TextOptions::default().language(Language::English);
    let schema = Schema::builder(IdKind::U64)
        .text("title", english())
        .text("text", english())
        .attribute("words", AttributeType::Int)
        .build()?;
    let db = Database::open("memory://").await?;
    let papers = db.create_namespace("papers", schema).await?;
    let documents = collection.documents.project(&[0, 1, 2, 3])?;
    papers.write(WriteBatch::new().upsert_batch(documents)).await?;

    show(&papers, "any word", TextQuery::any("text", "stem cells in the heart")).await?;
    show(&papers, "all words", TextQuery::all("text", "stem cells heart failure")).await?;
    show(&papers, "a phrase", TextQuery::phrase("text", "heart failure")).await?;
    let near = TextPhrase::new("text", "stem cell differentiation").slop(3);
    show(&papers, "a phrase with slop", near).await?;
    let both = TextMatch::any("stem cells").column("title", 3.0).column("text", 1.0);
    show(&papers, "two columns, the title weighted by three", both).await?;
    let typing = TextMatch::all("pluripotent ste").column("title", 1.0).prefix();
    show(&papers, "a prefix, as while typing", typing).await?;
    show(&papers, "misspelled words", TextMatch::all("hart falure").column("text", 1.0).fuzzy()).await?;
    let but = TextQuery::all("text", "stem cells").without(TextQuery::any("text", "cancer mice"));
    show(&papers, "some words without others", but).await?;
    // User input is plain text: no character is syntax.
    show(&papers, "user input", TextQuery::any("text", "\"heart AND (failure* OR -stem:^2")).await?;
    Ok(())
}

async fn show(papers: &Namespace, what: &str, query: impl Into<TextQuery>) -> Result<(), Box<dyn Error>> {
    println!("{what}");
    let query = Query::text(query).filter(Filter::gt("words", 50)).limit(3).select(["title"]);
    for hit in papers.query(query).await?.hits()? {
        println!("  {:.2} {}", hit.score, hit.document.str("title").unwrap_or("(no title)"));
    }
    Ok(())
}
