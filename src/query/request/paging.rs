//! Paging arithmetic: how many hits a page needs, and how deep the legs go to find them.
//!
//! Offsets and limits come from the caller, so sums saturate: `check` refuses every sum above
//! [`Settings::limit_max`], a saturated one included, before any of it is used to read.

use super::Query;
use crate::query::cursor::CURSOR_IDS_MAX;
use crate::query::{Leg, QueryCursor};
use crate::settings::Settings;
use crate::types::DocumentId;

/// The default depth of a leg that is fused or rescored, as a multiple of the hits.
// A document that is tenth in one leg is often far down in another, and fusion ranks only what the legs returned. A
// deeper default would cost every query more reads; `Leg::depth` is there for those that need it.
const DEPTH_FACTOR: usize = 10;
/// The least default depth.
// Ten candidates of each leg, for a page of a single hit, would seldom have a document in common.
const DEPTH_MIN: usize = 100;

impl Query {
    pub(in crate::query) fn is_grouped(&self) -> bool {
        self.diversity.as_ref().is_some_and(|diversity| diversity.groups)
    }

    /// The documents of the earlier pages.
    pub(in crate::query) fn shown_ids(&self) -> &[DocumentId] {
        self.after.as_ref().map_or(&[], QueryCursor::shown_ids)
    }

    /// Whether shown documents are excluded before ranking, because they and a page exceed the depth of a leg.
    ///
    /// Not with a diversity: shown documents use up the limit of their values, so they must be ranked.
    pub(in crate::query) fn is_past_shown(&self, settings: &Settings) -> bool {
        self.diversity.is_none() && self.shown_ids().len().saturating_add(self.limit) > settings.limit_max
    }

    /// The end of the page in the ranking of the legs, in hits or groups.
    pub(in crate::query) fn page_end(&self, settings: &Settings) -> usize {
        let shown = if self.is_past_shown(settings) { 0 } else { self.shown_ids().len() };
        self.offset.saturating_add(self.limit).saturating_add(shown)
    }

    /// How many hits or groups to select: one beyond the page tells whether another page follows.
    pub(in crate::query) fn select_count(&self, settings: &Settings) -> usize {
        self.page_end(settings).saturating_add(1)
    }

    /// How many hits must be ranked at least.
    pub(in crate::query) fn rank_count(&self, settings: &Settings) -> usize {
        self.select_count(settings).saturating_mul(self.hits_per_group())
    }

    pub(super) fn hits_per_group(&self) -> usize {
        self.diversity.as_ref().filter(|diversity| diversity.groups).map_or(1, |diversity| diversity.limit)
    }

    /// Whether a cursor may continue this query.
    pub(in crate::query) fn has_pages(&self) -> bool {
        !self.is_grouped() && self.offset == 0
    }

    /// The greatest depth of a leg: one beyond the longest page, for the same reason as [`Query::select_count`].
    pub(in crate::query) fn depth_max(settings: &Settings) -> usize {
        settings.limit_max.saturating_add(1)
    }

    /// The depth at which a leg starts. A diversity may need more, and then the legs run again, deeper.
    pub(in crate::query) fn leg_depth(&self, leg: &Leg, settings: &Settings) -> usize {
        let mut depth = match (self.legs.len(), leg.depth) {
            // Nothing is fused: a leg that goes deeper than the page only feeds groups and rescorings.
            (1, None) => self.rank_count(settings),
            (1, Some(depth)) => depth.max(self.rank_count(settings)),
            _ => self.depth_or_default(leg.depth, settings),
        };
        // Later rescorings see what the first one kept, so only the first sets a depth for the legs.
        if let Some(first) = self.rescores.first() {
            depth = depth.max(self.depth_or_default(first.requested_depth(), settings));
        }
        depth.min(Self::depth_max(settings))
    }

    /// The depth that the caller set, or the default for this page.
    pub(in crate::query) fn depth_or_default(&self, depth: Option<usize>, settings: &Settings) -> usize {
        depth.unwrap_or_else(|| {
            let hits = self.page_end(settings).saturating_mul(self.hits_per_group());
            hits.saturating_mul(DEPTH_FACTOR).max(DEPTH_MIN).min(Self::depth_max(settings))
        })
    }

    /// The cursor behind `page`, if there are more hits and room for them in a cursor.
    pub(in crate::query) fn next_cursor(
        &self,
        page: impl Iterator<Item = DocumentId>,
        more: bool,
        settings: &Settings,
    ) -> Option<QueryCursor> {
        if !more || !self.has_pages() {
            return None;
        }
        let shown: Vec<DocumentId> = self.shown_ids().iter().cloned().chain(page).collect();
        // With a diversity the shown documents are ranked again for each page, so they must stay within a leg's depth.
        let ids_max = if self.diversity.is_some() { settings.limit_max } else { CURSOR_IDS_MAX };
        (shown.len() < ids_max).then(|| QueryCursor::new(shown))
    }
}
