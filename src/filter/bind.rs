//! Checks a `Filter` against a schema and makes it typed.
//!
//! **Invariant:** a [`BoundFilter`] evaluates without an error of the caller's: names, types, limits and patterns
//! have been checked, and it is no deeper than [`DEPTH_MAX`].

use std::sync::Arc;

use arrow::array::ArrayRef;

use super::literal::{self, Set};
use super::place::{self, Place};
use super::tokens::{self, TokenFilter};
use super::{Filter, Operand, pattern};
use crate::error::{Error, Result};
use crate::index::attributes::Pattern;
use crate::index::text::TokenPredicate;
use crate::schema::{AttributeType, ColumnKind, ID_COLUMN, Schema, type_mismatch};
use crate::settings::Settings;
use crate::types::Value;

/// How deep a filter may nest whatever the settings say: binding and evaluating recurse.
const DEPTH_MAX: usize = 256;
/// The most patterns of a filter: each may take a megabyte when compiled.
const PATTERNS_MAX: usize = 64;

/// A filter checked against a schema, ready to be evaluated.
#[derive(Debug)]
pub(crate) struct BoundFilter {
    pub(super) root: Node,
    pub(super) columns: Vec<Source>,
    pub(super) new_columns: Vec<Source>,
}

/// A column that a filter reads.
#[derive(Debug, PartialEq)]
pub(super) struct Source {
    pub(super) name: String,
    /// The type of the attribute; `None` for a vector.
    pub(super) kind: Option<AttributeType>,
}

/// A bound expression, folded: no constant within another node, no negation of a negation.
#[derive(Debug)]
pub(super) enum Node {
    Const(bool),
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Leaf(Leaf),
}

/// A predicate on a column.
#[derive(Debug)]
pub(super) struct Leaf {
    /// The place in [`BoundFilter::columns`].
    pub(super) column: usize,
    /// Whether the test is of each element of an array, of which any may pass.
    pub(super) elements: bool,
    pub(super) test: Test,
}

#[derive(Debug)]
pub(super) enum Test {
    Null,
    Compare(Comparison, Against),
    Member(Set),
    Pattern(Pattern),
    Tokens(Arc<TokenPredicate>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Eq,
    Lt,
    Lte,
    Gt,
    Gte,
}

/// What a column is compared with.
#[derive(Debug)]
pub(super) enum Against {
    /// A column of one row.
    Literal(ArrayRef),
    /// The place in [`BoundFilter::new_columns`].
    New(usize),
}

impl BoundFilter {
    /// Checks `filter`. Only the condition of a write knows `new_values`, to which [`Operand::New`] refers.
    pub(crate) fn new(
        filter: &Filter,
        schema: &Schema,
        settings: &Settings,
        new_values: bool,
    ) -> Result<Self> {
        filter.check_size(settings)?;
        let mut binder =
            Binder { schema, new_values, columns: Vec::new(), new_columns: Vec::new(), patterns: 0 };
        let root = binder.node(filter)?;
        Ok(Self { root, columns: binder.columns, new_columns: binder.new_columns })
    }

    /// The columns that [`Self::evaluate`] needs of the rows, each once.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|c| c.name.as_str())
    }

    /// The columns it needs of the new values.
    #[cfg(test)]
    pub(crate) fn new_columns(&self) -> impl Iterator<Item = &str> {
        self.new_columns.iter().map(|c| c.name.as_str())
    }

    /// The answer, when it is the same for every row.
    pub(crate) fn constant(&self) -> Option<bool> {
        if let Node::Const(answer) = self.root { Some(answer) } else { None }
    }
}

impl Filter {
    /// Whether it is within the limits. Counts without recursion: the tree may be deeper than the stack, so this
    /// comes before it is cloned, compared or bound.
    pub(crate) fn check_size(&self, settings: &Settings) -> Result<()> {
        let depth_max = settings.filter_depth_max.min(DEPTH_MAX);
        let over = |what: &str, max: usize| Err(Error::limit(format!("{what}: at most {max} are allowed")));
        let mut pending = vec![(self, 1)];
        let mut nodes = 1;
        while let Some((filter, depth)) = pending.pop() {
            if depth > depth_max {
                return over("the filter nests too deep in levels", depth_max);
            }
            let children = match filter {
                Filter::And(filters) | Filter::Or(filters) => filters.as_slice(),
                Filter::Not(inner) => std::slice::from_ref(&**inner),
                Filter::In(_, values) | Filter::ContainsAny(_, values)
                    if values.len() > settings.filter_values_max =>
                {
                    return over("too many values in a list of the filter", settings.filter_values_max);
                }
                _ => &[],
            };
            nodes += children.len();
            if nodes > settings.filter_nodes_max {
                return over("too many nodes in the filter", settings.filter_nodes_max);
            }
            pending.extend(children.iter().map(|child| (child, depth + 1)));
        }
        Ok(())
    }
}

struct Binder<'a> {
    schema: &'a Schema,
    new_values: bool,
    columns: Vec<Source>,
    new_columns: Vec<Source>,
    patterns: usize,
}

impl Binder<'_> {
    fn node(&mut self, filter: &Filter) -> Result<Node> {
        use Comparison::{Eq, Gt, Gte, Lt, Lte};
        match filter {
            Filter::And(filters) => Ok(fold(false, self.nodes(filters)?)),
            Filter::Or(filters) => Ok(fold(true, self.nodes(filters)?)),
            Filter::Not(inner) => Ok(match self.node(inner)? {
                Node::Const(answer) => Node::Const(!answer),
                Node::Not(inner) => *inner,
                node => Node::Not(Box::new(node)),
            }),
            Filter::IsNull(column) | Filter::Eq(column, Operand::Value(Value::Null)) => self.null(column),
            Filter::Eq(column, operand) => self.compare(column, false, Eq, operand),
            Filter::Lt(column, operand) => self.compare(column, false, Lt, operand),
            Filter::Lte(column, operand) => self.compare(column, false, Lte, operand),
            Filter::Gt(column, operand) => self.compare(column, false, Gt, operand),
            Filter::Gte(column, operand) => self.compare(column, false, Gte, operand),
            Filter::Contains(column, operand) => self.compare(column, true, Eq, operand),
            Filter::AnyLt(column, operand) => self.compare(column, true, Lt, operand),
            Filter::AnyLte(column, operand) => self.compare(column, true, Lte, operand),
            Filter::AnyGt(column, operand) => self.compare(column, true, Gt, operand),
            Filter::AnyGte(column, operand) => self.compare(column, true, Gte, operand),
            Filter::In(column, values) => self.member(column, false, values),
            Filter::ContainsAny(column, values) => self.member(column, true, values),
            Filter::Glob(column, text) => self.pattern(column, || pattern::glob(text, false).map(Some)),
            Filter::IGlob(column, text) => self.pattern(column, || pattern::glob(text, true).map(Some)),
            Filter::Regex(column, text) => self.pattern(column, || pattern::regex(text).map(Some)),
            Filter::Fuzzy(column, fuzzy) => self.pattern(column, || fuzzy.compile()),
            Filter::Tokens(tokens) => self.tokens(tokens),
        }
    }

    fn nodes(&mut self, filters: &[Filter]) -> Result<Vec<Node>> {
        filters.iter().map(|filter| self.node(filter)).collect()
    }

    fn null(&mut self, name: &str) -> Result<Node> {
        let kind = self.kind(name)?;
        if name == ID_COLUMN {
            return Ok(Node::Const(false));
        }
        let column = place(&mut self.columns, name, kind);
        Ok(Node::Leaf(Leaf { column, elements: false, test: Test::Null }))
    }

    fn compare(
        &mut self,
        name: &str,
        elements: bool,
        comparison: Comparison,
        operand: &Operand,
    ) -> Result<Node> {
        let kind = self.tested(name, elements)?;
        if comparison != Comparison::Eq && !ordered(kind) {
            return Err(Error::invalid(format!("{kind} has no order. column=`{name}`")));
        }
        let against = match operand {
            Operand::Value(Value::Null) => {
                let why = "a null cannot be compared: ask `is_null` of the column";
                return Err(Error::invalid(format!("{why}. column=`{name}`")));
            }
            Operand::Value(value) => {
                let Some((comparison, value)) = located(comparison, placed(name, kind, value)?) else {
                    return Ok(Node::Const(false));
                };
                let against = Against::Literal(literal::array(kind, vec![value])?);
                return self.leaf(name, elements, Test::Compare(comparison, against));
            }
            Operand::New(new) => Against::New(self.new_value(name, kind, new)?),
        };
        self.leaf(name, elements, Test::Compare(comparison, against))
    }

    /// The column of the new row that `name` is compared with.
    fn new_value(&mut self, name: &str, kind: AttributeType, new: &str) -> Result<usize> {
        if !self.new_values {
            let why = "a new value is known only to the condition of a write";
            return Err(Error::invalid(format!("{why}. column=`{new}`")));
        }
        let found = self.kind(new)?;
        if found != Some(kind) {
            let found = found.map_or_else(|| "a vector".to_owned(), |found| found.to_string());
            return Err(Error::invalid(format!(
                "{}. column=`{name}` new=`{new}`",
                type_mismatch(kind, found)
            )));
        }
        Ok(place(&mut self.new_columns, new, found))
    }

    fn member(&mut self, name: &str, elements: bool, values: &[Value]) -> Result<Node> {
        let kind = self.tested(name, elements)?;
        let null = values.iter().any(Value::is_null);
        if null && elements {
            return Err(Error::invalid(format!("null is no element of an array. column=`{name}`")));
        }
        let mut some = Vec::with_capacity(values.len());
        for value in values.iter().filter(|v| !v.is_null()) {
            // What lies between two values equals none.
            if let Place::At(value) = placed(name, kind, value)? {
                some.push(value);
            }
        }
        let test = match some.len() {
            0 => None,
            1 => Some(Test::Compare(Comparison::Eq, Against::Literal(literal::array(kind, some)?))),
            _ => Some(Test::Member(Set::new(kind, some)?)),
        };
        let test = test.map(|test| self.leaf(name, elements, test)).transpose()?;
        let null = null.then(|| self.null(name)).transpose()?;
        Ok(fold(true, null.into_iter().chain(test).collect()))
    }

    /// A test of strings; nothing matches if there is none.
    fn pattern(&mut self, name: &str, compile: impl FnOnce() -> Result<Option<Pattern>>) -> Result<Node> {
        let kind = self.attribute(name)?;
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
        let Some(pattern) = pattern else { return Ok(Node::Const(false)) };
        let elements = kind == AttributeType::StringArray;
        self.leaf(name, elements, Test::Pattern(pattern))
    }

    fn tokens(&mut self, tokens: &TokenFilter) -> Result<Node> {
        self.attribute(&tokens.column)?;
        match tokens::bind(tokens, self.schema)? {
            Some(contains) => self.leaf(&tokens.column, false, Test::Tokens(Arc::new(contains))),
            None => Ok(Node::Const(false)),
        }
    }

    fn leaf(&mut self, name: &str, elements: bool, test: Test) -> Result<Node> {
        let column = self.kind(name)?;
        let column = place(&mut self.columns, name, column);
        Ok(Node::Leaf(Leaf { column, elements, test }))
    }

    /// The type that a predicate on a column, or on its elements, takes.
    fn tested(&self, name: &str, elements: bool) -> Result<AttributeType> {
        let kind = self.attribute(name)?;
        if !elements {
            return Ok(kind);
        }
        kind.element()
            .ok_or_else(|| Error::invalid(format!("{}. column=`{name}`", type_mismatch("an array", kind))))
    }

    fn attribute(&self, name: &str) -> Result<AttributeType> {
        self.kind(name)?.ok_or_else(|| {
            Error::invalid(format!("a vector can only be asked whether it is null. column=`{name}`"))
        })
    }

    /// The type of a column; `None` for a vector.
    fn kind(&self, name: &str) -> Result<Option<AttributeType>> {
        if name == ID_COLUMN {
            return Ok(Some(AttributeType::of_id(self.schema.id())));
        }
        match self.schema.column(name).map(|c| c.kind) {
            Some(ColumnKind::Attribute(kind)) => Ok(Some(kind)),
            Some(ColumnKind::Vector(_)) => Ok(None),
            None => {
                let known = self.schema.columns().iter().map(|c| c.name.as_str()).take(16);
                let known = std::iter::once(ID_COLUMN).chain(known).collect::<Vec<_>>().join(", ");
                Err(Error::invalid(format!(
                    "unknown column in the filter: the schema has {known}. column=`{name}`"
                )))
            }
        }
    }
}

fn placed(name: &str, kind: AttributeType, value: &Value) -> Result<Place> {
    place::place(kind, value).map_err(|why| Error::invalid(format!("{why}. column=`{name}`")))
}

/// The same comparison with a value of the column's type. `None`: it is never true.
fn located(comparison: Comparison, place: Place) -> Option<(Comparison, Value)> {
    match (comparison, place) {
        (comparison, Place::At(value)) => Some((comparison, value)),
        (Comparison::Eq, Place::Between(..)) => None,
        (Comparison::Lt | Comparison::Lte, Place::Between(below, _)) => Some((Comparison::Lte, below?)),
        (Comparison::Gt | Comparison::Gte, Place::Between(_, above)) => Some((Comparison::Gte, above?)),
    }
}

fn ordered(kind: AttributeType) -> bool {
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

/// The place of a column among those read so far.
fn place(columns: &mut Vec<Source>, name: &str, kind: Option<AttributeType>) -> usize {
    columns.iter().position(|c| c.name == name).unwrap_or_else(|| {
        columns.push(Source { name: name.to_owned(), kind });
        columns.len() - 1
    })
}

/// Joins nodes by or (`any`) or by and, the cheap ones first: what they decide spares the others.
fn fold(any: bool, nodes: Vec<Node>) -> Node {
    let mut kept = Vec::with_capacity(nodes.len());
    for node in nodes {
        match node {
            Node::Const(answer) if answer == any => return Node::Const(any),
            Node::Const(_) => {}
            node => kept.push(node),
        }
    }
    kept.sort_by_key(cost);
    match (kept.pop(), kept.is_empty()) {
        (None, _) => Node::Const(!any),
        (Some(only), true) => only,
        (Some(last), false) => {
            kept.push(last);
            if any { Node::Any(kept) } else { Node::All(kept) }
        }
    }
}

/// A rank, not a measure.
fn cost(node: &Node) -> u8 {
    match node {
        Node::Const(_) => 0,
        Node::Leaf(leaf) => {
            let base = match leaf.test {
                Test::Null => 1,
                Test::Compare(..) => 2,
                Test::Member(_) => 3,
                Test::Pattern(_) => 6,
                Test::Tokens(_) => 8,
            };
            base + u8::from(leaf.elements)
        }
        Node::Not(inner) => cost(inner),
        Node::All(nodes) | Node::Any(nodes) => nodes.iter().map(cost).max().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::filter::Fuzzy;
    use crate::types::{IdKind, Metric, VectorType};

    fn schema() -> Schema {
        Schema::builder(IdKind::U64)
            .attribute("s", AttributeType::String)
            .attribute("u", AttributeType::Uint)
            .attribute("f", AttributeType::Float)
            .attribute("b", AttributeType::Bool)
            .attribute("raw", AttributeType::Bytes)
            .attribute("tags", AttributeType::StringArray)
            .attribute("flags", AttributeType::BoolArray)
            .vector("v", VectorType::F32, 2, Metric::Dot)
            .build()
            .unwrap()
    }

    fn bind(filter: &Filter, new_values: bool) -> Result<BoundFilter> {
        BoundFilter::new(filter, &schema(), &Settings::default(), new_values)
    }

    #[test]
    fn what_does_not_fit_the_schema_is_refused_by_name() {
        let new = || Operand::new_value("u");
        let refused = [
            (Filter::is_null("x"), "unknown column"),
            (Filter::eq("u", "text"), "expected uint"),
            (Filter::eq("id", "text"), "expected uint"),
            (Filter::eq("f", f64::NAN), "NaN"),
            (Filter::eq("u", f64::NAN), "NaN"),
            (Filter::is_in("u", [Value::Float(0.5), "x".into()]), "expected uint"),
            (Filter::eq("u", Value::Datetime(1)), "expected uint"),
            (Filter::eq("tags", "one"), "expected []string"),
            (Filter::is_in("u", [Value::Int(1), "x".into()]), "expected uint"),
            (Filter::gt("s", Value::Null), "null cannot be compared"),
            (Filter::contains("tags", Value::Null), "null cannot be compared"),
            (Filter::contains_any("tags", [Value::Null]), "no element"),
            (Filter::lt("b", true), "has no order"),
            (Filter::lt("raw", bytes::Bytes::new()), "has no order"),
            (Filter::lt("tags", vec!["a"]), "has no order"),
            (Filter::any_lt("flags", true), "has no order"),
            (Filter::any_lt("u", 1), "expected an array"),
            (Filter::contains("s", "a"), "expected an array"),
            (Filter::eq("v", vec![1.0, 2.0]), "can only be asked"),
            (Filter::is_in("v", [Value::Null]), "can only be asked"),
            (Filter::glob("u", "*"), "expected a column of strings"),
            (Filter::regex("s", "("), "column `s`: bad pattern"),
            (Filter::fuzzy("u", "query"), "expected a column of strings"),
            (Filter::fuzzy("v", "query"), "can only be asked"),
            (Filter::fuzzy("s", Fuzzy::new("x").distance(8, 2)), "column `s`: a fuzzy distance of 2"),
            (Filter::eq("s", new()), "expected string"),
            (Filter::contains("flags", new()), "expected bool"),
            (Filter::eq("u", Operand::new_value("x")), "unknown column"),
            (Filter::eq("u", Operand::new_value("v")), "found a vector"),
        ];
        for (filter, why) in refused {
            // What a constant decides is checked all the same.
            for filter in [filter.clone(), Filter::and([Filter::or([]), filter])] {
                let error = bind(&filter, true).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Invalid, "{filter:?}");
                assert!(error.to_string().contains(why), "{error}");
            }
        }
        let error = bind(&Filter::eq("u", new()), false).unwrap_err();
        assert!(error.to_string().contains("condition of a write"), "{error}");
    }

    #[test]
    fn what_it_reads_is_named_once() {
        let filter = Filter::gt("u", 1)
            & Filter::lt("u", Operand::new_value("id"))
            & Filter::eq("id", Operand::new_value("u"))
            & Filter::is_not_null("v");
        let bound = bind(&filter, true).unwrap();
        assert_eq!(bound.columns().collect::<Vec<_>>(), ["u", "id", "v"]);
        assert_eq!(bound.new_columns().collect::<Vec<_>>(), ["id", "u"]);
    }

    #[test]
    fn constants_fold() {
        let constant = |filter: Filter| bind(&filter, false).unwrap().constant();
        let open = || Filter::eq("u", 1);
        assert_eq!(constant(Filter::and([])), Some(true));
        assert_eq!(constant(Filter::or([])), Some(false));
        assert_eq!(constant(Filter::is_in("u", Vec::<Value>::new())), Some(false));
        assert_eq!(constant(Filter::is_null("id")), Some(false));
        assert_eq!(constant(Filter::is_in("id", [Value::Null])), Some(false));
        assert_eq!(constant(open() & Filter::eq("id", Value::Null)), Some(false));
        assert_eq!(constant(open() | !Filter::is_null("id")), Some(true));
        assert_eq!(constant(open() | Filter::or([])), None);
        // No value of the column is meant.
        assert_eq!(constant(Filter::eq("u", -1)), Some(false));
        assert_eq!(constant(Filter::not_eq("u", 0.5)), Some(true));
        assert_eq!(constant(Filter::lt("u", -1)), Some(false));
        assert_eq!(constant(Filter::gt("u", 1e20)), Some(false));
        assert_eq!(constant(Filter::is_in("id", [Value::Int(-1), Value::Float(0.5)])), Some(false));
        assert_eq!(constant(Filter::gt("u", -1)), None, "false of a null");
        assert_eq!(constant(Filter::fuzzy("s", "ab")), Some(false));
        assert_eq!(constant(Filter::not_fuzzy("s", "ab")), Some(true));
        assert_eq!(constant(Filter::fuzzy("s", "abc")), None);
    }

    #[test]
    fn limits_hold() {
        let kind = |filter: &Filter, settings: &Settings| {
            BoundFilter::new(filter, &schema(), settings, false).map(|_| ()).map_err(|e| e.kind())
        };
        let mut settings = Settings::default();
        let over = Err(ErrorKind::LimitExceeded);
        let nested = |levels| (1..levels).fold(Filter::is_null("u"), |f, _| Filter::Not(Box::new(f)));
        assert_eq!(kind(&nested(32), &settings), Ok(()));
        assert_eq!(kind(&nested(33), &settings), over);
        assert_eq!(kind(&nested(1_000_000), &settings), over);
        let wide = |nodes: usize| Filter::or(std::iter::repeat_n(Filter::is_null("u"), nodes - 1));
        assert_eq!(kind(&wide(4096), &settings), Ok(()));
        assert_eq!(kind(&wide(4097), &settings), over);
        let list = |values: u64| Filter::is_in("u", 0..values);
        assert_eq!(kind(&list(100_000), &settings), Ok(()));
        assert_eq!(kind(&list(100_001), &settings), over);
        let patterns = |count| Filter::and(std::iter::repeat_n(Filter::glob("s", "a*"), count));
        assert_eq!(kind(&patterns(PATTERNS_MAX), &settings), Ok(()));
        assert_eq!(kind(&patterns(PATTERNS_MAX + 1), &settings), over);
        assert_eq!(kind(&(patterns(PATTERNS_MAX - 1) & Filter::fuzzy("s", "abc")), &settings), Ok(()));
        assert_eq!(kind(&(patterns(PATTERNS_MAX) & Filter::fuzzy("s", "abc")), &settings), over);
        // No setting makes a filter deeper than the stack.
        (settings.filter_depth_max, settings.filter_nodes_max) = (usize::MAX, usize::MAX);
        assert_eq!(kind(&nested(DEPTH_MAX), &settings), Ok(()));
        assert_eq!(kind(&nested(1_000_000), &settings), over);
    }
}
