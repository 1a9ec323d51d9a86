//! Conversions between integer widths that never lose a bit in silence, and lengths as encoders write them.

use std::fmt;

use crate::error::{Error, Result};

// Every row number, count and length that is held as `u32` is used as an index sooner or later.
const _: () = assert!(size_of::<usize>() >= size_of::<u32>() && size_of::<usize>() <= size_of::<u64>());

/// Widens a row number or a count to an index. Lossless: the crate does not build for narrower targets.
pub(crate) const fn usize_of(number: u32) -> usize {
    number as usize
}

/// Widens a length in memory to a length on the store. Lossless on every target.
pub(crate) const fn u64_of(number: usize) -> u64 {
    number as u64
}

/// Narrows a number that the format bounds; `what` names it in the error.
///
/// # Errors
/// [`ErrorKind::Internal`](crate::error::ErrorKind) if it does not fit: an encoder must not write a wrong length
/// under a right checksum.
pub(crate) fn to_u32<N: TryInto<u32> + Copy + fmt::Display>(number: N, what: &str) -> Result<u32> {
    number.try_into().map_err(|_| too_large(number, what))
}

/// As [`to_u32`], in 16 bits.
fn to_u16<N: TryInto<u16> + Copy + fmt::Display>(number: N, what: &str) -> Result<u16> {
    number.try_into().map_err(|_| too_large(number, what))
}

/// As [`to_u32`], to an index: of a number of 64 bits whose bytes are in memory, or are about to be.
pub(crate) fn to_usize<N: TryInto<usize> + Copy + fmt::Display>(number: N, what: &str) -> Result<usize> {
    number.try_into().map_err(|_| too_large(number, what))
}

/// Appends a length in 16 bits, little-endian.
///
/// # Errors
/// As [`to_u16`].
pub(crate) fn put_len_u16(out: &mut Vec<u8>, length: usize) -> Result<()> {
    out.extend(to_u16(length, "a length")?.to_le_bytes());
    Ok(())
}

/// Appends a length in 32 bits, little-endian.
///
/// # Errors
/// As [`to_u32`].
pub(crate) fn put_len_u32(out: &mut Vec<u8>, length: usize) -> Result<()> {
    out.extend(to_u32(length, "a length")?.to_le_bytes());
    Ok(())
}

#[cold]
fn too_large(number: impl fmt::Display, what: &str) -> Error {
    Error::internal(format!("{what} is too large for its field. value=`{number}`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn what_does_not_fit_is_an_error_and_writes_nothing() {
        let mut out = Vec::new();
        put_len_u16(&mut out, 0xffff).unwrap();
        put_len_u32(&mut out, 0x0001_0000).unwrap();
        assert_eq!(out, [0xff, 0xff, 0, 0, 1, 0]);
        assert_eq!(put_len_u16(&mut out, 0x0001_0000).unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(out.len(), 6);
        assert_eq!(to_u32(u64::from(u32::MAX), "x").unwrap(), u32::MAX);
        assert!(to_u32(u64::from(u32::MAX) + 1, "x").unwrap_err().to_string().contains("4294967296"));
        assert!(to_u16(-1, "x").is_err() && to_usize(-1, "x").is_err());
        assert_eq!(to_usize(7_u64, "x").unwrap(), usize_of(7));
        assert_eq!(u64_of(7), 7);
    }
}
