//! The contract of [`StorageBackend`], as checks for authors of backends.
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
//! `LocalBackend` does in its source. Nor can a check that takes seconds prove that a race never has two winners: run
//! it often.

mod case;
mod listings;
mod puts;
mod reads;

use std::fmt;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};

use self::case::{Broken, Case, CheckResult, ensure};
use super::{ObjectKey, ObjectPrefix, StorageBackend};
use crate::env::Env;
use crate::error::{Error, Result};

/// A clause of the contract that a backend broke.
///
/// ```
/// use std::sync::Arc;
/// use elacsym::env::Env;
/// use elacsym::storage::{MemoryBackend, conformance};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// if let Err(violations) = conformance::check(Arc::new(MemoryBackend::new()), &Env::current()?).await {
///     for violation in &violations {
///         eprintln!("{}: {}", violation.check, violation.why);
///     }
///     panic!("{} clauses of the contract are broken", violations.len());
/// }
/// # Ok(()) }
/// ```
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

/// Runs every check, one after the other. It writes about 2,200 small objects and two of 6 MiB in a folder of its own,
/// so the store need not be empty, and deletes them at the end.
///
/// # Errors
/// All clauses of the contract that the backend broke.
pub async fn check(backend: Arc<dyn StorageBackend>, env: &Env) -> std::result::Result<(), Vec<Violation>> {
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

/// Runs the probe that opens a database on a store that holds none. It has fewer checks, and leaves a `STORE` object
/// behind.
///
/// # Errors
/// [`ErrorKind::UnsupportedStore`](crate::ErrorKind::UnsupportedStore) names the check that the store failed. Other
/// kinds are errors of the backend.
pub async fn probe(backend: &Arc<dyn StorageBackend>, env: &Env) -> Result<()> {
    super::open_store(backend, env, None).await.map(|_| ())
}

type CheckFn = fn(Case) -> BoxFuture<'static, CheckResult>;

const CHECKS: [(&str, CheckFn); 27] = [
    ("create_is_read_back", |c| c.create_is_read_back().boxed()),
    ("create_refuses_what_exists", |c| c.create_refuses_what_exists().boxed()),
    ("create_has_one_winner", |c| c.create_has_one_winner().boxed()),
    ("create_after_delete", |c| c.create_after_delete().boxed()),
    ("create_after_a_miss", |c| c.create_after_a_miss().boxed()),
    ("overwrite_replaces_whole", |c| c.overwrite_replaces_whole().boxed()),
    ("overwrite_is_atomic", |c| c.overwrite_is_atomic().boxed()),
    ("parts_are_joined", |c| c.parts_are_joined().boxed()),
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
    ("delete_many_removes_all", |c| c.delete_many_removes_all().boxed()),
    ("delete_many_spans_requests", |c| c.delete_many_spans_requests().boxed()),
    ("keys_keep_every_character", |c| c.keys_keep_every_character().boxed()),
];

struct Suite {
    backend: Arc<dyn StorageBackend>,
    root: String,
}

impl Suite {
    fn case(&self, check: &str) -> Case {
        Case { backend: Arc::clone(&self.backend), root: format!("{}/{check}", self.root) }
    }

    async fn clean_up(&self) -> CheckResult {
        let root = ObjectPrefix::folder(&ObjectKey::new(self.root.as_str())?);
        let left = self.backend.list(&root, None).await?;
        let keys: Vec<ObjectKey> = left.into_iter().map(|info| info.key).collect();
        self.backend.delete_many(&keys).await.map_err(Error::from)?;
        let left = self.backend.list(&root, None).await?.len();
        ensure(left == 0, || format!("{left} objects are listed after they were deleted"))
    }
}
