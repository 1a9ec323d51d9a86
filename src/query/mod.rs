//! Queries, scans and aggregations, which read a view.
//!
//! A `View` is a set of parts at one sequence: segments, and the layers of the tail that hide older rows. Everything
//! here works on both kinds of part alike, and never sees a manifest.

mod aggregate;
mod compute;
mod cursor;
mod explain;
mod fetch;
#[cfg(test)]
mod fuzz;
mod hit;
mod json;
mod keys;
mod leg;
mod limits;
mod plan;
mod rank;
mod recall;
mod request;
mod response;
mod room;
mod row_distances;
mod run;
mod scan;
mod select;
mod stats;

pub use aggregate::{AggregateGroup, Aggregated};
pub use compute::Computed;
pub use cursor::QueryCursor;
pub use explain::{Explain, FilterPlan, LegPlan, PartPlan};
pub use leg::text::{Fragment, FragmentBy, Highlight, Offsets};
pub use leg::{LegHit, SearchPlan};
pub use response::Group;
pub(crate) use root::*;
pub(crate) use run::{run_queries, too_late};
pub use stats::QueryStats;

/// What the root of the crate exports: everything that a query is built from, and what queries and scans answer. Each
/// public item has one path, and the parts of an answer have it here.
pub(crate) mod root {
    pub use super::aggregate::{Aggregate, Aggregation};
    pub use super::compute::Compute;
    pub use super::cursor::ScanCursor;
    pub use super::hit::Hit;
    pub use super::leg::text::{Combine, Rank, SearchBox, TextMatch, TextPhrase, TextQuery};
    pub use super::leg::vector::VectorQuery;
    pub use super::leg::{Leg, Order};
    pub use super::rank::{Fusion, Reranker, Rescore};
    pub use super::recall::{RecallCheck, RecallReport};
    pub use super::request::Query;
    pub use super::response::{QueryResponse, Rows};
    pub use super::scan::{Page, Scan};
    pub use super::select::Select;
    pub use crate::filter::{Filter, Fuzzy, Operand, TextInput, TokenFilter};
}
