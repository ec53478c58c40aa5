//! `/.history`: what the files of a home were, under the paths that they have.

use std::borrow::Cow;

use super::mapping::{Access, Mapping};
use super::path::VirtualPath;
use super::place::Place;
use crate::storage::Location;

/// Returns the path that a path below `/.history` is about.
pub(super) fn present(path: &VirtualPath) -> Option<VirtualPath> {
    let rest = path.as_str().strip_prefix(ROOT)?;
    match rest {
        "" => Some(VirtualPath::root()),
        rest if rest.starts_with('/') => VirtualPath::parse(rest).ok(),
        _ => None,
    }
}

/// Returns the history of a place: nobody changes it, and only who may read the files sees it. A
/// file mapping has none: what is below its key is nobody's business.
pub(super) fn of(place: Place<'_>) -> Place<'static> {
    match place {
        Place::Virtual => Place::Virtual,
        Place::Buckets => Place::Buckets,
        Place::Bucket { bucket, access } if access.may_read() => Place::Bucket {
            bucket: bucket.history(""),
            access: Access::Read,
        },
        Place::MappingRoot { mapping } if mapping.access.may_read() => past(mapping.into_owned())
            .map_or(Place::Nowhere, |mapping| Place::MappingRoot {
                mapping: Cow::Owned(mapping),
            }),
        Place::Inside { mapping, location } if mapping.access.may_read() => {
            past(mapping.into_owned()).map_or(Place::Nowhere, |mapping| Place::Inside {
                location: Location {
                    bucket: mapping.bucket.clone(),
                    key: location.key,
                },
                mapping: Cow::Owned(mapping),
            })
        }
        Place::Bucket { .. }
        | Place::MappingRoot { .. }
        | Place::Inside { .. }
        | Place::File { .. }
        | Place::Nowhere => Place::Nowhere,
    }
}

/// Returns the same mapping below `/.history`.
fn past(mapping: Mapping) -> Option<Mapping> {
    let entry = if mapping.entry.is_root() {
        ROOT.to_owned()
    } else {
        format!("{ROOT}{}", mapping.entry)
    };
    Some(Mapping {
        entry: VirtualPath::resolve(&VirtualPath::root(), entry.as_bytes()).ok()?,
        bucket: mapping.bucket.history(&mapping.prefix),
        access: Access::Read,
        ..mapping
    })
}

const ROOT: &str = "/.history";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::{EntryType, HomeDirectory};

    fn show(home: &HomeDirectory, path: &str) -> String {
        let path = VirtualPath::parse(path).unwrap();
        match home.place(&path).unwrap() {
            Place::Virtual => "virtual".to_owned(),
            Place::MappingRoot { mapping } => {
                let past = mapping.bucket.history_root();
                format!("{} {} {past:?}", mapping.entry, mapping.bucket)
            }
            Place::Inside { mapping, location } => {
                let access = mapping.access.as_str();
                format!("{access} {location} {:?}", location.bucket.history_root())
            }
            Place::Buckets => "buckets".to_owned(),
            Place::Bucket { bucket, .. } => format!("{bucket} {:?}", bucket.history_root()),
            Place::File { .. } => "file".to_owned(),
            Place::Nowhere => "nowhere".to_owned(),
        }
    }

    fn home(rows: &[(&str, &str, EntryType, Access)]) -> HomeDirectory {
        let mappings = rows.iter().map(|(entry, target, entry_type, access)| {
            Mapping::parse(entry, target, *entry_type, *access).unwrap()
        });
        HomeDirectory::logical(mappings.collect(), VirtualPath::root()).unwrap()
    }

    #[test]
    fn every_path_has_a_past_as_far_as_it_may_be_read() {
        let (directory, file) = (EntryType::Directory, EntryType::File);
        let home = home(&[
            ("/a/in", "/b/x/y", directory, Access::ReadWrite),
            ("/drop", "/b/drop", directory, Access::Write),
            ("/one", "/b/one", file, Access::Read),
        ]);
        assert_eq!(show(&home, "/.history/a/in/f"), "nowhere");
        let home = home.with_history();
        for (path, expected) in [
            ("/.history", "virtual"),
            ("/.history/a", "virtual"),
            ("/.history/a/in", "/.history/a/in b Some(\"x/y\")"),
            (
                "/.history/a/in/f/v",
                "read history of s3://b/x/y/f/v Some(\"x/y\")",
            ),
            ("/a/in/.history/f", "read-write s3://b/x/y/.history/f None"),
            ("/.history/drop", "nowhere"),
            ("/.history/drop/f", "nowhere"),
            ("/.history/one", "nowhere"),
            ("/.history/none", "nowhere"),
            ("/.historyx", "nowhere"),
        ] {
            assert_eq!(show(&home, path), expected, "{path}");
        }
        let above = VirtualPath::parse("/.history").unwrap();
        let names: Vec<_> = home.children(&above).map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "drop", "one"]);
    }

    #[test]
    fn the_home_of_a_role_has_a_past_in_every_bucket() {
        let home = HomeDirectory::of_role("/b/home", Access::ReadWrite).unwrap();
        let home = home.with_history();
        for (path, expected) in [
            ("/.history", "buckets"),
            ("/.history/b/home", "/.history/b/home b Some(\"home\")"),
            (
                "/.history/b/home/f",
                "read history of s3://b/home/f Some(\"home\")",
            ),
            ("/.history/b", "/.history/b b Some(\"\")"),
            ("/.history/other", "other Some(\"\")"),
            (
                "/.history/other/f",
                "read history of s3://other/f Some(\"\")",
            ),
        ] {
            assert_eq!(show(&home, path), expected, "{path}");
        }
        let whole = HomeDirectory::logical(
            vec![Mapping::parse("/", "/b", EntryType::Directory, Access::Read).unwrap()],
            VirtualPath::root(),
        );
        let whole = whole.unwrap().with_history();
        assert_eq!(show(&whole, "/.history"), "/.history b Some(\"\")");
        assert_eq!(
            show(&whole, "/.history/f"),
            "read history of s3://b/f Some(\"\")"
        );
    }
}
