//! Planning: a query checked against the schema, the settings and the parts of a view. Nothing is read.

use super::aggregate::PreparedFacet;
use super::compute::PreparedComputes;
use super::leg::LegSearch;
use super::rank::{PreparedDiversity, PreparedRescore};
use super::{Aggregation, Query};
use crate::error::Result;
use crate::filter::Filter;
use crate::view::{Scope, Scopes, View};

/// A query that can run on a view.
pub(super) struct QueryPlan<'a> {
    pub(super) query: &'a Query,
    pub(super) legs: Vec<PlannedLeg>,
    pub(super) rescores: Vec<PreparedRescore>,
    pub(super) diversity: Option<PreparedDiversity>,
    /// The positions in the schema of the columns that hits are returned with.
    pub(super) columns: Vec<usize>,
    pub(super) computes: PreparedComputes,
    pub(super) facets: Vec<(String, PreparedFacet)>,
}

/// A leg of a query, with the documents it may rank.
pub(super) struct PlannedLeg {
    pub(super) search: LegSearch,
    pub(super) scope: Scope,
    /// How deep it ranks at first.
    pub(super) depth: usize,
    pub(super) weight: f32,
}

impl<'a> QueryPlan<'a> {
    /// Plans a query. Legs and facets with the same filter share one of the `scopes`, so it is evaluated once.
    ///
    /// # Errors
    /// Everything that is wrong with a query is found here, before a byte is read.
    pub(super) fn new(view: &View, query: &'a Query, scopes: &mut Scopes) -> Result<Self> {
        let View { schema, settings, .. } = view;
        query.check(settings)?;
        scopes.add_weights(query.ranking_filters())?;
        query.shown_ids().iter().try_for_each(|id| id.check(schema.id()))?;
        let columns = query.select.column_indexes(schema)?;
        let diversity = query.diversity.as_ref().map(|d| PreparedDiversity::new(d, schema)).transpose()?;
        let rescores = query.rescores.iter().map(|step| {
            PreparedRescore::new(view, step, query.depth_or_default(step.requested_depth(), settings))
        });
        let rescores = rescores.collect::<Result<_>>()?;
        let computes = PreparedComputes::new(view, &query.computes)?;
        let legs = query.legs.iter().map(|leg| {
            // Before the leg itself: filters have limits, and an oversized one must not cost more than its check.
            let scope = scopes.scope_for(view, Filter::both(query.filter.as_ref(), leg.filter.as_ref()))?;
            Ok(PlannedLeg {
                search: LegSearch::plan(leg, schema, settings)?,
                scope,
                depth: query.leg_depth(leg, settings),
                weight: leg.weight,
            })
        });
        let legs = legs.collect::<Result<_>>()?;
        let facet = |(name, facet): &(String, Aggregation)| {
            Ok((name.clone(), PreparedFacet::new(view, facet, query.filter.as_ref(), scopes)?))
        };
        let facets = query.facets.iter().map(facet).collect::<Result<_>>()?;
        Ok(Self { query, legs, rescores, diversity, columns, computes, facets })
    }
}
