//! Ids in and out of Arrow arrays.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, FixedSizeBinaryArray, FixedSizeBinaryBuilder, StringArray, StringBuilder, UInt64Array,
};
use uuid::Uuid;

use crate::error::{Error, OrInternal, Result};
use crate::types::{DocumentId, IdKind};

/// A column of ids, ready to be read.
#[derive(Clone, Debug)]
pub(crate) enum Ids {
    U64(UInt64Array),
    Uuid(FixedSizeBinaryArray),
    String(StringArray),
}

impl Ids {
    /// The ids of an array in the Arrow type of `kind`, without nulls.
    pub(crate) fn new(kind: IdKind, array: &ArrayRef) -> Result<Self> {
        let any = array.as_any();
        let ids = match kind {
            IdKind::U64 => any.downcast_ref().cloned().map(Self::U64),
            IdKind::Uuid => any
                .downcast_ref::<FixedSizeBinaryArray>()
                .filter(|a| a.value_length() == 16)
                .cloned()
                .map(Self::Uuid),
            IdKind::String => any.downcast_ref().cloned().map(Self::String),
        };
        if array.null_count() > 0 {
            return Err(Error::invalid("an id is null"));
        }
        ids.ok_or_else(|| {
            Error::invalid(format!("the id column is {}, the namespace uses {kind} ids", array.data_type()))
        })
    }

    pub(crate) fn kind(&self) -> IdKind {
        match self {
            Self::U64(_) => IdKind::U64,
            Self::Uuid(_) => IdKind::Uuid,
            Self::String(_) => IdKind::String,
        }
    }

    /// The rows in ascending order of their ids.
    pub(crate) fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.len()).collect();
        match self {
            Self::U64(a) => order.sort_unstable_by_key(|row| a.value(*row)),
            Self::Uuid(a) => order.sort_unstable_by_key(|row| a.value(*row)),
            Self::String(a) => order.sort_unstable_by_key(|row| a.value(*row)),
        }
        order
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::U64(a) => a.len(),
            Self::Uuid(a) => a.len(),
            Self::String(a) => a.len(),
        }
    }

    /// The id of a row. `row` must be below [`Self::len`].
    pub(crate) fn get(&self, row: usize) -> DocumentId {
        match self {
            Self::U64(a) => DocumentId::U64(a.value(row)),
            Self::Uuid(a) => DocumentId::Uuid(Uuid::from_slice(a.value(row)).unwrap_or_default()),
            Self::String(a) => DocumentId::String(a.value(row).into()),
        }
    }

    /// Compares the id of a row with `id`, which is of the same kind.
    pub(crate) fn compare(&self, row: usize, id: &DocumentId) -> Ordering {
        match (self, id) {
            (Self::U64(a), DocumentId::U64(id)) => a.value(row).cmp(id),
            (Self::Uuid(a), DocumentId::Uuid(id)) => a.value(row).cmp(id.as_bytes().as_slice()),
            (Self::String(a), DocumentId::String(id)) => a.value(row).cmp(id),
            _ => self.get(row).cmp(id),
        }
    }

    /// Whether every id is greater than the one before it.
    pub(crate) fn is_ascending(&self) -> bool {
        match self {
            Self::U64(a) => a.values().is_sorted_by(|x, y| x < y),
            Self::Uuid(a) => (1..a.len()).all(|row| a.value(row - 1) < a.value(row)),
            Self::String(a) => (1..a.len()).all(|row| a.value(row - 1) < a.value(row)),
        }
    }

    pub(crate) fn to_vec(&self) -> Vec<DocumentId> {
        (0..self.len()).map(|row| self.get(row)).collect()
    }

    /// In a column in ascending order: the row of `id`, or where it would stand.
    pub(crate) fn search(&self, id: &DocumentId) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.compare(middle, id) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    /// An array of ids, all of `kind`.
    pub(crate) fn array<'a>(kind: IdKind, ids: impl IntoIterator<Item = &'a DocumentId>) -> Result<ArrayRef> {
        let ids = ids.into_iter();
        let mixed = |id: &DocumentId| Error::invalid(format!("an id is not {kind}. id=`{id}`"));
        Ok(match kind {
            IdKind::U64 => {
                let values = ids.map(|id| if let DocumentId::U64(x) = id { Ok(*x) } else { Err(mixed(id)) });
                Arc::new(UInt64Array::from(values.collect::<Result<Vec<_>>>()?))
            }
            IdKind::Uuid => {
                let mut builder = FixedSizeBinaryBuilder::new(16);
                for id in ids {
                    let DocumentId::Uuid(x) = id else { return Err(mixed(id)) };
                    builder.append_value(x.as_bytes()).or_internal()?;
                }
                Arc::new(builder.finish())
            }
            IdKind::String => {
                let mut builder = StringBuilder::new();
                for id in ids {
                    let DocumentId::String(x) = id else { return Err(mixed(id)) };
                    builder.append_value(x);
                }
                Arc::new(builder.finish())
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_every_kind_go_in_and_out_and_are_found() {
        let uuids: Vec<DocumentId> = (1..9u128).map(|n| Uuid::from_u128(n << 100).into()).collect();
        let kinds: [(IdKind, Vec<DocumentId>); 3] = [
            (IdKind::U64, [1u64, 5, 9].map(Into::into).to_vec()),
            (IdKind::Uuid, uuids),
            (IdKind::String, ["a", "b", "é"].map(Into::into).to_vec()),
        ];
        for (kind, ids) in kinds {
            let array = Ids::array(kind, &ids).unwrap();
            let read = Ids::new(kind, &array).unwrap();
            assert_eq!((0..read.len()).map(|row| read.get(row)).collect::<Vec<_>>(), ids);
            for (row, id) in ids.iter().enumerate() {
                assert_eq!(read.search(id), Ok(row));
            }
        }
        assert!(Ids::array(IdKind::U64, &[DocumentId::from("x")]).is_err());
    }
}
