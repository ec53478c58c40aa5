//! `ATTRS` (draft-02 §5).

use bytes::{BufMut as _, BytesMut};

use super::wire::{Reader, Truncated};

/// What a client says, or is told, of a file. A missing field is not known or not to be changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    pub size: Option<u64>,
    pub owner: Option<(u32, u32)>,
    /// File type and permission bits, as POSIX has them.
    pub permissions: Option<u32>,
    /// Access and modification time, in seconds since 1970.
    pub times: Option<(u32, u32)>,
}

/// What a client says of a file that can be kept with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Given {
    /// In seconds since 1970.
    pub modified: Option<u32>,
    /// POSIX's permission bits, without the type of the file.
    pub mode: Option<u32>,
    /// User and group.
    pub owner: Option<(u32, u32)>,
}

impl Given {
    /// Says whether there is something to be kept.
    #[must_use]
    pub fn is_something(self) -> bool {
        self != Self::default()
    }

    /// Adds what was said before, where it was not said again.
    #[must_use]
    pub fn or(self, before: Self) -> Self {
        Self {
            modified: self.modified.or(before.modified),
            mode: self.mode.or(before.mode),
            owner: self.owner.or(before.owner),
        }
    }

    /// Leaves out what is kept already.
    #[must_use]
    pub fn without(self, kept: Self) -> Self {
        Self {
            modified: self.modified.filter(|_| self.modified != kept.modified),
            mode: self.mode.filter(|_| self.mode != kept.mode),
            owner: self.owner.filter(|_| self.owner != kept.owner),
        }
    }
}

/// The two kinds of things there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileType {
    Regular,
    Directory,
}

impl FileType {
    /// Returns POSIX's type bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Self::Regular => 0o100_000,
            Self::Directory => 0o040_000,
        }
    }
}

/// Permissions and the sticky bit. A client sets owners as it likes: with set-user-ID or
/// set-group-ID a file would run as anybody, wherever the bucket is mounted.
const MODE_KEPT: u32 = 0o1777;

impl Attributes {
    const SIZE: u32 = 0x0000_0001;
    const OWNER: u32 = 0x0000_0002;
    const PERMISSIONS: u32 = 0x0000_0004;
    const TIMES: u32 = 0x0000_0008;
    const EXTENDED: u32 = 0x8000_0000;

    /// Returns the attributes of a file or directory that S3 knows.
    #[must_use]
    pub const fn of(file_type: FileType, size: u64, mode: u32, modified: u32) -> Self {
        Self {
            size: Some(size),
            owner: Some((0, 0)),
            permissions: Some(file_type.bits() | mode),
            times: Some((modified, modified)),
        }
    }

    /// Returns what can be kept with the file.
    #[must_use]
    pub fn given(&self) -> Given {
        Given {
            modified: self.times.map(|(_, modified)| modified),
            mode: self.permissions.map(|bits| bits & MODE_KEPT),
            owner: self.owner,
        }
    }

    /// Says whether the permissions name a directory.
    #[must_use]
    pub const fn names_directory(&self) -> bool {
        matches!(self.permissions, Some(bits) if bits & 0o170_000 == 0o040_000)
    }

    /// Reads attributes; extended pairs are skipped.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Truncated> {
        let flags = reader.u32()?;
        let mut attrs = Self::default();
        if flags & Self::SIZE != 0 {
            attrs.size = Some(reader.u64()?);
        }
        if flags & Self::OWNER != 0 {
            attrs.owner = Some((reader.u32()?, reader.u32()?));
        }
        if flags & Self::PERMISSIONS != 0 {
            attrs.permissions = Some(reader.u32()?);
        }
        if flags & Self::TIMES != 0 {
            attrs.times = Some((reader.u32()?, reader.u32()?));
        }
        if flags & Self::EXTENDED != 0 {
            // A count that the packet cannot hold ends at the first missing string.
            for _ in 0..reader.u32()? {
                reader.string()?;
                reader.string()?;
            }
        }
        Ok(attrs)
    }

    pub(super) fn write(&self, out: &mut BytesMut) {
        let flag = |set: bool, bit: u32| if set { bit } else { 0 };
        out.put_u32(
            flag(self.size.is_some(), Self::SIZE)
                | flag(self.owner.is_some(), Self::OWNER)
                | flag(self.permissions.is_some(), Self::PERMISSIONS)
                | flag(self.times.is_some(), Self::TIMES),
        );
        if let Some(size) = self.size {
            out.put_u64(size);
        }
        if let Some((user, group)) = self.owner {
            out.put_u32(user);
            out.put_u32(group);
        }
        if let Some(permissions) = self.permissions {
            out.put_u32(permissions);
        }
        if let Some((accessed, modified)) = self.times {
            out.put_u32(accessed);
            out.put_u32(modified);
        }
    }
}
