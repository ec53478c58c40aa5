//! NAMES → PLACES (pure): virtual paths, mappings and the tree that they make.

#![warn(clippy::arithmetic_side_effects)]

pub use self::mapping::{
    Access, EntryType, HomeType, Mapping, MappingError, PartialUploads, with_objects,
};
pub use self::path::{Ending, PathError, VirtualPath, WrittenPath};
pub use self::place::Place;
pub use self::tree::HomeDirectory;

mod mapped;
mod mapping;
mod past;
mod path;
mod place;
mod role;
mod targets;
mod tree;
