//! A column of the reader's schema in an open segment, which may have been written with another schema.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, new_null_array};
use roaring::RoaringBitmap;

use super::open_vectors::StoredVectors;
use crate::codec::{all_rows, to_usize};
use crate::env::Env;
use crate::error::Result;
use crate::index::vector::VectorIndex;
use crate::schema::VectorColumn;

/// What an open segment has of a column.
#[derive(Clone)]
pub(super) enum OpenColumn {
    /// An attribute, by its position in `rows.parquet`. A segment that was written before the column was declared has
    /// none, and all values are null.
    Attribute(Option<usize>),
    Vector(OpenVectorColumn),
}

/// How vectors are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadMode {
    /// By blocks, which are cached for the next query.
    Blocks,
    /// By long ranges, past the cache: for what is read once.
    Bulk,
}

/// A vector column of an open segment.
#[derive(Clone)]
pub(super) enum OpenVectorColumn {
    Stored(Box<StoredVectors>),
    /// The segment was written before the column was declared: all rows are null.
    Absent {
        shape: VectorColumn,
        rows: Arc<RoaringBitmap>,
    },
}

impl OpenVectorColumn {
    /// A column that a segment of `rows` rows does not have.
    pub(super) fn absent(shape: VectorColumn, rows: u32) -> Self {
        Self::Absent { shape, rows: Arc::new(all_rows(rows)) }
    }

    /// The vectors of some rows. One round trip, or none.
    pub(super) async fn fetch(&self, env: &Env, rows: &RoaringBitmap, mode: ReadMode) -> Result<ArrayRef> {
        match self {
            Self::Stored(stored) => match mode {
                ReadMode::Blocks => stored.exact.fetch(env, rows).await,
                ReadMode::Bulk => stored.exact.fetch_bulk(env, rows).await,
            },
            Self::Absent { shape, .. } => {
                Ok(new_null_array(&shape.arrow_type(), to_usize(rows.len(), "the number of rows")?))
            }
        }
    }

    /// Folds over the vectors of a run of rows, in pieces. One round trip, or none.
    pub(super) async fn fold_range<T, F>(&self, env: &Env, rows: Range<u32>, init: T, fold: F) -> Result<T>
    where
        T: Clone + Send + Sync + 'static,
        F: Fn(T, u32, ArrayRef) -> Result<T> + Clone + Send + Sync + 'static,
    {
        match self {
            Self::Stored(stored) => stored.exact.fold_range(env, rows, init, fold).await,
            Self::Absent { shape, .. } => {
                fold(init, rows.start, new_null_array(&shape.arrow_type(), rows.len()))
            }
        }
    }

    /// The rows without a vector.
    pub(super) fn nulls(&self) -> &RoaringBitmap {
        match self {
            Self::Stored(stored) => stored.exact.nulls(),
            Self::Absent { rows, .. } => rows,
        }
    }

    /// How many rows have a vector.
    pub(super) fn count(&self) -> u32 {
        match self {
            Self::Stored(stored) => stored.exact.count(),
            Self::Absent { .. } => 0,
        }
    }

    pub(super) fn index(&self) -> Option<&VectorIndex> {
        match self {
            Self::Stored(stored) => stored.index.as_ref(),
            Self::Absent { .. } => None,
        }
    }
}
