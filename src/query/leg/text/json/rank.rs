//! Ranks: `{"saturate": {"rank": {"attribute": "likes"}, "midpoint": 50, "exponent": 1}}`.

use serde_json::Value as Json;

use super::LEVELS_MAX;
use crate::json::{Fields, JsonForm, Object, Path, impl_serde};
use crate::query::{Combine, Rank};
use crate::types::tree::depth;

const FILTER: &str = "filter";
const ATTRIBUTE: &str = "attribute";
const DISTANCE: &str = "distance";
const SATURATE: &str = "saturate";
const DECAY: &str = "decay";
const SUM: &str = "sum";
const MAX: &str = "max";
const PRODUCT: &str = "product";
const KINDS: [(&str, &[&str]); 8] = [
    (FILTER, &[]),
    (ATTRIBUTE, &[]),
    (DISTANCE, &[]),
    (SATURATE, &[]),
    (DECAY, &[]),
    (SUM, &[]),
    (MAX, &[]),
    (PRODUCT, &[]),
];

const COLUMN: &str = "column";
const ORIGIN: &str = "origin";
const RANK: &str = "rank";
const MIDPOINT: &str = "midpoint";
const EXPONENT: &str = "exponent";
const CURVE: [&str; 3] = [RANK, MIDPOINT, EXPONENT];

impl_serde!(Rank: "rank");

impl JsonForm for Rank {
    fn to_json(&self) -> Result<Json, String> {
        // Writing recurses. No rank that is deeper can be asked.
        if depth(self) > LEVELS_MAX {
            return Err(format!("the rank nests deeper than {LEVELS_MAX} levels"));
        }
        match self {
            // A number by itself: factors of products are the most frequent ranks.
            Self::Constant(number) => number.to_json(),
            Self::Filter(filter) => Fields::of(FILTER, filter),
            Self::Attribute(column) => Fields::of(ATTRIBUTE, column),
            Self::Distance(column, origin) => {
                let fields = Fields::new().put(COLUMN, column)?.put(ORIGIN, origin)?;
                Ok(fields.within(DISTANCE))
            }
            Self::Saturate(rank, midpoint, exponent) => write_curve(SATURATE, rank, *midpoint, *exponent),
            Self::Decay(rank, midpoint, exponent) => write_curve(DECAY, rank, *midpoint, *exponent),
            Self::Join(Combine::Sum, ranks) => Fields::of(SUM, ranks),
            Self::Join(Combine::Max, ranks) => Fields::of(MAX, ranks),
            Self::Join(Combine::Product, ranks) => Fields::of(PRODUCT, ranks),
        }
    }

    fn from_json(json: &Json, path: &Path<'_>) -> Result<Self, String> {
        path.check_depth()?;
        if json.is_number() {
            return f64::from_json(json, path).map(Self::Constant);
        }
        let (kind, object) = Object::tagged(json, path, &KINDS)?;
        Ok(match kind {
            FILTER => Self::Filter(object.need(kind)?),
            ATTRIBUTE => Self::Attribute(object.need(kind)?),
            DISTANCE => {
                let of = object.object(kind, &[COLUMN, ORIGIN])?;
                Self::Distance(of.need(COLUMN)?, of.need(ORIGIN)?)
            }
            SATURATE | DECAY => {
                let of = object.object(kind, &CURVE)?;
                let (rank, midpoint, exponent) = (of.need(RANK)?, of.need(MIDPOINT)?, of.need(EXPONENT)?);
                let curve = if kind == SATURATE { Self::Saturate } else { Self::Decay };
                curve(rank, midpoint, exponent)
            }
            SUM => Self::Join(Combine::Sum, object.need(kind)?),
            MAX => Self::Join(Combine::Max, object.need(kind)?),
            _ => Self::Join(Combine::Product, object.need(kind)?),
        })
    }
}

fn write_curve(kind: &str, rank: &Rank, midpoint: f64, exponent: f64) -> Result<Json, String> {
    let fields = Fields::new().put(RANK, rank)?.put(MIDPOINT, &midpoint)?.put(EXPONENT, &exponent)?;
    Ok(fields.within(kind))
}
