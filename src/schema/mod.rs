//! The schema of a namespace: the columns of its documents.
//!
//! **Invariant:** a [`Schema`] is always consistent: [`SchemaBuilder::build`] checks it, and decoding passes through it.

mod arrow;
mod builder;
mod check;
mod convert;
mod difference;
#[cfg(test)]
mod fuzz;
mod ids;
mod numbers;
mod row;
mod text;
mod vectors;
mod versions;

pub use builder::SchemaBuilder;
pub(crate) use check::{coerce_value, coerce_vector, type_mismatch};
pub(crate) use ids::Ids;
pub use text::{Language, TextOptions, Tokenizer};
pub(crate) use versions::SchemaVersions;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::types::{ColumnId, IdKind, Metric, VectorType};

/// The name of the id column in filters, record batches and Parquet.
pub const ID_COLUMN: &str = "id";
/// The maximum number of columns of a schema.
pub const COLUMNS_MAX: usize = 1_024;
/// The maximum number of vector columns of a schema.
pub const VECTOR_COLUMNS_MAX: usize = 8;

/// The columns of a namespace and the kind of its ids. Every column except the id is nullable: a document without a value
/// for it has a null there.
///
/// ```
/// use elacsym::schema::{AttributeType, Schema};
/// use elacsym::{IdKind, Metric, VectorType};
///
/// let schema = Schema::builder(IdKind::U64)
///     .attribute("title", AttributeType::String)
///     .attribute("tags", AttributeType::StringArray)
///     .vector("embedding", VectorType::F32, 384, Metric::Cosine)
///     .build()?;
/// assert_eq!(schema.columns().len(), 3);
/// # Ok::<(), elacsym::Error>(())
/// ```
// A schema is stored in `OPEN` and in every manifest. Decoding passes through the builder, so that no later code
// has to check a schema.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "builder::StoredSchema", into = "builder::StoredSchema")]
pub struct Schema {
    /// 1 for the schema that the namespace was created with, and one more for each change.
    version: u32,
    id: IdKind,
    /// The number of the next column that is declared, so that none is used again.
    next_column: ColumnId,
    columns: Vec<Column>,
}

/// A column: an attribute or a vector.
///
/// ```
/// use elacsym::schema::{Schema, TextOptions};
///
/// let schema = Schema::builder(elacsym::IdKind::U64).text("body", TextOptions::default()).build()?;
/// let column = schema.column("body").unwrap();
/// assert!(column.text.is_some() && !column.filterable);
/// # Ok::<_, elacsym::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Column {
    /// The number, by which everything that is stored refers to the column. The first column has 1.
    pub id: ColumnId,
    /// The name, unique in the schema.
    pub name: String,
    /// What the column holds.
    #[serde(flatten)]
    pub kind: ColumnKind,
    /// Full-text options, if the column is searchable as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<TextOptions>,
    /// Whether an attribute is indexed for filters. Without an index, filters read the values. Default true.
    // Options at their default are not written: a schema without them stays short, and its stored form does not change
    // when an option is added.
    #[serde(default = "filterable_default", skip_serializing_if = "is_filterable")]
    pub filterable: bool,
    /// Whether the index of an attribute has trigrams, for patterns and fuzzy filters. Default false.
    #[serde(default, skip_serializing_if = "has_no_trigrams")]
    pub trigrams: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn has_no_trigrams(trigrams: &bool) -> bool {
    !*trigrams
}

fn filterable_default() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_filterable(filterable: &bool) -> bool {
    *filterable
}

/// What a column holds. Every column may be null.
///
/// ```
/// use elacsym::schema::{AttributeType, ColumnKind, Schema};
///
/// let schema = Schema::builder(elacsym::IdKind::U64).attribute("year", AttributeType::Int).build()?;
/// for column in schema.columns() {
///     match column.kind {
///         ColumnKind::Attribute(kind) => println!("{}: {kind}", column.name),
///         ColumnKind::Vector(shape) => println!("{}: {} dimensions", column.name, shape.dimension),
///     }
/// }
/// # Ok::<_, elacsym::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnKind {
    /// A typed attribute.
    Attribute(AttributeType),
    /// A vector of fixed dimension.
    Vector(VectorColumn),
}

/// The shape of a vector column.
///
/// ```
/// use elacsym::{IdKind, Metric, Schema, VectorType};
///
/// let schema = Schema::builder(IdKind::U64).vector("v", VectorType::F16, 384, Metric::Dot).build()?;
/// let (name, shape) = schema.vectors().next().unwrap();
/// assert_eq!((name, shape.element, shape.dimension), ("v", VectorType::F16, 384));
/// # Ok::<_, elacsym::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VectorColumn {
    /// The type in which components are stored.
    pub element: VectorType,
    /// The number of components.
    pub dimension: usize,
    /// How distance is measured.
    pub metric: Metric,
    /// The bits of each dimension in the index's codes, 1 to 8. Default 5.
    #[serde(default = "code_bits_default")]
    pub code_bits: u8,
}

/// The default of [`VectorColumn::code_bits`]: codes of 5 bits rank well by themselves, so that few exact vectors have
/// to be read to decide the order.
pub(crate) const CODE_BITS: u8 = 5;

fn code_bits_default() -> u8 {
    CODE_BITS
}

/// The type of an attribute: a scalar, or an array of scalars.
///
/// ```
/// use elacsym::schema::{AttributeType, Schema};
///
/// let tags = AttributeType::array(AttributeType::String).unwrap();
/// assert_eq!((tags, tags.to_string().as_str()), (AttributeType::StringArray, "[]string"));
/// let schema = Schema::builder(elacsym::IdKind::U64).attribute("tags", tags).build()?;
/// # Ok::<_, elacsym::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttributeType {
    /// UTF-8 text.
    String,
    /// A signed 64-bit number.
    Int,
    /// An unsigned 64-bit number.
    Uint,
    /// A 64-bit float.
    Float,
    /// True or false.
    Bool,
    /// A UUID.
    Uuid,
    /// Milliseconds since 1970-01-01 UTC: a [`Value::Datetime`](crate::Value::Datetime), a `SystemTime`, or text in RFC
    /// 3339. In text, a date alone is its midnight in UTC: `2024-02-29` is shown as `2024-02-29T00:00:00.000Z`.
    Datetime,
    /// Arbitrary bytes. Filters can only compare them for equality and null.
    Bytes,
    /// An array of strings.
    StringArray,
    /// An array of signed numbers.
    IntArray,
    /// An array of unsigned numbers.
    UintArray,
    /// An array of floats.
    FloatArray,
    /// An array of booleans.
    BoolArray,
    /// An array of UUIDs.
    UuidArray,
    /// An array of datetimes.
    DatetimeArray,
}

impl AttributeType {
    /// The type of attributes that ids of a kind compare with and convert like.
    pub(crate) fn of_id(kind: IdKind) -> Self {
        match kind {
            IdKind::U64 => Self::Uint,
            IdKind::Uuid => Self::Uuid,
            IdKind::String => Self::String,
        }
    }

    /// The array type with these elements. `None` for arrays and bytes, of which there are no arrays.
    #[must_use]
    pub fn array(element: Self) -> Option<Self> {
        match element {
            Self::String => Some(Self::StringArray),
            Self::Int => Some(Self::IntArray),
            Self::Uint => Some(Self::UintArray),
            Self::Float => Some(Self::FloatArray),
            Self::Bool => Some(Self::BoolArray),
            Self::Uuid => Some(Self::UuidArray),
            Self::Datetime => Some(Self::DatetimeArray),
            // No arrays of arrays, and none of bytes: an index has no keys for either.
            _ => None,
        }
    }

    /// The element type of an array, or `None` for a scalar.
    #[must_use]
    pub fn element(self) -> Option<Self> {
        match self {
            Self::StringArray => Some(Self::String),
            Self::IntArray => Some(Self::Int),
            Self::UintArray => Some(Self::Uint),
            Self::FloatArray => Some(Self::Float),
            Self::BoolArray => Some(Self::Bool),
            Self::UuidArray => Some(Self::Uuid),
            Self::DatetimeArray => Some(Self::Datetime),
            _ => None,
        }
    }
}

impl fmt::Display for AttributeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(element) = self.element() {
            return write!(f, "[]{element}");
        }
        f.write_str(match self {
            Self::String => "string",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Float => "float",
            Self::Bool => "bool",
            Self::Uuid => "uuid",
            Self::Datetime => "datetime",
            // The arrays were printed above: bytes are left.
            _ => "bytes",
        })
    }
}

impl Schema {
    /// Returns a builder for a schema with ids of `kind`.
    #[must_use]
    pub fn builder(kind: IdKind) -> SchemaBuilder {
        SchemaBuilder::new(kind)
    }

    /// Which version of the namespace's schema this is.
    pub(crate) fn version(&self) -> u32 {
        self.version
    }

    /// The kind of the ids.
    #[must_use]
    pub fn id(&self) -> IdKind {
        self.id
    }

    /// The columns, in the order they were declared.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The column with this name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.find_column(name).map(|(_, column)| column)
    }

    /// The column with this name, and its index.
    pub(crate) fn find_column(&self, name: &str) -> Option<(usize, &Column)> {
        // A scan: most schemas have few columns, and code that reads many rows looks a column up once.
        self.columns.iter().enumerate().find(|(_, column)| column.name == name)
    }

    /// The column with this number.
    pub(crate) fn column_by_id(&self, id: ColumnId) -> Option<&Column> {
        self.columns.iter().find(|column| column.id == id)
    }

    /// The attributes: name and type.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, AttributeType)> {
        self.columns.iter().filter_map(|c| match c.kind {
            ColumnKind::Attribute(kind) => Some((c.name.as_str(), kind)),
            ColumnKind::Vector(_) => None,
        })
    }

    /// The columns with full text.
    pub(crate) fn text_columns(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| column.text.is_some())
    }

    /// The columns with full text: name and options.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &TextOptions)> {
        self.columns.iter().filter_map(|c| Some((c.name.as_str(), c.text.as_ref()?)))
    }

    /// The vector columns: name and shape.
    pub fn vectors(&self) -> impl Iterator<Item = (&str, VectorColumn)> {
        self.vector_columns().map(|(column, shape)| (column.name.as_str(), shape))
    }

    /// The vector columns and their shapes.
    pub(crate) fn vector_columns(&self) -> impl Iterator<Item = (&Column, VectorColumn)> {
        self.columns.iter().filter_map(|column| match column.kind {
            ColumnKind::Vector(shape) => Some((column, shape)),
            ColumnKind::Attribute(_) => None,
        })
    }
}
