//! Collections with expert judgments, and the quality of a ranking by them.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray};

use super::Collection;

/// A question, its embedding, and the grades of relevant documents.
pub(crate) struct Question {
    pub(crate) text: String,
    pub(crate) embedding: Vec<f32>,
    grades: BTreeMap<u64, f64>,
}

/// A collection with judgments: texts with vectors, whose ids are their positions, and questions.
pub(crate) struct Set {
    pub(crate) name: String,
    pub(crate) documents: Vec<(String, Vec<f32>)>,
    pub(crate) questions: Vec<Question>,
}

/// The set in this repository, and with `ELACSYM_BENCH_DATA=folder` the larger sets below that folder.
pub(crate) fn sets() -> Result<Vec<Set>, Box<dyn Error>> {
    let mut sets = vec![bundled_set()?];
    if let Some(folder) = std::env::var_os("ELACSYM_BENCH_DATA") {
        let mut folders: Vec<PathBuf> =
            fs::read_dir(folder)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
        folders.sort();
        for folder in folders.iter().filter(|folder| folder.join("qrels.json").exists()) {
            sets.push(read_set(folder)?);
        }
    }
    Ok(sets)
}

impl Question {
    /// nDCG@10 of documents in their order, by their numbers.
    pub(crate) fn ndcg(&self, found: impl Iterator<Item = u64>) -> f64 {
        let grade = |id| self.grades.get(&id).copied().unwrap_or_default();
        let mut grades: Vec<f64> = self.grades.values().copied().collect();
        grades.sort_by(|a, b| b.total_cmp(a));
        gain(found.map(grade)) / gain(grades.into_iter())
    }
}

/// The discounted gain of grades in their order.
fn gain(grades: impl Iterator<Item = f64>) -> f64 {
    (2..).zip(grades.take(10)).map(|(rank, grade): (u32, f64)| grade / f64::from(rank).log2()).sum()
}

/// The set in this repository.
fn bundled_set() -> Result<Set, Box<dyn Error>> {
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
    let question = |query: super::Query| Question {
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

/// Reads a set from a folder.
fn read_set(folder: &Path) -> Result<Set, Box<dyn Error>> {
    let documents = super::read(&folder.join("docs.parquet"))?;
    let queries = super::read(&folder.join("queries.parquet"))?;
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
