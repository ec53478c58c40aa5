//! Requests on names: what is there, make it, remove it.

use std::time::Duration;

use crate::clock::unix_seconds;
use crate::sftp::{Attributes, Status};
use crate::storage::{
    ListQuery, Location, NewObject, Nonces, ObjectMeta, ObjectStore, Precondition, StorageErrorKind,
};
use crate::vfs::Access;

use super::commit;
use super::expiry::Stop;
use super::plan::{Folder, Parent, Target, directory_attributes, file_attributes};
use super::status::{CHANGED, EXISTS, IS_DIRECTORY, NOT_EMPTY, Refusal, VIRTUAL};

/// What stands under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    File(ObjectMeta),
    Directory,
    Nothing,
}

/// Looks for an object and, unless that is answered at once, for a directory of that name at the
/// same time; an object that is there settles it.
pub(crate) async fn find(store: &dyn ObjectStore, location: &Location) -> Result<Found, Refusal> {
    let folder = Folder::of(location);
    let head = store.head(location);
    let below = is_directory(store, &folder);
    tokio::pin!(head, below);
    // A store that is near answers before a second question is worth asking.
    let first = tokio::time::timeout(HEAD_START, &mut head).await.ok();
    let (object, directory) = match first {
        Some(object) => (object, None),
        None => tokio::select! {
            biased;
            object = &mut head => (object, None),
            directory = &mut below => (head.await, Some(directory)),
        },
    };
    match object {
        Ok(meta) => return Ok(Found::File(meta)),
        Err(error) if error.kind == StorageErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let directory = match directory {
        Some(directory) => directory?,
        None => below.await?,
    };
    Ok(if directory {
        Found::Directory
    } else {
        Found::Nothing
    })
}

/// The same, one after the other: for those who expect a file, and would pay for a look at the
/// directory in vain.
pub(crate) async fn find_file_first(
    store: &dyn ObjectStore,
    location: &Location,
) -> Result<Found, Refusal> {
    let found = find_file(store, location).await?;
    if found == Found::Nothing && is_directory(store, &Folder::of(location)).await? {
        return Ok(Found::Directory);
    }
    Ok(found)
}

/// Looks for an object and for nothing beside it.
pub(crate) async fn find_file(
    store: &dyn ObjectStore,
    location: &Location,
) -> Result<Found, Refusal> {
    match store.head(location).await {
        Ok(meta) => Ok(Found::File(meta)),
        Err(error) if error.kind == StorageErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) => Err(error.into()),
    }
}

/// Says whether anything is in the folder, its marker included.
pub(crate) async fn is_directory(
    store: &dyn ObjectStore,
    folder: &Folder,
) -> Result<bool, Refusal> {
    // No object can be below a name that fills the key.
    if folder.prefix.len() > crate::limits::KEY_BYTES_MAX {
        return Ok(false);
    }
    let page = store.list(&folder.bucket, &query(folder, 1)).await?;
    Ok(!page.objects.is_empty() || !page.prefixes.is_empty())
}

/// Says whether nothing but a marker is in the folder.
pub(super) async fn is_empty(store: &dyn ObjectStore, folder: &Folder) -> Result<bool, Refusal> {
    let page = store.list(&folder.bucket, &query(folder, 2)).await?;
    let is_marker = |key: &str| key == folder.prefix;
    Ok(page.prefixes.is_empty() && page.objects.iter().all(|object| is_marker(&object.key)))
}

/// Returns the attributes of what a path names.
pub(crate) async fn stat(store: &dyn ObjectStore, target: &Target) -> Result<Attributes, Refusal> {
    match target {
        Target::Virtual => Ok(directory_attributes(None)),
        Target::Root { access, .. } => Ok(directory_attributes(Some(*access))),
        Target::Nowhere => Err(Status::NO_SUCH_FILE.into()),
        Target::MappedFile { location, access } => {
            let meta = store.head(location).await?;
            Ok(attributes_of(&meta, *access))
        }
        Target::Object {
            location, access, ..
        } => match find(store, location).await? {
            Found::File(meta) => Ok(attributes_of(&meta, *access)),
            Found::Directory => Ok(directory_attributes(Some(*access))),
            Found::Nothing => Err(Status::NO_SUCH_FILE.into()),
        },
    }
}

/// Returns a file's attributes; a time that was stored with it wins over S3's own.
pub(crate) fn attributes_of(meta: &ObjectMeta, access: Access) -> Attributes {
    let stored = meta.metadata(MTIME).and_then(|text| text.parse().ok());
    file_attributes(
        access,
        meta.size,
        stored.unwrap_or_else(|| unix_seconds(meta.modified)),
    )
}

/// Makes a directory's marker.
pub(crate) async fn mkdir(
    store: &dyn ObjectStore,
    target: &Target,
    parent_known: bool,
    nonces: Nonces,
    stop: &Stop,
) -> Result<(), Refusal> {
    let (location, parent) = match target {
        Target::Virtual | Target::Root { .. } | Target::MappedFile { .. } => {
            return Err(EXISTS.into());
        }
        Target::Nowhere => return Err(Status::NO_SUCH_FILE.into()),
        Target::Object {
            location, parent, ..
        } => (location, parent),
    };
    let ((), found) = futures_util::try_join!(
        require_parent(store, parent, parent_known),
        find(store, location)
    )?;
    if found != Found::Nothing {
        return Err(EXISTS.into());
    }
    stop.check()?;
    match write_marker(store, &Folder::of(location), nonces, &exclusive(store)).await {
        Err(refusal) if refusal.status == CHANGED => Err(EXISTS.into()),
        outcome => outcome,
    }
}

/// Writes a directory's marker.
pub(super) async fn write_marker(
    store: &dyn ObjectStore,
    folder: &Folder,
    nonces: Nonces,
    condition: &Precondition,
) -> Result<(), Refusal> {
    let marker = folder.marker().ok_or(Status::NO_SUCH_FILE)?;
    let object = NewObject {
        content_type: Some(DIRECTORY_TYPE.into()),
        ..NewObject::new(nonces.next()?)
    };
    commit::marker(store, &marker, &object, condition).await?;
    Ok(())
}

/// Removes a directory that holds nothing but its marker.
pub(crate) async fn rmdir(
    store: &dyn ObjectStore,
    target: &Target,
    stop: &Stop,
) -> Result<(), Refusal> {
    let location = match target {
        Target::Virtual | Target::Root { .. } => return Err(VIRTUAL.into()),
        Target::MappedFile { .. } | Target::Nowhere => return Err(Status::NO_SUCH_FILE.into()),
        Target::Object { location, .. } => location,
    };
    let folder = Folder::of(location);
    if folder.prefix.len() > crate::limits::KEY_BYTES_MAX {
        return Err(Status::NO_SUCH_FILE.into());
    }
    let page = store.list(&folder.bucket, &query(&folder, 2)).await?;
    let is_marker = |key: &str| key == folder.prefix;
    if page.objects.iter().any(|object| !is_marker(&object.key)) || !page.prefixes.is_empty() {
        return Err(NOT_EMPTY.into());
    }
    // Nothing there, or a file: on a file system too it is "no such directory".
    let marker = page.objects.first().ok_or(Status::NO_SUCH_FILE)?;
    let place = folder.marker().ok_or(Status::NO_SUCH_FILE)?;
    stop.check()?;
    store.delete(&place, Some(&marker.etag)).await?;
    Ok(())
}

/// Removes a file.
pub(crate) async fn remove(
    store: &dyn ObjectStore,
    target: &Target,
    stop: &Stop,
) -> Result<(), Refusal> {
    let location = match target {
        Target::Virtual | Target::Root { .. } => return Err(IS_DIRECTORY.into()),
        Target::Nowhere => return Err(Status::NO_SUCH_FILE.into()),
        Target::Object { location, .. } | Target::MappedFile { location, .. } => location,
    };
    let found = if target.may_be_directory() {
        find_file_first(store, location).await?
    } else {
        find_file(store, location).await?
    };
    match found {
        Found::File(_) => {
            stop.check()?;
            Ok(store.delete(location, None).await?)
        }
        Found::Directory => Err(IS_DIRECTORY.into()),
        Found::Nothing => Err(Status::NO_SUCH_FILE.into()),
    }
}

/// Refuses what would stand in a directory that is not there; one that the session has seen
/// (`known`) is not looked for again.
pub(crate) async fn require_parent(
    store: &dyn ObjectStore,
    parent: &Parent,
    known: bool,
) -> Result<(), Refusal> {
    let Parent::Folder(folder) = parent else {
        return Ok(());
    };
    if known {
        return Ok(());
    }
    if is_directory(store, folder).await? {
        Ok(())
    } else {
        Err(Status::NO_SUCH_FILE.into())
    }
}

/// Returns "only if nothing is there", where the store honours it.
pub(crate) fn exclusive(store: &dyn ObjectStore) -> Precondition {
    let honoured = store.capabilities().conditional_put;
    if honoured {
        Precondition::IfNoneMatch
    } else {
        Precondition::None
    }
}

pub(super) fn copy_exclusive(store: &dyn ObjectStore) -> Precondition {
    if store.capabilities().conditional_copy {
        exclusive(store)
    } else {
        Precondition::None
    }
}

fn query(folder: &Folder, max: u16) -> ListQuery {
    ListQuery {
        prefix: folder.prefix.clone(),
        delimited: false,
        after: None,
        max,
    }
}

/// Where a file's time is kept, in seconds since 1970.
pub(crate) const MTIME: &str = "mtime";
const DIRECTORY_TYPE: &str = "application/x-directory";
/// What a HEAD has ahead of the LIST beside it.
const HEAD_START: Duration = Duration::from_millis(3);
