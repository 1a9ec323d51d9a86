//! Documents to Arrow and back, and record batches of callers into the layout of the schema.
//!
//! **Invariant:** a batch that leaves this module is in the layout of `schema.arrow()` and obeys every rule of
//! `Schema::check`. In that layout a null array is empty, and a null vector is zeros.

mod from_arrow;
mod import;
mod import_error;
mod layout;
mod list;
mod scalar;
mod size;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod to_arrow;

/// The most bytes, and the most elements, of one column of a batch: Arrow's 32-bit offsets reach no further.
const COLUMN_BYTES_MAX: usize = i32::MAX as usize;
