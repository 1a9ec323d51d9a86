//! Running a text query over the parts of a view.

use std::sync::Arc;

use futures::future::try_join_all;
use roaring::RoaringBitmap;

use super::TextQuery;
use super::bind::bind;
use crate::error::{Error, Result};
use crate::index::text::{Counts, Loaded, Stats, TextSource, cut};
use crate::memtable::Source;
use crate::query::{Bound, Part, Place, QueryStats, View};
use crate::segment::RowOrder;

/// Rows of a segment that lie in another order than their ids and tie with the last hit, at most: more of them
/// than this, and which is a hit is left to their order.
const TIES_MAX: usize = 4_096;
/// Runs up to so many rows are indexed where we are.
const INLINE_ROWS: u32 = 64;

/// A part that is searched.
struct Searched {
    number: usize,
    part: Part,
    dead: RoaringBitmap,
    matching: RoaringBitmap,
    source: TextSource,
}

impl View {
    /// The best places of every part, with their scores negated. Two round trips.
    pub(in crate::query) async fn search_text(
        &self,
        query: &TextQuery,
        bound: Option<&Arc<Bound>>,
        limit: usize,
    ) -> Result<(Vec<(f32, Place)>, QueryStats)> {
        let plan = Arc::new(bind(query, &self.schema)?);
        let (parts, mut stats) = self.searched(bound).await?;
        let looked_up = try_join_all(parts.iter().map(|part| part.source.look_up(&plan)));
        let mut found = looked_up.await?;
        cut(&plan, &mut found);
        let loads = parts.iter().zip(found).map(|(part, found)| {
            Loaded::new(part.source.clone(), Arc::clone(&plan), found, !part.dead.is_empty())
        });
        let loaded: Vec<Arc<Loaded>> = try_join_all(loads).await?.into_iter().map(Arc::new).collect();
        let counts =
            try_join_all(parts.iter().zip(&loaded).map(|(part, loaded)| self.count(part, loaded))).await?;
        let weights = Arc::new(Stats::new(&plan, &counts));
        let searches =
            parts.iter().zip(&loaded).map(|(part, loaded)| self.best(part, loaded, &weights, limit));
        let best = try_join_all(searches).await?;
        stats.rows_scanned = parts.iter().map(|part| part.matching.len()).sum();
        let places = parts.iter().zip(best).flat_map(|(part, best)| {
            best.into_iter().map(|(score, row)| (-score, Place { part: part.number, row }))
        });
        Ok((places.collect(), stats))
    }

    /// The parts that have rows that exist: all of them count, whether the filter lets them through or not.
    async fn searched(&self, bound: Option<&Arc<Bound>>) -> Result<(Vec<Searched>, QueryStats)> {
        let live = self.live().await?;
        let mut stats = QueryStats { parts: live.len(), ..QueryStats::default() };
        stats.rows = live.iter().map(|(part, _)| u64::from(part.source.rows())).sum();
        let parts = live.into_iter().enumerate().filter(|(_, (_, live))| !live.is_empty());
        let parts = parts.map(|(number, (part, live))| async move {
            let matching = match bound {
                Some(bound) => part.matching(&self.env, &self.schema, bound, &live).await?,
                None => live.clone(),
            };
            let mut dead = RoaringBitmap::new();
            dead.insert_range(0..part.source.rows());
            dead -= live;
            let source = self.text_of(&part).await?;
            Ok::<_, Error>(Searched { number, part, dead, matching, source })
        });
        Ok((try_join_all(parts).await?, stats))
    }

    async fn text_of(&self, part: &Part) -> Result<TextSource> {
        match &part.source {
            Source::Segment(segment) => {
                let index =
                    segment.text().ok_or_else(|| Error::internal("a segment without a text index"))?;
                Ok(TextSource::Stored(Arc::clone(index)))
            }
            Source::Run(run) => {
                let index = match run.text() {
                    Some(index) => Arc::clone(index),
                    None if part.source.rows() <= INLINE_ROWS => run.index_text(&self.schema)?,
                    None => {
                        let (run, schema) = (Arc::clone(run), Arc::clone(&self.schema));
                        self.env.blocking(move || run.index_text(&schema)).await??
                    }
                };
                Ok(TextSource::Memory(index))
            }
        }
    }

    async fn count(&self, part: &Searched, loaded: &Arc<Loaded>) -> Result<Counts> {
        if part.dead.is_empty() {
            return loaded.count(&part.dead);
        }
        let (loaded, dead) = (Arc::clone(loaded), part.dead.clone());
        self.env.blocking(move || loaded.count(&dead)).await?
    }

    async fn best(
        &self,
        part: &Searched,
        loaded: &Arc<Loaded>,
        stats: &Arc<Stats>,
        limit: usize,
    ) -> Result<Vec<(f32, u32)>> {
        let ties = match &part.part.source {
            Source::Segment(segment) if segment.meta().order == RowOrder::Leaf => TIES_MAX,
            // Rows in the order of their ids tie in that order.
            Source::Segment(_) | Source::Run(_) => 0,
        };
        let rows = part.part.source.rows();
        let all = part.matching.len() == u64::from(rows);
        let allowed = (!all).then(|| part.matching.clone());
        let (loaded, stats) = (Arc::clone(loaded), Arc::clone(stats));
        let work = move || loaded.search(&stats, allowed.as_ref(), limit, ties);
        if rows <= INLINE_ROWS { work() } else { self.env.blocking(work).await? }
    }
}
