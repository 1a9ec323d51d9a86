//! Diversity: how many hits may have the same values, flat or in groups.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::row::{RowConverter, SortField};

use super::fusion::Fused;
use super::ties::{positions_in_order, take_positions};
use crate::error::{Error, OrInternal, Result};
use crate::query::Group;
use crate::schema::{ColumnKind, Schema};
use crate::types::Value;
use crate::view::{RowAddr, View};

/// The most columns whose values limit hits.
const COLUMNS_MAX: usize = 8;

/// How many hits may have the same values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::query) struct Diversity {
    pub(in crate::query) columns: Vec<String>,
    pub(in crate::query) limit: usize,
    /// Hits with the same values are given together, and groups are counted in place of hits.
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

/// What was picked of a ranking.
#[derive(Debug, Default)]
pub(in crate::query) struct SelectedHits {
    pub(in crate::query) fused: Vec<Fused>,
    /// Groups, if such were asked for.
    pub(in crate::query) groups: Vec<Group>,
    /// Hits, or groups.
    pub(in crate::query) count: usize,
    /// Whether there are more of them than the answer reaches.
    pub(in crate::query) more: bool,
    /// Whether there may be documents beyond the deepest that legs go.
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
        let place = |name: &String| {
            let mut columns = schema.columns().iter();
            let at = columns.position(|c| c.name == *name && matches!(c.kind, ColumnKind::Attribute(_)));
            at.ok_or_else(|| Error::invalid(format!("no such attribute to limit hits by. column=`{name}`")))
        };
        let mut columns: Vec<usize> = diversity.columns.iter().map(place).collect::<Result<_>>()?;
        columns.sort_unstable();
        columns.dedup();
        let (names, limit, groups) = (diversity.columns.clone(), diversity.limit, diversity.groups);
        Ok(Self { columns, names, limit, groups })
    }

    /// The first `wanted` documents, or groups, of a ranking that the limit per value lets through.
    pub(in crate::query) async fn select(
        &self,
        view: &View,
        fused: Vec<Fused>,
        wanted: usize,
    ) -> Result<SelectedHits> {
        let places: Vec<RowAddr> = fused.iter().map(|fused| fused.addr).collect();
        let batch = view.fetch_documents(&places, &self.columns).await?;
        let order = positions_in_order(&view.schema, &batch, &fused)?;
        let values: Vec<ArrayRef> = batch.columns().iter().skip(1).cloned().collect();
        let fields = values.iter().map(|array| SortField::new(array.data_type().clone()));
        let rows =
            RowConverter::new(fields.collect()).or_internal()?.convert_columns(&values).or_internal()?;
        let mut number_of: HashMap<_, usize> = HashMap::new();
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut flat = Vec::new();
        for at in order {
            let next = groups.len();
            let full = self.groups && next == wanted;
            let number = match number_of.get(&rows.row(at)) {
                Some(number) => *number,
                None if full => continue,
                None => {
                    groups.push(Vec::new());
                    number_of.insert(rows.row(at), next);
                    next
                }
            };
            let Some(group) = groups.get_mut(number).filter(|group| group.len() < self.limit) else {
                continue;
            };
            if self.groups || flat.len() < wanted {
                group.push(at);
                flat.push(at);
            }
        }
        if !self.groups {
            return Ok(SelectedHits {
                count: flat.len(),
                fused: take_positions(fused, flat.into_iter())?,
                ..SelectedHits::default()
            });
        }
        let described = self.describe(&view.schema, &batch, &groups)?;
        Ok(SelectedHits {
            fused: take_positions(fused, groups.concat().into_iter())?,
            count: groups.len(),
            groups: described,
            ..SelectedHits::default()
        })
    }

    /// The groups, of which each is at hand as rows of a batch.
    fn describe(&self, schema: &Schema, batch: &RecordBatch, groups: &[Vec<usize>]) -> Result<Vec<Group>> {
        let mut start = 0;
        let group = |rows: &Vec<usize>| {
            let hits = start..start + rows.len();
            start = hits.end;
            let first = rows.first().copied().unwrap_or_default();
            let of = schema.documents(&batch.slice(first, 1))?.pop();
            let value = |name: &String| of.as_ref().and_then(|document| document.get(name)).cloned();
            let values = self.names.iter().map(|name| value(name).unwrap_or(Value::Null)).collect();
            Ok(Group { values, hits })
        };
        groups.iter().map(group).collect()
    }
}
