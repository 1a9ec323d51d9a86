//! A query against codes: stage one over the signs of all vectors of a cluster, stage two over what remains.
//!
//! A query is scanned as a table of small integers. One table, of the whole query, serves all clusters. Its rounding is
//! in proportion to the distance of the query from the mean of the data, while the estimate is in proportion to its
//! distance from the cluster. Where the first is a few times the second, a table of more bits is used, and where it is
//! many times the second, a table of the difference between query and centroid, made for that cluster alone.
//!
//! **Invariant:** a vector is ruled out only if k others are nearer than it could be, each by the stated number
//! of standard deviations of its estimate. Every error is in that deviation: that of the code, that of the table, and, as
//! a margin, that of sums in f32. Terms that differ between clusters are summed in f64.

mod allowed_rows;
mod cluster_scan;
mod query_tables;
mod shortlist;
mod vector_query;

pub(crate) use allowed_rows::AllowedRows;
pub(crate) use shortlist::{RecordSource, RowCandidate, Shortlist};
pub(crate) use vector_query::QuantizedQuery;
