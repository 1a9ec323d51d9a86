//! The kinds of queries, and how many of the true neighbours they find.

use std::fmt;

use elacsym::{Aggregation, DocumentId, Filter, Leg, Order, Query, Result, Select, Snapshot, TextQuery};

use crate::common::Draw;
use crate::house::word;
use crate::set::Set;
use crate::{QUERIES, TURNS};

/// Queries whose recall is measured. Their exact answers are found here.
const CHECKED: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// The nearest vectors: how many, and among one of how many documents.
    Nearest {
        limit: usize,
        one_of: usize,
    },
    Documents,
    Exact,
    Text,
    Hybrid,
    Order,
    Get,
    Facet,
}

impl Question {
    pub(crate) const ALL: &[Self] = &[
        Self::Nearest { limit: 10, one_of: 1 },
        Self::Nearest { limit: 100, one_of: 1 },
        Self::Nearest { limit: 1_000, one_of: 1 },
        Self::Nearest { limit: 10, one_of: 2 },
        Self::Nearest { limit: 10, one_of: 10 },
        Self::Nearest { limit: 10, one_of: 100 },
        Self::Documents,
        Self::Exact,
        Self::Text,
        Self::Hybrid,
        Self::Order,
        Self::Get,
        Self::Facet,
    ];
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nearest { limit, one_of: 1 } => write!(f, "{limit} nearest, ids"),
            Self::Nearest { limit, one_of } => write!(f, "{limit} nearest of one in {one_of}, ids"),
            Self::Documents => f.write_str("10 nearest, whole documents"),
            Self::Exact => f.write_str("10 nearest, exact, ids"),
            Self::Text => f.write_str("text, two words, ids"),
            Self::Hybrid => f.write_str("hybrid of both, ids"),
            Self::Order => f.write_str("order by a number, ids"),
            Self::Get => f.write_str("10 documents by id"),
            Self::Facet => f.write_str("facet under a filter of one in 10"),
        }
    }
}

pub(crate) struct Questions<'a> {
    set: &'a Set,
    vectors: Vec<&'a [f32]>,
}

impl<'a> Questions<'a> {
    pub(crate) fn new(set: &'a Set) -> Self {
        Self { set, vectors: set.queries().collect() }
    }

    /// The numbers of the queries of a turn. Those of all turns are different.
    pub(crate) fn of_turn(&self, question: Question, turn: usize) -> impl Iterator<Item = usize> {
        let few = match question {
            Question::Nearest { limit: 1_000, .. } | Question::Exact | Question::Facet => 4,
            _ => 1,
        };
        let warm = CHECKED;
        let count = (self.vectors.len().min(QUERIES) - warm) / TURNS;
        (warm + turn * count..warm + (turn + 1) * count).step_by(few)
    }

    pub(crate) async fn ask(
        &self,
        question: Question,
        number: usize,
        docs: &Snapshot,
    ) -> Result<Vec<DocumentId>> {
        if question == Question::Get {
            let mut draw = Draw(number as u64);
            let ids = (0..10).map(|_| draw.below(self.set.rows() as u64));
            let found = docs.get(ids).await?;
            return Ok(found.into_iter().flatten().map(|document| document.id().clone()).collect());
        }
        let answer = docs.query(self.query(question, number)).await?;
        Ok(answer.rows.documents()?.into_iter().map(|document| document.id().clone()).collect())
    }

    fn query(&self, question: Question, number: usize) -> Query {
        let vector = self.vectors[number % self.vectors.len()];
        let ids = Select::Only(Vec::new());
        let mut draw = Draw(number as u64 ^ 0x5eed);
        let words = format!("w{} w{}", word(0.2 + draw.unit() * 0.6), word(0.2 + draw.unit() * 0.6));
        let text = TextQuery::any("body", words.as_str());
        match question {
            Question::Nearest { limit, one_of: 1 } => Query::nearest("v", vector).limit(limit).select(ids),
            Question::Nearest { limit, one_of } => {
                let below = (self.set.rows() / one_of) as u64;
                Query::nearest("v", vector).filter(Filter::lt("shuffled", below)).limit(limit).select(ids)
            }
            Question::Documents => Query::nearest("v", vector),
            Question::Exact => Query::nearest("v", vector).exact().select(ids),
            Question::Text => Query::text(text).select(ids),
            Question::Hybrid => Query::hybrid([Leg::nearest("v", vector), Leg::text(text)]).select(ids),
            Question::Order => {
                let from = draw.below(self.set.rows() as u64);
                Query::order_by([Order::asc("shuffled")]).filter(Filter::gte("shuffled", from)).select(ids)
            }
            Question::Facet | Question::Get => {
                let from = draw.below((self.set.rows() - self.set.rows() / 10) as u64);
                let to = from + self.set.rows() as u64 / 10;
                let tenth = Filter::gte("shuffled", from) & Filter::lt("shuffled", to);
                Query::text(text).filter(tenth).facet("kinds", Aggregation::new().group_by("kind")).limit(0)
            }
        }
    }

    /// The share of the true neighbours that is found; `None` for other kinds. It fills the cache, too.
    pub(crate) async fn recall(&self, question: Question, docs: &Snapshot) -> Result<Option<f64>> {
        let (limit, below) = match question {
            Question::Nearest { limit, one_of } => (limit, self.set.rows() / one_of),
            Question::Documents | Question::Exact => (10, self.set.rows()),
            _ => (0, 0),
        };
        let (mut found, mut all) = (0, 0);
        for number in 0..CHECKED.min(self.vectors.len()) {
            let ids = self.ask(question, number, docs).await?;
            if limit == 0 {
                continue;
            }
            let matches = |row: usize| self.set.shuffled(row) < below as u64;
            let truth = self.set.nearest(self.vectors[number], limit, matches);
            found += truth.iter().filter(|id| ids.iter().any(|hit| *hit == **id)).count();
            all += truth.len();
        }
        Ok((all > 0).then(|| found as f64 / all as f64))
    }
}
