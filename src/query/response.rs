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
    /// Its distance from the query: smaller is nearer. For a search of text the score, negated.
    pub distance: f32,
    /// Its score, if text was searched: greater is better.
    pub score: Option<f32>,
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

/// The answer to a [`Query`](crate::Query).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct QueryResponse {
    /// The documents, nearest first.
    pub rows: Rows,
    /// Their distances, in the same order. For a search of text the scores, negated.
    pub distances: Vec<f32>,
    /// Their scores, in the same order, if text was searched.
    pub scores: Option<Vec<f32>>,
    /// The state that was asked.
    pub sequence: Sequence,
    /// What the query looked at.
    pub stats: QueryStats,
}

impl QueryResponse {
    /// The hits as documents with their distances.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) alone.
    pub fn hits(&self) -> Result<Vec<Hit>> {
        let hits = self.rows.documents()?.into_iter().zip(&self.distances).enumerate();
        let score = |at| self.scores.as_ref().and_then(|scores: &Vec<f32>| scores.get(at).copied());
        let hit = |(at, (document, distance)): (_, (_, &f32))| Hit {
            document,
            distance: *distance,
            score: score(at),
        };
        Ok(hits.map(hit).collect())
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
