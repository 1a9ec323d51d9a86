//! Arrow in and out: record batches of your own making, and answers as record batches.
//!
//! `cargo run --example arrow`
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::sync::Arc;

use elacsym::arrow::array::{
    ArrayRef, FixedSizeListArray, Int32Array, RecordBatch, StringArray, UInt64Array,
};
use elacsym::arrow::datatypes::Float32Type;
use elacsym::schema::AttributeType;
use elacsym::{Database, Filter, IdKind, Metric, Query, Scan, Schema, Select, VectorType, WriteBatch};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let schema = Schema::builder(IdKind::U64)
        .attribute("city", AttributeType::String)
        .attribute("founded", AttributeType::Int)
        .vector("place", VectorType::F32, 2, Metric::L2Squared)
        .build()?;

    // Columns are found by name, in any order. Types are cast where nothing is lost: these years are 32-bit.
    // A column of the schema that is not there is null for all rows; one that the schema lacks is an error.
    let places = [[52.5, 13.4], [48.9, 2.4], [41.9, 12.5]].map(|place| Some(place.map(Some)));
    let columns: [(&str, ArrayRef); 4] = [
        ("founded", Arc::new(Int32Array::from(vec![Some(1237), None, Some(-753)]))),
        ("city", Arc::new(StringArray::from(vec!["Berlin", "Paris", "Rome"]))),
        ("place", Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(places, 2))),
        ("id", Arc::new(UInt64Array::from(vec![1, 2, 3]))),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true)))?;

    let db = Database::open("memory://").await?;
    let cities = db.create_namespace("cities", schema).await?;
    println!("{:?}", cities.write(WriteBatch::new().upsert_batch(batch)).await?);

    // Answers are record batches in the layout of the schema: the id, then the selected columns.
    let answer =
        cities.query(Query::nearest("place", vec![50.1, 8.7]).select(Select::only(["city"]))).await?;
    for ((id, city), distance) in
        ids(answer.rows.batch()).zip(names(answer.rows.batch())).zip(answer.distances().into_iter().flatten())
    {
        println!("{id} {city:<8} {distance:.1}");
    }
    let page = cities.scan(Scan::new().filter(Filter::lt("founded", 0)).select(Select::All)).await?;
    println!("{}", page.rows.batch().schema());

    // The layout is known without an answer, for readers that want it first.
    assert_eq!(page.rows.batch().schema().fields(), cities.schema().arrow().fields());
    Ok(())
}

fn ids(batch: &RecordBatch) -> impl Iterator<Item = u64> {
    let ids = batch.column_by_name("id").and_then(|column| column.as_any().downcast_ref::<UInt64Array>());
    ids.into_iter().flat_map(|ids| ids.values().iter().copied())
}

fn names(batch: &RecordBatch) -> impl Iterator<Item = &str> {
    let names = batch.column_by_name("city").and_then(|column| column.as_any().downcast_ref::<StringArray>());
    names.into_iter().flat_map(|names| names.iter().flatten())
}
