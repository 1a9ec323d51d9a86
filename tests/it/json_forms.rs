//! Queries as JSON: what is written reads back as the same query, and what is malformed says where.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use elacsym::half::f16;
use elacsym::query::{FragmentBy, Highlight, Offsets, QueryCursor};
use elacsym::schema::{AttributeType, TextOptions};
use elacsym::*;
use serde_json::{Value as Json, json};

use crate::common::rng::Rng;
use crate::common::seeds::seeds;

/// What chance makes of every part of a query.
struct Draw(Rng);

impl Draw {
    fn chance(&mut self) -> bool {
        self.0.chance(0.5)
    }

    fn number(&mut self, below: u64) -> usize {
        usize::try_from(self.0.below(below)).expect("a small number")
    }

    fn float(&mut self) -> f64 {
        let float = f64::from_bits(self.0.bits());
        if float.is_finite() { float } else { 0.1 }
    }

    fn single(&mut self) -> f32 {
        let bits = u32::try_from(self.0.bits() >> 32).expect("half of the bits");
        let single = f32::from_bits(bits);
        if single.is_finite() { single } else { -0.1 }
    }

    fn name(&mut self) -> String {
        (*self.0.pick(&["title", "body", "id", "é \"", "$score", "all", ""])).to_owned()
    }

    fn names(&mut self) -> Vec<String> {
        (0..self.number(3)).map(|_| self.name()).collect()
    }

    fn vector(&mut self) -> Vector {
        let length = self.number(4);
        match self.number(3) {
            0 => (0..length).map(|_| self.single()).collect::<Vec<_>>().into(),
            1 => (0..length).map(|_| f16::from_f32(self.single() % 1e4)).collect::<Vec<_>>().into(),
            _ => Vector::I8((0..length).map(|_| i8::try_from(self.0.around(127)).unwrap_or(0)).collect()),
        }
    }

    fn value(&mut self) -> Value {
        match self.number(6) {
            0 => Value::Null,
            1 => self.name().into(),
            2 => Value::Int(i64::from_ne_bytes(self.0.bits().to_ne_bytes())),
            3 => self.float().into(),
            4 => self.chance().into(),
            _ => vec![self.name(), self.name()].into(),
        }
    }

    /// Every operator, and its negation.
    fn filter(&mut self, levels: usize) -> Filter {
        let column = self.name();
        let filter = match self.number(if levels == 0 { 20 } else { 23 }) {
            0 => Filter::is_null(column),
            1 => Filter::eq(column, self.value()),
            2 => Filter::lt(column, self.value()),
            3 => Filter::lte(column, self.value()),
            4 => Filter::gt(column, Operand::new_value(self.name())),
            5 => Filter::gte(column, self.value()),
            6 => Filter::is_in(column, [self.value(), self.value()]),
            7 => Filter::contains(column, self.value()),
            8 => Filter::contains_any(column, [self.value(), self.value()]),
            9 => Filter::any_lt(column, self.value()),
            10 => Filter::any_lte(column, self.value()),
            11 => Filter::any_gt(column, self.value()),
            12 => Filter::any_gte(column, self.value()),
            13 => Filter::glob(column, self.name()),
            14 => Filter::iglob(column, self.name()),
            15 => Filter::regex(column, self.name()),
            16 => Filter::fuzzy(column, Fuzzy::new(self.name()).distance(6, 1).any_case()),
            17 => Filter::contains_any_token(column, self.name()),
            18 => TokenFilter::all(column, self.names()).prefix().into(),
            19 => TokenFilter::sequence(column, self.name()).into(),
            20 => Filter::and((0..self.number(3)).map(|_| self.filter(levels - 1)).collect::<Vec<_>>()),
            21 => Filter::or((0..self.number(3)).map(|_| self.filter(levels - 1)).collect::<Vec<_>>()),
            _ => !self.filter(levels - 1),
        };
        if self.chance() { filter } else { !filter }
    }

    fn rank(&mut self, levels: usize) -> Rank {
        let of = |draw: &mut Self| (0..draw.number(3)).map(|_| draw.rank(levels - 1)).collect::<Vec<_>>();
        match self.number(if levels == 0 { 4 } else { 9 }) {
            0 => Rank::Constant(self.float()),
            1 => Rank::Filter(self.filter(1)),
            2 => Rank::attribute(self.name()),
            3 => Rank::distance(self.name(), self.float()),
            4 => self.rank(levels - 1).saturate(self.float(), self.float()),
            5 => self.rank(levels - 1).decay(self.float(), self.float()),
            6 => Rank::sum(of(self)),
            7 => Rank::max(of(self)),
            _ => Rank::product(of(self)),
        }
    }

    fn combine(&mut self) -> Combine {
        *self.0.pick(&[Combine::Sum, Combine::Max, Combine::Product])
    }

    fn matches(&mut self) -> TextMatch {
        let mut query =
            if self.chance() { TextMatch::any(self.name()) } else { TextMatch::all(self.names()) };
        for _ in 0..self.number(3) {
            let factor = if self.chance() { 1.0 } else { self.single() };
            query = query.column(self.name(), factor);
        }
        (query.prefix, query.fuzzy) = (self.chance(), self.chance());
        query
    }

    fn text(&mut self, levels: usize) -> TextQuery {
        let of = |draw: &mut Self| (0..draw.number(3)).map(|_| draw.text(levels - 1)).collect::<Vec<_>>();
        match self.number(if levels == 0 { 4 } else { 11 }) {
            0 => TextQuery::Everything,
            1 | 2 => self.matches().into(),
            3 => {
                let phrase = TextPhrase::new(self.name(), self.name());
                if self.chance() { phrase.into() } else { phrase.slop(3).prefix().into() }
            }
            4 => TextQuery::any_of(of(self)),
            5 => TextQuery::all_of(of(self)),
            6 => TextQuery::best(of(self)),
            7 => TextQuery::product(of(self)),
            8 => self.text(levels - 1).without(self.text(levels - 1)),
            9 => self.text(levels - 1).boost(self.single()),
            _ => self.text(levels - 1).ranked(self.combine(), self.rank(2)),
        }
    }

    fn leg(&mut self) -> Leg {
        let mut leg = match self.number(3) {
            0 => {
                let query = VectorQuery::new(self.name(), self.vector());
                match self.number(4) {
                    0 => query.into(),
                    1 => query.recall(*self.0.pick(&[0.9, 0.95, 1.0, 7.5])).into(),
                    2 => query.probes(self.number(9)).into(),
                    _ => query.exact().into(),
                }
            }
            1 => Leg::text(self.text(3)),
            _ => Leg::order_by([Order::asc(self.name()), Order::desc(self.name()).nulls_first()]),
        };
        if self.chance() {
            leg = leg.depth(self.number(100)).weight(self.single());
        }
        if self.chance() { leg.filter(self.filter(1)) } else { leg }
    }

    fn aggregation(&mut self) -> Aggregation {
        let mut aggregation = Aggregation::new();
        if self.chance() {
            aggregation = aggregation.filter(self.filter(1)).groups(self.number(99));
        }
        if self.chance() {
            aggregation = aggregation.group_by(self.name()).group_by_elements(self.name());
        }
        let functions: [fn(String) -> Aggregate; 5] =
            [Aggregate::Sum, Aggregate::Avg, Aggregate::Min, Aggregate::Max, Aggregate::Distinct];
        let function = self.0.pick(&functions);
        aggregation.aggregate(self.name(), function(self.name()))
    }

    fn select(&mut self) -> Select {
        match self.number(4) {
            0 => Select::All,
            1 => Select::Attributes,
            2 => Select::only(self.names()),
            _ => Select::except(self.names()),
        }
    }

    fn compute(&mut self) -> Compute {
        match self.number(3) {
            0 => Compute::distance(self.name(), self.vector()),
            1 => Compute::rank(self.rank(1)),
            _ => {
                let by = [FragmentBy::Whole, FragmentBy::Paragraph, FragmentBy::Sentence, FragmentBy::Word];
                let units = [Offsets::Bytes, Offsets::Characters, Offsets::Utf16];
                let mut options = Highlight::default().by(*self.0.pick(&by)).offsets(*self.0.pick(&units));
                if self.chance() {
                    options = options.limit(self.number(9)).ranked();
                }
                Compute::highlight(self.name(), self.text(1), options)
            }
        }
    }

    fn query(&mut self) -> Query {
        let mut query = Query::hybrid((0..self.number(3)).map(|_| self.leg()).collect::<Vec<_>>());
        query = match self.number(4) {
            0 => query,
            1 => query.fuse(Fusion::reciprocal_rank(self.single())),
            2 => query.fuse(Fusion::min_max()),
            _ => query.fuse(Fusion::z_score()),
        };
        query = query.select(self.select());
        if self.chance() {
            query = query.filter(self.filter(2)).limit(self.number(99)).offset(self.number(99));
        }
        if self.chance() {
            let cursor: QueryCursor =
                "q.n7.s612e.u00000000000000000000000000000009".parse().expect("a cursor");
            query = query.after(cursor);
        }
        query = match self.number(3) {
            0 => query,
            1 => query.limit_per(self.names(), self.number(9)),
            _ => query.group_by(self.names(), self.number(9)),
        };
        for _ in 0..self.number(3) {
            let rescore = match self.number(2) {
                0 => Rescore::nearest(self.name(), self.vector()),
                _ => Rescore::rank(self.combine(), self.rank(2)),
            };
            query = query.rescore(if self.chance() { rescore.depth(self.number(99)) } else { rescore });
        }
        for _ in 0..self.number(3) {
            query = query.compute(self.name(), self.compute());
            query = query.facet(self.name(), self.aggregation());
        }
        if self.chance() {
            query =
                query.timeout(Duration::from_millis(self.0.bits() >> 12)).bytes_max(self.0.bits()).partial();
        }
        query
    }
}

/// Writes it, reads it as text and as a tree, and writes it again.
fn round_trip<T>(asked: &T) -> (T, Json)
where
    T: serde::Serialize + serde::de::DeserializeOwned,
{
    let text = serde_json::to_string(asked).expect("it has a form");
    let read: T = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(serde_json::to_string(&read).expect("it has a form"), text);
    let tree: Json = serde_json::from_str(&text).expect("JSON");
    let read: T = serde_json::from_value(tree.clone()).expect("the same");
    (read, tree)
}

#[test]
fn every_query_reads_back_as_it_was_written() {
    for seed in seeds(2_000) {
        let query = Draw(Rng::new(seed)).query();
        let (read, json) = round_trip(&query);
        assert_eq!(format!("{read:?}"), format!("{query:?}"), "seed {seed}: {json}");
    }
}

#[test]
fn the_parts_of_a_query_are_forms_of_their_own() {
    for seed in seeds(500) {
        let draw = &mut Draw(Rng::new(seed));
        let (leg, text, rank, aggregation) = (draw.leg(), draw.text(3), draw.rank(3), draw.aggregation());
        assert_eq!(round_trip(&leg).0, leg, "seed {seed}");
        assert_eq!(round_trip(&text).0, text, "seed {seed}");
        assert_eq!(round_trip(&rank).0, rank, "seed {seed}");
        assert_eq!(round_trip(&aggregation).0, aggregation, "seed {seed}");
        let scan = Scan::new().filter(draw.filter(1)).limit(draw.number(9)).select(draw.select());
        let scan = if draw.chance() { scan.after(ScanCursor::after("a b")) } else { scan };
        assert_eq!(format!("{:?}", round_trip(&scan).0), format!("{scan:?}"), "seed {seed}");
    }
}

#[test]
fn what_is_not_said_is_not_written_and_is_the_default() {
    let query = Query::text(TextQuery::any("body", "tea"));
    let form = json!({"legs": [{"text": {"any": "tea", "in": "body"}}]});
    assert_eq!(round_trip(&query).1, form);
    let null = json!({"legs": [{"text": {"any": "tea", "in": ["body"]}, "depth": null}], "after": null});
    let read: Query = serde_json::from_value(null).expect("a field of null is one that is missing");
    assert_eq!(serde_json::to_value(&read).expect("a form"), form);
    // So is one that would say that the object is of another kind.
    let null = json!({"legs": [{"nearest": null, "text": {"any": "tea", "all": null, "in": "body"}}]});
    let read: Query = serde_json::from_value(null).expect("one kind is left");
    assert_eq!(serde_json::to_value(&read).expect("a form"), form);
}

#[test]
fn rescorings_keep_their_vectors_and_depths() {
    let rescore = Rescore::nearest("large", [0.1, 0.7]).depth(200);
    let ranked = Rescore::rank(Combine::Product, Rank::attribute("likes").decay(2.0, 1.0));
    let query = Query::nearest("v", Vector::I8(vec![1, -1])).rescore(rescore).rescore(ranked);
    let form = json!({
        "legs": [{"nearest": {"column": "v", "vector": {"i8": [1, -1]}}}],
        "rescore": [
            {"nearest": {"column": "large", "vector": [0.1, 0.7]}, "depth": 200},
            {"rank": {"decay": {"rank": {"attribute": "likes"}, "midpoint": 2.0, "exponent": 1.0}}, "combine": "product"},
        ],
    });
    assert_eq!(round_trip(&query).1, form);
}

struct Never;

#[async_trait]
impl Reranker for Never {
    async fn rerank(&self, _: &[Hit]) -> Result<Vec<f32>> {
        unreachable!("nothing is asked")
    }
}

#[test]
fn what_has_no_form_is_an_error() {
    let text = || Query::text(TextQuery::any("body", "tea"));
    let deep = (0..100_000).fold(TextQuery::Everything, |query, _| query.boost(2.0));
    let rank = (0..100_000).fold(Rank::Constant(1.0), |rank, _| rank.saturate(1.0, 1.0));
    for (query, why) in [
        (text().fuse(Fusion::custom(|_| 1.0)), "a function has no JSON form"),
        (text().rescore(Rescore::with(Arc::new(Never))), "a model has no JSON form"),
        (text().rescore(Rescore::nearest("v", [1.0]).select(["a"])), "a selection is for a reranker alone"),
        (text().recall(0.9), "recall, probes and exact are of vector legs alone"),
        (Query::nearest("v", [f32::NAN]), "JSON has no number for NaN"),
        (text().filter(Filter::eq("n", f64::INFINITY)), "JSON has no number for inf"),
        (Query::text(deep), "deeper than 64 levels"),
        (text().compute("rank", Compute::rank(rank)), "deeper than 64 levels"),
    ] {
        let error = serde_json::to_string(&query).expect_err(why).to_string();
        assert!(error.contains(why), "{why}: {error}");
    }
    let no_id = Scan::new().after(ScanCursor::after(-5));
    assert!(serde_json::to_string(&no_id).is_err());
}

#[test]
fn what_is_malformed_says_where() {
    let text = |fields: &str| format!(r#"{{"legs":[{{"text":{{"any":"a","in":["b"]}}}}],{fields}}}"#);
    let leg = |leg: &str| format!(r#"{{"legs":[{leg}]}}"#);
    for (json, error) in [
        ("[]".to_owned(), "bad query at $: it is no object"),
        ("{}".to_owned(), "bad query at $: a field is missing. field=`legs`"),
        (text(r#""limit":1,"limit":2"#), "a field is given twice. field=`limit`"),
        (text(r#""after":"qjunk""#), "bad query at $.after: not a cursor of a query"),
        (
            leg(r#"{"nearest":null}"#),
            "bad query at $.legs[0]: it must have exactly one of `nearest`, `text`, `order_by`. found=`0`",
        ),
        (text(r#""top_k":3"#), "bad query at $: unknown field: it may have `legs`, `fuse`,"),
        (text(r#""limit":-1"#), "bad query at $.limit: it is no integer from 0 to "),
        (
            text(r#""filter":["year","Since",1]"#),
            "bad query at $.filter[1]: no such operator. operator=`Since`",
        ),
        (text(r#""fuse":"best""#), "bad query at $.fuse: it is none of "),
        (
            text(r#""fuse":{"min_max":1}"#),
            "bad query at $.fuse: unknown field: it may have `reciprocal_rank`",
        ),
        (text(r#""after":"7""#), "bad query at $.after: "),
        (text(r#""select":["a",1]"#), "bad query at $.select[1]: it is no string"),
        (text(r#""select":"some""#), "bad query at $.select: it is none of `all`, `attributes`, "),
        (
            text(r#""group_by":{"columns":["a"],"limit":2}"#),
            "bad query at $.group_by: unknown field: it may have `columns`, `hits`",
        ),
        (
            text(r#""group_by":{},"limit_per":{}"#),
            "bad query at $: it may have one of `limit_per`, `group_by` alone",
        ),
        (
            text(r#""compute":[{"name":"x"}]"#),
            "bad query at $.compute[0]: it must have exactly one of `distance`, `rank`, `highlight`. found=`0`",
        ),
        (
            text(r#""compute":[{"name":"x","highlight":{"column":"a","query":"everything","by":"line"}}]"#),
            "bad query at $.compute[0].highlight.by: it is none of `whole` `paragraph` `sentence` `word`",
        ),
        (
            text(r#""facets":[{"name":"x","aggregation":{"aggregates":[{"name":"y","mean":"z"}]}}]"#),
            "bad query at $.facets[0].aggregation.aggregates[0]: it must have exactly one of `sum`",
        ),
        (
            text(r#""rescore":[{"rank":{"attribute":"a","filter":[]},"combine":"sum"}]"#),
            "bad query at $.rescore[0].rank: it must have exactly one of `filter`, `attribute`,",
        ),
        (
            text(r#""rescore":[{"nearest":{"column":"a","vector":[1e40]}}]"#),
            "bad query at $.rescore[0].nearest.vector[0]: it is beyond the range of single precision",
        ),
        (text(r#""timeout_ms":0.5"#), "bad query at $.timeout_ms: it is no integer"),
        (
            leg("{}"),
            "bad query at $.legs[0]: it must have exactly one of `nearest`, `text`, `order_by`. found=`0`",
        ),
        (
            leg(r#"{"nearest":{"column":"a","vector":{"f16":[1],"i8":[1]}}}"#),
            "bad query at $.legs[0].nearest.vector: it must have exactly one of `f16`, `i8`. found=`2`",
        ),
        (
            leg(r#"{"nearest":{"column":"a","vector":{"i8":[1,200]}}}"#),
            "bad query at $.legs[0].nearest.vector.i8[1]: it is no integer from -128 to 127",
        ),
        (
            leg(r#"{"nearest":{"column":"a","vector":[1],"recall":0.9,"exact":true}}"#),
            "bad query at $.legs[0].nearest: it may have one of `recall`, `probes`, `exact` alone",
        ),
        (
            leg(r#"{"text":{"best":[{"any":"a","in":["b"],"slop":1}]}}"#),
            "bad query at $.legs[0].text.best[0]: unknown field: it may have `any`, `in`, `prefix`, `fuzzy`. field=`slop`",
        ),
        (leg(r#"{"text":{"any":"a","in":[["b"]]}}"#), "bad query at $.legs[0].text.in[0]: it is no pair"),
        (leg(r#"{"text":{"any":"a","in":7}}"#), "bad query at $.legs[0].text.in: it is neither a column nor"),
        (
            leg(r#"{"text":{"boost":{"query":"all","factor":1}}}"#),
            "bad query at $.legs[0].text.boost.query: it is no object",
        ),
        (
            leg(r#"{"order_by":[{"asc":"a","desc":"b"}]}"#),
            "bad query at $.legs[0].order_by[0]: it must have exactly one of `asc`, `desc`. found=`2`",
        ),
    ] {
        let found = serde_json::from_str::<Query>(&json).expect_err(&json).to_string();
        assert!(found.starts_with(error), "{json}\n{found}\n{error}");
    }
    let deep = r#"{"boost":{"factor":1,"query":"#.repeat(60_000) + "\"everything\"" + &"}}".repeat(60_000);
    assert!(serde_json::from_str::<TextQuery>(&deep).is_err());
    // A reader without a limit of its own.
    let deep = (0..500).fold(json!("everything"), |query, _| json!({"any_of": [query]}));
    let error = serde_json::from_value::<TextQuery>(deep).expect_err("too deep").to_string();
    assert!(error.contains("nests deeper than 256 levels"), "{error}");
}

#[tokio::test]
async fn a_query_from_json_answers_as_one_that_was_built() -> Result<()> {
    let schema = Schema::builder(IdKind::U64)
        .text("body", TextOptions::default())
        .attribute("year", AttributeType::Int)
        .vector("v", VectorType::F32, 2, Metric::Cosine)
        .build()?;
    let docs = Database::open("memory://").await?.create_namespace("docs", schema).await?;
    let body = |id: u64| if id.is_multiple_of(3) { "cold tea" } else { "a pot of tea" };
    let document = |id: u64| {
        let angle = Vector::from([1.0, f32::from(u8::try_from(id).unwrap_or(0))]);
        Document::new(id).with("body", body(id)).with("year", 1990 + id).with("v", angle)
    };
    docs.write((0..40).map(document).collect::<WriteBatch>()).await?;
    let built = Query::hybrid([Leg::nearest("v", [0.5, 3.0]), Leg::text(TextQuery::any("body", "cold"))])
        .filter(Filter::gte("year", 2000))
        .facet("years", Aggregation::new().aggregate("last", Aggregate::max("year")))
        .limit(5);
    let sent = r#"{
        "legs": [
            {"nearest": {"column": "v", "vector": [0.5, 3.0]}},
            {"text": {"any": "cold", "in": "body"}}
        ],
        "filter": ["year", "Gte", 2000],
        "facets": [{"name": "years", "aggregation": {"aggregates": [{"name": "last", "max": "year"}]}}],
        "limit": 5
    }"#;
    let read: Query = serde_json::from_str(sent).expect("the documented form");
    let (one, other) = (docs.query(&built).await?, docs.query(&read).await?);
    assert_eq!(one.hits()?, other.hits()?);
    assert_eq!(one.facets["years"], other.facets["years"]);
    assert_eq!(other.facets["years"].groups[0].values["last"], Value::Int(2029));
    // The cursor goes to the client and comes back in the next query.
    let cursor = serde_json::to_value(&other.cursor).expect("a cursor is text");
    let mut next = serde_json::to_value(&read).expect("a form");
    next["after"] = cursor;
    let next: Query = serde_json::from_value(next).expect("the next page");
    assert_eq!(docs.query(&next).await?.hits()?, docs.query(built.after(one.cursor)).await?.hits()?);
    Ok(())
}
