//! How a leg would search a part, for a plan of a query.

use std::fmt;

/// How a leg ranks the rows of a part.
///
/// ```
/// use elacsym::query::SearchPlan;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::*;
/// # let schema = Schema::builder(IdKind::U64).vector("v", VectorType::F32, 2, Metric::Cosine).build()?;
/// # let docs = Database::open("memory://").await?.create_namespace("docs", schema).await?;
/// docs.write(Document::new(1).with("v", Vector::from([0.6, 0.8]))).await?;
/// let plan = docs.snapshot(Consistency::Strong).await?.explain(Query::nearest("v", [1.0, 0.0]))?;
/// // The tail has no index.
/// assert!(matches!(plan.legs[0].parts[0].search, SearchPlan::Compare { .. }));
/// # Ok(()) }
/// ```
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
