//! Flat loops for the usual shapes of queries over a segment: one term, any or all of some terms, a phrase.
//!
//! What a block of postings scores at most is known before it is unpacked (S. Ding and T. Suel, "Faster top-k document
//! retrieval using block-max indexes", 2011). Rows are visited in [windows](super::windows), the most promising first,
//! until no window can hold a hit. Within a window [`offer_union`] is MaxScore: H. Turtle and J. Flood, "Query evaluation:
//! strategies and optimizations", 1995.
//!
//! **Invariant:** a row that scores as the worst of the best rows is never left out: ties are decided by id, later.

mod bound_order;
mod candidates;
mod intersection;
mod phrase;
mod single;
mod term;
mod union;
mod window_bounds;

pub(super) use intersection::offer_intersection;
pub(super) use phrase::offer_phrase;
pub(super) use single::{offer_expanded_term, offer_term};
pub(super) use term::BoundedTerm;
pub(super) use union::offer_union;
