//! The rows that a leg may find, computed once for all legs that share a filter.
//!
//! Scopes are built anew for each call. Whoever waits for a cell of one is polled by the future of that call, so that
//! no waiter depends on a future that is no longer polled.
#![expect(clippy::disallowed_types, reason = "all who wait for a cell are polled together")]

use std::sync::Arc;

use futures::future::try_join_all;
use roaring::RoaringBitmap;
use tokio::sync::OnceCell;

use super::{LiveRows, Part, View, no_such_part};
use crate::codec::{subtract_shared, zip_equal};
use crate::error::{Error, Result};
use crate::filter::{BoundFilter, Filter, FilterWeight, ZoneMapFilter};

/// The live rows of every part that match a filter.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    bound: Option<Arc<BoundFilter>>,
    live: Arc<LiveParts>,
    /// For each part, whether its statistics prove that the filter matches none of its rows.
    pruned: Arc<[bool]>,
    /// For each part, the rows that are excluded besides.
    excluded: Option<Arc<[RoaringBitmap]>>,
    matching: Arc<OnceCell<Vec<Arc<RoaringBitmap>>>>,
}

/// The parts of a view, oldest first, each with its live rows once they were needed.
#[derive(Debug)]
struct LiveParts(Vec<(Part, OnceCell<Arc<LiveRows>>)>);

impl Scope {
    pub(crate) fn bound_filter(&self) -> Option<&Arc<BoundFilter>> {
        self.bound.as_ref()
    }

    /// Whether the statistics of a part prove that it has no match. Nothing of it is read then, except for what
    /// concerns all documents.
    pub(crate) fn is_pruned(&self, number: usize) -> bool {
        // invariant: reading a part that could be pruned finds the same rows, so that false is always correct.
        self.pruned.get(number).copied().unwrap_or(false)
    }

    /// The number of pruned parts.
    pub(crate) fn pruned_count(&self) -> usize {
        self.pruned.iter().filter(|pruned| **pruned).count()
    }

    /// The parts that the filter may match, as long as the matching rows have not been found.
    pub(crate) fn undecided_parts(&self) -> impl Iterator<Item = &Part> {
        let unknown = self.bound.is_some() && self.matching.get().is_none();
        let parts =
            self.live.0.iter().enumerate().filter(move |(number, _)| unknown && !self.is_pruned(*number));
        parts.map(|(_, (part, _))| part)
    }

    /// The same scope without some rows of each part.
    pub(crate) fn excluding_rows(&self, rows: &Arc<[RoaringBitmap]>) -> Self {
        Self { excluded: Some(Arc::clone(rows)), matching: Arc::default(), ..self.clone() }
    }

    /// Every part with its live rows, whatever the filter.
    pub(crate) async fn live_rows(&self, view: &View) -> Result<Vec<(&Part, &Arc<LiveRows>)>> {
        let parts = self.live.0.iter().enumerate().map(|(number, (part, _))| async move {
            Ok::<_, Error>((part, self.live.rows_of_part(view, number).await?))
        });
        try_join_all(parts).await
    }

    /// The live rows of a part, if the scope has all of them and they were needed already.
    pub(crate) fn all_live_rows(&self, number: usize) -> Option<&Arc<LiveRows>> {
        // By what the scope is made of, not by comparing bitmaps: a filter that happens to match everything is none.
        let is_whole = self.bound.is_none() && self.excluded.is_none();
        self.live.0.get(number).filter(|_| is_whole)?.1.get()
    }

    /// Every part with its live rows that match the filter.
    pub(crate) async fn matching_rows(
        &self,
        view: &View,
    ) -> Result<impl Iterator<Item = (&Part, &Arc<RoaringBitmap>)>> {
        let parts = self.live.0.iter().enumerate();
        let find = || try_join_all(parts.map(|(number, (part, _))| self.match_part(view, number, part)));
        let matching = self.matching.get_or_try_init(find).await?;
        let parts = zip_equal(&self.live.0, matching, "parts and their matching rows")?;
        Ok(parts.map(|((part, _), rows)| (part, rows)))
    }

    async fn match_part(&self, view: &View, number: usize, part: &Part) -> Result<Arc<RoaringBitmap>> {
        if self.is_pruned(number) {
            return Ok(Arc::default());
        }
        let live = self.live.rows_of_part(view, number).await?;
        let live = live.rows();
        let live = match &self.excluded {
            // Not an empty set for a part that is missing: a document would be returned twice.
            Some(excluded) => {
                &subtract_shared(live, excluded.get(number).ok_or_else(|| no_such_part(number))?)
            }
            None => live,
        };
        Ok(match &self.bound {
            Some(bound) => Arc::new(part.find_matching_rows(&view.env, &view.schema, bound, live).await?),
            None => Arc::clone(live),
        })
    }
}

impl LiveParts {
    fn new(view: &View) -> Self {
        Self(view.parts().into_iter().map(|part| (part, OnceCell::new())).collect())
    }

    async fn rows_of_part(&self, view: &View, number: usize) -> Result<&Arc<LiveRows>> {
        let (part, rows) = self.0.get(number).ok_or_else(|| no_such_part(number))?;
        rows.get_or_try_init(|| view.find_live_rows(number, part)).await
    }
}

/// The scopes of all legs of a call, one for each distinct filter.
#[derive(Debug, Default)]
pub(crate) struct Scopes {
    live: Option<Arc<LiveParts>>,
    known: Vec<(Option<Filter>, Scope)>,
    weight: FilterWeight,
}

impl Scopes {
    /// Counts filters that have no scope towards the limits of the call.
    pub(crate) fn add_weights<'a>(&mut self, filters: impl Iterator<Item = &'a Filter>) -> Result<()> {
        filters.into_iter().try_for_each(|filter| self.weight.add(filter))
    }

    /// The scope of a filter.
    pub(crate) fn scope_for(&mut self, view: &View, filter: Option<Filter>) -> Result<Scope> {
        // A call has few legs, so that comparing filters costs less than hashing them.
        if let Some((_, scope)) = self.known.iter().find(|(known, _)| *known == filter) {
            return Ok(scope.clone());
        }
        filter.iter().try_for_each(|filter| self.weight.add(filter))?;
        let bound = view.bind(filter.as_ref())?;
        // Shared by all scopes: the live rows of a part do not depend on the filter.
        let live = Arc::clone(self.live.get_or_insert_with(|| Arc::new(LiveParts::new(view))));
        let zone_maps = bound.as_deref().map(ZoneMapFilter::new);
        let pruned = live
            .0
            .iter()
            .map(|(part, _)| zone_maps.as_ref().is_some_and(|zone_maps| part.is_pruned(zone_maps)))
            .collect();
        let scope = Scope { bound, live, pruned, excluded: None, matching: Arc::default() };
        self.known.push((filter, scope.clone()));
        Ok(scope)
    }
}
