//! Plans as text, for `explain` and logs: `all(n in 3 keys: 2 blocks, unknown); 512 bytes`.

use std::fmt;

use super::IndexPlan;
use super::node::PlanNode;
use super::probe::IndexProbe;
use crate::index::attributes::AttributeProbe;

impl fmt::Display for IndexPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {} bytes", self.root, self.bytes)
    }
}

impl fmt::Display for PlanNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, name: &str, nodes: &[Self]| {
            write!(f, "{name}(")?;
            for (index, node) in nodes.iter().enumerate() {
                write!(f, "{}{node}", if index == 0 { "" } else { ", " })?;
            }
            f.write_str(")")
        };
        match self {
            Self::Const(answer) => write!(f, "{answer}"),
            Self::Unknown => f.write_str("unknown"),
            Self::Tokens(_) => f.write_str("tokens"),
            Self::AtMost(inner) => write!(f, "at most {inner}"),
            Self::Not(inner) => write!(f, "not {inner}"),
            Self::All(nodes) => list(f, "all", nodes),
            Self::Any(nodes) => list(f, "any", nodes),
            Self::Index(probe) => probe.fmt(f),
        }
    }
}

impl fmt::Display for IndexProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (column, blocks) = (&self.column.name, self.spans.len());
        match &self.probe {
            AttributeProbe::Null => write!(f, "{column} is null: {blocks} blocks"),
            AttributeProbe::In(keys) => write!(f, "{column} in {} keys: {blocks} blocks", keys.len()),
            AttributeProbe::Range(..) => write!(f, "{column} within a range: {blocks} blocks"),
            AttributeProbe::Matches(_) | AttributeProbe::MatchesAmong(..) => match &self.lookup {
                None => write!(f, "{column} by a pattern: {blocks} blocks"),
                Some(lookup) => {
                    let trigrams = lookup.spans.len();
                    write!(f, "{column} by a pattern: {trigrams} blocks of trigrams, some of {blocks} blocks")
                }
            },
        }
    }
}
