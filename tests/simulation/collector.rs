//! Collection as an all-seeing, careful collector does it beside that of the crate: what the freshness rules of the
//! protocol guard against only exists once slots of the log vanish, and the sooner they do the better.
//!
//! It goes by the store's clock. A manifest lives while it is the newest or its successor is younger than the
//! grace period; slots of the log below what every live manifest covers may go, the boundary slot stays.

use std::time::Duration;

use elacsym::storage::ObjectKey;

use crate::common::rng::Rng;
use crate::world::{Request, World, oldest_living, sleep};

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

fn garbage(world: &World, grace: Duration) -> Vec<ObjectKey> {
    let now = world.store_ms();
    let state = world.state();
    let mut garbage = Vec::new();
    for prefix in state.store.incarnations().keys() {
        let Some((oldest, flushed_through)) = oldest_living(&state.store, prefix, now, grace) else {
            continue;
        };
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

fn number_of(key: &ObjectKey) -> Option<u64> {
    key.as_str().rsplit('/').next()?.parse().ok()
}
