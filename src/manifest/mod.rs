//! The manifest: the whole state of a namespace up to a sequence of its log, as numbered JSON.
//!
//! A manifest is derived from the log and is never acknowledged to a user: a lost manifest costs work, not data. It is
//! committed by putting the next number if it is absent.
//!
//! Beside it are the small objects of an incarnation: OPEN and CLOSED at its ends, HINT, which names the newest manifest,
//! and the lists of tokens that manifests name.
//!
//! **Invariant:** manifest n+1 was made from manifest n, and names each segment once.

#[cfg(test)]
mod fuzz;
mod hint;
mod incarnation;
mod state;
mod store;
mod tokens;

pub(crate) use hint::Hint;
pub(crate) use incarnation::{CLOSED_BYTES_MAX, Closed, Incarnation, OPEN_BYTES_MAX};
pub(crate) use state::Manifest;
pub(crate) use store::{
    CommitOutcome, ListedManifest, ManifestListing, commit_manifest, find_latest, list_manifests,
    read_manifest,
};
pub(crate) use tokens::{TokensMeta, extend_tokens};
