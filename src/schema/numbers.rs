//! Conversions between number types that documents and record batches share, so that both accept the same numbers.

use crate::types::Value;

/// The float equal to an integer, or `None` if there is none: from 2^53 on, not every integer is a float.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "checked by the way back")]
pub(super) fn exact_float(x: i128) -> Option<f64> {
    // By the way back, not by a bound of 2^53: larger numbers with zeros at the end are floats as well.
    let float = x as f64;
    (float as i128 == x).then_some(float)
}

/// The `i8` equal to a float, or `None` if there is none. Components of i8 vectors are not rounded: a model that emits
/// fractions needs a scale that only its author knows.
#[expect(clippy::cast_possible_truncation, reason = "whole and within the range of i8")]
pub(super) fn exact_i8(x: f32) -> Option<i8> {
    (x.fract() == 0.0 && (-128.0..=127.0).contains(&x)).then_some(x as i8)
}

/// A number as a component of a vector, or `None` for a value that is no number. Unlike attributes, components round:
/// embeddings come as f64 from JSON and Python, and no model's output depends on the digits that are lost.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "vectors hold f32 at most")]
pub(super) fn to_component(value: &Value) -> Option<f32> {
    match *value {
        Value::Float(x) => Some(x as f32),
        Value::Int(x) => Some(x as f32),
        Value::Uint(x) => Some(x as f32),
        _ => None,
    }
}
