//! Lives of a name: which is the newest, how one begins, how one ends.

use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{Closed, LifeRecord};
use crate::schema::Schema;
use crate::storage::{Created, LifeKeys, NamespaceKeys, ObjectKey, create_whole, read_whole};
use crate::types::{NamespaceName, Sequence};
use futures::future::BoxFuture;

/// The number of the newest life of a name, if it ever had one.
pub(crate) fn find_life<'a>(
    context: &'a Context,
    names: &'a NamespaceKeys,
) -> BoxFuture<'a, Result<Option<u32>>> {
    Box::pin(async move {
        let folders = context.backend.list_folders(names.lives()).await?;
        Ok(folders.iter().filter_map(|folder| NamespaceKeys::life_of(folder)).max())
    })
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
            let Some(life) = find_life(context, &names).await? else { return Ok::<_, Error>(None) };
            let closed = read_whole(&context.backend, &names.life(life).closed(), |_| Ok(())).await?;
            Ok(closed.is_none().then_some(name))
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
        match create_whole(env, &context.backend, &key, bytes, |bytes| LifeRecord::decode(bytes)).await? {
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
