//! Builds a schema and refuses a contradictory one.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::{
    AttributeType, CODE_BITS, COLUMNS_MAX, Column, ColumnKind, ID_COLUMN, Schema, TextOptions,
    VECTOR_COLUMNS_MAX, VectorColumn,
};
use crate::error::{Error, Result, escaped_start};
use crate::types::{COLUMN_NAME_BYTES_MAX, ColumnId, DIMENSION_MAX, IdKind, Metric, VectorType};

/// The version of the schema that a namespace is created with.
const FIRST_VERSION: u32 = 1;
/// 0 is the id of documents.
const FIRST_COLUMN: ColumnId = ColumnId(1);

/// Collects columns; [`SchemaBuilder::build`] checks them. Every column except the id is nullable: no document needs a
/// value for it.
///
/// ```
/// use elacsym::schema::{AttributeType, Schema, TextOptions};
/// use elacsym::{IdKind, Metric, VectorType};
///
/// let builder = Schema::builder(IdKind::String)
///     .text("body", TextOptions::default())
///     .attribute("tags", AttributeType::StringArray)
///     .vector("embedding", VectorType::F16, 384, Metric::Cosine);
/// assert_eq!(builder.clone().build()?.columns().len(), 3);
/// let twice = builder.attribute("tags", AttributeType::Int);
/// assert_eq!(twice.build().unwrap_err().to_string(), "duplicate column. column=`tags`");
/// # Ok::<_, elacsym::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SchemaBuilder {
    id: IdKind,
    columns: Vec<Column>,
    /// The first mistake of a method that sets options of a column. Methods of a builder return the builder; `build`
    /// reports it.
    mistake: Option<String>,
}

impl SchemaBuilder {
    pub(super) fn new(id: IdKind) -> Self {
        Self { id, columns: Vec::new(), mistake: None }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn attribute(self, name: impl Into<String>, kind: AttributeType) -> Self {
        self.push_column(name, ColumnKind::Attribute(kind))
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
        self.push_column(
            name,
            ColumnKind::Vector(VectorColumn { element, dimension, metric, code_bits: CODE_BITS }),
        )
    }

    /// Sets how many bits the index keeps of each dimension of a vector column declared before: 1 to 8. More bits make
    /// codes larger and leave fewer exact vectors to read. Default 5.
    #[must_use]
    pub fn code_bits(mut self, column: &str, bits: u8) -> Self {
        // Of a name that is declared twice this is the first; `build` refuses the schema in any case.
        let declared = self.columns.iter_mut().find(|c| c.name == column).map(|c| &mut c.kind);
        match declared {
            Some(ColumnKind::Vector(vector)) => vector.code_bits = bits,
            Some(ColumnKind::Attribute(_)) | None => {
                self.note_mistake("code bits need a vector column", column);
            }
        }
        self
    }

    /// Adds a string attribute with full text. Such text is assumed to be long: it has no index for filters unless
    /// [`filterable`](Self::filterable) requests one.
    ///
    /// ```
    /// use elacsym::schema::{Language, TextOptions};
    /// use elacsym::{IdKind, Schema};
    ///
    /// let plain = Schema::builder(IdKind::U64).text("body", TextOptions::default()).build()?;
    /// // A language alone stands for the options with its stemming.
    /// let english = Schema::builder(IdKind::U64).text("body", Language::English).build()?;
    /// assert_ne!(plain, english);
    /// # Ok::<(), elacsym::Error>(())
    /// ```
    #[must_use]
    pub fn text(self, name: impl Into<String>, options: impl Into<TextOptions>) -> Self {
        let name = name.into();
        // An index by value would store every text a second time, and nobody compares long texts for equality.
        self.attribute(name.clone(), AttributeType::String).full_text(&name, options).filterable(&name, false)
    }

    /// Makes an attribute declared before, a string or an array of strings, searchable as text.
    #[must_use]
    pub fn full_text(mut self, column: &str, options: impl Into<TextOptions>) -> Self {
        match self.columns.iter_mut().find(|c| c.name == column) {
            Some(declared) => declared.text = Some(options.into()),
            None => self.note_mistake("full text of a column that is not declared", column),
        }
        self
    }

    /// Sets whether an attribute declared before is indexed for filters. Without an index, filters still work by
    /// reading the values of the column. Default true.
    #[must_use]
    pub fn filterable(mut self, column: &str, filterable: bool) -> Self {
        match self.columns.iter_mut().find(|c| c.name == column) {
            Some(Column { kind: ColumnKind::Attribute(_), filterable: declared, .. }) => {
                *declared = filterable;
            }
            Some(_) | None => self.note_mistake("only an attribute can be filterable", column),
        }
        self
    }

    /// Sets whether the index of an attribute declared before, of strings or arrays of strings, has trigrams.
    ///
    /// [`Filter::glob`](crate::Filter::glob), [`iglob`](crate::Filter::iglob), [`regex`](crate::Filter::regex) and
    /// [`fuzzy`](crate::Filter::fuzzy) work on every string column. Without trigrams they read all distinct values of
    /// the column, unless a glob or regular expression has a literal prefix. With trigrams, a pattern with three literal
    /// bytes in a row reads a few blocks instead, at the cost of one more round trip. This pays off where distinct
    /// values are many megabytes: the trigrams take about as many bytes again. Default false.
    #[must_use]
    pub fn trigrams(mut self, column: &str, trigrams: bool) -> Self {
        match self.columns.iter_mut().find(|c| c.name == column) {
            Some(declared) => declared.trigrams = trigrams,
            None => self.note_mistake("trigrams of a column that is not declared", column),
        }
        self
    }

    fn note_mistake(&mut self, why: &str, column: &str) {
        self.mistake.get_or_insert_with(|| format!("{why}. column=`{column}`"));
    }

    fn push_column(mut self, name: impl Into<String>, kind: ColumnKind) -> Self {
        // invariant: the first column has the first number; more columns than numbers are more than `build` allows.
        let id = self.columns.last().map_or(FIRST_COLUMN, |last| ColumnId(last.id.0.saturating_add(1)));
        self.columns.push(Column {
            id,
            name: name.into(),
            kind,
            text: None,
            filterable: true,
            trigrams: false,
        });
        self
    }

    /// Checks the columns and returns the schema.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a name that is empty, longer than 128 bytes,
    /// reserved (`id`, a leading `$`), with control characters or used twice; for a dimension of 0 or over
    /// 16,384; for code bits other than 1 to 8, or of a column that is not a vector column; for full text
    /// of a column that is not declared or does not hold strings, and for text options that contradict each other; for
    /// `filterable` of a column that is not an attribute; for trigrams of a column that does not hold strings or is not
    /// filterable; for more than 1,024 columns or 8 vector columns.
    pub fn build(self) -> Result<Schema> {
        if let Some(mistake) = self.mistake {
            return Err(Error::invalid(mistake));
        }
        // Columns first, so that an error names one; the totals of all columns last.
        let mut seen = HashSet::new();
        for column in &self.columns {
            check_name(&column.name)?;
            if !seen.insert(column.name.as_str()) {
                return Err(Error::invalid(format!("duplicate column. column=`{}`", column.name)));
            }
            check_text(column)?;
            check_trigrams(column)?;
            if let ColumnKind::Vector(vector) = column.kind {
                check_vector(&column.name, vector)?;
            }
        }
        let next_column = self.columns.iter().map(|column| ColumnId(column.id.0.saturating_add(1))).max();
        let schema = Schema {
            version: FIRST_VERSION,
            id: self.id,
            // invariant: a schema without columns gives the first number next.
            next_column: next_column.unwrap_or(FIRST_COLUMN),
            columns: self.columns,
        };
        if schema.columns.len() > COLUMNS_MAX {
            return Err(Error::invalid(format!("more than {COLUMNS_MAX} columns")));
        }
        if schema.vectors().count() > VECTOR_COLUMNS_MAX {
            return Err(Error::invalid(format!("more than {VECTOR_COLUMNS_MAX} vector columns")));
        }
        Ok(schema)
    }
}

fn check_vector(name: &str, vector: VectorColumn) -> Result<()> {
    let VectorColumn { dimension, code_bits, .. } = vector;
    if !(1..=DIMENSION_MAX).contains(&dimension) {
        let why = format!("bad dimension: 1 to {DIMENSION_MAX} are allowed");
        return Err(Error::invalid(format!("{why}. column=`{name}` dimension=`{dimension}`")));
    }
    // From 9 bits on, a code would be larger than an i8 vector.
    if !(1..=8).contains(&code_bits) {
        let why = "bad number of code bits: 1 to 8 are allowed";
        return Err(Error::invalid(format!("{why}. column=`{name}` bits=`{code_bits}`")));
    }
    Ok(())
}

fn check_text(column: &Column) -> Result<()> {
    let Some(options) = &column.text else { return Ok(()) };
    match column.kind {
        ColumnKind::Attribute(AttributeType::String) => options.check(&column.name, false),
        ColumnKind::Attribute(AttributeType::StringArray) => options.check(&column.name, true),
        ColumnKind::Attribute(_) | ColumnKind::Vector(_) => {
            let why = "full text needs a column of strings or arrays of strings";
            Err(Error::invalid(format!("{why}. column=`{}`", column.name)))
        }
    }
}

fn check_trigrams(column: &Column) -> Result<()> {
    let why = match column.kind {
        _ if !column.trigrams => return Ok(()),
        // Trigrams lead to keys of the attribute index: without that index there is nothing to lead to.
        ColumnKind::Attribute(AttributeType::String | AttributeType::StringArray) if column.filterable => {
            return Ok(());
        }
        ColumnKind::Attribute(AttributeType::String | AttributeType::StringArray) => {
            "the column is not filterable"
        }
        ColumnKind::Attribute(_) | ColumnKind::Vector(_) => {
            "the column holds neither strings nor arrays of strings"
        }
    };
    Err(Error::invalid(format!("bad trigrams: {why}. column=`{}`", column.name)))
}

// Names become Arrow fields, Parquet columns and JSON keys, which take any text: what is refused would mislead a reader
// or collide with a name of the crate.
fn check_name(name: &str) -> Result<()> {
    let why = if name.is_empty() {
        "it is empty"
    } else if name.len() > COLUMN_NAME_BYTES_MAX {
        "it is longer than 128 bytes"
    } else if name == ID_COLUMN || name.starts_with('$') {
        // `$` is for the columns that queries add, such as `$score`.
        "it is reserved"
    } else if name.chars().any(char::is_control) {
        "it has control characters"
    } else {
        return Ok(());
    };
    let shown = escaped_start(name, 32);
    Err(Error::invalid(format!("bad column name: {why}. column=`{shown}`")))
}

/// A schema as it is stored. Reading it passes through the builder, so that a stored schema that was tampered with is
/// refused by the same checks as a new one.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredSchema {
    version: u32,
    id: IdKind,
    next_column: ColumnId,
    columns: Vec<Column>,
}

impl From<Schema> for StoredSchema {
    fn from(schema: Schema) -> Self {
        let Schema { version, id, next_column, columns } = schema;
        Self { version, id, next_column, columns }
    }
}

impl TryFrom<StoredSchema> for Schema {
    type Error = Error;

    fn try_from(stored: StoredSchema) -> Result<Self> {
        let StoredSchema { version, id, next_column, columns } = stored;
        if version < FIRST_VERSION {
            return Err(Error::invalid("bad version of a schema. version=`0`"));
        }
        let mut seen = HashSet::new();
        let mut is_numbered = |c: &Column| (FIRST_COLUMN..next_column).contains(&c.id) && seen.insert(c.id);
        if !columns.iter().all(&mut is_numbered) {
            return Err(Error::invalid("the numbers of columns are not distinct, or not below the next one"));
        }
        let built = SchemaBuilder { columns, ..SchemaBuilder::new(id) }.build()?;
        Ok(Self { version, next_column, ..built })
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
        for (from, to) in [
            ("\"a\"", "\"id\""),
            ("\"version\":1", "\"version\":0"),
            ("{\"id\":2", "{\"id\":1"),
            ("{\"id\":1", "{\"id\":0"),
            ("\"next_column\":3", "\"next_column\":2"),
        ] {
            let bad = json.replace(from, to);
            assert!(bad != json && serde_json::from_str::<Schema>(&bad).is_err(), "{to}");
        }
    }
}
