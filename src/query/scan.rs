//! Scans: pages of documents in order of their ids.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::future::try_join_all;
use roaring::RoaringBitmap;

use super::request::check_limit;
use super::{Cursor, Page, Rows, Select};
use crate::error::Result;
use crate::filter::{BoundFilter, Filter};
use crate::index::Candidates;
use crate::schema::Ids;
use crate::types::DocumentId;
use crate::view::{Part, RowAddr, View};

/// Ids that a scan reads of a part at a time, at least: a few more than a page needs.
const PAGE: usize = 256;

/// A scan asks an index that tells by so few bytes. A filter that takes more matches many rows, so that a page is
/// soon full without it.
const WALK_BYTES_MAX: u64 = 1 << 20;

/// Ids that a walk looks at together where an index tells how rare those are that match.
const WALK_IDS_MAX: u64 = 1 << 16;

/// A walk over documents in order of their ids.
///
/// ```
/// use elacsym::{Filter, Scan, Select};
///
/// let scan = Scan::new().filter(Filter::gt("year", 1999)).select(Select::only(["title"])).limit(100);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Scan {
    pub(crate) filter: Option<Filter>,
    pub(crate) limit: usize,
    pub(crate) after: Option<Cursor>,
    pub(crate) select: Select,
}

impl Default for Scan {
    fn default() -> Self {
        Self { filter: None, limit: 1_000, after: None, select: Select::All }
    }
}

impl Scan {
    /// All documents, whole, a page of 1,000 at a time.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only documents that match. Several hold together. Default: all.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(Filter::narrowed(self.filter, filter));
        self
    }

    /// The most documents of a page. Default 1,000, at most
    /// [`Settings::limit_max`](crate::Settings::limit_max).
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Goes on where another page ended. Default: from the first id.
    pub fn after(mut self, cursor: impl Into<Option<Cursor>>) -> Self {
        self.after = cursor.into();
        self
    }

    /// The columns of the documents. Default [`Select::All`].
    pub fn select(mut self, select: Select) -> Self {
        self.select = select;
        self
    }
}

impl Scan {
    /// Reads the page from a view.
    pub(crate) fn read_page<'a>(&'a self, view: &'a View) -> BoxFuture<'a, Result<Page>> {
        Box::pin(async move {
            check_limit("limit", self.limit, &view.settings)?;
            let columns = self.select.column_indexes(&view.schema)?;
            let bound = view.bind(self.filter.as_ref())?;
            let after = self.after.as_ref().map(Cursor::id);
            if let Some(after) = after {
                after.check(view.schema.id())?;
            }
            let live = view.find_unpruned_rows(bound.as_deref()).await?.into_iter().enumerate();
            let mut walks: Vec<Walk> =
                live.map(|(at, (part, live))| Walk::new(at, part, live, after)).collect();
            let mut picked: Vec<(DocumentId, RowAddr)> = Vec::new();
            let page = (self.limit + 1).max(PAGE);
            // One more than the page, to know whether another follows.
            while picked.len() <= self.limit {
                try_join_all(walks.iter_mut().map(|walk| walk.fill(view, bound.as_ref(), page))).await?;
                // Each walk holds some next ids; only up to the least of their ends is the order known.
                let known = walks.iter().filter(|w| !w.finished).filter_map(|w| w.after.clone()).min();
                let mut next: Vec<(DocumentId, RowAddr)> =
                    walks.iter_mut().flat_map(|walk| walk.take_through(known.as_ref())).collect();
                next.sort_unstable();
                picked.extend(next);
                if walks.iter().all(|w| w.finished && w.ready.is_empty()) {
                    break;
                }
            }
            let more = picked.len() > self.limit;
            picked.truncate(self.limit);
            let cursor = picked.last().filter(|_| more).map(|(id, _)| Cursor::after(id.clone()));
            let places: Vec<RowAddr> = picked.into_iter().map(|(_, place)| place).collect();
            let rows = Rows::new(Arc::clone(&view.schema), view.fetch_documents(&places, &columns).await?);
            Ok(Page { rows, cursor, sequence: view.sequence })
        })
    }
}

/// The walk of a scan over one part: live, matching ids in ascending order, some at a time.
struct Walk {
    at: usize,
    part: Part,
    live: RoaringBitmap,
    /// The last id that was looked at.
    after: Option<DocumentId>,
    ready: VecDeque<(DocumentId, RowAddr)>,
    finished: bool,
    asked: Asked,
}

/// What an index was asked of the filter of a walk.
enum Asked {
    NotYet,
    InVain,
    Candidates(Candidates),
}

impl Walk {
    fn new(at: usize, part: Part, live: RoaringBitmap, after: Option<&DocumentId>) -> Self {
        Self {
            at,
            part,
            after: after.cloned(),
            ready: VecDeque::new(),
            finished: live.is_empty(),
            live,
            asked: Asked::NotYet,
        }
    }

    /// Looks at ids until some are ready or none are left.
    async fn fill(&mut self, view: &View, bound: Option<&Arc<BoundFilter>>, page: usize) -> Result<()> {
        if self.finished {
            return Ok(());
        }
        if let (Some(bound), Asked::NotYet) = (bound, &self.asked) {
            let candidates = self.part.find_candidates(&view.env, bound, WALK_BYTES_MAX).await?;
            self.asked = candidates.map_or(Asked::InVain, Asked::Candidates);
        }
        let (mut page, all) = (page as u64, u64::from(self.part.source.rows()));
        if let Asked::Candidates(candidates) = &self.asked {
            let possible = (&candidates.possible & &self.live).len();
            // As many ids as hold a page of those that match, unless all of these are fewer.
            let walked = page.saturating_mul(all) / possible.max(1);
            if possible <= walked.min(WALK_IDS_MAX) {
                return self.jump(view, bound).await;
            }
            page = walked.clamp(page, WALK_IDS_MAX.max(page));
        }
        while self.ready.is_empty() && !self.finished {
            self.step(view, bound, usize::try_from(page).unwrap_or(usize::MAX)).await?;
        }
        Ok(())
    }

    /// Looks at the next ids.
    async fn step(&mut self, view: &View, bound: Option<&Arc<BoundFilter>>, page: usize) -> Result<()> {
        let ids = self.part.next_ids(self.after.as_ref(), page).await?;
        self.finished = ids.len() < page;
        if let Some((last, _)) = ids.last() {
            self.after = Some(last.clone());
        }
        let rows: RoaringBitmap = ids.iter().map(|(_, row)| *row).collect();
        let rows = self.settle(view, bound, rows & &self.live).await?;
        let matching = ids.into_iter().filter(|(_, row)| rows.contains(*row));
        let at = self.at;
        self.ready.extend(matching.map(|(id, row)| (id, RowAddr { part: at, row })));
        Ok(())
    }

    /// Takes all that may match, which are few, in place of a walk over the ids.
    async fn jump(&mut self, view: &View, bound: Option<&Arc<BoundFilter>>) -> Result<()> {
        let Asked::Candidates(candidates) = &self.asked else { return Ok(()) };
        if self.finished {
            return Ok(());
        }
        self.finished = true;
        let rows = self.settle(view, bound, &candidates.possible & &self.live).await?;
        if rows.is_empty() {
            return Ok(());
        }
        let batch = self.part.fetch_rows(&view.schema, &[], &rows).await?;
        let ids = Ids::new(view.schema.id(), batch.column(0))?;
        let at = self.at;
        let found = rows.iter().enumerate().map(|(n, row)| (ids.get(n), RowAddr { part: at, row }));
        let mut found: Vec<_> =
            found.filter(|(id, _)| self.after.as_ref().is_none_or(|after| id > after)).collect();
        found.sort_unstable();
        self.ready.extend(found);
        Ok(())
    }

    /// The rows of some that match.
    async fn settle(
        &self,
        view: &View,
        bound: Option<&Arc<BoundFilter>>,
        rows: RoaringBitmap,
    ) -> Result<RoaringBitmap> {
        let Some(bound) = bound else { return Ok(rows) };
        let candidates =
            if let Asked::Candidates(candidates) = &self.asked { Some(candidates) } else { None };
        self.part.verify_candidates(&view.env, &view.schema, bound, candidates, &rows).await
    }

    /// The ready ids up to `known`; all if it is `None`.
    fn take_through(&mut self, known: Option<&DocumentId>) -> impl Iterator<Item = (DocumentId, RowAddr)> {
        let count = self.ready.iter().take_while(|(id, _)| known.is_none_or(|known| id <= known)).count();
        self.ready.drain(..count)
    }
}
