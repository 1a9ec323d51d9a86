//! The vector index: clusters of short codes that tell which exact vectors are worth reading.

mod kmeans;
