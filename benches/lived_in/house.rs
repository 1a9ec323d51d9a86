//! The two namespaces, with the same live documents.

use std::sync::Arc;
use std::time::Instant;

use elacsym::schema::{AttributeType, TextOptions};
use elacsym::storage::MemoryBackend;
use elacsym::{
    Consistency, Database, Document, IdKind, Namespace, Query, Result, Schema, Settings, Vector, VectorType,
    WriteBatch,
};

use crate::common::Draw;
use crate::machine;
use crate::set::Set;

/// Documents of a batch of a bulk load, and of a small one.
const BULK: usize = 10_000;
const SMALL: usize = 500;
/// The share of documents that the bulk load brings. The others come in rounds.
const BULK_SHARE: f64 = 0.7;
/// The share of documents that are written with other contents first, or written and deleted again.
const DEAD_SHARE: f64 = 0.25;
/// Documents of the tail.
const TAIL: usize = 1_000;
/// The words that texts are made of.
const WORDS: u64 = 20_000;
/// Words of a text of about a kilobyte.
const TEXT_WORDS: usize = 150;

pub(crate) struct House {
    pub(crate) docs: Namespace,
}

impl House {
    /// All documents at once, in one segment if they fit.
    pub(crate) async fn fresh(set: &Set) -> Result<Self> {
        let docs = Self::empty(set).await?;
        let (start, cpu) = (Instant::now(), machine::cpu_time());
        write(&docs, set, 0..set.rows(), BULK, true).await?;
        docs.flush().await?;
        docs.compact().await?;
        Self { docs }.describe("fresh", start, cpu).await
    }

    /// A bulk load, rounds of new, changed and deleted documents, and a tail.
    pub(crate) async fn lived_in(set: &Set) -> Result<Self> {
        let rounds =
            std::env::var("ELACSYM_BENCH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(9_usize);
        let docs = Self::empty(set).await?;
        let (start, cpu) = (Instant::now(), machine::cpu_time());
        let bulk = (set.rows() as f64 * BULK_SHARE) as usize;
        // Documents that a round writes again have other contents in the bulk load.
        write(&docs, set, (0..bulk).filter(|row| !is_changed(*row)), BULK, true).await?;
        write(&docs, set, (0..bulk).filter(|row| is_changed(*row)), BULK, false).await?;
        docs.flush().await?;
        let later = set.rows() - TAIL;
        for round in 0..rounds {
            let of_round = |row: &usize| row % rounds == round;
            write(&docs, set, (bulk..later).filter(of_round), SMALL, true).await?;
            write(&docs, set, (0..bulk).filter(|row| is_changed(*row)).filter(of_round), SMALL, true).await?;
            // Some that are gone soon.
            let gone: Vec<u64> = (0..SMALL).map(|n| (set.rows() + round * SMALL + n) as u64).collect();
            let document = |id: &u64| document(set, *id as usize % set.rows(), *id);
            docs.write(gone.iter().map(document).collect::<WriteBatch>()).await?;
            docs.flush().await?;
            docs.write(gone.iter().fold(WriteBatch::new(), |batch, id| batch.delete(*id))).await?;
        }
        docs.flush().await?;
        let took = start.elapsed();
        settle(&docs).await?;
        write(&docs, set, later..set.rows(), SMALL / 5, true).await?;
        println!(
            "written in {:.0} s; what upkeep was left took until {:.0} s",
            took.as_secs_f64(),
            start.elapsed().as_secs_f64()
        );
        Self { docs }.describe("lived in", start, cpu).await
    }

    async fn empty(set: &Set) -> Result<Namespace> {
        let schema = Schema::builder(IdKind::U64)
            .text("body", TextOptions::default())
            .attribute("kind", AttributeType::String)
            .attribute("shuffled", AttributeType::Uint)
            .attribute("price", AttributeType::Float)
            .vector("v", VectorType::F32, set.dimension, set.metric)
            .build()?;
        // The cache is that of the default, too: sets that do not fit are read from the store again and again.
        let db = Database::builder().settings(Settings::default());
        db.open_backend(Arc::new(MemoryBackend::new())).await?.create_namespace("docs", schema).await
    }

    async fn describe(self, name: &str, start: Instant, cpu: std::time::Duration) -> Result<Self> {
        let query = Query::nearest("v", vec![1.0; dimension(&self.docs)]);
        let plan = self.docs.snapshot(Consistency::Strong).await?.explain(&query)?;
        for part in &plan.legs[0].parts {
            println!("  {}: {} rows", part.part, part.rows);
        }
        let answer = self.docs.query(query).await?;
        println!(
            "{name}: {:.0} s, {:.0} s of CPU; {} documents, {} rows in {} parts, {} rows of them in the tail",
            start.elapsed().as_secs_f64(),
            machine::cpu_time().saturating_sub(cpu).as_secs_f64(),
            self.docs.count().await?,
            answer.stats.rows,
            answer.stats.parts,
            answer.stats.tail_rows,
        );
        Ok(self)
    }
}

/// Waits until merges that go on by themselves are done.
async fn settle(docs: &Namespace) -> Result<()> {
    let (mut parts, mut same) = (0, 0);
    while same < 10 {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let now = docs.query(Query::nearest("v", vec![1.0; dimension(docs)])).await?.stats;
        let is_busy = docs.index_progress().is_some();
        same = if now.parts == parts && !is_busy { same + 1 } else { 0 };
        parts = now.parts;
    }
    Ok(())
}

fn dimension(docs: &Namespace) -> usize {
    docs.schema().vectors().map(|(_, shape)| shape.dimension).next().unwrap_or(0)
}

/// Whether a document of the bulk load is written again by a round.
fn is_changed(row: usize) -> bool {
    ((row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / (1_u64 << 24) as f64 <= DEAD_SHARE
}

async fn write(
    docs: &Namespace,
    set: &Set,
    rows: impl Iterator<Item = usize>,
    batch: usize,
    right: bool,
) -> Result<()> {
    let rows: Vec<usize> = rows.collect();
    for rows in rows.chunks(batch) {
        // A document with other contents has those of another row.
        let contents = |row: usize| if right { row } else { (row * 31 + 7) % set.rows() };
        let documents = rows.iter().map(|row| document(set, contents(*row), *row as u64));
        docs.write(documents.collect::<WriteBatch>()).await?;
    }
    Ok(())
}

/// The document of a row under an id.
fn document(set: &Set, row: usize, id: u64) -> Document {
    Document::new(id)
        .with("v", Vector::F32(set.row(row).to_vec()))
        .with("body", text(row))
        .with("kind", format!("kind {}", row % 20))
        .with("shuffled", set.shuffled(row))
        .with("price", (row % 997) as f64 / 7.0)
}

/// Words whose frequencies fall as those of a language do.
fn text(row: usize) -> String {
    let mut draw = Draw(row as u64);
    let word = |_| format!("w{}", word(draw.unit()));
    (0..TEXT_WORDS).map(word).collect::<Vec<_>>().join(" ")
}

/// The number of a word, from a number of 0 to 1: word n is about 1 / n as frequent as the first.
pub(crate) fn word(unit: f64) -> u64 {
    (WORDS as f64).powf(unit) as u64
}
