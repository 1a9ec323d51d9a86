//! Arrow in and out: writing record batches, and reading answers as record batches.
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
use elacsym::{Database, Filter, IdKind, Metric, Query, Scan, Schema, Select, VectorType};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let schema = Schema::builder(IdKind::U64)
        .attribute("city", AttributeType::String)
        .attribute("founded", AttributeType::Int)
        .vector("place", VectorType::F32, 2, Metric::L2Squared)
        .build()?;

    // Columns are matched by name, in any order. Types convert where that is lossless: these years are 32-bit. A missing
    // column is null in all rows; an unknown column is an error.
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
    println!("{}", cities.write(batch).await?);

    // Answers are record batches in the layout of the schema: the id, then the selected columns.
    let query = Query::nearest("place", vec![50.1, 8.7]).select(Select::only(["city"]));
    let answer = cities.query(query).await?;
    let names = answer.rows.batch().column_by_name("city").ok_or("no city")?;
    let names = names.as_any().downcast_ref::<StringArray>().ok_or("not strings")?;
    for (name, distance) in names.iter().flatten().zip(answer.distances().into_iter().flatten()) {
        println!("{name:<8} {distance:.1}");
    }
    let page = cities.scan(Scan::new().filter(Filter::lt("founded", 0)).select(Select::All)).await?;
    println!("{}", page.rows.batch().schema());

    // The schema knows the layout without an answer.
    assert_eq!(page.rows.batch().schema().fields(), cities.schema().arrow().fields());
    Ok(())
}
