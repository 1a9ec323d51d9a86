//! Lists as people read them.

use std::fmt;

/// Components of a vector and elements of an array that are displayed.
const SHOWN_MAX: usize = 8;

/// The beginning of a list, and how much there is.
pub(super) fn display_list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T]) -> fmt::Result {
    f.write_str("[")?;
    for (at, item) in items.iter().take(SHOWN_MAX).enumerate() {
        let separator = if at == 0 { "" } else { ", " };
        write!(f, "{separator}{item}")?;
    }
    if items.len() > SHOWN_MAX {
        write!(f, ", … {} in all", items.len())?;
    }
    f.write_str("]")
}
