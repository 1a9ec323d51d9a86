//! Exponential search: a binary search that is fast where the answer is near.

/// The first index of `from..to` for which `is_before` no longer holds; `to` if it holds for all. `is_before` must be
/// true up to some index and false from there on.
pub(crate) fn seek_forward(from: usize, to: usize, is_before: impl Fn(usize) -> bool) -> usize {
    // Two sorted lists are merged by seeks that each go a little forward: doubling steps (Bentley and Yao, 1976)
    // cost the logarithm of the distance, where a binary search costs that of the length.
    let mut step = 1;
    while from + step <= to && is_before(from + step - 1) {
        step *= 2;
    }
    // All that was tried before the last step is before the answer; the last step may have gone past the end.
    let mut low = from + step / 2;
    let mut high = (from + step - 1).min(to).max(low);
    while low < high {
        let middle = low.midpoint(high);
        if is_before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_from_anywhere() {
        for length in 0..40 {
            for from in 0..=length {
                for wanted in from..=length {
                    assert_eq!(seek_forward(from, length, |at| at < wanted), wanted, "{from} {length}");
                }
            }
        }
    }
}
