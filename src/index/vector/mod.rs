//! The vector index: clusters of short codes that select which exact vectors are worth reading.
//!
//! Vectors are brought to one metric ([`Space`]). A few out of all scale are set apart ([`outliers`]) and always
//! compared; the others are in clusters made by balanced k-means ([`kmeans`]). A set of clusters
//! is an object of its own ([`centroids`]), shared by segments; its clusters have numbers that outlive it. In a
//! segment each cluster has a record ([`record`]) of RaBitQ codes ([`quantizer`], after a random [`rotation`]) of its vectors. A query
//! ([`query`]) reads the records of the nearest clusters, scores them with the [`kernels`](mod@kernels), and returns the rows
//! whose exact vectors decide. How many clusters a recall takes is measured when an index is built ([`measure`]) and
//! read from its [`curve`]. Rows with the same vector share one vector in all of this ([`distinct`]).
//!
//! A cluster is what faiss calls an IVF list and `ScaNN` a leaf; to probe a cluster is to scan its record.
//!
//! RaBitQ: Gao and Long, SIGMOD 2024 (arXiv 2405.12497) and SIGMOD 2025 (arXiv 2409.09913).

mod assignment;
mod build;
mod centroids;
mod common_direction;
mod count_matches;
mod curve;
mod distinct;
mod index;
mod kernels;
mod kmeans;
mod match_counts;
mod measure;
mod numeric;
mod outliers;
mod quantizer;
mod query;
mod query_recall;
mod random;
mod read_plan;
mod record;
mod record_writer;
mod regions;
mod rotation;
mod row_clusters;
mod search;
mod section;
mod train;

#[cfg(test)]
mod tests;

pub(crate) use build::VectorIndexBuilder;
pub(crate) use centroids::{CentroidSet, CentroidsMeta, NamedCentroids, Space};
pub(crate) use curve::{RegionCurve, is_enough};
pub(crate) use distinct::{CopyFinder, DistinctVectors};
pub(crate) use index::VectorIndex;
#[cfg(feature = "testing")]
pub use kernels::ScanTrial;
pub(crate) use kernels::kernels;
pub(crate) use kmeans::{Points, TrainingProgress};
pub(crate) use match_counts::MatchCounts;
pub(crate) use query::QuantizedQuery;
#[cfg(any(test, feature = "testing"))]
pub(crate) use random::Random;
pub(crate) use read_plan::{ReadPlan, ReadWindow};
pub(crate) use row_clusters::RowClusters;
pub(crate) use search::{RowFilter, SearchResult, SearchState};
pub(crate) use train::{SetPlan, still_fits, train_centroids};
