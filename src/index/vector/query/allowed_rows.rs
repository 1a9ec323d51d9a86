//! Which rows of a segment a scan may find.

use crate::codec::usize_of;

/// All rows, or those whose bit is set. The bits cover all rows of the segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AllowedRows<'a>(pub(crate) Option<&'a [u64]>);

impl AllowedRows<'_> {
    /// The bits of 32 rows from `row` on.
    // A run of rows starts anywhere, so the 32 bits may lie in two words.
    #[expect(clippy::indexing_slicing, reason = "rows are checked against the segment before a scan")]
    pub(super) fn mask_from(self, row: u32) -> u32 {
        let Some(bits) = self.0 else { return u32::MAX };
        let (word, shift) = (usize_of(row / 64), row % 64);
        // invariant: beyond the last word there are no rows, and the last block of a run may reach there.
        let next = bits.get(word + 1).copied().unwrap_or(0);
        let both = u128::from(bits[word]) | u128::from(next) << 64;
        #[expect(clippy::cast_possible_truncation, reason = "the low bits are those of the rows")]
        let mask = (both >> shift) as u32;
        mask
    }

    pub(super) fn contains(self, row: u32) -> bool {
        self.mask_from(row) & 1 == 1
    }
}
