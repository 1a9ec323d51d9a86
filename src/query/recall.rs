//! Measuring recall on stored data: approximate against exact search, with vectors of the namespace as queries.

use std::collections::HashSet;

use futures::future::BoxFuture;
use roaring::RoaringBitmap;

use super::leg::vector::{Distance, Effort, NearestRows, VectorSearch, find_vector_column};
use super::limits::check_limit;
use crate::codec::{to_u32, u64_of, zip_equal};
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::types::{Document, Value, Vector};
use crate::view::Scopes;
use crate::view::{Part, RowAddr, View};

/// The most queries of a check.
// At a recall of .95 the standard error is below 0.1 points there: more queries would tell nothing.
const SAMPLE_MAX: usize = 100_000;
/// How many rows a check reads, if it must, to find its distinct vectors; never fewer than the sample.
// Where an image or a text is missing, most rows may share one placeholder. Looking further for other vectors is worth
// some pages, but a column of nothing else must not make a check read all rows.
const SAMPLED_ROWS_MIN: u64 = 16 << 10;

/// A measurement of recall: approximate search, with stored vectors as queries, against an exact search.
///
/// Each distinct vector is used once, however many documents have it, so that placeholders and templates do not
/// dominate. Hits are compared by distance: a document no farther than the last of the true nearest counts as found,
/// whichever of several equally near ones the exact search returns. Queries that lie far from all stored vectors may
/// reach less recall. To measure those, run some with and without [`Query::exact`](crate::Query::exact) and compare the
/// distances of the hits.
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

/// The result of a [`RecallCheck`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::*;
/// # let schema = Schema::builder(IdKind::U64).vector("v", VectorType::F32, 2, Metric::Cosine).build()?;
/// # let docs = Database::open("memory://").await?.create_namespace("docs", schema).await?;
/// # let row = |id: u8| Document::new(id).with("v", Vector::from([1.0, f32::from(id)]));
/// # docs.write((1..=9).map(row).collect::<WriteBatch>()).await?;
/// let report = docs.measure_recall(RecallCheck::of("v").limit(3)).await?;
/// println!("{:.1} % found, {:.1} % expected", 100.0 * report.recall, 100.0 * report.expected);
/// // So few vectors are compared one by one.
/// assert_eq!((report.queries, report.recall), (9, 1.0));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct RecallReport {
    /// The number of queries: fewer than the sample if there are not enough distinct vectors.
    pub queries: usize,
    /// The share of the true nearest documents that was found, not counting the document of the query itself.
    pub recall: f64,
    /// The average recall that the index predicted.
    pub expected: f64,
    /// The average number of rows whose vector was looked at.
    pub rows_scanned: f64,
    /// The number of rows that an exact search looks at.
    pub rows: u64,
}

/// A copy.
impl From<&RecallCheck> for RecallCheck {
    fn from(other: &RecallCheck) -> Self {
        other.clone()
    }
}

impl RecallCheck {
    /// Measures a vector column.
    pub fn of(column: impl Into<String>) -> Self {
        Self { column: column.into(), sample: 100, limit: 10, effort: Effort::default(), filter: None }
    }

    /// The number of queries, 1 to 100,000. Default 100. The measured recall `r` has a standard error of about
    /// `sqrt(r * (1 - r) / sample)`: 2 points at .95 and 100 queries.
    pub fn sample(mut self, sample: usize) -> Self {
        self.sample = sample;
        self
    }

    /// How many nearest documents a query should find. Default 10.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// As [`VectorQuery::recall`](crate::VectorQuery::recall).
    pub fn recall(mut self, recall: f64) -> Self {
        self.effort = Effort::for_recall(recall);
        self
    }

    /// As [`VectorQuery::probes`](crate::VectorQuery::probes).
    pub fn probes(mut self, probes: usize) -> Self {
        self.effort = Effort::Probes(probes);
        self
    }

    /// As [`Leg::filter`](crate::Leg::filter): the documents that may be found. Queries are sampled from all documents.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(Filter::narrowed(self.filter, filter));
        self
    }
}

impl RecallCheck {
    /// Runs the measurement on a view.
    pub(crate) fn measure_recall<'a>(&'a self, view: &'a View) -> BoxFuture<'a, Result<RecallReport>> {
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
            let mut sums = RecallSums::default();
            // One query after another, so that a check holds no more memory than a single query.
            for (addr, vector) in sample_vectors(view, &self.column, self.sample).await? {
                let search = VectorSearch::plan(&view.schema, &self.column, &vector, self.effort)?;
                // One more hit, since each search finds the vector's own document.
                let approximate = search.with_limit(self.limit + 1);
                let exact = approximate.clone().with_effort(Effort::Exact);
                let truth = exact.find_nearest(view, &scope).await?;
                let answer = approximate.find_nearest(view, &scope).await?;
                sums.add_query(self.limit, addr, truth, answer);
            }
            Ok(sums.to_report())
        })
    }
}

/// What the queries of a check found, added up.
#[derive(Debug, Default)]
struct RecallSums {
    queries: usize,
    found: usize,
    wanted: usize,
    expected: f64,
    scanned: u64,
    rows: u64,
}

impl RecallSums {
    /// Adds the answers for the vector of the document at `addr`.
    fn add_query(&mut self, limit: usize, addr: RowAddr, truth: NearestRows, answer: NearestRows) {
        let truth_distances = nearest_distances(truth.rows, addr, limit);
        // Compared by distance, not by document: of documents at the same distance, either is a right answer.
        if let Some(farthest) = truth_distances.last() {
            let distances = nearest_distances(answer.rows, addr, limit);
            self.found += distances.iter().filter(|distance| *distance <= farthest).count();
        }
        self.wanted += truth_distances.len();
        self.scanned += answer.stats.rows_scanned;
        self.expected += answer.expected_recall;
        self.rows = truth.stats.rows_scanned;
        self.queries += 1;
    }

    #[expect(clippy::cast_precision_loss, reason = "counts")]
    fn to_report(&self) -> RecallReport {
        let Self { queries, found, wanted, expected, scanned, rows } = *self;
        if wanted == 0 {
            // There was nothing to find, so nothing was missed.
            return RecallReport { queries, recall: 1.0, expected: 1.0, rows_scanned: 0.0, rows };
        }
        let count = queries as f64;
        RecallReport {
            queries,
            recall: found as f64 / wanted as f64,
            expected: expected / count,
            rows_scanned: scanned as f64 / count,
            rows,
        }
    }
}

/// The `limit` smallest distances, ascending, without that of the document at `own`.
fn nearest_distances(near: Vec<(Distance, RowAddr)>, own: RowAddr, limit: usize) -> Vec<f64> {
    let others = near.into_iter().filter(|(_, addr)| *addr != own);
    let mut distances: Vec<f64> = others.map(|(distance, _)| distance.0).collect();
    distances.sort_unstable_by(f64::total_cmp);
    distances.truncate(limit);
    distances
}

/// Up to `count` distinct live vectors of a column, evenly spread over all rows.
async fn sample_vectors(view: &View, column: &str, count: usize) -> Result<Vec<(RowAddr, Vector)>> {
    let (column_index, _) = find_vector_column(&view.schema, column)?;
    let live = view.find_all_live_rows().await?;
    let total: u64 = live.iter().map(|(_, rows)| rows.len()).sum();
    let rows_max = u64_of(count).max(SAMPLED_ROWS_MIN);
    let mut rows_wanted = u64_of(count);
    loop {
        // Evenly spread and not at random: a check gives the same figure until something is written, and every segment
        // counts in proportion to its rows.
        let step = (total / rows_wanted).max(1);
        let (mut vectors, mut seen, mut skip) = (Vec::new(), HashSet::new(), step / 2);
        for (part_index, (part, rows)) in live.iter().enumerate() {
            let sampled = every_nth(rows, &mut skip, step)?;
            let read = read_vectors(view, part, column_index, &sampled).await?;
            let sampled: Vec<u32> = sampled.iter().collect();
            for (row, vector) in zip_equal(sampled, read, "rows and their vectors")? {
                let Some(vector) = vector else { continue };
                if seen.insert(vector.to_f32().into_iter().map(f32::to_bits).collect::<Vec<u32>>()) {
                    vectors.push((RowAddr { part: part_index, row }, vector));
                }
            }
        }
        if vectors.len() >= count || step == 1 || rows_wanted >= rows_max {
            return Ok(thin_out(vectors, count));
        }
        // Many rows share a vector, or have none. A sample of four times as many replaces this one, since adding to it
        // would not be evenly spread.
        rows_wanted = rows_wanted.saturating_mul(4).min(rows_max);
    }
}

/// Keeps `count` items, evenly spread.
fn thin_out<T>(items: Vec<T>, count: usize) -> Vec<T> {
    // Cutting the list off would leave out the last parts, which hold the newest rows.
    let total = items.len();
    let count = count.min(total);
    // An item is kept where the running share of `count` reaches the next whole number.
    let is_kept = |index: usize| index * count / total != (index + 1) * count / total;
    items.into_iter().enumerate().filter(|(index, _)| is_kept(*index)).map(|(_, item)| item).collect()
}

/// The vectors of some rows, in their order; `None` for a null.
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

/// Every `step`-th row, after `skip` of them. Sets `skip` to the rows to leave out of the next part, so that the steps
/// continue across parts.
fn every_nth(rows: &RoaringBitmap, skip: &mut u64, step: u64) -> Result<RoaringBitmap> {
    let mut sampled = RoaringBitmap::new();
    while *skip < rows.len() {
        let row = rows.select(to_u32(*skip, "a row to sample")?);
        sampled.insert(row.ok_or_else(|| Error::internal("a bitmap has fewer rows than it counts"))?);
        *skip += step;
    }
    *skip -= rows.len();
    Ok(sampled)
}
