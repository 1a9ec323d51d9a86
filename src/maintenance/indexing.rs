//! How the segments of one flush or compaction are indexed, and the end of that work when nobody waits for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{FixedSizeListArray, RecordBatch};
use futures::future::try_join_all;

use crate::cache::Blob;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::index::vector::{CentroidsMeta, NamedCentroids, TrainingProgress};
use crate::manifest::Manifest;
use crate::schema::VectorColumn;
use crate::segment::{SegmentBuilder, VectorIndexing, WrittenSegment};
use crate::types::ColumnId;

/// The centroid sets by which the segments of one flush or compaction are indexed. Dropping it cancels the work that is
/// under way.
#[derive(Debug)]
pub(super) struct IndexingJob {
    indexing: Arc<VectorIndexing>,
    new_centroids: BTreeMap<ColumnId, CentroidsMeta>,
    engine: Arc<Engine>,
}

impl IndexingJob {
    /// Indexes by the sets of a manifest, and makes new ones where there are none or they are outgrown.
    pub(super) async fn new(engine: &Arc<Engine>, manifest: &Manifest) -> Result<Self> {
        let env = &engine.context.env;
        let sets = load_centroids(engine, manifest).await?;
        // Names are drawn here and not where a set is made: that happens on the blocking pool, which has no access to
        // the environment's source of chance.
        let names = engine.schema.vector_columns().map(|(column, _)| (column.id, env.uuid())).collect();
        let (seed, _) = env.uuid().as_u64_pair();
        let rows_min = engine.context.settings.index_rows_min;
        let progress = Arc::new(TrainingProgress::default());
        lock_progress(&engine.indexing).push(Arc::clone(&progress));
        let indexing = Arc::new(VectorIndexing { sets, names, keeps_sets: false, rows_min, seed, progress });
        Ok(Self { indexing, new_centroids: BTreeMap::new(), engine: Arc::clone(engine) })
    }

    /// The set of a column.
    pub(super) fn set(&self, column: ColumnId) -> Option<&NamedCentroids> {
        self.indexing.sets.get(&column)
    }

    /// How many vectors of a column are indexed, at least.
    pub(super) fn rows_min_of(&self, column: ColumnId) -> usize {
        self.indexing.rows_min_of(column)
    }

    /// Trains and uploads a new set for a column, on a sample of the `count` rows that have a vector.
    pub(super) async fn train_on_sample(
        &mut self,
        birth: u64,
        column: ColumnId,
        sample: Vec<RecordBatch>,
        count: u64,
    ) -> Result<()> {
        let (indexing, schema) = (Arc::clone(&self.indexing), Arc::clone(&self.engine.schema));
        let train = move || indexing.train_on_sample(&schema, birth, column, sample, count);
        if let Some(set) = self.engine.context.env.blocking(train).await?? {
            set.upload(&self.engine.context.backend, &self.engine.keys).await?;
            self.add_set(column, set.named);
        }
        Ok(())
    }

    /// Makes no sets from now on: those that there are were chosen for all rows.
    pub(super) fn keep_sets(&mut self) {
        let indexing = Arc::make_mut(&mut self.indexing);
        indexing.names.clear();
        indexing.keeps_sets = true;
    }

    /// The clusters of the set of a column that these vectors are in.
    pub(super) async fn assign_rows(
        &self,
        column: ColumnId,
        shape: VectorColumn,
        vectors: FixedSizeListArray,
    ) -> Result<Vec<Option<u32>>> {
        let indexing = Arc::clone(&self.indexing);
        self.engine.context.env.blocking(move || indexing.assign_rows(column, shape, &vectors)).await?
    }

    /// Whether the set of a column fits these vectors.
    pub(super) async fn fits(&self, column: ColumnId, sample: Vec<RecordBatch>) -> Result<bool> {
        let (indexing, schema) = (Arc::clone(&self.indexing), Arc::clone(&self.engine.schema));
        self.engine.context.env.blocking(move || indexing.fits(&schema, column, sample)).await?
    }

    fn add_set(&mut self, column: ColumnId, named: NamedCentroids) {
        let indexing = Arc::make_mut(&mut self.indexing);
        // One new set a column is enough: segments of one job should share theirs, so that queries read it once.
        indexing.names.remove(&column);
        self.new_centroids.insert(column, named.meta);
        indexing.sets.insert(column, named);
    }

    /// The sets that were made so far, by column.
    pub(super) fn new_centroids(&self) -> BTreeMap<ColumnId, CentroidsMeta> {
        self.new_centroids.clone()
    }

    /// Builds a segment on the blocking pool and uploads it. The sets that it makes serve the segments after it.
    pub(super) async fn write_segment(
        &mut self,
        build: impl FnOnce() -> Result<Option<SegmentBuilder>> + Send + 'static,
    ) -> Result<Option<WrittenSegment>> {
        let written = self.engine.write_segment(Arc::clone(&self.indexing), build).await?;
        for (column, named) in written.iter().flat_map(|written| &written.new_centroids) {
            self.add_set(*column, named.clone());
        }
        Ok(written)
    }
}

/// The centroid sets of a manifest by column, without those that are damaged.
async fn load_centroids(engine: &Engine, manifest: &Manifest) -> Result<BTreeMap<ColumnId, NamedCentroids>> {
    let context = &engine.context;
    let loads = manifest.centroids.iter().filter_map(|(column, meta)| {
        // invariant: a set of a column that the schema does not have indexes nothing.
        let (described, shape) = engine.schema.vector_columns().find(|(described, _)| described.id == *column)?;
        let key = engine.keys.centroids(meta.id);
        let blob = Blob::new(Arc::clone(&context.backend), context.cache.clone(), key, meta.size);
        Some(async move {
            let shared = context.cache.shared();
            match NamedCentroids::load(&context.env, &blob, shared, *meta, shape.into()).await {
                Ok(named) => Ok::<_, Error>(Some((*column, named))),
                // Rows that are about to be written do not depend on old clusters, and new ones heal the column.
                Err(e) if e.is(ErrorKind::Corrupt) => {
                    tracing::warn!(namespace = %engine.name, column = %described.name, error = %e, "could not read centroids, training new ones");
                    Ok(None)
                }
                Err(e) => Err(e),
            }
        })
    });
    Ok(try_join_all(loads).await?.into_iter().flatten().collect())
}

impl Drop for IndexingJob {
    fn drop(&mut self) {
        // The waiting callers are gone, but a task on the blocking pool cannot be dropped: it checks this flag.
        self.indexing.progress.cancel();
        let ours = |progress: &Arc<TrainingProgress>| Arc::ptr_eq(progress, &self.indexing.progress);
        lock_progress(&self.engine.indexing).retain(|progress| !ours(progress));
    }
}

/// The progress of indexing vectors, over all flushes and compactions under way in this process.
///
/// ```
/// use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::*;
/// # let schema = Schema::builder(IdKind::U64).build()?;
/// # let docs = Database::open("memory://").await?.create_namespace("docs", schema).await?;
/// let mut compaction = docs.compact();
/// let report = loop {
///     if let Ok(report) = tokio::time::timeout(Duration::from_secs(1), &mut compaction).await {
///         break report?;
///     }
///     if let Some(progress) = docs.index_progress() {
///         println!("{} of about {} comparisons", progress.done, progress.expected);
///     }
/// };
/// println!("{report}");
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexProgress {
    /// Comparisons of a vector with a centroid, which take most of the time.
    pub done: u64,
    /// An estimate of how many there will be. It grows when another column or segment begins.
    pub expected: u64,
}

/// The progress of indexing, if any is under way.
pub(crate) fn index_progress(engine: &Engine) -> Option<IndexProgress> {
    let under_way = lock_progress(&engine.indexing);
    if under_way.is_empty() {
        return None;
    }
    let done = under_way.iter().map(|progress| progress.done()).sum();
    let expected = under_way.iter().map(|progress| progress.expected()).sum();
    Some(IndexProgress { done, expected })
}

fn lock_progress(progress: &Mutex<Vec<Arc<TrainingProgress>>>) -> MutexGuard<'_, Vec<Arc<TrainingProgress>>> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}
