//! Diversity: how many hits may have the same values, flat or in groups.

use std::collections::HashMap;
use std::ops::Range;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::row::{RowConverter, SortField};

use super::fusion::Fused;
use crate::error::{Error, OrInternal, Result};
use crate::schema::ColumnKind;
use crate::types::Value;
use crate::view::{RowAddr, View};

/// The most columns whose values limit hits.
const COLUMNS_MAX: usize = 8;

/// How many hits may have the same values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Diversity {
    pub(super) columns: Vec<String>,
    pub(super) limit: usize,
    /// Hits with the same values are given together, and groups are counted in place of hits.
    pub(super) groups: bool,
}

/// Hits of a query that have the same values.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Group {
    /// The values, in order of the attributes that were named.
    pub values: Vec<Value>,
    /// Which of the hits these are: they lie together, the best first.
    pub hits: Range<usize>,
}

/// A diversity, checked against the schema.
#[derive(Debug)]
pub(super) struct PreparedDiversity {
    columns: Vec<usize>,
    names: Vec<String>,
    limit: usize,
    groups: bool,
}

/// What was picked of a ranking.
#[derive(Debug, Default)]
pub(super) struct Picked {
    pub(super) fused: Vec<Fused>,
    /// Groups, if such were asked for.
    pub(super) groups: Vec<Group>,
    /// Hits, or groups.
    pub(super) count: usize,
    /// Whether there are more of them than the answer reaches.
    pub(super) more: bool,
    /// Whether there may be documents beyond the deepest that legs go.
    pub(super) is_bounded: bool,
}

impl Diversity {
    pub(super) fn check(&self) -> Result<()> {
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

impl View {
    pub(super) fn prepare_diversity(&self, diversity: &Diversity) -> Result<PreparedDiversity> {
        let place = |name: &String| {
            let mut columns = self.schema.columns().iter();
            let at = columns.position(|c| c.name == *name && matches!(c.kind, ColumnKind::Attribute(_)));
            at.ok_or_else(|| Error::invalid(format!("no such attribute to limit hits by. column=`{name}`")))
        };
        let mut columns: Vec<usize> = diversity.columns.iter().map(place).collect::<Result<_>>()?;
        columns.sort_unstable();
        columns.dedup();
        let (names, limit, groups) = (diversity.columns.clone(), diversity.limit, diversity.groups);
        Ok(PreparedDiversity { columns, names, limit, groups })
    }

    /// Of documents in order of their scores the first that stay when only so many may have the same values:
    /// `wanted` of them, or so many groups.
    pub(super) async fn pick(
        &self,
        fused: Vec<Fused>,
        diversity: &PreparedDiversity,
        wanted: usize,
    ) -> Result<Picked> {
        let places: Vec<RowAddr> = fused.iter().map(|fused| fused.place).collect();
        let batch = self.fetch(&places, &diversity.columns).await?;
        let order = self.order(&batch, fused.iter())?;
        let values: Vec<ArrayRef> = batch.columns().iter().skip(1).cloned().collect();
        let fields = values.iter().map(|array| SortField::new(array.data_type().clone()));
        let rows =
            RowConverter::new(fields.collect()).or_internal()?.convert_columns(&values).or_internal()?;
        let mut number_of: HashMap<_, usize> = HashMap::new();
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut flat = Vec::new();
        for at in order {
            let next = groups.len();
            let full = diversity.groups && next == wanted;
            let number = match number_of.get(&rows.row(at)) {
                Some(number) => *number,
                None if full => continue,
                None => {
                    groups.push(Vec::new());
                    number_of.insert(rows.row(at), next);
                    next
                }
            };
            let Some(group) = groups.get_mut(number).filter(|group| group.len() < diversity.limit) else {
                continue;
            };
            if diversity.groups || flat.len() < wanted {
                group.push(at);
                flat.push(at);
            }
        }
        let mut fused: Vec<Option<Fused>> = fused.into_iter().map(Some).collect();
        let mut take = |of: &[usize]| -> Vec<Fused> {
            of.iter().filter_map(|at| fused.get_mut(*at).and_then(Option::take)).collect()
        };
        if !diversity.groups {
            return Ok(Picked { count: flat.len(), fused: take(&flat), ..Picked::default() });
        }
        let described = self.describe(&batch, diversity, &groups)?;
        Ok(Picked {
            fused: take(&groups.concat()),
            count: groups.len(),
            groups: described,
            ..Picked::default()
        })
    }

    /// The groups, of which each is at hand as rows of a batch.
    fn describe(
        &self,
        batch: &RecordBatch,
        diversity: &PreparedDiversity,
        groups: &[Vec<usize>],
    ) -> Result<Vec<Group>> {
        let mut start = 0;
        let group = |rows: &Vec<usize>| {
            let hits = start..start + rows.len();
            start = hits.end;
            let first = rows.first().copied().unwrap_or_default();
            let of = self.schema.documents(&batch.slice(first, 1))?.pop();
            let value = |name: &String| of.as_ref().and_then(|document| document.get(name)).cloned();
            let values = diversity.names.iter().map(|name| value(name).unwrap_or(Value::Null)).collect();
            Ok(Group { values, hits })
        };
        groups.iter().map(group).collect()
    }
}
