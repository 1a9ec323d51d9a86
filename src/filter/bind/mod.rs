//! Binding: checks a `Filter` against a schema and makes it typed.
//!
//! **Invariant:** evaluating a [`BoundFilter`] raises no error that the caller could have caused: names, types, limits
//! and patterns have been checked, and its depth is limited.

use std::sync::Arc;

use super::bound::{
    BoundColumn, BoundFilter, BoundNode, BoundPredicate, ColumnLabel, Comparand, Comparison, ValueTest,
};
use super::coercion::{self, Coerced};
use super::literal::{self, ValueSet};
use super::tokens::{TokenFilter, bind_tokens};
use super::{Filter, Operand, pattern};
use crate::error::{Error, Result};
use crate::index::attributes::Pattern;
use crate::schema::{AttributeType, ColumnKind, ID_COLUMN, Schema, type_mismatch};
use crate::settings::Settings;
use crate::types::{ColumnId, Value};

/// The most patterns of a filter: each may take a megabyte when compiled.
const PATTERNS_MAX: usize = 64;

impl BoundFilter {
    /// Checks `filter`. Only the condition of a write has `new_values`, to which [`Operand::New`] refers.
    pub(crate) fn new(
        filter: &Filter,
        schema: &Schema,
        settings: &Settings,
        new_values: bool,
    ) -> Result<Self> {
        filter.check_size(settings)?;
        let mut binder =
            FilterBinder { schema, new_values, columns: Vec::new(), new_columns: Vec::new(), patterns: 0 };
        let root = binder.bind_node(filter)?;
        Ok(Self { root, columns: binder.columns, new_columns: binder.new_columns })
    }
}

struct FilterBinder<'a> {
    schema: &'a Schema,
    new_values: bool,
    columns: Vec<BoundColumn>,
    new_columns: Vec<BoundColumn>,
    patterns: usize,
}

impl FilterBinder<'_> {
    fn bind_node(&mut self, filter: &Filter) -> Result<BoundNode> {
        use Comparison::{Eq, Gt, Gte, Lt, Lte};
        match filter {
            // All children are bound, also those after one that decides: an error in a filter must not depend on what
            // the rest of the filter folds to.
            Filter::And(filters) => Ok(BoundNode::fold(false, self.bind_nodes(filters)?)),
            Filter::Or(filters) => Ok(BoundNode::fold(true, self.bind_nodes(filters)?)),
            Filter::Not(inner) => Ok(self.bind_node(inner)?.negate()),
            Filter::IsNull(column) | Filter::Eq(column, Operand::Value(Value::Null)) => {
                self.bind_null_test(column)
            }
            Filter::Eq(column, operand) => self.bind_comparison(column, false, Eq, operand),
            Filter::Lt(column, operand) => self.bind_comparison(column, false, Lt, operand),
            Filter::Lte(column, operand) => self.bind_comparison(column, false, Lte, operand),
            Filter::Gt(column, operand) => self.bind_comparison(column, false, Gt, operand),
            Filter::Gte(column, operand) => self.bind_comparison(column, false, Gte, operand),
            Filter::Contains(column, operand) => self.bind_comparison(column, true, Eq, operand),
            Filter::AnyLt(column, operand) => self.bind_comparison(column, true, Lt, operand),
            Filter::AnyLte(column, operand) => self.bind_comparison(column, true, Lte, operand),
            Filter::AnyGt(column, operand) => self.bind_comparison(column, true, Gt, operand),
            Filter::AnyGte(column, operand) => self.bind_comparison(column, true, Gte, operand),
            Filter::In(column, values) => self.bind_membership(column, false, values),
            Filter::ContainsAny(column, values) => self.bind_membership(column, true, values),
            Filter::Glob(column, glob) => {
                self.bind_pattern(column, || pattern::compile_glob(glob, false).map(Some))
            }
            Filter::IGlob(column, glob) => {
                self.bind_pattern(column, || pattern::compile_glob(glob, true).map(Some))
            }
            Filter::Regex(column, regex) => {
                self.bind_pattern(column, || pattern::compile_regex(regex).map(Some))
            }
            Filter::Fuzzy(column, fuzzy) => self.bind_pattern(column, || fuzzy.compile()),
            Filter::Tokens(tokens) => self.bind_token_filter(tokens),
        }
    }

    fn bind_nodes(&mut self, filters: &[Filter]) -> Result<Vec<BoundNode>> {
        filters.iter().map(|filter| self.bind_node(filter)).collect()
    }

    fn bind_null_test(&mut self, name: &str) -> Result<BoundNode> {
        // A document always has an id. No index or statistics need to be consulted for that.
        if name == ID_COLUMN {
            return Ok(BoundNode::Const(false));
        }
        self.add_predicate(name, false, ValueTest::Null)
    }

    fn bind_comparison(
        &mut self,
        name: &str,
        elements: bool,
        comparison: Comparison,
        operand: &Operand,
    ) -> Result<BoundNode> {
        let kind = self.tested_type(name, elements)?;
        if comparison != Comparison::Eq && !has_order(kind) {
            return Err(Error::invalid(format!("{kind} has no order. column=`{name}`")));
        }
        let test = match operand {
            Operand::Value(Value::Null) => {
                let why = "null cannot be compared: use `is_null` on the column";
                return Err(Error::invalid(format!("{why}. column=`{name}`")));
            }
            Operand::Value(value) => {
                let coerced = coerce_operand(name, kind, value)?;
                let Some((comparison, value)) = adjust_comparison(comparison, coerced) else {
                    return Ok(BoundNode::Const(false));
                };
                ValueTest::Compare(comparison, Comparand::Literal(literal::build_array(kind, vec![value])?))
            }
            Operand::New(new) => {
                ValueTest::Compare(comparison, Comparand::New(self.add_new_column(name, kind, new)?))
            }
        };
        self.add_predicate(name, elements, test)
    }

    /// The index of the incoming row's column that `name` is compared with.
    fn add_new_column(&mut self, name: &str, kind: AttributeType, new: &str) -> Result<usize> {
        if !self.new_values {
            let why = "new values are available only in the condition of a write";
            return Err(Error::invalid(format!("{why}. column=`{new}`")));
        }
        let found = self.column_type(new)?;
        if found != Some(kind) {
            let found = found.map_or_else(|| "a vector".to_owned(), |found| found.to_string());
            return Err(Error::invalid(format!(
                "{}. column=`{name}` new=`{new}`",
                type_mismatch(kind, found)
            )));
        }
        let label = self.label_column(new)?;
        Ok(find_or_add_column(&mut self.new_columns, label, found).0)
    }

    fn bind_membership(&mut self, name: &str, elements: bool, values: &[Value]) -> Result<BoundNode> {
        let kind = self.tested_type(name, elements)?;
        let has_null = values.iter().any(Value::is_null);
        if has_null && elements {
            return Err(Error::invalid(format!("arrays have no null elements. column=`{name}`")));
        }
        let mut members = Vec::with_capacity(values.len());
        for value in values.iter().filter(|value| !value.is_null()) {
            // What lies between two values of the column's type equals none of them.
            if let Coerced::Exact(value) = coerce_operand(name, kind, value)? {
                members.push(value);
            }
        }
        let test = match members.len() {
            0 => None,
            // Equality with one value has a cheaper kernel than a hash set, and more of the planner applies to it.
            1 => {
                let literal = Comparand::Literal(literal::build_array(kind, members)?);
                Some(ValueTest::Compare(Comparison::Eq, literal))
            }
            _ => Some(ValueTest::Member(ValueSet::new(kind, members)?)),
        };
        let test = test.map(|test| self.add_predicate(name, elements, test)).transpose()?;
        let null = has_null.then(|| self.bind_null_test(name)).transpose()?;
        Ok(BoundNode::fold(true, null.into_iter().chain(test).collect()))
    }

    /// A test of strings. Nothing matches if `compile` returns `None`.
    fn bind_pattern(
        &mut self,
        name: &str,
        compile: impl FnOnce() -> Result<Option<Pattern>>,
    ) -> Result<BoundNode> {
        let kind = self.attribute_type(name)?;
        if kind != AttributeType::String && kind != AttributeType::StringArray {
            let why = type_mismatch("a column of strings", kind);
            return Err(Error::invalid(format!("{why}. column=`{name}`")));
        }
        self.patterns += 1;
        if self.patterns > PATTERNS_MAX {
            let why = "too many patterns in the filter";
            return Err(Error::limit(format!("{why}: at most {PATTERNS_MAX} are allowed")));
        }
        let pattern = compile().map_err(|error| error.context(format_args!("column `{name}`")))?;
        let Some(pattern) = pattern else { return Ok(BoundNode::Const(false)) };
        let elements = kind == AttributeType::StringArray;
        self.add_predicate(name, elements, ValueTest::Pattern(pattern))
    }

    fn bind_token_filter(&mut self, tokens: &TokenFilter) -> Result<BoundNode> {
        self.attribute_type(&tokens.column)?;
        match bind_tokens(tokens, self.schema)? {
            Some(predicate) => {
                self.add_predicate(&tokens.column, false, ValueTest::Tokens(Arc::new(predicate)))
            }
            None => Ok(BoundNode::Const(false)),
        }
    }

    fn add_predicate(&mut self, name: &str, elements: bool, test: ValueTest) -> Result<BoundNode> {
        let kind = self.column_type(name)?;
        let label = self.label_column(name)?;
        let (column, label) = find_or_add_column(&mut self.columns, label, kind);
        Ok(BoundNode::Predicate(BoundPredicate { column, label, elements, test }))
    }

    /// The type that a predicate on a column, or on its elements, compares with.
    fn tested_type(&self, name: &str, elements: bool) -> Result<AttributeType> {
        let kind = self.attribute_type(name)?;
        if !elements {
            return Ok(kind);
        }
        kind.element()
            .ok_or_else(|| Error::invalid(format!("{}. column=`{name}`", type_mismatch("an array", kind))))
    }

    fn attribute_type(&self, name: &str) -> Result<AttributeType> {
        self.column_type(name)?.ok_or_else(|| {
            Error::invalid(format!("a filter tests a vector only for whether it is null. column=`{name}`"))
        })
    }

    fn label_column(&self, name: &str) -> Result<ColumnLabel> {
        let id = match name {
            ID_COLUMN => Some(ColumnId::DOCUMENT_ID),
            name => self.schema.column(name).map(|column| column.id),
        };
        let id =
            id.ok_or_else(|| Error::internal(format!("an unknown column in a filter. column=`{name}`")))?;
        Ok(ColumnLabel { id, name: name.into() })
    }

    /// The type of a column; `None` for a vector.
    fn column_type(&self, name: &str) -> Result<Option<AttributeType>> {
        if name == ID_COLUMN {
            return Ok(Some(AttributeType::of_id(self.schema.id())));
        }
        match self.schema.column(name).map(|column| column.kind) {
            Some(ColumnKind::Attribute(kind)) => Ok(Some(kind)),
            Some(ColumnKind::Vector(_)) => Ok(None),
            None => {
                let names = self.schema.list_columns_and_id();
                Err(Error::invalid(format!(
                    "unknown column in the filter: the schema has {names}. column=`{name}`"
                )))
            }
        }
    }
}

fn coerce_operand(name: &str, kind: AttributeType, value: &Value) -> Result<Coerced> {
    coercion::coerce_operand(kind, value).map_err(|why| Error::invalid(format!("{why}. column=`{name}`")))
}

/// The same comparison with a value of the column's type; `None` if it is never true.
fn adjust_comparison(comparison: Comparison, operand: Coerced) -> Option<(Comparison, Value)> {
    match (comparison, operand) {
        (comparison, Coerced::Exact(value)) => Some((comparison, value)),
        (Comparison::Eq, Coerced::Between(..)) => None,
        // No value of the column lies between the two neighbours: `x < 5.5` is `x <= 5`.
        (Comparison::Lt | Comparison::Lte, Coerced::Between(below, _)) => Some((Comparison::Lte, below?)),
        (Comparison::Gt | Comparison::Gte, Coerced::Between(_, above)) => Some((Comparison::Gte, above?)),
    }
}

fn has_order(kind: AttributeType) -> bool {
    match kind {
        AttributeType::String
        | AttributeType::Int
        | AttributeType::Uint
        | AttributeType::Float
        | AttributeType::Datetime
        | AttributeType::Uuid => true,
        AttributeType::Bool
        | AttributeType::Bytes
        | AttributeType::StringArray
        | AttributeType::IntArray
        | AttributeType::UintArray
        | AttributeType::FloatArray
        | AttributeType::BoolArray
        | AttributeType::UuidArray
        | AttributeType::DatetimeArray => false,
    }
}

/// The index of a column and its label, which all its predicates share.
fn find_or_add_column(
    columns: &mut Vec<BoundColumn>,
    label: ColumnLabel,
    kind: Option<AttributeType>,
) -> (usize, ColumnLabel) {
    let known = columns.iter().enumerate().find(|(_, column)| column.label.id == label.id);
    if let Some((index, column)) = known {
        return (index, column.label.clone());
    }
    columns.push(BoundColumn { label: label.clone(), kind });
    (columns.len() - 1, label)
}

#[cfg(test)]
mod tests;
