//! What one path request does to the storage.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::audit::Confirmed;
use crate::budget::{Charge, UserMemory};
use crate::idp::UserConfig;
use crate::limits;
use crate::metrics::Metrics;
use crate::reaper::Reaper;
use crate::sftp::{Attributes, Reply, Status};
use crate::storage::{ListPage, Location, Nonces, SharedStore, StorageErrorKind, Stored};
use crate::vfs::{Access, PartialUploads, VirtualPath};

use super::act::{Act, Check, PathAnswer, PathRequest, Planned, WrittenFile};
use super::changes::ChangesMade;
use super::checking::Checking;
use super::events::{Event, Events};
use super::fresh::{NameHasher, Shown};
use super::gathered::{Gathered, names_of};
use super::kept::Kept;
use super::known::Lately;
use super::list::{self, FirstPage, Listing};
use super::listed::{BucketsShown, Listed, Told, buckets, no_buckets};
use super::listed_times::ListedTimes;
use super::names::{self, Looks, Stated};
use super::opening::{Foreseen, Opening};
use super::plan::{Folder, Need, Target, plan};
use super::progress::Progress;
use super::removing::{self, Keeper};
use super::rename::{self, Names};
use super::scene::{Bounds, Scene};
use super::status::{BUCKET_LEVEL, IS_DIRECTORY, NO_BUCKETS, Refusal};
use super::stored_time::Shows;
use super::unsettled::Unsettled;
use super::upload_records::UploadRecords;

mod changing;

/// What one path request sees while it runs.
pub(super) struct Work {
    pub(super) store: SharedStore,
    /// For what it finds.
    pub(super) memory: UserMemory,
    pub(super) reaper: Reaper,
    pub(super) nonces: Nonces,
    pub(super) metrics: Arc<Metrics>,
    pub(super) bounds: Bounds,
    pub(super) config: Arc<UserConfig>,
    pub(super) uploading: Vec<(String, u64)>,
    pub(super) parent_known: bool,
    /// The file that the session writes under the name that it renames.
    pub(super) written: Option<WrittenFile>,
    /// It writes one under the new name.
    pub(super) to_is_written: bool,
    /// The changes that the process had made before the store is asked.
    pub(super) made: ChangesMade,
    /// The session has seen a directory there.
    pub(super) seen: bool,
    pub(super) kept: Kept,
    /// The session may write no markers.
    pub(super) markers_refused: Arc<AtomicBool>,
    /// What was seen just now under the name.
    pub(super) lately: Lately,
    /// What a listing of its directory showed under it.
    pub(super) shown: Option<Shown>,
    /// How to look for a name like the one that STAT was asked about last.
    pub(super) expects: Looks,
    /// For an OPEN that reads.
    pub(super) foreseen: Foreseen,
    pub(super) shows: Shows,
    pub(super) listed_times: ListedTimes,
    /// What becomes of files whose client vanishes, unless the answer says it.
    pub(super) partial_uploads: PartialUploads,
    pub(super) unsettled: Unsettled,
    /// Says whose files others may have left behind.
    pub(super) upload_records: UploadRecords,
    /// For directories that are listed.
    pub(super) hasher: NameHasher,
    pub(super) events: Events,
    pub(super) buckets: BucketsShown,
    pub(super) progress: Progress,
}

impl Work {
    /// Does what a request wants that changes names, in the user's turn.
    pub(super) async fn change(
        &self,
        request: &PathRequest,
        planned: Planned,
    ) -> Result<PathAnswer, Refusal> {
        let _turn = self.bounds.change().await?;
        self.run(request, planned).await
    }

    /// Asks the storage what the request needs, and does what it wants.
    pub(super) async fn run(
        &self,
        request: &PathRequest,
        planned: Planned,
    ) -> Result<PathAnswer, Refusal> {
        let Planned { target, to } = planned;
        for target in [Some(&target), to.as_ref()].into_iter().flatten() {
            if let Target::Object { location, .. } | Target::MappedFile { location, .. } = target {
                if self.upload_records.serve(&self.store, &location.bucket) {
                    self.unsettled.known().await;
                }
                self.unsettled.settled(location).await;
            }
        }
        match &request.act {
            Act::Stat => self
                .look(&target, self.looks())
                .await
                .map(PathAnswer::Stated),
            Act::SetStat(attrs) => self.set_attributes(target, attrs).await,
            Act::StatVfs => {
                self.stat(&target).await?;
                Ok(PathAnswer::Reply(Reply::StatVfs))
            }
            Act::ReadLink => {
                self.stat(&target).await?;
                Err(Status::OP_UNSUPPORTED.into())
            }
            Act::OpenDirectory => self.open_directory(request, target).await,
            Act::Open { mode, .. } if mode.write => {
                self.open_for_writing(request, target, *mode).await
            }
            Act::Open { .. } => self.open_for_reading(target).await,
            Act::Remove => {
                let removed = removing::remove(self.keeper(), &target).await?;
                Ok(PathAnswer::changed(Confirmed::removed(removed)))
            }
            Act::MkDir => {
                let stored = self.make_directory(&target).await?;
                Ok(PathAnswer::changed(Confirmed::stored(stored)))
            }
            Act::RmDir => {
                let removed = removing::rmdir(self.keeper(), &target, self.seen).await?;
                Ok(PathAnswer::changed(Confirmed::removed(removed)))
            }
            Act::Rename {
                replace,
                to: written,
            } => {
                let names = Names {
                    from: &target,
                    from_ending: request.ending,
                    to: &to.ok_or(Status::FAILURE)?,
                    to_ending: written.ending,
                    replace: *replace,
                    parent_known: self.parent_known,
                    to_is_written: self.to_is_written,
                };
                if let Some(file) = self.written {
                    return self.rename_written(names, &written.path, file).await;
                }
                let moved = rename::rename(&self.scene(), self.keeper(), names).await?;
                Ok(PathAnswer::changed(moved))
            }
            Act::Copy(copy) => self.copy_whole(copy, to).await,
            Act::Check(check) => self.check_file(request, check, target).await,
            Act::Close(_) => Err(Status::FAILURE.into()),
        }
    }

    pub(super) async fn stat(&self, target: &Target) -> Result<Attributes, Refusal> {
        let looks = self.shown.map_or(Looks::Both, Looks::of);
        let stated = self.look(target, looks).await?;
        Ok(stated.attrs)
    }

    /// Chooses how STAT looks: by what a listing showed, or as if this name were like the last one.
    fn looks(&self) -> Looks {
        self.shown.map_or(self.expects, Looks::of)
    }

    /// A directory that the session has seen is there until it is removed.
    async fn look(&self, target: &Target, looks: Looks) -> Result<Stated, Refusal> {
        let (store, clock) = (&*self.store, self.bounds.clock());
        let outcome = names::stat(store, clock, target, looks, self.shows).await;
        match (outcome, target) {
            (Err(refusal), Target::Object { access, .. })
                if self.seen && refusal.status == Status::NO_SUCH_FILE =>
            {
                Ok(Stated::directory(Some(*access), None))
            }
            (outcome, _) => outcome,
        }
    }

    async fn make_directory(&self, target: &Target) -> Result<Stored, Refusal> {
        let visit = match target {
            Target::Object { location, .. } => self.kept.look(&Folder::of(location)),
            Target::Virtual
            | Target::Root { .. }
            | Target::MappedFile { .. }
            | Target::Buckets
            | Target::Bucket { .. }
            | Target::Nowhere => None,
        };
        let stop = &self.bounds.stop;
        let seen = names::Seen {
            parent: self.parent_known,
            nothing: self.lately == Lately::Nothing,
        };
        let stored = names::mkdir(&*self.store, target, seen, self.nonces, stop).await?;
        if let Some(visit) = visit {
            visit.saw([""], self.bounds.clock().now());
        }
        Ok(stored)
    }

    fn scene(&self) -> Scene<'_> {
        Scene {
            store: &self.store,
            reaper: &self.reaper,
            nonces: self.nonces,
            metrics: &self.metrics,
            bounds: &self.bounds,
            progress: &self.progress,
        }
    }

    fn keeper(&self) -> Keeper<'_> {
        Keeper {
            store: &*self.store,
            nonces: self.nonces,
            bounds: &self.bounds,
            kept: &self.kept,
            refused: &self.markers_refused,
        }
    }

    async fn open_directory(
        &self,
        request: &PathRequest,
        target: Target,
    ) -> Result<PathAnswer, Refusal> {
        let path = request.path.clone();
        let (folder, access, always) = match target {
            Target::Virtual => {
                let bytes = self.config.home.children(&path).map(|(name, _)| {
                    let bytes = name.len().saturating_add(list::NAME_BYTES);
                    u64::try_from(bytes).unwrap_or(u64::MAX)
                });
                let charge = self
                    .wait_for_memory(bytes.fold(0, u64::saturating_add))
                    .await;
                let children = self.virtual_children(&path).await?;
                let listing = Box::new(Listing::of_virtual(path, children, charge));
                return Ok(PathAnswer::Directory { listing });
            }
            Target::Buckets => return self.open_buckets(path).await,
            Target::Root { folder, access } | Target::Bucket { folder, access } => {
                (folder, access, true)
            }
            Target::Object {
                location, access, ..
            } => (Folder::of(&location), access, false),
            Target::MappedFile { .. } | Target::Nowhere => {
                return Err(Status::NO_SUCH_FILE.into());
            }
        };
        if folder.prefix.len() > limits::KEY_BYTES_MAX {
            return Err(Status::NO_SUCH_FILE.into());
        }
        let asked = self.bounds.clock().now();
        let mut first = self.first_page(folder, access, self.always(&path)).await?;
        let nothing = first.page.as_ref();
        let nothing =
            nothing.is_some_and(|page| page.objects.is_empty() && page.prefixes.is_empty());
        let ends = first.page.as_ref().map(|page| page.next.is_none());
        if ends == Some(false) {
            first.gathered = Some(Gathered::new(self.hasher.clone(), asked));
        }
        if let Some(page) = first.page.as_ref().filter(|_| ends == Some(true)) {
            let names = names_of(&self.hasher, &first.listed, page);
            self.events.send(Event::Listed {
                directory: path.clone(),
                asked,
                names,
            });
        }
        if nothing && !always && !self.seen && self.uploading.is_empty() {
            return Err(Status::NO_SUCH_FILE.into());
        }
        Ok(PathAnswer::Directory {
            listing: Box::new(Listing::of_pages(path, first)),
        })
    }

    /// Looks for the first names of a folder; without memory for them only whether there is one.
    async fn first_page(
        &self,
        folder: Folder,
        access: Access,
        always: Option<String>,
    ) -> Result<FirstPage, Refusal> {
        let uploading = self.uploading.clone();
        let bytes = uploading
            .iter()
            .map(|(name, _)| list::uploading_bytes(name.len()));
        let bytes = bytes.chain(
            always
                .as_ref()
                .map(|name| list::uploading_bytes(name.len())),
        );
        let bytes = bytes.fold(0, usize::saturating_add);
        let mut charge = None;
        if bytes > 0 {
            charge = Some(
                self.wait_for_memory(u64::try_from(bytes).unwrap_or(u64::MAX))
                    .await,
            );
        }
        let first = limits::LIST_FIRST_PAGE_MAX;
        let more = self.memory.account.try_take(list::page_bytes_max(first));
        let max = if more.is_some() { first } else { 1 };
        let visit = self.kept.look(&folder);
        let listed = Listed::Folder(folder.clone());
        let turns = &*self.bounds.listed_heads;
        let with = (&*self.store, self.bounds.clock(), &*self.config, turns);
        let query = listed.query(None, max);
        let page = self.listed_times.fetch(&listed, &query, with).await?;
        if let Some(visit) = visit {
            let objects = page.objects.iter().map(|object| &object.key);
            let names = objects.chain(&page.prefixes);
            let names = names.filter_map(|key| key.strip_prefix(&folder.prefix));
            let marker = names.clone().find(|name| name.is_empty());
            // Whoever empties a directory begins with its first names.
            visit.saw(
                marker.into_iter().chain(names.rev()),
                self.bounds.clock().now(),
            );
        }
        let empty = page.objects.is_empty() && page.prefixes.is_empty();
        let page = (more.is_some() || empty).then_some(page);
        if let Some(more) = more {
            more.join_into(&mut charge);
        }
        Ok(FirstPage {
            listed,
            access,
            page,
            uploading,
            always,
            gathered: None,
            charge,
        })
    }

    /// Lists the buckets, unless the session was shown them just now.
    async fn open_buckets(&self, path: VirtualPath) -> Result<PathAnswer, Refusal> {
        let now = self.bounds.clock().now();
        let (told, charge) = match self.buckets.told(now) {
            Some(told) => {
                let bytes = told.page().map_or(0, page_bytes);
                (told, self.wait_for_memory(bytes).await)
            }
            None => {
                let bytes = list::page_bytes_max(limits::LIST_PAGE_MAX);
                // Who has the turn has its memory.
                let charge = self.wait_for_memory(bytes).await;
                let _turn = self.buckets.turn().await;
                match self.buckets.told(self.bounds.clock().now()) {
                    Some(told) => (told, charge),
                    None => (self.ask_for_buckets().await?, charge),
                }
            }
        };
        let page = told.page().ok_or(NO_BUCKETS)?;
        let first = FirstPage {
            listed: self.buckets.listed(),
            access: Access::Read,
            page: Some(page.clone()),
            uploading: Vec::new(),
            always: self.always(&path),
            gathered: None,
            charge: Some(charge),
        };
        Ok(PathAnswer::Directory {
            listing: Box::new(Listing::of_pages(path, first)),
        })
    }

    async fn ask_for_buckets(&self) -> Result<Told, Refusal> {
        let query = self.buckets.listed().query(None, limits::LIST_PAGE_MAX);
        let asked = buckets(&*self.store, &query).await;
        let now = self.bounds.clock().now();
        match asked {
            Ok(page) => {
                let page = Arc::new(page);
                let kept = self.memory.account.try_take(page_bytes(&page));
                self.buckets.keep(&page, kept, now);
                Ok(Told::Page(page))
            }
            Err(error) => {
                if error.kind == StorageErrorKind::Denied {
                    self.buckets.keep_denial(now);
                }
                Err(no_buckets(error))
            }
        }
    }

    /// Returns the name that a directory above the home has whatever the store shows.
    fn always(&self, path: &VirtualPath) -> Option<String> {
        let mut names = self.config.home.children(path);
        names.next().map(|(name, _)| name.to_owned())
    }

    /// Waits for memory; of more than a part of all there is, for that part.
    async fn wait_for_memory(&self, bytes: u64) -> Charge {
        let most = self.memory.account.pool().limit_bytes() / 8;
        self.memory.account.take(bytes.min(most)).await
    }

    async fn virtual_children(
        &self,
        path: &VirtualPath,
    ) -> Result<Vec<crate::sftp::Name>, Refusal> {
        let mut children = Vec::new();
        for (name, _) in self.config.home.children(path) {
            let Ok(child) = VirtualPath::resolve(path, name.as_bytes()) else {
                continue;
            };
            let target = plan(&self.config.home, &child, Need::Look)?;
            let (store, clock) = (&*self.store, self.bounds.clock());
            match names::stat(store, clock, &target, Looks::Both, self.shows).await {
                Ok(Stated { attrs, .. }) => {
                    let name = bytes::Bytes::copy_from_slice(name.as_bytes());
                    children.push(crate::sftp::Name { name, attrs });
                }
                // The object of a file mapping that is not there is not listed.
                Err(refusal) if refusal.status == Status::NO_SUCH_FILE => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(children)
    }

    async fn check_file(
        &self,
        request: &PathRequest,
        check: &Check,
        target: Target,
    ) -> Result<PathAnswer, Refusal> {
        if let Target::Bucket { .. } = target {
            self.stat(&target).await?;
            return Err(IS_DIRECTORY.into());
        }
        let may_be_directory = target.may_be_directory();
        let (location, _) = file_target(target)?;
        let checking = Checking {
            store: &self.store,
            memory: &self.memory,
            bounds: &self.bounds,
        };
        let at = (&location, may_be_directory);
        checking.answer(&request.path, check, at).await
    }

    async fn open_for_reading(&self, target: Target) -> Result<PathAnswer, Refusal> {
        if let Target::Bucket { .. } = target {
            self.stat(&target).await?;
            return Err(IS_DIRECTORY.into());
        }
        let may_be_directory = target.may_be_directory();
        let (location, access) = file_target(target)?;
        let opening = self.opening(&location, may_be_directory, &self.foreseen);
        let object = opening.open().await?;
        Ok(PathAnswer::Opened {
            object: Some(Box::new((object, access))),
            writing: None,
            location,
        })
    }

    fn opening<'a>(
        &'a self,
        location: &'a Location,
        may_be_directory: bool,
        foreseen: &'a Foreseen,
    ) -> Opening<'a> {
        Opening {
            store: &self.store,
            clock: self.bounds.clock(),
            read_ahead: &self.memory.read_ahead,
            location,
            may_be_directory,
            foreseen,
        }
    }
}

/// Returns what a page of buckets takes that is kept.
fn page_bytes(page: &ListPage) -> u64 {
    let names = page.prefixes.iter().chain(&page.next);
    let bytes = names.map(|name| name.len().saturating_add(list::NAME_BYTES));
    u64::try_from(bytes.fold(0, usize::saturating_add)).unwrap_or(u64::MAX)
}

fn file_target(target: Target) -> Result<(Location, Access), Status> {
    match target {
        Target::Object {
            location, access, ..
        }
        | Target::MappedFile { location, access } => Ok((location, access)),
        Target::Virtual | Target::Buckets | Target::Root { .. } => Err(IS_DIRECTORY),
        Target::Bucket { .. } => Err(BUCKET_LEVEL),
        Target::Nowhere => Err(Status::NO_SUCH_FILE),
    }
}
