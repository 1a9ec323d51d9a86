//! The head of a packed file: what opening the index takes, in one read.
//!
//! ```text
//! "ETXT" | version u16 | zero u16 | the files of the index; the head is in the file `index` of the segment
//!
//! head:   "ETXH" | version u16 | zero u16 | rows u32 | block u32 | length of the files u64 | columns u32
//!         | column × columns | files u32 | file × files | pieces u32 | piece × pieces | checksums
//! column: number u32 | documents with text u64 | their length in tokens u64 | norms: start u64, end u64
//!         | start of the postings u64 | start of the positions u64
//! file:   name | start u64 | end u64
//! piece:  start u64 | bytes
//! checksums: the XXH3-64 of each block of the files, u64 each
//! ```
//! Names of files and bytes are preceded by their length as u64. Positions count from behind the first eight bytes. The pieces
//! are what tantivy reads of the files to open them. Queries fetch the rest in blocks, each verified by its checksum.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::PathBuf;

use tantivy::directory::OwnedBytes;

use super::packed_file::HotPiece;
use crate::codec::{CodecError, Reader, checksum};
use crate::error::{Error, Result};
use crate::index::text::totals::FieldTotals;
use crate::schema::Schema;
use crate::types::ColumnId;

/// The first bytes of a packed file.
pub(super) const FILE_HEADER: [u8; 8] = *b"ETXT\x01\0\0\0";
const HEAD_MAGIC: [u8; 4] = *b"ETXH";
const HEAD_VERSION: u16 = 1;
/// The bytes that are fetched and verified at once.
///
/// A dictionary block and the postings of a rare term take a few KiB. Smaller blocks would need more checksums in the
/// head (8 bytes each: 0.02 % at 32 KiB), larger ones read more for a rare term than it needs.
pub(in crate::index::text) const PACKED_BLOCK_BYTES: usize = 32 << 10;
/// Names the format in errors.
const WHAT: &str = "text head";

/// A decoded head.
pub(super) struct TextHead {
    pub(super) rows: u32,
    /// The bytes of all files.
    pub(super) length: u64,
    /// The text columns in the order of the schema that the segment was written with.
    pub(super) columns: Vec<ColumnHead>,
    pub(super) files: HashMap<PathBuf, Range<usize>>,
    pub(super) hot_pieces: Vec<HotPiece>,
    pub(super) checksums: Vec<u64>,
}

/// Where the parts of a text column lie, and its statistics.
#[derive(Clone, Debug, Default)]
pub(super) struct ColumnHead {
    pub(super) totals: FieldTotals,
    /// The lengths of the rows, one byte each.
    pub(super) norms: Range<u64>,
    /// What the ranges of postings and of positions in the dictionary count from.
    pub(super) postings_base: u64,
    pub(super) positions_base: u64,
}

/// What a head is encoded from.
pub(super) struct HeadParts<'a> {
    pub(super) rows: u32,
    /// All files, one after another.
    pub(super) bytes: &'a [u8],
    pub(super) files: &'a BTreeMap<String, Range<usize>>,
    pub(super) columns: Vec<(ColumnId, &'a ColumnHead)>,
    pub(super) pieces: &'a [Range<usize>],
}

impl HeadParts<'_> {
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let mut out = HEAD_MAGIC.to_vec();
        out.extend(HEAD_VERSION.to_le_bytes());
        out.extend([0; 2]);
        out.extend(self.rows.to_le_bytes());
        put_count(&mut out, PACKED_BLOCK_BYTES)?;
        put_length(&mut out, self.bytes.len());
        put_count(&mut out, self.columns.len())?;
        for (id, column) in &self.columns {
            out.extend(id.0.to_le_bytes());
            let ColumnHead { totals, norms, postings_base, positions_base } = column;
            let FieldTotals { documents, tokens } = totals;
            for number in [documents, tokens, &norms.start, &norms.end, postings_base, positions_base] {
                out.extend(number.to_le_bytes());
            }
        }
        put_count(&mut out, self.files.len())?;
        for (name, range) in self.files {
            put_bytes(&mut out, name.as_bytes());
            put_length(&mut out, range.start);
            put_length(&mut out, range.end);
        }
        put_count(&mut out, self.pieces.len())?;
        for piece in self.pieces {
            put_length(&mut out, piece.start);
            let bytes = self.bytes.get(piece.clone());
            put_bytes(
                &mut out,
                bytes.ok_or_else(|| Error::internal("a piece of a text index is beyond it"))?,
            );
        }
        let blocks = self.bytes.chunks(PACKED_BLOCK_BYTES);
        out.extend(blocks.flat_map(|block| checksum(block).to_le_bytes()));
        Ok(out)
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) -> Result<()> {
    let count = u32::try_from(count).map_err(|_| Error::internal("a count of a text head is too large"))?;
    out.extend(count.to_le_bytes());
    Ok(())
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    out.extend((length as u64).to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_length(out, bytes.len());
    out.extend(bytes);
}

/// The error for a head that cannot be.
pub(super) fn malformed(why: impl std::fmt::Display) -> CodecError {
    CodecError::malformed(WHAT, why)
}

impl TextHead {
    /// Decodes the head of a packed file of `size` bytes. Every position in the result lies within the files.
    pub(super) fn decode(schema: &Schema, size: u64, bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(WHAT, bytes);
        reader.magic(HEAD_MAGIC)?;
        reader.version(HEAD_VERSION)?;
        reader.u16()?;
        let (rows, block_bytes, length) = (reader.u32()?, reader.u32()?, reader.u64()?);
        let is_inside = length.checked_add(FILE_HEADER.len() as u64).is_some_and(|end| end <= size);
        if block_bytes as usize != PACKED_BLOCK_BYTES || !is_inside {
            return Err(malformed("the files are out of bounds"));
        }
        let columns = decode_columns(&mut reader, schema, rows, length)?;
        let files = decode_files(&mut reader, length)?;
        let hot_pieces = decode_pieces(&mut reader, length)?;
        let (checksums, excess) = reader.rest().as_chunks::<8>();
        if !excess.is_empty() || checksums.len() as u64 != length.div_ceil(PACKED_BLOCK_BYTES as u64) {
            return Err(malformed("the wrong number of checksums"));
        }
        let checksums = checksums.iter().map(|checksum| u64::from_le_bytes(*checksum)).collect();
        Ok(Self { rows, length, columns, files, hot_pieces, checksums })
    }
}

fn decode_columns(
    reader: &mut Reader<'_>,
    schema: &Schema,
    rows: u32,
    length: u64,
) -> Result<Vec<ColumnHead>, CodecError> {
    let count = reader.u32()? as usize;
    if count != schema.texts().count() {
        return Err(malformed("the columns are not those of the schema"));
    }
    let mut columns = Vec::new();
    for expected in schema.text_columns() {
        if reader.u32()? != expected.id.0 {
            return Err(malformed("the columns are not those of the schema"));
        }
        let totals = FieldTotals { documents: reader.u64()?, tokens: reader.u64()? };
        let norms = reader.u64()?..reader.u64()?;
        let (postings_base, positions_base) = (reader.u64()?, reader.u64()?);
        let norms_fit = is_within(&norms, length) && norms.end - norms.start == u64::from(rows);
        let bases_fit = postings_base <= length && positions_base <= length;
        if !norms_fit || !bases_fit || totals.documents > u64::from(rows) {
            return Err(malformed("a column is out of bounds"));
        }
        columns.push(ColumnHead { totals, norms, postings_base, positions_base });
    }
    Ok(columns)
}

fn decode_files(reader: &mut Reader<'_>, length: u64) -> Result<HashMap<PathBuf, Range<usize>>, CodecError> {
    let mut files = HashMap::new();
    for _ in 0..reader.u32()? {
        let name = reader.len()?;
        let name =
            std::str::from_utf8(reader.take(name)?).map_err(|_| malformed("a file name is not UTF-8"))?;
        let range = reader.u64()?..reader.u64()?;
        let offsets = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        let (start, end) = offsets
            .filter(|_| is_within(&range, length))
            .ok_or_else(|| malformed("a file is out of bounds"))?;
        files.insert(PathBuf::from(name), start..end);
    }
    Ok(files)
}

fn decode_pieces(reader: &mut Reader<'_>, length: u64) -> Result<Vec<HotPiece>, CodecError> {
    let mut pieces: Vec<HotPiece> = Vec::new();
    for _ in 0..reader.u32()? {
        let start = reader.u64()?;
        let piece = reader.len()?;
        let piece = reader.take(piece)?;
        // They are found by binary search.
        let ascends = pieces.last().is_none_or(|(last, bytes)| last + bytes.len() as u64 <= start);
        if !ascends || start.checked_add(piece.len() as u64).is_none_or(|end| end > length) {
            return Err(malformed("a piece is out of bounds"));
        }
        pieces.push((start, OwnedBytes::new(piece.to_vec())));
    }
    Ok(pieces)
}

fn is_within(range: &Range<u64>, length: u64) -> bool {
    range.start <= range.end && range.end <= length
}
