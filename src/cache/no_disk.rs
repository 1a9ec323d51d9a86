//! The disk tier of a build without the feature `disk-cache`: an empty type, so that the other tiers need no `cfg`.

use bytes::Bytes;

use super::block::BlockKey;

/// Cannot be constructed.
pub(super) enum Disk {}

impl Disk {
    pub(super) fn get(&self, _: &BlockKey) -> std::future::Ready<Option<Bytes>> {
        match *self {}
    }

    pub(super) fn accepts(&self, _: usize) -> bool {
        match *self {}
    }

    pub(super) fn put(&self, _: &BlockKey, _: Bytes) {
        match *self {}
    }

    pub(super) fn close(&self) -> std::future::Ready<()> {
        match *self {}
    }
}
