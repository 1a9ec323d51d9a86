//! The collection that examples and tests search: scientific abstracts, and claims with expert judgments.
#![expect(dead_code, reason = "each example uses a part")]

pub(crate) mod judged;

use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Float16Type, UInt64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// The dimension of the embeddings, which are of unit length.
pub(crate) const DIMENSION: usize = 384;

/// See `examples/data/scifact/README.md`.
pub(crate) struct Collection {
    /// `id` (u64), `title`, `text` (strings), `words`, `sentences` (i64), `structured` (bool) and `embedding`
    /// (384 × f16).
    pub(crate) documents: RecordBatch,
    /// Claims.
    pub(crate) queries: Vec<Query>,
}

/// A claim, and the documents that support or refute it.
pub(crate) struct Query {
    pub(crate) text: String,
    pub(crate) embedding: Vec<f32>,
    /// Ids of documents.
    pub(crate) relevant: Vec<u64>,
}

impl Collection {
    /// Reads the collection from the repository.
    pub(crate) fn load() -> Result<Self, Box<dyn Error>> {
        let documents = read(&file("documents.parquet"))?;
        let queries = read(&file("queries.parquet"))?;
        let column = |name| queries.column_by_name(name).ok_or("a column is missing");
        let (texts, embeddings, relevant) = (column("text")?, column("embedding")?, column("relevant")?);
        let query = |row| {
            let embedding = embeddings.as_fixed_size_list().value(row);
            let embedding = embedding.as_primitive::<Float16Type>().values();
            Query {
                text: texts.as_string::<i32>().value(row).to_owned(),
                embedding: embedding.iter().map(|x| x.to_f32()).collect(),
                relevant: relevant.as_list::<i32>().value(row).as_primitive::<UInt64Type>().values().to_vec(),
            }
        };
        Ok(Self { documents, queries: (0..queries.num_rows()).map(query).collect() })
    }
}

/// A file of the collection.
pub(crate) fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/scifact").join(name)
}

/// Reads a whole Parquet file.
pub(crate) fn read(path: &Path) -> Result<RecordBatch, Box<dyn Error>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?;
    let schema = reader.schema().clone();
    let batches = reader.build()?.collect::<Result<Vec<_>, _>>()?;
    Ok(concat_batches(&schema, &batches)?)
}
