//! The library's API, as far as the harness uses it: the one place that a change of it is felt.

use std::sync::Arc;

use elacsym::env::{Env, Runtime};
use elacsym::storage::StorageBackend;
pub use elacsym::testing::{EntryView as Entry, Safeguard, decode_entry, read_entry};
use elacsym::{
    Consistency, Database, Document, DocumentId, Filter, Namespace, Query, Result, Scan, Schema, Select,
    Sequence, Settings, Snapshot, Vector, WriteBatch,
};

use super::model::{Batch, Op, Receipt};
use super::predicate::Predicate;

/// Which state a read asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Strong,
    Eventual,
    AtLeast(u64),
}

/// How a database is opened.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub settings: Settings,
    pub without: Option<Safeguard>,
}

/// A database.
#[derive(Clone, Debug)]
pub struct Client(Database);

/// A namespace.
#[derive(Clone, Debug)]
pub struct Space(Namespace);

/// A snapshot.
#[derive(Clone, Debug)]
pub struct View(Snapshot);

impl Client {
    pub async fn open(
        backend: Arc<dyn StorageBackend>,
        runtime: impl Runtime,
        options: &Options,
    ) -> Result<Self> {
        let builder = Database::builder().settings(options.settings.clone());
        let builder = builder.env(Env::new(runtime));
        let builder = match options.without {
            Some(safeguard) => builder.without(safeguard),
            None => builder,
        };
        builder.open_backend(backend).await.map(Self)
    }

    pub async fn create(&self, name: &str, schema: Schema) -> Result<Space> {
        self.0.create_namespace(name, schema).await.map(Space)
    }

    pub async fn open_namespace(&self, name: &str) -> Result<Space> {
        self.0.open_namespace(name).await.map(Space)
    }

    pub async fn delete(&self, name: &str) -> Result<()> {
        self.0.delete_namespace(name).await
    }
}

impl Space {
    pub fn schema(&self) -> Schema {
        self.0.schema().clone()
    }

    pub async fn write(&self, batch: &Batch) -> Result<Receipt> {
        let receipt = self.0.write(write_batch(batch)).await?;
        Ok(Receipt {
            sequence: receipt.sequence.0,
            upserted: receipt.upserted,
            patched: receipt.patched,
            deleted: receipt.deleted,
            skipped: receipt.skipped,
            replayed: receipt.replayed,
        })
    }

    pub async fn snapshot(&self, level: Level) -> Result<View> {
        let consistency = match level {
            Level::Strong => Consistency::Strong,
            Level::Eventual => Consistency::Eventual,
            Level::AtLeast(sequence) => Consistency::AtLeast(Sequence(sequence)),
        };
        self.0.snapshot(consistency).await.map(View)
    }

    pub async fn get(&self, ids: &[DocumentId]) -> Result<Vec<Option<Document>>> {
        self.0.get(ids).await
    }

    pub async fn flush(&self) -> Result<()> {
        self.0.flush().await.map(drop)
    }

    pub async fn compact(&self) -> Result<()> {
        self.0.compact().await.map(drop)
    }

    /// How many objects it deleted.
    pub async fn collect(&self) -> Result<u64> {
        Ok(self.0.collect().await?.deleted.total().objects)
    }

    /// The keys of what a collection would delete.
    pub async fn garbage(&self) -> Result<Vec<String>> {
        Ok(self.0.garbage().await?.into_iter().map(|garbage| garbage.key.to_string()).collect())
    }

    pub async fn close(&self) {
        self.0.close().await;
    }
}

impl View {
    pub fn sequence(&self) -> u64 {
        self.0.sequence().0
    }

    /// Everything that matches, read in pages.
    pub async fn scan(&self, predicate: Option<&Predicate>, page: usize) -> Result<Vec<Document>> {
        let mut documents = Vec::new();
        let mut cursor = None;
        loop {
            let scan = Scan::new().limit(page).after(cursor);
            let scan = match predicate {
                Some(predicate) => scan.filter(filter(predicate)),
                None => scan,
            };
            let page = self.0.scan(scan).await?;
            documents.extend(page.rows.documents()?);
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(documents);
            }
        }
    }

    pub async fn get(&self, ids: &[DocumentId]) -> Result<Vec<Option<Document>>> {
        self.0.get(ids).await
    }

    pub async fn count_matching(&self, predicate: &Predicate) -> Result<u64> {
        self.0.count_matching(filter(predicate)).await
    }

    pub async fn count(&self) -> Result<u64> {
        self.0.count().await
    }

    /// The ids of the `k` nearest with their distances.
    pub async fn nearest(
        &self,
        column: &str,
        vector: &[f32],
        predicate: Option<&Predicate>,
        k: usize,
    ) -> Result<Vec<(DocumentId, f32)>> {
        let query = Query::nearest(column, Vector::from(vector)).limit(k).select(Select::Attributes);
        let query = match predicate {
            Some(predicate) => query.filter(filter(predicate)),
            None => query,
        };
        let hits = self.0.query(query).await?.hits()?;
        Ok(hits
            .into_iter()
            .map(|hit| (hit.document.id().clone(), hit.distance().expect("a distance")))
            .collect())
    }
}

fn write_batch(batch: &Batch) -> WriteBatch {
    let start = WriteBatch::new();
    let start = match batch.token {
        Some(token) => start.token(token),
        None => start,
    };
    batch.ops.iter().cloned().fold(start, |batch, op| match op {
        Op::Upsert(document) => batch.upsert(document),
        Op::Insert(document) => batch.insert(document),
        Op::UpsertIf(document, condition) => batch.upsert_if(document, filter(&condition)),
        Op::Patch(document) => batch.patch(document),
        Op::PatchIf(document, condition) => batch.patch_if(document, filter(&condition)),
        Op::Delete(id) => batch.delete(id),
        Op::DeleteIf(id, condition) => batch.delete_if(id, filter(&condition)),
        Op::DeleteByFilter(predicate) => batch.delete_by_filter(filter(&predicate)),
        Op::PatchByFilter(predicate, values) => batch.patch_by_filter(filter(&predicate), values),
    })
}

/// The library's filter of a predicate.
pub fn filter(predicate: &Predicate) -> Filter {
    match predicate.clone() {
        Predicate::Eq(column, value) => Filter::eq(column, value),
        Predicate::NotEq(column, value) => Filter::not_eq(column, value),
        Predicate::Lt(column, value) => Filter::lt(column, value),
        Predicate::Lte(column, value) => Filter::lte(column, value),
        Predicate::Gt(column, value) => Filter::gt(column, value),
        Predicate::Gte(column, value) => Filter::gte(column, value),
        Predicate::In(column, values) => Filter::is_in(column, values),
        Predicate::NotIn(column, values) => Filter::not_in(column, values),
        Predicate::Contains(column, value) => Filter::contains(column, value),
        Predicate::NotContains(column, value) => Filter::not_contains(column, value),
        Predicate::ContainsAny(column, values) => Filter::contains_any(column, values),
        Predicate::NotContainsAny(column, values) => Filter::not_contains_any(column, values),
        Predicate::AnyLt(column, value) => Filter::any_lt(column, value),
        Predicate::AnyGte(column, value) => Filter::any_gte(column, value),
        Predicate::And(parts) => Filter::and(parts.iter().map(filter)),
        Predicate::Or(parts) => Filter::or(parts.iter().map(filter)),
        Predicate::Not(part) => Filter::not(filter(&part)),
    }
}
