//! Objects as files of a local folder, durable when a put returns.
//!
//! `object_store::local` is not used. Version 0.14.2 with `with_fsync(true)` syncs the file before it publishes it by
//! link or rename, then the folder, and reports an error of either. But
//! - only the put that creates a folder syncs the folders above it, after creating them: a second put (or a process
//!   that finds the folder of one that was killed in between) acknowledges an object in a folder whose own name may not
//!   be on disk yet;
//! - a put whose folder did not sync is an error, but the object is visible: a writer that reads it back, as every
//!   writer here does, would take it for durable;
//! - deletes are not synced, symbolic links are followed out of the root, and files left by a crash stay for ever,
//!   since their numbered names do not distinguish them from files in use.
//!
//! Here:
//! - *put*: staging file beside the object → write → sync the file → hard link (create) or rename (overwrite)
//!   → unlink the staging file → sync the folder. A create that loses to an existing object syncs the folder too: its
//!   caller goes on from that object.
//! - *folders*: before this process first puts into a folder, it syncs the name of that folder and of each folder
//!   above, no matter which process created them.
//! - *reads* of an object that this process has published but not synced wait for a sync: a writer whose put timed out
//!   reads it back, and may acknowledge what it finds.
//! - *a failed sync of a folder* leaves it unknown whether visible objects are durable, and a second sync may succeed
//!   without having written them (as `fsync` does after an error on Linux). From then on every operation of this
//!   backend fails, until it is opened again.
//! - *staging files* have names that no key can have, unique across processes. The first put into a folder removes
//!   those older than a day, by the clock of the file system.
//!
//! Deletes remove the folders of segments that they empty, and no others: see `deletes`. Another process may
//! read an object whose folder is not synced yet; after a power cut it may be gone, though never if its put returned.
//! On Windows folders cannot be synced, and the journal of the file system takes their place.
//!
//! **Invariant:** no path below the root is opened through a symbolic link. Each folder above an object is checked
//! first, and neither the last of them nor the object is opened if it has become a link by then.

mod deletes;
mod errors;
mod folder;
mod listing;
mod staging;
mod sys;

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::slice;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use self::folder::Folder;
use self::staging::STAGING_PREFIX;
use super::{
    IncompleteDelete, ListPage, ObjectInfo, ObjectKey, ObjectPrefix, Payload, PutMode, StorageBackend,
};
use crate::env::Env;
use crate::error::Result;

/// Objects as files in a local folder. Clones share their state; any number of processes may use one folder.
///
/// ```
/// use std::sync::Arc;
/// use elacsym::{Database, env::Env, storage::LocalBackend};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # let folder = tempfile::tempdir().unwrap();
/// let store = LocalBackend::new(folder.path().join("books"), &Env::current()?)?;
/// let db = Database::builder().open_backend(Arc::new(store)).await?;
/// # drop(db);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct LocalBackend {
    folder: Arc<Folder>,
    env: Env,
}

impl LocalBackend {
    /// A backend over the folder `path`. It is created if absent, readable by its owner only.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`](crate::ErrorKind::PermissionDenied) and
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) as the file system says.
    pub fn new(path: impl AsRef<Path>, env: &Env) -> Result<Self> {
        Ok(Self { folder: Arc::new(Folder::open_root(path.as_ref())?), env: env.clone() })
    }

    /// Runs blocking work on the pool, unless a sync failed before.
    async fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let folder = Arc::clone(&self.folder);
        self.env
            .blocking(move || {
                folder.check_not_in_doubt()?;
                work(&folder)
            })
            .await?
    }
}

#[async_trait]
impl StorageBackend for LocalBackend {
    async fn put(&self, key: &ObjectKey, body: Payload, mode: PutMode) -> Result<()> {
        let (key, staging) = (key.clone(), format!("{STAGING_PREFIX}{}", self.env.uuid().simple()));
        self.run_blocking(move |folder| folder.put(&key, &body, mode, &staging)).await
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
        let key = key.clone();
        self.run_blocking(move |folder| folder.get(&key, u64::MAX)).await
    }

    async fn get_bounded(&self, key: &ObjectKey, bytes_max: u64) -> Result<Bytes> {
        let key = key.clone();
        self.run_blocking(move |folder| folder.get(&key, bytes_max)).await
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        let key = key.clone();
        self.run_blocking(move |folder| folder.get_range(&key, range)).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo> {
        let key = key.clone();
        self.run_blocking(move |folder| folder.head(key)).await
    }

    async fn list_page(&self, prefix: &ObjectPrefix, after: Option<&ObjectKey>) -> Result<ListPage> {
        let (prefix, after) = (prefix.clone(), after.cloned());
        // One page: the system reads a folder from its beginning, so each page would read all of it again.
        self.run_blocking(move |folder| folder.list(&prefix, after.as_ref()).map(ListPage::last)).await
    }

    async fn list_folders(&self, prefix: &ObjectPrefix) -> Result<Vec<String>> {
        let prefix = prefix.clone();
        self.run_blocking(move |folder| folder.list_folders(&prefix)).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.delete_many(slice::from_ref(key)).await.map_err(|incomplete| incomplete.cause)
    }

    async fn delete_many(&self, keys: &[ObjectKey]) -> Result<(), IncompleteDelete> {
        let (remaining, keys) = (keys, keys.to_vec());
        match self.run_blocking(move |folder| Ok(folder.delete(&keys))).await {
            Ok(answers) => IncompleteDelete::check_answers(remaining, answers),
            Err(cause) => Err(IncompleteDelete { remaining: remaining.to_vec(), cause }),
        }
    }
}

impl fmt::Debug for LocalBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalBackend({})", self.folder.root().display())
    }
}

impl fmt::Display for LocalBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file://{}", self.folder.root().display())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::time::Duration;

    use super::*;
    use crate::error::ErrorKind;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new(name).unwrap()
    }

    fn open(root: &Path) -> LocalBackend {
        LocalBackend::new(root, &Env::current().unwrap()).unwrap()
    }

    async fn names(backend: &LocalBackend) -> Vec<String> {
        let found = backend.list(&ObjectPrefix::root(), None).await.unwrap();
        found.iter().map(|info| info.key.to_string()).collect()
    }

    fn staging(root: &Path) -> usize {
        fs::read_dir(root)
            .unwrap()
            .flatten()
            .filter(|e| e.file_name().to_string_lossy().starts_with('.'))
            .count()
    }

    #[tokio::test]
    async fn what_a_crash_leaves_is_invisible_and_swept_after_a_day() -> Result<()> {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("new/root");
        let folder = root.join("wal");
        open(&root).put(&key("wal/1"), "x".into(), PutMode::Create).await?;
        for (name, days) in [("old", 2), ("young", 0)] {
            let path = folder.join(format!("{STAGING_PREFIX}{name}"));
            let file = File::create(path).unwrap();
            let written = fs::metadata(folder.join("1")).unwrap().modified().unwrap();
            file.set_modified(written - Duration::from_secs(days * 24 * 3600)).unwrap();
        }
        let backend = open(&root);
        assert_eq!(names(&backend).await, ["wal/1"]);
        assert_eq!(staging(&folder), 2);
        backend.put(&key("wal/2"), "y".into(), PutMode::Create).await?;
        assert_eq!(staging(&folder), 1);
        assert_eq!(names(&backend).await, ["wal/1", "wal/2"]);
        Ok(())
    }

    #[tokio::test]
    async fn a_put_leaves_one_file_whatever_its_outcome() -> Result<()> {
        let temp = tempfile::tempdir().unwrap();
        let backend = open(temp.path());
        backend.put(&key("a"), "x".into(), PutMode::Create).await?;
        let lost = backend.put(&key("a"), "y".into(), PutMode::Create).await.unwrap_err();
        assert_eq!(lost.kind(), ErrorKind::AlreadyExists);
        backend.put(&key("a"), "z".into(), PutMode::Overwrite).await?;
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
        Ok(())
    }

    #[tokio::test]
    async fn a_folder_that_was_removed_is_made_again() -> Result<()> {
        let temp = tempfile::tempdir().unwrap();
        let backend = open(temp.path());
        backend.put(&key("a/b/1"), "x".into(), PutMode::Create).await?;
        fs::remove_dir_all(temp.path().join("a")).unwrap();
        backend.put(&key("a/b/2"), "x".into(), PutMode::Create).await?;
        assert_eq!(names(&backend).await, ["a/b/2"]);
        Ok(())
    }

    #[tokio::test]
    async fn a_file_where_a_folder_should_be_hides_nothing_and_breaks_nothing() -> Result<()> {
        let temp = tempfile::tempdir().unwrap();
        let backend = open(temp.path());
        backend.put(&key("a"), "x".into(), PutMode::Create).await?;
        assert_eq!(backend.get(&key("a/b")).await.unwrap_err().kind(), ErrorKind::NotFound);
        backend.delete(&key("a/b")).await?;
        assert!(backend.put(&key("a/b"), "x".into(), PutMode::Create).await.is_err());
        backend.put(&key("f/b"), "x".into(), PutMode::Create).await?;
        assert_eq!(backend.get(&key("f")).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert!(backend.put(&key("f"), "x".into(), PutMode::Create).await.is_err());
        backend.delete(&key("f")).await?;
        assert_eq!(names(&backend).await, ["a", "f/b"]);
        Ok(())
    }

    #[tokio::test]
    async fn after_a_folder_failed_to_sync_nothing_is_answered() -> Result<()> {
        let temp = tempfile::tempdir().unwrap();
        let backend = open(temp.path());
        backend.put(&key("a"), "x".into(), PutMode::Create).await?;
        backend.folder.mark_in_doubt();
        assert_eq!(backend.get(&key("a")).await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(open(temp.path()).get(&key("a")).await?, "x");
        Ok(())
    }

    #[tokio::test]
    async fn a_folder_without_objects_is_not_named() -> Result<()> {
        let temp = tempfile::tempdir().unwrap();
        let backend = open(temp.path());
        for name in ["a/b/c", "d/e"] {
            backend.put(&key(name), "x".into(), PutMode::Create).await?;
        }
        backend.delete(&key("a/b/c")).await?;
        assert!(temp.path().join("a/b").is_dir());
        assert_eq!(backend.list_folders(&ObjectPrefix::root()).await?, ["d"]);
        Ok(())
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn deletes_remove_the_folders_of_segments_that_they_empty() -> Result<()> {
        let temp = tempfile::tempdir().unwrap();
        let backend = open(temp.path());
        let segment = format!("ns/n-a/00000001/segment/{:020}-{:032x}", 7, 9);
        let keys = ["one", "two"].map(|name| key(&format!("{segment}/{name}")));
        let others = [key("ns/n-a/00000001/wal/1"), key(&format!("other/{:020}-{:032x}/one", 7, 9))];
        for key in keys.iter().chain(&others) {
            backend.put(key, "x".into(), PutMode::Create).await?;
        }
        let folder_of = |key: &ObjectKey| temp.path().join(key.folder());
        backend.delete(&keys[0]).await?;
        assert!(folder_of(&keys[0]).is_dir());
        backend.delete_many(&[&keys[1..], &others].concat()).await?;
        assert!(!folder_of(&keys[0]).exists() && folder_of(&keys[0]).parent().unwrap().is_dir());
        assert!(others.iter().all(|key| folder_of(key).is_dir()), "these names come back");
        assert!(names(&backend).await.is_empty());
        // A late put makes the folder again, and a second process notices that it is gone.
        backend.put(&keys[0], "x".into(), PutMode::Create).await?;
        open(temp.path()).delete_many(&keys).await?;
        backend.put(&keys[1], "y".into(), PutMode::Create).await?;
        assert_eq!(names(&backend).await, [keys[1].as_str()]);
        Ok(())
    }

    #[cfg(unix)]
    #[tokio::test(flavor = "multi_thread")]
    async fn puts_outlast_deletes_that_remove_their_folder() -> Result<()> {
        let temp = tempfile::tempdir().unwrap();
        let (writer, collector) = (open(temp.path()), open(temp.path()));
        let segment = format!("segment/{:020}-{:032x}", 7, 9);
        let gone = key(&format!("{segment}/gone"));
        for number in 0..100 {
            let key = key(&format!("{segment}/{number}"));
            let put = writer.put(&key, "x".into(), PutMode::Overwrite);
            let (put, deleted) = futures::future::join(put, collector.delete(&gone)).await;
            put.and(deleted)?;
            assert_eq!(writer.get(&key).await?, "x");
            // Leaves the folder empty, but there: only a delete through the backend removes it.
            fs::remove_file(temp.path().join(key.as_str())).unwrap();
        }
        Ok(())
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn links_are_not_followed_and_files_are_their_owners() -> Result<()> {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let temp = tempfile::tempdir().unwrap();
        let (root, outside) = (temp.path().join("root"), temp.path().join("outside"));
        let backend = open(&root);
        backend.put(&key("a/b"), "x".into(), PutMode::Create).await?;
        let mode = |path: &str| fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(""), mode("a"), mode("a/b")), (0o700, 0o700, 0o600));
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), "s").unwrap();
        symlink(&outside, root.join("linked")).unwrap();
        symlink(outside.join("secret"), root.join("file")).unwrap();
        assert_eq!(names(&backend).await, ["a/b"]);
        assert_eq!(backend.list_folders(&ObjectPrefix::root()).await?, ["a"]);
        for name in ["linked/secret", "file"] {
            assert_eq!(backend.get(&key(name)).await.unwrap_err().kind(), ErrorKind::Corrupt);
            assert!(backend.put(&key(name), "x".into(), PutMode::Create).await.is_err());
        }
        assert!(backend.put(&key("linked/new"), "x".into(), PutMode::Create).await.is_err());
        assert!(backend.delete(&key("linked/secret")).await.is_err());
        // Nor where a folder was that this process has put into before.
        fs::rename(root.join("a"), root.join("was")).unwrap();
        symlink(&outside, root.join("a")).unwrap();
        assert!(backend.put(&key("a/new"), "x".into(), PutMode::Create).await.is_err());
        assert!(backend.put(&key("a/secret"), "x".into(), PutMode::Overwrite).await.is_err());
        assert_eq!(fs::read(outside.join("secret")).unwrap(), b"s");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        for name in ["linked", "file"] {
            let at = root.join(name);
            assert!(sys::open_folder(&at).is_err_and(|e| e.kind() != std::io::ErrorKind::NotFound), "{name}");
            assert!(sys::open_file(&at).is_err_and(|e| sys::is_link(&e)), "{name}");
        }
        Ok(())
    }

    #[test]
    fn a_full_disk_has_a_kind_of_its_own() {
        // ENOSPC and EDQUOT of Linux.
        for code in if cfg!(target_os = "linux") { [28, 122] } else { [28, 28] } {
            let error = errors::io_failed("writing", &"k", &std::io::Error::from_raw_os_error(code));
            assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
        }
    }
}
