//! Filters as trees: one list of predicates drives copying, comparing, printing and measuring.

use std::fmt;

use super::{Filter, Fuzzy, Operand, TokenFilter};
use crate::types::Value;
use crate::types::tree::{Level, Tree, impl_tree};

impl_tree!(Filter);

/// The node of several: `none` for no node, a single node as it is, and `join` of more.
pub(super) fn join_nodes<N>(nodes: Vec<N>, none: N, join: fn(Vec<N>) -> N) -> N {
    match <[N; 1]>::try_from(nodes) {
        Ok([only]) => only,
        Err(nodes) if nodes.is_empty() => none,
        Err(nodes) => join(nodes),
    }
}

/// What a predicate compares its column with, as the limits see it.
pub(super) trait PredicateArgument {
    /// The size that counts towards the limit of a call.
    fn bytes(&self) -> usize;

    /// The length of a list of values.
    fn value_count(&self) -> usize {
        0
    }

    /// Whether it is compiled into a program.
    fn is_pattern(&self) -> bool {
        false
    }
}

impl PredicateArgument for () {
    fn bytes(&self) -> usize {
        0
    }
}

impl PredicateArgument for Operand {
    fn bytes(&self) -> usize {
        match self {
            Self::Value(value) => value.size(),
            Self::New(name) => name.len(),
        }
    }
}

impl PredicateArgument for Vec<Value> {
    fn bytes(&self) -> usize {
        self.iter().map(Value::size).fold(0, usize::saturating_add)
    }

    fn value_count(&self) -> usize {
        self.len()
    }
}

/// A glob or a regular expression.
impl PredicateArgument for String {
    fn bytes(&self) -> usize {
        self.len()
    }

    fn is_pattern(&self) -> bool {
        true
    }
}

impl PredicateArgument for Fuzzy {
    // Its own limits are far lower, and binding checks them.
    fn bytes(&self) -> usize {
        0
    }

    fn is_pattern(&self) -> bool {
        true
    }
}

impl PredicateArgument for TokenFilter {
    fn bytes(&self) -> usize {
        self.input_bytes()
    }
}

/// Expands `$do` with the name of every variant that is a column and an argument. A new operator is added here, and
/// nowhere else in this file.
macro_rules! predicates {
    ($do:ident) => {
        $do! {
            Eq Lt Lte Gt Gte In Contains ContainsAny AnyLt AnyLte AnyGt AnyGte Glob IGlob Regex Fuzzy
        }
    };
}
pub(super) use predicates;

/// A copy.
impl From<&Filter> for Filter {
    fn from(other: &Filter) -> Self {
        other.clone()
    }
}

impl Filter {
    /// The column and the argument of a predicate; `None` for and, or and not.
    pub(super) fn predicate(&self) -> Option<(&str, &dyn PredicateArgument)> {
        macro_rules! each {
            ($($predicate:ident)*) => {
                match self {
                    Self::And(_) | Self::Or(_) | Self::Not(_) => None,
                    Self::IsNull(column) => Some((column.as_str(), &() as &dyn PredicateArgument)),
                    Self::Tokens(tokens) => Some((tokens.column.as_str(), tokens as &dyn PredicateArgument)),
                    $(Self::$predicate(column, argument) => {
                        Some((column.as_str(), argument as &dyn PredicateArgument))
                    })*
                }
            };
        }
        predicates!(each)
    }

    /// The names of all variants with a column and an argument.
    #[cfg(test)]
    pub(super) fn predicate_names() -> &'static [&'static str] {
        macro_rules! each {
            ($($predicate:ident)*) => { &[$(stringify!($predicate)),*] };
        }
        predicates!(each)
    }
}

impl Tree for Filter {
    fn without_children() -> Self {
        Self::And(Vec::new())
    }

    fn visit_children<'a>(&'a self, visit: &mut dyn FnMut(&'a Self)) {
        match self {
            Self::And(filters) | Self::Or(filters) => filters.iter().for_each(visit),
            Self::Not(inner) => visit(inner),
            // Predicates have no children.
            _ => {}
        }
    }

    fn visit_children_mut(&mut self, visit: &mut dyn FnMut(&mut Self)) {
        match self {
            Self::And(filters) | Self::Or(filters) => filters.iter_mut().for_each(visit),
            Self::Not(inner) => visit(inner),
            _ => {}
        }
    }

    fn copy_node(&self) -> Self {
        let blanks = |filters: &[Self]| filters.iter().map(|_| Self::without_children()).collect();
        macro_rules! each {
            ($($predicate:ident)*) => {
                match self {
                    Self::And(filters) => Self::And(blanks(filters)),
                    Self::Or(filters) => Self::Or(blanks(filters)),
                    Self::Not(_) => Self::Not(Box::new(Self::without_children())),
                    Self::IsNull(column) => Self::IsNull(column.clone()),
                    Self::Tokens(tokens) => Self::Tokens(tokens.clone()),
                    $(Self::$predicate(column, argument) => {
                        Self::$predicate(column.clone(), argument.clone())
                    })*
                }
            };
        }
        predicates!(each)
    }

    fn is_same_node(&self, other: &Self) -> bool {
        macro_rules! each {
            ($($predicate:ident)*) => {
                match (self, other) {
                    (Self::And(a), Self::And(b)) | (Self::Or(a), Self::Or(b)) => a.len() == b.len(),
                    (Self::Not(_), Self::Not(_)) => true,
                    (Self::IsNull(a), Self::IsNull(b)) => a == b,
                    (Self::Tokens(a), Self::Tokens(b)) => a == b,
                    $((Self::$predicate(a, x), Self::$predicate(b, y)) => a == b && x == y,)*
                    // Two variants.
                    _ => false,
                }
            };
        }
        predicates!(each)
    }

    fn fmt_node(&self, children: &[Level<'_, Self>], f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
                    $(Self::$predicate(column, argument) => {
                        f.debug_tuple(stringify!($predicate)).field(column).field(argument).finish()
                    })*
                }
            };
        }
        predicates!(each)
    }
}
