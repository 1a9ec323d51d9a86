//! A hit: a document, and how it was found.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Computed, Fragment, LegHit};
use crate::types::{Document, DocumentId};

/// One hit of a query: a document, or with [`QueryResponse::hits_as`](crate::QueryResponse::hits_as) a value of your own
/// type made of it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::{schema::TextOptions, *};
/// # let schema = Schema::builder(IdKind::U64).text("body", TextOptions::default()).build()?;
/// # let notes = Database::open("memory://").await?.create_namespace("notes", schema).await?;
/// notes.write(Document::new(7).with("body", "cold tea")).await?;
/// let hits = notes.query(TextQuery::any("body", "tea")).await?.hits()?;
/// assert_eq!((hits[0].document.str("body"), hits[0].rank(0)), (Some("cold tea"), Some(1)));
///
/// #[derive(serde::Deserialize)]
/// struct Note { id: u64, body: String }
/// let hits: Vec<Hit<Note>> = notes.query(TextQuery::any("body", "tea")).await?.hits_as()?;
/// assert_eq!((hits[0].document.id, hits[0].document.body.as_str()), (7, "cold tea"));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
// One type for both: what a hit tells of how it was found does not depend on the form of its document.
pub struct Hit<T = Document> {
    /// The document, with the selected columns.
    pub document: T,
    /// The score that orders the hits, greater is better: the score of the last rescoring, or else the fused score, or
    /// the score of the only leg. That of a text leg is BM25, and that of a vector leg the negated distance, so that the
    /// nearest has the greatest score: see [`LegHit::score`].
    pub score: f32,
    /// Its rank and score in each leg, in order of the legs; `None` where a leg did not find it.
    pub legs: Vec<Option<LegHit>>,
    /// Its computed columns, by name: see [`Query::compute`](crate::Query::compute).
    pub computed: BTreeMap<String, Computed>,
}

impl<T> Hit<T> {
    /// A hit as an answer has it, without computed columns: for tests of a [`Reranker`](crate::Reranker) or of what is
    /// done with answers.
    #[must_use]
    pub fn new(document: T, score: f32, legs: Vec<Option<LegHit>>) -> Self {
        Self { document, score, legs, computed: BTreeMap::new() }
    }

    /// How the leg of this number, from 0, found it; `None` if it did not.
    #[must_use]
    pub fn leg(&self, leg: usize) -> Option<&LegHit> {
        self.legs.get(leg)?.as_ref()
    }

    /// Its rank in the leg of this number, from 1; `None` if that leg did not find it. Documents with equal scores in a
    /// leg share a rank.
    #[must_use]
    pub fn rank(&self, leg: usize) -> Option<usize> {
        self.leg(leg).map(|hit| hit.rank)
    }

    /// Its distance by the first vector leg that found it, by the metric of the column: smaller is nearer.
    #[must_use]
    pub fn distance(&self) -> Option<f32> {
        first_distance(&self.legs)
    }

    /// Its fragments in the computed column of this name: see [`Compute::highlight`](crate::Compute::highlight). None if
    /// there is no such column.
    #[must_use]
    pub fn fragments(&self, name: &str) -> &[Fragment] {
        // invariant: a hit without the column has no fragments, as is documented.
        self.computed.get(name).map_or(&[], Computed::fragments)
    }
}

impl Hit {
    /// The id of its document.
    #[must_use]
    pub fn id(&self) -> &DocumentId {
        self.document.id()
    }
}

/// The distance by the first vector leg that found a document.
// Several legs compare with several vectors: a sum or a minimum of their distances would be the distance from none.
pub(super) fn first_distance(legs: &[Option<LegHit>]) -> Option<f32> {
    legs.iter().flatten().find_map(|hit| hit.distance)
}
