//! In which cluster each row of a merge is, and whether the clusters are still those that the rows call for.

use arrow::array::{AsArray, RecordBatch};
use roaring::RoaringBitmap;

use super::indexing::IndexingJob;
use super::merge_partition::{SourceShare, divide_rows};
use super::merge_source::{MergeSource, read_sources};
use crate::codec::{to_usize, u64_of};
use crate::error::{Error, Result};
use crate::index::vector::{NamedCentroids, RowClusters};
use crate::schema::{ColumnKind, Schema, VectorColumn};
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
    pub(super) fn new(schema: &Schema, sources: &[MergeSource], job: &IndexingJob) -> Result<Option<Self>> {
        let first = schema.columns().iter().enumerate().find_map(|(index, column)| match column.kind {
            ColumnKind::Vector(shape) => Some(Self { index, id: column.id, shape }),
            ColumnKind::Attribute(_) => None,
        });
        let Some(column) = first else { return Ok(None) };
        let count = count_vectors(sources, column.index)?;
        Ok((count >= u64_of(job.rows_min_of(column.id))).then_some(column))
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
    /// What the indexes of the sources tell, of clusters of this set.
    pub(super) fn new(sources: &[MergeSource], column: OrderingColumn, set: Option<&NamedCentroids>) -> Self {
        let clusters =
            sources.iter().map(|source| match (set, source.segment().vector_index(column.index)) {
                (Some(named), Some(index)) if source.is_indexed_by(column.id, named) => {
                    index.row_clusters(&named.set)
                }
                _ => RowClusters::unknown(source.segment().meta().rows),
            });
        Self {
            column: column.id,
            sources: clusters.collect(),
            set: set.map(|named| (named.meta.id, named.set.len())),
            fits: !sources
                .iter()
                .any(|source| set.is_some_and(|named| source.does_not_fit(column.id, named))),
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
            let with_vector = source.rows_with_vector(column.index)?;
            let unknown: RoaringBitmap =
                with_vector.iter().filter(|row| clusters.get(*row).is_none()).collect();
            for window in source.windows(&[column.index], &unknown) {
                let batch = source.read_window(&[column.index], &window).await?;
                let vectors = batch.columns().last().and_then(|array| array.as_fixed_size_list_opt());
                let vectors = vectors.ok_or_else(|| Error::internal("vectors were not read"))?.clone();
                let found = job.assign_rows(column.id, column.shape, vectors).await?;
                for (row, cluster) in window.iter().zip(found) {
                    if let Some(cluster) = cluster {
                        clusters.set(row, cluster);
                    }
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

/// Makes new sets where there are none for the rows of the sources, which are all rows of a namespace, or where those that
/// there are do not fit them or have too few clusters for them. A sample has about `sample_bytes` as f32.
pub(super) async fn renew_sets(
    schema: &Schema,
    birth: u64,
    sources: &[MergeSource],
    job: &mut IndexingJob,
    sample_bytes: u64,
) -> Result<()> {
    for (index, column) in schema.columns().iter().enumerate() {
        let ColumnKind::Vector(shape) = column.kind else { continue };
        let count = count_vectors(sources, index)?;
        if needs_new_set(sources, (index, column.id), count, job).await? {
            let rows = sample_bytes / u64_of(shape.dimension * size_of::<f32>()).max(1);
            let sample = read_sample(sources, index, rows, |_| true).await?;
            job.train_on_sample(birth, column.id, sample, count).await?;
        }
    }
    job.keep_sets();
    Ok(())
}

/// How many live rows have a vector in a column.
fn count_vectors(sources: &[MergeSource], column: usize) -> Result<u64> {
    sources.iter().map(|source| Ok(source.rows_with_vector(column)?.len())).sum()
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
    if is_outgrown(named.meta.trained, count)
        || sources.iter().any(|source| source.does_not_fit(column, named))
    {
        return Ok(true);
    }
    let sample = read_sample(sources, index, FIT_ROWS, |source| !source.is_indexed_by(column, named)).await?;
    Ok(!sample.is_empty() && !job.fits(column, sample).await?)
}

/// About `rows` of the rows of some sources that have a vector in a column, evenly spaced.
async fn read_sample(
    sources: &[MergeSource],
    column: usize,
    rows: u64,
    wanted: impl Fn(&MergeSource) -> bool,
) -> Result<Vec<RecordBatch>> {
    let with_vector = |source: &MergeSource| {
        if wanted(source) { source.rows_with_vector(column) } else { Ok(RoaringBitmap::new()) }
    };
    let mut sampled = sources.iter().map(with_vector).collect::<Result<Vec<_>>>()?;
    let all: u64 = sampled.iter().map(RoaringBitmap::len).sum();
    let step = to_usize(all.div_ceil(rows.max(1)).max(1), "the rows between those of a sample")?;
    for rows in &mut sampled {
        *rows = rows.iter().step_by(step).collect();
    }
    let read = read_sources(sources, &[column], &sampled).await?;
    Ok(read.into_iter().map(|read| read.batch).collect())
}
