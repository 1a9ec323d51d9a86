//! Centroid sets on the store.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::centroids::CentroidSet;
use crate::cache::{Blob, SharedObjects, Span};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::types::{Metric, ObjectId};

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
    /// Reads the set of `blob`, unless it is in use already. One round trip.
    pub(crate) async fn load(
        env: &Env,
        blob: &Blob,
        shared: &SharedObjects,
        meta: CentroidsMeta,
        (metric, dimension): (Metric, usize),
    ) -> Result<Self> {
        if let Some(set) = shared.get(blob.key()) {
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
                let decoded = env.blocking(move || CentroidSet::decode(metric, dimension, &whole));
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
    use crate::index::vector::{DistinctVectors, TrainingProgress, train_centroids};
    use crate::storage::{MemoryBackend, ObjectKey, PutMode, StorageBackend};

    #[tokio::test]
    async fn those_who_load_a_set_together_hold_the_same() -> Result<()> {
        let coded = DistinctVectors {
            dimension: 2,
            values: vec![1.0, 2.0, 3.0, 4.0],
            rows: vec![0, 1],
            ..DistinctVectors::default()
        };
        let set = train_centroids(Metric::L2Squared, 5, &coded, &mut || 1, &TrainingProgress::default())?;
        let (backend, key, bytes) = (Arc::new(MemoryBackend::new()), ObjectKey::new("set")?, set.encode()?);
        let id = ObjectId { birth: 1, uuid: Uuid::nil() };
        let meta = CentroidsMeta { id, size: bytes.len() as u64, trained: set.trained() };
        backend.put(&key, bytes.into(), PutMode::Create).await?;
        let blob = Blob::new(backend, BlockCache::off(), key, meta.size);
        let (env, shared) = (Env::current()?, SharedObjects::default());
        let load = || NamedCentroids::load(&env, &blob, &shared, meta, (Metric::L2Squared, 2));
        let (one, other) = try_join(load(), load()).await?;
        assert!(Arc::ptr_eq(&one.set, &other.set));
        assert!(Arc::ptr_eq(&one.set, &load().await?.set));
        Ok(())
    }
}
