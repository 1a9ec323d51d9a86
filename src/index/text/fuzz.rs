//! Hostile text indexes: head, dictionary, postings and positions, and every kind of search over them.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::store::PACKED_BLOCK_BYTES;
use super::tests::{plans, schema};
use super::*;
use crate::cache::{Blob, BlockCache};
use crate::codec::checksum;
use crate::env::Env;
use crate::error::Result;
use crate::fuzzing::{FuzzTarget, block_on, inline_env, join_parts, split_parts};
use crate::schema::TextOptions;
use crate::storage::{MemoryBackend, ObjectKey, PutMode, StorageBackend};
use crate::types::Document;

const ROWS: u32 = 400;

fn seed() -> Vec<u8> {
    let document = |n: u32| {
        let long = "long ".repeat((n % 60) as usize);
        let title = format!("common w{} w{} t{} {long}", n % 7, n % 50, n % 97);
        Document::new(u64::from(n))
            .with("title", title)
            .with("tags", vec![format!("red w{}", n % 3), "blue".into()])
    };
    let rows = schema().to_batch(&(0..ROWS).map(document).collect::<Vec<_>>()).unwrap();
    let mut builder = TextIndexBuilder::new(&schema()).unwrap().unwrap();
    builder.push(&rows).unwrap();
    let (bytes, head) = builder.finish().unwrap();
    join_parts([&bytes[..head.start], &bytes[head]])
}

/// Makes the checksums of the blocks right. They are the end of the head.
fn seal(input: &mut [u8]) {
    let [files, _] = split_parts::<2>(input);
    let sums = files.get(8..).unwrap_or_default().chunks(PACKED_BLOCK_BYTES).map(checksum);
    let sums: Vec<u8> = sums.flat_map(u64::to_le_bytes).collect();
    if let Some(start) = input.len().checked_sub(sums.len()) {
        input[start..].copy_from_slice(&sums);
    }
}

/// Everything that a query may do with a plan.
async fn search(env: &Env, index: &Arc<TextIndex>, plan: &Arc<TextPlan>) -> Result<()> {
    let source = TextSource::Stored(Arc::clone(index));
    let mut all = RoaringBitmap::new();
    all.insert_range(0..ROWS);
    for dead in [RoaringBitmap::new(), (0..ROWS).step_by(5).collect()] {
        let found = source.look_up_terms(env, plan).await?;
        let loaded = LoadedTextPart::new(source.clone(), Arc::clone(plan), found, (true, !dead.is_empty()));
        let loaded = loaded.await?;
        let stats = TextStats::new(plan, &[loaded.count_live(&DeadRows::new(dead.clone()))?])?;
        let (live, few) = (&all - dead, (0..ROWS).step_by(97).collect());
        let any = loaded.find_top_rows(&stats, None, (20, true), &ScoreFloor::default())?;
        assert!(any.rows.iter().all(|(_, row)| *row < ROWS) && any.ties.max() < Some(ROWS));
        for allowed in [&live, &few] {
            let top = loaded.find_top_rows(&stats, Some(allowed), (20, true), &ScoreFloor::default())?;
            assert!(top.rows.iter().all(|(score, row)| allowed.contains(*row) && !score.is_nan()));
            assert!(loaded.find_rows(&stats, allowed)?.is_subset(allowed));
        }
    }
    Ok(())
}

/// Token filters, which have no list of rows that are allowed.
async fn filter(env: &Env, index: &Arc<TextIndex>) -> Result<()> {
    let term = |text: &str| TermSpec::Term(text.into());
    let words = vec![(term("w3"), 0), (TermSpec::CompletePrefix("w4".into()), 1)];
    for matching in [TokenMatch::Any, TokenMatch::All, TokenMatch::Phrase] {
        let analyzer = Analyzer::new(&TextOptions::default())?;
        let predicate = Arc::new(TokenPredicate { field: 0, matching, words: words.clone(), analyzer });
        let rows = find_matching_rows(index, env, &[predicate]).await?;
        assert!(rows.into_iter().flatten().all(|rows| rows.max() < Some(ROWS)));
    }
    Ok(())
}

#[test]
fn fuzz_text_index() {
    let plans: Vec<_> = plans().into_iter().map(Arc::new).collect();
    FuzzTarget::new("text_index", [seed()]).memory(8, 4 << 20).inputs(250).run_sealed(
        |input| seal(input),
        |input| {
            let [files, head] = split_parts(input);
            let (backend, key) = (MemoryBackend::new(), ObjectKey::new("text")?);
            let whole = [files, head].concat();
            let size = whole.len() as u64;
            block_on(backend.put(&key, whole.into(), PutMode::Create))?;
            let blob = Blob::new(Arc::new(backend), BlockCache::off(), key, size);
            let index =
                TextIndex::decode(blob, &schema(), &schema(), ROWS, head).map_err(|e| e.at("text"))?;
            let (index, env) = (Arc::new(index), inline_env());
            let mut answer = block_on(filter(&env, &index));
            for plan in &plans {
                answer = answer.and(block_on(search(&env, &index, plan)));
            }
            answer
        },
    );
}
