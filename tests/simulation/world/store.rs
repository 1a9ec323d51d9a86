//! The store: a linearizable map on the virtual clock, which also remembers every log it ever held.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};

use bytes::Bytes;
use elacsym::storage::{ListPage, ObjectInfo, ObjectKey, ObjectPrefix, PutMode};
use elacsym::{Error, ErrorKind, Result};

/// How many objects a page of a listing shows: few, so that other requests come between two pages.
const PAGE: usize = 7;

/// What a process asks of the store.
#[derive(Clone, Debug)]
pub enum Request {
    Put(ObjectKey, Bytes, PutMode),
    Get(ObjectKey),
    GetRange(ObjectKey, Range<u64>),
    Head(ObjectKey),
    List(ObjectPrefix, Option<ObjectKey>),
    Folders(ObjectPrefix),
    Delete(ObjectKey),
}

/// What the store answers.
#[derive(Clone, Debug)]
pub enum Reply {
    Done,
    Bytes(Bytes),
    Info(ObjectInfo),
    List(ListPage),
    Folders(Vec<String>),
}

/// The objects, and the truth about the logs.
#[derive(Debug, Default)]
pub struct Store {
    objects: BTreeMap<ObjectKey, Object>,
    /// By prefix of an incarnation of a namespace.
    incarnations: BTreeMap<String, IncarnationLog>,
    /// Files of segments, of which collection takes nothing either: entries link them.
    files: BTreeMap<ObjectKey, Bytes>,
}

#[derive(Debug)]
struct Object {
    bytes: Bytes,
    modified_ms: i64,
}

/// The log of one incarnation of a namespace as the world saw it: collection takes nothing from it.
#[derive(Debug, Default)]
pub struct IncarnationLog {
    /// The object OPEN.
    pub open: Option<Bytes>,
    /// Entry `n` is at `n - 1`: the bytes that slot `n` held first.
    pub entries: Vec<Logged>,
    /// Slots that were taken again after they had been collected.
    pub retaken: u64,
}

/// An entry of a log.
#[derive(Clone, Debug)]
pub struct Logged {
    pub bytes: Bytes,
    /// When it was stored.
    pub tick: u64,
}

impl Request {
    /// Whether it stores a manifest or an entry of the log, which name what was uploaded before.
    pub fn publishes(&self) -> bool {
        self.is_create() && ["/manifest/", "/wal/"].iter().any(|folder| self.target().contains(folder))
    }

    pub fn verb(&self) -> &'static str {
        match self {
            Self::Put(_, _, PutMode::Create) => "create",
            Self::Put(_, _, PutMode::Overwrite) => "overwrite",
            Self::Get(_) => "get",
            Self::GetRange(..) => "range",
            Self::Head(_) => "head",
            Self::List(..) => "list",
            Self::Folders(_) => "folders",
            Self::Delete(_) => "delete",
        }
    }

    /// The key or prefix.
    pub fn target(&self) -> &str {
        match self {
            Self::Put(key, ..)
            | Self::Get(key)
            | Self::GetRange(key, _)
            | Self::Head(key)
            | Self::Delete(key) => key.as_str(),
            Self::List(prefix, _) | Self::Folders(prefix) => prefix.as_str(),
        }
    }

    pub fn is_create(&self) -> bool {
        matches!(self, Self::Put(_, _, PutMode::Create))
    }

    pub fn reads_bytes(&self) -> bool {
        matches!(self, Self::Get(_) | Self::GetRange(..))
    }
}

impl Store {
    /// Does what is asked, at once. A put that tells of a broken protocol is an error of its own kind.
    pub fn apply(&mut self, request: &Request, now_ms: i64, tick: u64) -> Result<Reply, Refusal> {
        match request {
            Request::Put(key, bytes, mode) => self.put(key, bytes, *mode, now_ms, tick),
            Request::Get(key) => Ok(Reply::Bytes(self.object(key)?.bytes.clone())),
            Request::GetRange(key, range) => Ok(Reply::Bytes(self.range(key, range)?)),
            Request::Head(key) => Ok(Reply::Info(info((key, self.object(key)?)))),
            Request::List(prefix, after) => Ok(Reply::List(self.list(prefix, after.as_ref()))),
            Request::Folders(prefix) => Ok(Reply::Folders(self.folders(prefix))),
            Request::Delete(key) => {
                self.objects.remove(key);
                Ok(Reply::Done)
            }
        }
    }

    /// The logs, by prefix of their incarnation.
    pub fn incarnations(&self) -> &BTreeMap<String, IncarnationLog> {
        &self.incarnations
    }

    /// Everything below a prefix: key, bytes, when it was written.
    pub fn below(&self, prefix: &str) -> impl Iterator<Item = (&ObjectKey, &Bytes, i64)> {
        let below = self.objects.iter().filter(move |(key, _)| key.as_str().starts_with(prefix));
        below.map(|(key, object)| (key, &object.bytes, object.modified_ms))
    }

    /// Every file of a segment that there ever was below a prefix.
    pub fn files_below(&self, prefix: &str) -> impl Iterator<Item = (&ObjectKey, &Bytes)> {
        self.files.iter().filter(move |(key, _)| key.as_str().starts_with(prefix))
    }

    /// Whether there is an object.
    pub fn has(&self, key: &ObjectKey) -> bool {
        self.objects.contains_key(key)
    }

    fn object(&self, key: &ObjectKey) -> Result<&Object> {
        let missing = || Error::new(ErrorKind::NotFound, format!("no such object. key=`{key}`"));
        self.objects.get(key).ok_or_else(missing)
    }

    fn put(
        &mut self,
        key: &ObjectKey,
        bytes: &Bytes,
        mode: PutMode,
        now_ms: i64,
        tick: u64,
    ) -> Result<Reply, Refusal> {
        if mode == PutMode::Create && self.objects.contains_key(key) {
            let message = format!("the object exists. key=`{key}`");
            return Err(Error::new(ErrorKind::AlreadyExists, message).into());
        }
        self.remember(key.as_str(), bytes, mode, tick).map_err(Refusal::Broken)?;
        if key.as_str().contains("/segment/") {
            self.files.insert(key.clone(), bytes.clone());
        }
        self.objects.insert(key.clone(), Object { bytes: bytes.clone(), modified_ms: now_ms });
        Ok(Reply::Done)
    }

    /// Keeps the truth: which bytes a slot of a log held first.
    fn remember(&mut self, key: &str, bytes: &Bytes, mode: PutMode, tick: u64) -> Result<(), String> {
        if let Some(prefix) = key.strip_suffix("OPEN") {
            self.incarnations.entry(prefix.to_owned()).or_default().open.get_or_insert_with(|| bytes.clone());
        }
        let Some((prefix, number)) = slot(key) else { return Ok(()) };
        if mode == PutMode::Overwrite {
            return Err(format!("a slot of the log was overwritten: {key}"));
        }
        let incarnation = self.incarnations.entry(prefix.to_owned()).or_default();
        let length = incarnation.entries.len() as u64;
        if number == 0 || number > length + 1 {
            return Err(format!("gap in the log: slot {number} was taken while it had {length} entries"));
        }
        if number <= length {
            incarnation.retaken += 1;
            return Ok(());
        }
        incarnation.entries.push(Logged { bytes: bytes.clone(), tick });
        Ok(())
    }

    fn range(&self, key: &ObjectKey, range: &Range<u64>) -> Result<Bytes> {
        let bytes = &self.object(key)?.bytes;
        let end = usize::try_from(range.end).ok().filter(|end| *end <= bytes.len());
        let start = usize::try_from(range.start).ok();
        match (start, end) {
            (Some(start), Some(end)) if start <= end => Ok(bytes.slice(start..end)),
            _ => {
                let message = format!("range {range:?} of {} bytes. key=`{key}`", bytes.len());
                Err(Error::new(ErrorKind::Corrupt, message))
            }
        }
    }

    fn list(&self, prefix: &ObjectPrefix, after: Option<&ObjectKey>) -> ListPage {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let found = self.objects.range::<ObjectKey, _>((start, Bound::Unbounded));
        let mut found = found.filter(|(key, _)| key.as_str().starts_with(prefix.as_str())).map(info);
        let objects = found.by_ref().take(PAGE).collect();
        ListPage { objects, more: found.next().is_some() }
    }

    fn folders(&self, prefix: &ObjectPrefix) -> Vec<String> {
        let below = self.objects.keys().filter_map(|key| key.as_str().strip_prefix(prefix.as_str()));
        let folders = below.filter_map(|rest| rest.split_once('/')).map(|(folder, _)| folder.to_owned());
        let mut folders: Vec<String> = folders.collect();
        folders.dedup();
        folders
    }
}

/// Why the store did not do it.
#[derive(Debug)]
pub enum Refusal {
    /// As a store does.
    Error(Error),
    /// As no store does: the protocol is broken.
    Broken(String),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

fn info((key, object): (&ObjectKey, &Object)) -> ObjectInfo {
    ObjectInfo { key: key.clone(), size: object.bytes.len() as u64, modified_ms: object.modified_ms }
}

/// The incarnation and number of a slot of a log.
pub fn slot(key: &str) -> Option<(&str, u64)> {
    let (prefix, number) = key.split_once("wal/")?;
    number.parse().ok().map(|number| (prefix, number))
}
