//! Running a planned query: legs rank, rankings are fused, rescored and diversified, and documents are fetched.
//!
//! Each stage is a function from one typed value to the next: [`QueryPlan`] → [`Ranking`]s → [`Fused`] documents →
//! [`SelectedHits`] → [`QueryResponse`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, try_join, try_join_all};
use roaring::RoaringBitmap;
use tracing::Instrument;

use super::fetch::fetch_answer;
use super::leg::ranking::{Depth, Ranking};
use super::plan::{PlannedLeg, QueryPlan};
use super::rank::{Fused, SelectedHits, WeightedRanking, first_hits, order_ties_by_id, sort_best_first};
use super::{Aggregated, Query, QueryResponse, QueryStats};
use crate::cache::Meter;
use crate::env::Moment;
use crate::error::ErrorKind::{BudgetExceeded, DeadlineExceeded};
use crate::error::{Error, Result};
use crate::view::{Scope, Scopes, View};

/// How many times as deep legs rank when a limit per value leaves too few hits. Each step ranks anew, so steps are
/// large: the last one costs more than all before it together.
const DEEPENING: usize = 4;

/// Answers queries in their order. Nothing is read if one of them is invalid. Time limits count from `called`.
pub(crate) fn run_queries<'a>(
    view: &'a View,
    queries: &'a [Query],
    called: Moment,
) -> BoxFuture<'a, Result<Vec<QueryResponse>>> {
    Box::pin(async move {
        let mut scopes = Scopes::default();
        let plans = queries.iter().map(|query| QueryPlan::new(view, query, &mut scopes));
        let plans = plans.collect::<Result<Vec<QueryPlan<'_>>>>();
        let plans = plans.inspect_err(|error| tracing::debug!(%error, "a query was refused"))?;
        try_join_all(plans.iter().map(|plan| Run { view, plan, called }.answer())).await
    })
}

/// One query under way.
#[derive(Clone, Copy)]
struct Run<'a> {
    view: &'a View,
    plan: &'a QueryPlan<'a>,
    called: Moment,
}

/// The rankings of the legs so far.
struct RankedLegs {
    /// `None` for a leg that never finished.
    legs: Vec<Option<(Ranking, QueryStats)>>,
    /// The numbers of legs that ran out of time or bytes at the present depth.
    unfinished: Vec<usize>,
    /// The time until the last of them had ranked.
    elapsed: Duration,
}

impl Run<'_> {
    /// Answers the query, metered and within its limits.
    async fn answer(self) -> Result<QueryResponse> {
        let query = self.plan.query;
        let span = tracing::debug_span!(
            "query",
            sequence = self.view.sequence.0,
            legs = query.legs.len(),
            filtered = query.filter.is_some(),
            limit = query.limit,
        );
        // invariant: a query without a budget may read everything.
        let meter = Meter::new(query.bytes_max.unwrap_or(u64::MAX));
        let run = try_join(self.find_hits(&meter), self.compute_facets());
        let run = meter.scope(run).instrument(span.clone());
        let answer = match self.time_left().filter(|_| !query.partial) {
            Some(limit) => self.view.env.timeout(limit, run).await.unwrap_or_else(|| Err(too_late())),
            None => run.await,
        };
        let (mut answer, facets) =
            answer.inspect_err(|error| span.in_scope(|| tracing::debug!(%error, "failed")))?;
        answer.facets = facets;
        answer.stats = answer.stats.with_metered(meter.totals());
        span.in_scope(|| answer.stats.emit_event(answer.rows.len(), answer.unfinished.len()));
        Ok(answer)
    }

    /// The facets of the query. A partial answer leaves out those that run out of time or bytes.
    async fn compute_facets(self) -> Result<BTreeMap<String, Aggregated>> {
        let time_left = self.time_left();
        let facets = self.plan.facets.iter().map(|(name, facet)| async move {
            let found = self.within_limits(time_left, facet.run_on(self.view)).await?;
            Ok::<_, Error>(found.map(|found| (name.clone(), found)))
        });
        Ok(try_join_all(facets).await?.into_iter().flatten().collect())
    }

    /// The answer but for its facets.
    async fn find_hits(self, meter: &Meter) -> Result<QueryResponse> {
        let Self { view, plan, .. } = self;
        if plan.query.limit == 0 {
            return fetch_answer(view, plan, SelectedHits::default(), QueryStats::default()).await;
        }
        let start = view.env.moment();
        let (ranked, selected) = self.rank_and_select(meter, start).await?;
        let stats = QueryStats::merge_legs(ranked.legs.iter().flatten().map(|(_, stats)| stats));
        let mut answer = fetch_answer(view, plan, selected, stats).await?;
        answer.unfinished = ranked.unfinished;
        answer.stats.ranking = ranked.elapsed;
        answer.stats.fetching = view.env.elapsed(start).saturating_sub(ranked.elapsed);
        Ok(answer)
    }

    /// Ranks, fuses and selects; deeper if a limit per value leaves too few hits.
    async fn rank_and_select(self, meter: &Meter, start: Moment) -> Result<(RankedLegs, SelectedHits)> {
        let Self { view, plan, .. } = self;
        let scopes = self.scopes_without_shown().await?;
        let reached = plan.query.page_end(&view.settings);
        let mut legs = vec![None; plan.legs.len()];
        // A page that is full before legs go deeper stays as it is: they go on only to learn whether there are more hits.
        let mut full_page: Option<SelectedHits> = None;
        let mut deepening = 1_usize;
        loop {
            let unfinished = self.rank_legs(&scopes, deepening, &mut legs).await?;
            let elapsed = view.env.elapsed(start);
            if plan.query.partial {
                // What was ranked is answered, whatever its documents cost.
                meter.lift_limit();
            }
            let selected = self.fuse_and_select(&legs, deepening).await?;
            let is_too_short = selected.count < reached;
            let is_page_end_open = selected.count == reached && plan.query.has_pages();
            if plan.diversity.is_some()
                && (is_too_short || is_page_end_open)
                && unfinished.is_empty()
                && self.may_find_more(&legs, deepening)
            {
                if is_page_end_open && full_page.is_none() {
                    full_page = Some(selected);
                }
                deepening = deepening.saturating_mul(DEEPENING);
                continue;
            }
            let (more, is_bounded) = (selected.count > reached, self.is_at_depth_limit(&legs));
            // invariant: without a page that was full before, the last selection is the page.
            let page = full_page.unwrap_or(selected);
            return Ok((RankedLegs { legs, unfinished, elapsed }, SelectedHits { more, is_bounded, ..page }));
        }
    }

    /// Ranks by all legs at `deepening` times their first depth. Returns the numbers of the legs that ran out of time or
    /// bytes; they keep what they found at a lower depth.
    async fn rank_legs(
        self,
        scopes: &[Scope],
        deepening: usize,
        legs: &mut [Option<(Ranking, QueryStats)>],
    ) -> Result<Vec<usize>> {
        let Self { view, plan, .. } = self;
        let (query, time_left) = (plan.query, self.time_left());
        let is_fused = plan.legs.len() > 1;
        // Of a fused query the documents that were not shown are ranked anew; one leg goes on where it was.
        let rank_offset =
            if !is_fused && query.is_past_shown(&view.settings) { query.shown_ids().len() } else { 0 };
        let ranks = plan.legs.iter().zip(scopes).map(|(leg, scope)| {
            let depth = Depth { rows: self.depth_of(leg, deepening), is_fused };
            self.within_limits(time_left, leg.search.rank(view, scope, depth, rank_offset))
        });
        let mut unfinished = Vec::new();
        for (number, (leg, ranked)) in legs.iter_mut().zip(try_join_all(ranks).await?).enumerate() {
            match ranked {
                Some(ranked) => *leg = Some(ranked),
                None => unfinished.push(number),
            }
        }
        Ok(unfinished)
    }

    /// Fuses the rankings, rescores the result, and selects the hits.
    async fn fuse_and_select(
        self,
        legs: &[Option<(Ranking, QueryStats)>],
        deepening: usize,
    ) -> Result<SelectedHits> {
        let Self { view, plan, .. } = self;
        // A leg without a result takes part with an empty ranking, so that the others keep their numbers.
        let empty = Ranking::default();
        let rankings = plan.legs.iter().zip(legs).map(|(leg, ranked)| WeightedRanking {
            weight: leg.weight,
            ranking: ranked.as_ref().map_or(&empty, |(ranking, _)| ranking),
        });
        let mut fused: Vec<Fused> = plan.query.fusion.fuse(&rankings.collect::<Vec<_>>())?;
        sort_best_first(&mut fused);
        for step in &plan.rescores {
            let depth = self.limit_depth(step.depth.saturating_mul(deepening));
            fused = first_hits(view, fused, depth).await?;
            if fused.len() > depth {
                fused = order_ties_by_id(view, fused, depth).await?;
            }
            fused = step.rescore_hits(view, fused).await?;
            sort_best_first(&mut fused);
        }
        match &plan.diversity {
            Some(diversity) => {
                diversity.select_hits(view, fused, plan.query.select_count(&view.settings)).await
            }
            None => Ok(SelectedHits { count: fused.len(), fused, ..SelectedHits::default() }),
        }
    }

    /// The scopes of all legs. Where pages have gone past the depth of legs, without the documents that were shown.
    async fn scopes_without_shown(self) -> Result<Vec<Scope>> {
        let Self { view, plan, .. } = self;
        let scopes = plan.legs.iter().map(|leg| &leg.scope);
        if !plan.query.is_past_shown(&view.settings) {
            return Ok(scopes.cloned().collect());
        }
        let mut shown = vec![RoaringBitmap::new(); view.parts().len()];
        // Documents that were deleted since are in no part.
        for addr in view.locate_documents(plan.query.shown_ids()).await?.into_iter().flatten() {
            let rows = shown.get_mut(addr.part);
            rows.ok_or_else(|| Error::internal("a document lies in no part of its view"))?.insert(addr.row);
        }
        let shown: Arc<[RoaringBitmap]> = shown.into();
        Ok(scopes.map(|scope| scope.excluding_rows(&shown)).collect())
    }

    fn depth_of(self, leg: &PlannedLeg, deepening: usize) -> usize {
        self.limit_depth(leg.depth.saturating_mul(deepening))
    }

    fn limit_depth(self, depth: usize) -> usize {
        depth.min(Query::depth_max(&self.view.settings))
    }

    /// Whether a leg found as many documents as it ranks, and may rank deeper.
    fn may_find_more(self, legs: &[Option<(Ranking, QueryStats)>], deepening: usize) -> bool {
        self.plan.legs.iter().zip(legs).any(|(leg, ranked)| {
            let depth = self.depth_of(leg, deepening);
            let is_full = ranked.as_ref().is_some_and(|(ranking, _)| ranking.hits.len() >= depth);
            is_full && depth < Query::depth_max(&self.view.settings)
        })
    }

    /// Whether a leg found as many documents as any leg may rank: there may be others that no query reaches.
    fn is_at_depth_limit(self, legs: &[Option<(Ranking, QueryStats)>]) -> bool {
        let depth_max = Query::depth_max(&self.view.settings);
        legs.iter().flatten().any(|(ranking, _)| ranking.hits.len() >= depth_max)
    }

    /// The time left, if the query has a limit.
    fn time_left(self) -> Option<Duration> {
        self.plan.query.timeout.map(|limit| limit.saturating_sub(self.view.env.elapsed(self.called)))
    }

    /// Runs a part of the query within its limits: `None` if it ran out of time or bytes and the query takes a partial
    /// answer.
    async fn within_limits<T>(
        self,
        time_left: Option<Duration>,
        future: impl Future<Output = Result<T>>,
    ) -> Result<Option<T>> {
        let is_partial = self.plan.query.partial;
        let outcome = match time_left.filter(|_| is_partial) {
            Some(limit) => self.view.env.timeout(limit, future).await.unwrap_or_else(|| Err(too_late())),
            None => future.await,
        };
        match outcome {
            Err(e) if is_partial && (e.is(DeadlineExceeded) || e.is(BudgetExceeded)) => Ok(None),
            outcome => outcome.map(Some),
        }
    }
}

/// The error of a query that ran out of time.
pub(crate) fn too_late() -> Error {
    Error::new(DeadlineExceeded, "the query had no more time: give it more, or ask for partial answers")
}
