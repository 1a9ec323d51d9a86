//! BM25 over the postings of all parts: statistics of the documents that exist, scores of rows, and the best of them.
//!
//! A query runs in three steps. Each part [loads](part) what it holds of the query's terms and counts the live documents;
//! the [statistics](stats) of all parts are summed, so that a score does not depend on where a document lies; then each
//! part is [searched](search), above the floor that the others have set. The usual shapes of queries run as flat loops over blocks of postings, see
//! [`max_score`]; any other tree is walked row by row with a [`scorer`].

mod bm25;
mod bounds;
mod dead_rows;
mod max_score;
mod part;
mod rank_values;
mod scorer;
mod search;
mod stats;
mod top_rows;
mod weight;
mod windows;

pub(crate) use dead_rows::DeadRows;
pub(crate) use part::LoadedTextPart;
pub(crate) use rank_values::RankValues;
pub(crate) use stats::{TextCounts, TextStats};
pub(crate) use top_rows::ScoreFloor;
