//! What the namespaces of a database consist of, what they take on the store, and what maintenance they are due for.
//!
//! `cargo run --example inspect -- path/to/database [prefix of names]`, or any other location. A store that was never
//! used becomes a database by that; otherwise nothing is written. Without a location it shows a small database in memory.
#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "an example prints, and sizes are rounded"
)]

use elacsym::{Database, Document, IdKind, Metric, Namespace, NamespaceStats, ObjectCount, Result, Schema};
use elacsym::{VectorType, schema::AttributeType};

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let db = match arguments.next() {
        Some(location) => Database::open(location).await?,
        None => sample().await?,
    };
    let prefix = arguments.next().unwrap_or_default();
    let mut total = ObjectCount::default();
    for name in db.list_namespaces().await? {
        if !name.as_str().starts_with(&prefix) {
            continue;
        }
        let namespace = db.open_namespace(name.as_str()).await?;
        let stats = namespace.stats().await?;
        show(&namespace, &stats);
        total.objects += stats.stored.total().objects;
        total.bytes += stats.stored.total().bytes;
    }
    println!("in all {} objects, {}", total.objects, readable(total.bytes));
    db.close().await;
    Ok(())
}

fn show(namespace: &Namespace, stats: &NamespaceStats) {
    println!("{}: {} documents", namespace.name(), stats.documents);
    let columns = namespace.schema().columns().iter().map(|column| column.name.as_str());
    println!("  columns     {}", columns.collect::<Vec<_>>().join(", "));
    println!("  segments    {}", stats.segments);
    println!("  tail        {}", stats.tail);
    for ((kind, stored), (_, current)) in stats.stored.by_kind().into_iter().zip(stats.current.by_kind()) {
        if stored.objects > 0 {
            let (all, needed) = (readable(stored.bytes), readable(current.bytes));
            println!(
                "  {kind:<18} {:>6} of {all:>10}, of which current {:>6} of {needed:>10}",
                stored.objects, current.objects
            );
        }
    }
    if let Some(amplification) = stats.space_amplification() {
        println!("  {amplification:.2} bytes are stored for each that is live");
    }
    let due: Vec<String> = stats.due.iter().map(ToString::to_string).collect();
    println!("  due         {}\n", if due.is_empty() { "nothing".to_owned() } else { due.join(", ") });
}

/// Bytes in the largest unit of which there is one.
fn readable(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let (mut rest, mut unit) = (bytes as f64, "bytes");
    for larger in units {
        if rest < 1024.0 {
            break;
        }
        (rest, unit) = (rest / 1024.0, larger);
    }
    if unit == "bytes" { format!("{bytes} bytes") } else { format!("{rest:.1} {unit}") }
}

async fn sample() -> Result<Database> {
    let db = Database::open("memory://").await?;
    for (name, documents) in [("books", 2_000_u64), ("films", 30)] {
        let schema = Schema::builder(IdKind::U64)
            .attribute("year", AttributeType::Uint)
            .vector("embedding", VectorType::F32, 2, Metric::L2Squared)
            .build()?;
        let namespace = db.create_namespace(name, schema).await?;
        let document = |id: u64| {
            let place = [(id % 60) as f32, (id / 60) as f32];
            Document::new(id).with("year", 1950 + id % 70).with("embedding", place.to_vec())
        };
        // Half of them are written again: their older rows are dead.
        for ids in [0..documents, 0..documents / 2] {
            namespace.write(ids.map(document).collect::<Vec<_>>()).await?;
            namespace.flush().await?;
        }
        namespace.write(document(documents)).await?;
    }
    Ok(db)
}
