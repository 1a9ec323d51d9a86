//! How a leg would search a part, for a plan of a query.

use std::fmt;

/// How a leg ranks the rows of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SearchPlan {
    /// Clusters of a vector index are probed. A query with a filter may probe more of them.
    Probe {
        /// Clusters that are probed.
        clusters: usize,
        /// Clusters in the index.
        of: usize,
        /// Bytes of codes that are read, about.
        bytes: u64,
    },
    /// The part is not searched.
    Nothing,
    /// Every vector whose document matches the filter is compared.
    Compare {
        /// Bytes of vectors, at most.
        bytes: u64,
    },
    /// Postings are read and scored.
    Postings {
        /// Words, prefixes and fuzzy words to look up in the dictionary.
        words: usize,
    },
    /// The values of the first sort key are walked in order.
    Walk {
        /// Rows to find.
        rows: usize,
    },
}

impl fmt::Display for SearchPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Probe { clusters, of, bytes } => {
                write!(f, "{clusters} of {of} clusters, {bytes} bytes of codes")
            }
            Self::Nothing => f.write_str("none"),
            Self::Compare { bytes } => write!(f, "every vector that matches, up to {bytes} bytes"),
            Self::Postings { words } => write!(f, "postings of {words} words"),
            Self::Walk { rows } => write!(f, "walk values for {rows} rows"),
        }
    }
}
