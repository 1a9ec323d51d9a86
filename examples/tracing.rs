//! What the crate says through `tracing`: one event for each query with its statistics, and warnings that need a look.
//!
//! `cargo run --example tracing`
#![expect(clippy::print_stdout, reason = "an example prints")]

use elacsym::schema::TextOptions;
use elacsym::{Database, Document, IdKind, Query, Result, Schema, TextQuery, WriteBatch};
use tracing::Instrument;
use tracing::level_filters::LevelFilter;

#[tokio::main]
async fn main() -> Result<()> {
    // Any subscriber will do. At `warn`, which is enough in production, nothing is said here.
    let to_stdout = tracing_subscriber::fmt().with_max_level(LevelFilter::DEBUG).with_writer(std::io::stdout);
    to_stdout.without_time().with_ansi(false).init();

    let schema = Schema::builder(IdKind::U64).text("body", TextOptions::default()).build()?;
    let notes = Database::open("memory://").await?.create_namespace("notes", schema).await?;
    let document = |(id, body): (u64, &str)| Document::new(id).with("body", body);
    notes
        .write(
            [(1, "cold tea"), (2, "tea leaves"), (3, "a pot")]
                .map(document)
                .into_iter()
                .collect::<WriteBatch>(),
        )
        .await?;

    // Events carry the spans that they happen in: those of a request, for example.
    let request = tracing::info_span!("request", user = "ann");
    let answer = notes.query(Query::text(TextQuery::any("body", "tea"))).instrument(request).await?;
    println!("{} hits", answer.hits()?.len());

    // A query that is refused says so, too.
    let failed = notes.query(Query::text(TextQuery::any("title", "tea"))).await;
    println!("{}", failed.map_or_else(|error| error.to_string(), |_| "it has such a column".to_owned()));
    Ok(())
}
