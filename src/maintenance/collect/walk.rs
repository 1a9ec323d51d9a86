//! The objects of an incarnation, page by page.

use crate::engine::Engine;
use crate::error::Result;
use crate::storage::{ObjectInfo, ObjectKey, check_ascends};

/// A listing of all objects of an incarnation.
pub(super) struct ObjectWalk<'a> {
    engine: &'a Engine,
    after: Option<ObjectKey>,
    is_done: bool,
}

impl<'a> ObjectWalk<'a> {
    pub(super) fn new(engine: &'a Engine) -> Self {
        Self { engine, after: None, is_done: false }
    }

    /// The next page, unless all have been read.
    pub(super) async fn next_page(&mut self) -> Result<Option<Vec<ObjectInfo>>> {
        if self.is_done {
            return Ok(None);
        }
        let prefix = self.engine.keys.prefix();
        let page = self.engine.context.backend.list_page(prefix, self.after.as_ref()).await?;
        if let Some(after) = &self.after {
            check_ascends(prefix, after, page.objects.first().map(|info| &info.key))?;
        }
        self.after = page.objects.last().map(|info| info.key.clone());
        // Some servers announce another page and send an empty one.
        self.is_done = !page.more || self.after.is_none();
        Ok(Some(page.objects))
    }
}
