//! Indexes: what finds rows without looking at all of them.
//!
//! **Invariant:** an index only proposes rows; what it says of them is an estimate or exact, never unknown.

pub(crate) mod attributes;
pub(crate) mod text;
pub(crate) mod vector;
