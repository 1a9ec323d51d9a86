//! Explaining a query: its plan, without running it.

use std::fmt;

use super::plan::{PlannedLeg, QueryPlan};
use super::{Query, SearchPlan};
use crate::codec::zip_equal;
use crate::error::Result;
use crate::filter::BoundFilter;
use crate::filter::{IndexPlan, SegmentIndexes};
use crate::memtable::PartSource;
use crate::segment::Segment;
use crate::types::Sequence;
use crate::view::Scopes;
use crate::view::{Part, View};

/// The plan of a query: what each leg would do in each part. Displays as a tree. It is made from what is in memory, so
/// it costs no requests, and its numbers are estimates.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::{schema::TextOptions, *};
/// # let schema = Schema::builder(IdKind::U64).text("body", TextOptions::default()).build()?;
/// # let notes = Database::open("memory://").await?.create_namespace("notes", schema).await?;
/// notes.write(Document::new(1).with("body", "cold tea")).await?;
/// let plan = notes.snapshot(Consistency::Strong).await?.explain(TextQuery::any("body", "tea"))?;
/// print!("{plan}");
/// assert!(plan.to_string().starts_with("query of sequence 1\n  leg 0: text by BM25"));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explain {
    /// The sequence that would be queried.
    pub sequence: Sequence,
    /// The legs, in their order.
    pub legs: Vec<LegPlan>,
    /// The steps after the legs, in order: fusion, rescoring, diversity, reading the documents.
    pub steps: Vec<String>,
}

/// The plan of a leg.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::{schema::TextOptions, *};
/// # let schema = Schema::builder(IdKind::U64).text("body", TextOptions::default()).build()?;
/// # let notes = Database::open("memory://").await?.create_namespace("notes", schema).await?;
/// let words = Leg::text(TextQuery::any("body", "tea")).weight(2.0);
/// let newest = Leg::order_by([Order::desc("id")]).depth(50);
/// let plan = notes.snapshot(Consistency::Strong).await?.explain(Query::hybrid([words, newest]))?;
/// assert_eq!((plan.legs[0].by.as_str(), plan.legs[0].weight), ("text by BM25", 2.0));
/// assert_eq!(plan.legs[1].depth, 50);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LegPlan {
    /// What the leg ranks by.
    pub by: String,
    /// The most documents that go into fusion.
    pub depth: usize,
    /// Their weight in fusion.
    pub weight: f32,
    /// The plan for each part, oldest first.
    pub parts: Vec<PartPlan>,
}

/// The plan of a leg for one part.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::{schema::TextOptions, *};
/// # let schema = Schema::builder(IdKind::U64).text("body", TextOptions::default()).build()?;
/// # let notes = Database::open("memory://").await?.create_namespace("notes", schema).await?;
/// notes.write(Document::new(1).with("body", "cold tea")).await?;
/// let plan = notes.snapshot(Consistency::Strong).await?.explain(TextQuery::any("body", "tea"))?;
/// let part = &plan.legs[0].parts[0];
/// println!("{}, {} rows: filter {}, search {}", part.part, part.rows, part.filter, part.search);
/// assert_eq!((part.part.as_str(), part.rows), ("tail", 1));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PartPlan {
    /// The segment, or a layer of the tail.
    pub part: String,
    /// Rows of the part, including dead ones.
    pub rows: u64,
    /// How the filter would be evaluated.
    pub filter: FilterPlan,
    /// How the matching rows would be ranked.
    pub search: SearchPlan,
}

/// How a filter is evaluated in a part.
///
/// ```
/// use elacsym::query::FilterPlan;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::{schema::AttributeType, schema::TextOptions, *};
/// # let schema = Schema::builder(IdKind::U64).text("body", TextOptions::default())
/// #     .attribute("year", AttributeType::Int).build()?;
/// # let notes = Database::open("memory://").await?.create_namespace("notes", schema).await?;
/// notes.write(Document::new(1).with("body", "cold tea").with("year", 2024)).await?;
/// let query = Query::text(TextQuery::any("body", "tea")).filter(Filter::gte("year", 2000));
/// let tail = notes.snapshot(Consistency::Strong).await?.explain(&query)?;
/// assert_eq!(tail.legs[0].parts[0].filter, FilterPlan::Values);
/// notes.flush().await?;
/// let segment = notes.snapshot(Consistency::Strong).await?.explain(&query)?;
/// assert!(matches!(segment.legs[0].parts[0].filter, FilterPlan::Index(..)));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FilterPlan {
    /// There is no filter.
    Nothing,
    /// The statistics of the segment prove that nothing matches: it is skipped.
    Pruned,
    /// By indexes, as the text describes, with the bytes of the attribute index that are needed.
    Index(String, u64),
    /// By the values of all rows.
    Values,
}

impl Explain {
    /// The plan of a query on a view.
    pub(crate) fn new(view: &View, query: &Query) -> Result<Self> {
        let plan = QueryPlan::new(view, query, &mut Scopes::default())?;
        let parts = view.parts();
        let legs = zip_equal(&plan.legs, &query.legs, "legs and their plans")?.map(|(leg, described)| {
            let parts = parts.iter().enumerate().map(|(number, part)| plan_part(leg, number, part));
            Ok(LegPlan {
                by: described.to_string(),
                depth: leg.depth,
                weight: leg.weight,
                parts: parts.collect::<Result<_>>()?,
            })
        });
        Ok(Self {
            sequence: view.sequence,
            legs: legs.collect::<Result<_>>()?,
            steps: describe_steps(&plan)?,
        })
    }
}

fn plan_part(leg: &PlannedLeg, number: usize, part: &Part) -> Result<PartPlan> {
    let pruned = leg.scope.is_pruned(number);
    let filter = match (leg.scope.bound_filter(), &part.source) {
        _ if pruned => FilterPlan::Pruned,
        (None, _) => FilterPlan::Nothing,
        (Some(bound), PartSource::Segment(segment)) => plan_filter(bound, segment),
        (Some(_), PartSource::Memory(_)) => FilterPlan::Values,
    };
    // Nothing is read: this tells from statistics and heads in memory what a search would do.
    let search = if pruned { SearchPlan::Nothing } else { leg.search.explain(part, leg.depth)? };
    let name = match &part.source {
        PartSource::Segment(segment) => format!("segment {}", segment.meta().id),
        PartSource::Memory(_) => "tail".to_owned(),
    };
    Ok(PartPlan { part: name, rows: part.source.rows().into(), filter, search })
}

fn plan_filter(bound: &BoundFilter, segment: &Segment) -> FilterPlan {
    let plan = IndexPlan::new(bound, &SegmentIndexes::new(segment));
    if plan.is_unknown() { FilterPlan::Values } else { FilterPlan::Index(plan.to_string(), plan.bytes()) }
}

fn describe_steps(plan: &QueryPlan<'_>) -> Result<Vec<String>> {
    let query = plan.query;
    let mut steps = Vec::new();
    // A single leg keeps its ranking as it is.
    if query.legs.len() > 1 {
        steps.push(format!("fuse by {:?}", query.fusion));
    }
    for (rescore, step) in zip_equal(&query.rescores, &plan.rescores, "rescorings and their plans")? {
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
    Ok(steps)
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
