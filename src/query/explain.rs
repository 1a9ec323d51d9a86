//! What a query would do, told without doing it.

use std::fmt;
use std::sync::Arc;

use super::plan::{PlannedLeg, QueryPlan};
use super::{Query, SearchPlan};
use crate::error::Result;
use crate::filter::BoundFilter;
use crate::filter::{IndexPlan, SegmentIndexes};
use crate::memtable::PartSource;
use crate::segment::Segment;
use crate::types::Sequence;
use crate::view::Scopes;
use crate::view::{Part, View};

/// The plan of a query: what each leg would do in each part. It prints as a tree. It is made of what is in memory
/// already, so that it costs nothing, and its numbers are estimates.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explain {
    /// The state that would be asked.
    pub sequence: Sequence,
    /// The legs, in their order.
    pub legs: Vec<LegPlan>,
    /// What would be done with what they find, in order: fusion, rescoring, diversity, the documents.
    pub steps: Vec<String>,
}

/// What a leg would do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LegPlan {
    /// What ranks.
    pub by: String,
    /// How many documents go into fusion.
    pub depth: usize,
    /// How much they count.
    pub weight: f32,
    /// What it would do in each part, oldest first.
    pub parts: Vec<PartPlan>,
}

/// What a leg would do in a part.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PartPlan {
    /// The segment, or a layer of the tail.
    pub part: String,
    /// Rows that lie in it, dead ones included.
    pub rows: u64,
    /// How the filter would be answered.
    pub filter: FilterPlan,
    /// How the rest would be ranked.
    pub search: SearchPlan,
}

/// How a filter is answered in a part.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FilterPlan {
    /// There is none.
    Nothing,
    /// The statistics of the segment tell that nothing matches: it is left out.
    Pruned,
    /// By indexes, as the text says; so many bytes of the index of attributes are needed.
    Index(String, u64),
    /// By the values of all rows.
    Values,
}

impl Explain {
    /// The plan of a query on a view.
    pub(crate) fn new(view: &View, query: &Query) -> Result<Self> {
        let plan = QueryPlan::new(view, query, &mut Scopes::default())?;
        let parts = view.parts();
        let legs = plan.legs.iter().zip(&query.legs).map(|(leg, described)| {
            let parts = parts.iter().enumerate().map(|(number, part)| plan_of(leg, number, part));
            Ok(LegPlan {
                by: described.to_string(),
                depth: leg.depth,
                weight: leg.weight,
                parts: parts.collect::<Result<_>>()?,
            })
        });
        Ok(Self { sequence: view.sequence, legs: legs.collect::<Result<_>>()?, steps: steps(&plan) })
    }
}

fn plan_of(leg: &PlannedLeg, number: usize, part: &Part) -> Result<PartPlan> {
    let pruned = leg.scope.is_pruned(number);
    let filter = match (leg.scope.bound_filter(), &part.source) {
        _ if pruned => FilterPlan::Pruned,
        (None, _) => FilterPlan::Nothing,
        (Some(bound), PartSource::Segment(segment)) => filter_of(bound, segment),
        (Some(_), PartSource::Memory(_)) => FilterPlan::Values,
    };
    let search = if pruned { SearchPlan::Nothing } else { leg.search.explain(part, leg.depth)? };
    let name = match &part.source {
        PartSource::Segment(segment) => format!("segment {}", segment.meta().id),
        PartSource::Memory(_) => "tail".to_owned(),
    };
    Ok(PartPlan { part: name, rows: part.source.rows().into(), filter, search })
}

fn filter_of(bound: &BoundFilter, segment: &Segment) -> FilterPlan {
    let indexes = SegmentIndexes {
        attributes: segment.attribute_index().map(Arc::clone),
        text: segment.text_index().map(Arc::clone),
        rows: segment.meta().rows,
    };
    let plan = IndexPlan::new(bound, &indexes);
    if plan.is_unknown() { FilterPlan::Values } else { FilterPlan::Index(plan.to_string(), plan.bytes()) }
}

fn steps(plan: &QueryPlan<'_>) -> Vec<String> {
    let query = plan.query;
    let mut steps = Vec::new();
    if query.legs.len() > 1 {
        steps.push(format!("fuse by {:?}", query.fusion));
    }
    for (rescore, step) in query.rescores.iter().zip(&plan.rescores) {
        steps.push(format!("rescore the best {} by {rescore:?}", step.depth));
    }
    if let Some(diversity) = &query.diversity {
        let (limit, columns) = (diversity.limit, diversity.columns.join(", "));
        steps.push(if diversity.groups {
            format!("group by {columns}, {limit} hits each")
        } else {
            format!("at most {limit} hits with the same {columns}")
        });
    }
    let computed = query.computes.len();
    steps.push(format!(
        "read {} columns of {} documents after {}, and compute {computed}",
        plan.columns.len(),
        query.limit,
        query.offset.saturating_add(query.shown_ids().len())
    ));
    steps
}

impl fmt::Display for Explain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "query of sequence {}", self.sequence.0)?;
        for (number, leg) in self.legs.iter().enumerate() {
            writeln!(f, "  leg {number}: {}, depth {}, weight {}", leg.by, leg.depth, leg.weight)?;
            for part in &leg.parts {
                writeln!(f, "    {}, {} rows", part.part, part.rows)?;
                writeln!(f, "      filter: {}", part.filter)?;
                writeln!(f, "      search: {}", part.search)?;
            }
        }
        self.steps.iter().try_for_each(|step| writeln!(f, "  {step}"))
    }
}

impl fmt::Display for FilterPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("none"),
            Self::Pruned => f.write_str("pruned by statistics"),
            Self::Index(plan, _) => write!(f, "by indexes: {plan}"),
            Self::Values => f.write_str("by the values of all rows"),
        }
    }
}
