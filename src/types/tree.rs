//! Trees that callers build, of any depth: cloned, compared, printed and dropped without recursion.
//!
//! Derived implementations recurse. A deep tree from hostile input would overflow the stack and end the process, in
//! the caller's own `clone()` as well as in the query that rejects it.

use std::fmt;
use std::mem;

/// The levels that are printed, with `..` for the rest. Formatting recurses, as `Formatter` leaves no other way.
const PRINTED_LEVELS_MAX: usize = 64;

// Visitors instead of iterators: children are in vectors, boxes and options, which have no iterator type in common.
/// A node of a tree, with children of its own type.
pub(crate) trait Tree: Sized {
    /// Any node without children.
    fn without_children() -> Self;

    /// Visits the children, in order.
    fn visit_children<'a>(&'a self, visit: &mut dyn FnMut(&'a Self));

    /// Visits the children in the same order, to replace them.
    fn visit_children_mut(&mut self, visit: &mut dyn FnMut(&mut Self));

    /// A copy of the node itself, with as many [`without_children`](Self::without_children) in place of its children.
    fn copy_node(&self) -> Self;

    /// Whether two nodes are equal, with as many children, whatever these are.
    fn is_same_node(&self, other: &Self) -> bool;

    /// Prints the node with its printed children.
    fn fmt_node(&self, children: &[Level<'_, Self>], f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// All nodes of a tree in preorder.
pub(crate) fn iter_nodes<T: Tree>(tree: &T) -> impl Iterator<Item = &T> {
    let mut pending = vec![tree];
    std::iter::from_fn(move || {
        let node = pending.pop()?;
        let first = pending.len();
        node.visit_children(&mut |child| pending.push(child));
        // The first child is the next node, so it goes on top.
        #[expect(clippy::indexing_slicing, reason = "`first` is the length before the children were pushed")]
        pending[first..].reverse();
        Some(node)
    })
}

/// The number of levels of a tree; 1 for a node without children.
pub(crate) fn depth<T: Tree>(tree: &T) -> usize {
    let (mut pending, mut deepest) = (vec![(tree, 1)], 1);
    while let Some((node, depth)) = pending.pop() {
        deepest = deepest.max(depth);
        node.visit_children(&mut |child| pending.push((child, depth + 1)));
    }
    deepest
}

/// As [`Clone::clone`].
pub(crate) fn clone_tree<T: Tree>(tree: &T) -> T {
    // Backwards through the preorder, a node comes after all of its descendants. By then the copies of its children are
    // on top of the stack, the first uppermost.
    let nodes: Vec<&T> = iter_nodes(tree).skip(1).collect();
    let mut copies: Vec<T> = Vec::with_capacity(nodes.len());
    for node in nodes.into_iter().rev() {
        let copy = copy_with_children(node, &mut copies);
        copies.push(copy);
    }
    copy_with_children(tree, &mut copies)
}

/// A copy of a node with the copies of its children, which are taken from the stack.
fn copy_with_children<T: Tree>(node: &T, stack: &mut Vec<T>) -> T {
    let mut copy = node.copy_node();
    copy.visit_children_mut(&mut |child| {
        // A clone that lost a condition would be another filter, and `Clone` cannot return an error.
        let Some(copied) = stack.pop() else { unreachable!("each child was copied before its parent") };
        *child = copied;
    });
    copy
}

/// As [`PartialEq::eq`].
pub(crate) fn is_equal<T: Tree>(one: &T, other: &T) -> bool {
    let (mut nodes, mut others) = (iter_nodes(one), iter_nodes(other));
    loop {
        match (nodes.next(), others.next()) {
            (Some(a), Some(b)) if a.is_same_node(b) => {}
            (None, None) => return true,
            // Other nodes, or fewer of them.
            _ => return false,
        }
    }
}

/// For [`Drop::drop`]: drops the descendants of a node one by one.
pub(crate) fn drop_descendants<T: Tree>(tree: &mut T) {
    // The fields of a dropped node are dropped after this: what is left of the tree must be shallow by then.
    let mut pending = Vec::new();
    let detach = |node: &mut T, pending: &mut Vec<T>| {
        node.visit_children_mut(&mut |child| {
            let mut has_children = false;
            child.visit_children(&mut |_| has_children = true);
            // Dropping a leaf along with its parent is shallow, and saves a move.
            if has_children {
                pending.push(mem::replace(child, T::without_children()));
            }
        });
    };
    detach(tree, &mut pending);
    while let Some(mut node) = pending.pop() {
        detach(&mut node, &mut pending);
    }
}

/// As [`fmt::Debug::fmt`], down to a limited depth.
pub(crate) fn fmt_tree<T: Tree>(tree: &T, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    fmt::Debug::fmt(&Level(tree, PRINTED_LEVELS_MAX), f)
}

/// A tree, and how many of its levels are printed.
pub(crate) struct Level<'a, T>(&'a T, usize);

impl<T: Tree> fmt::Debug for Level<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(below) = self.1.checked_sub(1) else { return f.write_str("..") };
        let mut children = Vec::new();
        self.0.visit_children(&mut |child| children.push(Level(child, below)));
        self.0.fmt_node(&children, f)
    }
}

/// Implements [`Clone`], [`PartialEq`], [`fmt::Debug`] and [`Drop`] of a [`Tree`].
macro_rules! impl_tree {
    ($tree:ty) => {
        impl Clone for $tree {
            fn clone(&self) -> Self {
                $crate::types::tree::clone_tree(self)
            }
        }

        impl PartialEq for $tree {
            fn eq(&self, other: &Self) -> bool {
                $crate::types::tree::is_equal(self, other)
            }
        }

        /// As the derived implementation, down to 64 levels.
        impl std::fmt::Debug for $tree {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $crate::types::tree::fmt_tree(self, f)
            }
        }

        impl Drop for $tree {
            fn drop(&mut self) {
                $crate::types::tree::drop_descendants(self);
            }
        }
    };
}
pub(crate) use impl_tree;
