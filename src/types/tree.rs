//! Trees that callers build, of any depth: cloned, compared, shown and dropped without recursion on their depth.
//!
//! What derives give would recurse, so that a tree made from hostile input ends the process: in a query that
//! refuses it just as in the caller's own `clone()`.

use std::fmt;
use std::mem;

/// Levels of a tree that are shown; below them stands `..`.
const SHOWN_MAX: usize = 64;

/// A node of a tree, with children of its own type.
pub(crate) trait Tree: Sized {
    /// A node without children.
    fn leaf() -> Self;

    /// Visits the children, in order.
    fn children<'a>(&'a self, visit: &mut dyn FnMut(&'a Self));

    /// Visits the places of the children, in order.
    fn children_mut(&mut self, visit: &mut dyn FnMut(&mut Self));

    /// A copy of the node itself, with leaves in the places of its children.
    fn copy(&self) -> Self;

    /// Whether two nodes are equal but for their children: as many of the same kind.
    fn is_like(&self, other: &Self) -> bool;

    /// Shows the node, with its children as they are given.
    fn show(&self, children: &[Level<'_, Self>], f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// All nodes of a tree: parents before their children, and these in order.
pub(crate) fn nodes<T: Tree>(tree: &T) -> impl Iterator<Item = &T> {
    let mut pending = vec![tree];
    std::iter::from_fn(move || {
        let node = pending.pop()?;
        let first = pending.len();
        node.children(&mut |child| pending.push(child));
        if let Some(children) = pending.get_mut(first..) {
            children.reverse();
        }
        Some(node)
    })
}

/// As [`Clone::clone`].
pub(crate) fn copy<T: Tree>(tree: &T) -> T {
    let order: Vec<&T> = nodes(tree).collect();
    // Whatever stands behind a node in this order and is not taken by another is its children, the first on top.
    let mut done: Vec<T> = Vec::new();
    for node in order.into_iter().rev() {
        let mut copy = node.copy();
        copy.children_mut(&mut |place| {
            if let Some(child) = done.pop() {
                *place = child;
            }
        });
        done.push(copy);
    }
    done.pop().unwrap_or_else(T::leaf)
}

/// As [`PartialEq::eq`].
pub(crate) fn is_equal<T: Tree>(one: &T, other: &T) -> bool {
    let (mut left, mut right) = (nodes(one), nodes(other));
    loop {
        match (left.next(), right.next()) {
            (Some(a), Some(b)) if a.is_like(b) => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

/// For [`Drop::drop`]: takes the tree below a node apart.
pub(crate) fn fell<T: Tree>(tree: &mut T) {
    let mut pending = Vec::new();
    let detach = |node: &mut T, pending: &mut Vec<T>| {
        node.children_mut(&mut |child| {
            let mut has_some = false;
            child.children(&mut |_| has_some = true);
            // A leaf is dropped with its parent.
            if has_some {
                pending.push(mem::replace(child, T::leaf()));
            }
        });
    };
    detach(tree, &mut pending);
    while let Some(mut node) = pending.pop() {
        detach(&mut node, &mut pending);
    }
}

/// As [`fmt::Debug::fmt`], down to some levels.
pub(crate) fn show<T: Tree>(tree: &T, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    fmt::Debug::fmt(&Level(tree, SHOWN_MAX), f)
}

/// A tree, and how many levels of it are shown.
pub(crate) struct Level<'a, T>(&'a T, usize);

impl<T: Tree> fmt::Debug for Level<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(below) = self.1.checked_sub(1) else { return f.write_str("..") };
        let mut children = Vec::new();
        self.0.children(&mut |child| children.push(Level(child, below)));
        self.0.show(&children, f)
    }
}

/// Implements [`Clone`], [`PartialEq`], [`fmt::Debug`] and [`Drop`] of a [`Tree`].
macro_rules! impl_tree {
    ($tree:ty) => {
        impl Clone for $tree {
            fn clone(&self) -> Self {
                $crate::types::tree::copy(self)
            }
        }

        impl PartialEq for $tree {
            fn eq(&self, other: &Self) -> bool {
                $crate::types::tree::is_equal(self, other)
            }
        }

        /// As it would be derived, down to 64 levels.
        impl std::fmt::Debug for $tree {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $crate::types::tree::show(self, f)
            }
        }

        impl Drop for $tree {
            fn drop(&mut self) {
                $crate::types::tree::fell(self);
            }
        }
    };
}
pub(crate) use impl_tree;
