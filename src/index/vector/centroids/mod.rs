//! Centroid sets: what the vectors of a column are coded by.
//!
//! A [`CentroidSet`] is an object of its own on the store, under a name ([`named`]). It says which set
//! it is and of what ([`header`]), has the [`space`] that codes are taken in, and the clusters with their centroids
//! and [`numbers`].

mod coded;
mod header;
mod named;
mod numbers;
mod set;
mod space;

pub(super) use header::{ClusterFit, SetHeader, SetShape};
pub(crate) use named::{CentroidsMeta, NamedCentroids};
pub(super) use numbers::ClusterNumbers;
#[cfg(test)]
pub(super) use numbers::NumberRun;
pub(crate) use set::CentroidSet;
pub(crate) use space::Space;
pub(super) use space::choose_scale;
