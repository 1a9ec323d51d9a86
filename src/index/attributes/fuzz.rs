//! Hostile attribute indexes: heads and blocks of every type, and every probe of them.

use std::ops::Bound;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use bytes::Bytes;
use roaring::RoaringBitmap;

use super::*;
use crate::cache::{Blob, BlockCache, Span};
use crate::codec::CodecError;
use crate::fuzzing::{FuzzTarget, join_parts, split_parts};
use crate::schema::{AttributeType, Schema};
use crate::storage::{MemoryBackend, ObjectKey};
use crate::types::{Document, IdKind};

const ROWS: u32 = 500;
const COLUMNS: [(&str, AttributeType); 5] = [
    ("n", AttributeType::Int),
    ("b", AttributeType::Bool),
    ("s", AttributeType::String),
    ("tags", AttributeType::StringArray),
    ("none", AttributeType::Float),
];

fn schema() -> Schema {
    let builder = COLUMNS
        .iter()
        .fold(Schema::builder(IdKind::U64), |builder, (name, kind)| builder.attribute(*name, *kind));
    builder.trigrams("s", true).build().unwrap()
}

fn seed(schema: &Schema, block_bytes: usize) -> Vec<u8> {
    let document = |n: u32| {
        let document = Document::new(u64::from(n)).with("b", n.is_multiple_of(3));
        let document = document.with("s", format!("{} {n} {}", n % 7, "long ".repeat(n as usize % 40)));
        let document = document.with("tags", vec![format!("t{}", n % 5), "all".into()]);
        if n.is_multiple_of(9) { document } else { document.with("n", i64::from(n) % 40 - 20) }
    };
    let rows = schema.to_batch(&(0..ROWS).map(document).collect::<Vec<_>>()).unwrap();
    let mut builder = AttributeIndexBuilder::new(schema).with_block_bytes(block_bytes);
    builder.push(&rows).unwrap();
    let (head, blocks) = builder.finish().unwrap();
    join_parts([&head, &blocks])
}

fn probes() -> Vec<AttributeProbe> {
    let words: ArrayRef = Arc::new(StringArray::from(vec!["", "1 1 ", "t3", "all", "zzzzzzzzz"]));
    let key = |bytes: &[u8]| Bound::Included(bytes.into());
    let literals = |literals: &[&str]| {
        Pattern::literals(&literals.iter().map(|literal| (*literal).to_owned()).collect::<Vec<_>>())
    };
    vec![
        AttributeProbe::Null,
        AttributeProbe::In(Arc::new(KeyList::new(&words).unwrap())),
        AttributeProbe::Range(key(b"1"), key(b"t2")),
        AttributeProbe::Range(Bound::Unbounded, key(&[0x80; 8])),
        AttributeProbe::Matches(literals(&["1 ", "long", ""])),
        AttributeProbe::Matches(literals(&["", "ong lon", "ng "])),
        AttributeProbe::Matches(Pattern::fuzzy(FuzzyMatcher::new("long lang", 2, true))),
    ]
}

/// The blocks of spans. Their checksums are the business of the blob that reads them.
fn read_blocks(blocks: &[u8], spans: &[Span]) -> Result<Vec<Bytes>, CodecError> {
    let range = |span: &Span| Some(usize::try_from(span.start).ok()?..usize::try_from(span.end).ok()?);
    let bytes = spans.iter().map(|span| Some(Bytes::copy_from_slice(blocks.get(range(span)?)?)));
    bytes.collect::<Option<_>>().ok_or(CodecError::Truncated { what: "blocks" })
}

/// What every probe finds in a column.
fn ask(column: &AttributeColumn, blocks: &[u8], probes: &[AttributeProbe]) -> Result<(), CodecError> {
    let check = |probe: &AttributeProbe, spans: &[Span]| {
        let found = column.find_candidates(probe, &read_blocks(blocks, spans)?)?;
        assert!(found.possible.max() < Some(ROWS) && found.definite.is_subset(&found.possible));
        Ok(())
    };
    let mut answer = Ok(());
    for probe in probes {
        let _ = column.constant_answer(probe);
        answer = answer.and(check(probe, &column.find_spans(probe)));
        let AttributeProbe::Matches(pattern) = probe else { continue };
        let Some(lookup) = column.plan_trigrams(pattern) else { continue };
        answer = answer.and(read_blocks(blocks, &lookup.spans).and_then(|read| {
            let (probe, spans) = column.narrow_by_trigrams(pattern, &lookup, &read)?;
            check(&probe, &spans)
        }));
    }
    answer
}

/// What facets and orders read of a column.
fn walk(column: &AttributeColumn, blocks: &[u8], kind: AttributeType) -> Result<(), CodecError> {
    let rows: RoaringBitmap = (0..ROWS).step_by(2).collect();
    let all = read_blocks(blocks, &column.all_spans())?;
    let kind = kind.element().unwrap_or(kind);
    column.count_rows(&all, &rows, &mut |key, count| {
        let _ = (value_of(kind, key), bits_of(kind, key));
        assert!(count <= rows.len());
    })?;
    for block in all {
        for (_, found) in column.read_rows(&block, &rows)? {
            assert!(found.iter().all(|row| rows.contains(*row)));
        }
    }
    Ok(())
}

#[test]
fn fuzz_attribute_index() {
    let (schema, probes) = (schema(), probes());
    let seeds = [400, 16 << 10].map(|block_bytes| seed(&schema, block_bytes));
    // A probe holds the blocks that it reads, the bits of some rows, and a list of keys.
    FuzzTarget::new("attribute_index", seeds).memory(8, 128 << 10).inputs(1_000).run(|input| {
        let [head, blocks] = split_parts(input);
        let section = Span { start: 0, end: blocks.len() as u64, checksum: None };
        let key = ObjectKey::new("x").expect("a key");
        let blob = Blob::new(Arc::new(MemoryBackend::new()), BlockCache::off(), key, section.end);
        let index = AttributeIndex::open(ROWS, blob, &section, head)?;
        let mut answer = Ok(());
        for (name, kind) in COLUMNS {
            let id = schema.column(name).expect("a column of the schema").id;
            let Some(column) = index.column(id) else { continue };
            answer = answer.and(ask(column, blocks, &probes)).and(walk(column, blocks, kind));
        }
        answer
    });
}
