//! Running queries on a view: legs, fusion, hits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::future::{try_join, try_join_all};
use tracing::Instrument;

use super::aggregate::PreparedFacet;
use super::compute::PreparedComputes;
use super::distance::rounded;
use super::diversity::{Picked, PreparedDiversity};
use super::fusion::{Fused, Ranking};
use super::hits::through;
use super::leg::Ask;
use super::order::PreparedOrder;
use super::part::Nearest;
use super::rescore::PreparedRescore;
use super::scope::{Scope, Scopes};
use super::text::{self, BoundRank};
use super::{
    Aggregated, Aggregation, Bound, Filter, Leg, LegHit, Place, Query, QueryResponse, QueryStats, View,
};
use crate::cache::Meter;
use crate::error::ErrorKind::{BudgetExceeded, DeadlineExceeded};
use crate::error::{Error, Result};
use crate::index::text::Plan as TextPlan;
use crate::types::{Document, DocumentId};

/// A query that found too few different values goes so many times deeper.
const DEEPER: usize = 4;

/// A query, checked against the schema.
pub(super) struct Prepared<'a> {
    pub(super) query: &'a Query,
    pub(super) legs: Vec<PreparedLeg>,
    facets: Vec<(String, PreparedFacet)>,
    pub(super) rescores: Vec<PreparedRescore>,
    pub(super) diversity: Option<PreparedDiversity>,
    /// The columns of the hits.
    pub(super) columns: Vec<usize>,
    pub(super) computes: PreparedComputes,
}

/// What a leg found.
#[derive(Clone, Debug)]
struct Found {
    ranking: Ranking,
    stats: QueryStats,
}

pub(super) struct PreparedLeg {
    pub(super) ask: PreparedAsk,
    pub(super) scope: Scope,
    pub(super) depth: usize,
    pub(super) weight: f32,
}

pub(super) enum PreparedAsk {
    Nearest(Nearest),
    Text(Arc<TextPlan>, Vec<BoundRank>),
    Order(PreparedOrder),
}

impl View {
    /// The documents of these ids, in their order.
    pub(crate) fn get<'a>(
        &'a self,
        ids: &'a [DocumentId],
        columns: &'a [usize],
    ) -> BoxFuture<'a, Result<Vec<Option<Document>>>> {
        Box::pin(async move {
            let places = self.locate(ids).await?;
            let found: Vec<Place> = places.iter().flatten().copied().collect();
            let batch = self.fetch(&found, columns).await?;
            let mut documents = self.schema.documents(&batch)?.into_iter();
            Ok(places.into_iter().map(|place| place.and_then(|_| documents.next())).collect())
        })
    }

    pub(crate) fn bind(&self, filter: Option<&Filter>) -> Result<Option<Arc<Bound>>> {
        filter.map(|f| Bound::new(f, &self.schema, &self.settings, false).map(Arc::new)).transpose()
    }

    /// The answers to some queries, in their order. Nothing is read if one of them is wrong.
    pub(crate) fn query<'a>(&'a self, queries: &'a [Query]) -> BoxFuture<'a, Result<Vec<QueryResponse>>> {
        Box::pin(async move {
            let mut scopes = Scopes::default();
            let prepared = queries.iter().map(|query| self.prepare(query, &mut scopes));
            let prepared: Vec<Prepared<'_>> = prepared.collect::<Result<_>>()?;
            try_join_all(prepared.iter().map(|prepared| self.answer(prepared))).await
        })
    }

    pub(super) fn prepare<'a>(&self, query: &'a Query, scopes: &mut Scopes) -> Result<Prepared<'a>> {
        query.check(&self.settings)?;
        let columns = query.select.places(&self.schema)?;
        let diversity = query.diversity.as_ref().map(|d| self.prepare_diversity(d)).transpose()?;
        let rescores =
            query.rescores.iter().map(|step| self.prepare_rescore(step, query.deep(step.wanted())));
        let rescores = rescores.collect::<Result<_>>()?;
        let computes = self.prepare_computes(query)?;
        let legs = query.legs.iter().map(|leg| {
            let scope = scopes.of(self, Filter::both(query.filter.as_ref(), leg.filter.as_ref()))?;
            let depth = query.depth(leg, &self.settings);
            Ok(PreparedLeg { ask: self.prepare_ask(leg)?, scope, depth, weight: leg.weight })
        });
        let legs = legs.collect::<Result<_>>()?;
        let facet = |(name, facet): &(String, Aggregation)| {
            Ok((name.clone(), self.prepare_facet(facet, query.filter.as_ref(), scopes)?))
        };
        let facets = query.facets.iter().map(facet).collect::<Result<_>>()?;
        Ok(Prepared { query, legs, facets, rescores, diversity, columns, computes })
    }

    fn prepare_ask(&self, leg: &Leg) -> Result<PreparedAsk> {
        Ok(match &leg.ask {
            Ask::Nearest { column, vector, effort } => {
                PreparedAsk::Nearest(self.nearest(column, vector, *effort)?)
            }
            Ask::Order(orders) => PreparedAsk::Order(self.prepare_order(orders)?),
            Ask::Text(query) => {
                let (plan, ranks) = text::bind(query, &self.schema, &self.settings)?;
                PreparedAsk::Text(Arc::new(plan), ranks)
            }
        })
    }

    /// The answer to a query, which is metered and kept within its limits.
    async fn answer(&self, prepared: &Prepared<'_>) -> Result<QueryResponse> {
        let query = prepared.query;
        let span = tracing::debug_span!(
            "query",
            sequence = self.sequence.0,
            legs = query.legs.len(),
            filtered = query.filter.is_some(),
            limit = query.limit,
        );
        let meter = Meter::new(query.bytes_max.unwrap_or(u64::MAX));
        let run = try_join(self.run(prepared, &meter), self.facets(prepared));
        let run = meter.scope(run).instrument(span.clone());
        let answer = match query.timeout.filter(|_| !query.partial) {
            Some(limit) => self.env.timeout(limit, run).await.unwrap_or_else(|| Err(too_late())),
            None => run.await,
        };
        let (mut answer, facets) =
            answer.inspect_err(|error| span.in_scope(|| tracing::debug!(%error, "failed")))?;
        answer.facets = facets;
        answer.stats = answer.stats.metered(meter.read());
        span.in_scope(|| answer.stats.trace(answer.rows.len(), answer.unfinished.len()));
        Ok(answer)
    }

    /// The facets of a query; without those that it may do without and has no time or bytes for.
    async fn facets(&self, prepared: &Prepared<'_>) -> Result<BTreeMap<String, Aggregated>> {
        let query = prepared.query;
        let facets = prepared.facets.iter().map(|(name, facet)| async move {
            let found = self.within(query, query.timeout, self.facet(facet)).await?;
            Ok::<_, Error>(found.map(|found| (name.clone(), found)))
        });
        Ok(try_join_all(facets).await?.into_iter().flatten().collect())
    }

    async fn run(&self, prepared: &Prepared<'_>, meter: &Meter) -> Result<QueryResponse> {
        let query = prepared.query;
        let start = self.env.moment();
        let mut found: Vec<Option<Found>> = vec![None; prepared.legs.len()];
        let mut times = 1_usize;
        loop {
            let depth = |leg: &PreparedLeg| leg.depth.saturating_mul(times).min(self.settings.limit_max);
            let left = query.timeout.map(|limit| limit.saturating_sub(self.env.elapsed(start)));
            let several = prepared.legs.len() > 1;
            let legs = prepared.legs.iter();
            let legs = legs.map(|leg| self.within(query, left, self.rank(leg, depth(leg), several)));
            let mut unfinished = Vec::new();
            for (at, (slot, outcome)) in found.iter_mut().zip(try_join_all(legs).await?).enumerate() {
                // What a leg found less deep is better than nothing.
                match outcome {
                    Some(outcome) => *slot = Some(outcome),
                    None => unfinished.push(at),
                }
            }
            let ranking = self.env.elapsed(start);
            if query.partial {
                meter.lift();
            }
            let exhausted = prepared.legs.iter().zip(&found).all(|(leg, found)| {
                let hits = found.as_ref().map_or(0, |found| found.ranking.hits.len());
                hits < depth(leg) || depth(leg) == self.settings.limit_max
            });
            let picked = self.choose(prepared, &found, times).await?;
            let short = prepared.diversity.is_some() && picked.count < query.wanted();
            if short && !exhausted && unfinished.is_empty() {
                times = times.saturating_mul(DEEPER);
                continue;
            }
            let stats = QueryStats::of_legs(found.iter().flatten().map(|found| &found.stats));
            let mut answer = self.hits(prepared, picked, stats).await?;
            answer.unfinished = unfinished;
            answer.stats.ranking = ranking;
            answer.stats.fetching = self.env.elapsed(start).saturating_sub(ranking);
            return Ok(answer);
        }
    }

    /// Fuses what the legs found, rescores it, and picks from it.
    async fn choose(&self, prepared: &Prepared<'_>, found: &[Option<Found>], times: usize) -> Result<Picked> {
        let query = prepared.query;
        let rankings = prepared.legs.iter().zip(found).map(|(leg, found)| match found {
            Some(found) => found.ranking.clone(),
            None => Ranking { weight: leg.weight, hits: Vec::new() },
        });
        let mut fused = query.fusion.fuse(rankings.collect())?;
        sort(&mut fused);
        for step in &prepared.rescores {
            let depth = step.depth.saturating_mul(times).min(self.settings.limit_max);
            fused = self.first(fused, depth).await?;
            if fused.len() > depth {
                fused = self.settle_ties(fused, depth).await?;
            }
            fused = self.rescore(step, fused).await?;
            sort(&mut fused);
        }
        match &prepared.diversity {
            Some(diversity) => self.pick(fused, diversity, query.wanted()).await,
            None => Ok(Picked { count: fused.len(), fused, groups: Vec::new() }),
        }
    }

    /// What comes of a future in the time that is left; `None` if the query may do without.
    async fn within<T>(
        &self,
        query: &Query,
        left: Option<Duration>,
        future: impl Future<Output = Result<T>>,
    ) -> Result<Option<T>> {
        let outcome = match left.filter(|_| query.partial) {
            Some(left) => self.env.timeout(left, future).await.unwrap_or_else(|| Err(too_late())),
            None => future.await,
        };
        match outcome {
            Err(e) if query.partial && (e.is(DeadlineExceeded) || e.is(BudgetExceeded)) => Ok(None),
            outcome => outcome.map(Some),
        }
    }

    /// What a leg finds: at least `depth` documents if there are so many, and with `ties` all that are as good as
    /// the last; without, those that may come first by their ids.
    async fn rank(&self, leg: &PreparedLeg, depth: usize, ties: bool) -> Result<Found> {
        let wide = |found: Vec<(f32, Place)>| found.into_iter().map(|(key, place)| (f64::from(key), place));
        let (mut found, stats) = match &leg.ask {
            PreparedAsk::Nearest(search) => {
                let search = Nearest { limit: depth, ..search.clone() };
                let near = self.search(&search, &leg.scope).await?;
                (near.places, near.stats)
            }
            PreparedAsk::Text(plan, ranks) => {
                let (found, stats) = self.search_text((plan, ranks), &leg.scope, depth, ties).await?;
                (wide(found).collect(), stats)
            }
            PreparedAsk::Order(order) => {
                let (found, stats) = self.search_order(order, &leg.scope, depth, ties).await?;
                (wide(found).collect(), stats)
            }
        };
        found.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        through(&mut found, depth, |a, b| a.0.total_cmp(&b.0));
        let distances = matches!(leg.ask, PreparedAsk::Nearest(_));
        let (mut rank, mut last) = (0, None);
        let hits = found.into_iter().enumerate().map(|(at, (key, place))| {
            if last.is_none_or(|last: f64| last.total_cmp(&key).is_ne()) {
                (rank, last) = (at + 1, Some(key));
            }
            // Ranks tell apart what single precision does not.
            let key = rounded(key);
            (place, LegHit { rank, score: 0.0 - key, distance: distances.then_some(key) })
        });
        Ok(Found { ranking: Ranking { weight: leg.weight, hits: hits.collect() }, stats })
    }
}

fn sort(fused: &mut [Fused]) {
    fused.sort_unstable_by(|a, b| a.best_first(b).then(a.place.cmp(&b.place)));
}

fn too_late() -> Error {
    Error::new(DeadlineExceeded, "the query had no more time: give it more, or ask for partial answers")
}
