//! Numbers of columns.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The number of a column: given when the column is declared, kept when it is renamed, and never used again. Everything
/// that is stored of a column refers to it by this number. The id of documents is column 0.
///
/// ```
/// use elacsym::schema::{AttributeType, Schema};
/// use elacsym::{ColumnId, IdKind};
///
/// let schema = Schema::builder(IdKind::U64).attribute("year", AttributeType::Int).build()?;
/// assert_eq!(schema.columns()[0].id, ColumnId(1));
/// # Ok::<_, elacsym::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ColumnId(pub u32);

impl ColumnId {
    /// The id of documents, which is no column of the schema.
    pub(crate) const DOCUMENT_ID: Self = Self(0);
}

impl fmt::Display for ColumnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for ColumnId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u32(self.0)
    }
}

impl<'de> Deserialize<'de> for ColumnId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ColumnIdVisitor)
    }
}

/// Reads a number, or its digits: as the key of a JSON object, a number is a string.
struct ColumnIdVisitor;

impl de::Visitor<'_> for ColumnIdVisitor {
    type Value = ColumnId;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the number of a column")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<ColumnId, E> {
        u32::try_from(number).map(ColumnId).map_err(E::custom)
    }

    fn visit_str<E: de::Error>(self, digits: &str) -> Result<ColumnId, E> {
        // One spelling for each number: two keys of an object must not be one column.
        let id = digits.parse().map(ColumnId).map_err(E::custom)?;
        if id.to_string() == digits { Ok(id) } else { Err(E::custom("not the number of a column")) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_number_is_a_number_and_as_a_key_its_digits() {
        let map = BTreeMap::from([(ColumnId(7), ColumnId(u32::MAX))]);
        let json = serde_json::to_string(&map).unwrap();
        assert_eq!(json, r#"{"7":4294967295}"#);
        assert_eq!(serde_json::from_str::<BTreeMap<ColumnId, ColumnId>>(&json).unwrap(), map);
        for bad in [r#""07""#, r#""+7""#, r#""x""#, "-1", "4294967296", "1.5", "null"] {
            assert!(serde_json::from_str::<ColumnId>(bad).is_err(), "{bad}");
        }
    }
}
