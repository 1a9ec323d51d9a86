//! Running queries on a view: legs, fusion, hits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::future::{try_join, try_join_all};
use roaring::RoaringBitmap;
use tracing::Instrument;

use super::aggregate::PreparedFacet;
use super::compare::VectorSearch;
use super::compute::PreparedComputes;
use super::distance::rounded;
use super::diversity::{Picked, PreparedDiversity};
use super::fusion::{Alike, Fused, Ranking};
use super::hits::{TIES, through};
use super::leg::Ask;
use super::order::PreparedOrder;
use super::rescore::PreparedRescore;
use super::text::{self, BoundRank};
use super::ties::{TIES_MAX, Tied};
use super::{Aggregated, Aggregation, Leg, LegHit, Query, QueryResponse, QueryStats};
use crate::cache::Meter;
use crate::env::Moment;
use crate::error::ErrorKind::{BudgetExceeded, DeadlineExceeded};
use crate::error::{Error, Result};
use crate::filter::{BoundFilter, Filter};
use crate::index::text::TextPlan;
use crate::types::{Document, DocumentId};
use crate::view::{RowAddr, View};
use crate::view::{Scope, Scopes};

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

impl Found {
    fn len(&self) -> usize {
        self.ranking.hits.len()
    }
}

pub(super) struct PreparedLeg {
    pub(super) ask: PreparedAsk,
    pub(super) scope: Scope,
    pub(super) depth: usize,
    pub(super) weight: f32,
}

pub(super) enum PreparedAsk {
    Nearest(VectorSearch),
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
            let places = self.locate_documents(ids).await?;
            let found: Vec<RowAddr> = places.iter().flatten().copied().collect();
            let batch = self.fetch_documents(&found, columns).await?;
            let mut documents = self.schema.documents(&batch)?.into_iter();
            Ok(places.into_iter().map(|place| place.and_then(|_| documents.next())).collect())
        })
    }

    pub(crate) fn bind(&self, filter: Option<&Filter>) -> Result<Option<Arc<BoundFilter>>> {
        filter.map(|f| BoundFilter::new(f, &self.schema, &self.settings, false).map(Arc::new)).transpose()
    }

    /// The answers to some queries, in their order. Nothing is read if one of them is wrong. Their time runs since
    /// `called`.
    pub(crate) fn query<'a>(
        &'a self,
        queries: &'a [Query],
        called: Moment,
    ) -> BoxFuture<'a, Result<Vec<QueryResponse>>> {
        Box::pin(async move {
            let mut scopes = Scopes::default();
            let prepared = queries.iter().map(|query| self.prepare(query, &mut scopes));
            let prepared: Vec<Prepared<'_>> = prepared.collect::<Result<_>>()?;
            try_join_all(prepared.iter().map(|prepared| self.answer(prepared, called))).await
        })
    }

    pub(super) fn prepare<'a>(&self, query: &'a Query, scopes: &mut Scopes) -> Result<Prepared<'a>> {
        query.check(&self.settings)?;
        scopes.add_weights(query.ranking_filters())?;
        query.shown_ids().iter().try_for_each(|id| id.check(self.schema.id()))?;
        let columns = query.select.column_indexes(&self.schema)?;
        let diversity =
            query.diversity.as_ref().map(|d| PreparedDiversity::new(d, &self.schema)).transpose()?;
        let rescores = query.rescores.iter().map(|step| {
            PreparedRescore::new(self, step, query.depth_or_default(step.requested_depth(), &self.settings))
        });
        let rescores = rescores.collect::<Result<_>>()?;
        let computes = PreparedComputes::new(self, query)?;
        let legs = query.legs.iter().map(|leg| {
            let scope = scopes.scope_for(self, Filter::both(query.filter.as_ref(), leg.filter.as_ref()))?;
            let depth = query.leg_depth(leg, &self.settings);
            Ok(PreparedLeg { ask: self.prepare_ask(leg)?, scope, depth, weight: leg.weight })
        });
        let legs = legs.collect::<Result<_>>()?;
        let facet = |(name, facet): &(String, Aggregation)| {
            Ok((name.clone(), PreparedFacet::new(self, facet, query.filter.as_ref(), scopes)?))
        };
        let facets = query.facets.iter().map(facet).collect::<Result<_>>()?;
        Ok(Prepared { query, legs, facets, rescores, diversity, columns, computes })
    }

    fn prepare_ask(&self, leg: &Leg) -> Result<PreparedAsk> {
        Ok(match &leg.ask {
            Ask::Nearest { column, vector } => {
                PreparedAsk::Nearest(self.nearest(column, vector, leg.effort())?)
            }
            Ask::Order(orders) => PreparedAsk::Order(self.prepare_order(orders)?),
            Ask::Text(query) => {
                let (plan, ranks) = text::bind_query(query, &self.schema, &self.settings)?;
                PreparedAsk::Text(Arc::new(plan), ranks)
            }
        })
    }

    /// The answer to a query, which is metered and kept within its limits.
    async fn answer(&self, prepared: &Prepared<'_>, called: Moment) -> Result<QueryResponse> {
        let query = prepared.query;
        let span = tracing::debug_span!(
            "query",
            sequence = self.sequence.0,
            legs = query.legs.len(),
            filtered = query.filter.is_some(),
            limit = query.limit,
        );
        let meter = Meter::new(query.bytes_max.unwrap_or(u64::MAX));
        let run = try_join(self.run(prepared, &meter, called), self.facets(prepared, called));
        let run = meter.scope(run).instrument(span.clone());
        let answer = match self.left(query, called).filter(|_| !query.partial) {
            Some(limit) => self.env.timeout(limit, run).await.unwrap_or_else(|| Err(too_late())),
            None => run.await,
        };
        let (mut answer, facets) =
            answer.inspect_err(|error| span.in_scope(|| tracing::debug!(%error, "failed")))?;
        answer.facets = facets;
        answer.stats = answer.stats.with_metered(meter.read());
        span.in_scope(|| answer.stats.emit_event(answer.rows.len(), answer.unfinished.len()));
        Ok(answer)
    }

    /// The facets of a query; without those that it may do without and has no time or bytes for.
    async fn facets(&self, prepared: &Prepared<'_>, called: Moment) -> Result<BTreeMap<String, Aggregated>> {
        let query = prepared.query;
        let left = self.left(query, called);
        let facets = prepared.facets.iter().map(|(name, facet)| async move {
            let found = self.within(query, left, facet.run(self)).await?;
            Ok::<_, Error>(found.map(|found| (name.clone(), found)))
        });
        Ok(try_join_all(facets).await?.into_iter().flatten().collect())
    }

    async fn run(&self, prepared: &Prepared<'_>, meter: &Meter, called: Moment) -> Result<QueryResponse> {
        let query = prepared.query;
        if query.limit == 0 {
            return self.hits(prepared, Picked::default(), QueryStats::default()).await;
        }
        let start = self.env.moment();
        let scopes = self.unshown(prepared).await?;
        let reached = query.page_end(&self.settings);
        let mut found: Vec<Option<Found>> = vec![None; prepared.legs.len()];
        // What was picked before legs went deeper to look for more.
        let mut kept: Option<Picked> = None;
        let mut times = 1_usize;
        loop {
            let left = self.left(query, called);
            let unfinished = self.rank_all(prepared, (&scopes, times, left), &mut found).await?;
            let ranking = self.env.elapsed(start);
            if query.partial {
                meter.lift();
            }
            let mut picked = self.choose(prepared, &found, times).await?;
            let may_go_deeper = self.may_go_deeper(prepared, &found, times) && unfinished.is_empty();
            let looks_further = picked.count == reached && query.has_pages();
            if prepared.diversity.is_some() && may_go_deeper && (picked.count < reached || looks_further) {
                if looks_further && kept.is_none() {
                    kept = Some(picked);
                }
                times = times.saturating_mul(DEEPER);
                continue;
            }
            let (more, is_bounded) = (picked.count > reached, self.is_bounded(&found));
            picked = Picked { more, is_bounded, ..kept.unwrap_or(picked) };
            let stats = QueryStats::merge_legs(found.iter().flatten().map(|found| &found.stats));
            let mut answer = self.hits(prepared, picked, stats).await?;
            answer.unfinished = unfinished;
            answer.stats.ranking = ranking;
            answer.stats.fetching = self.env.elapsed(start).saturating_sub(ranking);
            return Ok(answer);
        }
    }

    /// Lets all legs rank, so many times as deep as at first. Gives the numbers of those that had no time or bytes.
    async fn rank_all(
        &self,
        prepared: &Prepared<'_>,
        (scopes, times, left): (&[Scope], usize, Option<Duration>),
        found: &mut [Option<Found>],
    ) -> Result<Vec<usize>> {
        let query = prepared.query;
        let several = prepared.legs.len() > 1;
        // Several legs rank the rest anew.
        let past = !several && query.is_past_shown(&self.settings);
        let passed = if past { query.shown_ids().len() } else { 0 };
        let legs = prepared.legs.iter().zip(scopes).map(|(leg, scope)| {
            let depth = self.depth_of(leg, times);
            self.within(query, left, self.rank(leg, scope, (depth, several, passed)))
        });
        let mut unfinished = Vec::new();
        for (at, (slot, outcome)) in found.iter_mut().zip(try_join_all(legs).await?).enumerate() {
            // What a leg found less deep is better than nothing.
            match outcome {
                Some(outcome) => *slot = Some(outcome),
                None => unfinished.push(at),
            }
        }
        Ok(unfinished)
    }

    fn depth_of(&self, leg: &PreparedLeg, times: usize) -> usize {
        leg.depth.saturating_mul(times).min(Query::depth_max(&self.settings))
    }

    /// Whether a leg may find more than it found so deep.
    fn may_go_deeper(&self, prepared: &Prepared<'_>, found: &[Option<Found>], times: usize) -> bool {
        prepared.legs.iter().zip(found).any(|(leg, found)| {
            let depth = self.depth_of(leg, times);
            depth < Query::depth_max(&self.settings) && found.as_ref().map_or(0, Found::len) >= depth
        })
    }

    /// Whether there may be documents beyond the deepest that legs go.
    fn is_bounded(&self, found: &[Option<Found>]) -> bool {
        found.iter().flatten().any(|found| found.len() >= Query::depth_max(&self.settings))
    }

    /// The scopes of all legs: without the documents that were shown, where pages have gone past what legs reach.
    async fn unshown(&self, prepared: &Prepared<'_>) -> Result<Vec<Scope>> {
        let scopes = prepared.legs.iter().map(|leg| &leg.scope);
        if !prepared.query.is_past_shown(&self.settings) {
            return Ok(scopes.cloned().collect());
        }
        let mut shown = vec![RoaringBitmap::new(); self.parts().len()];
        for place in self.locate_documents(prepared.query.shown_ids()).await?.into_iter().flatten() {
            let of = shown.get_mut(place.part).ok_or_else(|| Error::internal("a place in no part"))?;
            of.insert(place.row);
        }
        let shown: Arc<[RoaringBitmap]> = shown.into();
        Ok(scopes.map(|scope| scope.excluding_rows(&shown)).collect())
    }

    /// Fuses what the legs found, rescores it, and picks from it.
    async fn choose(&self, prepared: &Prepared<'_>, found: &[Option<Found>], times: usize) -> Result<Picked> {
        let query = prepared.query;
        let rankings = prepared.legs.iter().zip(found).map(|(leg, found)| match found {
            Some(found) => found.ranking.clone(),
            None => Ranking { weight: leg.weight, hits: Vec::new(), alike: None },
        });
        let mut fused = query.fusion.fuse(rankings.collect())?;
        sort(&mut fused);
        for step in &prepared.rescores {
            let depth = step.depth.saturating_mul(times).min(Query::depth_max(&self.settings));
            fused = self.first(fused, depth).await?;
            if fused.len() > depth {
                fused = self.settle_ties(fused, depth).await?;
            }
            fused = step.apply(self, fused).await?;
            sort(&mut fused);
        }
        match &prepared.diversity {
            Some(diversity) => diversity.select(self, fused, query.select_count(&self.settings)).await,
            None => Ok(Picked { count: fused.len(), fused, ..Picked::default() }),
        }
    }

    /// The time that is left to a query, if it is limited.
    fn left(&self, query: &Query, called: Moment) -> Option<Duration> {
        query.timeout.map(|limit| limit.saturating_sub(self.env.elapsed(called)))
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

    /// What a leg finds: `depth` documents if there are so many, and some that are as good as the last. Of one leg
    /// these are all that may come first by their ids. Of one of several, so that fusion never depends on where
    /// documents lie, they are all there are, up to a number of those with the least ids; of more it is known which
    /// they are.
    async fn rank(
        &self,
        leg: &PreparedLeg,
        scope: &Scope,
        (depth, several, passed): (usize, bool, usize),
    ) -> Result<Found> {
        // A few are read with the hits.
        let more = if several { TIES_MAX } else { TIES };
        let (mut found, tied, stats) = match &leg.ask {
            PreparedAsk::Nearest(search) => {
                let beyond = usize::from(!several);
                let search = VectorSearch { limit: depth, beyond, ties: more, ..search.clone() };
                let near = self.search(&search, scope).await?;
                (near.places, Vec::new(), near.stats)
            }
            PreparedAsk::Text(plan, ranks) => self.search_text((plan, ranks), scope, depth, more).await?,
            PreparedAsk::Order(order) => self.search_order(order, scope, depth, more).await?,
        };
        found.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        through(&mut found, depth, |a, b| a.0.total_cmp(&b.0));
        let mut alike = None;
        if several {
            alike = self.alike(&found, depth, tied);
            found = self.cut(found, depth.saturating_add(more)).await?;
        }
        let distances = matches!(leg.ask, PreparedAsk::Nearest(_));
        let (mut rank, mut last) = (0, None);
        let hits = found.into_iter().enumerate().map(|(at, (key, place))| {
            if last.is_none_or(|last: f64| last.total_cmp(&key).is_ne()) {
                (rank, last) = (passed + at + 1, Some(key));
            }
            // Ranks tell apart what single precision does not.
            let key = rounded(key);
            (place, LegHit { rank, score: 0.0 - key, distance: distances.then_some(key) })
        });
        let hits: Vec<(RowAddr, LegHit)> = hits.collect();
        let alike = alike.zip(hits.last()).map(|(rows, (_, hit))| Alike { hit: *hit, rows });
        Ok(Found { ranking: Ranking { weight: leg.weight, hits, alike }, stats })
    }

    /// Of each part the rows that are as good as the last of `depth` places: of those that were found, and of those
    /// that parts left out.
    fn alike(&self, found: &[(f64, RowAddr)], depth: usize, tied: Vec<Tied>) -> Option<Arc<[RoaringBitmap]>> {
        let (last, _) = depth.checked_sub(1).and_then(|last| found.get(last))?;
        let mut rows = vec![RoaringBitmap::new(); self.parts().len()];
        let as_good = found.iter().rev().take_while(|(key, _)| key.total_cmp(last).is_eq());
        for (_, place) in as_good {
            if let Some(of) = rows.get_mut(place.part) {
                of.insert(place.row);
            }
        }
        for (part, _, left_out) in tied.into_iter().filter(|(_, key, _)| key.total_cmp(last).is_eq()) {
            if let Some(of) = rows.get_mut(part) {
                *of |= left_out;
            }
        }
        Some(rows.into())
    }
}

fn sort(fused: &mut [Fused]) {
    fused.sort_unstable_by(|a, b| a.best_first(b).then(a.place.cmp(&b.place)));
}

/// A query had no more time.
pub(crate) fn too_late() -> Error {
    Error::new(DeadlineExceeded, "the query had no more time: give it more, or ask for partial answers")
}
