//! The tree that mappings make: directories above their entries, and what stands below them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::mapping::{EntryType, Mapping, MappingError};
use super::path::VirtualPath;
use super::place::Place;
use super::targets::Targets;
use crate::limits;
use crate::storage::{Bucket, Location, NameError, ObjectSettings};

/// Mappings whose entries do not overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct MappedTree {
    mappings: Vec<Mapping>,
    /// Places in `mappings`, in the byte order of the entries: what stands below a directory
    /// stands side by side. Directories that exist only because an entry stands below them are
    /// found like this as well. This keeps thousands of mappings small.
    order: Vec<u32>,
    targets: Targets,
}

impl MappedTree {
    pub(super) fn new(mut mappings: Vec<Mapping>) -> Result<Self, MappingError> {
        if mappings.is_empty() {
            return Err(MappingError::None);
        }
        if mappings.len() > limits::MAPPINGS_MAX {
            return Err(MappingError::TooMany(mappings.len()));
        }
        if mappings.len() > 1 && mappings.iter().any(|mapping| mapping.entry.is_root()) {
            return Err(MappingError::RootBesideOthers(
                mappings.len().saturating_sub(1),
            ));
        }
        share_buckets(&mut mappings);
        share_objects(&mut mappings);
        mappings.shrink_to_fit();
        let tree = Self {
            order: ordered(&mappings),
            targets: Targets::of(&mappings)?,
            mappings,
        };
        tree.check_overlaps()?;
        Ok(tree)
    }

    /// Puts other names in place of buckets; `None`: each has the name that it is to have.
    pub(super) fn renamed(&self, name: &dyn Fn(&Bucket) -> Option<Bucket>) -> Option<Self> {
        let mut renamed = self.clone();
        let mut any = false;
        for mapping in &mut renamed.mappings {
            if let Some(bucket) = name(&mapping.bucket) {
                mapping.bucket = bucket;
                any = true;
            }
        }
        share_buckets(&mut renamed.mappings);
        if let Ok(targets) = Targets::of(&renamed.mappings) {
            renamed.targets = targets;
        }
        any.then_some(renamed)
    }

    /// Returns the settings of the mapping that a place is below, by its target.
    pub(super) fn objects_at(&self, location: &Location) -> Option<&Arc<ObjectSettings>> {
        self.targets
            .mapping_of(&self.mappings, location)?
            .objects
            .as_ref()
    }

    pub(super) fn mappings(&self) -> &[Mapping] {
        &self.mappings
    }

    pub(super) fn place(&self, path: &VirtualPath) -> Result<Place<'_>, NameError> {
        if let Some(mapping) = self.mapping_of(path) {
            let below = path.below(&mapping.entry).unwrap_or_default();
            return Place::in_mapping(mapping, below);
        }
        if path.is_root() || self.below(path).next().is_some() {
            return Ok(Place::Virtual);
        }
        Ok(Place::Nowhere)
    }

    /// Returns the names in a virtual directory, with what stands under each.
    pub(super) fn children<'a>(
        &'a self,
        path: &VirtualPath,
    ) -> impl Iterator<Item = (&'a str, EntryType)> + use<'a> {
        let mut last = None;
        let below = self.below(path);
        // The entry `/` is above nothing but itself.
        let below = below.filter(|(_, rest)| !rest.is_empty());
        below.filter_map(move |(mapping, rest)| {
            let (name, entry_type) = match rest.split_once('/') {
                Some((name, _)) => (name, EntryType::Directory),
                None => (rest, mapping.entry_type),
            };
            // What has the same name stands side by side.
            (last.replace(name) != Some(name)).then_some((name, entry_type))
        })
    }

    /// Returns the mappings whose entries stand below a path, and how each goes on from there.
    fn below<'a>(
        &'a self,
        path: &VirtualPath,
    ) -> impl Iterator<Item = (&'a Mapping, &'a str)> + use<'a> {
        let prefix = if path.is_root() {
            "/".to_owned()
        } else {
            format!("{path}/")
        };
        let from = self.order.partition_point(|at| self.entry(*at) < &*prefix);
        let rest = self.order.get(from..).unwrap_or_default();
        rest.iter().map_while(move |at| {
            let rest = self.entry(*at).strip_prefix(&*prefix)?;
            Some((self.mapping(*at)?, rest))
        })
    }

    /// Finds the one mapping whose entry is the path or an ancestor of it: entries do not overlap.
    fn mapping_of(&self, path: &VirtualPath) -> Option<&Mapping> {
        path.ancestors_and_self()
            .find_map(|ancestor| self.mapping_at(ancestor))
    }

    fn mapping_at(&self, entry: &str) -> Option<&Mapping> {
        let found = self
            .order
            .binary_search_by(|at| self.entry(*at).cmp(entry))
            .ok()?;
        self.mapping(*self.order.get(found)?)
    }

    /// What stands below an entry follows it in the order, with nothing between but names that go
    /// on with a character before `/`, such as `/a-b` between `/a` and `/a/b`.
    fn check_overlaps(&self) -> Result<(), MappingError> {
        let mut rest = &*self.order;
        while let Some((first, after)) = rest.split_first() {
            let entry = self.entry(*first);
            for other in after.iter().map(|at| self.entry(*at)) {
                match other.strip_prefix(entry).map(|more| more.bytes().next()) {
                    Some(None | Some(b'/')) => {
                        return Err(MappingError::Overlap(entry.into(), other.into()));
                    }
                    Some(Some(next)) if next < b'/' => {}
                    Some(Some(_)) | None => break,
                }
            }
            rest = after;
        }
        Ok(())
    }

    fn mapping(&self, at: u32) -> Option<&Mapping> {
        self.mappings.get(usize::try_from(at).ok()?)
    }

    fn entry(&self, at: u32) -> &str {
        self.mapping(at)
            .map_or("", |mapping| mapping.entry.as_str())
    }
}

/// Returns the places of mappings in the order of their entries.
fn ordered(mappings: &[Mapping]) -> Vec<u32> {
    let mut order: Vec<u32> = (0_u32..).take(mappings.len()).collect();
    let entry = |at: &u32| {
        let mapping = mappings.get(usize::try_from(*at).ok()?)?;
        Some(mapping.entry.as_str())
    };
    order.sort_unstable_by(|one, other| entry(one).cmp(&entry(other)));
    order
}

/// Keeps the name of each bucket once.
fn share_buckets(mappings: &mut [Mapping]) {
    let mut known: BTreeSet<Bucket> = BTreeSet::new();
    for mapping in mappings {
        if let Some(bucket) = known.get(&mapping.bucket) {
            mapping.bucket = bucket.clone();
        } else {
            known.insert(mapping.bucket.clone());
        }
    }
}

/// Keeps equal settings once.
fn share_objects(mappings: &mut [Mapping]) {
    let mut known: BTreeSet<Arc<ObjectSettings>> = BTreeSet::new();
    for objects in mappings.iter_mut().filter_map(|one| one.objects.as_mut()) {
        if let Some(same) = known.get(objects) {
            *objects = Arc::clone(same);
        } else {
            known.insert(Arc::clone(objects));
        }
    }
}
