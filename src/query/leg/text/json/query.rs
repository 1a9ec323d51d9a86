//! Text queries: `{"any": "cold storage", "in": ["body", ["title", 2.0]]}`.

use serde_json::Value as Json;

use super::LEVELS_MAX;
use crate::json::{Fields, JsonForm, Object, Path, impl_serde};
use crate::query::{TextMatch, TextPhrase, TextQuery};
use crate::types::tree::depth;

const EVERYTHING: &str = "everything";
const ANY: &str = "any";
const ALL: &str = "all";
const IN: &str = "in";
const PREFIX: &str = "prefix";
const FUZZY: &str = "fuzzy";
const PHRASE: &str = "phrase";
const SLOP: &str = "slop";
const ANY_OF: &str = "any_of";
const ALL_OF: &str = "all_of";
const BEST: &str = "best";
const PRODUCT: &str = "product";
const WITHOUT: &str = "without";
const BOOST: &str = "boost";
const RANKED: &str = "ranked";
/// What a query may be, and what else it may have.
// Options stand beside the text, as in the builder, and operators hold what they apply to: a query reads from the outside
// in, and an option cannot be taken for one of the query around it.
const KINDS: [(&str, &[&str]); 10] = [
    (ANY, &[IN, PREFIX, FUZZY]),
    (ALL, &[IN, PREFIX, FUZZY]),
    (PHRASE, &[IN, PREFIX, SLOP]),
    (ANY_OF, &[]),
    (ALL_OF, &[]),
    (BEST, &[]),
    (PRODUCT, &[]),
    (WITHOUT, &[]),
    (BOOST, &[]),
    (RANKED, &[]),
];

const QUERY: &str = "query";
const NOT: &str = "not";
const FACTOR: &str = "factor";
const RANK: &str = "rank";
const COMBINE: &str = "combine";

impl_serde!(TextQuery: "text query");

impl JsonForm for TextQuery {
    fn to_json(&self) -> Result<Json, String> {
        // Writing recurses. No query that is deeper can be asked.
        if depth(self) > LEVELS_MAX {
            return Err(format!("the text query nests deeper than {LEVELS_MAX} levels"));
        }
        match self {
            Self::Everything => Ok(Json::from(EVERYTHING)),
            Self::Match(query) => write_match(query),
            Self::Phrase(query) => write_phrase(query),
            Self::AnyOf(queries) => Fields::of(ANY_OF, queries),
            Self::AllOf(queries) => Fields::of(ALL_OF, queries),
            Self::Best(queries) => Fields::of(BEST, queries),
            Self::Product(queries) => Fields::of(PRODUCT, queries),
            Self::Without(query, not) => Ok(Fields::new().put(QUERY, query)?.put(NOT, not)?.within(WITHOUT)),
            Self::Boost(query, factor) => {
                Ok(Fields::new().put(QUERY, query)?.put(FACTOR, factor)?.within(BOOST))
            }
            Self::Ranked(query, rank, combine) => {
                let fields = Fields::new().put(QUERY, query)?.put(RANK, rank)?;
                Ok(fields.put(COMBINE, combine)?.within(RANKED))
            }
        }
    }

    fn from_json(json: &Json, path: &Path<'_>) -> Result<Self, String> {
        path.check_depth()?;
        if json.as_str() == Some(EVERYTHING) {
            return Ok(Self::Everything);
        }
        let (kind, object) = Object::tagged(json, path, &KINDS)?;
        Ok(match kind {
            ANY | ALL => Self::Match(read_match(kind, &object)?),
            PHRASE => Self::Phrase(read_phrase(&object)?),
            ANY_OF => Self::AnyOf(object.need(kind)?),
            ALL_OF => Self::AllOf(object.need(kind)?),
            BEST => Self::Best(object.need(kind)?),
            PRODUCT => Self::Product(object.need(kind)?),
            WITHOUT => {
                let of = object.object(kind, &[QUERY, NOT])?;
                Self::Without(of.need(QUERY)?, of.need(NOT)?)
            }
            BOOST => {
                let of = object.object(kind, &[QUERY, FACTOR])?;
                Self::Boost(of.need(QUERY)?, of.need(FACTOR)?)
            }
            _ => {
                let of = object.object(kind, &[QUERY, RANK, COMBINE])?;
                Self::Ranked(of.need(QUERY)?, of.need(RANK)?, of.need(COMBINE)?)
            }
        })
    }
}

/// The columns of a match: one name, or an array of names and of pairs of a name and a factor.
struct Columns(Vec<(String, f32)>);

impl JsonForm for Columns {
    fn to_json(&self) -> Result<Json, String> {
        match self.0.as_slice() {
            // By far the most frequent one, and readers of a log will thank for it.
            [(only, 1.0)] => only.to_json(),
            columns => columns.iter().map(write_column).collect(),
        }
    }

    fn from_json(json: &Json, path: &Path<'_>) -> Result<Self, String> {
        let read = |(at, column)| read_column(column, &Path::Item(path, at));
        match json {
            Json::String(only) => Ok(Self(vec![(only.clone(), 1.0)])),
            Json::Array(columns) => Ok(Self(columns.iter().enumerate().map(read).collect::<Result<_, _>>()?)),
            _ => Err(path.error("it is neither a column nor an array of columns")),
        }
    }
}

fn write_column((column, factor): &(String, f32)) -> Result<Json, String> {
    match factor {
        1.0 => column.to_json(),
        factor => Ok(Json::from([column.to_json()?, factor.to_json()?])),
    }
}

fn read_column(json: &Json, path: &Path<'_>) -> Result<(String, f32), String> {
    match json {
        Json::String(column) => Ok((column.clone(), 1.0)),
        Json::Array(pair) => match pair.as_slice() {
            [column, factor] => {
                let column = String::from_json(column, &Path::Item(path, 0))?;
                Ok((column, f32::from_json(factor, &Path::Item(path, 1))?))
            }
            _ => Err(path.error("it is no pair of a column and a factor")),
        },
        _ => Err(path.error("it is neither a column nor a pair of a column and a factor")),
    }
}

fn write_match(query: &TextMatch) -> Result<Json, String> {
    let fields = Fields::new().put(if query.every { ALL } else { ANY }, &query.input)?;
    let fields = fields.put(IN, &Columns(query.columns.clone()))?;
    Ok(fields.put_unless(&false, PREFIX, &query.prefix)?.put_unless(&false, FUZZY, &query.fuzzy)?.end())
}

fn read_match(kind: &'static str, object: &Object<'_>) -> Result<TextMatch, String> {
    let Columns(columns) = object.need(IN)?;
    Ok(TextMatch {
        input: object.need(kind)?,
        columns,
        every: kind == ALL,
        prefix: object.get_or_else(PREFIX, || false)?,
        fuzzy: object.get_or_else(FUZZY, || false)?,
    })
}

fn write_phrase(query: &TextPhrase) -> Result<Json, String> {
    let fields = Fields::new().put(PHRASE, &query.input)?.put(IN, &query.column)?;
    Ok(fields.put_unless(&0, SLOP, &query.slop)?.put_unless(&false, PREFIX, &query.prefix)?.end())
}

fn read_phrase(object: &Object<'_>) -> Result<TextPhrase, String> {
    Ok(TextPhrase {
        input: object.need(PHRASE)?,
        column: object.need(IN)?,
        slop: object.get_or_else(SLOP, || 0)?,
        prefix: object.get_or_else(PREFIX, || false)?,
    })
}
