//! Answers of text queries as a user expects them, against naive readings of the documents, wherever these lie.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_precision_loss, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};

use elacsym::query::{FragmentBy, Highlight, Offsets};
use elacsym::schema::{AttributeType, Language, TextOptions, Tokenizer};
use elacsym::*;

use crate::common::fixtures::{empty_namespace, id_number};
use crate::common::rng::Rng;

fn random_words(rng: &mut Rng, most: u64) -> Vec<&'static str> {
    let count = rng.below(most + 1);
    (0..count).map(|_| *rng.pick(&["a", "b", "c"])).collect()
}

async fn empty(schema: Schema) -> Result<Namespace> {
    empty_namespace(schema).await
}

fn body(options: TextOptions) -> Schema {
    Schema::builder(IdKind::U64).text("body", options).build().unwrap()
}

async fn write(ns: &Namespace, texts: &[(u64, String)]) -> Result<()> {
    let document = |(id, text): &(u64, String)| Document::new(*id).with("body", text.as_str());
    let batch = texts.iter().map(document).fold(WriteBatch::new(), WriteBatch::upsert);
    ns.write(batch).await.map(drop)
}

/// Documents with their scores.
async fn scores(ns: &Namespace, query: impl Into<TextQuery>) -> Result<BTreeMap<u64, f64>> {
    let hits = ns.query(Query::text(query).limit(1_000)).await?.hits()?;
    let id = |hit: &Hit| id_number(hit.document.id());
    Ok(hits.iter().map(|hit| (id(hit), f64::from(hit.score))).collect())
}

async fn found(ns: &Namespace, query: impl Into<TextQuery>) -> Result<Vec<u64>> {
    Ok(scores(ns, query).await?.into_keys().collect())
}

/// In the tail, in a segment, and merged.
async fn go_on(ns: &Namespace, stage: usize) -> Result<()> {
    match stage {
        0 => {}
        1 => drop(ns.flush().await?),
        _ => {
            ns.flush().await?;
            ns.compact().await?;
        }
    }
    Ok(())
}

/// How often a text holds a phrase: of every choice of different places the narrowest spans, each the less the wider.
fn occurrences(phrase: &[&str], text: &[&str], slop: i64) -> f64 {
    fn choose(phrase: &[&str], text: &[&str], taken: &mut Vec<usize>, spans: &mut BTreeSet<(i64, i64)>) {
        if taken.len() == phrase.len() {
            let shifts = taken.iter().zip(0_i64..).map(|(place, own)| i64::try_from(*place).unwrap() - own);
            spans.insert((shifts.clone().min().unwrap(), shifts.max().unwrap()));
            return;
        }
        for place in 0..text.len() {
            if text[place] == phrase[taken.len()] && !taken.contains(&place) {
                taken.push(place);
                choose(phrase, text, taken, spans);
                taken.pop();
            }
        }
    }
    let mut spans = BTreeSet::new();
    choose(phrase, text, &mut Vec::new(), &mut spans);
    spans.retain(|(start, end)| end - start <= slop);
    let within = |(start, end): &(i64, i64)| {
        spans.iter().any(|(a, b)| (a, b) != (start, end) && start <= a && b <= end)
    };
    spans.iter().filter(|span| !within(span)).map(|(start, end)| 1.0 / (1.0 + (end - start) as f64)).sum()
}

/// The score of a phrase in every document that holds it.
fn phrase_scores(model: &BTreeMap<u64, Vec<&str>>, phrase: &[&str], slop: i64) -> BTreeMap<u64, f64> {
    let documents = model.values().filter(|text| !text.is_empty()).count() as f64;
    let average = model.values().map(Vec::len).sum::<usize>() as f64 / documents.max(1.0);
    let rarity = |word: &&str| {
        let frequency = model.values().filter(|text| text.contains(word)).count() as f64;
        (1.0 + (documents - frequency + 0.5) / (frequency + 0.5)).ln()
    };
    let weight: f64 = phrase.iter().map(rarity).sum();
    let score = |text: &[&str]| {
        let frequency = occurrences(phrase, text, slop);
        weight * 2.2 * frequency / (frequency + 1.2 * (0.25 + 0.75 * text.len() as f64 / average))
    };
    let scores = model.iter().map(|(id, text)| (*id, score(text)));
    scores.filter(|(_, score)| *score > 0.0).collect()
}

#[tokio::test]
async fn each_word_of_a_phrase_has_a_place_of_its_own() -> Result<()> {
    let texts =
        ["tea", "new york", "new york new", "a b", "b a b a", "the who", "tea tea", "a x b a", "the the who"];
    let texts: Vec<(u64, String)> = (1..).zip(texts.map(str::to_owned)).collect();
    let ns = empty(body(TextOptions::default())).await?;
    write(&ns, &texts).await?;
    let phrase = |text: &str, slop| TextPhrase::new("body", text).slop(slop);
    for stage in 0..3 {
        go_on(&ns, stage).await?;
        assert_eq!(found(&ns, phrase("tea tea", 1)).await?, [7], "{stage}");
        assert_eq!(found(&ns, phrase("new york new", 2)).await?, [3], "{stage}");
        assert_eq!(found(&ns, phrase("a b a", 2)).await?, [5, 8], "{stage}");
        assert_eq!(found(&ns, phrase("the who the", 2)).await?, [9], "{stage}");
        assert_eq!(found(&ns, phrase("a a b", 1)).await?, [0; 0], "{stage}");
        assert_eq!(found(&ns, phrase("te te", 3).prefix()).await?, [0; 0], "{stage}");
        assert_eq!(found(&ns, phrase("tea te", 3).prefix()).await?, [7], "{stage}");
        let page = ns.scan(Scan::new()).await?;
        let marked = page.rows.highlight("body", &phrase("tea tea", 1).into(), Highlight::default())?;
        assert_eq!(marked[6][0].matches, [0..3, 4..7], "{stage}");
    }
    Ok(())
}

#[tokio::test]
async fn phrases_with_slop_score_as_a_naive_count_says() -> Result<()> {
    let mut rng = Rng::new(11);
    let ns = empty(body(TextOptions::default())).await?;
    let mut model: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    for stage in 0..3 {
        let batch: BTreeMap<u64, Vec<&str>> =
            (0..60).map(|_| (rng.below(150), random_words(&mut rng, 8))).collect();
        write(&ns, &batch.iter().map(|(id, words)| (*id, words.join(" "))).collect::<Vec<_>>()).await?;
        model.extend(batch);
        for flushed in [false, true] {
            if flushed {
                go_on(&ns, stage).await?;
            }
            for _ in 0..25 {
                let mut phrase = random_words(&mut rng, 2);
                phrase.extend(["a", "b"]);
                let slop = rng.below(4);
                let query = TextPhrase::new("body", phrase.join(" ")).slop(u32::try_from(slop).unwrap());
                let (scores, expected) =
                    (scores(&ns, query).await?, phrase_scores(&model, &phrase, i64::try_from(slop).unwrap()));
                assert_eq!(
                    scores.keys().collect::<Vec<_>>(),
                    expected.keys().collect::<Vec<_>>(),
                    "{phrase:?} {slop}"
                );
                for (id, score) in scores {
                    let other = expected[&id];
                    assert!(
                        (score - other).abs() < 1e-3 * other.max(1.0),
                        "{phrase:?} {slop} {id}: {score} {other}"
                    );
                }
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn no_phrase_reaches_from_one_string_of_an_array_into_the_next() -> Result<()> {
    let english = TextOptions::default().language(Language::English).remove_stop_words(true);
    let given = TextOptions::default().tokenizer(Tokenizer::Pretokenized);
    let schema = Schema::builder(IdKind::U64)
        .attribute("tags", AttributeType::StringArray)
        .full_text("tags", english)
        .attribute("tokens", AttributeType::StringArray)
        .full_text("tokens", given)
        .build()?;
    let ns = empty(schema).await?;
    let strings = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let document = |id: u64, texts: &[&str]| {
        Document::new(id).with("tags", strings(texts)).with("tokens", strings(texts))
    };
    let one = document(1, &["cold", "storage"]);
    ns.write(WriteBatch::new().upsert(one).upsert(document(2, &["x", "cold storage"]))).await?;
    for stage in 0..3 {
        go_on(&ns, stage).await?;
        for slop in [0, 1, 7, 1_000] {
            assert_eq!(found(&ns, TextPhrase::new("tags", "cold storage").slop(slop)).await?, [2]);
        }
        // The stop word between them is a place, and not the gap.
        assert_eq!(found(&ns, TextPhrase::new("tags", "cold the storage")).await?, [0; 0]);
        let wide = found(&ns, TextPhrase::new("tags", "cold storage").slop(1_023)).await.unwrap_err();
        assert_eq!(wide.kind(), ErrorKind::LimitExceeded);
        // Given tokens are one text.
        assert_eq!(found(&ns, TextPhrase::new("tokens", vec!["cold", "storage"])).await?, [1]);
        assert_eq!(found(&ns, TextPhrase::new("tokens", vec!["storage", "cold"])).await?, [0; 0]);
        assert_eq!(found(&ns, TextPhrase::new("tokens", vec!["storage", "cold"]).slop(2)).await?, [1]);
        assert_eq!(found(&ns, TextPhrase::new("tokens", vec!["x", "cold storage"])).await?, [2]);
        let row = TokenFilter::sequence("tokens", vec!["cold", "storage"]);
        assert_eq!(ns.scan(Scan::new().filter(row.into())).await?.rows.len(), 1);
        let row = TokenFilter::sequence("tags", "cold storage");
        assert_eq!(ns.scan(Scan::new().filter(row.into())).await?.rows.len(), 1);
    }
    Ok(())
}

/// Ten thousand words that begin alike, in few documents, and a word behind them all.
async fn many_words() -> Result<Namespace> {
    let ns = empty(body(TextOptions::default())).await?;
    let mut texts: Vec<(u64, String)> = (0..40_u64)
        .map(|id| (id, (0..250).map(|n| format!("s{:05}", id * 250 + n)).collect::<Vec<_>>().join(" ")))
        .collect();
    texts.push((100, "skyscraper kitchen".to_owned()));
    texts.push((101, "szebra kitten crossing".to_owned()));
    write(&ns, &texts).await?;
    Ok(ns)
}

#[tokio::test]
async fn misspelt_words_are_found_however_many_others_there_are() -> Result<()> {
    let ns = many_words().await?;
    let fuzzy = |text: &str| TextMatch::all(text).column("body", 1.0).fuzzy();
    for stage in 0..3 {
        go_on(&ns, stage).await?;
        assert_eq!(found(&ns, fuzzy("skyscraber")).await?, [100], "{stage}");
        assert_eq!(found(&ns, fuzzy("szebra")).await?, [101], "{stage}");
        assert_eq!(found(&ns, fuzzy("zebra")).await?, [101], "the first character is a character, {stage}");
        // A swap of neighbours is one edit, so the right word is nearer.
        let found = scores(&ns, fuzzy("kitcehn")).await?;
        assert!(found[&100] > found[&101], "{stage}: {found:?}");
        assert_eq!(self::found(&ns, TextMatch::all("sz").column("body", 1.0).prefix()).await?, [101]);
        // More words than a misspelt one stands for are one edit away: the right one is among them, and it is told.
        let answer = ns.query(Query::text(fuzzy("s00000")).limit(100)).await?;
        assert_eq!(answer.stats.expansions_cut, 1, "{stage}");
        assert!(self::found(&ns, fuzzy("s00000")).await?.contains(&0), "{stage}");
        assert_eq!(ns.query(Query::text(fuzzy("szebra"))).await?.stats.expansions_cut, 0);
    }
    Ok(())
}

#[tokio::test]
async fn a_prefix_stands_for_all_words_that_begin_so() -> Result<()> {
    let ns = empty(body(TextOptions::default())).await?;
    let mut texts: Vec<(u64, String)> = (0..400_u64).map(|id| (id, format!("aa{id:04}"))).collect();
    texts.push((400, "aazzz needle".to_owned()));
    write(&ns, &texts).await?;
    let typed = |text: &str| TextMatch::all(text).column("body", 1.0).prefix();
    for stage in 0..3 {
        go_on(&ns, stage).await?;
        assert_eq!(found(&ns, typed("aa")).await?.len(), 401, "{stage}");
        assert_eq!(found(&ns, typed("needle aa")).await?, [400], "{stage}");
        assert_eq!(found(&ns, TextPhrase::new("body", "aazzz n").prefix()).await?, [400], "{stage}");
        assert_eq!(ns.query(Query::text(typed("aa"))).await?.stats.expansions_cut, 0);
    }
    // Deleted words stand in nobody's way.
    let gone = (0..400_u64).fold(WriteBatch::new(), WriteBatch::delete);
    ns.write(gone).await?;
    for stage in 0..3 {
        go_on(&ns, stage).await?;
        assert_eq!(found(&ns, typed("aa")).await?, [400], "{stage}");
    }
    let fuzzy = TextMatch::all("aazz").column("body", 1.0).fuzzy();
    assert_eq!(found(&ns, fuzzy).await?, [400]);
    Ok(())
}

/// A column of each cut, and the texts of a document in them.
async fn columns_of(columns: &[(&str, TextOptions)], texts: &[(&str, &str)]) -> Result<Namespace> {
    let builder = columns
        .iter()
        .fold(Schema::builder(IdKind::U64), |builder, (name, options)| builder.text(*name, options.clone()));
    let ns = empty(builder.build()?).await?;
    let document = texts.iter().fold(Document::new(1), |document, (name, text)| document.with(*name, *text));
    ns.write(WriteBatch::new().upsert(document)).await?;
    Ok(ns)
}

#[tokio::test]
async fn every_token_is_in_columns_that_cut_text_alike() -> Result<()> {
    let plain = TextOptions::default;
    let stops = || plain().language(Language::English).stemming(false).remove_stop_words(true);
    let white = || plain().tokenizer(Tokenizer::Whitespace);
    let grams = || plain().tokenizer(Tokenizer::Ngram { min: 3, max: 3 });
    let raw = || plain().tokenizer(Tokenizer::Raw);
    let cases = [
        (vec![("a", plain()), ("w", white())], vec![("w", "foo-bar baz")], "foo-bar baz", true),
        (vec![("a", plain()), ("w", white())], vec![("a", "foo baz"), ("w", "baz")], "foo-bar baz", false),
        (vec![("a", plain()), ("g", grams())], vec![("a", "green tea")], "green tea", true),
        (vec![("a", plain()), ("g", grams())], vec![("g", "green tea")], "green tea", true),
        (vec![("a", plain()), ("r", raw())], vec![("r", "green tea")], "green tea", true),
        (vec![("a", plain()), ("r", raw())], vec![("a", "green"), ("r", "tea")], "green tea", false),
        (vec![("a", plain()), ("s", stops())], vec![("s", "the cat")], "the cat", true),
        (vec![("a", plain()), ("s", stops())], vec![("a", "cat")], "the cat", false),
        (vec![("a", plain()), ("s", stops())], vec![("a", "the")], "the", true),
        (vec![("a", plain()), ("b", plain().k1(0.9))], vec![("a", "green"), ("b", "tea")], "green tea", true),
    ];
    for (columns, texts, asked, expected) in cases {
        let ns = columns_of(&columns, &texts).await?;
        for stage in 0..2 {
            go_on(&ns, stage).await?;
            let names = columns.iter().map(|(name, _)| *name);
            let query = names.clone().fold(TextMatch::all(asked), |query, name| query.column(name, 1.0));
            assert_eq!(!found(&ns, query).await?.is_empty(), expected, "{texts:?} {asked}");
            let search = names.fold(SearchBox::new().every(), |search, name| search.column(name, 1.0));
            assert_eq!(!found(&ns, search.parse(asked)).await?.is_empty(), expected, "{texts:?} {asked}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn long_words_are_found_or_refused() -> Result<()> {
    let (word, giant) = ("w".repeat(256), "é".repeat(15_000));
    for options in [TextOptions::default(), TextOptions::default().tokenizer(Tokenizer::Whitespace)] {
        let ns = empty(body(options)).await?;
        write(&ns, &[(1, format!("tea {word} cup")), (2, giant.clone()), (3, "w".repeat(255))]).await?;
        for stage in 0..3 {
            go_on(&ns, stage).await?;
            assert_eq!(found(&ns, TextQuery::all("body", word.as_str())).await?, [1]);
            assert_eq!(found(&ns, TextQuery::phrase("body", format!("tea {word} cup"))).await?, [1]);
            let part: String = giant.chars().take(8_000).collect();
            assert_eq!(found(&ns, TextMatch::all(part).column("body", 1.0).prefix()).await?, [2]);
            let page = ns.scan(Scan::new().limit(1)).await?;
            let query = TextQuery::all("body", word.as_str());
            let marked = page.rows.highlight("body", &query, Highlight::default())?;
            assert_eq!(marked[0][0].matches, [4..259, 259..260]);
        }
    }
    let raw = TextOptions::default().tokenizer(Tokenizer::Raw);
    let given = TextOptions::default().tokenizer(Tokenizer::Pretokenized);
    let schema = Schema::builder(IdKind::U64)
        .text("body", raw)
        .attribute("tokens", AttributeType::StringArray)
        .full_text("tokens", given);
    let ns = empty(schema.build()?).await?;
    for document in [
        Document::new(7).with("body", word.as_str()),
        Document::new(7).with("tokens", vec!["x".to_owned(), word.clone()]),
    ] {
        let column = if document.get("body").is_some() { "body" } else { "tokens" };
        let error = ns.write(WriteBatch::new().upsert(document)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        for said in ["id=`7`", &format!("column=`{column}`"), "255", "256"] {
            assert!(error.to_string().contains(said), "{error}");
        }
    }
    write(&ns, &[(1, "w".repeat(255))]).await?;
    for stage in 0..2 {
        go_on(&ns, stage).await?;
        assert_eq!(found(&ns, TextQuery::all("body", "w".repeat(255))).await?, [1]);
        assert_eq!(found(&ns, TextQuery::all("body", word.as_str())).await?, [0; 0]);
    }
    Ok(())
}

#[tokio::test]
async fn what_is_typed_so_far_finds_what_it_may_become() -> Result<()> {
    let english = TextOptions::default().language(Language::English).remove_stop_words(true);
    let schema = Schema::builder(IdKind::U64).text("body", TextOptions::default()).text("stops", english);
    let ns = empty(schema.build()?).await?;
    let texts = ["cold storage", "green tea", "cold tea", "storage"];
    let documents =
        (1_u64..).zip(texts).map(|(id, text)| Document::new(id).with("body", text).with("stops", text));
    ns.write(documents.fold(WriteBatch::new(), WriteBatch::upsert)).await?;
    let plain = SearchBox::new().column("body", 1.0);
    for stage in 0..2 {
        go_on(&ns, stage).await?;
        for search in [plain.clone(), plain.clone().every(), plain.clone().every().prefix()] {
            let ask = async |text: &str| found(&ns, search.parse(text)).await;
            assert_eq!(ask("\"cold sto").await?, [1]);
            assert_eq!(ask("\"cold storage\"").await?, [1]);
            assert_eq!(ask("\"cold sto ").await?, [0; 0], "the word is whole");
            assert_eq!(ask("tea \"").await?, [2, 3]);
            assert!(ask("tea \"gr").await?.contains(&2));
            assert_eq!(ask("tea -").await?, [2, 3]);
            assert_eq!(ask("tea -\"").await?, [2, 3]);
            assert_eq!(ask("tea -green").await?, [3]);
            assert_eq!(ask("-tea").await?, [1, 4]);
            assert_eq!(ask("-tea -\"cold storage\"").await?, [4]);
            assert_eq!(ask("tea !!! \"?\"").await?, [2, 3]);
            assert_eq!(ask("\"").await?, [0; 0]);
            assert_eq!(ask("").await?, [0; 0]);
        }
        let stops = SearchBox::new().column("stops", 1.0).every();
        assert_eq!(found(&ns, stops.parse("tea \"to be or not to be\"")).await?, [2, 3]);
        assert_eq!(found(&ns, stops.parse("the tea")).await?, [2, 3]);
        assert_eq!(found(&ns, stops.parse("\"to be or not to be\"")).await?, [0; 0]);
        let ranked = TextQuery::Everything.without(TextQuery::any("body", "tea"));
        assert_eq!(scores(&ns, ranked).await?, BTreeMap::from([(1, 0.0), (4, 0.0)]));
    }
    Ok(())
}

#[tokio::test]
async fn highlights_take_time_in_proportion_to_the_text() -> Result<()> {
    // In quadratic time this would take hours.
    const TIMES: usize = 100_000;
    let text = "tea is só. ".repeat(TIMES);
    let ns = empty(body(TextOptions::default())).await?;
    write(&ns, &[(1, text.clone())]).await?;
    let words = (0..900).map(|n| format!("w{n}")).collect::<Vec<_>>().join(" ");
    let query = TextQuery::any("body", format!("{words} só"));
    let page = ns.scan(Scan::new()).await?;
    for by in [FragmentBy::Sentence, FragmentBy::Word, FragmentBy::Whole] {
        let how = Highlight::default().by(by).offsets(Offsets::Utf16).ranked().limit(1_024);
        let fragments = page.rows.highlight("body", &query, how)?.remove(0);
        for (number, fragment) in fragments.iter().enumerate() {
            let (range, marked) = match by {
                FragmentBy::Sentence => (11 * number..11 * number + 10, 7..9),
                FragmentBy::Word => (11 * number + 7..11 * number + 9, 0..2),
                _ => (0..11 * TIMES, 7..9),
            };
            assert_eq!((&fragment.range, &fragment.matches[0]), (&range, &marked));
        }
        assert_eq!(fragments.len(), if by == FragmentBy::Whole { 1 } else { 1_024 });
    }
    // The same through a query.
    let how = Highlight::default().offsets(Offsets::Characters);
    let asked = Query::text(query.clone()).compute("marked", Compute::highlight("body", query, how));
    let hits = ns.query(asked).await?.hits()?;
    assert_eq!(hits[0].computed["marked"].fragments()[1].range, 11..21);
    Ok(())
}
