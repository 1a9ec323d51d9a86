//! Backends and servers that are wrong on purpose: the probe names what is wrong, and the suite finds it too.

use elacsym::env::Env;
use elacsym::storage::conformance;
use elacsym::{ErrorKind, Result};

use crate::broken::{Broken, Fault};

/// What is wrong, the check of the suite that finds it, and what the probe says.
const WRONG: [(Fault, &str, &str); 19] = [
    (Fault::IgnoresCreate, "create_refuses_what_exists", "a second create-only put of one object succeeds"),
    (Fault::LosersSucceed, "create_refuses_what_exists", "a second create-only put of one object succeeds"),
    (Fault::RacesCreate, "create_has_one_winner", "several create-only puts of one object succeed at once"),
    (
        Fault::RacingLosersSucceed,
        "create_has_one_winner",
        "several create-only puts of one object succeed at once",
    ),
    (Fault::LosesWrites, "create_is_read_back", "an object that was just created is not there"),
    (
        Fault::IgnoresOverwrite,
        "overwrite_replaces_whole",
        "an overwritten object does not hold what was written last",
    ),
    (Fault::CutsBodies, "create_is_read_back", "does not hold what was written"),
    (
        Fault::CachesBodies,
        "overwrite_replaces_whole",
        "an overwritten object does not hold what was written last",
    ),
    (Fault::CachesMisses, "create_after_a_miss", "an object that was just created is not there"),
    (Fault::CutsRanges, "range_is_exact", "a range of an object is not the bytes asked for"),
    (Fault::IgnoresRanges, "range_is_exact", "a range of an object is not the bytes asked for"),
    (Fault::ListsUnsorted, "list_is_sorted_and_whole", "a listing is not in order"),
    (Fault::ListsLate, "list_shows_at_once", "a listing does not show what was just written or deleted"),
    (Fault::ListsAfterInclusive, "list_starts_after", "a listing that starts after a name is wrong"),
    (Fault::RepeatsPages, "list_pages_join", "begins before the end of the previous page"),
    (Fault::HidesFolders, "list_folders_names_folders", "a folder with objects is not among those listed"),
    (Fault::HeadsOtherSize, "head_tells_size_and_time", "the metadata of an object"),
    (Fault::MissingIsUnavailable, "missing_is_not_found", "it reports a missing object like an outage"),
    (Fault::DeletesNothing, "delete_removes_one", "a deleted object is still read"),
];

#[tokio::test]
async fn the_probe_names_what_is_wrong_and_the_suite_finds_it_too() -> Result<()> {
    let env = Env::current()?;
    for (fault, check, why) in WRONG {
        let violations = conformance::check(Broken::with_fault(fault), &env).await.unwrap_err();
        assert!(violations.iter().any(|v| v.check == check), "{fault:?}: {violations:?}");
        let refused = conformance::probe(&Broken::with_fault(fault), &env).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::UnsupportedStore, "{fault:?}: {refused}");
        assert!(refused.to_string().contains(why), "{fault:?}: {refused}");
    }
    // What an opener need not know, and does not look at.
    let violations = conformance::check(Broken::with_fault(Fault::IgnoresBounds), &env).await.unwrap_err();
    assert!(violations.iter().all(|v| v.check == "bounded_get_refuses_what_is_larger"), "{violations:?}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_not_called_an_unsupported_store() -> Result<()> {
    let env = Env::current()?;
    let error = conformance::probe(&Broken::with_fault(Fault::IsDown), &env).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    // Nor are answers that were lost, but a store that confirms no put is of no use, and is told from one that is down.
    for kind in [ErrorKind::Unavailable, ErrorKind::AlreadyExists] {
        let confirms_nothing = || Broken::with_fault(Fault::FailsAfterPut(kind));
        let violations = conformance::check(confirms_nothing(), &env).await.unwrap_err();
        assert!(violations.iter().any(|v| v.check == "create_is_read_back"), "{violations:?}");
        let error = conformance::probe(&confirms_nothing(), &env).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        let why = "a put is answered by an error although the object is written";
        assert!(error.to_string().contains(why), "{error}");
    }
    Ok(())
}

#[cfg(feature = "aws")]
mod servers {
    use std::sync::Arc;

    use elacsym::storage::StorageBackend;

    use super::*;
    use crate::wrong_server::{ServerFault, backend_over};

    const WRONG: [(ServerFault, &str); 12] = [
        (ServerFault::IgnoresIfNoneMatch, "a second create-only put of one object succeeds"),
        (ServerFault::LosersSucceed, "a second create-only put of one object succeeds"),
        (ServerFault::RacesIfNoneMatch, "several create-only puts of one object succeed at once"),
        (ServerFault::FailsAfterPut, "a put is answered by an error although the object is written"),
        (ServerFault::CachesReads, "an overwritten object does not hold what was written last"),
        (ServerFault::CutsBodies, "does not hold what was written"),
        (ServerFault::IgnoresRanges, "the store ignores the range of a request"),
        (ServerFault::ListsLate, "a listing does not show what was just written or deleted"),
        (ServerFault::ListsUnsorted, "the store does not list in order"),
        (ServerFault::RepeatsPages, "the store does not list in order"),
        (ServerFault::IgnoresDelimiter, "a folder with objects is not among those listed"),
        (ServerFault::DeletesNothing, "a deleted object is still read"),
    ];

    #[tokio::test(flavor = "multi_thread")]
    async fn the_probe_refuses_servers_that_are_wrong() -> Result<()> {
        let env = Env::current()?;
        for (fault, why) in WRONG {
            let backend: Arc<dyn StorageBackend> = Arc::new(backend_over(fault).await?);
            let refused = conformance::probe(&backend, &env).await.unwrap_err();
            let kind = match fault {
                ServerFault::FailsAfterPut => ErrorKind::Unavailable,
                _ => ErrorKind::UnsupportedStore,
            };
            assert_eq!(refused.kind(), kind, "{fault:?}: {refused}");
            assert!(refused.to_string().contains(why), "{fault:?}: {refused}");
        }
        Ok(())
    }

    /// The faults above are the only ones of the server, and the client for S3 keeps the contract.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_without_a_fault_keeps_the_contract() -> Result<()> {
        let (env, backend) = (Env::current()?, Arc::new(backend_over(ServerFault::None).await?));
        assert_eq!(conformance::check(backend.clone(), &env).await, Ok(()));
        conformance::probe(&(backend as Arc<dyn StorageBackend>), &env).await
    }
}

#[cfg(not(feature = "aws"))]
#[test]
fn the_probe_refuses_servers_that_are_wrong() {
    println!("skipped: the feature `aws` is not enabled");
}
