//! Documents.

use std::collections::BTreeMap;
use std::fmt;

use super::{DocumentId, Value, Vector};

/// An id with values by column name, of attributes and vectors alike. A missing column is null.
///
/// ```
/// use elacsym::{Document, Vector};
///
/// let document = Document::new(7)
///     .with("title", "Cold reads")
///     .with("tags", vec!["search", "storage"])
///     .with("embedding", Vector::from([0.1, 0.9]));
/// assert_eq!(document.get("title"), Some(&"Cold reads".into()));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    id: DocumentId,
    // Ordered, so that a document is encoded and printed in the same way every time.
    values: BTreeMap<String, Value>,
}

impl Document {
    /// A document without values.
    pub fn new(id: impl Into<DocumentId>) -> Self {
        Self { id: id.into(), values: BTreeMap::new() }
    }

    /// Sets a column.
    #[must_use]
    pub fn with(mut self, column: impl Into<String>, value: impl Into<Value>) -> Self {
        self.set(column, value);
        self
    }

    /// Sets a column.
    pub fn set(&mut self, column: impl Into<String>, value: impl Into<Value>) {
        self.values.insert(column.into(), value.into());
    }

    /// The id.
    #[must_use]
    pub fn id(&self) -> &DocumentId {
        &self.id
    }

    /// The value of a column, if the document has it. A stored null reads as `None`.
    #[must_use]
    pub fn get(&self, column: &str) -> Option<&Value> {
        // The store does not distinguish an explicit null from a column that was never set. A document that was not
        // stored yet must not either.
        self.values.get(column).filter(|v| !v.is_null())
    }

    /// The text of a string column.
    ///
    /// This and the methods below are [`Document::get`] with the accessor of [`Value`] of the same name: `None` if the
    /// document does not have the column, or its value is of another type.
    ///
    /// ```
    /// use elacsym::Document;
    ///
    /// let document = Document::new(7).with("title", "Cold reads").with("year", 2024);
    /// assert_eq!(document.str("title"), Some("Cold reads"));
    /// assert_eq!(document.i64("year"), Some(2024));
    /// assert_eq!(document.str("author").unwrap_or("unknown"), "unknown");
    /// ```
    #[must_use]
    pub fn str(&self, column: &str) -> Option<&str> {
        self.get(column)?.as_str()
    }

    /// A whole number in the range of `i64`.
    #[must_use]
    pub fn i64(&self, column: &str) -> Option<i64> {
        self.get(column)?.as_i64()
    }

    /// A whole number in the range of `u64`.
    #[must_use]
    pub fn u64(&self, column: &str) -> Option<u64> {
        self.get(column)?.as_u64()
    }

    /// A number that a float holds exactly.
    #[must_use]
    pub fn f64(&self, column: &str) -> Option<f64> {
        self.get(column)?.as_f64()
    }

    /// True or false.
    #[must_use]
    pub fn bool(&self, column: &str) -> Option<bool> {
        self.get(column)?.as_bool()
    }

    /// A vector. Documents of a query have none, unless it selects them: see [`Select`](crate::Select).
    #[must_use]
    pub fn vector(&self, column: &str) -> Option<&Vector> {
        self.get(column)?.as_vector()
    }

    /// All columns in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(column, value)| (column.as_str(), value))
    }

    /// The id and the values.
    #[must_use]
    pub fn into_parts(self) -> (DocumentId, BTreeMap<String, Value>) {
        (self.id, self.values)
    }
}

/// The id, and the columns in order of their names.
impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id)?;
        for (at, (column, value)) in self.iter().filter(|(_, value)| !value.is_null()).enumerate() {
            let separator = if at == 0 { ": " } else { ", " };
            write!(f, "{separator}{column}={value}")?;
        }
        Ok(())
    }
}
