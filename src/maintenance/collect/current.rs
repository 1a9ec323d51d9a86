//! What the newest state consists of, among all that a namespace has on the store.

use std::collections::BTreeSet;

use super::references::{Fate, Reference, add_links, add_manifest};
use super::walk::ObjectWalk;
use crate::engine::{BaseState, Engine};
use crate::error::Result;
use crate::maintenance::objects::ObjectsByKind;
use crate::storage::IncarnationObject;

/// The objects of a namespace.
#[derive(Default)]
pub(in crate::maintenance) struct CountedObjects {
    /// All of them.
    pub(in crate::maintenance) stored: ObjectsByKind,
    /// Those that the newest state consists of.
    pub(in crate::maintenance) current: ObjectsByKind,
    /// When the newest manifest was put, by the clock of the store.
    pub(in crate::maintenance) committed_ms: Option<i64>,
}

/// Counts the objects of a namespace, whose newest state is `base`. One list for each page of objects.
pub(in crate::maintenance) async fn count_objects(
    engine: &Engine,
    base: &BaseState,
) -> Result<CountedObjects> {
    let (mut counted, references) = (CountedObjects::default(), references_of(engine, base));
    let newest = IncarnationObject::Manifest(base.manifest.number);
    let mut walk = ObjectWalk::new(engine);
    while let Some(page) = walk.next_page().await? {
        for info in page {
            let object = engine.keys.object_of(&info.key);
            counted.stored.add(object, info.size);
            // What is not known to be replaced is taken for current: names of a later version, above all.
            if object.is_none_or(|object| is_current(engine, base, &references, object)) {
                counted.current.add(object, info.size);
            }
            if object == Some(newest) {
                counted.committed_ms = Some(info.modified_ms);
            }
        }
    }
    Ok(counted)
}

fn references_of(engine: &Engine, base: &BaseState) -> BTreeSet<Reference> {
    let mut references = BTreeSet::new();
    add_manifest(&base.manifest, engine.context.safeguards, &mut references);
    add_links(base, engine.context.safeguards, &mut references);
    references
}

fn is_current(
    engine: &Engine,
    base: &BaseState,
    references: &BTreeSet<Reference>,
    object: IncarnationObject,
) -> bool {
    match Fate::of(object, engine.context.safeguards) {
        Fate::Stays => true,
        Fate::Manifest(number) => number == base.manifest.number,
        // As in a collection, the last entry that the manifest covers is needed.
        Fate::Entry(sequence) => sequence >= base.manifest.flushed_through,
        // Files that work under way has uploaded, and that nothing names yet, are not current.
        Fate::Referred { by, birth: _ } => references.contains(&by),
    }
}
