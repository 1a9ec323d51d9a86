//! **Measures** full text against raw tantivy in memory, in the same run: the time of a query for ten hits of one segment
//! of 100,000 documents, warm and on one thread; the time to build an index; and nDCG@10 on the judged collections of
//! `examples/hybrid_quality.rs`.
//!
//! elacsym is queried through its public API: an eventual snapshot, ids only. tantivy returns addresses of documents. The
//! text is generated from a seed, with word frequencies by Zipf's law. tantivy has no prefixes that score: those of
//! elacsym are compared with a union of the words with that prefix, looked up in the dictionary as part of the query;
//! a regular expression is measured too, which gives every match the same score. A rare word occurs in about ten
//! documents, so its time is that of a query apart from its matches.
//!
//! **Leaves out** reading from a store, several segments, the tail, filters, highlights and fetching documents.
//!
//! `cargo bench --bench fulltext`; a name after `--` measures the cases with that name only.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    reason = "a benchmark"
)]

mod common;
#[path = "../examples/common/mod.rs"]
mod judged_sets;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use common::Draw;
use elacsym::arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray, UInt64Array};
use elacsym::arrow::datatypes::UInt64Type;
use elacsym::schema::{Language, TextOptions};
use elacsym::{
    Consistency, Database, IdKind, Namespace, Query, Schema, Select, Settings, Snapshot, TextMatch,
    TextPhrase, TextQuery, WriteBatch,
};
use judged_sets::judged::Set;
use tantivy::collector::TopDocs;
use tantivy::directory::RamDirectory;
use tantivy::query::{BooleanQuery, PhraseQuery, RegexQuery, TermQuery};
use tantivy::schema::{Field, IndexRecordOption, TextFieldIndexing, TextOptions as Indexed};
use tantivy::tokenizer::{LowerCaser, SimpleTokenizer, Stemmer, TextAnalyzer};
use tantivy::{Index, Searcher, TantivyDocument, Term};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const DOCUMENTS: usize = 100_000;
const VOCABULARY: usize = 40_000;
const LIMIT: usize = 10;
const QUERIES: usize = 200;
const ROUNDS: usize = 7;

fn main() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        latency().await?;
        quality().await
    })
}

/// The number of a word: the n-th is about 1/n as frequent as the first.
fn draw_word(draw: &mut Draw) -> usize {
    ((VOCABULARY as f64 + 1.0).powf(draw.unit()) as usize - 1).min(VOCABULARY - 1)
}

/// A pronounceable word, different for every number.
fn word(number: usize) -> String {
    let mut rest = number * 7_919 % VOCABULARY;
    let mut word = String::new();
    for _ in 0..3 {
        word.push(char::from(b"bdfgklmnprstvz"[rest % 14]));
        rest /= 14;
        word.push(char::from(b"aeiou"[rest % 5]));
        rest /= 5;
    }
    word
}

fn texts() -> Vec<String> {
    let words: Vec<String> = (0..VOCABULARY).map(word).collect();
    let mut draw = Draw(7);
    let text = |_| {
        let length = 10 + (draw.unit() * draw.unit() * 150.0) as usize;
        (0..length).map(|_| words[draw_word(&mut draw)].as_str()).collect::<Vec<_>>().join(" ")
    };
    (0..DOCUMENTS).map(text).collect()
}

fn build_tantivy(texts: &[&str], analyzer: TextAnalyzer) -> Outcome<(Searcher, Field)> {
    let mut schema = tantivy::schema::Schema::builder();
    let option = IndexRecordOption::WithFreqsAndPositions;
    let indexing = TextFieldIndexing::default().set_tokenizer("bench").set_index_option(option);
    let field = schema.add_text_field("text", Indexed::default().set_indexing_options(indexing));
    let builder = Index::builder().schema(schema.build());
    let manager = tantivy::tokenizer::TokenizerManager::new();
    manager.register("bench", analyzer);
    let builder = builder.tokenizers(manager);
    let mut writer = builder.single_segment_index_writer(RamDirectory::create(), 256 << 20)?;
    for text in texts {
        let mut document = TantivyDocument::new();
        document.add_text(field, text);
        writer.add_document(document)?;
    }
    Ok((writer.finalize()?.reader()?.searcher(), field))
}

async fn build_elacsym(texts: &[&str], options: TextOptions) -> Outcome<(Namespace, f64)> {
    let schema = Schema::builder(IdKind::U64).text("text", options).build()?;
    let mut settings = Settings::default();
    settings.cache_bytes = 1 << 30;
    let db = Database::builder().settings(settings).open("memory://").await?;
    let docs = db.create_namespace("docs", schema).await?;
    for (number, texts) in texts.chunks(25_000).enumerate() {
        let first = number as u64 * 25_000;
        let ids: ArrayRef = Arc::new((first..first + texts.len() as u64).collect::<UInt64Array>());
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
        let batch = RecordBatch::try_from_iter([("id", ids), ("text", texts)])?;
        docs.write(WriteBatch::new().upsert_batch(batch)).await?;
    }
    let start = Instant::now();
    docs.flush().await?;
    docs.compact().await?;
    Ok((docs, start.elapsed().as_secs_f64()))
}

/// A query in the terms of both.
struct Question {
    ours: TextQuery,
    theirs: Theirs,
}

enum Theirs {
    Query(Box<dyn tantivy::query::Query>),
    /// All words with this prefix.
    Prefix(String),
}

impl Theirs {
    fn search(&self, searcher: &Searcher, field: Field) -> Outcome<usize> {
        let top = TopDocs::with_limit(LIMIT).order_by_score();
        Ok(match self {
            Self::Query(query) => searcher.search(query, &top)?,
            Self::Prefix(stem) => {
                let mut end = stem.clone().into_bytes();
                *end.last_mut().ok_or("an empty prefix")? += 1;
                let index = searcher.segment_reader(0).inverted_index(field)?;
                let mut words = index.terms().range().ge(stem).lt(end).into_stream()?;
                let mut terms = Vec::new();
                while words.advance() {
                    terms.push(term_query(field, std::str::from_utf8(words.key())?));
                }
                searcher.search(&BooleanQuery::union(terms), &top)?
            }
        }
        .len())
    }
}

fn term_query(field: Field, word: &str) -> Box<dyn tantivy::query::Query> {
    Box::new(TermQuery::new(Term::from_field_text(field, word), IndexRecordOption::WithFreqs))
}

fn questions(kind: &str, field: Field) -> Outcome<Vec<Question>> {
    let mut draw = Draw(11);
    let term = |word: &str| Term::from_field_text(field, word);
    let term_of = |word: &String| term_query(field, word);
    let question = |_| {
        // Combinations take frequent words, so that some documents match all; single words have any frequency.
        let (least, most) = match kind {
            "rare word" => (0.99, 1.0),
            "one word" | "prefix" | "prefix, unranked" => (0.1, 1.0),
            _ => (0.1, 0.45),
        };
        let mut draw_text = || word((VOCABULARY as f64).powf(least + (most - least) * draw.unit()) as usize);
        let words = [draw_text(), draw_text(), draw_text()];
        let text = words.join(" ");
        let ours = match kind {
            "rare word" | "one word" => TextQuery::any("text", words[0].as_str()),
            "any of three" => TextQuery::any("text", text),
            "all of three" => TextQuery::all("text", text),
            "phrase of two" => TextPhrase::new("text", words[..2].join(" ")).into(),
            _ => TextMatch::any(&words[0][..4]).column("text", 1.0).prefix().into(),
        };
        let theirs = Theirs::Query(match kind {
            "rare word" | "one word" => term_of(&words[0]),
            "any of three" => Box::new(BooleanQuery::union(words.iter().map(term_of).collect())),
            "all of three" => Box::new(BooleanQuery::intersection(words.iter().map(term_of).collect())),
            "phrase of two" if words[0] == words[1] => term_of(&words[0]),
            "phrase of two" => Box::new(PhraseQuery::new(words[..2].iter().map(|w| term(w)).collect())),
            "prefix, unranked" => {
                Box::new(RegexQuery::from_pattern(&format!("{}.*", &words[0][..4]), field)?)
            }
            _ => return Ok(Question { ours, theirs: Theirs::Prefix(words[0][..4].to_owned()) }),
        });
        Ok(Question { ours, theirs })
    };
    (0..QUERIES).map(question).collect()
}

async fn latency() -> Outcome<()> {
    let texts = texts();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    println!("{DOCUMENTS} documents, {:.1} MB of text", bytes as f64 / 1e6);
    let start = Instant::now();
    let (searcher, field) =
        build_tantivy(&texts, TextAnalyzer::builder(SimpleTokenizer::default()).filter(LowerCaser).build())?;
    let theirs = start.elapsed().as_secs_f64();
    let (docs, ours) = build_elacsym(&texts, TextOptions::default()).await?;
    println!("build: tantivy {theirs:.2} s; elacsym {ours:.2} s, flush and compaction with the documents");
    println!("\n| µs per query | elacsym | tantivy | times |\n|---|---|---|---|");
    let snapshot = docs.snapshot(Consistency::Eventual).await?;
    let only = std::env::args().skip(1).find(|name| !name.starts_with('-'));
    let kinds = ["rare word", "one word", "any of three", "all of three", "phrase of two", "prefix"];
    let kinds = kinds.into_iter().chain(["prefix, unranked"]);
    for kind in kinds.filter(|kind| only.as_ref().is_none_or(|only| kind == only)) {
        let questions = questions(kind, field)?;
        let (mut best, mut raw) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..ROUNDS {
            let start = Instant::now();
            for question in &questions {
                black_box(search_ids(&snapshot, &question.ours, LIMIT).await?);
            }
            best = best.min(start.elapsed().as_secs_f64());
            let start = Instant::now();
            for question in &questions {
                black_box(question.theirs.search(&searcher, field)?);
            }
            raw = raw.min(start.elapsed().as_secs_f64());
        }
        let each = |seconds: f64| seconds * 1e6 / QUERIES as f64;
        println!("| {kind} | {:.0} | {:.0} | {:.2} |", each(best), each(raw), best / raw);
    }
    Ok(())
}

/// The ids of the best documents.
async fn search_ids(snapshot: &Snapshot, query: &TextQuery, limit: usize) -> Outcome<Vec<u64>> {
    let query = Query::text(query.clone()).limit(limit).select(Select::only([""; 0]));
    let answer = snapshot.query(query).await?;
    Ok(answer.rows.batch().column(0).as_primitive::<UInt64Type>().values().to_vec())
}

async fn quality() -> Outcome<()> {
    println!("\n| nDCG@10 | documents | questions | elacsym | tantivy |\n|---|---|---|---|---|");
    let sets = judged_sets::judged::sets()?;
    for set in sets {
        let (ours, theirs) = ndcg(&set).await?;
        let (documents, questions) = (set.documents.len(), set.questions.len());
        println!("| {} | {documents} | {questions} | {ours:.4} | {theirs:.4} |", set.name);
        assert!((ours - theirs).abs() < 0.01, "both rank by BM25");
    }
    Ok(())
}

/// nDCG@10 of elacsym and of tantivy, with the same stems.
async fn ndcg(set: &Set) -> Outcome<(f64, f64)> {
    let texts: Vec<&str> = set.documents.iter().map(|(text, _)| text.as_str()).collect();
    let analyzer = TextAnalyzer::builder(SimpleTokenizer::default()).filter(LowerCaser);
    let mut analyzer = analyzer.filter(Stemmer::new(tantivy::tokenizer::Language::English)).build();
    let (searcher, field) = build_tantivy(&texts, analyzer.clone())?;
    let (docs, _) = build_elacsym(&texts, TextOptions::default().language(Language::English)).await?;
    let snapshot = docs.snapshot(Consistency::Eventual).await?;
    let (mut sum, mut theirs) = (0.0, 0.0);
    for question in &set.questions {
        let found = search_ids(&snapshot, &TextQuery::any("text", question.text.as_str()), LIMIT).await?;
        sum += question.ndcg(found.into_iter());
        let mut terms = Vec::new();
        analyzer.token_stream(&question.text).process(&mut |token| {
            let term =
                TermQuery::new(Term::from_field_text(field, &token.text), IndexRecordOption::WithFreqs);
            terms.push(Box::new(term) as Box<dyn tantivy::query::Query>);
        });
        let top =
            searcher.search(&BooleanQuery::union(terms), &TopDocs::with_limit(LIMIT).order_by_score())?;
        theirs += question.ndcg(top.iter().map(|(_, place)| place.doc_id.into()));
    }
    let questions = set.questions.len() as f64;
    Ok((sum / questions, theirs / questions))
}
