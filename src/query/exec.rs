//! Running scans and queries on a view.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::future::{try_join, try_join_all};
use roaring::RoaringBitmap;

use super::distance::Prepared;
use super::part::Nearest;
use super::probe::{Effort, Target, is_worth_probing, probe};
use super::request::{check_effort, check_limit};
use super::{Bound, Cursor, Filter, Page, Part, Place, Query, QueryResponse, QueryStats, Rows, Scan, View};
use crate::error::{Error, Result};
use crate::index::attributes::Known;
use crate::memtable::Source;
use crate::schema::{ColumnKind, coerce_vector};
use crate::segment::Segment;
use crate::types::{Document, DocumentId};

/// Ids that a scan reads of a part at a time, at least: a few more than a page needs.
const PAGE: usize = 256;

/// A scan asks an index that tells by so few bytes. A filter that takes more matches many rows, so that a page is
/// soon full without it.
const WALK_BYTES_MAX: u64 = 1 << 20;

impl View {
    /// The documents of these ids, in their order.
    pub(crate) async fn get(&self, ids: &[DocumentId], columns: &[usize]) -> Result<Vec<Option<Document>>> {
        let places = self.locate(ids).await?;
        let found: Vec<Place> = places.iter().flatten().copied().collect();
        let batch = self.fetch(&found, columns).await?;
        let mut documents = self.schema.documents(&batch)?.into_iter();
        Ok(places.into_iter().map(|place| place.and_then(|_| documents.next())).collect())
    }

    pub(crate) fn bind(&self, filter: Option<&Filter>) -> Result<Option<Arc<Bound>>> {
        filter.map(|f| Bound::new(f, &self.schema, &self.settings, false).map(Arc::new)).transpose()
    }

    /// One page of documents in order of their ids.
    pub(crate) async fn scan(&self, scan: &Scan) -> Result<Page> {
        check_limit(scan.limit, &self.settings)?;
        let columns = scan.select.places(&self.schema)?;
        let bound = self.bind(scan.filter.as_ref())?;
        let after = scan.after.as_ref().map(Cursor::id);
        if let Some(after) = after {
            after.check(self.schema.id())?;
        }
        let live = self.live().await?.into_iter().enumerate();
        let mut walks: Vec<Walk> = live.map(|(at, (part, live))| Walk::new(at, part, live, after)).collect();
        let mut picked: Vec<(DocumentId, Place)> = Vec::new();
        let page = (scan.limit + 1).max(PAGE);
        // One more than the page, to know whether another follows.
        while picked.len() <= scan.limit {
            try_join_all(walks.iter_mut().map(|walk| walk.fill(self, bound.as_ref(), page))).await?;
            // Each walk holds some next ids; only up to the least of their ends is the order known.
            let known = walks.iter().filter(|w| !w.finished).filter_map(|w| w.after.clone()).min();
            let mut next: Vec<(DocumentId, Place)> =
                walks.iter_mut().flat_map(|walk| walk.take_through(known.as_ref())).collect();
            next.sort_unstable();
            picked.extend(next);
            if walks.iter().all(|w| w.finished && w.ready.is_empty()) {
                break;
            }
        }
        let more = picked.len() > scan.limit;
        picked.truncate(scan.limit);
        let cursor = picked.last().filter(|_| more).map(|(id, _)| Cursor::after(id.clone()));
        let places: Vec<Place> = picked.into_iter().map(|(_, place)| place).collect();
        let rows = Rows::new(Arc::clone(&self.schema), self.fetch(&places, &columns).await?);
        Ok(Page { rows, cursor, sequence: self.sequence })
    }

    /// The nearest documents. Their distances are exact, whatever found them.
    pub(crate) async fn query(&self, query: &Query) -> Result<QueryResponse> {
        check_limit(query.limit, &self.settings)?;
        let columns = query.select.places(&self.schema)?;
        let bound = self.bind(query.filter.as_ref())?;
        if let Some(text) = &query.text {
            let (near, stats) = self.search_text(text, bound.as_ref(), query.limit).await?;
            let (places, distances) = self.nearest_of_all(near, query.limit).await?;
            let rows = Rows::new(Arc::clone(&self.schema), self.fetch(&places, &columns).await?);
            let scores = Some(distances.iter().map(|distance| -distance).collect());
            return Ok(QueryResponse { rows, distances, scores, sequence: self.sequence, stats });
        }
        let search = self.prepare(query)?;
        let Near { places: near, stats, .. } = self.search(&search, bound.as_ref()).await?;
        let (places, distances) = self.nearest_of_all(near, query.limit).await?;
        let rows = Rows::new(Arc::clone(&self.schema), self.fetch(&places, &columns).await?);
        Ok(QueryResponse { rows, distances, scores: None, sequence: self.sequence, stats })
    }

    /// The nearest places of every part, with their distances.
    pub(super) async fn search(&self, search: &Nearest, bound: Option<&Arc<Bound>>) -> Result<Near> {
        let parts = self.matching(bound).await?;
        let mut stats = QueryStats { parts: parts.len(), ..QueryStats::default() };
        let (mut targets, mut others) = (Vec::new(), Vec::new());
        for (at, (part, matching)) in parts.into_iter().enumerate() {
            stats.rows += u64::from(part.source.rows());
            match &part.source {
                Source::Segment(segment) if search.probes(segment, &matching) => {
                    targets.push(Target { part: at, segment: Arc::clone(segment), matching });
                }
                _ => {
                    stats.rows_scanned += matching.len();
                    others.push((at, part, matching));
                }
            }
        }
        let searches = others.into_iter().map(|(at, part, matching)| async move {
            let near = part.nearest(&self.env, search, matching).await?;
            Ok::<_, Error>(near.into_iter().map(move |(distance, row)| (distance, Place { part: at, row })))
        });
        let (probed, near) = try_join(probe(&self.env, search, targets), try_join_all(searches)).await?;
        stats.rows_scanned += probed.scanned;
        stats.rows_reranked = probed.reranked;
        stats.leaves_probed = probed.leaves;
        // What was compared one by one was found for sure.
        let (promised, matches) = probed.promised;
        let expected = if matches > 0.0 { promised / matches } else { 1.0 };
        let probed = probed.near.into_iter().map(|(part, distance, row)| (distance, Place { part, row }));
        Ok(Near { places: near.into_iter().flatten().chain(probed).collect(), stats, expected })
    }

    pub(super) fn prepare(&self, query: &Query) -> Result<Nearest> {
        check_effort(query.effort)?;
        let columns = self.schema.columns().iter();
        let found = columns.enumerate().find(|(_, column)| column.name == query.column);
        let Some((at, ColumnKind::Vector(shape))) = found.map(|(at, column)| (at, column.kind)) else {
            return Err(Error::invalid(format!("no such vector column. column=`{}`", query.column)));
        };
        let vector = coerce_vector(shape, query.vector.clone())
            .map_err(|why| Error::invalid(format!("bad query vector: {why}. column=`{}`", query.column)))?;
        Ok(Nearest {
            column: at,
            vector: vector.to_f32(),
            prepared: Arc::new(Prepared::new(&query.column, shape, vector)?),
            row_bytes: shape.dimension * shape.element.size(),
            limit: query.limit,
            metric: shape.metric,
            effort: query.effort,
        })
    }

    /// The nearest of the candidates of all parts, ties by id. Ids are read of those alone that may tie.
    async fn nearest_of_all(
        &self,
        mut near: Vec<(f32, Place)>,
        limit: usize,
    ) -> Result<(Vec<Place>, Vec<f32>)> {
        near.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        if let Some((last, _)) = near.get(limit.saturating_sub(1)) {
            let last = *last;
            near.retain(|(distance, _)| distance.total_cmp(&last).is_le());
        }
        let tied = near.windows(2).any(|pair| matches!(pair, [a, b] if a.0.total_cmp(&b.0).is_eq()));
        if tied {
            let places: Vec<Place> = near.iter().map(|(_, place)| *place).collect();
            let ids = self.fetch(&places, &[]).await?;
            let ids = self.schema.documents(&ids)?;
            let mut with_ids: Vec<_> = near.into_iter().zip(ids).collect();
            with_ids.sort_unstable_by(|(a, x), (b, y)| a.0.total_cmp(&b.0).then_with(|| x.id().cmp(y.id())));
            near = with_ids.into_iter().map(|(near, _)| near).collect();
        }
        near.truncate(limit);
        Ok(near.into_iter().map(|(distance, place)| (place, distance)).unzip())
    }
}

/// What a search found in all parts.
#[derive(Debug)]
pub(super) struct Near {
    /// The nearest of each part.
    pub(super) places: Vec<(f32, Place)>,
    pub(super) stats: QueryStats,
    /// The recall that was expected where leaves were probed.
    pub(super) expected: f64,
}

impl Nearest {
    /// Whether a segment is probed for these matches, or all of them are compared.
    fn probes(&self, segment: &Segment, matching: &RoaringBitmap) -> bool {
        self.effort != Effort::Exact
            && segment.index(self.column).is_some()
            && is_worth_probing(matching.len())
    }
}

/// The walk of a scan over one part: live, matching ids in ascending order, some at a time.
struct Walk {
    at: usize,
    part: Part,
    live: RoaringBitmap,
    /// The last id that was looked at.
    after: Option<DocumentId>,
    ready: VecDeque<(DocumentId, Place)>,
    finished: bool,
    asked: Asked,
}

/// What an index was asked of the filter of a walk.
enum Asked {
    NotYet,
    InVain,
    Known(Known),
}

impl Walk {
    fn new(at: usize, part: Part, live: RoaringBitmap, after: Option<&DocumentId>) -> Self {
        Self {
            at,
            part,
            live,
            after: after.cloned(),
            ready: VecDeque::new(),
            finished: false,
            asked: Asked::NotYet,
        }
    }

    /// Looks at ids until some are ready or none are left.
    async fn fill(&mut self, view: &View, bound: Option<&Arc<Bound>>, page: usize) -> Result<()> {
        while self.ready.is_empty() && !self.finished {
            let ids = self.part.next_ids(self.after.as_ref(), page).await?;
            self.finished = ids.len() < page;
            if let Some((last, _)) = ids.last() {
                self.after = Some(last.clone());
            }
            let mut rows: RoaringBitmap = ids.iter().map(|(_, row)| *row).collect();
            rows &= &self.live;
            if let Some(bound) = bound {
                if matches!(self.asked, Asked::NotYet) {
                    let known = self.part.known(&view.env, bound, WALK_BYTES_MAX).await?;
                    self.asked = known.map_or(Asked::InVain, Asked::Known);
                }
                let known = if let Asked::Known(known) = &self.asked { Some(known) } else { None };
                rows = self.part.settle(&view.env, &view.schema, bound, known, &rows).await?;
            }
            let matching = ids.into_iter().filter(|(_, row)| rows.contains(*row));
            let at = self.at;
            self.ready.extend(matching.map(|(id, row)| (id, Place { part: at, row })));
        }
        Ok(())
    }

    /// The ready ids up to `known`; all if it is `None`.
    fn take_through(&mut self, known: Option<&DocumentId>) -> impl Iterator<Item = (DocumentId, Place)> {
        let count = self.ready.iter().take_while(|(id, _)| known.is_none_or(|known| id <= known)).count();
        self.ready.drain(..count)
    }
}
