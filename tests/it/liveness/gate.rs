//! A store whose answers a test holds back or refuses.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use elacsym::storage::{
    ListPage, ObjectInfo, ObjectKey, ObjectPrefix, Payload, PutMode, StorageBackend, Verb,
};
use elacsym::{Error, ErrorKind, Result};
use futures::poll;
use tokio::sync::watch;

/// A backend with a gate before it. Clones share the gate.
#[derive(Clone, Debug)]
pub struct Gate {
    inner: Arc<dyn StorageBackend>,
    rule: Arc<Mutex<Option<Rule>>>,
    /// How often what was held was let go.
    released: Arc<watch::Sender<u64>>,
    held: Arc<AtomicUsize>,
}

/// Which requests, and what becomes of them.
#[derive(Clone, Copy, Debug)]
struct Rule {
    verb: Verb,
    part: &'static str,
    refuse: bool,
}

impl Gate {
    pub fn new(inner: Arc<dyn StorageBackend>) -> Self {
        let released = Arc::new(watch::Sender::new(0));
        Self { inner, rule: Arc::default(), released, held: Arc::default() }
    }

    /// From here on, requests of this kind whose name has this part get no answer.
    pub fn hold(&self, verb: Verb, part: &'static str) {
        *self.rule.lock().unwrap() = Some(Rule { verb, part, refuse: false });
    }

    /// From here on, requests of this kind whose name has this part are turned down.
    pub fn refuse(&self, verb: Verb, part: &'static str) {
        *self.rule.lock().unwrap() = Some(Rule { verb, part, refuse: true });
    }

    /// What is held stays so; what comes from here on passes.
    pub fn let_later_ones_pass(&self) {
        *self.rule.lock().unwrap() = None;
    }

    /// All pass, those that are held too.
    pub fn release(&self) {
        self.let_later_ones_pass();
        self.released.send_modify(|times| *times += 1);
    }

    /// How many requests are held and still waited for.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }

    /// Polls a future until a request of it is held.
    pub async fn poll_until_held(&self, mut future: impl Future + Unpin) {
        while self.held() == 0 {
            assert!(poll!(&mut future).is_pending(), "the request that is held is sent");
            tokio::task::yield_now().await;
        }
    }

    async fn pass(&self, verb: Verb, name: &(impl fmt::Display + Sync)) -> Result<()> {
        let rule = *self.rule.lock().unwrap();
        match rule.filter(|rule| rule.verb == verb && name.to_string().contains(rule.part)) {
            None => Ok(()),
            Some(Rule { refuse: true, .. }) => {
                Err(Error::new(ErrorKind::PermissionDenied, format!("refused. key=`{name}`")))
            }
            Some(_) => {
                let _held = Held::new(&self.held);
                let mut released = self.released.subscribe();
                released.changed().await.map_err(|_| Error::new(ErrorKind::Closed, "the test is over"))
            }
        }
    }
}

/// Counts a request while it is waited for.
struct Held<'a>(&'a AtomicUsize);

impl<'a> Held<'a> {
    fn new(held: &'a AtomicUsize) -> Self {
        held.fetch_add(1, Ordering::SeqCst);
        Self(held)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl StorageBackend for Gate {
    async fn put(&self, key: &ObjectKey, body: Payload, mode: PutMode) -> Result<()> {
        let verb = if mode == PutMode::Create { Verb::Create } else { Verb::Overwrite };
        self.pass(verb, key).await?;
        self.inner.put(key, body, mode).await
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
        self.pass(Verb::Get, key).await?;
        self.inner.get(key).await
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        self.pass(Verb::GetRange, key).await?;
        self.inner.get_range(key, range).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo> {
        self.pass(Verb::Head, key).await?;
        self.inner.head(key).await
    }

    async fn list_page(&self, prefix: &ObjectPrefix, after: Option<&ObjectKey>) -> Result<ListPage> {
        self.pass(Verb::List, prefix).await?;
        self.inner.list_page(prefix, after).await
    }

    async fn list_folders(&self, prefix: &ObjectPrefix) -> Result<Vec<String>> {
        self.pass(Verb::ListFolders, prefix).await?;
        self.inner.list_folders(prefix).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.pass(Verb::Delete, key).await?;
        self.inner.delete(key).await
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}
