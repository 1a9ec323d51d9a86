//! What a query would do, told without doing it.

use std::fmt;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::Query;
use super::compare::VectorSearch;
use super::exec::{Prepared, PreparedAsk, PreparedLeg};
use super::probe::{Target, clusters_of};
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

/// How rows are ranked in a part.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SearchPlan {
    /// So many of the clusters of a vector index are probed, and of them about so many bytes of codes are read; with a
    /// filter it may be more.
    Probe {
        /// Clusters that are probed.
        clusters: usize,
        /// Clusters that there are.
        of: usize,
        /// Bytes of codes.
        bytes: u64,
    },
    /// Nothing is.
    Nothing,
    /// Every vector that the filter lets through is compared: at most so many bytes of them.
    Compare {
        /// Bytes of vectors.
        bytes: u64,
    },
    /// The postings of so many words, prefixes or spellings are walked.
    Postings {
        /// What is looked up in the dictionary.
        words: usize,
    },
    /// The values of the first attribute of an order are walked until so many rows are found.
    Walk {
        /// Rows that are wanted.
        rows: usize,
    },
}

impl Explain {
    /// The plan of a query on a view.
    pub(crate) fn new(view: &View, query: &Query) -> Result<Self> {
        let prepared = view.prepare(query, &mut Scopes::default())?;
        let legs = prepared.legs.iter().zip(&query.legs);
        let legs = legs.map(|(leg, asked)| LegPlan {
            by: asked.to_string(),
            depth: leg.depth,
            weight: leg.weight,
            parts: view.parts().iter().enumerate().map(|(at, part)| plan_of(leg, at, part)).collect(),
        });
        Ok(Self { sequence: view.sequence, legs: legs.collect(), steps: steps(&prepared) })
    }
}

fn plan_of(leg: &PreparedLeg, at: usize, part: &Part) -> PartPlan {
    let pruned = leg.scope.is_pruned(at);
    let filter = match (leg.scope.bound_filter(), &part.source) {
        _ if pruned => FilterPlan::Pruned,
        (None, _) => FilterPlan::Nothing,
        (Some(bound), PartSource::Segment(segment)) => filter_of(bound, segment),
        (Some(_), PartSource::Memory(_)) => FilterPlan::Values,
    };
    let search = match (&leg.ask, &part.source) {
        _ if pruned => SearchPlan::Nothing,
        (PreparedAsk::Text(plan, _), _) => SearchPlan::Postings { words: plan.terms.len() },
        (PreparedAsk::Order(_), _) => SearchPlan::Walk { rows: leg.depth },
        (PreparedAsk::Nearest(search), PartSource::Segment(segment)) => {
            search_of(search, leg.depth, part, segment)
        }
        (PreparedAsk::Nearest(search), PartSource::Memory(_)) => compare(search, part),
    };
    let name = match &part.source {
        PartSource::Segment(segment) => format!("segment {}", segment.meta().id),
        PartSource::Memory(_) => "tail".to_owned(),
    };
    PartPlan { part: name, rows: part.source.rows().into(), filter, search }
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

fn search_of(search: &VectorSearch, depth: usize, part: &Part, segment: &Arc<Segment>) -> SearchPlan {
    let mut all = RoaringBitmap::new();
    all.insert_range(0..segment.meta().rows);
    let search = VectorSearch { limit: depth, beyond: 1, ..search.clone() };
    let (segment, matching) = (Arc::clone(segment), Arc::new(all));
    let target = Target { at: 0, part: part.clone(), segment, matching };
    if !search.probes(&target.segment, &target.matching) {
        return compare(&search, part);
    }
    let exact = compare(&search, part);
    match (clusters_of(&search, &target), &exact) {
        (Some((clusters, of, bytes)), SearchPlan::Compare { bytes: all }) if bytes < *all => {
            SearchPlan::Probe { clusters, of, bytes }
        }
        _ => exact,
    }
}

fn compare(search: &VectorSearch, part: &Part) -> SearchPlan {
    SearchPlan::Compare { bytes: u64::from(part.source.rows()) * search.row_bytes as u64 }
}

fn steps(prepared: &Prepared<'_>) -> Vec<String> {
    let query = prepared.query;
    let mut steps = Vec::new();
    if query.legs.len() > 1 {
        steps.push(format!("fuse by {:?}", query.fusion));
    }
    for (rescore, step) in query.rescores.iter().zip(&prepared.rescores) {
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
        prepared.columns.len(),
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

impl fmt::Display for SearchPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Probe { clusters, of, bytes } => {
                write!(f, "{clusters} of {of} clusters, {bytes} bytes of codes")
            }
            Self::Nothing => f.write_str("none"),
            Self::Compare { bytes } => write!(f, "every vector that matches, up to {bytes} bytes"),
            Self::Postings { words } => write!(f, "postings of {words} words"),
            Self::Walk { rows } => write!(f, "walk values for {rows} rows"),
        }
    }
}
