//! The packed file against the index in memory, and against damage.

use std::sync::Arc;

use super::store::{BlockPostings, NO_MORE_ROWS, PACKED_BLOCK_BYTES, PostingsRequest, TermLookup};
use super::*;
use crate::cache::{Blob, BlockCache};
use crate::env::Env;
use crate::error::{ErrorKind, Result};
use crate::index::vector::Random;
use crate::schema::{AttributeType, Schema, TextOptions};
use crate::storage::{CountingBackend, MemoryBackend, ObjectKey, PutMode, StorageBackend};
use crate::types::{Document, IdKind};

const ROWS: u32 = 3_000;

pub(super) fn schema() -> Schema {
    Schema::builder(IdKind::U64)
        .text("title", TextOptions::default())
        .attribute("tags", AttributeType::StringArray)
        .full_text("tags", TextOptions::default())
        .build()
        .unwrap()
}

fn rows() -> arrow::record_batch::RecordBatch {
    let document = |n: u32| {
        let title =
            format!("common w{} w{} t{} {}", n % 7, n % 50, n % 997, "long ".repeat((n % 60) as usize));
        let document =
            Document::new(u64::from(n)).with("tags", vec![format!("red w{}", n % 3), "blue".into()]);
        if n.is_multiple_of(11) { document } else { document.with("title", title) }
    };
    schema().to_batch(&(0..ROWS).map(document).collect::<Vec<_>>()).unwrap()
}

async fn store(bytes: &[u8]) -> Result<(Arc<CountingBackend>, Blob)> {
    let backend = Arc::new(CountingBackend::new(Arc::new(MemoryBackend::new())));
    let key = ObjectKey::new("text")?;
    backend.put(&key, bytes.to_vec().into(), PutMode::Create).await?;
    let blob = Blob::new(Arc::<CountingBackend>::clone(&backend), BlockCache::off(), key, bytes.len() as u64);
    Ok((backend, blob))
}

fn file() -> (Vec<u8>, std::ops::Range<usize>) {
    let mut writer = TextIndexBuilder::new(&schema()).unwrap().unwrap();
    writer.push(&rows()).unwrap();
    writer.finish().unwrap()
}

pub(super) fn plans() -> Vec<TextPlan> {
    let leaf = |field, spec| PlanTerm { field, spec, positions: true };
    let term = |text: &str| leaf(0, TermSpec::Term(text.into()));
    let plan = |leaves, root| TextPlan::new(leaves, root, vec![(1.2, 0.75); 2]);
    let any = |count| TextNode::Any((0..count).map(|at| TextNode::Term(at, 1.0)).collect());
    let phrase = |slop| TextNode::Phrase { terms: vec![(0, 0), (1, 1)], slop, boost: 1.0 };
    vec![
        plan(vec![term("t500")], any(1)),
        plan(vec![term("w3"), term("t17"), term("common")], any(3)),
        plan(
            vec![term("w3"), term("w31")],
            TextNode::All(vec![TextNode::Term(0, 1.0), TextNode::Term(1, 2.0)]),
        ),
        plan(vec![term("w3"), term("w45")], phrase(0)),
        plan(vec![term("common"), term("w45")], phrase(1)),
        plan(vec![leaf(0, TermSpec::Prefix("t9".into())), leaf(1, TermSpec::Term("w1".into()))], any(2)),
        plan(vec![leaf(0, TermSpec::Fuzzy("comon".into(), 1))], any(1)),
        plan(vec![leaf(1, TermSpec::Term("red".into())), leaf(1, TermSpec::Term("blue".into()))], phrase(0)),
        plan(vec![term("absent")], any(1)),
    ]
}

async fn answer(
    source: &TextSource,
    plan: &TextPlan,
    dead: &roaring::RoaringBitmap,
) -> Result<Vec<(f32, u32)>> {
    let plan = &Arc::new(plan.clone());
    let found = source.look_up_terms(&Env::current()?, plan).await?;
    let loaded =
        LoadedTextPart::new(source.clone(), Arc::clone(plan), found, (true, !dead.is_empty())).await?;
    let dead_rows = DeadRows::new(dead.clone());
    let counts = loaded.count_live(&dead_rows)?;
    // What is remembered of the dead rows is what was counted.
    assert_eq!(loaded.count_seeks(&dead_rows), 0);
    assert_eq!(format!("{:?}", loaded.count_live(&dead_rows)?), format!("{counts:?}"));
    let stats = TextStats::new(plan, &[counts])?;
    let mut live = roaring::RoaringBitmap::new();
    live.insert_range(0..ROWS);
    live -= dead;
    Ok(loaded.find_top_rows(&stats, Some(&live), (20, false), &ScoreFloor::default())?.rows)
}

#[tokio::test]
async fn packed_or_in_memory_the_answer_is_the_same() -> Result<()> {
    let (bytes, head) = file();
    let (_, blob) = store(&bytes).await?;
    let stored = TextIndex::decode(blob, &schema(), &schema(), ROWS, &bytes[head]).unwrap();
    let stored = TextSource::Stored(Arc::new(stored));
    let memory = TextSource::Memory(Arc::new(MemoryTextIndex::new(&schema(), &rows())?));
    for (at, plan) in plans().iter().enumerate() {
        for dead in [roaring::RoaringBitmap::new(), (0..ROWS).step_by(5).collect(), (10..2_990).collect()] {
            let expected = answer(&memory, plan, &dead).await?;
            assert_eq!(answer(&stored, plan, &dead).await?, expected, "plan {at}");
            assert_eq!(expected.is_empty(), at >= 7 || expected.is_empty());
        }
        let some = answer(&memory, plan, &roaring::RoaringBitmap::new()).await?;
        assert_eq!(some.is_empty(), at >= 7, "plan {at}: no phrase reaches from one string to the next");
    }
    Ok(())
}

/// What texts and plans are drawn from.
struct Draw(Random);

impl Draw {
    fn below(&mut self, n: u32) -> u32 {
        u32::try_from(self.0.next() % u64::from(n)).unwrap()
    }

    fn choose<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(u32::try_from(choices.len()).unwrap()) as usize]
    }
}

#[tokio::test]
async fn a_forged_dictionary_with_right_sums_is_damage_and_never_a_panic() -> Result<()> {
    let (sound, head) = file();
    let files = 8..head.start;
    let blocks = files.len().div_ceil(PACKED_BLOCK_BYTES);
    let mut draw = Draw(Random::new(7));
    let env = Env::current()?;
    let (mut refused, mut unread) = (0, 0);
    for _ in 0..200 {
        let mut forged = sound.clone();
        // In the head too: it holds copies of what is read to open the files.
        for part in [files.clone(), head.start + 40..head.end - blocks * 8] {
            for _ in 0..=draw.below(8) {
                let at = part.start + draw.below(u32::try_from(part.len()).unwrap()) as usize;
                forged[at] = u8::try_from(draw.below(256)).unwrap();
            }
        }
        for block in 0..blocks {
            let start = files.start + block * PACKED_BLOCK_BYTES;
            let checksum = crate::codec::checksum(&forged[start..files.end.min(start + PACKED_BLOCK_BYTES)]);
            let at = head.end - (blocks - block) * 8;
            forged[at..at + 8].copy_from_slice(&checksum.to_le_bytes());
        }
        let (_, blob) = store(&forged).await?;
        let Ok(stored) = TextIndex::decode(blob, &schema(), &schema(), ROWS, &forged[head.clone()]) else {
            unread += 1;
            continue;
        };
        let stored = TextSource::Stored(Arc::new(stored));
        for plan in plans() {
            if let Err(error) = stored.look_up_terms(&env, &Arc::new(plan)).await {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused + unread > 0, "nothing was forged");
    Ok(())
}

/// Rows over several windows, of words of every frequency, in texts of all lengths.
fn random_rows(count: u32, draw: &mut Draw) -> arrow::record_batch::RecordBatch {
    let document = |n: u32| {
        let words = draw.below(4) * draw.below(30);
        let word = |_| format!("w{}", draw.below(6) * draw.below(6) * draw.below(40));
        Document::new(u64::from(n)).with("title", (0..words).map(word).collect::<Vec<_>>().join(" "))
    };
    schema().to_batch(&(0..count).map(document).collect::<Vec<_>>()).unwrap()
}

fn random_plan(draw: &mut Draw) -> TextPlan {
    let leaf = |draw: &mut Draw| {
        let word = format!("w{}", draw.below(3) * draw.below(6) * draw.below(40)).into();
        let spec = if draw.below(6) == 0 { TermSpec::Prefix(word) } else { TermSpec::Term(word) };
        PlanTerm { field: 0, spec, positions: true }
    };
    let leaves: Vec<PlanTerm> = (0..=draw.below(5)).map(|_| leaf(draw)).collect();
    let node = |at| TextNode::Term(at, draw.choose(&[1.0, 1.0, 0.0, 3.0, 0.01]));
    let mut nodes: Vec<TextNode> = (0..leaves.len()).map(node).collect();
    let root = match draw.below(4) {
        0 => TextNode::All(nodes),
        1 => {
            let leaves = (0..leaves.len()).zip(0..2).collect();
            TextNode::Phrase { terms: leaves, slop: draw.below(3), boost: 1.0 }
        }
        2 => TextNode::Any(vec![nodes.pop().unwrap(), TextNode::Best(nodes)]),
        _ => TextNode::Any(nodes),
    };
    TextPlan::new(leaves, root, vec![draw.choose(&[(1.2, 0.75), (0.0, 0.5), (5.0, 0.0), (0.7, 1.0)]); 2])
}

fn decoded(bytes: &[u8], head: std::ops::Range<usize>, rows: u32, blob: Blob) -> Arc<TextIndex> {
    Arc::new(TextIndex::decode(blob, &schema(), &schema(), rows, &bytes[head]).unwrap())
}

#[tokio::test]
async fn postings_are_read_forwards_and_anywhere() -> Result<()> {
    let (mut draw, env) = (Draw(Random::new(3)), Env::current()?);
    for count in [1, 127, 128, 129, 5_000] {
        let rows = random_rows(count, &mut draw);
        let mut writer = TextIndexBuilder::new(&schema())?.unwrap();
        writer.push(&rows)?;
        let (bytes, head) = writer.finish()?;
        let index = decoded(&bytes, head, count, store(&bytes).await?.1);
        let memory = MemoryTextIndex::new(&schema(), &rows)?;
        for (term, expected) in &memory.field(0)?.terms {
            let spec = TermSpec::Term(std::str::from_utf8(term).unwrap().into());
            let found = index.look_up(&env, &[TermLookup { field: 0, spec: &spec, terms_max: 1 }]).await?;
            let info = &found[0].expansion.terms[0].postings;
            let request = PostingsRequest { field: 0, terms: vec![info], positions: true };
            let pins = index.load(&[request], &[0]).await?;
            let mut forwards = index.open_postings(0, info, true)?;
            let mut anywhere = index.open_postings(0, info, true)?;
            let places = |blocks: &mut BlockPostings| {
                let mut places = Vec::new();
                blocks.read_positions(&mut places);
                places
            };
            for (at, row) in expected.rows.iter().enumerate() {
                assert_eq!(
                    (forwards.row(), places(&mut forwards)),
                    (*row, expected.positions_at(at).to_vec())
                );
                forwards.advance();
            }
            assert_eq!(forwards.row(), NO_MORE_ROWS);
            for step in 0..40_u32 {
                let row = step.wrapping_mul(2_654_435_761) % (count + 1);
                let at = expected.rows.binary_search(&row).ok();
                let frequency = at.map(|at| u32::try_from(expected.positions_at(at).len()).unwrap());
                assert_eq!(anywhere.find_frequency(row), frequency);
                if let Some(at) = at {
                    assert_eq!(places(&mut anywhere), expected.positions_at(at));
                }
                let mut seeking = index.open_postings(0, info, false)?;
                seeking.seek(row / 2);
                let next = expected.rows.iter().copied().find(|other| *other >= row);
                assert_eq!(seeking.seek(row), next.unwrap_or(NO_MORE_ROWS));
            }
            drop(pins);
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_is_left_out_could_not_be_a_hit() -> Result<()> {
    const COUNT: u32 = 9_000;
    let mut draw = Draw(Random::new(5));
    let rows = random_rows(COUNT, &mut draw);
    let mut writer = TextIndexBuilder::new(&schema())?.unwrap();
    writer.push(&rows)?;
    let (bytes, head) = writer.finish()?;
    let stored = TextSource::Stored(decoded(&bytes, head, COUNT, store(&bytes).await?.1));
    let memory = TextSource::Memory(Arc::new(MemoryTextIndex::new(&schema(), &rows)?));
    for _ in 0..300 {
        let plan = random_plan(&mut draw);
        let mut allowed = roaring::RoaringBitmap::new();
        allowed.insert_range(0..COUNT);
        for _ in 0..draw.below(4) {
            let start = draw.below(COUNT);
            allowed.remove_range(start..start + 4_000);
        }
        let (limit, ties) = (1 + draw.below(30) as usize, draw.choose(&[false, true]));
        let mut answers = Vec::new();
        for source in [&memory, &stored] {
            let plan = &Arc::new(plan.clone());
            let found = source.look_up_terms(&Env::current()?, plan).await?;
            let loaded = LoadedTextPart::new(source.clone(), Arc::clone(plan), found, (true, false)).await?;
            let stats = TextStats::new(plan, &[loaded.count_live(&DeadRows::default())?])?;
            answers.push(loaded.find_top_rows(
                &stats,
                Some(&allowed),
                (limit, ties),
                &ScoreFloor::default(),
            )?);
        }
        assert_eq!(answers[0], answers[1], "{plan:?} {limit} {ties}");
    }
    Ok(())
}

#[tokio::test]
async fn a_query_reads_what_it_needs_and_no_more() -> Result<()> {
    let (bytes, head) = file();
    let (backend, blob) = store(&bytes).await?;
    let stored = TextIndex::decode(blob, &schema(), &schema(), ROWS, &bytes[head]).unwrap();
    let source = TextSource::Stored(Arc::new(stored));
    backend.reset();
    let nothing = roaring::RoaringBitmap::new();
    answer(&source, &plans()[0], &nothing).await?;
    assert!(backend.requests() <= 3, "{:?}", backend.log());
    backend.reset();
    answer(&source, &plans()[0], &nothing).await?;
    assert_eq!(backend.requests(), 0, "what was read a moment ago is kept");
    Ok(())
}

#[tokio::test]
async fn damage_is_noticed_wherever_it_is() -> Result<()> {
    let (bytes, head) = file();
    let expected = {
        let memory = TextSource::Memory(Arc::new(MemoryTextIndex::new(&schema(), &rows())?));
        answer(&memory, &plans()[3], &roaring::RoaringBitmap::new()).await?
    };
    for at in (0..head.start).step_by(997) {
        let mut bad = bytes.clone();
        bad[at] ^= 0x40;
        let (_, blob) = store(&bad).await?;
        let stored = TextIndex::decode(blob, &schema(), &schema(), ROWS, &bytes[head.clone()]).unwrap();
        let source = TextSource::Stored(Arc::new(stored));
        match answer(&source, &plans()[3], &roaring::RoaringBitmap::new()).await {
            Ok(found) => assert_eq!(found, expected, "byte {at}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}"),
        }
    }
    let (_, blob) = store(&bytes).await?;
    let decode = |head: &[u8], rows| TextIndex::decode(blob.clone(), &schema(), &schema(), rows, head);
    assert!(decode(&bytes[head.clone()], ROWS - 1).is_err());
    // A head is checked by its section's checksum before it is decoded; without it, it may lie, but not break.
    for cut in (0..head.len()).step_by(61) {
        assert!(decode(&bytes[head.start..head.start + cut], ROWS).is_err());
    }
    Ok(())
}
