//! Writing the keys of a column in blocks of about the same size.

use super::block_writer::{BlockWriter, EncodedRows};
use super::column::{FENCE_BYTES_MAX, truncate_key};
use super::head::HeadWriter;
use crate::error::Result;

/// Writes keys with their rows: blocks behind those of earlier columns, and their fences into the head.
#[derive(Debug)]
pub(crate) struct KeyColumnWriter<'a> {
    head: &'a mut HeadWriter,
    out: &'a mut Vec<u8>,
    block_bytes: usize,
    block: BlockWriter,
    /// The first key of the open block, truncated.
    fence: Vec<u8>,
    /// Keys of each closed block.
    key_counts: Vec<u32>,
}

impl<'a> KeyColumnWriter<'a> {
    /// A writer of blocks of about `block_bytes`. `is_fixed`: all keys have one length.
    pub(crate) fn new(
        head: &'a mut HeadWriter,
        out: &'a mut Vec<u8>,
        is_fixed: bool,
        block_bytes: usize,
    ) -> Self {
        let block = BlockWriter::new(is_fixed);
        Self { head, out, block_bytes, block, fence: Vec::new(), key_counts: Vec::new() }
    }

    /// Adds the next key and its rows, which ascend.
    pub(crate) fn push_key(&mut self, key: &[u8], rows: &[u32]) -> Result<()> {
        let rows = EncodedRows::new(rows)?;
        // Closed before it grows too large, but never empty: a key with very many rows has a block of its own.
        if self.block.len() + self.block.added_bytes(key, &rows) > self.block_bytes {
            self.close_block()?;
        }
        if self.block.len() == 0 {
            self.fence = truncate_key(key, FENCE_BYTES_MAX).to_vec();
        }
        self.block.push_key(key, &rows)
    }

    /// Ends the column. Returns the number of keys of each block.
    pub(crate) fn finish(mut self) -> Result<Vec<u32>> {
        self.close_block()?;
        self.head.end_part();
        Ok(self.key_counts)
    }

    fn close_block(&mut self) -> Result<()> {
        if self.block.len() > 0 {
            self.key_counts.push(self.block.key_count());
            let block = self.block.finish();
            self.head.push_block(&self.fence, &block)?;
            self.out.extend(block);
        }
        Ok(())
    }
}
