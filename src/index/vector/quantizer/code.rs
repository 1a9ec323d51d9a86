//! The code of a vector, and the factors of its estimates.

/// What is estimated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The squared distance; of vectors of length 1, twice the cosine distance.
    L2,
    /// The inner product, negated.
    Dot,
}

/// The terms of an estimate: `g_add + weight·add + mul·⟨y,q'⟩`, with a deviation of `err·g_err`.
///
/// For [`Form::L2`], q' is the rotated query, `g_add` = ‖q' − c'‖², `g_err` its root, and the weight is 1. For
/// [`Form::Dot`], the weight is α = ⟨c,q⟩/‖c‖², `g_add` = −⟨c,q⟩, and `g_err` = ‖q − αc‖.
///
/// `add` is [`Code::base`] less mul·⟨y,c'⟩, so that q' may be the same for all clusters. Where q' is far longer
/// than q' − αc', that cancels; then `base` is used with ⟨y,q' − αc'⟩.
// The number of standard deviations is a factor of the query, not of the code: libraries that store it multiplied with the
// error cannot change it without encoding again.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Factors {
    pub(crate) add: f32,
    pub(crate) mul: f32,
    pub(crate) err: f32,
}

/// The code of one vector, in memory that is reused for the next.
#[derive(Clone, Debug, Default)]
pub(crate) struct Code {
    /// A bit for every dimension: bit i % 8 of byte i / 8.
    pub(crate) signs: Vec<u8>,
    /// The low bits e of every dimension, a byte each.
    pub(crate) levels: Vec<u8>,
    /// The term of the residual alone: its squared length, or its inner product with the centroid, negated.
    pub(crate) base: f32,
    /// For the signs alone. `mul` is a number that an [`f16`](half::f16) holds.
    pub(crate) coarse: Factors,
    /// For signs and levels.
    // Its `mul` is an f32: an f16 is off by .05 %, too much for codes of five bits or more.
    pub(crate) fine: Factors,
}

/// What is known of a residual besides its components in f32.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResidualTerms {
    /// For [`Form::Dot`]: its inner product with the centroid, which may be far less than their lengths allow.
    pub(crate) product: f64,
    /// The deviation of its components along any direction.
    pub(crate) noise: f64,
    /// The factor by which its deviation counts for more, as the errors of others depend on it.
    pub(crate) widening: f64,
}

impl Default for ResidualTerms {
    fn default() -> Self {
        Self { product: 0.0, noise: 0.0, widening: 1.0 }
    }
}
