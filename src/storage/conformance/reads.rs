//! Checks of gets, ranges and heads.

use super::case::{Case, CheckResult, ensure, ensure_kind, test_bytes};
use crate::error::ErrorKind;
use crate::storage::{ObjectInfo, PutMode};

impl Case {
    pub(super) async fn missing_is_not_found(self) -> CheckResult {
        self.create_object("a/there", &test_bytes(1, 1)).await?;
        // `a` is a folder of a local store, which is not an object.
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

    pub(super) async fn bounded_get_refuses_what_is_larger(self) -> CheckResult {
        let body = test_bytes(1000, 1);
        let key = self.create_object("a", &body).await?;
        for enough in [1000, 1001, u64::MAX] {
            let found = self.backend.get_bounded(&key, enough).await?;
            ensure(found == body, || {
                format!("an object of 1000 bytes, of at most {enough}, is not read whole")
            })?;
        }
        // Zero too: a backend may take it for "no limit".
        for less in [999, 1, 0] {
            let what = format!("an object of 1000 bytes where {less} are allowed");
            ensure_kind(self.backend.get_bounded(&key, less).await, ErrorKind::Corrupt, &what)?;
        }
        let missing = self.backend.get_bounded(&self.key("missing")?, 10).await;
        ensure_kind(missing, ErrorKind::NotFound, "a bounded get of a missing object")
    }

    pub(super) async fn range_is_exact(self) -> CheckResult {
        let body = test_bytes(1000, 1);
        let key = self.create_object("a", &body).await?;
        for range in [0..1, 0..1000, 999..1000, 250..750, 0..0, 500..500, 1000..1000] {
            self.expect_range(&key, &body, range).await?;
        }
        Ok(())
    }

    pub(super) async fn range_past_the_end_is_corrupt(self) -> CheckResult {
        let key = self.create_object("a", &test_bytes(1000, 1)).await?;
        #[expect(clippy::reversed_empty_ranges, reason = "the last one is to be refused")]
        let ranges = [999..1001, 0..2000, 1000..1001, 5000..6000, 5000..5000, 9..3];
        for range in ranges {
            let what = format!("range {range:?} of 1000 bytes");
            ensure_kind(self.backend.get_range(&key, range).await, ErrorKind::Corrupt, &what)?;
        }
        Ok(())
    }

    pub(super) async fn head_tells_size_and_time(self) -> CheckResult {
        let key = self.create_object("a", &test_bytes(1234, 1)).await?;
        let before = self.backend.head(&key).await?;
        ensure(before.key == key && before.size == 1234, || format!("head tells {before:?}"))?;
        let listed = self.backend.list(&self.prefix("")?, None).await?;
        // Listings of some stores truncate the time to seconds.
        let same = |info: &ObjectInfo| {
            info.key == key && info.size == 1234 && info.modified_ms.abs_diff(before.modified_ms) <= 1000
        };
        ensure(listed.iter().all(same), || format!("head tells {before:?}, but a listing {listed:?}"))?;
        self.backend.put(&key, test_bytes(5, 2).into(), PutMode::Overwrite).await?;
        let after = self.backend.head(&key).await?;
        ensure(after.size == 5, || format!("after an overwrite head tells {after:?}"))?;
        ensure(after.modified_ms >= before.modified_ms, || "an overwrite set the time back".to_owned())
    }
}
