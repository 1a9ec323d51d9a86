//! Centroid sets on the store.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::CentroidSet;
use crate::cache::{Blob, Shared, Span};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::types::Metric;

/// A set is read whole: none may be larger.
const BYTES_MAX: u64 = 4 << 30;

/// A centroid set as manifests and segments name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CentroidsMeta {
    pub(crate) id: Uuid,
    pub(crate) size: u64,
    /// The rows it was trained on.
    pub(crate) trained: u64,
}

/// A set with its name.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) meta: CentroidsMeta,
    pub(crate) set: Arc<CentroidSet>,
}

impl Named {
    /// Reads the set that `blob` holds, or finds it in use. One round trip.
    pub(crate) async fn load(
        env: &Env,
        blob: &Blob,
        shared: &Shared,
        meta: CentroidsMeta,
        (metric, dimension): (Metric, usize),
    ) -> Result<Self> {
        if let Some(set) = shared.get(blob.key()) {
            return Ok(Self { meta, set });
        }
        if blob.size() > BYTES_MAX {
            return Err(Error::corrupt(blob.key(), "a centroid set this large was never written"));
        }
        let whole = [Span { start: 0, end: blob.size(), sum: None }];
        let decode = |mut bytes: Vec<Bytes>| {
            let bytes = bytes.pop().unwrap_or_default();
            let decoded = env.blocking(move || CentroidSet::decode(metric, dimension, &bytes));
            async { decoded.await?.map_err(|e| e.at(blob.key())) }
        };
        let set = Arc::new(blob.read_decoded(&whole, decode).await?);
        shared.keep(blob.key().clone(), &set);
        Ok(Self { meta, set })
    }
}
