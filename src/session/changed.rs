//! The line of record about what a session changed.

use crate::audit::{self, Name};
use crate::vfs::Place;

use super::act::{Act, PathRequest};
use super::shell::Shell;

/// Writes what was changed, and where.
pub(super) fn log_change(shell: &Shell, request: &PathRequest) {
    let home = &shell.user.config().home;
    let is_directory = matches!(request.act, Act::MkDir | Act::RmDir);
    let name = |path| Name {
        path,
        place: home.place(path).ok().and_then(|place| match place {
            Place::Inside { location, .. } | Place::File { location, .. } => {
                let slash = if is_directory { "/" } else { "" };
                Some((location.bucket, format!("{}{slash}", location.key.as_str())))
            }
            Place::MappingRoot { .. }
            | Place::Virtual
            | Place::Buckets
            | Place::Bucket { .. }
            | Place::Nowhere => None,
        }),
    };
    let took = shell
        .now()
        .saturating_duration_since(request.pending.asked());
    let to = request.act.new_name().map(name);
    let operation = request.pending.operation();
    audit::changed(operation, &name(&request.path), to.as_ref(), took);
}
