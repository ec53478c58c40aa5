//! What a request does that writes over a file, or changes its size or time.

use crate::audit::Confirmed;
use crate::sftp::{Attributes, Given, OpenMode, Reply, Status};
use crate::storage::{Bucket, Location, Precondition, Stored};
use crate::transfer::write_file::Base;
use crate::vfs::{Access, PartialUploads, VirtualPath};

use super::super::act::{
    ForWriting, Keeping, NewPlace, PathAnswer, PathRequest, WholeCopy, WrittenFile,
};
use super::super::copy_request;
use super::super::events::Event;
use super::super::known::Lately;
use super::super::looking;
use super::super::names::{self, Found};
use super::super::opening::Foreseen;
use super::super::plan::{Folder, Parent, Target};
use super::super::rename::{self, Names};
use super::super::status::{CHANGED, EXISTS, IS_DIRECTORY, Refusal, WRITE_ONLY};
use super::super::sums::VersionSums;
use super::super::times;
use super::{Work, file_target};

impl Work {
    pub(super) async fn open_for_writing(
        &self,
        request: &PathRequest,
        target: Target,
        mode: OpenMode,
    ) -> Result<PathAnswer, Refusal> {
        let parent = match &target {
            Target::Object { parent, .. } => parent.clone(),
            Target::Virtual
            | Target::Root { .. }
            | Target::MappedFile { .. }
            | Target::Buckets
            | Target::Bucket { .. }
            | Target::Nowhere => Parent::Root,
        };
        let may_be_directory = target.may_be_directory();
        let (location, access) = file_target(target)?;
        if mode.read && !access.may_read() {
            return Err(WRITE_ONLY.into());
        }
        let parent_there = async {
            if mode.create {
                names::require_parent(&*self.store, &parent, self.parent_known).await
            } else {
                Ok(())
            }
        };
        let lately = self.look_around(request, &location).await;
        let existing = self.existing(&location, mode, may_be_directory, lately);
        let ((), found) = futures_util::try_join!(parent_there, existing)?;
        // Of what is cut to nothing anyway a file is not looked for.
        let looked = !mode.truncate || mode.exclusive;
        let nothing = looked && found == Found::Nothing;
        let found = match found {
            Found::Directory => return Err(IS_DIRECTORY.into()),
            Found::Nothing if !mode.create => return Err(Status::NO_SUCH_FILE.into()),
            Found::File(_) | Found::Shown(_) if mode.exclusive => return Err(EXISTS.into()),
            Found::File(_) | Found::Shown(_) if !mode.truncate => found,
            Found::Nothing | Found::File(_) | Found::Shown(_) => Found::Nothing,
        };
        let mut writing = self.for_writing(&location, access, (mode, lately), found)?;
        writing.nothing_since = nothing.then_some(self.made);
        let described = writing.described.as_ref();
        let is_partial = described.is_some_and(|meta| meta.is_partial());
        let place = (&request.path, &location.bucket);
        writing.keeping = self.keeping(place, is_partial, mode.exclusive);
        let object = match &writing.base {
            Some(base) if mode.read => {
                let foreseen = Foreseen {
                    sums: writing.described.as_deref().map(VersionSums::of),
                    is_small: false,
                };
                let opening = self.opening(&location, may_be_directory, &foreseen);
                let object = opening.open().await?;
                if object.meta.etag != base.etag {
                    // What is read and what is kept has to be one version.
                    return Err(CHANGED.into());
                }
                Some(Box::new((object, access)))
            }
            Some(_) | None => None,
        };
        Ok(PathAnswer::Opened {
            object,
            writing: Some(Box::new(writing)),
            location,
        })
    }

    /// Sets the attributes of a name that nobody has open for writing.
    pub(super) async fn set_attributes(
        &self,
        target: Target,
        attrs: &Attributes,
    ) -> Result<PathAnswer, Refusal> {
        if let Some(size) = attrs.size {
            let now = self.stat(&target).await?;
            if now.names_directory() {
                return Err(IS_DIRECTORY.into());
            }
            if now.size != Some(size) {
                return self.resize(target, size).await;
            }
        }
        let ok = PathAnswer::Reply(Reply::Status(Status::OK));
        let given = times::worth_a_copy(attrs.given(), &self.bounds.limits);
        match given.filter(|_| target.may_be_file()) {
            Some(given) => {
                let kept = self.set_given(target, given).await?;
                Ok(kept.map_or(ok, |stored| PathAnswer::changed(Confirmed::stored(stored))))
            }
            None => {
                if attrs.size.is_none() {
                    self.stat(&target).await?;
                }
                Ok(ok)
            }
        }
    }

    /// Gives a file a time, a mode or an owner. A directory has none of its own.
    async fn set_given(&self, target: Target, given: Given) -> Result<Option<Stored>, Refusal> {
        let may_be_directory = target.may_be_directory();
        let (location, _) = file_target(target)?;
        let found = self.existing(&location, CHANGING, may_be_directory, self.lately);
        match found.await? {
            Found::File(meta) => times::keep(&self.scene(), &location, &meta, given).await,
            Found::Shown(_) => {
                times::leave(&self.scene(), &location, "the object may not be read");
                Ok(None)
            }
            Found::Directory => Ok(None),
            Found::Nothing if self.seen => Ok(None),
            Found::Nothing => Err(Status::NO_SUCH_FILE.into()),
        }
    }

    /// Gives a file another size, unless it has it.
    async fn resize(&self, target: Target, size: u64) -> Result<PathAnswer, Refusal> {
        let may_be_directory = target.may_be_directory();
        let (location, access) = file_target(target)?;
        let lately = self.lately;
        let found = self.existing(&location, CHANGING, may_be_directory, lately);
        let found = found.await?;
        let now = match &found {
            Found::Directory => return Err(IS_DIRECTORY.into()),
            Found::Nothing => return Err(Status::NO_SUCH_FILE.into()),
            Found::File(meta) => meta.size,
            Found::Shown(object) => object.size,
        };
        if now == size {
            return Ok(PathAnswer::Reply(Reply::Status(Status::OK)));
        }
        let writing = self.for_writing(&location, access, (CHANGING, lately), found)?;
        Ok(PathAnswer::Resized {
            writing: Box::new(writing),
            location,
            size,
        })
    }

    /// Has a file that the session writes go to another name.
    pub(super) async fn rename_written(
        &self,
        names: Names<'_>,
        to: &VirtualPath,
        written: WrittenFile,
    ) -> Result<PathAnswer, Refusal> {
        let renamed = rename::rename_written(&self.scene(), self.keeper(), names, written).await?;
        let Some(renamed) = renamed else {
            return Ok(PathAnswer::Reply(Reply::Status(Status::OK)));
        };
        let (location, access) = file_target(names.to.clone())?;
        let kept = self.store.capabilities(&location.bucket);
        let is_kept = kept.conditional_put && kept.conditional_complete;
        let place = (to, &location.bucket);
        let new = NewPlace {
            handle: written.handle,
            alone: is_kept.then(|| renamed.condition.clone()),
            keeping: self.keeping(place, renamed.is_partial, !names.replace),
            condition: renamed.condition,
            moved: renamed.moved,
            made: self.made,
            location,
            access,
        };
        Ok(PathAnswer::RenamedOpen {
            confirmed: Box::new(renamed.confirmed),
            to: Box::new(new),
        })
    }

    /// Copies a whole file to where an open one is to be.
    pub(super) async fn copy_whole(
        &self,
        copy: &WholeCopy,
        to: Option<Target>,
    ) -> Result<PathAnswer, Refusal> {
        let (target, _) = file_target(to.ok_or(Status::FAILURE)?)?;
        let (stored, found) = copy_request::copy(&self.scene(), copy, &target).await?;
        Ok(PathAnswer::Copied {
            confirmed: Box::new(Confirmed::stored(stored)),
            found: Box::new(found),
        })
    }

    /// Says what a writer goes by, with the file that is kept where nothing is written over it.
    fn for_writing(
        &self,
        location: &Location,
        access: Access,
        (mode, lately): (OpenMode, Lately),
        found: Found,
    ) -> Result<ForWriting, Refusal> {
        let (base, described) = match found {
            Found::File(meta) => (Some((meta.etag.clone(), meta.size)), Some(Box::new(meta))),
            Found::Shown(object) => (Some((object.etag, object.size)), None),
            Found::Nothing | Found::Directory => (None, None),
        };
        let base = base.map(|(etag, size)| Base {
            location: location.clone(),
            etag,
            size,
        });
        let condition = match &base {
            _ if mode.exclusive => names::exclusive(&*self.store, &location.bucket),
            Some(base) => Precondition::IfMatch(base.etag.clone()),
            // What somebody else puts there meanwhile would be what is appended to.
            None if mode.append && !mode.truncate => Precondition::IfNoneMatch,
            None => Precondition::None,
        };
        Ok(ForWriting {
            mode,
            access,
            base,
            described,
            alone: self.alone(&location.bucket, &condition, lately),
            condition,
            keeping: None,
            nonce: self.nonces.next()?,
            nothing_since: None,
        })
    }

    /// Says what is kept of a file if its client vanishes before CLOSE. Without conditions it could
    /// replace what somebody else has stored.
    fn keeping(
        &self,
        (path, bucket): (&VirtualPath, &Bucket),
        is_partial: bool,
        exclusive: bool,
    ) -> Option<Keeping> {
        let wanted = self.config.partial_uploads_at(path, self.partial_uploads);
        let replace = match wanted {
            PartialUploads::Discard => return None,
            PartialUploads::Keep => false,
            PartialUploads::Replace => true,
        };
        let kept = self.store.capabilities(bucket);
        // Nor is one kept that could not be marked.
        let keeps = kept.conditional_put && kept.conditional_complete && kept.metadata;
        keeps.then(|| Keeping {
            over_base: replace || is_partial,
            replace,
            exclusive,
            opened: self.bounds.clock().wall(),
        })
    }

    /// Says what was seen under a name a moment ago. Where its directory is worth a look, that is
    /// listed, for the names that come next as well.
    async fn look_around(&self, request: &PathRequest, location: &Location) -> Lately {
        if self.lately != Lately::Worthwhile {
            return self.lately;
        }
        let asked = self.bounds.clock().now();
        let account = &self.memory.account;
        let seen = looking::beside(&*self.store, account, &self.hasher, location).await;
        let (Some((names, lately)), Some(directory)) = (seen, request.path.parent()) else {
            return Lately::Unknown;
        };
        self.events.send(Event::Listed {
            directory,
            asked,
            names,
        });
        lately
    }

    /// Looks for what stands at the place. A file that is truncated anyway need not be looked
    /// for, only a directory.
    async fn existing(
        &self,
        location: &Location,
        mode: OpenMode,
        may_be_directory: bool,
        lately: Lately,
    ) -> Result<Found, Refusal> {
        if mode.exclusive && lately == Lately::Nothing {
            // The store refuses a second one itself, where it can, whichever way the file is
            // committed.
            let kept = self.store.capabilities(&location.bucket);
            if kept.conditional_put && kept.conditional_complete {
                return Ok(Found::Nothing);
            }
        }
        if mode.create && mode.truncate && !mode.exclusive {
            if matches!(lately, Lately::Nothing | Lately::NoDirectory) || !may_be_directory {
                return Ok(Found::Nothing);
            }
            // A file and a directory of one name: the file is what the name means.
            let folder = Folder::of(location);
            if !names::is_directory(&*self.store, &folder).await? {
                return Ok(Found::Nothing);
            }
            return Ok(
                match names::find_file_first(&*self.store, location).await? {
                    Found::Directory => Found::Directory,
                    Found::File(_) | Found::Shown(_) | Found::Nothing => Found::Nothing,
                },
            );
        }
        if !may_be_directory {
            return names::find_file(&*self.store, location).await;
        }
        names::find(&*self.store, self.bounds.clock(), location).await
    }

    /// Returns on what a commit depends whose client is gone: that the key is as it was found.
    fn alone(
        &self,
        bucket: &Bucket,
        condition: &Precondition,
        lately: Lately,
    ) -> Option<Precondition> {
        let kept = self.store.capabilities(bucket);
        if !kept.conditional_put || !kept.conditional_complete {
            return None;
        }
        match condition {
            Precondition::IfMatch(_) | Precondition::IfNoneMatch => Some(condition.clone()),
            // Nothing was there a moment ago.
            Precondition::None => (lately == Lately::Nothing).then_some(Precondition::IfNoneMatch),
        }
    }
}

/// As a file is opened that gets another size or time.
const CHANGING: OpenMode = OpenMode {
    read: false,
    write: true,
    append: false,
    create: false,
    truncate: false,
    exclusive: false,
};
