//! What goes from a directory: files, directories, and what is moved away. The directory stays.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::limits;
use crate::sftp::Status;
use crate::storage::{
    Location, Nonces, ObjectStore, Precondition, Removed, StorageError, StorageErrorKind,
};

use super::deletion::{Deletion, Sight, What};
use super::kept::{Kept, Visit};
use super::list::page_bytes_max;
use super::listed::Listed;
use super::names::{self, Found};
use super::plan::{Folder, Parent, Target};
use super::scene::Bounds;
use super::status::{BUCKET_LEVEL, IS_DIRECTORY, NOT_EMPTY, Refusal, VIRTUAL};

/// Keeps directories there that empty themselves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keeper<'a> {
    pub(super) store: &'a dyn ObjectStore,
    pub(super) nonces: Nonces,
    pub(super) bounds: &'a Bounds,
    pub(super) kept: &'a Kept,
    /// The session may write no markers.
    pub(super) refused: &'a AtomicBool,
}

impl Keeper<'_> {
    /// Sees to it that the directory stays that holds the target, which is about to go. What is
    /// returned has to be held until it is gone.
    pub(super) async fn before(
        &self,
        target: &Target,
        is_directory: bool,
    ) -> Result<Option<Visit>, Refusal> {
        let Some((folder, visit)) = self.visit(target, is_directory) else {
            return Ok(None);
        };
        self.keep(folder, visit, target).await.map(Some)
    }

    /// The same for what is moved, which may stay in its directory or below it.
    pub(super) async fn before_move(
        &self,
        target: &Target,
        is_directory: bool,
        to: &Location,
    ) -> Result<Option<Visit>, Refusal> {
        let Some((folder, visit)) = self.visit(target, is_directory) else {
            return Ok(None);
        };
        if folder.bucket == to.bucket && to.key.as_str().starts_with(&folder.prefix) {
            return Ok(Some(visit));
        }
        self.keep(folder, visit, target).await.map(Some)
    }

    /// Begins to remove a name, for all who look at its directory, by whatever mapping.
    fn visit(&self, target: &Target, is_directory: bool) -> Option<(Folder, Visit)> {
        let (Target::Object { location, .. } | Target::MappedFile { location, .. }) = target else {
            return None;
        };
        let (above, name) = location
            .key
            .as_str()
            .rsplit_once('/')
            .unwrap_or(("", location.key.as_str()));
        let folder = Folder::new(&location.bucket, above);
        let slash = if is_directory { "/" } else { "" };
        let now = self.bounds.clock().now();
        let visit = self.kept.remove(&folder, &format!("{name}{slash}"), now)?;
        Some((folder, visit))
    }

    /// Sees to it that the directory stays; a mapping's own is there whatever is in it.
    async fn keep(
        &self,
        folder: Folder,
        mut visit: Visit,
        target: &Target,
    ) -> Result<Visit, Refusal> {
        let in_folder = matches!(
            target,
            Target::Object {
                parent: Parent::Folder(_),
                ..
            }
        );
        if !in_folder {
            visit.may_empty(&folder);
        } else if !visit.is_kept() && !self.refused.load(Ordering::Relaxed) {
            self.look_and_keep(&folder, &visit).await?;
        }
        Ok(visit)
    }

    /// Looks for another name that stays, and puts the directory's marker where there is none.
    async fn look_and_keep(&self, folder: &Folder, visit: &Visit) -> Result<(), Refusal> {
        match self.sees_another(folder, visit).await {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) => return self.not_kept(folder, error),
        }
        self.bounds.stop.check()?;
        let put = match self.nonces.next() {
            Ok(nonce) => {
                // Whoever writes it, it is the same.
                let condition = Precondition::None;
                let stop = &self.bounds.stop;
                names::write_marker(self.store, stop, folder, nonce, &condition).await
            }
            Err(error) => {
                let error = error.to_string();
                Err(StorageError::new(StorageErrorKind::Refused, error))
            }
        };
        match put {
            Ok(_) => {
                visit.saw([""], self.bounds.clock().now());
                Ok(())
            }
            Err(error) => self.not_kept(folder, error),
        }
    }

    /// Asks the store for names, and says whether one of them stays.
    async fn sees_another(&self, folder: &Folder, visit: &Visit) -> Result<bool, StorageError> {
        let needed = u16::try_from(visit.names_needed()).unwrap_or(u16::MAX);
        let needed = needed.min(limits::LIST_FIRST_PAGE_MAX);
        // Without memory for more, a marker may come to stand that is not needed.
        let charge = self.bounds.shares.account.try_take(page_bytes_max(needed));
        let max = if charge.is_some() { needed } else { 2 };
        let listed = Listed::Folder(folder.clone());
        let page = listed.fetch(self.store, &listed.query(None, max)).await?;
        let objects = page.objects.iter().map(|object| &object.key);
        let names = objects.chain(&page.prefixes);
        let names = names.filter_map(|key| key.strip_prefix(&folder.prefix));
        Ok(visit.saw(names, self.bounds.clock().now()))
    }

    /// A marker that is refused is no reason to refuse a removal; one that could not be put for
    /// now is.
    fn not_kept(&self, folder: &Folder, error: StorageError) -> Result<(), Refusal> {
        if is_passing(error.kind) {
            return Err(error.into());
        }
        self.refused.store(true, Ordering::Relaxed);
        if let Some(unlogged) = self.bounds.failures.line_due() {
            let (bucket, prefix) = (&folder.bucket, &folder.prefix);
            tracing::warn!(%bucket, %prefix, %error, unlogged, "directories of this session vanish with their last file: S3 denies markers");
        }
        Ok(())
    }
}

/// Says whether the same may work a little later.
const fn is_passing(kind: StorageErrorKind) -> bool {
    match kind {
        StorageErrorKind::Throttled
        | StorageErrorKind::Unavailable
        | StorageErrorKind::OutcomeUnknown
        | StorageErrorKind::Expired
        | StorageErrorKind::ClockSkew
        | StorageErrorKind::ChecksumMismatch => true,
        StorageErrorKind::NotFound
        | StorageErrorKind::NoSuchBucket
        | StorageErrorKind::NoSuchUpload
        | StorageErrorKind::Precondition
        | StorageErrorKind::RangeNotSatisfiable
        | StorageErrorKind::Denied
        | StorageErrorKind::Refused
        | StorageErrorKind::RefusedBare => false,
    }
}

/// Removes a file.
pub(super) async fn remove(keeper: Keeper<'_>, target: &Target) -> Result<Removed, Refusal> {
    let location = match target {
        Target::Virtual | Target::Buckets | Target::Root { .. } => return Err(IS_DIRECTORY.into()),
        Target::Bucket { .. } => return Err(BUCKET_LEVEL.into()),
        Target::Nowhere => return Err(Status::NO_SUCH_FILE.into()),
        Target::Object { location, .. } | Target::MappedFile { location, .. } => location,
    };
    let found = if target.may_be_directory() {
        names::find_file_first(keeper.store, location).await?
    } else {
        names::find_file(keeper.store, location).await?
    };
    let found = match &found {
        Found::File(meta) => Sight::of(meta),
        Found::Shown(object) => Sight::listed(object),
        Found::Directory => return Err(IS_DIRECTORY.into()),
        Found::Nothing => return Err(Status::NO_SUCH_FILE.into()),
    };
    let _visit = keeper.before(target, false).await?;
    let stop = &keeper.bounds.stop;
    stop.check()?;
    let deletion = Deletion {
        store: keeper.store,
        stop,
        location,
        found,
        what: What::Name,
    };
    Ok(deletion.run().await?)
}

/// Removes a directory that holds nothing but its marker. `seen`: the session has seen it, and it
/// may have vanished since with its last file.
pub(super) async fn rmdir(
    keeper: Keeper<'_>,
    target: &Target,
    seen: bool,
) -> Result<Removed, Refusal> {
    let location = match target {
        Target::Virtual | Target::Buckets | Target::Root { .. } => return Err(VIRTUAL.into()),
        Target::Bucket { .. } => return Err(BUCKET_LEVEL.into()),
        Target::MappedFile { .. } | Target::Nowhere => return Err(Status::NO_SUCH_FILE.into()),
        Target::Object { location, .. } => location,
    };
    let folder = Folder::of(location);
    let Some(place) = folder.marker() else {
        return Err(Status::NO_SUCH_FILE.into());
    };
    let page = names::look_into(keeper.store, &folder).await?;
    let is_marker = |key: &str| key == folder.prefix;
    if page.objects.iter().any(|object| !is_marker(&object.key)) || !page.prefixes.is_empty() {
        return Err(NOT_EMPTY.into());
    }
    let Some(marker) = page.objects.first() else {
        // A file: on a file system too it is "no such directory".
        return if seen {
            Ok(Removed::default())
        } else {
            Err(Status::NO_SUCH_FILE.into())
        };
    };
    let _above = keeper.before(target, true).await?;
    let _own = keeper.kept.remove(&folder, "", keeper.bounds.clock().now());
    let stop = &keeper.bounds.stop;
    stop.check()?;
    let deletion = Deletion {
        store: keeper.store,
        stop,
        location: &place,
        found: Sight::listed(marker),
        what: What::Version,
    };
    let error = match deletion.run().await {
        Ok(removed) => return Ok(removed),
        Err(error) => error,
    };
    let by_itself = keeper.store.capabilities(&folder.bucket).directories;
    if by_itself && error.kind == StorageErrorKind::Precondition {
        // Something came into it, or is in it that no listing shows.
        return Err(Refusal {
            status: NOT_EMPTY,
            detail: Some(error.to_string().into()),
        });
    }
    Err(error.into())
}
