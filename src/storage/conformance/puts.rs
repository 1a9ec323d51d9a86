//! Checks of puts and deletes.

use bytes::Bytes;

use super::case::{Broken, Case, CheckResult, PAGED_OBJECTS, ensure, ensure_kind, test_bytes};
use crate::error::{Error, ErrorKind};
use crate::storage::probe::race_creates;
use crate::storage::{ObjectKey, Payload, PutMode};

/// How many creates race for one key, and how often: more than in the probe, which has to be quick.
const RACERS: usize = 12;
const RACES: usize = 4;
/// Above the sizes from which clients send in parts or in chunks: 5 MiB is the smallest part that S3 takes.
const LARGE_BYTES: usize = 6 << 20;

impl Case {
    pub(super) async fn create_is_read_back(self) -> CheckResult {
        let body = test_bytes(1000, 1);
        let key = self.create_object("a/b/c", &body).await?;
        self.expect_object(&key, &body, "after a create").await
    }

    pub(super) async fn create_refuses_what_exists(self) -> CheckResult {
        let body = test_bytes(10, 1);
        let key = self.create_object("a", &body).await?;
        let what = "a second create of one object";
        // Also with the same bytes: a store that compares contents would accept a second write of one batch.
        for second in [test_bytes(10, 2), body.clone(), Bytes::new()] {
            let put = self.backend.put(&key, second.into(), PutMode::Create).await;
            ensure_kind(put, ErrorKind::AlreadyExists, what)?;
            self.expect_object(&key, &body, "after a create that failed").await?;
        }
        Ok(())
    }

    pub(super) async fn create_has_one_winner(self) -> CheckResult {
        for race in 0..RACES {
            let key = self.key(&format!("race-{race}"))?;
            let bodies: Vec<Bytes> = (0..RACERS).map(|racer| test_bytes(100 + racer, racer)).collect();
            let (won, losses) = race_creates(self.backend.as_ref(), &key, &bodies).await;
            let found = self.backend.get(&key).await?;
            let [winner] = won.as_slice() else {
                return Err(Broken(format!("{} of {RACERS} creates of one object succeed", won.len())));
            };
            ensure(**winner == found, || "the object does not hold what the winner put".to_owned())?;
            for error in losses {
                ensure_kind(Err::<(), _>(error), ErrorKind::AlreadyExists, "a create that lost")?;
            }
        }
        Ok(())
    }

    pub(super) async fn create_after_delete(self) -> CheckResult {
        let key = self.create_object("a", &test_bytes(10, 1)).await?;
        self.backend.delete(&key).await?;
        let body = test_bytes(20, 2);
        self.create_object("a", &body).await?;
        self.expect_object(&key, &body, "after create, delete and create").await
    }

    /// The log is read this way: who waits for the next entry asks for an object that is not there yet.
    pub(super) async fn create_after_a_miss(self) -> CheckResult {
        let key = self.key("a")?;
        let missing = self.backend.get(&key).await;
        ensure_kind(missing, ErrorKind::NotFound, "get of an object that was never written")?;
        let body = test_bytes(10, 1);
        self.create_object("a", &body).await?;
        self.expect_object(&key, &body, "after a miss and a create").await
    }

    pub(super) async fn overwrite_replaces_whole(self) -> CheckResult {
        let key = self.key("a")?;
        // Shorter after longer: a store that writes in place would leave the rest of the old bytes.
        for (len, seed) in [(100, 1), (1000, 2), (10, 3), (0, 4), (5, 5)] {
            let body = test_bytes(len, seed);
            self.backend.put(&key, body.clone().into(), PutMode::Overwrite).await?;
            self.expect_object(&key, &body, "after an overwrite").await?;
        }
        Ok(())
    }

    pub(super) async fn parts_are_joined(self) -> CheckResult {
        // Small and empty parts, and some that are larger than the buffers of files and connections.
        for (at, lengths) in [&[0, 0][..], &[0, 1, 0, 2, 0], &[700, 300_000, 1, 70_000, 0]].iter().enumerate()
        {
            let parts: Vec<Bytes> =
                lengths.iter().zip(1..).map(|(len, seed)| test_bytes(*len, seed)).collect();
            let body: Payload = parts.iter().cloned().collect();
            for mode in [PutMode::Create, PutMode::Overwrite] {
                let key = self.key(&format!("{mode:?}-{at}"))?;
                self.backend.put(&key, body.clone(), mode).await?;
                self.expect_object(&key, &parts.concat().into(), "after a put of several parts").await?;
            }
        }
        Ok(())
    }

    pub(super) async fn overwrite_is_atomic(self) -> CheckResult {
        // Large enough that writing takes several system calls or packets, and of two sizes.
        let bodies = [test_bytes(256 << 10, 1), test_bytes(200 << 10, 2)];
        let key = self.create_object("a", &bodies[0]).await?;
        let writes = async {
            for body in bodies.iter().cycle().take(16) {
                self.backend.put(&key, body.clone().into(), PutMode::Overwrite).await?;
            }
            Ok::<(), Error>(())
        };
        let reads = async {
            let mut torn = 0;
            for _ in 0..32 {
                torn += usize::from(!bodies.contains(&self.backend.get(&key).await?));
            }
            Ok::<usize, Error>(torn)
        };
        let (writes, torn) = futures::future::join(writes, reads).await;
        writes?;
        let torn = torn?;
        ensure(torn == 0, || {
            format!("{torn} of 32 reads during overwrites are neither the one nor the other")
        })
    }

    pub(super) async fn empty_object(self) -> CheckResult {
        let key = self.create_object("a", &Bytes::new()).await?;
        self.expect_object(&key, &Bytes::new(), "after an empty create").await?;
        let size = self.backend.head(&key).await?.size;
        ensure(size == 0, || format!("an empty object has size {size}"))?;
        let range = self.backend.get_range(&key, 0..0).await?;
        ensure(range.is_empty(), || "an empty range is not empty".to_owned())?;
        ensure_kind(
            self.backend.get_range(&key, 0..1).await,
            ErrorKind::Corrupt,
            "a range of an empty object",
        )?;
        self.expect_names("", None, &["a"]).await
    }

    pub(super) async fn large_object(self) -> CheckResult {
        let body = test_bytes(LARGE_BYTES, 1);
        let key = self.create_object("created", &body).await?;
        self.expect_object(&key, &body, "after a large create").await?;
        // Across the boundary of a part.
        self.expect_range(&key, &body, (5 << 20) - 3..(5 << 20) + 70_000).await?;
        let key = self.key("overwritten")?;
        self.backend.put(&key, body.clone().into(), PutMode::Overwrite).await?;
        self.expect_object(&key, &body, "after a large overwrite").await
    }

    pub(super) async fn delete_removes_one(self) -> CheckResult {
        self.create_objects(&["a", "a-b", "ab", "b/1", "b/2"]).await?;
        self.backend.delete(&self.key("a")?).await?;
        self.backend.delete(&self.key("b/1")?).await?;
        ensure_kind(self.backend.get(&self.key("a")?).await, ErrorKind::NotFound, "get of a deleted object")?;
        self.expect_names("", None, &["a-b", "ab", "b/2"]).await
    }

    pub(super) async fn delete_of_missing_is_no_error(self) -> CheckResult {
        let key = self.create_object("a/b", &test_bytes(1, 1)).await?;
        // `a` is a folder of a local store: deleting it must not delete what is below.
        for name in ["missing", "a/missing", "x/y/z", "a"] {
            self.backend.delete(&self.key(name)?).await?;
        }
        self.expect_object(&key, &test_bytes(1, 1), "after deletes of other names").await
    }

    pub(super) async fn delete_many_removes_all(self) -> CheckResult {
        self.create_objects(&["a", "b/1", "b/2", "b/3", "c/1"]).await?;
        self.backend.delete_many(&[]).await.map_err(Error::from)?;
        // In no order, of several folders, some of them missing, and `b` a folder of a local store.
        let names = ["b/3", "a", "missing", "b/1", "x/y/missing", "b"];
        let keys = names.iter().map(|name| self.key(name)).collect::<CheckResult<Vec<ObjectKey>>>()?;
        // The second time nothing is there.
        for _ in 0..2 {
            self.backend.delete_many(&keys).await.map_err(Error::from)?;
            self.expect_names("", None, &["b/2", "c/1"]).await?;
        }
        let deleted = self.backend.get(&self.key("a")?).await;
        ensure_kind(deleted, ErrorKind::NotFound, "get of an object that was deleted with others")
    }

    pub(super) async fn delete_many_spans_requests(self) -> CheckResult {
        let names: Vec<String> = (0..PAGED_OBJECTS).map(|i| format!("{i:020}")).collect();
        let keys = self.create_many(&names).await?;
        let (first, deleted) =
            keys.split_first().ok_or_else(|| Broken("no object was created".to_owned()))?;
        self.backend.delete_many(deleted).await.map_err(Error::from)?;
        self.expect_object(first, &test_bytes(1, 1), "after a delete of all others").await?;
        let left = self.list_names("", None).await?;
        ensure(left.len() == 1, || format!("{} of {PAGED_OBJECTS} objects are listed, not 1", left.len()))
    }

    pub(super) async fn keys_keep_every_character(self) -> CheckResult {
        // `~41` and `~7e` look like escapes: a backend that escapes keys itself must not decode them.
        let every = "0123456789-ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz.~~41~7e";
        let long = "l".repeat(200);
        for (seed, name) in [every, &format!("{every}/{every}"), &long].into_iter().enumerate() {
            let name = format!("{seed}/{name}");
            let key = self.create_object(&name, &test_bytes(9, seed)).await?;
            self.expect_object(&key, &test_bytes(9, seed), "after a create").await?;
            self.expect_names(&seed.to_string(), None, &[&name]).await?;
        }
        Ok(())
    }
}
