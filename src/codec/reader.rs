//! Reading numbers and slices of bytes that are not trusted.

use uuid::Uuid;

use super::CodecError;

/// A cursor over bytes of unknown origin.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// `what` names the format in errors.
    pub(crate) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, rest: bytes }
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], CodecError> {
        let (taken, rest) =
            self.rest.split_at_checked(len).ok_or(CodecError::Truncated { what: self.what })?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, CodecError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, CodecError> {
        self.array().map(u32::from_le_bytes)
    }

    /// A number of 7 bits a byte, the lowest first.
    pub(crate) fn varint(&mut self) -> Result<u64, CodecError> {
        let mut number = 0;
        for shift in (0..63).step_by(7) {
            let [byte] = self.take(1)? else { break };
            number |= u64::from(byte & 0x7f) << shift;
            if byte < &0x80 {
                return Ok(number);
            }
        }
        Err(CodecError::malformed(self.what, "a number is too long"))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, CodecError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, CodecError> {
        self.array().map(i64::from_le_bytes)
    }

    pub(crate) fn uuid(&mut self) -> Result<Uuid, CodecError> {
        self.array().map(Uuid::from_bytes)
    }

    /// A length, of no more than the bytes that are left.
    // A caller that allocates by it allocates no more than the input is long.
    pub(crate) fn len(&mut self) -> Result<usize, CodecError> {
        let len = usize::try_from(self.u64()?).ok();
        len.filter(|len| *len <= self.rest.len()).ok_or(CodecError::Truncated { what: self.what })
    }

    pub(crate) fn magic(&mut self, expected: [u8; 4]) -> Result<(), CodecError> {
        match self.array::<4>() {
            Ok(found) if found == expected => Ok(()),
            // Too short for a magic number is as foreign as a wrong one.
            _ => Err(CodecError::Magic { what: self.what }),
        }
    }

    pub(crate) fn version(&mut self, supported: u16) -> Result<u16, CodecError> {
        let found = self.u16()?;
        // Zero was never a version: it is what a hole in a file reads as.
        if found == 0 || found > supported {
            let (found, supported) = (found.into(), supported.into());
            return Err(CodecError::Newer { what: self.what, found, supported });
        }
        Ok(found)
    }

    /// Everything that is left.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Fails if anything is left: bytes that nobody reads may hide a format of another version.
    pub(crate) fn end(&self) -> Result<(), CodecError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(CodecError::malformed(self.what, format!("{} bytes too many", self.rest.len())))
    }
}
