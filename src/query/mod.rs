//! Queries: which documents, how near, in what order.

pub(crate) mod distance;
mod filter;
pub(crate) mod topk;

pub(crate) use filter::Bound;
pub use filter::{Filter, Operand};
