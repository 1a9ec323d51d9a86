//! Planning: which probes of a segment's indexes answer a filter, and what they read.
//!
//! A plan is made without a read, from the heads of the indexes alone. It lists the blocks that all probes need, which
//! are then read together. What the indexes cannot answer is unknown, and the logic above continues with candidates:
//! definite and possible rows. Only rows that are possible but not definite are verified by their values.
//!
//! **Invariant:** each probe receives the blocks that it asked for. It carries them itself, so that no second walk over
//! the plan has to take them in the same order.

mod display;
mod node;
mod planner;
mod probe;

use std::sync::Arc;

use bytes::Bytes;
use futures::future::try_join;

use self::node::PlanNode;
use self::planner::Planner;
use self::probe::{IndexProbe, ProbeInput, TokenProbe};
use super::bound::BoundFilter;
use crate::cache::{Span, total_bytes};
use crate::codec::zip_equal;
use crate::env::{Cost, Env};
use crate::error::{Error, Result};
use crate::index::Candidates;
use crate::index::attributes::AttributeIndex;
use crate::index::text::{TextIndex, find_matching_rows};
use crate::segment::Segment;

/// The probes of a segment's indexes that answer a filter.
#[derive(Debug)]
pub(crate) struct IndexPlan {
    root: PlanNode,
    bytes: u64,
}

/// The indexes of a segment that filters can use.
#[derive(Clone, Debug)]
pub(crate) struct SegmentIndexes {
    pub(crate) attributes: Option<Arc<AttributeIndex>>,
    pub(crate) text: Option<Arc<TextIndex>>,
    pub(crate) rows: u32,
}

impl SegmentIndexes {
    /// The indexes of a segment.
    pub(crate) fn new(segment: &Segment) -> Self {
        Self {
            attributes: segment.attribute_index().map(Arc::clone),
            text: segment.text_index().map(Arc::clone),
            rows: segment.meta().rows,
        }
    }
}

impl IndexPlan {
    /// Plans a filter on a segment with these indexes.
    pub(crate) fn new(bound: &BoundFilter, indexes: &SegmentIndexes) -> Self {
        let root = Planner { indexes }.plan_node(&bound.root);
        let bytes = root.first_bytes();
        Self { root, bytes }
    }

    /// Whether the indexes do not restrict the rows at all.
    pub(crate) fn is_unknown(&self) -> bool {
        matches!(self.root, PlanNode::Unknown)
    }

    /// The bytes of the attribute index that its first round trip reads.
    // Without what patterns read after their trigrams, which is not known before.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads the blocks of all probes and combines their answers. At most one round trip to the attribute index, and
    /// one more if patterns use trigrams; concurrently, at most two to the text index.
    pub(crate) async fn run(mut self, env: &Env, indexes: &SegmentIndexes) -> Result<Candidates> {
        let (mut probes, mut token_probes) = (Vec::new(), Vec::new());
        self.root.collect_probes(&mut probes, &mut token_probes);
        // Both indexes at once: the slower one determines the latency, not the sum.
        let attributes = read_blocks(probes, indexes.attributes.as_deref());
        let tokens = read_postings(env, token_probes, indexes.text.as_ref());
        let (bytes, ()) = try_join(attributes, tokens).await?;
        let (root, indexes) = (self.root, indexes.clone());
        let work = move || root.find_candidates(&indexes);
        env.compute(Cost::index_bytes(bytes), work).await?
    }
}

/// Reads the blocks of all probes, and returns their size. Trigrams are read first: they determine which blocks a
/// pattern needs.
async fn read_blocks(mut probes: Vec<&mut IndexProbe>, index: Option<&AttributeIndex>) -> Result<u64> {
    if probes.is_empty() {
        return Ok(0);
    }
    let index = index.ok_or_else(|| Error::internal("a probe of a segment without an attribute index"))?;
    let (mut spans, mut lookups) = (Vec::new(), Vec::new());
    for probe in probes.iter_mut().filter(|probe| probe.lookup.is_some()) {
        spans.push(probe.first_spans().to_vec());
        lookups.push(probe);
    }
    if !lookups.is_empty() {
        let blocks = read_groups(index, &spans).await?;
        for (probe, blocks) in zip_equal(lookups, blocks, "trigram lookups and their blocks")? {
            probe.narrow_by_trigrams(index, &blocks)?;
        }
    }
    // A pattern that its trigrams left too many blocks is skipped, and has none to read.
    probes.retain(|probe| !matches!(probe.input, ProbeInput::Skipped));
    let spans: Vec<Vec<Span>> = probes.iter().map(|probe| probe.spans.clone()).collect();
    let blocks = read_groups(index, &spans).await?;
    for (probe, blocks) in zip_equal(probes, blocks, "probes and their blocks")? {
        probe.input = ProbeInput::Read(blocks);
    }
    Ok(spans.iter().map(|spans| total_bytes(spans)).fold(0, u64::saturating_add))
}

/// Reads groups of blocks in one round trip.
async fn read_groups(index: &AttributeIndex, groups: &[Vec<Span>]) -> Result<Vec<Vec<Bytes>>> {
    let spans = groups.concat();
    let blocks = if spans.is_empty() { Vec::new() } else { index.read_blocks(&spans).await? };
    if blocks.len() != spans.len() {
        return Err(Error::internal(format!("{} blocks were read for {} spans", blocks.len(), spans.len())));
    }
    let mut blocks = blocks.into_iter();
    Ok(groups.iter().map(|group| blocks.by_ref().take(group.len()).collect()).collect())
}

/// Finds the rows of all token predicates by the text index.
async fn read_postings(
    env: &Env,
    probes: Vec<&mut TokenProbe>,
    index: Option<&Arc<TextIndex>>,
) -> Result<()> {
    if probes.is_empty() {
        return Ok(());
    }
    let index = index.ok_or_else(|| Error::internal("a probe of a segment without a text index"))?;
    let predicates: Vec<_> = probes.iter().map(|probe| Arc::clone(&probe.predicate)).collect();
    let found = find_matching_rows(index, env, &predicates).await?;
    for (probe, rows) in zip_equal(probes, found, "token predicates and their rows")? {
        // A prefix of too many terms has no answer.
        probe.input = rows.map_or(ProbeInput::Skipped, ProbeInput::Read);
    }
    Ok(())
}
