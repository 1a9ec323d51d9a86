//! The rows that a leg may find, worked out once for all legs that share a filter.

use std::sync::Arc;

use roaring::RoaringBitmap;
use tokio::sync::OnceCell;

use super::{Bound, Filter, Part, View};
use crate::error::{Error, Result};

/// The parts of a view with their live rows, oldest first.
type Live = Vec<(Part, RoaringBitmap)>;

/// The rows that exist and match a filter, of every part.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    bound: Option<Arc<Bound>>,
    live: Arc<OnceCell<Live>>,
    matching: Arc<OnceCell<Vec<Arc<RoaringBitmap>>>>,
}

impl Scope {
    pub(super) fn bound(&self) -> Option<&Arc<Bound>> {
        self.bound.as_ref()
    }

    /// Every part with its live rows.
    pub(super) async fn live(&self, view: &View) -> Result<&[(Part, RoaringBitmap)]> {
        Ok(self.live.get_or_try_init(|| view.live()).await?)
    }

    /// Every part with its live rows that the filter matches.
    pub(super) async fn matching(
        &self,
        view: &View,
    ) -> Result<impl Iterator<Item = (&Part, &Arc<RoaringBitmap>)>> {
        let live = self.live(view).await?;
        let find = || async {
            let found = match &self.bound {
                Some(bound) => view.filtered(live, bound).await?,
                None => live.iter().map(|(_, rows)| rows.clone()).collect(),
            };
            Ok::<_, Error>(found.into_iter().map(Arc::new).collect())
        };
        let matching: &Vec<Arc<RoaringBitmap>> = self.matching.get_or_try_init(find).await?;
        Ok(live.iter().map(|(part, _)| part).zip(matching))
    }
}

/// The scopes of all legs: one for each filter.
#[derive(Debug, Default)]
pub(super) struct Scopes {
    live: Arc<OnceCell<Live>>,
    known: Vec<(Option<Filter>, Scope)>,
}

impl Scopes {
    /// The scope of a filter.
    pub(super) fn of(&mut self, view: &View, filter: Option<Filter>) -> Result<Scope> {
        if let Some((_, scope)) = self.known.iter().find(|(known, _)| *known == filter) {
            return Ok(scope.clone());
        }
        let bound = view.bind(filter.as_ref())?;
        let scope = Scope { bound, live: Arc::clone(&self.live), matching: Arc::default() };
        self.known.push((filter, scope.clone()));
        Ok(scope)
    }
}
