//! From the rankings of legs to the hits of a query: fusion, rescoring, diversity, and the order of ties.

mod diversity;
mod fusion;
mod json;
mod rescore;
mod ties;

pub(super) use diversity::{Diversity, PreparedDiversity, SelectedHits};
pub use fusion::Fusion;
pub(super) use fusion::{Fused, WeightedRanking};
pub(super) use rescore::PreparedRescore;
pub use rescore::{Reranker, Rescore};
pub(super) use ties::{first_hits, order_ties_by_id, positions_in_order, sort_best_first, take_positions};
