//! The text index of a part: packed in a segment or in memory, asked alike.

use std::ops::Bound;
use std::sync::Arc;

use tantivy::directory::OwnedBytes;
use tantivy::postings::TermInfo;

use super::bm25::Totals;
use super::expand::{SCANNED_MAX, Spec};
use super::memory::{MemoryField, MemoryIndex, MemoryPostings};
use super::pages::Pins;
use super::plan::Plan;
use super::postings::Postings;
use super::stored::StoredIndex;
use crate::error::{Error, Result};

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

#[derive(Clone, Debug)]
pub(super) enum Entry {
    Stored(TermInfo),
    Memory(Arc<MemoryPostings>),
}

impl TextSource {
    /// The tokens that each leaf stands for here, nearest first, then by their bytes. One round trip, or none.
    pub(crate) async fn look_up(&self, plan: &Plan) -> Result<Vec<Vec<Found>>> {
        match self {
            Self::Stored(index) => {
                let leaves: Vec<_> = plan.leaves.iter().map(|leaf| (leaf.field, &leaf.spec)).collect();
                let found = index.look_up(&leaves).await?.into_iter().map(|matches| {
                    let found = matches.iter().map(|found| Found {
                        edits: found.edits,
                        term: found.term.clone(),
                        entry: Entry::Stored(found.info.clone()),
                    });
                    found.collect()
                });
                Ok(found.collect())
            }
            Self::Memory(index) => {
                let leaves = plan.leaves.iter();
                leaves.map(|leaf| Ok(matches(field(index, leaf.field)?, &leaf.spec))).collect()
            }
        }
    }

    /// Makes readable what scoring reads. One round trip, or none.
    pub(super) async fn load(&self, plan: &Plan, found: &[Vec<Found>]) -> Result<Option<Pins>> {
        let Self::Stored(index) = self else { return Ok(None) };
        let mut wanted = Vec::new();
        let mut fields = Vec::new();
        for (leaf, found) in plan.leaves.iter().zip(found) {
            for found in found {
                if let Entry::Stored(info) = &found.entry {
                    wanted.push((leaf.field, info, leaf.positions));
                    fields.push(leaf.field);
                }
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

fn field(index: &MemoryIndex, at: usize) -> Result<&MemoryField> {
    index.fields.get(at).ok_or_else(|| Error::internal("no such text column"))
}

fn matches(field: &MemoryField, spec: &Spec) -> Vec<Found> {
    let found = |edits, term: &[u8], postings: &Arc<MemoryPostings>| Found {
        edits,
        term: term.into(),
        entry: Entry::Memory(Arc::clone(postings)),
    };
    let stem = spec.stem().as_bytes();
    if let Spec::Term(_) = spec {
        return field.terms.get(stem).map(|postings| found(0, stem, postings)).into_iter().collect();
    }
    let terms = field.terms.range::<[u8], _>((Bound::Included(stem), Bound::Unbounded));
    let terms = terms.take_while(|(term, _)| term.starts_with(stem)).take(SCANNED_MAX);
    let matches = terms.filter_map(|(term, postings)| Some(found(spec.edits(term)?, term, postings)));
    let mut matches: Vec<Found> = matches.collect();
    matches.sort_by(|a, b| (a.edits, &a.term).cmp(&(b.edits, &b.term)));
    matches.truncate(spec.most());
    matches
}
