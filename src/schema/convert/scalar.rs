//! Scalars of any Arrow type into the type of an attribute, where nothing is lost.

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryBuilder, GenericByteViewArray, PrimitiveArray,
    TimestampMillisecondArray, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options, take};
use arrow::datatypes::{
    ArrowPrimitiveType, ByteViewType, DataType, Date32Type, Date64Type, Float64Type, Int64Type, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    UInt64Type,
};
use uuid::Uuid;

use super::refusal::Refusal;
use super::{COLUMN_BYTES_MAX, shared};
use crate::schema::AttributeType;
use crate::schema::row::parse_datetime;

/// Brings a column, or the elements of one, into the Arrow type of `kind`. Nulls stay where they are.
pub(super) fn scalar(kind: AttributeType, array: &ArrayRef) -> Result<ArrayRef, Refusal> {
    if *array.data_type() == DataType::Null {
        return Ok(new_null_array(&kind.arrow_type(), array.len()));
    }
    let array = &plain(array)?;
    let converted = match kind {
        AttributeType::String => text(array, &DataType::Utf8),
        AttributeType::Int => int(array),
        AttributeType::Uint => uint(array),
        AttributeType::Float => float(array),
        AttributeType::Bool => Ok((*array.data_type() == DataType::Boolean).then(|| array.clone())),
        AttributeType::Uuid => uuid(array),
        AttributeType::Datetime => datetime(array),
        _ => text(array, &DataType::Binary),
    };
    converted?.ok_or_else(|| Refusal::kind(kind, array.data_type()))
}

/// An array, or `None` if there is no way from the type it came in.
type Converted = Result<Option<ArrayRef>, Refusal>;

/// Arrow's own cast, which fails where a value does not fit.
pub(super) fn cast(array: &dyn Array, to: &DataType) -> Result<ArrayRef, Refusal> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, to, &options).map_err(|e| Refusal::whole(format!("it cannot be cast: {e}")))
}

/// Without its dictionary. Measured first: few bytes of dictionary can stand for very many.
fn plain(array: &ArrayRef) -> Result<ArrayRef, Refusal> {
    let Some(dictionary) = array.as_any_dictionary_opt() else { return Ok(array.clone()) };
    let values = match dictionary.values().data_type() {
        DataType::LargeUtf8 | DataType::Utf8View => text(dictionary.values(), &DataType::Utf8)?,
        DataType::LargeBinary | DataType::BinaryView => text(dictionary.values(), &DataType::Binary)?,
        _ => None,
    };
    let values = values.as_ref().unwrap_or_else(|| dictionary.values());
    let keys = cast(dictionary.keys(), &DataType::UInt64)?;
    let keys = keys.as_primitive::<UInt64Type>();
    let lengths: Box<dyn Fn(usize) -> usize> = match values.data_type() {
        DataType::Utf8 => Box::new(|key| length(values.as_string::<i32>().offsets(), key)),
        DataType::Binary => Box::new(|key| length(values.as_binary::<i32>().offsets(), key)),
        DataType::FixedSizeBinary(size) => Box::new(|_| usize::try_from(*size).unwrap_or(0)),
        other if other.is_primitive() || *other == DataType::Boolean => Box::new(|_| 8),
        _ => return Err(Refusal::whole("a dictionary of this type is not understood".into())),
    };
    let keys_used = keys.iter().flatten().filter_map(|key| usize::try_from(key).ok());
    fits(keys_used.map(lengths))?;
    take(values, keys, None).map_err(|e| Refusal::whole(format!("its dictionary cannot be read: {e}")))
}

/// How many bytes or elements stand between two offsets.
pub(super) fn length(offsets: &[i32], row: usize) -> usize {
    let at = |place: usize| offsets.get(place).copied().unwrap_or(0);
    usize::try_from(at(row + 1).saturating_sub(at(row))).unwrap_or(0)
}

/// Whether that many bytes fit one column.
fn fits(lengths: impl Iterator<Item = usize>) -> Result<(), Refusal> {
    if lengths.fold(0usize, usize::saturating_add) > COLUMN_BYTES_MAX {
        return Err(Refusal::too_large());
    }
    Ok(())
}

/// Text to `Utf8`, bytes to `Binary`.
fn text(array: &ArrayRef, to: &DataType) -> Converted {
    let is_text = *to == DataType::Utf8;
    match array.data_type() {
        from if from == to => return Ok(Some(array.clone())),
        DataType::LargeUtf8 if is_text => fits(array.as_string::<i64>().offsets().lengths())?,
        DataType::LargeBinary if !is_text => fits(array.as_binary::<i64>().offsets().lengths())?,
        DataType::Utf8View if is_text => fits(view_lengths(array.as_string_view()))?,
        DataType::BinaryView if !is_text => fits(view_lengths(array.as_binary_view()))?,
        DataType::FixedSizeBinary(size) if !is_text => {
            fits([usize::try_from(*size).unwrap_or(0).saturating_mul(array.len())].into_iter())?;
        }
        _ => return Ok(None),
    }
    cast(array, to).map(Some)
}

/// The low half of a view is its length.
fn view_lengths<T: ByteViewType + ?Sized>(array: &GenericByteViewArray<T>) -> impl Iterator<Item = usize> {
    array.views().iter().map(|view| (view & u128::from(u32::MAX)) as usize)
}

/// Converts every value that is not null, or says in which row that fails.
fn each<F: ArrowPrimitiveType, T: ArrowPrimitiveType>(
    array: &PrimitiveArray<F>,
    why: &str,
    convert: impl Fn(F::Native) -> Option<T::Native>,
) -> Result<PrimitiveArray<T>, Refusal> {
    let mut values = Vec::with_capacity(array.len());
    for (row, value) in array.values().iter().enumerate() {
        let converted = convert(*value);
        if converted.is_none() && array.is_valid(row) {
            return Err(Refusal::at(row, why));
        }
        values.push(converted.unwrap_or_default());
    }
    Ok(PrimitiveArray::new(values.into(), array.nulls().cloned()))
}

fn int(array: &ArrayRef) -> Converted {
    let kind = array.data_type();
    if kind.is_unsigned_integer() {
        let wide = cast(array, &DataType::UInt64)?;
        let wide = wide.as_primitive::<UInt64Type>();
        let narrow = each::<_, Int64Type>(wide, "a number does not fit an int", |x| i64::try_from(x).ok());
        return narrow.map(|array| Some(shared(array)));
    }
    kind.is_signed_integer().then(|| cast(array, &DataType::Int64)).transpose()
}

fn uint(array: &ArrayRef) -> Converted {
    let kind = array.data_type();
    if kind.is_signed_integer() {
        let wide = cast(array, &DataType::Int64)?;
        let wide = wide.as_primitive::<Int64Type>();
        let other = each::<_, UInt64Type>(wide, "a number does not fit a uint", |x| u64::try_from(x).ok());
        return other.map(|array| Some(shared(array)));
    }
    kind.is_unsigned_integer().then(|| cast(array, &DataType::UInt64)).transpose()
}

fn float(array: &ArrayRef) -> Converted {
    let why = "a number does not fit a float exactly";
    let kind = array.data_type();
    let floats = if kind.is_signed_integer() {
        let wide = cast(array, &DataType::Int64)?;
        each::<_, Float64Type>(wide.as_primitive::<Int64Type>(), why, |x| exact(x.into()))?
    } else if kind.is_unsigned_integer() {
        let wide = cast(array, &DataType::UInt64)?;
        each::<_, Float64Type>(wide.as_primitive::<UInt64Type>(), why, |x| exact(x.into()))?
    } else if kind.is_floating() {
        let wide = cast(array, &DataType::Float64)?;
        // One zero, as `Schema::check` has it.
        let zero = |x: f64| (!x.is_nan()).then_some(if x == 0.0 { 0.0 } else { x });
        each::<_, Float64Type>(wide.as_primitive::<Float64Type>(), "NaN is not a value", zero)?
    } else {
        return Ok(None);
    };
    Ok(Some(shared(floats)))
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "checked by the way back")]
fn exact(x: i128) -> Option<f64> {
    let float = x as f64;
    (float as i128 == x).then_some(float)
}

fn uuid(array: &ArrayRef) -> Converted {
    if *array.data_type() == DataType::FixedSizeBinary(16) {
        return Ok(Some(array.clone()));
    }
    let text = if array.data_type().is_string() { text(array, &DataType::Utf8)? } else { None };
    let Some(text) = text else { return Ok(None) };
    let mut builder = FixedSizeBinaryBuilder::with_capacity(array.len(), 16);
    for (row, value) in text.as_string::<i32>().iter().enumerate() {
        let Some(value) = value else {
            builder.append_null();
            continue;
        };
        let uuid = Uuid::try_parse(value).map_err(|_| Refusal::at(row, "not a uuid"))?;
        builder.append_value(uuid.as_bytes()).map_err(|e| Refusal::at(row, &e.to_string()))?;
    }
    Ok(Some(shared(builder.finish())))
}

fn datetime(array: &ArrayRef) -> Converted {
    let large = "a datetime is out of range";
    // Towards the past, before 1970 too: the order of datetimes stays.
    let cut = |unit: i64| move |x: i64| Some(x.div_euclid(unit));
    let times: TimestampMillisecondArray = match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => {
            each(array.as_primitive::<TimestampSecondType>(), large, |x| x.checked_mul(1_000))?
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            array.as_primitive::<TimestampMillisecondType>().clone()
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            each(array.as_primitive::<TimestampMicrosecondType>(), large, cut(1_000))?
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            each(array.as_primitive::<TimestampNanosecondType>(), large, cut(1_000_000))?
        }
        DataType::Date32 => {
            each(array.as_primitive::<Date32Type>(), large, |x| Some(i64::from(x) * 86_400_000))?
        }
        DataType::Date64 => each(array.as_primitive::<Date64Type>(), large, Some)?,
        kind if kind.is_string() => {
            let Some(texts) = text(array, &DataType::Utf8)? else { return Ok(None) };
            let mut times = Vec::with_capacity(texts.len());
            for (row, text) in texts.as_string::<i32>().iter().enumerate() {
                times.push(text.map(parse_datetime).transpose().map_err(|why| Refusal::at(row, why))?);
            }
            times.into()
        }
        _ => return Ok(None),
    };
    Ok(Some(shared(times.with_timezone("UTC"))))
}
