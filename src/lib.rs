//! An embedded search database for Rust: vectors, full text and filters in one query, over an object store, with no
//! server.
//!
//! A [`Database`] is a location on a store: a prefix of a bucket, a local folder, or memory. A [`Namespace`] is a
//! searchable collection in it, with its own [`Schema`]. Any number of processes may open, write and read the same
//! namespaces concurrently. They coordinate through the store alone, without a server, a lock or a leader.
//!
//! A query has one or more legs: nearest vectors (exact, or through an index at a recall you choose), full text ranked
//! by BM25, or an order by attributes. One call filters, fuses, rescores, groups and pages their results.
//!
//! ```
//! use elacsym::schema::AttributeType;
//! use elacsym::{Database, Document, Filter, IdKind, Metric, Query, Schema, Vector, VectorType, WriteBatch};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
//! let db = Database::open("memory://").await?; // or "./data", "s3://bucket/prefix", …
//! let schema = Schema::builder(IdKind::U64)
//!     .attribute("title", AttributeType::String)
//!     .attribute("year", AttributeType::Int)
//!     .vector("embedding", VectorType::F32, 2, Metric::Cosine)
//!     .build()?;
//! let papers = db.create_namespace("papers", schema).await?;
//!
//! let cold = Document::new(1).with("title", "Cold reads").with("year", 2024);
//! let tea = Document::new(2).with("title", "Tea leaves").with("year", 1998);
//! let batch = WriteBatch::new()
//!     .upsert(cold.with("embedding", Vector::from([0.6, 0.8])))
//!     .insert(tea.with("embedding", Vector::from([1.0, 0.0])));
//! let receipt = papers.write(batch).await?;
//! assert_eq!(receipt.upserted, 2);
//!
//! let query = Query::nearest("embedding", vec![0.0, 1.0]).filter(Filter::gte("year", 2000)).limit(10);
//! let hits = papers.query(query).await?.hits()?;
//! assert_eq!(hits[0].document.get("title"), Some(&"Cold reads".into()));
//! # Ok(()) }
//! ```
//!
//! # Promises
//! - **Durable.** When [`Namespace::write`] returns, the batch is on the store. An unknown outcome is an error of its
//!   own, [`ErrorKind::Indeterminate`], and [`WriteBatch::token`] makes a retry safe.
//! - **Atomic and serializable.** A batch is applied as a whole or not at all. Conditions, patches and writes by filter
//!   are evaluated and applied in one step, across processes.
//! - **Strong reads.** A read sees every write that any process acknowledged before it started. [`Consistency`] can
//!   relax this.
//! - **Open formats.** Rows are plain Parquet; the other formats are documented in [`_docs::format`].
//!
//! # Where to go
//! | to | see |
//! |---|---|
//! | open a store, create and delete namespaces | [`Database`], [`DatabaseBuilder`], [`Settings`] |
//! | declare columns | [`Schema`], [`schema`] |
//! | write: upserts, patches, deletes, conditions, tokens | [`WriteBatch`], [`Condition`], [`WriteReceipt`] |
//! | search | [`Query`], [`VectorQuery`], [`TextQuery`], [`QueryResponse`], [`Hit`] |
//! | count, sum and group: facets | [`Aggregation`], [`Namespace::aggregate`] |
//! | iterate over documents | [`Scan`], [`ScanCursor`] |
//! | select documents | [`Filter`] |
//! | read from one state several times | [`Snapshot`], [`Consistency`] |
//! | use Arrow or your own structs | [`WriteBatch::upsert_batch`], [`Rows`], [`Document::from_serialize`] |
//! | maintain it: flush, compact | [`Namespace::flush`], [`Namespace::compact`] |
//! | handle errors | [`ErrorKind`] |
//! | implement a store | [`storage`] |
//! | provide time, randomness and tasks | [`env`](mod@env) |
//! | do a task, each with an answer and an example | [`_docs::how_to`] |
//! | take queries as JSON | [`_docs::json`] |
//! | run it: settings, upkeep, what to watch | [`_docs::operating`], [`_docs::limits`] |
//! | learn how it works, what it costs, and why | [`_docs`] |
//!
//! # Features
//! `aws`, `gcp` and `azure` add stores, `disk-cache` adds the disk tier of the cache, and `testing` adds tools for
//! authors of backends. None is enabled by default.
//!
//! # Runtime
//! Everything runs on the caller's tokio runtime, which needs its time driver and, for network stores, its I/O driver.
//! The crate starts no threads and leaves no idle tasks behind.
#![warn(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))] // docs.rs marks what needs a feature
#![deny(unsafe_code)] // `tests/tidy/shape.rs` lists the few files that may

mod cache;
mod codec;
mod context;
mod database;
mod engine;
pub mod env;
mod error;
mod filter;
#[cfg(test)]
mod fuzzing;
mod index;
mod json;
mod maintenance;
mod manifest;
mod memtable;
mod namespace;
pub mod query;
mod retry;
mod safeguard;
pub mod schema;
mod segment;
mod settings;
pub mod storage;
#[cfg(feature = "testing")]
pub mod testing;
mod types;
mod view;
mod wal;
mod write;

pub use cache::CacheStats;
pub use database::{Database, DatabaseBuilder};
pub use error::{Error, ErrorKind, InDoubt, Outcome, Result};
pub use maintenance::{
    CollectReport, CompactReport, DueWork, FlushReport, Garbage, GarbageReason, IndexProgress,
    MaintainReport, NamespaceStats, ObjectCount, ObjectsByKind, SegmentStats, TailStats,
};
pub use namespace::{Consistency, Namespace, Snapshot};
pub use query::root::{
    Aggregate, Aggregation, Combine, Compute, Filter, Fusion, Fuzzy, Hit, Leg, Operand, Order, Page, Query,
    QueryResponse, Rank, RecallCheck, RecallReport, Reranker, Rescore, Rows, Scan, ScanCursor, SearchBox,
    Select, TextInput, TextMatch, TextPhrase, TextQuery, TokenFilter, VectorQuery,
};
pub use schema::Schema;
#[cfg(feature = "disk-cache")]
pub use settings::DiskCache;
pub use settings::{Backpressure, Clocks, Settings};
pub use types::{
    AffectedIds, COLUMN_NAME_BYTES_MAX, ColumnId, DIMENSION_MAX, DOCUMENT_BYTES_MAX, Document, DocumentId,
    ID_BYTES_MAX, IdKind, Metric, NamespaceName, Sequence, VALUE_BYTES_MAX, VECTOR_LENGTH_MAX, Value, Vector,
    VectorType, WriteReceipt,
};
pub use write::{Condition, IfMissing, WriteBatch};

// What appears in signatures, so that an application need not guess the version.
pub use {arrow, async_trait, bytes, futures, half, object_store, uuid};

/// How the crate works, for its users and contributors.
pub mod _docs {
    #[doc = include_str!("docs/architecture.md")]
    pub mod architecture {}
    #[doc = include_str!("docs/costs.md")]
    pub mod costs {}
    #[doc = include_str!("docs/decisions/README.md")]
    pub mod decisions {
        #[doc = include_str!("docs/decisions/boxed_futures.md")]
        pub mod boxed_futures {}
        #[doc = include_str!("docs/decisions/conditional_put.md")]
        pub mod conditional_put {}
        #[doc = include_str!("docs/decisions/filtered_probing.md")]
        pub mod filtered_probing {}
        #[doc = include_str!("docs/decisions/format.md")]
        pub mod format {}
        #[doc = include_str!("docs/decisions/merge_policy.md")]
        pub mod merge_policy {}
        #[doc = include_str!("docs/decisions/no_lock_across_await.md")]
        pub mod no_lock_across_await {}
        #[doc = include_str!("docs/decisions/postings_reader.md")]
        pub mod postings_reader {}
        #[doc = include_str!("docs/decisions/rabitq.md")]
        pub mod rabitq {}
        #[doc = include_str!("docs/decisions/recall_curves.md")]
        pub mod recall_curves {}
        #[doc = include_str!("docs/decisions/rows_by_cluster.md")]
        pub mod rows_by_cluster {}
        #[doc = include_str!("docs/decisions/two_valued_logic.md")]
        pub mod two_valued_logic {}
    }
    #[doc = include_str!("docs/format.md")]
    pub mod format {}
    #[doc = include_str!("docs/how_to.md")]
    pub mod how_to {}
    #[doc = include_str!("docs/json.md")]
    pub mod json {}
    #[doc = include_str!("docs/limits.md")]
    pub mod limits {}
    #[doc = include_str!("docs/operating.md")]
    pub mod operating {}
    #[doc = include_str!("docs/protocol.md")]
    pub mod protocol {}
}

/// Runs the examples of the README along with those of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
