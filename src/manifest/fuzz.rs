//! Hostile manifests, hints and incarnations.

use uuid::Uuid;

use super::{Hint, Incarnation, Manifest};
use crate::codec::seal_frame;
use crate::fuzzing::FuzzTarget;
use crate::schema::{AttributeType, Schema, TextOptions};
use crate::types::{IdKind, Metric, VectorType};

/// What the fields of these objects are made of.
const WORDS: [&str; 7] = [
    "0",
    "1.5",
    "\\u0000",
    "\"string\"",
    "\"00000000000000000000000000000000\"",
    "{\"attribute\":\"int\"}",
    "\"features\":[\"x\"]",
];

fn incarnation() -> Incarnation {
    let schema = Schema::builder(IdKind::String)
        .attribute("n", AttributeType::Int)
        .attribute("tags", AttributeType::StringArray)
        .text("body", TextOptions::default())
        .vector("v", VectorType::F32, 2, Metric::Cosine);
    Incarnation::new("name", 1, Uuid::from_u128(9), schema.build().unwrap(), 5)
}

fn manifest() -> Manifest {
    let manifest = Manifest::genesis(&incarnation()).successor(Uuid::from_u128(1), 7);
    manifest.successor(Uuid::from_u128(2), 8)
}

#[test]
fn fuzz_incarnation() {
    let seed = incarnation().encode().unwrap();
    FuzzTarget::new("incarnation", [seed]).json_words(&WORDS).run_sealed(seal_frame, Incarnation::decode);
}

#[test]
fn fuzz_manifest() {
    let seed = manifest().encode().unwrap();
    FuzzTarget::new("manifest", [seed]).json_words(&WORDS).run_sealed(seal_frame, |bytes| {
        let manifest = Manifest::decode(bytes)?;
        manifest.encode()
    });
}

#[test]
fn fuzz_hint() {
    let seeds = [1 << 10, 1 << 30].map(|bytes| Hint::encode(3, &manifest(), bytes).unwrap());
    FuzzTarget::new("hint", seeds).json_words(&WORDS).run_sealed(seal_frame, Hint::decode);
}
