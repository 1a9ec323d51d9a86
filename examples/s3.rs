//! A database in a bucket: S3, or any compatible store.
//!
//! `cargo run --features aws --example s3 -- s3://bucket/prefix`
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;

use elacsym::schema::AttributeType;
use elacsym::{Database, Document, ErrorKind, Filter, IdKind, Scan, Schema, WriteBatch};

const HELP: &str = "\
Name a bucket, as an argument or in ELACSYM_EXAMPLE_LOCATION:

    cargo run --features aws --example s3 -- s3://bucket/prefix

Credentials and endpoint come from the usual variables:

    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY   unless the machine has a role
    AWS_REGION                                 where the bucket is
    AWS_ENDPOINT                               for stores other than Amazon's, such as http://localhost:8333
    AWS_ALLOW_HTTP=true                        if the endpoint has no TLS

The example needs s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket. It works in a namespace of its own,
`elacsym-example`, and deletes it at the end.";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let location = std::env::args().nth(1).or_else(|| std::env::var("ELACSYM_EXAMPLE_LOCATION").ok());
    let Some(location) = location else {
        println!("{HELP}");
        return Ok(());
    };
    // The first open of a store verifies that its conditional puts work.
    let db = match Database::open(&location).await {
        Ok(db) => db,
        Err(error) => {
            let hint = match error.kind() {
                ErrorKind::Invalid => HELP,
                ErrorKind::PermissionDenied => {
                    "The store refuses the credentials, or they lack a permission."
                }
                ErrorKind::UnsupportedStore => "This store cannot hold a database safely.",
                _ => "The store does not answer: check the endpoint and the network.",
            };
            println!("{error}\n\n{hint}");
            return Ok(());
        }
    };
    let schema = Schema::builder(IdKind::U64).attribute("title", AttributeType::String).build()?;
    let ns = db.open_or_create_namespace("elacsym-example", schema).await?;

    // One put makes the batch durable.
    let documents = ["Cold reads", "Warm reads", "Tea leaves"];
    let documents = (1u64..).zip(documents).map(|(id, title)| Document::new(id).with("title", title));
    let receipt = ns.write(WriteBatch::new().upsert_all(documents)).await?;
    println!("entry {} is on {location}", receipt.sequence);

    // Rows of segments are Parquet, which any engine with access to the bucket can read.
    println!("{:?}", ns.flush().await?);
    let page = ns.scan(Scan::new().filter(Filter::glob("title", "* reads"))).await?;
    for document in page.rows.documents()? {
        println!("{document:?}");
    }
    db.delete_namespace("elacsym-example").await?;
    Ok(())
}
