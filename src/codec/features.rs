//! Features: what an object requires of the versions that read it, and of those that write beside it.
//!
//! A version that does not know a feature of the first kind cannot read the object. One that does not know a feature of
//! the second kind reads on, and writes nothing: it would break what the feature promises.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::CodecError;
use super::unknown_fields::UnknownFields;

/// The features that this version knows.
const KNOWN: [&str; 0] = [];
/// How many unknown features an error names, and how much of each name: whoever may write to the store chooses them.
const NAMED_MAX: usize = 8;
const NAME_CHARS_MAX: usize = 64;

/// The features that an object of JSON declares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Features {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    read: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    write: Vec<String>,
    #[serde(flatten)]
    unknown: UnknownFields,
}

/// Of whom a feature is required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FeatureUser {
    Readers,
    Writers,
}

/// An object that declares features.
pub(crate) trait Featured {
    fn features(&self) -> &Features;
}

impl Features {
    pub(crate) fn is_empty(&self) -> bool {
        self.read.is_empty() && self.write.is_empty() && self.unknown.is_empty()
    }

    /// Checks that this version knows what is required.
    pub(crate) fn check(&self, what: &'static str, user: FeatureUser) -> Result<(), CodecError> {
        let required = match user {
            FeatureUser::Readers => &self.read,
            FeatureUser::Writers => &self.write,
        };
        let mut unknown = required.iter().filter(|name| !KNOWN.contains(&name.as_str())).peekable();
        if unknown.peek().is_none() {
            return Ok(());
        }
        Err(CodecError::feature(what, user, unknown))
    }
}

/// Checks that this version knows the features that a word of bits requires. It knows none.
pub(crate) fn check_feature_bits(what: &'static str, user: FeatureUser, bits: u32) -> Result<(), CodecError> {
    if bits == 0 {
        return Ok(());
    }
    let unknown = (0..u32::BITS).filter(|bit| bits >> bit & 1 == 1);
    Err(CodecError::feature(what, user, unknown.map(|bit| format!("bit {bit}"))))
}

/// The names of unknown features, as errors show them.
pub(super) fn name_features(names: impl IntoIterator<Item = impl fmt::Display>) -> String {
    let mut names = names.into_iter().map(|name| name.to_string());
    let shown = names.by_ref().take(NAMED_MAX).map(|name| {
        let name: String = name.chars().take(NAME_CHARS_MAX).collect();
        format!("`{}`", name.escape_debug())
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    if names.next().is_some() { format!("{shown}, …") } else { shown }
}

impl fmt::Display for FeatureUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Readers => "readers",
            Self::Writers => "writers",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_list_is_checked_by_itself_and_the_unknown_are_named() {
        let features: Features = serde_json::from_str(r#"{"write":["expiry","a\nb"]}"#).unwrap();
        assert!(features.check("thing", FeatureUser::Readers).is_ok() && !features.is_empty());
        let error = features.check("thing", FeatureUser::Writers).unwrap_err().to_string();
        assert_eq!(error, "unknown features that the thing requires of writers: `expiry`, `a\\nb`");
        assert!(serde_json::from_str::<Features>("{}").unwrap().is_empty());
        assert!(check_feature_bits("thing", FeatureUser::Readers, 0).is_ok());
        let error = check_feature_bits("thing", FeatureUser::Readers, 1 << 31 | 2).unwrap_err().to_string();
        assert_eq!(error, "unknown features that the thing requires of readers: `bit 1`, `bit 31`");
    }

    #[test]
    fn a_forged_list_makes_no_long_error() {
        let features = Features { read: vec!["x".repeat(1 << 20); 1_000], ..Features::default() };
        let error = features.check("thing", FeatureUser::Readers).unwrap_err().to_string();
        assert!(error.len() < 1_000 && error.ends_with('…'), "{error}");
    }
}
