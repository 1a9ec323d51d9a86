//! What stays open in a process: a namespace as long as there is a handle of it, and after that within a budget.
#![expect(clippy::unwrap_used, reason = "a test panics")]

use std::sync::Arc;

use elacsym::schema::{AttributeType, TextOptions};
use elacsym::storage::{CountingBackend, MemoryBackend};
use elacsym::{
    Consistency, Database, Document, ErrorKind, Filter, IdKind, Metric, Namespace, Query, Result, Scan,
    Schema, Settings, TextQuery, Vector, VectorType, WriteBatch,
};

/// How many namespaces are opened in turn; more by this variable.
const NAMESPACES: usize = 2_000;
const VARIABLE: &str = "ELACSYM_TEST_NAMESPACES";

fn schema() -> Result<Schema> {
    Schema::builder(IdKind::U64)
        .attribute("n", AttributeType::Int)
        .text("body", TextOptions::default())
        .vector("v", VectorType::F32, 4, Metric::L2Squared)
        .build()
}

fn document(id: u64) -> Document {
    let vector = Vector::from([1.0, 2.0, 3.0, f32::from(u16::try_from(id % 1_000).unwrap())]);
    Document::new(id).with("n", id).with("body", format!("word{id} and more")).with("v", vector)
}

struct Store {
    counting: CountingBackend,
    db: Database,
}

impl Store {
    async fn new(idle_bytes_max: usize) -> Result<Self> {
        let counting = CountingBackend::new(Arc::new(MemoryBackend::new()));
        let mut settings = Settings::default();
        settings.idle_bytes_max = idle_bytes_max;
        let builder = Database::builder().settings(settings);
        let db = builder.open_backend(Arc::new(counting.clone())).await?;
        Ok(Self { counting, db })
    }

    fn resident(&self) -> u64 {
        self.db.cache_stats().resident_bytes
    }

    /// A namespace with some documents in a segment and one in the tail.
    async fn make(&self, name: &str) -> Result<Namespace> {
        let namespace = self.db.create_namespace(name, schema()?).await?;
        namespace.write(WriteBatch::new().upsert_all((0..5).map(document))).await?;
        namespace.flush().await?;
        namespace.write(WriteBatch::new().upsert(document(5))).await?;
        Ok(namespace)
    }

    /// How many requests it takes to open a namespace.
    async fn requests_to_open(&self, name: &str) -> Result<usize> {
        self.counting.reset();
        let _namespace = self.db.open_namespace(name).await?;
        Ok(self.counting.requests())
    }
}

async fn sees(namespace: &Namespace, id: u64) -> Result<bool> {
    let known = namespace.snapshot(Consistency::Eventual).await?;
    Ok(known.get([id]).await?.iter().all(Option::is_some))
}

#[tokio::test]
async fn many_small_namespaces_opened_in_turn_stay_within_their_budget() -> Result<()> {
    let count = std::env::var(VARIABLE).map_or(NAMESPACES, |count| count.parse().unwrap());
    let budget = 256 << 10;
    let store = Store::new(budget).await?;
    let largest = {
        let _namespace = store.make("n0").await?;
        store.resident()
    };
    assert!((1 << 10..64 << 10).contains(&largest), "{largest} bytes of a small namespace");
    let budget = u64::try_from(budget).unwrap();
    let mut opened = 0;
    for turn in 1..count {
        // A few are written, all others are opened, asked and let go.
        let name = format!("n{}", turn % 50);
        if turn < 50 {
            store.make(&name).await?;
        } else {
            let name = if turn % 3 == 0 { &name } else { &format!("m{turn}") };
            let namespace = store.db.open_or_create_namespace(name, schema()?).await?;
            let hits = namespace.query(Query::nearest("v", [1.0, 2.0, 3.0, 4.0]).limit(1)).await?;
            opened += hits.hits()?.len();
        }
        let resident = store.resident();
        assert!(resident <= budget + largest, "{resident} bytes after {turn} namespaces");
    }
    assert!(opened > 0 && store.resident() > budget / 2, "idle ones are kept while there is room");
    store.db.close().await;
    assert_eq!(store.resident(), 0);
    Ok(())
}

#[tokio::test]
async fn what_a_namespace_keeps_is_counted_and_goes_with_its_last_handle() -> Result<()> {
    let store = Store::new(0).await?;
    let a = store.make("a").await?;
    let one = store.resident();
    let b = store.make("b").await?;
    let two = store.resident();
    assert!(one > 0 && two > one);
    // What is written grows the tail, and what is asked of the text stays at hand.
    b.write(WriteBatch::new().upsert_all((10..2_000).map(document))).await?;
    let more = store.resident();
    assert!(more > two + 2_000 * 20, "{two} and {more}");
    b.flush().await?;
    let flushed = store.resident();
    b.query(Query::text(TextQuery::any("body", "and more word17"))).await?;
    assert!(store.resident() > flushed, "postings that were read are kept");
    let clone = b.clone();
    drop(b);
    assert!(store.resident() > two);
    drop(clone);
    assert_eq!(store.resident(), one);
    // A snapshot goes on without a handle.
    let snapshot = a.snapshot(Consistency::Strong).await?;
    drop(a);
    assert_eq!(snapshot.count().await?, 6);
    drop(snapshot);
    assert!(store.requests_to_open("b").await? > 0, "it was let go");
    assert_eq!(store.resident(), 0);
    assert!(store.requests_to_open("a").await? > 0, "and so was this one");
    Ok(())
}

#[tokio::test]
async fn all_handles_of_a_name_share_what_they_know() -> Result<()> {
    let store = Store::new(64 << 20).await?;
    let first = store.make("a").await?;
    let second = store.db.open_namespace("a").await?;
    first.write(WriteBatch::new().upsert(document(100))).await?;
    assert!(sees(&second, 100).await?, "without asking the store");
    drop(first);
    let third = store.db.open_namespace("a").await?;
    second.write(WriteBatch::new().upsert(document(101))).await?;
    assert!(sees(&third, 101).await?);
    drop((second, third));
    // It is idle, and has forgotten nothing.
    assert_eq!(store.requests_to_open("a").await?, 0);
    let again = store.db.open_namespace("a").await?;
    assert!(sees(&again, 101).await?);
    // Handles opened at once are of one namespace too.
    let other = Database::builder().open_backend(Arc::new(store.counting.clone())).await?;
    let opened = futures::future::join_all((0..8).map(|_| other.open_namespace("a"))).await;
    let opened = opened.into_iter().collect::<Result<Vec<_>>>()?;
    opened.first().unwrap().write(WriteBatch::new().upsert(document(102))).await?;
    for handle in &opened {
        assert!(sees(handle, 102).await?);
    }
    Ok(())
}

#[tokio::test]
async fn those_idle_longest_go_first_and_those_in_use_do_not() -> Result<()> {
    // Room for about two idle ones.
    let probe = Store::new(0).await?;
    let _held = probe.make("a").await?;
    let store = Store::new(usize::try_from(probe.resident() * 5 / 2).unwrap()).await?;
    let used = store.make("used").await?;
    for name in ["a", "b", "c"] {
        store.make(name).await?;
    }
    for (name, open) in [("b", true), ("c", true), ("used", true)] {
        assert_eq!(store.requests_to_open(name).await? == 0, open, "{name}");
    }
    // `a` comes back, and `b`, which was idle longest, makes room.
    assert!(store.requests_to_open("a").await? > 0);
    assert_eq!(store.requests_to_open("c").await?, 0);
    assert!(store.requests_to_open("b").await? > 0);
    assert!(sees(&used, 5).await?);
    Ok(())
}

#[tokio::test]
async fn what_was_closed_or_deleted_is_not_opened_from_memory() -> Result<()> {
    let store = Store::new(64 << 20).await?;
    let closed = store.make("a").await?;
    closed.close().await;
    let again = store.db.open_namespace("a").await?;
    again.write(WriteBatch::new().upsert(document(7))).await?;
    let refused = closed.write(WriteBatch::new().upsert(document(8))).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Closed);
    drop((closed, again));
    assert_eq!(store.requests_to_open("a").await?, 0);

    let old = store.db.open_namespace("a").await?;
    store.db.delete_namespace("a").await?;
    let gone = store.db.open_namespace("a").await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    let new = store.db.create_namespace("a", schema()?).await?;
    assert_eq!(new.scan(Scan::new()).await?.rows.len(), 0);
    assert_eq!(old.scan(Scan::new()).await.unwrap_err().kind(), ErrorKind::Deleted);
    drop(old);
    new.write(WriteBatch::new().upsert(document(1))).await?;
    drop(new);
    let known = store.db.open_namespace("a").await?;
    assert_eq!(known.scan(Scan::new().filter(Filter::eq("n", 1))).await?.rows.len(), 1);
    // Closing the database closes what has handles and what has none.
    store.db.close().await;
    let refused = known.write(WriteBatch::new().upsert(document(2))).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Closed);
    // What was open before it is no matter of what is opened again.
    let again = store.db.open_namespace("a").await?;
    drop(known);
    assert_eq!(store.requests_to_open("a").await?, 0);
    drop(again);
    Ok(())
}
