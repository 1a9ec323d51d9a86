//! Incarnations of a name: which is the newest, how one begins, how one ends.

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream, try_join};

use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{CLOSED_BYTES_MAX, Closed, Incarnation, OPEN_BYTES_MAX};
use crate::schema::Schema;
use crate::storage::{CreateOutcome, DatabaseKeys, IncarnationKeys, NamespaceKeys, ObjectKey, create_object};
use crate::types::{NamespaceName, Sequence};

/// Names that are looked up at a time when all are listed.
const LISTED_NAMES: usize = 16;

/// The numbers of the incarnations that a name has folders of, the newest first. A folder without OPEN is not an
/// incarnation: anybody who may write to the store could make one.
pub(crate) fn list_incarnations<'a>(
    context: &'a Context,
    names: &'a NamespaceKeys,
) -> BoxFuture<'a, Result<Vec<u32>>> {
    Box::pin(async move {
        let folders = context.backend.list_folders(names.incarnations()).await?;
        let numbers = folders.iter().filter_map(|folder| NamespaceKeys::incarnation_number(folder));
        let mut numbers: Vec<u32> = numbers.collect();
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        numbers.dedup();
        Ok(numbers)
    })
}

/// The number of the next incarnation of a name that has these folders, the newest first: one without a folder.
pub(crate) async fn find_free_incarnation(
    context: &Context,
    names: &NamespaceKeys,
    numbers: &[u32],
) -> Result<u32> {
    let exhausted = || Error::limit("the name has been created too often");
    let mut next = 1;
    for number in numbers {
        if object_exists(context, &names.incarnation(*number).open()).await? {
            next = number.checked_add(1).ok_or_else(exhausted)?;
            break;
        }
    }
    // Folders above the newest incarnation are not ours. What lies in them must not become part of a new one.
    (next..=u32::MAX).find(|number| !numbers.contains(number)).ok_or_else(exhausted)
}

async fn object_exists(context: &Context, key: &ObjectKey) -> Result<bool> {
    match context.backend.head(key).await {
        Ok(_) => Ok(true),
        Err(e) if e.is(ErrorKind::NotFound) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Whether the newest incarnation of a name is not closed.
async fn is_name_in_use(context: &Context, names: &NamespaceKeys) -> Result<bool> {
    for number in list_incarnations(context, names).await? {
        let keys = names.incarnation(number);
        let (open, closed) = (keys.open(), keys.closed());
        let (open, closed) = try_join!(object_exists(context, &open), object_exists(context, &closed))?;
        if open {
            return Ok(!closed);
        }
    }
    Ok(false)
}

/// The names in use, ascending.
pub(crate) fn list_names(context: &Context) -> BoxFuture<'_, Result<Vec<NamespaceName>>> {
    Box::pin(async move {
        let folders = context.backend.list_folders(&DatabaseKeys::namespaces()).await?;
        // Collected: a borrowing iterator held across an await would make the future of a caller not `Send`.
        let names: Vec<_> = folders.iter().filter_map(|folder| DatabaseKeys::namespace_of(folder)).collect();
        let find_used = |name: NamespaceName| async move {
            let names = NamespaceKeys::new(&name);
            Ok::<_, Error>(is_name_in_use(context, &names).await?.then_some(name))
        };
        let used = stream::iter(names).map(find_used).buffered(LISTED_NAMES);
        let used: Vec<Option<NamespaceName>> = used.try_collect().await?;
        let mut used: Vec<NamespaceName> = used.into_iter().flatten().collect();
        // Folders are listed by their encoded names, whose order is another.
        used.sort_unstable();
        Ok(used)
    })
}

/// Creates the incarnation `number` of a name. Another's incarnation at that number is `AlreadyExists`.
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
        let (bytes, decode) = ((bytes, OPEN_BYTES_MAX), |bytes: &Bytes| Incarnation::decode(bytes));
        match create_object(env, &context.backend, &key, bytes, decode).await? {
            CreateOutcome::Created => Ok(record),
            // "Exists" may be the answer to our own request that the client repeated: the id tells them apart.
            CreateOutcome::Exists(found) if found.id == record.id => Ok(record),
            CreateOutcome::Exists(_) => {
                let why = format!("the namespace exists. name=`{name}`");
                Err(Error::new(ErrorKind::AlreadyExists, why))
            }
            CreateOutcome::InDoubt(error) => Err(in_doubt(&key, &error)),
        }
    })
}

/// Marks a sealed incarnation as closed, so that listing names does not have to read its log. Another process may have
/// done so already.
pub(crate) async fn mark_closed(context: &Context, keys: &IncarnationKeys, sealed: Sequence) -> Result<()> {
    let key = keys.closed();
    let bytes = Closed { sealed }.encode().map_err(|e| e.at(&key))?;
    // That the object exists is all that counts, whoever wrote it and whatever it holds.
    let bytes = (bytes, CLOSED_BYTES_MAX);
    match create_object(&context.env, &context.backend, &key, bytes, |_| Ok(())).await? {
        CreateOutcome::Created | CreateOutcome::Exists(()) => Ok(()),
        CreateOutcome::InDoubt(error) => Err(in_doubt(&key, &error)),
    }
}

fn in_doubt(key: &ObjectKey, cause: &Error) -> Error {
    let why = format!("the object may or may not be written: {cause}. key=`{key}`");
    Error::new(ErrorKind::Indeterminate, why)
}
