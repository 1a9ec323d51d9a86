//! A database: namespaces below one prefix of a store.
#![expect(clippy::must_use_candidate, reason = "rustc warns of a boxed future that nobody awaits")]

mod builder;
mod open_namespaces;

pub use builder::DatabaseBuilder;

use std::path::Path;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use self::open_namespaces::OpenNamespaces;
use crate::cache::CacheStats;
use crate::context::Context;
use crate::engine::{Engine, create_incarnation, find_free_incarnation, list_incarnations, list_names};
use crate::error::{Error, ErrorKind, Result};
use crate::namespace::{Consistency, Namespace};
use crate::schema::Schema;
use crate::storage::NamespaceKeys;
use crate::types::NamespaceName;

/// How often `open_or_create_namespace` starts over because another process created or deleted the namespace in between.
const OPEN_ATTEMPTS_MAX: u32 = 8;

/// A database. Clones share it.
///
/// ```
/// use elacsym::schema::AttributeType;
/// use elacsym::{Database, Document, Filter, IdKind, Scan, Schema, WriteBatch};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// let db = Database::open("memory://").await?;
/// let schema = Schema::builder(IdKind::U64).attribute("title", AttributeType::String).build()?;
/// let docs = db.create_namespace("docs", schema).await?;
/// docs.write(WriteBatch::new().upsert(Document::new(1).with("title", "Cold reads"))).await?;
/// let page = docs.scan(Scan::new().filter(Filter::iglob("title", "cold*"))).await?;
/// assert_eq!(page.rows.documents()?.len(), 1);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Database {
    context: Context,
    /// A namespace is open at most once: two engines would compete for the log as two processes do.
    open: Arc<OpenNamespaces>,
}

impl Database {
    /// Opens a database with default settings: `s3://bucket/prefix`, `gs://bucket/prefix`,
    /// `az://container/prefix` (each with its feature and the store's usual environment variables), a local
    /// folder such as `./data`, or `memory://`. A `&str`, a `String`, a `&Path` or a `PathBuf` is a location. Other URLs
    /// are refused, and so is anything that looks like one: write a folder whose name has a colon with `./` before it.
    ///
    /// A store that is opened for the first time is probed: whether a second create of an object really fails, and
    /// whatever else the protocol needs. After that, opening costs one request.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a malformed location, a path that is not UTF-8, or outside a tokio runtime;
    /// [`ErrorKind::UnsupportedStore`] for a store that fails the probe.
    pub fn open(location: impl AsRef<Path>) -> BoxFuture<'static, Result<Self>> {
        Self::builder().open(location)
    }

    /// Configures a database before it is opened.
    pub fn builder() -> DatabaseBuilder {
        DatabaseBuilder::default()
    }

    /// Creates a namespace. A program that runs more than once calls
    /// [`open_or_create_namespace`](Self::open_or_create_namespace).
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] if it exists, [`ErrorKind::Invalid`] for a bad name,
    /// [`ErrorKind::UnsupportedVersion`] if the database uses a feature that this version does not know.
    pub fn create_namespace<'a>(&'a self, name: &'a str, schema: Schema) -> BoxFuture<'a, Result<Namespace>> {
        self.create_unless_alive(name, schema).boxed()
    }

    async fn create_unless_alive(&self, name: &str, schema: Schema) -> Result<Namespace> {
        let name = NamespaceName::new(name)?;
        self.context.check_writable()?;
        let names = NamespaceKeys::new(&name);
        let incarnations = list_incarnations(&self.context, &names).await?;
        let next = match incarnations.as_slice() {
            [] => 1,
            incarnations => {
                let alive = match Engine::open(&self.context, &name).await {
                    Ok(_) => true,
                    Err(e) if e.is(ErrorKind::NotFound) => false,
                    Err(e) => return Err(e),
                };
                if alive {
                    let exists = format!("the namespace exists. name=`{name}`");
                    return Err(Error::new(ErrorKind::AlreadyExists, exists));
                }
                find_free_incarnation(&self.context, &names, incarnations).await?
            }
        };
        let incarnation = create_incarnation(&self.context, &name, next, schema).await?;
        let engine = Engine::open_created(&self.context, &name, incarnation).await?;
        Ok(self.open.insert(Namespace::new(engine)))
    }

    /// Opens a namespace: three round trips, or two when its tail is empty. Opening it again through the same database
    /// costs nothing while it has a handle, and after that as long as idle namespaces stay within
    /// [`Settings::idle_bytes_max`](crate::Settings::idle_bytes_max).
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it does not exist, [`ErrorKind::Invalid`] for a bad name.
    pub fn open_namespace<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Namespace>> {
        self.find_or_open(name).boxed()
    }

    async fn find_or_open(&self, name: &str) -> Result<Namespace> {
        let name = NamespaceName::new(name)?;
        if let Some(open) = self.open.find(&name) {
            return Ok(open);
        }
        let engine = Engine::open(&self.context, &name).await?;
        Ok(self.open.insert(Namespace::new(engine)))
    }

    /// Opens a namespace, or creates it if it does not exist.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it exists with another schema; the message says what differs.
    pub fn open_or_create_namespace<'a>(
        &'a self,
        name: &'a str,
        schema: Schema,
    ) -> BoxFuture<'a, Result<Namespace>> {
        self.find_open_or_create(name, schema).boxed()
    }

    async fn find_open_or_create(&self, name: &str, schema: Schema) -> Result<Namespace> {
        let matching = |found: Namespace| match Schema::describe_difference(found.schema(), &schema) {
            None => Ok(found),
            Some(why) => {
                let exists = "the namespace exists with another schema";
                Err(Error::invalid(format!("{exists}: {why}. name=`{name}`")))
            }
        };
        for _ in 0..OPEN_ATTEMPTS_MAX {
            let found = match self.open_namespace(name).await {
                // The namespace may be open in this process, and have been deleted by another since: a strong read
                // finds the seal.
                Ok(known) => match known.snapshot(Consistency::Strong).await {
                    Ok(_) => Ok(known),
                    Err(e) if e.is(ErrorKind::Deleted) => continue,
                    Err(e) => Err(e),
                },
                Err(e) if e.is(ErrorKind::NotFound) => {
                    match self.create_namespace(name, schema.clone()).await {
                        // Another process was quicker to create it.
                        Err(e) if e.is(ErrorKind::AlreadyExists) => continue,
                        outcome => outcome,
                    }
                }
                Err(e) => Err(e),
            };
            return found.and_then(matching);
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "the namespace is being created and deleted concurrently: try again later",
        ))
    }

    /// Deletes a namespace: no process can write to it any more, and the name is free again. Its objects stay on the
    /// store.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it does not exist; [`ErrorKind::UnsupportedVersion`] as of [`Namespace::write`].
    pub fn delete_namespace<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>> {
        self.seal_and_forget(name).boxed()
    }

    async fn seal_and_forget(&self, name: &str) -> Result<()> {
        let known = self.open_namespace(name).await?;
        self.open.remove(known.name());
        let deleted = match known.seal_log().await {
            // Another process deleted the incarnation that is open here. The name may have a newer one, and the caller
            // wants it gone too.
            Err(e) if e.is(ErrorKind::Deleted) => {
                let newer = self.open_namespace(name).await?;
                self.open.remove(newer.name());
                newer.seal_log().await
            }
            outcome => outcome,
        };
        deleted.map(drop)
    }

    /// The names of all namespaces, ascending. Costs one list, and a list and two small requests for each name.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the store does not answer.
    pub fn list_namespaces(&self) -> BoxFuture<'_, Result<Vec<NamespaceName>>> {
        list_names(&self.context)
    }

    /// Counters of the block cache since the database was opened, and the memory that it and open namespaces take.
    #[must_use]
    pub fn cache_stats(&self) -> CacheStats {
        CacheStats { resident_bytes: self.open.resident_bytes(), ..self.context.cache.stats() }
    }

    /// Closes every namespace that is open through this database, and flushes the cache to its disk. Nothing acknowledged
    /// is lost without it.
    pub fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            for namespace in self.open.take_all() {
                namespace.close().await;
            }
            self.context.cache.close().await;
        }
        .boxed()
    }
}
