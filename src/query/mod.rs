//! Queries: which documents, how near, in what order.
//!
//! A `View` is a set of parts at one sequence: segments, and the layers of the tail that hide what is
//! older. Everything here works on any part alike and never sees a manifest.

mod aggregate;
#[expect(clippy::cast_precision_loss, reason = "clusters are counted, and shares of them compared")]
mod clusters;
mod compare;
mod compute;
mod cursor;
pub(crate) mod distance;
mod diversity;
mod exec;
mod explain;
mod fusion;
mod hits;
mod keys;
mod leg;
mod nearest;
mod order;
#[expect(clippy::cast_precision_loss, reason = "rows and clusters are counted, and shares of them compared")]
mod probe;
mod recall;
mod request;
mod rescore;
mod response;
mod room;
mod scan;
mod select;
mod stats;
pub(crate) mod text;
mod ties;
mod topk;

pub use crate::filter::{Filter, Fuzzy, Operand, TextInput, TokenFilter};
pub use aggregate::{Aggregate, AggregateGroup, Aggregated, Aggregation};
pub use compute::{Compute, Computed};
pub use cursor::{Cursor, QueryCursor};
pub use diversity::Group;
pub(crate) use exec::too_late;
pub use explain::{Explain, FilterPlan, LegPlan, PartPlan, SearchPlan};
pub use fusion::Fusion;
pub use leg::Leg;
pub use order::Order;
pub use recall::{RecallCheck, RecallReport};
pub use request::Query;
pub use rescore::{Reranker, Rescore};
pub use response::{Hit, LegHit, Page, QueryResponse, Rows};
pub use scan::Scan;
pub use select::Select;
pub use stats::QueryStats;
pub use text::{Combine, Fragment, FragmentBy, Highlight, Offsets, Rank, SearchBox};
pub use text::{TextMatch, TextPhrase, TextQuery};
