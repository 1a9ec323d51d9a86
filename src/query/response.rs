//! What is answered.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float32Array, RecordBatch, UInt64Array};
use arrow::datatypes::{Field, FieldRef, Schema as ArrowSchema};
use serde::de::DeserializeOwned;

use super::compute::{ComputedColumns, to_arrow};
use super::{Aggregated, Computed, Cursor, LegHit, QueryCursor, QueryStats};
use crate::error::{OrInternal, Result};
use crate::schema::Schema;
use crate::types::{Document, Sequence, Value};

/// Documents of an answer, in its order: as documents, as rows of a type of yours, or as Arrow.
#[derive(Clone, Debug)]
pub struct Rows {
    schema: Arc<Schema>,
    batch: RecordBatch,
}

impl Rows {
    pub(crate) fn new(schema: Arc<Schema>, batch: RecordBatch) -> Self {
        Self { schema, batch }
    }

    /// With these columns alone, by their places in the schema.
    pub(super) fn project(self, columns: &[usize]) -> Result<Self> {
        let wanted = |name: &str| self.schema.columns().iter().position(|c| c.name == name);
        let fields = self.batch.schema_ref().fields().iter().enumerate();
        let kept = fields.filter(|(at, field)| {
            *at == 0 || wanted(field.name()).is_some_and(|place| columns.contains(&place))
        });
        let kept: Vec<usize> = kept.map(|(at, _)| at).collect();
        let batch = self.batch.project(&kept).or_internal()?;
        Ok(Self { batch, ..self })
    }

    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.batch.num_rows()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As Arrow: the id, then the selected columns as the schema declares them.
    #[must_use]
    pub fn batch(&self) -> &RecordBatch {
        &self.batch
    }

    /// As documents.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) alone.
    pub fn documents(&self) -> Result<Vec<Document>> {
        self.schema.documents(&self.batch)
    }

    /// As rows of any type that serde reads: fields by column name, and `id`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if a document does not fit the type.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<Vec<T>> {
        self.documents()?.iter().map(Document::deserialize).collect()
    }
}

/// One hit of a query.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Hit {
    /// The document, with the selected columns.
    pub document: Document,
    /// What hits are in order of, greater is better: the fused score, of a single leg that of the leg, and after
    /// a rescoring that of it.
    pub score: f32,
    /// What each leg says of it, in order of the legs; `None` where a leg did not find it.
    pub legs: Vec<Option<LegHit>>,
    /// What was worked out of it, by name: see [`Query::compute`](crate::Query::compute).
    pub computed: BTreeMap<String, Computed>,
}

impl Hit {
    pub(super) fn new(document: Document, score: f32, legs: Vec<Option<LegHit>>) -> Self {
        Self { document, score, legs, computed: BTreeMap::new() }
    }

    /// Its distance by the first vector leg that found it.
    #[must_use]
    pub fn distance(&self) -> Option<f32> {
        self.legs.iter().flatten().find_map(|hit| hit.distance)
    }
}

/// Hits of a query that have the same values.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Group {
    /// The values, in order of the attributes of [`Query::group_by`](crate::Query::group_by).
    pub values: Vec<Value>,
    /// The positions of the hits: they are contiguous, best first.
    pub hits: Range<usize>,
}

/// The answer to a [`Query`](crate::Query).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct QueryResponse {
    /// The documents, best first.
    pub rows: Rows,
    /// Their scores, in the same order: see [`Hit::score`].
    pub scores: Vec<f32>,
    /// What each leg says of them, in the same order: see [`Hit::legs`].
    pub legs: Vec<Vec<Option<LegHit>>>,
    /// The groups that the hits lie in, by [`Query::group_by`](crate::Query::group_by); else none.
    pub groups: Vec<Group>,
    /// The facets, by name: see [`Query::facet`](crate::Query::facet).
    pub facets: BTreeMap<String, Aggregated>,
    /// Where the next page begins, for [`Query::after`](crate::Query::after); `None` after the last one, with groups and
    /// offsets, and after 100,000 hits, or [`Settings::limit_max`](crate::Settings::limit_max) of them with
    /// [`Query::limit_per`](crate::Query::limit_per).
    pub cursor: Option<QueryCursor>,
    /// Whether the query found more hits, or groups, than those up to here, or legs with more documents than it
    /// looked at for different values. Where it is true and there is no cursor, a greater
    /// [`Query::offset`](crate::Query::offset) reaches them, or a narrower query.
    pub more: bool,
    /// The numbers of legs that were left out, as [`Query::partial`](crate::Query::partial) allowed; of a whole
    /// answer none.
    pub unfinished: Vec<usize>,
    /// The state that was asked.
    pub sequence: Sequence,
    /// What the query looked at, and what it took.
    pub stats: QueryStats,
    pub(super) computed: ComputedColumns,
}

impl QueryResponse {
    /// The hits, best first.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) alone.
    pub fn hits(&self) -> Result<Vec<Hit>> {
        let documents = self.rows.documents()?.into_iter();
        let ranked = self.scores.iter().zip(&self.legs).enumerate();
        let hit = |(document, (at, (score, legs))): (_, (usize, (&f32, &Vec<_>)))| {
            let computed =
                |(name, column): (&String, &Vec<Computed>)| Some((name.clone(), column.get(at)?.clone()));
            let computed = self.computed.iter().filter_map(computed).collect();
            Hit { computed, ..Hit::new(document, *score, legs.clone()) }
        };
        Ok(documents.zip(ranked).map(hit).collect())
    }

    /// What was worked out of the hits under a name, in their order: see [`Query::compute`](crate::Query::compute).
    #[must_use]
    pub fn computed(&self, name: &str) -> Option<&[Computed]> {
        self.computed.get(name).map(Vec::as_slice)
    }

    /// The whole answer as Arrow: [`Rows::batch`], then `$score`, of every leg (from 0) `$rank_0` and `$score_0`,
    /// null where the leg did not find the document, and the computed columns by name: numbers, or lists of the
    /// texts of fragments.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) alone.
    pub fn to_batch(&self) -> Result<RecordBatch> {
        let batch = self.rows.batch();
        let mut fields: Vec<FieldRef> = batch.schema_ref().fields().iter().cloned().collect();
        let mut columns = batch.columns().to_vec();
        let mut add = |name: String, column: ArrayRef, nullable: bool| {
            fields.push(Arc::new(Field::new(name, column.data_type().clone(), nullable)));
            columns.push(column);
        };
        add("$score".to_owned(), Arc::new(Float32Array::from(self.scores.clone())), false);
        for leg in 0..self.legs.first().map_or(0, Vec::len) {
            let hits = || self.legs.iter().map(|legs| legs.get(leg).copied().flatten());
            let ranks: UInt64Array = hits().map(|hit| Some(hit?.rank as u64)).collect();
            let scores: Float32Array = hits().map(|hit| Some(hit?.score)).collect();
            add(format!("$rank_{leg}"), Arc::new(ranks), true);
            add(format!("$score_{leg}"), Arc::new(scores), true);
        }
        for (name, column) in &self.computed {
            add(name.clone(), to_arrow(column), true);
        }
        RecordBatch::try_new(Arc::new(ArrowSchema::new(fields)), columns).or_internal()
    }

    /// The distances of the hits: see [`Hit::distance`].
    #[must_use]
    pub fn distances(&self) -> Vec<Option<f32>> {
        self.legs.iter().map(|legs| legs.iter().flatten().find_map(|hit| hit.distance)).collect()
    }
}

/// One page of a [`Scan`](crate::Scan).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Page {
    /// The documents, in order of their ids.
    pub rows: Rows,
    /// Where the next page begins; `None` after the last one.
    pub cursor: Option<Cursor>,
    /// The state that was asked.
    pub sequence: Sequence,
}
