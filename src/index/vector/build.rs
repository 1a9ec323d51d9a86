//! Building the index of a column: from its vectors to cluster records, their section, and the order of rows.
//!
//! Pure and CPU-heavy: it runs where blocking work does.

use super::assignment::Assignment;
use super::centroids::CentroidSet;
use super::curve::RecallCurve;
use super::distinct::{COPIES_MIN, DistinctVectors};
use super::kmeans::{Points, TrainingProgress};
use super::outliers::find_outliers;
use super::quantizer::Quantizer;
use super::record_writer::{RecordPlan, RecordWriter};
use super::row_clusters::RowClusters;
use super::section::{IndexSection, RecordEntry, push_owners};
use super::train::cluster_rows;
use crate::codec::{u64_of, zip_equal};
use crate::error::{Error, Result};

/// The index of a column of a segment, before the order of its rows is decided.
#[derive(Debug)]
pub(crate) struct VectorIndexBuilder {
    records: Vec<RecordPlan>,
    /// The vectors, by their numbers in [`DistinctVectors`], that have no code because they are out of all scale.
    loose: Vec<u32>,
    curve: RecallCurve,
    quantizer: Quantizer,
}

impl VectorIndexBuilder {
    /// Finds the cluster of every vector whose row is in none of the `known` ones.
    pub(crate) fn new(
        set: &CentroidSet,
        vectors: &DistinctVectors,
        known: &RowClusters,
        progress: &TrainingProgress,
    ) -> Result<Self> {
        let points = Points::new(&vectors.values, vectors.dimension)?;
        // A record of copies is one code and one exact comparison, while an outlier is compared once for each of its rows.
        let is_one_of_few = |vector: &u32| vectors.rows_of(*vector).count() < COPIES_MIN;
        let loose: Vec<u32> = find_outliers(points)?.into_iter().filter(is_one_of_few).collect();
        let clusters = assign_vectors(set, vectors, known, progress)?;
        let assignment = Assignment::new(clusters, set.len(), &loose)?;
        let space = set.space();
        // The set is shared: clusters balanced for the rows it was trained on may be any size here.
        let rows_max = 2 * cluster_rows(vectors.dimension, space.bits());
        let records = (0..).zip(assignment.members()).flat_map(|(cluster, members)| {
            let records = split_into_records(vectors, members, rows_max).into_iter();
            records.map(move |vectors| RecordPlan { cluster, vectors })
        });
        Ok(Self {
            records: records.collect(),
            loose,
            curve: RecallCurve::measure(set, points, &assignment)?,
            quantizer: Quantizer::new(space.padded(), space.bits(), space.form()),
        })
    }

    /// The rows in the order of their clusters, those in none last.
    pub(crate) fn row_order(&self, vectors: &DistinctVectors) -> Vec<u32> {
        let ordered = self.records.iter().flat_map(|record| &record.vectors).chain(&self.loose);
        ordered.flat_map(|vector| vectors.rows_of(*vector)).collect()
    }

    /// The records, and the section that locates them if they are written at `base` of the file.
    ///
    /// `positions` has the final position of each row of the segment. `listed` is false if rows are in the order of
    /// this index.
    pub(crate) fn finish(
        self,
        set: &CentroidSet,
        vectors: &DistinctVectors,
        positions: &[u32],
        listed: bool,
        base: u64,
    ) -> Result<(Vec<u8>, Vec<u8>)> {
        let mut writer = RecordWriter::new(set, vectors, &self.quantizer, positions, listed, base);
        let mut section = IndexSection { curve: self.curve, ..IndexSection::default() };
        for vector in &self.loose {
            writer.add_loose(*vector)?;
        }
        let mut written = Vec::with_capacity(self.records.len());
        for record in &self.records {
            written.extend(writer.write_record(record)?);
        }
        let mut records;
        (records, section.loose) = writer.finish();
        // Records lie in the order of their clusters in space: those that a query reads together lie near each other. Their
        // entries are found by the numbers of the clusters.
        written.sort_by_key(|(entry, _)| entry.number);
        section.entries.extend(written.iter().map(|(entry, _)| *entry));
        // Whether a cluster has a match is a range count over the filter where rows are runs. Where any are listed, the
        // owner of each matching row is read instead, and then all rows need one.
        if section.entries.iter().any(RecordEntry::is_listed) {
            let owned = (0..).zip(&written);
            let owned = owned.flat_map(|(entry, (_, rows))| rows.iter().map(move |row| (*row, entry)));
            section.owners = push_owners(positions.len(), owned, base, &mut records)?;
        }
        Ok((records, section.encode(positions.len())?))
    }
}

/// The cluster of each vector. To find one takes a comparison with every centroid, so those that are known are not found
/// again.
fn assign_vectors(
    set: &CentroidSet,
    vectors: &DistinctVectors,
    known: &RowClusters,
    progress: &TrainingProgress,
) -> Result<Vec<u32>> {
    let points = Points::new(&vectors.values, vectors.dimension)?;
    let mut clusters: Vec<Option<u32>> = vectors.rows.iter().map(|row| known.get(*row)).collect();
    let unknown = (0..).zip(&clusters).filter(|(_, cluster)| cluster.is_none());
    let unknown: Vec<usize> = unknown.map(|(vector, _)| vector).collect();
    progress.add_expected(u64_of(unknown.len()).saturating_mul(u64_of(set.len())));
    let found = set.plain().assign_rows(points, unknown.iter().copied(), progress)?;
    for (vector, cluster) in zip_equal(unknown, found, "vectors and their clusters")? {
        if let Some(slot) = clusters.get_mut(vector) {
            *slot = Some(cluster);
        }
    }
    let all: Option<Vec<u32>> = clusters.into_iter().collect();
    all.ok_or_else(|| Error::internal("a vector without a cluster"))
}

/// The vectors of a cluster, in as many records as keep each below `rows_max` rows. A vector of many rows gets its own.
fn split_into_records(vectors: &DistinctVectors, members: &[u32], rows_max: usize) -> Vec<Vec<u32>> {
    let (mut records, mut copies) = (Vec::new(), Vec::new());
    let (mut open, mut rows) = (Vec::new(), 0);
    for vector in members {
        let here = vectors.rows_of(*vector).count();
        if here >= COPIES_MIN {
            copies.push(vec![*vector]);
            continue;
        }
        if rows + here > rows_max && rows > 0 {
            records.push(std::mem::take(&mut open));
            rows = 0;
        }
        open.push(*vector);
        rows += here;
    }
    if !open.is_empty() {
        records.push(open);
    }
    records.extend(copies);
    records
}
