//! Pairs of lists that belong together.

use std::iter::Zip;

use crate::error::{Error, Result};

/// The items of two lists in pairs; `what` names the lists in the error.
///
/// `Iterator::zip` ends with the shorter list. Where both must be equally long, that would drop items in silence.
///
/// # Errors
/// [`ErrorKind::Internal`](crate::error::ErrorKind) if one list is longer than the other.
pub(crate) fn zip_equal<A, B>(a: A, b: B, what: &str) -> Result<Zip<A::IntoIter, B::IntoIter>>
where
    A: IntoIterator<IntoIter: ExactSizeIterator>,
    B: IntoIterator<IntoIter: ExactSizeIterator>,
{
    let (a, b) = (a.into_iter(), b.into_iter());
    if a.len() != b.len() {
        return Err(Error::internal(format!("{what} differ in number: {} and {}", a.len(), b.len())));
    }
    Ok(a.zip(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_two_lengths_are_an_error() {
        assert_eq!(zip_equal([1, 2], ["a", "b"], "x").unwrap().collect::<Vec<_>>(), [(1, "a"), (2, "b")]);
        let error = zip_equal([1, 2], ["a"], "names and numbers").err().unwrap();
        assert!(error.to_string().contains("names and numbers differ in number: 2 and 1"), "{error}");
    }
}
