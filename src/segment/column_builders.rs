//! All that is written of a segment in the order of its rows.

use std::collections::BTreeMap;
use std::mem;

use arrow::record_batch::RecordBatch;

use super::ids::RowIdsBuilder;
use super::meta::RowOrder;
use super::parquet_builder::ParquetBuilder;
use super::row_sizes::RowSizes;
use super::statistics::ColumnStatisticsBuilder;
use super::vector_indexing::BuiltVectorIndex;
use super::vectors::{ExactVectorsBuilder, row_checksum_seed};
use crate::error::{Error, OrInternal, Result};
use crate::index::attributes::AttributeIndexBuilder;
use crate::index::text::TextIndexBuilder;
use crate::schema::{ColumnKind, Ids, Schema};
use crate::types::{ColumnId, IdKind, ObjectId};

/// The builders of the columns of a segment. Each takes every row once, in the same order.
pub(super) struct ColumnBuilders {
    kind: IdKind,
    /// The arrays of a batch that `rows.parquet` holds: the id and the attributes.
    parquet_columns: Vec<usize>,
    pub(super) parquet: ParquetBuilder,
    pub(super) row_ids: RowIdsBuilder,
    pub(super) row_sizes: RowSizes,
    pub(super) attribute_index: AttributeIndexBuilder,
    pub(super) statistics: ColumnStatisticsBuilder,
    pub(super) vectors: Vec<VectorColumnBuilder>,
    pub(super) text: Option<TextIndexBuilder>,
}

/// The exact vectors of a column, and which column it is.
pub(super) struct VectorColumnBuilder {
    pub(super) id: ColumnId,
    /// Where it is in a batch: behind the id.
    index: usize,
    pub(super) exact: ExactVectorsBuilder,
}

impl ColumnBuilders {
    /// For `rows` rows in an order. Takes the records of the vector indexes, which stand before the vectors.
    pub(super) fn new(
        schema: &Schema,
        id: ObjectId,
        rows: u32,
        order: RowOrder,
        indexes: &mut BTreeMap<ColumnId, BuiltVectorIndex>,
    ) -> Result<Self> {
        let mut vectors = Vec::new();
        let mut parquet_columns = vec![0];
        for (index, column) in schema.arrow_columns() {
            let ColumnKind::Vector(shape) = column.kind else {
                parquet_columns.push(index);
                continue;
            };
            let records = indexes.get_mut(&column.id).map(|index| mem::take(&mut index.records));
            let seed = row_checksum_seed(id, column.id);
            // invariant: a column without an index has no records.
            let exact = ExactVectorsBuilder::new(shape, seed, rows, records.unwrap_or_default());
            vectors.push(VectorColumnBuilder { id: column.id, index, exact });
        }
        Ok(Self {
            kind: schema.id(),
            parquet_columns,
            parquet: ParquetBuilder::new(schema, order)?,
            row_ids: RowIdsBuilder::new(schema.id()),
            row_sizes: RowSizes::new(schema),
            attribute_index: AttributeIndexBuilder::new(schema),
            statistics: ColumnStatisticsBuilder::new(schema),
            vectors,
            text: TextIndexBuilder::new(schema)?,
        })
    }

    /// Adds the next rows: a batch of [`Schema::arrow`].
    pub(super) fn push_batch(&mut self, batch: &RecordBatch) -> Result<()> {
        // Vectors are not in Parquet: pages of them could be read neither one by one nor without decompression.
        self.parquet.push_batch(&batch.project(&self.parquet_columns).or_internal()?)?;
        self.row_ids.push_ids(&Ids::new(self.kind, batch.column(0))?)?;
        self.row_sizes.push_batch(batch)?;
        if let Some(text) = &mut self.text {
            text.push(batch)?;
        }
        self.attribute_index.push(batch)?;
        self.statistics.push(batch)?;
        for column in &mut self.vectors {
            let array = batch.columns().get(column.index);
            column.exact.push_array(array.ok_or_else(|| Error::internal("a vector column is missing"))?)?;
        }
        Ok(())
    }
}
