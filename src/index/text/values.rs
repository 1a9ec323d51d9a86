//! Values of rows that join their scores, read before rows are scored.

/// Values by row.
#[derive(Debug, Default)]
pub(crate) struct Values {
    rows: Vec<u32>,
    values: Vec<f32>,
}

impl Values {
    /// The value of the next row, in ascending order.
    pub(crate) fn push(&mut self, row: u32, value: f32) {
        debug_assert!(self.rows.last().is_none_or(|last| *last < row), "rows ascend");
        self.rows.push(row);
        self.values.push(value);
    }

    /// The value of a row; 0 if it has none.
    pub(crate) fn of(&self, row: u32) -> f32 {
        let found = self.rows.binary_search(&row).ok();
        found.and_then(|at| self.values.get(at)).copied().unwrap_or_default()
    }
}
