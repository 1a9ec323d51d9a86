//! Running a text query over the parts of a view.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::{try_join, try_join_all};
use roaring::RoaringBitmap;

use super::BoundRank;
use crate::env::Cost;
use crate::error::{Error, Result};
use crate::index::text::{LoadedTextPart, TextCounts, TextPlan, TextSource, TextStats};
use crate::memtable::PartSource;
use crate::query::QueryStats;
use crate::query::ties::{Ranked, TIES_MAX, Tied};
use crate::segment::RowOrder;
use crate::view::Scope;
use crate::view::{Part, RowAddr, View};

/// The most values that are read to rank by: 8 bytes of memory each.
const VALUES_MAX: u64 = 32 << 20;

/// A part that is searched.
struct Searched<'a> {
    number: usize,
    part: &'a Part,
    dead: RoaringBitmap,
    matching: &'a RoaringBitmap,
    source: TextSource,
}

impl View {
    /// The best places of every part, with their scores negated, and up to `ties` more that score as the last of
    /// them: of those that tie, the ones with the least ids, and beside them all of which some are left out. Two round
    /// trips; the filter's goes beside the first.
    pub(in crate::query) async fn search_text(
        &self,
        (plan, ranks): (&Arc<TextPlan>, &[BoundRank]),
        scope: &Scope,
        limit: usize,
        ties: usize,
    ) -> Result<(Vec<(f64, RowAddr)>, Vec<Tied>, QueryStats)> {
        let live = scope.live_rows(self).await?;
        let (parts, segments_pruned) = (live.len(), scope.pruned_count());
        let mut stats = QueryStats { parts, segments_pruned, ..QueryStats::default() };
        stats.rows = live.iter().map(|(part, _)| u64::from(part.source.rows())).sum();
        stats.tail_rows = live.iter().map(|(part, _)| part.tail_rows()).sum();
        let sources = live.iter().filter(|(_, rows)| !rows.is_empty()).map(|(part, _)| async move {
            let source = self.text_of(part).await?;
            let found = source.look_up_terms(&self.env, plan).await?;
            Ok::<_, Error>((source, found))
        });
        let (matching, looked_up) = try_join(scope.matching_rows(self), try_join_all(sources)).await?;
        let (sources, found): (Vec<_>, Vec<_>) = looked_up.into_iter().unzip();
        let parts = live.into_iter().zip(matching).enumerate();
        let parts = parts.filter(|(_, ((_, live), _))| !live.is_empty());
        let parts: Vec<Searched<'_>> = parts
            .zip(sources)
            .map(|((number, ((part, live), (_, matching))), source)| Searched {
                number,
                part,
                dead: dead(part, live),
                matching,
                source,
            })
            .collect();
        let loads = parts.iter().zip(found).map(|(part, found)| {
            let dead = !part.dead.is_empty();
            LoadedTextPart::new(
                part.source.clone(),
                Arc::clone(plan),
                found,
                (!part.matching.is_empty(), dead),
            )
        });
        let loaded: Vec<Arc<LoadedTextPart>> = try_join_all(loads).await?.into_iter().map(Arc::new).collect();
        let counts =
            try_join_all(parts.iter().zip(&loaded).map(|(part, loaded)| self.count(part, loaded))).await?;
        let weights = Arc::new(TextStats::new(plan, &counts)?);
        stats.expansions_cut = weights.truncated_terms();
        if !ranks.is_empty() {
            let reads = parts.iter().zip(&loaded).filter(|(part, _)| !part.matching.is_empty());
            let taken = &AtomicU64::new(0);
            let reads = reads.map(|(part, of)| self.read_ranks(part, of, &weights, (ranks, taken)));
            try_join_all(reads).await?;
        }
        let searches =
            parts.iter().zip(&loaded).map(|(part, loaded)| self.best(part, loaded, &weights, (limit, ties)));
        let best = try_join_all(searches).await?;
        stats.rows_scanned = parts.iter().map(|part| part.matching.len()).sum();
        let (mut places, mut equals) = (Vec::new(), Vec::new());
        for (part, (best, left_out)) in parts.iter().zip(best) {
            places.extend(best.into_iter().map(|(key, row)| (key, RowAddr { part: part.number, row })));
            equals.extend(left_out.map(|(key, rows)| (part.number, key, rows)));
        }
        Ok((places, equals, stats))
    }

    async fn text_of(&self, part: &Part) -> Result<TextSource> {
        match &part.source {
            PartSource::Segment(segment) => {
                let index =
                    segment.text_index().ok_or_else(|| Error::internal("a segment without a text index"))?;
                Ok(TextSource::Stored(Arc::clone(index)))
            }
            PartSource::Memory(run) => {
                let index = if let Some(index) = run.text() {
                    Arc::clone(index)
                } else {
                    let cost = Cost::indexed_rows(part.source.rows());
                    let (run, schema) = (Arc::clone(run), Arc::clone(&self.schema));
                    self.env.compute(cost, move || run.index_text(&schema)).await??
                };
                Ok(TextSource::Memory(index))
            }
        }
    }

    async fn count(&self, part: &Searched<'_>, loaded: &Arc<LoadedTextPart>) -> Result<TextCounts> {
        let cost = Cost::posting_seeks(part.dead.len().saturating_mul(loaded.count_terms() as u64 + 1));
        let (loaded, dead) = (Arc::clone(loaded), part.dead.clone());
        self.env.compute(cost, move || loaded.count_live(&dead)).await?
    }

    /// Reads what the rows that match are ranked by besides. Only of parts with matches is anything read.
    async fn read_ranks(
        &self,
        part: &Searched<'_>,
        loaded: &Arc<LoadedTextPart>,
        stats: &Arc<TextStats>,
        (ranks, taken): (&[BoundRank], &AtomicU64),
    ) -> Result<()> {
        let (of, stats, matching) = (Arc::clone(loaded), Arc::clone(stats), part.matching.clone());
        let work = move || of.find_rows(&stats, &matching);
        let rows = self.env.compute(Cost::ranked_postings(loaded.count_postings()), work).await??;
        let values = rows.len().saturating_mul(ranks.len() as u64);
        if taken.fetch_add(values, Ordering::Relaxed).saturating_add(values) > VALUES_MAX {
            return Err(Error::limit(format!(
                "too many values to rank by: at most {VALUES_MAX} are read for the documents that a text finds"
            )));
        }
        let values = ranks.iter().map(|rank| rank.read_values(self, part.part, &rows));
        loaded.set_rank_values(try_join_all(values).await?);
        Ok(())
    }

    async fn best(
        &self,
        part: &Searched<'_>,
        loaded: &Arc<LoadedTextPart>,
        stats: &Arc<TextStats>,
        (limit, ties): (usize, usize),
    ) -> Result<(Vec<(f64, u32)>, Option<(f64, RoaringBitmap)>)> {
        if part.matching.is_empty() {
            return Ok((Vec::new(), None));
        }
        let all_ties = match &part.part.source {
            PartSource::Segment(segment) if segment.meta().order == RowOrder::Cluster => true,
            // Rows in the order of their ids tie in that order.
            PartSource::Segment(_) | PartSource::Memory(_) => ties >= TIES_MAX,
        };
        let rows = part.part.source.rows();
        let all = part.matching.len() == u64::from(rows);
        let allowed = (!all).then(|| part.matching.clone());
        let cost = Cost::ranked_postings(loaded.count_postings());
        let (loaded, stats) = (Arc::clone(loaded), Arc::clone(stats));
        let work = move || loaded.find_top_rows(&stats, allowed.as_ref(), limit, all_ties);
        let top = self.env.compute(cost, work).await??;
        let best = top.rows.into_iter().map(|(score, row)| (f64::from(-score), row)).collect();
        let ranked = Ranked::of(best, limit).with(top.ties);
        let count = limit.saturating_add(ties);
        let left_out = ranked.parted(count);
        Ok((ranked.cut(part.part, &self.schema, count).await?, left_out))
    }
}

/// The rows of a part that do not exist.
fn dead(part: &Part, live: &RoaringBitmap) -> RoaringBitmap {
    let mut dead = RoaringBitmap::new();
    dead.insert_range(0..part.source.rows());
    dead -= live;
    dead
}
