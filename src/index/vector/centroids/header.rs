//! What a centroid set says of itself: which set it is, of which vectors, and how well it fits them.
//!
//! On storage: "ECEN" | version u16 | zero u16 | its id | id of the set before it, or zeros | shape | rows trained on u64
//! | fit
//!
//! id: birth u64 | UUID; shape: dimension u32 | metric u8: 1 cosine, 2 squared distance, 3 inner product | bits u8
//! | zero u16; fit: median distance of a row from its centroid f32 | chance that two rows share a cluster f32

use uuid::Uuid;

use crate::codec::{CodecError, Reader, put_len_u32, usize_of};
use crate::error::Result;
use crate::schema::VectorColumn;
use crate::types::{Metric, ObjectId};

const WHAT: &str = "centroid set";
const MAGIC: [u8; 4] = *b"ECEN";
const VERSION: u16 = 1;
const METRICS: [Metric; 3] = [Metric::Cosine, Metric::L2Squared, Metric::Dot];
/// In place of the set before a set that has none: every set has a random UUID.
const NO_SET: ObjectId = ObjectId { birth: 0, uuid: Uuid::nil() };

/// What a centroid set says of itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SetHeader {
    pub(in crate::index::vector) id: ObjectId,
    /// The set of the column that this one goes on from: it has the same rotation, and no number of a cluster stands for
    /// another cluster there.
    // Two processes may replace a set at the same time, and both go on from its numbers. Only this tells whether a number
    // of another set means the same cluster.
    pub(in crate::index::vector) before: Option<ObjectId>,
    pub(in crate::index::vector) shape: SetShape,
    /// The rows it was trained on.
    pub(in crate::index::vector) trained: u64,
    /// How well it fits them.
    pub(in crate::index::vector) fit: ClusterFit,
}

/// The vectors and the codes that a set is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SetShape {
    pub(crate) dimension: usize,
    pub(crate) metric: Metric,
    pub(crate) bits: u8,
}

/// How well clusters fit the vectors of some rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ClusterFit {
    /// The median distance of a row from its centroid.
    pub(crate) spread: f32,
    /// The chance that two rows share a cluster.
    pub(crate) crowding: f32,
}

impl From<VectorColumn> for SetShape {
    fn from(column: VectorColumn) -> Self {
        Self { dimension: column.dimension, metric: column.metric, bits: column.code_bits }
    }
}

impl SetHeader {
    /// Checks that it is this set, of vectors of this shape.
    pub(in crate::index::vector) fn check(&self, id: ObjectId, shape: SetShape) -> Result<(), CodecError> {
        if self.id != id {
            return Err(CodecError::malformed(WHAT, format!("it is another one. id=`{}`", self.id)));
        }
        if self.shape != shape {
            return Err(CodecError::malformed(WHAT, "it belongs to a column of another shape"));
        }
        Ok(())
    }

    pub(in crate::index::vector) fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend([0; 2]);
        push_id(self.id, out);
        push_id(if let Some(before) = self.before { before } else { NO_SET }, out);
        put_len_u32(out, self.shape.dimension)?;
        out.extend([metric_code(self.shape.metric), self.shape.bits, 0, 0]);
        out.extend(self.trained.to_le_bytes());
        out.extend([self.fit.spread, self.fit.crowding].iter().flat_map(|x| x.to_le_bytes()));
        Ok(())
    }

    pub(in crate::index::vector) fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let bad = |why: &str| CodecError::malformed(WHAT, why);
        reader.magic(MAGIC)?;
        reader.version(VERSION)?;
        reader.u16()?;
        let (id, before) = (read_id(reader)?, read_id(reader)?);
        let dimension = usize_of(reader.u32()?);
        let [metric, bits, ..] = reader.u32()?.to_le_bytes();
        let metric = METRICS.into_iter().find(|known| metric_code(*known) == metric);
        let metric = metric.ok_or_else(|| bad("it is of an unknown metric"))?;
        if !(1..=8).contains(&bits) {
            return Err(bad("its codes have no bits, or too many"));
        }
        let trained = reader.u64()?;
        let [spread, crowding] = [f32::from_bits(reader.u32()?), f32::from_bits(reader.u32()?)];
        if !(spread >= 0.0 && (0.0..=1.0).contains(&crowding)) {
            return Err(bad("its fit is out of range"));
        }
        Ok(Self {
            id,
            before: Some(before).filter(|before| *before != NO_SET),
            shape: SetShape { dimension, metric, bits },
            trained,
            fit: ClusterFit { spread, crowding },
        })
    }
}

fn push_id(id: ObjectId, out: &mut Vec<u8>) {
    out.extend(id.birth.to_le_bytes());
    out.extend(id.uuid.as_bytes());
}

fn read_id(reader: &mut Reader<'_>) -> Result<ObjectId, CodecError> {
    Ok(ObjectId { birth: reader.u64()?, uuid: reader.uuid()? })
}

fn metric_code(metric: Metric) -> u8 {
    match metric {
        Metric::Cosine => 1,
        Metric::L2Squared => 2,
        Metric::Dot => 3,
    }
}
