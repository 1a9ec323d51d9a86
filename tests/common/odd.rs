//! Collections of vectors that are not tidy, as real ones are: rows out of all scale, tight groups far apart, many
//! equals, few dimensions that matter. Each with queries like its rows, and the true answers by sums in f64.

use elacsym::{Metric, Vector, VectorType};

use super::rng::Rng;

/// A collection, and what is asked of it.
#[derive(Clone, Debug)]
pub struct Odd {
    pub name: &'static str,
    pub metric: Metric,
    pub element: VectorType,
    pub bits: u8,
    /// As the element holds them.
    pub rows: Vec<Vec<f32>>,
    pub queries: Vec<Vec<f32>>,
}

/// What an [`Odd`] is made by: how many rows, how many queries, and chance.
type Make = fn(usize, usize, &mut Rng) -> Odd;

/// All collections by name.
pub const ALL: &[(&str, Make)] = &[
    ("one row a million times as long", |n, q, r| long_row(n, q, r, 1e6)),
    ("one row a hundred million times as long", |n, q, r| long_row(n, q, r, 1e8)),
    ("one row a million times as long, 8 bits", |n, q, r| long_row(n, q, r, 1e6).bits(8)),
    ("one row a million times as long, 2 bits", |n, q, r| long_row(n, q, r, 1e6).bits(2)),
    ("one row of 1e14, inner product", |n, q, r| long_row(n, q, r, 1e14).metric(Metric::Dot)),
    ("clusters 1,000 times narrower than their distance", |n, q, r| clusters(n, q, r, 1e3)),
    ("clusters 100,000 times narrower than their distance", |n, q, r| clusters(n, q, r, 1e5)),
    ("clusters 1,000 times narrower, cosine", |n, q, r| clusters(n, q, r, 1e3).metric(Metric::Cosine)),
    ("clusters 1,000 times narrower, inner product", |n, q, r| clusters(n, q, r, 1e3).metric(Metric::Dot)),
    ("clusters 1,000 times narrower, 7 bits", |n, q, r| clusters(n, q, r, 1e3).bits(7)),
    ("half in one tight cluster, half far noise", tight_half),
    ("four fifths the same, inner product", |n, q, r| placeholders(n, q, r, 0.8)),
    ("half of the rows 10,000 times as long", half_long),
    ("lengths of a heavy tail", |n, q, r| heavy_tail(n, q, r, Metric::L2Squared)),
    ("lengths of a heavy tail, cosine", |n, q, r| heavy_tail(n, q, r, Metric::Cosine)),
    ("lengths of a heavy tail, inner product", |n, q, r| heavy_tail(n, q, r, Metric::Dot)),
    ("one dominant dimension", |n, q, r| {
        each(n, q, r, |r| {
            uniform(r, 32).into_iter().enumerate().map(|(i, x)| if i == 3 { x * 1e3 } else { x }).collect()
        })
    }),
    ("on a line", |n, q, r| {
        let (from, along) = (uniform(r, 32), uniform(r, 32));
        each(n, q, r, |r| {
            let t = f32_of(r.unit() * 100.0);
            from.iter().zip(&along).map(|(a, b)| a + t * b).collect()
        })
    }),
    ("on a plane of two dimensions", |n, q, r| {
        let axes = [uniform(r, 64), uniform(r, 64)];
        each(n, q, r, |r| {
            let [a, b] = [normal(r), normal(r)];
            axes[0].iter().zip(&axes[1]).map(|(x, y)| a * x + b * y).collect()
        })
    }),
    ("small integers", |n, q, r| each(n, q, r, |r| (0..32).map(|_| f32_of(small(r.below(5)))).collect())),
    ("one-hot, with a second mark", |n, q, r| {
        each(n, q, r, |r| {
            let (one, two) = (r.below(48), r.below(48));
            (0..48).map(|i| if i == one || i == two { 1.0 } else { 0.0 }).collect()
        })
    }),
    ("bits, cosine", |n, q, r| {
        let odd =
            each(n, q, r, |r| (0..64).map(|i| if i == 0 || r.chance(0.3) { 1.0 } else { 0.0 }).collect());
        odd.metric(Metric::Cosine)
    }),
    ("a million from the origin", |n, q, r| each(n, q, r, |r| shifted(normals(r, 32), 1e6))),
    ("a million from the origin, inner product", |n, q, r| {
        each(n, q, r, |r| shifted(normals(r, 32), 1e6)).metric(Metric::Dot)
    }),
    ("two scales in one place", |n, q, r| {
        let mut long = false;
        each(n, q, r, |r| {
            long = !long;
            scaled(normals(r, 32), if long { 1.0 } else { 1e-3 })
        })
    }),
    ("copies with jitter", |n, q, r| {
        let originals: Vec<_> = (0..n / 20).map(|_| normals(r, 48)).collect();
        each(n, q, r, |r| plus(r.pick(&originals).clone(), &scaled(normals(r, 48), 1e-4)))
    }),
    ("all of 1e-30", |n, q, r| each(n, q, r, |r| scaled(uniform(r, 32), 1e-30))),
    ("all of 1e-30, inner product", |n, q, r| {
        each(n, q, r, |r| scaled(uniform(r, 32), 1e-30)).metric(Metric::Dot)
    }),
    ("all of 1e14", |n, q, r| each(n, q, r, |r| scaled(uniform(r, 32), 1e14))),
    ("halves with long rows", |n, q, r| {
        let odd = each(n, q, r, |r| scaled(normals(r, 32), if r.chance(0.01) { 1e4 } else { 1.0 }));
        odd.element(VectorType::F16)
    }),
    ("bytes, most near zero", |n, q, r| {
        let odd = each(n, q, r, |r| scaled(normals(r, 48), if r.chance(0.02) { 60.0 } else { 3.0 }));
        odd.element(VectorType::I8)
    }),
    ("bytes, cosine", |n, q, r| {
        each(n, q, r, |r| scaled(normals(r, 48), 30.0)).element(VectorType::I8).metric(Metric::Cosine)
    }),
    ("noise without structure, 1 bit", |n, q, r| each(n, q, r, |r| normals(r, 64)).bits(1)),
    ("noise without structure, 3 bits", |n, q, r| each(n, q, r, |r| normals(r, 64)).bits(3)),
    ("noise without structure, 6 bits", |n, q, r| each(n, q, r, |r| normals(r, 64)).bits(6)),
];

/// The collection of that name.
pub fn named(name: &str, rows: usize, queries: usize) -> Odd {
    let found = ALL.iter().find(|(known, _)| *known == name);
    let (name, make) = found.unwrap_or_else(|| panic!("no collection of that name: {name}"));
    Odd { name, ..make(rows, queries, &mut Rng::new(77)) }
}

impl Odd {
    pub fn dimension(&self) -> usize {
        self.rows.first().map_or(0, Vec::len)
    }

    pub fn bits(self, bits: u8) -> Self {
        Self { bits, ..self }
    }

    pub fn metric(self, metric: Metric) -> Self {
        Self { metric, ..self }
    }

    /// Of another element: all components are rounded to it.
    pub fn element(mut self, element: VectorType) -> Self {
        self.element = element;
        for vector in self.rows.iter_mut().chain(&mut self.queries) {
            *vector = stored(element, vector).to_f32();
        }
        self
    }

    /// What distances that are equal may be told apart by in f64.
    pub fn noise(&self) -> f64 {
        if self.metric == Metric::Cosine { 4e-15 } else { 0.0 }
    }

    /// A vector as the column takes it.
    pub fn vector(&self, components: &[f32]) -> Vector {
        stored(self.element, components)
    }

    /// The distance in f64, as the metric has it.
    pub fn distance(&self, a: &[f32], b: &[f32]) -> f64 {
        distance(self.metric, a, b)
    }
}

/// The distance in f64.
pub fn distance(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let sum = |term: &dyn Fn(f64, f64) -> f64| -> f64 {
        a.iter().zip(b).map(|(a, b)| term(f64::from(*a), f64::from(*b))).sum()
    };
    match metric {
        Metric::L2Squared => sum(&|a, b| (a - b) * (a - b)),
        Metric::Dot => -sum(&|a, b| a * b),
        Metric::Cosine => {
            // Half the squared distance of the directions: one less a cosine would cancel.
            let (a_length, b_length) = (sum(&|a, _| a * a).sqrt(), sum(&|_, b| b * b).sqrt());
            if a_length * b_length == 0.0 {
                1.0
            } else {
                sum(&|a, b| (a / a_length - b / b_length).powi(2)) / 2.0
            }
        }
        other => panic!("no distance by {other:?} here"),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "it is rounded and clamped")]
fn stored(element: VectorType, components: &[f32]) -> Vector {
    match element {
        VectorType::F32 => Vector::F32(components.to_vec()),
        VectorType::F16 => Vector::F16(components.iter().map(|x| half::f16::from_f32(*x)).collect()),
        VectorType::I8 => {
            Vector::I8(components.iter().map(|x| x.round().clamp(-127.0, 127.0) as i8).collect())
        }
        other => panic!("no vectors of {other:?} here"),
    }
}

/// Rows and queries drawn alike, of f32, L2 and 5 bits.
fn each(rows: usize, queries: usize, rng: &mut Rng, mut draw: impl FnMut(&mut Rng) -> Vec<f32>) -> Odd {
    Odd {
        name: "",
        metric: Metric::L2Squared,
        element: VectorType::F32,
        bits: 5,
        rows: (0..rows).map(|_| draw(rng)).collect(),
        queries: (0..queries).map(|_| draw(rng)).collect(),
    }
}

fn long_row(rows: usize, queries: usize, rng: &mut Rng, times: f32) -> Odd {
    let mut odd = each(rows, queries, rng, |rng| uniform(rng, 32));
    if let Some(row) = odd.rows.first_mut() {
        *row = scaled(std::mem::take(row), times);
    }
    odd
}

fn clusters(rows: usize, queries: usize, rng: &mut Rng, narrower: f32) -> Odd {
    let centres: Vec<_> = (0..40).map(|_| uniform(rng, 64)).collect();
    each(rows, queries, rng, |rng| {
        plus(rng.pick(&centres).clone(), &scaled(normals(rng, 64), narrower.recip()))
    })
}

fn tight_half(rows: usize, queries: usize, rng: &mut Rng) -> Odd {
    let mut far = false;
    let mut odd = each(rows, 0, rng, |rng| {
        far = !far;
        if far { scaled(uniform(rng, 32), 50.0) } else { shifted(scaled(uniform(rng, 32), 1e-3), 1.0) }
    });
    odd.queries = like_rows(&odd.rows, queries, rng, 1e-4);
    odd
}

fn placeholders(rows: usize, queries: usize, rng: &mut Rng, share: f64) -> Odd {
    let centres: Vec<_> = (0..30).map(|_| normals(rng, 64)).collect();
    let same = normals(rng, 64);
    let draw = |rng: &mut Rng| plus(rng.pick(&centres).clone(), &scaled(normals(rng, 64), 0.5));
    let mut odd = each(rows, 0, rng, |rng| if rng.chance(share) { same.clone() } else { draw(rng) });
    odd.queries = (0..queries).map(|_| draw(rng)).collect();
    odd.metric(Metric::Dot)
}

fn half_long(rows: usize, queries: usize, rng: &mut Rng) -> Odd {
    each(rows, queries, rng, |rng| scaled(normals(rng, 100), if rng.chance(0.5) { 1e4 } else { 1.0 }))
}

fn heavy_tail(rows: usize, queries: usize, rng: &mut Rng, metric: Metric) -> Odd {
    each(rows, queries, rng, |rng| {
        let length = (2.0 * normal(rng)).exp();
        scaled(normals(rng, 32), length)
    })
    .metric(metric)
}

/// Rows with a little noise.
fn like_rows(rows: &[Vec<f32>], count: usize, rng: &mut Rng, noise: f32) -> Vec<Vec<f32>> {
    (0..count)
        .map(|_| {
            let row = rng.pick(rows).clone();
            let noise = scaled(normals(rng, row.len()), noise);
            plus(row, &noise)
        })
        .collect()
}

/// Components of −1 to 1.
pub fn uniform(rng: &mut Rng, dimension: usize) -> Vec<f32> {
    (0..dimension).map(|_| f32_of(rng.unit() * 2.0 - 1.0)).collect()
}

/// Components of a normal distribution of deviation 1.
pub fn normals(rng: &mut Rng, dimension: usize) -> Vec<f32> {
    (0..dimension).map(|_| normal(rng)).collect()
}

fn normal(rng: &mut Rng) -> f32 {
    let (radius, angle) = ((-2.0 * (1.0 - rng.unit()).ln()).sqrt(), std::f64::consts::TAU * rng.unit());
    f32_of(radius * angle.cos())
}

pub fn scaled(mut vector: Vec<f32>, factor: f32) -> Vec<f32> {
    for x in &mut vector {
        *x *= factor;
    }
    vector
}

fn shifted(mut vector: Vec<f32>, by: f32) -> Vec<f32> {
    for x in &mut vector {
        *x += by;
    }
    vector
}

pub fn plus(mut vector: Vec<f32>, other: &[f32]) -> Vec<f32> {
    vector.iter_mut().zip(other).for_each(|(x, y)| *x += y);
    vector
}

fn small(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

#[expect(clippy::cast_possible_truncation, reason = "rounding is the point")]
fn f32_of(value: f64) -> f32 {
    value as f32
}
