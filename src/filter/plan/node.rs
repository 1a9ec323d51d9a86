//! The logic above the probes of a plan.

use roaring::RoaringBitmap;

use super::SegmentIndexes;
use super::probe::{IndexProbe, TokenProbe};
use crate::codec::{all_rows, subtract_rows};
use crate::error::Result;
use crate::filter::bound::ColumnLabel;
use crate::filter::tree::join_nodes;
use crate::index::Candidates;
use crate::index::attributes::{AttributeColumn, AttributeProbe};

/// A node of a plan, folded as far as the heads of the indexes allow.
#[derive(Debug)]
pub(super) enum PlanNode {
    /// The same for every row.
    Const(bool),
    /// Every row is possible, none is definite.
    Unknown,
    /// A necessary condition: what does not match the inner node does not match, what does is possible.
    AtMost(Box<PlanNode>),
    All(Vec<PlanNode>),
    Any(Vec<PlanNode>),
    Not(Box<PlanNode>),
    Index(IndexProbe),
    Tokens(TokenProbe),
}

impl PlanNode {
    /// A probe of a column, or its answer if the head of the index has it.
    pub(super) fn probe(label: &ColumnLabel, column: &AttributeColumn, probe: AttributeProbe) -> Self {
        if let Some(answer) = column.constant_answer(&probe) {
            return Self::Const(answer);
        }
        IndexProbe::new(label, column, probe).map_or(Self::Unknown, Self::Index)
    }

    pub(super) fn negate(self) -> Self {
        match self {
            Self::Const(answer) => Self::Const(!answer),
            Self::Unknown => Self::Unknown,
            Self::Not(inner) => *inner,
            node => Self::Not(Box::new(node)),
        }
    }

    /// Joins nodes by or if `any`, else by and. Constants are folded.
    pub(super) fn fold(any: bool, nodes: impl IntoIterator<Item = Self>) -> Self {
        let mut kept = Vec::new();
        for node in nodes {
            match node {
                Self::Const(answer) if answer == any => return Self::Const(any),
                Self::Const(_) => {}
                node => kept.push(node),
            }
        }
        // An unknown among others must stay: in a conjunction it makes matching rows only possible, in a disjunction it
        // makes all rows possible.
        if !kept.is_empty() && kept.iter().all(|node| matches!(node, Self::Unknown)) {
            return Self::Unknown;
        }
        join_nodes(kept, Self::Const(!any), if any { Self::Any } else { Self::All })
    }

    /// The bytes of the attribute index that the first round trip reads.
    pub(super) fn first_bytes(&self) -> u64 {
        match self {
            Self::Const(_) | Self::Unknown | Self::Tokens(_) => 0,
            Self::AtMost(inner) | Self::Not(inner) => inner.first_bytes(),
            Self::All(nodes) | Self::Any(nodes) => {
                nodes.iter().map(Self::first_bytes).fold(0, u64::saturating_add)
            }
            Self::Index(probe) => probe.first_bytes(),
        }
    }

    /// Adds all probes, by kind of index.
    pub(super) fn collect_probes<'a>(
        &'a mut self,
        probes: &mut Vec<&'a mut IndexProbe>,
        token_probes: &mut Vec<&'a mut TokenProbe>,
    ) {
        match self {
            Self::Const(_) | Self::Unknown => {}
            Self::AtMost(inner) | Self::Not(inner) => inner.collect_probes(probes, token_probes),
            Self::All(nodes) | Self::Any(nodes) => {
                for node in nodes {
                    node.collect_probes(probes, token_probes);
                }
            }
            Self::Index(probe) => probes.push(probe),
            Self::Tokens(probe) => token_probes.push(probe),
        }
    }

    /// The candidates, once all probes have been read.
    pub(super) fn find_candidates(&self, indexes: &SegmentIndexes) -> Result<Candidates> {
        self.combine(indexes, &all_rows(indexes.rows))
    }

    fn combine(&self, indexes: &SegmentIndexes, all: &RoaringBitmap) -> Result<Candidates> {
        let unknown = || Candidates { definite: RoaringBitmap::new(), possible: all.clone() };
        Ok(match self {
            Self::Const(true) => Candidates::exact(all.clone()),
            Self::Const(false) => Candidates::default(),
            Self::Unknown => unknown(),
            Self::AtMost(inner) => {
                Candidates { definite: RoaringBitmap::new(), possible: inner.combine(indexes, all)?.possible }
            }
            // What is possible is not definitely false, and the other way round.
            Self::Not(inner) => {
                let inner = inner.combine(indexes, all)?;
                let [definite, possible] =
                    [inner.possible, inner.definite].map(|rows| subtract_rows(all, &rows));
                Candidates { definite, possible }
            }
            Self::All(nodes) => {
                let mut joined = Candidates::exact(all.clone());
                for node in nodes {
                    // Decoding the blocks of the other nodes could not change anything.
                    if joined.possible.is_empty() {
                        break;
                    }
                    let candidates = node.combine(indexes, all)?;
                    joined.definite &= candidates.definite;
                    joined.possible &= candidates.possible;
                }
                joined
            }
            Self::Any(nodes) => {
                let mut joined = Candidates::default();
                for node in nodes {
                    let candidates = node.combine(indexes, all)?;
                    joined.definite |= candidates.definite;
                    joined.possible |= candidates.possible;
                }
                joined
            }
            Self::Tokens(probe) => {
                probe.matching_rows()?.map_or_else(unknown, |rows| Candidates::exact(rows.clone()))
            }
            Self::Index(probe) => {
                probe.find_candidates(indexes.attributes.as_deref())?.unwrap_or_else(unknown)
            }
        })
    }
}
