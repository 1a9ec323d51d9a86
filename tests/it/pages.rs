//! Pages of hits: a loop over them ends after the last hit, with no hit twice, none left out and no error.
#![expect(clippy::indexing_slicing, reason = "a test")]

use std::collections::BTreeSet;
use std::sync::Arc;

use elacsym::query::QueryCursor;
use elacsym::schema::{AttributeType, TextOptions};
use elacsym::storage::MemoryBackend;
use elacsym::*;

async fn namespace(limit_max: usize) -> Result<Namespace> {
    let schema = Schema::builder(IdKind::U64)
        .vector("near", VectorType::F32, 2, Metric::L2Squared)
        .text("body", TextOptions::default())
        .attribute("author", AttributeType::String)
        .attribute("year", AttributeType::Int)
        .build()?;
    let mut settings = Settings::default();
    settings.limit_max = limit_max;
    let db = Database::builder().settings(settings).open_backend(Arc::new(MemoryBackend::new())).await?;
    db.create_namespace("docs", schema).await
}

fn document(id: u64) -> Document {
    let at = |prime: u64| f32::from(u16::try_from(id * prime % 211).unwrap_or(0));
    Document::new(id)
        .with("near", Vector::from([at(7), at(13)]))
        .with("body", ["tea", "cold tea", "a pot of tea"][usize::try_from(id % 3).unwrap_or(0)])
        .with("author", format!("author {}", id % 40))
        .with("year", i64::try_from(id * 31 % 9).unwrap_or(0))
}

async fn fill(ns: &Namespace, count: u64) -> Result<()> {
    // Two segments and a tail.
    let parts = [0..count / 2, count / 2..count / 10 * 9, count / 10 * 9..count];
    for (at, part) in parts.into_iter().enumerate() {
        ns.write(WriteBatch::new().upsert_all(part.map(document))).await?;
        if at < 2 {
            ns.flush().await?;
        }
    }
    Ok(())
}

fn legs() -> [Leg; 3] {
    [
        Leg::text(TextQuery::any("body", "tea")),
        VectorQuery::new("near", [100.0, 100.0]).exact().into(),
        Leg::order_by([Order::desc("year"), Order::asc("id")]),
    ]
}

/// Single legs, whose pages are the hits of one long page, and all kinds of others.
fn queries() -> Vec<(&'static str, Query)> {
    let [text, near, order] = legs();
    let value = || Rescore::rank(Combine::Sum, Rank::attribute("year"));
    vec![
        ("text", text.clone().into()),
        ("near", near.clone().into()),
        ("order", order.clone().into()),
        ("hybrid", Query::hybrid([text.clone(), near.clone(), order])),
        ("hybrid with depths", Query::hybrid([text.clone().depth(7), near.clone().depth(7)])),
        ("rescored", Query::from(near.clone()).rescore(value())),
        ("rescored with a depth", Query::from(text.clone()).rescore(value().depth(45))),
        ("limited", Query::from(text).limit_per(["author"], 5)),
        ("limited hybrid", Query::hybrid([near, legs()[2].clone()]).limit_per(["author", "year"], 1)),
    ]
}

fn ids(answer: &QueryResponse) -> Result<Vec<DocumentId>> {
    Ok(answer.rows.documents()?.iter().map(|document| document.id().clone()).collect())
}

/// All ids of the pages of a query, how many pages there were, and whether there are more hits.
async fn walk(ns: &Namespace, query: &Query, context: &str) -> Result<(Vec<DocumentId>, usize, bool)> {
    let (mut all, mut pages, mut cursor) = (Vec::new(), 0, None::<QueryCursor>);
    loop {
        // It goes by way of text, as through a browser.
        let after = cursor.map(|cursor| cursor.to_string().parse()).transpose()?;
        let page = ns.query(query.clone().select(Select::only(["year"])).after(after)).await?;
        assert!(pages == 0 || !page.rows.is_empty(), "{context}: an empty page");
        assert!(page.more || page.cursor.is_none(), "{context}");
        all.extend(ids(&page)?);
        pages += 1;
        cursor = page.cursor;
        if cursor.is_none() {
            let different: BTreeSet<_> = all.iter().collect();
            assert_eq!(different.len(), all.len(), "{context}: a document twice");
            return Ok((all, pages, page.more));
        }
    }
}

#[tokio::test]
async fn pages_go_on_to_the_last_hit_past_the_longest_page() -> Result<()> {
    let ns = namespace(100).await?;
    fill(&ns, 350).await?;
    for (name, query) in queries() {
        for limit in [30, 50, 70, 100] {
            if name == "rescored with a depth" && limit > 45 {
                continue;
            }
            let context = format!("{name}, pages of {limit}");
            let (all, pages, more) = walk(&ns, &query.clone().limit(limit), &context).await?;
            // Of each author five, unless it says that there may be more.
            assert_eq!(more, name.contains("limited"), "{context}");
            match name {
                "text" | "near" | "order" | "hybrid" | "rescored" => {
                    assert_eq!(all.len(), 350, "{context}");
                    assert_eq!(pages, 350_usize.div_ceil(limit), "{context}");
                }
                "limited" => {
                    let mut of = std::collections::BTreeMap::<u64, u64>::new();
                    for id in &all {
                        let DocumentId::U64(id) = id else { unreachable!() };
                        *of.entry(id % 40).or_default() += 1;
                    }
                    assert!(of.values().all(|count| *count <= 5), "{context}: {of:?}");
                }
                _ => {}
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn pages_of_one_leg_are_one_long_page() -> Result<()> {
    let (short, long) = (namespace(60).await?, namespace(10_000).await?);
    fill(&short, 350).await?;
    fill(&long, 350).await?;
    for leg in legs() {
        let (paged, ..) = walk(&short, &Query::from(leg.clone()).limit(17), "short").await?;
        let whole = long.query(Query::from(leg.clone()).limit(350)).await?;
        assert_eq!(paged, ids(&whole)?, "{leg}");
        assert!(!whole.more && whole.cursor.is_none(), "{leg}");
        // Ranks count on.
        let first = short.query(Query::from(leg.clone()).limit(60)).await?;
        let next = short.query(Query::from(leg.clone()).limit(60).after(first.cursor)).await?;
        let rank = |answer: &QueryResponse, at: usize| answer.legs[at][0].map(|hit| hit.rank);
        assert!(rank(&next, 0) >= rank(&whole, 60) && rank(&next, 0) <= Some(61), "{leg}");
    }
    Ok(())
}

#[tokio::test]
async fn ten_thousand_and_more_hits_are_paged_to_the_end() -> Result<()> {
    let ns = namespace(10_000).await?;
    fill(&ns, 10_500).await?;
    for query in [Query::text(TextQuery::any("body", "tea")), legs()[2].clone().into()] {
        for limit in [1_000, 3_000] {
            let (all, pages, more) = walk(&ns, &query.clone().limit(limit), "10,500").await?;
            assert_eq!((all.len(), pages, more), (10_500, 10_500_usize.div_ceil(limit), false), "{query:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_last_page_that_is_full_has_no_cursor() -> Result<()> {
    let ns = namespace(10_000).await?;
    fill(&ns, 40).await?;
    for (name, query) in queries().into_iter().filter(|(name, _)| !name.contains("depth")) {
        for limit in [10, 20, 40] {
            let (all, pages, more) = walk(&ns, &query.clone().limit(limit), name).await?;
            assert_eq!((all.len(), pages, more), (40, 40 / limit, false), "{name} by {limit}");
        }
    }
    // By offset and in groups there is no cursor, but the answer says whether there are more.
    let text = || Query::text(TextQuery::any("body", "tea"));
    for (query, more) in [
        (text().limit(10).offset(20), true),
        (text().limit(10).offset(30), false),
        (text().limit(10).group_by(["author"], 2), true),
        (text().limit(40).group_by(["author"], 2), false),
    ] {
        let answer = ns.query(query.clone()).await?;
        assert_eq!((answer.more, answer.cursor.is_none()), (more, true), "{query:?}");
    }
    Ok(())
}

#[tokio::test]
async fn no_document_is_shown_twice_whatever_is_written_between_pages() -> Result<()> {
    let ns = namespace(50).await?;
    fill(&ns, 200).await?;
    let mut next = 1_000_u64;
    for leg in legs() {
        let (mut shown, mut cursor) = (BTreeSet::new(), None);
        let end = next + 10;
        loop {
            let page = ns.query(Query::from(leg.clone()).limit(20).after(cursor)).await?;
            for id in ids(&page)? {
                assert!(shown.insert(id.clone()), "{leg}: {id} twice");
            }
            // One that was shown is written again as another, one is gone, one is new at the front.
            let mut batch = WriteBatch::new();
            if let Some(DocumentId::U64(id)) = shown.first().filter(|_| next < end) {
                batch = batch.upsert(document(*id).with("year", -1).with("body", "tea tea tea"));
                batch = batch.upsert(document(next).with("year", 100));
                next += 1;
                ns.write(batch).await?;
            }
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert!(shown.len() >= 200, "{leg}: {}", shown.len());
    }
    Ok(())
}
