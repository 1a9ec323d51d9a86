//! The dead rows of a part, and what they take from its statistics.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use roaring::RoaringBitmap;

use crate::codec::u64_of;
use crate::error::Result;
use crate::index::text::totals::FieldTotals;

/// The most bytes of terms of a column whose dead rows are remembered. Beyond them all are forgotten: the words of queries
/// repeat, and those that do not are not worth an order of eviction.
const TERM_BYTES_MAX: usize = 256 << 10;
/// What a term takes besides its bytes, about.
const TERM_OVERHEAD: usize = 48;

/// The dead rows of a part in one state. How many of them hold a term is counted once for each term that is searched, and
/// what their lengths add up to once for each column: otherwise every query would look at every dead row.
#[derive(Debug, Default)]
pub(crate) struct DeadRows {
    rows: RoaringBitmap,
    /// By the number of the column.
    fields: Mutex<BTreeMap<usize, FieldCounts>>,
}

/// What is known of the dead rows in a column.
#[derive(Debug, Default)]
struct FieldCounts {
    /// How many of them hold a term.
    terms: HashMap<Box<[u8]>, u64>,
    /// What these take in memory, about.
    bytes: usize,
    /// The totals of the part without them.
    live: Option<FieldTotals>,
}

impl FieldCounts {
    fn remember(&mut self, term: &[u8], count: u64) {
        let bytes = term.len() + TERM_OVERHEAD;
        if self.bytes.saturating_add(bytes) > TERM_BYTES_MAX {
            self.terms.clear();
            self.bytes = 0;
        }
        // Two queries may count a term at once: it takes its bytes once.
        if bytes <= TERM_BYTES_MAX && self.terms.insert(term.into(), count).is_none() {
            self.bytes += bytes;
        }
    }
}

impl DeadRows {
    pub(crate) fn new(rows: RoaringBitmap) -> Self {
        Self { rows, fields: Mutex::default() }
    }

    pub(crate) fn rows(&self) -> &RoaringBitmap {
        &self.rows
    }

    /// What they take in memory, about.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let terms: usize = self.fields().values().map(|counts| counts.bytes).sum();
        u64_of(self.rows.serialized_size() + terms)
    }

    /// How many dead rows hold a term, if that is known.
    pub(super) fn rows_with_term(&self, field: usize, term: &[u8]) -> Option<u64> {
        if self.rows.is_empty() {
            return Some(0);
        }
        self.fields().get(&field)?.terms.get(term).copied()
    }

    /// How many dead rows hold a term, as `count` counts it.
    pub(super) fn count_term(
        &self,
        field: usize,
        term: &[u8],
        count: impl FnOnce(&RoaringBitmap) -> Result<u64>,
    ) -> Result<u64> {
        if let Some(known) = self.rows_with_term(field, term) {
            return Ok(known);
        }
        // Counted without the lock: another query of the same term counts it, too, rather than wait.
        let counted = count(&self.rows)?;
        let mut fields = self.fields();
        fields.entry(field).or_default().remember(term, counted);
        Ok(counted)
    }

    /// Whether the totals of a column without the dead rows are known.
    pub(super) fn has_totals(&self, field: usize) -> bool {
        self.rows.is_empty() || self.fields().get(&field).is_some_and(|counts| counts.live.is_some())
    }

    /// The totals of a column without the dead rows, as `subtract` takes them away.
    pub(super) fn live_totals(
        &self,
        field: usize,
        all: FieldTotals,
        subtract: impl FnOnce(FieldTotals, &RoaringBitmap) -> Result<FieldTotals>,
    ) -> Result<FieldTotals> {
        if self.rows.is_empty() {
            return Ok(all);
        }
        let known = self.fields().get(&field).and_then(|counts| counts.live);
        if let Some(known) = known {
            return Ok(known);
        }
        let live = subtract(all, &self.rows)?;
        self.fields().entry(field).or_default().live = Some(live);
        Ok(live)
    }

    fn fields(&self) -> MutexGuard<'_, BTreeMap<usize, FieldCounts>> {
        // What is inserted is complete, so a panic elsewhere leaves it sound.
        self.fields.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
