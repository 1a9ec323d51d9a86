//! Order legs: the first documents in order of their attributes.
//!
//! A segment is walked along the index of the first attribute, from the end that is asked for, until as many rows
//! are found as are wanted. Only theirs are then ordered by the other attributes.

use std::sync::Arc;

use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt, stream};
use roaring::RoaringBitmap;

use super::keys::Keys;
use super::scope::Scope;
use super::{Part, Place, QueryStats, View};
use crate::error::{Error, Result};
use crate::index::attributes::{AttributeIndex, Probe, is_whole};
use crate::memtable::Source;
use crate::schema::{AttributeType, ColumnKind};
use crate::segment::{RowOrder, Segment};

/// The most attributes of an order.
const KEYS_MAX: usize = 8;
/// Windows of a part that are fetched at a time.
const PARALLEL: usize = 2;
/// So many matching rows are ordered themselves.
const FEW: u64 = 1_024;

/// An attribute that documents are in order of, for [`Leg::order_by`](crate::Leg::order_by): a string, int, uint,
/// float, datetime, uuid or bool, false before true. Documents without a value come last, unless
/// [`Order::nulls_first`] says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Order {
    column: String,
    descending: bool,
    nulls_first: bool,
}

impl Order {
    /// The least value first.
    pub fn asc(column: impl Into<String>) -> Self {
        Self { column: column.into(), descending: false, nulls_first: false }
    }

    /// The greatest value first.
    pub fn desc(column: impl Into<String>) -> Self {
        Self { descending: true, ..Self::asc(column) }
    }

    /// Documents without a value come first.
    pub fn nulls_first(mut self) -> Self {
        self.nulls_first = true;
        self
    }
}

/// An order, checked against the schema.
#[derive(Debug)]
pub(super) struct PreparedOrder {
    keys: Vec<PreparedKey>,
    /// The places of all columns, ascending.
    columns: Vec<usize>,
}

#[derive(Debug)]
struct PreparedKey {
    order: Order,
    /// The place in [`PreparedOrder::columns`].
    at: usize,
    fixed: bool,
}

/// A row with bytes that compare as it is in order.
type Ordered = (Box<[u8]>, u32);

/// A value of the first attribute, and the rows that have it.
type Walked = (Option<Box<[u8]>>, Vec<u32>);

impl View {
    pub(super) fn prepare_order(&self, orders: &[Order]) -> Result<PreparedOrder> {
        use AttributeType::{Bool, Datetime, Float, Int, String, Uint, Uuid};
        if !(1..=KEYS_MAX).contains(&orders.len()) {
            let found = orders.len();
            return Err(Error::limit(format!(
                "bad number of attributes in an order: 1 to {KEYS_MAX} are allowed. attributes=`{found}`"
            )));
        }
        let place = |order: &Order| {
            let name = &order.column;
            let mut columns = self.schema.columns().iter().enumerate();
            let found =
                columns.find(|(_, column)| column.name == *name).map(|(at, column)| (at, column.kind));
            match found {
                Some((at, ColumnKind::Attribute(Bool | Datetime | Float | Int | Uint | Uuid))) => {
                    Ok((at, true))
                }
                Some((at, ColumnKind::Attribute(String))) => Ok((at, false)),
                Some((_, ColumnKind::Attribute(kind))) => {
                    Err(Error::invalid(format!("documents have no order by {kind}. column=`{name}`")))
                }
                _ => Err(Error::invalid(format!("no such attribute to order by. column=`{name}`"))),
            }
        };
        let places: Vec<(usize, bool)> = orders.iter().map(place).collect::<Result<_>>()?;
        let mut columns: Vec<usize> = places.iter().map(|(at, _)| *at).collect();
        columns.sort_unstable();
        columns.dedup();
        let key = |(order, (at, fixed)): (&Order, (usize, bool))| PreparedKey {
            order: order.clone(),
            at: columns.binary_search(&at).unwrap_or_default(),
            fixed,
        };
        Ok(PreparedOrder { keys: orders.iter().zip(places).map(key).collect(), columns })
    }

    /// The first places of every part, with the numbers of their values in the order, and with `ties` all that are
    /// equal to the last of them.
    pub(super) async fn search_order(
        &self,
        order: &PreparedOrder,
        scope: &Scope,
        depth: usize,
        ties: bool,
    ) -> Result<(Vec<(f32, Place)>, QueryStats)> {
        let mut stats = QueryStats { segments_pruned: scope.pruned(), ..QueryStats::default() };
        let parts: Vec<_> = scope.matching(self).await?.enumerate().collect();
        for (_, (part, matching)) in &parts {
            stats.parts += 1;
            stats.rows += u64::from(part.source.rows());
            stats.tail_rows += part.tail_rows();
            stats.rows_scanned += matching.len().min(depth as u64);
        }
        let searches = parts.into_iter().map(|(number, (part, matching))| async move {
            let found = order.first_of(self, part, matching, depth, ties).await?;
            Ok::<_, Error>(found.into_iter().map(move |(key, row)| (key, Place { part: number, row })))
        });
        let mut found: Vec<(Box<[u8]>, Place)> =
            try_join_all(searches).await?.into_iter().flatten().collect();
        found.sort_unstable();
        let mut number = 0_u32;
        let mut last: Option<Box<[u8]>> = None;
        let mut places = Vec::with_capacity(found.len().min(depth));
        for (key, place) in found {
            if last.as_ref().is_some_and(|last| *last != key) {
                if places.len() >= depth {
                    break;
                }
                number = number.saturating_add(1);
            }
            #[expect(clippy::cast_precision_loss, reason = "limits are far below what a float counts")]
            places.push((number as f32, place));
            last = Some(key);
        }
        Ok((places, stats))
    }
}

impl PreparedOrder {
    /// The first rows of a part, in order; equal ones in order of their rows, which are all there if these are not
    /// in order of ids, or with `ties`.
    async fn first_of(
        &self,
        view: &View,
        part: &Part,
        matching: &Arc<RoaringBitmap>,
        depth: usize,
        ties: bool,
    ) -> Result<Vec<Ordered>> {
        let mut rows = Arc::clone(matching);
        let mut by_ids = !ties;
        if let Source::Segment(segment) = &part.source {
            by_ids &= segment.meta().order == RowOrder::Id;
            if let Some(walked) = self.walk(view, segment, matching, depth).await? {
                if let Some(mut found) = self.known(&walked) {
                    cut(&mut found, depth, by_ids);
                    return Ok(found);
                }
                rows = Arc::new(walked.into_iter().flat_map(|(_, rows)| rows).collect());
            }
        }
        let fetch = |rows: RoaringBitmap| async move {
            Ok::<_, Error>((part.fetch(&view.schema, &self.columns, &rows).await?, rows))
        };
        let mut batches = stream::iter(part.windows(&self.columns, &rows)).map(fetch).buffered(PARALLEL);
        let mut found = Vec::new();
        while let Some((batch, rows)) = batches.try_next().await? {
            let columns: Vec<Keys> = batch.columns().iter().skip(1).map(Keys::new).collect::<Result<_>>()?;
            for (at, row) in rows.iter().enumerate() {
                let mut bytes = Vec::new();
                for key in &self.keys {
                    let value = columns.get(key.at).and_then(|keys| keys.of(at).next());
                    key.push(value, &mut bytes);
                }
                found.push((bytes.into(), row));
            }
            cut(&mut found, depth, by_ids);
        }
        Ok(found)
    }

    /// The rows that a walk found, if it knows their order.
    fn known(&self, walked: &[Walked]) -> Option<Vec<Ordered>> {
        let [key] = self.keys.as_slice() else { return None };
        let mut found = Vec::new();
        for (value, rows) in walked {
            if value.as_ref().is_some_and(|value| !is_whole(value)) {
                return None;
            }
            let mut bytes = Vec::new();
            key.push(value.as_deref(), &mut bytes);
            found.extend(rows.iter().map(|row| (Box::from(bytes.as_slice()), *row)));
        }
        Some(found)
    }

    /// The first matching rows by the first attribute, at least `depth`, with all that have its last value. `None`
    /// if there is no index, or nothing to gain by it.
    async fn walk(
        &self,
        view: &View,
        segment: &Segment,
        matching: &Arc<RoaringBitmap>,
        depth: usize,
    ) -> Result<Option<Vec<Walked>>> {
        let (Some(key), Some(index)) = (self.keys.first(), segment.attributes()) else { return Ok(None) };
        let Some(column) = index.column(&key.order.column) else { return Ok(None) };
        let wanted = depth as u64;
        if matching.len() <= wanted.max(FEW) {
            return Ok(None);
        }
        let (mut found, mut count) = (Vec::new(), 0);
        if key.order.nulls_first {
            count += nulls(index, &key.order.column, matching, &mut found).await?;
        }
        let mut spans = column.all_spans();
        if key.order.descending {
            spans.reverse();
        }
        let mut spans = spans.as_slice();
        // As many blocks as hold those that are wanted if what matches lies evenly.
        let share = wanted.saturating_mul(spans.len() as u64) / matching.len().max(1) + 1;
        let mut some = usize::try_from(share).unwrap_or(usize::MAX);
        while count < wanted && !spans.is_empty() {
            let (these, rest) = spans.split_at(some.min(spans.len()));
            (spans, some) = (rest, some.saturating_mul(2));
            let blocks = index.read(these).await?;
            let (index, matching) = (Arc::clone(index), Arc::clone(matching));
            let (name, descending) = (key.order.column.clone(), key.order.descending);
            let read = move || {
                let Some(column) = index.column(&name) else { return Ok((Vec::new(), 0)) };
                let (mut found, mut more) = (Vec::new(), 0);
                for block in &blocks {
                    let mut entries = column.entries(block, &matching).map_err(|e| index.corrupt(e))?;
                    if descending {
                        entries.reverse();
                    }
                    for (key, rows) in entries {
                        if count + more >= wanted {
                            break;
                        }
                        more += rows.len() as u64;
                        found.push((Some(key), rows));
                    }
                }
                Ok::<_, Error>((found, more))
            };
            let (more, rows) = view.env.blocking(read).await??;
            found.extend(more);
            count += rows;
        }
        if count < wanted && !key.order.nulls_first {
            nulls(index, &key.order.column, matching, &mut found).await?;
        }
        Ok(Some(found))
    }
}

/// Adds the matching rows without a value.
async fn nulls(
    index: &AttributeIndex,
    name: &str,
    matching: &RoaringBitmap,
    found: &mut Vec<Walked>,
) -> Result<u64> {
    let Some(column) = index.column(name) else { return Ok(0) };
    let blocks = index.read(&column.spans(&Probe::Null)).await?;
    let known = column.answer(&Probe::Null, &blocks).map_err(|e| index.corrupt(e))?;
    let rows: Vec<u32> = (known.sure & matching).into_iter().collect();
    let count = rows.len() as u64;
    found.push((None, rows));
    Ok(count)
}

/// Orders rows, and keeps the first of them: with all that are equal to the last, unless rows are in order of ids.
fn cut(found: &mut Vec<Ordered>, depth: usize, by_ids: bool) {
    found.sort_unstable();
    let Some((last, _)) = depth.checked_sub(1).and_then(|last| found.get(last)) else { return };
    let more = found.iter().skip(depth).take_while(|(key, _)| !by_ids && key == last).count();
    found.truncate(depth + more);
}

impl PreparedKey {
    /// Appends bytes that compare as the values do in this order, whatever is appended to them.
    fn push(&self, value: Option<&[u8]>, out: &mut Vec<u8>) {
        let Some(value) = value else {
            out.push(if self.order.nulls_first { 0 } else { 2 });
            return;
        };
        out.push(1);
        let start = out.len();
        if self.fixed {
            out.extend(value);
        } else {
            // A zero is told from the end.
            for byte in value {
                out.push(*byte);
                out.extend((*byte == 0).then_some(u8::MAX));
            }
            out.extend([0, 0]);
        }
        if self.order.descending {
            out.iter_mut().skip(start).for_each(|byte| *byte = !*byte);
        }
    }
}
