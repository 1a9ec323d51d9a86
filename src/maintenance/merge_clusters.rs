//! In which cluster each row of a merge is, and whether the clusters are still those that the rows call for.

use std::collections::BTreeMap;

use arrow::array::{AsArray, RecordBatch};
use roaring::RoaringBitmap;

use super::indexing::IndexingJob;
use super::merge_partition::{SourceShare, divide_rows};
use super::merge_source::{MergeSource, read_sources};
use crate::codec::{to_usize, u64_of};
use crate::error::{Error, Result};
use crate::index::vector::{NamedCentroids, RowClusters};
use crate::schema::{Schema, VectorColumn};
use crate::segment::{KnownClusters, is_outgrown};
use crate::types::{ColumnId, ObjectId};

/// Vectors that decide whether a set fits segments that are not indexed by it.
const FIT_ROWS: u64 = 1_024;

/// The vector column that decides the order of rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct OrderingColumn {
    /// Its index among the columns of the schema.
    pub(super) index: usize,
    pub(super) id: ColumnId,
    shape: VectorColumn,
}

impl OrderingColumn {
    /// `None` if the rows of the sources are too few to be indexed by it.
    pub(super) fn new(schema: &Schema, sources: &[MergeSource], job: &IndexingJob) -> Option<Self> {
        let (column, shape) = schema.vector_columns().next()?;
        let index = schema.columns().iter().position(|other| other.id == column.id)?;
        let count: u64 = sources.iter().map(|source| source.vector_count(index)).sum();
        (count >= u64_of(job.rows_min_of(column.id))).then_some(Self { index, id: column.id, shape })
    }
}

/// The clusters of the rows of sources, as far as they are known.
pub(super) struct SourceClusters {
    column: ColumnId,
    /// The set whose clusters these are, and how many it has; `None` if there is none yet.
    set: Option<(ObjectId, usize)>,
    sources: Vec<RowClusters>,
    fits: bool,
}

impl SourceClusters {
    /// What the indexes of the sources tell.
    pub(super) fn new(sources: &[MergeSource], column: OrderingColumn, job: &IndexingJob) -> Self {
        let set = job.set(column.id);
        let clusters =
            sources.iter().map(|source| match (set, source.segment().vector_index(column.index)) {
                (Some(named), Some(index)) if is_indexed_by(source, column.id, named) => {
                    index.row_clusters(&named.set)
                }
                _ => RowClusters::unknown(source.segment().meta().rows),
            });
        Self {
            column: column.id,
            sources: clusters.collect(),
            set: set.map(|named| (named.meta.id, named.set.len())),
            // What does not fit another set says nothing of this one.
            fits: !sources.iter().any(|source| {
                source.is_unfit(column.id) && set.is_some_and(|named| is_indexed_by(source, column.id, named))
            }),
        }
    }

    /// Finds the clusters of the rows that are in none of the known ones, by comparing their vectors with all centroids.
    pub(super) async fn find_unknown(
        &mut self,
        sources: &[MergeSource],
        column: OrderingColumn,
        job: &IndexingJob,
    ) -> Result<()> {
        for (source, clusters) in sources.iter().zip(&mut self.sources) {
            let unknown: RoaringBitmap =
                source.live().iter().filter(|row| clusters.get(*row).is_none()).collect();
            let unknown = unknown - source.segment().rows_without_vector(column.index)?;
            for window in source.windows(&[column.index], &unknown) {
                let batch = source.read_window(&[column.index], &window).await?;
                let vectors = batch.columns().last().and_then(|array| array.as_fixed_size_list_opt());
                let vectors = vectors.ok_or_else(|| Error::internal("vectors were not read"))?.clone();
                let found = job.assign_rows(column.id, column.shape, vectors).await?;
                for (row, cluster) in window.iter().zip(found) {
                    cluster.into_iter().for_each(|cluster| clusters.set(row, cluster));
                }
            }
        }
        Ok(())
    }

    /// The rows of each output of at most about `bytes_max` bytes: for each source, which of its rows.
    pub(super) fn divide(&self, sources: &[MergeSource], bytes_max: u64) -> Result<Vec<Vec<RoaringBitmap>>> {
        let shares = sources.iter().zip(&self.sources).map(|(source, clusters)| SourceShare {
            live: source.live(),
            row_bytes: source.row_bytes(),
            clusters,
        });
        let count = self.set.map_or(0, |(_, clusters)| clusters);
        divide_rows(&shares.collect::<Vec<_>>(), count, bytes_max)
    }

    /// The clusters of rows, each given by source and row.
    pub(super) fn of_rows(&self, rows: impl Iterator<Item = (usize, u32)>) -> Option<KnownClusters> {
        let (set, _) = self.set?;
        let mut clusters = RowClusters::default();
        for (source, row) in rows {
            clusters.push(self.sources.get(source).and_then(|clusters| clusters.get(row)));
        }
        Some(KnownClusters { column: self.column, set, clusters, fits: self.fits })
    }
}

fn is_indexed_by(source: &MergeSource, column: ColumnId, named: &NamedCentroids) -> bool {
    source.segment().meta().centroids.get(&column).is_some_and(|meta| meta.id == named.meta.id)
}

/// Makes new sets where there are none for the rows of the sources, which are all rows of a namespace, or where those that
/// there are do not fit them or have too few clusters for them.
pub(super) async fn renew_sets(
    schema: &Schema,
    birth: u64,
    sources: &[MergeSource],
    job: &mut IndexingJob,
    sample_bytes: u64,
) -> Result<()> {
    let (mut renewed, mut indices, mut row_bytes) = (BTreeMap::new(), Vec::new(), 0);
    for (column, shape) in schema.vector_columns() {
        let Some(index) = schema.columns().iter().position(|other| other.id == column.id) else { continue };
        let count: u64 = sources.iter().map(|source| source.vector_count(index)).sum();
        if needs_new_set(sources, (index, column.id), count, job).await? {
            renewed.insert(column.id, count);
            indices.push(index);
            row_bytes += u64_of(shape.dimension * shape.element.size());
        }
    }
    if !renewed.is_empty() {
        let sample = read_sample(sources, &indices, sample_bytes / row_bytes.max(1), |_| true).await?;
        job.train_sets(birth, sample, renewed).await?;
    }
    // Outputs have the rows of some clusters: none of them is a sample of all.
    job.keep_sets();
    Ok(())
}

async fn needs_new_set(
    sources: &[MergeSource],
    (index, column): (usize, ColumnId),
    count: u64,
    job: &IndexingJob,
) -> Result<bool> {
    if count < u64_of(job.rows_min_of(column)) {
        return Ok(false);
    }
    let Some(named) = job.set(column) else { return Ok(true) };
    if is_outgrown(named.meta.trained, count) || sources.iter().any(|source| source.is_unfit(column)) {
        return Ok(true);
    }
    let is_new =
        |source: &MergeSource| source.vector_count(index) > 0 && !is_indexed_by(source, column, named);
    let sample = read_sample(sources, &[index], FIT_ROWS, is_new).await?;
    Ok(!sample.is_empty() && !job.fits(column, sample).await?)
}

/// About `rows` live rows of some sources, evenly spaced.
async fn read_sample(
    sources: &[MergeSource],
    columns: &[usize],
    rows: u64,
    wanted: impl Fn(&MergeSource) -> bool,
) -> Result<Vec<RecordBatch>> {
    let all: u64 = sources.iter().filter(|source| wanted(source)).map(|source| source.live().len()).sum();
    let step = to_usize(all.div_ceil(rows.max(1)).max(1), "the rows between those of a sample")?;
    let sampled = |source: &MergeSource| {
        let wanted = wanted(source);
        source.live().iter().step_by(step).filter(|_| wanted).collect::<RoaringBitmap>()
    };
    let sampled: Vec<RoaringBitmap> = sources.iter().map(sampled).collect();
    let read = read_sources(sources, columns, &sampled).await?;
    Ok(read.into_iter().map(|read| read.batch).collect())
}
