//! Centroid sets on the store.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::header::SetShape;
use super::set::CentroidSet;
use crate::cache::{Blob, SharedObjects, Span};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::types::ObjectId;

/// The size of a set, at most. It is read whole, so that a forged size must not decide how much memory is allocated.
const BYTES_MAX: u64 = 4 << 30;

/// A centroid set as manifests and segments refer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CentroidsMeta {
    pub(crate) id: ObjectId,
    pub(crate) size: u64,
    /// The rows it was trained on.
    pub(crate) trained: u64,
}

/// A set with its name.
#[derive(Clone, Debug)]
pub(crate) struct NamedCentroids {
    pub(crate) meta: CentroidsMeta,
    pub(crate) set: Arc<CentroidSet>,
}

impl NamedCentroids {
    /// Reads the set of `blob`, unless it is in use already, and checks that it is that of the meta and of this shape. One
    /// round trip.
    pub(crate) async fn load(
        env: &Env,
        blob: &Blob,
        shared: &SharedObjects,
        meta: CentroidsMeta,
        shape: SetShape,
    ) -> Result<Self> {
        if let Some(set) = shared.get::<CentroidSet>(blob.key()) {
            set.check(meta.id, shape).map_err(|e| e.at(blob.key()))?;
            return Ok(Self { meta, set });
        }
        if blob.size() > BYTES_MAX {
            return Err(Error::corrupt(blob.key(), "a centroid set this large was never written"));
        }
        let whole = [Span { start: 0, end: blob.size(), checksum: None }];
        let decode = |mut bytes: Vec<Bytes>| {
            let whole = bytes.pop().ok_or_else(|| Error::internal("a span was not read"));
            async move {
                let whole = whole?;
                // Decoding rotates every centroid: too long for an async task.
                let decoded = env.blocking(move || CentroidSet::decode(meta.id, shape, &whole));
                decoded.await?.map_err(|e| e.at(blob.key()))
            }
        };
        let set = Arc::new(blob.read_decoded(&whole, decode).await?);
        // Segments that are opened together may decode it at the same time; they keep one of the results.
        Ok(Self { meta, set: shared.get_or_insert(blob.key().clone(), set) })
    }
}

#[cfg(test)]
mod tests {
    use futures::future::try_join;
    use uuid::Uuid;

    use super::*;
    use crate::cache::BlockCache;
    use crate::error::ErrorKind;
    use crate::index::vector::{DistinctVectors, SetPlan, TrainingProgress, train_centroids};
    use crate::storage::{MemoryBackend, ObjectKey, PutMode, StorageBackend};
    use crate::types::Metric;

    const SHAPE: SetShape = SetShape { dimension: 2, metric: Metric::L2Squared, bits: 5 };
    const ID: ObjectId = ObjectId { birth: 1, uuid: Uuid::max() };

    /// A set on a store.
    async fn stored() -> Result<(Blob, CentroidsMeta)> {
        let coded = DistinctVectors {
            dimension: 2,
            values: vec![1.0, 2.0, 3.0, 4.0],
            rows: vec![0, 1],
            ..DistinctVectors::default()
        };
        let plan = SetPlan { id: ID, shape: SHAPE, before: None, seed: 1, rows: 0 };
        let set = train_centroids(&plan, &coded, &TrainingProgress::default())?;
        let (backend, key, bytes) = (Arc::new(MemoryBackend::new()), ObjectKey::new("set")?, set.encode()?);
        let meta = CentroidsMeta { id: ID, size: bytes.len() as u64, trained: set.trained() };
        backend.put(&key, bytes.into(), PutMode::Create).await?;
        Ok((Blob::new(backend, BlockCache::off(), key, meta.size), meta))
    }

    #[tokio::test]
    async fn those_who_load_a_set_together_hold_the_same() -> Result<()> {
        let (blob, meta) = stored().await?;
        let (env, shared) = (Env::current()?, SharedObjects::default());
        let load = || NamedCentroids::load(&env, &blob, &shared, meta, SHAPE);
        let (one, other) = try_join(load(), load()).await?;
        assert!(Arc::ptr_eq(&one.set, &other.set));
        assert!(Arc::ptr_eq(&one.set, &load().await?.set));
        Ok(())
    }

    #[tokio::test]
    async fn a_set_in_the_place_of_another_is_an_error_even_if_it_is_in_use() -> Result<()> {
        let (blob, meta) = stored().await?;
        let other = CentroidsMeta { id: ObjectId { birth: 2, ..ID }, ..meta };
        let (env, shared) = (Env::current()?, SharedObjects::default());
        let load = |meta, shape| NamedCentroids::load(&env, &blob, &shared, meta, shape);
        for in_use in [false, true] {
            let held = if in_use { Some(load(meta, SHAPE).await?) } else { None };
            for (meta, shape) in [(other, SHAPE), (meta, SetShape { metric: Metric::Cosine, ..SHAPE })] {
                let error = load(meta, shape).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                assert!(error.to_string().contains("key=`set`"), "{error}");
            }
            drop(held);
        }
        Ok(())
    }
}
