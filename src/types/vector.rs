//! Vectors and their metrics.

use std::fmt;

use half::f16;
use serde::{Deserialize, Serialize};

use super::list::display_list;

/// How vectors are compared. All metrics are distances: smaller is nearer.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::*;
/// let schema = Schema::builder(IdKind::U64).vector("place", VectorType::F32, 2, Metric::L2Squared).build()?;
/// # let docs = Database::open("memory://").await?.create_namespace("docs", schema).await?;
/// docs.write(Document::new(1).with("place", Vector::from([0.0, 1.0]))).await?;
/// let hits = docs.query(Query::nearest("place", [0.0, 3.0])).await?.hits()?;
/// assert_eq!(hits[0].distance(), Some(4.0));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Metric {
    /// One minus the cosine of the angle, from 0 (same direction) to 2. Only the direction of a vector counts: every
    /// length but zero is accepted.
    Cosine,
    /// The squared Euclidean distance. Vectors longer than [`VECTOR_LENGTH_MAX`](crate::VECTOR_LENGTH_MAX) are rejected.
    L2Squared,
    // Negated, so that all metrics sort in the same direction.
    /// Minus the dot product. Vectors longer than [`VECTOR_LENGTH_MAX`](crate::VECTOR_LENGTH_MAX) are rejected.
    Dot,
}

/// The type in which the components of a vector are stored.
///
/// ```
/// use elacsym::{IdKind, Metric, Schema, VectorType};
///
/// // Half the space of `F32`.
/// let schema = Schema::builder(IdKind::U64).vector("embedding", VectorType::F16, 384, Metric::Cosine).build()?;
/// assert_eq!((VectorType::F32.size(), VectorType::F16.size(), VectorType::I8.size()), (4, 2, 1));
/// # Ok::<_, elacsym::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
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

/// A vector. Columns of f16 also accept f32 vectors and round them. With cosine distance, a vector whose components are
/// out of range for f16, or too small for its full precision, is scaled to length 1 first.
///
/// ```
/// use elacsym::{Document, Vector, VectorType};
///
/// let floats = Vector::from([0.6, 0.8]);
/// let bytes = Vector::from(vec![-100_i8, 27]);
/// assert_eq!((floats.kind(), bytes.kind()), (VectorType::F32, VectorType::I8));
/// let document = Document::new(1).with("embedding", floats).with("small", bytes);
/// # let _ = document;
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
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

    /// The type of the components.
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

/// The first components, and how many there are.
impl fmt::Display for Vector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::F32(v) => display_list(f, v),
            Self::F16(v) => display_list(f, v),
            Self::I8(v) => display_list(f, v),
        }
    }
}

impl From<&Vec<f32>> for Vector {
    fn from(v: &Vec<f32>) -> Self {
        Self::F32(v.clone())
    }
}

impl<const N: usize> From<&[f32; N]> for Vector {
    fn from(v: &[f32; N]) -> Self {
        Self::F32(v.to_vec())
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
