//! JSON behind a line that identifies it: `elacsym <what> <version> <length> <xxh3-64 in hex>`.
//!
//! A person who opens the object sees what it is, and any JSON tool reads it without the first line.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::features::{FeatureUser, Featured, Features};
use super::{CodecError, checksum};

/// A kind of framed JSON object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    /// What the object is: a lower-case word.
    pub(crate) what: &'static str,
    /// The newest version that is written and read.
    pub(crate) version: u32,
}

impl Frame {
    pub(crate) fn encode(self, value: &impl Serialize) -> Result<Bytes, CodecError> {
        let json = serde_json::to_vec(value).map_err(|e| CodecError::malformed(self.what, e))?;
        let head =
            format!("elacsym {} {} {} {:016x}\n", self.what, self.version, json.len(), checksum(&json));
        Ok([head.as_bytes(), &json].concat().into())
    }

    pub(crate) fn decode<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, CodecError> {
        let what = self.what;
        let magic = || CodecError::Magic { what };
        let start = format!("elacsym {what} ");
        let body = bytes.strip_prefix(start.as_bytes()).ok_or_else(magic)?;
        // Three numbers take 48 bytes at most: without a line end by then it is another file, which may be large.
        let line_end = body.iter().take(64).position(|b| *b == b'\n').ok_or_else(magic)?;
        let (line, json) = body.split_at_checked(line_end).ok_or_else(magic)?;
        let json = json.strip_prefix(b"\n").ok_or_else(magic)?;
        let mut words = std::str::from_utf8(line).map_err(|_| magic())?.split(' ');
        let version: u32 = words.next().and_then(|w| w.parse().ok()).ok_or_else(magic)?;
        // Before length and checksum: a newer version may have changed what they are of.
        if version == 0 || version > self.version {
            return Err(CodecError::Newer { what, found: version, supported: self.version });
        }
        let len: usize = words.next().and_then(|w| w.parse().ok()).ok_or_else(magic)?;
        // A cut object is reported as such: its checksum would be wrong too, but that looks like damage on the medium.
        if len != json.len() {
            return Err(CodecError::Truncated { what });
        }
        let expected = words.next().and_then(|w| u64::from_str_radix(w, 16).ok()).ok_or_else(magic)?;
        if expected != checksum(json) || words.next().is_some() {
            return Err(CodecError::Checksum { what });
        }
        serde_json::from_slice(json).map_err(|e| CodecError::malformed(what, e))
    }

    /// Decodes an object that declares features, unless it requires of readers what this version does not know.
    pub(crate) fn decode_featured<T: DeserializeOwned + Featured>(
        self,
        bytes: &[u8],
    ) -> Result<T, CodecError> {
        #[derive(Deserialize)]
        struct Declared {
            #[serde(default)]
            features: Features,
        }
        let decoded = self.decode::<T>(bytes);
        match &decoded {
            Ok(object) => object.features().check(self.what, FeatureUser::Readers)?,
            // A newer object may be of another shape, and must be reported as newer, not as damaged.
            Err(CodecError::Malformed { .. }) => {
                if let Ok(Declared { features }) = self.decode(bytes) {
                    features.check(self.what, FeatureUser::Readers)?;
                }
            }
            Err(_) => {}
        }
        decoded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Frame = Frame { what: "thing", version: 2 };

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let bytes = FRAME.encode(&vec![1, 2, 3]).unwrap();
        assert_eq!(FRAME.decode::<Vec<u8>>(&bytes).unwrap(), [1, 2, 3]);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.to_vec();
                bad[at] ^= 1 << bit;
                let read = FRAME.decode::<Vec<u8>>(&bad);
                // A lower version, or a checksum in upper case, is another spelling of the same frame.
                assert!(!matches!(read, Ok(ref v) if *v != [1, 2, 3]), "byte {at} bit {bit}");
            }
            assert!(FRAME.decode::<Vec<u8>>(&bytes[..at]).is_err());
        }
    }

    #[test]
    fn an_unknown_feature_is_told_from_damage_in_whatever_shape() {
        #[derive(Debug, Deserialize)]
        struct Thing {
            #[expect(dead_code, reason = "it only has to be there")]
            size: u32,
            #[serde(default)]
            features: Features,
        }
        impl Featured for Thing {
            fn features(&self) -> &Features {
                &self.features
            }
        }
        let decode = |json: serde_json::Value| FRAME.decode_featured::<Thing>(&FRAME.encode(&json).unwrap());
        assert!(decode(serde_json::json!({"size": 1})).is_ok());
        assert!(decode(serde_json::json!({"size": 1, "features": {"write": ["x"]}})).is_ok());
        for size in [serde_json::json!(1), serde_json::json!("of another shape")] {
            let error = decode(serde_json::json!({"size": size, "features": {"read": ["x"]}})).unwrap_err();
            assert!(matches!(error, CodecError::Feature { .. }), "{error}");
        }
        let error = decode(serde_json::json!({"size": "damaged"})).unwrap_err();
        assert!(matches!(error, CodecError::Malformed { .. }), "{error}");
    }

    #[test]
    fn a_newer_version_says_so() {
        let newer = Frame { what: "thing", version: 3 }.encode(&1).unwrap();
        assert!(matches!(FRAME.decode::<u8>(&newer), Err(CodecError::Newer { found: 3, supported: 2, .. })));
        assert!(matches!(FRAME.decode::<u8>(b"garbage"), Err(CodecError::Magic { .. })));
    }
}
