//! Which rows hold a term, and where: cursors over postings of a segment or of the tail, and what is built on rows alone.
//!
//! A segment's postings come from [`store`](super::store); a run of the tail has a small inverted index in memory. Both
//! give the same rows, frequencies and lengths, so whatever scores them does not know where a document lies.

mod cursor;
mod memory_index;
mod memory_postings;
mod phrase;
mod phrase_word;
mod predicate;
mod source;
mod spans;
mod term_postings;

pub(in crate::index::text) use cursor::PostingsCursor;
pub(crate) use memory_index::MemoryTextIndex;
pub(in crate::index::text) use phrase::PhraseCursor;
pub(in crate::index::text) use phrase_word::{PhraseWordTerms, open_phrase_words};
pub(crate) use predicate::{TokenMatch, TokenPredicate, find_matching_rows};
pub(crate) use source::TextSource;
pub(crate) use term_postings::TermPostings;
