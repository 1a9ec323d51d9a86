//! Full text: which rows hold which terms, where, and how much each weighs.
//!
//! A segment has one tantivy index of all its text columns, packed into the object `text` and read by range. A run of
//! the tail has a small inverted index in memory. Both give the same postings and the same lengths, and one executor
//! scores both, so a score does not depend on where a document lies.
//!
//! | room | holds |
//! |---|---|
//! | [`analysis`] | text to tokens |
//! | [`terms`] | which terms of a dictionary a word stands for: prefixes, misspelt words |
//! | [`plan`] | a query after analysis |
//! | [`store`] | the packed file: written, fetched in verified blocks, decoded |
//! | [`postings`] | cursors over the rows of terms and phrases, of a segment or of the tail |
//! | [`score`] | BM25, and the best rows |
//!
//! Each uses only those above it. On disk:
//!
//! ```text
//! text:  "ETXT" | tantivy's files | head
//! head:  per column its statistics, and where lengths, postings and positions begin | where the files lie
//!        | what opening reads, as copies | a checksum for each block of 32 KiB
//! ```
//! Byte by byte it is in [format](crate::_docs::format), and in the modules of [`store`].
//!
//! A length is what tantivy keeps of it in one byte, everywhere, also in the average.
//!
//! **Invariant:** a read of bytes that were not fetched before is an error of this crate, never a wait.

mod analysis;
mod plan;
mod postings;
mod score;
mod store;
mod terms;
mod totals;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;

pub(crate) use analysis::{Analyzer, POSITION_INCREMENT_GAP};
pub(crate) use plan::{PlanTerm, ScoreJoin, TextNode, TextPlan};
pub(crate) use postings::{MemoryTextIndex, TextSource, TokenMatch, TokenPredicate, find_matching_rows};
pub(crate) use score::{DeadRows, LoadedTextPart, RankValues, ScoreFloor, TextCounts, TextStats};
pub(crate) use store::{TextIndex, TextIndexBuilder};
pub(crate) use terms::{LevenshteinAutomaton, TermSpec};
