//! Decoded objects in use, each decoded once however many parts of the crate hold it.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::storage::ObjectKey;

type ObjectMap = HashMap<ObjectKey, Weak<dyn Any + Send + Sync>>;

/// Decoded objects by key, as long as somebody holds them. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct SharedObjects(Arc<Mutex<ObjectMap>>);

impl SharedObjects {
    /// The object of a key, if it is in use.
    pub(crate) fn get<T: Any + Send + Sync>(&self, key: &ObjectKey) -> Option<Arc<T>> {
        self.lock().get(key)?.upgrade()?.downcast().ok()
    }

    /// Registers a decoded object, unless the key has one already. Returns the one to use, so that all who decode an
    /// object at the same time end up with the same.
    pub(crate) fn get_or_insert<T: Any + Send + Sync>(&self, key: ObjectKey, object: Arc<T>) -> Arc<T> {
        let mut objects = self.lock();
        let present = objects.get(&key).and_then(Weak::upgrade).and_then(|present| present.downcast().ok());
        if let Some(present) = present {
            return present;
        }
        // Swept here rather than by a `Drop` of the objects: there are a few per namespace, and a sweep per decode
        // costs nothing next to the decode.
        objects.retain(|_, object| object.strong_count() > 0);
        let erased: Arc<dyn Any + Send + Sync> = Arc::<T>::clone(&object);
        objects.insert(key, Arc::downgrade(&erased));
        object
    }

    fn lock(&self) -> MutexGuard<'_, ObjectMap> {
        // Every change is one call on the map: a panic elsewhere leaves it sound.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SharedObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedObjects({} objects)", self.lock().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_known_while_it_is_held() {
        let (shared, key) = (SharedObjects::default(), ObjectKey::new("a").unwrap());
        let object = shared.get_or_insert(key.clone(), Arc::new(7_u32));
        let second = shared.get_or_insert(key.clone(), Arc::new(7_u32));
        assert!(Arc::ptr_eq(&object, &second), "what was first is what all hold");
        drop(second);
        assert_eq!(shared.clone().get::<u32>(&key).as_deref(), Some(&7));
        assert!(shared.get::<u64>(&key).is_none(), "of another type");
        drop(object);
        assert!(shared.get::<u32>(&key).is_none());
        drop(shared.get_or_insert(ObjectKey::new("b").unwrap(), Arc::new(8_u32)));
        assert_eq!(format!("{shared:?}"), "SharedObjects(1 objects)");
    }
}
