//! Reading the objects of one incarnation: the segments of a manifest, and what an entry adds to the tail.
//!
//! Everything that reads for a [`EngineState`](super::EngineState) does it through [`IncarnationReader`]: opening from
//! nothing, following the log, and going over to a newer manifest.

use std::sync::Arc;

use futures::future::try_join_all;
use futures::try_join;
use roaring::RoaringBitmap;

use super::state::OpenedSegment;
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{Incarnation, Manifest};
use crate::memtable::{Layer, MemRows, PartId, PartSource};
use crate::schema::SchemaVersions;
use crate::segment::{Deletes, Segment, SegmentMeta};
use crate::storage::IncarnationKeys;
use crate::types::Sequence;
use crate::view::Part;
use crate::wal::{LogEntry, SegmentLink};

/// Where the objects of an incarnation are, and what they have to match.
#[derive(Clone, Copy)]
pub(super) struct IncarnationReader<'a> {
    pub(super) context: &'a Context,
    pub(super) incarnation: &'a Incarnation,
    pub(super) keys: &'a IncarnationKeys,
    /// The versions of the schema, as the newest manifest has them.
    pub(super) schemas: &'a SchemaVersions,
}

impl IncarnationReader<'_> {
    /// Checks that a manifest belongs to this incarnation and can be read with its schemas.
    pub(super) fn check_manifest(&self, manifest: &Manifest) -> Result<()> {
        let key = self.keys.manifest(manifest.number);
        // The folder alone proves nothing: a bucket may have been copied or restored object by object.
        if manifest.incarnation != self.incarnation.id {
            return Err(Error::corrupt(key, "it belongs to another incarnation of the name"));
        }
        if manifest.schemas != *self.schemas {
            let why = "the schema of the namespace was changed since it was opened: open it again";
            return Err(Error::new(ErrorKind::UnsupportedVersion, format!("{why}. key=`{key}`")));
        }
        manifest.check_segments().map_err(|e| e.at(key))
    }

    /// Checks that an entry belongs to this incarnation.
    pub(super) fn check_entry(&self, entry: &LogEntry) -> Result<()> {
        if entry.head.incarnation == self.incarnation.id {
            return Ok(());
        }
        let key = self.keys.entry(entry.head.sequence);
        Err(Error::corrupt(key, "it belongs to another incarnation of the name"))
    }

    pub(super) async fn open_segment(&self, meta: &SegmentMeta) -> Result<Arc<Segment>> {
        let Context { env, backend, cache, .. } = self.context;
        Segment::open(env, backend, cache, self.keys, self.schemas, meta).await.map(Arc::new)
    }

    /// The segments of a manifest with their dead rows, all opened together. Segments in `known` are not opened
    /// again.
    pub(super) async fn open_parts(
        &self,
        metas: &[SegmentMeta],
        known: &[OpenedSegment],
    ) -> Result<Vec<Part>> {
        let parts = metas.iter().map(|meta| async move {
            // One that was opened by a hint may have been opened for readers with an older schema.
            let version = self.schemas.current().version();
            let is_same =
                |segment: &Segment| segment.meta().id == meta.id && segment.schema_version() == version;
            let found = known.iter().find(|opened| is_same(&opened.segment));
            let segment = async {
                match found {
                    Some(opened) => Ok(Arc::clone(&opened.segment)),
                    None => self.open_segment(meta).await,
                }
            };
            // Files of a segment never change, but each manifest may name another file of dead rows for it: those
            // that are at hand count only if they are of the very file that this manifest names.
            let deletes = async {
                match found {
                    Some(OpenedSegment { segment, dead: Some(dead) })
                        if segment.meta().deletes == meta.deletes =>
                    {
                        Ok(Arc::clone(dead))
                    }
                    _ => read_deletes(self.context, self.keys, meta).await,
                }
            };
            let (segment, deletes) = try_join!(segment, deletes)?;
            Ok(Part { id: PartId::Segment(meta.id), source: PartSource::Segment(segment), deletes })
        });
        try_join_all(parts).await
    }

    /// What an entry adds to the tail, with the segments that it links opened.
    pub(super) async fn open_layers(&self, entry: &LogEntry) -> Result<Vec<Layer>> {
        let sequence = entry.head.sequence;
        let links = &entry.body.segments;
        let key = self.keys.entry(sequence);
        links.iter().try_for_each(|link| link.check(self.schemas)).map_err(|e| e.at(&key))?;
        let run = MemRows::new(self.schemas.current(), entry.body.rows.clone(), entry.body.deletes.clone())?;
        let segments = try_join_all(links.iter().map(|link| self.open_segment(&link.meta))).await?;
        Ok(self.build_layers(run, links, segments, sequence))
    }

    /// The layers of an entry whose linked segments are open, in the order of the links.
    pub(super) fn build_layers(
        &self,
        run: MemRows,
        links: &[SegmentLink],
        segments: Vec<Arc<Segment>>,
        sequence: Sequence,
    ) -> Vec<Layer> {
        // Not an error: an entry of ours is in the log already when its layers are built, and one of others has its
        // segments opened link by link.
        debug_assert_eq!(segments.len(), links.len(), "an entry has a segment for each link");
        let id = self.context.env.uuid();
        let run = (!run.is_empty()).then(|| Layer::from_rows(id, run, sequence, sequence));
        let linked = segments.into_iter().zip(links);
        let linked =
            linked.map(|(segment, link)| Layer::from_segment(segment, Arc::new(link.dead.clone()), sequence));
        // The run comes first, and so lies below: an entry never puts or deletes a document in its run that also
        // counts in a segment it links, so the order of the two decides nothing.
        run.into_iter().chain(linked).collect()
    }
}

/// The dead rows of a segment as its meta names them.
pub(super) async fn read_deletes(
    context: &Context,
    keys: &IncarnationKeys,
    meta: &SegmentMeta,
) -> Result<Arc<RoaringBitmap>> {
    Deletes::read(&context.backend, &keys.segment(meta.id), meta).await.map(Arc::new)
}
