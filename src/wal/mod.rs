//! The write-ahead log: every accepted batch, durable and in order.
//!
//! A [`LogEntry`] holds whole rows to put and ids to delete, already resolved: replay never evaluates a condition, so
//! every process gets the same state from the same log. Entries are numbered from 1, and each names the batch before it.
//!
//! **Invariants:** numbers are dense; a taken number is never written again; a batch, known by its id, is in
//! at most one entry.

mod codec;
mod dead_rows;
mod entry;
#[cfg(test)]
mod fuzz;
mod reader;

pub(crate) use codec::encode_entry;
pub(crate) use entry::{EntryBody, EntryHead, EntryKind, LogEntry, SegmentLink};
pub(crate) use reader::{ListedEntry, LogListing, list_start, read_entries, read_entry};
