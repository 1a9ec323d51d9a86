//! Order legs: the first documents in order of their attributes or ids.
//!
//! A segment is walked along the index of the first key, from the end that is asked for, until as many rows are found
//! as are wanted. Only theirs are then ordered by the other keys. Rows that are equal in all keys are kept as a bitmap
//! and cut by their ids, however many they are.

use std::sync::Arc;

use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt, stream};
use roaring::RoaringBitmap;

use super::QueryStats;
use super::keys::ColumnKeys;
use super::ties::Tied;
use crate::error::{Error, Result};
use crate::index::attributes::{AttributeIndex, AttributeProbe, is_whole};
use crate::memtable::PartSource;
use crate::schema::{AttributeType, ColumnKind, ID_COLUMN};
use crate::segment::Segment;
use crate::types::{DocumentId, IdKind};
use crate::view::Scope;
use crate::view::{Part, RowAddr, View};

/// The most keys of an order.
const KEYS_MAX: usize = 8;
/// Windows of a part that are fetched at a time.
const PARALLEL: usize = 2;
/// So many matching rows are ordered themselves.
const FEW: u64 = 1_024;
/// Ids that are walked at a time, at least.
const PAGE: u64 = 256;
/// The most of them.
const PAGE_MAX: u64 = 1 << 16;
/// What the values may take by which the rows of a part are in order, in bytes.
const BYTES_MAX: usize = 256 << 20;

/// An attribute that documents are in order of, for [`Leg::order_by`](crate::Leg::order_by): a string, int, uint,
/// float, datetime, uuid or bool, false before true; or the id, as `id`. Documents without a value come last, unless
/// [`Order::nulls_first`] says otherwise.
///
/// ```
/// use elacsym::{Order, Query};
///
/// // With ids that grow with time, the newest first.
/// let newest = Query::order_by([Order::desc("id")]).limit(20);
/// let by_year = Query::order_by([Order::asc("year"), Order::desc("id")]);
/// # let _ = (newest, by_year);
/// ```
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
    /// The place in a batch of the id and [`PreparedOrder::columns`].
    at: usize,
    fixed: bool,
}

/// A row with bytes that compare as it is in order.
type Ordered = (Box<[u8]>, u32);

/// The first rows in order.
#[derive(Debug, Default)]
struct First {
    depth: usize,
    /// Those before the last that is wanted.
    sure: Vec<Ordered>,
    /// Those that are equal to the last, with their key.
    tied: Option<(Box<[u8]>, RoaringBitmap)>,
}

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
            if name == ID_COLUMN {
                return Ok((None, self.schema.id() != IdKind::String));
            }
            let mut columns = self.schema.columns().iter().enumerate();
            let found =
                columns.find(|(_, column)| column.name == *name).map(|(at, column)| (at, column.kind));
            match found {
                Some((at, ColumnKind::Attribute(Bool | Datetime | Float | Int | Uint | Uuid))) => {
                    Ok((Some(at), true))
                }
                Some((at, ColumnKind::Attribute(String))) => Ok((Some(at), false)),
                Some((_, ColumnKind::Attribute(kind))) => {
                    Err(Error::invalid(format!("documents have no order by {kind}. column=`{name}`")))
                }
                _ => Err(Error::invalid(format!("no such attribute to order by. column=`{name}`"))),
            }
        };
        let mut places: Vec<(Option<usize>, bool)> = orders.iter().map(place).collect::<Result<_>>()?;
        // No two documents have the same id: nothing is decided behind it.
        let decided = places.iter().position(|(at, _)| at.is_none());
        places.truncate(decided.map_or(places.len(), |at| at + 1));
        let mut columns: Vec<usize> = places.iter().filter_map(|(at, _)| *at).collect();
        columns.sort_unstable();
        columns.dedup();
        let place_in_batch = |at: Option<usize>| match at {
            // The id comes first.
            None => Ok(0),
            Some(at) => match columns.binary_search(&at) {
                Ok(at) => Ok(at + 1),
                Err(_) => Err(Error::internal("a column of an order that was not counted")),
            },
        };
        let keys = orders.iter().zip(places).map(|(order, (at, fixed))| {
            Ok(PreparedKey { order: order.clone(), at: place_in_batch(at)?, fixed })
        });
        let keys = keys.collect::<Result<_>>()?;
        Ok(PreparedOrder { keys, columns })
    }

    /// The first places of every part, with the numbers of their values in the order, and up to `ties` more that are
    /// equal to the last of them: of those that are equal, the ones with the least ids, and beside them all of which
    /// some are left out.
    pub(super) async fn search_order(
        &self,
        order: &PreparedOrder,
        scope: &Scope,
        depth: usize,
        ties: usize,
    ) -> Result<(Vec<(f64, RowAddr)>, Vec<Tied>, QueryStats)> {
        let mut stats = QueryStats { segments_pruned: scope.pruned_count(), ..QueryStats::default() };
        let parts: Vec<_> = scope.matching_rows(self).await?.enumerate().collect();
        for (_, (part, matching)) in &parts {
            stats.parts += 1;
            stats.rows += u64::from(part.source.rows());
            stats.tail_rows += part.tail_rows();
            stats.rows_scanned += matching.len().min(depth as u64);
        }
        let searches = parts.into_iter().map(|(number, (part, matching))| async move {
            let first = order.first_of(self, part, matching, depth).await?;
            let left_out = first.parted(ties);
            Ok::<_, Error>((number, first.cut(self, part, ties).await?, left_out))
        });
        let mut found: Vec<(Box<[u8]>, RowAddr)> = Vec::new();
        let mut parted = Vec::new();
        for (part, rows, left_out) in try_join_all(searches).await? {
            found.extend(rows.into_iter().map(|(key, row)| (key, RowAddr { part, row })));
            parted.extend(left_out.map(|(key, rows)| (part, key, rows)));
        }
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
            places.push((f64::from(number), place));
            last = Some(key);
        }
        // What is left out of a part is equal to the last of all, or comes behind it.
        parted.retain(|(_, key, _)| last.as_ref() == Some(key));
        let equals = parted.into_iter().map(|(part, _, rows)| (part, number.into(), rows));
        Ok((places, equals.collect(), stats))
    }
}

impl PreparedOrder {
    /// The first rows of a part, with all that are equal to the last of them.
    async fn first_of(
        &self,
        view: &View,
        part: &Part,
        matching: &Arc<RoaringBitmap>,
        depth: usize,
    ) -> Result<First> {
        let mut first = First { depth, ..First::default() };
        let mut rows = Arc::clone(matching);
        if let PartSource::Segment(segment) = &part.source {
            if let Some(walked) = self.walk_ids(segment, matching, depth).await? {
                rows = Arc::new(walked);
            } else if let Some(walked) = self.walk(view, segment, matching, depth).await? {
                if self.is_known(&walked) {
                    self.take(walked, &mut first);
                    return Ok(first);
                }
                rows = Arc::new(walked.into_iter().flat_map(|(_, rows)| rows).collect());
            }
        }
        let fetch = |rows: RoaringBitmap| async move {
            Ok::<_, Error>((part.fetch_rows(&view.schema, &self.columns, &rows).await?, rows))
        };
        let mut batches =
            stream::iter(part.split_into_windows(&self.columns, &rows)).map(fetch).buffered(PARALLEL);
        while let Some((batch, rows)) = batches.try_next().await? {
            let columns: Vec<ColumnKeys> =
                batch.columns().iter().map(ColumnKeys::new).collect::<Result<_>>()?;
            for (at, row) in rows.iter().enumerate() {
                let mut bytes = Vec::new();
                for key in &self.keys {
                    let column = columns
                        .get(key.at)
                        .ok_or_else(|| Error::internal("a column of an order was not read"))?;
                    let value = column.row_keys(at)?.next();
                    key.push(value, &mut bytes);
                }
                first.push(bytes, row);
            }
            first.settle()?;
        }
        Ok(first)
    }

    /// Whether the values of a walk tell the order of its rows.
    fn is_known(&self, walked: &[Walked]) -> bool {
        self.keys.len() == 1
            && walked.iter().all(|(value, _)| value.as_ref().is_none_or(|value| is_whole(value)))
    }

    /// Takes the rows of a walk, whose values come in order.
    fn take(&self, walked: Vec<Walked>, first: &mut First) {
        let Some(key) = self.keys.first() else { return };
        for (value, rows) in walked {
            if first.tied.is_some() || first.sure.len() >= first.depth {
                return;
            }
            let mut bytes = Vec::new();
            key.push(value.as_deref(), &mut bytes);
            let bytes = bytes.into_boxed_slice();
            if first.sure.len() + rows.len() < first.depth {
                first.sure.extend(rows.into_iter().map(|row| (bytes.clone(), row)));
            } else {
                first.tied = Some((bytes, rows.into_iter().collect()));
            }
        }
    }

    /// The first matching rows in order of their ids, if that is the first key and nothing is cheaper.
    async fn walk_ids(
        &self,
        segment: &Segment,
        matching: &RoaringBitmap,
        depth: usize,
    ) -> Result<Option<RoaringBitmap>> {
        let Some(key) = self.keys.first().filter(|key| key.order.column == ID_COLUMN) else {
            return Ok(None);
        };
        let wanted = depth as u64;
        // As many ids as hold those that are wanted, if what matches lies evenly.
        let walk = wanted.saturating_mul(segment.meta().rows.into()) / matching.len().max(1) + 1;
        if matching.len() <= wanted.max(FEW) || walk >= matching.len() {
            return Ok(None);
        }
        let page = usize::try_from(walk.clamp(PAGE, PAGE_MAX)).unwrap_or(usize::MAX);
        let (mut found, mut from): (_, Option<DocumentId>) = (RoaringBitmap::new(), None);
        while found.len() < wanted {
            let ids = if key.order.descending {
                segment.previous_ids(from.as_ref(), page).await?
            } else {
                segment.next_ids(from.as_ref(), page).await?
            };
            let rows = ids.iter().map(|(_, row)| *row).filter(|row| matching.contains(*row));
            found.extend(rows.take(depth - usize::try_from(found.len()).unwrap_or(depth)));
            match ids.into_iter().next_back() {
                Some((last, _)) => from = Some(last),
                None => break,
            }
        }
        Ok(Some(found))
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
        let (Some(key), Some(index)) = (self.keys.first(), segment.attribute_index()) else {
            return Ok(None);
        };
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
            let blocks = index.read_blocks(these).await?;
            let (index, matching) = (Arc::clone(index), Arc::clone(matching));
            let (name, descending) = (key.order.column.clone(), key.order.descending);
            let read = move || {
                let Some(column) = index.column(&name) else { return Ok((Vec::new(), 0)) };
                let (mut found, mut more) = (Vec::new(), 0);
                for block in &blocks {
                    let mut entries =
                        column.read_rows(block, &matching).map_err(|e| index.corrupt_block(e))?;
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
    let blocks = index.read_blocks(&column.find_spans(&AttributeProbe::Null)).await?;
    let candidates =
        column.find_candidates(&AttributeProbe::Null, &blocks).map_err(|e| index.corrupt_block(e))?;
    let rows: Vec<u32> = (candidates.definite & matching).into_iter().collect();
    let count = rows.len() as u64;
    found.push((None, rows));
    Ok(count)
}

impl First {
    fn push(&mut self, key: Vec<u8>, row: u32) {
        match &mut self.tied {
            Some((last, _)) if *key > **last => {}
            Some((last, tied)) if *key == **last => drop(tied.insert(row)),
            _ => self.sure.push((key.into(), row)),
        }
    }

    /// Orders what was pushed, and leaves out what is not among the first.
    fn settle(&mut self) -> Result<()> {
        self.sure.sort_unstable();
        if let Some(last) = self.depth.checked_sub(1).and_then(|last| self.sure.get(last)) {
            let last = last.0.clone();
            let mut more = self.sure.split_off(self.sure.partition_point(|(key, _)| *key < last));
            more.truncate(more.partition_point(|(key, _)| *key <= last));
            let tied = more.into_iter().map(|(_, row)| row);
            match &mut self.tied {
                Some((key, rows)) if *key == last => rows.extend(tied),
                _ => self.tied = Some((last, tied.collect())),
            }
        }
        let bytes = self.sure.iter().map(|(key, _)| key.len()).fold(0, usize::saturating_add);
        if bytes > BYTES_MAX {
            return Err(Error::limit(format!(
                "the values of an order are too large: those of the hits take at most {BYTES_MAX} bytes, ask for fewer"
            )));
        }
        Ok(())
    }

    /// The rows that are equal to the last, with their key, if a cut leaves some of them out.
    fn parted(&self, ties: usize) -> Option<(Box<[u8]>, RoaringBitmap)> {
        let left = self.depth.saturating_add(ties).saturating_sub(self.sure.len()) as u64;
        self.tied.as_ref().filter(|(_, tied)| tied.len() > left).cloned()
    }

    /// The first rows in order, and up to `ties` more that are equal to the last: those with the least ids.
    async fn cut(self, view: &View, part: &Part, ties: usize) -> Result<Vec<Ordered>> {
        let mut rows = self.sure;
        if let Some((key, equals)) = self.tied {
            let wanted = self.depth.saturating_add(ties).saturating_sub(rows.len());
            let equals = part.select_smallest_ids(&view.schema, &equals, wanted).await?;
            rows.extend(equals.into_iter().map(|row| (key.clone(), row)));
        }
        Ok(rows)
    }
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
