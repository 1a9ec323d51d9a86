//! Deletes and patches by filter: the matches of a filter in the state, up to the limits.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;

use super::resolver::Resolver;
use super::{DELETES_BYTES_MAX, id_bytes};
use crate::codec::u64_of;
use crate::error::{Error, OrInternal, Result};
use crate::filter::BoundFilter;
use crate::memtable::MemRows;
use crate::schema::Ids;
use crate::types::{DocumentId, Value};
use crate::view::RowAddr;

/// Ids of documents to delete that are read at a time: the deletes themselves are in memory until the entry is
/// appended, so this bounds only what decoding takes besides.
const DELETE_IDS_PER_READ: usize = 65_536;

impl Resolver<'_> {
    /// Deletes what a filter matches. It has matched `matched` documents in earlier states already.
    pub(super) async fn delete_by_filter(&mut self, filter: &Arc<BoundFilter>, matched: usize) -> Result<()> {
        let rows_max = self.view.settings.delete_by_filter_rows_max;
        let addrs = self.find_matches(filter, "delete", rows_max, matched).await?;
        let mut deletes = Vec::new();
        'matches: for addrs in addrs.chunks(DELETE_IDS_PER_READ) {
            for id in self.fetch_ids(addrs).await? {
                self.scope.delete_bytes += id_bytes(&id);
                if self.scope.delete_bytes > DELETES_BYTES_MAX {
                    let what = "delete by filter of more ids than a log entry takes, in bytes";
                    self.stop_at_limit(what, DELETES_BYTES_MAX, self.partial)?;
                    break 'matches;
                }
                deletes.push(id);
            }
        }
        self.effects.delete_matches.push(deletes.clone());
        let no_rows = RecordBatch::new_empty(self.view.schema.arrow());
        self.apply_step(MemRows::from_unsorted(&self.view.schema, &no_rows, deletes)?);
        Ok(())
    }

    /// Patches what a filter matches. It has matched `matched` documents in earlier states already.
    pub(super) async fn patch_by_filter(
        &mut self,
        filter: &Arc<BoundFilter>,
        values: &[(String, Value)],
        matched: usize,
    ) -> Result<()> {
        let schema = Arc::clone(&self.view.schema);
        let rows_max = self.view.settings.patch_by_filter_rows_max;
        let addrs = self.find_matches(filter, "patch", rows_max, matched).await?;
        let (mut rows, mut patched) = (Vec::new(), Vec::new());
        for piece in self.split_into_pieces(&addrs)? {
            let addrs = addrs.get(piece).ok_or_else(|| Error::internal("a piece outside the matches"))?;
            let mut documents = self.fetch_documents(addrs).await?;
            for document in &mut documents {
                for (column, value) in values {
                    document.set(column, value.clone());
                }
            }
            let documents = documents.into_iter().map(|d| schema.check(d)).collect::<Result<Vec<_>>>()?;
            let batch = schema.encode(&documents)?;
            if !self.reserve_row_bytes(&batch, self.partial)? {
                break;
            }
            patched.extend(documents.iter().map(|d| d.id().clone()));
            rows.push(batch);
        }
        self.effects.patch_matches.push(patched);
        let rows = concat_batches(&schema.arrow(), &rows).or_internal()?;
        self.apply_step(MemRows::from_unsorted(&schema, &rows, Vec::new())?);
        Ok(())
    }

    /// The addresses of the documents that a filter matches, `rows_max` of them at most together with those it
    /// `matched` before.
    async fn find_matches(
        &mut self,
        filter: &Arc<BoundFilter>,
        what: &str,
        rows_max: usize,
        matched: usize,
    ) -> Result<Vec<RowAddr>> {
        let parts = self.view.find_matching_rows(Some(filter)).await?;
        let counts = parts.iter().map(|(_, rows)| rows.len());
        let count = counts.fold(u64_of(matched), u64::saturating_add);
        if count > u64_of(rows_max) {
            self.stop_at_limit(&format!("{what} by filter of {count} rows"), rows_max, self.partial)?;
        }
        let addrs = parts
            .iter()
            .enumerate()
            .flat_map(|(part, (_, rows))| rows.iter().map(move |row| RowAddr { part, row }));
        // invariant: earlier states took up to `rows_max` matches, and where they took all of them none are left.
        Ok(addrs.take(rows_max.saturating_sub(matched)).collect())
    }

    async fn fetch_ids(&self, addrs: &[RowAddr]) -> Result<Vec<DocumentId>> {
        let batch = self.view.fetch_documents(addrs, &[]).await?;
        Ok(Ids::from_batch(self.view.schema.id(), &batch)?.to_vec())
    }
}
