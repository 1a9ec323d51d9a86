//! How good rankings are: nDCG@10 by the judgments of experts, of vectors alone, of text alone, and of both fused
//! in different ways.
//!
//! `cargo run --release --example hybrid_quality` takes the claims and abstracts that the repository carries.
//! With `ELACSYM_BENCH_DATA=folder` also the larger sets below that folder that have judgments: `docs.parquet`,
//! `base.npy`, `queries.parquet`, `query.npy` and `qrels.json`.
#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "an example prints, and counts are small"
)]

mod common;

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray};
use common::Collection;
use elacsym::query::TextQuery;
use elacsym::schema::{Language, TextOptions};
use elacsym::{
    Database, Document, DocumentId, Fusion, IdKind, Leg, Metric, Query, Schema, Select, Vector, VectorType,
    WriteBatch,
};

/// A question, its embedding, and the grade of each document that answers it.
struct Question {
    text: String,
    embedding: Vec<f32>,
    grades: BTreeMap<u64, f64>,
}

struct Set {
    name: String,
    documents: Vec<(String, Vec<f32>)>,
    questions: Vec<Question>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut sets = vec![carried()?];
    if let Some(folder) = std::env::var_os("ELACSYM_BENCH_DATA") {
        let mut folders: Vec<PathBuf> =
            fs::read_dir(folder)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
        folders.sort();
        for folder in folders.iter().filter(|folder| folder.join("qrels.json").exists()) {
            sets.push(read_set(folder)?);
        }
    }
    println!("| nDCG@10 | documents | questions | vectors | text | reciprocal ranks | min-max | z-score |");
    println!("|---|---|---|---|---|---|---|---|");
    for set in sets {
        let means = measure(&set).await?;
        let means: Vec<String> = means.iter().map(|mean| format!("{mean:.3}")).collect();
        let Set { name, documents, questions } = set;
        println!("| {name} | {} | {} | {} |", documents.len(), questions.len(), means.join(" | "));
    }
    Ok(())
}

async fn measure(set: &Set) -> Result<[f64; 5], Box<dyn Error>> {
    let dimension = set.documents.first().map_or(1, |(_, vector)| vector.len());
    let schema = Schema::builder(IdKind::U64)
        .text("text", TextOptions::default().with_language(Language::English))
        .vector("embedding", VectorType::F32, dimension, Metric::Cosine)
        .build()?;
    let documents = Database::open("memory://").await?.create_namespace("documents", schema).await?;
    for (start, part) in (0..).step_by(2_000).zip(set.documents.chunks(2_000)) {
        let batch = (start..).zip(part).fold(WriteBatch::new(), |batch, (id, (text, vector)): (u64, _)| {
            let document = Document::new(id).with("text", text.as_str());
            batch.upsert(document.with("embedding", Vector::from(vector.clone())))
        });
        documents.write(batch).await?;
    }
    documents.flush().await?;
    let mut sums = [0.0; 5];
    for question in &set.questions {
        let vectors = || Leg::nearest("embedding", question.embedding.clone()).exact();
        let words = || Leg::text(TextQuery::any("text", question.text.as_str()));
        let both = |fusion| Query::hybrid([vectors(), words()]).fuse(fusion);
        let queries = [
            vectors().into(),
            words().into(),
            both(Fusion::default()),
            both(Fusion::min_max()),
            both(Fusion::z_score()),
        ];
        let queries = queries.map(|query: Query| query.limit(10).select(Select::only::<&str>([])));
        for (sum, answer) in sums.iter_mut().zip(documents.query_all(&queries).await?) {
            let hits = answer.hits()?;
            let grade = |id: &DocumentId| match id {
                DocumentId::U64(id) => question.grades.get(id).copied().unwrap_or_default(),
                _ => 0.0,
            };
            *sum += gain(hits.iter().map(|hit| grade(hit.document.id()))) / ideal(question);
        }
    }
    Ok(sums.map(|sum| sum / set.questions.len() as f64))
}

/// The discounted gain of grades in their order.
fn gain(grades: impl Iterator<Item = f64>) -> f64 {
    (2..).zip(grades.take(10)).map(|(rank, grade): (u32, f64)| grade / f64::from(rank).log2()).sum()
}

fn ideal(question: &Question) -> f64 {
    let mut grades: Vec<f64> = question.grades.values().copied().collect();
    grades.sort_by(|a, b| b.total_cmp(a));
    gain(grades.into_iter())
}

/// What the repository carries.
fn carried() -> Result<Set, Box<dyn Error>> {
    let Collection { documents, queries } = Collection::load()?;
    let (ids, texts) = (documents.column(0).clone(), documents.column(2).clone());
    let vectors = documents.column_by_name("embedding").ok_or("no embedding")?.clone();
    let vector = |row| {
        let vector = vectors.as_fixed_size_list().value(row);
        vector.as_primitive::<arrow::datatypes::Float16Type>().values().iter().map(|x| x.to_f32()).collect()
    };
    let number: HashMap<u64, u64> =
        ids.as_primitive::<arrow::datatypes::UInt64Type>().values().iter().copied().zip(0..).collect();
    let texts = texts.as_string::<i32>();
    let question = |query: common::Query| Question {
        grades: query.relevant.iter().filter_map(|id| Some((*number.get(id)?, 1.0))).collect(),
        text: query.text,
        embedding: query.embedding,
    };
    Ok(Set {
        name: "scifact, a part".to_owned(),
        documents: (0..texts.len()).map(|row| (texts.value(row).to_owned(), vector(row))).collect(),
        questions: queries.into_iter().map(question).filter(|question| !question.grades.is_empty()).collect(),
    })
}

/// A set in a folder.
fn read_set(folder: &Path) -> Result<Set, Box<dyn Error>> {
    let documents = common::read(&folder.join("docs.parquet"))?;
    let queries = common::read(&folder.join("queries.parquet"))?;
    let strings = |batch: &arrow::array::RecordBatch, name: &str| -> Result<Vec<String>, Box<dyn Error>> {
        let column = batch.column_by_name(name).ok_or("a column is missing")?;
        Ok(column.as_string::<i32>().iter().flatten().map(str::to_owned).collect())
    };
    let names = strings(&documents, "doc_id")?;
    let number: HashMap<&str, u64> = names.iter().map(String::as_str).zip(0..).collect();
    let judged: HashMap<String, HashMap<String, f64>> =
        serde_json::from_slice(&fs::read(folder.join("qrels.json"))?)?;
    let asked = strings(&queries, "qid")?.into_iter().zip(strings(&queries, "text")?);
    let question = |((name, text), embedding): ((String, String), Vec<f32>)| {
        let grades = judged.get(&name)?.iter();
        let grades: BTreeMap<u64, f64> =
            grades.filter_map(|(document, grade)| Some((*number.get(document.as_str())?, *grade))).collect();
        (!grades.is_empty()).then_some(Question { text, embedding, grades })
    };
    Ok(Set {
        name: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        documents: strings(&documents, "text")?.into_iter().zip(vectors(&folder.join("base.npy"))?).collect(),
        questions: asked.zip(vectors(&folder.join("query.npy"))?).filter_map(question).collect(),
    })
}

/// The rows of a two-dimensional array of little-endian f32, as numpy writes it.
fn vectors(path: &Path) -> Result<Vec<Vec<f32>>, Box<dyn Error>> {
    let bytes = fs::read(path)?;
    let (head, rest) = bytes.split_at_checked(10).ok_or("too short")?;
    let [.., low, high] = head else { return Err("too short".into()) };
    let length = usize::from(u16::from_le_bytes([*low, *high]));
    let (header, values) = rest.split_at_checked(length).ok_or("too short")?;
    let header = std::str::from_utf8(header)?;
    let shape =
        header.split_once("'shape': (").and_then(|(_, rest)| rest.split_once(')')).ok_or("no shape")?.0;
    let width: usize = shape.split(',').nth(1).ok_or("not two dimensions")?.trim().parse()?;
    let values: Vec<f32> = values.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    Ok(values.chunks(width).map(<[f32]>::to_vec).collect())
}
