//! Writes: from a caller's batch to rows and deletes in the log.
//!
//! A [`WriteBatch`] is checked against the schema, resolved against the state (conditions, patches, filters), and
//! committed with others in one entry of the log. When the state has moved on, only the documents that the new entries
//! touched are resolved again.
//!
//! ```text
//! WriteBatch > check: CheckedBatch > pending: PendingBatch, with its ResolvedBatch > committer: the queue
//!            > group: batches of one entry, brought up to date > engine::append > receipts
//! ```
//!
//! **Invariants:** a batch that is refused never reaches the log; a batch is in one entry, whole; what was
//! resolved against entry n is stored as entry n+1 or resolved again.

mod batch;
mod check;
mod committer;
mod effects;
mod group;
mod link;
mod pace;
mod pending;
mod resolve;
mod resolved;
mod seal;

pub use batch::{Condition, IfMissing, WriteBatch};
pub(crate) use check::CheckedBatch;
pub(crate) use committer::Committer;
pub(crate) use seal::seal;
