//! Rows: any type that serde knows, to documents and back.
//!
//! **Invariant:** an error from this module names the field and never shows a value.
//!
//! `serde_arrow` would do half of this: errors that name the field and hide the value, datetimes and UUIDs from text, and
//! integers that fit or are refused follow the schema of the namespace here.
//!
//! Both directions report themselves as human readable, so a UUID is a string to types that distinguish.

mod depth;
mod deserialize;
mod error;
mod refuse;
mod serialize_row;
mod serialize_value;
#[cfg(test)]
mod tests;

pub(crate) use error::RowError;
