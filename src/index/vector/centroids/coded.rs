//! Centroids as bytes, to find those near a query.
//!
//! A query is compared with every centroid of a set, and in f32 the centroids of a million vectors of 768 dimensions are 23
//! MB: reading them takes longer than the rest of the query. A byte a component is a quarter of that, and its error is
//! about a hundredth of what distinguishes neighbours. Where distances are as small as that, which the stated errors tell,
//! the caller compares again. Products do not cancel, and need no second look.

use crate::index::vector::kernels::kernels;
use crate::index::vector::numeric::{count_to_f64, round_to_f32};

/// The largest code of a centroid.
const CODE_MAX: f32 = 127.0;
/// The largest component of a query as an integer.
const QUERY_MAX: f32 = 8_191.0;

/// Centroids, each as bytes and their step.
#[derive(Debug)]
pub(super) struct CodedCentroids {
    /// Components of each.
    components: usize,
    codes: Vec<i8>,
    terms: Vec<CentroidTerms>,
}

/// What is known of a centroid besides its code.
#[derive(Clone, Copy, Debug)]
struct CentroidTerms {
    step: f32,
    /// The square of its length.
    square: f32,
    /// The length of what its code leaves out.
    error: f32,
}

/// A query, and its comparison with centroids.
pub(super) struct CodedQuery {
    components: Vec<i16>,
    step: f32,
    square: f32,
    /// The length, over the root of the number of components.
    spread: f32,
}

/// The comparison of a query with a centroid.
#[derive(Clone, Copy, Debug)]
pub(super) struct CodedProduct {
    pub(super) product: f32,
    /// The squares of both lengths.
    pub(super) squares: f32,
    /// The standard deviation of the product.
    pub(super) deviation: f32,
}

impl CodedCentroids {
    /// No centroids, of so many components.
    pub(super) fn new(components: usize) -> Self {
        Self { components, codes: Vec::new(), terms: Vec::new() }
    }

    pub(super) fn push(&mut self, centroid: &[f32]) {
        let step = step_of(centroid, CODE_MAX);
        let start = self.codes.len();
        #[expect(clippy::cast_possible_truncation, reason = "at most CODE_MAX, or NaN, which becomes 0")]
        self.codes.extend(centroid.iter().map(|x| (x / step).round() as i8));
        let codes = self.codes.iter().skip(start);
        let error: f32 =
            centroid.iter().zip(codes).map(|(x, code)| (x - f32::from(*code) * step).powi(2)).sum();
        let square = round_to_f32(kernels().dot(centroid, centroid));
        self.terms.push(CentroidTerms { step, square, error: error.sqrt() });
    }

    /// The comparisons of a query with all centroids, in their order.
    pub(super) fn compare<'a>(&'a self, query: &'a CodedQuery) -> impl Iterator<Item = CodedProduct> + 'a {
        let kernels = kernels();
        let centroids = self.codes.chunks_exact(self.components).zip(&self.terms);
        centroids.map(move |(codes, terms)| {
            #[expect(clippy::cast_precision_loss, reason = "its last digits are below the error")]
            let product = kernels.byte_dot(codes, &query.components) as f32;
            CodedProduct {
                product: product * terms.step * query.step,
                squares: query.square + terms.square,
                deviation: query.spread * terms.error,
            }
        })
    }
}

impl CodedQuery {
    pub(super) fn new(query: &[f32]) -> Self {
        let components = count_to_f64(query.len()).max(1.0);
        // A sum of products is an i32.
        let most = round_to_f32(f64::from(i32::MAX) / (f64::from(CODE_MAX) * components)).min(QUERY_MAX);
        let step = step_of(query, most);
        let square = kernels().dot(query, query);
        Self {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "at most QUERY_MAX, or NaN, which becomes 0"
            )]
            components: query.iter().map(|x| (x / step).round() as i16).collect(),
            step,
            square: round_to_f32(square),
            spread: round_to_f32((square / components).sqrt()),
        }
    }
}

/// The step by which the largest component becomes `most`.
fn step_of(components: &[f32], most: f32) -> f32 {
    components.iter().map(|x| x.abs()).fold(0.0, f32::max) / most
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::vector::random::Random;

    #[test]
    fn products_are_within_their_deviations() {
        let mut random = Random::new(5);
        for components in [64, 128, 832] {
            let mut vector = || (0..components).map(|_| random.next_normal()).collect::<Vec<f32>>();
            let centroids: Vec<Vec<f32>> = (0..100).map(|_| vector()).collect();
            let query = vector();
            let mut coded = CodedCentroids::new(components);
            for centroid in &centroids {
                coded.push(centroid);
            }
            let coded_query = CodedQuery::new(&query);
            let mut within_one = 0;
            for (centroid, found) in centroids.iter().zip(coded.compare(&coded_query)) {
                let product = kernels().dot(&query, centroid);
                let error = (product - f64::from(found.product)).abs();
                assert!(error < 5.0 * f64::from(found.deviation), "{error} {found:?}");
                within_one += usize::from(error < f64::from(found.deviation));
                // About a hundredth of what products with other vectors of that length vary by.
                let lengths = kernels().dot(centroid, centroid).sqrt() * kernels().dot(&query, &query).sqrt();
                assert!(
                    f64::from(found.deviation) < 0.015 * lengths / count_to_f64(components).sqrt(),
                    "{found:?}"
                );
            }
            assert!((50..=90).contains(&within_one), "{within_one} of 100");
        }
    }

    #[test]
    fn products_with_the_nearest_are_not_off_to_one_side() {
        let mut random = Random::new(6);
        for components in [768, 4_096] {
            let mut error = 0.0;
            for _ in 0..50 {
                let centroid: Vec<f32> = (0..components).map(|_| random.next_normal()).collect();
                let query: Vec<f32> = centroid.iter().map(|x| x + 0.3 * random.next_normal()).collect();
                let mut coded = CodedCentroids::new(components);
                coded.push(&centroid);
                let coded_query = CodedQuery::new(&query);
                let found: Vec<CodedProduct> = coded.compare(&coded_query).collect();
                let product = kernels().dot(&query, &centroid);
                error += (f64::from(found[0].product) - product) / f64::from(found[0].deviation) / 50.0;
            }
            assert!(error.abs() < 0.6, "{error} deviations on average");
        }
    }

    #[test]
    fn nothing_and_too_much_are_compared_too() {
        let mut coded = CodedCentroids::new(64);
        for centroid in [[0.0; 64], [1.0; 64], [1e15; 64], [1e-42; 64]] {
            coded.push(&centroid);
        }
        for query in [[0.0; 64], [2.0; 64], [1e-40; 64]] {
            let products: Vec<f32> =
                coded.compare(&CodedQuery::new(&query)).map(|found| found.product).collect();
            for (product, component) in products.iter().zip([0.0, 1.0, 1e15, 1e-42_f32]) {
                let wanted = f64::from(component) * f64::from(query[0]) * 64.0;
                assert!((f64::from(*product) - wanted).abs() <= 0.01 * wanted + 1e-30, "{product} {wanted}");
            }
        }
    }
}
