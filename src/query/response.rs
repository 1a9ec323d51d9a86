//! What is answered.

use std::sync::Arc;

use arrow::array::RecordBatch;
use serde::de::DeserializeOwned;

use super::Cursor;
use crate::error::Result;
use crate::schema::Schema;
use crate::types::{Document, Sequence};

/// Documents of an answer, in its order: as documents, as rows of a type of yours, or as Arrow.
#[derive(Clone, Debug)]
pub struct Rows {
    schema: Arc<Schema>,
    batch: RecordBatch,
}

impl Rows {
    pub(crate) fn new(schema: Arc<Schema>, batch: RecordBatch) -> Self {
        Self { schema, batch }
    }

    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.batch.num_rows()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As Arrow: the id, then the selected columns as the schema declares them.
    #[must_use]
    pub fn batch(&self) -> &RecordBatch {
        &self.batch
    }

    /// As documents.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) alone.
    pub fn documents(&self) -> Result<Vec<Document>> {
        self.schema.documents(&self.batch)
    }

    /// As rows of any type that serde reads: fields by column name, and `id`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if a document does not fit the type.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<Vec<T>> {
        self.documents()?.iter().map(Document::deserialize).collect()
    }
}

/// One hit of a query.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Hit {
    /// The document, with the selected columns.
    pub document: Document,
    /// What hits are in order of, greater is better: the fused score, and of a single leg that of the leg.
    pub score: f32,
    /// What each leg says of it, in order of the legs; `None` where a leg did not find it.
    pub legs: Vec<Option<LegHit>>,
}

impl Hit {
    /// Its distance by the first vector leg that found it.
    #[must_use]
    pub fn distance(&self) -> Option<f32> {
        self.legs.iter().flatten().find_map(|hit| hit.distance)
    }
}

/// What one leg says of a hit.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct LegHit {
    /// Its rank in the leg, from 1.
    pub rank: usize,
    /// Its score, greater is better: by BM25 for text, the negated distance for vectors.
    pub score: f32,
    /// Its distance from the vector of the leg.
    pub distance: Option<f32>,
}

/// What a query looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueryStats {
    /// Segments and layers of the tail.
    pub parts: usize,
    /// Rows that were alive.
    pub rows: u64,
    /// Rows whose vector was looked at: of those that the filter let through all, or what the probed leaves of
    /// an index hold.
    pub rows_scanned: u64,
    /// Of those, rows that an index left in question, whose exact vector was compared.
    pub rows_reranked: u64,
    /// Leaves of indexes that were probed.
    pub leaves_probed: u64,
}

impl QueryStats {
    /// Of the legs of a query together.
    pub(super) fn of_legs(legs: &[Self]) -> Self {
        let add = |sum: Self, leg: &Self| Self {
            parts: sum.parts.max(leg.parts),
            rows: sum.rows.max(leg.rows),
            rows_scanned: sum.rows_scanned + leg.rows_scanned,
            rows_reranked: sum.rows_reranked + leg.rows_reranked,
            leaves_probed: sum.leaves_probed + leg.leaves_probed,
        };
        legs.iter().fold(Self::default(), add)
    }
}

/// The answer to a [`Query`](crate::Query).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct QueryResponse {
    /// The documents, best first.
    pub rows: Rows,
    /// Their scores, in the same order: see [`Hit::score`].
    pub scores: Vec<f32>,
    /// What each leg says of them, in the same order: see [`Hit::legs`].
    pub legs: Vec<Vec<Option<LegHit>>>,
    /// The state that was asked.
    pub sequence: Sequence,
    /// What the query looked at.
    pub stats: QueryStats,
}

impl QueryResponse {
    /// The hits, best first.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) alone.
    pub fn hits(&self) -> Result<Vec<Hit>> {
        let documents = self.rows.documents()?.into_iter();
        let ranked = self.scores.iter().zip(&self.legs);
        let hit = |(document, (score, legs)): (_, (&f32, &Vec<_>))| Hit {
            document,
            score: *score,
            legs: legs.clone(),
        };
        Ok(documents.zip(ranked).map(hit).collect())
    }

    /// The distances of the hits: see [`Hit::distance`].
    #[must_use]
    pub fn distances(&self) -> Vec<Option<f32>> {
        self.legs.iter().map(|legs| legs.iter().flatten().find_map(|hit| hit.distance)).collect()
    }
}

/// One page of a [`Scan`](crate::Scan).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Page {
    /// The documents, in order of their ids.
    pub rows: Rows,
    /// Where the next page begins; `None` after the last one.
    pub cursor: Option<Cursor>,
    /// The state that was asked.
    pub sequence: Sequence,
}
