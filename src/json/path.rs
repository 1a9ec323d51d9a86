//! Where a value is in a JSON document.

use std::fmt;

use super::DEPTH_MAX;

/// A place in a JSON document, as `$.legs[0].filter`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Path<'a> {
    /// The document, which is one of these.
    Root(&'static str),
    /// An element of an array.
    Item(&'a Path<'a>, usize),
    /// A field of an object.
    // Only names that a form has: what a client made up must not get into a message unescaped.
    Field(&'a Path<'a>, &'static str),
}

impl Path<'_> {
    /// A message about what is at this place.
    pub(crate) fn error(&self, why: impl fmt::Display) -> String {
        format!("bad {} at {self}: {why}", self.root())
    }

    /// Refuses what nests deeper than any query. To be called by forms that contain themselves.
    pub(crate) fn check_depth(&self) -> Result<(), String> {
        // Counted on the way out, so that no form has to hand a level down beside its path.
        let (mut at, mut depth) = (self, 0);
        while let Self::Item(outer, _) | Self::Field(outer, _) = at {
            (at, depth) = (outer, depth + 1);
        }
        if depth > DEPTH_MAX {
            return Err(self.error(format!("it nests deeper than {DEPTH_MAX} levels")));
        }
        Ok(())
    }

    fn root(&self) -> &'static str {
        let mut at = self;
        loop {
            match at {
                Self::Root(what) => return what,
                Self::Item(outer, _) | Self::Field(outer, _) => at = outer,
            }
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(_) => f.write_str("$"),
            Self::Item(outer, at) => write!(f, "{outer}[{at}]"),
            Self::Field(outer, name) => write!(f, "{outer}.{name}"),
        }
    }
}
