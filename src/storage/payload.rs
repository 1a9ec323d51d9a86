//! The body of an object to be written, in parts.
//!
//! **Invariant:** no part is empty, so that backends need not care what a server or a system call makes of one.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

/// The body of an object to be written: the bytes of its parts, one behind the other.
///
/// Writers make a file of pieces that exist already, and some of them are large. Backends send or write the pieces as
/// they are, without joining them first. Clones share the bytes.
///
/// ```
/// use bytes::Bytes;
/// use elacsym::storage::Payload;
///
/// let (head, vectors) = (Bytes::from("head"), Bytes::from(vec![0; 1 << 20]));
/// let body: Payload = [head, Bytes::new(), vectors].into_iter().collect();
/// assert_eq!(body.len(), 4 + (1 << 20));
/// // Empty parts are left out.
/// assert_eq!(body.iter().map(Bytes::len).collect::<Vec<_>>(), [4, 1 << 20]);
/// // Joined only here, and only because there are several parts.
/// assert!(body.into_bytes().starts_with(b"head\0"));
///
/// assert_eq!(Payload::from("of one part").into_bytes(), "of one part");
/// ```
#[derive(Clone, Default)]
pub struct Payload {
    parts: Arc<[Bytes]>,
    len: usize,
}

impl Payload {
    /// The number of bytes in all parts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The parts in their order. None of them is empty.
    pub fn iter(&self) -> std::slice::Iter<'_, Bytes> {
        self.parts.iter()
    }

    /// All bytes in one piece. They are copied if there are several parts, and only then.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match &*self.parts {
            [] => Bytes::new(),
            [whole] => whole.clone(),
            parts => {
                let mut joined = BytesMut::with_capacity(self.len);
                for part in parts {
                    joined.extend_from_slice(part);
                }
                joined.freeze()
            }
        }
    }

    /// A range of the bytes, or `None` if it is out of bounds. It is copied only where it spans several parts.
    pub(super) fn slice(&self, range: Range<usize>) -> Option<Bytes> {
        if range.start > range.end || range.end > self.len {
            return None;
        }
        let (mut at, mut pieces) = (0, Vec::new());
        for part in self {
            let (first, last) = (range.start.max(at), range.end.min(at + part.len()));
            if first < last {
                pieces.push(part.slice(first - at..last - at));
            }
            at += part.len();
        }
        Some(pieces.into_iter().collect::<Self>().into_bytes())
    }

    /// Bodies of `bytes` bytes each, the last one shorter, which together are this one. Nothing is copied.
    pub(super) fn chunks(&self, bytes: usize) -> Vec<Self> {
        let bytes = bytes.max(1);
        let (mut chunks, mut chunk, mut room) = (Vec::new(), Vec::new(), bytes);
        for part in self {
            let mut rest = part.clone();
            while rest.len() >= room {
                chunk.push(rest.split_to(room));
                chunks.push(chunk.drain(..).collect());
                room = bytes;
            }
            room -= rest.len();
            chunk.push(rest);
        }
        let last: Self = chunk.into_iter().collect();
        if !last.is_empty() {
            chunks.push(last);
        }
        chunks
    }
}

impl FromIterator<Bytes> for Payload {
    fn from_iter<I: IntoIterator<Item = Bytes>>(parts: I) -> Self {
        let parts: Arc<[Bytes]> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let len = parts.iter().map(Bytes::len).sum();
        Self { parts, len }
    }
}

impl<'a> IntoIterator for &'a Payload {
    type Item = &'a Bytes;
    type IntoIter = std::slice::Iter<'a, Bytes>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self::from_iter([bytes])
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for Payload {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static [u8]> for Payload {
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::from_static(bytes).into()
    }
}

impl From<&'static str> for Payload {
    fn from(text: &'static str) -> Self {
        text.as_bytes().into()
    }
}

/// Sizes alone: the bytes are those of documents.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes in {} parts)", self.len, self.parts.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(lengths: &[usize]) -> Vec<Bytes> {
        let whole: Bytes = (0..=250).cycle().take(lengths.iter().sum()).collect();
        let mut rest = whole;
        lengths.iter().map(|len| rest.split_to(*len)).collect()
    }

    #[test]
    fn one_part_is_not_copied() {
        let bytes = Bytes::from(vec![7; 100]);
        for body in [Payload::from(bytes.clone()), [Bytes::new(), bytes.clone()].into_iter().collect()] {
            assert_eq!(body.clone().into_bytes().as_ptr(), bytes.as_ptr());
            assert_eq!(body.iter().map(|part| part.as_ptr()).collect::<Vec<_>>(), [bytes.as_ptr()]);
        }
        assert!(Payload::default().is_empty() && Payload::from("").into_bytes().is_empty());
    }

    #[test]
    fn chunks_are_of_one_size_whatever_the_parts() {
        for lengths in [&[][..], &[30], &[10], &[3, 0, 7, 25], &[1; 21], &[9, 1, 10, 20], &[0, 41, 0, 9]] {
            let parts = parts(lengths);
            let whole = parts.concat();
            let body: Payload = parts.iter().cloned().collect();
            assert_eq!((body.len(), body.clone().into_bytes().as_ref()), (whole.len(), whole.as_slice()));
            let chunks: Vec<Bytes> = body.chunks(10).into_iter().map(Payload::into_bytes).collect();
            assert_eq!(chunks, whole.chunks(10).map(Bytes::copy_from_slice).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_range_is_copied_only_across_parts() {
        for lengths in [&[][..], &[30], &[3, 0, 7, 25], &[1; 21]] {
            let parts = parts(lengths);
            let whole = parts.concat();
            let body: Payload = parts.iter().cloned().collect();
            for (start, end) in (0..=whole.len() + 1).flat_map(|a| (0..=whole.len() + 1).map(move |b| (a, b)))
            {
                let expected = whole.get(start..end).map(Bytes::copy_from_slice);
                assert_eq!(body.slice(start..end), expected, "{start}..{end} of {lengths:?}");
            }
        }
        let parts = parts(&[3, 40, 5]);
        let body: Payload = parts.iter().cloned().collect();
        assert_eq!(body.slice(4..43).unwrap().as_ptr(), parts[1][1..].as_ptr());
    }
}
