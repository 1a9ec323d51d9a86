//! Datetimes as text: RFC 3339 to milliseconds since 1970 and back.
//!
//! **Invariant:** what [`format_datetime`] writes, [`parse_datetime`] reads back to the same millisecond.

use arrow::array::timezone::Tz;
use arrow::compute::kernels::cast_utils::string_to_datetime;
use arrow::temporal_conversions::timestamp_ms_to_datetime;

/// The first millisecond of the year 0 and the last of the year 9999: the range that RFC 3339 can write.
const RFC_3339_RANGE: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

/// Parses RFC 3339 into milliseconds since 1970. Without a zone the time is UTC, and without a time it is midnight. Digits
/// below a millisecond are dropped, rounding towards the past.
pub(crate) fn parse_datetime(text: &str) -> Result<i64, &'static str> {
    // Arrow's parser, so that a document and a batch of strings agree on every text that is accepted.
    let utc: Tz = "+00:00".parse().map_err(|_| "UTC is not a known time zone")?;
    let time = string_to_datetime(&utc, text).map_err(|_| "not a datetime in RFC 3339")?;
    Ok(time.timestamp_millis())
}

/// Formats milliseconds since 1970 as RFC 3339, or returns `None` outside the years 0 to 9999.
pub(crate) fn format_datetime(milliseconds: i64) -> Option<String> {
    // chrono would write a sign and a fifth digit for other years, which RFC 3339 and `parse_datetime` refuse.
    RFC_3339_RANGE.contains(&milliseconds).then_some(())?;
    let time = timestamp_ms_to_datetime(milliseconds)?;
    Some(time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}
