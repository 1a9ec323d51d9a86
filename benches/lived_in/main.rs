//! **Measures** every kind of query in a namespace that was lived in, beside a fresh one with the same documents, in one
//! run: time and recall. Both have the default settings. The fresh one was written at once and compacted into one
//! segment. The other was loaded in batches, then took rounds of small batches of new, changed and deleted documents,
//! each round flushed, and has a tail. Every query is a new one: the cache is warm from others.
//!
//! **Leaves out** reading from a store: the store is memory.
//!
//! `cargo bench --bench lived_in`, on a seeded clustered set, or
//! `ELACSYM_BENCH_DATA=folder cargo bench --bench lived_in -- NAME…` on sets as the bench `vector` takes them.
//! `ELACSYM_BENCH_ROUNDS=n` sets the number of rounds, and with it of segments; `ELACSYM_BENCH_ONLY=text` asks the
//! questions alone whose names have this.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its results")]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    reason = "a benchmark"
)]

#[path = "../common/mod.rs"]
mod common;
mod house;
#[path = "../common/machine.rs"]
#[expect(dead_code, reason = "shared with others")]
mod machine;
mod questions;
#[path = "../common/set.rs"]
#[expect(dead_code, reason = "shared with others")]
mod set;

use std::path::Path;
use std::time::Instant;

use elacsym::{Consistency, Result, Snapshot};

use house::House;
use questions::{Question, Questions};
use set::Set;

const LIMIT: usize = 10;
/// The number of different queries. The first half fills the cache, the others are timed.
const QUERIES: usize = 1_000;
/// How often each kind of query is timed in each namespace, in turns.
const TURNS: usize = 5;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let names: Vec<String> = std::env::args().skip(1).filter(|name| !name.starts_with("--")).collect();
    let Ok(folder) = std::env::var("ELACSYM_BENCH_DATA") else {
        return runtime.block_on(measure(&Set::clustered(100_000, 128)));
    };
    for name in names {
        runtime.block_on(measure(&Set::load(&Path::new(&folder).join(&name), &name)))?;
    }
    Ok(())
}

async fn measure(set: &Set) -> Result<()> {
    println!("\n## {}: {} rows of {} dimensions, {:?}", set.name, set.rows(), set.dimension, set.metric);
    let fresh = House::fresh(set).await?;
    let lived_in = House::lived_in(set).await?;
    println!("\n| | fresh, ms | lived in, ms | times | recall | |\n|---|---|---|---|---|---|");
    let questions = Questions::new(set);
    let mut worst = 0.0_f64;
    let only = std::env::var("ELACSYM_BENCH_ONLY").unwrap_or_default();
    for question in Question::ALL.iter().filter(|question| question.to_string().contains(&only)) {
        let (one, other) =
            (fresh.docs.snapshot(Consistency::Eventual), lived_in.docs.snapshot(Consistency::Eventual));
        let (one, other) = (one.await?, other.await?);
        worst = worst.max(row(&questions, *question, &one, &other).await?);
    }
    println!("\nworst: {worst:.2} times");
    Ok(())
}

/// One line of the table. Returns by how much the fresh namespace is faster.
async fn row(
    questions: &Questions<'_>,
    question: Question,
    fresh: &Snapshot,
    lived_in: &Snapshot,
) -> Result<f64> {
    let recalls = (questions.recall(question, fresh).await?, questions.recall(question, lived_in).await?);
    // The best of some turns: what else runs on the machine only adds.
    let mut best = (f64::INFINITY, f64::INFINITY);
    for turn in 0..TURNS {
        best.0 = best.0.min(time(questions, question, turn, fresh).await?);
        best.1 = best.1.min(time(questions, question, turn, lived_in).await?);
    }
    let recall = |recall: Option<f64>| recall.map_or("–".to_owned(), |recall| format!("{recall:.3}"));
    let ratio = best.1 / best.0;
    println!(
        "| {question} | {:.3} | {:.3} | {ratio:.2} | {} | {} |",
        best.0 * 1e3,
        best.1 * 1e3,
        recall(recalls.0),
        recall(recalls.1)
    );
    Ok(ratio)
}

/// Seconds of one query, over queries that were not asked before.
async fn time(questions: &Questions<'_>, question: Question, turn: usize, docs: &Snapshot) -> Result<f64> {
    let queries: Vec<usize> = questions.of_turn(question, turn).collect();
    let start = Instant::now();
    for number in &queries {
        questions.ask(question, *number, docs).await?;
    }
    Ok(start.elapsed().as_secs_f64() / queries.len() as f64)
}
