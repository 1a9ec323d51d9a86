//! The footer of a Parquet file, with the offset indexes before it.
//!
//! The decoder of Parquet checks the length of every list against the bytes that are left, but for that of the pages of
//! an offset index, which it reserves room for as it stands: a few bytes could take 2^31 times 24 of memory. So the
//! numbers of pages are looked at first, as far as Thrift's compact protocol has to be read for that.

use std::ops::Range;

use bytes::Bytes;
use parquet::DecodeResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData, ParquetMetaDataPushDecoder, RowGroupMetaData,
};

use crate::codec::{CodecError, Reader, u64_of};

const WHAT: &str = "offset index";
/// The first field of the struct, a list, in Thrift's compact protocol. What begins otherwise takes the way of the decoder
/// that checks.
const PAGES: u8 = 0x19;
/// A page has three fields of two bytes or more, and an end.
const PAGE_BYTES_MIN: u64 = 7;
/// The length of a list, where it does not fit beside the type of the elements.
const LONG: u8 = 0xf;

/// The footer of a file of `size` bytes, which ends in `bytes`: those from the first offset index on.
pub(super) fn decode_footer(size: u64, bytes: &Bytes) -> Result<ParquetMetaData, ParquetError> {
    let start = size.checked_sub(u64_of(bytes.len()));
    let start =
        start.ok_or_else(|| ParquetError::General("the footer is larger than the file".to_owned()))?;
    let without = ParquetMetaDataPushDecoder::try_new(size)?;
    let footer = run_footer_decoder(without, PageIndexPolicy::Skip, start..size, bytes)?;
    check_offset_indexes(&footer, start, bytes)?;
    let with = ParquetMetaDataPushDecoder::try_new_with_metadata(size, footer)?;
    run_footer_decoder(with, PageIndexPolicy::Required, start..size, bytes)
}

fn run_footer_decoder(
    decoder: ParquetMetaDataPushDecoder,
    offset_indexes: PageIndexPolicy,
    range: Range<u64>,
    bytes: &Bytes,
) -> Result<ParquetMetaData, ParquetError> {
    // Bounds are for other engines: zone maps of this crate are in the manifest and the attribute index.
    let mut decoder =
        decoder.with_column_index_policy(PageIndexPolicy::Skip).with_offset_index_policy(offset_indexes);
    decoder.push_range(range, bytes.clone())?;
    match decoder.try_decode()? {
        DecodeResult::Data(metadata) => Ok(metadata),
        DecodeResult::NeedsData(_) | DecodeResult::Finished => {
            Err(ParquetError::General("the footer is not the end of the file".to_owned()))
        }
    }
}

/// Checks the offset indexes of all columns, which lie in `tail`: the end of a file, from `start` on.
fn check_offset_indexes(metadata: &ParquetMetaData, start: u64, tail: &Bytes) -> Result<(), ParquetError> {
    for column in metadata.row_groups().iter().flat_map(RowGroupMetaData::columns) {
        // What is out of bounds is the decoder's to refuse: it asks for bytes that it is not given.
        let Some(bytes) = find_offset_index(column, start, tail) else { continue };
        check_page_count(bytes).map_err(|e| ParquetError::General(e.to_string()))?;
    }
    Ok(())
}

fn find_offset_index<'a>(column: &ColumnChunkMetaData, start: u64, tail: &'a Bytes) -> Option<&'a [u8]> {
    let offset = u64::try_from(column.offset_index_offset()?).ok()?.checked_sub(start)?;
    let length = u64::try_from(column.offset_index_length()?).ok()?;
    let end = offset.checked_add(length)?;
    tail.get(usize::try_from(offset).ok()?..usize::try_from(end).ok()?)
}

fn check_page_count(bytes: &[u8]) -> Result<(), CodecError> {
    let mut reader = Reader::new(WHAT, bytes);
    let [PAGES, list] = reader.take(2)? else { return Ok(()) };
    let count = match list >> 4 {
        LONG => reader.varint()?,
        count => count.into(),
    };
    if count > u64_of(bytes.len()) / PAGE_BYTES_MIN {
        return Err(CodecError::malformed(WHAT, "more pages than bytes for them"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_pages_are_declared_than_fit() {
        let page = [0x16, 8, 0x15, 60, 0x16, 0, 0];
        let index = |list: &[u8], pages: usize| [&[PAGES][..], list, &page.repeat(pages), &[0]].concat();
        assert!(check_page_count(&index(&[0x3c], 3)).is_ok());
        assert!(check_page_count(&index(&[0xfc, 20], 20)).is_ok());
        for (list, pages) in [
            (&[0x4c][..], 3),
            (&[0xfc, 21], 20),
            (&[0xfc, 0xff, 0xff, 0xff, 0xff, 7], 3),
            (&[0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 3),
            (&[0xfc, 0xff], 0),
        ] {
            assert!(check_page_count(&index(list, pages)).is_err(), "{list:?}");
        }
        assert!(check_page_count(&[]).is_err());
    }
}
