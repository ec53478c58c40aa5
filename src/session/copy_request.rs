//! `copy-data`: bytes of one open file become bytes of another.
//!
//! A whole file that is copied into an empty one is an object that S3 copies by itself, as for a
//! RENAME, and no byte of it comes here. The copy is there when the request is answered: OpenSSH's
//! `cp` does not look at the answer to its CLOSE, and a script that removes the source next would
//! not hear of a copy that failed. What is written to the handle afterwards goes over the copy.
//!
//! A range, or what goes into a file that was written to, is read by the gateway and written as if
//! the client had sent it, a piece at a time, no faster than the user may send.

use crate::audit::Confirmed;
use crate::sftp::{CopyRequest, HandleId, Pending, Status};
use crate::storage::{ByteRange, ETag, Location, NewObject, ObjectMeta, StorageErrorKind, Stored};
use crate::transfer::WriteFile;
use crate::transfer::write_file::{Base, Bringing, COPYING, Failure, Heard, NOT_HERE, OVER_LIMIT};
use crate::vfs::{Ending, VirtualPath};

use super::act::{Act, PathRequest, WholeCopy};
use super::copying::{self, Copying, Onto};
use super::files::{Files, Handle, NOT_FOR_WRITING};
use super::names::{self, Found};
use super::open_file::NOT_FOR_READING;
use super::scene::Scene;
use super::shell::Shell;
use super::status::{CHANGED, EXISTS, INVALID_HANDLE, Refusal};
use super::stored_time::{MTIME, store_with};

/// Answers a `copy-data`, or returns the request on names that it comes to.
pub(super) fn ask(
    shell: &mut Shell,
    files: &mut Files,
    pending: Pending,
    asked: CopyRequest,
) -> Option<PathRequest> {
    let max = shell.user.config().limits.file_bytes;
    match plan(files, &asked, max) {
        Ok(Plan::Whole { path, copy }) => {
            // It answers no CLOSE.
            files.hear_write(shell, asked.to, Heard::CopyBegun);
            return Some(PathRequest {
                pending,
                path,
                ending: Ending::Name,
                act: Act::Copy(Box::new(copy)),
            });
        }
        Ok(Plan::Range(bringing)) => {
            // When the range has come, or has not, a line says so.
            files.hear_write(shell, asked.to, Heard::Bring(pending, bringing));
        }
        Ok(Plan::Nothing) => shell.answers.status(pending, Status::OK),
        Err(Refused::Here(status)) => shell.refuse(pending, None, None, status),
        Err(Refused::File(status)) => {
            fail(shell, files, asked.to, &status.into());
            shell.refuse(pending, None, None, status);
        }
    }
    None
}

/// What a `copy-data` comes to.
enum Plan {
    /// The source's path, and its version that is copied.
    Whole { path: VirtualPath, copy: WholeCopy },
    /// A range is brought here and written as if the client had sent it.
    Range(Bringing),
    /// There is nothing to be copied.
    Nothing,
}

/// Why nothing is copied.
enum Refused {
    /// The client may go on with the open file.
    Here(Status),
    /// The open file is lost: a CLOSE would store it without what was to be copied.
    File(Status),
}

/// What is copied from.
pub(super) struct Source {
    pub(super) path: VirtualPath,
    pub(super) location: Location,
    pub(super) etag: ETag,
    pub(super) size: u64,
}

fn plan(
    files: &mut Files,
    asked: &CopyRequest,
    file_bytes_max: Option<u64>,
) -> Result<Plan, Refused> {
    let source = source(files, asked.from).map_err(Refused::Here)?;
    let Some(Handle::File(file)) = files.usable(asked.to) else {
        return Err(Refused::Here(INVALID_HANDLE));
    };
    let Some(writing) = &file.writing else {
        return Err(Refused::Here(NOT_FOR_WRITING));
    };
    let own = writing.file();
    if let Some(status) = own.failed() {
        return Err(Refused::Here(status));
    }
    if own.is_copied_into() {
        return Err(Refused::Here(COPYING));
    }
    if file.place.location == source.location {
        // A file that is opened with TRUNC would be stored empty.
        return Err(Refused::File(SAME_FILE));
    }
    let end = match asked.length {
        0 => source.size,
        length => {
            let end = asked.offset.checked_add(length);
            let end = end.filter(|end| *end <= source.size);
            end.ok_or(Refused::Here(Status::EOF))?
        }
    };
    let at = if own.mode().append {
        own.size()
    } else {
        asked.at
    };
    let grows = at.checked_add(end.saturating_sub(asked.offset));
    let fits = grows.is_some_and(|end| file_bytes_max.is_none_or(|max| end <= max));
    if !fits {
        return Err(Refused::File(OVER_LIMIT));
    }
    if asked.offset == 0 && end == source.size && own.is_empty_from(asked.at) {
        let copy = WholeCopy {
            source: source.location,
            etag: source.etag,
            to: file.place.path.clone(),
            handle: asked.to,
            exclusive: writing.replaces_nothing(),
            given: own.given(),
        };
        let path = source.path;
        return Ok(Plan::Whole { path, copy });
    }
    if asked.offset >= end {
        return Ok(Plan::Nothing);
    }
    Ok(Plan::Range(Bringing {
        path: source.path.as_str().into(),
        source: Base {
            location: source.location,
            etag: source.etag,
            size: source.size,
        },
        range: ByteRange {
            start: asked.offset,
            end,
        },
        at: asked.at,
    }))
}

/// Returns the version that an open file reads.
///
/// # Errors
/// It reads none, or also what was written to it.
pub(super) fn source(files: &mut Files, handle: HandleId) -> Result<Source, Status> {
    let Some(Handle::File(file)) = files.usable(handle) else {
        return Err(INVALID_HANDLE);
    };
    let own = file.own();
    let Some(reading) = &file.reading else {
        // What it reads came by a copy, or it was not there when it was opened.
        let reads = own.is_some_and(|own| own.mode().read);
        return Err(if reads {
            SOURCE_WRITTEN
        } else {
            NOT_FOR_READING
        });
    };
    if own.is_some_and(WriteFile::is_written) {
        return Err(SOURCE_WRITTEN);
    }
    let meta = reading.meta();
    Ok(Source {
        path: file.place.path.clone(),
        location: file.place.location.clone(),
        etag: meta.etag.clone(),
        size: meta.size,
    })
}

/// Tells the open file what became of a copy.
pub(super) fn copied(
    shell: &mut Shell,
    files: &mut Files,
    request: &PathRequest,
    outcome: Result<(&Confirmed, &ObjectMeta), &Refusal>,
) {
    let Act::Copy(copy) = &request.act else {
        return;
    };
    let handle = copy.handle;
    let (confirmed, found) = match outcome {
        Ok(copied) => copied,
        Err(refusal) => return fail(shell, files, handle, refusal),
    };
    let (Some(stored), Some(Handle::File(file))) = (&confirmed.stored, files.open.get_mut(&handle))
    else {
        return;
    };
    // It reads a version that the copy has replaced.
    file.stop_reading(shell, NOT_HERE);
    file.reading = None;
    let place = &file.place;
    let base = Base {
        location: place.location.clone(),
        etag: stored.etag.clone(),
        size: found.size,
    };
    if let Some(writing) = &mut file.writing {
        writing.goes_over(shell, place, (&copy.source, found), copy.given);
    }
    files.hear_write(shell, handle, Heard::Copied(Ok((base, copy.given))));
}

/// Looks once more at the file that is to be copied into, at the copy's turn: what came before it
/// on the same name may have removed the file, or failed.
pub(super) fn check(files: &Files, handle: HandleId) -> Result<(), Status> {
    let Some(Handle::File(file)) = files.open.get(&handle) else {
        return Err(INVALID_HANDLE);
    };
    let Some(own) = file.own() else {
        return Err(NOT_FOR_WRITING);
    };
    match own.failed() {
        Some(status) => Err(status),
        None if own.will_appear() => Ok(()),
        None => Err(REMOVED),
    }
}

fn fail(shell: &mut Shell, files: &mut Files, handle: HandleId, refusal: &Refusal) {
    let reason = refusal.detail.as_deref();
    let failure = Failure {
        status: refusal.status,
        reason: reason.unwrap_or(refusal.status.sentence).into(),
    };
    files.hear_write(shell, handle, Heard::Copied(Err(failure)));
}

/// Copies a whole file; returns what is there now, and what it was copied from.
pub(super) async fn copy(
    scene: &Scene<'_>,
    copy: &WholeCopy,
    target: &Location,
) -> Result<(Stored, ObjectMeta), Refusal> {
    let copied = copy_version(scene, copy, target).await;
    scene.copy_ended(copied.is_ok());
    copied
}

async fn copy_version(
    scene: &Scene<'_>,
    copy: &WholeCopy,
    target: &Location,
) -> Result<(Stored, ObjectMeta), Refusal> {
    // What belongs to the object is told by a HEAD alone.
    let found = match scene.store.head(&copy.source).await {
        Ok(found) if found.etag == copy.etag => found,
        Ok(_) => return Err(CHANGED.into()),
        Err(error) if error.kind == StorageErrorKind::NotFound => return Err(CHANGED.into()),
        Err(error) => return Err(error.into()),
    };
    let clock = scene.bounds.clock();
    let mut object = NewObject::like(&found, scene.nonces.next()?, clock.wall());
    // The copy is new, unless the client says otherwise.
    object.metadata.retain(|(name, _)| &**name != MTIME);
    store_with(&mut object, copy.given);
    let apart = scene.are_apart(&copy.source.bucket, &target.bucket);
    let _room = copying::room(scene, found.size, apart).await?;
    let kept = scene.store.capabilities(&target.bucket);
    if copy.exclusive
        && !(kept.conditional_copy && kept.conditional_complete)
        && names::find_file(&**scene.store, target).await? != Found::Nothing
    {
        return Err(EXISTS.into());
    }
    scene.bounds.stop.check()?;
    let copying = Copying {
        source: &copy.source,
        found: &found,
        target,
        object: &object,
        onto: if copy.exclusive {
            Onto::Nothing
        } else {
            Onto::Anything
        },
    };
    let stored = copying::copy(scene, copying).await?;
    Ok((stored, found))
}

const SAME_FILE: Status = Status::failure("A file cannot be copied onto itself");
const REMOVED: Status =
    Status::failure("The file was removed while it was open; nothing is copied into it");
const SOURCE_WRITTEN: Status =
    Status::unsupported("The file was changed by this handle; close it first");
