//! Decoded objects that are in use: decoded once, however many parts of the crate hold them.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::storage::ObjectKey;

/// Objects by their keys, as long as somebody holds them. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<HashMap<ObjectKey, Weak<dyn Any + Send + Sync>>>>);

impl Shared {
    /// The object of a key, if it is in use.
    pub(crate) fn get<T: Any + Send + Sync>(&self, key: &ObjectKey) -> Option<Arc<T>> {
        let objects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        objects.get(key)?.upgrade()?.downcast().ok()
    }

    /// Makes an object known to others, unless there is one already: that is the one to use, so that all who decode an
    /// object at the same time come to hold the same.
    pub(crate) fn keep<T: Any + Send + Sync>(&self, key: ObjectKey, object: Arc<T>) -> Arc<T> {
        let mut objects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = objects.get(&key).and_then(Weak::upgrade).and_then(|there| there.downcast().ok())
        {
            return there;
        }
        objects.retain(|_, object| object.strong_count() > 0);
        let known: Arc<dyn Any + Send + Sync> = Arc::<T>::clone(&object);
        objects.insert(key, Arc::downgrade(&known));
        object
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let objects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        write!(f, "Shared({} objects)", objects.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_known_while_it_is_held() {
        let (shared, key) = (Shared::default(), ObjectKey::new("a").unwrap());
        let object = shared.keep(key.clone(), Arc::new(7_u32));
        let second = shared.keep(key.clone(), Arc::new(7_u32));
        assert!(Arc::ptr_eq(&object, &second), "what was first is what all hold");
        drop(second);
        assert_eq!(shared.clone().get::<u32>(&key).as_deref(), Some(&7));
        assert!(shared.get::<u64>(&key).is_none(), "of another type");
        drop(object);
        assert!(shared.get::<u32>(&key).is_none());
        drop(shared.keep(ObjectKey::new("b").unwrap(), Arc::new(8_u32)));
        assert_eq!(format!("{shared:?}"), "Shared(1 objects)");
    }
}
