//! The packed text index of a segment, opened from its head.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use roaring::RoaringBitmap;
use tantivy::directory::{FileHandle, OwnedBytes};
use tantivy::postings::TermInfo;
use tantivy::schema::Field;
use tantivy::{Index, InvertedIndexReader, SegmentReader};

use super::blocks::Blocks;
use super::bm25::Totals;
use super::expand::{Candidate, Gathered, Spec};
use super::levenshtein::Levenshtein;
use super::packed::{BLOCK, HEADER, MAGIC, VERSION};
use super::pages::{Files, Missing, Pages, Pins, Surveyor};
use super::places::Places;
use super::recent::Recent;
use crate::cache::Blob;
use crate::codec::{CodecError, Reader, guarded};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::schema::Schema;

const WHAT: &str = "text head";
/// Dictionaries of up to so many tokens are walked where we are.
const INLINE_TERMS: usize = 4_096;
/// Entries of the dictionary of a column that are kept, and as many again that may go.
const RECENT_MAX: usize = 2_048;

/// The text columns of a segment.
pub(crate) struct StoredIndex {
    pub(super) pages: Arc<Pages>,
    pub(super) fields: Vec<StoredField>,
    pub(super) rows: u32,
    places: Arc<HashMap<PathBuf, Range<usize>>>,
}

pub(super) struct StoredField {
    inverted: Arc<InvertedIndexReader>,
    /// What was found in the dictionary lately.
    recent: Mutex<Recent<Spec, Arc<Matches>>>,
    pub(super) totals: Totals,
    pub(super) norms: Range<u64>,
    /// The average length of a row, as tantivy has it.
    pub(super) average: f32,
    postings: u64,
    positions: u64,
}

/// A token of the dictionary that a query is after.
#[derive(Clone, Debug)]
pub(super) struct Match {
    pub(super) edits: u8,
    pub(super) term: Box<[u8]>,
    pub(super) info: TermInfo,
}

/// The tokens of the dictionary that a query is after, and whether there are more than it allows.
#[derive(Debug)]
pub(super) struct Matches {
    pub(super) found: Vec<Match>,
    pub(super) cut: bool,
    /// How many it allows.
    most: usize,
}

/// What is looked up: the column, what of it, and how many tokens may stand for it.
pub(super) type Wanted<'a> = (usize, &'a Spec, usize);

/// What came of looking for a token: the tokens, or what has to be fetched first.
enum Attempt {
    Found(Arc<Matches>),
    Missed(Vec<Range<u64>>),
}

impl Candidate for Match {
    fn edits(&self) -> u8 {
        self.edits
    }

    fn term(&self) -> &[u8] {
        &self.term
    }

    fn rows(&self) -> u64 {
        self.info.doc_freq.into()
    }
}

/// Opens a tantivy index of one segment.
pub(super) fn open(files: Files) -> tantivy::Result<SegmentReader> {
    let index = Index::open(files)?;
    let segments = index.searchable_segments()?;
    let segment = segments.first().ok_or_else(|| corrupt("there is no segment"))?;
    SegmentReader::open(segment)
}

fn corrupt(why: &str) -> tantivy::TantivyError {
    tantivy::TantivyError::InternalError(why.to_owned())
}

struct Head {
    rows: u32,
    length: u64,
    columns: Vec<(Totals, Range<u64>, u64, u64)>,
    places: HashMap<PathBuf, Range<usize>>,
    hot: Vec<(u64, OwnedBytes)>,
    checksums: Vec<u64>,
}

impl Head {
    fn decode(schema: &Schema, size: u64, bytes: &[u8]) -> Result<Self, CodecError> {
        let bad = |why: &str| CodecError::malformed(WHAT, why);
        let mut reader = Reader::new(WHAT, bytes);
        reader.magic(MAGIC)?;
        reader.version(VERSION)?;
        reader.u16()?;
        let (rows, block, length) = (reader.u32()?, reader.u32()? as usize, reader.u64()?);
        let inside = length.checked_add(HEADER.len() as u64).is_some_and(|end| end <= size);
        if block != BLOCK || !inside {
            return Err(bad("the files are out of bounds"));
        }
        let within = |range: &Range<u64>| range.start <= range.end && range.end <= length;
        let mut columns = Vec::new();
        let count = reader.u32()? as usize;
        if count != schema.texts().count() {
            return Err(bad("the columns are not those of the schema"));
        }
        for (expected, _) in schema.texts() {
            let name = reader.len()?;
            if reader.take(name)? != expected.as_bytes() {
                return Err(bad("the columns are not those of the schema"));
            }
            let totals = Totals { documents: reader.u64()?, tokens: reader.u64()? };
            let norms = reader.u64()?..reader.u64()?;
            let (postings, positions) = (reader.u64()?, reader.u64()?);
            let norms_fit = within(&norms) && norms.end - norms.start == u64::from(rows);
            if !norms_fit || postings > length || positions > length || totals.documents > u64::from(rows) {
                return Err(bad("a column is out of bounds"));
            }
            columns.push((totals, norms, postings, positions));
        }
        let mut places = HashMap::new();
        for _ in 0..reader.u32()? {
            let name = reader.len()?;
            let name = std::str::from_utf8(reader.take(name)?).map_err(|_| bad("a name is no text"))?;
            let place = reader.u64()?..reader.u64()?;
            let usual = usize::try_from(place.start).ok().zip(usize::try_from(place.end).ok());
            let (start, end) =
                usual.filter(|_| within(&place)).ok_or_else(|| bad("a file is out of bounds"))?;
            places.insert(PathBuf::from(name), start..end);
        }
        let mut hot: Vec<(u64, OwnedBytes)> = Vec::new();
        for _ in 0..reader.u32()? {
            let start = reader.u64()?;
            let piece = reader.len()?;
            let piece = reader.take(piece)?;
            let ascends = hot.last().is_none_or(|(last, bytes)| last + bytes.len() as u64 <= start);
            if !ascends || start.checked_add(piece.len() as u64).is_none_or(|end| end > length) {
                return Err(bad("a piece is out of bounds"));
            }
            hot.push((start, OwnedBytes::new(piece.to_vec())));
        }
        let (checksums, rest) = reader.rest().as_chunks::<8>();
        if !rest.is_empty() || checksums.len() as u64 != length.div_ceil(BLOCK as u64) {
            return Err(bad("the wrong number of checksums"));
        }
        let checksums = checksums.iter().map(|checksum| u64::from_le_bytes(*checksum)).collect();
        Ok(Self { rows, length, columns, places, hot, checksums })
    }
}

impl StoredIndex {
    /// Opens the index of a segment of `rows` rows from its head, which was checked. CPU work of some tens of
    /// microseconds.
    pub(crate) fn decode(blob: Blob, schema: &Schema, rows: u32, head: &[u8]) -> Result<Self, CodecError> {
        let head = Head::decode(schema, blob.size(), head)?;
        if head.rows != rows {
            return Err(CodecError::malformed(WHAT, "it is not of this segment"));
        }
        let blocks = (HEADER.len() as u64, head.length);
        let pages = Arc::new(Pages::new(blob, blocks, BLOCK as u64, head.checksums, head.hot));
        let handle: Arc<dyn FileHandle> = Arc::<Pages>::clone(&pages);
        let malformed = |e: tantivy::TantivyError| CodecError::malformed(WHAT, e);
        let unreadable = || CodecError::malformed(WHAT, "the index cannot be read");
        let places = Arc::new(head.places);
        let files = Files { places: Arc::clone(&places), handle };
        let reader = guarded(|| open(files)).ok_or_else(unreadable)?.map_err(malformed)?;
        if reader.max_doc() != rows || reader.schema().fields().count() != head.columns.len() {
            return Err(CodecError::malformed(WHAT, "the index is not of this segment"));
        }
        let fields = (0..).zip(head.columns).map(|(at, (totals, norms, postings, positions))| {
            let inverted =
                guarded(|| reader.inverted_index(Field::from_field_id(at))).ok_or_else(unreadable)?;
            let inverted = inverted.map_err(malformed)?;
            #[expect(clippy::cast_precision_loss, reason = "a length")]
            let average = inverted.total_num_tokens() as f32 / rows.max(1) as f32;
            let recent = Mutex::new(Recent::new(RECENT_MAX));
            Ok(StoredField { inverted, recent, totals, norms, average, postings, positions })
        });
        let fields = fields.collect::<Result<_, CodecError>>()?;
        Ok(Self { pages, fields, rows, places })
    }

    /// Looks for tokens in the dictionaries. One round trip, or none. More, if a range is hidden by another.
    pub(super) async fn look_up(
        self: &Arc<Self>,
        env: &Env,
        wanted: &[Wanted<'_>],
    ) -> Result<Vec<Arc<Matches>>> {
        let mut pins = self.pages.fetch(&[], &[]).await?;
        // Each turn brings all that the last one missed.
        loop {
            let mut missing = Vec::new();
            let mut found = Vec::with_capacity(wanted.len());
            for (field, spec, most) in wanted {
                let inline = matches!(spec, Spec::Term(_)) || self.field(*field)?.terms() <= INLINE_TERMS;
                let attempt = if inline {
                    self.attempt(*field, spec, *most)?
                } else {
                    let (this, field, spec, most) = (Arc::clone(self), *field, (*spec).clone(), *most);
                    env.blocking(move || this.attempt(field, &spec, most)).await??
                };
                match attempt {
                    Attempt::Found(matches) => found.push(matches),
                    Attempt::Missed(ranges) => missing.extend(ranges),
                }
            }
            if missing.is_empty() {
                return Ok(found);
            }
            pins.join(self.pages.fetch(&missing, &[]).await?);
        }
    }

    /// CPU work; for a misspelt token in proportion to the part of the dictionary that may hold what is near.
    fn attempt(&self, field: usize, spec: &Spec, most: usize) -> Result<Attempt> {
        let of = self.field(field)?;
        let unreadable = || self.pages.corrupt("the dictionary cannot be read");
        let error = match guarded(|| of.matches(spec, most)).ok_or_else(unreadable)? {
            Ok(matches) => return Ok(Attempt::Found(matches)),
            Err(error) => error,
        };
        match (Missing::of(&error), spec) {
            (None, _) => Err(self.pages.corrupt(error)),
            (Some(_), Spec::Fuzzy(text, edits)) => {
                let surveyed = guarded(|| self.survey(field, &Levenshtein::new(text, *edits)));
                Ok(Attempt::Missed(surveyed.ok_or_else(unreadable)??))
            }
            (Some(range), _) => Ok(Attempt::Missed(vec![range])),
        }
    }

    /// What of a dictionary an automaton reads and was not fetched: blocks that cannot hold a match are left out.
    fn survey(&self, field: usize, automaton: &Levenshtein) -> Result<Vec<Range<u64>>> {
        let corrupt = |e: &dyn fmt::Display| self.pages.corrupt(e);
        let surveyor = Arc::new(Surveyor::new(Arc::clone(&self.pages)));
        let handle: Arc<dyn FileHandle> = Arc::<Surveyor>::clone(&surveyor);
        let reader = open(Files { places: Arc::clone(&self.places), handle }).map_err(|e| corrupt(&e))?;
        let at = u32::try_from(field).map_err(|_| Error::internal("no such text column"))?;
        let inverted = reader.inverted_index(Field::from_field_id(at)).map_err(|e| corrupt(&e))?;
        // The blocks are read when the stream is made, and not looked into before it is asked.
        inverted.terms().search(automaton).into_stream().map_err(|e| corrupt(&e))?;
        Ok(surveyor.take())
    }

    /// Makes the postings of tokens readable, and the lengths of the rows of their columns. One round trip, or
    /// none. `wanted`: the column, tokens that lie one behind the other in its dictionary, and whether their places matter.
    pub(super) async fn load(
        &self,
        wanted: &[(usize, Vec<&TermInfo>, bool)],
        fields: &[usize],
    ) -> Result<Pins> {
        let (mut ranges, mut runs) = (Vec::new(), Vec::new());
        for (field, infos, positions) in wanted {
            let field = self.field(*field)?;
            let postings = infos.iter().map(|info| shifted(&info.postings_range, field.postings));
            let into = if infos.len() > 1 { &mut runs } else { &mut ranges };
            into.extend(hull(postings));
            if *positions {
                into.extend(hull(infos.iter().map(|info| shifted(&info.positions_range, field.positions))));
            }
        }
        for field in fields {
            ranges.push(self.field(*field)?.norms.clone());
        }
        self.pages.fetch(&ranges, &runs).await
    }

    /// The postings of a token that were made readable.
    /// Bytes of what was asked lately and is kept, beside the head.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.pages.kept_bytes()
    }

    pub(super) fn postings(&self, field: usize, info: &TermInfo, positions: bool) -> Result<Blocks> {
        let lost = |e: std::io::Error| Error::internal(format!("reading postings: {e}"));
        let of = self.field(field)?;
        let bad = || self.pages.corrupt("postings that cannot be");
        let places = || {
            let bytes = self.pages.read(&shifted(&info.positions_range, of.positions)).map_err(lost)?;
            Places::open(bytes).ok_or_else(bad)
        };
        let places = positions.then(places).transpose()?;
        let bytes = self.pages.read(&shifted(&info.postings_range, of.postings)).map_err(lost)?;
        Blocks::open(bytes, info.doc_freq, places).ok_or_else(bad)
    }

    /// Adds the rows that hold a token whose postings were made readable.
    pub(super) fn rows(&self, field: usize, info: &TermInfo, rows: &mut RoaringBitmap) -> Result<()> {
        let mut blocks = self.postings(field, info, false)?;
        loop {
            rows.extend(blocks.rest().0);
            if !blocks.next_block() {
                return Ok(());
            }
        }
    }

    /// The lengths of the rows of a column that were made readable, as one byte each.
    pub(super) fn norms(&self, field: usize) -> Result<OwnedBytes> {
        let norms = self.pages.read(&self.field(field)?.norms);
        norms.map_err(|e| Error::internal(format!("reading lengths: {e}")))
    }

    pub(super) fn field(&self, field: usize) -> Result<&StoredField> {
        self.fields.get(field).ok_or_else(|| Error::internal("no such text column"))
    }
}

/// The least range that holds all of these.
fn hull(ranges: impl Iterator<Item = Range<u64>>) -> Option<Range<u64>> {
    ranges.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end))
}

fn shifted(range: &Range<usize>, base: u64) -> Range<u64> {
    base.saturating_add(range.start as u64)..base.saturating_add(range.end as u64)
}

impl StoredField {
    /// How many tokens its dictionary has.
    fn terms(&self) -> usize {
        self.inverted.terms().num_terms()
    }

    fn matches(&self, spec: &Spec, most: usize) -> std::io::Result<Arc<Matches>> {
        let recent = || self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let weight = |matches: &Arc<Matches>| matches.found.len() + 1;
        let fits =
            |matches: &Arc<Matches>| matches.most == most || !matches.cut && matches.found.len() <= most;
        if let Some(matches) = recent().get(spec, weight).filter(fits) {
            return Ok(matches);
        }
        let (found, cut) = self.search(spec, most)?;
        let matches = Arc::new(Matches { found, cut, most });
        recent().put(spec.clone(), Arc::clone(&matches), weight(&matches));
        Ok(matches)
    }

    fn search(&self, spec: &Spec, most: usize) -> std::io::Result<(Vec<Match>, bool)> {
        let terms = self.inverted.terms();
        let found =
            |edits, term: &[u8], info: &TermInfo| Match { edits, term: term.into(), info: info.clone() };
        let mut gathered = Gathered::new(spec, most);
        match spec {
            Spec::Term(text) => {
                let info = terms.get(text.as_bytes())?;
                return Ok((info.map(|info| found(0, text.as_bytes(), &info)).into_iter().collect(), false));
            }
            Spec::Fuzzy(text, edits) => {
                let automaton = Levenshtein::new(text, *edits);
                let mut stream = terms.search(&automaton).into_stream()?;
                while stream.advance() {
                    if let Some(edits) = automaton.edits(stream.key()) {
                        gathered.push(found(edits, stream.key(), stream.value()));
                    }
                }
            }
            Spec::Prefix(stem) | Spec::Every(stem) => {
                let range = terms.range().ge(stem.as_bytes());
                let range = match successor(stem.as_bytes()) {
                    Some(end) => range.lt(end),
                    None => range,
                };
                let mut stream = range.into_stream()?;
                while stream.advance() && gathered.push(found(0, stream.key(), stream.value())) {}
            }
        }
        Ok(gathered.finish())
    }
}

/// The least bytes above all that begin with `stem`.
pub(super) fn successor(stem: &[u8]) -> Option<Vec<u8>> {
    let keep = stem.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut end = stem.get(..=keep)?.to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    Some(end)
}

impl fmt::Debug for StoredIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredIndex({} columns)", self.fields.len())
    }
}
