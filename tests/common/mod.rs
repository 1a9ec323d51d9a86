//! What the test crates share: chance, filters, fixtures and a namespace done the naive way, and the one door to the
//! library's API.
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    clippy::allow_attributes,
    reason = "each test crate uses its part of this"
)]

pub mod api;
pub mod fixtures;
pub mod forge;
pub mod model;
pub mod odd;
pub mod paused;
pub mod predicate;
pub mod rng;
pub mod seeds;
