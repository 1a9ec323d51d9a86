//! Values of very different lengths beside each other.

use elacsym::schema::AttributeType;
use elacsym::*;

#[tokio::test]
async fn short_values_before_long_ones_are_read_back() -> Result<()> {
    let schema =
        Schema::builder(IdKind::U64).attribute("body", AttributeType::String).filterable("body", false);
    let docs = Database::open("memory://").await?.create_namespace("docs", schema.build()?).await?;
    // A page that is closed by the size of its first values would take 76 MB here, more than is ever decompressed.
    let body = |id: u64| format!("{id} {}", "x".repeat(if id < 128 { 100 } else { 600_000 }));
    docs.write((0..256).map(|id| Document::new(id).with("body", body(id))).collect::<WriteBatch>()).await?;
    docs.flush().await?;
    for id in [0, 127, 128, 200, 255] {
        let found = docs.get_one(id).await?;
        assert!(found.is_some_and(|found| found.str("body") == Some(body(id).as_str())), "{id}");
    }
    Ok(())
}
