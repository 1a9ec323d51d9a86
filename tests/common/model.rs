//! A namespace as a map, and what each operation does to it: the reference every answer is held against.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use elacsym::{Document, DocumentId, Value};

use super::predicate::Predicate;

/// One operation of a batch.
#[derive(Clone, Debug)]
pub enum Op {
    Upsert(Document),
    /// An upsert of a document that must not exist.
    Insert(Document),
    UpsertIf(Document, Predicate),
    Patch(Document),
    PatchIf(Document, Predicate),
    Delete(DocumentId),
    DeleteIf(DocumentId, Predicate),
    DeleteByFilter(Predicate),
    PatchByFilter(Predicate, Vec<(&'static str, Value)>),
}

/// A batch: its operations, in the order they are given, and a token that makes it apply once.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub ops: Vec<Op>,
    pub token: Option<u128>,
}

/// What the library says a batch did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    pub sequence: u64,
    pub upserted: u64,
    pub patched: u64,
    pub deleted: u64,
    pub skipped: u64,
    /// The token was known: the numbers are those of the first time.
    pub replayed: bool,
}

/// What the model says a batch did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub upserted: u64,
    pub patched: u64,
    /// Documents that went, and ids of plain deletes that were not there: those are not read first.
    pub deleted: u64,
    /// Operations that did nothing.
    pub skipped: u64,
}

impl Counts {
    /// Whether a receipt tells of this.
    pub fn agrees(&self, receipt: &Receipt) -> bool {
        self.upserted == receipt.upserted
            && self.patched == receipt.patched
            && self.deleted == receipt.deleted
            && self.skipped == receipt.skipped
    }
}

/// The documents of a namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    pub documents: BTreeMap<DocumentId, Arc<Document>>,
}

impl Model {
    /// Applies a batch: deletes by filter first, patches by filter second, then the rest in order.
    pub fn apply(&mut self, ops: &[Op]) -> Counts {
        let mut counts = Counts::default();
        // Several patches of a document are one patched document.
        let mut patched = BTreeSet::new();
        for op in ops {
            if let Op::DeleteByFilter(predicate) = op {
                let before = self.documents.len();
                self.documents.retain(|_, document| !predicate.matches(document));
                counts.deleted += (before - self.documents.len()) as u64;
            }
        }
        for op in ops {
            if let Op::PatchByFilter(predicate, values) = op {
                for document in self.documents.values_mut().filter(|d| predicate.matches(d)) {
                    *document = Arc::new(
                        values
                            .iter()
                            .fold((**document).clone(), |d, (column, value)| set(d, column, value.clone())),
                    );
                    patched.insert(document.id().clone());
                }
            }
        }
        for op in ops {
            self.apply_by_id(op, &mut counts, &mut patched);
        }
        counts.patched = patched.len() as u64;
        counts
    }

    fn apply_by_id(&mut self, op: &Op, counts: &mut Counts, patched: &mut BTreeSet<DocumentId>) {
        match op {
            Op::DeleteByFilter(_) | Op::PatchByFilter(..) => {}
            Op::Insert(document) if self.documents.contains_key(document.id()) => counts.skipped += 1,
            Op::Upsert(document) | Op::Insert(document) => self.upsert(document, counts),
            Op::UpsertIf(document, condition) => match self.documents.get(document.id()) {
                Some(old) if !condition.matches(old) => counts.skipped += 1,
                _ => self.upsert(document, counts),
            },
            Op::Patch(patch) => self.patch(patch, counts, patched),
            Op::PatchIf(patch, condition) => match self.documents.get(patch.id()) {
                Some(old) if !condition.matches(old) => counts.skipped += 1,
                _ => self.patch(patch, counts, patched),
            },
            Op::Delete(id) => {
                self.documents.remove(id);
                counts.deleted += 1;
            }
            Op::DeleteIf(id, condition) if self.documents.get(id).is_some_and(|d| condition.matches(d)) => {
                self.documents.remove(id);
                counts.deleted += 1;
            }
            Op::DeleteIf(..) => counts.skipped += 1,
        }
    }

    fn upsert(&mut self, document: &Document, counts: &mut Counts) {
        self.put(document.clone());
        counts.upserted += 1;
    }

    fn patch(&mut self, patch: &Document, counts: &mut Counts, patched: &mut BTreeSet<DocumentId>) {
        let Some(old) = self.documents.get_mut(patch.id()) else {
            counts.skipped += 1;
            return;
        };
        *old =
            Arc::new(patch.iter().fold((**old).clone(), |d, (column, value)| set(d, column, value.clone())));
        patched.insert(patch.id().clone());
    }

    /// Stores a document.
    pub fn put(&mut self, document: Document) {
        let document = normal(document);
        self.documents.insert(document.id().clone(), Arc::new(document));
    }

    /// The documents that a filter matches, in id order.
    pub fn scan(&self, filter: Option<&Predicate>) -> Vec<Document> {
        let all = self.documents.values();
        all.filter(|d| filter.is_none_or(|f| f.matches(d))).map(|d| (**d).clone()).collect()
    }

    /// The `k` nearest by squared distance, ties by id.
    pub fn nearest(
        &self,
        column: &str,
        query: &[f32],
        filter: Option<&Predicate>,
        k: usize,
    ) -> Vec<(DocumentId, f32)> {
        let all = self.documents.values().filter(|d| filter.is_none_or(|f| f.matches(d)));
        let mut hits: Vec<_> = all
            .filter_map(|d| match d.get(column)? {
                Value::Vector(v) => Some((d.id().clone(), squared_distance(&v.to_f32(), query))),
                _ => None,
            })
            .collect();
        hits.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
        hits.truncate(k);
        hits
    }
}

fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// The document without its nulls: a column that is not there and one that is null are the same.
pub fn normal(document: Document) -> Document {
    let (id, values) = document.into_parts();
    let stored = values.into_iter().filter(|(_, value)| !value.is_null());
    stored.fold(Document::new(id), |d, (column, value)| d.with(column, value))
}

fn set(document: Document, column: &str, value: Value) -> Document {
    normal(document.with(column, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_follow_the_truth_table() {
        let mut model = Model::default();
        let document = |value: i64| Document::new(1).with("a", value);
        let holds = Predicate::Eq("a", 1i64.into());
        let fails = Predicate::Eq("a", 9i64.into());
        let counts =
            model.apply(&[Op::PatchIf(document(5), holds.clone()), Op::DeleteIf(1.into(), holds.clone())]);
        assert_eq!(counts, Counts { skipped: 2, ..Counts::default() });
        assert_eq!(model.apply(&[Op::UpsertIf(document(1), fails.clone())]).upserted, 1);
        assert_eq!(model.apply(&[Op::UpsertIf(document(2), fails.clone())]).skipped, 1);
        assert_eq!(model.apply(&[Op::Insert(document(2))]).skipped, 1);
        assert_eq!(model.apply(&[Op::DeleteIf(1.into(), fails)]).skipped, 1);
        assert_eq!(model.apply(&[Op::PatchIf(document(2), holds.clone())]).patched, 1);
        assert_eq!(model.apply(&[Op::DeleteIf(1.into(), holds)]).skipped, 1);
    }

    #[test]
    fn filters_come_before_ids_whatever_the_order_they_are_given_in() {
        let mut model = Model::default();
        model.apply(&[
            Op::Upsert(Document::new(1).with("a", 1i64)),
            Op::Upsert(Document::new(2).with("a", 2i64)),
        ]);
        let all = Predicate::Gte("a", 0i64.into());
        let counts = model.apply(&[
            Op::Upsert(Document::new(3).with("a", 7i64)),
            Op::PatchByFilter(all, vec![("a", Value::Int(4))]),
            Op::DeleteByFilter(Predicate::Eq("a", 1i64.into())),
        ]);
        assert_eq!((counts.deleted, counts.patched, counts.upserted), (1, 1, 1));
        let expected = [Document::new(2).with("a", 4i64), Document::new(3).with("a", 7i64)];
        assert_eq!(model.scan(None), expected);
    }
}
