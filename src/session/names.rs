//! Requests on names: what is there, make it, remove it.

use std::time::{Duration, SystemTime};

use crate::clock::{Clock, unix_seconds, within};
use crate::sftp::{Attributes, Status};
use crate::storage::{
    Bucket, ListPage, ListQuery, ListedObject, Location, NewObject, Nonce, Nonces, ObjectMeta,
    ObjectStore, Precondition, StorageError, StorageErrorKind, Stored, list_one,
};
use crate::vfs::Access;

use super::commit::Commit;
use super::expiry::Stop;
use super::fresh::Shown;
use super::listed::is_bucket;
use super::plan::{Folder, Parent, Target, directory_attributes, file_attributes};
use super::status::{BUCKET_LEVEL, EXISTS, IN_VIRTUAL, READ_ONLY, Refusal};
use super::stored_time::{Shows, stored_with};
use super::sums::VersionSums;

/// What stands under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    File(ObjectMeta),
    /// A file that the session may see in listings and not ask about.
    Shown(ListedObject),
    Directory,
    Nothing,
}

/// What stands under a name, and when a directory's marker was written, if it was seen.
type Dated = (Found, Option<SystemTime>);

/// Looks for an object and, unless that is answered at once, for a directory of that name at the
/// same time; an object that is there settles it.
pub(crate) async fn find(
    store: &dyn ObjectStore,
    clock: &dyn Clock,
    location: &Location,
) -> Result<Found, Refusal> {
    let (found, _) = find_dated(store, clock, location).await?;
    Ok(found)
}

async fn find_dated(
    store: &dyn ObjectStore,
    clock: &dyn Clock,
    location: &Location,
) -> Result<Dated, Refusal> {
    let folder = Folder::of(location);
    let head = store.head(location);
    let below = look_below(store, &folder);
    tokio::pin!(head, below);
    // A store that is near answers before a second question is worth asking.
    let first = within(clock, HEAD_START, &mut head).await;
    let (object, directory) = match first {
        Some(object) => (object, None),
        None => tokio::select! {
            biased;
            object = &mut head => (object, None),
            directory = &mut below => (head.await, Some(directory)),
        },
    };
    if let Some(found) = under_key(store, location, object).await? {
        return Ok(found);
    }
    let below = match directory {
        Some(below) => below?,
        None => below.await?,
    };
    Ok(below.dated())
}

/// Reads the answer to a HEAD. A key that may not be read is looked for in listings; `None`: there
/// is no object under it.
async fn under_key(
    store: &dyn ObjectStore,
    location: &Location,
    head: Result<ObjectMeta, StorageError>,
) -> Result<Option<Dated>, Refusal> {
    match head {
        Ok(meta) => Ok(Some((Found::File(meta), None))),
        Err(error) if error.kind == StorageErrorKind::NotFound => Ok(None),
        // A HEAD has no body: what is wrong with the bucket's name is told by a listing.
        Err(error)
            if matches!(
                error.kind,
                StorageErrorKind::Denied | StorageErrorKind::RefusedBare
            ) =>
        {
            dated_in_listings(store, location, error).await.map(Some)
        }
        Err(error) => Err(error.into()),
    }
}

/// Looks in listings for what may not be asked about: a role may list a directory and use what is
/// below it, and not read the key of its name.
pub(super) async fn find_in_listings(
    store: &dyn ObjectStore,
    location: &Location,
    denied: StorageError,
) -> Result<Found, Refusal> {
    let (found, _) = dated_in_listings(store, location, denied).await?;
    Ok(found)
}

async fn dated_in_listings(
    store: &dyn ObjectStore,
    location: &Location,
    denied: StorageError,
) -> Result<Dated, Refusal> {
    match list_one(store, location).await {
        Ok(Some(object)) => return Ok((Found::Shown(object), None)),
        Ok(None) => {}
        Err(error) if error.kind == StorageErrorKind::Denied => {}
        Err(error) => return Err(error.into()),
    }
    match look_below(store, &Folder::of(location)).await? {
        Below::Nothing => Err(denied.into()),
        below @ Below::Names { .. } => Ok(below.dated()),
    }
}

/// The same, one after the other: for those who expect a file, and would pay for a look at the
/// directory in vain.
pub(crate) async fn find_file_first(
    store: &dyn ObjectStore,
    location: &Location,
) -> Result<Found, Refusal> {
    let (found, _) = dated_file_first(store, location).await?;
    Ok(found)
}

async fn dated_file_first(store: &dyn ObjectStore, location: &Location) -> Result<Dated, Refusal> {
    let object = store.head(location).await;
    match under_key(store, location, object).await? {
        Some(found) => Ok(found),
        None => Ok(look_below(store, &Folder::of(location)).await?.dated()),
    }
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
    Ok(look_below(store, folder).await? != Below::Nothing)
}

/// What stands below a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Below {
    Nothing,
    /// The name is a directory's, whose marker was written then, if there is one.
    Names {
        marker: Option<SystemTime>,
    },
}

impl Below {
    const fn dated(self) -> Dated {
        match self {
            Self::Nothing => (Found::Nothing, None),
            Self::Names { marker } => (Found::Directory, marker),
        }
    }
}

/// Looks for the first key in a folder: the marker is that, if there is one.
pub(super) async fn look_below(store: &dyn ObjectStore, folder: &Folder) -> Result<Below, Refusal> {
    // No object can be below a name that fills the key.
    if folder.prefix.len() > crate::limits::KEY_BYTES_MAX {
        return Ok(Below::Nothing);
    }
    let page = store
        .list(&folder.bucket, &ListQuery::first(&folder.prefix))
        .await?;
    if page.objects.is_empty() && page.prefixes.is_empty() {
        return Ok(Below::Nothing);
    }
    let marker = page.object(&folder.prefix).map(|marker| marker.modified);
    Ok(Below::Names { marker })
}

/// Returns enough of a folder to tell whether anything but a marker is in it.
pub(super) async fn look_into(
    store: &dyn ObjectStore,
    folder: &Folder,
) -> Result<ListPage, Refusal> {
    let query = ListQuery {
        max: 2,
        ..ListQuery::first(&folder.prefix)
    };
    Ok(store.list(&folder.bucket, &query).await?)
}

/// Says whether nothing but a marker is in the folder.
pub(super) async fn is_empty(store: &dyn ObjectStore, folder: &Folder) -> Result<bool, Refusal> {
    let page = look_into(store, folder).await?;
    let is_marker = |key: &str| key == folder.prefix;
    Ok(page.prefixes.is_empty() && page.objects.iter().all(|object| is_marker(&object.key)))
}

/// The same for those who expect that nothing is there: one listing shows that neither a file nor a
/// directory has the name, unless other names begin with it.
async fn dated_nothing_first(
    store: &dyn ObjectStore,
    clock: &dyn Clock,
    location: &Location,
) -> Result<Dated, Refusal> {
    let query = ListQuery::first(location.key.as_str());
    match store.list(&location.bucket, &query).await {
        Ok(page) if page.objects.is_empty() && page.prefixes.is_empty() => {
            Ok((Found::Nothing, None))
        }
        // Who may not list may ask for the name.
        Ok(_) | Err(_) => find_dated(store, clock, location).await,
    }
}

/// What STAT found under a path.
#[derive(Debug)]
pub(crate) struct Stated {
    pub(crate) attrs: Attributes,
    /// A file's, where a HEAD told them.
    pub(crate) sums: Option<VersionSums>,
}

impl Stated {
    pub(super) fn directory(access: Option<Access>, marker: Option<SystemTime>) -> Self {
        Self {
            attrs: directory_attributes(access, marker.map(unix_seconds)),
            sums: None,
        }
    }

    fn file(meta: &ObjectMeta, access: Access, shows: Shows) -> Self {
        Self {
            attrs: attributes_of(meta, access, shows),
            sums: Some(VersionSums::of(meta)),
        }
    }
}

/// How STAT looks for what an object's path names.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Looks {
    /// Not at all: a listing showed a directory there a moment ago, and that is believed.
    Directory,
    /// A file is expected.
    FileFirst,
    /// Nothing is expected.
    NothingFirst,
    Both,
}

impl Looks {
    /// Goes by what a listing showed.
    pub(super) const fn of(shown: Shown) -> Self {
        match shown {
            Shown::File(_) => Self::FileFirst,
            Shown::Directory => Self::Directory,
            Shown::Nothing => Self::NothingFirst,
        }
    }
}

/// Looks for what a path names.
pub(crate) async fn stat(
    store: &dyn ObjectStore,
    clock: &dyn Clock,
    target: &Target,
    looks: Looks,
    shows: Shows,
) -> Result<Stated, Refusal> {
    match target {
        Target::Virtual | Target::Buckets => Ok(Stated::directory(None, None)),
        Target::Bucket { folder, access } if is_bucket(store, folder).await? => {
            Ok(Stated::directory(Some(*access), None))
        }
        Target::Bucket { .. } => Err(Status::NO_SUCH_FILE.into()),
        Target::Root { access, .. } => Ok(Stated::directory(Some(*access), None)),
        Target::Nowhere => Err(Status::NO_SUCH_FILE.into()),
        Target::MappedFile { location, access } => {
            let meta = store.head(location).await?;
            Ok(Stated::file(&meta, *access, shows))
        }
        Target::Object {
            location, access, ..
        } => match match looks {
            Looks::Directory => (Found::Directory, None),
            Looks::FileFirst => dated_file_first(store, location).await?,
            Looks::NothingFirst => dated_nothing_first(store, clock, location).await?,
            Looks::Both => find_dated(store, clock, location).await?,
        } {
            (Found::File(meta), _) => Ok(Stated::file(&meta, *access, shows)),
            (Found::Shown(object), _) => {
                let modified = unix_seconds(object.modified);
                Ok(Stated {
                    attrs: file_attributes(*access, object.size, modified),
                    sums: None,
                })
            }
            (Found::Directory, marker) => Ok(Stated::directory(Some(*access), marker)),
            (Found::Nothing, _) => Err(Status::NO_SUCH_FILE.into()),
        },
    }
}

/// Returns a file's attributes, with what was stored with it and, without a time, with S3's own.
pub(crate) fn attributes_of(meta: &ObjectMeta, access: Access, shows: Shows) -> Attributes {
    let modified = unix_seconds(meta.modified);
    shows.with(
        file_attributes(access, meta.size, modified),
        stored_with(meta),
    )
}

/// What was seen before something is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    /// The directory in which it is to stand is there.
    pub(crate) parent: bool,
    /// Nothing was under the name a moment ago.
    pub(crate) nothing: bool,
}

/// Makes a directory's marker.
pub(crate) async fn mkdir(
    store: &dyn ObjectStore,
    target: &Target,
    seen: Seen,
    nonces: Nonces,
    stop: &Stop,
) -> Result<Stored, Refusal> {
    let (location, parent) = match target {
        Target::Virtual | Target::Buckets | Target::Root { .. } | Target::MappedFile { .. } => {
            return Err(EXISTS.into());
        }
        Target::Bucket { .. } => {
            let shows = Shows::default();
            return Err(
                match stat(store, stop.clock(), target, Looks::Both, shows).await {
                    Ok(_) => EXISTS,
                    // Whatever is there, none is made.
                    Err(_) => BUCKET_LEVEL,
                }
                .into(),
            );
        }
        Target::Nowhere => return Err(IN_VIRTUAL.into()),
        Target::Object {
            location, access, ..
        } if !access.may_write() => {
            let there = find(store, stop.clock(), location).await? != Found::Nothing;
            return Err(if there { EXISTS } else { READ_ONLY }.into());
        }
        Target::Object {
            location, parent, ..
        } => (location, parent),
    };
    // The marker itself is only put where there is none.
    let is_free = seen.nothing && exclusive(store, &location.bucket) == Precondition::IfNoneMatch;
    let ((), found) = futures_util::try_join!(require_parent(store, parent, seen.parent), async {
        if is_free {
            return Ok(Found::Nothing);
        }
        find(store, stop.clock(), location).await
    })?;
    if found != Found::Nothing {
        return Err(EXISTS.into());
    }
    let folder = Folder::of(location);
    if folder.marker().is_none() {
        return Err(Status::NO_SUCH_FILE.into());
    }
    stop.check()?;
    let condition = exclusive(store, &location.bucket);
    match write_marker(store, stop, &folder, nonces.next()?, &condition).await {
        Ok(stored) => Ok(stored),
        Err(error) if error.kind == StorageErrorKind::Precondition => {
            if find(store, stop.clock(), location).await? != Found::Nothing {
                return Err(EXISTS.into());
            }
            // Some stores know of a directory by themselves, with nothing in it.
            Ok(write_marker(store, stop, &folder, nonces.next()?, &Precondition::None).await?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Writes a directory's marker.
pub(super) async fn write_marker(
    store: &dyn ObjectStore,
    stop: &Stop,
    folder: &Folder,
    nonce: Nonce,
    condition: &Precondition,
) -> Result<Stored, StorageError> {
    let Some(marker) = folder.marker() else {
        let why = "the name leaves no room for a marker";
        return Err(StorageError::new(StorageErrorKind::Refused, why));
    };
    let object = NewObject {
        content_type: Some(DIRECTORY_TYPE.into()),
        ..NewObject::new(nonce)
    };
    let commit = Commit {
        store,
        stop,
        location: &marker,
        object: &object,
        condition,
    };
    commit.marker().await
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
pub(crate) fn exclusive(store: &dyn ObjectStore, bucket: &Bucket) -> Precondition {
    let honoured = store.capabilities(bucket).conditional_put;
    if honoured {
        Precondition::IfNoneMatch
    } else {
        Precondition::None
    }
}

pub(super) fn copy_exclusive(store: &dyn ObjectStore, bucket: &Bucket) -> Precondition {
    if store.capabilities(bucket).conditional_copy {
        exclusive(store, bucket)
    } else {
        Precondition::None
    }
}

const DIRECTORY_TYPE: &str = "application/x-directory";
/// What a HEAD has ahead of the LIST beside it, and a GET of the HEAD.
pub(super) const HEAD_START: Duration = Duration::from_millis(3);
