//! A file that gets another name while it is written.

use super::{Renamed, WriteFile};
use crate::storage::Precondition;

/// Takes the name that a RENAME gave it; `None`: it keeps the one that it has.
///
/// The key of an upload that the store has begun is fixed: it completes there, where nothing else
/// may have been put meanwhile, and its object moves on.
pub(super) fn renamed(file: &mut WriteFile, to: Option<Renamed>) {
    file.renames.under_way = false;
    let Some(to) = to else {
        return;
    };
    let opening = &mut file.opening;
    opening.mode.exclusive = false;
    // What somebody else put under its name since OPEN, where nothing was to be, went along: it is
    // not written over.
    if opening.condition != Precondition::IfNoneMatch || to.moved.is_none() {
        opening.condition = to.condition;
        opening.alone = to.alone;
    }
    opening.partial = to.partial;
    if let Some(base) = &mut opening.base {
        base.location = to.location;
        match to.moved {
            Some((before, after)) if before == base.etag => base.etag = after,
            // Another version went along, or none: CLOSE finds that out.
            Some(_) | None => {
                opening.condition = Precondition::IfMatch(base.etag.clone());
                opening.alone = opening.alone.as_ref().map(|_| opening.condition.clone());
            }
        }
    }
    file.renames.begun_elsewhere =
        (file.is_begun() && !to.is_where_begun).then_some(Precondition::IfNoneMatch);
}
