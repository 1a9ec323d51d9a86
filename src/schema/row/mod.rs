//! Rows: any type that serde knows, into documents and back.
//!
//! **Invariant:** a message from here names the field, and shows no value.
//!
//! Both ways count as human readable: a UUID is a string to types that ask.

mod de;
mod error;
mod fields;
mod ser;
#[cfg(test)]
mod tests;

pub(crate) use error::RowError;

use arrow::array::timezone::Tz;
use arrow::compute::kernels::cast_utils::string_to_datetime;
use arrow::temporal_conversions::timestamp_ms_to_datetime;

/// Milliseconds of a datetime in RFC 3339, or why it is none. Without a zone it is UTC; what is finer than a
/// millisecond is cut off, towards the past.
pub(super) fn parse_datetime(text: &str) -> Result<i64, &'static str> {
    let utc: Tz = "+00:00".parse().map_err(|_| "no UTC")?;
    let time = string_to_datetime(&utc, text).map_err(|_| "not a datetime in RFC 3339")?;
    Ok(time.timestamp_millis())
}

/// A datetime in RFC 3339, which ends with the year 9999 and knows none before 0.
fn format_datetime(milliseconds: i64) -> Option<String> {
    (-62_167_219_200_000..=253_402_300_799_999).contains(&milliseconds).then_some(())?;
    let time = timestamp_ms_to_datetime(milliseconds)?;
    Some(time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}
