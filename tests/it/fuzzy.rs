//! Fuzzy filters as a user meets them: against a naive reading of the strings, wherever they lie.
#![expect(clippy::indexing_slicing, reason = "a test")]

use std::collections::BTreeMap;

use elacsym::schema::AttributeType;
use elacsym::*;
use proptest::prelude::*;

use crate::common::fixtures::id_number;

/// A document as the tests know it: a name, and other names.
#[derive(Clone, Debug, Default)]
struct Person {
    name: Option<String>,
    others: Option<Vec<String>>,
}

#[derive(Clone, Debug)]
struct Asked {
    column: &'static str,
    query: String,
    /// None: the default ones.
    thresholds: Vec<(usize, u8)>,
    any_case: bool,
}

impl Asked {
    fn new(column: &'static str, query: &str) -> Self {
        Self { column, query: query.to_owned(), thresholds: Vec::new(), any_case: false }
    }

    fn distance(mut self, min: usize, distance: u8) -> Self {
        self.thresholds.push((min, distance));
        self
    }

    fn any_case(self) -> Self {
        Self { any_case: true, ..self }
    }

    fn fuzzy(&self) -> Fuzzy {
        let fuzzy = Fuzzy::new(self.query.clone());
        let fuzzy = self.thresholds.iter().fold(fuzzy, |fuzzy, (min, edits)| fuzzy.distance(*min, *edits));
        if self.any_case { fuzzy.any_case() } else { fuzzy }
    }

    /// The rule, said once more.
    fn edits(&self) -> Option<usize> {
        let default = [(3, 0), (6, 1), (9, 2)];
        let thresholds = if self.thresholds.is_empty() { &default[..] } else { &self.thresholds };
        let chars = self.query.chars().count();
        let mut reached: Vec<_> = thresholds.iter().filter(|(min, _)| chars >= *min).collect();
        reached.sort();
        reached.last().map(|(_, edits)| usize::from(*edits))
    }

    fn holds(&self, person: &Person) -> bool {
        let Some(edits) = self.edits() else { return false };
        let texts: Vec<&String> = match self.column {
            "name" => person.name.iter().collect(),
            _ => person.others.iter().flatten().collect(),
        };
        // A sigma that ends a word is a sigma.
        let cased = |text: &str| {
            if self.any_case { text.to_lowercase().replace('ς', "σ") } else { text.to_owned() }
        };
        texts.iter().any(|text| nearest(&cased(&self.query), &cased(text)) <= edits)
    }
}

/// The fewest edits from `query` to any part of `text`: the whole table, for each place of the text and each beginning
/// of the query the edits to the nearest part that ends there.
fn nearest(query: &str, text: &str) -> usize {
    let query: Vec<char> = query.chars().collect();
    let mut column: Vec<usize> = (0..=query.len()).collect();
    let mut best = query.len();
    for c in text.chars() {
        // A part may begin anywhere.
        let mut next = vec![0];
        for (at, q) in query.iter().enumerate() {
            next.push((column[at] + usize::from(c != *q)).min(column[at + 1] + 1).min(next[at] + 1));
        }
        best = best.min(next[query.len()]);
        column = next;
    }
    best
}

async fn empty() -> Result<Namespace> {
    let schema = Schema::builder(IdKind::U64)
        .attribute("name", AttributeType::String)
        .attribute("others", AttributeType::StringArray)
        .attribute("unindexed", AttributeType::String)
        .filterable("unindexed", false)
        .attribute("n", AttributeType::Int)
        .vector("v", VectorType::F32, 1, Metric::L2Squared)
        .build()?;
    Database::open("memory://").await?.create_namespace("people", schema).await
}

fn document(id: u64, person: &Person) -> Document {
    let name = person.name.clone();
    Document::new(id)
        .with("name", name.clone())
        .with("unindexed", name)
        .with("others", person.others.clone())
        .with("v", Vector::from([1.0]))
}

async fn found(ns: &Namespace, filter: Filter) -> Result<Vec<u64>> {
    let page = ns.scan(Scan::new().filter(filter.clone()).limit(1000)).await?;
    let scanned: Vec<u64> = page.rows.documents()?.iter().map(id).collect();
    let near = Query::nearest("v", Vector::from([0.0])).filter(filter.clone()).exact().limit(1000);
    let mut near: Vec<u64> = ns.query(near).await?.rows.documents()?.iter().map(id).collect();
    near.sort_unstable();
    assert_eq!(scanned, near, "vectors are searched within the filter");
    let counted = ns.snapshot(Consistency::Strong).await?.count_matching(&filter).await?;
    assert_eq!(counted, scanned.len() as u64);
    Ok(scanned)
}

fn id(document: &Document) -> u64 {
    id_number(document.id())
}

async fn agree(ns: &Namespace, people: &BTreeMap<u64, Person>, asked: &Asked) -> Result<usize> {
    let (holding, others): (Vec<_>, Vec<_>) = people.iter().partition(|(_, person)| asked.holds(person));
    let ids = |people: &[(&u64, &Person)]| people.iter().map(|(id, _)| **id).collect::<Vec<_>>();
    // A null is no match, and its negation tells so unless it is left out.
    let mut valued = others.clone();
    valued.retain(|(_, person)| match asked.column {
        "name" => person.name.is_some(),
        _ => person.others.is_some(),
    });
    for column in if asked.column == "name" { vec!["name", "unindexed"] } else { vec!["others"] } {
        let not = || Filter::not_fuzzy(column, asked.fuzzy());
        let filters = [
            (Filter::fuzzy(column, asked.fuzzy()), &holding),
            (not(), &others),
            (not() & Filter::is_not_null(column), &valued),
        ];
        for (filter, expected) in filters {
            assert_eq!(found(ns, filter.clone()).await?, ids(expected), "{filter:?}");
        }
    }
    Ok(holding.len())
}

/// Some hundred strings: words and what becomes of them when they are misspelt, alone and within longer ones.
fn people() -> BTreeMap<u64, Person> {
    let words =
        ["elacsym", "Levenshtein", "Straße", "naïveté", "σίσυφος", "ΣΊΣΥΦΟΣ", "東京都庁前駅", "tea", "Kafka"];
    let mut texts: Vec<String> = vec![String::new(), "x".into(), "e\u{301}lacsym".into()];
    for word in words {
        let chars: Vec<char> = word.chars().collect();
        let mut forms = vec![word.to_owned(), word.to_uppercase(), word.to_lowercase()];
        for at in 0..chars.len() {
            let with = |middle: &[char], rest: usize| -> String {
                chars[..at].iter().chain(middle).chain(&chars[rest..]).collect()
            };
            forms.extend([with(&[], at + 1), with(&['q', chars[at]], at + 1), with(&['é'], at + 1)]);
            forms.push(with(&['q', 'q'], at + 1));
        }
        texts.extend(forms.iter().enumerate().map(|(number, form)| match number % 4 {
            0 => form.clone(),
            1 => format!("the {form}, of course"),
            2 => format!("{}{form}", "longer than a key of the index ".repeat(6)),
            _ => format!("{form}{}", "z".repeat(130)),
        }));
    }
    let person = |at: usize| Person {
        name: (at % 11 != 10).then(|| texts[at].clone()),
        others: (at % 7 != 6).then(|| texts[at..].iter().step_by(5).take(at % 4).cloned().collect()),
    };
    (0..texts.len()).map(|at| (at as u64, person(at))).collect()
}

fn questions(column: &'static str) -> Vec<Asked> {
    let new = |query| Asked::new(column, query);
    let longest: String = "longer than a key of the index ".repeat(9).chars().take(256).collect();
    vec![
        new("elacsym"),
        new("elacsym").any_case(),
        new("elacsym").distance(3, 0),
        new("elacsym").distance(9, 2),
        new("Levenshtein"),
        new("levenshteyn").any_case(),
        new("Levenshtein").distance(9, 1).distance(20, 2),
        new("Straße"),
        new("naivete").any_case(),
        new("naïveté"),
        new("σίσυφος"),
        new("σίσυφοσ").any_case(),
        new("東京都庁前駅"),
        new("tea"),
        new("te"),
        new(""),
        new("kafka").any_case(),
        new("longer than a quay of the index"),
        new(&longest),
        new("z".repeat(65).as_str()),
        new("zzzzzzzzqzzzzzzzz"),
    ]
}

#[tokio::test]
async fn misspellings_are_found_wherever_they_lie() -> Result<()> {
    let people = people();
    assert!(people.len() > 250);
    let ns = empty().await?;
    let (early, late): (Vec<_>, Vec<_>) = people.iter().partition(|(id, _)| *id % 3 != 0);
    let write = async |rows: Vec<(&u64, &Person)>| {
        ns.write(
            rows.into_iter()
                .fold(WriteBatch::new(), |batch, (id, person)| batch.upsert(document(*id, person))),
        )
        .await
    };
    // In the tail; then most in a segment, and the rest before it; then all in one.
    for stage in 0..3 {
        let mut expected = people.clone();
        match stage {
            0 => {
                write(early.clone()).await?;
                expected.retain(|id, _| id % 3 != 0);
            }
            1 => {
                ns.flush().await?;
                write(late.clone()).await?;
            }
            _ => {
                ns.flush().await?;
                ns.compact().await?;
            }
        }
        let mut matched = 0;
        for asked in ["name", "others"].into_iter().flat_map(questions) {
            let count = agree(&ns, &expected, &asked).await?;
            matched += usize::from(count > 0);
        }
        assert!(matched >= 30, "{matched} of the questions have answers");
    }
    Ok(())
}

#[tokio::test]
async fn it_goes_with_other_filters_and_with_writes() -> Result<()> {
    let ns = empty().await?;
    let person = |name: &str| Person { name: Some(name.to_owned()), others: None };
    let names = ["Margaret Hamilton", "Margret Hamilton", "MARGARET", "Grace Hopper"];
    let batch = (1..)
        .zip(names)
        .fold(WriteBatch::new(), |batch, (id, name)| batch.upsert(document(id, &person(name))));
    ns.write(batch.upsert(document(9, &Person::default()))).await?;
    ns.flush().await?;
    let near = || Filter::fuzzy("name", Fuzzy::new("margaret").any_case());
    assert_eq!(found(&ns, near()).await?, [1, 2, 3]);
    assert_eq!(found(&ns, near() & Filter::gt("id", 1)).await?, [2, 3]);
    assert_eq!(found(&ns, !near() | Filter::eq("name", "MARGARET")).await?, [3, 4, 9]);
    assert_eq!(found(&ns, Filter::fuzzy("name", "margaret")).await?, [1]);
    // A write asks the same: by a filter, and as a condition.
    let by_filter = WriteBatch::new().patch_by_filter(near(), [("n", 7)]);
    assert_eq!(ns.write(by_filter).await?.patched, 3);
    let condition = Filter::not_fuzzy("name", "Hoper, Grace") & Filter::fuzzy("name", "Grace Hoper");
    let receipt = ns.write(WriteBatch::new().delete_if(4, condition.clone()).delete_if(1, condition)).await?;
    assert_eq!((receipt.deleted, receipt.skipped), (1, 1));
    let receipt = ns.write(WriteBatch::new().delete_by_filter(near())).await?;
    assert_eq!(receipt.deleted, 3);
    assert_eq!(found(&ns, Filter::and([])).await?, [9]);
    Ok(())
}

#[tokio::test]
async fn an_id_is_a_string_too() -> Result<()> {
    let schema = Schema::builder(IdKind::String).build()?;
    let ns = Database::open("memory://").await?.create_namespace("people", schema).await?;
    let ids = ["person/hamilton", "person/hamiltin", "place/hamburg"];
    ns.write(ids.iter().fold(WriteBatch::new(), |batch, id| batch.upsert(Document::new(*id)))).await?;
    for flushed in [false, true] {
        if flushed {
            ns.flush().await?;
        }
        let snapshot = ns.snapshot(Consistency::Strong).await?;
        assert_eq!(snapshot.count_matching(Filter::fuzzy("id", "hamilton")).await?, 2);
        assert_eq!(snapshot.count_matching(Filter::not_fuzzy("id", "hamilton")).await?, 1);
    }
    Ok(())
}

#[tokio::test]
async fn bad_options_are_refused_with_a_reason() -> Result<()> {
    use ErrorKind::{Invalid, LimitExceeded};
    let ns = empty().await?;
    let name = |fuzzy| Filter::fuzzy("name", fuzzy);
    let query = || Fuzzy::new("Levenshtein");
    let many = (10..27).fold(query(), |query, min| query.distance(min, 0));
    let cases = [
        (name(query().distance(5, 1)), Invalid, "at least 6 characters. min_query_chars=`5`"),
        (name(query().distance(3, 0).distance(8, 2)), Invalid, "at least 9 characters"),
        (name(query().distance(0, 0)), Invalid, "at least 3 characters"),
        (name(query().distance(9, 1).distance(9, 2)), Invalid, "given twice"),
        (name(query().distance(12, 3)), LimitExceeded, "at most 2 are allowed"),
        (name(many), LimitExceeded, "at most 16 are allowed"),
        (name("é".repeat(257).into()), LimitExceeded, "257 characters: at most 256"),
        (Filter::or((0..65).map(|_| name(query()))), LimitExceeded, "at most 64"),
        (Filter::fuzzy("n", "Levenshtein"), Invalid, "column=`n`"),
        (Filter::fuzzy("v", "Levenshtein"), Invalid, "column=`v`"),
        (Filter::fuzzy("absent", "Levenshtein"), Invalid, "unknown column"),
    ];
    for (filter, kind, words) in cases {
        // What decides nothing is checked all the same.
        for filter in [filter.clone(), Filter::and([]) | !filter] {
            let error = ns.scan(Scan::new().filter(filter.clone())).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(ns.write(WriteBatch::new().delete_by_filter(filter)).await.unwrap_err().kind(), kind);
        }
    }
    assert_eq!(found(&ns, name("é".repeat(256).into())).await?, [0; 0]);
    assert_eq!(found(&ns, Filter::or((0..64).map(|_| name(query())))).await?, [0; 0]);
    Ok(())
}

fn word(most: usize) -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(vec!['a', 'b', 'B', 'é', 'É', '海']), 0..=most)
        .prop_map(|chars| chars.into_iter().collect())
}

fn person() -> impl Strategy<Value = Person> {
    let others = proptest::collection::vec(word(12), 0..4);
    (proptest::option::weighted(0.8, word(40)), proptest::option::weighted(0.8, others))
        .prop_map(|(name, others)| Person { name, others })
}

fn asked() -> impl Strategy<Value = Asked> {
    let thresholds = prop_oneof![Just(vec![]), Just(vec![(6, 1)]), Just(vec![(4, 0), (12, 1), (10, 2)])];
    (any::<bool>(), word(16), thresholds, any::<bool>()).prop_map(|(array, query, thresholds, any_case)| {
        Asked { column: if array { "others" } else { "name" }, query, thresholds, any_case }
    })
}

async fn random(rounds: Vec<BTreeMap<u64, Option<Person>>>, asked: Vec<Asked>) -> Result<()> {
    let ns = empty().await?;
    let mut model = BTreeMap::new();
    for (round, writes) in rounds.into_iter().enumerate() {
        let mut batch = WriteBatch::new();
        for (id, person) in writes {
            if let Some(person) = person {
                batch = batch.upsert(document(id, &person));
                model.insert(id, person);
            } else {
                batch = batch.delete(id);
                model.remove(&id);
            }
        }
        ns.write(batch).await?;
        for asked in &asked {
            agree(&ns, &model, asked).await?;
        }
        if round % 2 == 0 {
            ns.flush().await?;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn random_strings_agree_with_a_naive_reading(
        rounds in proptest::collection::vec(
            proptest::collection::btree_map(0..30_u64, proptest::option::weighted(0.8, person()), 1..20), 1..5),
        asked in proptest::collection::vec(asked(), 1..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(random(rounds, asked)).unwrap();
    }
}
