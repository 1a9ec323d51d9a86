//! Full text as a user meets it: the ranking is BM25 over the documents that exist, wherever they lie.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use elacsym::schema::{AttributeType, Language, TextOptions, Tokenizer};
use elacsym::storage::{MemoryBackend, StorageBackend};
use elacsym::*;
use elacsym::{TextMatch, TextPhrase, TextQuery};

use crate::common::fixtures::id_number;
use crate::common::rng::Rng;

const WORDS: [&str; 12] =
    ["cold", "store", "object", "query", "tea", "leaf", "leaves", "search", "a", "index", "vector", "log"];

fn random_text(rng: &mut Rng) -> String {
    // The first words are far more frequent than the last.
    let words = rng.below(20);
    let word = |_| WORDS[(rng.below(12) * rng.below(12) / 12) as usize];
    (0..words).map(word).collect::<Vec<_>>().join(" ")
}

type Model = BTreeMap<u64, (String, String)>;

fn count(text: &str, word: &str) -> f64 {
    text.split_whitespace().filter(|w| *w == word).count() as f64
}

/// BM25 of one word of one column, for every document that has it.
fn bm25(model: &Model, column: usize, word: &str, k1: f64, b: f64) -> BTreeMap<u64, f64> {
    let texts: BTreeMap<u64, &str> = model
        .iter()
        .map(|(id, texts)| (*id, if column == 0 { texts.0.as_str() } else { &texts.1 }))
        .collect();
    let lengths = texts.values().map(|text| text.split_whitespace().count() as f64);
    let documents = lengths.clone().filter(|length| *length > 0.0).count() as f64;
    let average = lengths.sum::<f64>() / documents.max(1.0);
    let frequency = texts.values().filter(|text| count(text, word) > 0.0).count() as f64;
    let rarity = (1.0 + (documents - frequency + 0.5) / (frequency + 0.5)).ln();
    let score = |text: &str| {
        let (tf, length) = (count(text, word), text.split_whitespace().count() as f64);
        rarity * tf * (k1 + 1.0) / (tf + k1 * (1.0 - b + b * length / average))
    };
    texts.into_iter().filter(|(_, t)| count(t, word) > 0.0).map(|(id, text)| (id, score(text))).collect()
}

/// Documents of any (or all) words of a column, best first, ties by id.
fn reference(
    model: &Model,
    words: &[&str],
    every: bool,
    columns: &[(usize, f64, f64, f64)],
) -> Vec<(u64, f64)> {
    let mut scores: BTreeMap<u64, (f64, usize)> = BTreeMap::new();
    for word in words {
        let mut of_word: BTreeMap<u64, f64> = BTreeMap::new();
        for (column, factor, k1, b) in columns {
            for (id, score) in bm25(model, *column, word, *k1, *b) {
                *of_word.entry(id).or_default() += factor * score;
            }
        }
        for (id, score) in of_word {
            let sum = scores.entry(id).or_default();
            *sum = (sum.0 + score, sum.1 + 1);
        }
    }
    let hits = scores.into_iter().filter(|(_, (_, words_of))| !every || *words_of == words.len());
    let mut hits: Vec<(u64, f64)> = hits.map(|(id, (score, _))| (id, score)).collect();
    hits.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    hits
}

async fn hits(ns: &Namespace, query: impl Into<TextQuery>, limit: usize) -> Result<Vec<(u64, f64)>> {
    let hits = ns.query(Query::text(query).limit(limit)).await?.hits()?;
    let id = |hit: &Hit| id_number(hit.document.id());
    Ok(hits.iter().map(|hit| (id(hit), f64::from(hit.score))).collect())
}

fn same(found: &[(u64, f64)], expected: &[(u64, f64)], limit: usize, what: &str) {
    assert_eq!(found.len(), expected.len().min(limit), "{what}: {found:?} {expected:?}");
    let scores: BTreeMap<u64, f64> = expected.iter().copied().collect();
    for ((id, score), (_, best)) in found.iter().zip(expected) {
        let close = |other: f64| (score - other).abs() <= 1e-4 * other.max(1.0);
        assert!(close(scores[id]) && close(*best), "{what}: {id} scores {score}, not {best}");
    }
}

fn schema(vector: bool) -> Schema {
    let options = TextOptions::default();
    let builder = Schema::builder(IdKind::U64)
        .text("title", options.clone().k1(0.9).b(0.4))
        .text("body", options)
        .attribute("n", AttributeType::Int);
    let builder = if vector { builder.vector("v", VectorType::F32, 2, Metric::L2Squared) } else { builder };
    builder.build().unwrap()
}

async fn check(ns: &Namespace, model: &Model, limit: usize) -> Result<()> {
    let body = [(1, 1.0, 1.2, 0.75)];
    let both = [(0, 2.0, 0.9, 0.4), (1, 1.0, 1.2, 0.75)];
    for words in [&["tea"][..], &["cold", "store", "index"], &["vector", "log"], &["cold", "absent"]] {
        let text = words.join(" ");
        let any = hits(ns, TextQuery::any("body", text.as_str()), limit).await?;
        same(&any, &reference(model, words, false, &body), limit, &format!("any of {text}"));
        let all = hits(ns, TextQuery::all("body", text.as_str()), limit).await?;
        same(&all, &reference(model, words, true, &body), limit, &format!("all of {text}"));
        for every in [false, true] {
            let query = if every { TextMatch::all(text.as_str()) } else { TextMatch::any(text.as_str()) };
            let query = query.column("title", 2.0).column("body", 1.0);
            let found = hits(ns, query, limit).await?;
            same(&found, &reference(model, words, every, &both), limit, &format!("{every} both of {text}"));
        }
    }
    let phrase: Vec<u64> =
        model.iter().filter(|(_, t)| format!(" {} ", t.1).contains(" cold store ")).map(|t| *t.0).collect();
    let mut found: Vec<u64> =
        hits(ns, TextPhrase::new("body", "cold store"), 1000).await?.iter().map(|(id, _)| *id).collect();
    found.sort_unstable();
    assert_eq!(found, phrase);
    let begins: Vec<u64> = model
        .iter()
        .filter(|(_, t)| count(&t.1, "leaf") + count(&t.1, "leaves") > 0.0)
        .map(|t| *t.0)
        .collect();
    let prefix = TextMatch::any("lea").column("body", 1.0).prefix();
    let mut found: Vec<u64> = hits(ns, prefix, 1000).await?.iter().map(|(id, _)| *id).collect();
    found.sort_unstable();
    assert_eq!(found, begins);
    let spelt: Vec<u64> = model.iter().filter(|(_, t)| count(&t.1, "vector") > 0.0).map(|t| *t.0).collect();
    let fuzzy = TextMatch::any("vectro").column("body", 1.0).fuzzy();
    let mut found: Vec<u64> = hits(ns, fuzzy, 1000).await?.iter().map(|(id, _)| *id).collect();
    found.sort_unstable();
    assert_eq!(found, spelt);
    Ok(())
}

#[tokio::test]
async fn the_ranking_is_that_of_the_documents_that_exist() -> Result<()> {
    for vector in [false, true] {
        let db = Database::open("memory://").await?;
        let ns = db.create_namespace("docs", schema(vector)).await?;
        let mut rng = Rng::new(7 + u64::from(vector));
        let mut model = Model::new();
        for round in 0..12 {
            let mut batch = WriteBatch::new();
            let ids: BTreeSet<u64> = (0..=rng.below(40)).map(|_| rng.below(120)).collect();
            for id in ids {
                if rng.below(4) == 0 {
                    model.remove(&id);
                    batch = batch.delete(id);
                } else {
                    let (title, body) = (random_text(&mut rng), random_text(&mut rng));
                    let mut document =
                        Document::new(id).with("title", title.clone()).with("body", body.clone());
                    if vector {
                        document = document.with("v", Vector::from([id as f32, round as f32]));
                    }
                    model.insert(id, (title, body));
                    batch = batch.upsert(document);
                }
            }
            ns.write(batch).await?;
            check(&ns, &model, 1000).await?;
            match rng.below(3) {
                0 => drop(ns.flush().await?),
                1 if round > 6 => drop(ns.compact().await?),
                _ => {}
            }
            check(&ns, &model, 10).await?;
        }
        ns.flush().await?;
        ns.compact().await?;
        check(&ns, &model, 1000).await?;
        check(&ns, &model, 3).await?;
    }
    Ok(())
}

#[tokio::test]
async fn filters_and_composition_hold_in_the_tail_and_in_segments() -> Result<()> {
    let db = Database::open("memory://").await?;
    let ns = db.create_namespace("docs", schema(false)).await?;
    let batch = (0..50_u64).fold(WriteBatch::new(), |batch, n| {
        let body =
            format!("tea {} {}", if n % 2 == 0 { "even" } else { "odd" }, "cup ".repeat(n as usize % 5));
        batch.upsert(Document::new(n).with("body", body).with("n", n))
    });
    ns.write(batch).await?;
    for flushed in [false, true] {
        if flushed {
            ns.flush().await?;
        }
        let ids = |found: Vec<(u64, f64)>| found.into_iter().map(|(id, _)| id).collect::<Vec<_>>();
        let query = Query::text(TextQuery::any("body", "even")).filter(Filter::lt("n", 10)).limit(100);
        assert_eq!(ns.query(query).await?.rows.len(), 5);
        let without = TextQuery::any("body", "tea").without(TextQuery::any("body", "cup"));
        assert_eq!(ids(hits(&ns, without, 100).await?).len(), 10);
        let every = TextQuery::all_of([TextQuery::any("body", "odd"), TextQuery::any("body", "cup")]);
        assert!(ids(hits(&ns, every, 100).await?).iter().all(|id| id % 2 == 1 && id % 5 > 0));
        let one = hits(&ns, TextQuery::any("body", "tea"), 1).await?[0];
        let tripled = hits(&ns, TextQuery::any("body", "tea").boost(3.0), 1).await?[0];
        assert!(one.0 == tripled.0 && (one.1 * 3.0 - tripled.1).abs() < 1e-5);
        // All of these tie.
        assert_eq!(ids(hits(&ns, TextQuery::any("body", "nothing"), 9).await?), [0; 0]);
    }
    Ok(())
}

#[tokio::test]
async fn any_text_of_a_user_is_answered_or_refused_in_words() -> Result<()> {
    let db = Database::open("memory://").await?;
    let ns = db.create_namespace("docs", schema(false)).await?;
    ns.write(WriteBatch::new().upsert(Document::new(1).with("body", "AND OR \"tea\" title:x 👩‍👩‍👧"))).await?;
    for round in 0..2 {
        for text in ["", "AND", "\"", "title:x +(", "👩‍👩‍👧", "\u{0}", "*", "~1", "\\", "a".repeat(300).as_str()]
        {
            for prefix in [false, true] {
                let query = TextMatch::any(text).column("body", 1.0);
                let query = if prefix { query.prefix() } else { query.fuzzy() };
                ns.query(Query::text(query)).await?;
            }
            ns.query(Query::text(TextPhrase::new("body", text).slop(3))).await?;
        }
        let long = ns.query(Query::text(TextQuery::any("body", "x ".repeat(500_000)))).await;
        assert_eq!(long.unwrap_err().kind(), ErrorKind::LimitExceeded);
        for bad in [
            TextQuery::any("n", "x"),
            TextQuery::any("nothing", "x"),
            TextQuery::any("body", "x").boost(-1.0),
        ] {
            assert_eq!(ns.query(Query::text(bad)).await.unwrap_err().kind(), ErrorKind::Invalid);
        }
        if round == 0 {
            ns.flush().await?;
        }
    }
    Ok(())
}

/// A word of each language, and another form of it.
fn forms(language: Language) -> (&'static str, &'static str) {
    match language {
        Language::Arabic => ("الكتاب", "كتاب"),
        Language::Danish | Language::Norwegian => ("husene", "huset"),
        Language::Dutch => ("katten", "kat"),
        Language::English => ("running", "runs"),
        Language::Finnish => ("taloissa", "talossa"),
        Language::French => ("chantant", "chanter"),
        Language::German => ("katzen", "katze"),
        Language::Greek => ("γραφω", "γραφει"),
        Language::Hungarian => ("házak", "ház"),
        Language::Italian => ("gatti", "gatto"),
        Language::Romanian => ("străzile", "străzi"),
        Language::Russian => ("книги", "книга"),
        Language::Swedish => ("husen", "huset"),
        Language::Tamil => ("வீடுகள்", "வீடு"),
        Language::Turkish => ("evler", "evlerde"),
        _ => ("gatos", "gato"),
    }
}

/// Every way to set the options of a language.
fn every_option(language: Language) -> Vec<TextOptions> {
    let switches = (0..16_u8).map(|bits| [1, 2, 4, 8].map(|bit| bits & bit > 0));
    let options = switches.flat_map(|[stems, stops, cases, folds]| {
        [Tokenizer::Words, Tokenizer::Whitespace, Tokenizer::Raw, Tokenizer::Ngram { min: 2, max: 3 }].map(
            |cut| {
                let options = TextOptions::default().tokenizer(cut).language(language).stemming(stems);
                let options = options.remove_stop_words(stops).case_sensitive(cases);
                options.ascii_folding(folds).k1(0.9).b(0.4)
            },
        )
    });
    let options = std::iter::once(TextOptions::default().language(language)).chain(options);
    let allowed =
        |options: &TextOptions| Schema::builder(IdKind::U64).text("t", options.clone()).build().is_ok();
    options.filter(allowed).collect()
}

async fn check_language(ns: &Namespace, language: Language, options: &[TextOptions]) -> Result<()> {
    let (word, other) = forms(language);
    for (at, options) in options.iter().enumerate() {
        let column = format!("t{at}");
        let what = || format!("{language} {options:?}");
        let whole = format!("{word} z9");
        assert_eq!(hits(ns, TextQuery::all(&column, whole.as_str()), 5).await?[0].0, 1, "{}", what());
        let upper = hits(ns, TextQuery::all(&column, whole.to_uppercase()), 5).await?;
        let blind = !options.case_sensitive || whole.to_uppercase() == whole;
        assert_eq!(!upper.is_empty(), blind, "{}", what());
        if matches!(options.tokenizer, Tokenizer::Words | Tokenizer::Whitespace) {
            let found = hits(ns, TextQuery::any(&column, other), 5).await?;
            assert_eq!(!found.is_empty(), options.stemming, "{} {found:?}", what());
            assert_eq!(hits(ns, TextPhrase::new(&column, whole.as_str()), 5).await?.len(), 1, "{}", what());
        }
    }
    Ok(())
}

#[tokio::test]
async fn every_language_is_found_at_every_option_also_by_who_opens_the_database_anew() -> Result<()> {
    for language in Language::ALL {
        let backend: Arc<dyn StorageBackend> = Arc::new(MemoryBackend::new());
        let open = || Database::builder().open_backend(Arc::clone(&backend));
        let options = every_option(language);
        assert!(options.len() > 16, "{language}");
        let builder = (0..).zip(&options).fold(Schema::builder(IdKind::U64), |builder, (at, options)| {
            builder.text(format!("t{at}"), options.clone())
        });
        let db = open().await?;
        let ns = db.create_namespace("docs", builder.build()?).await?;
        let text = format!("{} z9", forms(language).0);
        let fill = |id: u64, text: &str| {
            (0..options.len()).fold(Document::new(id), |d, at| d.with(format!("t{at}"), text))
        };
        ns.write(WriteBatch::new().upsert(fill(1, &text)).upsert(fill(2, "q0"))).await?;
        check_language(&ns, language, &options).await?;
        ns.close().await;
        // From the log, then from a segment.
        let db = open().await?;
        let ns = db.open_namespace("docs").await?;
        check_language(&ns, language, &options).await?;
        ns.flush().await?;
        check_language(&ns, language, &options).await?;
        ns.close().await;
        let ns = open().await?.open_namespace("docs").await?;
        check_language(&ns, language, &options).await?;
    }
    Ok(())
}

#[tokio::test]
async fn every_tokenizer_is_written_flushed_and_found() -> Result<()> {
    let plain = TextOptions::default();
    let tokenizers = [Tokenizer::Whitespace, Tokenizer::Raw, Tokenizer::Ngram { min: 2, max: 3 }];
    let tokenizers = tokenizers.map(|tokenizer| plain.clone().tokenizer(tokenizer));
    let all: Vec<TextOptions> = std::iter::once(plain.clone()).chain(tokenizers).collect();
    let builder = (0..).zip(&all).fold(Schema::builder(IdKind::U64), |builder, (at, options)| {
        builder.text(format!("t{at}"), options.clone())
    });
    let tokens = plain.tokenizer(Tokenizer::Pretokenized);
    let builder = builder.attribute("tags", AttributeType::StringArray).full_text("tags", tokens);
    let db = Database::open("memory://").await?;
    let ns = db.create_namespace("docs", builder.build()?).await?;
    let text = "Straßenbahn";
    let document = (0..all.len()).fold(Document::new(1), |d, at| d.with(format!("t{at}"), text));
    ns.write(WriteBatch::new().upsert(document.with("tags", vec!["New York", "tea"]))).await?;
    for round in 0..2 {
        for at in 0..all.len() {
            assert_eq!(hits(&ns, TextQuery::any(format!("t{at}"), text), 5).await?.len(), 1, "{at} {round}");
        }
        assert_eq!(hits(&ns, TextQuery::all("tags", vec!["New York", "tea"]), 5).await?.len(), 1);
        assert_eq!(hits(&ns, TextQuery::any("tags", "york"), 5).await?.len(), 0);
        if round == 0 {
            ns.flush().await?;
        }
    }
    Ok(())
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let bad = |options: TextOptions| {
        Schema::builder(IdKind::U64).text("t", options).build().unwrap_err().kind() == ErrorKind::Invalid
    };
    let plain = TextOptions::default();
    assert!(bad(plain.clone().stemming(true)));
    assert!(bad(plain.clone().language(Language::Tamil).remove_stop_words(true)));
    assert!(bad(plain.clone().tokenizer(Tokenizer::Pretokenized)));
    assert!(bad(plain.clone().tokenizer(Tokenizer::Ngram { min: 3, max: 2 })));
    assert!(bad(plain.clone().k1(f32::NAN)) && bad(plain.clone().b(1.5)));
    assert!(bad(plain.max_token_length(0)));
    let number = Schema::builder(IdKind::U64).attribute("n", AttributeType::Int);
    assert!(number.full_text("n", TextOptions::default()).build().is_err());
    assert!(Schema::builder(IdKind::U64).full_text("n", TextOptions::default()).build().is_err());
}
