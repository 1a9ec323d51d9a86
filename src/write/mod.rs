//! Writes: from a caller's batch to rows and deletes in the log.
//!
//! A [`WriteBatch`] is checked against the schema, resolved against the state (conditions, patches, filters),
//! and rides with others in one entry of the log. When the state has moved on, only what the new entries touched is
//! resolved again.
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

pub use batch::{Condition, IfMissing, WriteBatch};
pub(crate) use check::Checked;
pub(crate) use committer::Committer;
pub(crate) use group::seal;
