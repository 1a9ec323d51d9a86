//! The end of an object: the XXH3-64 of all before it.

use super::{CodecError, checksum};

/// The size of the checksum.
pub(crate) const TRAILER_BYTES: usize = 8;

/// Ends an object with its checksum, which is returned.
pub(crate) fn push_trailer(object: &mut Vec<u8>) -> u64 {
    let checksum = checksum(object);
    object.extend(checksum.to_le_bytes());
    checksum
}

/// Splits a sound object into what its checksum is of, and the checksum.
pub(crate) fn check_trailer<'a>(what: &'static str, object: &'a [u8]) -> Result<(&'a [u8], u64), CodecError> {
    let (body, trailer) = object.split_last_chunk().ok_or(CodecError::Truncated { what })?;
    let stored = u64::from_le_bytes(*trailer);
    if checksum(body) != stored {
        return Err(CodecError::Checksum { what });
    }
    Ok((body, stored))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_and_cuts_are_noticed() {
        let mut object = b"body".to_vec();
        let checksum = push_trailer(&mut object);
        assert_eq!(object.len(), 4 + TRAILER_BYTES);
        assert_eq!(check_trailer("object", &object).unwrap(), (&b"body"[..], checksum));
        for at in 0..object.len() {
            let mut bad = object.clone();
            bad[at] ^= 1;
            assert!(matches!(check_trailer("object", &bad), Err(CodecError::Checksum { .. })), "byte {at}");
            assert!(check_trailer("object", &object[..at]).is_err());
        }
        assert!(matches!(check_trailer("object", &object[..7]), Err(CodecError::Truncated { .. })));
    }
}
