//! The collection carried by the repository is what its README says.

#[path = "../../examples/common/mod.rs"]
mod common;

use std::collections::HashSet;

use arrow::array::{Array, AsArray};
use arrow::datatypes::UInt64Type;
use common::{Collection, DIMENSION};
use elacsym::schema::{AttributeType, Schema};
use elacsym::{IdKind, Metric, VectorType};

#[test]
fn the_collection_is_whole_and_fits_a_schema() -> Result<(), Box<dyn std::error::Error>> {
    let Collection { documents, queries } = Collection::load()?;
    assert_eq!((documents.num_rows(), queries.len()), (1200, 300));
    let schema = Schema::builder(IdKind::U64)
        .attribute("title", AttributeType::String)
        .attribute("text", AttributeType::String)
        .attribute("words", AttributeType::Int)
        .attribute("sentences", AttributeType::Int)
        .attribute("structured", AttributeType::Bool)
        .vector("embedding", VectorType::F16, DIMENSION, Metric::Cosine)
        .build()?;
    for (found, expected) in documents.schema().fields().iter().zip(schema.arrow().fields()) {
        assert_eq!(found.name(), expected.name());
        assert!(found.data_type().equals_datatype(expected.data_type()), "{found:?}");
    }
    let ids: HashSet<u64> =
        documents.column(0).as_primitive::<UInt64Type>().values().iter().copied().collect();
    assert_eq!(ids.len(), documents.num_rows());
    for query in &queries {
        assert!(!query.relevant.is_empty() && query.relevant.iter().all(|id| ids.contains(id)));
        let length: f32 = query.embedding.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 0.01 && query.embedding.len() == DIMENSION, "{length}");
    }
    assert!(documents.columns().iter().all(|column| column.null_count() == 0));
    Ok(())
}
