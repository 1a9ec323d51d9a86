//! Collection as an all-seeing, careful collector does it: what the freshness rules of the protocol guard
//! against only exists once slots of the log vanish.
//!
//! It goes by the store's clock. A manifest lives while it is the newest or its successor is younger than the
//! grace period; slots of the log below what every live manifest covers may go, the boundary slot stays.

use std::time::Duration;

use elacsym::storage::ObjectKey;

use crate::common::rng::Rng;
use crate::world::{Request, World, sleep};

/// Collects until the end of the world.
pub async fn collect(world: World, mut rng: Rng, grace: Duration) {
    loop {
        sleep(grace.mul_f64(0.05 + 0.45 * rng.unit())).await;
        let mut garbage = garbage(&world, grace);
        rng.shuffle(&mut garbage);
        // A slow collector deletes what was garbage long ago; it still is.
        let pause = if rng.chance(0.4) { grace.mul_f64(0.3 * rng.unit()) } else { Duration::ZERO };
        for key in garbage {
            if rng.chance(0.15) {
                sleep(pause.mul_f64(rng.unit())).await;
            }
            let now = world.store_ms();
            let mut state = world.state();
            let tick = state.tick();
            let _ = state.store.apply(&Request::Delete(key), now, tick);
            state.counts.collected += 1;
        }
    }
}

/// A manifest, as far as collection goes.
struct Seen {
    number: u64,
    flushed_through: u64,
    created_ms: i64,
}

fn garbage(world: &World, grace: Duration) -> Vec<ObjectKey> {
    let now = world.store_ms();
    let state = world.state();
    let mut garbage = Vec::new();
    for prefix in state.store.incarnations().keys() {
        let manifests: Vec<Seen> = state
            .store
            .below(&format!("{prefix}manifest/"))
            .filter_map(|(_, bytes, created_ms)| seen(bytes, created_ms))
            .collect();
        let Some((oldest, flushed_through)) = floors(&manifests, now, grace) else { continue };
        let numbered = |folder: &str, end: u64| {
            let folder = format!("{prefix}{folder}/");
            let below = state.store.below(&folder).map(|(key, ..)| key.clone());
            below.filter(move |key| number_of(key).is_some_and(|n| n < end)).collect::<Vec<_>>()
        };
        garbage.extend(numbered("wal", flushed_through));
        garbage.extend(numbered("manifest", oldest));
    }
    garbage
}

/// The oldest live manifest and the least that a live one covers of the log.
fn floors(manifests: &[Seen], now: i64, grace: Duration) -> Option<(u64, u64)> {
    let grace = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
    let newest = manifests.last()?;
    let first = manifests.first()?;
    // Before the first manifest there was the empty one, which is no object.
    if first.number == 1 && first.created_ms > now - grace {
        return None;
    }
    let superseded =
        manifests.windows(2).filter(|pair| pair[1].created_ms > now - grace).map(|pair| &pair[0]);
    let live = superseded.chain([newest]);
    let (mut oldest, mut covered) = (newest.number, newest.flushed_through);
    for manifest in live {
        oldest = oldest.min(manifest.number);
        covered = covered.min(manifest.flushed_through);
    }
    Some((oldest, covered))
}

fn seen(bytes: &[u8], created_ms: i64) -> Option<Seen> {
    let start = bytes.iter().position(|b| *b == b'\n')? + 1;
    let json: serde_json::Value = serde_json::from_slice(&bytes[start..]).ok()?;
    let number = |field: &str| json.get(field)?.as_u64();
    Some(Seen { number: number("number")?, flushed_through: number("flushed_through")?, created_ms })
}

fn number_of(key: &ObjectKey) -> Option<u64> {
    key.as_str().rsplit('/').next()?.parse().ok()
}
