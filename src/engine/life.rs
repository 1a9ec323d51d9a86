//! Lives of a name: which is the newest, how one begins, how one ends.

use bytes::Bytes;

use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{Closed, LifeRecord};
use crate::schema::Schema;
use crate::storage::{LifeKeys, NamespaceKeys, PutMode};
use crate::types::{NamespaceName, Sequence};

/// How often a put without a clear answer is sent.
const ATTEMPTS: usize = 6;

/// The number of the newest life of a name, if it ever had one.
pub(crate) async fn find_life(context: &Context, names: &NamespaceKeys) -> Result<Option<u32>> {
    let folders = context.backend.list_folders(names.lives()).await?;
    Ok(folders.iter().filter_map(|folder| NamespaceKeys::life_of(folder)).max())
}

/// The names in use, ascending.
pub(crate) async fn lives(context: &Context) -> Result<Vec<NamespaceName>> {
    use crate::storage::DatabaseKeys;
    use futures::{StreamExt, TryStreamExt, stream};
    let folders = context.backend.list_folders(&DatabaseKeys::namespaces()).await?;
    // Collected: a borrowing iterator held across an await would make the future of a caller not `Send`.
    let names: Vec<_> = folders.iter().filter_map(|folder| DatabaseKeys::namespace_of(folder)).collect();
    let open = |name: NamespaceName| async move {
        let names = NamespaceKeys::new(&name);
        let Some(life) = find_life(context, &names).await? else { return Ok::<_, Error>(None) };
        Ok(read(context, &names.life(life).closed()).await?.is_none().then_some(name))
    };
    let found: Vec<Option<NamespaceName>> = stream::iter(names).map(open).buffered(16).try_collect().await?;
    let mut open: Vec<NamespaceName> = found.into_iter().flatten().collect();
    open.sort_unstable();
    Ok(open)
}

/// The object's bytes, or `None` if there is none.
pub(super) async fn read(context: &Context, key: &crate::storage::ObjectKey) -> Result<Option<Bytes>> {
    match context.backend.get(key).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.is(ErrorKind::NotFound) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Begins the life `number` of a name. Another's life at that number is `AlreadyExists`.
pub(crate) async fn create_life(
    context: &Context,
    name: &NamespaceName,
    number: u32,
    schema: Schema,
) -> Result<LifeRecord> {
    let env = &context.env;
    let record = LifeRecord::new(name.as_str(), number, env.uuid(), schema, env.wall_ms());
    let key = NamespaceKeys::new(name).life(number).open();
    let bytes = record.encode().map_err(|e| e.at(&key))?;
    let taken = || Error::new(ErrorKind::AlreadyExists, format!("the namespace exists. name=`{name}`"));
    match create(context, &key, bytes).await? {
        None => Ok(record),
        Some(found) => {
            let found = LifeRecord::decode(&found).map_err(|e| e.at(&key))?;
            if found.id == record.id { Ok(record) } else { Err(taken()) }
        }
    }
}

/// Marks a sealed life as closed, so that a listing tells. Another may have done so.
pub(crate) async fn close_life(context: &Context, keys: &LifeKeys, sealed: Sequence) -> Result<()> {
    let key = keys.closed();
    let bytes = Closed { sealed }.encode().map_err(|e| e.at(&key))?;
    create(context, &key, bytes).await.map(drop)
}

/// Puts an object if it is absent. After an unclean answer the object is read back and returned, whoever
/// wrote it.
async fn create(context: &Context, key: &crate::storage::ObjectKey, bytes: Bytes) -> Result<Option<Bytes>> {
    let mut last = Error::internal("no attempt was made");
    let mut pause = std::time::Duration::from_millis(20);
    for first in std::iter::once(true).chain(std::iter::repeat_n(false, ATTEMPTS)) {
        match context.backend.put(key, bytes.clone(), PutMode::Create).await {
            Ok(()) => return Ok(None),
            Err(e) if e.is(ErrorKind::PermissionDenied) && first => return Err(e),
            Err(e) => last = e,
        }
        if let Some(found) = read(context, key).await? {
            return Ok(Some(found));
        }
        context.env.sleep(pause + context.env.jitter(pause)).await;
        pause *= 2;
    }
    // A request may still be on its way.
    Err(Error::new(ErrorKind::Indeterminate, format!("the object may or may not be written: {last}")))
}
