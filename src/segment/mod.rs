//! Segments: immutable sets of rows with their indexes.
//!
//! A segment is a folder of files that a manifest names. Its [`SegmentMeta`] locates every section, so that no footer is
//! ever searched for, and has the bounds of values, so that a filter can prune the whole segment:
//!
//! | file | holds |
//! |---|---|
//! | `rows.parquet` | the id and the attributes in row order: plain Parquet, for any engine |
//! | `vector.<column>` | exact vectors in row order, as in Arrow's buffer; the codes; many checksums of rows |
//! | `index` | the indexes of the id and of the attributes, the id of each row; the heads of all files, in one request |
//! | `text` | the index of the text columns, if there are any |
//! | `deletes.<manifest>-<nonce>` | the rows that are dead as of a manifest |
//!
//! **Invariants:** a file never changes once it is written; every byte that is read from one is checked
//! against a checksum from the meta, or from a section that was checked itself, before it is parsed (a vector
//! and its checksum are checked against each other); and only [`RowOrder`] defines the order of the rows.
//!
//! Segments are written by `builder` (`sorted_rows` in, `vector_indexing` for the order, `column_builders` in one pass, `files` out),
//! read by `reader` on what `open` has decoded. Each format has its encoder and its decoder in one file or folder.

mod builder;
mod checksums;
mod column_builders;
mod deletes;
mod files;
mod heads;
mod ids;
mod meta;
mod open;
mod open_column;
mod open_vectors;
mod page_header;
mod parquet_builder;
mod parquet_footer;
mod parquet_rows;
mod reader;
mod row_sizes;
mod sections;
mod sorted_rows;
mod statistics;
mod vector_indexing;
mod vector_values;
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
pub(crate) use files::WrittenSegment;
pub(crate) use ids::IdBlock;
pub(crate) use meta::{RowOrder, SegmentMeta};
pub(crate) use reader::Segment;
pub(crate) use sorted_rows::sort_by_id;
#[cfg(test)]
pub(crate) use statistics::ColumnStatisticsBuilder;
pub(crate) use statistics::{BOUND_BYTES_MAX, ColumnStatistics, key_prefix};
pub(crate) use vector_indexing::{KnownClusters, VectorIndexing, is_outgrown};
