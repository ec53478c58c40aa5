//! What RENAME and REMOVE are to the files that are open under their names.
//!
//! A file that is being written goes to its new name: with the object that is stored under the old
//! one, if there is one, and by itself otherwise. One whose name another file takes is stored
//! nowhere.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::sftp::{HandleId, Status};
use crate::transfer::WriteFile;
use crate::transfer::read_file::ReadHeard;
use crate::transfer::write_file::Heard;
use crate::vfs::{Ending, VirtualPath, WrittenPath};

use super::act::{Act, NewPlace, PathRequest, Running, WrittenFile};
use super::files::{Files, Handle};
use super::open_file::OpenFile;
use super::plan::{Need, Target, plan};
use super::reading::RENAMED;
use super::shell::Shell;
use super::status::{BEING_WRITTEN, EXISTS};
use super::writing::{Place, Writing};

// ---- before it begins ----

/// Refuses a RENAME for what this session writes: below either name, or twice under the old one.
pub(super) fn check(
    files: &Files,
    request: &PathRequest,
    to: &WrittenPath,
    replace: bool,
) -> Result<(), Status> {
    let (from, new) = (&request.path, &to.path);
    let mut writers = 0_usize;
    for (place, _) in files.uploads() {
        let below = |path: &VirtualPath| place.path.below(path).is_some();
        if place.path == *from && request.ending == Ending::Name {
            writers = writers.saturating_add(1);
        } else if place.path == *new {
            if !replace && to.ending == Ending::Name {
                return Err(EXISTS);
            }
        } else if below(from) || below(new) {
            return Err(BEING_WRITTEN);
        }
    }
    let mover = written(files, request).map(|file| file.place.handle);
    if writers > 1 || reserved_by(files, new).is_some_and(|holder| Some(holder) != mover) {
        return Err(BEING_WRITTEN);
    }
    Ok(())
}

/// Says whether an upload that was begun under a name, and has another one by now, completes there.
pub(super) fn is_reserved(files: &Files, path: &VirtualPath) -> bool {
    reserved_by(files, path).is_some()
}

fn reserved_by(files: &Files, path: &VirtualPath) -> Option<HandleId> {
    let mut appearing = files.files().filter(|file| appears(file));
    let holder = appearing.find(|file| begun_at(file) == Some(path))?;
    Some(holder.place.handle)
}

/// Returns the name at which the upload of a handle was begun, if the file has another one by now.
fn begun_at_of(files: &Files, handle: HandleId) -> Option<&VirtualPath> {
    match files.open.get(&handle)? {
        Handle::File(file) => begun_at(file),
        Handle::Directory(_) => None,
    }
}

fn begun_at(file: &OpenFile) -> Option<&VirtualPath> {
    file.writing.as_ref().and_then(Writing::begun_at)
}

fn appears(file: &OpenFile) -> bool {
    file.own().is_some_and(WriteFile::will_appear)
}

fn written<'f>(files: &'f Files, request: &PathRequest) -> Option<&'f OpenFile> {
    if !matches!(request.act, Act::Rename { .. }) || request.ending != Ending::Name {
        return None;
    }
    let mut appearing = files.files().filter(|file| appears(file));
    appearing.find(|file| file.place.path == request.path)
}

/// Returns the file that the session writes under the name that it renames.
pub(super) fn written_file(
    shell: &Shell,
    files: &Files,
    request: &PathRequest,
) -> Option<WrittenFile> {
    let file = written(files, request)?;
    let writing = file.writing.as_ref()?;
    Some(WrittenFile {
        handle: file.place.handle,
        is_new: writing.is_new(shell, &file.place),
        is_begun: writing.file().is_begun(),
        has_base: writing.file().has_base(),
    })
}

/// Returns the file whose CLOSE a request waits for, and until when: what it is to see stands under
/// the name since a RENAME, and is stored by a CLOSE that comes next.
fn awaited(files: &Files, request: &PathRequest) -> Option<(HandleId, Instant)> {
    let looks = match &request.act {
        Act::Open { mode, .. } => !mode.truncate && !mode.exclusive,
        Act::Check(check) => check.version.is_none(),
        Act::Stat
        | Act::SetStat(_)
        | Act::StatVfs
        | Act::ReadLink
        | Act::OpenDirectory
        | Act::Remove
        | Act::MkDir
        | Act::RmDir
        | Act::Rename { .. }
        | Act::Copy(_)
        | Act::Close(_) => false,
    };
    if !looks {
        return None;
    }
    let mut appearing = files.files().filter(|file| appears(file));
    let file = appearing.find(|file| file.place.path == request.path)?;
    let until = file
        .writing
        .as_ref()
        .and_then(Writing::close_expected_until);
    Some((file.place.handle, until?))
}

/// Takes the next request that was not compared with the others yet. An OPEN of what was just
/// renamed to its name lets the CLOSE go first that stores it. The error: it waits for that so long.
pub(super) fn next_in_line(
    files: &Files,
    waiting: &mut VecDeque<PathRequest>,
    ordered: &VecDeque<Running>,
    now: Instant,
) -> Result<Option<PathRequest>, Instant> {
    let awaited = waiting.front().and_then(|first| awaited(files, first));
    if let Some((handle, until)) = awaited {
        if let Some(at) = waiting.iter().position(|request| request.closes(handle)) {
            return Ok(waiting.remove(at));
        }
        let comes = ordered.iter().any(|one| one.request.closes(handle));
        if !comes && !files.is_closing(handle) && now < until {
            return Err(until);
        }
    }
    Ok(waiting.pop_front())
}

/// Returns the names that a request is about, and the one where an upload was begun that it closes.
pub(super) fn names_of(files: &Files, request: &PathRequest) -> Vec<VirtualPath> {
    let mut names = request.paths();
    if let Act::Close(handle) = request.act {
        names.extend(begun_at_of(files, handle).cloned());
    }
    names
}

// ---- while it is under way ----

/// Notes that a rename of files that are being read begins.
pub(super) fn moving(shell: &mut Shell, files: &mut Files, from: &VirtualPath) {
    for file in read_under(files, from) {
        file.hear_read(shell, ReadHeard::Moving);
    }
}

fn read_under<'f>(
    files: &'f mut Files,
    path: &VirtualPath,
) -> impl Iterator<Item = &'f mut OpenFile> {
    let handles = files.open.values_mut();
    handles.filter_map(move |handle| match handle {
        Handle::File(file) if file.reading.is_some() && file.place.path.below(path).is_some() => {
            Some(&mut **file)
        }
        Handle::File(_) | Handle::Directory(_) => None,
    })
}

// ---- when it is done ----

/// Notes that the name of files that are being written was removed.
pub(super) fn unlink(shell: &mut Shell, files: &mut Files, path: &VirtualPath) {
    tell_writers(shell, files, path, || Heard::Unlinked);
}

/// Notes that a file took the new name of a RENAME: those that are being written under it are
/// stored nowhere.
pub(super) fn replaced(shell: &mut Shell, files: &mut Files, request: &PathRequest) {
    if let Act::Rename { to, .. } = &request.act {
        unlink(shell, files, &to.path);
    }
}

/// Notes that open files kept their name.
pub(super) fn stayed(shell: &mut Shell, files: &mut Files, from: &VirtualPath) {
    for file in read_under(files, from) {
        file.hear_read(shell, ReadHeard::Moved(Ok(())));
    }
    tell_writers(shell, files, from, || Heard::Renamed(None));
}

fn tell_writers(
    shell: &mut Shell,
    files: &mut Files,
    path: &VirtualPath,
    heard: impl Fn() -> Heard,
) {
    for id in files.ids() {
        if let Some(Handle::File(file)) = files.open.get(&id)
            && file.place.path == *path
            && file.writing.is_some()
        {
            // It answers no CLOSE.
            files.hear_write(shell, id, heard());
        }
    }
}

/// Notes that files that are being read have another name: their bytes are found there, if they
/// are still the same.
pub(super) fn moved(shell: &mut Shell, files: &mut Files, from: &VirtualPath, to: &VirtualPath) {
    let config = Arc::clone(shell.user.config());
    for file in read_under(files, from) {
        // What was written belongs to the name that it was opened under.
        if file.writing.is_some() {
            file.hear_read(shell, ReadHeard::Moved(Err(RENAMED)));
            continue;
        }
        let below = file.place.path.below(from).unwrap_or_default();
        let path = VirtualPath::resolve(to, below.as_bytes());
        let target = path.map(|path| (plan(&config.home, &path, Need::Look), path));
        let Ok((Ok(Target::Object { location, .. }), path)) = target else {
            file.hear_read(shell, ReadHeard::Moved(Err(RENAMED)));
            continue;
        };
        file.place.path = path;
        file.place.location = location;
        if let Some(reading) = &file.reading {
            reading.follow(shell, &file.place);
        }
    }
}

/// Gives a file that is being written its new place.
pub(super) fn written_moved(
    shell: &mut Shell,
    files: &mut Files,
    path: &VirtualPath,
    to: NewPlace,
) {
    let Some(Handle::File(file)) = files.open.get_mut(&to.handle) else {
        return;
    };
    let place = Place {
        handle: to.handle,
        path: path.clone(),
        location: to.location.clone(),
        access: to.access,
    };
    let before = std::mem::replace(&mut file.place, place);
    if let Some(reading) = &file.reading {
        reading.follow(shell, &file.place);
    }
    if let Some(writing) = &mut file.writing {
        let handle = to.handle;
        let renamed = writing.renamed(shell, (&before, &file.place), to);
        files.hear_write(shell, handle, Heard::Renamed(Some(renamed)));
    }
}
