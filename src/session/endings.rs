//! Requests on paths that mean a directory because of how they end: `d/`, `d/.`, `d/..`.
//!
//! A file of that name is not what they mean, and nothing is made or changed under it.

use crate::clock::unix_seconds;
use crate::sftp::{Attributes, Reply, Status, StatusCode};
use crate::vfs::Ending;

use super::act::{Act, PathAnswer, PathRequest};
use super::names::{self, Below};
use super::plan::{Folder, Parent, Target, directory_attributes};
use super::status::{EXISTS, IS_DIRECTORY, NOT_EMPTY, Refusal};
use super::work::Work;

/// What a request sees whose path may end as a directory's.
pub(super) struct OfDirectory<'a>(pub(super) &'a Work);

impl OfDirectory<'_> {
    /// Answers a request whose path ends as a directory's; `None`: it goes on as if the name
    /// stood alone.
    pub(super) async fn ask(
        &self,
        request: &PathRequest,
        target: &Target,
    ) -> Result<Option<PathAnswer>, Refusal> {
        let slash = match request.ending {
            Ending::Name => return Ok(None),
            Ending::Slash => true,
            Ending::Dot | Ending::DotDot => false,
        };
        match &request.act {
            // The name of a new directory may end in a slash, and that of one that goes.
            Act::MkDir | Act::RmDir if slash => return Ok(None),
            // They look at what they need by themselves.
            Act::OpenDirectory | Act::Rename { .. } | Act::Copy(_) | Act::Close(_) => {
                return Ok(None);
            }
            Act::Open { mode, .. } if mode.create && slash => {
                if let Target::Object { parent, .. } = target {
                    self.require_parent(parent).await?;
                }
                return Err(NO_FILE_NAME.into());
            }
            Act::Stat
            | Act::SetStat(_)
            | Act::StatVfs
            | Act::ReadLink
            | Act::Open { .. }
            | Act::Check(_)
            | Act::Remove
            | Act::MkDir
            | Act::RmDir => {}
        }
        let attributes = self.require_directory(target).await?;
        let status = match &request.act {
            Act::Stat => return Ok(Some(PathAnswer::Reply(Reply::Attrs(attributes)))),
            Act::StatVfs => return Ok(Some(PathAnswer::Reply(Reply::StatVfs))),
            Act::SetStat(wanted) if wanted.size.is_none() => Status::OK,
            Act::SetStat(_) | Act::Open { .. } | Act::Check(_) | Act::Remove => IS_DIRECTORY,
            Act::ReadLink => Status::OP_UNSUPPORTED,
            Act::MkDir => EXISTS,
            Act::RmDir if request.ending == Ending::DotDot => NOT_EMPTY,
            Act::RmDir => NOT_BY_DOT,
            Act::Rename { .. } | Act::OpenDirectory | Act::Copy(_) | Act::Close(_) => {
                return Ok(None);
            }
        };
        if status == Status::OK {
            Ok(Some(PathAnswer::Reply(Reply::Status(status))))
        } else {
            Err(status.into())
        }
    }

    /// Returns the attributes of the directory that a path names, whatever stands beside it.
    async fn require_directory(&self, target: &Target) -> Result<Attributes, Refusal> {
        match target {
            Target::Virtual | Target::Buckets | Target::Bucket { .. } => self.0.stat(target).await,
            Target::Root { access, .. } => Ok(directory_attributes(Some(*access), None)),
            Target::Object {
                location, access, ..
            } => {
                match names::look_below(&*self.0.store, &Folder::of(location)).await? {
                    Below::Names { marker } => {
                        let modified = marker.map(unix_seconds);
                        Ok(directory_attributes(Some(*access), modified))
                    }
                    // A directory that the session has seen is there until it is removed.
                    Below::Nothing if self.0.seen => Ok(directory_attributes(Some(*access), None)),
                    Below::Nothing => Err(Status::NO_SUCH_FILE.into()),
                }
            }
            Target::MappedFile { .. } | Target::Nowhere => Err(Status::NO_SUCH_FILE.into()),
        }
    }

    async fn require_parent(&self, parent: &Parent) -> Result<(), Refusal> {
        names::require_parent(&*self.0.store, parent, self.0.parent_known).await
    }
}

const NO_FILE_NAME: Status = Status::failure("A file's name cannot end in a slash");
const NOT_BY_DOT: Status = Status::new(
    StatusCode::BadMessage,
    "A directory cannot be removed by this name",
);
