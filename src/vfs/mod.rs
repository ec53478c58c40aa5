//! NAMES → PLACES (pure): virtual paths, mappings and the tree that they make.

#![warn(clippy::arithmetic_side_effects)]

pub use self::mapping::{Access, EntryType, HomeType, Mapping, MappingError};
pub use self::path::{Ending, PathError, VirtualPath, WrittenPath};
pub use self::tree::{HomeDirectory, Place};

mod mapping;
mod path;
mod tree;
