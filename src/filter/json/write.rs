//! Writing filters as JSON.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Error as _, SerializeMap};
use serde::{Serialize, Serializer};

use super::{AND, BYTES, DATETIME, IS_NOT_NULL, IS_NULL, NEW, NOT, OR, PREFIX, token_operator};
use crate::filter::size::DEPTH_MAX;
use crate::filter::tree::predicates;
use crate::filter::{Filter, Fuzzy, Operand, TextInput, TokenFilter};
use crate::types::Value;
use crate::types::datetime::format_datetime;
use crate::types::tree::depth;

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        // Serializers recurse. No filter that is deeper can be asked.
        if depth(self) > DEPTH_MAX {
            return Err(S::Error::custom(format!("the filter nests deeper than {DEPTH_MAX} levels")));
        }
        Node(self).serialize(to)
    }
}

/// A filter that is not too deep.
struct Node<'a>(&'a Filter);

/// An operand or a value of a list, as JSON has it.
struct Argument<'a>(&'a Value);

/// The argument of a predicate.
trait WriteArgument {
    fn written(&self) -> impl Serialize + '_;
}

impl Serialize for Node<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        macro_rules! each {
            ($($predicate:ident)*) => {
                match self.0 {
                    Filter::And(filters) => (AND, nodes(filters)).serialize(to),
                    Filter::Or(filters) => (OR, nodes(filters)).serialize(to),
                    Filter::Not(inner) => match &**inner {
                        Filter::IsNull(column) => (column, IS_NOT_NULL).serialize(to),
                        inner => (NOT, Node(inner)).serialize(to),
                    },
                    Filter::IsNull(column) => (column, IS_NULL).serialize(to),
                    Filter::Tokens(tokens) => serialize_tokens(tokens, to),
                    $(Filter::$predicate(column, argument) => {
                        (column, stringify!($predicate), argument.written()).serialize(to)
                    })*
                }
            };
        }
        predicates!(each)
    }
}

fn serialize_tokens<S: Serializer>(tokens: &TokenFilter, to: S) -> Result<S::Ok, S::Error> {
    let operator = token_operator(tokens.matching);
    if tokens.prefix {
        (&tokens.column, operator, &tokens.input, BTreeMap::from([(PREFIX, true)])).serialize(to)
    } else {
        (&tokens.column, operator, &tokens.input).serialize(to)
    }
}

fn nodes(filters: &[Filter]) -> Vec<Node<'_>> {
    filters.iter().map(Node).collect()
}

impl WriteArgument for Operand {
    fn written(&self) -> impl Serialize + '_ {
        self
    }
}

impl WriteArgument for Vec<Value> {
    fn written(&self) -> impl Serialize + '_ {
        self.iter().map(Argument).collect::<Vec<_>>()
    }
}

impl WriteArgument for String {
    fn written(&self) -> impl Serialize + '_ {
        self
    }
}

impl WriteArgument for Fuzzy {
    fn written(&self) -> impl Serialize + '_ {
        self
    }
}

impl Serialize for Operand {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Value(value) => Argument(value).serialize(to),
            Self::New(column) => serialize_one(to, NEW, column),
        }
    }
}

impl Serialize for Argument<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Bytes(bytes) => serialize_one(to, BYTES, &STANDARD.encode(bytes)),
            // A string in every format, for a number would be read back as one.
            Value::Datetime(milliseconds) => match format_datetime(*milliseconds) {
                Some(text) => to.serialize_str(&text),
                None => serialize_one(to, DATETIME, milliseconds),
            },
            Value::Array(values) => to.collect_seq(values.iter().map(Argument)),
            Value::Float(number) if !number.is_finite() => {
                Err(S::Error::custom(format!("JSON has no number for {number}")))
            }
            value => value.serialize(to),
        }
    }
}

fn serialize_one<S: Serializer, V: Serialize>(to: S, key: &str, value: &V) -> Result<S::Ok, S::Error> {
    let mut map = to.serialize_map(Some(1))?;
    map.serialize_entry(key, value)?;
    map.end()
}

impl Serialize for TextInput {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => text.serialize(to),
            Self::Tokens(tokens) => tokens.serialize(to),
        }
    }
}
