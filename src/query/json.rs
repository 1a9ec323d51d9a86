//! The JSON forms of what queries and scans return: selections, computed columns, cursors, and scans as a whole.

use serde_json::Value as Json;

use super::compute::ComputeKind;
use super::leg::vector::{read_vector_in, write_vector};
use super::{Compute, FragmentBy, Highlight, Offsets, QueryCursor, Scan, ScanCursor, Select, TextQuery};
use crate::json::{Fields, JsonForm, Object, Path, impl_serde, json_names};

const ALL: &str = "all";
const ATTRIBUTES: &str = "attributes";
const EXCEPT: &str = "except";

const FILTER: &str = "filter";
const LIMIT: &str = "limit";
const AFTER: &str = "after";
const SELECT: &str = "select";

const NAME: &str = "name";
const DISTANCE: &str = "distance";
const RANK: &str = "rank";
const HIGHLIGHT: &str = "highlight";
const COLUMN: &str = "column";
const QUERY: &str = "query";
const BY: &str = "by";
const RANKED: &str = "ranked";
const OFFSETS: &str = "offsets";

impl_serde!(Scan: "scan", QueryCursor: "cursor", ScanCursor: "cursor");

impl JsonForm for Select {
    fn to_json(&self) -> Result<Json, String> {
        match self {
            Self::All => Ok(Json::from(ALL)),
            Self::Attributes => Ok(Json::from(ATTRIBUTES)),
            Self::Only(columns) => columns.to_json(),
            Self::Except(columns) => Fields::of(EXCEPT, columns),
        }
    }

    fn from_json(json: &Json, path: &Path<'_>) -> Result<Self, String> {
        match json {
            Json::Array(_) => Vec::from_json(json, path).map(Self::Only),
            Json::Object(_) => Object::new(json, path, &[EXCEPT])?.need(EXCEPT).map(Self::Except),
            Json::String(name) if name == ALL => Ok(Self::All),
            Json::String(name) if name == ATTRIBUTES => Ok(Self::Attributes),
            _ => Err(path.error(format!(
                "it is none of `{ALL}`, `{ATTRIBUTES}`, an array of columns, {{\"{EXCEPT}\": columns}}"
            ))),
        }
    }
}

impl JsonForm for Scan {
    fn to_json(&self) -> Result<Json, String> {
        // Defaults are left out: a scan that is kept follows those of the version that runs it.
        let default = Self::default();
        let fields = Fields::new().put_some(FILTER, self.filter.as_ref())?;
        let fields = fields.put_unless(&default.limit, LIMIT, &self.limit)?;
        let fields = fields.put_some(AFTER, self.after.as_ref())?;
        Ok(fields.put_unless(&default.select, SELECT, &self.select)?.end())
    }

    fn from_json(json: &Json, path: &Path<'_>) -> Result<Self, String> {
        let object = Object::new(json, path, &[FILTER, LIMIT, AFTER, SELECT])?;
        let default = Self::default();
        Ok(Self {
            filter: object.get(FILTER)?,
            limit: object.get_or_else(LIMIT, || default.limit)?,
            after: object.get(AFTER)?,
            select: object.get_or_else(SELECT, || default.select)?,
        })
    }
}

/// A computed column with its name.
// In a list as well: a query reports two of one name.
impl JsonForm for (String, Compute) {
    fn to_json(&self) -> Result<Json, String> {
        let named = Fields::new().put(NAME, &self.0)?;
        let fields = match self.1.kind() {
            ComputeKind::Distance(column, vector) => {
                named.put_object(DISTANCE, write_vector(column, vector)?)
            }
            ComputeKind::Rank(rank) => named.put(RANK, rank)?,
            ComputeKind::Highlight(column, query, options) => {
                let of = Fields::new().put(COLUMN, column)?.put(QUERY, query)?;
                named.put_object(HIGHLIGHT, write_options(of, *options)?)
            }
        };
        Ok(fields.end())
    }

    fn from_json(json: &Json, path: &Path<'_>) -> Result<Self, String> {
        let kinds = [DISTANCE, RANK, HIGHLIGHT].map(|kind| (kind, &[NAME][..]));
        let (kind, object) = Object::tagged(json, path, &kinds)?;
        let compute = match kind {
            DISTANCE => {
                let (column, vector) = read_vector_in(&object, kind)?;
                Compute::distance(column, vector)
            }
            RANK => Compute::rank(object.need(kind)?),
            _ => {
                let of = object.object(kind, &[COLUMN, QUERY, BY, LIMIT, RANKED, OFFSETS])?;
                let query: TextQuery = of.need(QUERY)?;
                Compute::highlight(of.need::<String>(COLUMN)?, query, read_options(&of)?)
            }
        };
        Ok((object.need(NAME)?, compute))
    }
}

fn write_options(fields: Fields, options: Highlight) -> Result<Fields, String> {
    let default = Highlight::default();
    let fields = fields.put_unless(&default.by, BY, &options.by)?;
    let fields = fields.put_unless(&default.limit, LIMIT, &options.limit)?;
    let fields = fields.put_unless(&default.ranked, RANKED, &options.ranked)?;
    fields.put_unless(&default.offsets, OFFSETS, &options.offsets)
}

fn read_options(object: &Object<'_>) -> Result<Highlight, String> {
    let default = Highlight::default();
    Ok(Highlight {
        by: object.get_or_else(BY, || default.by)?,
        limit: object.get_or_else(LIMIT, || default.limit)?,
        ranked: object.get_or_else(RANKED, || default.ranked)?,
        offsets: object.get_or_else(OFFSETS, || default.offsets)?,
    })
}

json_names!(FragmentBy { "whole": Whole, "paragraph": Paragraph, "sentence": Sentence, "word": Word });
json_names!(Offsets { "bytes": Bytes, "characters": Characters, "utf16": Utf16 });

macro_rules! by_text {
    ($($form:ty),+) => {
        $(impl JsonForm for $form {
            fn to_json(&self) -> Result<Json, String> {
                let text = self.to_string();
                // An id that no document may have, such as a number below zero, is in no cursor that is read.
                text.parse::<Self>().map_err(|error| error.to_string())?;
                Ok(Json::String(text))
            }

            fn from_json(json: &Json, path: &Path<'_>) -> Result<Self, String> {
                String::from_json(json, path)?.parse().map_err(|error| path.error(error))
            }
        })+
    };
}
by_text!(QueryCursor, ScanCursor);
