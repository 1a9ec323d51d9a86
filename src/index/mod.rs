//! Indexes over the columns of a segment.

mod vector;
