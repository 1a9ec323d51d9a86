//! Segments: immutable sets of rows with what finds them.
//!
//! A segment is a folder of files that a manifest names, with a [`SegmentMeta`] that tells where in them
//! everything lies, so no footer is ever looked for, and what values lie between, so that a filter may spare all of it:
//!
//! | file | holds |
//! |---|---|
//! | `rows.parquet` | the id and the attributes in row order: plain Parquet, for any engine |
//! | `vector.<column>` | exact vectors in row order at a fixed stride, each with its checksum |
//! | `attributes` | the id index, the id of each row, the block checksums of `rows.parquet`, the sizes of its rows |
//! | `text` | the index of the text columns, if there are any |
//! | `deletes.<manifest>-<nonce>` | the rows that are dead as of a manifest |
//!
//! **Invariants:** a file never changes once it is written; every byte that is read from one is checked
//! against a checksum that the meta states, or that a section so checked states, before it is parsed; and
//! nothing but [`RowOrder`] says in which order rows lie.

mod builder;
mod checksums;
mod deletes;
mod ids;
mod meta;
mod parquet_rows;
mod reader;
mod row_ids;
mod row_sizes;
mod sorted_rows;
mod statistics;
mod vector_indexing;
mod vectors;

#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    reason = "numbers of tests are small"
)]
mod tests;

pub(crate) use builder::SegmentBuilder;
pub(crate) use deletes::Deletes;
pub(crate) use ids::IdBlock;
pub(crate) use meta::{RowOrder, SegmentMeta};
pub(crate) use reader::Segment;
#[cfg(test)]
pub(crate) use statistics::ColumnStatisticsBuilder;
pub(crate) use statistics::{BOUND_BYTES_MAX, ColumnStatistics, key_prefix};
pub(crate) use vector_indexing::VectorIndexing;

use crate::env::Env;
use crate::error::Result;

/// Work on more items than this leaves the async task for the blocking pool.
const INLINE_ITEMS_MAX: usize = 1_024;

/// Runs `work` here if it is small, and on the blocking pool otherwise.
async fn compute<T: Send + 'static>(
    env: &Env,
    items: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    if items <= INLINE_ITEMS_MAX { Ok(work()) } else { env.blocking(work).await }
}
