//! The versions of the schema of a namespace: what was written with one is read with another.
//!
//! Columns are matched by number. A renamed column keeps its number; a column that was dropped and added again under the
//! same name has another, and nothing of the old one is read as its values.

use std::sync::Arc;

use arrow::array::new_null_array;
use arrow::record_batch::RecordBatch;
use serde::{Deserialize, Serialize};

use super::{Column, Schema};
use crate::error::{Error, OrInternal, Result};

/// The versions that segments and entries of a namespace may have been written with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Schema>", into = "Vec<Schema>")]
pub(crate) struct SchemaVersions {
    /// In ascending order.
    older: Vec<Arc<Schema>>,
    current: Arc<Schema>,
}

impl SchemaVersions {
    pub(crate) fn new(schema: Schema) -> Self {
        Self { older: Vec::new(), current: Arc::new(schema) }
    }

    /// The version that documents are read and written with.
    pub(crate) fn current(&self) -> &Arc<Schema> {
        &self.current
    }

    /// The version of this number.
    pub(crate) fn find_version(&self, version: u32) -> Option<&Arc<Schema>> {
        self.all().find(|schema| schema.version == version)
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Schema>> {
        self.older.iter().chain([&self.current])
    }
}

impl From<SchemaVersions> for Vec<Schema> {
    fn from(versions: SchemaVersions) -> Self {
        versions.all().map(|schema| Schema::clone(schema)).collect()
    }
}

impl TryFrom<Vec<Schema>> for SchemaVersions {
    type Error = Error;

    fn try_from(versions: Vec<Schema>) -> Result<Self> {
        for (older, newer) in versions.iter().zip(versions.iter().skip(1)) {
            older.check_successor(newer)?;
        }
        let mut older: Vec<Arc<Schema>> = versions.into_iter().map(Arc::new).collect();
        let current = older.pop().ok_or_else(|| Error::invalid("a namespace without a schema"))?;
        Ok(Self { older, current })
    }
}

impl Schema {
    /// Checks that a later version of the same namespace's schema reads what was written with this one.
    fn check_successor(&self, newer: &Self) -> Result<()> {
        let bad = |why: &str| Err(Error::invalid(format!("{why}. version=`{}`", newer.version)));
        if newer.version <= self.version || newer.next_column < self.next_column || newer.id != self.id {
            return bad("a version of the schema does not continue the one before it");
        }
        for column in &newer.columns {
            match self.column_by_id(column.id) {
                Some(older) if !column.reads_like(older) => {
                    return bad("a column has the number of one of another type");
                }
                // A number that was given before this version belonged to a column that was dropped.
                None if column.id < self.next_column => {
                    return bad("the number of a dropped column is used again");
                }
                Some(_) | None => {}
            }
        }
        Ok(())
    }

    /// For each column, the index of the same column in the schema that something was written with.
    pub(crate) fn map_columns(&self, written: &Self) -> Vec<Option<usize>> {
        let find = |column: &Column| written.columns.iter().position(|other| other.id == column.id);
        self.columns.iter().map(find).collect()
    }

    /// Rows in the layout of this schema, from rows in the layout of the one they were written with.
    pub(crate) fn adapt_rows(&self, written: &Self, rows: RecordBatch) -> Result<RecordBatch> {
        if self.version == written.version {
            return Ok(rows);
        }
        let layout = self.arrow();
        let fields = layout.fields().iter().skip(1);
        let columns = fields.zip(self.map_columns(written)).map(|(field, index)| match index {
            // In a batch the id comes first.
            Some(index) => rows.columns().get(index + 1).cloned(),
            None => Some(new_null_array(field.data_type(), rows.num_rows())),
        });
        let columns = rows.columns().first().cloned().into_iter().map(Some).chain(columns);
        let columns = columns.collect::<Option<Vec<_>>>();
        let columns = columns.ok_or_else(|| Error::internal("rows have fewer columns than their schema"))?;
        RecordBatch::try_new(layout, columns).or_internal()
    }
}

impl Column {
    /// Whether what was written of `older`, a column of the same number, can be read as this column.
    fn reads_like(&self, older: &Self) -> bool {
        // The other options decide which indexes there are, and every reader can do without those.
        self.kind == older.kind && self.text == older.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{AttributeType, TextOptions};
    use crate::types::{ColumnId, Document, IdKind, Metric, VectorType};

    fn first() -> Schema {
        Schema::builder(IdKind::U64)
            .attribute("a", AttributeType::Int)
            .attribute("b", AttributeType::String)
            .vector("v", VectorType::F32, 2, Metric::Dot)
            .build()
            .unwrap()
    }

    /// `a` has become `c`; `b` was dropped, and an `a` of another type and a `b` were added.
    fn second() -> Schema {
        let mut schema = first();
        schema.version = 2;
        schema.columns[0].name = "c".to_owned();
        let column = |id, name: &str, kind| Column {
            id: ColumnId(id),
            name: name.to_owned(),
            kind,
            ..schema.columns[0].clone()
        };
        let text = column(4, "a", schema.columns[1].kind);
        let other = column(5, "b", schema.columns[1].kind);
        schema.columns.remove(1);
        schema.columns.extend([text, other]);
        schema.next_column = ColumnId(6);
        schema
    }

    #[test]
    fn versions_read_back_and_find_each_other() {
        let versions = SchemaVersions::try_from(vec![first(), second()]).unwrap();
        let json = serde_json::to_string(&versions).unwrap();
        assert_eq!(serde_json::from_str::<SchemaVersions>(&json).unwrap(), versions);
        assert_eq!(**versions.current(), second());
        assert_eq!(versions.find_version(1).map(|schema| Schema::clone(schema)), Some(first()));
        assert!(versions.find_version(3).is_none());
        assert!(serde_json::from_str::<SchemaVersions>("[]").is_err());
    }

    #[test]
    fn a_version_that_would_misread_rows_is_refused() {
        let refused = |change: fn(&mut Schema)| {
            let mut newer = second();
            change(&mut newer);
            SchemaVersions::try_from(vec![first(), newer]).is_err()
        };
        assert!(!refused(|_| ()));
        assert!(refused(|newer| newer.version = 1));
        assert!(refused(|newer| newer.id = IdKind::Uuid));
        assert!(refused(|newer| newer.next_column = ColumnId(3)));
        assert!(refused(|newer| newer.columns[0].kind = newer.columns[2].kind));
        assert!(!refused(|newer| newer.columns[3].id = ColumnId(2)), "b came back with its number and type");
        let mut text = first();
        text.version = 2;
        text.columns[1].text = Some(TextOptions::default());
        assert!(SchemaVersions::try_from(vec![first(), text]).is_err());
        let mut dropped = first();
        (dropped.version, _) = (2, dropped.columns.remove(1));
        let again = Schema { version: 3, ..first() };
        assert!(SchemaVersions::try_from(vec![first(), dropped, again]).is_err());
    }

    #[test]
    fn rows_of_an_older_version_keep_their_values_by_number() {
        let document = Document::new(7).with("a", 5).with("b", "old").with("v", vec![1.0, 2.0]);
        let rows = second().adapt_rows(&first(), first().to_batch(&[document]).unwrap()).unwrap();
        let expected = Document::new(7).with("c", 5).with("v", vec![1.0, 2.0]);
        assert_eq!(rows, second().to_batch(&[expected]).unwrap());
    }
}
