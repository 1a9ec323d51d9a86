//! Answers of text queries as a user expects them.
