//! Legs: the ways to rank documents.
//!
//! Each kind of leg is a folder with one contract: `plan` checks what a query says against the schema, and `rank` runs
//! the plan over the parts of a view and gives [`LegRows`], scored by the type of the leg. A new kind of leg is a folder,
//! a variant of [`RankBy`] with its constructor, and an arm in each `match` of this file.

mod builder;
mod json;
pub(super) mod order;
pub(super) mod ranking;
mod search_plan;
pub(super) mod text;
pub(super) mod vector;

pub use builder::Leg;
pub use order::Order;
pub use ranking::LegHit;
pub use search_plan::SearchPlan;

use builder::RankBy;
use order::OrderSearch;
use ranking::{Depth, LegRows, Ranking, Score};
use text::TextSearch;
use vector::{VectorQuery, VectorSearch};

use super::QueryStats;
use crate::error::Result;
use crate::schema::Schema;
use crate::settings::Settings;
use crate::view::{Part, Scope, View};

/// A leg, checked against the schema.
pub(super) struct LegSearch(Search);

enum Search {
    Vector(VectorSearch),
    Text(TextSearch),
    Order(OrderSearch),
}

impl LegSearch {
    pub(super) fn plan(leg: &Leg, schema: &Schema, settings: &Settings) -> Result<Self> {
        Ok(Self(match &leg.ranking {
            RankBy::Vector(VectorQuery { column, vector, effort }) => {
                Search::Vector(VectorSearch::plan(schema, column, vector, *effort)?)
            }
            RankBy::Text(query) => Search::Text(TextSearch::plan(schema, settings, query)?),
            RankBy::Order(orders) => Search::Order(OrderSearch::plan(schema, orders)?),
        }))
    }

    /// Ranks the documents of a scope, after `rank_offset` ranks that other pages showed.
    pub(super) async fn rank(
        &self,
        view: &View,
        scope: &Scope,
        depth: Depth,
        rank_offset: usize,
    ) -> Result<(Ranking, QueryStats)> {
        match &self.0 {
            Search::Vector(search) => {
                finish(search.rank(view, scope, depth).await?, view, depth, rank_offset).await
            }
            Search::Text(search) => {
                finish(search.rank(view, scope, depth).await?, view, depth, rank_offset).await
            }
            Search::Order(search) => {
                finish(search.rank(view, scope, depth).await?, view, depth, rank_offset).await
            }
        }
    }

    /// How the leg searches a part, for a plan of a query.
    pub(super) fn explain(&self, part: &Part, depth: usize) -> Result<SearchPlan> {
        match &self.0 {
            Search::Vector(search) => search.explain(part, depth),
            Search::Text(search) => Ok(search.explain()),
            Search::Order(_) => Ok(SearchPlan::Walk { rows: depth }),
        }
    }
}

async fn finish<S: Score>(
    found: LegRows<S>,
    view: &View,
    depth: Depth,
    rank_offset: usize,
) -> Result<(Ranking, QueryStats)> {
    let stats = found.stats;
    Ok((found.into_ranking(view, depth, rank_offset).await?, stats))
}
