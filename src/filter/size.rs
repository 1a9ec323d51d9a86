//! Limits on the size of filters, checked before anything recurses into them.

use super::Filter;
use crate::error::{Error, Result};
use crate::settings::Settings;
use crate::types::tree::{Tree, iter_nodes};

/// How deep a filter may nest whatever the settings say: binding, planning and evaluating recurse, on the 2 MiB stack
/// of a worker thread.
pub(super) const DEPTH_MAX: usize = 256;
/// The most patterns of all filters of a call: each may take a megabyte when compiled.
const PATTERNS_MAX: usize = 128;
/// The most bytes of all filters of a call.
const BYTES_MAX: usize = 64 << 20;
/// What a node counts besides its column name and its argument, in bytes: an empty filter is not free either.
const NODE_BYTES: usize = 64;

impl Filter {
    /// Checks the depth, the number of nodes and the length of lists.
    // Without recursion: the tree may be deeper than the stack, so this comes before it is cloned, compared or bound.
    pub(crate) fn check_size(&self, settings: &Settings) -> Result<()> {
        // The caller's limit may be higher than what the stack allows.
        let depth_max = settings.filter_depth_max.min(DEPTH_MAX);
        let over = |what: &str, max: usize| Err(Error::limit(format!("{what}: at most {max} are allowed")));
        let mut pending = vec![(self, 1)];
        let mut nodes = 1;
        while let Some((filter, depth)) = pending.pop() {
            if depth > depth_max {
                return over("the filter nests too deep in levels", depth_max);
            }
            let values = filter.predicate().map_or(0, |(_, argument)| argument.value_count());
            if values > settings.filter_values_max {
                return over("too many values in a list of the filter", settings.filter_values_max);
            }
            let before = pending.len();
            filter.visit_children(&mut |child| pending.push((child, depth + 1)));
            nodes += pending.len() - before;
            if nodes > settings.filter_nodes_max {
                return over("too many nodes in the filter", settings.filter_nodes_max);
            }
        }
        Ok(())
    }
}

/// The size of all filters of a call together.
#[derive(Debug, Default)]
pub(crate) struct FilterWeight {
    patterns: usize,
    bytes: usize,
}

impl FilterWeight {
    /// Adds a filter.
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded) if the sum is too large.
    pub(crate) fn add(&mut self, filter: &Filter) -> Result<()> {
        for node in iter_nodes(filter) {
            let (name_bytes, argument_bytes, is_pattern) = match node.predicate() {
                Some((name, argument)) => (name.len(), argument.bytes(), argument.is_pattern()),
                None => (0, 0, false),
            };
            self.patterns += usize::from(is_pattern);
            let node_bytes = name_bytes.saturating_add(argument_bytes).saturating_add(NODE_BYTES);
            self.bytes = self.bytes.saturating_add(node_bytes);
            if self.patterns > PATTERNS_MAX {
                return Err(Error::limit(format!(
                    "too many patterns in the filters of a call: at most {PATTERNS_MAX} are allowed"
                )));
            }
            if self.bytes > BYTES_MAX {
                return Err(Error::limit(format!(
                    "the filters of a call are too large: at most {BYTES_MAX} bytes are allowed"
                )));
            }
        }
        Ok(())
    }
}
