//! Running queries on a view: legs, fusion, hits.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;
use arrow::row::{RowConverter, SortField};
use futures::future::try_join_all;

use super::fusion::{Fused, Ranking};
use super::leg::Ask;
use super::part::Nearest;
use super::request::LimitPer;
use super::scope::{Scope, Scopes};
use super::text::{self, BoundRank};
use super::{Bound, Filter, Leg, LegHit, Place, Query, QueryResponse, QueryStats, Rows, View};
use crate::error::{Error, Result};
use crate::index::text::Plan as TextPlan;
use crate::schema::{ColumnKind, Ids};
use crate::types::{Document, DocumentId};

/// So many documents that are as good as the last hit are read with the hits, to choose by their ids. Of more of
/// them the ids are read first.
const TIES: usize = 32;

/// A query that found too few different values goes so many times deeper.
const DEEPER: usize = 4;

/// A query, checked against the schema.
struct Prepared<'a> {
    query: &'a Query,
    legs: Vec<PreparedLeg>,
    /// The columns of the hits, and those whose values limit them.
    columns: Vec<usize>,
    per: Option<(Vec<usize>, usize)>,
}

struct PreparedLeg {
    ask: PreparedAsk,
    scope: Scope,
    depth: usize,
    weight: f32,
}

enum PreparedAsk {
    Nearest(Nearest),
    Text(Arc<TextPlan>, Vec<BoundRank>),
}

impl View {
    /// The documents of these ids, in their order.
    pub(crate) async fn get(&self, ids: &[DocumentId], columns: &[usize]) -> Result<Vec<Option<Document>>> {
        let places = self.locate(ids).await?;
        let found: Vec<Place> = places.iter().flatten().copied().collect();
        let batch = self.fetch(&found, columns).await?;
        let mut documents = self.schema.documents(&batch)?.into_iter();
        Ok(places.into_iter().map(|place| place.and_then(|_| documents.next())).collect())
    }

    pub(crate) fn bind(&self, filter: Option<&Filter>) -> Result<Option<Arc<Bound>>> {
        filter.map(|f| Bound::new(f, &self.schema, &self.settings, false).map(Arc::new)).transpose()
    }

    /// The answers to some queries, in their order. Nothing is read if one of them is wrong.
    pub(crate) async fn query(&self, queries: &[Query]) -> Result<Vec<QueryResponse>> {
        let mut scopes = Scopes::default();
        let prepared = queries.iter().map(|query| self.prepare(query, &mut scopes));
        let prepared: Vec<Prepared<'_>> = prepared.collect::<Result<_>>()?;
        try_join_all(prepared.iter().map(|prepared| self.answer(prepared))).await
    }

    fn prepare<'a>(&self, query: &'a Query, scopes: &mut Scopes) -> Result<Prepared<'a>> {
        query.check(&self.settings)?;
        let columns = query.select.places(&self.schema)?;
        let per = query.per.as_ref().map(|per| self.per(per)).transpose()?;
        let legs = query.legs.iter().map(|leg| {
            let scope = scopes.of(self, both(query.filter.as_ref(), leg.filter.as_ref()))?;
            let depth = query.depth(leg, &self.settings);
            Ok(PreparedLeg { ask: self.prepare_ask(leg)?, scope, depth, weight: leg.weight })
        });
        let legs = legs.collect::<Result<_>>()?;
        Ok(Prepared { query, legs, columns, per })
    }

    fn prepare_ask(&self, leg: &Leg) -> Result<PreparedAsk> {
        Ok(match &leg.ask {
            Ask::Nearest { column, vector, effort } => {
                PreparedAsk::Nearest(self.nearest(column, vector, *effort)?)
            }
            Ask::Text(query) => {
                let (plan, ranks) = text::bind(query, &self.schema, &self.settings)?;
                PreparedAsk::Text(Arc::new(plan), ranks)
            }
        })
    }

    /// The places of the attributes whose values limit hits.
    fn per(&self, per: &LimitPer) -> Result<(Vec<usize>, usize)> {
        let place = |name: &String| {
            let mut columns = self.schema.columns().iter();
            let at = columns.position(|c| c.name == *name && matches!(c.kind, ColumnKind::Attribute(_)));
            at.ok_or_else(|| Error::invalid(format!("no such attribute to limit hits by. column=`{name}`")))
        };
        Ok((per.columns.iter().map(place).collect::<Result<_>>()?, per.limit))
    }

    async fn answer(&self, prepared: &Prepared<'_>) -> Result<QueryResponse> {
        let mut times = 1_usize;
        loop {
            let depth = |leg: &PreparedLeg| leg.depth.saturating_mul(times).min(self.settings.limit_max);
            let found = prepared.legs.iter().map(|leg| self.rank(leg, depth(leg), prepared.legs.len() > 1));
            let found = try_join_all(found).await?;
            let whole = prepared.legs.iter().zip(&found).all(|(leg, (ranking, _))| {
                ranking.hits.len() < depth(leg) || depth(leg) == self.settings.limit_max
            });
            let (rankings, stats): (Vec<Ranking>, Vec<QueryStats>) = found.into_iter().unzip();
            let mut fused = prepared.query.fusion.fuse(rankings)?;
            fused.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.place.cmp(&b.place)));
            if let Some((columns, limit)) = &prepared.per {
                fused = self.pick(fused, columns, *limit, prepared.query.ranked()).await?;
                if !whole && fused.len() < prepared.query.ranked() {
                    times = times.saturating_mul(DEEPER);
                    continue;
                }
            }
            return self.hits(prepared, fused, QueryStats::of_legs(&stats)).await;
        }
    }

    /// What a leg finds: at least `depth` documents if there are so many, and with `ties` all that are as good as
    /// the last; without, those that may come first by their ids.
    async fn rank(&self, leg: &PreparedLeg, depth: usize, ties: bool) -> Result<(Ranking, QueryStats)> {
        let (mut found, stats) = match &leg.ask {
            PreparedAsk::Nearest(search) => {
                let search = Nearest { limit: depth, ..search.clone() };
                let near = self.search(&search, &leg.scope).await?;
                (near.places, near.stats)
            }
            PreparedAsk::Text(plan, ranks) => {
                self.search_text((plan, ranks), &leg.scope, depth, ties).await?
            }
        };
        found.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        through(&mut found, depth, |a, b| a.0.total_cmp(&b.0));
        let distances = matches!(leg.ask, PreparedAsk::Nearest(_));
        let (mut rank, mut last) = (0, None);
        let hits = found.into_iter().enumerate().map(|(at, (key, place))| {
            if last.is_none_or(|last: f32| last.total_cmp(&key).is_ne()) {
                (rank, last) = (at + 1, Some(key));
            }
            (place, LegHit { rank, score: 0.0 - key, distance: distances.then_some(key) })
        });
        Ok((Ranking { weight: leg.weight, hits: hits.collect() }, stats))
    }

    /// Of documents in order of their scores the first that stay when only so many may have the same values.
    async fn pick(
        &self,
        fused: Vec<Fused>,
        columns: &[usize],
        limit: usize,
        wanted: usize,
    ) -> Result<Vec<Fused>> {
        let places: Vec<Place> = fused.iter().map(|fused| fused.place).collect();
        let batch = self.fetch(&places, columns).await?;
        let mut fused: Vec<Option<Fused>> = fused.into_iter().map(Some).collect();
        let order = self.order(&batch, fused.iter().flatten())?;
        let values: Vec<ArrayRef> = batch.columns().iter().skip(1).cloned().collect();
        let fields = values.iter().map(|array| SortField::new(array.data_type().clone()));
        let rows = RowConverter::new(fields.collect())?.convert_columns(&values)?;
        let mut taken: HashMap<_, usize> = HashMap::new();
        let mut picked = Vec::new();
        for at in order {
            let count = taken.entry(rows.row(at)).or_default();
            if *count < limit && picked.len() < wanted {
                *count += 1;
                picked.extend(fused.get_mut(at).and_then(Option::take));
            }
        }
        Ok(picked)
    }

    /// The rows of a batch of documents that were fetched in order of their scores, ties in order of ids.
    fn order<'f>(&self, batch: &RecordBatch, fused: impl Iterator<Item = &'f Fused>) -> Result<Vec<usize>> {
        let ids = Ids::new(self.schema.id(), batch.column(0))?;
        let mut order: Vec<(f32, usize)> = fused.enumerate().map(|(at, fused)| (fused.score, at)).collect();
        for tied in order.chunk_by_mut(|a, b| a.0.total_cmp(&b.0).is_eq()).filter(|tied| tied.len() > 1) {
            tied.sort_by_cached_key(|(_, at)| ids.get(*at));
        }
        Ok(order.into_iter().map(|(_, at)| at).collect())
    }

    /// The first of documents that lie in order of their scores, ties in order of ids.
    async fn settle_ties(&self, fused: Vec<Fused>, count: usize) -> Result<Vec<Fused>> {
        let places: Vec<Place> = fused.iter().map(|fused| fused.place).collect();
        let ids = self.fetch(&places, &[]).await?;
        let order = self.order(&ids, fused.iter())?;
        let mut fused: Vec<Option<Fused>> = fused.into_iter().map(Some).collect();
        let first = order.into_iter().take(count);
        Ok(first.filter_map(|at| fused.get_mut(at).and_then(Option::take)).collect())
    }

    /// The answer of documents that lie in order of their scores.
    async fn hits(
        &self,
        prepared: &Prepared<'_>,
        mut fused: Vec<Fused>,
        stats: QueryStats,
    ) -> Result<QueryResponse> {
        through(&mut fused, prepared.query.ranked(), |a, b| a.score.total_cmp(&b.score));
        if fused.len() > prepared.query.ranked() + TIES {
            fused = self.settle_ties(fused, prepared.query.ranked()).await?;
        }
        let places: Vec<Place> = fused.iter().map(|fused| fused.place).collect();
        let batch = self.fetch(&places, &prepared.columns).await?;
        let order = self.order(&batch, fused.iter())?;
        let page: Vec<usize> =
            order.into_iter().skip(prepared.query.offset).take(prepared.query.limit).collect();
        let rows = UInt64Array::from_iter_values(page.iter().map(|at| *at as u64));
        let batch = take_record_batch(&batch, &rows)?;
        let mut fused: Vec<Option<Fused>> = fused.into_iter().map(Some).collect();
        let hits = page.iter().filter_map(|at| fused.get_mut(*at).and_then(Option::take));
        let (scores, legs) = hits.map(|fused| (fused.score, fused.legs)).unzip();
        let rows = Rows::new(Arc::clone(&self.schema), batch);
        Ok(QueryResponse { rows, scores, legs, sequence: self.sequence, stats })
    }
}

/// Keeps the first `count` of what is in order, and all that are as good as the last of them.
fn through<T>(sorted: &mut Vec<T>, count: usize, compare: impl Fn(&T, &T) -> Ordering) {
    let Some(last) = count.checked_sub(1).and_then(|last| sorted.get(last)) else { return };
    let more = sorted.iter().skip(count).take_while(|item| compare(item, last).is_eq()).count();
    sorted.truncate(count + more);
}

/// Both filters.
fn both(one: Option<&Filter>, other: Option<&Filter>) -> Option<Filter> {
    match (one, other) {
        (Some(one), Some(other)) => Some(Filter::And(vec![one.clone(), other.clone()])),
        (one, other) => one.or(other).cloned(),
    }
}
