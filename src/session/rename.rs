//! Rename: S3 cannot, so it is copy, then delete, both on condition that the source is unchanged.

use crate::audit::Confirmed;
use crate::sftp::Status;
use crate::storage::{
    ETag, Location, NewObject, ObjectMeta, ObjectStore, Precondition, StorageError,
    StorageErrorKind, Stored,
};
use crate::vfs::Ending;

use super::act::WrittenFile;
use super::copying::{self, Copying, Onto};
use super::moving::move_directory;
use super::names::{
    Found, find, find_file_first, find_in_listings, is_directory, is_empty, require_parent,
    write_marker,
};
use super::plan::{Folder, Parent, Target};
use super::removing::Keeper;
use super::scene::Scene;
use super::status::{
    BEING_WRITTEN, BUCKET_LEVEL, CHANGED, EXISTS, IN_VIRTUAL, IS_DIRECTORY, NOT_EMPTY, READ_ONLY,
    Refusal, VIRTUAL,
};

/// The two names of a move, and what is known of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names<'a> {
    pub(crate) from: &'a Target,
    pub(crate) from_ending: Ending,
    pub(crate) to: &'a Target,
    pub(crate) to_ending: Ending,
    /// `posix-rename@openssh.com`: an existing file at the target gives way, and so does an empty
    /// directory to another one.
    pub(crate) replace: bool,
    pub(crate) parent_known: bool,
    /// The session writes a file there, whatever is stored.
    pub(crate) to_is_written: bool,
}

/// What stands under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Directory,
    Nothing,
}

/// What a file depends on that goes to another name while it is written.
#[derive(Debug)]
pub(crate) struct RenamedWritten {
    pub(crate) confirmed: Confirmed,
    pub(crate) condition: Precondition,
    /// The version of the stored file that went along, and which one it is there.
    pub(crate) moved: Option<(ETag, ETag)>,
    /// What went along is a partial upload.
    pub(crate) is_partial: bool,
}

/// Moves a file or a directory; of a directory nothing is said as a whole.
pub(crate) async fn rename(
    scene: &Scene<'_>,
    keeper: Keeper<'_>,
    names: Names<'_>,
) -> Result<Confirmed, Refusal> {
    let Names { replace, .. } = names;
    let store = &**scene.store;
    let (source, target, parent) = names.places()?;
    if source == target {
        let found = find_source(store, source, names).await?;
        names.refuse_by_ending(kind(&found), kind(&found))?;
        return if replace {
            Ok(Confirmed::default())
        } else {
            Err(EXISTS.into())
        };
    }
    let (found, (), occupied) = futures_util::try_join!(
        find_source(store, source, names),
        require_parent(store, parent, names.parent_known),
        find(store, scene.bounds.clock(), target)
    )?;
    names.refuse_by_ending(kind(&found), kind(&occupied))?;
    let occupied_by_file = matches!(occupied, Found::File(_) | Found::Shown(_));
    match (found, occupied) {
        (Found::Nothing, _) => Err(Status::NO_SUCH_FILE.into()),
        // One version at a time.
        (Found::Directory, _) if names.from.is_past() => Err(READ_ONLY.into()),
        (Found::File(_), Found::Directory) => Err(IS_DIRECTORY.into()),
        // Its metadata cannot be read, and would be lost.
        (Found::Shown(_), _) => Err(Status::PERMISSION_DENIED.into()),
        (Found::File(_), Found::File(_) | Found::Shown(_)) if !replace => Err(EXISTS.into()),
        (Found::File(meta), Found::File(_) | Found::Shown(_) | Found::Nothing) => {
            let replaced = occupied_by_file;
            let stored = rename_file(scene, keeper, names, (source, &meta), target).await?;
            Ok(Confirmed {
                replaced: Some(replaced),
                ..Confirmed::stored(stored)
            })
        }
        (Found::Directory, Found::Nothing) if names.to_is_written => Err(if replace {
            Status::NO_SUCH_FILE
        } else {
            EXISTS
        }
        .into()),
        (Found::Directory, Found::Nothing) => {
            let turn = scene.turn().await?;
            if turn.waited && find(store, scene.bounds.clock(), target).await? != Found::Nothing {
                return Err(EXISTS.into());
            }
            let _visit = keeper.before_move(names.from, true, target).await?;
            move_all(scene, keeper, source, target).await?;
            Ok(Confirmed::default())
        }
        (Found::Directory, Found::File(_) | Found::Shown(_)) if replace => {
            Err(Status::NO_SUCH_FILE.into())
        }
        (Found::Directory, Found::Directory) if replace => {
            let _turn = scene.turn().await?;
            // Before anything is changed: the source may be in the target.
            if !is_empty(store, &Folder::of(target)).await? {
                return Err(NOT_EMPTY.into());
            }
            let _visit = keeper.before_move(names.from, true, target).await?;
            move_onto_empty(scene, keeper, source, target).await?;
            Ok(Confirmed::default())
        }
        (Found::Directory, Found::File(_) | Found::Shown(_) | Found::Directory) => {
            Err(EXISTS.into())
        }
    }
}

/// Looks for what is in the way of a file that goes to another name while it is written. What is
/// stored under its name goes along; `None`: both names are of one place.
pub(crate) async fn rename_written(
    scene: &Scene<'_>,
    keeper: Keeper<'_>,
    names: Names<'_>,
    written: WrittenFile,
) -> Result<Option<RenamedWritten>, Refusal> {
    let store = &**scene.store;
    let (source, target, parent) = names.places()?;
    if source == target {
        names.refuse_by_ending(Kind::File, Kind::File)?;
        return if names.replace {
            Ok(None)
        } else {
            Err(EXISTS.into())
        };
    }
    let (stored, (), occupied) = futures_util::try_join!(
        stored_under(store, source, written),
        require_parent(store, parent, names.parent_known),
        find(store, scene.bounds.clock(), target)
    )?;
    names.refuse_by_ending(Kind::File, kind(&occupied))?;
    let seen = match occupied {
        Found::File(meta) => Some(meta.etag),
        Found::Shown(object) => Some(object.etag),
        Found::Directory => return Err(IS_DIRECTORY.into()),
        Found::Nothing => None,
    };
    let replaced = seen.is_some();
    if replaced && !names.replace {
        return Err(EXISTS.into());
    }
    let meta = match stored {
        Found::File(meta) => meta,
        // Its metadata cannot be read, and would be lost.
        Found::Shown(_) => return Err(Status::PERMISSION_DENIED.into()),
        // Somebody removed the file that its parts are copied from.
        Found::Directory | Found::Nothing if written.is_begun && written.has_base => {
            return Err(BEING_WRITTEN.into());
        }
        Found::Directory | Found::Nothing => {
            scene.bounds.stop.check()?;
            return Ok(Some(RenamedWritten {
                confirmed: Confirmed {
                    replaced: Some(replaced),
                    ..Confirmed::default()
                },
                condition: seen.map_or(Precondition::IfNoneMatch, Precondition::IfMatch),
                moved: None,
                is_partial: false,
            }));
        }
    };
    if written.is_begun {
        // Its key is fixed, and has to be free until then.
        return Err(BEING_WRITTEN.into());
    }
    let stored = rename_file(scene, keeper, names, (source, &meta), target).await?;
    Ok(Some(RenamedWritten {
        condition: Precondition::IfMatch(stored.etag.clone()),
        is_partial: meta.is_partial(),
        moved: Some((meta.etag, stored.etag.clone())),
        confirmed: Confirmed {
            replaced: Some(replaced),
            ..Confirmed::stored(stored)
        },
    }))
}

/// Looks for the object under the name of a file that is being written.
async fn stored_under(
    store: &dyn ObjectStore,
    source: &Location,
    written: WrittenFile,
) -> Result<Found, Refusal> {
    if written.is_new {
        return Ok(Found::Nothing);
    }
    match store.head(source).await {
        Ok(meta) => Ok(Found::File(meta)),
        Err(error) if error.kind == StorageErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) if error.kind == StorageErrorKind::Denied => {
            find_in_listings(store, source, error).await
        }
        Err(error) => Err(error.into()),
    }
}

async fn move_all(
    scene: &Scene<'_>,
    keeper: Keeper<'_>,
    source: &Location,
    target: &Location,
) -> Result<(), Refusal> {
    let moved = move_directory(scene, source, target).await;
    keeper.kept.forget();
    scene.move_ended(moved.is_ok());
    moved
}

/// Moves a directory to where an empty one was seen; that one is there again if it fails.
async fn move_onto_empty(
    scene: &Scene<'_>,
    keeper: Keeper<'_>,
    source: &Location,
    target: &Location,
) -> Result<(), Refusal> {
    let (store, folder) = (&**scene.store, Folder::of(target));
    let moved = move_all(scene, keeper, source, target).await;
    if moved.is_err() && !is_directory(store, &folder).await.unwrap_or(true) {
        let restored = match scene.nonces.next() {
            Ok(nonce) => {
                let stop = &scene.bounds.clears_up;
                let none = Precondition::None;
                write_marker(store, stop, &folder, nonce, &none)
                    .await
                    .map(drop)
            }
            Err(error) => Err(error.into()),
        };
        if let Err(error) = restored
            && let Some(unlogged) = scene.bounds.failures.line_due()
        {
            let (bucket, prefix) = (&folder.bucket, &folder.prefix);
            tracing::warn!(%bucket, %prefix, %error, unlogged, "an empty directory was not restored after a failed move");
        }
    }
    moved
}

impl<'a> Names<'a> {
    /// Returns the place that something is moved from, the new one, and the directory above it.
    fn places(&self) -> Result<(&'a Location, &'a Location, &'a Parent), Status> {
        let source = match self.from {
            Target::Virtual | Target::Buckets | Target::Root { .. } | Target::MappedFile { .. } => {
                return Err(VIRTUAL);
            }
            Target::Bucket { .. } => return Err(BUCKET_LEVEL),
            Target::Nowhere => return Err(Status::NO_SUCH_FILE),
            Target::Object { location, .. } => location,
        };
        let (target, parent) = match self.to {
            Target::Virtual | Target::Buckets | Target::Root { .. } | Target::MappedFile { .. } => {
                return Err(EXISTS);
            }
            Target::Bucket { .. } => return Err(BUCKET_LEVEL),
            Target::Nowhere => return Err(IN_VIRTUAL),
            Target::Object {
                location, parent, ..
            } => (location, parent),
        };
        Ok((source, target, parent))
    }

    /// Refuses names that end as a directory's where none is meant or there.
    fn refuse_by_ending(&self, found: Kind, occupied: Kind) -> Result<(), Status> {
        let by_name = matches!(self.from_ending, Ending::Name | Ending::Slash);
        let to_dot = matches!(self.to_ending, Ending::Dot | Ending::DotDot);
        // It is refused before the first name is looked at.
        let refused = self.replace && by_name && to_dot && occupied == Kind::Directory;
        if found == Kind::Nothing && !refused {
            return Err(Status::NO_SUCH_FILE);
        }
        let is_file = found == Kind::File;
        match (self.to_ending, occupied) {
            (Ending::Name | Ending::Slash, _) if !by_name => Err(MOVED_BY_DOT),
            (Ending::Name, _) => Ok(()),
            (Ending::Dot | Ending::DotDot, Kind::Directory) => Err(EXISTS),
            (Ending::Dot | Ending::DotDot, Kind::File | Kind::Nothing) => Err(Status::NO_SUCH_FILE),
            (Ending::Slash, _) if is_file && self.replace => Err(Status::NO_SUCH_FILE),
            (Ending::Slash, Kind::Nothing) if is_file => Err(Status::NO_SUCH_FILE),
            (Ending::Slash, Kind::File | Kind::Directory) if is_file => Err(EXISTS),
            (Ending::Slash, Kind::File) => Err(Status::NO_SUCH_FILE),
            (Ending::Slash, Kind::Directory | Kind::Nothing) => Ok(()),
        }
    }
}

const fn kind(found: &Found) -> Kind {
    match found {
        Found::File(_) | Found::Shown(_) => Kind::File,
        Found::Directory => Kind::Directory,
        Found::Nothing => Kind::Nothing,
    }
}

async fn find_source(
    store: &dyn ObjectStore,
    source: &Location,
    names: Names<'_>,
) -> Result<Found, Refusal> {
    if names.from_ending == Ending::Name {
        return find_file_first(store, source).await;
    }
    let directory = is_directory(store, &Folder::of(source)).await?;
    Ok(if directory {
        Found::Directory
    } else {
        Found::Nothing
    })
}

async fn rename_file(
    scene: &Scene<'_>,
    keeper: Keeper<'_>,
    names: Names<'_>,
    (source, meta): (&Location, &ObjectMeta),
    target: &Location,
) -> Result<Stored, Refusal> {
    let apart = scene.are_apart(&source.bucket, &target.bucket);
    let room = copying::room(scene, meta.size, apart).await?;
    if room.waited() && !names.replace {
        let there = find(&**scene.store, scene.bounds.clock(), target).await?;
        if there != Found::Nothing {
            return Err(EXISTS.into());
        }
    }
    let stays = names.from.is_past();
    let _visit = if stays {
        None
    } else {
        keeper.before_move(names.from, false, target).await?
    };
    scene.bounds.stop.check()?;
    // Without `replace` nothing was there.
    let onto = if names.replace {
        Onto::Anything
    } else {
        Onto::Nothing
    };
    let copied = copy(scene, source, meta, target, onto).await;
    if room.is_long() {
        scene.move_ended(copied.is_ok());
    }
    let stored = copied?;
    if stays {
        return Ok(stored);
    }
    // Nothing is taken back: what was copied is complete.
    let deletion = scene.deletion(source, &meta.etag);
    match deletion.run().await {
        Ok(_) => Ok(stored),
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
    onto: Onto,
) -> Result<Stored, StorageError> {
    let object = NewObject::like(found, scene.nonces.next()?, scene.bounds.clock().wall());
    let copying = Copying {
        source,
        found,
        target,
        object: &object,
        onto,
    };
    copying::copy(scene, copying).await
}

const MOVED_BY_DOT: Status = Status::failure("A directory cannot be moved by this name");
