//! **Measures** recall through the public API, against exact distances in f64, on unusual collections of vectors: for a
//! requested recall of .9, .95 and .99 of 10 neighbours, after a flush, after updates and deletes, and after a compaction;
//! next to the result of `measure_recall`.
//!
//! **Leaves out** time.
//!
//! `cargo bench --bench odd_recall -- ROWS QUERIES PART-OF-A-NAME`, by default 20,000, 100 and all collections.

#![expect(clippy::print_stdout, reason = "a benchmark prints its results")]
#![expect(clippy::cast_precision_loss, reason = "counts are small")]

#[path = "../tests/common/mod.rs"]
#[expect(clippy::indexing_slicing, reason = "what tests share")]
mod common;

use std::collections::BTreeMap;

use common::odd::{ALL, Odd, named};
use elacsym::{
    Database, Document, DocumentId, IdKind, Namespace, Query, RecallCheck, Result, Schema, Select, WriteBatch,
};

const TARGETS: [f64; 3] = [0.9, 0.95, 0.99];
const LIMIT: usize = 10;
const BATCH: usize = 5_000;

/// A namespace, and the rows in it.
struct Stored<'a> {
    odd: &'a Odd,
    docs: Namespace,
    rows: BTreeMap<u64, &'a [f32]>,
}

impl<'a> Stored<'a> {
    async fn new(odd: &'a Odd) -> Result<Self> {
        let schema = Schema::builder(IdKind::U64)
            .vector("v", odd.element, odd.dimension(), odd.metric)
            .code_bits("v", odd.bits)
            .build()?;
        let docs = Database::open("memory://").await?.create_namespace("docs", schema).await?;
        Ok(Self { odd, docs, rows: BTreeMap::new() })
    }

    async fn upsert(&mut self, rows: &[(u64, &'a [f32])]) -> Result<()> {
        for rows in rows.chunks(BATCH) {
            let mut batch = WriteBatch::new();
            for (id, row) in rows {
                batch = batch.upsert(Document::new(*id).with("v", self.odd.vector(row)));
                self.rows.insert(*id, row);
            }
            self.docs.write(batch).await?;
        }
        Ok(())
    }

    async fn delete(&mut self, ids: impl Iterator<Item = u64>) -> Result<()> {
        let mut batch = WriteBatch::new();
        for id in ids {
            batch = batch.delete(id);
            self.rows.remove(&id);
        }
        self.docs.write(batch).await.map(drop)
    }

    /// The share of true neighbours that is found. Of rows at equal distance, any counts.
    async fn recall(&self, limits: &[f64], target: f64) -> Result<f64> {
        let mut found = 0;
        for (query, limit) in self.odd.queries.iter().zip(limits) {
            let nearest = Query::nearest("v", self.odd.vector(query)).limit(LIMIT).recall(target);
            let hits = self.docs.query(nearest.select(Select::Only(Vec::new()))).await?.hits()?;
            let is_near = |id: &DocumentId| {
                let row = match id {
                    DocumentId::U64(id) => self.rows.get(id),
                    _ => None,
                };
                row.is_some_and(|row| {
                    self.odd.distance(query, row) <= limit + limit.abs() * 1e-12 + self.odd.noise()
                })
            };
            found += hits.iter().filter(|hit| is_near(hit.document.id())).count();
        }
        Ok(found as f64 / (self.odd.queries.len() * LIMIT) as f64)
    }

    /// The distance of the last true neighbour of each query.
    fn distance_limits(&self) -> Vec<f64> {
        let of = |query: &Vec<f32>| {
            let mut all: Vec<f64> = self.rows.values().map(|row| self.odd.distance(query, row)).collect();
            all.select_nth_unstable_by(LIMIT - 1, f64::total_cmp).1.to_owned()
        };
        self.odd.queries.iter().map(of).collect()
    }

    async fn print_recall(&self, state: &str) -> Result<()> {
        let limits = self.distance_limits();
        print!("| {} | {state}", self.odd.name);
        for target in TARGETS {
            print!(" | {:.3}", self.recall(&limits, target).await?);
        }
        let report = self.docs.measure_recall(RecallCheck::of("v")).await?;
        println!(" | {:.3} | {:.3} | {:.0} |", report.recall, report.expected, report.rows_scanned);
        Ok(())
    }
}

async fn measure(odd: &Odd) -> Result<()> {
    let mut stored = Stored::new(odd).await?;
    let ids = |count: usize| 0..count as u64;
    // A tenth of the rows comes later, and replaces others.
    let kept = odd.rows.len() - odd.rows.len() / 10;
    let (first, later) = odd.rows.split_at(kept);
    stored.upsert(&ids(kept).zip(first.iter().map(Vec::as_slice)).collect::<Vec<_>>()).await?;
    stored.docs.flush().await?;
    stored.print_recall("flushed").await?;
    stored.upsert(&ids(kept).step_by(9).zip(later.iter().map(Vec::as_slice)).collect::<Vec<_>>()).await?;
    stored.delete(ids(kept).skip(1).step_by(20)).await?;
    stored.docs.flush().await?;
    stored.print_recall("updated").await?;
    stored.docs.compact().await?;
    stored.print_recall("compacted").await
}

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let number = |at: usize, default: usize| match words.get(at) {
        Some(word) => word.parse().expect("a number of rows, and one of queries"),
        None => default,
    };
    let (rows, queries) = (number(0, 20_000), number(1, 100));
    let part = words.get(2).map_or("", String::as_str);
    println!("{rows} rows, {queries} queries, recall@{LIMIT}\n");
    println!(
        "| rows | state | target .9 | .95 | .99 | measured | expected | rows scanned |\n|---|---|---|---|---|---|---|---|"
    );
    for (name, _) in ALL.iter().filter(|(name, _)| name.contains(part)) {
        measure(&named(name, rows, queries)).await?;
    }
    Ok(())
}
