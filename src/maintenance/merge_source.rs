//! A segment that is merged, as far as it is read in the order of its rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::interleave;
use arrow::datatypes::DataType;
use futures::{StreamExt, TryStreamExt, stream};
use roaring::RoaringBitmap;

use crate::codec::{all_rows, subtract_rows};
use crate::error::{Error, OrInternal, Result};
use crate::index::vector::NamedCentroids;
use crate::memtable::PartSource;
use crate::segment::Segment;
use crate::types::ColumnId;
use crate::view::Part;

/// Windows that are read at a time, of up to 32 MiB each.
const PARALLEL: usize = 2;

/// A segment that is merged.
pub(super) struct MergeSource {
    part: Part,
    segment: Arc<Segment>,
    /// The rows that were alive when the merge began. Those that die later are found when it commits.
    live: RoaringBitmap,
    /// About how many bytes a row has, as the policy of merges measures segments.
    row_bytes: u64,
}

/// Rows of a source, and where they are from.
pub(super) struct SourceRows {
    pub(super) source: usize,
    /// The rows of the batch, ascending.
    pub(super) rows: RoaringBitmap,
    pub(super) batch: RecordBatch,
}

impl MergeSource {
    pub(super) fn new(part: &Part) -> Result<Self> {
        let PartSource::Segment(segment) = &part.source else {
            return Err(Error::internal("a merge of rows that are not in a segment"));
        };
        let rows = segment.meta().rows;
        Ok(Self {
            part: part.clone(),
            segment: Arc::clone(segment),
            live: subtract_rows(&all_rows(rows), &part.deletes),
            row_bytes: segment.uncompressed_row_bytes(),
        })
    }

    pub(super) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    pub(super) fn live(&self) -> &RoaringBitmap {
        &self.live
    }

    pub(super) fn row_bytes(&self) -> u64 {
        self.row_bytes
    }

    /// The live rows that have a vector in a column.
    pub(super) fn rows_with_vector(&self, column: usize) -> Result<RoaringBitmap> {
        Ok(subtract_rows(&self.live, self.segment.rows_without_vector(column)?))
    }

    /// Whether it is indexed by a set.
    pub(super) fn is_indexed_by(&self, column: ColumnId, named: &NamedCentroids) -> bool {
        self.segment.meta().centroids.get(&column).is_some_and(|meta| meta.id == named.meta.id)
    }

    /// Whether it is indexed by a set that does not fit its vectors. What does not fit another set says nothing of this one.
    pub(super) fn does_not_fit(&self, column: ColumnId, named: &NamedCentroids) -> bool {
        self.is_indexed_by(column, named) && self.segment.meta().unfit.contains(&column)
    }

    /// The rows as windows that are worth a fetch of these columns.
    pub(super) fn windows(&self, columns: &[usize], rows: &RoaringBitmap) -> Vec<RoaringBitmap> {
        self.part.split_into_windows(columns, rows)
    }

    /// The id and these columns of some rows.
    pub(super) async fn read_window(&self, columns: &[usize], rows: &RoaringBitmap) -> Result<RecordBatch> {
        shrink_attributes(&self.segment.fetch_bulk(columns, rows).await?)
    }
}

/// Reads rows of sources, each in its own order. `rows` has those of each source.
pub(super) async fn read_sources(
    sources: &[MergeSource],
    columns: &[usize],
    rows: &[RoaringBitmap],
) -> Result<Vec<SourceRows>> {
    let windows = sources.iter().zip(rows).enumerate().flat_map(|(number, (source, rows))| {
        let windows = source.windows(columns, rows).into_iter();
        windows.map(move |rows| async move {
            let batch = source.read_window(columns, &rows).await?;
            Ok::<_, Error>(SourceRows { source: number, rows, batch })
        })
    });
    stream::iter(windows.collect::<Vec<_>>()).buffered(PARALLEL).try_collect().await
}

/// The batch with copies of its attributes. What Parquet decodes into may be much larger than what it decoded, and is kept
/// until the output is written. Vectors stay where they arrived.
pub(super) fn shrink_attributes(batch: &RecordBatch) -> Result<RecordBatch> {
    let rows: Vec<_> = (0..batch.num_rows()).map(|row| (0, row)).collect();
    let column = |column: &ArrayRef| match column.data_type() {
        DataType::FixedSizeList(..) => Ok(Arc::clone(column)),
        _ => interleave(&[column.as_ref()], &rows),
    };
    let columns = batch.columns().iter().map(column).collect::<Result<_, _>>().or_internal()?;
    RecordBatch::try_new(batch.schema(), columns).or_internal()
}
