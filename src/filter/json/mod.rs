//! Filters as JSON, in arrays: `["year", "Gte", 2000]`, `["And", [...]]`. See [`Filter`](super::Filter).
//!
//! Operators with one argument have the names of the variants, from the list in `filter/tree.rs`.

mod read;
#[cfg(test)]
mod tests;
mod write;

use crate::index::text::TokenMatch;

const AND: &str = "And";
const OR: &str = "Or";
const NOT: &str = "Not";
const IS_NULL: &str = "IsNull";
const IS_NOT_NULL: &str = "IsNotNull";
/// Operators with one of these in front are the negations of those without.
const NEGATION: &str = "Not";
/// A value that is the column of the row that is written: [`Operand::New`](super::Operand::New).
const NEW: &str = "$new";
/// A datetime outside of the years that RFC 3339 has: milliseconds since 1970.
const DATETIME: &str = "$datetime";
/// Bytes, in base64.
const BYTES: &str = "$bytes";

/// The option in the fourth element of a predicate on tokens.
const PREFIX: &str = "prefix";

fn token_operator(matching: TokenMatch) -> &'static str {
    match matching {
        TokenMatch::Any => "ContainsAnyToken",
        TokenMatch::All => "ContainsAllTokens",
        TokenMatch::Phrase => "ContainsTokenSequence",
    }
}
