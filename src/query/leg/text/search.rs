//! Running a text query over the parts of a view.
//!
//! Scores depend on counts over all live documents, so every part looks up its terms before any part scores. Reads go in
//! two rounds: dictionaries (while the filter is evaluated), then postings.

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering as Atomic};

use futures::future::{try_join, try_join_all};
use roaring::RoaringBitmap;

use super::{BoundRank, TextQuery, bind};
use crate::env::Cost;
use crate::error::{Error, Result};
use crate::index::text::{
    DeadRows, LoadedTextPart, MemoryTextIndex, ScoreFloor, TextCounts, TextPlan, TextSource, TextStats,
};
use crate::memtable::PartSource;
use crate::query::QueryStats;
use crate::query::leg::SearchPlan;
use crate::query::leg::ranking::{Depth, LegRows, PartRanking, PartRows, Score};
use crate::schema::Schema;
use crate::segment::RowOrder;
use crate::settings::Settings;
use crate::view::{Part, Scope, View};

/// The most rank values that a query reads. Each takes 8 bytes of memory, so this bounds them to 256 MiB.
const RANK_VALUES_MAX: u64 = 32 << 20;

/// A BM25 score: the greatest is the best.
#[derive(Clone, Copy, Debug)]
pub(in crate::query::leg) struct Bm25(f32);

impl Score for Bm25 {
    fn reported(self) -> f32 {
        // Minus zero is reported as zero.
        self.0 + 0.0
    }
}

impl Ord for Bm25 {
    fn cmp(&self, other: &Self) -> Ordering {
        other.0.total_cmp(&self.0)
    }
}

impl PartialOrd for Bm25 {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Bm25 {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Bm25 {}

/// A text query, checked against the schema.
pub(in crate::query) struct TextSearch {
    plan: Arc<TextPlan>,
    /// Values that scores are combined with.
    ranks: Vec<BoundRank>,
}

/// A part with live documents.
struct SearchedPart<'a> {
    number: usize,
    part: &'a Part,
    dead: Arc<DeadRows>,
    matching: &'a Arc<RoaringBitmap>,
    loaded: Arc<LoadedTextPart>,
}

impl TextSearch {
    /// Checks a query against the schema.
    pub(in crate::query::leg) fn plan(
        schema: &Schema,
        settings: &Settings,
        query: &TextQuery,
    ) -> Result<Self> {
        let (plan, ranks) = bind::bind_query(query, schema, settings)?;
        Ok(Self { plan: Arc::new(plan), ranks })
    }

    pub(in crate::query::leg) fn explain(&self) -> SearchPlan {
        SearchPlan::Postings { words: self.plan.terms.len() }
    }

    /// Ranks the documents of a scope.
    pub(in crate::query::leg) async fn rank(
        &self,
        view: &View,
        scope: &Scope,
        depth: Depth,
    ) -> Result<LegRows<Bm25>> {
        let (mut parts, mut stats) = self.load_parts(view, scope).await?;
        let counts = try_join_all(parts.iter().map(|part| count_live(view, part))).await?;
        let text_stats = Arc::new(TextStats::new(&self.plan, &counts)?);
        stats.expansions_cut = text_stats.truncated_terms();
        stats.rows_scanned = parts.iter().map(|part| part.matching.len()).sum();
        self.read_rank_values(view, &parts, &text_stats).await?;
        // The largest first: its best rows set a floor for all others.
        parts.sort_by_key(|part| Reverse(part.matching.len()));
        let floor = Arc::new(ScoreFloor::default());
        let best = parts.iter().map(|part| find_best(view, part, (&text_stats, &floor), depth));
        let best = try_join_all(best).await?;
        Ok(LegRows::collect(parts.iter().map(|part| part.number).zip(best), stats))
    }

    /// Looks up the terms of every part with live documents and reads their postings.
    async fn load_parts<'a>(
        &self,
        view: &View,
        scope: &'a Scope,
    ) -> Result<(Vec<SearchedPart<'a>>, QueryStats)> {
        let live = scope.live_rows(view).await?;
        let stats = QueryStats::of_scope(scope, live.iter().map(|(part, _)| *part));
        // A part without live documents adds nothing to the counts, and is not read.
        let look_ups = live.iter().map(|(part, rows)| async move {
            if rows.rows().is_empty() {
                return Ok(None);
            }
            let source = open_source(view, part).await?;
            let terms = source.look_up_terms(&view.env, &self.plan).await?;
            Ok::<_, Error>(Some((source, terms)))
        });
        let (matching, looked_up) = try_join(scope.matching_rows(view), try_join_all(look_ups)).await?;
        let parts = live.into_iter().zip(matching).zip(looked_up).enumerate();
        let loads = parts.filter_map(|(number, (((part, live), (_, matching)), looked_up))| {
            let (source, terms) = looked_up?;
            let dead = Arc::clone(live.dead());
            let plan = Arc::clone(&self.plan);
            Some(async move {
                let reads = (!matching.is_empty(), !dead.rows().is_empty());
                let loaded = Arc::new(LoadedTextPart::new(source, plan, terms, reads).await?);
                Ok::<_, Error>(SearchedPart { number, part, dead, matching, loaded })
            })
        });
        Ok((try_join_all(loads).await?, stats))
    }

    /// Reads the values that scores are combined with, of all rows that may be hits.
    async fn read_rank_values(
        &self,
        view: &View,
        parts: &[SearchedPart<'_>],
        stats: &Arc<TextStats>,
    ) -> Result<()> {
        if self.ranks.is_empty() {
            return Ok(());
        }
        let values_read = &AtomicU64::new(0);
        let reads = parts.iter().filter(|part| !part.matching.is_empty()).map(|part| async move {
            let (loaded, stats) = (Arc::clone(&part.loaded), Arc::clone(stats));
            let matching = Arc::clone(part.matching);
            // All postings are decoded here, where a search for the best rows skips most of them.
            let cost = Cost::postings(part.loaded.count_postings());
            let rows =
                view.env.compute(cost, move || loaded.find_rows(&stats, &matching)).await??;
            let values = rows.len().saturating_mul(self.ranks.len() as u64);
            // The limit is on all parts together: each adds its values before it reads them.
            if values_read.fetch_add(values, Atomic::Relaxed).saturating_add(values) > RANK_VALUES_MAX {
                return Err(Error::limit(format!(
                    "too many values to rank by: at most {RANK_VALUES_MAX} are read for the documents that a text finds"
                )));
            }
            let values = self.ranks.iter().map(|rank| rank.read_values(view, part.part, &rows));
            part.loaded.set_rank_values(try_join_all(values).await?);
            Ok(())
        });
        try_join_all(reads).await.map(drop)
    }
}

/// The text index of a part.
async fn open_source(view: &View, part: &Part) -> Result<TextSource> {
    match &part.source {
        PartSource::Segment(segment) => {
            let Some(index) = segment.text_index() else {
                let none = MemoryTextIndex::without_text(&view.schema, segment.meta().rows);
                return Ok(TextSource::Memory(Arc::new(none)));
            };
            Ok(TextSource::Stored(Arc::clone(index)))
        }
        PartSource::Memory(run) => {
            if let Some(index) = run.text() {
                return Ok(TextSource::Memory(Arc::clone(index)));
            }
            let (run, schema) = (Arc::clone(run), Arc::clone(&view.schema));
            let index = move || run.index_text(&schema);
            let index = view.env.compute(Cost::indexed_rows(part.source.rows()), index).await??;
            Ok(TextSource::Memory(index))
        }
    }
}

/// Counts the live documents of a part and of each of its terms.
async fn count_live(view: &View, part: &SearchedPart<'_>) -> Result<TextCounts> {
    let (loaded, dead) = (Arc::clone(&part.loaded), Arc::clone(&part.dead));
    view.env.compute(Cost::posting_seeks(loaded.count_seeks(&dead)), move || loaded.count_live(&dead)).await?
}

async fn find_best(
    view: &View,
    part: &SearchedPart<'_>,
    (stats, floor): (&Arc<TextStats>, &Arc<ScoreFloor>),
    depth: Depth,
) -> Result<PartRows<Bm25>> {
    if part.matching.is_empty() {
        return Ok(PartRows::default());
    }
    let needs_all_ties = match &part.part.source {
        PartSource::Segment(segment) if segment.meta().order == RowOrder::Cluster => true,
        // Rows in the order of their ids: the first ties by row are those with the least ids.
        PartSource::Segment(_) | PartSource::Memory(_) => depth.is_fused,
    };
    let all_match = part.matching.len() == u64::from(part.part.source.rows());
    let allowed = (!all_match).then(|| Arc::clone(part.matching));
    let (loaded, stats, floor) = (Arc::clone(&part.loaded), Arc::clone(stats), Arc::clone(floor));
    let search =
        move || loaded.find_top_rows(&stats, allowed.as_deref(), (depth.rows, needs_all_ties), &floor);
    let top = view.env.compute(Cost::ranked_postings(part.loaded.count_postings()), search).await??;
    let best = top.rows.into_iter().map(|(score, row)| (Bm25(score), row)).collect();
    let ranking = PartRanking::from_sorted(best, depth.rows).with_ties(&top.ties);
    ranking.cut(part.part, &view.schema, depth).await
}
