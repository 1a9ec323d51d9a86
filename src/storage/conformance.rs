//! The contract of [`StorageBackend`], as checks that the author of a backend can run.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> elacsym::Result<()> {
//! use std::sync::Arc;
//! use elacsym::env::Env;
//! use elacsym::storage::{MemoryBackend, conformance};
//!
//! let violations = conformance::check(Arc::new(MemoryBackend::new()), &Env::current()?).await;
//! assert_eq!(violations, Ok(()));
//! # Ok(())
//! # }
//! ```
//!
//! No check can cut the power: that a put is durable when it returns has to be argued for each backend, as
//! `LocalBackend` does in its source. Nor can a check of seconds prove that a race is never lost; run it often.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt, join_all};
use futures::{StreamExt, stream};

use super::{ObjectInfo, ObjectKey, ObjectPrefix, PutMode, StorageBackend};
use crate::env::Env;
use crate::error::{Error, ErrorKind};

/// How many creates race for one name, and how often.
const RACERS: usize = 12;
const RACES: usize = 4;
/// More objects than the pages of common stores hold.
const PAGE: usize = 1_010;
/// How many small requests are sent at once.
const AT_ONCE: usize = 32;
/// Above the size from which some clients send in parts or in chunks.
const LARGE: usize = 6 << 20;

/// A clause of the contract that a backend broke.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The name of the check.
    pub check: &'static str,
    /// What the backend did, and what it should have done.
    pub why: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.why)
    }
}

/// Runs every check, one after the other. It writes about 1,200 small objects and two of 6 MiB below a
/// folder of its own, so that the store need not be empty, and deletes them at the end.
///
/// # Errors
/// Every clause that was broken.
pub async fn check(backend: Arc<dyn StorageBackend>, env: &Env) -> Result<(), Vec<Violation>> {
    let suite = Suite { backend, root: format!("conformance-{}", env.uuid().simple()) };
    let mut violations = Vec::new();
    for (check, run) in CHECKS {
        if let Err(Broken(why)) = run(suite.case(check)).await {
            violations.push(Violation { check, why });
        }
    }
    if let Err(Broken(why)) = suite.clean_up().await {
        violations.push(Violation { check: "clean_up", why });
    }
    if violations.is_empty() { Ok(()) } else { Err(violations) }
}

/// What opening a database asks of a store that holds none: fewer checks, and fit for any store. It leaves
/// a `STORE` object behind.
///
/// # Errors
/// [`ErrorKind::UnsupportedStore`] says which check the store failed; others are errors of the backend.
pub async fn probe(backend: &Arc<dyn StorageBackend>, env: &Env) -> crate::error::Result<()> {
    super::open_store(backend, env, None).await.map(|_| ())
}

type Check = fn(Case) -> BoxFuture<'static, Outcome>;

const CHECKS: [(&str, Check); 23] = [
    ("create_is_read_back", |c| c.create_is_read_back().boxed()),
    ("create_refuses_what_exists", |c| c.create_refuses_what_exists().boxed()),
    ("create_has_one_winner", |c| c.create_has_one_winner().boxed()),
    ("create_after_delete", |c| c.create_after_delete().boxed()),
    ("overwrite_replaces_whole", |c| c.overwrite_replaces_whole().boxed()),
    ("overwrite_is_atomic", |c| c.overwrite_is_atomic().boxed()),
    ("empty_object", |c| c.empty_object().boxed()),
    ("large_object", |c| c.large_object().boxed()),
    ("missing_is_not_found", |c| c.missing_is_not_found().boxed()),
    ("bounded_get_refuses_what_is_larger", |c| c.bounded_get_refuses_what_is_larger().boxed()),
    ("range_is_exact", |c| c.range_is_exact().boxed()),
    ("range_past_the_end_is_corrupt", |c| c.range_past_the_end_is_corrupt().boxed()),
    ("head_tells_size_and_time", |c| c.head_tells_size_and_time().boxed()),
    ("list_is_sorted_and_whole", |c| c.list_is_sorted_and_whole().boxed()),
    ("list_spans_pages", |c| c.list_spans_pages().boxed()),
    ("list_pages_join", |c| c.list_pages_join().boxed()),
    ("list_starts_after", |c| c.list_starts_after().boxed()),
    ("list_stays_in_its_folder", |c| c.list_stays_in_its_folder().boxed()),
    ("list_shows_at_once", |c| c.list_shows_at_once().boxed()),
    ("list_folders_names_folders", |c| c.list_folders_names_folders().boxed()),
    ("delete_removes_one", |c| c.delete_removes_one().boxed()),
    ("delete_of_missing_is_no_error", |c| c.delete_of_missing_is_no_error().boxed()),
    ("keys_keep_every_character", |c| c.keys_keep_every_character().boxed()),
];

type Outcome<T = ()> = Result<T, Broken>;

/// Why a check failed.
struct Broken(String);

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self(format!("unexpected error: {error:?}"))
    }
}

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(Broken(why())) }
}

fn ensure_kind<T>(result: Result<T, Error>, kind: ErrorKind, what: &str) -> Outcome {
    match result {
        Err(error) if error.is(kind) => Ok(()),
        Err(error) => Err(Broken(format!("{what} must be {kind:?}, but was {error:?}"))),
        Ok(_) => Err(Broken(format!("{what} must be {kind:?}, but succeeded"))),
    }
}

/// Bytes that differ along their length and from one seed to the next.
fn bytes(len: usize, seed: usize) -> Bytes {
    (0..len).map(|i| u8::try_from((i * 31 + i / 251 + seed * 7) % 251).unwrap_or_default()).collect()
}

struct Suite {
    backend: Arc<dyn StorageBackend>,
    root: String,
}

impl Suite {
    fn case(&self, check: &str) -> Case {
        Case { backend: Arc::clone(&self.backend), root: format!("{}/{check}", self.root) }
    }

    async fn clean_up(&self) -> Outcome {
        let root = ObjectPrefix::folder(&ObjectKey::new(self.root.as_str())?);
        let left = self.backend.list(&root, None).await?;
        let deletes = left.iter().map(|info| self.backend.delete(&info.key));
        let done: Vec<crate::error::Result<()>> =
            stream::iter(deletes).buffer_unordered(AT_ONCE).collect().await;
        done.into_iter().collect::<crate::error::Result<()>>()?;
        let left = self.backend.list(&root, None).await?.len();
        ensure(left == 0, || format!("{left} objects are listed after they were deleted"))
    }
}

/// One check, in a folder of its own.
struct Case {
    backend: Arc<dyn StorageBackend>,
    root: String,
}

impl Case {
    fn key(&self, name: &str) -> Outcome<ObjectKey> {
        Ok(ObjectKey::new(format!("{}/{name}", self.root))?)
    }

    fn folder(&self, name: &str) -> Outcome<ObjectPrefix> {
        let folder = if name.is_empty() { self.root.clone() } else { format!("{}/{name}", self.root) };
        Ok(ObjectPrefix::folder(&ObjectKey::new(folder)?))
    }

    async fn create(&self, name: &str, bytes: &Bytes) -> Outcome<ObjectKey> {
        let key = self.key(name)?;
        self.backend.put(&key, bytes.clone(), PutMode::Create).await?;
        Ok(key)
    }

    async fn create_all(&self, names: &[&str]) -> Outcome {
        for name in names {
            self.create(name, &bytes(3, 0)).await?;
        }
        Ok(())
    }

    async fn expect(&self, key: &ObjectKey, bytes: &Bytes, when: &str) -> Outcome {
        let found = self.backend.get(key).await?;
        ensure(found == *bytes, || {
            format!("{when}, the object holds {} bytes, not the {} that were put", found.len(), bytes.len())
        })
    }

    /// The names below a folder, relative to the case.
    async fn names(&self, folder: &str, after: Option<&str>) -> Outcome<Vec<String>> {
        let after = after.map(|after| self.key(after)).transpose()?;
        let found = self.backend.list(&self.folder(folder)?, after.as_ref()).await?;
        let own = format!("{}/", self.root);
        let name = |info: &ObjectInfo| info.key.as_str().strip_prefix(&own).unwrap_or("?").to_owned();
        Ok(found.iter().map(name).collect())
    }

    async fn expect_names(&self, folder: &str, after: Option<&str>, names: &[&str]) -> Outcome {
        let found = self.names(folder, after).await?;
        ensure(found == names, || {
            format!("listing `{folder}` after `{}` shows {found:?}, not {names:?}", after.unwrap_or_default())
        })
    }

    async fn create_is_read_back(self) -> Outcome {
        let body = bytes(1000, 1);
        let key = self.create("a/b/c", &body).await?;
        self.expect(&key, &body, "after a create").await
    }

    async fn create_refuses_what_exists(self) -> Outcome {
        let body = bytes(10, 1);
        let key = self.create("a", &body).await?;
        let what = "a second create of one object";
        for second in [bytes(10, 2), body.clone(), Bytes::new()] {
            let put = self.backend.put(&key, second, PutMode::Create).await;
            ensure_kind(put, ErrorKind::AlreadyExists, what)?;
            self.expect(&key, &body, "after a create that failed").await?;
        }
        Ok(())
    }

    async fn create_has_one_winner(self) -> Outcome {
        for race in 0..RACES {
            let key = self.key(&format!("race-{race}"))?;
            let bodies: Vec<Bytes> = (0..RACERS).map(|racer| bytes(100 + racer, racer)).collect();
            let puts = bodies.iter().map(|body| self.backend.put(&key, body.clone(), PutMode::Create));
            let answers = join_all(puts).await;
            let won: Vec<&Bytes> = bodies
                .iter()
                .zip(&answers)
                .filter(|(_, answer)| answer.is_ok())
                .map(|(body, _)| body)
                .collect();
            let found = self.backend.get(&key).await?;
            let [winner] = won.as_slice() else {
                return Err(Broken(format!("{} of {RACERS} creates of one object succeed", won.len())));
            };
            ensure(**winner == found, || "the object does not hold what the winner put".to_owned())?;
            for answer in answers.into_iter().filter(Result::is_err) {
                ensure_kind(answer, ErrorKind::AlreadyExists, "a create that lost")?;
            }
        }
        Ok(())
    }

    async fn create_after_delete(self) -> Outcome {
        let key = self.create("a", &bytes(10, 1)).await?;
        self.backend.delete(&key).await?;
        let body = bytes(20, 2);
        self.create("a", &body).await?;
        self.expect(&key, &body, "after create, delete and create").await
    }

    async fn overwrite_replaces_whole(self) -> Outcome {
        let key = self.key("a")?;
        for (len, seed) in [(100, 1), (1000, 2), (10, 3), (0, 4), (5, 5)] {
            let body = bytes(len, seed);
            self.backend.put(&key, body.clone(), PutMode::Overwrite).await?;
            self.expect(&key, &body, "after an overwrite").await?;
        }
        Ok(())
    }

    async fn overwrite_is_atomic(self) -> Outcome {
        let bodies = [bytes(256 << 10, 1), bytes(200 << 10, 2)];
        let key = self.create("a", &bodies[0]).await?;
        let writes = async {
            for body in bodies.iter().cycle().take(16) {
                self.backend.put(&key, body.clone(), PutMode::Overwrite).await?;
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

    async fn empty_object(self) -> Outcome {
        let key = self.create("a", &Bytes::new()).await?;
        self.expect(&key, &Bytes::new(), "after an empty create").await?;
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

    async fn large_object(self) -> Outcome {
        let body = bytes(LARGE, 1);
        let key = self.create("created", &body).await?;
        self.expect(&key, &body, "after a large create").await?;
        self.expect_range(&key, &body, (5 << 20) - 3..(5 << 20) + 70_000).await?;
        let key = self.key("overwritten")?;
        self.backend.put(&key, body.clone(), PutMode::Overwrite).await?;
        self.expect(&key, &body, "after a large overwrite").await
    }

    async fn missing_is_not_found(self) -> Outcome {
        self.create("a/there", &bytes(1, 1)).await?;
        for name in ["a/missing", "b/missing", "a"] {
            let key = self.key(name)?;
            ensure_kind(self.backend.get(&key).await, ErrorKind::NotFound, "get of a missing object")?;
            ensure_kind(self.backend.head(&key).await, ErrorKind::NotFound, "head of a missing object")?;
            for range in [0..4, 0..0] {
                let read = self.backend.get_range(&key, range).await;
                ensure_kind(read, ErrorKind::NotFound, "a range of a missing object")?;
            }
        }
        Ok(())
    }

    async fn bounded_get_refuses_what_is_larger(self) -> Outcome {
        let body = bytes(1000, 1);
        let key = self.create("a", &body).await?;
        for enough in [1000, 1001, u64::MAX] {
            let found = self.backend.get_bounded(&key, enough).await?;
            ensure(found == body, || {
                format!("an object of 1000 bytes, of at most {enough}, is not read whole")
            })?;
        }
        for less in [999, 1, 0] {
            let what = format!("an object of 1000 bytes where {less} are allowed");
            ensure_kind(self.backend.get_bounded(&key, less).await, ErrorKind::Corrupt, &what)?;
        }
        let missing = self.backend.get_bounded(&self.key("missing")?, 10).await;
        ensure_kind(missing, ErrorKind::NotFound, "a bounded get of a missing object")
    }

    async fn expect_range(&self, key: &ObjectKey, body: &Bytes, range: Range<usize>) -> Outcome {
        let asked = range.start as u64..range.end as u64;
        let found = self.backend.get_range(key, asked).await?;
        ensure(Some(found.as_ref()) == body.get(range.clone()), || {
            format!("range {range:?} of {} bytes is wrong, and {} bytes long", body.len(), found.len())
        })
    }

    async fn range_is_exact(self) -> Outcome {
        let body = bytes(1000, 1);
        let key = self.create("a", &body).await?;
        for range in [0..1, 0..1000, 999..1000, 250..750, 0..0, 500..500, 1000..1000] {
            self.expect_range(&key, &body, range).await?;
        }
        Ok(())
    }

    async fn range_past_the_end_is_corrupt(self) -> Outcome {
        let key = self.create("a", &bytes(1000, 1)).await?;
        #[expect(clippy::reversed_empty_ranges, reason = "the last one is to be refused")]
        let ranges = [999..1001, 0..2000, 1000..1001, 5000..6000, 5000..5000, 9..3];
        for range in ranges {
            let what = format!("range {range:?} of 1000 bytes");
            ensure_kind(self.backend.get_range(&key, range).await, ErrorKind::Corrupt, &what)?;
        }
        Ok(())
    }

    async fn head_tells_size_and_time(self) -> Outcome {
        let key = self.create("a", &bytes(1234, 1)).await?;
        let before = self.backend.head(&key).await?;
        ensure(before.key == key && before.size == 1234, || format!("head tells {before:?}"))?;
        let listed = self.backend.list(&self.folder("")?, None).await?;
        // Listings of some stores cut the time to seconds.
        let same = |info: &ObjectInfo| {
            info.key == key && info.size == 1234 && info.modified_ms.abs_diff(before.modified_ms) <= 1000
        };
        ensure(listed.iter().all(same), || format!("head tells {before:?}, but a listing {listed:?}"))?;
        self.backend.put(&key, bytes(5, 2), PutMode::Overwrite).await?;
        let after = self.backend.head(&key).await?;
        ensure(after.size == 5, || format!("after an overwrite head tells {after:?}"))?;
        ensure(after.modified_ms >= before.modified_ms, || "an overwrite set the time back".to_owned())
    }

    async fn list_is_sorted_and_whole(self) -> Outcome {
        // By bytes: `-` and `.` come before `/`, digits and letters after it; capitals before small letters.
        let mut names =
            ["b", "a0", "a/x", "a-b/x", "a.b", "a/xx/y.z", "Z", "a_b", "a~b", "0", "a/x-1/z", "c/d/e/f"];
        self.create_all(&names).await?;
        names.sort_unstable();
        self.expect_names("", None, &names).await
    }

    async fn list_spans_pages(self) -> Outcome {
        let names: Vec<String> = (0..PAGE).map(|i| format!("page/{i:020}")).collect();
        let body = bytes(1, 1);
        let mut puts = Vec::with_capacity(PAGE);
        for name in &names {
            puts.push(self.create(name, &body));
        }
        let done: Vec<Outcome<ObjectKey>> = stream::iter(puts).buffer_unordered(AT_ONCE).collect().await;
        done.into_iter().collect::<Outcome<Vec<ObjectKey>>>()?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let found = self.names("", None).await?;
        ensure(found == names, || {
            format!("a listing of {PAGE} objects shows {}, or in wrong order", found.len())
        })?;
        let from = PAGE - 3;
        let (after, rest) = (names.get(from - 1).copied(), names.get(from..).unwrap_or_default());
        self.expect_names("page", after, rest).await
    }

    /// A page may have any length, but it goes on where the last one ended.
    async fn list_pages_join(self) -> Outcome {
        let names: Vec<String> = (0..AT_ONCE).map(|i| format!("{i:03}")).collect();
        for name in &names {
            self.create(name, &bytes(1, 1)).await?;
        }
        let (folder, mut after, mut found) = (self.folder("")?, None, Vec::new());
        loop {
            let page = self.backend.list_page(&folder, after.as_ref()).await?;
            ensure(page.objects.is_sorted_by(|a, b| a.key < b.key), || "a page is not in order".to_owned())?;
            let first = page.objects.first().map(|info| &info.key);
            ensure(after.as_ref().is_none_or(|after| first.is_none_or(|first| first > after)), || {
                format!("the page after {after:?} begins with {first:?}")
            })?;
            ensure(!page.more || first.is_some(), || {
                "a page without objects says that more follow".to_owned()
            })?;
            after = page.objects.last().map(|info| info.key.clone());
            found.extend(page.objects);
            if !page.more {
                break;
            }
        }
        let expected: Vec<ObjectKey> = names.iter().map(|name| self.key(name)).collect::<Outcome<_>>()?;
        ensure(found.iter().map(|info| &info.key).eq(&expected), || {
            format!("the pages of {AT_ONCE} objects show {} or others", found.len())
        })
    }

    async fn list_starts_after(self) -> Outcome {
        let names = ["a", "b/1", "b/2", "b/3", "c"];
        self.create_all(&names).await?;
        self.expect_names("", Some("a"), &["b/1", "b/2", "b/3", "c"]).await?;
        self.expect_names("", Some("a0"), &["b/1", "b/2", "b/3", "c"]).await?;
        self.expect_names("", Some("b/2"), &["b/3", "c"]).await?;
        self.expect_names("", Some("b/25"), &["b/3", "c"]).await?;
        self.expect_names("", Some("b/30"), &["c"]).await?;
        self.expect_names("b", Some("a"), &["b/1", "b/2", "b/3"]).await?;
        self.expect_names("b", Some("b/1"), &["b/2", "b/3"]).await?;
        self.expect_names("b", Some("b/3"), &[]).await?;
        self.expect_names("", Some("c"), &[]).await
    }

    async fn list_stays_in_its_folder(self) -> Outcome {
        self.create_all(&["a/1", "ab/1", "a-b/1", "b/a/1"]).await?;
        self.expect_names("a", None, &["a/1"]).await?;
        self.expect_names("missing", None, &[]).await
    }

    async fn list_shows_at_once(self) -> Outcome {
        for name in ["a", "b", "c"] {
            let key = self.create(name, &bytes(1, 1)).await?;
            ensure(self.names("", None).await? == [name], || {
                format!("a listing right after the create of `{name}` does not show it alone")
            })?;
            self.backend.delete(&key).await?;
            let left = self.names("", None).await?;
            ensure(left.is_empty(), || {
                format!("a listing right after the delete of `{name}` shows {left:?}")
            })?;
        }
        Ok(())
    }

    async fn list_folders_names_folders(self) -> Outcome {
        self.create_all(&["top", "b/1", "b/2", "a/x/y/z", "a-b/1", "c/1"]).await?;
        for (folder, names) in
            [("", &["a", "a-b", "b", "c"][..]), ("a", &["x"]), ("b", &[]), ("missing", &[])]
        {
            let found = self.backend.list_folders(&self.folder(folder)?).await?;
            ensure(found == names, || format!("the folders of `{folder}` are {found:?}, not {names:?}"))?;
        }
        Ok(())
    }

    async fn delete_removes_one(self) -> Outcome {
        self.create_all(&["a", "a-b", "ab", "b/1", "b/2"]).await?;
        self.backend.delete(&self.key("a")?).await?;
        self.backend.delete(&self.key("b/1")?).await?;
        ensure_kind(self.backend.get(&self.key("a")?).await, ErrorKind::NotFound, "get of a deleted object")?;
        self.expect_names("", None, &["a-b", "ab", "b/2"]).await
    }

    async fn delete_of_missing_is_no_error(self) -> Outcome {
        let key = self.create("a/b", &bytes(1, 1)).await?;
        for name in ["missing", "a/missing", "x/y/z", "a"] {
            self.backend.delete(&self.key(name)?).await?;
        }
        self.expect(&key, &bytes(1, 1), "after deletes of other names").await
    }

    async fn keys_keep_every_character(self) -> Outcome {
        let every = "0123456789-ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz.~~41~7e";
        let long = "l".repeat(200);
        for (seed, name) in [every, &format!("{every}/{every}"), &long].into_iter().enumerate() {
            let name = format!("{seed}/{name}");
            let key = self.create(&name, &bytes(9, seed)).await?;
            self.expect(&key, &bytes(9, seed), "after a create").await?;
            self.expect_names(&seed.to_string(), None, &[&name]).await?;
        }
        Ok(())
    }
}
