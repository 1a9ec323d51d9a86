//! What goes around a text search: values that join scores, highlights, and the search box.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_precision_loss, reason = "a test")]

use std::collections::BTreeMap;

use elacsym::query::{Fragment, FragmentBy, Highlight, Offsets};
use elacsym::schema::{AttributeType, Language, TextOptions, Tokenizer};
use elacsym::*;
use proptest::prelude::*;

use crate::common::fixtures::{empty_namespace, id_number};

fn schema() -> Schema {
    Schema::builder(IdKind::U64)
        .text("body", TextOptions::default())
        .text("title", TextOptions::default())
        .attribute("likes", AttributeType::Int)
        .attribute("share", AttributeType::Float)
        .attribute("at", AttributeType::Datetime)
        .attribute("kind", AttributeType::String)
        .build()
        .unwrap()
}

async fn hits(ns: &Namespace, query: TextQuery, limit: usize) -> Result<Vec<(u64, f64)>> {
    let hits = ns.query(Query::text(query).limit(limit)).await?.hits()?;
    let id = |hit: &Hit| id_number(hit.document.id());
    Ok(hits.iter().map(|hit| (id(hit), f64::from(hit.score))).collect())
}

/// A rank, and what it is worth for a document.
type Case = (Rank, Box<dyn Fn(u64) -> f64>);

/// The likes of a document, if it has any.
fn likes(id: u64) -> Option<i64> {
    (!id.is_multiple_of(5)).then(|| (id * 7 % 40).cast_signed() - 10)
}

#[tokio::test]
async fn values_join_scores_wherever_documents_lie() -> Result<()> {
    let ns = empty_namespace(schema()).await?;
    let document = |id: u64| {
        let body = format!("{} {}", "tea ".repeat(1 + (id % 3) as usize), "cup ".repeat((id % 4) as usize));
        let document = Document::new(id)
            .with("body", body)
            .with("kind", if id.is_multiple_of(2) { "even" } else { "odd" });
        let document = document.with("at", Value::Datetime(1_000 * id.cast_signed()));
        likes(id).map_or(document.clone(), |likes| document.with("likes", likes))
    };
    let query = || TextQuery::any("body", "tea");
    // The rank, what it is worth for a document, and how it joins.
    let own = |id| likes(id).map_or(0.0, |n| (n as f64).max(0.0));
    let cases: Vec<Case> = vec![
        (Rank::attribute("likes"), Box::new(own)),
        (Rank::Filter(Filter::eq("kind", "odd")), Box::new(|id| (id % 2) as f64)),
        (
            Rank::attribute("likes").saturate(5.0, 2.0),
            Box::new(move |id| own(id).powi(2) / (own(id).powi(2) + 25.0)),
        ),
        (
            Rank::distance("at", 50_000.0).decay(10_000.0, 1.0),
            Box::new(|id| 10.0 / (10.0 + (id as f64 - 50.0).abs())),
        ),
        (
            Rank::distance("likes", 3.0).decay(4.0, 1.0).times(2.0),
            Box::new(|id| likes(id).map_or(0.0, |n| 8.0 / (4.0 + (n as f64 - 3.0).abs()))),
        ),
        (
            Rank::max([Rank::Constant(0.5), Rank::product([Rank::attribute("likes"), Rank::Constant(0.1)])]),
            Box::new(move |id| (own(id) * 0.1).max(0.5)),
        ),
        (Rank::attribute("share"), Box::new(|_| 0.0)),
    ];
    for round in 0..4 {
        let mut batch = WriteBatch::new();
        for id in (round * 40)..(round * 40 + 60) {
            batch = batch.upsert(document(id));
        }
        ns.write(batch).await?;
        ns.write(WriteBatch::new().delete(round * 13)).await?;
        let plain: BTreeMap<u64, f64> = hits(&ns, query(), 1_000).await?.into_iter().collect();
        for (rank, value) in &cases {
            for combine in [Combine::Sum, Combine::Max, Combine::Product] {
                let join = |id: u64, score: f64| match combine {
                    Combine::Sum => score + value(id),
                    Combine::Max => score.max(value(id)),
                    _ => score * value(id),
                };
                let mut expected: Vec<(u64, f64)> =
                    plain.iter().map(|(id, s)| (*id, join(*id, *s))).collect();
                expected.sort_by(|a, b| b.1.total_cmp(&a.1));
                let scores: BTreeMap<u64, f64> = expected.iter().copied().collect();
                for limit in [5, 1_000] {
                    let found = hits(&ns, query().ranked(combine, rank.clone()), limit).await?;
                    assert_eq!(found.len(), expected.len().min(limit), "{rank:?}");
                    for ((id, score), (_, best)) in found.iter().zip(&expected) {
                        let close = |other: f64| (score - other).abs() <= 1e-4 * other.max(1.0);
                        assert!(
                            close(scores[id]) && close(*best),
                            "{rank:?} {combine:?}: {id} {score} {best}"
                        );
                    }
                }
            }
        }
        ns.flush().await?;
        if round == 2 {
            ns.compact().await?;
        }
    }
    for bad in [
        Rank::attribute("kind"),
        Rank::attribute("none"),
        Rank::Constant(-1.0),
        Rank::attribute("likes").decay(0.0, 1.0),
        Rank::attribute("likes").saturate(1.0, f64::NAN),
        Rank::Filter(Filter::eq("none", 1)),
    ] {
        let wrong = hits(&ns, query().ranked(Combine::Sum, bad), 5).await.unwrap_err();
        assert_eq!(wrong.kind(), ErrorKind::Invalid);
    }
    let deep = (0..40).fold(Rank::Constant(1.0), |rank, _| rank.times(1.0));
    let wrong = hits(&ns, query().ranked(Combine::Sum, deep), 5).await.unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::LimitExceeded);
    Ok(())
}

async fn fragments(
    options: TextOptions,
    text: &str,
    query: TextQuery,
    how: Highlight,
) -> Result<Vec<Fragment>> {
    let schema = Schema::builder(IdKind::U64).text("body", options).build()?;
    let ns = empty_namespace(schema).await?;
    ns.write(WriteBatch::new().upsert(Document::new(1).with("body", text))).await?;
    ns.flush().await?;
    let page = ns.scan(Scan::new()).await?;
    Ok(page.rows.highlight("body", &query, how)?.remove(0))
}

#[tokio::test]
async fn the_words_that_made_a_text_match_are_marked() -> Result<()> {
    let english = TextOptions::default().language(Language::English).ascii_folding(true);
    let text = "First, tea. 👩 Running to the Cafés, he ran on! Nothing here. A café ran dry.";
    let query = TextQuery::any("body", "runs cafe").without(TextQuery::any("body", "nothing"));
    let how = Highlight::default();
    let found = fragments(english.clone(), text, query.clone(), how).await?;
    let words = |fragment: &Fragment| -> Vec<String> {
        fragment.matches.iter().map(|range| fragment.text[range.clone()].to_owned()).collect()
    };
    assert_eq!(found.iter().map(words).collect::<Vec<_>>(), [vec!["Running", "Cafés"], vec!["café"]]);
    assert!(found.iter().all(|f| text[f.range.clone()] == f.text));
    // What other languages call the same places.
    let fragment =
        &fragments(english.clone(), text, query.clone(), how.offsets(Offsets::Characters)).await?[0];
    assert_eq!((fragment.range.start, fragment.matches[0].clone()), (12, 2..9));
    let fragment = &fragments(english.clone(), text, query.clone(), how.offsets(Offsets::Utf16)).await?[0];
    assert_eq!((fragment.range.start, fragment.matches[0].clone()), (12, 3..10));
    let whole = fragments(english.clone(), text, query.clone(), how.by(FragmentBy::Whole)).await?;
    assert_eq!((whole.len(), whole[0].matches.len()), (1, 3));
    let each = fragments(english.clone(), text, query.clone(), how.by(FragmentBy::Word).limit(2)).await?;
    assert_eq!(each.iter().map(|f| f.text.as_str()).collect::<Vec<_>>(), ["Running", "Cafés"]);
    let best = "cafe. Nothing. cafe run. cafe cafe.";
    let ranked = fragments(english, best, query, how.ranked().limit(2)).await?;
    assert_eq!(ranked.iter().map(|f| f.text.as_str()).collect::<Vec<_>>(), ["cafe run.", "cafe cafe."]);
    let grams = TextOptions::default().tokenizer(Tokenizer::Ngram { min: 2, max: 3 });
    let found = fragments(grams, "xx stöße", TextQuery::any("body", "töß"), how).await?;
    assert_eq!(words(&found[0]), ["töß"]);
    let typed = TextPhrase::new("body", "cold stor").prefix();
    let found = fragments(TextOptions::default(), "cold stores", typed.into(), how).await?;
    assert_eq!(words(&found[0]), ["cold", "stores"]);
    let plain = TextOptions::default;
    let query = || TextQuery::any("body", "a");
    let wrong = fragments(plain(), "a", query(), how.limit(0)).await.unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::LimitExceeded);
    let ns = empty_namespace(schema()).await?;
    ns.write(WriteBatch::new().upsert(Document::new(1).with("body", "a").with("likes", 1))).await?;
    let page = ns.scan(Scan::new().select(Select::only(["body", "kind"]))).await?;
    assert_eq!(page.rows.highlight("kind", &query(), how).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(page.rows.highlight("title", &query(), how).unwrap_err().kind(), ErrorKind::Invalid);
    Ok(())
}

fn hostile() -> impl Strategy<Value = String> {
    const PIECES: [&str; 22] = [
        "\"",
        "-",
        "title:",
        "body:",
        "none:",
        " ",
        "tea",
        "cup",
        "👩‍👩‍👧",
        "\u{0}",
        "\u{301}",
        "AND",
        "(",
        "*",
        "~2",
        "\\",
        "“",
        "”",
        "東京",
        "ß",
        "\n",
        "é",
    ];
    proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..30).prop_map(|pieces| pieces.concat())
}

fn tea() -> TextQuery {
    TextQuery::any("title", "tea")
}

/// Every query that takes a text of the user's.
fn queries(column: &str, text: &str) -> Vec<TextQuery> {
    let single = |query: TextMatch| query.column(column, 1.0);
    let tokens = || vec![text.to_owned(), "tea".to_owned(), text.to_owned()];
    let filters = [
        TokenFilter::any(column, text),
        TokenFilter::all(column, text).prefix(),
        TokenFilter::sequence(column, text),
        TokenFilter::sequence(column, tokens()).prefix(),
    ];
    let ranks = filters.map(|filter| tea().ranked(Combine::Max, Rank::Filter(filter.into())));
    let queries = [
        TextQuery::any(column, text),
        TextQuery::all(column, tokens()),
        single(TextMatch::any(text).prefix()).into(),
        single(TextMatch::all(text).fuzzy()).into(),
        single(TextMatch::any(tokens()).fuzzy().prefix()).into(),
        TextPhrase::new(column, text).into(),
        TextPhrase::new(column, tokens()).slop(2).prefix().into(),
        tea().without(TextQuery::phrase(column, text)),
    ];
    queries.into_iter().chain(ranks).collect()
}

/// Answered, or refused for what a user can mend.
fn fine<T>(outcome: Result<T>) -> Option<T> {
    match outcome {
        Ok(value) => Some(value),
        Err(e) => {
            assert!(matches!(e.kind(), ErrorKind::Invalid | ErrorKind::LimitExceeded), "{e}");
            None
        }
    }
}

async fn ask_of_column(ns: &Namespace, column: &str, text: &str) -> Result<()> {
    // Of n-grams there are no phrases.
    let places = column != "grams";
    for (at, query) in queries(column, text).into_iter().enumerate() {
        let answer = fine(ns.query(Query::text(query.clone())).await);
        assert!(answer.is_some() || !places, "{query:?}");
        let Some(answer) = answer else { continue };
        let by = [FragmentBy::Whole, FragmentBy::Paragraph, FragmentBy::Sentence, FragmentBy::Word];
        let how = Highlight::default().by(by[at % 4]).offsets([Offsets::Utf16, Offsets::Characters][at % 2]);
        answer.rows.highlight(column, &query, how.ranked())?;
    }
    for filter in [
        TokenFilter::any(column, text).prefix(),
        TokenFilter::all(column, text),
        TokenFilter::sequence(column, text).prefix(),
    ] {
        let answer = fine(ns.scan(Scan::new().filter(filter.into())).await);
        assert!(answer.is_some() || !places);
    }
    Ok(())
}

async fn ask_everything(texts: Vec<String>) -> Result<()> {
    let grams = TextOptions::default().tokenizer(Tokenizer::Ngram { min: 1, max: 3 });
    let schema = Schema::builder(IdKind::U64)
        .text("body", TextOptions::default())
        .text("title", TextOptions::default().language(Language::English))
        .text("grams", grams);
    let ns = empty_namespace(schema.build()?).await?;
    let batch = (0..).zip(&texts).fold(WriteBatch::new(), |batch, (id, text): (u64, _)| {
        let text = text.as_str();
        batch.upsert(Document::new(id).with("body", text).with("title", text).with("grams", text))
    });
    ns.write(batch.upsert(Document::new(1000).with("title", "tea cup").with("body", "cup"))).await?;
    let plain = SearchBox::new().column("title", 2.0).column("body", 1.0);
    for round in 0..2 {
        for text in &texts {
            for search in [plain.clone(), plain.clone().every(), plain.clone().field("grams").prefix()] {
                let query = search.parse(text);
                if !text.contains("none:\"") {
                    let answer = ns.query(Query::text(query.clone())).await?;
                    for column in ["title", "body"] {
                        for fragments in answer.rows.highlight(column, &query, Highlight::default())? {
                            for fragment in fragments {
                                assert!(
                                    fragment.matches.iter().all(|at| fragment.text.get(at.clone()).is_some())
                                );
                            }
                        }
                    }
                }
            }
            for column in ["body", "title", "grams"] {
                ask_of_column(&ns, column, text).await?;
            }
            // It is no name of a column.
            for query in [TextQuery::any(text, "tea"), tea().ranked(Combine::Sum, Rank::attribute(text))] {
                assert_eq!(hits(&ns, query, 5).await.unwrap_err().kind(), ErrorKind::Invalid);
            }
        }
        if round == 0 {
            ns.flush().await?;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_text_has_a_meaning(texts in proptest::collection::vec(hostile(), 1..5)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(ask_everything(texts)).unwrap();
    }
}

#[tokio::test]
async fn long_texts_are_refused_in_queries_and_marked_in_documents() -> Result<()> {
    let ns = empty_namespace(schema()).await?;
    let stored = format!("{} tea {}", "cup. ".repeat(100_000), "\u{301}👩‍👩‍👧".repeat(20_000));
    ns.write(WriteBatch::new().upsert(Document::new(1).with("body", stored).with("title", "tea"))).await?;
    for round in 0..2 {
        for long in ["tea ".repeat(1 << 18), "\"".repeat(1 << 20), "👩".repeat(1 << 18), "x".repeat(1 << 20)]
        {
            for query in queries("body", &long) {
                let error = ns.query(Query::text(query)).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::LimitExceeded);
            }
            let page = ns.scan(Scan::new()).await?;
            let query = TextQuery::any("body", long.as_str());
            assert!(fine(page.rows.highlight("body", &query, Highlight::default())).is_none());
        }
        let page = ns.scan(Scan::new()).await?;
        let found = page.rows.highlight("body", &TextQuery::any("body", "tea"), Highlight::default())?;
        assert!(found[0].iter().any(|fragment| fragment.text.contains("tea")));
        if round == 0 {
            ns.flush().await?;
        }
    }
    Ok(())
}

/// Quotes of nothing, and as many phrases as fit into the characters, in many columns.
#[tokio::test]
async fn many_phrases_in_many_columns_are_read_as_far_as_they_may_be() -> Result<()> {
    let ns = empty_namespace(schema()).await?;
    ns.write(WriteBatch::new().upsert(Document::new(1).with("body", "tea"))).await?;
    for columns in [1, 8, 40] {
        let search = (0..columns).fold(SearchBox::new(), |search, _| search.column("body", 1.0));
        for text in ["\"".repeat(125), "\"a\"".repeat(70), "\" \" \"tea\"".to_owned()] {
            let found = ns.query(Query::text(search.parse(&text))).await?;
            assert_eq!(found.rows.len(), usize::from(text.contains("tea")), "{columns} columns, {text}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn long_text_in_the_search_box_is_read_as_far_as_it_may_be() -> Result<()> {
    let ns = empty_namespace(schema()).await?;
    ns.write(WriteBatch::new().upsert(Document::new(1).with("body", "tea"))).await?;
    let search = SearchBox::new().column("title", 2.0).column("body", 1.0).prefix();
    for long in ["tea ".repeat(250_000), "\"".repeat(1 << 20), "東".repeat(1 << 19), "-a".repeat(1 << 19), {
        (0..200_000).map(|n: u32| n.to_string()).collect::<Vec<_>>().join(" ")
    }] {
        ns.query(Query::text(search.parse(&long))).await?;
    }
    assert_eq!(hits(&ns, search.parse(&"tea ".repeat(250_000)), 5).await?.len(), 1);
    Ok(())
}
