//! Indexes: structures of a segment that find rows without reading all of them.
//!
//! # The contract
//!
//! Every index is made of the same four parts, and their names are alike:
//!
//! | part | what it is | attributes | text | vectors |
//! |---|---|---|---|---|
//! | builder | rows in, bytes out | `AttributeIndexBuilder` | `TextIndexBuilder` | `VectorIndexBuilder` |
//! | format | the bytes | `ECOL` | `ETXT`, `ETXH` | `EIVF` |
//! | opened index | a head in memory, over a [`Blob`](crate::cache::Blob) | `AttributeIndex` | `TextIndex` | `VectorIndex` |
//! | probe | a question, answered by candidates | `AttributeProbe` | token filters, a ranking | a ranking by codes |
//!
//! 1. **A builder is synchronous and has no side effects.** It takes the rows of a segment in the order in which the
//!    segment stores them, and returns bytes. It knows no store, no clock and no task, so that the caller decides on
//!    which thread it runs; chance comes from a seed, so that the same rows make the same bytes. A number that does not
//!    fit its field is an error: a wrong length must never get a right checksum.
//! 2. **A format begins with a magic number and a version**, and no byte of it is parsed before a checksum holds. What
//!    is small and always needed is a *head*, which is read when the segment is opened; everything else is in blocks,
//!    whose checksums the head has. The bytes are drawn on the [format page](crate::_docs::format) and above the code
//!    that writes them.
//! 3. **An index is opened over a [`Blob`](crate::cache::Blob)**, a file that is read by range through the cache. It
//!    never sees a `StorageBackend`: retries, the cache and the account of bytes are below it. Opening takes the bytes
//!    of the head and does no I/O. Bytes from a store stay hostile: what does not hold is an error, never a panic.
//! 4. **A probe gives candidates**: rows that match for certain (*definite*) and rows that can match (*possible*); all
//!    others do not match. An index may give too many possible rows, but it leaves out no row that matches a filter:
//!    its caller decides the rows in doubt by their values. [`Candidates`] is that answer for filters, where a row
//!    matches or does not. A ranking has candidates too: the rows whose scores are exact, or whose estimates reach the
//!    top. Finding the blocks of a probe, reading them and evaluating them are separate steps, so that the blocks of
//!    many probes are read in one round trip and evaluated off the caller's thread.
//!
//! There is no trait over the four parts. A query decides by the kind of a predicate which index it asks, and no code
//! handles an index without knowing its kind; what filters share is the answer, and that is a type.
//!
//! **Invariant:** for a filter, an index never hides a matching row: a segment without one, or with one that gives up,
//! answers the same, only slower. A ranking by vectors is approximate, and misses as many of the nearest rows as the
//! recall of its curve says.

pub(crate) mod attributes;
mod candidates;
pub(crate) mod text;
pub(crate) mod vector;

pub(crate) use candidates::Candidates;
