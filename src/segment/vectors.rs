//! Exact vectors of a column: a row is read by itself and checked by itself.
//!
//! ```text
//! header, 64 bytes | records of the index | zeros up to 64 bytes | row × rows | head | index
//!
//! head:   header again, then the null rows as a portable roaring bitmap
//! index:  see `crate::index::vector`; both are found by the meta of the segment
//!
//! header: "EVEC" | version u16 | element u16 | dimension u32 | rows u32 | stride u32 | zero u32
//!         | offset of the rows u64 | offset of the head u64 | length of the head u64 | zeros
//! row:    components, little-endian | zeros up to 4 bytes | checksum of the row u32
//! ```
//! The checksum of a row is the low 32 bits of the XXH3-64 of its components, xor (seed + row). The seed is the low
//! 32 bits of the XXH3-64 of the segment's name and the column's, so a row that lies where another belongs, in
//! this file or another, is noticed as surely as a damaged one. A null row is all zeros before its checksum.
//! The head lies behind the rows, so that they are written as they come; the meta of the segment says where.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, Float16Array, Float32Array, Int8Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{ArrowPrimitiveType, DataType, Float16Type, Float32Type, Int8Type};
use bytes::Bytes;
use half::f16;
use roaring::RoaringBitmap;

use super::compute;
use super::meta::{FileMeta, FileSection};
use crate::cache::{Blob, Span};
use crate::codec::{CodecError, Reader, checksum, put_len_u32, rows_bitmap, usize_of};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::schema::VectorColumn;
use crate::types::{SegmentId, VectorType};

const WHAT: &str = "vectors";
const MAGIC: [u8; 4] = *b"EVEC";
const VERSION: u16 = 1;
const HEADER: usize = 64;
/// Where the records of the index lie, if there is one.
pub(super) const RECORDS_START: u64 = HEADER as u64;
/// What a head with few nulls and an index of some hundred clusters take, behind the vectors.
const TAIL: usize = 64 << 10;

/// The section that a reader needs first.
pub(super) const HEAD: &str = "head";
/// Where the records of the index lie, if there is one.
pub(super) const INDEX: &str = "index";

/// Encodes the vectors of a column as they come.
#[derive(Debug)]
pub(super) struct ExactVectorsBuilder {
    shape: VectorColumn,
    seed: u32,
    bytes: Vec<u8>,
    /// Where the first vector lies.
    base: u64,
    nulls: RoaringBitmap,
    rows: u32,
}

impl ExactVectorsBuilder {
    /// `seed` is that of [`row_checksum_seed`], `records` those of the index; memory is set aside for so many rows.
    pub(super) fn new(shape: VectorColumn, seed: u32, rows: u32, mut records: Vec<u8>) -> Self {
        records.reserve_exact(HEADER + rows as usize * row_stride(shape) + TAIL);
        records.splice(..0, [0; HEADER]);
        records.resize(records.len().next_multiple_of(HEADER), 0);
        Self { shape, seed, base: records.len() as u64, bytes: records, nulls: RoaringBitmap::new(), rows: 0 }
    }

    /// Adds rows: an array of the column's Arrow type.
    pub(super) fn push(&mut self, array: &ArrayRef) -> Result<()> {
        let list = array.as_fixed_size_list_opt().filter(|list| *list.data_type() == self.shape.arrow_type());
        let list = list.ok_or_else(|| Error::internal("vectors are not of the type of their column"))?;
        let width = self.shape.dimension * self.shape.element.size();
        let components = little_endian_components(list, self.shape.element);
        for (row, components) in components.chunks_exact(width).take(list.len()).enumerate() {
            let start = self.bytes.len();
            if list.is_null(row) {
                self.nulls.insert(self.rows);
                self.bytes.resize(start + width, 0);
            } else {
                self.bytes.extend_from_slice(components);
            }
            let checksum = row_checksum(self.seed, self.rows, self.bytes.get(start..).unwrap_or_default());
            self.bytes.resize(start + row_stride(self.shape) - 4, 0);
            self.bytes.extend(checksum);
            self.rows += 1;
        }
        Ok(())
    }

    /// The file, with the section of its index.
    pub(super) fn finish(mut self, index: Option<Vec<u8>>) -> Result<(Bytes, FileMeta)> {
        let offset = self.bytes.len() as u64;
        let length = (HEADER + self.nulls.serialized_size()) as u64;
        let header = self.encode_header(offset, length)?;
        let mut head = header.clone();
        self.nulls.serialize_into(&mut head).map_err(|e| Error::internal(format!("roaring: {e}")))?;
        self.bytes.splice(..HEADER, header);
        self.bytes.extend(&head);
        let section = FileSection { offset, length, checksum: checksum(&head) };
        let mut sections = BTreeMap::from([(HEAD.to_owned(), section)]);
        if let Some(index) = index {
            let (offset, length) = (self.bytes.len() as u64, index.len() as u64);
            sections.insert(INDEX.to_owned(), FileSection { offset, length, checksum: checksum(&index) });
            self.bytes.extend(index);
        }
        let meta = FileMeta { size: self.bytes.len() as u64, sections };
        Ok((self.bytes.into(), meta))
    }

    fn encode_header(&self, head: u64, head_length: u64) -> Result<Vec<u8>> {
        let mut header = Vec::with_capacity(HEADER);
        header.extend(MAGIC);
        header.extend(VERSION.to_le_bytes());
        header.extend(element_code(self.shape.element).to_le_bytes());
        for number in [self.shape.dimension, usize_of(self.rows), row_stride(self.shape), 0] {
            put_len_u32(&mut header, number)?;
        }
        for number in [self.base, head, head_length] {
            header.extend(number.to_le_bytes());
        }
        header.resize(HEADER, 0);
        Ok(header)
    }
}

fn element_code(element: VectorType) -> u16 {
    match element {
        VectorType::F32 => 1,
        VectorType::F16 => 2,
        VectorType::I8 => 3,
    }
}

/// The bytes of a row: components, padding, checksum.
fn row_stride(shape: VectorColumn) -> usize {
    (shape.dimension * shape.element.size()).next_multiple_of(4) + 4
}

/// What ties rows to the segment and the column they are of.
pub(super) fn row_checksum_seed(segment: SegmentId, column: &str) -> u32 {
    low_checksum(format!("{segment} {column}").as_bytes())
}

fn row_checksum(seed: u32, row: u32, components: &[u8]) -> [u8; 4] {
    (low_checksum(components) ^ seed.wrapping_add(row)).to_le_bytes()
}

#[expect(clippy::cast_possible_truncation, reason = "the low bits are what is kept")]
fn low_checksum(bytes: &[u8]) -> u32 {
    checksum(bytes) as u32
}

/// The components of all rows of an array, little-endian.
fn little_endian_components(list: &FixedSizeListArray, element: VectorType) -> Cow<'_, [u8]> {
    fn bytes<T: ArrowPrimitiveType, const N: usize>(
        values: &ArrayRef,
        bytes: impl Fn(T::Native) -> [u8; N],
    ) -> Cow<'_, [u8]> {
        let values = values.as_primitive::<T>().values();
        if cfg!(target_endian = "little") {
            return values.inner().as_slice().into();
        }
        values.iter().flat_map(|x| bytes(*x)).collect()
    }
    match element {
        VectorType::F32 => bytes::<Float32Type, 4>(list.values(), f32::to_le_bytes),
        VectorType::F16 => bytes::<Float16Type, 2>(list.values(), f16::to_le_bytes),
        VectorType::I8 => bytes::<Int8Type, 1>(list.values(), i8::to_le_bytes),
    }
}

/// The vectors of a column.
#[derive(Clone, Debug)]
pub(super) struct ExactVectors {
    blob: Blob,
    shape: VectorColumn,
    seed: u32,
    rows: u32,
    base: u64,
    nulls: Arc<RoaringBitmap>,
}

impl ExactVectors {
    /// Reads a head, which must be that of `rows` rows of `shape`. `seed` is that of [`row_checksum_seed`].
    pub(super) fn decode(
        blob: Blob,
        shape: VectorColumn,
        seed: u32,
        rows: u32,
        head: &[u8],
    ) -> Result<Self, CodecError> {
        let mut reader = Reader::new(WHAT, head);
        let mut header = Reader::new(WHAT, reader.take(HEADER)?);
        header.magic(MAGIC)?;
        header.version(VERSION)?;
        let found = (header.u16()?, header.u32()? as usize, header.u32()?, header.u32()? as usize);
        if found != (element_code(shape.element), shape.dimension, rows, row_stride(shape)) {
            return Err(CodecError::malformed(WHAT, "the header is not of this column and segment"));
        }
        header.u32()?;
        let base = header.u64()?;
        let length = u64::from(rows) * row_stride(shape) as u64;
        if base.checked_add(length).is_none_or(|end| end > blob.size()) {
            return Err(CodecError::Truncated { what: WHAT });
        }
        let nulls = rows_bitmap(WHAT, reader.rest(), rows)?;
        Ok(Self { blob, shape, seed, rows, base, nulls: Arc::new(nulls) })
    }

    /// How many rows have one.
    pub(super) fn count(&self) -> u32 {
        self.rows - u32::try_from(self.nulls.len()).unwrap_or(self.rows)
    }

    /// The rows without a vector.
    pub(super) fn nulls(&self) -> &RoaringBitmap {
        &self.nulls
    }

    /// The vectors of a run of rows, in one request.
    pub(super) async fn fetch_range(&self, env: &Env, rows: Range<u32>) -> Result<ArrayRef> {
        self.fetch_runs(env, vec![rows]).await
    }

    /// The vectors of `rows`, in one round trip.
    pub(super) async fn fetch(&self, env: &Env, rows: &RoaringBitmap) -> Result<ArrayRef> {
        self.fetch_runs(env, row_runs(rows)).await
    }

    async fn fetch_runs(&self, env: &Env, runs: Vec<Range<u32>>) -> Result<ArrayRef> {
        if runs.iter().any(|run| run.end > self.rows) {
            return Err(Error::internal("vectors of rows that are not"));
        }
        let stride = row_stride(self.shape) as u64;
        let at = |row: u32| self.base + u64::from(row) * stride;
        let spans: Vec<Span> = runs.iter().map(|run| (at(run.start)..at(run.end)).into()).collect();
        let runs: Arc<[Range<u32>]> = runs.into();
        let decode = |bytes: Vec<Bytes>| {
            // In units of a small vector.
            let items = bytes.iter().map(Bytes::len).sum::<usize>() / 64;
            let (this, runs) = (self.clone(), Arc::clone(&runs));
            let array = compute(env, items, move || this.decode_runs(&runs, &bytes));
            async { array.await?.map_err(|e| e.at(self.blob.key())) }
        };
        self.blob.read_decoded(&spans, decode).await
    }

    /// Checks the rows and makes them an array.
    fn decode_runs(&self, runs: &[Range<u32>], bytes: &[Bytes]) -> Result<ArrayRef, CodecError> {
        let stride = row_stride(self.shape);
        let expected = runs.iter().map(|run| run.len() * stride);
        if !expected.eq(bytes.iter().map(Bytes::len)) {
            return Err(CodecError::Truncated { what: WHAT });
        }
        let rows = || bytes.iter().flat_map(|run| run.chunks_exact(stride));
        let width = self.shape.dimension * self.shape.element.size();
        let sound = |(at, row): (u32, &[u8])| {
            row.get(..width).map(|components| row_checksum(self.seed, at, components)).as_ref()
                == row.last_chunk()
        };
        if !runs.iter().cloned().flatten().zip(rows()).all(sound) {
            return Err(CodecError::Checksum { what: WHAT });
        }
        let count = rows().count();
        let values = self.decode_components(rows().filter_map(|row| row.get(..width)), count);
        let valid: Vec<bool> = runs.iter().cloned().flatten().map(|row| !self.nulls.contains(row)).collect();
        let nulls = Some(NullBuffer::from(valid)).filter(|nulls| nulls.null_count() > 0);
        let DataType::FixedSizeList(field, dimension) = self.shape.arrow_type() else {
            return Err(CodecError::malformed(WHAT, "not a list"));
        };
        let list = FixedSizeListArray::try_new(field, dimension, values, nulls);
        list.map(|list| Arc::new(list) as ArrayRef).map_err(|e| CodecError::malformed(WHAT, e))
    }

    fn decode_components<'a>(&self, rows: impl Iterator<Item = &'a [u8]>, count: usize) -> ArrayRef {
        let capacity = count * self.shape.dimension;
        match self.shape.element {
            VectorType::F32 => {
                let mut values = Vec::with_capacity(capacity);
                rows.for_each(|row| values.extend(row.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b))));
                Arc::new(Float32Array::from(values))
            }
            VectorType::F16 => {
                let mut values = Vec::with_capacity(capacity);
                rows.for_each(|row| values.extend(row.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b))));
                Arc::new(Float16Array::from(values))
            }
            VectorType::I8 => {
                let mut values = Vec::with_capacity(capacity);
                rows.for_each(|row| values.extend(row.iter().map(|b| i8::from_le_bytes([*b]))));
                Arc::new(Int8Array::from(values))
            }
        }
    }
}

/// The runs of consecutive rows of a bitmap.
pub(super) fn row_runs(rows: &RoaringBitmap) -> Vec<Range<u32>> {
    let mut runs: Vec<Range<u32>> = Vec::new();
    for row in rows {
        match runs.last_mut() {
            Some(run) if run.end == row => run.end += 1,
            _ => runs.push(row..row.saturating_add(1)),
        }
    }
    runs
}
