//! The disk tier: blocks in a folder of this machine, which outlive the process.
//!
//! foyer does the work and is not trusted with it: it does not lock its folder, panics when the disk is full, and does
//! not verify what it returns. So the folder belongs to one store and one process, its space is reserved before foyer
//! sees it, and each block is compared with a checksum that was taken when it was written.
//!
//! **Invariant:** a failure here is a warning and a miss. (In a program built with `panic = "abort"`, a file system
//! that does not honour reserved space, such as btrfs or ZFS, can still end it when full.)

mod layout;
mod private_folder;
mod sealed_block;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use foyer::{
    BlockEngineConfig, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder, HybridCachePolicy,
    Load, PsyncIoEngineConfig, RecoverMode, Spawner,
};
use futures::FutureExt;
use uuid::Uuid;

use self::layout::DiskLayout;
use self::sealed_block::SealedBlock;
use super::block::BlockKey;
use crate::env::Env;

/// How much foyer gathers before it writes. It has two such buffers and drops what arrives faster than the disk takes
/// it: losing a block costs a miss, while waiting would hold up a query.
const BUFFER_BYTES: usize = 16 << 20;
/// How long closing waits for pending writes. Two buffers take a fraction of a second; a disk that needs longer than
/// this hangs, and closing the database must not hang with it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

type OpenResult<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Where the disk tier is, and how large.
#[derive(Clone, Debug)]
pub(crate) struct DiskOptions {
    /// A folder of this machine. Each store has its own below it.
    pub dir: PathBuf,
    /// The disk space to reserve, at least 8 MiB. In addition, up to 64 MiB of memory hold blocks that are about to be
    /// written.
    pub bytes: u64,
    /// The id of the store, so that two stores never share blocks.
    pub store: Uuid,
}

/// Blocks in files of equal size.
pub(super) struct Disk {
    /// Only its disk tier is used.
    foyer: HybridCache<BlockKey, SealedBlock>,
    lock: Arc<File>,
    block_bytes_max: u64,
    /// Cleared by the first failure, and when closed.
    is_on: AtomicBool,
    env: Env,
}

impl Disk {
    /// Opens the tier with the blocks of earlier processes. If that fails, logs a warning and returns `None`.
    pub(super) async fn open(options: DiskOptions, env: &Env) -> Option<Self> {
        let dir = options.dir.clone();
        let disk = Self::try_open(options, env.clone()).await;
        disk.inspect_err(|error| tracing::warn!(?dir, %error, "running without a disk cache: cannot open it"))
            .ok()
    }

    async fn try_open(options: DiskOptions, env: Env) -> OpenResult<Self> {
        let runtime = tokio::runtime::Handle::try_current()?;
        let layout = DiskLayout::new(options.bytes).ok_or("a disk cache needs at least 8 MiB")?;
        let dir = options.dir.join(format!("elacsym-{}", options.store.simple()));
        let prepared = dir.clone();
        // Reserving space may take seconds on a file system that has to write zeros.
        let lock = Arc::new(env.blocking(move || layout.prepare(&prepared)).await??);
        // Boxed: foyer's future is large, and would be part of every future that opens a database.
        let foyer = Box::pin(build_foyer(dir, layout, Spawner::from(runtime), Arc::clone(&lock)));
        let foyer = AssertUnwindSafe(foyer).catch_unwind().await.map_err(|_| "foyer panicked")??;
        let block_bytes_max = layout.block_bytes_max();
        Ok(Self { foyer, lock, block_bytes_max, is_on: AtomicBool::new(true), env })
    }

    /// Whether a block of `bytes` would be stored.
    pub(super) fn accepts(&self, bytes: usize) -> bool {
        bytes as u64 <= self.block_bytes_max && self.is_on.load(Ordering::Relaxed)
    }

    pub(super) async fn get(&self, key: &BlockKey) -> Option<Bytes> {
        if !self.is_on.load(Ordering::Relaxed) {
            return None;
        }
        let sealed = match self.foyer.storage().load(key).await {
            Ok(Load::Entry { value, .. }) => value,
            // Still in the write buffer.
            Ok(Load::Piece { piece, .. }) => piece.value().clone(),
            Ok(Load::Miss | Load::Throttled) => return None,
            Err(error) => {
                self.turn_off(&error);
                return None;
            }
        };
        let block = sealed.open(key);
        if block.is_none() {
            tracing::warn!(?key, "a block of the disk cache is damaged: reading it from the store");
        }
        block
    }

    /// Queues a block to be written, or drops it when the disk is behind.
    pub(super) fn put(&self, key: &BlockKey, block: Bytes) {
        if self.is_on.load(Ordering::Relaxed) {
            self.foyer.storage_writer(key.clone()).insert(SealedBlock::new(key, block));
        }
    }

    pub(super) async fn close(&self) {
        if !self.is_on.swap(false, Ordering::Relaxed) {
            return;
        }
        let close = AssertUnwindSafe(self.foyer.close()).catch_unwind();
        match self.env.timeout(CLOSE_TIMEOUT, close).await {
            Some(Ok(Ok(()))) => {
                // No task of foyer writes any more, so another process may use the folder. If unlocking fails, the
                // lock is released when this process ends.
                let _ = self.lock.unlock();
            }
            Some(Ok(Err(error))) => tracing::warn!(%error, "the disk cache did not close"),
            Some(Err(_)) => tracing::warn!("the disk cache panicked while closing"),
            None => tracing::warn!("the disk cache is still writing: not waiting any longer"),
        }
    }

    /// After the first failed read: each further one would cost a query the time of a disk that times out.
    fn turn_off(&self, error: &foyer::Error) {
        if self.is_on.swap(false, Ordering::Relaxed) {
            tracing::warn!(%error, "running without a disk cache: cannot read it");
        }
    }
}

async fn build_foyer(
    dir: PathBuf,
    layout: DiskLayout,
    spawner: Spawner,
    lock: Arc<File>,
) -> OpenResult<HybridCache<BlockKey, SealedBlock>> {
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
        // The memory tier is `Tiers::memory`. foyer's own cannot be left out, so it is as small as can be.
        .memory(1)
        // foyer's tasks outlive its handle. They hold the weigher, and through it the lock of the folder.
        .with_weighter(move |_: &BlockKey, _: &SealedBlock| {
            let _ = &lock;
            1
        })
        .storage()
        .with_spawner(spawner)
        // Blocks that do not read back are skipped: a crash while writing leaves such.
        .with_recover_mode(RecoverMode::Quiet)
        // The other engine starts threads.
        .with_io_engine_config(PsyncIoEngineConfig::new())
        .with_engine_config(engine);
    Ok(builder.build().await?)
}
