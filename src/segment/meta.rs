//! What a manifest records of a segment: enough to read any part of it in one request, and to detect damage.
//!
//! Fields that this version does not know are carried from manifest to manifest, and so are unknown sections of files. A
//! section itself is strict: what a reader must know of it beside its place is another section.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::statistics::ColumnStatistics;
use crate::cache::Span;
use crate::codec::{CodecError, UnknownFields, hex, u64_of};
use crate::index::vector::CentroidsMeta;
use crate::schema::{ColumnKind, Schema, SchemaVersions};
use crate::types::{ColumnId, DocumentId, ObjectId, Sequence};

const WHAT: &str = "segment meta";

/// A section is read whole: none may be larger.
pub(super) const SECTION_BYTES_MAX: u64 = 1 << 30;

/// The order of the rows of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RowOrder {
    /// By id, ascending.
    Id,
    /// By the cluster of the first vector column; rows without a vector there come last.
    Cluster,
}

/// A part of a file that is read whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileSection {
    pub(crate) offset: u64,
    pub(crate) length: u64,
    #[serde(with = "hex")]
    pub(crate) checksum: u64,
}

/// A file of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileMeta {
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) sections: BTreeMap<String, FileSection>,
    #[serde(flatten)]
    unknown: UnknownFields,
}

/// The file of dead rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeletesMeta {
    /// The manifest the file was written for: with the nonce, its name.
    pub(crate) manifest: u64,
    #[serde(with = "uuid_text")]
    pub(crate) nonce: Uuid,
    /// How many rows are dead.
    pub(crate) count: u32,
    pub(crate) size: u64,
    #[serde(with = "hex")]
    pub(crate) checksum: u64,
    #[serde(flatten)]
    pub(super) unknown: UnknownFields,
}

/// A segment as its manifest describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentMeta {
    pub(crate) id: ObjectId,
    /// The version of the schema that it was written with.
    pub(crate) schema: u32,
    pub(crate) order: RowOrder,
    pub(crate) rows: u32,
    /// The first and the last sequence whose entries the rows came from.
    pub(crate) sequences: (Sequence, Sequence),
    #[serde(with = "id_text")]
    pub(crate) id_min: DocumentId,
    #[serde(with = "id_text")]
    pub(crate) id_max: DocumentId,
    /// Bounds of values, by attribute. Nothing is known of attributes that are missing here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) statistics: BTreeMap<ColumnId, ColumnStatistics>,
    /// `rows.parquet`.
    pub(crate) parquet: FileMeta,
    /// `index`: the only file with sections.
    pub(crate) index: FileMeta,
    /// `vector.<column>`, by column.
    pub(crate) vectors: BTreeMap<ColumnId, FileMeta>,
    /// The centroid sets that vector columns are indexed by, by column.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) centroids: BTreeMap<ColumnId, CentroidsMeta>,
    /// Those of these columns whose rows their set does not fit: a compaction replaces the set.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) unfit: BTreeSet<ColumnId>,
    /// `text`, if there are text columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<FileMeta>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deletes: Option<DeletesMeta>,
    #[serde(flatten)]
    pub(crate) unknown: UnknownFields,
}

impl FileSection {
    pub(crate) fn range(&self) -> Range<u64> {
        self.offset..self.offset.saturating_add(self.length)
    }

    /// Its range, with the checksum that the bytes must have.
    pub(super) fn span(&self) -> Span {
        let Range { start, end } = self.range();
        Span { start, end, checksum: Some(self.checksum) }
    }
}

impl FileMeta {
    pub(super) fn new(size: u64, sections: BTreeMap<String, FileSection>) -> Self {
        Self { size, sections, unknown: UnknownFields::new() }
    }

    /// A file of which nothing is read before the heads in `index`.
    pub(super) fn without_sections(size: usize) -> Self {
        Self::new(u64_of(size), BTreeMap::new())
    }

    /// The section of a name.
    pub(super) fn section(&self, name: &str) -> Result<FileSection, CodecError> {
        let missing = || CodecError::malformed(WHAT, format!("no section {name}"));
        self.sections.get(name).copied().ok_or_else(missing)
    }

    fn check(&self) -> Result<(), CodecError> {
        // Before any section is read: a length from here is what a read allocates.
        let sound = |section: &FileSection| {
            section.length <= SECTION_BYTES_MAX
                && section.offset.checked_add(section.length).is_some_and(|end| end <= self.size)
        };
        match self.sections.iter().find(|(_, section)| !sound(section)) {
            Some((name, _)) => Err(CodecError::malformed(WHAT, format!("section {name} is out of bounds"))),
            None => Ok(()),
        }
    }
}

impl SegmentMeta {
    /// Rows that are not dead.
    pub(crate) fn live_rows(&self) -> u32 {
        // `check` refuses a meta with more dead rows than rows.
        self.rows.saturating_sub(self.deletes.as_ref().map_or(0, |d| d.count))
    }

    /// The size of all files, in bytes.
    pub(crate) fn total_bytes(&self) -> u64 {
        let sizes = self.files().map(|file| file.size);
        sizes.chain(self.deletes.as_ref().map(|d| d.size)).fold(0, u64::saturating_add)
    }

    fn files(&self) -> impl Iterator<Item = &FileMeta> {
        self.vectors.values().chain([&self.parquet, &self.index]).chain(&self.text)
    }

    /// Whether a row of this segment may have this id.
    pub(crate) fn may_hold(&self, id: &DocumentId) -> bool {
        (&self.id_min..=&self.id_max).contains(&id)
    }

    /// The bounds of the values of a column, which may be the id.
    pub(crate) fn column_statistics(&self, column: ColumnId) -> Option<Cow<'_, ColumnStatistics>> {
        if column == ColumnId::DOCUMENT_ID {
            return Some(Cow::Owned(ColumnStatistics::from_id_range(&self.id_min, &self.id_max)));
        }
        self.statistics.get(&column).map(Cow::Borrowed)
    }

    /// [`Self::check`] by the schema that the segment was written with, which must be among these.
    pub(crate) fn check_version(&self, schemas: &SchemaVersions) -> Result<(), CodecError> {
        let written = schemas.find_version(self.schema);
        let missing =
            || CodecError::malformed(WHAT, format!("version {} of the schema is missing", self.schema));
        self.check(written.ok_or_else(missing)?)
    }

    /// Checks what can be checked without the files, by the schema that the segment was written with.
    pub(crate) fn check(&self, schema: &Schema) -> Result<(), CodecError> {
        let bad = |why: &str| Err(CodecError::malformed(WHAT, why));
        // A manifest passed its checksum, so what is wrong here is a bug of another version or a forgery. Either way no
        // reader behind this check has to expect it: bounds, counts and names agree with the schema from here on.
        if self.rows == 0 {
            return bad("no rows");
        }
        if self.schema != schema.version() {
            return bad("it was written with another version of the schema");
        }
        if self.sequences.0 > self.sequences.1 {
            return bad("sequences run backwards");
        }
        let kind = schema.id();
        if self.id_min.check(kind).is_err() || self.id_max.check(kind).is_err() || self.id_min > self.id_max {
            return bad("the range of ids is wrong");
        }
        let vectors: BTreeSet<ColumnId> = schema.vector_columns().map(|(column, _)| column.id).collect();
        if !self.vectors.keys().eq(&vectors) {
            return bad("the vector columns are not those of the schema");
        }
        if !self.centroids.keys().all(|column| self.vectors.contains_key(column)) {
            return bad("centroids of a column that is no vector column");
        }
        if !self.unfit.iter().all(|column| self.centroids.contains_key(column)) {
            return bad("an unfit set of a column without centroids");
        }
        if self.text.is_some() != schema.texts().next().is_some() {
            return bad("the text columns are not those of the schema");
        }
        // Counts of live rows are differences: they must not be negative.
        if self.deletes.as_ref().is_some_and(|d| d.count > self.rows) {
            return bad("more rows are dead than there are");
        }
        let sound =
            |(id, known): (&ColumnId, &ColumnStatistics)| match schema.column_by_id(*id).map(|c| c.kind) {
                Some(ColumnKind::Attribute(kind)) => known.is_sound(self.rows, kind),
                _ => false,
            };
        if !self.statistics.iter().all(sound) {
            return bad("the statistics are not those of these rows");
        }
        self.files().try_for_each(FileMeta::check)
    }
}

mod uuid_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use uuid::Uuid;

    pub(super) fn serialize<S: Serializer>(uuid: &Uuid, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&uuid.simple())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Uuid, D::Error> {
        Uuid::try_parse(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// An id with its kind: `{"u64": 7}`, `{"uuid": "…"}`, `{"string": "…"}`.
mod id_text {
    use serde::de::Error as _;
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use uuid::Uuid;

    use crate::types::DocumentId;

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum IdJson {
        U64(u64),
        Uuid(String),
        String(String),
    }

    pub(super) fn serialize<S: Serializer>(id: &DocumentId, to: S) -> Result<S::Ok, S::Error> {
        let stored = match id {
            DocumentId::U64(id) => IdJson::U64(*id),
            DocumentId::Uuid(id) => IdJson::Uuid(id.simple().to_string()),
            DocumentId::String(id) => IdJson::String(id.to_string()),
            DocumentId::Negative(_) => return Err(S::Error::custom("an id below zero")),
        };
        stored.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<DocumentId, D::Error> {
        Ok(match IdJson::deserialize(from)? {
            IdJson::U64(id) => id.into(),
            IdJson::Uuid(id) => Uuid::try_parse(&id).map_err(D::Error::custom)?.into(),
            IdJson::String(id) => id.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::AttributeType;
    use crate::types::{IdKind, Metric, VectorType};

    fn schema() -> Schema {
        let builder = Schema::builder(IdKind::String).attribute("a", AttributeType::Int);
        builder.vector("v", VectorType::F32, 2, Metric::Dot).build().unwrap()
    }

    fn meta() -> SegmentMeta {
        let section = FileSection { offset: 10, length: 20, checksum: u64::MAX - 1 };
        let file = FileMeta::new(30, [("a".to_owned(), section)].into());
        SegmentMeta {
            id: ObjectId { birth: 7, uuid: Uuid::from_u128(9) },
            schema: 1,
            order: RowOrder::Id,
            rows: 10,
            sequences: (Sequence(3), Sequence(5)),
            id_min: "a".into(),
            id_max: "é\"".into(),
            statistics: BTreeMap::new(),
            parquet: file.clone(),
            index: file.clone(),
            vectors: [(ColumnId(2), file)].into(),
            centroids: BTreeMap::new(),
            unfit: BTreeSet::new(),
            text: None,
            deletes: Some(DeletesMeta {
                manifest: 8,
                nonce: Uuid::max(),
                count: 4,
                size: 5,
                checksum: 6,
                unknown: UnknownFields::new(),
            }),
            unknown: UnknownFields::new(),
        }
    }

    #[test]
    fn a_meta_reads_back_and_counts() {
        let meta = meta();
        assert_eq!(meta.check(&schema()).map_err(|e| e.to_string()), Ok(()));
        assert_eq!((meta.live_rows(), meta.total_bytes()), (6, 95));
        let json = serde_json::to_string(&meta).unwrap();
        assert_eq!(serde_json::from_str::<SegmentMeta>(&json).unwrap(), meta);
        for (from, to) in [
            ("\"rows\":10", "\"rows\":-1"),
            ("\"id\":\"0", "\"id\":\"x"),
            ("fffe\"", "fff\""),
            ("\"order\":\"id\"", "\"order\":\"leaf\""),
            ("\"offset\":10", "\"offset\":10,\"x\":1"),
        ] {
            let bad = json.replace(from, to);
            assert!(bad != json && serde_json::from_str::<SegmentMeta>(&bad).is_err(), "{to}");
        }
    }

    fn nulls(nulls: u32) -> ColumnStatistics {
        ColumnStatistics { nulls, ..ColumnStatistics::default() }
    }

    #[test]
    fn contradictions_are_refused() {
        let bad = |change: fn(&mut SegmentMeta)| {
            let mut meta = meta();
            change(&mut meta);
            meta.check(&schema()).is_err()
        };
        assert!(bad(|m| m.rows = 0));
        assert!(bad(|m| m.rows = 3));
        assert!(bad(|m| m.schema = 2));
        assert!(bad(|m| m.sequences = (Sequence(2), Sequence(1))));
        assert!(bad(|m| m.id_min = 7.into()));
        assert!(bad(|m| m.id_max = "A".into()));
        assert!(bad(|m| m.vectors.clear()));
        assert!(!bad(|m| drop(m.statistics.insert(ColumnId(1), nulls(10)))));
        assert!(bad(|m| drop(m.statistics.insert(ColumnId(1), nulls(11)))));
        assert!(bad(|m| drop(m.statistics.insert(ColumnId(2), nulls(1)))));
        assert!(bad(|m| drop(m.statistics.insert(ColumnId(3), nulls(1)))));
        assert!(bad(|m| m.parquet.size = 29));
        assert!(bad(|m| m.text = Some(m.parquet.clone())));
        assert!(bad(|m| m.index.sections.get_mut("a").unwrap().offset = u64::MAX));
        assert!(bad(|m| m.index.sections.get_mut("a").unwrap().length = u64::MAX));
    }
}
