//! Scalars of any Arrow type to the type of an attribute, without loss.

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryBuilder, GenericByteViewArray, PrimitiveArray,
    TimestampMillisecondArray, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options, take};
use arrow::datatypes::{
    ArrowNativeType, ArrowPrimitiveType, ByteViewType, DataType, Date32Type, Date64Type, Float64Type,
    Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt64Type,
};
use uuid::Uuid;

use super::import_error::ImportError;
use super::layout::to_shared;
use super::size::{check_column_size, offset_length};
use crate::schema::AttributeType;
use crate::schema::numbers::exact_float;
use crate::types::datetime::parse_datetime;

/// Converts a column, or the elements of lists, into the Arrow type of `kind`. Nulls stay where they are.
pub(super) fn import_scalars(kind: AttributeType, array: &ArrayRef) -> Result<ArrayRef, ImportError> {
    if *array.data_type() == DataType::Null {
        return Ok(new_null_array(&kind.arrow_type(), array.len()));
    }
    // Nulls of an untyped column have no values to look at, so they come first; then dictionaries, since every type may
    // be inside one.
    let array = &unpack_dictionary(array)?;
    let converted = match kind {
        AttributeType::String => convert_bytes(array, &DataType::Utf8),
        AttributeType::Int => convert_int(array),
        AttributeType::Uint => convert_uint(array),
        AttributeType::Float => convert_float(array),
        AttributeType::Bool => Ok((*array.data_type() == DataType::Boolean).then(|| array.clone())),
        AttributeType::Uuid => convert_uuid(array),
        AttributeType::Datetime => convert_datetime(array),
        _ => convert_bytes(array, &DataType::Binary),
    };
    converted?.ok_or_else(|| ImportError::wrong_type(kind, array.data_type()))
}

/// An array, or `None` if the type it came in does not convert without loss.
type Converted = Result<Option<ArrayRef>, ImportError>;

/// Arrow's own cast, which fails where a value does not fit. By default it would return null for such a value.
pub(super) fn cast_exact(array: &dyn Array, to: &DataType) -> Result<ArrayRef, ImportError> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, to, &options)
        .map_err(|e| ImportError::in_column(format!("the column cannot be cast: {e}")))
}

/// Replaces a dictionary's keys by its values. The size is checked first: a small dictionary of long strings can stand
/// for terabytes.
fn unpack_dictionary(array: &ArrayRef) -> Result<ArrayRef, ImportError> {
    let Some(dictionary) = array.as_any_dictionary_opt() else { return Ok(array.clone()) };
    let values = match dictionary.values().data_type() {
        DataType::LargeUtf8 | DataType::Utf8View => convert_bytes(dictionary.values(), &DataType::Utf8)?,
        DataType::LargeBinary | DataType::BinaryView => {
            convert_bytes(dictionary.values(), &DataType::Binary)?
        }
        _ => None,
    };
    let values = values.as_ref().unwrap_or_else(|| dictionary.values());
    let keys = cast_exact(dictionary.keys(), &DataType::UInt64)?;
    let keys = keys.as_primitive::<UInt64Type>();
    let length_of: Box<dyn Fn(usize) -> usize> = match values.data_type() {
        DataType::Utf8 => Box::new(|key| offset_length(values.as_string::<i32>().offsets(), key)),
        DataType::Binary => Box::new(|key| offset_length(values.as_binary::<i32>().offsets(), key)),
        DataType::FixedSizeBinary(size) => Box::new(|_| size.as_usize()),
        other if other.is_primitive() || *other == DataType::Boolean => Box::new(|_| 8),
        _ => return Err(ImportError::in_column("a dictionary of an unsupported type")),
    };
    // Arrow checks that the keys of valid rows are below the number of values; beneath a null it may be any number.
    check_column_size(keys.iter().flatten().map(|key| length_of(key.as_usize())))?;
    take(values, keys, None)
        .map_err(|e| ImportError::in_column(format!("the dictionary cannot be unpacked: {e}")))
}

/// Converts text to `Utf8` and bytes to `Binary`. Types with 64-bit offsets or views may hold more than 32-bit offsets
/// reach, so that their size is checked before anything is copied.
fn convert_bytes(array: &ArrayRef, to: &DataType) -> Converted {
    let is_text = *to == DataType::Utf8;
    match array.data_type() {
        from if from == to => return Ok(Some(array.clone())),
        DataType::LargeUtf8 if is_text => check_column_size(array.as_string::<i64>().offsets().lengths())?,
        DataType::LargeBinary if !is_text => check_column_size(array.as_binary::<i64>().offsets().lengths())?,
        DataType::Utf8View if is_text => check_column_size(view_lengths(array.as_string_view()))?,
        DataType::BinaryView if !is_text => check_column_size(view_lengths(array.as_binary_view()))?,
        DataType::FixedSizeBinary(size) if !is_text => {
            // A product that saturates is over the limit as well.
            check_column_size([size.as_usize().saturating_mul(array.len())].into_iter())?;
        }
        _ => return Ok(None),
    }
    cast_exact(array, to).map(Some)
}

/// The lengths of the values of a view array: the low 32 bits of each view, by Arrow's format.
fn view_lengths<T: ByteViewType + ?Sized>(array: &GenericByteViewArray<T>) -> impl Iterator<Item = usize> {
    array.views().iter().map(|view| (view & u128::from(u32::MAX)) as usize)
}

/// Converts every value that is not null, or returns an error with the first row where that fails.
fn convert_values<F: ArrowPrimitiveType, T: ArrowPrimitiveType>(
    array: &PrimitiveArray<F>,
    why: &str,
    convert: impl Fn(F::Native) -> Option<T::Native>,
) -> Result<PrimitiveArray<T>, ImportError> {
    let mut values = Vec::with_capacity(array.len());
    for (row, value) in array.values().iter().enumerate() {
        let converted = convert(*value);
        if converted.is_none() && array.is_valid(row) {
            return Err(ImportError::in_row(row, why));
        }
        // invariant: only a null is left unconverted. Zero beneath it makes equal columns equal in bytes.
        values.push(converted.unwrap_or_default());
    }
    Ok(PrimitiveArray::new(values.into(), array.nulls().cloned()))
}

fn convert_int(array: &ArrayRef) -> Converted {
    let kind = array.data_type();
    if kind.is_unsigned_integer() {
        let wide = cast_exact(array, &DataType::UInt64)?;
        let wide = wide.as_primitive::<UInt64Type>();
        let why = "a number does not fit an int";
        return convert_values::<_, Int64Type>(wide, why, |x| i64::try_from(x).ok())
            .map(|array| Some(to_shared(array)));
    }
    kind.is_signed_integer().then(|| cast_exact(array, &DataType::Int64)).transpose()
}

fn convert_uint(array: &ArrayRef) -> Converted {
    let kind = array.data_type();
    if kind.is_signed_integer() {
        let wide = cast_exact(array, &DataType::Int64)?;
        let wide = wide.as_primitive::<Int64Type>();
        let why = "a number does not fit a uint";
        return convert_values::<_, UInt64Type>(wide, why, |x| u64::try_from(x).ok())
            .map(|array| Some(to_shared(array)));
    }
    kind.is_unsigned_integer().then(|| cast_exact(array, &DataType::UInt64)).transpose()
}

fn convert_float(array: &ArrayRef) -> Converted {
    let why = "a number does not fit a float exactly";
    let kind = array.data_type();
    let floats = if kind.is_signed_integer() {
        let wide = cast_exact(array, &DataType::Int64)?;
        convert_values::<_, Float64Type>(wide.as_primitive::<Int64Type>(), why, |x| exact_float(x.into()))?
    } else if kind.is_unsigned_integer() {
        let wide = cast_exact(array, &DataType::UInt64)?;
        convert_values::<_, Float64Type>(wide.as_primitive::<UInt64Type>(), why, |x| exact_float(x.into()))?
    } else if kind.is_floating() {
        let wide = cast_exact(array, &DataType::Float64)?;
        // No NaN and one zero, as in `coerce_value`.
        let normalize = |x: f64| (!x.is_nan()).then_some(if x == 0.0 { 0.0 } else { x });
        let why = "NaN is not a value";
        convert_values::<_, Float64Type>(wide.as_primitive::<Float64Type>(), why, normalize)?
    } else {
        return Ok(None);
    };
    Ok(Some(to_shared(floats)))
}

fn convert_uuid(array: &ArrayRef) -> Converted {
    // Sixteen bytes are taken for a UUID whatever wrote them: Arrow's UUID extension is metadata, which many writers omit.
    if *array.data_type() == DataType::FixedSizeBinary(16) {
        return Ok(Some(array.clone()));
    }
    if !array.data_type().is_string() {
        return Ok(None);
    }
    let Some(text) = convert_bytes(array, &DataType::Utf8)? else { return Ok(None) };
    let mut builder = FixedSizeBinaryBuilder::with_capacity(array.len(), 16);
    for (row, value) in text.as_string::<i32>().iter().enumerate() {
        let Some(value) = value else {
            builder.append_null();
            continue;
        };
        let uuid = Uuid::try_parse(value).map_err(|_| ImportError::in_row(row, "not a uuid"))?;
        builder.append_value(uuid.as_bytes()).map_err(|e| ImportError::in_row(row, e.to_string()))?;
    }
    Ok(Some(to_shared(builder.finish())))
}

fn convert_datetime(array: &ArrayRef) -> Converted {
    let why = "datetime out of range";
    // Euclidean division rounds towards the past on both sides of 1970, so that the order of datetimes is kept.
    let divide = |unit: i64| move |x: i64| Some(x.div_euclid(unit));
    let times: TimestampMillisecondArray = match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => {
            convert_values(array.as_primitive::<TimestampSecondType>(), why, |x| x.checked_mul(1_000))?
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            array.as_primitive::<TimestampMillisecondType>().clone()
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            convert_values(array.as_primitive::<TimestampMicrosecondType>(), why, divide(1_000))?
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            convert_values(array.as_primitive::<TimestampNanosecondType>(), why, divide(1_000_000))?
        }
        DataType::Date32 => {
            convert_values(array.as_primitive::<Date32Type>(), why, |x| Some(i64::from(x) * 86_400_000))?
        }
        // Date64 is milliseconds already. Arrow specifies whole days, but not every writer complies.
        DataType::Date64 => convert_values(array.as_primitive::<Date64Type>(), why, Some)?,
        kind if kind.is_string() => {
            let Some(texts) = convert_bytes(array, &DataType::Utf8)? else { return Ok(None) };
            let mut times = Vec::with_capacity(texts.len());
            for (row, text) in texts.as_string::<i32>().iter().enumerate() {
                times
                    .push(text.map(parse_datetime).transpose().map_err(|why| ImportError::in_row(row, why))?);
            }
            times.into()
        }
        _ => return Ok(None),
    };
    // Arrow's timestamps are in UTC whatever zone they are shown in: another zone changes the type alone.
    Ok(Some(to_shared(times.with_timezone("UTC"))))
}
