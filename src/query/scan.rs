//! Scans: pages of documents in order of their ids.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::future::try_join_all;
use roaring::RoaringBitmap;

use super::limits::check_limit;
use super::{Rows, ScanCursor, Select};
use crate::codec::{to_usize, u64_of};
use crate::error::{Error, Result};
use crate::filter::{BoundFilter, Filter};
use crate::index::Candidates;
use crate::schema::Ids;
use crate::types::{DocumentId, Sequence};
use crate::view::{Part, RowAddr, View};

/// Ids that a scan reads from a part at a time, at least.
// A block of the id index holds hundreds of ids or more, and is read whole anyway.
const PAGE_IDS_MIN: usize = 256;

/// The most bytes of an index that a scan reads for its filter.
// An answer that takes more names many rows. Then matches are frequent, and a walk over the ids soon fills a page.
const INDEX_BYTES_MAX: u64 = 1 << 20;

/// The most ids that a scan looks at together, and the most candidates that it sorts at once.
// With 256 ids at a time, a filter that matches one row in 10,000 took a round trip for each 256 of them.
const PAGE_IDS_MAX: u64 = 1 << 16;

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
    pub(crate) after: Option<ScanCursor>,
    pub(crate) select: Select,
}

/// One page of a [`Scan`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::*;
/// # let schema = Schema::builder(IdKind::U64).build()?;
/// # let docs = Database::open("memory://").await?.create_namespace("docs", schema).await?;
/// docs.write([1, 2, 3].map(Document::new)).await?;
/// let page = docs.scan(Scan::new().limit(2)).await?;
/// let last = docs.scan(Scan::new().limit(2).after(page.cursor)).await?;
/// assert_eq!((page.rows.len(), last.rows.len(), last.cursor), (2, 1, None));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Page {
    /// The documents, in order of their ids.
    pub rows: Rows,
    /// Where the next page begins; `None` after the last one.
    pub cursor: Option<ScanCursor>,
    /// The sequence that was queried.
    pub sequence: Sequence,
}

impl Default for Scan {
    fn default() -> Self {
        Self { filter: None, limit: 1_000, after: None, select: Select::All }
    }
}

/// A copy.
impl From<&Scan> for Scan {
    fn from(other: &Scan) -> Self {
        other.clone()
    }
}

impl Scan {
    /// All documents with all columns, 1,000 a page.
    pub fn new() -> Self {
        Self::default()
    }

    /// Restricts the scan to documents that match. Several calls are combined with `and`. Default: all documents.
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

    /// Continues where another page ended. Default: from the first id.
    pub fn after(mut self, cursor: impl Into<Option<ScanCursor>>) -> Self {
        self.after = cursor.into();
        self
    }

    /// The columns of the documents. Default [`Select::All`].
    pub fn select(mut self, select: impl Into<Select>) -> Self {
        self.select = select.into();
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
            let after = self.after.as_ref().map(ScanCursor::id);
            if let Some(after) = after {
                after.check(view.schema.id())?;
            }
            let live = view.find_unpruned_rows(bound.as_deref()).await?.into_iter().enumerate();
            let mut walks: Vec<PartWalk> =
                live.map(|(part_index, (part, live))| PartWalk::new(part_index, part, live, after)).collect();
            // One more than the page, to know whether another follows.
            let mut documents = merge_walks(&mut walks, view, bound.as_ref(), self.limit + 1).await?;
            let has_more = documents.len() > self.limit;
            documents.truncate(self.limit);
            let cursor = documents.last().filter(|_| has_more).map(|(id, _)| ScanCursor::after(id.clone()));
            let addrs: Vec<RowAddr> = documents.into_iter().map(|(_, addr)| addr).collect();
            let rows = Rows::new(Arc::clone(&view.schema), view.fetch_documents(&addrs, &columns).await?);
            Ok(Page { rows, cursor, sequence: view.sequence })
        })
    }
}

/// Merges the walks of all parts into the order of ids, until at least `wanted` documents are found or none are left.
async fn merge_walks(
    walks: &mut [PartWalk],
    view: &View,
    bound: Option<&Arc<BoundFilter>>,
    wanted: usize,
) -> Result<Vec<(DocumentId, RowAddr)>> {
    let mut merged: Vec<(DocumentId, RowAddr)> = Vec::new();
    let page = wanted.max(PAGE_IDS_MIN);
    while merged.len() < wanted {
        try_join_all(walks.iter_mut().map(|walk| walk.fill_ready(view, bound, page))).await?;
        // A walk knows its part up to the last id that it looked at. Beyond the smallest of these, an id of that part may
        // still come before those that other parts have ready.
        let mut known_through: Option<DocumentId> = None;
        for walk in walks.iter().filter(|walk| !walk.is_finished) {
            let after =
                walk.after.as_ref().ok_or_else(|| Error::internal("a scan is filled, but has read no id"))?;
            if known_through.as_ref().is_none_or(|known| after < known) {
                known_through = Some(after.clone());
            }
        }
        let ready = walks.iter_mut().flat_map(|walk| walk.take_through(known_through.as_ref()));
        let mut next: Vec<(DocumentId, RowAddr)> = ready.collect();
        next.sort_unstable();
        merged.extend(next);
        if walks.iter().all(|walk| walk.is_finished && walk.ready.is_empty()) {
            break;
        }
    }
    Ok(merged)
}

/// The walk of a scan over one part: live, matching ids in ascending order, a page at a time.
struct PartWalk {
    part_index: usize,
    part: Part,
    live: Arc<RoaringBitmap>,
    /// The last id that was looked at. It need not match, nor be alive.
    after: Option<DocumentId>,
    ready: VecDeque<(DocumentId, RowAddr)>,
    is_finished: bool,
    lookup: FilterLookup,
}

/// The candidates of the filter by the indexes of a part.
enum FilterLookup {
    NotTried,
    /// No index covers the filter, or its answer would be too large.
    NoIndex,
    Found(Candidates),
}

impl PartWalk {
    fn new(part_index: usize, part: Part, live: Arc<RoaringBitmap>, after: Option<&DocumentId>) -> Self {
        Self {
            part_index,
            part,
            after: after.cloned(),
            ready: VecDeque::new(),
            is_finished: live.is_empty(),
            live,
            lookup: FilterLookup::NotTried,
        }
    }

    /// Looks at ids until some are ready or none are left.
    async fn fill_ready(&mut self, view: &View, bound: Option<&Arc<BoundFilter>>, page: usize) -> Result<()> {
        if self.is_finished {
            return Ok(());
        }
        if let (Some(bound), FilterLookup::NotTried) = (bound, &self.lookup) {
            let candidates = self.part.find_candidates(&view.env, bound, INDEX_BYTES_MAX).await?;
            self.lookup = candidates.map_or(FilterLookup::NoIndex, FilterLookup::Found);
        }
        let mut page = u64_of(page);
        if let FilterLookup::Found(candidates) = &self.lookup {
            let possible = &candidates.possible & &*self.live;
            // The ids among which a page of matches is expected, if matches are spread evenly.
            let walked = page.saturating_mul(self.part.source.rows().into()) / possible.len().max(1);
            // Sorting all candidates is the better bargain while they are fewer than the ids that a page would take.
            if possible.len() <= walked.min(PAGE_IDS_MAX) {
                return self.read_all(view, bound, possible).await;
            }
            page = walked.clamp(page, PAGE_IDS_MAX.max(page));
        }
        let page = to_usize(page, "a page of ids")?;
        while self.ready.is_empty() && !self.is_finished {
            self.read_page(view, bound, page).await?;
        }
        Ok(())
    }

    /// Looks at the next `page` ids.
    async fn read_page(&mut self, view: &View, bound: Option<&Arc<BoundFilter>>, page: usize) -> Result<()> {
        let ids = self.part.next_ids(self.after.as_ref(), page).await?;
        self.is_finished = ids.len() < page;
        if let Some((last, _)) = ids.last() {
            self.after = Some(last.clone());
        }
        let rows: RoaringBitmap = ids.iter().map(|(_, row)| *row).collect();
        let rows = self.retain_matching(view, bound, rows & &*self.live).await?;
        let part = self.part_index;
        let matching = ids.into_iter().filter(|(_, row)| rows.contains(*row));
        self.ready.extend(matching.map(|(id, row)| (id, RowAddr { part, row })));
        Ok(())
    }

    /// Reads the ids of all candidates, which are few, instead of walking over the ids of the part.
    async fn read_all(
        &mut self,
        view: &View,
        bound: Option<&Arc<BoundFilter>>,
        possible: RoaringBitmap,
    ) -> Result<()> {
        self.is_finished = true;
        let rows = self.retain_matching(view, bound, possible).await?;
        if rows.is_empty() {
            return Ok(());
        }
        let batch = self.part.fetch_rows(&view.schema, &[], &rows).await?;
        let ids = Ids::new(view.schema.id(), batch.column(0))?;
        let part = self.part_index;
        let found = rows.iter().enumerate().map(|(index, row)| (ids.get(index), RowAddr { part, row }));
        // Candidates know nothing of the cursor, nor of the pages that this walk has read already.
        let is_ahead = |id: &DocumentId| self.after.as_ref().is_none_or(|after| id > after);
        let mut found: Vec<_> = found.filter(|(id, _)| is_ahead(id)).collect();
        found.sort_unstable();
        self.ready.extend(found);
        Ok(())
    }

    /// The rows among these that match the filter.
    async fn retain_matching(
        &self,
        view: &View,
        bound: Option<&Arc<BoundFilter>>,
        rows: RoaringBitmap,
    ) -> Result<RoaringBitmap> {
        let Some(bound) = bound else { return Ok(rows) };
        let candidates = match &self.lookup {
            FilterLookup::Found(candidates) => Some(candidates),
            FilterLookup::NotTried | FilterLookup::NoIndex => None,
        };
        self.part.verify_candidates(&view.env, &view.schema, bound, candidates, &rows).await
    }

    /// Takes the ready ids up to `known_through`; all of them if it is `None`.
    fn take_through(
        &mut self,
        known_through: Option<&DocumentId>,
    ) -> impl Iterator<Item = (DocumentId, RowAddr)> {
        let is_known = |id: &DocumentId| known_through.is_none_or(|known| id <= known);
        let count = self.ready.iter().take_while(|(id, _)| is_known(id)).count();
        self.ready.drain(..count)
    }
}
