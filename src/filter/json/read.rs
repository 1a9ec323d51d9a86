//! Reading filters from JSON. They may come from anybody: an error says where it is, as a path such as `$[1][0]`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value as Json};

use super::{AND, BYTES, DATETIME, IS_NOT_NULL, IS_NULL, NEGATION, NEW, NOT, OR, PREFIX, token_operator};
use crate::error::escaped_start;
use crate::filter::size::DEPTH_MAX;
use crate::filter::tree::predicates;
use crate::filter::{Filter, Fuzzy, Operand, TextInput, TokenFilter};
use crate::index::text::TokenMatch;
use crate::json::{self, JsonForm, Object, Path};
use crate::types::Value;

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        json::deserialize("filter", from)
    }
}

/// As a part of what is asked.
impl JsonForm for Filter {
    fn to_json(&self) -> Result<Json, String> {
        serde_json::to_value(self).map_err(|error| error.to_string())
    }

    fn from_json(json: &Json, path: &Path<'_>) -> Result<Self, String> {
        read_filter(json, 1, path)
    }
}

impl JsonForm for TextInput {
    fn to_json(&self) -> Result<Json, String> {
        serde_json::to_value(self).map_err(|error| error.to_string())
    }

    fn from_json(json: &Json, path: &Path<'_>) -> Result<Self, String> {
        match json {
            Json::String(text) => Ok(Self::Text(text.clone())),
            Json::Array(_) => Vec::from_json(json, path).map(Self::Tokens),
            _ => Err(path.error("it is neither a text nor an array of tokens")),
        }
    }
}

pub(super) fn read_filter(json: &Json, level: usize, path: &Path<'_>) -> Result<Filter, String> {
    if level > DEPTH_MAX {
        return Err(path.error(format!("it nests deeper than {DEPTH_MAX} levels")));
    }
    let items = json.as_array().ok_or_else(|| path.error("it is no array"))?;
    match items.as_slice() {
        [Json::String(join), Json::Array(filters)] if join == AND || join == OR => {
            let list = Path::Item(path, 1);
            let read = |(at, filter)| read_filter(filter, level + 1, &Path::Item(&list, at));
            let filters = filters.iter().enumerate().map(read).collect::<Result<_, _>>()?;
            Ok(if join == AND { Filter::And(filters) } else { Filter::Or(filters) })
        }
        [Json::String(not), inner @ Json::Array(_)] if not == NOT => {
            Ok(Filter::Not(Box::new(read_filter(inner, level + 1, &Path::Item(path, 1))?)))
        }
        [Json::String(column), Json::String(operator), arguments @ ..] => {
            Predicate { column, operator, arguments, path }.read()
        }
        _ => Err(path.error("it is neither [column, operator, value] nor [\"And\" or \"Or\", [filters]] nor [\"Not\", filter]")),
    }
}

/// An array that begins with a column and an operator.
struct Predicate<'a> {
    column: &'a str,
    operator: &'a str,
    arguments: &'a [Json],
    path: &'a Path<'a>,
}

impl Predicate<'_> {
    fn read(&self) -> Result<Filter, String> {
        if let Some(found) = self.read_positive(self.operator) {
            return found;
        }
        let negated = match self.operator {
            IS_NOT_NULL => Some(IS_NULL),
            operator => operator.strip_prefix(NEGATION),
        };
        match negated.and_then(|positive| self.read_positive(positive)) {
            Some(found) => found.map(Filter::not),
            None => Err(Path::Item(self.path, 1)
                .error(format!("no such operator. operator=`{}`", escaped_start(self.operator, 32)))),
        }
    }

    /// `None` for an operator that does not exist.
    fn read_positive(&self, operator: &str) -> Option<Result<Filter, String>> {
        let column = || self.column.to_owned();
        if operator == IS_NULL {
            return Some(self.no_argument().map(|()| Filter::IsNull(column())));
        }
        macro_rules! each {
            ($($predicate:ident)*) => {
                $(if operator == stringify!($predicate) {
                    let argument = ReadArgument::read(self);
                    return Some(argument.map(|argument| Filter::$predicate(column(), argument)));
                })*
            };
        }
        predicates!(each);
        let all = [TokenMatch::Any, TokenMatch::All, TokenMatch::Phrase];
        let matching = all.into_iter().find(|matching| token_operator(*matching) == operator)?;
        Some(self.tokens(matching))
    }

    fn argument(&self) -> Result<(&Json, Path<'_>), String> {
        match self.arguments {
            [one] => Ok((one, Path::Item(self.path, 2))),
            other => Err(self.path.error(format!("an operator takes one value, this has {}", other.len()))),
        }
    }

    fn no_argument(&self) -> Result<(), String> {
        match self.arguments {
            [] => Ok(()),
            other => Err(self.path.error(format!("this operator takes no value, and has {}", other.len()))),
        }
    }

    fn tokens(&self, matching: TokenMatch) -> Result<Filter, String> {
        let (input, options) = match self.arguments {
            [input] => (input, None),
            [input, options] => (input, Some(options)),
            _ => {
                return Err(self
                    .path
                    .error("an operator on tokens takes a text or a list of them, and options"));
            }
        };
        let input = TextInput::from_json(input, &Path::Item(self.path, 2))?;
        let prefix = match options {
            Some(options) => {
                let options = Object::new(options, &Path::Item(self.path, 3), &[PREFIX])?;
                options.get_or_else(PREFIX, || false)?
            }
            None => false,
        };
        Ok(Filter::Tokens(TokenFilter { column: self.column.to_owned(), input, matching, prefix }))
    }
}

/// The argument of a predicate.
trait ReadArgument: Sized {
    fn read(predicate: &Predicate<'_>) -> Result<Self, String>;
}

impl ReadArgument for Operand {
    fn read(predicate: &Predicate<'_>) -> Result<Self, String> {
        let (json, path) = predicate.argument()?;
        match json {
            Json::Object(fields) if fields.contains_key(NEW) => {
                read_one(fields, NEW, &path).map(|column| Self::New(column.to_owned()))
            }
            json => read_value(json, &path).map(Self::Value),
        }
    }
}

impl ReadArgument for Vec<Value> {
    fn read(predicate: &Predicate<'_>) -> Result<Self, String> {
        let (json, path) = predicate.argument()?;
        let items = json.as_array().ok_or_else(|| path.error("it is no list of values"))?;
        items.iter().enumerate().map(|(at, item)| read_value(item, &Path::Item(&path, at))).collect()
    }
}

impl ReadArgument for String {
    fn read(predicate: &Predicate<'_>) -> Result<Self, String> {
        let (json, path) = predicate.argument()?;
        json.as_str().map(str::to_owned).ok_or_else(|| path.error("it is no string"))
    }
}

impl ReadArgument for Fuzzy {
    fn read(predicate: &Predicate<'_>) -> Result<Self, String> {
        let (json, path) = predicate.argument()?;
        match json {
            Json::String(query) => Ok(Self::new(query.as_str())),
            Json::Object(_) => Self::from_json(json, &path),
            _ => Err(path.error("it is neither a string nor an object")),
        }
    }
}

fn read_value(json: &Json, path: &Path<'_>) -> Result<Value, String> {
    Ok(match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), ..) => Value::Int(number),
            (_, Some(number), _) => Value::Uint(number),
            (.., Some(number)) => Value::Float(number),
            _ => return Err(path.error("it is a number that no column holds")),
        },
        Json::String(text) => Value::String(text.clone()),
        Json::Array(items) => {
            let scalar = |(at, item): (usize, &Json)| {
                let path = Path::Item(path, at);
                if item.is_array() {
                    Err(path.error("an array has no arrays"))
                } else {
                    read_value(item, &path)
                }
            };
            Value::Array(items.iter().enumerate().map(scalar).collect::<Result<_, _>>()?)
        }
        Json::Object(fields) => read_object(fields, path)?,
    })
}

/// A value that JSON has no form for.
fn read_object(fields: &Map<String, Json>, path: &Path<'_>) -> Result<Value, String> {
    if let Some(milliseconds) = fields.get(DATETIME).filter(|_| fields.len() == 1) {
        let milliseconds = milliseconds.as_i64();
        return milliseconds
            .map(Value::Datetime)
            .ok_or_else(|| path.error("it is no number of milliseconds"));
    }
    let bytes = STANDARD.decode(read_one(fields, BYTES, path)?);
    bytes
        .map(|bytes| Value::Bytes(bytes.into()))
        .map_err(|error| path.error(format!("it is no base64: {error}")))
}

/// The text of an object with one field.
fn read_one<'a>(fields: &'a Map<String, Json>, name: &str, path: &Path<'_>) -> Result<&'a str, String> {
    let text = fields.get(name).and_then(Json::as_str).filter(|_| fields.len() == 1);
    text.ok_or_else(|| {
        path.error(format!("it is no value here: objects are {{\"{BYTES}\": base64}}, {{\"{DATETIME}\": milliseconds}} and, as \
                            the operand of a comparison, {{\"{NEW}\": column}}"))
    })
}
