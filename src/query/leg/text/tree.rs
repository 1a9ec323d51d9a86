//! Text queries and ranks as trees, which can be deeper than the stack.

use std::fmt;

use super::{Rank, TextQuery};
use crate::filter::Filter;
use crate::types::tree::{Level, Tree, impl_tree, iter_nodes};

impl_tree!(TextQuery);
impl_tree!(Rank);

impl TextQuery {
    /// The ranks in it.
    pub(in crate::query) fn ranks(&self) -> impl Iterator<Item = &Rank> {
        iter_nodes(self)
            .filter_map(|node| if let Self::Ranked(_, rank, _) = node { Some(rank) } else { None })
    }
}

impl Rank {
    /// The filters in it.
    pub(in crate::query) fn filters(&self) -> impl Iterator<Item = &Filter> {
        iter_nodes(self).filter_map(|node| if let Self::Filter(filter) = node { Some(filter) } else { None })
    }
}

/// A node without children for each child.
fn leaves_for<T: Tree>(children: &[T]) -> Vec<T> {
    children.iter().map(|_| T::without_children()).collect()
}

impl Tree for TextQuery {
    // The cheapest variant: children are replaced by it while a tree is taken apart.
    fn without_children() -> Self {
        Self::AnyOf(Vec::new())
    }

    fn visit_children<'a>(&'a self, visit: &mut dyn FnMut(&'a Self)) {
        match self {
            Self::AnyOf(of) | Self::AllOf(of) | Self::Best(of) | Self::Product(of) => {
                of.iter().for_each(visit);
            }
            Self::Without(of, not) => {
                visit(of);
                visit(not);
            }
            Self::Boost(of, _) | Self::Ranked(of, ..) => visit(of),
            Self::Match(_) | Self::Phrase(_) | Self::Everything => {}
        }
    }

    fn visit_children_mut(&mut self, visit: &mut dyn FnMut(&mut Self)) {
        match self {
            Self::AnyOf(of) | Self::AllOf(of) | Self::Best(of) | Self::Product(of) => {
                of.iter_mut().for_each(visit);
            }
            Self::Without(of, not) => {
                visit(of);
                visit(not);
            }
            Self::Boost(of, _) | Self::Ranked(of, ..) => visit(of),
            Self::Match(_) | Self::Phrase(_) | Self::Everything => {}
        }
    }

    fn copy_node(&self) -> Self {
        let leaf = || Box::new(Self::without_children());
        match self {
            Self::Match(query) => Self::Match(query.clone()),
            Self::Phrase(query) => Self::Phrase(query.clone()),
            Self::Everything => Self::Everything,
            Self::AnyOf(of) => Self::AnyOf(leaves_for(of)),
            Self::AllOf(of) => Self::AllOf(leaves_for(of)),
            Self::Best(of) => Self::Best(leaves_for(of)),
            Self::Product(of) => Self::Product(leaves_for(of)),
            Self::Without(..) => Self::Without(leaf(), leaf()),
            Self::Boost(_, factor) => Self::Boost(leaf(), *factor),
            Self::Ranked(_, rank, combine) => Self::Ranked(leaf(), rank.clone(), *combine),
        }
    }

    fn is_same_node(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Match(one), Self::Match(other)) => one == other,
            (Self::Phrase(one), Self::Phrase(other)) => one == other,
            (Self::AnyOf(one), Self::AnyOf(other))
            | (Self::AllOf(one), Self::AllOf(other))
            | (Self::Best(one), Self::Best(other))
            | (Self::Product(one), Self::Product(other)) => one.len() == other.len(),
            (Self::Without(..), Self::Without(..)) | (Self::Everything, Self::Everything) => true,
            #[expect(clippy::float_cmp, reason = "equal factors are the same")]
            (Self::Boost(_, one), Self::Boost(_, other)) => one == other,
            (Self::Ranked(_, rank, combine), Self::Ranked(_, other_rank, other)) => {
                rank == other_rank && combine == other
            }
            _ => false,
        }
    }

    fn fmt_node(&self, children: &[Level<'_, Self>], f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |name: &str, f: &mut fmt::Formatter<'_>| f.debug_tuple(name).field(&children).finish();
        let each = |name: &str, rest: &[&dyn fmt::Debug], f: &mut fmt::Formatter<'_>| {
            let mut tuple = f.debug_tuple(name);
            for child in children {
                tuple.field(child);
            }
            for field in rest {
                tuple.field(field);
            }
            tuple.finish()
        };
        match self {
            Self::Match(query) => each("Match", &[query], f),
            Self::Phrase(query) => each("Phrase", &[query], f),
            Self::Everything => f.write_str("Everything"),
            Self::AnyOf(_) => list("AnyOf", f),
            Self::AllOf(_) => list("AllOf", f),
            Self::Best(_) => list("Best", f),
            Self::Product(_) => list("Product", f),
            Self::Without(..) => each("Without", &[], f),
            Self::Boost(_, factor) => each("Boost", &[factor], f),
            Self::Ranked(_, rank, combine) => each("Ranked", &[rank, combine], f),
        }
    }
}

impl Tree for Rank {
    fn without_children() -> Self {
        Self::Constant(0.0)
    }

    fn visit_children<'a>(&'a self, visit: &mut dyn FnMut(&'a Self)) {
        match self {
            Self::Saturate(of, ..) | Self::Decay(of, ..) => visit(of),
            Self::Join(_, of) => of.iter().for_each(visit),
            Self::Constant(_) | Self::Filter(_) | Self::Attribute(_) | Self::Distance(..) => {}
        }
    }

    fn visit_children_mut(&mut self, visit: &mut dyn FnMut(&mut Self)) {
        match self {
            Self::Saturate(of, ..) | Self::Decay(of, ..) => visit(of),
            Self::Join(_, of) => of.iter_mut().for_each(visit),
            Self::Constant(_) | Self::Filter(_) | Self::Attribute(_) | Self::Distance(..) => {}
        }
    }

    fn copy_node(&self) -> Self {
        let leaf = || Box::new(Self::without_children());
        match self {
            Self::Constant(number) => Self::Constant(*number),
            Self::Filter(filter) => Self::Filter(filter.clone()),
            Self::Attribute(name) => Self::Attribute(name.clone()),
            Self::Distance(name, origin) => Self::Distance(name.clone(), *origin),
            Self::Saturate(_, midpoint, exponent) => Self::Saturate(leaf(), *midpoint, *exponent),
            Self::Decay(_, midpoint, exponent) => Self::Decay(leaf(), *midpoint, *exponent),
            Self::Join(combine, of) => Self::Join(*combine, leaves_for(of)),
        }
    }

    #[expect(clippy::float_cmp, reason = "equal numbers are the same")]
    fn is_same_node(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Constant(one), Self::Constant(other)) => one == other,
            (Self::Filter(one), Self::Filter(other)) => one == other,
            (Self::Attribute(one), Self::Attribute(other)) => one == other,
            (Self::Distance(one, origin), Self::Distance(other, other_origin)) => {
                one == other && origin == other_origin
            }
            (Self::Saturate(_, m, e), Self::Saturate(_, other_m, other_e))
            | (Self::Decay(_, m, e), Self::Decay(_, other_m, other_e)) => m == other_m && e == other_e,
            (Self::Join(one, of), Self::Join(other, other_of)) => one == other && of.len() == other_of.len(),
            _ => false,
        }
    }

    fn fmt_node(&self, children: &[Level<'_, Self>], f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bent = |name: &str, m: &f64, e: &f64, f: &mut fmt::Formatter<'_>| {
            let mut tuple = f.debug_tuple(name);
            for child in children {
                tuple.field(child);
            }
            tuple.field(m).field(e).finish()
        };
        match self {
            Self::Constant(number) => f.debug_tuple("Constant").field(number).finish(),
            Self::Filter(filter) => f.debug_tuple("Filter").field(filter).finish(),
            Self::Attribute(name) => f.debug_tuple("Attribute").field(name).finish(),
            Self::Distance(name, origin) => f.debug_tuple("Distance").field(name).field(origin).finish(),
            Self::Saturate(_, midpoint, exponent) => bent("Saturate", midpoint, exponent, f),
            Self::Decay(_, midpoint, exponent) => bent("Decay", midpoint, exponent, f),
            Self::Join(combine, _) => f.debug_tuple("Join").field(combine).field(&children).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Combine;

    /// Everything that is derived elsewhere, of a tree deeper than the stack.
    #[expect(clippy::needless_pass_by_value, reason = "it is dropped here")]
    fn survives<T: Tree + Clone + PartialEq + fmt::Debug>(deep: T, other: &T) {
        let copy = deep.clone();
        assert!(copy == deep && &deep != other);
        let shown = format!("{deep:?}{deep:#?}");
        assert!(shown.contains("..") && shown.len() < 1 << 20, "{}", shown.len());
    }

    #[test]
    fn trees_deeper_than_the_stack_are_cloned_compared_shown_and_dropped() {
        let levels = 0..200_000;
        let filter = |leaf| {
            levels.clone().fold(leaf, |f, at| match at % 3 {
                0 => Filter::Not(Box::new(f)),
                1 => Filter::Or(vec![Filter::is_null("b"), f]),
                _ => Filter::And(vec![f, Filter::is_null("c")]),
            })
        };
        survives(filter(Filter::is_null("a")), &filter(Filter::is_null("b")));
        let rank = |leaf| {
            levels.clone().fold(leaf, |rank: Rank, at| match at % 3 {
                0 => rank.saturate(1.0, 2.0),
                1 => rank.decay(1.0, 2.0),
                _ => Rank::sum([Rank::Constant(1.0), rank]),
            })
        };
        survives(rank(Rank::attribute("a")), &rank(Rank::attribute("b")));
        let text = |leaf| {
            levels.clone().fold(leaf, |text: TextQuery, at| match at % 5 {
                0 => text.boost(2.0),
                1 => TextQuery::any("b", "x").without(text),
                2 => text.ranked(Combine::Sum, Rank::Constant(1.0)),
                3 => text.without(TextQuery::any("b", "x")),
                _ => TextQuery::best([TextQuery::phrase("c", "y"), text]),
            })
        };
        survives(text(TextQuery::any("a", "x")), &text(TextQuery::any("a", "y")));
    }

    #[test]
    fn a_tree_shows_as_a_derive_would_show_it() {
        let filter = Filter::Not(Box::new(Filter::or([Filter::eq("a", 1), Filter::glob("b", "x*")])));
        let shown = r#"Not(Or([Eq("a", Value(Int(1))), Glob("b", "x*")]))"#;
        assert_eq!(format!("{filter:?}"), shown);
        let rank = Rank::product([Rank::attribute("a").decay(2.0, 1.0), Rank::Filter(filter.clone())]);
        assert_eq!(
            format!("{rank:?}"),
            format!(r#"Join(Product, [Decay(Attribute("a"), 2.0, 1.0), Filter({shown})])"#)
        );
        let text = TextQuery::any_of([]).boost(0.5).without(TextQuery::all_of([]).ranked(Combine::Max, rank));
        let copy = text.clone();
        assert_eq!(copy, text);
        assert!(
            format!("{copy:?}")
                .starts_with("Without(Boost(AnyOf([]), 0.5), Ranked(AllOf([]), Join(Product, ")
        );
    }
}
