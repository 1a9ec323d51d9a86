//! Lives of a name: which is the newest, how one begins, how one ends.

use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{CLOSED_BYTES_MAX, Closed, LIFE_BYTES_MAX, LifeRecord};
use crate::schema::Schema;
use crate::storage::{Created, LifeKeys, NamespaceKeys, ObjectKey, create_whole};
use crate::types::{NamespaceName, Sequence};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::try_join;

/// The numbers of the lives that a name has folders of, the newest first. One without OPEN is none: whoever may
/// write to the store could make such a folder.
pub(crate) fn find_lives<'a>(
    context: &'a Context,
    names: &'a NamespaceKeys,
) -> BoxFuture<'a, Result<Vec<u32>>> {
    Box::pin(async move {
        let folders = context.backend.list_folders(names.lives()).await?;
        let mut lives: Vec<u32> =
            folders.iter().filter_map(|folder| NamespaceKeys::life_of(folder)).collect();
        lives.sort_unstable_by(|a, b| b.cmp(a));
        lives.dedup();
        Ok(lives)
    })
}

/// The number of the next life of a name that has folders of these, the newest first: one that has none.
pub(crate) async fn next_life(context: &Context, names: &NamespaceKeys, lives: &[u32]) -> Result<u32> {
    let mut next = 1;
    for life in lives {
        if exists(context, &names.life(*life).open()).await? {
            next = life.checked_add(1).ok_or_else(|| Error::limit("a name has no more lives"))?;
            break;
        }
    }
    let free = (next..=u32::MAX).find(|life| !lives.contains(life));
    free.ok_or_else(|| Error::limit("a name has no more lives"))
}

async fn exists(context: &Context, key: &ObjectKey) -> Result<bool> {
    match context.backend.head(key).await {
        Ok(_) => Ok(true),
        Err(e) if e.is(ErrorKind::NotFound) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Whether the newest life of a name goes on.
async fn lives_on(context: &Context, names: &NamespaceKeys) -> Result<bool> {
    for life in find_lives(context, names).await? {
        let keys = names.life(life);
        let (open, closed) = (keys.open(), keys.closed());
        let (open, closed) = try_join!(exists(context, &open), exists(context, &closed))?;
        if open {
            return Ok(!closed);
        }
    }
    Ok(false)
}

/// The names in use, ascending.
pub(crate) fn lives(context: &Context) -> BoxFuture<'_, Result<Vec<NamespaceName>>> {
    Box::pin(async move {
        use crate::storage::DatabaseKeys;
        use futures::{StreamExt, TryStreamExt, stream};
        let folders = context.backend.list_folders(&DatabaseKeys::namespaces()).await?;
        // Collected: a borrowing iterator held across an await would make the future of a caller not `Send`.
        let names: Vec<_> = folders.iter().filter_map(|folder| DatabaseKeys::namespace_of(folder)).collect();
        let open = |name: NamespaceName| async move {
            let names = NamespaceKeys::new(&name);
            Ok::<_, Error>(lives_on(context, &names).await?.then_some(name))
        };
        let found: Vec<Option<NamespaceName>> =
            stream::iter(names).map(open).buffered(16).try_collect().await?;
        let mut open: Vec<NamespaceName> = found.into_iter().flatten().collect();
        open.sort_unstable();
        Ok(open)
    })
}

/// Begins the life `number` of a name. Another's life at that number is `AlreadyExists`.
pub(crate) fn create_life<'a>(
    context: &'a Context,
    name: &'a NamespaceName,
    number: u32,
    schema: Schema,
) -> BoxFuture<'a, Result<LifeRecord>> {
    Box::pin(async move {
        let env = &context.env;
        let record = LifeRecord::new(name.as_str(), number, env.uuid(), schema, env.wall_ms());
        let key = NamespaceKeys::new(name).life(number).open();
        let bytes = record.encode().map_err(|e| e.at(&key))?;
        let taken = || Error::new(ErrorKind::AlreadyExists, format!("the namespace exists. name=`{name}`"));
        let (bytes, decode) = ((bytes, LIFE_BYTES_MAX), |bytes: &Bytes| LifeRecord::decode(bytes));
        match create_whole(env, &context.backend, &key, bytes, decode).await? {
            Created::Written => Ok(record),
            Created::Found(found) if found.id == record.id => Ok(record),
            Created::Found(_) => Err(taken()),
            Created::Unknown(error) => Err(unknown(&key, &error)),
        }
    })
}

/// Marks a sealed life as closed, so that a listing tells. Another may have done so.
pub(crate) async fn close_life(context: &Context, keys: &LifeKeys, sealed: Sequence) -> Result<()> {
    let key = keys.closed();
    let bytes = Closed { sealed }.encode().map_err(|e| e.at(&key))?;
    // Whoever wrote it, and whatever it holds: that it is there says all.
    let bytes = (bytes, CLOSED_BYTES_MAX);
    match create_whole(&context.env, &context.backend, &key, bytes, |_| Ok(())).await? {
        Created::Written | Created::Found(()) => Ok(()),
        Created::Unknown(error) => Err(unknown(&key, &error)),
    }
}

fn unknown(key: &ObjectKey, cause: &Error) -> Error {
    Error::new(
        ErrorKind::Indeterminate,
        format!("the object may or may not be written: {cause}. key=`{key}`"),
    )
}
