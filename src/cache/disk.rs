//! The disk tier: blocks in a folder of this machine, which outlive the process.
//!
//! foyer does the work and is not trusted with it: it has no lock on its folder, panics when the disk is
//! full, and knows nothing of what it stores. So the folder belongs to one store and one process, its space
//! is reserved before foyer sees it, and what comes back is compared with a checksum taken when it went in.
//!
//! **Invariant:** what goes wrong here is a warning and a miss. (In a program built with `panic = "abort"` a
//! file system that does not honour reserved space, such as btrfs or ZFS, can still end it when full.)

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use foyer::{
    BlockEngineConfig, Code, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder,
    HybridCachePolicy, Load, PsyncIoEngineConfig, RecoverMode, Spawner,
};
use fs4::fs_std::FileExt;
use futures::FutureExt;
use uuid::Uuid;

use super::block::BlockKey;
use crate::codec::checksum;
use crate::env::Env;
use crate::storage::ObjectKey;

/// foyer's name for its files.
const FILE_PREFIX: &str = "foyer-storage-direct-fs-";
/// foyer evicts by the file and keeps each open: few enough for a default limit of 1,024 open files.
const FILES_MAX: u64 = 256;
const FILES_MIN: u64 = 8;
const FILE_BYTES_MIN: u64 = 1 << 20;
const FILE_BYTES_MAX: u64 = 16 << 20;
/// How much foyer gathers before it writes: it has two such buffers and drops what comes faster.
const BUFFER_BYTES: usize = 16 << 20;
/// What foyer adds to an entry at most: its header and the index of the file.
const ENTRY_OVERHEAD: usize = 16 << 10;
/// How long closing waits for what is being written.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

type OpenResult<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Where the disk tier lies.
#[derive(Clone, Debug)]
pub(crate) struct DiskOptions {
    /// A folder of this machine. Each store has its own below it.
    pub dir: PathBuf,
    /// How many bytes of disk are reserved, at least 8 MiB. Besides, up to 64 MiB of memory hold what is
    /// about to be written.
    pub bytes: u64,
    /// The id of the store, so that two never share blocks.
    pub store: Uuid,
}

/// Blocks in files of equal size.
pub(super) struct Disk {
    /// Only the disk tier of it is used.
    foyer: HybridCache<BlockKey, Sealed>,
    lock: Arc<File>,
    block_bytes_max: usize,
    /// Off after the first failure, and when closed.
    on: AtomicBool,
    env: Env,
}

impl Disk {
    /// Opens the tier with what it holds from before, or warns and says `None`.
    pub(super) async fn open(options: DiskOptions, env: &Env) -> Option<Self> {
        let dir = options.dir.clone();
        let disk = Self::try_open(options, env.clone()).await;
        disk.inspect_err(|why| tracing::warn!(?dir, %why, "there is no disk cache: it cannot be opened")).ok()
    }

    async fn try_open(options: DiskOptions, env: Env) -> OpenResult<Self> {
        let runtime = tokio::runtime::Handle::try_current()?;
        let layout = Layout::of(options.bytes).ok_or("it needs at least 8 MiB")?;
        let dir = options.dir.join(format!("elacsym-{}", options.store.simple()));
        let prepared = dir.clone();
        let lock = Arc::new(env.blocking(move || layout.prepare(&prepared)).await??);
        let foyer = Box::pin(build(dir, layout, Spawner::from(runtime), Arc::clone(&lock)));
        let foyer = AssertUnwindSafe(foyer).catch_unwind().await.map_err(|_| "foyer panicked")??;
        let block_bytes_max = layout.block_bytes_max();
        Ok(Self { foyer, lock, block_bytes_max, on: AtomicBool::new(true), env })
    }

    /// Whether a block of `bytes` would be kept.
    pub(super) fn takes(&self, bytes: usize) -> bool {
        bytes <= self.block_bytes_max && self.on.load(Ordering::Relaxed)
    }

    pub(super) async fn get(&self, key: &BlockKey) -> Option<Bytes> {
        if !self.on.load(Ordering::Relaxed) {
            return None;
        }
        let sealed = match self.foyer.storage().load(key).await {
            Ok(Load::Entry { value, .. }) => value,
            Ok(Load::Piece { piece, .. }) => piece.value().clone(),
            Ok(Load::Miss | Load::Throttled) => return None,
            Err(error) => {
                self.fail(&error);
                return None;
            }
        };
        let block = sealed.open(key);
        if block.is_none() {
            tracing::warn!(?key, "a block of the disk cache is damaged");
        }
        block
    }

    /// Hands over a block to be written, or drops it when the disk is behind.
    pub(super) fn put(&self, key: &BlockKey, block: Bytes) {
        if self.on.load(Ordering::Relaxed) {
            self.foyer.storage_writer(key.clone()).insert(Sealed::new(key, block));
        }
    }

    pub(super) async fn close(&self) {
        if !self.on.swap(false, Ordering::Relaxed) {
            return;
        }
        let close = AssertUnwindSafe(self.foyer.close()).catch_unwind();
        match self.env.timeout(CLOSE_TIMEOUT, close).await {
            Some(Ok(Ok(()))) => {
                // Nothing of foyer's writes any more: another process may come. A failure leaves the lock
                // to the end of this one.
                let _ = self.lock.unlock();
            }
            Some(Ok(Err(error))) => tracing::warn!(%error, "the disk cache did not close"),
            Some(Err(_)) => tracing::warn!("the disk cache panicked while closing"),
            None => tracing::warn!("the disk cache is still writing: left behind"),
        }
    }

    fn fail(&self, error: &foyer::Error) {
        if self.on.swap(false, Ordering::Relaxed) {
            tracing::warn!(%error, "the disk cache is off: it cannot be read");
        }
    }
}

async fn build(
    dir: PathBuf,
    layout: Layout,
    spawner: Spawner,
    lock: Arc<File>,
) -> OpenResult<HybridCache<BlockKey, Sealed>> {
    let capacity = usize::try_from(layout.files * layout.file_bytes)?;
    let device = FsDeviceBuilder::new(dir).with_capacity(capacity).build()?;
    let engine = BlockEngineConfig::new(device)
        .with_block_size(usize::try_from(layout.file_bytes)?)
        .with_buffer_pool_size(BUFFER_BYTES)
        .with_submit_queue_size_threshold(2 * BUFFER_BYTES);
    let builder = HybridCacheBuilder::new()
        .with_name("elacsym")
        .with_policy(HybridCachePolicy::WriteOnInsertion)
        .with_flush_on_close(false)
        .memory(1)
        // foyer's tasks outlive its handle: they hold the weighter, and so the lock, until they end.
        .with_weighter(move |_: &BlockKey, _: &Sealed| {
            let _ = &lock;
            1
        })
        .storage()
        .with_spawner(spawner)
        .with_recover_mode(RecoverMode::Quiet)
        // The other engine starts threads.
        .with_io_engine_config(PsyncIoEngineConfig::new())
        .with_engine_config(engine);
    Ok(builder.build().await?)
}

/// The files of the tier.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Layout {
    files: u64,
    file_bytes: u64,
}

impl Layout {
    fn of(bytes: u64) -> Option<Self> {
        let aim = (bytes / 64).clamp(FILE_BYTES_MIN, FILE_BYTES_MAX);
        // Blocks start at multiples of a page.
        let file_bytes = aim.max(bytes.div_ceil(FILES_MAX)).next_multiple_of(4096);
        let files = bytes / file_bytes;
        (files >= FILES_MIN).then_some(Self { files, file_bytes })
    }

    /// The largest block that fits into a file and the buffer.
    fn block_bytes_max(self) -> usize {
        let file_bytes = usize::try_from(self.file_bytes).unwrap_or(usize::MAX);
        file_bytes.min(BUFFER_BYTES) - ENTRY_OVERHEAD
    }

    /// Takes the folder for this process and reserves its space. The lock is held as long as the file lives.
    fn prepare(self, dir: &Path) -> io::Result<File> {
        create_private(dir)?;
        let mut lock = not_followed().create(true).truncate(false).write(true).open(dir.join("LOCK"))?;
        lock.try_lock().map_err(|why| io::Error::other(format!("another cache has the folder: {why}")))?;
        lock.write_all(b"elacsym block cache\n")?;
        let reserved = (0..self.files).try_for_each(|n| self.reserve(&file_name(dir, n)));
        // Beyond them are those of an earlier, larger cache. A disk that is too small gets all of it back.
        let surplus = if reserved.is_ok() { self.files } else { 0 };
        let mut next = surplus;
        while std::fs::remove_file(file_name(dir, next)).is_ok() {
            next += 1;
        }
        reserved.map(|()| lock)
    }

    fn reserve(self, file: &Path) -> io::Result<()> {
        let file = not_followed().create(true).truncate(false).write(true).open(file)?;
        file.set_len(self.file_bytes)?;
        file.allocate(self.file_bytes)
    }
}

fn file_name(dir: &Path, n: u64) -> PathBuf {
    dir.join(format!("{FILE_PREFIX}{n:08}"))
}

/// A folder that only its owner may enter, and that is ours: it holds contents of documents, and in a parent that
/// others may write to, such as `/tmp`, they may have put one there first.
fn create_private(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)?;
    check_private(dir)
}

#[cfg(unix)]
fn check_private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let refused = |why: &str| Err(io::Error::other(format!("{}: {why}", dir.display())));
    let folder = std::fs::symlink_metadata(dir)?;
    if !folder.is_dir() {
        return refused("it is a link or a file, not a folder");
    }
    if folder.mode() & 0o077 != 0 {
        return refused("others than its owner may enter it");
    }
    // Who we are, a file of ours tells.
    let probe = dir.join(format!(".owner-{}", std::process::id()));
    let _ = std::fs::remove_file(&probe);
    let owner = OpenOptions::new().write(true).create_new(true).open(&probe).and_then(|file| file.metadata());
    let _ = std::fs::remove_file(&probe);
    if owner?.uid() == folder.uid() { Ok(()) } else { refused("it belongs to another user") }
}

#[cfg(not(unix))]
fn check_private(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Options to open a file with that refuse a symbolic link.
fn not_followed() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW);
    options
}

/// A block with a checksum over it and its key.
#[derive(Clone, Debug)]
struct Sealed {
    checksum: u64,
    block: Bytes,
}

impl Sealed {
    fn new(key: &BlockKey, block: Bytes) -> Self {
        Self { checksum: seal(key, &block), block }
    }

    fn open(self, key: &BlockKey) -> Option<Bytes> {
        (self.checksum == seal(key, &self.block)).then_some(self.block)
    }
}

fn seal(key: &BlockKey, block: &[u8]) -> u64 {
    let name = format!("{}/{}..{}", key.object, key.start, key.end);
    checksum(block) ^ checksum(name.as_bytes()).rotate_left(1)
}

/// What follows implements foyer's codec by hand, on types of this module alone: another crate may turn on
/// foyer's `serde` feature, which takes the codec away from every type that does.
impl Code for BlockKey {
    fn encode(&self, writer: &mut impl Write) -> foyer::Result<()> {
        self.start.encode(writer)?;
        self.end.encode(writer)?;
        writer.write_all(self.object.as_str().as_bytes()).map_err(foyer::Error::io_error)
    }

    fn decode(reader: &mut impl Read) -> foyer::Result<Self> {
        let (start, end) = (u64::decode(reader)?, u64::decode(reader)?);
        let mut object = String::new();
        // foyer hands over just the bytes of the key.
        reader.read_to_string(&mut object).map_err(foyer::Error::io_error)?;
        let object = ObjectKey::new(object).map_err(|e| foyer::Error::io_error(io::Error::other(e)))?;
        Ok(Self { object: object.into(), start, end })
    }

    fn estimated_size(&self) -> usize {
        16 + self.object.as_str().len()
    }
}

impl Code for Sealed {
    fn encode(&self, writer: &mut impl Write) -> foyer::Result<()> {
        self.checksum.encode(writer)?;
        writer.write_all(&self.block).map_err(foyer::Error::io_error)
    }

    fn decode(reader: &mut impl Read) -> foyer::Result<Self> {
        let checksum = u64::decode(reader)?;
        let mut block = Vec::new();
        // foyer hands over just the bytes of the value.
        reader.read_to_end(&mut block).map_err(foyer::Error::io_error)?;
        Ok(Self { checksum, block: block.into() })
    }

    fn estimated_size(&self) -> usize {
        8 + self.block.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::BlockCache;
    use crate::cache::testing::TestStore;
    use crate::error::Result;

    const MEMORY: usize = 1 << 20;
    const STORE: Uuid = Uuid::from_u128(7);

    fn options(dir: &Path, store: Uuid) -> DiskOptions {
        DiskOptions { dir: dir.to_owned(), bytes: 16 << 20, store }
    }

    async fn open(dir: &Path, store: Uuid) -> Result<BlockCache> {
        Ok(BlockCache::with_disk(MEMORY, options(dir, store), &Env::current()?).await)
    }

    async fn read_all(store: &TestStore, cache: &BlockCache) -> Result<()> {
        let blob = store.blob(cache);
        for start in (0..store.size()).step_by(50_000) {
            let range = start..(start + 50_000).min(store.size());
            assert_eq!(blob.read(range.clone().into()).await?, store.expected(range));
        }
        Ok(())
    }

    #[tokio::test]
    async fn what_was_read_is_there_after_a_restart() -> Result<()> {
        let dir = tempfile::tempdir().unwrap();
        let store = TestStore::new(1_000_000).await?;
        let cache = open(dir.path(), STORE).await?;
        read_all(&store, &cache).await?;
        assert_eq!(store.requests().len(), 20);
        cache.close().await;
        drop(cache);

        let cache = open(dir.path(), STORE).await?;
        read_all(&store, &cache).await?;
        assert_eq!((cache.stats().disk_hits, cache.stats().misses), (20, 0));
        read_all(&store, &cache).await?;
        assert_eq!((cache.stats().memory_hits, cache.stats().misses), (20, 0));
        cache.close().await;
        read_all(&store, &cache).await
    }

    #[tokio::test]
    async fn another_store_never_sees_the_blocks() -> Result<()> {
        let dir = tempfile::tempdir().unwrap();
        let store = TestStore::new(100_000).await?;
        let cache = open(dir.path(), STORE).await?;
        read_all(&store, &cache).await?;
        cache.close().await;

        let cache = open(dir.path(), Uuid::from_u128(8)).await?;
        read_all(&store, &cache).await?;
        assert_eq!((cache.stats().disk_hits, cache.stats().misses), (0, 2));
        Ok(())
    }

    #[cfg(unix)]
    type Planted<'a> = (&'a str, &'a dyn Fn(&Path));

    #[cfg(unix)]
    #[tokio::test]
    async fn a_folder_that_others_may_have_planted_is_not_used() -> Result<()> {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let env = Env::current()?;
        let own = format!("elacsym-{}", STORE.simple());
        let (elsewhere, victim) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
        std::fs::write(victim.path(), "precious").unwrap();
        let plant: [Planted<'_>; 3] = [
            ("a link to a folder", &|at| symlink(elsewhere.path(), at).unwrap()),
            ("a folder that all may enter", &|at| {
                std::fs::create_dir(at).unwrap();
                std::fs::set_permissions(at, std::fs::Permissions::from_mode(0o755)).unwrap();
            }),
            ("a link in the place of a file", &|at| {
                create_private(at).unwrap();
                symlink(victim.path(), at.join("LOCK")).unwrap();
            }),
        ];
        for (what, plant) in plant {
            let dir = tempfile::tempdir().unwrap();
            plant(&dir.path().join(&own));
            assert!(Disk::open(options(dir.path(), STORE), &env).await.is_none(), "{what}");
        }
        assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
        assert_eq!(std::fs::read(victim.path()).unwrap(), b"precious");
        Ok(())
    }

    #[tokio::test]
    async fn damaged_files_are_misses() -> Result<()> {
        let dir = tempfile::tempdir().unwrap();
        let store = TestStore::new(1_000_000).await?;
        let cache = open(dir.path(), STORE).await?;
        read_all(&store, &cache).await?;
        cache.close().await;
        drop(cache);

        for entry in std::fs::read_dir(dir.path().join(format!("elacsym-{}", STORE.simple()))).unwrap() {
            let path = entry.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            bytes.iter_mut().skip(4096).step_by(1013).for_each(|byte| *byte ^= 0x10);
            std::fs::write(path, bytes).unwrap();
        }
        let cache = open(dir.path(), STORE).await?;
        read_all(&store, &cache).await?;
        assert_eq!((cache.stats().disk_hits, cache.stats().misses), (0, 20));
        Ok(())
    }

    #[tokio::test]
    async fn a_second_cache_on_the_folder_does_without_the_disk() -> Result<()> {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::current()?;
        let first = Disk::open(options(dir.path(), STORE), &env).await.unwrap();
        assert!(Disk::open(options(dir.path(), STORE), &env).await.is_none());
        let store = TestStore::new(100_000).await?;
        let second = open(dir.path(), STORE).await?;
        read_all(&store, &second).await?;
        assert_eq!(second.stats().misses, 2);
        first.close().await;
        assert!(Disk::open(options(dir.path(), STORE), &env).await.is_some());
        Ok(())
    }

    #[test]
    fn a_smaller_cache_gives_back_its_space_and_so_does_one_that_cannot_be() {
        let dir = tempfile::tempdir().unwrap();
        // Made by the cache, which nobody else may enter.
        let dir = dir.path().join("cache");
        let files = || std::fs::read_dir(&dir).unwrap().count();
        drop(Layout { files: 9, file_bytes: 4096 }.prepare(&dir).unwrap());
        assert_eq!(files(), 10);
        drop(Layout { files: 3, file_bytes: 8192 }.prepare(&dir).unwrap());
        assert_eq!(files(), 4);
        // No file system has as much.
        assert!(Layout { files: 8, file_bytes: 1 << 62 }.prepare(&dir).is_err());
        assert_eq!(files(), 1);
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_is_no_error() -> Result<()> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let store = TestStore::new(100_000).await?;
        read_all(&store, &open(file.path(), STORE).await?).await?;
        let small = DiskOptions { bytes: 1 << 20, ..options(file.path(), STORE) };
        assert!(Disk::open(small, &Env::current()?).await.is_none());
        Ok(())
    }

    #[test]
    fn files_are_few_and_blocks_fit() {
        for bytes in [8 << 20, 100 << 20, 1 << 30, 64 << 30, 1 << 40] {
            let layout = Layout::of(bytes).unwrap();
            assert!((FILES_MIN..=FILES_MAX).contains(&layout.files), "{layout:?}");
            assert!(layout.files * layout.file_bytes <= bytes, "{layout:?}");
            assert!(layout.files * layout.file_bytes > bytes / 8 * 7, "{layout:?}");
        }
        assert_eq!(Layout::of((8 << 20) - 1), None);
    }

    #[test]
    fn a_block_under_another_key_does_not_open() {
        let object = Arc::new(ObjectKey::new("a/b").unwrap());
        let key = BlockKey::new(&object, &(0..3));
        let sealed = Sealed::new(&key, Bytes::from_static(b"abc"));
        assert_eq!(sealed.clone().open(&key), Some(Bytes::from_static(b"abc")));
        assert_eq!(sealed.open(&BlockKey::new(&object, &(1..4))), None);
        let mut bytes = Vec::new();
        key.encode(&mut bytes).unwrap();
        assert_eq!(BlockKey::decode(&mut bytes.as_slice()).unwrap(), key);
        assert!(BlockKey::decode(&mut [0xff; 30].as_slice()).is_err());
    }
}
