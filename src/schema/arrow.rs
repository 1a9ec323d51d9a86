//! The Arrow layout of a schema: the id first, then every column in the order of declaration.
//!
//! | column | Arrow type |
//! |---|---|
//! | id: u64, uuid, string | `UInt64`, `FixedSizeBinary(16)`, `Utf8` (never null) |
//! | string, int, uint, float, bool | `Utf8`, `Int64`, `UInt64`, `Float64`, `Boolean` |
//! | uuid, datetime, bytes | `FixedSizeBinary(16)`, `Timestamp(ms, "UTC")`, `Binary` |
//! | arrays | `List` of the scalar's type, elements never null |
//! | vectors of f32, f16, i8 | `FixedSizeList` of `Float32`, `Float16`, `Int8`, elements never null |

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef, TimeUnit};

use super::{AttributeType, Column, ColumnKind, ID_COLUMN, Schema, VectorColumn};
use crate::types::VectorType;

impl AttributeType {
    /// The Arrow type of an attribute.
    #[must_use]
    pub fn arrow_type(self) -> DataType {
        if let Some(element) = self.element() {
            // "item" is the name that arrow-rs and pyarrow give by default: files of both compare equal.
            return DataType::List(Arc::new(Field::new("item", element.arrow_type(), false)));
        }
        match self {
            Self::String => DataType::Utf8,
            Self::Int => DataType::Int64,
            Self::Uint => DataType::UInt64,
            Self::Float => DataType::Float64,
            Self::Bool => DataType::Boolean,
            Self::Uuid => DataType::FixedSizeBinary(16),
            // Always UTC: a zone per column would make one instant two values.
            Self::Datetime => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            _ => DataType::Binary,
        }
    }
}

impl VectorColumn {
    /// The Arrow type of a vector column.
    #[must_use]
    pub fn arrow_type(&self) -> DataType {
        let element = match self.element {
            VectorType::F32 => DataType::Float32,
            VectorType::F16 => DataType::Float16,
            VectorType::I8 => DataType::Int8,
        };
        DataType::FixedSizeList(Arc::new(Field::new("item", element, false)), self.arrow_size())
    }

    /// The dimension as the size of an Arrow list.
    pub(super) fn arrow_size(&self) -> i32 {
        // invariant: a schema's dimensions are at most `DIMENSION_MAX`; Arrow refuses the size of any other.
        i32::try_from(self.dimension).unwrap_or(i32::MAX)
    }
}

impl Column {
    /// The column as an Arrow field.
    #[must_use]
    pub fn arrow_field(&self) -> Field {
        let kind = match self.kind {
            ColumnKind::Attribute(kind) => kind.arrow_type(),
            ColumnKind::Vector(vector) => vector.arrow_type(),
        };
        Field::new(&self.name, kind, true)
    }
}

impl Schema {
    /// The Arrow schema of whole documents: the id, then all columns in the order they were declared.
    #[must_use]
    pub fn arrow(&self) -> SchemaRef {
        self.arrow_projection(|_| true)
    }

    /// The columns, each with its index in a batch of [`Self::arrow`].
    pub(crate) fn arrow_columns(&self) -> impl Iterator<Item = (usize, &Column)> {
        // Behind the id.
        (1..).zip(self.columns())
    }

    /// The Arrow schema of the id and the columns that satisfy `is_selected`, in the order they were declared.
    pub(crate) fn arrow_projection(&self, is_selected: impl Fn(&Column) -> bool) -> SchemaRef {
        // The id is first in every projection: readers take column 0 for it.
        let id = Field::new(ID_COLUMN, self.id().arrow_type(), false);
        let columns = self.columns().iter().filter(|c| is_selected(c)).map(Column::arrow_field);
        Arc::new(ArrowSchema::new(std::iter::once(id).chain(columns).collect::<Vec<_>>()))
    }
}
