//! Measuring recall on what is stored: approximate against exact search, by vectors of the namespace itself.

use std::collections::HashSet;

use futures::future::BoxFuture;
use roaring::RoaringBitmap;

use super::leg::vector::{Distance, Effort, VectorSearch};
use super::request::check_limit;
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::types::{Document, Value, Vector};
use crate::view::Scopes;
use crate::view::{Part, RowAddr, View};

/// The most stored vectors that are asked for.
const SAMPLE_MAX: usize = 100_000;
/// How many rows are looked at for as many different vectors as are asked for, besides as many as these.
const LOOKED_AT: u64 = 16 << 10;

/// What to measure: approximate search, by vectors that are stored, against a comparison with every vector.
///
/// Each vector is asked for once, however many documents have it, so that placeholders and templates do not count for
/// more than all others. What is found counts by its distance: a document that is no farther than the last of the true
/// nearest is one of them, whichever of several equal ones the true answer names. Documents of other vectors than
/// those that are stored may find less, if they lie apart from these: of such queries, ask some with
/// [`Query::exact`](crate::Query::exact) and without, and compare the distances of the hits.
///
/// ```
/// use elacsym::RecallCheck;
///
/// let check = RecallCheck::of("embedding").recall(0.9).limit(20).sample(50);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct RecallCheck {
    column: String,
    sample: usize,
    limit: usize,
    effort: Effort,
    filter: Option<Filter>,
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct RecallReport {
    /// How many stored vectors were asked for: fewer than the sample where there are not so many different ones.
    pub queries: usize,
    /// The share of the true nearest that was found, the vector's own document left out.
    pub recall: f64,
    /// The share that was expected by the curves of the index, on average.
    pub expected: f64,
    /// Rows whose vector was looked at, on average.
    pub rows_scanned: f64,
    /// Rows that an exact search looks at.
    pub rows: u64,
}

impl RecallCheck {
    /// Of a vector column.
    pub fn of(column: impl Into<String>) -> Self {
        Self { column: column.into(), sample: 100, limit: 10, effort: Effort::default(), filter: None }
    }

    /// How many different stored vectors are asked for, 1 to 100,000. Default 100. The share that is measured has a
    /// standard error of about `sqrt(r * (1 - r) / sample)`: 2 points at .95 and 100.
    pub fn sample(mut self, sample: usize) -> Self {
        self.sample = sample;
        self
    }

    /// How many of the nearest count. Default 10.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// As [`Leg::recall`](crate::Leg::recall).
    pub fn recall(mut self, recall: f64) -> Self {
        self.effort = Effort::for_recall(recall);
        self
    }

    /// As [`Leg::probes`](crate::Leg::probes).
    pub fn probes(mut self, probes: usize) -> Self {
        self.effort = Effort::Probes(probes);
        self
    }

    /// As [`Leg::filter`](crate::Leg::filter): the documents that may be found. Those that are asked for are of all.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(Filter::narrowed(self.filter, filter));
        self
    }
}

impl RecallCheck {
    /// Runs the measurement on a view.
    pub(crate) fn measure<'a>(&'a self, view: &'a View) -> BoxFuture<'a, Result<RecallReport>> {
        Box::pin(async move {
            check_limit("limit", self.limit, &view.settings)?;
            self.effort.check()?;
            if !(1..=SAMPLE_MAX).contains(&self.sample) {
                let sample = self.sample;
                return Err(Error::limit(format!(
                    "bad sample: 1 to {SAMPLE_MAX} are allowed. sample=`{sample}`"
                )));
            }
            let scope = Scopes::default().scope_for(view, self.filter.clone())?;
            let (mut found, mut wanted, mut scanned, mut expected) = (0, 0, 0, 0.0);
            let mut report =
                RecallReport { queries: 0, recall: 1.0, expected: 1.0, rows_scanned: 0.0, rows: 0 };
            for (place, vector) in sample(view, &self.column, self.sample).await? {
                // One more, for the vector's own document.
                let search = VectorSearch::plan(&view.schema, &self.column, &vector, self.effort)?;
                let probed = search.with_limit(self.limit + 1);
                let exact = probed.clone().with_effort(Effort::Exact);
                let exact = exact.find_nearest(view, &scope).await?;
                let probed = probed.find_nearest(view, &scope).await?;
                let nearest = |near: Vec<(Distance, RowAddr)>| {
                    let mut near: Vec<f64> = near
                        .into_iter()
                        .filter(|(_, other)| *other != place)
                        .map(|(distance, _)| distance.0)
                        .collect();
                    near.sort_unstable_by(f64::total_cmp);
                    near.truncate(self.limit);
                    near
                };
                let truth = nearest(exact.rows);
                // By distance: of documents that are as near as each other any will do.
                let last = truth.last().copied().unwrap_or(f64::NEG_INFINITY);
                found += nearest(probed.rows).iter().filter(|distance| **distance <= last).count();
                wanted += truth.len();
                scanned += probed.stats.rows_scanned;
                expected += probed.expected_recall;
                report.rows = exact.stats.rows_scanned;
                report.queries += 1;
            }
            #[expect(clippy::cast_precision_loss, reason = "counts")]
            if wanted > 0 {
                report.recall = found as f64 / wanted as f64;
                report.expected = expected / report.queries as f64;
                report.rows_scanned = scanned as f64 / report.queries as f64;
            }
            Ok(report)
        })
    }
}

/// Up to `count` different live vectors of a column, evenly spread over all rows.
async fn sample(view: &View, column: &str, count: usize) -> Result<Vec<(RowAddr, Vector)>> {
    let columns = view.schema.columns().iter();
    let at = columns.enumerate().find(|(_, c)| c.name == column).map(|(at, _)| at);
    let at = at.ok_or_else(|| Error::invalid(format!("no such vector column. column=`{column}`")))?;
    let live = view.find_all_live_rows().await?;
    let total: u64 = live.iter().map(|(_, rows)| rows.len()).sum();
    let mut wanted = count as u64;
    loop {
        let step = (total / wanted).max(1);
        let (mut vectors, mut seen, mut skip) = (Vec::new(), HashSet::new(), step / 2);
        for (part, (source, rows)) in live.iter().enumerate() {
            let picked = spread(rows, &mut skip, step);
            for (row, vector) in picked.iter().zip(read_vectors(view, source, at, &picked).await?) {
                let Some(vector) = vector else { continue };
                if seen.insert(vector.to_f32().into_iter().map(f32::to_bits).collect::<Vec<u32>>()) {
                    vectors.push((RowAddr { part, row }, vector));
                }
            }
        }
        if vectors.len() >= count || step == 1 || wanted >= (count as u64).max(LOOKED_AT) {
            // More than are wanted are thinned out, not cut off.
            let all = vectors.len();
            let kept = (0..all).map(|at| at * count.min(all) / all != (at + 1) * count.min(all) / all);
            let kept: Vec<bool> = kept.collect();
            return Ok(vectors.into_iter().zip(kept).filter(|(_, kept)| *kept).map(|(one, _)| one).collect());
        }
        // Many are the same, or null.
        wanted = wanted.saturating_mul(4).min((count as u64).max(LOOKED_AT));
    }
}

async fn read_vectors(
    view: &View,
    part: &Part,
    column: usize,
    rows: &RoaringBitmap,
) -> Result<Vec<Option<Vector>>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let batch = part.fetch_rows(&view.schema, &[column], rows).await?;
    let documents = view.schema.documents(&batch)?;
    let vector = |document: Document| {
        document.into_parts().1.into_values().find_map(|value| match value {
            Value::Vector(vector) => Some(vector),
            _ => None,
        })
    };
    Ok(documents.into_iter().map(vector).collect())
}

/// Every `step`-th row, after `skip` of them; `skip` is then how many of the next part are left out.
fn spread(rows: &RoaringBitmap, skip: &mut u64, step: u64) -> RoaringBitmap {
    let mut picked = RoaringBitmap::new();
    while *skip < rows.len() {
        let row = u32::try_from(*skip).ok().and_then(|at| rows.select(at));
        picked.extend(row);
        *skip += step;
    }
    *skip -= rows.len();
    picked
}
