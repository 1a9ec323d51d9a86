//! Responses of queries, and the documents of any response.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float32Array, RecordBatch, UInt64Array};
use arrow::datatypes::{Field, FieldRef, Schema as ArrowSchema};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::compute::{ComputedColumns, to_arrow};
use super::hit::first_distance;
use super::leg::text::Highlighter;
use super::{Aggregated, Computed, Fragment, Highlight, Hit, LegHit, QueryCursor, QueryStats, TextQuery};
use crate::codec::zip_equal;
use crate::error::{Error, OrInternal, Result};
use crate::schema::Schema;
use crate::types::{Document, Sequence, Value};

/// The documents of a response, in its order: as documents, as rows of your own type, or as Arrow.
#[derive(Clone, Debug)]
pub struct Rows {
    schema: Arc<Schema>,
    batch: RecordBatch,
}

impl Rows {
    pub(crate) fn new(schema: Arc<Schema>, batch: RecordBatch) -> Self {
        Self { schema, batch }
    }

    /// Keeps the id and these columns, given by their indexes in the schema.
    pub(super) fn project_columns(self, columns: &[usize]) -> Result<Self> {
        let mut kept = vec![0];
        for (index, field) in self.batch.schema_ref().fields().iter().enumerate().skip(1) {
            let column = self.schema.find_column(field.name());
            let (column, _) =
                column.ok_or_else(|| Error::internal("a fetched column is not in the schema"))?;
            // Columns that only a computed column or a diversity needed were fetched with the others.
            if columns.contains(&column) {
                kept.push(index);
            }
        }
        let batch = self.batch.project(&kept).or_internal()?;
        Ok(Self { batch, ..self })
    }

    /// The number of documents.
    #[must_use]
    pub fn len(&self) -> usize {
        self.batch.num_rows()
    }

    /// Whether there are no documents.
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

    /// As any type that serde deserializes: fields by column name, and `id`. Each field needs a column that was selected,
    /// unless it is an `Option` or has a default. By default a query selects no vectors: a type with a vector needs
    /// [`Query::select`](crate::Query::select) with [`Select::All`](crate::Select::All) or the name of the vector. A scan
    /// selects all columns.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if a document does not fit the type; the message names the
    /// column, and says if it was not selected.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<Vec<T>> {
        // A column that was selected is in the batch even if all its values are null.
        let is_unselected = |column: &str| {
            self.schema.column(column).is_some() && self.batch.column_by_name(column).is_none()
        };
        self.documents()?.iter().map(|document| document.deserialize_selected(is_unselected)).collect()
    }

    /// For each document, in order, the fragments of `column` that match `query`. The column must have been selected.
    ///
    /// Words are marked as they stand in the text, even if they matched by a stem, a folded letter, a prefix or an
    /// approximate spelling. The words of a phrase are marked one by one, wherever they occur. Words that the query
    /// excludes are not marked, and fragments without a match are not returned. The work is proportional to the length
    /// of the texts and runs on the calling thread; [`Compute::highlight`](crate::Compute::highlight) moves long texts
    /// to the blocking pool.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
    /// # use elacsym::schema::{Language, TextOptions};
    /// # use elacsym::query::Highlight;
    /// # use elacsym::*;
    /// # let options = TextOptions::default().language(Language::English);
    /// # let schema = Schema::builder(IdKind::U64).text("body", options).build()?;
    /// # let ns = Database::open("memory://").await?.create_namespace("docs", schema).await?;
    /// ns.write(WriteBatch::new().upsert(Document::new(1).with("body", "Tea. Stored leaves!"))).await?;
    /// let query = TextQuery::any("body", "leaf store");
    /// let answer = ns.query(Query::text(query.clone())).await?;
    /// let fragments = answer.rows.highlight("body", &query, Highlight::default())?;
    /// assert_eq!(fragments[0][0].text, "Stored leaves!");
    /// assert_eq!(fragments[0][0].matches[0], 0..6);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the column has no full-text index or was not
    /// selected, or the query does not fit the schema; [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded)
    /// for a bad limit.
    pub fn highlight(
        &self,
        column: &str,
        query: &TextQuery,
        options: Highlight,
    ) -> Result<Vec<Vec<Fragment>>> {
        let highlighter = Highlighter::new(&self.schema, column, query, options)?;
        let array = self.batch.column_by_name(column);
        let array = array.ok_or_else(|| {
            Error::invalid(format!("cannot highlight a column that was not selected. column=`{column}`"))
        })?;
        (0..array.len()).map(|row| highlighter.find_fragments(array, row)).collect::<Result<_>>()
    }
}

/// Hits of a query that have the same values.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::{schema::AttributeType, *};
/// # let schema = Schema::builder(IdKind::U64).attribute("by", AttributeType::String).build()?;
/// # let notes = Database::open("memory://").await?.create_namespace("notes", schema).await?;
/// # notes.write([(1, "ann"), (2, "bob"), (3, "ann")].map(|(id, by)| Document::new(id).with("by", by))).await?;
/// let answer = notes.query(Query::order_by([Order::asc("id")]).group_by(["by"], 5)).await?;
/// let (hits, ann) = (answer.hits()?, &answer.groups[0]);
/// assert_eq!((&ann.values, hits[ann.hits.clone()].len()), (&vec!["ann".into()], 2));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
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
    /// Their ranks and scores in each leg, in the same order: see [`Hit::legs`].
    pub legs: Vec<Vec<Option<LegHit>>>,
    /// The groups of the hits, with [`Query::group_by`](crate::Query::group_by); empty otherwise.
    pub groups: Vec<Group>,
    /// The facets, by name: see [`Query::facet`](crate::Query::facet).
    pub facets: BTreeMap<String, Aggregated>,
    /// Where the next page begins, for [`Query::after`](crate::Query::after). `None` after the last page, with groups or
    /// an offset, and after 100,000 hits, or [`Settings::limit_max`](crate::Settings::limit_max) hits with
    /// [`Query::limit_per`](crate::Query::limit_per).
    pub cursor: Option<QueryCursor>,
    /// Whether there are hits or groups beyond this page, or may be because a leg reached its greatest depth before it
    /// found enough distinct values. If there is no cursor, a greater [`Query::offset`](crate::Query::offset) or a
    /// narrower query reaches them.
    pub more: bool,
    /// The indexes of legs that did not finish, which [`Query::partial`](crate::Query::partial) allows; empty for a
    /// complete answer.
    pub unfinished: Vec<usize>,
    /// The sequence that was queried.
    pub sequence: Sequence,
    /// What the query cost.
    pub stats: QueryStats,
    pub(super) computed: ComputedColumns,
}

impl QueryResponse {
    /// The hits, best first.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) alone.
    pub fn hits(&self) -> Result<Vec<Hit>> {
        self.hits_of(self.rows.documents()?)
    }

    /// The hits as any type that serde deserializes, best first: fields by column name, and `id`. A type with a vector
    /// needs a query that selects it, as [`Rows::deserialize`] says.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
    /// # use elacsym::schema::TextOptions;
    /// # use elacsym::*;
    /// #[derive(serde::Deserialize)]
    /// struct Note {
    ///     id: u64,
    ///     body: String,
    /// }
    /// # let schema = Schema::builder(IdKind::U64).text("body", TextOptions::default()).build()?;
    /// # let notes = Database::open("memory://").await?.create_namespace("notes", schema).await?;
    /// # notes.write(Document::new(7).with("body", "cold tea")).await?;
    /// let answer = notes.query(TextQuery::any("body", "tea")).await?;
    /// for hit in answer.hits_as::<Note>()? {
    ///     println!("{:.2}  {}  {}", hit.score, hit.document.id, hit.document.body);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Rows::deserialize`].
    pub fn hits_as<T: DeserializeOwned>(&self) -> Result<Vec<Hit<T>>> {
        self.hits_of(self.rows.deserialize()?)
    }

    /// The documents of the hits, in whatever form, with all that is known of each.
    fn hits_of<T>(&self, documents: Vec<T>) -> Result<Vec<Hit<T>>> {
        let ranked = zip_equal(&self.scores, &self.legs, "scores and ranks of hits")?;
        let hits = zip_equal(documents, ranked, "documents and their scores")?;
        let hits = hits.map(|(document, (score, legs))| Hit::new(document, *score, legs.clone()));
        let mut hits: Vec<Hit<T>> = hits.collect();
        for (name, column) in &self.computed {
            for (hit, value) in zip_equal(&mut hits, column, "hits and values of a computed column")? {
                hit.computed.insert(name.clone(), value.clone());
            }
        }
        Ok(hits)
    }

    /// The values of a computed column, in the order of the hits: see [`Query::compute`](crate::Query::compute).
    #[must_use]
    pub fn computed(&self, name: &str) -> Option<&[Computed]> {
        self.computed.get(name).map(Vec::as_slice)
    }

    /// The hits as Arrow: [`Rows::batch`], then `$score`, for each leg (from 0) `$rank_0` and `$score_0`, which are null
    /// where the leg did not find the document, and the computed columns by name, as numbers or as lists of the texts
    /// of fragments.
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
        // invariant: every hit has an entry for each leg; without hits a leg has nothing to show.
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
        self.legs.iter().map(|legs| first_distance(legs)).collect()
    }
}
