//! Rescoring: the best of a ranking, ranked again by what is too costly for all.

use std::fmt;
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;
use async_trait::async_trait;

use super::fusion::Fused;
use super::ties::positions_in_order;
use crate::error::{Error, OrInternal, Result};
use crate::query::leg::text::BoundRank;
use crate::query::leg::vector::{Effort, VectorSearch, round_to_f32};
use crate::query::{Combine, Hit, Rank, Rows, Select};
use crate::schema::Schema;
use crate::types::Vector;
use crate::view::{RowAddr, View};

/// A model of yours that says how good documents are, such as a cross-encoder behind an HTTP interface.
#[async_trait]
pub trait Reranker: Send + Sync {
    /// One score for each of the candidates, in their order: greater is better, and none is NaN. They come best
    /// first, with the columns that were selected for them. An error ends the query.
    async fn rerank(&self, candidates: &[Hit]) -> Result<Vec<f32>>;
}

/// One more look at the best documents of a query, after its legs were fused. What was not among the best is no
/// hit. Several are done one after the other.
///
/// ```
/// use elacsym::{Combine, Leg, Query, Rank, Rescore, TextQuery};
///
/// let query = Query::hybrid([
///     Leg::nearest("small", [0.1, 0.9]),
///     Leg::text(TextQuery::any("body", "cold storage")),
/// ])
/// .rescore(Rescore::nearest("large", [0.1, 0.7, 0.2]).depth(200))
/// .limit(10);
///
/// let fresh = Rank::distance("published", 1.7e12).decay(86_400_000.0, 1.0);
/// let news = Query::text(TextQuery::any("body", "cold storage"))
///     .rescore(Rescore::rank(Combine::Product, fresh));
/// # let _ = (query, news);
/// ```
#[derive(Clone)]
#[must_use]
pub struct Rescore {
    by: By,
    depth: Option<usize>,
    select: Option<Select>,
}

#[derive(Clone)]
enum By {
    Nearest(String, Vector),
    Rank(Combine, Rank),
    Model(Arc<dyn Reranker>),
}

impl Rescore {
    /// By the exact distance of the vector in `column` from `vector`; the score is the negated distance. Documents
    /// without a vector there are left out. The column needs no leg of its own: rank by small vectors, and again
    /// by large ones.
    pub fn nearest(column: impl Into<String>, vector: impl Into<Vector>) -> Self {
        Self::of(By::Nearest(column.into(), vector.into()))
    }

    /// By the score so far, joined with a value of the document: plain arithmetic, also of negative scores, as
    /// distances and z-scores have them. Nothing times a distance that is infinite is 0.
    pub fn rank(combine: Combine, rank: Rank) -> Self {
        Self::of(By::Rank(combine, rank))
    }

    /// By a model of yours.
    pub fn with(reranker: Arc<dyn Reranker>) -> Self {
        Self::of(By::Model(reranker))
    }

    fn of(by: By) -> Self {
        Self { by, depth: None, select: None }
    }

    /// How many of the best documents are looked at. Default ten times what the query asks for, at least 100. At
    /// least what the query asks for, at most [`Settings::limit_max`](crate::Settings::limit_max).
    pub fn depth(mut self, depth: usize) -> Self {
        self.depth = Some(depth);
        self
    }

    /// The columns that a [`Reranker`] is given. Default [`Select::Attributes`]. Other rescorings refuse it.
    pub fn select(mut self, select: Select) -> Self {
        self.select = Some(select);
        self
    }

    pub(in crate::query) fn requested_depth(&self) -> Option<usize> {
        self.depth
    }

    /// What is wrong whatever the schema.
    pub(in crate::query) fn check(&self) -> Result<()> {
        if self.select.is_some() && !matches!(self.by, By::Model(_)) {
            let why = "a selection is for a reranker alone, other rescorings are given no documents";
            return Err(Error::invalid(format!("bad rescoring: {why}. rescoring=`{self:?}`")));
        }
        Ok(())
    }

    /// The value that it ranks by.
    pub(in crate::query) fn as_rank(&self) -> Option<&Rank> {
        if let By::Rank(_, rank) = &self.by { Some(rank) } else { None }
    }
}

impl fmt::Debug for Rescore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.by {
            By::Nearest(column, _) => write!(f, "nearest {column}"),
            By::Rank(combine, rank) => write!(f, "{combine:?} with {rank:?}"),
            By::Model(_) => write!(f, "a model"),
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
            By::Nearest(column, vector) => PreparedBy::Nearest(Box::new(VectorSearch::plan(
                &view.schema,
                column,
                vector,
                Effort::Exact,
            )?)),
            By::Rank(combine, rank) => {
                let rank = BoundRank::new(rank, &view.schema, &view.settings)?;
                PreparedBy::Rank(*combine, Box::new(rank))
            }
            By::Model(model) => {
                let select = rescore.select.as_ref().map_or_else(Select::default, Clone::clone);
                PreparedBy::Model(Arc::clone(model), select.column_indexes(&view.schema)?)
            }
        };
        Ok(Self { by, depth })
    }

    /// Documents with new scores, in no order.
    pub(in crate::query) async fn apply(&self, view: &View, fused: Vec<Fused>) -> Result<Vec<Fused>> {
        let scores = match &self.by {
            PreparedBy::Nearest(search) => distances(view, search, &fused).await?,
            PreparedBy::Rank(combine, rank) => joined(view, *combine, rank, &fused).await?,
            PreparedBy::Model(model, columns) => modelled(view, model.as_ref(), columns, &fused).await?,
        };
        if scores.iter().flatten().any(|score| score.is_nan()) {
            return Err(Error::invalid("bad rescoring: a score is NaN"));
        }
        // Of two zeros there is one here.
        let anew =
            |(fused, score): (Fused, Option<f32>)| Some(Fused { score: score? + 0.0, rank: 0, ..fused });
        Ok(fused.into_iter().zip(scores).filter_map(anew).collect())
    }
}

/// Negated exact distances; none where there is no vector.
async fn distances(view: &View, search: &VectorSearch, fused: &[Fused]) -> Result<Vec<Option<f32>>> {
    let places: Vec<RowAddr> = fused.iter().map(|fused| fused.addr).collect();
    let batch = view.fetch_documents(&places, &[search.column]).await?;
    let mut scores = vec![None; fused.len()];
    let array = batch.columns().get(1).filter(|_| !fused.is_empty());
    if let Some(array) = array {
        search.exact.for_each_distance(array, None, |at, distance| {
            if let Some(score) = scores.get_mut(at) {
                *score = Some(-round_to_f32(distance));
            }
        })?;
    }
    Ok(scores)
}

async fn joined(
    view: &View,
    combine: Combine,
    rank: &BoundRank,
    fused: &[Fused],
) -> Result<Vec<Option<f32>>> {
    let values = rank.read_values_at(view, fused.iter().map(|fused| fused.addr)).await?;
    let join = |fused: &Fused| {
        let value = values.get(&fused.addr).copied().unwrap_or_default();
        Some(match combine {
            Combine::Sum => fused.score + value,
            Combine::Max => fused.score.max(value),
            // A distance may pass what single precision holds.
            Combine::Product if value == 0.0 => 0.0,
            Combine::Product => fused.score * value,
        })
    };
    Ok(fused.iter().map(join).collect())
}

async fn modelled(
    view: &View,
    model: &dyn Reranker,
    columns: &[usize],
    fused: &[Fused],
) -> Result<Vec<Option<f32>>> {
    if fused.is_empty() {
        return Ok(Vec::new());
    }
    let places: Vec<RowAddr> = fused.iter().map(|fused| fused.addr).collect();
    let batch = view.fetch_documents(&places, columns).await?;
    // Candidates come in the order of an answer, whatever order they lie in.
    let order = positions_in_order(&view.schema, &batch, fused)?;
    let candidates = candidates(&view.schema, &batch, &order, fused)?;
    let given = model.rerank(&candidates).await?;
    if given.len() != candidates.len() {
        return Err(Error::invalid(format!(
            "bad rescoring: a model must give one score for each candidate. candidates=`{}` scores=`{}`",
            candidates.len(),
            given.len()
        )));
    }
    let mut scores = vec![None; fused.len()];
    for (at, score) in order.into_iter().zip(given) {
        if let Some(slot) = scores.get_mut(at) {
            *slot = Some(score);
        }
    }
    Ok(scores)
}

fn candidates(
    schema: &Arc<Schema>,
    batch: &RecordBatch,
    order: &[usize],
    fused: &[Fused],
) -> Result<Vec<Hit>> {
    let picks = UInt64Array::from_iter_values(order.iter().map(|at| *at as u64));
    let rows = Rows::new(Arc::clone(schema), take_record_batch(batch, &picks).or_internal()?);
    let documents = rows.documents()?.into_iter();
    let hit = |(document, fused): (_, &Fused)| Hit::new(document, fused.score, fused.legs.clone());
    Ok(documents.zip(order.iter().filter_map(|at| fused.get(*at))).map(hit).collect())
}
