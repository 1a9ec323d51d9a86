//! Diversity: a limit on hits with the same values, flat or in groups.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::row::{RowConverter, SortField};

use super::fusion::Fused;
use super::ties::{positions_in_order, take_positions};
use crate::error::{Error, OrInternal, Result};
use crate::query::Group;
use crate::schema::{ColumnKind, Schema};
use crate::types::Value;
use crate::view::View;

/// The most columns whose values limit hits.
// More columns seldom have equal values at all, and then limit nothing.
const COLUMNS_MAX: usize = 8;

/// How many hits may have the same values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::query) struct Diversity {
    pub(in crate::query) columns: Vec<String>,
    pub(in crate::query) limit: usize,
    /// Whether hits with the same values form a group, and the query counts groups instead of hits.
    pub(in crate::query) groups: bool,
}

/// A diversity, checked against the schema.
#[derive(Debug)]
pub(in crate::query) struct PreparedDiversity {
    columns: Vec<usize>,
    names: Vec<String>,
    limit: usize,
    groups: bool,
}

/// The documents that were selected from a ranking.
#[derive(Debug, Default)]
pub(in crate::query) struct SelectedHits {
    pub(in crate::query) fused: Vec<Fused>,
    /// The groups, if the query has some.
    pub(in crate::query) groups: Vec<Group>,
    /// The number of hits, or of groups.
    pub(in crate::query) count: usize,
    /// Whether there are more hits or groups than the page reaches.
    pub(in crate::query) more: bool,
    /// Whether there may be documents beyond the greatest depth of the legs.
    pub(in crate::query) is_bounded: bool,
}

impl Diversity {
    pub(in crate::query) fn check(&self) -> Result<()> {
        if !(1..=COLUMNS_MAX).contains(&self.columns.len()) {
            return Err(Error::limit(format!(
                "bad number of attributes in a limit per value: 1 to {COLUMNS_MAX} are allowed. attributes=`{}`",
                self.columns.len()
            )));
        }
        if self.limit == 0 {
            return Err(Error::limit("bad limit per value: at least 1 is allowed. limit=`0`"));
        }
        Ok(())
    }
}

impl PreparedDiversity {
    /// Checks a diversity against a schema.
    pub(in crate::query) fn new(diversity: &Diversity, schema: &Schema) -> Result<Self> {
        let find_column = |name: &String| match schema.find_column(name).map(|(at, column)| (at, column.kind))
        {
            Some((at, ColumnKind::Attribute(_))) => Ok(at),
            _ => Err(Error::invalid(format!("no such attribute to limit hits by. column=`{name}`"))),
        };
        let mut columns: Vec<usize> = diversity.columns.iter().map(find_column).collect::<Result<_>>()?;
        columns.sort_unstable();
        columns.dedup();
        let (names, limit, groups) = (diversity.columns.clone(), diversity.limit, diversity.groups);
        Ok(Self { columns, names, limit, groups })
    }

    /// The first `wanted` documents, or groups, of a ranking that the limit per value lets through.
    pub(in crate::query) async fn select_hits(
        &self,
        view: &View,
        fused: Vec<Fused>,
        wanted: usize,
    ) -> Result<SelectedHits> {
        let batch = view.fetch_documents(&Fused::addrs(&fused), &self.columns).await?;
        // Ties are in order of ids from here on: which of them a full group keeps must not depend on where they lie.
        let order = positions_in_order(&view.schema, &batch, &fused)?;
        let (groups, selected) = self.group_rows(&batch, order, wanted)?;
        if !self.groups {
            let fused = take_positions(fused, selected.into_iter())?;
            return Ok(SelectedHits { count: fused.len(), fused, ..SelectedHits::default() });
        }
        Ok(SelectedHits {
            fused: take_positions(fused, groups.concat().into_iter())?,
            count: groups.len(),
            groups: self.describe_groups(&view.schema, &batch, &groups)?,
            ..SelectedHits::default()
        })
    }

    /// The rows of each group, and all selected rows in the order of the ranking.
    fn group_rows(
        &self,
        batch: &RecordBatch,
        order: Vec<usize>,
        wanted: usize,
    ) -> Result<(Vec<Vec<usize>>, Vec<usize>)> {
        // The first column is the id.
        let values: Vec<ArrayRef> = batch.columns().iter().skip(1).cloned().collect();
        let fields = values.iter().map(|array| SortField::new(array.data_type().clone()));
        // Arrow's row format makes the values of all columns one string of bytes that can be hashed and compared.
        let rows =
            RowConverter::new(fields.collect()).or_internal()?.convert_columns(&values).or_internal()?;
        let mut numbers: HashMap<_, usize> = HashMap::new();
        let (mut groups, mut selected): (Vec<Vec<usize>>, _) = (Vec::new(), Vec::new());
        for row in order {
            let number = match numbers.get(&rows.row(row)) {
                Some(number) => *number,
                // Later rows may still belong to groups that are there, so the walk goes on.
                None if self.groups && groups.len() == wanted => continue,
                None => {
                    groups.push(Vec::new());
                    numbers.insert(rows.row(row), groups.len() - 1);
                    groups.len() - 1
                }
            };
            let group = groups.get_mut(number).ok_or_else(|| Error::internal("no such group of hits"))?;
            if group.len() < self.limit && (self.groups || selected.len() < wanted) {
                group.push(row);
                selected.push(row);
            }
        }
        Ok((groups, selected))
    }

    /// The values of each group, and where its hits are once groups lie one after another.
    fn describe_groups(
        &self,
        schema: &Schema,
        batch: &RecordBatch,
        groups: &[Vec<usize>],
    ) -> Result<Vec<Group>> {
        let mut start = 0;
        let describe = |rows: &Vec<usize>| {
            let hits = start..start + rows.len();
            start = hits.end;
            let first = rows.first().ok_or_else(|| Error::internal("a group without hits"))?;
            let document = schema.documents(&batch.slice(*first, 1))?.pop();
            let document = document.ok_or_else(|| Error::internal("a row without a document"))?;
            // invariant: a document leaves out its nulls, so that a missing value is one.
            let value = |name: &String| document.get(name).cloned().unwrap_or(Value::Null);
            Ok(Group { values: self.names.iter().map(value).collect(), hits })
        };
        groups.iter().map(describe).collect()
    }
}
