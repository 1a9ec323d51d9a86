//! Every filter operator on real documents, with the number of matches.
//!
//! `cargo run --example filters`
#![expect(clippy::print_stdout, reason = "an example prints")]

mod common;

use std::error::Error;

use common::{Collection, DIMENSION};
use elacsym::schema::AttributeType;
use elacsym::{
    Database, Document, Filter, Fuzzy, IdKind, Metric, Namespace, Scan, Schema, Select, Value, VectorType,
    WriteBatch,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let papers = load().await?;
    // Scalars. Numbers compare by value; strings order by their bytes.
    count(&papers, "eq(structured, true)", Filter::eq("structured", true)).await?;
    count(&papers, "not_eq(structured, true)", Filter::not_eq("structured", true)).await?;
    count(&papers, "lt(words, 100)", Filter::lt("words", 100)).await?;
    count(&papers, "lte(words, 100)", Filter::lte("words", 100)).await?;
    count(&papers, "gt(title, \"T\")", Filter::gt("title", "T")).await?;
    count(&papers, "gte(id, 10,000,000)", Filter::gte("id", 10_000_000)).await?;
    count(&papers, "is_in(sentences, [3, 4])", Filter::is_in("sentences", [3, 4])).await?;
    count(&papers, "not_in(sentences, [3, 4])", Filter::not_in("sentences", [3, 4])).await?;

    // Arrays.
    let (cancer, mouse) = ("cancer", "mouse");
    count(&papers, "contains(terms, cancer)", Filter::contains("terms", cancer)).await?;
    count(&papers, "not_contains(terms, cancer)", Filter::not_contains("terms", cancer)).await?;
    count(&papers, "contains_any(terms, both)", Filter::contains_any("terms", [cancer, mouse])).await?;
    count(&papers, "not_contains_any(terms, both)", Filter::not_contains_any("terms", [cancer, mouse]))
        .await?;
    count(&papers, "any_lt(lengths, 2)", Filter::any_lt("lengths", 2)).await?;
    count(&papers, "any_lte(lengths, 2)", Filter::any_lte("lengths", 2)).await?;
    count(&papers, "any_gt(lengths, 20)", Filter::any_gt("lengths", 20)).await?;
    count(&papers, "any_gte(lengths, 20)", Filter::any_gte("lengths", 20)).await?;

    // Strings: globs match the whole string, regular expressions any part of it.
    count(&papers, "glob(title, \"The *\")", Filter::glob("title", "The *")).await?;
    count(&papers, "not_glob(title, \"The *\")", Filter::not_glob("title", "The *")).await?;
    count(&papers, "iglob(title, \"*{dna,rna}*\")", Filter::iglob("title", "*{dna,rna}*")).await?;
    count(&papers, "not_iglob(title, \"*{dna,rna}*\")", Filter::not_iglob("title", "*{dna,rna}*")).await?;
    count(&papers, "regex(title, \"[0-9]+\")", Filter::regex("title", "[0-9]+")).await?;
    count(&papers, "not_regex(title, \"^[A-M]\")", Filter::not_regex("title", "^[A-M]")).await?;
    // Fuzzy: up to two edits, here one extra letter.
    let misspelt = Fuzzy::new("methyllation").any_case();
    count(&papers, "fuzzy(title, methyllation)", Filter::fuzzy("title", misspelt.clone())).await?;
    count(&papers, "not_fuzzy(title, methyllation)", Filter::not_fuzzy("title", misspelt)).await?;

    // Nulls: a predicate on a null is false, and a negation is true exactly when its operand is false. So the first two
    // add up to all documents, and the third excludes documents without terms.
    let cancer = Filter::contains("terms", cancer);
    count(&papers, "is_null(terms)", Filter::is_null("terms")).await?;
    count(&papers, "is_not_null(terms)", Filter::is_not_null("terms")).await?;
    count(&papers, "!cancer & is_not_null(terms)", !cancer.clone() & Filter::is_not_null("terms")).await?;

    // Combinations: operators, or `and`, `or` and `not` over any number of filters.
    let long = Filter::gt("words", 300) & Filter::eq("structured", true);
    count(&papers, "long | cancer", long.clone() | cancer.clone()).await?;
    count(&papers, "and([long, not(cancer)])", Filter::and([long, Filter::not(cancer)])).await?;
    Ok(())
}

async fn count(papers: &Namespace, what: &str, filter: Filter) -> elacsym::Result<()> {
    let scan = Scan::new().filter(filter).select(Select::only(["title"])).limit(2_000);
    println!("{:>5}  {what}", papers.scan(scan).await?.rows.len());
    Ok(())
}

/// The collection, with arrays made from the titles: their long words, and how long all their words are.
async fn load() -> Result<Namespace, Box<dyn Error>> {
    let schema = Schema::builder(IdKind::U64)
        .attribute("title", AttributeType::String)
        .attribute("text", AttributeType::String)
        .attribute("words", AttributeType::Int)
        .attribute("sentences", AttributeType::Int)
        .attribute("structured", AttributeType::Bool)
        .attribute("terms", AttributeType::StringArray)
        .attribute("lengths", AttributeType::IntArray)
        .vector("embedding", VectorType::F16, DIMENSION, Metric::Cosine)
        .build()?;
    let documents = Collection::load()?.documents;
    let db = Database::open("memory://").await?;
    let papers = db.create_namespace("papers", schema).await?;
    papers.write(WriteBatch::new().upsert_batch(documents)).await?;

    let page = papers.scan(Scan::new().select(Select::only(["title"])).limit(2_000)).await?;
    let mut batch = WriteBatch::new();
    for document in page.rows.documents()? {
        let Some(Value::String(title)) = document.get("title") else { continue };
        let words: Vec<String> = title.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase).collect();
        let lengths: Vec<i64> =
            words.iter().map(|word| i64::try_from(word.len())).collect::<Result<_, _>>()?;
        let terms: Vec<String> = words.into_iter().filter(|word| word.len() > 4).collect();
        let terms = if terms.is_empty() { None } else { Some(terms) };
        batch =
            batch.patch(Document::new(document.id().clone()).with("terms", terms).with("lengths", lengths));
    }
    papers.write(batch).await?;
    Ok(papers)
}
