//! Collection: the only code that deletes objects of a namespace.
//!
//! A run finds what lives, walks over the objects of the incarnation, and deletes those that nothing living refers to and
//! nothing correct can refer to any more. Any number of processes may do so at once, and each may stop anywhere: what is
//! garbage stays garbage. The page on the [protocol](crate::_docs::protocol) says why.
//!
//! **Invariants:** names that are not known are never touched; what is uploaded and not named yet is told from garbage by
//! its birth, never by its age; no segment, centroid set, list of tokens or file of dead rows is deleted before a manifest
//! has the floor and the log is fenced.

mod current;
mod floor;
mod references;
mod report;
mod retained;
mod walk;

pub(super) use current::count_objects;
pub use report::{CollectReport, Garbage, GarbageReason};
pub(super) use retained::find_replacement;

use std::sync::Arc;

use self::floor::raise_floor;
use self::report::GarbageObject;
use self::retained::Retained;
use self::walk::ObjectWalk;
use crate::engine::Engine;
use crate::error::Result;
use crate::storage::ObjectKey;

/// Objects of one call to the store. As many as the largest request to delete several takes.
const DELETED_AT_ONCE: usize = 1_000;

/// Deletes the garbage of a namespace.
pub(super) async fn collect(engine: &Arc<Engine>) -> Result<CollectReport> {
    let mut report = CollectReport::default();
    let Some(mut retained) = Retained::find(engine).await? else { return Ok(report) };
    let mut is_floor_set = false;
    let mut walk = ObjectWalk::new(engine);
    while let Some(page) = walk.next_page().await? {
        let mut garbage = retained.find_garbage(engine, &page);
        // Only now: a manifest and an entry for each run would leave garbage of their own for the next.
        if !is_floor_set && garbage.iter().any(|found| found.garbage.reason == GarbageReason::Unnamed) {
            raise_floor(engine, &mut retained).await?;
            is_floor_set = true;
            garbage = retained.find_garbage(engine, &page);
        }
        for some in garbage.chunks(DELETED_AT_ONCE) {
            delete_objects(engine, some, &mut report).await?;
        }
    }
    tracing::debug!(namespace = %engine.name, %report, "collected");
    Ok(report)
}

/// The garbage of a namespace, in the order of its keys: what [`collect`] would delete now.
pub(super) async fn find_garbage(engine: &Arc<Engine>) -> Result<Vec<Garbage>> {
    let mut all = Vec::new();
    let Some(retained) = Retained::find(engine).await? else { return Ok(all) };
    let mut walk = ObjectWalk::new(engine);
    while let Some(page) = walk.next_page().await? {
        all.extend(retained.find_garbage(engine, &page).into_iter().map(|found| found.garbage));
    }
    Ok(all)
}

async fn delete_objects(
    engine: &Engine,
    garbage: &[GarbageObject],
    report: &mut CollectReport,
) -> Result<()> {
    let keys: Vec<ObjectKey> = garbage.iter().map(|found| found.garbage.key.clone()).collect();
    engine.context.backend.delete_many(&keys).await?;
    for found in garbage {
        report.deleted.add(Some(found.object), found.garbage.bytes);
    }
    tracing::debug!(namespace = %engine.name, objects = keys.len(), "deleted garbage");
    Ok(())
}
