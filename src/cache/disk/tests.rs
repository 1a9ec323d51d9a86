//! The disk tier across restarts, damage and foreign folders.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use foyer::Code;

use super::layout::{DiskLayout, FILES_MAX, FILES_MIN};
use super::private_folder::create_private_folder;
use super::sealed_block::SealedBlock;
use super::*;
use crate::cache::BlockCache;
use crate::cache::block::BlockKey;
use crate::cache::testing::TestStore;
use crate::error::Result;
use crate::storage::ObjectKey;

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
            create_private_folder(at).unwrap();
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
    drop(DiskLayout { files: 9, file_bytes: 4096 }.prepare(&dir).unwrap());
    assert_eq!(files(), 10);
    drop(DiskLayout { files: 3, file_bytes: 8192 }.prepare(&dir).unwrap());
    assert_eq!(files(), 4);
    // No file system has as much.
    assert!(DiskLayout { files: 8, file_bytes: 1 << 62 }.prepare(&dir).is_err());
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
        let layout = DiskLayout::new(bytes).unwrap();
        assert!((FILES_MIN..=FILES_MAX).contains(&layout.files), "{layout:?}");
        assert!(layout.files * layout.file_bytes <= bytes, "{layout:?}");
        assert!(layout.files * layout.file_bytes > bytes / 8 * 7, "{layout:?}");
    }
    assert_eq!(DiskLayout::new((8 << 20) - 1), None);
}

#[test]
fn a_block_under_another_key_does_not_open() {
    let object = Arc::new(ObjectKey::new("a/b").unwrap());
    let key = BlockKey::new(&object, &(0..3));
    let sealed = SealedBlock::new(&key, Bytes::from_static(b"abc"));
    assert_eq!(sealed.clone().open(&key), Some(Bytes::from_static(b"abc")));
    assert_eq!(sealed.open(&BlockKey::new(&object, &(1..4))), None);
    let mut bytes = Vec::new();
    key.encode(&mut bytes).unwrap();
    assert_eq!(BlockKey::decode(&mut bytes.as_slice()).unwrap(), key);
    assert!(BlockKey::decode(&mut [0xff; 30].as_slice()).is_err());
}
