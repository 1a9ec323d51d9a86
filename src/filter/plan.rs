//! What the attribute index and the text index of a segment say of a filter.
//!
//! Planning is pure: it names the blocks of all predicates, which are then read together. What the index cannot
//! answer is unknown, and logic goes on with candidates: the definite rows and the possible rows. Only the rows in
//! doubt, possible but not definite, have to be looked at.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Bound as Limit;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use bytes::Bytes;
use futures::future::try_join;
use roaring::RoaringBitmap;

use super::bind::{Against, BoundFilter, Comparison, Leaf, Node, Test};
use crate::cache::{Span, total_bytes};
use crate::codec::CodecError;
use crate::env::{Cost, Env};
use crate::error::{Error, Result};
use crate::index::Candidates;
use crate::index::attributes::{
    AttributeColumn, AttributeIndex, AttributeProbe, KeyList, Pattern, TrigramLookup, each_key,
};
use crate::index::text::{TextIndex, TokenPredicate, find_matching_rows};

/// A predicate that needs more bytes of an index than this is left to a scan, which goes in windows.
const PROBE_BYTES_MAX: u64 = 64 << 20;

/// An end of a range of keys.
type KeyLimit = Limit<Box<[u8]>>;

/// A filter as the attribute index of a segment can answer it.
#[derive(Debug)]
pub(crate) struct IndexPlan {
    root: Step,
    bytes: u64,
    /// What is asked of the text index.
    texts: Vec<Arc<TokenPredicate>>,
}

/// The indexes of a segment that filters are answered by.
#[derive(Clone, Debug)]
pub(crate) struct SegmentIndexes {
    pub(crate) attributes: Option<Arc<AttributeIndex>>,
    pub(crate) text: Option<Arc<TextIndex>>,
    pub(crate) rows: u32,
}

/// A node of a plan, folded as far as heads tell.
#[derive(Debug)]
enum Step {
    /// The same for every row.
    Const(bool),
    /// Anything.
    Unknown,
    /// What does not match this does not match; what does may.
    AtMost(Box<Step>),
    All(Vec<Step>),
    Any(Vec<Step>),
    Not(Box<Step>),
    Probe(Asked),
    /// The answer of the text index of this number.
    Text(usize),
}

/// A probe of a column, with the blocks it needs.
#[derive(Debug)]
struct Asked {
    column: String,
    probe: AttributeProbe,
    spans: Vec<Span>,
    /// What is read before, and tells which blocks that are.
    lookup: Option<TrigramLookup>,
}

impl Asked {
    /// What is read first.
    fn first(&self) -> &[Span] {
        self.lookup.as_ref().map_or(&self.spans, |lookup| &lookup.spans)
    }
}

impl IndexPlan {
    /// The plan of a filter on a segment with these indexes.
    pub(crate) fn new(bound: &BoundFilter, indexes: &SegmentIndexes) -> Self {
        let mut planner = Planner { bound, indexes, texts: Vec::new() };
        let root = planner.step(&bound.root);
        let texts = planner.texts;
        let mut asked = Vec::new();
        root.each_probe(&mut asked);
        let bytes = asked.iter().map(|asked| total_bytes(asked.first())).fold(0, u64::saturating_add);
        Self { root, bytes, texts }
    }

    /// Whether it says nothing at all.
    pub(crate) fn is_unknown(&self) -> bool {
        matches!(self.root, Step::Unknown)
    }

    /// Bytes of the index that it reads.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The candidates. At most one round trip, and one more where patterns go by trigrams; two of the text index beside
    /// them.
    pub(crate) async fn run(mut self, env: &Env, indexes: &SegmentIndexes) -> Result<Candidates> {
        let root = &mut self.root;
        let read = async {
            match &indexes.attributes {
                Some(index) => read(root, index).await,
                None => Ok((Vec::new(), 0)),
            }
        };
        let texts = async {
            match &indexes.text {
                Some(index) => find_matching_rows(index, env, &self.texts).await,
                None => Ok(Vec::new()),
            }
        };
        let ((blocks, bytes), texts) = try_join(read, texts).await?;
        let of = indexes.clone();
        let work = move || {
            let mut blocks = blocks.as_slice();
            let mut all = RoaringBitmap::new();
            all.insert_range(0..of.rows);
            Run { index: of.attributes.as_deref(), all, texts }.step(&self.root, &mut blocks)
        };
        let candidates = env.compute(Cost::index_bytes(bytes), work).await?;
        candidates.map_err(|e| match &indexes.attributes {
            Some(index) => index.corrupt_block(e),
            None => Error::internal(format!("an answer of no index: {e}")),
        })
    }
}

/// The blocks of all probes of a step, in their order, and how many bytes they are. Trigrams are read before: they tell
/// which blocks a pattern needs.
async fn read(root: &mut Step, index: &AttributeIndex) -> Result<(Vec<Bytes>, u64)> {
    let mut asked = Vec::new();
    root.each_probe(&mut asked);
    let lookups: Vec<&TrigramLookup> = asked.iter().filter_map(|asked| asked.lookup.as_ref()).collect();
    if !lookups.is_empty() {
        let spans: Vec<Span> = lookups.into_iter().flat_map(|lookup| lookup.spans.iter().cloned()).collect();
        let read = if spans.is_empty() { Vec::new() } else { index.read_blocks(&spans).await? };
        root.narrow_by_trigrams(index, &mut read.as_slice()).map_err(|e| index.corrupt_block(e))?;
        asked = Vec::new();
        root.each_probe(&mut asked);
    }
    let spans: Vec<Span> = asked.iter().flat_map(|asked| asked.spans.iter().cloned()).collect();
    let blocks = if spans.is_empty() { Vec::new() } else { index.read_blocks(&spans).await? };
    Ok((blocks, total_bytes(&spans)))
}

struct Planner<'a> {
    bound: &'a BoundFilter,
    indexes: &'a SegmentIndexes,
    texts: Vec<Arc<TokenPredicate>>,
}

impl Planner<'_> {
    fn step(&mut self, node: &Node) -> Step {
        match node {
            Node::Const(answer) => Step::Const(*answer),
            Node::Not(inner) => Step::not(self.step(inner)),
            Node::All(nodes) => {
                let (mut ranges, mut steps) = (Vec::new(), Vec::new());
                for node in nodes {
                    if !Self::narrow(node, &mut ranges) {
                        steps.push(self.step(node));
                    }
                }
                steps.extend(ranges.into_iter().map(|(at, low, high)| self.range(at, low, high)));
                Step::join(false, steps)
            }
            Node::Any(nodes) => {
                let steps: Vec<Step> = nodes.iter().map(|node| self.step(node)).collect();
                Step::join(true, steps)
            }
            Node::Leaf(leaf) => self.leaf(leaf).unwrap_or(Step::Unknown),
        }
    }

    /// Joins a bound of a column with its other ones: what lies between two is far less than what lies on one side
    /// of each. Of arrays each bound may be kept by another element.
    fn narrow(node: &Node, ranges: &mut Vec<(usize, KeyLimit, KeyLimit)>) -> bool {
        let Node::Leaf(Leaf { column, elements: false, test, .. }) = node else { return false };
        let Test::Compare(comparison, Against::Literal(literal)) = test else { return false };
        let Some(AttributeProbe::Range(low, high)) = range(*comparison, literal) else { return false };
        if let Some((_, lowest, highest)) = ranges.iter_mut().find(|(at, ..)| at == column) {
            let inner = |one: &KeyLimit, other: &KeyLimit, above: Ordering| match (key_of(one), key_of(other))
            {
                (_, None) => true,
                (None, _) => false,
                (Some(a), Some(b)) => {
                    let order = a.cmp(b);
                    order == above || (order.is_eq() && matches!(one, Limit::Excluded(_)))
                }
            };
            if inner(&low, lowest, Ordering::Greater) {
                *lowest = low;
            }
            if inner(&high, highest, Ordering::Less) {
                *highest = high;
            }
        } else {
            ranges.push((*column, low, high));
        }
        true
    }

    /// A range of a column that is no array. Of a wide one it asks for what lies outside.
    fn range(&self, at: usize, low: KeyLimit, high: KeyLimit) -> Step {
        let name = self.bound.columns.get(at).map_or("", |source| source.name.as_str());
        let column = self.indexes.attributes.as_ref().and_then(|index| index.column(name));
        let Some(column) = column else { return Step::Unknown };
        let inside = AttributeProbe::Range(low.clone(), high.clone());
        let mut outside = vec![AttributeProbe::Null];
        match low {
            Limit::Unbounded => {}
            Limit::Included(key) => {
                outside.push(AttributeProbe::Range(Limit::Unbounded, Limit::Excluded(key)));
            }
            Limit::Excluded(key) => {
                outside.push(AttributeProbe::Range(Limit::Unbounded, Limit::Included(key)));
            }
        }
        match high {
            Limit::Unbounded => {}
            Limit::Included(key) => {
                outside.push(AttributeProbe::Range(Limit::Excluded(key), Limit::Unbounded));
            }
            Limit::Excluded(key) => {
                outside.push(AttributeProbe::Range(Limit::Included(key), Limit::Unbounded));
            }
        }
        let bytes = |probe: &AttributeProbe| total_bytes(&column.find_spans(probe));
        if outside.iter().map(bytes).fold(0, u64::saturating_add) < bytes(&inside) {
            let outside = outside.into_iter().map(|probe| Step::probe(name, column, probe));
            return Step::not(Step::join(true, outside));
        }
        Step::probe(name, column, inside)
    }

    /// `None` if the index cannot tell.
    fn leaf(&mut self, leaf: &Leaf) -> Option<Step> {
        if let Test::Tokens(contains) = &leaf.test {
            self.indexes.text.as_ref()?;
            self.texts.push(Arc::clone(contains));
            return Some(Step::Text(self.texts.len() - 1));
        }
        let name = &self.bound.columns.get(leaf.column)?.name;
        let column = self.indexes.attributes.as_ref()?.column(name)?;
        let probe = match &leaf.test {
            Test::Null => AttributeProbe::Null,
            Test::Pattern(pattern) => {
                prefixed(pattern).unwrap_or_else(|| AttributeProbe::Matches(pattern.clone()))
            }
            Test::Member(set) => AttributeProbe::In(set.keys()?),
            Test::Compare(_, Against::New(_)) | Test::Tokens(_) => return None,
            Test::Compare(comparison, Against::Literal(literal)) => {
                if let Some(list) = literal.as_list_opt::<i32>() {
                    return Some(whole(name, column, list.values()));
                }
                match range(*comparison, literal)? {
                    AttributeProbe::Range(low, high) if !leaf.elements => {
                        return Some(self.range(leaf.column, low, high));
                    }
                    probe => probe,
                }
            }
        };
        Some(Step::probe(name, column, probe))
    }
}

/// An array equals only if its row has every element, and a value.
fn whole(name: &str, column: &AttributeColumn, elements: &ArrayRef) -> Step {
    let mut steps = vec![Step::not(Step::probe(name, column, AttributeProbe::Null))];
    let each = |_, key: &[u8]| {
        steps.push(Step::probe(name, column, AttributeProbe::In(Arc::new(KeyList::single(key)))));
    };
    if each_key(elements, each).is_err() {
        return Step::Unknown;
    }
    match Step::join(false, steps) {
        Step::Const(false) => Step::Const(false),
        Step::Const(true) => Step::Unknown,
        step => Step::AtMost(Box::new(step)),
    }
}

fn key_of(limit: &KeyLimit) -> Option<&[u8]> {
    match limit {
        Limit::Unbounded => None,
        Limit::Included(key) | Limit::Excluded(key) => Some(key),
    }
}

/// All that begins with a prefix, if a pattern says no more: that is a range.
fn prefixed(pattern: &Pattern) -> Option<AttributeProbe> {
    let prefix = pattern.is_prefix().then(|| pattern.prefix().as_bytes())?;
    let mut behind = prefix.to_vec();
    let high = match behind.last_mut() {
        // No byte of UTF-8 is the greatest.
        Some(byte) => {
            *byte = byte.saturating_add(1);
            Limit::Excluded(behind.into())
        }
        None => Limit::Unbounded,
    };
    Some(AttributeProbe::Range(Limit::Included(prefix.into()), high))
}

fn range(comparison: Comparison, literal: &ArrayRef) -> Option<AttributeProbe> {
    let mut key = None;
    each_key(literal, |_, bytes| key = Some(Box::<[u8]>::from(bytes))).ok()?;
    let key = key?;
    Some(match comparison {
        Comparison::Eq => AttributeProbe::In(Arc::new(KeyList::single(&key))),
        Comparison::Lt => AttributeProbe::Range(Limit::Unbounded, Limit::Excluded(key)),
        Comparison::Lte => AttributeProbe::Range(Limit::Unbounded, Limit::Included(key)),
        Comparison::Gt => AttributeProbe::Range(Limit::Excluded(key), Limit::Unbounded),
        Comparison::Gte => AttributeProbe::Range(Limit::Included(key), Limit::Unbounded),
    })
}

impl Step {
    fn probe(name: &str, column: &AttributeColumn, probe: AttributeProbe) -> Self {
        if let Some(answer) = column.constant_answer(&probe) {
            return Self::Const(answer);
        }
        let spans = column.find_spans(&probe);
        let lookup =
            if let AttributeProbe::Matches(pattern) = &probe { column.plan_trigrams(pattern) } else { None };
        let asked = Asked { column: name.to_owned(), probe, spans, lookup };
        if total_bytes(asked.first()) > PROBE_BYTES_MAX { Self::Unknown } else { Self::Probe(asked) }
    }

    fn not(step: Self) -> Self {
        match step {
            Self::Const(answer) => Self::Const(!answer),
            Self::Unknown => Self::Unknown,
            Self::Not(inner) => *inner,
            step => Self::Not(Box::new(step)),
        }
    }

    /// Joins steps; `any` is the answer that one of them suffices for. Constants are folded.
    fn join(any: bool, steps: impl IntoIterator<Item = Self>) -> Self {
        let mut kept = Vec::new();
        for step in steps {
            match step {
                Self::Const(answer) if answer == any => return Self::Const(any),
                Self::Const(_) => {}
                step => kept.push(step),
            }
        }
        if kept.iter().all(|step| matches!(step, Self::Unknown)) {
            return if kept.is_empty() { Self::Const(!any) } else { Self::Unknown };
        }
        match kept.len() {
            1 => kept.pop().unwrap_or(Self::Unknown),
            _ if any => Self::Any(kept),
            _ => Self::All(kept),
        }
    }

    /// Takes the trigrams that were read, and leaves of the blocks of patterns those that can match. What is
    /// too much even so becomes unknown.
    fn narrow_by_trigrams(&mut self, index: &AttributeIndex, read: &mut &[Bytes]) -> Result<(), CodecError> {
        match self {
            Self::Const(_) | Self::Unknown | Self::Text(_) => {}
            Self::AtMost(inner) | Self::Not(inner) => inner.narrow_by_trigrams(index, read)?,
            Self::All(steps) | Self::Any(steps) => {
                steps.iter_mut().try_for_each(|step| step.narrow_by_trigrams(index, read))?;
            }
            Self::Probe(asked) => {
                if let (Some(lookup), AttributeProbe::Matches(pattern)) = (asked.lookup.take(), &asked.probe)
                    && let Some(column) = index.column(&asked.column)
                {
                    let (these, rest) = read.split_at_checked(lookup.spans.len()).unwrap_or((read, &[]));
                    *read = rest;
                    (asked.probe, asked.spans) = column.narrow_by_trigrams(pattern, &lookup, these)?;
                }
                if total_bytes(&asked.spans) > PROBE_BYTES_MAX {
                    *self = Self::Unknown;
                }
            }
        }
        Ok(())
    }

    fn each_probe<'a>(&'a self, out: &mut Vec<&'a Asked>) {
        match self {
            Self::Const(_) | Self::Unknown | Self::Text(_) => {}
            Self::AtMost(inner) | Self::Not(inner) => inner.each_probe(out),
            Self::All(steps) | Self::Any(steps) => steps.iter().for_each(|step| step.each_probe(out)),
            Self::Probe(asked) => out.push(asked),
        }
    }
}

struct Run<'a> {
    index: Option<&'a AttributeIndex>,
    all: RoaringBitmap,
    texts: Vec<Option<RoaringBitmap>>,
}

impl Run<'_> {
    /// The candidates of a step. `blocks` are those of its probes and of the ones behind it.
    fn step(&self, step: &Step, blocks: &mut &[Bytes]) -> Result<Candidates, CodecError> {
        let candidates = |definite, possible| Candidates { definite, possible };
        Ok(match step {
            Step::Const(true) => candidates(self.all.clone(), self.all.clone()),
            Step::Const(false) => Candidates::default(),
            Step::Unknown => candidates(RoaringBitmap::new(), self.all.clone()),
            Step::AtMost(inner) => candidates(RoaringBitmap::new(), self.step(inner, blocks)?.possible),
            Step::Not(inner) => {
                let inner = self.step(inner, blocks)?;
                candidates(&self.all - inner.possible, &self.all - inner.definite)
            }
            Step::All(steps) => {
                let mut all = candidates(self.all.clone(), self.all.clone());
                for step in steps {
                    if all.possible.is_empty() {
                        pass(step, blocks);
                        continue;
                    }
                    let one = self.step(step, blocks)?;
                    all.definite &= one.definite;
                    all.possible &= one.possible;
                }
                all
            }
            Step::Any(steps) => {
                let mut any = Candidates::default();
                for step in steps {
                    let one = self.step(step, blocks)?;
                    any.definite |= one.definite;
                    any.possible |= one.possible;
                }
                any
            }
            Step::Text(number) => match self.texts.get(*number).and_then(Option::as_ref) {
                Some(rows) => candidates(rows.clone(), rows.clone()),
                None => candidates(RoaringBitmap::new(), self.all.clone()),
            },
            Step::Probe(asked) => {
                let (these, rest) = blocks.split_at_checked(asked.spans.len()).unwrap_or((blocks, &[]));
                *blocks = rest;
                match self.index.and_then(|index| index.column(&asked.column)) {
                    Some(column) => column.find_candidates(&asked.probe, these)?,
                    None => candidates(RoaringBitmap::new(), self.all.clone()),
                }
            }
        })
    }
}

/// Leaves out the blocks of a step.
fn pass(step: &Step, blocks: &mut &[Bytes]) {
    let mut asked = Vec::new();
    step.each_probe(&mut asked);
    let count = asked.iter().map(|asked| asked.spans.len()).sum();
    *blocks = blocks.get(count..).unwrap_or_default();
}

/// One line: `all(n in 3 keys: 2 blocks, unknown)`.
impl fmt::Display for IndexPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {} bytes", self.root, self.bytes)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, name: &str, steps: &[Self]| {
            write!(f, "{name}(")?;
            for (at, step) in steps.iter().enumerate() {
                write!(f, "{}{step}", if at == 0 { "" } else { ", " })?;
            }
            f.write_str(")")
        };
        match self {
            Self::Const(answer) => write!(f, "{answer}"),
            Self::Unknown => f.write_str("unknown"),
            Self::Text(_) => f.write_str("tokens"),
            Self::AtMost(inner) => write!(f, "at most {inner}"),
            Self::Not(inner) => write!(f, "not {inner}"),
            Self::All(steps) => list(f, "all", steps),
            Self::Any(steps) => list(f, "any", steps),
            Self::Probe(Asked { column, probe, spans, lookup }) => {
                let blocks = spans.len();
                match probe {
                    AttributeProbe::Null => write!(f, "{column} is null: {blocks} blocks"),
                    AttributeProbe::In(keys) => write!(f, "{column} in {} keys: {blocks} blocks", keys.len()),
                    AttributeProbe::Range(..) => write!(f, "{column} within a range: {blocks} blocks"),
                    AttributeProbe::Matches(_) | AttributeProbe::MatchesAmong(..) => match lookup {
                        None => write!(f, "{column} by a pattern: {blocks} blocks"),
                        Some(lookup) => {
                            let trigrams = lookup.spans.len();
                            write!(
                                f,
                                "{column} by a pattern: {trigrams} blocks of trigrams, some of {blocks} blocks"
                            )
                        }
                    },
                }
            }
        }
    }
}
