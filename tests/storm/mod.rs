//! Many writers on one namespace, each with a database of its own, as so many processes would have.

use std::collections::BTreeSet;
use std::sync::Arc;

use elacsym::schema::AttributeType;
use elacsym::storage::StorageBackend;
use elacsym::{
    Database, Document, DocumentId, ErrorKind, Filter, IdKind, Result, Scan, Schema, Settings, Value,
    WriteBatch,
};

/// The id of the document that all writers count in.
const COUNTER: u64 = u64::MAX;

/// How much is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Storm {
    pub(crate) writers: u64,
    pub(crate) batches: u64,
    pub(crate) rows: u64,
}

impl Storm {
    fn row(self, writer: u64, batch: u64, row: u64) -> u64 {
        (writer * self.batches + batch) * self.rows + row
    }

    /// Lets it blow, and checks that every acknowledged row is there once and that every count counted.
    pub(crate) async fn blow(self, backend: Arc<dyn StorageBackend>) -> Result<()> {
        let first = open(&backend).await?;
        let schema = Schema::builder(IdKind::U64).attribute("n", AttributeType::Uint).build()?;
        let docs = first.create_namespace("docs", schema).await?;
        docs.write(WriteBatch::new().upsert(Document::new(COUNTER).with("n", 0u64))).await?;
        let tasks: Vec<_> =
            (0..self.writers).map(|writer| spawn(self.write(Arc::clone(&backend), writer))).collect();
        let mut sequences = BTreeSet::new();
        for task in tasks {
            let own = task.await.expect("a writer panicked")?;
            assert!(own.is_sorted_by(|a, b| a < b), "a writer's log entries run backwards");
            for sequence in own {
                assert!(sequences.insert(sequence), "two processes share entry {sequence}");
            }
        }
        let fresh = open(&backend).await?.open_namespace("docs").await?;
        let mut found = Vec::new();
        let mut scan = Scan::new();
        loop {
            let page = fresh.scan(scan).await?;
            found.extend(page.rows.documents()?.into_iter().map(|d| d.id().clone()));
            match page.cursor {
                Some(cursor) => scan = Scan::new().after(cursor),
                None => break,
            }
        }
        let expected = (0..self.writers * self.batches * self.rows).chain([COUNTER]);
        assert_eq!(found, expected.map(DocumentId::from).collect::<Vec<_>>());
        let counter = fresh.get([COUNTER]).await?.remove(0).expect("the counter is there");
        assert_eq!(counter.get("n"), Some(&Value::Uint(self.writers)), "counts were lost or doubled");
        Ok(())
    }

    /// One process: batches of rows, one count, and now and then maintenance. Returns the entries it wrote.
    async fn write(self, backend: Arc<dyn StorageBackend>, writer: u64) -> Result<Vec<u64>> {
        let docs = open(&backend).await?.open_namespace("docs").await?;
        let mut sequences = Vec::new();
        for batch in 0..self.batches {
            let rows =
                (0..self.rows).map(|row| Document::new(self.row(writer, batch, row)).with("n", writer));
            sequences.push(docs.write(WriteBatch::new().upsert_all(rows)).await?.sequence.0);
        }
        loop {
            let now = docs.get([COUNTER]).await?.remove(0).expect("the counter is there");
            let Some(Value::Uint(n)) = now.get("n") else { panic!("the counter has no number") };
            let count = Document::new(COUNTER).with("n", n + 1);
            let receipt = docs.write(WriteBatch::new().patch_if(count, Filter::eq("n", *n))).await?;
            if receipt.patched == 1 {
                sequences.push(receipt.sequence.0);
                break;
            }
        }
        match writer % 16 {
            3 => drop(unless_busy(docs.flush().await)?),
            7 => drop(unless_busy(docs.compact().await)?),
            _ => {}
        }
        Ok(sequences)
    }
}

/// Maintenance may find others always quicker: that is no failure of theirs.
fn unless_busy<T>(outcome: Result<T>) -> Result<Option<T>> {
    match outcome {
        Err(e) if e.kind() == ErrorKind::Unavailable => Ok(None),
        outcome => outcome.map(Some),
    }
}

async fn open(backend: &Arc<dyn StorageBackend>) -> Result<Database> {
    let mut settings = Settings::default();
    settings.write_timeout = std::time::Duration::from_mins(2);
    Database::builder().settings(settings).open_backend(Arc::clone(backend)).await
}

#[expect(clippy::disallowed_methods, reason = "a writer runs beside the others")]
fn spawn<T: Send + 'static>(writer: impl Future<Output = T> + Send + 'static) -> tokio::task::JoinHandle<T> {
    tokio::spawn(writer)
}
