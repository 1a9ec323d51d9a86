//! The estimates as the formulas say, in f64: what kernels are compared with.

use super::code::Factors;
use super::{Code, Form, Quantizer, ResidualTerms};

/// Which part of a code an estimate is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The signs.
    Coarse,
    /// Signs and levels.
    Fine,
}

/// What a query is to a cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExactRelation {
    pub(crate) add: f64,
    pub(crate) weight: f64,
    pub(crate) err: f64,
}

impl ExactRelation {
    /// Query and centroid are rotated; for [`Form::L2`] less the mean of the index, for [`Form::Dot`] whole.
    pub(crate) fn new(form: Form, query: &[f32], centroid: &[f32]) -> Self {
        let sum = |f: &dyn Fn(f64, f64) -> f64| {
            query.iter().zip(centroid).map(|(q, c)| f(f64::from(*q), f64::from(*c))).sum::<f64>()
        };
        match form {
            Form::L2 => {
                let add = sum(&|q, c| (q - c) * (q - c));
                Self { add, weight: 1.0, err: add.sqrt() }
            }
            Form::Dot => {
                let (product, square) = (sum(&|q, c| q * c), sum(&|_, c| c * c));
                let weight = if square > 1e-30 { product / square } else { 0.0 };
                let err = sum(&|q, c| (q - weight * c) * (q - weight * c)).sqrt();
                Self { add: -product, weight, err }
            }
        }
    }
}

/// An estimate and its standard deviation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Estimate {
    pub(crate) est: f64,
    pub(crate) std: f64,
}

/// ⟨b,q⟩: the components of `query` whose sign bit is set.
pub(crate) fn sign_dot(code: &Code, query: &[f32]) -> f64 {
    query.iter().enumerate().map(|(i, q)| f64::from(sign(code, i)) * f64::from(*q)).sum()
}

/// `⟨x_u,q⟩` with `x_u = 2^(bits−1)·b + e`.
pub(crate) fn code_dot(code: &Code, bits: u8, query: &[f32]) -> f64 {
    let low: f64 = query.iter().zip(&code.levels).map(|(q, e)| f64::from(*q) * f64::from(*e)).sum();
    f64::from(1_u32 << (bits - 1)) * sign_dot(code, query) + low
}

/// y: `x_u − (2^bits − 1)/2` of every dimension, or b − ½.
pub(crate) fn direction(code: &Code, bits: u8, stage: Stage) -> Vec<f64> {
    let middle = f64::from((1_u32 << bits) - 1) / 2.0;
    let one = |(i, e): (usize, &u8)| match stage {
        Stage::Coarse => f64::from(sign(code, i)) - 0.5,
        Stage::Fine => f64::from((u32::from(sign(code, i)) << (bits - 1)) + u32::from(*e)) - middle,
    };
    code.levels.iter().enumerate().map(one).collect()
}

fn sign(code: &Code, dimension: usize) -> u8 {
    code.signs[dimension / 8] >> (dimension % 8) & 1
}

/// What is known of a residual whose components are exact.
pub(crate) fn known(residual: &[f32], centroid: &[f32]) -> ResidualTerms {
    let product = residual.iter().zip(centroid).map(|(r, c)| f64::from(*r) * f64::from(*c)).sum();
    ResidualTerms { product, ..ResidualTerms::default() }
}

/// What the code says of the vector's distance from the query; see [`ExactRelation::new`] for what is passed.
pub(crate) fn estimate(
    code: &Code,
    bits: u8,
    stage: Stage,
    relation: &ExactRelation,
    query: &[f32],
) -> Estimate {
    let direction = direction(code, bits, stage);
    combine(code, stage, relation, direction.iter().zip(query).map(|(y, q)| y * f64::from(*q)).sum())
}

/// The estimate of a code, given ⟨y,q⟩.
pub(crate) fn combine(code: &Code, stage: Stage, relation: &ExactRelation, direction_dot: f64) -> Estimate {
    let Factors { add, mul, err } = match stage {
        Stage::Coarse => code.coarse,
        Stage::Fine => code.fine,
    };
    let est = relation.add + relation.weight * f64::from(add) + f64::from(mul) * direction_dot;
    Estimate { est, std: f64::from(err) * relation.err }
}

/// The distance that is estimated, from the rotated residual itself.
pub(crate) fn truth(form: Form, residual: &[f32], centroid: &[f32], query: &[f32]) -> f64 {
    let triples = residual.iter().zip(centroid).zip(query);
    let triples = triples.map(|((r, c), q)| (f64::from(*r) + f64::from(*c), f64::from(*q)));
    match form {
        Form::L2 => triples.map(|(x, q)| (x - q) * (x - q)).sum(),
        Form::Dot => -triples.map(|(x, q)| x * q).sum::<f64>(),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "the numbers are small")]
#[expect(clippy::float_cmp, reason = "the same numbers, by two ways")]
mod tests {
    use super::*;
    use crate::index::vector::random::Random;
    use crate::index::vector::rotation::Rotation;

    /// A direction with a few large components, of the given length.
    fn spiky(random: &mut Random, dimension: usize, length: f64) -> Vec<f64> {
        let vector: Vec<f64> = (0..dimension).map(|_| f64::from(random.next_normal()).powi(3)).collect();
        let norm = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
        vector.iter().map(|x| x * length / norm).collect()
    }

    fn rotated(rotation: &Rotation, vector: &[f64]) -> Vec<f32> {
        let mut out = vec![0.0; rotation.padded()];
        rotation.apply(&vector.iter().map(|x| *x as f32).collect::<Vec<_>>(), &mut out);
        out
    }

    fn plus(a: &[f64], b: &[f64]) -> Vec<f64> {
        a.iter().zip(b).map(|(a, b)| a + b).collect()
    }

    /// Vectors around a centroid and queries, of these lengths.
    #[derive(Clone, Copy, Debug)]
    struct Scene {
        form: Form,
        centroid: f64,
        residual: f64,
        query: f64,
    }

    #[derive(Debug, Default)]
    struct Errors {
        /// In deviations.
        scores: Vec<f64>,
        /// In units of `n·g_err/√D`.
        square: f64,
    }

    impl Errors {
        fn of(scene: Scene, dimension: usize, bits: u8, stage: Stage) -> Self {
            let Scene { form, centroid, residual, query } = scene;
            let mut random = Random::new(dimension as u64 * 10 + u64::from(bits));
            let mut errors = Self::default();
            let quantizer = Quantizer::new(dimension.next_multiple_of(64), bits, form);
            for _ in 0..4 {
                let rotation = Rotation::new(dimension, random.next());
                let mean = spiky(&mut random, dimension, centroid);
                let c = rotated(&rotation, &mean);
                let queries: Vec<_> = (0..50)
                    .map(|_| {
                        let vector = spiky(&mut random, dimension, query);
                        // A query lies around the centroid where distances are asked for.
                        let query = if form == Form::L2 { plus(&vector, &mean) } else { vector };
                        let query = rotated(&rotation, &query);
                        (ExactRelation::new(form, &query, &c), query)
                    })
                    .collect();
                for _ in 0..50 {
                    let r = rotated(&rotation, &spiky(&mut random, dimension, residual));
                    let mut code = Code::default();
                    quantizer.encode(&r, &c, known(&r, &c), &mut code);
                    let y = direction(&code, bits, stage);
                    for (relation, q) in &queries {
                        let dot = y.iter().zip(q).map(|(y, q)| y * f64::from(*q)).sum();
                        let Estimate { est, std } = combine(&code, stage, relation, dot);
                        let error = est - truth(form, &r, &c, q);
                        errors.scores.push(error / std);
                        let unit = residual * relation.err / (r.len() as f64).sqrt();
                        errors.square += error * error / (unit * unit);
                    }
                }
            }
            errors
        }

        fn root_mean_square(&self) -> f64 {
            (self.square / self.scores.len() as f64).sqrt()
        }

        fn assert_normal(&self, what: &str) {
            let count = self.scores.len() as f64;
            let mean = self.scores.iter().sum::<f64>() / count;
            let deviation = (self.scores.iter().map(|z| z * z).sum::<f64>() / count - mean * mean).sqrt();
            let beyond = |sign: f64| self.scores.iter().filter(|z| **z * sign > 1.9).count() as f64 / count;
            assert!(mean.abs() < 0.05, "{what}: mean {mean}");
            assert!((0.95..=1.05).contains(&deviation), "{what}: deviation {deviation}");
            for tail in [beyond(1.0), beyond(-1.0)] {
                assert!((0.020..=0.037).contains(&tail), "{what}: {tail} beyond 1.9");
            }
        }
    }

    const L2: Scene = Scene { form: Form::L2, centroid: 1.0, residual: 0.7, query: 1.2 };
    /// Far from the mean of the index: what the centroid adds is a hundred times what is estimated.
    const FAR_L2: Scene = Scene { form: Form::L2, centroid: 60.0, residual: 0.7, query: 1.2 };
    const DOT: Scene = Scene { form: Form::Dot, centroid: 1.0, residual: 0.7, query: 1.0 };
    /// Where the inner product with the centroid is far larger than the query.
    const FAR_DOT: Scene = Scene { form: Form::Dot, centroid: 3.0, residual: 0.7, query: 0.1 };

    fn errors_are_normal(dimension: usize) {
        for scene in [L2, FAR_L2, DOT, FAR_DOT] {
            for bits in [1, 2, 5, 8] {
                let errors = Errors::of(scene, dimension, bits, Stage::Fine);
                errors.assert_normal(&format!("{scene:?}, {dimension} dimensions, {bits} bits"));
            }
            let errors = Errors::of(scene, dimension, 4, Stage::Coarse);
            errors.assert_normal(&format!("{scene:?}, {dimension} dimensions, signs"));
        }
    }

    #[test]
    fn errors_are_normal_with_64_dimensions() {
        errors_are_normal(64);
    }

    #[test]
    fn errors_are_normal_with_100_dimensions() {
        errors_are_normal(100);
    }

    #[test]
    fn errors_are_normal_with_384_dimensions() {
        errors_are_normal(384);
    }

    #[test]
    fn errors_are_normal_with_768_dimensions() {
        errors_are_normal(768);
    }

    /// Whatever the lengths: the inner product is corrected for where the query points.
    #[test]
    fn an_inner_product_has_the_same_error_wherever_the_centroid_lies() {
        for (centroid, query) in [(0.2, 1.0), (1.0, 1.0), (3.0, 1.0), (3.0, 0.1), (3.0, 5.0), (0.0, 1.0)] {
            let scene = Scene { form: Form::Dot, centroid, residual: 1.0, query };
            let found = Errors::of(scene, 256, 1, Stage::Coarse).root_mean_square();
            assert!((0.72..0.79).contains(&found), "{centroid}, {query}: {found}");
        }
    }

    #[test]
    fn all_ways_to_a_dot_product_agree() {
        let mut random = Random::new(17);
        let mut vector = || (0..128).map(|_| random.next_normal()).collect::<Vec<_>>();
        let (r, c, q) = (vector(), vector(), vector());
        let sum: f64 = q.iter().map(|q| f64::from(*q)).sum();
        for bits in 1..=8 {
            let mut code = Code::default();
            Quantizer::new(128, bits, Form::L2).encode(&r, &c, known(&r, &c), &mut code);
            let relation = ExactRelation::new(Form::L2, &q, &c);
            let middle = f64::from((1_u32 << bits) - 1) / 2.0;
            let coarse = combine(&code, Stage::Coarse, &relation, sign_dot(&code, &q) - 0.5 * sum);
            let fine = combine(&code, Stage::Fine, &relation, code_dot(&code, bits, &q) - middle * sum);
            for (stage, one) in [(Stage::Coarse, coarse), (Stage::Fine, fine)] {
                let other = estimate(&code, bits, stage, &relation, &q);
                assert!((one.est - other.est).abs() <= 1e-9 * one.est.abs().max(relation.add), "{bits}");
                assert_eq!(one.std, other.std);
            }
        }
    }
}
