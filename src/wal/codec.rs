//! Bytes of a log entry.
//!
//! ```text
//!   0  4  magic "EWAL"         12  4  for writers      40 16  batch             96  8  length of extension
//!   4  2  version (1)          16 16  incarnation      56 16  previous batch   104  8  length of rows
//!   6  2  kind                 32  8  sequence         72 16  writer           112  8  length of deletes
//!   8  4  features: for readers                        88  8  created, Unix ms
//! 120 ..  extension (JSON, padded), rows, deletes (Arrow IPC streams)
//!  ..  8  XXH3-64 of all before
//! ```
//!
//! Rows are Arrow IPC and not the format of segments: a writer copies buffers, and a reader uses the arrays in place. An
//! entry is read a few times and flushed soon, so it is written for speed, and has no index.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::root_as_message;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::entry::{EntryBody, EntryHead, EntryKind, LogEntry, SegmentLink};
use crate::codec::{
    CodecError, FeatureUser, Reader, TRAILER_BYTES, check_feature_bits, check_trailer, guarded, push_trailer,
    u64_of,
};
use crate::error::{Error, OrInternal, Result};
use crate::schema::{Ids, Schema, SchemaVersions};
use crate::types::{IdKind, Sequence, TokenRecord, packed_tokens};

const WHAT: &str = "log entry";
const MAGIC: [u8; 4] = *b"EWAL";
const VERSION: u16 = 1;
const HEAD: usize = 120;
/// No entry is larger: every reader has to fetch it whole. Many rows are written as a segment, which the entry links.
pub(super) const ENTRY_BYTES_MAX: u64 = 128 << 20;
/// Rows begin at a multiple of this, the alignment of Arrow's buffers: arrays are used in the bytes as they were fetched,
/// and are copied only where these are not aligned.
const ALIGN: usize = 64;
/// What each message of an Arrow IPC stream begins with.
const MARK: [u8; 4] = [0xff; 4];

/// What an entry holds besides rows and deletes.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Extension {
    /// The version of the schema that the rows were written with.
    schema: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "packed_tokens")]
    tokens: Vec<TokenRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    segments: Vec<SegmentLink>,
}

impl Extension {
    /// Reads an extension, and finds the schema it names.
    fn decode<'a>(schemas: &'a SchemaVersions, bytes: &[u8]) -> Result<(Self, &'a Arc<Schema>), CodecError> {
        // First what it requires of a reader: what belongs to a later schema may be of another shape, and must be
        // reported as newer, not as damaged.
        #[derive(Deserialize)]
        struct RequiredSchema {
            schema: u32,
        }
        let malformed = |e: serde_json::Error| CodecError::malformed(WHAT, e);
        let RequiredSchema { schema } = serde_json::from_slice(bytes).map_err(malformed)?;
        let unknown = || CodecError::feature(WHAT, FeatureUser::Readers, [format!("schema {schema}")]);
        let written = schemas.find_version(schema).ok_or_else(unknown)?;
        Ok((serde_json::from_slice(bytes).map_err(malformed)?, written))
    }
}

/// The object of an entry.
pub(crate) fn encode_entry(schema: &Schema, head: EntryHead, body: &EntryBody) -> Result<Bytes> {
    let extension =
        Extension { schema: schema.version(), tokens: body.tokens.clone(), segments: body.segments.clone() };
    let mut bytes = vec![0; HEAD];
    serde_json::to_writer(&mut bytes, &extension).map_err(|e| Error::internal(e.to_string()))?;
    // Padded with blanks, which JSON allows at its end.
    bytes.resize(bytes.len().next_multiple_of(ALIGN), b' ');
    let extension = bytes.len() - HEAD;
    write_ipc(&mut bytes, &body.rows)?;
    let rows = bytes.len() - HEAD - extension;
    if !body.deletes.is_empty() {
        let ids = Ids::build_array(schema.id(), &body.deletes)?;
        write_ipc(
            &mut bytes,
            &RecordBatch::try_new(schema.arrow_projection(|_| false), vec![ids]).or_internal()?,
        )?;
    }
    let deletes = bytes.len() - HEAD - extension - rows;
    // Checked here at last, though limits on batches keep entries smaller: no reader would take a larger one, and a log
    // with one could not be read beyond it.
    if u64_of(bytes.len() + TRAILER_BYTES) > ENTRY_BYTES_MAX {
        let size = bytes.len();
        return Err(Error::limit(format!(
            "the batch makes a log entry of {size} bytes, of at most {ENTRY_BYTES_MAX}"
        )));
    }
    // The head comes last, as it names the lengths of what lies behind it.
    bytes.splice(..HEAD, encode_head(head, [extension, rows, deletes]));
    push_trailer(&mut bytes);
    Ok(bytes.into())
}

/// The fixed part of an entry; `lengths` are those of its extension, rows and deletes.
fn encode_head(head: EntryHead, lengths: [usize; 3]) -> Vec<u8> {
    let mut fixed = Vec::with_capacity(HEAD);
    fixed.extend(MAGIC);
    fixed.extend(VERSION.to_le_bytes());
    fixed.extend(match head.kind {
        EntryKind::Data => 1u16.to_le_bytes(),
        EntryKind::Seal => 3u16.to_le_bytes(),
    });
    // What it requires of readers: nothing yet.
    fixed.extend([0; 4]);
    fixed.extend(head.write_features.to_le_bytes());
    fixed.extend(head.incarnation.as_bytes());
    fixed.extend(head.sequence.0.to_le_bytes());
    for id in [head.batch, head.previous, head.writer] {
        fixed.extend(id.as_bytes());
    }
    fixed.extend(head.created_ms.to_le_bytes());
    for length in lengths {
        fixed.extend(u64_of(length).to_le_bytes());
    }
    fixed
}

fn write_ipc(bytes: &mut Vec<u8>, batch: &RecordBatch) -> Result<()> {
    let mut writer = StreamWriter::try_new(bytes, batch.schema_ref()).or_internal()?;
    if batch.num_rows() > 0 {
        writer.write(batch).or_internal()?;
    }
    writer.finish().or_internal()
}

impl LogEntry {
    /// Reads an entry, whose rows are returned in the layout of the current schema. The checksum is checked before
    /// anything else looks at the bytes.
    pub(crate) fn decode(schemas: &SchemaVersions, object: &Bytes) -> Result<Self, CodecError> {
        let mut reader = Reader::new(WHAT, object);
        reader.magic(MAGIC)?;
        reader.version(VERSION)?;
        if object.len() < HEAD + TRAILER_BYTES {
            return Err(CodecError::Truncated { what: WHAT });
        }
        let (bytes, _) = check_trailer(WHAT, object)?;
        let (head, lengths) = decode_head(&mut reader)?;
        let mut offset = HEAD;
        let mut take_section = |length: u64| {
            let end = usize::try_from(length).ok().and_then(|length| offset.checked_add(length));
            let end = end.filter(|end| *end <= bytes.len()).ok_or(CodecError::Truncated { what: WHAT })?;
            let section = object.slice(offset..end);
            offset = end;
            Ok(section)
        };
        let [extension, rows, deletes] = lengths.map(&mut take_section);
        // Bytes that no section covers could be a section of a later format, and must not be ignored.
        if offset != bytes.len() {
            return Err(CodecError::malformed(WHAT, "bytes left over"));
        }
        let (extension, written) = Extension::decode(schemas, &extension?)?;
        let schema = schemas.current();
        let rows = schema.adapt_rows(written, read_ipc(&rows?, &written.arrow())?);
        let rows = rows.map_err(|e| CodecError::malformed(WHAT, e))?;
        let deletes = deletes?;
        let deletes = if deletes.is_empty() {
            Vec::new()
        } else {
            sorted_ids(schema.id(), &read_ipc(&deletes, &schema.arrow_projection(|_| false))?)?.to_vec()
        };
        // Checked here once: lookups in the memtable are binary searches.
        sorted_ids(schema.id(), &rows)?;
        let body = EntryBody { rows, deletes, segments: extension.segments, tokens: extension.tokens };
        Ok(Self { head, body })
    }
}

fn decode_head(reader: &mut Reader<'_>) -> Result<(EntryHead, [u64; 3]), CodecError> {
    let kind = match reader.u16()? {
        1 => EntryKind::Data,
        3 => EntryKind::Seal,
        other => {
            return Err(CodecError::feature(WHAT, FeatureUser::Readers, [format!("kind {other}")]));
        }
    };
    check_feature_bits(WHAT, FeatureUser::Readers, reader.u32()?)?;
    let head = EntryHead {
        kind,
        write_features: reader.u32()?,
        incarnation: reader.uuid()?,
        sequence: Sequence(reader.u64()?),
        batch: reader.uuid()?,
        previous: reader.uuid()?,
        writer: reader.uuid()?,
        created_ms: reader.i64()?,
    };
    Ok((head, [reader.u64()?, reader.u64()?, reader.u64()?]))
}

/// Reads an IPC stream of at most one batch in the given layout. The parser may panic on bytes that were
/// forged with a right checksum: that too is an error here.
fn read_ipc(bytes: &Bytes, layout: &SchemaRef) -> Result<RecordBatch, CodecError> {
    let read = guarded(|| {
        let mut decoder = StreamDecoder::new();
        let mut buffer = Buffer::from(bytes.clone());
        // The schema's message alone, and its check, before anything is built from what follows: a batch of another layout
        // could make the parser allocate whatever it asks for. The mark of the next message is with it, for the decoder
        // handles a message only when it sees that.
        let schema_end = message_len(bytes)?;
        let mut first = buffer.slice_with_length(0, (schema_end + MARK.len()).min(bytes.len()));
        buffer.advance(first.len());
        let early = decoder.decode(&mut first)?;
        let schema = decoder.schema();
        if early.is_some() || schema.is_none_or(|schema| schema.fields() != layout.fields()) {
            return Err(ArrowError::SchemaError("another layout than the schema's".into()));
        }
        let mut unchecked = bytes.slice(schema_end..);
        while !unchecked.is_empty() {
            unchecked = unchecked.split_off(message_len(&unchecked)?);
        }
        let mut batch = None;
        while !buffer.is_empty() {
            if let Some(read) = decoder.decode(&mut buffer)?
                && batch.replace(read).is_some()
            {
                return Err(ArrowError::IpcError("more than one batch".into()));
            }
        }
        decoder.finish()?;
        let batch = batch.unwrap_or_else(|| RecordBatch::new_empty(Arc::clone(layout)));
        RecordBatch::try_new(Arc::clone(layout), batch.columns().to_vec())
    });
    read.unwrap_or_else(|| Err(ArrowError::IpcError("the parser panicked".into())))
        .map_err(|e| CodecError::malformed(WHAT, e))
}

/// The length of the first message of a stream: a mark, the length of its head, the head, and the body. The end of the
/// stream is one without a head.
// The parser reserves what a message declares before it sees that the stream ends.
fn message_len(stream: &[u8]) -> Result<usize, ArrowError> {
    let cut = || ArrowError::IpcError("a message is cut".into());
    let rest = stream.strip_prefix(&MARK).ok_or_else(cut)?;
    let (length, rest) = rest.split_first_chunk().ok_or_else(cut)?;
    let length = usize::try_from(i32::from_le_bytes(*length)).map_err(|_| cut())?;
    let (head, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
    if head.is_empty() {
        return Ok(stream.len() - rest.len());
    }
    let message = root_as_message(head).map_err(|e| ArrowError::ParseError(e.to_string()))?;
    let body = usize::try_from(message.bodyLength()).ok().filter(|body| *body <= rest.len());
    Ok(stream.len() - rest.len() + body.ok_or_else(cut)?)
}

/// The ids of a batch, which must be in ascending order.
fn sorted_ids(kind: IdKind, batch: &RecordBatch) -> Result<Ids, CodecError> {
    let ids = Ids::from_batch(kind, batch).map_err(|e| CodecError::malformed(WHAT, e))?;
    if !ids.is_ascending() {
        return Err(CodecError::malformed(WHAT, "ids are not in ascending order"));
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::schema::AttributeType;
    use crate::types::{Document, Metric, VectorType, WriteReceipt};

    fn schema() -> Schema {
        let builder = Schema::builder(IdKind::String).attribute("a", AttributeType::StringArray);
        builder.vector("v", VectorType::F32, 2, Metric::Dot).build().unwrap()
    }

    fn entry() -> (EntryHead, EntryBody) {
        let documents =
            [Document::new("a").with("a", vec!["x", "y"]), Document::new("b").with("v", vec![1.0, 2.0])];
        let head = EntryHead {
            kind: EntryKind::Data,
            write_features: 0,
            incarnation: Uuid::from_u128(1),
            sequence: Sequence(7),
            batch: Uuid::from_u128(2),
            previous: Uuid::from_u128(3),
            writer: Uuid::from_u128(4),
            created_ms: 5,
        };
        let receipt = WriteReceipt { sequence: Sequence(7), upserted: 2, ..WriteReceipt::default() };
        let body = EntryBody {
            rows: schema().to_batch(&documents).unwrap(),
            deletes: vec!["c".into(), "d".into()],
            segments: Vec::new(),
            tokens: vec![TokenRecord { token: Uuid::from_u128(6), receipt }],
        };
        (head, body)
    }

    fn bytes() -> Bytes {
        let (head, body) = entry();
        encode_entry(&schema(), head, &body).unwrap()
    }

    #[test]
    fn an_entry_reads_back() {
        let (head, body) = entry();
        let read = LogEntry::decode(&SchemaVersions::new(schema()), &bytes()).unwrap();
        assert_eq!(read.head, head);
        assert_eq!(read.body.rows, body.rows);
        assert_eq!((read.body.deletes, read.body.tokens), (body.deletes, body.tokens));
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_noticed() {
        let bytes = bytes();
        for at in 0..bytes.len() {
            let mut bad = bytes.to_vec();
            bad[at] ^= 0x40;
            assert!(LogEntry::decode(&SchemaVersions::new(schema()), &bad.into()).is_err(), "byte {at}");
            assert!(
                LogEntry::decode(&SchemaVersions::new(schema()), &bytes.slice(..at)).is_err(),
                "cut at {at}"
            );
        }
    }

    #[test]
    fn forged_bytes_behind_a_right_checksum_are_errors_not_panics() {
        let bytes = bytes();
        for at in 0..bytes.len() - 8 {
            for value in [0, 0x7f, 0xff] {
                let mut bad = bytes[..bytes.len() - 8].to_vec();
                bad[at] = value;
                push_trailer(&mut bad);
                let _ = LogEntry::decode(&SchemaVersions::new(schema()), &bad.into());
            }
        }
    }

    #[test]
    fn a_stream_is_of_the_layout_and_holds_one_batch() {
        let rows = entry().1.rows;
        let stream = |batches: &[RecordBatch], layout: &SchemaRef| {
            let mut bytes = Vec::new();
            let mut writer = StreamWriter::try_new(&mut bytes, layout).unwrap();
            for batch in batches {
                writer.write(batch).unwrap();
            }
            writer.finish().unwrap();
            drop(writer);
            Bytes::from(bytes)
        };
        let layout = schema().arrow();
        let read = |bytes: &Bytes| read_ipc(bytes, &layout).map_err(|e| e.to_string());
        assert_eq!(read(&stream(&[], &layout)).unwrap().num_rows(), 0);
        assert_eq!(read(&stream(std::slice::from_ref(&rows), &layout)).unwrap(), rows);
        let twice = read(&stream(&[rows.clone(), rows.clone()], &layout)).unwrap_err();
        assert!(twice.contains("more than one batch"), "{twice}");
        let ids = rows.project(&[0]).unwrap();
        let other = read(&stream(std::slice::from_ref(&ids), ids.schema_ref())).unwrap_err();
        assert!(other.contains("another layout"), "{other}");
        // Another layout is refused before its batch is parsed: what follows the schema here is not a batch.
        let whole = stream(std::slice::from_ref(&ids), ids.schema_ref());
        let end = message_len(&whole).unwrap();
        let garbage = Bytes::from([&whole[..end], &[0xab; 64]].concat());
        assert!(read(&garbage).unwrap_err().contains("another layout"));
    }

    #[test]
    fn a_newer_version_and_an_unknown_feature_are_told_from_damage() {
        for (at, value) in [(4, 9), (8, 1), (6, 77)] {
            let mut newer = bytes()[..bytes().len() - 8].to_vec();
            newer[at] = value;
            push_trailer(&mut newer);
            let error =
                LogEntry::decode(&SchemaVersions::new(schema()), &newer.into()).unwrap_err().at("wal/7");
            assert_eq!(error.kind(), crate::error::ErrorKind::UnsupportedVersion, "{error}");
        }
    }

    #[test]
    fn what_an_entry_requires_of_writers_hinders_no_reader() {
        let (head, body) = entry();
        let head = EntryHead { write_features: 1 << 9, ..head };
        let read =
            LogEntry::decode(&SchemaVersions::new(schema()), &encode_entry(&schema(), head, &body).unwrap())
                .unwrap();
        assert_eq!(read.head, head);
    }
}
