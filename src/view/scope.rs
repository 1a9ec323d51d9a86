//! The rows that a leg may find, worked out once for all legs that share a filter.
//!
//! Scopes are made anew for each call, and whoever waits for a cell of one is polled by the future of that call, so
//! none can be left waiting for another that is not polled.
#![expect(clippy::disallowed_types, reason = "all who wait for a cell are polled together")]

use std::borrow::Cow;
use std::sync::Arc;

use futures::future::try_join_all;
use roaring::RoaringBitmap;
use tokio::sync::OnceCell;

use super::{Part, View};
use crate::error::{Error, Result};
use crate::filter::{BoundFilter, Filter, FilterWeight, ZoneMapFilter};

/// The rows that exist and match a filter, of every part.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    bound: Option<Arc<BoundFilter>>,
    live: Arc<Live>,
    /// Of each part, whether statistics tell that the filter matches none of its rows.
    pruned: Arc<[bool]>,
    /// Of each part, rows that are left out.
    without: Option<Arc<[RoaringBitmap]>>,
    matching: Arc<OnceCell<Vec<Arc<RoaringBitmap>>>>,
}

/// The parts of a view, oldest first, each with its live rows once they were asked for.
#[derive(Debug)]
struct Live(Vec<(Part, OnceCell<RoaringBitmap>)>);

impl Scope {
    pub(crate) fn bound_filter(&self) -> Option<&Arc<BoundFilter>> {
        self.bound.as_ref()
    }

    /// Whether statistics tell that part number `at` has no match, so that nothing of it is read but what counts
    /// for all documents.
    pub(crate) fn is_pruned(&self, at: usize) -> bool {
        self.pruned.get(at).copied().unwrap_or_default()
    }

    /// How many parts are ruled out.
    pub(crate) fn pruned_count(&self) -> usize {
        self.pruned.iter().filter(|out| **out).count()
    }

    /// The parts that the filter may match, as long as the rows that it matches are not known.
    pub(crate) fn undecided_parts(&self) -> impl Iterator<Item = &Part> {
        let unknown = self.bound.is_some() && self.matching.get().is_none();
        let parts = self.live.0.iter().enumerate().filter(move |(at, _)| unknown && !self.is_pruned(*at));
        parts.map(|(_, (part, _))| part)
    }

    /// The same without some rows of each part.
    pub(crate) fn excluding_rows(&self, rows: &Arc<[RoaringBitmap]>) -> Self {
        Self { without: Some(Arc::clone(rows)), matching: Arc::default(), ..self.clone() }
    }

    /// Every part with its live rows, whatever the filter.
    pub(crate) async fn live_rows(&self, view: &View) -> Result<Vec<(&Part, &RoaringBitmap)>> {
        let parts =
            self.live.0.iter().enumerate().map(|(at, (part, _))| async move {
                Ok::<_, Error>((part, self.live.rows(view, at).await?))
            });
        try_join_all(parts).await
    }

    /// Every part with its live rows that the filter matches.
    pub(crate) async fn matching_rows(
        &self,
        view: &View,
    ) -> Result<impl Iterator<Item = (&Part, &Arc<RoaringBitmap>)>> {
        let of_part = |at: usize, part| async move {
            if self.is_pruned(at) {
                return Ok(Arc::default());
            }
            let live = self.live.rows(view, at).await?;
            let without = self.without.as_ref().and_then(|without| without.get(at));
            let live = without.map_or_else(|| Cow::Borrowed(live), |without| Cow::Owned(live - without));
            Ok::<_, Error>(Arc::new(match &self.bound {
                Some(bound) => Part::find_matching_rows(part, &view.env, &view.schema, bound, &live).await?,
                None => live.into_owned(),
            }))
        };
        let parts = self.live.0.iter().enumerate();
        let find = || try_join_all(parts.map(|(at, (part, _))| of_part(at, part)));
        let matching = self.matching.get_or_try_init(find).await?;
        Ok(self.live.0.iter().map(|(part, _)| part).zip(matching))
    }
}

impl Live {
    async fn rows(&self, view: &View, at: usize) -> Result<&RoaringBitmap> {
        let (part, rows) = self.0.get(at).ok_or_else(|| Error::internal("no such part"))?;
        rows.get_or_try_init(|| view.find_live_rows(at, part)).await
    }
}

/// The scopes of all legs: one for each filter.
#[derive(Debug, Default)]
pub(crate) struct Scopes {
    live: Option<Arc<Live>>,
    known: Vec<(Option<Filter>, Scope)>,
    weight: FilterWeight,
}

impl Scopes {
    /// Counts filters that no scope is made of.
    pub(crate) fn add_weights<'a>(&mut self, filters: impl Iterator<Item = &'a Filter>) -> Result<()> {
        filters.into_iter().try_for_each(|filter| self.weight.add(filter))
    }

    /// The scope of a filter.
    pub(crate) fn scope_for(&mut self, view: &View, filter: Option<Filter>) -> Result<Scope> {
        if let Some((_, scope)) = self.known.iter().find(|(known, _)| *known == filter) {
            return Ok(scope.clone());
        }
        filter.iter().try_for_each(|filter| self.weight.add(filter))?;
        let bound = view.bind(filter.as_ref())?;
        let empty = || Live(view.parts().into_iter().map(|part| (part, OnceCell::new())).collect());
        let live = Arc::clone(self.live.get_or_insert_with(|| Arc::new(empty())));
        let rules = bound.as_deref().map(ZoneMapFilter::new);
        let parts = live.0.iter();
        let pruned =
            parts.map(|(part, _)| rules.as_ref().is_some_and(|rules| part.is_pruned(rules))).collect();
        let scope = Scope { bound, live, pruned, without: None, matching: Arc::default() };
        self.known.push((filter, scope.clone()));
        Ok(scope)
    }
}
