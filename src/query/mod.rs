//! Queries, scans and aggregations, which read a view.
//!
//! A `View` is a set of parts at one sequence: segments, and the layers of the tail that hide older rows. Everything
//! here works on both kinds of part alike, and never sees a manifest.

mod aggregate;
mod compute;
mod cursor;
mod explain;
mod fetch;
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

pub use crate::filter::{Filter, Fuzzy, Operand, TextInput, TokenFilter};
pub use aggregate::{Aggregate, AggregateGroup, Aggregated, Aggregation};
pub use compute::{Compute, Computed};
pub use cursor::{Cursor, QueryCursor};
pub use explain::{Explain, FilterPlan, LegPlan, PartPlan};
pub use leg::text::{Combine, Fragment, FragmentBy, Highlight, Offsets, Rank, SearchBox};
pub use leg::text::{TextMatch, TextPhrase, TextQuery};
pub use leg::{Leg, LegHit, Order, SearchPlan};
pub use rank::{Fusion, Reranker, Rescore};
pub use recall::{RecallCheck, RecallReport};
pub use request::Query;
pub use response::{Group, Hit, Page, QueryResponse, Rows};
pub(crate) use run::{run_queries, too_late};
pub use scan::Scan;
pub use select::Select;
pub use stats::QueryStats;
