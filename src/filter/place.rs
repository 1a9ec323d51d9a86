//! Where a value of a filter lies among those that a column can hold: it is one of them, or lies between two.
//!
//! An int is below 5.5 just when it is at most 5, and never equal to it: comparisons across types of numbers have one
//! exact answer, and are brought into the type of the column without rounding anything.

use crate::schema::{AttributeType, coerce_value};
use crate::types::Value;

/// Where a value lies among those of a type.
#[derive(Debug, PartialEq)]
pub(super) enum Place {
    /// It is this one.
    At(Value),
    /// The greatest that is less and the least that is greater, if there are any. Of arrays, which have no order,
    /// neither.
    Between(Option<Value>, Option<Value>),
}

/// The place of a value, which is not null, or why it cannot be compared with values of that type.
pub(super) fn place(kind: AttributeType, value: &Value) -> Result<Place, String> {
    match (kind, value) {
        (AttributeType::Int, Value::Float(x)) => whole_of(*x).map(|x| among_ints(&x)),
        (AttributeType::Int, Value::Uint(x)) => Ok(among_ints(&Whole::exactly((*x).into()))),
        (AttributeType::Uint, Value::Float(x)) => whole_of(*x).map(|x| among_uints(&x)),
        (AttributeType::Uint, Value::Int(x)) => Ok(among_uints(&Whole::exactly((*x).into()))),
        (AttributeType::Float, Value::Int(x)) => Ok(among_floats((*x).into())),
        (AttributeType::Float, Value::Uint(x)) => Ok(among_floats((*x).into())),
        (kind, Value::Array(elements)) if kind.element().is_some() => array(kind, elements),
        (kind, value) => coerce_value(kind, value.clone()).map(Place::At),
    }
}

/// The whole numbers next to a number: the greatest that is not above it, the least that is not below it.
struct Whole {
    below: i128,
    above: i128,
}

impl Whole {
    fn exactly(x: i128) -> Self {
        Self { below: x, above: x }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "beyond the range of i128 it is cut to that, which is far enough"
)]
fn whole_of(x: f64) -> Result<Whole, String> {
    if x.is_nan() {
        return Err("NaN is not a value".into());
    }
    Ok(Whole { below: x.floor() as i128, above: x.ceil() as i128 })
}

fn among_ints(x: &Whole) -> Place {
    let at = |x: i128| i64::try_from(x).map(Value::Int).ok();
    among(x, at, Value::Int(i64::MIN), Value::Int(i64::MAX))
}

fn among_uints(x: &Whole) -> Place {
    let at = |x: i128| u64::try_from(x).map(Value::Uint).ok();
    among(x, at, Value::Uint(0), Value::Uint(u64::MAX))
}

/// `at` gives the value of a number, if there is one.
fn among(x: &Whole, at: impl Fn(i128) -> Option<Value>, least: Value, greatest: Value) -> Place {
    match (at(x.below), at(x.above)) {
        (Some(value), _) if x.below == x.above => Place::At(value),
        (None, None) if x.below < 0 => Place::Between(None, Some(least)),
        (None, None) => Place::Between(Some(greatest), None),
        (below, above) => Place::Between(below, above),
    }
}

/// Of 64 bits, so that no float near it is infinite.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "the way back tells how it rounded"
)]
fn among_floats(x: i128) -> Place {
    let near = x as f64;
    let (below, above) = match (near as i128).cmp(&x) {
        std::cmp::Ordering::Equal => return Place::At(Value::Float(near)),
        std::cmp::Ordering::Less => (near, near.next_up()),
        std::cmp::Ordering::Greater => (near.next_down(), near),
    };
    Place::Between(Some(Value::Float(below)), Some(Value::Float(above)))
}

/// An array equals none if one of its elements equals none.
fn array(kind: AttributeType, elements: &[Value]) -> Result<Place, String> {
    let element = kind.element().unwrap_or(kind);
    let mut values = Vec::with_capacity(elements.len());
    let mut between = false;
    for value in elements {
        if value.is_null() {
            return Err("null inside an array".into());
        }
        match place(element, value)? {
            Place::At(value) => values.push(value),
            Place::Between(..) => between = true,
        }
    }
    Ok(if between { Place::Between(None, None) } else { Place::At(Value::Array(values)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use AttributeType::{Float, Int, IntArray, Uint};

    #[test]
    fn numbers_lie_where_they_are() {
        let at = |value: Value| Place::At(value);
        let between = |below: Option<Value>, above: Option<Value>| Place::Between(below, above);
        let (int, uint, float) =
            (|x: i64| Some(Value::Int(x)), |x: u64| Some(Value::Uint(x)), |x: f64| Some(Value::Float(x)));
        let two_53 = 1i64 << 53;
        let cases: [(AttributeType, Value, Place); 24] = [
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
            assert_eq!(place(kind, &value), Ok(expected), "{kind} {value:?}");
        }
        for (kind, value) in
            [(Int, f64::NAN.into()), (Int, "5".into()), (Uint, true.into()), (IntArray, 1.into())]
        {
            assert!(place(kind, &value).is_err(), "{kind} {value:?}");
        }
    }
}
