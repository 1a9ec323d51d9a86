//! What a user does first: write, flush, change, read in every way.
use elacsym::schema::AttributeType;
use elacsym::*;

#[tokio::test]
async fn smoke() -> Result<()> {
    let db = Database::open("memory://").await?;
    let schema = Schema::builder(IdKind::U64)
        .attribute("n", AttributeType::Int)
        .attribute("t", AttributeType::String)
        .vector("v", VectorType::F32, 2, Metric::L2Squared)
        .build()?;
    let ns = db.create_namespace("docs", schema).await?;
    for i in 0..100u16 {
        ns.write(
            WriteBatch::new().upsert(
                Document::new(u64::from(i))
                    .with("n", i)
                    .with("t", format!("t{i}"))
                    .with("v", Vector::from([f32::from(i), 0.0])),
            ),
        )
        .await?;
    }
    ns.flush().await?;
    ns.write(
        WriteBatch::new()
            .delete(3)
            .patch(Document::new(4).with("n", 400))
            .insert(Document::new(1000).with("n", 1)),
    )
    .await?;
    for round in 0..3 {
        let got = ns.get([3, 4, 1000, 7]).await?;
        assert!(got[0].is_none());
        assert_eq!(got[1].as_ref().unwrap().get("n"), Some(&Value::Int(400)));
        assert_eq!(got[1].as_ref().unwrap().get("t"), Some(&Value::String("t4".into())));
        assert!(got[2].is_some() && got[3].is_some());
        let page = ns.scan(Scan::new().filter(Filter::gt("n", 95)).limit(3)).await?;
        let ids: Vec<_> = page.rows.documents()?.iter().map(|d| d.id().clone()).collect();
        assert_eq!(ids, [4, 96, 97]);
        let next = ns.scan(Scan::new().filter(Filter::gt("n", 95)).limit(3).after(page.cursor)).await?;
        assert_eq!(next.rows.len(), 2);
        assert!(next.cursor.is_none());
        let hits = ns.query(Query::nearest("v", Vector::from([3.2, 0.0])).limit(3)).await?.hits()?;
        assert_eq!(hits.iter().map(|h| h.document.id().clone()).collect::<Vec<_>>(), [4, 2, 5]);
        if round == 0 {
            println!("{:?}", ns.flush().await?);
        }
        if round == 1 {
            println!("{:?}", ns.compact().await?);
        }
    }
    Ok(())
}
