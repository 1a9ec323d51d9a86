//! Probes of indexes: what they need, what was read for them, and their answers.

use std::sync::Arc;

use bytes::Bytes;
use roaring::RoaringBitmap;

use crate::cache::{Span, total_bytes};
use crate::error::{Error, Result};
use crate::filter::bound::ColumnLabel;
use crate::index::Candidates;
use crate::index::attributes::{AttributeColumn, AttributeIndex, AttributeProbe, TrigramLookup};
use crate::index::text::TokenPredicate;

/// A predicate that needs more bytes of an index than this is left to a scan: the blocks of a probe are in memory all
/// at once, while a scan goes through the rows in windows.
const PROBE_BYTES_MAX: u64 = 64 << 20;

/// A probe of the attribute index.
#[derive(Debug)]
pub(super) struct IndexProbe {
    pub(super) column: ColumnLabel,
    pub(super) probe: AttributeProbe,
    /// The blocks that it needs.
    pub(super) spans: Vec<Span>,
    /// What is read first, to narrow the probe to fewer blocks.
    pub(super) lookup: Option<TrigramLookup>,
    pub(super) input: ProbeInput<Vec<Bytes>>,
}

/// A probe of the text index.
#[derive(Debug)]
pub(super) struct TokenProbe {
    pub(super) predicate: Arc<TokenPredicate>,
    pub(super) input: ProbeInput<RoaringBitmap>,
}

/// What was read for a probe.
#[derive(Debug)]
pub(super) enum ProbeInput<T> {
    Pending,
    /// Reading it would cost more than a scan: the answer is unknown.
    Skipped,
    Read(T),
}

impl IndexProbe {
    /// A probe of a column; `None` if it would read too much.
    pub(super) fn new(label: &ColumnLabel, column: &AttributeColumn, probe: AttributeProbe) -> Option<Self> {
        let spans = column.find_spans(&probe);
        let lookup = match &probe {
            AttributeProbe::Matches(pattern) => column.plan_trigrams(pattern),
            // Other probes name their keys, so that the head already leads to the right blocks.
            AttributeProbe::Null
            | AttributeProbe::In(_)
            | AttributeProbe::Range(..)
            | AttributeProbe::MatchesAmong(..) => None,
        };
        let probe = Self { column: label.clone(), probe, spans, lookup, input: ProbeInput::Pending };
        (probe.first_bytes() <= PROBE_BYTES_MAX).then_some(probe)
    }

    /// What is read in the first round trip.
    pub(super) fn first_spans(&self) -> &[Span] {
        self.lookup.as_ref().map_or(&self.spans, |lookup| &lookup.spans)
    }

    pub(super) fn first_bytes(&self) -> u64 {
        total_bytes(self.first_spans())
    }

    /// Narrows the probe of a pattern to the keys that its trigrams leave, by the blocks of its lookup.
    pub(super) fn narrow_by_trigrams(&mut self, index: &AttributeIndex, blocks: &[Bytes]) -> Result<()> {
        let (Some(lookup), AttributeProbe::Matches(pattern)) = (&self.lookup, &self.probe) else {
            return Err(Error::internal("trigrams for a probe that looks none up"));
        };
        let narrowed = find_column(index, &self.column)?.narrow_by_trigrams(pattern, lookup, blocks);
        (self.probe, self.spans) = narrowed.map_err(|e| index.corrupt_block(e))?;
        // Common trigrams rule out little. Up to here only the lookup was small enough.
        if total_bytes(&self.spans) > PROBE_BYTES_MAX {
            self.input = ProbeInput::Skipped;
        }
        Ok(())
    }

    /// The answer, by the blocks that were read; `None` if it is unknown.
    pub(super) fn find_candidates(&self, index: Option<&AttributeIndex>) -> Result<Option<Candidates>> {
        match (&self.input, index) {
            (ProbeInput::Skipped, _) => Ok(None),
            (ProbeInput::Read(blocks), Some(index)) => {
                let candidates = find_column(index, &self.column)?.find_candidates(&self.probe, blocks);
                candidates.map(Some).map_err(|e| index.corrupt_block(e))
            }
            (ProbeInput::Pending, _) | (ProbeInput::Read(_), None) => Err(not_read()),
        }
    }
}

impl TokenProbe {
    pub(super) fn new(predicate: &Arc<TokenPredicate>) -> Self {
        Self { predicate: Arc::clone(predicate), input: ProbeInput::Pending }
    }

    /// The matching rows; `None` if they are unknown.
    pub(super) fn matching_rows(&self) -> Result<Option<&RoaringBitmap>> {
        match &self.input {
            ProbeInput::Skipped => Ok(None),
            ProbeInput::Read(rows) => Ok(Some(rows)),
            ProbeInput::Pending => Err(not_read()),
        }
    }
}

fn find_column<'a>(index: &'a AttributeIndex, label: &ColumnLabel) -> Result<&'a AttributeColumn> {
    let missing =
        || Error::internal(format!("a probe of a column without an index. column=`{}`", label.name));
    index.column(label.id).ok_or_else(missing)
}

fn not_read() -> Error {
    Error::internal("a probe was evaluated before it was read")
}
