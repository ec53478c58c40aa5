//! The line of record about what a session changed.

use std::time::Instant;

use crate::audit::{self, Change, Confirmed, Name};
use crate::storage::Location;
use crate::storage::history::version_at;
use crate::vfs::{HomeDirectory, Place};

use super::act::{Act, PathAnswer, PathRequest, Running};
use super::shell::Shell;
use super::times::worth_a_copy;

/// Writes what a request came to that ended after its session.
pub(super) fn log_unheard(
    home: &HomeDirectory,
    now: Instant,
    request: &PathRequest,
    answer: &PathAnswer,
) {
    let done = match answer {
        PathAnswer::Changed(confirmed) | PathAnswer::Copied { confirmed, .. } => {
            log_change(home, now, request, confirmed);
            true
        }
        // What was stored went along; what was not is discarded.
        PathAnswer::RenamedOpen { confirmed, to } if to.moved.is_some() => {
            log_change(home, now, request, confirmed);
            true
        }
        PathAnswer::RenamedOpen { .. } | PathAnswer::Refused(_) => false,
        PathAnswer::Reply(_)
        | PathAnswer::Stated(_)
        | PathAnswer::Listed(_)
        | PathAnswer::Directory { .. }
        | PathAnswer::Opened { .. }
        | PathAnswer::Resized { .. } => true,
    };
    let (operation, path) = (request.pending.operation(), &request.path);
    tracing::warn!(operation, %path, done, "change ended after its session");
}

/// Writes what was changed, where, and what S3 said of it.
pub(super) fn log_change(
    home: &HomeDirectory,
    now: Instant,
    request: &PathRequest,
    confirmed: &Confirmed,
) {
    let change = match &request.act {
        Act::Remove => Change::Removed,
        Act::MkDir => Change::DirectoryMade,
        Act::RmDir => Change::DirectoryRemoved,
        // A version stays in the history.
        Act::Rename { .. } if home.is_past(&request.path) => Change::Copied,
        Act::Rename { .. } => Change::Renamed,
        Act::SetStat(_) => Change::TimeSet,
        Act::Copy(_) => Change::Copied,
        Act::Stat
        | Act::StatVfs
        | Act::ReadLink
        | Act::OpenDirectory
        | Act::Open { .. }
        | Act::Check(_)
        | Act::Close(_) => return,
    };
    let is_directory = matches!(request.act, Act::MkDir | Act::RmDir);
    let name = |path| {
        let location = home.place(path).ok().and_then(|place| match place {
            Place::Inside { location, .. } | Place::File { location, .. } => Some(location),
            Place::MappingRoot { .. }
            | Place::Virtual
            | Place::Buckets
            | Place::Bucket { .. }
            | Place::Nowhere => None,
        });
        let location = location.map(|location| version_at(&location).unwrap_or(location));
        let version = location.as_ref().and_then(|at| at.key.version());
        Name {
            path,
            version_id: version.map(str::to_owned),
            place: location.map(|Location { bucket, key }| {
                let slash = if is_directory { "/" } else { "" };
                (bucket, format!("{key}{slash}"))
            }),
        }
    };
    let took = now.saturating_duration_since(request.pending.asked());
    let to = request.act.new_name().map(name);
    audit::changed(change, &name(&request.path), to.as_ref(), confirmed, took);
}

/// Writes the line of what was done when its session was over already.
pub(crate) fn answered_too_late(shell: &Shell, running: &Running, answer: &PathAnswer) {
    let act = &running.request.act;
    if act.traits().outlives || replaces_version(shell, act) {
        let home = &shell.user.config().home;
        log_unheard(home, shell.now(), &running.request, answer);
    }
}

/// Says whether the session itself puts another version in the place of what it may be reading.
pub(super) fn replaces_version(shell: &Shell, act: &Act) -> bool {
    let given = act.given();
    let kept = given.and_then(|given| worth_a_copy(given, &shell.environment.limits));
    kept.is_some() || matches!(act, Act::Rename { .. })
}
