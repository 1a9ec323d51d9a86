//! Values of rows that join their scores, read before rows are scored.

/// Values by row.
#[derive(Debug, Default)]
pub(crate) struct RankValues {
    /// In ascending order of rows.
    values: Vec<RankValue>,
}

#[derive(Clone, Copy, Debug)]
struct RankValue {
    row: u32,
    value: f32,
}

impl RankValues {
    /// Adds the value of the next row, in ascending order.
    pub(crate) fn push(&mut self, row: u32, value: f32) {
        debug_assert!(self.values.last().is_none_or(|last| last.row < row), "rows ascend");
        self.values.push(RankValue { row, value });
    }

    /// The value of a row; 0 if it has none.
    pub(crate) fn get(&self, row: u32) -> f32 {
        let found = self.values.binary_search_by_key(&row, |value| value.row).ok();
        // invariant: a document without a value gets nothing for it.
        found.and_then(|index| self.values.get(index)).map_or(0.0, |value| value.value)
    }
}
