//! Which centroid sets a flush or a compaction indexes by, and the end of their work when nobody waits for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::try_join_all;

use crate::cache::Blob;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::index::vector::{Named, Progress};
use crate::manifest::Manifest;
use crate::segment::{Indexing, SegmentBuilder, SegmentFiles};

/// How the segments of one flush or compaction are indexed.
#[derive(Debug)]
pub(super) struct Plan {
    indexing: Arc<Indexing>,
    engine: Arc<Engine>,
}

impl Plan {
    /// By the sets of a manifest, and new ones where there are none or they are outgrown.
    pub(super) async fn new(engine: &Arc<Engine>, manifest: &Manifest) -> Result<Self> {
        let context = &engine.context;
        let shapes: BTreeMap<&str, _> = engine.schema.vectors().collect();
        let loads = manifest.centroids.iter().filter_map(|(column, meta)| {
            let shape = shapes.get(column.as_str())?;
            let blob = Blob::new(
                Arc::clone(&context.backend),
                context.cache.clone(),
                engine.keys.centroids(meta.id),
                meta.size,
            );
            Some(async move {
                let of = (shape.metric, shape.dimension);
                match Named::load(&context.env, &blob, context.cache.shared(), *meta, of).await {
                    Ok(named) => Ok::<_, Error>(Some((column.clone(), named))),
                    // Rows that are to be written need no old clusters.
                    Err(e) if e.is(ErrorKind::Corrupt) => {
                        tracing::warn!(namespace = %engine.name, %column, error = %e, "centroids are lost: new ones are made");
                        Ok(None)
                    }
                    Err(e) => Err(e),
                }
            })
        });
        let sets = try_join_all(loads).await?.into_iter().flatten().collect();
        let env = &context.env;
        let names = shapes.keys().map(|column| ((*column).to_owned(), env.uuid())).collect();
        let (seed, _) = env.uuid().as_u64_pair();
        let rows_min = context.settings.index_rows_min;
        let progress = Arc::new(Progress::default());
        lock(&engine.indexing).push(Arc::clone(&progress));
        let indexing = Arc::new(Indexing { sets, names, rows_min, renew: false, seed, progress });
        Ok(Self { indexing, engine: Arc::clone(engine) })
    }

    /// Where a set does not fit the rows that are written, a new one is made, one for each column: for what rewrites all
    /// rows, so that what was deleted does not shape clusters for ever.
    pub(super) fn renewing(mut self) -> Self {
        Arc::make_mut(&mut self.indexing).renew = true;
        self
    }

    /// Finishes a segment on the blocking pool. The sets it makes serve those after it.
    pub(super) async fn finish(
        &mut self,
        build: impl FnOnce() -> Result<Option<SegmentBuilder>> + Send + 'static,
    ) -> Result<Option<SegmentFiles>> {
        let indexing = Arc::clone(&self.indexing);
        let work = move || build()?.map(|builder| builder.finish(&indexing)).transpose();
        let files = self.engine.context.env.blocking(work).await??;
        if let Some(files) = &files {
            let indexing = Arc::make_mut(&mut self.indexing);
            for (column, named) in files.made() {
                indexing.names.remove(column);
                indexing.sets.insert(column.clone(), named.clone());
            }
        }
        Ok(files)
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        // Whoever waited is gone: the work on the blocking pool need not go on.
        self.indexing.progress.cancel();
        let ours = |progress: &Arc<Progress>| Arc::ptr_eq(progress, &self.indexing.progress);
        lock(&self.engine.indexing).retain(|progress| !ours(progress));
    }
}

/// How far the indexing of vectors is, in all flushes and compactions of this process that are under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexProgress {
    /// Comparisons of a vector with a centroid, which is what most of the time goes into.
    pub done: u64,
    /// How many there will be, about. It grows when another column or segment begins.
    pub expected: u64,
}

/// How far the indexing is, if any is under way.
pub(crate) fn index_progress(engine: &Engine) -> Option<IndexProgress> {
    let under_way = lock(&engine.indexing);
    let sum = |of: fn(&Progress) -> u64| under_way.iter().map(|progress| of(progress)).sum();
    let (done, expected) = (sum(Progress::done), sum(Progress::expected));
    (!under_way.is_empty()).then_some(IndexProgress { done, expected })
}

fn lock(progress: &Mutex<Vec<Arc<Progress>>>) -> MutexGuard<'_, Vec<Arc<Progress>>> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}
