//! What the public API promises, one file for each promise: one crate, so that the library is linked once.

#[path = "../common/mod.rs"]
#[expect(clippy::indexing_slicing, reason = "tests panic")]
mod common;

mod aggregates;
mod bad_input;
mod births;
mod cold_filters;
mod cold_text;
mod collection;
mod concurrency;
mod conversions;
mod copies;
mod damaged_objects;
mod data;
mod equals;
mod ergonomics;
mod features;
mod filter_laws;
mod first_hour;
mod full_text;
mod fuzzy;
mod golden;
mod handles;
mod hybrid;
mod json_forms;
mod linked;
mod liveness;
mod long_logs;
mod long_values;
mod merges;
mod names;
mod odd_recall_probing;
mod odd_vectors;
mod order_by;
mod pages;
mod pruning;
mod public_api;
mod ranking;
mod reads;
mod round_trips;
mod schema_versions;
mod stats;
mod suspended;
mod text_answers;
mod text_extras;
mod token_filters;
mod tokens;
mod trigrams;
mod unknown_fields;
mod upkeep;
mod vector_index;
