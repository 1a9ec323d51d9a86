//! Incarnations of a name: which is the newest, how one begins, how one ends.

use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{CLOSED_BYTES_MAX, Closed, Incarnation, OPEN_BYTES_MAX};
use crate::schema::Schema;
use crate::storage::{Created, IncarnationKeys, NamespaceKeys, ObjectKey, create_whole};
use crate::types::{NamespaceName, Sequence};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::try_join;

/// The numbers of the incarnations that a name has folders of, the newest first. One without OPEN is none: whoever may
/// write to the store could make such a folder.
pub(crate) fn list_incarnations<'a>(
    context: &'a Context,
    names: &'a NamespaceKeys,
) -> BoxFuture<'a, Result<Vec<u32>>> {
    Box::pin(async move {
        let folders = context.backend.list_folders(names.incarnations()).await?;
        let mut incarnations: Vec<u32> =
            folders.iter().filter_map(|folder| NamespaceKeys::incarnation_number(folder)).collect();
        incarnations.sort_unstable_by(|a, b| b.cmp(a));
        incarnations.dedup();
        Ok(incarnations)
    })
}

/// The number of the next incarnation of a name that has folders of these, the newest first: one that has none.
pub(crate) async fn find_free_incarnation(
    context: &Context,
    names: &NamespaceKeys,
    incarnations: &[u32],
) -> Result<u32> {
    let mut next = 1;
    for incarnation in incarnations {
        if exists(context, &names.incarnation(*incarnation).open()).await? {
            next =
                incarnation.checked_add(1).ok_or_else(|| Error::limit("a name has no more incarnations"))?;
            break;
        }
    }
    let free = (next..=u32::MAX).find(|incarnation| !incarnations.contains(incarnation));
    free.ok_or_else(|| Error::limit("a name has no more incarnations"))
}

async fn exists(context: &Context, key: &ObjectKey) -> Result<bool> {
    match context.backend.head(key).await {
        Ok(_) => Ok(true),
        Err(e) if e.is(ErrorKind::NotFound) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Whether the newest incarnation of a name goes on.
async fn is_name_in_use(context: &Context, names: &NamespaceKeys) -> Result<bool> {
    for incarnation in list_incarnations(context, names).await? {
        let keys = names.incarnation(incarnation);
        let (open, closed) = (keys.open(), keys.closed());
        let (open, closed) = try_join!(exists(context, &open), exists(context, &closed))?;
        if open {
            return Ok(!closed);
        }
    }
    Ok(false)
}

/// The names in use, ascending.
pub(crate) fn list_names(context: &Context) -> BoxFuture<'_, Result<Vec<NamespaceName>>> {
    Box::pin(async move {
        use crate::storage::DatabaseKeys;
        use futures::{StreamExt, TryStreamExt, stream};
        let folders = context.backend.list_folders(&DatabaseKeys::namespaces()).await?;
        // Collected: a borrowing iterator held across an await would make the future of a caller not `Send`.
        let names: Vec<_> = folders.iter().filter_map(|folder| DatabaseKeys::namespace_of(folder)).collect();
        let open = |name: NamespaceName| async move {
            let names = NamespaceKeys::new(&name);
            Ok::<_, Error>(is_name_in_use(context, &names).await?.then_some(name))
        };
        let found: Vec<Option<NamespaceName>> =
            stream::iter(names).map(open).buffered(16).try_collect().await?;
        let mut open: Vec<NamespaceName> = found.into_iter().flatten().collect();
        open.sort_unstable();
        Ok(open)
    })
}

/// Begins the incarnation `number` of a name. Another's incarnation at that number is `AlreadyExists`.
pub(crate) fn create_incarnation<'a>(
    context: &'a Context,
    name: &'a NamespaceName,
    number: u32,
    schema: Schema,
) -> BoxFuture<'a, Result<Incarnation>> {
    Box::pin(async move {
        let env = &context.env;
        let record = Incarnation::new(name.as_str(), number, env.uuid(), schema, env.wall_ms());
        let key = NamespaceKeys::new(name).incarnation(number).open();
        let bytes = record.encode().map_err(|e| e.at(&key))?;
        let taken = || Error::new(ErrorKind::AlreadyExists, format!("the namespace exists. name=`{name}`"));
        let (bytes, decode) = ((bytes, OPEN_BYTES_MAX), |bytes: &Bytes| Incarnation::decode(bytes));
        match create_whole(env, &context.backend, &key, bytes, decode).await? {
            Created::Written => Ok(record),
            Created::Found(found) if found.id == record.id => Ok(record),
            Created::Found(_) => Err(taken()),
            Created::Unknown(error) => Err(unknown(&key, &error)),
        }
    })
}

/// Marks a sealed incarnation as closed, so that a listing tells. Another may have done so.
pub(crate) async fn mark_closed(context: &Context, keys: &IncarnationKeys, sealed: Sequence) -> Result<()> {
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
