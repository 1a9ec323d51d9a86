//! How thoroughly a vector leg searches.

use crate::error::{Error, Result};

/// The recall of a query that names none. Above it the cost grows steeply: the last neighbours lie in clusters that
/// are far from the query (`docs/decisions/recall_curves.md`).
const RECALL: f64 = 0.95;

/// How thoroughly a query searches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Effort {
    /// Every vector is compared.
    Exact,
    /// Clusters are probed until this share of the true neighbours is found, on average.
    Recall(f64),
    /// This many of the nearest clusters with a match are probed, of each centroid set.
    Probes(usize),
}

impl Default for Effort {
    fn default() -> Self {
        Self::Recall(RECALL)
    }
}

impl Effort {
    /// The effort for a recall: all of it is an exact search, which no number of probes promises.
    pub(in crate::query) fn for_recall(recall: f64) -> Self {
        if (1.0 - recall).abs() < f64::EPSILON { Self::Exact } else { Self::Recall(recall) }
    }

    pub(in crate::query) fn check(self) -> Result<()> {
        match self {
            Self::Recall(recall) if !(recall > 0.0 && recall <= 1.0) => Err(Error::invalid(format!(
                "bad recall: above 0 and at most 1 is allowed. recall=`{recall}`"
            ))),
            Self::Probes(0) => Err(Error::invalid("bad number of probes: at least 1 is allowed. probes=`0`")),
            Self::Recall(_) | Self::Probes(_) | Self::Exact => Ok(()),
        }
    }
}
