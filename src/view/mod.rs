//! A consistent set of parts at one sequence.
//!
//! A [`View`] holds segments and, above them, the layers of the tail. A [`Part`] is either. Rows are never changed in
//! place: a part has a bitmap of deletes, and newer layers hide rows of older parts by the ids they write. What is left
//! are the live rows, and a [`Scope`] is those of them that a filter matches.

mod documents;
mod live;
mod part;
mod scope;
mod smallest_ids;

pub(crate) use documents::RowAddr;
pub(crate) use live::{LiveCache, LiveRows, LiveVectors};
pub(crate) use part::{Part, rows_to_mask};
pub(crate) use scope::{Scope, Scopes};

use std::sync::Arc;

use futures::future::{BoxFuture, try_join_all};
use roaring::RoaringBitmap;

use crate::env::Env;
use crate::error::{Error, Result};
use crate::filter::{BoundFilter, Filter, ZoneMapFilter};
use crate::memtable::{Layer, MemRows};
use crate::schema::Schema;
use crate::settings::Settings;
use crate::types::Sequence;

/// The rows of a namespace at one sequence: segments, and above them the layers of the tail in the order of the log.
/// Views share their parts, and are cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) env: Env,
    pub(crate) schema: Arc<Schema>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) segments: Arc<Vec<Part>>,
    pub(crate) layers: Vec<Arc<Layer>>,
    pub(crate) sequence: Sequence,
    /// The number of the manifest that lists the segments.
    pub(crate) manifest: u64,
    /// Of these parts and no others, so that only functions of this folder make a view of a view.
    live: Arc<LiveCache>,
}

/// Parts, oldest first, each with some of its rows.
type PartRows = Vec<(Part, Arc<RoaringBitmap>)>;

impl View {
    /// A view at a sequence, with segments of the manifest of this number.
    pub(crate) fn new(
        env: Env,
        schema: Arc<Schema>,
        settings: Arc<Settings>,
        segments: Arc<Vec<Part>>,
        layers: Vec<Arc<Layer>>,
        (sequence, manifest): (Sequence, u64),
    ) -> Self {
        Self { env, schema, settings, segments, layers, sequence, manifest, live: Arc::default() }
    }

    /// This view with the cache of its state.
    pub(crate) fn with_live(self, live: &Arc<LiveCache>) -> Self {
        Self { live: Arc::clone(live), ..self }
    }

    /// This view with other segments below its layers.
    pub(crate) fn over_segments(&self, segments: Arc<Vec<Part>>) -> Self {
        Self { segments, live: Arc::default(), ..self.clone() }
    }

    /// Some layers of this view, without its segments.
    pub(crate) fn of_layers(&self, layers: Vec<Arc<Layer>>) -> Self {
        Self { segments: Arc::default(), layers, live: Arc::default(), ..self.clone() }
    }

    /// Checks a filter against the schema.
    pub(crate) fn bind(&self, filter: Option<&Filter>) -> Result<Option<Arc<BoundFilter>>> {
        filter.map(|f| BoundFilter::new(f, &self.schema, &self.settings, false).map(Arc::new)).transpose()
    }

    /// The parts, oldest first. Their index in this list is the number of a part.
    pub(crate) fn parts(&self) -> Vec<Part> {
        let layers = self.layers.iter().map(|layer| Part {
            id: layer.id(),
            source: layer.source().clone(),
            deletes: Arc::clone(layer.dead_rows()),
        });
        self.segments.iter().cloned().chain(layers).collect()
    }

    /// The dead rows of a part: those of its delete bitmap and those that newer layers hide.
    pub(crate) async fn find_dead_rows(&self, number: usize, part: &Part) -> Result<RoaringBitmap> {
        // invariant: every layer is newer than every segment, so for a segment this is 0 and all layers count.
        let first_newer = (number + 1).saturating_sub(self.segments.len());
        let newer = self.layers.get(first_newer..).ok_or_else(|| no_such_part(number))?;
        let hidden = newer.iter().map(|layer| layer.find_hidden_rows(&self.env, part.id, &part.source));
        let hidden = try_join_all(hidden).await?;
        Ok(hidden.iter().fold(part.deletes.as_ref().clone(), |dead, rows| dead | rows.as_ref()))
    }

    /// The live rows of a part.
    pub(crate) async fn find_live_rows(&self, number: usize, part: &Part) -> Result<Arc<LiveRows>> {
        if let Some(known) = self.live.get(part.id) {
            return Ok(known);
        }
        // Without a lock: two queries of a new state may both look, and find the same rows.
        let dead = self.find_dead_rows(number, part).await?;
        Ok(self.live.keep(part.id, part.source.rows(), dead))
    }

    /// Every part with its live rows, oldest first.
    pub(crate) fn find_all_live_rows(&self) -> BoxFuture<'_, Result<PartRows>> {
        Box::pin(async move { self.find_unpruned_rows(None).await })
    }

    /// Every part with its live rows, or with none if its statistics prove that the filter matches none. Nothing is
    /// read of a pruned part.
    pub(crate) async fn find_unpruned_rows(&self, bound: Option<&BoundFilter>) -> Result<PartRows> {
        let zone_maps = bound.map(ZoneMapFilter::new);
        let parts = self.parts().into_iter().enumerate().map(|(number, part)| {
            let pruned = zone_maps.as_ref().is_some_and(|zone_maps| part.is_pruned(zone_maps));
            async move {
                if pruned {
                    return Ok((part, Arc::default()));
                }
                let live = self.find_live_rows(number, &part).await?;
                Ok::<_, Error>((part, Arc::clone(live.rows())))
            }
        });
        try_join_all(parts).await
    }

    /// Every part with the live rows that a filter matches; without a filter, with all live rows.
    pub(crate) fn find_matching_rows<'a>(
        &'a self,
        bound: Option<&'a Arc<BoundFilter>>,
    ) -> BoxFuture<'a, Result<PartRows>> {
        Box::pin(async move {
            let live = self.find_unpruned_rows(bound.map(Arc::as_ref)).await?;
            let Some(bound) = bound else { return Ok(live) };
            let parts = live.into_iter().map(|(part, live)| async move {
                let matching = part.find_matching_rows(&self.env, &self.schema, bound, &live).await?;
                Ok::<_, Error>((part, Arc::new(matching)))
            });
            try_join_all(parts).await
        })
    }

    /// This view with rows on top, as if they were the next entry.
    pub(crate) fn with_run(&self, run: MemRows) -> Self {
        let mut view = self.clone();
        let layer = Layer::from_rows(self.env.uuid(), run, self.sequence.next(), self.sequence.next());
        view.layers.push(Arc::new(layer));
        // The layer hides rows of older parts, and the cache is that of the state without it.
        view.live = Arc::default();
        view
    }

    /// The indexes of all columns.
    pub(crate) fn all_columns(&self) -> Vec<usize> {
        (0..self.schema.columns().len()).collect()
    }
}

fn no_such_part(number: usize) -> Error {
    Error::internal(format!("a view has no part of this number. number=`{number}`"))
}
