//! Conversions of numbers that may lose digits, each in one place.

/// The nearest f32; infinite where `value` is beyond the range of f32.
#[expect(
    clippy::cast_possible_truncation,
    reason = "rounding is the point; what is too large becomes infinite"
)]
pub(super) fn round_to_f32(value: f64) -> f32 {
    value as f32
}

/// A count of rows, dimensions or queries as a number to divide by.
#[expect(clippy::cast_precision_loss, reason = "counts of rows and dimensions are far below 2^52")]
pub(super) fn count_to_f64(count: usize) -> f64 {
    count as f64
}

/// The power of two that brings `size` to between 1 and 2, as far as an f32 holds it; 1 for no size.
pub(super) fn power_of_two(size: f64) -> f64 {
    if !(size.is_finite() && size > 0.0) {
        return 1.0;
    }
    (-size.log2().floor()).clamp(-126.0, 126.0).exp2()
}

/// Whether a multiplication by `scale` changes no digit.
pub(super) fn is_power_of_two(scale: f32) -> bool {
    scale.is_normal() && scale > 0.0 && scale.to_bits().trailing_zeros() >= f32::MANTISSA_DIGITS - 1
}

/// The upper median; 0 of no values.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}
