//! A query vector in the space of a centroid set, and its relation to each cluster.

use std::sync::OnceLock;

use super::query_tables::{QueryTables, rotate_in_unit, unit_of};
use crate::index::vector::centroids::{CentroidSet, Space};
use crate::index::vector::kernels::{Kernels, kernels};
use crate::index::vector::numeric::round_to_f32;
use crate::index::vector::quantizer::Form;
use crate::types::Metric;

/// Where the query is this many times as long as its difference from a centroid, the wide table is used.
// The deviation that rounding adds, beside that of the signs, .75 (all in units of 1/√D of the difference): the narrow
// table of 6 bits adds .03 to .04 at ratio 1, .10 to .12 at 3 and .31 to .42 at 10; the wide one of 8 bits .01, .03 and
// .08 to .10. Up to 4 the narrow one costs next to nothing and is faster.
const FAR: f64 = 4.0;
/// The same for codes of six bits.
// They are nearly as fine as a query rounded to 8 bits, so that its rounding counts sooner.
const FAR_OF_SIX_BITS: f64 = 2.0;
/// From this ratio on, a cluster gets tables of its own.
// The wide table, four times as precise, is as coarse at 32 as the narrow one is at 8. Rotating a difference and making its
// tables takes 1.5 to 3 µs per cluster, so it is left to where shared tables fail: near duplicates far from the mean.
const FARTHER: f64 = 32.0;
/// Below this share of the query's square, the part of it across a centroid is computed from components.
// As a difference of two squares it has cancelled: of 16 digits, 4 are gone, and the root is what all bounds depend on.
const CANCELLED: f64 = 1e-4;

/// A query vector in the space of a centroid set.
#[derive(Debug)]
pub(crate) struct QuantizedQuery {
    pub(super) kernels: &'static Kernels,
    form: Form,
    bits: u32,
    /// As the metric compares it, and rounded.
    exact: Vec<f64>,
    vector: Vec<f32>,
    /// The length of the vector that `rotated` is an image of.
    length: f64,
    /// The square of the length of the query.
    square: f64,
    /// Less the origin of the space, rotated, in the scale of `unit`.
    rotated: Vec<f32>,
    unit: f64,
    narrow: QueryTables,
    /// Made when the first cluster needs it: most queries do without.
    wide: OnceLock<QueryTables>,
    /// How near each cluster is.
    scores: Vec<f32>,
}

/// The relation of a query to one cluster: `g_add`, weight and `g_err` of the estimates, see `quantizer`.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClusterRelation {
    pub(super) add: f64,
    pub(super) weight: f64,
    pub(super) err: f64,
}

/// The tables that a cluster is scanned with.
#[derive(Debug)]
pub(super) enum ClusterTables<'a> {
    /// Those of the query.
    Shared(&'a QueryTables),
    /// Those of its difference from the centroid.
    Own(QueryTables),
}

impl QuantizedQuery {
    /// A query of the column's dimension.
    pub(crate) fn new(set: &CentroidSet, metric: Metric, vector: &[f32]) -> Self {
        let space = set.space();
        debug_assert_eq!(vector.len(), space.dimension(), "dimensions");
        let exact: Vec<f64> = Space::exact_components(metric, vector).collect();
        let vector: Vec<f32> = exact.iter().map(|x| round_to_f32(*x)).collect();
        let centred: Vec<f64> = exact.iter().zip(space.origin()).map(|(x, origin)| x - origin).collect();
        let unit = unit_of(&centred);
        let rotated = rotate_in_unit(space, &centred, unit);
        let scale = round_to_f32(space.scale() * unit);
        let scores = set.score_clusters(&vector, &rotated.iter().map(|x| x * scale).collect::<Vec<_>>());
        let bits = u32::from(space.bits());
        Self {
            kernels: kernels(),
            form: space.form(),
            bits,
            length: squared_norm(&centred).sqrt(),
            square: squared_norm(&exact),
            narrow: QueryTables::new(&rotated, bits, false, unit),
            wide: OnceLock::new(),
            exact,
            vector,
            rotated,
            unit,
            scores,
        }
    }

    /// How near each cluster of the set is: smaller is nearer.
    pub(crate) fn cluster_scores(&self) -> &[f32] {
        &self.scores
    }

    /// The relation to a cluster, and the tables that are precise enough for it.
    pub(super) fn enter_cluster(
        &self,
        set: &CentroidSet,
        cluster: u32,
    ) -> (ClusterRelation, ClusterTables<'_>) {
        let mut relation = self.relation_to(set, cluster);
        let ratio = self.length / relation.err;
        let far = if self.bits == 6 { FAR_OF_SIX_BITS } else { FAR };
        // NaN where both are 0 or infinite: the tables of the difference are right whatever it is.
        let tables = if ratio > FARTHER || ratio.is_nan() {
            ClusterTables::Own(self.own_tables(set, cluster, &mut relation))
        } else if ratio <= far {
            ClusterTables::Shared(&self.narrow)
        } else {
            ClusterTables::Shared(self.wide_tables())
        };
        (relation, tables)
    }

    fn relation_to(&self, set: &CentroidSet, cluster: u32) -> ClusterRelation {
        let (kernels, centroid) = (self.kernels, set.centroid(cluster));
        match self.form {
            Form::L2 => {
                let add = kernels.wide_l2(&self.vector, centroid);
                ClusterRelation { add, weight: 1.0, err: add.sqrt() }
            }
            // The weight α = ⟨c,q⟩/‖c‖² takes the part of the query along the centroid out of the estimate: what remains
            // is as short as can be. The published estimator has α = 1; with a centroid of length 3 and a query of .1,
            // its error is 21.7 where this one's is .60.
            Form::Dot => {
                let (product, square) = (kernels.wide_dot(&self.vector, centroid), set.squared_norm(cluster));
                let weight = if square > 0.0 { product / square } else { 0.0 };
                let mut across = self.square - weight * product;
                if across < CANCELLED * self.square {
                    across = squared_norm(&self.difference(centroid, weight));
                }
                ClusterRelation { add: -product, weight, err: across.sqrt() }
            }
        }
    }

    /// The query less a multiple of a centroid.
    fn difference(&self, centroid: &[f32], times: f64) -> Vec<f64> {
        self.exact.iter().zip(centroid).map(|(q, c)| q - times * f64::from(*c)).collect()
    }

    /// The tables of the difference of the query from a centroid.
    fn own_tables(&self, set: &CentroidSet, cluster: u32, relation: &mut ClusterRelation) -> QueryTables {
        let difference = self.difference(set.centroid(cluster), relation.weight);
        if self.form == Form::L2 {
            // From the query before it was rounded to f32: so close to a centroid, that rounding is no longer small.
            relation.add = squared_norm(&difference);
            relation.err = relation.add.sqrt();
        }
        let unit = unit_of(&difference);
        QueryTables::new(&rotate_in_unit(set.space(), &difference, unit), self.bits, false, unit)
    }

    fn wide_tables(&self) -> &QueryTables {
        self.wide.get_or_init(|| QueryTables::new(&self.rotated, self.bits, true, self.unit))
    }
}

impl ClusterTables<'_> {
    pub(super) fn tables(&self) -> &QueryTables {
        match self {
            Self::Shared(tables) => tables,
            Self::Own(tables) => tables,
        }
    }

    /// Whether they are of the difference from the centroid.
    pub(super) fn are_own(&self) -> bool {
        matches!(self, Self::Own(_))
    }
}

fn squared_norm(components: &[f64]) -> f64 {
    components.iter().map(|x| x * x).sum()
}
