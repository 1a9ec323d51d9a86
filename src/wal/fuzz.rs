//! Hostile log entries.

use bytes::Bytes;
use uuid::Uuid;

use super::*;
use crate::codec::seal_trailer;
use crate::error::Result;
use crate::fuzzing::FuzzTarget;
use crate::schema::{AttributeType, Schema, SchemaVersions};
use crate::types::{
    Document, DocumentId, IdKind, Metric, Sequence, TokenRecord, Vector, VectorType, WriteReceipt,
};

fn schema(id: IdKind) -> Schema {
    Schema::builder(id)
        .attribute("s", AttributeType::String)
        .attribute("n", AttributeType::Int)
        .attribute("b", AttributeType::Bool)
        .attribute("d", AttributeType::Datetime)
        .attribute("u", AttributeType::Uuid)
        .attribute("bytes", AttributeType::Bytes)
        .attribute("many", AttributeType::StringArray)
        .vector("v", VectorType::F16, 3, Metric::Dot)
        .build()
        .unwrap()
}

fn seed(id: fn(u64) -> DocumentId, rows: u64, deletes: u64) -> Vec<u8> {
    let schema = schema(id(0).kind());
    let document = |n: u64| {
        let document = Document::new(id(n)).with("s", format!("text {n}")).with("n", 7).with("b", n > 2);
        let document = document.with("u", Uuid::from_u128(n.into())).with("many", vec!["a", "bc"]);
        if n == 1 { document } else { document.with("v", Vector::from([1.0, 2.0, 3.0])) }
    };
    let documents: Vec<_> = (0..rows).map(document).collect();
    let head = EntryHead {
        kind: if rows + deletes == 0 { EntryKind::Seal } else { EntryKind::Data },
        incarnation: Uuid::from_u128(1),
        sequence: Sequence(7),
        batch: Uuid::from_u128(2),
        previous: Uuid::from_u128(3),
        writer: Uuid::from_u128(4),
        created_ms: 5,
        write_features: 0,
    };
    let receipt = WriteReceipt { sequence: Sequence(7), upserted: rows, ..WriteReceipt::default() };
    let body = EntryBody {
        rows: schema.to_batch(&documents).unwrap(),
        deletes: (rows..rows + deletes).map(id).collect(),
        segments: Vec::new(),
        tokens: vec![TokenRecord { token: Uuid::from_u128(6), receipt }],
    };
    encode_entry(&schema, head, &body).unwrap().to_vec()
}

#[test]
fn fuzz_log_entry() {
    let string: fn(u64) -> DocumentId = |n| format!("id {n}").into();
    let seeds = [seed(string, 5, 3), seed(string, 1, 0), seed(string, 0, 0)];
    let schema = schema(IdKind::String);
    let schemas = SchemaVersions::new(schema.clone());
    FuzzTarget::new("log_entry", seeds).memory(8, 256 << 10).inputs(2_000).run_sealed(
        |bytes| seal_trailer(bytes),
        |bytes| -> Result<()> {
            let entry =
                LogEntry::decode(&schemas, &Bytes::copy_from_slice(bytes)).map_err(|e| e.at("wal/7"))?;
            for link in &entry.body.segments {
                link.check(&schemas).map_err(|e| e.at("wal/7"))?;
            }
            schema.documents(&entry.body.rows).map(drop)
        },
    );
}
