//! What is stored with a file of what clients say of it (pure), in the form of rclone and s3fs.

#![warn(clippy::arithmetic_side_effects)]

use crate::config::StatTimes;
use crate::sftp::{Attributes, FileType, Given};
use crate::storage::{NewObject, ObjectMeta};

/// What clients are shown of it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Shows {
    pub(crate) times: StatTimes,
    /// Modes and owners, where they are stored.
    pub(crate) modes: bool,
}

impl Shows {
    /// Returns the attributes of a file with what was stored with it.
    pub(crate) fn with(self, attrs: Attributes, stored: Given) -> Attributes {
        let modified = match self.times {
            StatTimes::Kept => stored.modified,
            StatTimes::Store => None,
        };
        let times = modified.map(|modified| (modified, modified));
        let (mode, owner) = if self.modes {
            (stored.mode, stored.owner)
        } else {
            (None, None)
        };
        let mode = mode.map(|mode| FileType::Regular.bits() | mode);
        Attributes {
            size: attrs.size,
            owner: owner.or(attrs.owner),
            permissions: mode.or(attrs.permissions),
            times: times.or(attrs.times),
        }
    }
}

/// Returns what was stored with a file.
pub(crate) fn stored_with(meta: &ObjectMeta) -> Given {
    let number = |name| meta.metadata(name).and_then(seconds);
    Given {
        modified: number(MTIME),
        mode: number(MODE).map(|mode| mode & 0o7777),
        owner: number(UID).zip(number(GID)),
    }
}

/// Stores what a client says of a file with its object.
pub(crate) fn store_with(object: &mut NewObject, given: Given) {
    let mode = given.mode.map(|mode| FileType::Regular.bits() | mode);
    let fields = [
        (MTIME, given.modified),
        (MODE, mode),
        (UID, given.owner.map(|(user, _)| user)),
        (GID, given.owner.map(|(_, group)| group)),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            object.metadata.retain(|(other, _)| &**other != name);
            object
                .metadata
                .push((name.into(), value.to_string().into()));
        }
    }
}

/// Reads a time as other programs write it too: seconds since 1970, with or without a fraction.
fn seconds(text: &str) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = fraction.bytes().all(|byte| byte.is_ascii_digit());
    whole.parse().ok().filter(|_| is_number)
}

/// Where a file's time is kept, in seconds since 1970.
pub(crate) const MTIME: &str = "mtime";
/// Where s3fs keeps its mode, with the type of the file, as a decimal number.
const MODE: &str = "mode";
const UID: &str = "uid";
const GID: &str = "gid";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_other_programs_are_read() {
        assert_eq!(seconds("1700000000"), Some(1_700_000_000));
        assert_eq!(seconds("1700000000.123456789"), Some(1_700_000_000));
        for none in ["", ".5", "-1", "1e9", "1700000000.x", "99999999999"] {
            assert_eq!(seconds(none), None, "{none}");
        }
    }

    #[test]
    fn modes_and_owners_are_shown_only_where_they_are_kept() {
        let attrs = Attributes::of(FileType::Regular, 5, 0o644, 1_000);
        let stored = Given {
            modified: Some(2_000),
            mode: Some(0o4750),
            owner: Some((7, 8)),
        };
        let shows = |times, modes| Shows { times, modes }.with(attrs, stored);
        let kept = shows(StatTimes::Kept, true);
        assert_eq!(kept.permissions, Some(0o104_750));
        assert_eq!(
            (kept.owner, kept.times),
            (Some((7, 8)), Some((2_000, 2_000)))
        );
        assert_eq!(shows(StatTimes::Store, false), attrs);
    }
}
