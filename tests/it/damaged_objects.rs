//! Damage on the store: a read is right or an error that names the object, never wrong and never a panic.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test panics")]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use elacsym::schema::{AttributeType, TextOptions};
use elacsym::storage::{
    ListPage, MemoryBackend, ObjectInfo, ObjectKey, ObjectPrefix, Payload, PutMode, StorageBackend,
};
use elacsym::{
    Consistency, Database, Document, Error, ErrorKind, Filter, IdKind, Metric, Query, Result, Scan, Schema,
    Settings, TextQuery, Vector, VectorType, WriteBatch,
};
use twox_hash::XxHash3_64;

type Objects = BTreeMap<String, Bytes>;

async fn open(backend: impl StorageBackend, link: bool) -> Result<Database> {
    let mut settings = Settings::default();
    settings.index_rows_min = 10;
    settings.reference_bytes_min = if link { 1 } else { usize::MAX };
    Database::builder().settings(settings).open_backend(Arc::new(backend)).await
}

/// A database with one of everything: a segment with dead rows and one without, both with indexes, a tail of rows and
/// of a linked segment, a deleted namespace.
async fn objects() -> Result<Objects> {
    let memory = MemoryBackend::new();
    let db = open(memory.clone(), false).await?;
    let schema = Schema::builder(IdKind::U64)
        .attribute("n", AttributeType::Int)
        .attribute("text", AttributeType::String)
        .text("body", TextOptions::default())
        .vector("v", VectorType::F32, 2, Metric::L2Squared)
        .build()?;
    let docs = db.create_namespace("docs", schema.clone()).await?;
    docs.write(documents(0..20)).await?;
    docs.flush().await?;
    docs.write(documents(20..40).delete(3)).await?;
    docs.flush().await?;
    docs.write(documents(40..45)).await?;
    docs.write(documents(45..50).delete(4)).await?;
    open(memory.clone(), true).await?.open_namespace("docs").await?.write(documents(50..55)).await?;
    db.create_namespace("old", schema.clone()).await?.write(documents(0..2)).await?;
    db.delete_namespace("old").await?;
    db.create_namespace("other", schema).await?.write(documents(0..2)).await?;
    let mut objects = Objects::new();
    for info in memory.list(&ObjectPrefix::root(), None).await? {
        objects.insert(info.key.to_string(), memory.get(&info.key).await?);
    }
    Ok(objects)
}

fn documents(ids: std::ops::Range<i64>) -> WriteBatch {
    WriteBatch::new().upsert_all(ids.map(|n| {
        let x = f32::from(i16::try_from(n).unwrap());
        let document = Document::new(n.unsigned_abs()).with("n", n).with("text", format!("text {n}"));
        let document = document.with("body", format!("common word{n} and word{}", n % 7));
        document.with("v", Vector::from([x, 1.0]))
    }))
}

/// Opens the objects as a new process does and reads all there is.
async fn read(objects: &Objects) -> Result<String> {
    let memory = MemoryBackend::new();
    for (key, bytes) in objects {
        memory.put(&ObjectKey::new(key.as_str())?, bytes.clone().into(), PutMode::Create).await?;
    }
    read_from(memory).await
}

async fn read_from(backend: impl StorageBackend) -> Result<String> {
    let db = open(backend, false).await?;
    let names = db.list_namespaces().await?;
    let old = db.open_namespace("old").await.map(|_| ());
    let old = if let Err(error) = old { error } else { Error::new(ErrorKind::Internal, "it is back") };
    if old.kind() != ErrorKind::NotFound {
        return Err(old);
    }
    let other = db.open_namespace("other").await?.scan(Scan::new()).await?.rows.documents()?;
    let docs = db.open_namespace("docs").await?;
    let snapshot = docs.snapshot(Consistency::Strong).await?;
    let all = snapshot.scan(Scan::new()).await?.rows.documents()?;
    let ids: Vec<_> = (0..55).map(elacsym::DocumentId::U64).collect();
    let got = snapshot.get(&ids).await?;
    let some = snapshot.scan(Scan::new().filter(Filter::gt("n", 17))).await?.rows.documents()?;
    let near = snapshot.query(Query::nearest("v", Vector::from([21.2, 1.0])).limit(5)).await?.hits()?;
    let words = Query::text(TextQuery::any("body", "word3 word21 word52 common")).limit(60);
    let words: Vec<_> = snapshot.query(words).await?.hits()?;
    let count = snapshot.count().await?;
    Ok(format!("{names:?} {other:?} {all:?} {got:?} {some:?} {near:?} {words:?} {count}"))
}

/// What a key names: the last part of it, without numbers.
fn kind_of(key: &str) -> &'static str {
    let kinds = ["STORE", "OPEN", "CLOSED", "HINT", "rows.parquet", "index", "vector.", "deletes.", "text"];
    let file = key.rsplit('/').next().unwrap_or_default();
    if key.contains("/centroids/") {
        return "centroids";
    }
    let kind = kinds.into_iter().find(|kind| file.starts_with(kind));
    kind.unwrap_or(if key.contains("/wal/") { "wal" } else { "manifest" })
}

fn without_hints(objects: &Objects) -> Objects {
    objects.iter().filter(|(key, _)| kind_of(key) != "HINT").map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// Some damaged forms of an object.
fn damaged(bytes: &Bytes) -> Vec<(String, Bytes)> {
    let mut forms = vec![("emptied".to_owned(), Bytes::new())];
    for at in [bytes.len() / 2, bytes.len() - 1] {
        forms.push((format!("cut at {at}"), bytes.slice(..at)));
    }
    forms.push(("longer".to_owned(), [bytes.as_ref(), b"x"].concat().into()));
    for at in (0..bytes.len()).step_by(1 + bytes.len() / 7).chain([bytes.len() - 1]) {
        let mut flipped = bytes.to_vec();
        flipped[at] ^= 0x10;
        forms.push((format!("flipped at {at}"), flipped.into()));
    }
    forms
}

/// Reads with one object replaced. `Ok(false)`: the damage was noticed.
async fn survives(objects: &Objects, key: &str, bytes: Bytes, sound: &str, what: &str) -> bool {
    let mut objects = objects.clone();
    objects.insert(key.to_owned(), bytes);
    match read(&objects).await {
        Ok(answer) => {
            assert!(answer == sound, "{key} {what}: wrong data");
            true
        }
        Err(error) => {
            noticed(&error, key, what);
            false
        }
    }
}

fn noticed(error: &Error, key: &str, what: &str) {
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{key} {what}: {error:?}");
    assert!(error.to_string().contains(key), "{key} {what}: the error does not name it: {error}");
}

#[tokio::test(start_paused = true)]
async fn every_damage_is_noticed_or_harmless() -> Result<()> {
    let objects = objects().await?;
    let sound = read(&objects).await?;
    let unhinted = without_hints(&objects);
    assert_eq!(read(&unhinted).await?, sound);
    // For each kind: how often it was read all the same, and how often noticed.
    let mut tally: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (key, bytes) in &objects {
        let kind = kind_of(key);
        let base = if kind == "HINT" { &objects } else { &unhinted };
        for (what, bytes) in damaged(bytes) {
            let count = tally.entry(kind).or_default();
            if survives(base, key, bytes, &sound, &what).await { count.0 += 1 } else { count.1 += 1 }
        }
    }
    println!("kind: (harmless, noticed) {tally:?}");
    assert_eq!(tally["HINT"].1, 0, "the hint is only a hint");
    assert_eq!(tally["CLOSED"].1, 0, "that it is there is all that counts");
    assert_eq!(tally["STORE"].0, 0);
    let kinds =
        ["OPEN", "manifest", "wal", "rows.parquet", "index", "vector.", "deletes.", "text", "centroids"];
    for kind in kinds {
        assert!(tally[kind].1 > 5, "{kind} {:?}", tally[kind]);
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn damage_is_noticed_with_the_hint_in_place_too() -> Result<()> {
    let objects = objects().await?;
    let sound = read(&objects).await?;
    for (key, bytes) in &objects {
        let mut flipped = bytes.to_vec();
        flipped[bytes.len() / 2] ^= 1;
        survives(&objects, key, flipped.into(), &sound, "flipped").await;
        survives(&objects, key, Bytes::new(), &sound, "emptied").await;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_object_in_the_place_of_another_is_noticed() -> Result<()> {
    let objects = objects().await?;
    let sound = read(&objects).await?;
    for base in [&objects, &without_hints(&objects)] {
        for (key, bytes) in base {
            let others = base.iter().filter(|(other, _)| kind_of(other) == kind_of(key));
            for (other, foreign) in others.filter(|(_, foreign)| *foreign != bytes) {
                let what = format!("replaced by {other}");
                let mut objects = base.clone();
                objects.insert(key.clone(), foreign.clone());
                match read(&objects).await {
                    Ok(answer) => assert!(answer == sound, "{key} {what}: wrong data"),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Corrupt, "{key} {what}: {error:?}");
                        assert!(error.to_string().contains("key=`"), "{key} {what}: {error}");
                    }
                }
            }
        }
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_lost_object_is_noticed() -> Result<()> {
    let objects = objects().await?;
    let sound = read(&objects).await?;
    let mut noticed = BTreeMap::new();
    for key in objects.keys().filter(|key| !matches!(kind_of(key), "STORE" | "OPEN" | "CLOSED")) {
        let mut rest = objects.clone();
        rest.remove(key);
        let kind = kind_of(key);
        match read(&rest).await {
            // A log that ends early, a manifest older than the newest: what is lost cannot be told from what
            // was never there. All else is.
            Ok(answer) => assert!(answer == sound || matches!(kind, "wal" | "manifest"), "{key}"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{key}: {error:?}");
                let file = !matches!(kind, "wal" | "manifest");
                let named = error.to_string().contains(key.as_str());
                assert!(named || !file, "{key}: the error does not name it: {error}");
                *noticed.entry(kind).or_insert(0) += 1;
            }
        }
    }
    println!("lost and noticed: {noticed:?}");
    // Each file that the newest manifest names, and a link of the tail.
    for (kind, least) in
        [("rows.parquet", 3), ("index", 3), ("vector.", 3), ("text", 3), ("deletes.", 1), ("centroids", 1)]
    {
        assert!(noticed.get(kind).is_some_and(|count| *count >= least), "{kind}: {noticed:?}");
    }
    // The entry where the manifest ends, and one in the middle of the tail.
    assert!(noticed.get("wal").is_some_and(|count| *count >= 2), "{noticed:?}");
    Ok(())
}

/// A store on which one object is larger than any process could hold.
#[derive(Debug)]
struct Huge {
    memory: MemoryBackend,
    key: String,
}

impl std::fmt::Display for Huge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("huge")
    }
}

#[async_trait::async_trait]
impl StorageBackend for Huge {
    async fn put(&self, key: &ObjectKey, body: Payload, mode: PutMode) -> Result<()> {
        self.memory.put(key, body, mode).await
    }
    async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
        panic!("{key} is read whatever its size")
    }
    async fn get_bounded(&self, key: &ObjectKey, bytes_max: u64) -> Result<Bytes> {
        assert!(bytes_max <= 1 << 30, "{key} may have {bytes_max} bytes");
        if key.as_str() == self.key {
            let why = format!("damaged object: it has 5000000000 bytes of at most {bytes_max}. key=`{key}`");
            return Err(Error::new(ErrorKind::Corrupt, why));
        }
        self.memory.get_bounded(key, bytes_max).await
    }
    async fn get_range(&self, key: &ObjectKey, range: std::ops::Range<u64>) -> Result<Bytes> {
        assert!(range.end - range.start <= 1 << 30, "{key} {range:?}");
        self.memory.get_range(key, range).await
    }
    async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo> {
        self.memory.head(key).await
    }
    async fn list_page(&self, prefix: &ObjectPrefix, after: Option<&ObjectKey>) -> Result<ListPage> {
        self.memory.list_page(prefix, after).await
    }
    async fn list_folders(&self, prefix: &ObjectPrefix) -> Result<Vec<String>> {
        self.memory.list_folders(prefix).await
    }
    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.memory.delete(key).await
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_too_large_for_its_kind_is_not_read() -> Result<()> {
    let objects = objects().await?;
    let sound = read(&objects).await?;
    for (hinted, base) in [(true, &objects), (false, &without_hints(&objects))] {
        for key in base.keys() {
            let memory = MemoryBackend::new();
            for (key, bytes) in base {
                memory.put(&ObjectKey::new(key.as_str())?, bytes.clone().into(), PutMode::Create).await?;
            }
            match read_from(Huge { memory, key: key.clone() }).await {
                Ok(answer) => assert!(answer == sound, "{key}"),
                Err(error) => noticed(&error, key, &format!("too large, hint={hinted}")),
            }
        }
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_newer_format_says_so() -> Result<()> {
    let objects = without_hints(&objects().await?);
    let mut kinds = BTreeMap::new();
    for (key, bytes) in objects.iter().filter(|(key, _)| key.starts_with("ns/n-docs/") || *key == "STORE") {
        // The newest of a kind is the one that is read.
        kinds.insert(kind_of(key), (key.clone(), bytes.clone()));
    }
    for kind in ["STORE", "OPEN", "manifest", "wal"] {
        let (key, bytes) = &kinds[kind];
        let mut newer = objects.clone();
        newer.insert(key.clone(), if kind == "wal" { newer_entry(bytes) } else { newer_frame(bytes) });
        let error = read(&newer).await.expect_err(kind);
        assert_eq!(error.kind(), ErrorKind::UnsupportedVersion, "{kind}: {error:?}");
        assert!(error.to_string().contains(key.as_str()), "{kind}: {error}");
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_entry_of_a_later_schema_is_a_newer_version_not_damage() -> Result<()> {
    let mut objects = without_hints(&objects().await?);
    let found = objects.iter().rfind(|(key, _)| key.starts_with("ns/n-docs/") && key.contains("/wal/"));
    let (key, bytes) = found.map(|(key, bytes)| (key.clone(), bytes.clone())).unwrap();
    let mut changed = bytes[..bytes.len() - 8].to_vec();
    assert!(changed[120..].starts_with(b"{\"schema\":1"));
    changed[130] = b'2';
    let checksum = XxHash3_64::oneshot(&changed);
    changed.extend(checksum.to_le_bytes());
    objects.insert(key.clone(), changed.into());
    let error = read(&objects).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedVersion, "{error}");
    assert!(error.to_string().contains(&key), "{error}");
    Ok(())
}

/// `elacsym <what> 1 …` as version 2.
fn newer_frame(bytes: &Bytes) -> Bytes {
    let text = std::str::from_utf8(bytes).unwrap();
    let mut words: Vec<&str> = text.splitn(4, ' ').collect();
    assert_eq!((words[0], words[2]), ("elacsym", "1"));
    words[2] = "2";
    words.join(" ").into()
}

/// An entry whose version is 2 and whose checksum is right.
fn newer_entry(bytes: &Bytes) -> Bytes {
    let mut entry = bytes[..bytes.len() - 8].to_vec();
    assert_eq!(entry[4..6], [1, 0]);
    entry[4] = 2;
    let checksum = XxHash3_64::oneshot(&entry);
    entry.extend(checksum.to_le_bytes());
    entry.into()
}
