//! What configures the client of a cloud besides the environment.

use std::fmt;

use crate::error::{Error, Result};

/// Options by name. Values may be keys and tokens: they are never shown.
#[derive(Clone, Default)]
pub(crate) struct StoreOptions(Vec<(String, String)>);

impl StoreOptions {
    /// Adds an option. Of one name the last value counts.
    pub(crate) fn push(&mut self, name: String, value: String) {
        self.0.push((name, value));
    }

    /// For a store that has no options.
    pub(crate) fn refuse(&self, store: &str) -> Result<()> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => {
                Err(Error::invalid(format!("{store} takes no store options. option=`{}`", shown(name))))
            }
        }
    }

    /// Sets the options, in order, by the keys that a client knows.
    #[cfg(any(feature = "aws", feature = "gcp", feature = "azure"))]
    pub(super) fn apply<B, K: std::str::FromStr>(
        &self,
        scheme: &str,
        builder: B,
        set: impl Fn(B, K, &str) -> B,
    ) -> Result<B> {
        self.0.iter().try_fold(builder, |builder, (name, value)| {
            // The error of the client says no more.
            let key = name.to_ascii_lowercase().parse().map_err(|_| {
                Error::invalid(format!("unknown store option for `{scheme}`. option=`{}`", shown(name)))
            })?;
            Ok(set(builder, key, value))
        })
    }
}

/// A name as an error shows it: somebody may have put a secret in its place.
fn shown(name: &str) -> &str {
    let is_name = name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if is_name { name } else { "(not shown)" }
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, _)| shown(name))).finish()
    }
}
