//! Merging segments into new ones without their dead rows.
//!
//! Rows that are laid out by cluster are merged by cluster: inputs are read in their own order, each once if it is laid out
//! by the same set, and outputs have whole clusters. Others are merged by id, page by page.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use futures::future::try_join_all;

use super::BATCH_ROWS;
use super::indexing::IndexingJob;
use super::merge_clusters::{OrderingColumn, SourceClusters, renew_sets};
use super::merge_input::{MergeInput, MergeRow, take_merged_rows};
use super::merge_source::{MergeSource, SourceRows, read_sources, shrink_attributes};
use crate::codec::{to_usize, u64_of, usize_of};
use crate::engine::{BaseState, Engine};
use crate::error::{Error, OrInternal, Result};
use crate::index::vector::CentroidsMeta;
use crate::memtable::PartId;
use crate::segment::{SegmentBuilder, SegmentMeta, sort_by_id};
use crate::types::{ColumnId, IdKind, ObjectId, Sequence};
use crate::view::Part;

/// In place of the position of a row that is in no output.
const NO_POSITION: u64 = u64::MAX;

/// Segments to merge, of one state.
pub(super) struct MergePlan<'a> {
    pub(super) base: &'a BaseState,
    pub(super) inputs: Vec<Part>,
    /// Whether these are all segments there are. Then the outputs are as many as it takes, and their clusters may be new;
    /// otherwise there is one, which shares the clusters of the others.
    pub(super) is_whole: bool,
}

/// The segments that others were merged into, uploaded, and where each old row went.
pub(super) struct MergedSegments {
    pub(super) outputs: Vec<OutputSegment>,
    /// The centroid sets that were made for them.
    pub(super) new_centroids: BTreeMap<ColumnId, CentroidsMeta>,
    /// For each input, for each of its rows, its position among the rows of all outputs, or [`NO_POSITION`].
    positions: Vec<Vec<u64>>,
}

pub(super) struct OutputSegment {
    pub(super) meta: SegmentMeta,
    /// The position of its first row among the rows of all outputs.
    start: u64,
    /// The row of each of its positions: a segment may order its rows by cluster.
    row_order: Vec<u32>,
}

/// A merge that is under way.
struct Merger<'a> {
    engine: &'a Engine,
    plan: &'a MergePlan<'a>,
    job: IndexingJob,
    merged: MergedSegments,
    /// The output that is being built, and the bytes of its rows.
    builder: Option<SegmentBuilder>,
    builder_bytes: u64,
    /// The position of the next row among the rows of all outputs.
    position: u64,
}

impl MergedSegments {
    /// Merges segments and uploads the outputs.
    pub(super) async fn merge(engine: &Arc<Engine>, plan: &MergePlan<'_>) -> Result<Self> {
        let sources = plan.inputs.iter().map(MergeSource::new).collect::<Result<Vec<_>>>()?;
        let rows = sources.iter().map(|source| usize_of(source.segment().meta().rows));
        let positions = rows.map(|rows| vec![NO_POSITION; rows]).collect();
        let mut job = IndexingJob::new(engine, &plan.base.manifest).await?;
        // One set for all is worth more than one that fits these segments: a query prepares itself for each set anew.
        if plan.is_whole {
            let birth = plan.base.manifest.number;
            let sample_bytes = engine.context.settings.segment_bytes_max();
            renew_sets(&engine.schema, birth, &sources, &mut job, sample_bytes).await?;
        }
        let ordering = OrderingColumn::new(&engine.schema, &sources, &job)?;
        let mut merger = Merger {
            engine,
            plan,
            job,
            merged: Self { outputs: Vec::new(), new_centroids: BTreeMap::new(), positions },
            builder: None,
            builder_bytes: 0,
            position: 0,
        };
        match ordering {
            Some(column) => merger.merge_by_cluster(sources.into(), column).await?,
            None => merger.merge_by_id().await?,
        }
        merger.merged.new_centroids = merger.job.new_centroids();
        Ok(merger.merged)
    }

    /// Where a row of an input went: the output, and the row in it.
    pub(super) fn find_row(&self, input: usize, row: u32) -> Result<(ObjectId, u32)> {
        let lost = || Error::internal("a row that was live when a merge began is in none of its outputs");
        let position = self.positions.get(input).and_then(|rows| rows.get(usize_of(row)));
        let position = position.copied().filter(|position| *position != NO_POSITION).ok_or_else(lost)?;
        let after = self.outputs.partition_point(|output| output.start <= position);
        let output = after.checked_sub(1).and_then(|index| self.outputs.get(index)).ok_or_else(lost)?;
        let within = to_usize(position - output.start, "a position in an output of a merge")?;
        let row = output.row_order.get(within).ok_or_else(lost)?;
        Ok((output.meta.id, *row))
    }
}

impl Merger<'_> {
    /// Merges by cluster. In memory are the rows of one output.
    async fn merge_by_cluster(&mut self, sources: Arc<[MergeSource]>, column: OrderingColumn) -> Result<()> {
        let env = &self.engine.context.env;
        let (shared, set) = (Arc::clone(&sources), self.job.set(column.id).cloned());
        let known = move || SourceClusters::new(&shared, column, set.as_ref());
        let mut clusters = env.blocking(known).await?;
        if self.plan.is_whole {
            clusters.find_unknown(&sources, column, &self.job).await?;
        }
        let clusters = Arc::new(clusters);
        let outputs = if self.plan.is_whole {
            let (sources, clusters, bytes_max) =
                (Arc::clone(&sources), Arc::clone(&clusters), self.bytes_max());
            env.blocking(move || clusters.divide(&sources, bytes_max)).await??
        } else {
            vec![sources.iter().map(|source| source.live().clone()).collect()]
        };
        let columns = self.plan.base.view.all_columns();
        for rows in outputs {
            let read = read_sources(&sources, &columns, &rows).await?;
            self.write_cluster_output(read, Arc::clone(&clusters)).await?;
        }
        Ok(())
    }

    /// Writes the rows as an output.
    async fn write_cluster_output(
        &mut self,
        read: Vec<SourceRows>,
        clusters: Arc<SourceClusters>,
    ) -> Result<()> {
        let (builder, kind) = (self.start_output()?, self.engine.schema.id());
        let sort = move || sort_output(kind, read, &clusters, builder);
        let (builder, origins) = self.engine.context.env.blocking(sort).await??;
        for (source, row) in origins {
            self.record_position(source, row)?;
        }
        self.builder = Some(builder);
        self.finish_output().await
    }

    /// Merges by id: a k-way merge of pages.
    async fn merge_by_id(&mut self) -> Result<()> {
        let parts = &self.plan.inputs;
        // An input whose rows are not in the order of their ids has each page of ids spread over the whole segment, and reads
        // most of its blocks again for every page: the fewer pages, the better.
        // invariant: without inputs no share is used.
        let share = self.bytes_max() / u64_of(parts.len()).max(1);
        let inputs = parts.iter().map(|part| MergeInput::new(part, share));
        let mut inputs = inputs.collect::<Result<Vec<_>>>()?;
        let columns = self.plan.base.view.all_columns();
        loop {
            try_join_all(inputs.iter_mut().map(|input| input.fetch_page(&columns))).await?;
            let rows = take_merged_rows(&mut inputs)?;
            if rows.is_empty() && inputs.iter().all(MergeInput::is_done) {
                break;
            }
            for rows in rows.chunks(BATCH_ROWS) {
                self.push_rows(&inputs, rows)?;
            }
            // Between rounds, not between batches: pages that are in memory may just as well be written.
            if self.plan.is_whole && self.builder_bytes > self.bytes_max() {
                self.finish_output().await?;
            }
        }
        // What was read of them is in the output by now.
        drop(inputs);
        self.finish_output().await
    }

    /// About how many bytes of rows an output has at most.
    fn bytes_max(&self) -> u64 {
        self.engine.context.settings.segment_bytes_max()
    }

    /// Adds rows of the inputs to the output, and records where each went.
    fn push_rows(&mut self, inputs: &[MergeInput], rows: &[MergeRow]) -> Result<()> {
        for row in rows {
            self.record_position(row.input, row.row)?;
        }
        let batch = gather_rows(inputs, rows)?;
        // As the policy measures segments: an output that was cut by another measure might be merged again at once.
        let bytes = rows.iter().filter_map(|row| inputs.get(row.input)).map(MergeInput::row_bytes);
        self.builder_bytes = self.builder_bytes.saturating_add(bytes.sum());
        let builder = match self.builder.take() {
            Some(builder) => builder,
            None => self.start_output()?,
        };
        self.builder.insert(builder).push(batch)
    }

    /// Gives a row of an input the next position among the rows of all outputs.
    fn record_position(&mut self, input: usize, row: u32) -> Result<()> {
        let positions = self.merged.positions.get_mut(input);
        let position = positions.and_then(|rows| rows.get_mut(usize_of(row)));
        *position.ok_or_else(|| Error::internal("a merged row is outside its segment"))? = self.position;
        self.position += 1;
        Ok(())
    }

    fn start_output(&self) -> Result<SegmentBuilder> {
        // The birth is the manifest that was the newest when the merge began. No manifest before it names the segment, so
        // collection can tell the outputs of a merge under way from garbage, without a clock.
        let id = ObjectId { birth: self.plan.base.manifest.number, uuid: self.engine.context.env.uuid() };
        Ok(SegmentBuilder::new(Arc::clone(&self.engine.schema), id, self.merged_sequences()?))
    }

    /// The sequences that all inputs together cover. An output may have rows of any input.
    fn merged_sequences(&self) -> Result<(Sequence, Sequence)> {
        let is_input =
            |meta: &&SegmentMeta| self.plan.inputs.iter().any(|part| part.id == PartId::Segment(meta.id));
        let metas = self.plan.base.manifest.segments.iter().filter(is_input);
        let merged = metas.map(|meta| meta.sequences).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        merged.ok_or_else(|| Error::internal("a merge without inputs"))
    }

    /// Finishes and uploads the output that is being built, if there is one.
    async fn finish_output(&mut self) -> Result<()> {
        self.builder_bytes = 0;
        let Some(builder) = self.builder.take() else { return Ok(()) };
        let written = self.job.write_segment(move || Ok(Some(builder))).await?;
        let written = written.ok_or_else(|| Error::internal("a segment was not built"))?;
        let start = self.position - u64::from(written.meta.rows);
        self.merged.outputs.push(OutputSegment { meta: written.meta, start, row_order: written.row_order });
        Ok(())
    }
}

/// Pushes rows that were read into a builder, in the order of their ids. Returns the source and the row of each.
fn sort_output(
    kind: IdKind,
    read: Vec<SourceRows>,
    clusters: &SourceClusters,
    builder: SegmentBuilder,
) -> Result<(SegmentBuilder, Vec<(usize, u32)>)> {
    let (origins, batches): (Vec<(usize, Vec<u32>)>, Vec<RecordBatch>) =
        read.into_iter().map(|read| ((read.source, read.rows.iter().collect()), read.batch)).unzip();
    let sorted = sort_by_id(kind, &batches)?;
    let origin = |(batch, row): &(usize, usize)| {
        let (source, rows) = origins.get(*batch)?;
        Some((*source, *rows.get(*row)?))
    };
    let origins: Option<Vec<(usize, u32)>> = sorted.iter().map(origin).collect();
    let origins = origins.ok_or_else(|| Error::internal("a row that was not asked for"))?;
    let mut builder = match clusters.of_rows(origins.iter().copied()) {
        Some(known) => builder.with_clusters(known),
        None => builder,
    };
    builder.push_rows(batches, &sorted)?;
    Ok((builder, origins))
}

/// The rows as one batch.
fn gather_rows(inputs: &[MergeInput], rows: &[MergeRow]) -> Result<RecordBatch> {
    let batches: Vec<&RecordBatch> = inputs.iter().map(MergeInput::batch).collect();
    let indices: Vec<(usize, usize)> = rows.iter().map(|row| (row.input, row.batch_row)).collect();
    match whole_page(&batches, &indices) {
        Some(page) => shrink_attributes(page),
        None => interleave_record_batch(&batches, &indices).or_internal(),
    }
}

/// The page whose rows these are, all of them in their order, as where the ids of inputs do not overlap. A part of a page
/// does not count: it would keep all of the page in memory.
fn whole_page<'a>(batches: &[&'a RecordBatch], rows: &[(usize, usize)]) -> Option<&'a RecordBatch> {
    let (input, _) = rows.first()?;
    let page = batches.get(*input).filter(|page| page.num_rows() == rows.len())?;
    rows.iter().copied().eq((0..rows.len()).map(|row| (*input, row))).then_some(*page)
}
