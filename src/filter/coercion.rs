//! Operands coerced into the type of their column, without rounding.
//!
//! An operand is a value of that type, or lies between two of them. An int is less than 5.5 exactly when it is at most
//! 5, and never equals it. So comparisons across number types have one exact answer, and kernels, indexes and
//! statistics see values of one type only.

use crate::schema::{AttributeType, coerce_value};
use crate::types::Value;

/// An operand in the type of a column.
#[derive(Debug, PartialEq)]
pub(super) enum Coerced {
    /// The same value.
    Exact(Value),
    /// The largest value below and the smallest above, where they exist. Arrays, which have no order, have neither.
    Between(Option<Value>, Option<Value>),
}

/// Coerces a value that is not null. The error is the reason why it cannot be compared with values of that type.
pub(super) fn coerce_operand(kind: AttributeType, value: &Value) -> Result<Coerced, String> {
    match (kind, value) {
        (AttributeType::Int, Value::Float(x)) => neighbours(*x).map(|x| coerce_to_int(&x)),
        (AttributeType::Int, Value::Uint(x)) => Ok(coerce_to_int(&Neighbours::exact((*x).into()))),
        (AttributeType::Uint, Value::Float(x)) => neighbours(*x).map(|x| coerce_to_uint(&x)),
        (AttributeType::Uint, Value::Int(x)) => Ok(coerce_to_uint(&Neighbours::exact((*x).into()))),
        // A cast to f64 would make 2^53 + 1 equal to 2^53.
        (AttributeType::Float, Value::Int(x)) => Ok(coerce_to_float((*x).into())),
        (AttributeType::Float, Value::Uint(x)) => Ok(coerce_to_float((*x).into())),
        (kind, Value::Array(elements)) if kind.element().is_some() => coerce_array(kind, elements),
        (kind, value) => coerce_value(kind, value.clone()).map(Coerced::Exact),
    }
}

/// The integers next to a number: the largest that is not above it, and the smallest that is not below it.
struct Neighbours {
    below: i128,
    above: i128,
}

impl Neighbours {
    fn exact(x: i128) -> Self {
        Self { below: x, above: x }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "saturates at the ends of i128, which are beyond the range of every column type"
)]
fn neighbours(x: f64) -> Result<Neighbours, String> {
    if x.is_nan() {
        return Err("NaN is not a value".into());
    }
    Ok(Neighbours { below: x.floor() as i128, above: x.ceil() as i128 })
}

fn coerce_to_int(x: &Neighbours) -> Coerced {
    let exact = |x: i128| i64::try_from(x).map(Value::Int).ok();
    coerce_to_integer(x, exact, Value::Int(i64::MIN), Value::Int(i64::MAX))
}

fn coerce_to_uint(x: &Neighbours) -> Coerced {
    let exact = |x: i128| u64::try_from(x).map(Value::Uint).ok();
    coerce_to_integer(x, exact, Value::Uint(0), Value::Uint(u64::MAX))
}

/// `exact` converts an integer to a value of the type, if it is in its range; `min` and `max` are the range's ends.
fn coerce_to_integer(
    x: &Neighbours,
    exact: impl Fn(i128) -> Option<Value>,
    min: Value,
    max: Value,
) -> Coerced {
    match (exact(x.below), exact(x.above)) {
        (Some(value), _) if x.below == x.above => Coerced::Exact(value),
        (None, None) if x.below < 0 => Coerced::Between(None, Some(min)),
        (None, None) => Coerced::Between(Some(max), None),
        (below, above) => Coerced::Between(below, above),
    }
}

/// `x` is an i64 or a u64, so the floats next to it are finite.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "the conversion back shows in which direction it rounded"
)]
fn coerce_to_float(x: i128) -> Coerced {
    let near = x as f64;
    let (below, above) = match (near as i128).cmp(&x) {
        std::cmp::Ordering::Equal => return Coerced::Exact(Value::Float(near)),
        std::cmp::Ordering::Less => (near, near.next_up()),
        std::cmp::Ordering::Greater => (near.next_down(), near),
    };
    Coerced::Between(Some(Value::Float(below)), Some(Value::Float(above)))
}

/// An array with an element that no value of the type equals is itself equal to none.
fn coerce_array(kind: AttributeType, elements: &[Value]) -> Result<Coerced, String> {
    let element = kind.element().ok_or_else(|| format!("{kind} is not an array"))?;
    let mut values = Vec::with_capacity(elements.len());
    let mut is_exact = true;
    for value in elements {
        if value.is_null() {
            // No stored array has a null element, so this would be a predicate that is never true: surely a mistake.
            return Err("null inside an array".into());
        }
        match coerce_operand(element, value)? {
            Coerced::Exact(value) => values.push(value),
            Coerced::Between(..) => is_exact = false,
        }
    }
    Ok(if is_exact { Coerced::Exact(Value::Array(values)) } else { Coerced::Between(None, None) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use AttributeType::{Float, Int, IntArray, Uint};

    #[test]
    fn numbers_are_coerced_without_rounding() {
        let at = |value: Value| Coerced::Exact(value);
        let between = |below: Option<Value>, above: Option<Value>| Coerced::Between(below, above);
        let (int, uint, float) =
            (|x: i64| Some(Value::Int(x)), |x: u64| Some(Value::Uint(x)), |x: f64| Some(Value::Float(x)));
        let two_53 = 1i64 << 53;
        let cases: [(AttributeType, Value, Coerced); 24] = [
            (Int, 5.0.into(), at(5.into())),
            (Int, (-0.0).into(), at(0.into())),
            (Int, 5.5.into(), between(int(5), int(6))),
            (Int, (-5.5).into(), between(int(-6), int(-5))),
            (Int, u64::MAX.into(), between(int(i64::MAX), None)),
            (Int, (1u64 << 63).into(), between(int(i64::MAX), None)),
            (Int, i64::MAX.unsigned_abs().into(), at(i64::MAX.into())),
            (Int, 9_223_372_036_854_775_808.0.into(), between(int(i64::MAX), None)),
            (Int, (-9_223_372_036_854_775_808.0).into(), at(i64::MIN.into())),
            (Int, 1e300.into(), between(int(i64::MAX), None)),
            (Int, f64::INFINITY.into(), between(int(i64::MAX), None)),
            (Int, f64::NEG_INFINITY.into(), between(None, int(i64::MIN))),
            (Uint, (-1).into(), between(None, uint(0))),
            (Uint, (-0.5).into(), between(None, uint(0))),
            (Uint, 0.5.into(), between(uint(0), uint(1))),
            (Uint, 18_446_744_073_709_551_616.0.into(), between(uint(u64::MAX), None)),
            (Uint, 5i64.into(), at(5u64.into())),
            (Float, two_53.into(), at(9_007_199_254_740_992.0.into())),
            (
                Float,
                (two_53 + 1).into(),
                between(float(9_007_199_254_740_992.0), float(9_007_199_254_740_994.0)),
            ),
            (
                Float,
                (two_53 + 3).into(),
                between(float(9_007_199_254_740_994.0), float(9_007_199_254_740_996.0)),
            ),
            (
                Float,
                (-two_53 - 1).into(),
                between(float(-9_007_199_254_740_994.0), float(-9_007_199_254_740_992.0)),
            ),
            (
                Float,
                u64::MAX.into(),
                between(float(18_446_744_073_709_549_568.0), float(18_446_744_073_709_551_616.0)),
            ),
            (IntArray, vec![1.0, 2.0].into(), at(vec![1, 2].into())),
            (IntArray, vec![1.0, 2.5].into(), between(None, None)),
        ];
        for (kind, value, expected) in cases {
            assert_eq!(coerce_operand(kind, &value), Ok(expected), "{kind} {value:?}");
        }
        for (kind, value) in
            [(Int, f64::NAN.into()), (Int, "5".into()), (Uint, true.into()), (IntArray, 1.into())]
        {
            assert!(coerce_operand(kind, &value).is_err(), "{kind} {value:?}");
        }
    }
}
