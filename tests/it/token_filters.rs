//! Filters by tokens as a user meets them: against a naive reading of the texts, wherever they lie.
#![expect(clippy::indexing_slicing, clippy::cast_precision_loss, reason = "a test")]

use std::collections::BTreeMap;

use elacsym::schema::{AttributeType, Language, TextOptions, Tokenizer};
use elacsym::*;
use proptest::prelude::*;

use crate::common::fixtures::{empty_namespace, id_number};

const WORDS: [&str; 9] = ["cold", "colder", "store", "stored", "tea", "te", "leaf", "a", "x"];

/// The strings of the text column, and those of the array.
type Texts = (Option<Vec<usize>>, Vec<Vec<usize>>);

fn text(words: &[usize]) -> String {
    words.iter().map(|word| WORDS[*word]).collect::<Vec<_>>().join(" ")
}

#[derive(Clone, Debug)]
struct Asked {
    array: bool,
    kind: u8,
    prefix: bool,
    words: Vec<usize>,
}

impl Asked {
    fn filter(&self) -> Filter {
        let (column, input) = (if self.array { "tags" } else { "body" }, text(&self.words));
        let tokens = match self.kind {
            0 => TokenFilter::any(column, input),
            1 => TokenFilter::all(column, input),
            _ => TokenFilter::sequence(column, input),
        };
        Filter::from(if self.prefix { tokens.prefix() } else { tokens })
    }

    fn holds(&self, texts: &Texts) -> bool {
        let strings: Vec<&Vec<usize>> =
            if self.array { texts.1.iter().collect() } else { texts.0.iter().collect() };
        let last = self.words.len().wrapping_sub(1);
        let is = |at: usize, word: usize| {
            if self.prefix && at == last {
                WORDS[word].starts_with(WORDS[self.words[at]])
            } else {
                word == self.words[at]
            }
        };
        let has = |at: usize| strings.iter().any(|words| words.iter().any(|word| is(at, *word)));
        let mut places = 0..self.words.len();
        match self.kind {
            _ if self.words.is_empty() => false,
            0 => places.any(has),
            1 => places.all(has),
            _ => strings.iter().any(|words| {
                words
                    .windows(self.words.len())
                    .any(|run| run.iter().enumerate().all(|(at, word)| is(at, *word)))
            }),
        }
    }
}

fn words(most: usize) -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(0..WORDS.len(), 0..=most)
}

fn texts() -> impl Strategy<Value = Texts> {
    (proptest::option::of(words(6)), proptest::collection::vec(words(3), 0..3))
}

fn asked() -> impl Strategy<Value = Asked> {
    (any::<bool>(), 0..3_u8, any::<bool>(), words(3)).prop_map(|(array, kind, prefix, words)| Asked {
        array,
        kind,
        prefix,
        words,
    })
}

async fn found(ns: &Namespace, filter: Filter) -> Result<Vec<u64>> {
    let page = ns.scan(Scan::new().filter(filter).limit(1000)).await?;
    Ok(page.rows.documents()?.iter().map(id).collect())
}

fn id(document: &Document) -> u64 {
    id_number(document.id())
}

async fn agree(rounds: Vec<Vec<(u64, Option<Texts>)>>, asked: Vec<Asked>) -> Result<()> {
    let schema = Schema::builder(IdKind::U64)
        .text("body", TextOptions::default())
        .attribute("tags", AttributeType::StringArray)
        .full_text("tags", TextOptions::default())
        .vector("v", VectorType::F32, 1, Metric::L2Squared)
        .build()?;
    let ns = empty_namespace(schema).await?;
    let mut model: BTreeMap<u64, Texts> = BTreeMap::new();
    for (round, writes) in rounds.into_iter().enumerate() {
        let mut batch = WriteBatch::new();
        for (id, texts) in writes.into_iter().collect::<BTreeMap<_, _>>() {
            let Some(texts) = texts else {
                model.remove(&id);
                batch = batch.delete(id);
                continue;
            };
            let tags: Vec<String> = texts.1.iter().map(|tag| text(tag)).collect();
            let mut document = Document::new(id).with("tags", tags).with("v", Vector::from([id as f32]));
            if let Some(body) = &texts.0 {
                document = document.with("body", text(body));
            }
            batch = batch.upsert(document);
            model.insert(id, texts);
        }
        ns.write(batch).await?;
        for pair in asked.chunks(2) {
            let (one, other) = (&pair[0], &pair[pair.len() - 1]);
            let expect = |holds: &dyn Fn(&Texts) -> bool| -> Vec<u64> {
                model.iter().filter(|(_, texts)| holds(texts)).map(|(id, _)| *id).collect()
            };
            assert_eq!(found(&ns, one.filter()).await?, expect(&|t| one.holds(t)), "{one:?}");
            assert_eq!(found(&ns, !one.filter()).await?, expect(&|t| !one.holds(t)), "not {one:?}");
            let both = expect(&|t| one.holds(t) && !other.holds(t));
            let filter = one.filter() & !other.filter() & Filter::gte("id", 0);
            assert_eq!(found(&ns, filter.clone()).await?, both, "{one:?} and not {other:?}");
            let near = Query::nearest("v", Vector::from([-1.0])).filter(filter).exact().limit(1000);
            let near: Vec<u64> = ns.query(near).await?.rows.documents()?.iter().map(id).collect();
            assert_eq!(near, both, "vectors are searched within the filter");
        }
        match round % 3 {
            0 => drop(ns.flush().await?),
            2 => {
                ns.flush().await?;
                ns.compact().await?;
            }
            _ => {}
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn token_filters_agree_with_a_naive_reading(
        rounds in proptest::collection::vec(
            proptest::collection::vec((0..30_u64, proptest::option::weighted(0.8, texts())), 1..12), 1..5),
        asked in proptest::collection::vec(asked(), 2..10),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(agree(rounds, asked)).unwrap();
    }
}

#[tokio::test]
async fn a_prefix_stands_for_every_token_however_many() -> Result<()> {
    let schema = Schema::builder(IdKind::U64).text("body", TextOptions::default()).build()?;
    let ns = empty_namespace(schema).await?;
    let batch = (0..200_u64).fold(WriteBatch::new(), |batch, id| {
        let body: Vec<String> = (0..30).map(|n| format!("w{}", id * 30 + n)).collect();
        batch.upsert(Document::new(id).with("body", body.join(" ")))
    });
    ns.write(batch.upsert(Document::new(1000).with("body", "other"))).await?;
    for flushed in [false, true] {
        if flushed {
            ns.flush().await?;
        }
        // More tokens than the index answers for, and fewer.
        for (prefix, count) in [("w", 200), ("w59", 0), ("w5", 0), ("oth", 1)] {
            let filter = Filter::from(TokenFilter::any("body", prefix).prefix());
            let expected = if count == 0 { begins(prefix) } else { count };
            assert_eq!(found(&ns, filter).await?.len(), expected, "{prefix} {flushed}");
        }
    }
    Ok(())
}

fn begins(prefix: &str) -> usize {
    (0..200).filter(|id| (0..30).any(|n| format!("w{}", id * 30 + n).starts_with(prefix))).count()
}

#[tokio::test]
async fn tokens_are_those_of_the_column_and_writes_know_them() -> Result<()> {
    let english = TextOptions::default().language(Language::English).ascii_folding(true);
    let ngrams = TextOptions::default().tokenizer(Tokenizer::Ngram { min: 2, max: 2 });
    let schema = Schema::builder(IdKind::U64)
        .text("body", english)
        .text("grams", ngrams)
        .attribute("plain", AttributeType::String)
        .build()?;
    let ns = empty_namespace(schema).await?;
    let document = |id: u64, body: &str| Document::new(id).with("body", body).with("grams", body);
    ns.write(WriteBatch::new().upsert(document(1, "Running cafés")).upsert(document(2, "tea"))).await?;
    for flushed in [false, true] {
        if flushed {
            ns.flush().await?;
        }
        assert_eq!(found(&ns, Filter::contains_all_tokens("body", "cafe RUNS")).await?, [1]);
        assert_eq!(found(&ns, Filter::contains_token_sequence("body", "run cafe")).await?, [1]);
        assert_eq!(found(&ns, Filter::contains_token_sequence("body", "cafe run")).await?, [0; 0]);
        assert_eq!(found(&ns, Filter::contains_any_token("body", "!?")).await?, [0; 0]);
        assert_eq!(found(&ns, Filter::contains_all_tokens("grams", "nning")).await?, [1]);
        for bad in [
            Filter::contains_any_token("plain", "tea"),
            Filter::contains_any_token("none", "tea"),
            Filter::contains_token_sequence("grams", "tea"),
        ] {
            assert_eq!(found(&ns, bad).await.unwrap_err().kind(), ErrorKind::Invalid);
        }
        let long = Filter::contains_any_token("body", "x ".repeat(500_000));
        assert_eq!(found(&ns, long).await.unwrap_err().kind(), ErrorKind::LimitExceeded);
    }
    let receipt =
        ns.write(WriteBatch::new().delete_by_filter(Filter::contains_any_token("body", "run"))).await?;
    assert_eq!(receipt.deleted, 1);
    assert_eq!(found(&ns, Filter::contains_any_token("body", "run tea")).await?, [2]);
    Ok(())
}
