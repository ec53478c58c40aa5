//! Rename: S3 cannot, so it is copy, then delete, both on condition that the source is unchanged.

use futures_util::FutureExt as _;
use futures_util::future::join_all;

use crate::limits;
use crate::reaper::Reaper;
use crate::sftp::Status;
use crate::storage::{
    ETag, Key, ListCursor, ListQuery, Location, NewObject, Nonces, ObjectMeta, ObjectStore,
    Precondition, SharedStore, StorageError, StorageErrorKind, Stored,
};

use super::commit::{self, Copying};
use super::names::{Found, exclusive, find, find_file_first, require_parent};
use super::plan::{Folder, Target};
use super::progress::Progress;
use super::status::{CHANGED, EXISTS, IS_DIRECTORY, Refusal, VIRTUAL};

/// What a move works with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) store: &'a SharedStore,
    /// Ends what a copy in parts leaves behind.
    pub(crate) reaper: &'a Reaper,
    pub(crate) nonces: Nonces,
    pub(crate) progress: &'a Progress,
}

/// Moves a file or a directory. `replace` is `posix-rename@openssh.com`: an existing file at the
/// target gives way.
pub(crate) async fn rename(
    scene: &Scene<'_>,
    from: &Target,
    to: &Target,
    replace: bool,
    parent_known: bool,
) -> Result<(), Refusal> {
    let store = &**scene.store;
    let source = match from {
        Target::Virtual | Target::Root { .. } | Target::MappedFile { .. } => {
            return Err(VIRTUAL.into());
        }
        Target::Nowhere => return Err(Status::NO_SUCH_FILE.into()),
        Target::Object { location, .. } => location,
    };
    let (target, parent) = match to {
        Target::Virtual | Target::Root { .. } | Target::MappedFile { .. } => {
            return Err(EXISTS.into());
        }
        Target::Nowhere => return Err(Status::NO_SUCH_FILE.into()),
        Target::Object {
            location, parent, ..
        } => (location, parent),
    };
    if source == target {
        let missing = find_file_first(store, source).await? == Found::Nothing;
        return if missing {
            Err(Status::NO_SUCH_FILE.into())
        } else {
            Ok(())
        };
    }
    let (found, (), occupied) = futures_util::try_join!(
        find_file_first(store, source),
        require_parent(store, parent, parent_known),
        find(store, target)
    )?;
    match (found, occupied) {
        (Found::Nothing, _) => Err(Status::NO_SUCH_FILE.into()),
        (Found::File(_), Found::Directory) => Err(IS_DIRECTORY.into()),
        (Found::File(_), Found::File(_)) if !replace => Err(EXISTS.into()),
        (Found::File(meta), Found::File(_)) => {
            rename_file(scene, source, &meta, target, &Precondition::None).await
        }
        (Found::File(meta), Found::Nothing) => {
            let condition = if replace {
                Precondition::None
            } else {
                copy_exclusive(store)
            };
            rename_file(scene, source, &meta, target, &condition).await
        }
        (Found::Directory, Found::Nothing) => rename_directory(scene, source, target).await,
        (Found::Directory, Found::File(_) | Found::Directory) => Err(EXISTS.into()),
    }
}

async fn rename_file(
    scene: &Scene<'_>,
    source: &Location,
    meta: &ObjectMeta,
    target: &Location,
    condition: &Precondition,
) -> Result<(), Refusal> {
    copy(scene, source, meta, target, condition).await?;
    match scene.store.delete(source, Some(&meta.etag)).await {
        Ok(()) => Ok(()),
        Err(error) if error.kind == StorageErrorKind::Precondition => Err(Refusal {
            status: CHANGED,
            detail: Some(error.to_string().into()),
        }),
        Err(error) => Err(error.into()),
    }
}

/// Copies everything before anything is deleted; a copy that fails leaves the source whole and
/// takes the copies back.
async fn rename_directory(
    scene: &Scene<'_>,
    source: &Location,
    target: &Location,
) -> Result<(), Refusal> {
    let store = &**scene.store;
    let (from, to) = (Folder::of(source), Folder::of(target));
    if from.bucket == to.bucket && to.prefix.starts_with(&from.prefix) {
        return Err(Status::failure("A directory cannot be moved into itself").into());
    }
    let pairs = pairs_to_move(store, &from, &to).await?;
    let mut copied = Vec::with_capacity(pairs.len());
    for (round, chunk) in pairs.chunks(MOVES_AT_ONCE).enumerate() {
        let copies = chunk
            .iter()
            .map(|(source, target)| copy_as_is(scene, source, target).boxed());
        let copies: Vec<_> = copies.collect();
        let copies: Result<Vec<_>, _> = join_all(copies).await.into_iter().collect();
        let error = match copies {
            Ok(etags) => {
                copied.extend(etags);
                scene.progress.copied(copied.len(), pairs.len());
                None
            }
            Err(error) => Some(error),
        };
        if let Some(error) = error {
            let attempted = round.saturating_add(1).saturating_mul(MOVES_AT_ONCE);
            let attempted: Vec<_> = pairs
                .iter()
                .take(attempted)
                .map(|(_, target)| (target, None))
                .collect();
            delete_all(store, &attempted).await.ok();
            return Err(error.into());
        }
    }
    // What was written to in the meantime stays: its new bytes are nowhere else.
    let etags = copied.iter().map(Some);
    let sources = pairs.iter().map(|(source, _)| source).zip(etags);
    // Some stores go on showing a directory whose marker went before what is below it.
    let (markers, files): (Vec<_>, Vec<_>) = sources.partition(|(source, _)| is_marker(source));
    let mut outcome = delete_all(store, &files).await;
    for marker in markers.into_iter().rev() {
        outcome = outcome.and(delete_all(store, &[marker]).await);
    }
    Ok(outcome?)
}

fn is_marker(location: &Location) -> bool {
    location.key.as_str().ends_with('/')
}

async fn copy_as_is(
    scene: &Scene<'_>,
    source: &Location,
    target: &Location,
) -> Result<ETag, StorageError> {
    let store = scene.store;
    let meta = store.head(source).await?;
    if meta.size == 0 && is_marker(source) {
        // Some stores take a marker but do not find it as the source of a copy.
        let object = NewObject::like(&meta, scene.nonces.next()?);
        commit::marker(&**store, target, &object, &Precondition::None).await?;
    } else {
        copy(scene, source, &meta, target, &Precondition::None).await?;
    }
    Ok(meta.etag)
}

async fn pairs_to_move(
    store: &dyn ObjectStore,
    from: &Folder,
    to: &Folder,
) -> Result<Vec<(Location, Location)>, Refusal> {
    let mut pairs = Vec::new();
    let mut after = None;
    loop {
        let prefix = from.prefix.clone();
        let query = ListQuery {
            prefix,
            delimited: false,
            after,
            max: limits::LIST_PAGE_MAX,
        };
        let page = store.list(&from.bucket, &query).await?;
        for object in page.objects {
            let name = object.key.strip_prefix(&from.prefix).unwrap_or_default();
            let place = |bucket: &crate::storage::Bucket, key: &str| {
                let key = Key::parse(key).map_err(|_| NAME_TOO_LONG)?;
                Ok::<_, Status>(Location {
                    bucket: bucket.clone(),
                    key,
                })
            };
            let target = place(&to.bucket, &format!("{}{name}", to.prefix))?;
            pairs.push((place(&from.bucket, &object.key)?, target));
        }
        if pairs.len() > limits::RENAMED_OBJECTS_MAX {
            return Err(Status::failure("The directory holds too many files to be moved").into());
        }
        match page.next {
            Some(next) => after = Some(ListCursor::Continuation(next)),
            None => return Ok(pairs),
        }
    }
}

/// Deletes what is still the version it is said to be, and goes on where one cannot be deleted.
async fn delete_all(
    store: &dyn ObjectStore,
    locations: &[(&Location, Option<&ETag>)],
) -> Result<(), StorageError> {
    let mut outcome = Ok(());
    for chunk in locations.chunks(MOVES_AT_ONCE) {
        let deletes: Vec<_> = chunk
            .iter()
            .map(|(location, etag)| store.delete(location, *etag))
            .collect();
        outcome = join_all(deletes)
            .await
            .into_iter()
            .fold(outcome, Result::and);
    }
    outcome
}

/// Copies one object as it is, with a nonce of its own.
async fn copy(
    scene: &Scene<'_>,
    source: &Location,
    found: &ObjectMeta,
    target: &Location,
    condition: &Precondition,
) -> Result<Stored, StorageError> {
    let object = NewObject::like(found, scene.nonces.next()?);
    let copying = Copying {
        source,
        found,
        target,
        object: &object,
        condition,
    };
    commit::copy(scene.store, scene.reaper, copying).await
}

fn copy_exclusive(store: &dyn ObjectStore) -> Precondition {
    if store.capabilities().conditional_copy {
        exclusive(store)
    } else {
        Precondition::None
    }
}

const NAME_TOO_LONG: Status = Status::failure("A name in the directory would become too long");
const MOVES_AT_ONCE: usize = 8;
