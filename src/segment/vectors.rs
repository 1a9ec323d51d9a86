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
//! 32 bits of the XXH3-64 of the segment's name and the column's, so a row in the place of another, of
//! this file or another, is detected as surely as a damaged row. A null row is all zeros before its checksum.
//! The head is behind the rows, so that they are written as they come; the meta of the segment locates it.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, Float16Array, Float32Array, Int8Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{ArrowPrimitiveType, DataType, Float16Type, Float32Type, Int8Type};
use bytes::Bytes;
use half::f16;
use roaring::RoaringBitmap;

use super::sections::{BuiltFile, HEAD, INDEX, SectionFileBuilder};
use crate::cache::{Blob, Span};
use crate::codec::{CodecError, Reader, checksum, put_bitmap, put_len_u32, rows_bitmap, u64_of, usize_of};
use crate::env::{Cost, Env};
use crate::error::{Error, Result};
use crate::schema::VectorColumn;
use crate::types::{ObjectId, VectorType};

const WHAT: &str = "vectors";
const MAGIC: [u8; 4] = *b"EVEC";
const VERSION: u16 = 1;
/// A cache line: records and rows begin at multiples of it.
const HEADER_BYTES: usize = 64;
/// Where the records of the index begin, if there is one.
pub(super) const RECORDS_START: u64 = HEADER_BYTES as u64;
/// What a head with few nulls and an index of some hundred clusters take, behind the vectors. Reserved with the rows: a
/// vector that grew at the end would copy the whole file once more.
const TAIL_BYTES: usize = 64 << 10;

/// Encodes the vectors of a column as they come.
#[derive(Debug)]
pub(super) struct ExactVectorsBuilder {
    shape: VectorColumn,
    seed: u32,
    bytes: Vec<u8>,
    /// The offset of the first row.
    base: u64,
    nulls: RoaringBitmap,
    rows: u32,
}

impl ExactVectorsBuilder {
    /// `seed` is that of [`row_checksum_seed`], `records` those of the index; memory is reserved for `rows` rows.
    pub(super) fn new(shape: VectorColumn, seed: u32, rows: u32, mut records: Vec<u8>) -> Self {
        records.reserve_exact(HEADER_BYTES + usize_of(rows) * row_stride(shape) + TAIL_BYTES);
        records.splice(..0, [0; HEADER_BYTES]);
        records.resize(records.len().next_multiple_of(HEADER_BYTES), 0);
        Self {
            shape,
            seed,
            base: u64_of(records.len()),
            bytes: records,
            nulls: RoaringBitmap::new(),
            rows: 0,
        }
    }

    /// Adds rows: an array of the column's Arrow type.
    pub(super) fn push_array(&mut self, array: &ArrayRef) -> Result<()> {
        let list = array.as_fixed_size_list_opt().filter(|list| *list.data_type() == self.shape.arrow_type());
        let list = list.ok_or_else(|| Error::internal("vectors are not of the type of their column"))?;
        let width = self.vector_bytes();
        let components = little_endian_components(list, self.shape.element);
        let components = components.get(..list.len() * width);
        let components = components.ok_or_else(|| Error::internal("a list of vectors ends early"))?;
        // What stands under a null is anything. Zeros make equal rows equal files.
        let null = vec![0; width];
        for (at, vector) in components.chunks_exact(width).enumerate() {
            let is_null = list.is_null(at);
            if is_null {
                self.nulls.insert(self.rows);
            }
            let vector = if is_null { null.as_slice() } else { vector };
            let end = self.bytes.len() + row_stride(self.shape);
            self.bytes.extend_from_slice(vector);
            self.bytes.resize(end - ROW_CHECKSUM_BYTES, 0);
            self.bytes.extend(row_checksum(self.seed, self.rows, vector));
            self.rows += 1;
        }
        Ok(())
    }

    fn vector_bytes(&self) -> usize {
        self.shape.dimension * self.shape.element.size()
    }

    /// The file, with the section of its index.
    pub(super) fn finish(mut self, index: Option<&[u8]>) -> Result<BuiltFile> {
        let length = HEADER_BYTES + self.nulls.serialized_size();
        let header = self.encode_header(u64_of(self.bytes.len()), u64_of(length))?;
        let mut head = header.clone();
        put_bitmap(&mut head, &self.nulls)?;
        // Only now are the numbers of rows and of nulls known: the header was reserved with zeros.
        self.bytes.splice(..HEADER_BYTES, header);
        let mut file = SectionFileBuilder::new(self.bytes);
        file.push_section(HEAD, &head)?;
        if let Some(index) = index {
            file.push_section(INDEX, index)?;
        }
        Ok(file.finish())
    }

    fn encode_header(&self, head: u64, head_length: u64) -> Result<Vec<u8>> {
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend(MAGIC);
        header.extend(VERSION.to_le_bytes());
        header.extend(element_code(self.shape.element).to_le_bytes());
        for number in [self.shape.dimension, usize_of(self.rows), row_stride(self.shape), 0] {
            put_len_u32(&mut header, number)?;
        }
        for number in [self.base, head, head_length] {
            header.extend(number.to_le_bytes());
        }
        header.resize(HEADER_BYTES, 0);
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

/// Half a checksum: with the seed and the row in it, a wrong row passes once in four billion, and eight bytes would be
/// a hundredth of a vector of 200 dimensions.
const ROW_CHECKSUM_BYTES: usize = 4;

/// The bytes of a row: components, padding, checksum.
fn row_stride(shape: VectorColumn) -> usize {
    (shape.dimension * shape.element.size()).next_multiple_of(4) + ROW_CHECKSUM_BYTES
}

/// Ties rows to the segment and the column they are of.
pub(super) fn row_checksum_seed(segment: ObjectId, column: &str) -> u32 {
    low_checksum(format!("{segment} {column}").as_bytes())
}

fn row_checksum(seed: u32, row: u32, components: &[u8]) -> [u8; 4] {
    (low_checksum(components) ^ seed.wrapping_add(row)).to_le_bytes()
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is stored")]
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
        // The buffer of Arrow is the encoding already, on every processor that matters.
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

/// The exact vectors of a column: its nulls in memory, its rows on the store.
#[derive(Clone, Debug)]
pub(super) struct ExactVectors {
    blob: Blob,
    shape: VectorColumn,
    seed: u32,
    rows: u32,
    /// Rows that have a vector.
    count: u32,
    /// The offset of the first row.
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
        let mut header = Reader::new(WHAT, reader.take(HEADER_BYTES)?);
        header.magic(MAGIC)?;
        header.version(VERSION)?;
        let (element, dimension) = (header.u16()?, usize_of(header.u32()?));
        let (found_rows, stride) = (header.u32()?, usize_of(header.u32()?));
        let same_shape = element == element_code(shape.element) && dimension == shape.dimension;
        if !same_shape || found_rows != rows || stride != row_stride(shape) {
            return Err(CodecError::malformed(WHAT, "the header is not of this column and segment"));
        }
        header.u32()?;
        let base = header.u64()?;
        let length = u64::from(rows) * u64_of(stride);
        if base.checked_add(length).is_none_or(|end| end > blob.size()) {
            return Err(CodecError::Truncated { what: WHAT });
        }
        // It has no row beyond the last, and so no more than there are rows.
        let nulls = rows_bitmap(WHAT, reader.rest(), rows)?;
        let count = u32::try_from(nulls.len()).ok().and_then(|nulls| rows.checked_sub(nulls));
        let count = count.ok_or_else(|| CodecError::malformed(WHAT, "more nulls than rows"))?;
        Ok(Self { blob, shape, seed, rows, count, base, nulls: Arc::new(nulls) })
    }

    /// How many rows have a vector.
    pub(super) fn count(&self) -> u32 {
        self.count
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
            return Err(Error::internal("vectors of rows that the segment does not have"));
        }
        let stride = u64_of(row_stride(self.shape));
        let at = |row: u32| self.base + u64::from(row) * stride;
        // Without checksums of the spans: which rows are read together is not known when the file is written.
        let spans: Vec<Span> = runs.iter().map(|run| (at(run.start)..at(run.end)).into()).collect();
        let runs: Arc<[Range<u32>]> = runs.into();
        let decode = |bytes: Vec<Bytes>| {
            let cost = Cost::vector_bytes(bytes.iter().map(Bytes::len).sum());
            let (this, runs) = (self.clone(), Arc::clone(&runs));
            let array = env.compute(cost, move || this.decode_runs(&runs, &bytes));
            async { array.await?.map_err(|e| e.at(self.blob.key())) }
        };
        self.blob.read_decoded(&spans, decode).await
    }

    /// Checks the rows and makes them an array.
    fn decode_runs(&self, runs: &[Range<u32>], bytes: &[Bytes]) -> Result<ArrayRef, CodecError> {
        let (stride, width) = (row_stride(self.shape), self.shape.dimension * self.shape.element.size());
        let expected = runs.iter().map(|run| run.len() * stride);
        if !expected.eq(bytes.iter().map(Bytes::len)) {
            return Err(CodecError::Truncated { what: WHAT });
        }
        let rows = || runs.iter().cloned().flatten();
        // Every run has the bytes of its rows, so the two iterators end together.
        let encoded = bytes.iter().flat_map(|run| run.chunks_exact(stride));
        let mut vectors = Vec::with_capacity(runs.iter().map(ExactSizeIterator::len).sum());
        for (row, encoded) in rows().zip(encoded) {
            let (Some(vector), Some(checksum)) = (encoded.get(..width), encoded.last_chunk()) else {
                return Err(CodecError::Truncated { what: WHAT });
            };
            // Spans have no checksums of their own: each row is checked here, whatever run it was read with.
            if *checksum != row_checksum(self.seed, row, vector) {
                return Err(CodecError::Checksum { what: WHAT });
            }
            vectors.push(vector);
        }
        let values = self.decode_components(&vectors);
        let valid: Vec<bool> = rows().map(|row| !self.nulls.contains(row)).collect();
        let nulls = Some(NullBuffer::from(valid)).filter(|nulls| nulls.null_count() > 0);
        let DataType::FixedSizeList(field, dimension) = self.shape.arrow_type() else {
            return Err(CodecError::malformed(WHAT, "not a list"));
        };
        let list = FixedSizeListArray::try_new(field, dimension, values, nulls);
        list.map(|list| Arc::new(list) as ArrayRef).map_err(|e| CodecError::malformed(WHAT, e))
    }

    /// The components of vectors, one behind the other.
    fn decode_components(&self, vectors: &[&[u8]]) -> ArrayRef {
        let capacity = vectors.len() * self.shape.dimension;
        // The width of a vector is a multiple of that of a component, so that chunks leave nothing over.
        match self.shape.element {
            VectorType::F32 => {
                let mut values = Vec::with_capacity(capacity);
                for vector in vectors {
                    values.extend(vector.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
                }
                Arc::new(Float32Array::from(values))
            }
            VectorType::F16 => {
                let mut values = Vec::with_capacity(capacity);
                for vector in vectors {
                    values.extend(vector.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes)));
                }
                Arc::new(Float16Array::from(values))
            }
            VectorType::I8 => {
                let mut values = Vec::with_capacity(capacity);
                for vector in vectors {
                    values.extend(vector.iter().map(|byte| i8::from_le_bytes([*byte])));
                }
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
