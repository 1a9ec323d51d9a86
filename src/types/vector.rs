//! Vectors and how near they are.

use half::f16;
use serde::{Deserialize, Serialize};

/// How the nearness of two vectors is measured. All are distances: smaller is nearer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// One minus the cosine of the angle: 0 (same direction) to 2. Only the direction of a vector counts, so that any
    /// length is taken but zero, which is refused.
    Cosine,
    /// The squared Euclidean distance. A vector longer than [`VECTOR_LENGTH_MAX`](crate::VECTOR_LENGTH_MAX) is refused.
    L2Squared,
    /// Minus the dot product. A vector longer than [`VECTOR_LENGTH_MAX`](crate::VECTOR_LENGTH_MAX) is refused.
    Dot,
}

/// What the components of a vector are stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VectorType {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// 8-bit integers.
    I8,
}

impl VectorType {
    /// Bytes of one component.
    #[must_use]
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
            Self::I8 => 1,
        }
    }
}

/// A vector. Columns of f16 also take f32 vectors and round them; if they are measured by cosine, one that f16 cannot
/// hold, or not to all its digits, is stored at length 1.
#[derive(Clone, Debug, PartialEq)]
pub enum Vector {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 16-bit floats.
    F16(Vec<f16>),
    /// 8-bit integers.
    I8(Vec<i8>),
}

impl Vector {
    /// The number of components.
    #[must_use]
    pub fn dimension(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::F16(v) => v.len(),
            Self::I8(v) => v.len(),
        }
    }

    /// What the components are.
    #[must_use]
    pub fn kind(&self) -> VectorType {
        match self {
            Self::F32(_) => VectorType::F32,
            Self::F16(_) => VectorType::F16,
            Self::I8(_) => VectorType::I8,
        }
    }

    /// The components as 32-bit floats.
    #[must_use]
    pub fn to_f32(&self) -> Vec<f32> {
        match self {
            Self::F32(v) => v.clone(),
            Self::F16(v) => v.iter().map(|x| x.to_f32()).collect(),
            Self::I8(v) => v.iter().map(|&x| f32::from(x)).collect(),
        }
    }
}

impl From<Vec<f32>> for Vector {
    fn from(v: Vec<f32>) -> Self {
        Self::F32(v)
    }
}

impl From<&[f32]> for Vector {
    fn from(v: &[f32]) -> Self {
        Self::F32(v.to_vec())
    }
}

impl<const N: usize> From<[f32; N]> for Vector {
    fn from(v: [f32; N]) -> Self {
        Self::F32(v.to_vec())
    }
}

impl From<Vec<f16>> for Vector {
    fn from(v: Vec<f16>) -> Self {
        Self::F16(v)
    }
}

impl From<Vec<i8>> for Vector {
    fn from(v: Vec<i8>) -> Self {
        Self::I8(v)
    }
}
