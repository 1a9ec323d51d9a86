//! The text index of a part: packed in a segment or in memory, asked alike.

use std::sync::Arc;

use tantivy::directory::OwnedBytes;
use tantivy::postings::TermInfo;

use super::bm25::Totals;
use super::expand::{Candidate, Spec};
use super::memory::{MemoryField, MemoryIndex, MemoryPostings};
use super::pages::Pins;
use super::plan::Plan;
use super::postings::Postings;
use super::stored::{StoredIndex, Wanted};
use crate::env::Env;
use crate::error::{Error, Result};

/// Words in memory up to so many are walked where we are.
const INLINE_TERMS: usize = 4_096;

/// The text index of a part.
#[derive(Clone, Debug)]
pub(crate) enum TextSource {
    Stored(Arc<StoredIndex>),
    Memory(Arc<MemoryIndex>),
}

/// A token of the part that a leaf stands for.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(super) edits: u8,
    pub(super) term: Box<[u8]>,
    pub(super) entry: Entry,
}

/// The tokens of the part that a leaf stands for, and whether there are more.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    pub(super) found: Vec<Found>,
    pub(super) cut: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Entry {
    Stored(TermInfo),
    Memory(Arc<MemoryPostings>),
}

impl TextSource {
    /// The tokens that each leaf stands for here, nearest first, then by their bytes. One round trip, or none.
    pub(crate) async fn look_up(&self, env: &Env, plan: &Arc<Plan>) -> Result<Vec<Looked>> {
        match self {
            Self::Stored(index) => {
                let most = |spec: &Spec| if matches!(spec, Spec::Term(_)) { 1 } else { plan.expansions_max };
                let leaves = plan.leaves.iter().map(|leaf| (leaf.field, &leaf.spec, most(&leaf.spec)));
                let found = index.look_up(env, &leaves.collect::<Vec<Wanted<'_>>>()).await?;
                let looked = found.into_iter().map(|matches| {
                    let found = matches.found.iter().map(|found| Found {
                        edits: found.edits,
                        term: found.term.clone(),
                        entry: Entry::Stored(found.info.clone()),
                    });
                    Looked { found: found.collect(), cut: matches.cut }
                });
                Ok(looked.collect())
            }
            Self::Memory(index) => {
                let (index, of) = (Arc::clone(index), Arc::clone(plan));
                let work = move || -> Result<Vec<Looked>> {
                    let leaves = of.leaves.iter();
                    leaves
                        .map(|leaf| Ok(field(&index, leaf.field)?.look_up(&leaf.spec, of.expansions_max)))
                        .collect()
                };
                if self.is_small(plan) { work() } else { env.blocking(work).await? }
            }
        }
    }

    /// Whether looking tokens up in memory takes some microseconds each at most.
    fn is_small(&self, plan: &Plan) -> bool {
        let Self::Memory(index) = self else { return true };
        plan.leaves.iter().all(|leaf| {
            matches!(leaf.spec, Spec::Term(_))
                || index.fields.get(leaf.field).is_none_or(|field| field.terms.len() <= INLINE_TERMS)
        })
    }

    /// Makes readable what scoring reads. One round trip, or none.
    pub(super) async fn load(&self, plan: &Plan, looked: &[Looked]) -> Result<Option<Pins>> {
        let Self::Stored(index) = self else { return Ok(None) };
        let mut wanted = Vec::new();
        let mut fields = Vec::new();
        for (leaf, looked) in plan.leaves.iter().zip(looked).filter(|(_, looked)| !looked.found.is_empty()) {
            let infos = looked.found.iter().filter_map(|found| match &found.entry {
                Entry::Stored(info) => Some(info),
                Entry::Memory(_) => None,
            });
            fields.push(leaf.field);
            if matches!(leaf.spec, Spec::Prefix(_)) {
                // They lie one behind the other.
                wanted.push((leaf.field, infos.collect(), leaf.positions));
            } else {
                wanted.extend(infos.map(|info| (leaf.field, vec![info], leaf.positions)));
            }
        }
        fields.sort_unstable();
        fields.dedup();
        index.load(&wanted, &fields).await.map(Some)
    }

    /// The lengths of the rows of columns, for the rows that are dead.
    pub(super) async fn load_lengths(&self, fields: &[usize]) -> Result<Option<Pins>> {
        let Self::Stored(index) = self else { return Ok(None) };
        index.load(&[], fields).await.map(Some)
    }

    pub(super) fn postings(&self, at: usize, found: &Found, positions: bool) -> Result<Postings> {
        match (self, &found.entry) {
            (Self::Stored(index), Entry::Stored(info)) => {
                Ok(Postings::Blocks(Box::new(index.postings(at, info, positions)?)))
            }
            (_, Entry::Memory(postings)) => Ok(Postings::Memory(Arc::clone(postings), 0)),
            _ => Err(Error::internal("a token of another part")),
        }
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> u32 {
        match self {
            Self::Stored(index) => index.rows,
            Self::Memory(index) => index.rows,
        }
    }

    /// The average length by which the index was made; of a run nothing.
    pub(super) fn average(&self, at: usize) -> Result<f32> {
        match self {
            Self::Stored(index) => Ok(index.field(at)?.average),
            Self::Memory(_) => Ok(0.0),
        }
    }

    pub(super) fn norms(&self, at: usize) -> Result<OwnedBytes> {
        match self {
            Self::Stored(index) => index.norms(at),
            Self::Memory(index) => Ok(field(index, at)?.norms.clone()),
        }
    }

    pub(super) fn totals(&self, at: usize) -> Result<Totals> {
        match self {
            Self::Stored(index) => Ok(index.field(at)?.totals),
            Self::Memory(index) => Ok(field(index, at)?.totals),
        }
    }
}

impl Found {
    /// The rows that hold it, dead ones included.
    pub(super) fn frequency(&self) -> u64 {
        match &self.entry {
            Entry::Stored(info) => info.doc_freq.into(),
            Entry::Memory(postings) => postings.rows.len() as u64,
        }
    }
}

impl Candidate for Found {
    fn edits(&self) -> u8 {
        self.edits
    }

    fn term(&self) -> &[u8] {
        &self.term
    }

    fn rows(&self) -> u64 {
        self.frequency()
    }
}

fn field(index: &MemoryIndex, at: usize) -> Result<&MemoryField> {
    index.fields.get(at).ok_or_else(|| Error::internal("no such text column"))
}
