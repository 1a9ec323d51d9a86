//! Exact vectors of a column: their bytes are those of Arrow's values buffer, and a row is checked by itself.
//!
//! ```text
//! header, 64 bytes | records of the index, and zeros up to 64 bytes | components × rows
//! | if they are more than 64 KiB: zeros up to 64 bytes, and checksum u32 × rows
//!
//! header:     "EVEC" | version u16 | element u16 | dimension u32 | rows u32
//!             | offset of the components u64 | of the checksums u64, or 0 | zeros
//! components: little-endian, one row behind the other; those of a null row are zeros
//! ```
//! Nothing lies between rows, so that a run of them is an Arrow buffer: [`builder`] writes the buffers of arrays as they
//! are, and [`reader`] makes arrays of the bytes that arrived.
//!
//! The checksum of a row is the low 32 bits of the XXH3-64 of its components, xor (seed + row). The seed is the low
//! 32 bits of the XXH3-64 of the segment's name and the column's number, so a row in the place of another, of
//! this file or another, is detected as surely as a damaged row. A damaged checksum is detected with its row: blocks of
//! checksums need none of their own.
//!
//! Heads of the column in the file `index` of the segment: `vector.<column>.head`, the header again and then the null
//! rows as a portable roaring bitmap; `vector.<column>.checksums`, if they are not in the file; and
//! `vector.<column>.index`, see `crate::index::vector`, if there is one.

mod builder;
mod checksums;
mod components;
#[cfg(test)]
mod fuzz;
mod header;
mod reader;
mod runs;

pub(super) use builder::{ExactVectorsBuilder, VectorFile};
pub(super) use checksums::row_checksum_seed;
pub(super) use header::RECORDS_START;
pub(super) use reader::ExactVectors;
pub(super) use runs::row_runs;

/// The format in errors.
const WHAT: &str = "vectors";
