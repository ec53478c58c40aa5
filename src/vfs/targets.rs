//! Which mapping an object belongs to, by its place in the bucket and not by the path to it: what
//! an object carries has to be the same whichever way it is reached.

use std::cmp::Ordering;

use super::mapping::{EntryType, Mapping, MappingError};
use crate::storage::{Bucket, Location};

/// The places of mappings that may be written to, in the order of their targets; empty where none
/// of them has settings for objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Targets(Vec<u32>);

impl Targets {
    pub(super) fn of(mappings: &[Mapping]) -> Result<Self, MappingError> {
        if mappings.iter().all(|mapping| mapping.objects.is_none()) {
            return Ok(Self::default());
        }
        let numbered = (0_u32..).zip(mappings);
        let mut targets: Vec<_> = numbered
            .filter(|(_, mapping)| mapping.access.may_write())
            .collect();
        targets.sort_by(|(_, one), (_, other)| {
            compare(one, &other.bucket, &other.prefix, other.entry_type)
        });
        for pair in targets.windows(2) {
            if let [(_, one), (_, other)] = pair
                && compare(one, &other.bucket, &other.prefix, other.entry_type).is_eq()
                && one.asked_of_objects() != other.asked_of_objects()
            {
                let entry = |mapping: &Mapping| mapping.entry.as_str().into();
                return Err(MappingError::ObjectsDiffer(entry(one), entry(other)));
            }
        }
        Ok(Self(targets.into_iter().map(|(at, _)| at).collect()))
    }

    /// Finds the mapping with the longest target that a place is, or is below.
    pub(super) fn mapping_of<'m>(
        &self,
        mappings: &'m [Mapping],
        location: &Location,
    ) -> Option<&'m Mapping> {
        if self.0.is_empty() {
            return None;
        }
        let (bucket, key) = (&location.bucket, location.key.as_str());
        let found = self.find(mappings, bucket, key, EntryType::File);
        let mut above = Some(key);
        let mut directories = std::iter::from_fn(|| {
            let key = above?;
            let (prefix, more) = match key.rsplit_once('/') {
                Some((prefix, _)) => (prefix, Some(prefix)),
                None => ("", None),
            };
            above = more;
            Some(prefix)
        });
        found.or_else(|| {
            directories.find_map(|prefix| self.find(mappings, bucket, prefix, EntryType::Directory))
        })
    }

    fn find<'m>(
        &self,
        mappings: &'m [Mapping],
        bucket: &Bucket,
        prefix: &str,
        entry_type: EntryType,
    ) -> Option<&'m Mapping> {
        let mapping = |at: u32| mappings.get(usize::try_from(at).ok()?);
        let found = self.0.binary_search_by(|at| {
            mapping(*at).map_or(Ordering::Less, |one| {
                compare(one, bucket, prefix, entry_type)
            })
        });
        mapping(*self.0.get(found.ok()?)?)
    }
}

fn compare(one: &Mapping, bucket: &Bucket, prefix: &str, entry_type: EntryType) -> Ordering {
    let is_file = |entry_type: EntryType| match entry_type {
        EntryType::File => true,
        EntryType::Directory => false,
    };
    let target = (&one.bucket, &*one.prefix, is_file(one.entry_type));
    target.cmp(&(bucket, prefix, is_file(entry_type)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::storage::{Key, ObjectSettings};
    use crate::vfs::{Access, HomeDirectory, VirtualPath};

    fn settings(class: &str) -> Arc<ObjectSettings> {
        Arc::new(ObjectSettings {
            storage_class: Some(class.into()),
            ..ObjectSettings::default()
        })
    }

    fn mapping(entry: &str, target: &str, class: &str) -> Mapping {
        let mapping = Mapping::parse(entry, target, EntryType::Directory, Access::ReadWrite);
        let objects = (!class.is_empty()).then(|| settings(class));
        mapping.unwrap().with_objects(objects)
    }

    fn home(mappings: Vec<Mapping>) -> Result<HomeDirectory, MappingError> {
        HomeDirectory::logical(mappings, VirtualPath::root())
    }

    #[test]
    fn the_longest_target_says_what_an_object_carries() {
        let file = Mapping::parse("/f", "/b/x/f", EntryType::File, Access::ReadWrite);
        let home = home(vec![
            mapping("/all", "/b", "ALL"),
            mapping("/x", "/b/x", "X"),
            mapping("/plain", "/b/x/plain", ""),
            mapping("/deep", "/b/x/y/z", "DEEP"),
            mapping("/other", "/c", ""),
            file.unwrap().with_objects(Some(settings("FILE"))),
        ])
        .unwrap();
        for (bucket, key, class) in [
            ("b", "a", "ALL"),
            ("b", "a/b/c", "ALL"),
            ("b", "x", "ALL"),
            ("b", "x/", "X"),
            ("b", "x/a", "X"),
            ("b", "xy/a", "ALL"),
            ("b", "x/y/z", "X"),
            ("b", "x/y/z/a", "DEEP"),
            ("b", "x/plain/a", ""),
            ("b", "x/f", "FILE"),
            ("b", "x/f/a", "X"),
            ("c", "a", ""),
            ("d", "a", ""),
        ] {
            let location = Location {
                bucket: Bucket::parse(bucket).unwrap(),
                key: Key::parse(key).unwrap(),
            };
            let found = home.objects_at(&location);
            let found = found.and_then(|found| found.storage_class.as_deref());
            assert_eq!(found.unwrap_or_default(), class, "{bucket} {key}");
        }
    }

    #[test]
    fn one_target_cannot_carry_two_things() {
        let differ = vec![mapping("/a", "/b/x", "A"), mapping("/c", "/b/x", "")];
        let error = home(differ).unwrap_err();
        assert_eq!(error.reason().as_str(), "object-settings");
        let same = vec![mapping("/a", "/b/x", "A"), mapping("/c", "/b/x", "A")];
        let same = home(same).unwrap();
        let objects: Vec<_> = same.mappings().iter().map(|one| &one.objects).collect();
        let [Some(one), Some(other)] = objects[..] else {
            panic!("{objects:?}")
        };
        assert!(Arc::ptr_eq(one, other));
        // To ask for nothing is the same as to say nothing.
        let nothing = mapping("/c", "/b/x", "").with_objects(Some(Arc::default()));
        assert!(home(vec![mapping("/a", "/b/x", ""), nothing.clone()]).is_ok());
        assert!(home(vec![mapping("/a", "/b/x", "A"), nothing]).is_err());
        // Nothing is written through one that is only read.
        let reads = Mapping::parse("/r", "/b/x", EntryType::Directory, Access::Read).unwrap();
        assert!(home(vec![mapping("/a", "/b/x", "A"), reads]).is_ok());
    }
}
