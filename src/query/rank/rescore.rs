//! Rescoring: the best documents of a ranking are ranked again, by a score that is too expensive for all documents.

use std::fmt;
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;
use async_trait::async_trait;

use super::fusion::Fused;
use super::ties::positions_in_order;
use crate::codec::{u64_of, zip_equal};
use crate::error::{Error, OrInternal, Result};
use crate::query::leg::text::BoundRank;
use crate::query::leg::vector::{Effort, VectorSearch};
use crate::query::row_distances::row_distances;
use crate::query::{Combine, Hit, Rank, Rows, Select};
use crate::schema::Schema;
use crate::types::Vector;
use crate::view::View;

/// Your own model that scores documents, such as a cross-encoder behind an HTTP API.
///
/// ```
/// use std::sync::Arc;
/// use elacsym::async_trait::async_trait;
/// use elacsym::{Hit, Query, Reranker, Rescore, Result, TextQuery};
///
/// /// The shortest title first.
/// struct Shortest;
///
/// #[async_trait]
/// impl Reranker for Shortest {
///     async fn rerank(&self, candidates: &[Hit]) -> Result<Vec<f32>> {
///         let title = |hit: &Hit| hit.document.str("title").map_or(0, str::len);
///         Ok(candidates.iter().map(|hit| 0.0 - title(hit) as f32).collect())
///     }
/// }
///
/// let rescore = Rescore::with(Arc::new(Shortest)).select(["title"]).depth(50);
/// let query = Query::text(TextQuery::any("body", "tea")).rescore(rescore);
/// # let _ = query;
/// ```
#[async_trait]
pub trait Reranker: Send + Sync {
    /// Returns one score for each candidate, in their order: greater is better, NaN is refused. Candidates are sorted
    /// best first and carry the columns of [`Rescore::select`]. An error fails the query.
    async fn rerank(&self, candidates: &[Hit]) -> Result<Vec<f32>>;
}

/// A second ranking of the best documents of a query, after its legs were fused. Documents outside of its depth are no
/// hits. Several rescorings run one after another.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use elacsym::{Combine, Leg, Query, Rank, Rescore, TextQuery};
///
/// let query = Query::hybrid([
///     Leg::nearest("small", [0.1, 0.9]),
///     Leg::text(TextQuery::any("body", "cold storage")),
/// ])
/// .rescore(Rescore::nearest("large", [0.1, 0.7, 0.2]).depth(200))
/// .limit(10);
///
/// let fresh = Rank::age("published", SystemTime::now()).half_at(Duration::from_secs(86_400));
/// let news = Query::text(TextQuery::any("body", "cold storage"))
///     .rescore(Rescore::rank(Combine::Product, fresh));
/// # let _ = (query, news);
/// ```
#[derive(Clone)]
#[must_use]
pub struct Rescore {
    by: Method,
    depth: Option<usize>,
    // An option, so that a selection that would have no effect can be refused.
    select: Option<Select>,
}

#[derive(Clone)]
pub(super) enum Method {
    Nearest(String, Vector),
    Rank(Combine, Rank),
    Model(Arc<dyn Reranker>),
}

impl Rescore {
    /// Rescores by the exact distance of the vector in `column` from `vector`; the score is the negated distance.
    /// Documents without a vector are dropped. The column needs no leg of its own: search by small vectors, and rescore
    /// by large ones.
    pub fn nearest(column: impl Into<String>, vector: impl Into<Vector>) -> Self {
        Self::from_method(Method::Nearest(column.into(), vector.into()))
    }

    /// Rescores by the score so far, combined with a rank. This is plain arithmetic, even on negative scores such as
    /// distances and z-scores, except that zero times an infinite distance is 0.
    pub fn rank(combine: Combine, rank: Rank) -> Self {
        Self::from_method(Method::Rank(combine, rank))
    }

    /// Rescores by your own model.
    pub fn with(reranker: Arc<dyn Reranker>) -> Self {
        Self::from_method(Method::Model(reranker))
    }

    fn from_method(by: Method) -> Self {
        Self { by, depth: None, select: None }
    }

    /// How many of the best documents are rescored, at most [`Settings::limit_max`](crate::Settings::limit_max), and not
    /// fewer than the hits of the query. Default ten times the hits, at least 100.
    pub fn depth(mut self, depth: usize) -> Self {
        self.depth = Some(depth);
        self
    }

    /// The columns of the candidates of a [`Reranker`]. Default [`Select::Attributes`]. An error for other rescorings.
    pub fn select(mut self, select: impl Into<Select>) -> Self {
        self.select = Some(select.into());
        self
    }

    pub(super) fn method(&self) -> &Method {
        &self.by
    }

    pub(in crate::query) fn requested_depth(&self) -> Option<usize> {
        self.depth
    }

    /// Refuses what is invalid for every schema.
    pub(in crate::query) fn check(&self) -> Result<()> {
        if self.select.is_some() && !matches!(self.by, Method::Model(_)) {
            let why = "a selection is for a reranker alone, other rescorings do not see documents";
            return Err(Error::invalid(format!("bad rescoring: {why}. rescoring=`{self:?}`")));
        }
        Ok(())
    }

    /// The rank of the score, if it has one.
    pub(in crate::query) fn as_rank(&self) -> Option<&Rank> {
        if let Method::Rank(_, rank) = &self.by { Some(rank) } else { None }
    }
}

impl fmt::Debug for Rescore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.by {
            Method::Nearest(column, _) => write!(f, "nearest {column}"),
            Method::Rank(combine, rank) => write!(f, "{combine:?} with {rank:?}"),
            Method::Model(_) => write!(f, "a model"),
        }
    }
}

/// A rescoring, checked against the schema.
pub(in crate::query) struct PreparedRescore {
    by: PreparedBy,
    pub(in crate::query) depth: usize,
}

enum PreparedBy {
    Nearest(Box<VectorSearch>),
    Rank(Combine, Box<BoundRank>),
    Model(Arc<dyn Reranker>, Vec<usize>),
}

impl PreparedRescore {
    /// Checks a rescoring against the schema.
    pub(in crate::query) fn new(view: &View, rescore: &Rescore, depth: usize) -> Result<Self> {
        let by = match &rescore.by {
            Method::Nearest(column, vector) => PreparedBy::Nearest(Box::new(VectorSearch::plan(
                &view.schema,
                column,
                vector,
                Effort::Exact,
            )?)),
            Method::Rank(combine, rank) => {
                let rank = BoundRank::new(rank, &view.schema, &view.settings)?;
                PreparedBy::Rank(*combine, Box::new(rank))
            }
            Method::Model(model) => {
                let select = rescore.select.clone().unwrap_or_default();
                PreparedBy::Model(Arc::clone(model), select.column_indexes(&view.schema)?)
            }
        };
        Ok(Self { by, depth })
    }

    /// Gives documents their new scores, and drops those without one. The result is in no order.
    pub(in crate::query) async fn rescore_hits(&self, view: &View, fused: Vec<Fused>) -> Result<Vec<Fused>> {
        let scores = match &self.by {
            PreparedBy::Nearest(search) => score_by_distance(view, search, &fused).await?,
            PreparedBy::Rank(combine, rank) => score_by_rank(view, *combine, rank, &fused).await?,
            PreparedBy::Model(model, columns) => {
                score_by_model(view, model.as_ref(), columns, &fused).await?
            }
        };
        if scores.iter().flatten().any(|score| score.is_nan()) {
            return Err(Error::invalid("bad rescoring: a score is NaN"));
        }
        let rescored =
            zip_equal(fused, scores, "documents and their new scores")?.filter_map(|(fused, score)| {
                // Adding zero turns -0 into 0. The order of hits is total, so it would tell the two apart.
                let score = score? + 0.0;
                // The rank comes from the legs, and would break ties of the new scores by the old order.
                Some(Fused { score, rank: 0, ..fused })
            });
        Ok(rescored.collect())
    }
}

/// Negated exact distances; `None` for a document without a vector.
async fn score_by_distance(view: &View, search: &VectorSearch, fused: &[Fused]) -> Result<Vec<Option<f32>>> {
    let batch = view.fetch_documents(&Fused::addrs(fused), &[search.column]).await?;
    // The id comes first.
    let array =
        batch.columns().get(1).ok_or_else(|| Error::internal("a column of vectors was not fetched"))?;
    let distances = row_distances(search, array)?;
    Ok(distances.into_iter().map(|distance| distance.map(|distance| -distance)).collect())
}

async fn score_by_rank(
    view: &View,
    combine: Combine,
    rank: &BoundRank,
    fused: &[Fused],
) -> Result<Vec<Option<f32>>> {
    let values = rank.read_values_at(view, &Fused::addrs(fused)).await?;
    let score = |(fused, value): (&Fused, f32)| match combine {
        Combine::Sum => fused.score + value,
        Combine::Max => fused.score.max(value),
        // A distance may exceed single precision, and zero times infinity would be NaN.
        Combine::Product if value == 0.0 => 0.0,
        Combine::Product => fused.score * value,
    };
    Ok(zip_equal(fused, values, "documents and their ranks")?.map(score).map(Some).collect())
}

async fn score_by_model(
    view: &View,
    model: &dyn Reranker,
    columns: &[usize],
    fused: &[Fused],
) -> Result<Vec<Option<f32>>> {
    // A model may be a request over the network, and need not know what to do with nothing.
    if fused.is_empty() {
        return Ok(Vec::new());
    }
    let batch = view.fetch_documents(&Fused::addrs(fused), columns).await?;
    // Candidates are in the order that the response would have. Models that look at all of them at once would otherwise
    // give other scores after a compaction, for it moves rows.
    let order = positions_in_order(&view.schema, &batch, fused)?;
    let candidates = make_candidates(&view.schema, &batch, &order, fused)?;
    let model_scores = model.rerank(&candidates).await?;
    if model_scores.len() != candidates.len() {
        return Err(Error::invalid(format!(
            "bad rescoring: a model must give one score for each candidate. candidates=`{}` scores=`{}`",
            candidates.len(),
            model_scores.len()
        )));
    }
    let mut scores = vec![None; fused.len()];
    for (index, score) in zip_equal(order, model_scores, "candidates and their scores")? {
        *scores.get_mut(index).ok_or_else(no_such_document)? = Some(score);
    }
    Ok(scores)
}

/// The documents of a batch as a model sees them, in `order`.
fn make_candidates(
    schema: &Arc<Schema>,
    batch: &RecordBatch,
    order: &[usize],
    fused: &[Fused],
) -> Result<Vec<Hit>> {
    let indexes = UInt64Array::from_iter_values(order.iter().map(|index| u64_of(*index)));
    let rows = Rows::new(Arc::clone(schema), take_record_batch(batch, &indexes).or_internal()?);
    let hits = zip_equal(rows.documents()?, order, "documents and their order")?.map(|(document, index)| {
        let fused = fused.get(*index).ok_or_else(no_such_document)?;
        Ok(Hit::new(document, fused.score, fused.legs.clone()))
    });
    hits.collect()
}

#[cold]
fn no_such_document() -> Error {
    Error::internal("an order of documents names one that was not ranked")
}
