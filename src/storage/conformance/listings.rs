//! Checks of listings.

use super::case::{Case, CheckResult, PAGED_OBJECTS, PARALLEL_REQUESTS, ensure, test_bytes};
use crate::storage::ObjectKey;

impl Case {
    pub(super) async fn list_is_sorted_and_whole(self) -> CheckResult {
        // By bytes: `-` and `.` come before `/`, digits and letters after it; capitals before small letters.
        let mut names =
            ["b", "a0", "a/x", "a-b/x", "a.b", "a/xx/y.z", "Z", "a_b", "a~b", "0", "a/x-1/z", "c/d/e/f"];
        self.create_objects(&names).await?;
        names.sort_unstable();
        self.expect_names("", None, &names).await
    }

    pub(super) async fn list_spans_pages(self) -> CheckResult {
        let names: Vec<String> = (0..PAGED_OBJECTS).map(|i| format!("page/{i:020}")).collect();
        self.create_many(&names).await?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let found = self.list_names("", None).await?;
        ensure(found == names, || {
            format!("a listing of {PAGED_OBJECTS} objects shows {}, or in wrong order", found.len())
        })?;
        // The rest after an offset near the end of the first page.
        let (before, rest) = names.split_at(PAGED_OBJECTS - 3);
        self.expect_names("page", before.last().copied(), rest).await
    }

    /// A page may have any length, but it goes on where the last one ended.
    pub(super) async fn list_pages_join(self) -> CheckResult {
        let names: Vec<String> = (0..PARALLEL_REQUESTS).map(|i| format!("{i:03}")).collect();
        for name in &names {
            self.create_object(name, &test_bytes(1, 1)).await?;
        }
        let (folder, mut after, mut found) = (self.prefix("")?, None, Vec::new());
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
        let expected: Vec<ObjectKey> = names.iter().map(|name| self.key(name)).collect::<CheckResult<_>>()?;
        ensure(found.iter().map(|info| &info.key).eq(&expected), || {
            format!("the pages of {PARALLEL_REQUESTS} objects show {} or others", found.len())
        })
    }

    pub(super) async fn list_starts_after(self) -> CheckResult {
        let names = ["a", "b/1", "b/2", "b/3", "c"];
        self.create_objects(&names).await?;
        self.expect_names("", Some("a"), &["b/1", "b/2", "b/3", "c"]).await?;
        // After names that do not exist, before and after all of a folder.
        self.expect_names("", Some("a0"), &["b/1", "b/2", "b/3", "c"]).await?;
        self.expect_names("", Some("b/2"), &["b/3", "c"]).await?;
        self.expect_names("", Some("b/25"), &["b/3", "c"]).await?;
        self.expect_names("", Some("b/30"), &["c"]).await?;
        self.expect_names("b", Some("a"), &["b/1", "b/2", "b/3"]).await?;
        self.expect_names("b", Some("b/1"), &["b/2", "b/3"]).await?;
        self.expect_names("b", Some("b/3"), &[]).await?;
        self.expect_names("", Some("c"), &[]).await
    }

    pub(super) async fn list_stays_in_its_folder(self) -> CheckResult {
        // Names that begin with the folder's own without its `/`.
        self.create_objects(&["a/1", "ab/1", "a-b/1", "b/a/1"]).await?;
        self.expect_names("a", None, &["a/1"]).await?;
        self.expect_names("missing", None, &[]).await
    }

    pub(super) async fn list_shows_at_once(self) -> CheckResult {
        // Three times, since an eventually consistent store is often up to date.
        for name in ["a", "b", "c"] {
            let key = self.create_object(name, &test_bytes(1, 1)).await?;
            ensure(self.list_names("", None).await? == [name], || {
                format!("a listing right after the create of `{name}` does not show it alone")
            })?;
            self.backend.delete(&key).await?;
            let left = self.list_names("", None).await?;
            ensure(left.is_empty(), || {
                format!("a listing right after the delete of `{name}` shows {left:?}")
            })?;
        }
        Ok(())
    }

    pub(super) async fn list_folders_names_folders(self) -> CheckResult {
        self.create_objects(&["top", "b/1", "b/2", "a/x/y/z", "a-b/1", "c/1"]).await?;
        for (folder, names) in
            [("", &["a", "a-b", "b", "c"][..]), ("a", &["x"]), ("b", &[]), ("missing", &[])]
        {
            let found = self.backend.list_folders(&self.prefix(folder)?).await?;
            ensure(found == names, || format!("the folders of `{folder}` are {found:?}, not {names:?}"))?;
        }
        Ok(())
    }
}
