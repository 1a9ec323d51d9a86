//! Bytes that go to a store and come back: checksums, bounded reading, framed JSON, checked conversions.
//!
//! **Invariant:** nothing here panics or allocates more than the input justifies, whatever the bytes.
//!
//! Numbers change their width through these functions alone, in the whole crate. A saturating
//! `try_from(..).unwrap_or(MAX)` in an encoder would write a wrong length under a right checksum.
//!
//! | from | to | with |
//! |---|---|---|
//! | `u32` | `usize`, an index | [`usize_of`] |
//! | `usize` | `u64`, an offset or a length on the store | [`u64_of`] |
//! | anything wider or signed | a field or an index that must hold it | [`to_u32`], [`to_usize`]: an internal error names what did not fit |
//! | a length | bytes of a format | [`put_len_u16`], [`put_len_u32`] |
//!
//! Lists that must be equally long are paired with [`zip_equal`], which reports it if they are not.
//!
//! Bytes from a store are read with [`Reader`]: what does not fit there is damage, not a bug.

mod bitmap;
mod convert;
mod features;
mod frame;
pub(crate) mod hex;
mod packed;
mod reader;
#[cfg(test)]
mod testing;
mod trailer;
mod unknown_fields;
mod zip;

pub(crate) use bitmap::{all_rows, put_bitmap, rows_bitmap, subtract_rows, subtract_shared};
pub(crate) use convert::{put_len_u16, put_len_u32, to_u32, to_usize, u64_of, usize_of};
pub(crate) use features::{FeatureUser, Featured, Features, check_feature_bits};
pub(crate) use frame::Frame;
pub(crate) use packed::{Packer, Unpacker};
pub(crate) use reader::Reader;
#[cfg(test)]
pub(crate) use testing::{seal_frame, seal_trailer};
pub(crate) use trailer::{TRAILER_BYTES, check_trailer, push_trailer};
pub(crate) use unknown_fields::UnknownFields;
pub(crate) use zip::zip_equal;

use std::fmt;

use twox_hash::XxHash3_64;

use crate::error::{Error, ErrorKind};

/// XXH3-64, the checksum of every format.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot(bytes)
}

/// Runs a parser of another crate on bytes from the store. `None` if it panics, as it may on forged bytes.
pub(crate) fn guarded<T>(parse: impl FnOnce() -> T) -> Option<T> {
    // What the parser was building is dropped with it, so that no broken state is observed afterwards.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(parse)).ok()
}

/// Why bytes cannot be decoded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodecError {
    #[error("not an elacsym {what}: wrong magic number")]
    Magic { what: &'static str },
    #[error("format version {found} of {what} is newer than {supported}, the newest this version reads")]
    Newer { what: &'static str, found: u32, supported: u32 },
    #[error("unknown features that the {what} requires of {user}: {names}")]
    Feature { what: &'static str, user: FeatureUser, names: String },
    #[error("checksum mismatch of {what}")]
    Checksum { what: &'static str },
    #[error("{what} ends early")]
    Truncated { what: &'static str },
    #[error("malformed {what}: {why}")]
    Malformed { what: &'static str, why: String },
}

impl CodecError {
    pub(crate) fn malformed(what: &'static str, why: impl fmt::Display) -> Self {
        Self::Malformed { what, why: why.to_string() }
    }

    /// The error of an object that requires features which this version does not know.
    pub(crate) fn feature(
        what: &'static str,
        user: FeatureUser,
        names: impl IntoIterator<Item = impl fmt::Display>,
    ) -> Self {
        Self::Feature { what, user, names: features::name_features(names) }
    }

    /// The public error, which names the object.
    pub(crate) fn at(self, object: impl fmt::Display) -> Error {
        match self {
            // Not damage: another version of the crate can read the object, and the message must not suggest a restore.
            Self::Newer { .. } | Self::Feature { .. } => {
                Error::new(ErrorKind::UnsupportedVersion, format!("{self}. key=`{object}`"))
            }
            Self::Magic { .. } | Self::Checksum { .. } | Self::Truncated { .. } | Self::Malformed { .. } => {
                Error::corrupt(object, self)
            }
        }
    }
}
