//! What tests of the public API begin with, and how they look at answers.

use std::collections::{BTreeMap, BTreeSet};

use elacsym::env::Env;
use elacsym::{
    Database, DatabaseBuilder, Document, DocumentId, Hit, Namespace, Result, Schema, Settings, WriteBatch,
};

use super::paused::Paused;
use super::rng::Rng;

/// The number of an id.
///
/// # Panics
/// If the namespace has other ids.
pub fn id_number(id: &DocumentId) -> u64 {
    let DocumentId::U64(number) = id else { panic!("an id that is no number: {id}") };
    *number
}

/// The numbers of hits, in their order.
pub fn hit_numbers(hits: &[Hit]) -> Vec<u64> {
    hits.iter().map(|hit| id_number(hit.document.id())).collect()
}

/// The namespace `docs` of a database in memory.
pub async fn empty_namespace(schema: Schema) -> Result<Namespace> {
    Database::open("memory://").await?.create_namespace("docs", schema).await
}

/// Documents in several segments and the tail, some of them written again or deleted, and what is left of them: each of
/// five batches writes up to `writes` of the ids below `ids`.
pub async fn random_namespace<R>(
    schema: Schema,
    rng: &mut Rng,
    (writes, ids): (usize, u64),
    row: impl Fn(&mut Rng) -> R,
    document: impl Fn(u64, &R) -> Document,
) -> Result<(Namespace, BTreeMap<u64, R>)> {
    let (docs, mut model) = (empty_namespace(schema).await?, BTreeMap::new());
    for round in 0..5 {
        let (mut batch, mut touched) = (WriteBatch::new(), BTreeSet::new());
        for _ in 0..writes {
            let id = rng.below(ids);
            if !touched.insert(id) {
                continue;
            }
            if rng.chance(0.15) {
                model.remove(&id);
                batch = batch.delete(id);
            } else {
                let row = row(rng);
                batch = batch.upsert(document(id, &row));
                model.insert(id, row);
            }
        }
        docs.write(batch).await?;
        if round == 1 || round == 2 {
            docs.flush().await?;
        }
    }
    Ok((docs, model))
}

/// Settings by which a segment of a few hundred rows has an index of its vectors, and nothing is flushed by itself.
pub fn small_index_settings() -> Settings {
    let mut settings = Settings::default();
    (settings.auto_flush, settings.auto_compact) = (false, false);
    settings.auto_collect = false;
    settings.index_rows_min = 300;
    settings
}

/// A database of [`small_index_settings`] in which chance is that of a seed: where clusters come to lie and how codes are
/// rotated decides what a few dozen queries find.
pub fn small_index_database(seed: u64) -> DatabaseBuilder {
    Database::builder().settings(small_index_settings()).env(Env::new(Paused::new(seed)))
}

/// How far a mean over so many queries may fall below what is expected by chance: three standard deviations, for it is
/// looked hundreds of times; the recalls of the neighbours of a query are taken to depend on each other in part.
#[expect(clippy::cast_precision_loss, reason = "counts of tests are small")]
pub fn recall_allowance(recall: f64, limit: usize, queries: usize) -> f64 {
    3.0 * (recall * (1.0 - recall) / (queries as f64 * (limit as f64).sqrt())).sqrt()
}
