//! Statistics of a segment, a zone map: the bounds of the values of each attribute. They are in the manifest, so that
//! a filter can prune a segment before anything of it is read.
//!
//! **Invariant:** they are true of every row that was written. Deletes keep them true: what they rule out stays ruled
//! out, and bounds may only be wider than the rows that live.

use std::fmt;

use arrow::array::Array;
use arrow::record_batch::RecordBatch;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::codec::{UnknownFields, to_u32};
use crate::error::{Error, Result};
use crate::index::attributes::each_key;
use crate::schema::{AttributeType, Column, ColumnKind, Schema};
use crate::types::{ColumnId, DocumentId};

/// The most bytes of a bound: enough for every type of fixed width, a UUID and most strings. The greatest key of this
/// length may have been cut, and stands for all keys that begin with it.
pub(crate) const BOUND_BYTES_MAX: usize = 32;

/// At most this many attributes, the first of the schema, have statistics: about 20 KiB of a manifest for a segment.
const COLUMNS_MAX: usize = 128;

/// The bounds of the values of an attribute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ColumnStatistics {
    /// Rows without a value.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) nulls: u32,
    /// The least and the greatest key, of arrays those of their elements; `None` without any value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bounds: Option<(KeyPrefix, KeyPrefix)>,
    #[serde(flatten)]
    pub(super) unknown: UnknownFields,
}

/// The first bytes of the key of a value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyPrefix(Box<[u8]>);

/// Collects the statistics of a segment.
#[derive(Debug)]
pub(crate) struct ColumnStatisticsBuilder {
    columns: Vec<CollectedColumn>,
}

#[derive(Debug)]
struct CollectedColumn {
    id: ColumnId,
    /// Where it is in a batch: behind the id.
    index: usize,
    statistics: ColumnStatistics,
}

impl ColumnStatisticsBuilder {
    pub(crate) fn new(schema: &Schema) -> Self {
        let has_statistics = |column: &Column| match column.kind {
            // Filters on a column that only text queries use are rare, and bounds of prose prune nothing.
            ColumnKind::Attribute(_) => column.filterable || column.text.is_none(),
            ColumnKind::Vector(_) => false,
        };
        let columns = schema.arrow_columns().filter(|(_, column)| has_statistics(column));
        let columns = columns.take(COLUMNS_MAX).map(|(index, column)| CollectedColumn {
            id: column.id,
            index,
            statistics: ColumnStatistics::default(),
        });
        Self { columns: columns.collect() }
    }

    /// Adds rows of the segment.
    pub(crate) fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        for CollectedColumn { index, statistics, .. } in &mut self.columns {
            let array = batch.columns().get(*index);
            let array = array.ok_or_else(|| Error::internal("an attribute is missing"))?;
            let nulls = to_u32(array.null_count(), "the number of nulls")?;
            statistics.nulls = statistics
                .nulls
                .checked_add(nulls)
                .ok_or_else(|| Error::internal("more nulls than a segment has rows"))?;
            each_key(array, |_, key| statistics.include_key(key))?;
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> impl Iterator<Item = (ColumnId, ColumnStatistics)> {
        self.columns.into_iter().map(|column| (column.id, column.statistics))
    }
}

impl ColumnStatistics {
    fn include_key(&mut self, key: &[u8]) {
        let key = key_prefix(key);
        // Prefixes compare as their keys do, or are equal: the least prefix is that of the least key.
        match &mut self.bounds {
            None => self.bounds = Some((KeyPrefix::new(key), KeyPrefix::new(key))),
            Some((min, _)) if key < &*min.0 => *min = KeyPrefix::new(key),
            Some((_, max)) if key > &*max.0 => *max = KeyPrefix::new(key),
            Some(_) => {}
        }
    }

    /// The statistics of the ids of a segment, which its meta has as bounds already.
    pub(crate) fn from_id_range(min: &DocumentId, max: &DocumentId) -> Self {
        let key = |id: &DocumentId| match id {
            DocumentId::U64(id) => KeyPrefix::new(&id.to_be_bytes()),
            // invariant: the bounds come from stored ids, of which none is below zero.
            DocumentId::Negative(_) => KeyPrefix::new(&[0; 8]),
            DocumentId::Uuid(id) => KeyPrefix::new(id.as_bytes()),
            DocumentId::String(id) => KeyPrefix::new(id.as_bytes()),
        };
        Self { bounds: Some((key(min), key(max))), ..Self::default() }
    }

    /// Whether they can be those of `rows` rows of a type.
    pub(super) fn is_sound(&self, rows: u32, kind: AttributeType) -> bool {
        // invariant: a type that is not an array is the type of its values.
        let fits = |key: &KeyPrefix| match kind.element().unwrap_or(kind) {
            AttributeType::String | AttributeType::Bytes => true,
            AttributeType::Bool => key.0.len() == 1,
            AttributeType::Uuid => key.0.len() == 16,
            _ => key.0.len() == 8,
        };
        // Bounds of a width that the type does not have would be compared with keys of another meaning.
        let within =
            |(min, max): &(KeyPrefix, KeyPrefix)| self.nulls < rows && min <= max && fits(min) && fits(max);
        self.nulls <= rows && self.bounds.as_ref().is_none_or(within)
    }
}

impl KeyPrefix {
    fn new(key: &[u8]) -> Self {
        Self(key_prefix(key).into())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The part of a key that bounds keep.
pub(crate) fn key_prefix(key: &[u8]) -> &[u8] {
    // invariant: a key that is shorter is its own prefix.
    key.get(..BOUND_BYTES_MAX).unwrap_or(key)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// As hexadecimal digits.
impl fmt::Display for KeyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Handles show their state and may be logged: values must not appear there.
impl fmt::Debug for KeyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPrefix({} bytes)", self.0.len())
    }
}

impl Serialize for KeyPrefix {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyPrefix {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // Hexadecimal, since a cut key may end within a character of UTF-8.
        let text = String::deserialize(from)?;
        let bad = || de::Error::custom("not up to 32 bytes as hexadecimal digits");
        if text.len() > 2 * BOUND_BYTES_MAX {
            return Err(bad());
        }
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return Err(bad()) };
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let byte = |[high, low]: &[u8; 2]| Some(digit(*high)? << 4 | digit(*low)?);
        let bytes: Option<Box<[u8]>> = pairs.iter().map(byte).collect();
        bytes.map(Self).ok_or_else(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Document, IdKind, Value};

    fn schema() -> Schema {
        Schema::builder(IdKind::U64)
            .attribute("n", AttributeType::Int)
            .attribute("tags", AttributeType::StringArray)
            .attribute("none", AttributeType::Float)
            .text("body", crate::schema::TextOptions::default())
            .build()
            .unwrap()
    }

    fn known() -> Vec<(ColumnId, ColumnStatistics)> {
        let rows = [
            Document::new(1).with("n", 5).with("tags", Vec::<Value>::new()).with("body", "x"),
            Document::new(2).with("n", -1).with("tags", ["b", "c"]),
            Document::new(3).with("tags", vec!["a", &"z".repeat(40)]),
        ];
        let mut builder = ColumnStatisticsBuilder::new(&schema());
        let rows = schema().to_batch(&rows).unwrap();
        builder.push(&rows.slice(0, 1)).unwrap();
        builder.push(&rows.slice(1, 2)).unwrap();
        builder.finish().collect()
    }

    #[test]
    fn they_say_what_values_lie_between() {
        let json = serde_json::to_value(known()).unwrap();
        let expected = serde_json::json!([
            [1, {"nulls": 1, "bounds": ["7fffffffffffffff", "8000000000000005"]}],
            [2, {"bounds": ["61", "7a".repeat(32)]}],
            [3, {"nulls": 3}],
        ]);
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_value::<Vec<(ColumnId, ColumnStatistics)>>(json).unwrap(), known());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for bad in ["\"6\"", "\"6g\"", "\"+1\"", "\"é\"", &format!("\"{}\"", "00".repeat(33)), "7"] {
            assert!(serde_json::from_str::<KeyPrefix>(bad).is_err(), "{bad}");
        }
        let known = known();
        let (int, texts, none) = (&known[0].1, &known[1].1, &known[2].1);
        assert!(int.is_sound(3, AttributeType::Int) && texts.is_sound(3, AttributeType::StringArray));
        assert!(none.is_sound(3, AttributeType::Float) && !none.is_sound(2, AttributeType::Float));
        assert!(!int.is_sound(1, AttributeType::Int), "values of none");
        assert!(!int.is_sound(3, AttributeType::BoolArray) && !int.is_sound(3, AttributeType::Uuid));
        let (min, max) = int.bounds.clone().unwrap();
        let backwards = ColumnStatistics { bounds: Some((max, min)), ..ColumnStatistics::default() };
        assert!(!backwards.is_sound(3, AttributeType::Int));
    }
}
