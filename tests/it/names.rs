//! Names as long as they may be, on a real file system.

use elacsym::schema::{AttributeType, TextOptions};
use elacsym::{
    COLUMN_NAME_BYTES_MAX, Consistency, Database, Document, Filter, ID_BYTES_MAX, IdKind, Metric, Query,
    Result, Schema, TextQuery, Vector, VectorType, WriteBatch,
};

/// Names of columns of every kind of character, as long as they may be.
fn columns() -> Vec<String> {
    let long = |(start, c): (&str, char)| {
        let mut name = start.to_owned();
        while name.len() + c.len_utf8() <= COLUMN_NAME_BYTES_MAX {
            name.push(c);
        }
        name
    };
    let kinds = [("A", 'A'), ("", '漢'), ("", '😀'), ("", '/'), ("", '.'), ("", 'a'), ("", '~'), ("", '\\')];
    kinds.map(long).to_vec()
}

#[tokio::test]
async fn the_longest_names_work_on_a_local_folder() -> Result<()> {
    let names = ["A".repeat(128), ".".repeat(128), "aB".repeat(64), "a".repeat(128), "_.-Z".repeat(32)];
    let columns = columns();
    let mut schema = Schema::builder(IdKind::String);
    for name in &columns {
        schema = schema
            .vector(name, VectorType::F32, 2, Metric::Cosine)
            .attribute(format!("i{}", cut(name)), AttributeType::Int)
            .text(format!("t{}", cut(name)), TextOptions::default());
    }
    let schema = schema.build()?;
    let id = "Ü".repeat(ID_BYTES_MAX / 2);
    let temp = tempfile::tempdir().unwrap();
    for name in &names {
        let db = Database::open(temp.path().to_str().unwrap()).await?;
        let namespace = db.create_namespace(name, schema.clone()).await?;
        for round in 0..2 {
            let mut document = Document::new(format!("{}{round}", &id[2..]));
            for column in &columns {
                document.set(column, Vector::from([1.0, f32::from(u8::try_from(round).unwrap())]));
                document.set(format!("i{}", cut(column)), round);
                document.set(format!("t{}", cut(column)), format!("round{round}"));
            }
            namespace.write(WriteBatch::new().upsert(document)).await?;
            namespace.flush().await?;
        }
        namespace.compact().await?;
        namespace.write(WriteBatch::new().delete(format!("{}0", &id[2..]))).await?;
        namespace.flush().await?;
    }
    let db = Database::open(temp.path().to_str().unwrap()).await?;
    let mut expected = names.to_vec();
    expected.sort();
    let listed: Vec<String> = db.list_namespaces().await?.iter().map(ToString::to_string).collect();
    assert_eq!(listed, expected);
    for name in &names {
        let namespace = db.open_namespace(name).await?;
        for column in &columns {
            let nearest = namespace.query(Query::nearest(column, [1.0, 0.5]).limit(5)).await?.hits()?;
            assert_eq!(nearest.len(), 1, "{column}");
            let text = Query::text(TextQuery::any(format!("t{}", cut(column)), "round1"));
            assert_eq!(namespace.query(text).await?.hits()?.len(), 1);
            let filter = Filter::eq(format!("i{}", cut(column)), 1);
            assert_eq!(namespace.snapshot(Consistency::Strong).await?.count_matching(&filter).await?, 1);
        }
        db.delete_namespace(name).await?;
    }
    assert_eq!(db.list_namespaces().await?, []);
    Ok(())
}

/// Without its last character: room for another in front.
fn cut(name: &str) -> &str {
    let mut characters = name.chars();
    characters.next_back();
    characters.as_str()
}
