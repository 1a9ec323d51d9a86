//! How deep wrappers may nest around a value.

use super::RowError;

/// The deepest nesting of wrappers (`Some`, newtypes) around a value. Every level is a frame on the stack, and a
/// recursive type of a caller can nest without end. No type written by hand comes near 64.
const DEPTH_MAX: usize = 64;

/// The number of wrappers around the value that is being serialized.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Depth(usize);

impl Depth {
    /// One level deeper, or an error at the limit.
    pub(super) fn descend(self) -> Result<Self, RowError> {
        if self.0 == DEPTH_MAX {
            return Err(RowError::invalid("nested too deep"));
        }
        Ok(Self(self.0 + 1))
    }
}
