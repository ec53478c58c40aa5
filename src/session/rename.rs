//! Rename: S3 cannot, so it is copy, then delete, both on condition that the source is unchanged.

use crate::limits;
use crate::sftp::Status;
use crate::storage::{
    Location, NewObject, ObjectMeta, Precondition, StorageError, StorageErrorKind, Stored,
};

use super::commit::{self, Copying};
use super::moving::move_directory;
use super::names::{Found, copy_exclusive, find, find_file_first, require_parent};
use super::plan::Target;
use super::scene::Scene;
use super::status::{CHANGED, EXISTS, IS_DIRECTORY, Refusal, VIRTUAL};

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
        find(store, scene.bounds.stop.clock(), target)
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
        (Found::Directory, Found::Nothing) => {
            let _turn = scene.turn().await?;
            let moved = move_directory(scene, source, target).await;
            scene.move_ended(moved.is_ok());
            moved
        }
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
    let is_long = meta.size > limits::COPY_BYTES_MAX;
    let _turn = if is_long {
        Some(scene.turn().await?)
    } else {
        None
    };
    scene.bounds.stop.check()?;
    let copied = copy(scene, source, meta, target, condition).await;
    if is_long {
        scene.move_ended(copied.is_ok());
    }
    copied?;
    match scene.store.delete(source, Some(&meta.etag)).await {
        Ok(()) => Ok(()),
        Err(error) if error.kind == StorageErrorKind::Precondition => Err(Refusal {
            status: CHANGED,
            detail: Some(error.to_string().into()),
        }),
        Err(error) => Err(error.into()),
    }
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
        stop: &scene.bounds.stop,
    };
    commit::copy(scene.store, scene.reaper, copying).await
}
