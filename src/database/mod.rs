//! A database: namespaces below one prefix of a store.

mod builder;
mod handles;

pub use builder::DatabaseBuilder;

use std::sync::Arc;

use self::handles::Handles;
use crate::cache::CacheStats;
use crate::context::Context;
use crate::engine::{Engine, create_incarnation, find_free_incarnation, list_incarnations, list_names};
use crate::error::{Error, ErrorKind, Result};
use crate::namespace::{Consistency, Namespace};
use crate::schema::Schema;
use crate::storage::NamespaceKeys;
use crate::types::NamespaceName;

/// How often a name that others create and delete is looked up.
const OPENS: u32 = 8;

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
    /// One process opens a namespace once.
    open: Arc<Handles>,
}

impl Database {
    /// Opens a database with default settings: `s3://bucket/prefix`, `gs://bucket/prefix`,
    /// `az://container/prefix` (each with its feature and the store's usual environment variables), a local
    /// folder such as `./data`, or `memory://`. Other URLs, and what looks like one, are refused: a folder whose name has
    /// a colon is written with `./` before it.
    ///
    /// A store that is opened for the first time is probed: whether a second create of an object really
    /// fails, and what else the protocol needs. Later it costs one request.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a location that is none, or outside a tokio runtime;
    /// [`ErrorKind::UnsupportedStore`] for a store that fails the probe.
    pub async fn open(location: &str) -> Result<Self> {
        Self::builder().open(location).await
    }

    /// Begins a database with settings or parts of yours.
    pub fn builder() -> DatabaseBuilder {
        DatabaseBuilder::default()
    }

    /// Creates a namespace.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] if it exists, [`ErrorKind::Invalid`] for a bad name.
    pub async fn create_namespace(&self, name: &str, schema: Schema) -> Result<Namespace> {
        let name = NamespaceName::new(name)?;
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
        Ok(self.open.keep(Namespace::new(engine)))
    }

    /// Opens a namespace: three round trips, or two when nothing is in its tail. Opened again through the same
    /// database, it costs nothing while there is a handle of it, and after that as long as idle namespaces stay within
    /// [`Settings::idle_bytes_max`](crate::Settings::idle_bytes_max).
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it does not exist, [`ErrorKind::Invalid`] for a bad name.
    pub async fn namespace(&self, name: &str) -> Result<Namespace> {
        let name = NamespaceName::new(name)?;
        if let Some(open) = self.open.find(&name) {
            return Ok(open);
        }
        let engine = Engine::open(&self.context, &name).await?;
        Ok(self.open.keep(Namespace::new(engine)))
    }

    /// Opens a namespace, or creates it.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it exists with another schema; the message says what differs.
    pub async fn open_or_create(&self, name: &str, schema: Schema) -> Result<Namespace> {
        let matching = |found: Namespace| match Schema::describe_difference(found.schema(), &schema) {
            None => Ok(found),
            Some(why) => {
                let exists = "the namespace exists with another schema";
                Err(Error::invalid(format!("{exists}: {why}. name=`{name}`")))
            }
        };
        for _ in 0..OPENS {
            let found = match self.namespace(name).await {
                // A handle of this process may be of an incarnation that another has ended.
                Ok(known) => match known.snapshot(Consistency::Strong).await {
                    Ok(_) => Ok(known),
                    Err(e) if e.is(ErrorKind::Deleted) => continue,
                    Err(e) => Err(e),
                },
                Err(e) if e.is(ErrorKind::NotFound) => {
                    match self.create_namespace(name, schema.clone()).await {
                        // Another was quicker.
                        Err(e) if e.is(ErrorKind::AlreadyExists) => continue,
                        outcome => outcome,
                    }
                }
                Err(e) => Err(e),
            };
            return found.and_then(matching);
        }
        Err(Error::new(ErrorKind::Unavailable, "the namespace comes and goes: try again later"))
    }

    /// Deletes a namespace: no write comes after this in any process, and the name is free again. Its
    /// objects stay on the store until collection.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it does not exist.
    pub async fn delete_namespace(&self, name: &str) -> Result<()> {
        let known = self.namespace(name).await?;
        self.open.remove(known.name());
        let deleted = match known.delete().await {
            // Another deleted that incarnation. There may be a newer one.
            Err(e) if e.is(ErrorKind::Deleted) => {
                let newer = self.namespace(name).await?;
                self.open.remove(newer.name());
                newer.delete().await
            }
            outcome => outcome,
        };
        deleted.map(drop)
    }

    /// The names of all namespaces, ascending. Costs one list and two small requests a name.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the store does not answer.
    pub async fn list_namespaces(&self) -> Result<Vec<NamespaceName>> {
        list_names(&self.context).await
    }

    /// What the block cache did since the database was opened, what it holds, and what open namespaces hold.
    #[must_use]
    pub fn cache_stats(&self) -> CacheStats {
        CacheStats { resident_bytes: self.open.resident_bytes(), ..self.context.cache.stats() }
    }

    /// Closes every namespace that is open through this database, and writes what the cache has for its
    /// disk. Without it nothing acknowledged is lost.
    pub async fn close(&self) {
        for namespace in self.open.take_all() {
            namespace.close().await;
        }
        self.context.cache.close().await;
    }
}
