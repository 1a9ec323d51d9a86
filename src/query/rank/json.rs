//! The JSON forms of fusions and rescorings. Functions and models of the caller have none.

use serde_json::Value as Json;

use super::fusion::{Fusion, Rule};
use super::rescore::{Method, Rescore};
use crate::json::{Fields, JsonForm, Object, Path};
use crate::query::leg::vector::{read_vector_in, write_vector};

const RECIPROCAL_RANK: &str = "reciprocal_rank";
const MIN_MAX: &str = "min_max";
const Z_SCORE: &str = "z_score";

const NEAREST: &str = "nearest";
const RANK: &str = "rank";
const COMBINE: &str = "combine";
const DEPTH: &str = "depth";

impl JsonForm for Fusion {
    fn to_json(&self) -> Result<Json, String> {
        match self.rule() {
            Rule::ReciprocalRank(constant) => Fields::of(RECIPROCAL_RANK, constant),
            Rule::MinMax => Ok(Json::from(MIN_MAX)),
            Rule::ZScore => Ok(Json::from(Z_SCORE)),
            // An error, not the default: the query would be fused in another way where it is read.
            Rule::Custom(_) => Err("a fusion by a function has no JSON form".to_owned()),
        }
    }

    fn from_json(json: &Json, path: &Path<'_>) -> Result<Self, String> {
        match json {
            Json::Object(_) => {
                let object = Object::new(json, path, &[RECIPROCAL_RANK])?;
                object.need(RECIPROCAL_RANK).map(Self::reciprocal_rank)
            }
            Json::String(name) if name == MIN_MAX => Ok(Self::min_max()),
            Json::String(name) if name == Z_SCORE => Ok(Self::z_score()),
            _ => {
                let why = format!("it is none of `{{\"{RECIPROCAL_RANK}\": 60}}`, `{MIN_MAX}`, `{Z_SCORE}`");
                Err(path.error(why))
            }
        }
    }
}

impl JsonForm for Rescore {
    fn to_json(&self) -> Result<Json, String> {
        // A selection of others than models is refused when the query is asked.
        self.check().map_err(|error| error.to_string())?;
        let fields = match self.method() {
            Method::Nearest(column, vector) => {
                Fields::new().put_object(NEAREST, write_vector(column, vector)?)
            }
            Method::Rank(combine, rank) => Fields::new().put(RANK, rank)?.put(COMBINE, combine)?,
            Method::Model(_) => return Err("a rescoring by a model has no JSON form".to_owned()),
        };
        Ok(fields.put_some(DEPTH, self.requested_depth().as_ref())?.end())
    }

    fn from_json(json: &Json, path: &Path<'_>) -> Result<Self, String> {
        // `combine` is required: no way to join a score with a rank suits both distances and BM25.
        let kinds: [(_, &[_]); 2] = [(NEAREST, &[DEPTH]), (RANK, &[COMBINE, DEPTH])];
        let (kind, object) = Object::tagged(json, path, &kinds)?;
        let rescore = if kind == NEAREST {
            let (column, vector) = read_vector_in(&object, NEAREST)?;
            Self::nearest(column, vector)
        } else {
            Self::rank(object.need(COMBINE)?, object.need(RANK)?)
        };
        Ok(match object.get(DEPTH)? {
            Some(depth) => rescore.depth(depth),
            None => rescore,
        })
    }
}
