//! What can be asked of a path, and what each such request needs, changes and opens: one table.

use std::num::NonZeroU64;
use std::time::SystemTime;

use crate::audit::Confirmed;
use crate::sftp::{Attributes, CheckForm, Given, HandleId, OpenMode, Pending, Reply, Status};
use crate::storage::{ETag, Location, Nonce, ObjectMeta, Precondition};
use crate::transfer::Algorithm;
use crate::transfer::write_file::Base;
use crate::vfs::{Access, Ending, HomeDirectory, VirtualPath, WrittenPath};

use super::changes::ChangesMade;
use super::list::Listing;
use super::names::Stated;
use super::opening::OpenedObject;
use super::order::Ticket;
use super::plan::{Need, Target, plan, plan_moved, refuse_disclosure};
use super::status::Refusal;

/// What is to be done with a path.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    Stat,
    SetStat(Attributes),
    StatVfs,
    ReadLink,
    OpenDirectory,
    Open {
        mode: OpenMode,
        attrs: Attributes,
    },
    Remove,
    MkDir,
    RmDir,
    Rename {
        to: WrittenPath,
        replace: bool,
    },
    /// `copy-data` of a whole file into an empty one.
    Copy(Box<WholeCopy>),
    /// Checksums of a file are told.
    Check(Box<Check>),
    /// A writer's CLOSE: here the name changes what it stands for.
    Close(HandleId),
}

/// A version of a file that is copied to where an open file is to be, of which nothing was written.
#[derive(Debug, Clone)]
pub(crate) struct WholeCopy {
    pub(crate) source: Location,
    pub(crate) etag: ETag,
    pub(crate) to: VirtualPath,
    /// The open file.
    pub(crate) handle: HandleId,
    /// Nothing may be there that it would replace.
    pub(crate) exclusive: bool,
    /// What the client said of the open file.
    pub(crate) given: Given,
}

/// Which checksums of a file are told.
#[derive(Debug, Clone)]
pub(crate) struct Check {
    /// The version that an open file reads; `None`: what stands under the name.
    pub(crate) version: Option<CheckedVersion>,
    pub(crate) algorithm: Algorithm,
    pub(crate) offset: u64,
    /// `None`: up to the end.
    pub(crate) length: Option<NonZeroU64>,
    /// How many bytes have a sum of their own; `None`: all have one.
    pub(crate) block: Option<NonZeroU64>,
    pub(crate) form: CheckForm,
}

/// A version of a file that is open.
#[derive(Debug, Clone)]
pub(crate) struct CheckedVersion {
    pub(crate) location: Location,
    pub(crate) etag: ETag,
    pub(crate) size: u64,
}

/// What a request is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Traits {
    /// What it does to the path.
    pub(crate) need: Need,
    /// It waits for what came earlier on the same name, and later ones wait for it.
    pub(crate) changes: bool,
    /// It comes to its end even if its session does not: half of a rename is worse than either
    /// end of it.
    pub(crate) outlives: bool,
    /// It takes a handle.
    pub(crate) opens: bool,
}

impl Act {
    pub(crate) const fn traits(&self) -> Traits {
        let (need, changes, outlives, opens) = match self {
            Self::Stat | Self::StatVfs | Self::ReadLink => (Need::Look, false, false, false),
            Self::OpenDirectory => (Need::Look, false, false, true),
            Self::Open { mode, .. } if mode.write => (Need::Write, true, false, true),
            Self::Open { .. } => (Need::Read, false, false, true),
            Self::Check(_) => (Need::Read, false, false, false),
            // A size is set by a file that is opened and closed for it.
            Self::SetStat(attrs) => (Need::Write, true, false, attrs.size.is_some()),
            Self::Remove | Self::RmDir | Self::Rename { .. } => (Need::Write, true, true, false),
            Self::Copy(_) => (Need::Read, true, true, false),
            // What is there already is told before what may not be made.
            Self::MkDir => (Need::Look, true, true, false),
            Self::Close(_) => (Need::Look, true, false, false),
        };
        Traits {
            need,
            changes,
            outlives,
            opens,
        }
    }

    /// Returns what OPEN says of the file, or SETSTAT beside a size.
    pub(crate) fn opening_attributes(self) -> Attributes {
        match self {
            Self::Open { attrs, .. } => attrs,
            Self::SetStat(attrs) => Attributes {
                size: None,
                ..attrs
            },
            Self::Stat
            | Self::StatVfs
            | Self::ReadLink
            | Self::OpenDirectory
            | Self::Remove
            | Self::MkDir
            | Self::RmDir
            | Self::Rename { .. }
            | Self::Copy(_)
            | Self::Check(_)
            | Self::Close(_) => Attributes::default(),
        }
    }

    /// Returns what it says of a file, if it is not about a size.
    pub(crate) fn given(&self) -> Option<Given> {
        match self {
            Self::SetStat(attrs) if attrs.size.is_none() => Some(attrs.given()),
            Self::SetStat(_)
            | Self::Stat
            | Self::StatVfs
            | Self::ReadLink
            | Self::OpenDirectory
            | Self::Open { .. }
            | Self::Remove
            | Self::MkDir
            | Self::RmDir
            | Self::Rename { .. }
            | Self::Copy(_)
            | Self::Check(_)
            | Self::Close(_) => None,
        }
    }

    /// Returns the second name of a rename or a copy.
    pub(crate) fn new_name(&self) -> Option<&VirtualPath> {
        match self {
            Self::Rename { to, .. } => Some(&to.path),
            Self::Copy(copy) => Some(&copy.to),
            Self::Stat
            | Self::SetStat(_)
            | Self::StatVfs
            | Self::ReadLink
            | Self::OpenDirectory
            | Self::Open { .. }
            | Self::Remove
            | Self::MkDir
            | Self::RmDir
            | Self::Check(_)
            | Self::Close(_) => None,
        }
    }
}

/// A request that names a path, from its arrival to its answer.
#[derive(Debug)]
pub(crate) struct PathRequest {
    pub(crate) pending: Pending,
    pub(crate) path: VirtualPath,
    /// How the path was written at its end.
    pub(crate) ending: Ending,
    pub(crate) act: Act,
}

impl PathRequest {
    /// Returns the names that it is about.
    pub(crate) fn paths(&self) -> Vec<VirtualPath> {
        let mut paths = vec![self.path.clone()];
        paths.extend(self.act.new_name().cloned());
        paths
    }

    /// Says whether it closes a handle.
    pub(crate) fn closes(&self, handle: HandleId) -> bool {
        matches!(self.act, Act::Close(closed) if closed == handle)
    }

    /// Gives it the new name of an open file that it is about, where nothing is (`is_free`), or
    /// what it replaces; `false`: it is about another one.
    pub(crate) fn follow(&mut self, handle: HandleId, path: &VirtualPath, is_free: bool) -> bool {
        match &mut self.act {
            Act::Close(closed) if *closed == handle => self.path.clone_from(path),
            Act::Copy(copy) if copy.handle == handle => {
                copy.to.clone_from(path);
                copy.exclusive = is_free;
            }
            Act::Stat
            | Act::SetStat(_)
            | Act::StatVfs
            | Act::ReadLink
            | Act::OpenDirectory
            | Act::Open { .. }
            | Act::Remove
            | Act::MkDir
            | Act::RmDir
            | Act::Rename { .. }
            | Act::Copy(_)
            | Act::Check(_)
            | Act::Close(_) => return false,
        }
        true
    }

    /// Returns how many bytes its names keep.
    pub(crate) fn path_bytes(&self) -> usize {
        let second = self.act.new_name().map_or(0, |name| name.as_str().len());
        self.path.as_str().len().saturating_add(second)
    }

    /// Says what its names mean.
    ///
    /// # Errors
    /// The status that the client gets.
    pub(crate) fn plan(&self, home: &HomeDirectory) -> Result<Planned, Status> {
        let target = if matches!(self.act, Act::Rename { .. }) {
            plan_moved(home, &self.path)?
        } else {
            plan(home, &self.path, self.act.traits().need)?
        };
        let Some(to) = self.act.new_name() else {
            return Ok(Planned { target, to: None });
        };
        let to = plan(home, to, Need::Write)?;
        refuse_disclosure(&target, &to)?;
        Ok(Planned {
            target,
            to: Some(to),
        })
    }
}

/// What a request's names mean.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) target: Target,
    /// The second one of a rename or a copy.
    pub(crate) to: Option<Target>,
}

/// A request that runs, with its place in the order.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) request: PathRequest,
    pub(crate) ticket: Ticket,
    /// It went by what a listing showed, and says nothing that is newer.
    pub(crate) by_listing: bool,
    /// When it began.
    pub(crate) made: ChangesMade,
}

/// What the storage made of it.
#[derive(Debug)]
pub(crate) enum PathAnswer {
    Reply(Reply),
    Stated(Stated),
    /// What STAT shows, as a listing showed it just now.
    Listed(Attributes),
    /// Done, and what S3 said of it.
    Changed(Box<Confirmed>),
    /// A file was copied to where an open file is to be.
    Copied {
        confirmed: Box<Confirmed>,
        /// The source.
        found: Box<ObjectMeta>,
    },
    Refused(Refusal),
    Directory {
        listing: Box<Listing>,
    },
    Opened {
        object: Option<Box<(OpenedObject, Access)>>,
        writing: Option<Box<ForWriting>>,
        location: Location,
    },
    /// A file that is being written goes to another name.
    RenamedOpen {
        confirmed: Box<Confirmed>,
        to: Box<NewPlace>,
    },
    /// A file that gets another size.
    Resized {
        writing: Box<ForWriting>,
        location: Location,
        size: u64,
    },
}

impl PathAnswer {
    pub(crate) fn changed(confirmed: Confirmed) -> Self {
        Self::Changed(Box::new(confirmed))
    }
}

/// What OPEN found out for a writer.
#[derive(Debug)]
pub(crate) struct ForWriting {
    pub(crate) mode: OpenMode,
    pub(crate) access: Access,
    pub(crate) base: Option<Base>,
    /// What belongs to the base, as far as a HEAD told it.
    pub(crate) described: Option<Box<ObjectMeta>>,
    pub(crate) condition: Precondition,
    /// The same where the client is gone before the commit; `None`: it is not known how OPEN
    /// found the key.
    pub(crate) alone: Option<Precondition>,
    /// What is kept if the client vanishes before CLOSE; `None`: nothing.
    pub(crate) keeping: Option<Keeping>,
    pub(crate) nonce: Nonce,
    /// Nothing was there, with the changes that had been made before that was looked for; `None`: a
    /// file was there, or nobody looked.
    pub(crate) nothing_since: Option<ChangesMade>,
}

/// A file that the session writes under the name that it renames.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WrittenFile {
    pub(crate) handle: HandleId,
    /// Nothing is stored under the name.
    pub(crate) is_new: bool,
    /// Its multipart upload has begun.
    pub(crate) is_begun: bool,
    /// It keeps bytes of a stored file.
    pub(crate) has_base: bool,
}

/// Where a file goes that is renamed while it is written.
#[derive(Debug)]
pub(crate) struct NewPlace {
    pub(crate) handle: HandleId,
    pub(crate) location: Location,
    pub(crate) access: Access,
    /// On what its CLOSE depends there.
    pub(crate) condition: Precondition,
    /// The same where the client is gone before the commit.
    pub(crate) alone: Option<Precondition>,
    pub(crate) keeping: Option<Keeping>,
    /// The version of the stored file that went along, and which one it is there.
    pub(crate) moved: Option<(ETag, ETag)>,
    /// Before it was looked for what is there.
    pub(crate) made: ChangesMade,
}

/// What may be kept of a file whose client vanishes before CLOSE.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keeping {
    /// The file that OPEN found may be replaced by itself and what was appended.
    pub(crate) over_base: bool,
    /// Any file may be replaced that was there before OPEN.
    pub(crate) replace: bool,
    /// None may be there.
    pub(crate) exclusive: bool,
    pub(crate) opened: SystemTime,
}
