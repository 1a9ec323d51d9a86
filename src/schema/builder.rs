//! Building a schema, and refusing one that contradicts itself.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::{
    AttributeType, CODE_BITS, COLUMNS_MAX, Column, ColumnKind, ID_COLUMN, Schema, TextOptions,
    VECTOR_COLUMNS_MAX, VectorColumn,
};
use crate::error::{Error, Result};
use crate::types::{COLUMN_NAME_BYTES_MAX, DIMENSION_MAX, IdKind, Metric, VectorType};

/// Collects columns; [`SchemaBuilder::build`] checks them.
#[derive(Clone, Debug)]
pub struct SchemaBuilder {
    id: IdKind,
    columns: Vec<Column>,
    /// A column that was spoken of as a vector column and is none.
    unknown: Option<String>,
    /// A column that was spoken of as declared and is not.
    undeclared: Option<String>,
    /// A column that was spoken of as an attribute and is none.
    no_attribute: Option<String>,
}

impl SchemaBuilder {
    pub(super) fn new(id: IdKind) -> Self {
        Self { id, columns: Vec::new(), unknown: None, undeclared: None, no_attribute: None }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn attribute(self, name: impl Into<String>, kind: AttributeType) -> Self {
        self.column(name, ColumnKind::Attribute(kind))
    }

    /// Adds a vector column.
    #[must_use]
    pub fn vector(
        self,
        name: impl Into<String>,
        element: VectorType,
        dimension: usize,
        metric: Metric,
    ) -> Self {
        self.column(
            name,
            ColumnKind::Vector(VectorColumn { element, dimension, metric, code_bits: CODE_BITS }),
        )
    }

    /// Sets how many bits the index keeps of each dimension of a vector column declared before: 1 to 8. More take
    /// more bytes of each probe, and leave fewer exact vectors to be read. Default 5.
    #[must_use]
    pub fn code_bits(mut self, column: &str, bits: u8) -> Self {
        let declared = self.columns.iter_mut().find(|c| c.name == column).map(|c| &mut c.kind);
        match declared {
            Some(ColumnKind::Vector(vector)) => vector.code_bits = bits,
            Some(ColumnKind::Attribute(_)) | None => self.unknown = Some(column.to_owned()),
        }
        self
    }

    /// Adds a string attribute with full text. It is taken to be long: it has no index for filters, unless
    /// [`filterable`](Self::filterable) asks for one.
    #[must_use]
    pub fn text(self, name: impl Into<String>, options: TextOptions) -> Self {
        let name = name.into();
        self.attribute(name.clone(), AttributeType::String).full_text(&name, options).filterable(&name, false)
    }

    /// Makes an attribute that was declared before, a string or an array of strings, searchable as text.
    #[must_use]
    pub fn full_text(mut self, column: &str, options: TextOptions) -> Self {
        match self.columns.iter_mut().find(|c| c.name == column) {
            Some(declared) => declared.text = Some(options),
            None => self.undeclared = Some(column.to_owned()),
        }
        self
    }

    /// Sets whether an attribute declared before is indexed for filters. Filters on one that is not still work, by
    /// reading its values. Default true.
    #[must_use]
    pub fn filterable(mut self, column: &str, filterable: bool) -> Self {
        match self.columns.iter_mut().find(|c| c.name == column) {
            Some(Column { kind: ColumnKind::Attribute(_), filterable: declared, .. }) => {
                *declared = filterable;
            }
            Some(_) | None => self.no_attribute = Some(column.to_owned()),
        }
        self
    }

    /// Sets whether the index of an attribute declared before, of strings or arrays of strings, has trigrams.
    ///
    /// [`Filter::glob`](crate::Filter::glob), [`iglob`](crate::Filter::iglob), [`regex`](crate::Filter::regex) and
    /// [`fuzzy`](crate::Filter::fuzzy) work on every string. Without trigrams they read all different values of the
    /// column, but for a glob's or regular expression's fast beginning; with them, if three bytes that follow each
    /// other stand fast in the pattern, a few blocks, at the cost of one round trip more. Worth it where different
    /// values are many megabytes: the trigrams take about as many bytes again. Default false.
    #[must_use]
    pub fn trigrams(mut self, column: &str, trigrams: bool) -> Self {
        match self.columns.iter_mut().find(|c| c.name == column) {
            Some(declared) => declared.trigrams = trigrams,
            None => self.no_attribute = Some(column.to_owned()),
        }
        self
    }

    fn column(mut self, name: impl Into<String>, kind: ColumnKind) -> Self {
        self.columns.push(Column { name: name.into(), kind, text: None, filterable: true, trigrams: false });
        self
    }

    /// The schema.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a name that is empty, longer than 128 bytes,
    /// reserved (`id`, a leading `$`), with control characters or used twice; for a dimension of 0 or over
    /// 16,384; for bits of a code other than 1 to 8, or of a column that is no vector column; for full text of a
    /// column that is not declared or holds no strings, and for text options that contradict each other; for
    /// `filterable` of a column that is no attribute; for trigrams of one that holds no strings or is not
    /// filterable; for more than 1,024 columns or 8 vector columns.
    pub fn build(self) -> Result<Schema> {
        if let Some(column) = self.unknown {
            return Err(Error::invalid(format!("bits of a code are of a vector column. column=`{column}`")));
        }
        if let Some(column) = self.undeclared {
            return Err(Error::invalid(format!("full text of a column not declared. column=`{column}`")));
        }
        if let Some(column) = self.no_attribute {
            let why = "only an attribute is filterable or not, or has trigrams";
            return Err(Error::invalid(format!("{why}. column=`{column}`")));
        }
        let mut seen = HashSet::new();
        for column in &self.columns {
            check_name(&column.name)?;
            if !seen.insert(column.name.as_str()) {
                return Err(Error::invalid(format!("column declared twice. column=`{}`", column.name)));
            }
            check_text(column)?;
            check_trigrams(column)?;
            if let ColumnKind::Vector(vector) = column.kind
                && !(1..=DIMENSION_MAX).contains(&vector.dimension)
            {
                return Err(Error::invalid(format!(
                    "bad dimension: 1 to {DIMENSION_MAX} are allowed. column=`{}` dimension=`{}`",
                    column.name, vector.dimension
                )));
            }
            if let ColumnKind::Vector(vector) = column.kind
                && !(1..=8).contains(&vector.code_bits)
            {
                return Err(Error::invalid(format!(
                    "bad number of bits: 1 to 8 are allowed. column=`{}` bits=`{}`",
                    column.name, vector.code_bits
                )));
            }
        }
        let schema = Schema { id: self.id, columns: self.columns };
        if schema.columns.len() > COLUMNS_MAX {
            return Err(Error::invalid(format!("more than {COLUMNS_MAX} columns")));
        }
        if schema.vectors().count() > VECTOR_COLUMNS_MAX {
            return Err(Error::invalid(format!("more than {VECTOR_COLUMNS_MAX} vector columns")));
        }
        Ok(schema)
    }
}

fn check_text(column: &Column) -> Result<()> {
    let Some(options) = &column.text else { return Ok(()) };
    match column.kind {
        ColumnKind::Attribute(AttributeType::String) => options.check(&column.name, false),
        ColumnKind::Attribute(AttributeType::StringArray) => options.check(&column.name, true),
        ColumnKind::Attribute(_) | ColumnKind::Vector(_) => {
            let why = "full text is of strings and arrays of strings";
            Err(Error::invalid(format!("{why}. column=`{}`", column.name)))
        }
    }
}

fn check_trigrams(column: &Column) -> Result<()> {
    let why = match column.kind {
        _ if !column.trigrams => return Ok(()),
        ColumnKind::Attribute(AttributeType::String | AttributeType::StringArray) if column.filterable => {
            return Ok(());
        }
        ColumnKind::Attribute(AttributeType::String | AttributeType::StringArray) => "it is not filterable",
        ColumnKind::Attribute(_) | ColumnKind::Vector(_) => "they are of strings and arrays of strings",
    };
    Err(Error::invalid(format!("no trigrams: {why}. column=`{}`", column.name)))
}

fn check_name(name: &str) -> Result<()> {
    let why = if name.is_empty() {
        "it is empty"
    } else if name.len() > COLUMN_NAME_BYTES_MAX {
        "it is longer than 128 bytes"
    } else if name == ID_COLUMN || name.starts_with('$') {
        "it is reserved"
    } else if name.chars().any(char::is_control) {
        "it has control characters"
    } else {
        return Ok(());
    };
    let shown: String = name.chars().take(32).flat_map(char::escape_default).collect();
    Err(Error::invalid(format!("bad column name: {why}. column=`{shown}`")))
}

/// A schema as it is stored: read back through the same checks.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Stored {
    id: IdKind,
    columns: Vec<Column>,
}

impl From<Schema> for Stored {
    fn from(schema: Schema) -> Self {
        Self { id: schema.id, columns: schema.columns }
    }
}

impl TryFrom<Stored> for Schema {
    type Error = Error;

    fn try_from(stored: Stored) -> Result<Self> {
        let Stored { id, columns } = stored;
        SchemaBuilder { columns, ..SchemaBuilder::new(id) }.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder() -> SchemaBuilder {
        Schema::builder(IdKind::U64)
    }

    #[test]
    fn contradictions_are_refused() {
        let twice = builder().attribute("a", AttributeType::Int).attribute("a", AttributeType::Int);
        assert!(twice.build().is_err());
        for name in ["", "id", "$score", "a\nb", &"x".repeat(129)] {
            assert!(builder().attribute(name, AttributeType::Int).build().is_err(), "{name:?}");
        }
        for dimension in [0, DIMENSION_MAX + 1] {
            assert!(builder().vector("v", VectorType::F32, dimension, Metric::Dot).build().is_err());
        }
        for bits in [0, 9] {
            let vector = builder().vector("v", VectorType::F32, 4, Metric::Dot).code_bits("v", bits);
            assert!(vector.build().is_err());
        }
        assert!(builder().attribute("a", AttributeType::Int).code_bits("a", 4).build().is_err());
        assert!(builder().filterable("a", true).build().is_err());
        assert!(builder().trigrams("a", true).build().is_err());
        let strings = || builder().attribute("a", AttributeType::StringArray).trigrams("a", true);
        assert!(strings().build().is_ok() && strings().filterable("a", false).build().is_err());
        assert!(builder().attribute("a", AttributeType::Int).trigrams("a", true).build().is_err());
        let nine = (0..9).fold(builder(), |b, i| b.vector(format!("v{i}"), VectorType::I8, 4, Metric::Dot));
        assert!(nine.build().is_err());
    }

    #[test]
    fn a_stored_schema_reads_back_through_the_same_checks() {
        let schema = builder()
            .attribute("a", AttributeType::DatetimeArray)
            .vector("v", VectorType::F16, 3, Metric::Cosine)
            .code_bits("v", 7)
            .filterable("a", false)
            .build()
            .unwrap();
        let json = serde_json::to_string(&schema).unwrap();
        assert_eq!(serde_json::from_str::<Schema>(&json).unwrap(), schema);
        let bad = json.replace("\"a\"", "\"id\"");
        assert!(serde_json::from_str::<Schema>(&bad).is_err());
    }
}
