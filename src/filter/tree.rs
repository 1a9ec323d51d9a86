//! Filters as trees.

use std::fmt;

use super::{Filter, Operand};
use crate::error::{Error, Result};
use crate::types::Value;
use crate::types::tree::{Level, Tree, impl_tree, nodes};

/// The most patterns of the filters of a call: each may take a megabyte when compiled.
const PATTERNS_MAX: usize = 128;
/// The most bytes of the filters of a call.
const BYTES_MAX: usize = 64 << 20;
/// What a node counts besides its names and values, in bytes.
const NODE_BYTES: usize = 64;

impl_tree!(Filter);

/// What the filters of a call take together.
#[derive(Debug, Default)]
pub(crate) struct FilterWeight {
    patterns: usize,
    bytes: usize,
}

impl FilterWeight {
    /// Adds a filter, unless that is too much.
    pub(crate) fn add(&mut self, filter: &Filter) -> Result<()> {
        for node in nodes(filter) {
            self.patterns += usize::from(node.is_pattern());
            self.bytes = self.bytes.saturating_add(node.bytes());
            if self.patterns > PATTERNS_MAX {
                return Err(Error::limit(format!(
                    "too many patterns in the filters of a call: at most {PATTERNS_MAX} are allowed"
                )));
            }
            if self.bytes > BYTES_MAX {
                return Err(Error::limit(format!(
                    "the filters of a call are too large: at most {BYTES_MAX} bytes are allowed"
                )));
            }
        }
        Ok(())
    }
}

impl Filter {
    fn is_pattern(&self) -> bool {
        matches!(self, Self::Glob(..) | Self::IGlob(..) | Self::Regex(..) | Self::Fuzzy(..))
    }

    /// What the node itself takes.
    fn bytes(&self) -> usize {
        let operand = |operand: &Operand| match operand {
            Operand::Value(value) => value.size(),
            Operand::New(name) => name.len(),
        };
        let (column, rest) = match self {
            Self::And(_) | Self::Or(_) | Self::Not(_) => ("", 0),
            Self::Tokens(tokens) => (tokens.column.as_str(), tokens.bytes()),
            // A fuzzy one is checked for itself.
            Self::IsNull(column) | Self::Fuzzy(column, _) => (column.as_str(), 0),
            Self::Eq(column, with)
            | Self::Lt(column, with)
            | Self::Lte(column, with)
            | Self::Gt(column, with)
            | Self::Gte(column, with)
            | Self::Contains(column, with)
            | Self::AnyLt(column, with)
            | Self::AnyLte(column, with)
            | Self::AnyGt(column, with)
            | Self::AnyGte(column, with) => (column.as_str(), operand(with)),
            Self::In(column, values) | Self::ContainsAny(column, values) => {
                (column.as_str(), values.iter().map(Value::size).fold(0, usize::saturating_add))
            }
            Self::Glob(column, text) | Self::IGlob(column, text) | Self::Regex(column, text) => {
                (column.as_str(), text.len())
            }
        };
        column.len().saturating_add(rest).saturating_add(NODE_BYTES)
    }
}

/// Does the same for every predicate of a column and something that it is compared with.
macro_rules! predicates {
    ($do:ident) => {
        $do! {
            Eq Lt Lte Gt Gte In Contains ContainsAny AnyLt AnyLte AnyGt AnyGte Glob IGlob Regex Fuzzy
        }
    };
}

impl Tree for Filter {
    fn leaf() -> Self {
        Self::And(Vec::new())
    }

    fn children<'a>(&'a self, visit: &mut dyn FnMut(&'a Self)) {
        match self {
            Self::And(filters) | Self::Or(filters) => filters.iter().for_each(visit),
            Self::Not(inner) => visit(inner),
            _ => {}
        }
    }

    fn children_mut(&mut self, visit: &mut dyn FnMut(&mut Self)) {
        match self {
            Self::And(filters) | Self::Or(filters) => filters.iter_mut().for_each(visit),
            Self::Not(inner) => visit(inner),
            _ => {}
        }
    }

    fn copy(&self) -> Self {
        let leaves = |filters: &[Self]| filters.iter().map(|_| Self::leaf()).collect();
        macro_rules! each {
            ($($predicate:ident)*) => {
                match self {
                    Self::And(filters) => Self::And(leaves(filters)),
                    Self::Or(filters) => Self::Or(leaves(filters)),
                    Self::Not(_) => Self::Not(Box::new(Self::leaf())),
                    Self::IsNull(column) => Self::IsNull(column.clone()),
                    Self::Tokens(tokens) => Self::Tokens(tokens.clone()),
                    $(Self::$predicate(column, with) => Self::$predicate(column.clone(), with.clone()),)*
                }
            };
        }
        predicates!(each)
    }

    fn is_like(&self, other: &Self) -> bool {
        macro_rules! each {
            ($($predicate:ident)*) => {
                match (self, other) {
                    (Self::And(one), Self::And(other)) | (Self::Or(one), Self::Or(other)) => {
                        one.len() == other.len()
                    }
                    (Self::Not(_), Self::Not(_)) => true,
                    (Self::IsNull(one), Self::IsNull(other)) => one == other,
                    (Self::Tokens(one), Self::Tokens(other)) => one == other,
                    $((Self::$predicate(a, x), Self::$predicate(b, y)) => a == b && x == y,)*
                    _ => false,
                }
            };
        }
        predicates!(each)
    }

    fn show(&self, children: &[Level<'_, Self>], f: &mut fmt::Formatter<'_>) -> fmt::Result {
        macro_rules! each {
            ($($predicate:ident)*) => {
                match self {
                    Self::And(_) => f.debug_tuple("And").field(&children).finish(),
                    Self::Or(_) => f.debug_tuple("Or").field(&children).finish(),
                    Self::Not(_) => {
                        let mut tuple = f.debug_tuple("Not");
                        for child in children {
 tuple.field(child);
 }
                        tuple.finish()
                    }
                    Self::IsNull(column) => f.debug_tuple("IsNull").field(column).finish(),
                    Self::Tokens(tokens) => f.debug_tuple("Tokens").field(tokens).finish(),
                    $(Self::$predicate(column, with) => {
                        f.debug_tuple(stringify!($predicate)).field(column).field(with).finish()
                    })*
                }
            };
        }
        predicates!(each)
    }
}
