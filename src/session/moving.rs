//! A directory is moved: everything is copied, then everything that was copied is deleted.
//!
//! The directory is listed page by page, once for each pass, and between the passes only hashes
//! are kept ([`Copied`]), so that a move of many objects takes little more memory than one page.
//! What the second listing shows is deleted only if it was copied, as the version that was copied:
//! what was written meanwhile stays. A copy that fails takes the others back, in the same way.

use std::collections::VecDeque;

use futures_util::FutureExt as _;
use futures_util::future::join_all;

use crate::budget::Charge;
use crate::limits::{self, Limits};
use crate::sftp::Status;
use crate::storage::retry;
use crate::storage::{
    ETag, Key, ListCursor, ListQuery, ListedObject, Location, NewObject, Nonce, ObjectStore,
    Precondition, Properties, StorageError, StorageErrorKind,
};

use super::commit::Commit;
use super::copied::{Copied, Row};
use super::copying::{self, Copying, Onto};
use super::names::is_directory;
use super::plan::Folder;
use super::progress::Step;
use super::scene::Scene;
use super::status::{CHANGED, Refusal};

/// Moves everything below a directory, its marker included.
pub(super) async fn move_directory(
    scene: &Scene<'_>,
    source: &Location,
    target: &Location,
) -> Result<(), Refusal> {
    // From here on a look that fails would take back what others copied.
    let store = retry::patient(scene.store);
    let scene = &Scene {
        store: &store,
        ..*scene
    };
    let (from, to) = (Folder::of(source), Folder::of(target));
    if from.bucket == to.bucket && to.prefix.starts_with(&from.prefix) {
        return Err(Status::failure("A directory cannot be moved into itself").into());
    }
    let memory = memory(scene, limits::LIST_PAGE_MAX.into(), 0).await?;
    let apart = scene.are_apart(&source.bucket, &target.bucket);
    let mut walk = Walk::new(scene, &from);
    walk.apart = apart;
    let first = walk.next().await?.unwrap_or_default();
    if first.is_empty() && walk.is_over {
        // It went while this move waited, or between two looks.
        return Err(Status::NO_SUCH_FILE.into());
    }
    require_names(&first, &to)?;
    let mut moving = Moving {
        scene,
        total: first.len(),
        only_page: None,
        from,
        to,
        copied: Copied::default(),
        doubtful: Vec::new(),
        parts_bytes: 0,
        apart,
        memory,
    };
    if !walk.is_over {
        drop(first);
        moving.count(walk).await?;
    } else if walk.parts_bytes() > 0 {
        drop(first);
        moving.take_memory(walk.parts_bytes()).await?;
    } else if scene.store.capabilities(&source.bucket).conditional_delete {
        // A second listing would show what the deletes find out by themselves.
        moving.only_page = Some(first);
    }
    match moving.copy_all().await {
        Ok(()) => moving.delete_all().await,
        Err(refusal) => {
            moving.take_back(&refusal).await;
            Err(refusal)
        }
    }
}

/// A move of a directory.
struct Moving<'a> {
    scene: &'a Scene<'a>,
    from: Folder,
    to: Folder,
    /// How many objects were there at the beginning.
    total: usize,
    /// The listing of a directory that fits into one page.
    only_page: Option<Vec<Below>>,
    copied: Copied,
    /// Copies of which nobody knows whether they landed.
    doubtful: Vec<(Location, Nonce)>,
    /// What of the memory is for parts of objects that are being copied.
    parts_bytes: u64,
    /// It goes to another store.
    apart: bool,
    /// For a page, for what was copied, and for these parts.
    memory: Charge,
}

/// An object below the directory.
#[derive(Debug)]
struct Below {
    /// Without the directory's prefix.
    name: Box<str>,
    etag: ETag,
    size: u64,
}

impl Below {
    /// Some stores go on showing a directory whose marker went before what is below it.
    fn is_marker(&self) -> bool {
        self.name.is_empty() || self.name.ends_with('/')
    }
}

impl Moving<'_> {
    /// Counts what is to be moved, so that nothing is begun that is too much.
    async fn count(&mut self, mut walk: Walk<'_>) -> Result<(), Refusal> {
        while let Some(page) = walk.next().await? {
            self.scene.bounds.stop.check()?;
            require_names(&page, &self.to)?;
            self.total = self.total.saturating_add(page.len());
            if self.total > limits::RENAMED_OBJECTS_MAX {
                return Err(TOO_MANY.into());
            }
            self.scene.progress.passed(Step::Listed, self.total, 0);
        }
        self.take_memory(walk.parts_bytes()).await
    }

    /// Takes all memory that the move will need.
    async fn take_memory(&mut self, parts_bytes: u64) -> Result<(), Refusal> {
        // Whoever waits for more holds nothing that another one waits for.
        self.memory.shrink_to(0);
        self.memory = memory(self.scene, self.total, parts_bytes).await?;
        self.parts_bytes = parts_bytes;
        Ok(())
    }

    /// Takes memory for what somebody added since it was counted.
    fn take_more(&mut self, bytes: u64) -> Result<(), Status> {
        let charge = self.scene.bounds.shares.account.try_take(bytes);
        self.memory.join(charge.ok_or(TOO_MANY)?);
        Ok(())
    }

    fn take_more_for_parts(&mut self, chunk: &[Below]) -> Result<(), Status> {
        let limits = &self.scene.bounds.limits;
        let sizes = chunk.iter().map(|object| object.size);
        let parts = sizes.map(|size| copying::parts_bytes(limits, size, self.apart));
        let bytes = parts.fold(0, u64::saturating_add);
        if let Some(more) = bytes.checked_sub(self.parts_bytes).filter(|more| *more > 0) {
            self.take_more(more)?;
            self.parts_bytes = bytes;
        }
        Ok(())
    }

    async fn copy_all(&mut self) -> Result<(), Refusal> {
        if let Some(mut page) = self.only_page.take() {
            let outcome = self.copy_page(&mut page).await;
            self.only_page = Some(page);
            return outcome;
        }
        let mut walk = Walk::new(self.scene, &self.from);
        while let Some(mut page) = walk.next().await? {
            // More than there were: somebody writes to the directory.
            let sum = self.copied.len().saturating_add(page.len());
            if sum > limits::RENAMED_OBJECTS_MAX {
                return Err(TOO_MANY.into());
            }
            if sum > self.total {
                let more = sum.saturating_sub(self.total);
                self.take_more(rows_bytes(more))?;
                self.total = sum;
            }
            self.copy_page(&mut page).await?;
        }
        Ok(())
    }

    /// Copies one page; each object is left with the version that was copied.
    async fn copy_page(&mut self, page: &mut [Below]) -> Result<(), Refusal> {
        let before = self.copied.len();
        let mut rows = Vec::with_capacity(page.len());
        let mut outcome = Ok(());
        for chunk in page.chunks_mut(MOVES_AT_ONCE) {
            outcome = self.scene.bounds.stop.check();
            if outcome.is_ok() {
                outcome = self.take_more_for_parts(chunk).map_err(Refusal::from);
            }
            if outcome.is_err() {
                break;
            }
            let copies = chunk.iter().map(|object| self.copy_one(object).boxed());
            let copies: Vec<_> = copies.collect();
            let copies = join_all(copies).await;
            for (object, copied) in chunk.iter_mut().zip(copies) {
                match copied {
                    Ok((source, copy)) => {
                        rows.push(Row::new(&object.name, &source, &copy));
                        object.etag = source;
                    }
                    Err((refusal, doubtful)) => {
                        self.doubtful.extend(doubtful);
                        outcome = outcome.and(Err(refusal));
                    }
                }
            }
            if outcome.is_err() {
                break;
            }
            let files = before.saturating_add(rows.len());
            self.scene.progress.passed(Step::Copied, files, self.total);
        }
        self.copied.add(rows);
        outcome
    }

    /// Copies one object, and returns the versions of the source and of the copy; or why not, and
    /// what may have landed all the same.
    async fn copy_one(
        &self,
        object: &Below,
    ) -> Result<(ETag, ETag), (Refusal, Option<(Location, Nonce)>)> {
        let clean = |refusal: Refusal| (refusal, None);
        let source = at(&self.from, &object.name).map_err(|status| clean(status.into()))?;
        let target = at(&self.to, &object.name).map_err(|status| clean(status.into()))?;
        let (store, nonces) = (self.scene.store, self.scene.nonces);
        let found = store.head(&source).await;
        let found = found.map_err(|error| clean(error.into()))?;
        let nonce = nonces.next().map_err(|error| clean(error.into()))?;
        let mut new = NewObject::like(&found, nonce, self.scene.bounds.clock().wall());
        let stored = if found.size == 0 && object.is_marker() {
            // Some stores take a marker but do not find it as the source of a copy.
            // Nor is one refused where a store made the directory by itself; it is the same
            // whoever wrote it, so that its bucket says how it is kept.
            new.leave(Properties::leave_key_and_class);
            new.leave(Properties::leave_lock);
            let commit = Commit {
                store: &**store,
                stop: &self.scene.bounds.stop,
                location: &target,
                object: &new,
                condition: &Precondition::None,
            };
            commit.marker().await
        } else {
            let copying = Copying {
                source: &source,
                found: &found,
                target: &target,
                object: &new,
                onto: Onto::Nothing,
            };
            copying::copy(self.scene, copying).await
        };
        match stored {
            Ok(stored) => Ok((found.etag, stored.etag)),
            Err(error) => {
                let doubt = error.kind == StorageErrorKind::OutcomeUnknown;
                let over = self.scene.bounds.stop.check().err();
                let refusal = over.unwrap_or_else(|| error.into());
                Err((refusal, doubt.then_some((target, nonce))))
            }
        }
    }

    /// Deletes what was copied and is still what it was; markers last, the deepest first.
    async fn delete_all(&mut self) -> Result<(), Refusal> {
        let mut deleted = Deleted::default();
        // Each pass deletes a page of markers.
        let passes_max = self.total / usize::from(limits::LIST_PAGE_MAX);
        for pass in 0.. {
            let markers = self.delete_files(&mut deleted).await?;
            let (from, last) = (&self.from, &markers.last);
            self.delete_markers(from, last, &mut deleted).await?;
            // What could not be deleted would come again.
            if !markers.are_more || deleted.outcome.is_err() || pass > passes_max {
                break;
            }
        }
        deleted.outcome?;
        if deleted.changed {
            return Err(CHANGED.into());
        }
        Ok(())
    }

    /// Deletes markers, the deepest first.
    async fn delete_markers(
        &self,
        folder: &Folder,
        markers: &VecDeque<Below>,
        deleted: &mut Deleted,
    ) -> Result<(), Refusal> {
        for marker in markers.iter().rev() {
            if deleted.is_outage() {
                break;
            }
            let location = at(folder, &marker.name)?;
            let outcome = self.scene.deletion(&location, &marker.etag).run().await;
            deleted.note(outcome.map(drop));
        }
        Ok(())
    }

    /// Deletes all but the markers, and returns the last of these.
    async fn delete_files(&mut self, deleted: &mut Deleted) -> Result<Markers, Refusal> {
        let mut markers = Markers::default();
        if let Some(page) = self.only_page.take() {
            self.delete_page(page, deleted, &mut markers).await?;
            return Ok(markers);
        }
        let mut walk = Walk::new(self.scene, &self.from);
        while let Some(page) = walk.next().await? {
            self.delete_page(page, deleted, &mut markers).await?;
            let (files, total) = (deleted.files, self.total);
            self.scene.progress.passed(Step::Deleted, files, total);
        }
        Ok(markers)
    }

    async fn delete_page(
        &mut self,
        page: Vec<Below>,
        deleted: &mut Deleted,
        markers: &mut Markers,
    ) -> Result<(), Refusal> {
        let mut files = Vec::with_capacity(page.len());
        for object in page {
            match self.copied.find(&object.name) {
                Some(row) if !row.is_source(&object.etag) => deleted.changed = true,
                Some(_) if object.is_marker() => markers.add(object),
                Some(_) => files.push(object),
                None => {}
            }
        }
        self.delete_each(&self.from, &files, deleted).await
    }

    async fn delete_each(
        &self,
        folder: &Folder,
        objects: &[Below],
        deleted: &mut Deleted,
    ) -> Result<(), Refusal> {
        for chunk in objects.chunks(MOVES_AT_ONCE) {
            // Minutes for each of the others would make days.
            if deleted.is_outage() {
                break;
            }
            let locations = chunk.iter().map(|object| at(folder, &object.name));
            let locations = locations.collect::<Result<Vec<_>, _>>()?;
            let deletes = locations.iter().zip(chunk).map(|(location, object)| {
                let delete = self.scene.deletion(location, &object.etag).run();
                delete.boxed()
            });
            let deletes: Vec<_> = deletes.collect();
            for outcome in join_all(deletes).await {
                deleted.note(outcome.map(drop));
            }
        }
        Ok(())
    }

    /// Deletes the copies that are still what they were, and directories that came with them.
    async fn take_back(&mut self, why: &Refusal) {
        let reason = why.status.sentence;
        let copies = self.copied.len();
        let mut deleted = Deleted::default();
        let outcome = self.take_back_listed(&mut deleted).await;
        for (location, nonce) in &self.doubtful {
            if deleted.is_outage() {
                break;
            }
            // Whether it landed can be told by now, or by nobody.
            if let Ok(meta) = self.scene.store.head(location).await
                && meta.nonce() == Some(*nonce)
            {
                let outcome = self.scene.deletion(location, &meta.etag).run().await;
                deleted.note(outcome.map(drop));
            }
        }
        let error = match (outcome, deleted.outcome) {
            (Err(refusal), _) => refusal.detail,
            (Ok(()), Err(error)) => Some(error.to_string().into()),
            (Ok(()), Ok(())) => None,
        };
        let Some(unlogged) = self.scene.bounds.failures.line_due() else {
            return;
        };
        let (bucket, prefix) = (&self.to.bucket, &self.to.prefix);
        let taken_back = deleted.files;
        if let Some(error) = error {
            tracing::warn!(%bucket, %prefix, copies, taken_back, reason, %error, unlogged, "copies of a failed move may remain");
        } else {
            tracing::info!(%bucket, %prefix, copies, taken_back, reason, unlogged, "a move failed: its copies were removed");
        }
    }

    /// The same: what a directory is to go after goes first.
    async fn take_back_listed(&mut self, deleted: &mut Deleted) -> Result<(), Refusal> {
        let copies = self.copied.len();
        let store = &**self.scene.store;
        let by_itself = store.capabilities(&self.to.bucket).directories;
        if copies == 0 && !by_itself {
            return Ok(());
        }
        let passes_max = copies / usize::from(limits::LIST_PAGE_MAX);
        for pass in 0.. {
            let markers = self.take_back_files(by_itself, deleted).await?;
            let (to, last) = (&self.to, &markers.last);
            self.delete_markers(to, last, deleted).await?;
            if !markers.are_more || deleted.outcome.is_err() || pass > passes_max {
                break;
            }
        }
        Ok(())
    }

    /// Deletes all copies but the markers, and returns the last of these.
    async fn take_back_files(
        &mut self,
        by_itself: bool,
        deleted: &mut Deleted,
    ) -> Result<Markers, Refusal> {
        let copies = self.copied.len();
        let mut markers = Markers::default();
        let mut walk = Walk::new(self.scene, &self.to);
        while let Some(page) = walk.next().await? {
            let mut ours = Vec::with_capacity(page.len());
            for object in page {
                let row = self.copied.find(&object.name);
                if row.is_some_and(|row| row.is_copy(&object.etag)) {
                    if object.is_marker() {
                        markers.add(object);
                    } else {
                        ours.push(object);
                    }
                } else if row.is_none() && by_itself && object.is_marker() {
                    // It came with the first file in it, where the source has a directory as well.
                    let below = format!("{}{}", self.from.prefix, object.name);
                    let source = Folder::new(&self.from.bucket, below.trim_end_matches('/'));
                    if is_directory(&**self.scene.store, &source).await? {
                        markers.add(object);
                    }
                }
            }
            self.delete_each(&self.to, &ours, deleted).await?;
            let files = deleted.files;
            self.scene.progress.passed(Step::TakenBack, files, copies);
        }
        Ok(markers)
    }
}

/// What became of deletes.
struct Deleted {
    files: usize,
    /// Something was written to meanwhile, and stays.
    changed: bool,
    outcome: Result<(), StorageError>,
}

impl Default for Deleted {
    fn default() -> Self {
        Self {
            files: 0,
            changed: false,
            outcome: Ok(()),
        }
    }
}

impl Deleted {
    /// Says whether one was given up that had been repeated for as long as it is worth.
    fn is_outage(&self) -> bool {
        self.outcome.as_ref().is_err_and(|error| {
            matches!(
                error.kind,
                StorageErrorKind::Throttled
                    | StorageErrorKind::Unavailable
                    | StorageErrorKind::ClockSkew
            )
        })
    }

    fn note(&mut self, outcome: Result<(), StorageError>) {
        match outcome {
            Ok(()) => self.files = self.files.saturating_add(1),
            Err(error) if error.kind == StorageErrorKind::Precondition => self.changed = true,
            // It went by itself.
            Err(error) if error.kind == StorageErrorKind::NotFound => {}
            Err(error) => {
                if self.outcome.is_ok() {
                    self.outcome = Err(error);
                }
            }
        }
    }
}

/// The last markers of a listing, in its order.
#[derive(Default)]
struct Markers {
    last: VecDeque<Below>,
    are_more: bool,
}

impl Markers {
    fn add(&mut self, marker: Below) {
        if self.last.len() >= limits::LIST_PAGE_MAX.into() {
            self.last.pop_front();
            self.are_more = true;
        }
        self.last.push_back(marker);
    }
}

/// Lists what is below a directory, page by page.
struct Walk<'a> {
    store: &'a dyn ObjectStore,
    folder: Folder,
    after: Option<ListCursor>,
    /// The last page was returned.
    is_over: bool,
    seen: usize,
    limits: &'a Limits,
    /// Objects that are copied in ranges, and the most that one of them keeps of its parts.
    ranged: (u64, u64),
    /// What is listed goes to another store.
    apart: bool,
}

impl<'a> Walk<'a> {
    fn new(scene: &Scene<'a>, folder: &Folder) -> Self {
        Self {
            store: &**scene.store,
            limits: &scene.bounds.limits,
            ranged: (0, 0),
            apart: false,
            folder: folder.clone(),
            after: None,
            is_over: false,
            seen: 0,
        }
    }

    /// Returns the next page, which may be empty; `None` after the last one.
    async fn next(&mut self) -> Result<Option<Vec<Below>>, Refusal> {
        if self.is_over {
            return Ok(None);
        }
        let query = ListQuery {
            prefix: self.folder.prefix.clone(),
            delimited: false,
            after: self.after.take(),
            max: limits::LIST_PAGE_MAX,
        };
        let page = self.store.list(&self.folder.bucket, &query).await?;
        self.after = page.next.map(ListCursor::Continuation);
        self.is_over = self.after.is_none();
        // Else a store that does not get on would keep this busy for ever.
        self.seen = self.seen.saturating_add(page.objects.len().max(1));
        if self.seen > WALKED_MAX || (!self.is_over && self.after == query.after) {
            return Err(TOO_MANY.into());
        }
        for object in &page.objects {
            let bytes = copying::parts_bytes(self.limits, object.size, self.apart);
            if bytes > 0 {
                let (objects, most) = self.ranged;
                self.ranged = (objects.saturating_add(1), most.max(bytes));
            }
        }
        let objects = page.objects.into_iter();
        let objects: Result<Vec<_>, _> = objects.map(|object| self.below(object)).collect();
        Ok(Some(objects?))
    }

    /// Returns what the parts of as many objects take as are copied at once.
    fn parts_bytes(&self) -> u64 {
        let (objects, most) = self.ranged;
        let at_once = u64::try_from(MOVES_AT_ONCE).unwrap_or(u64::MAX);
        objects.min(at_once).saturating_mul(most)
    }

    /// Takes only what the store was asked for: anything else would be deleted elsewhere.
    fn below(&self, object: ListedObject) -> Result<Below, Refusal> {
        match object.key.strip_prefix(&self.folder.prefix) {
            Some(name) => Ok(Below {
                name: name.into(),
                etag: object.etag,
                size: object.size,
            }),
            None => Err(Refusal {
                status: Status::failure("The storage listed files that are somewhere else"),
                detail: Some(
                    format!("{:?} was listed below {:?}", object.key, self.folder.prefix).into(),
                ),
            }),
        }
    }
}

/// Refuses names that would become too long.
fn require_names(page: &[Below], to: &Folder) -> Result<(), Refusal> {
    for object in page {
        at(to, &object.name)?;
    }
    Ok(())
}

fn at(folder: &Folder, name: &str) -> Result<Location, Status> {
    let key = Key::parse(&format!("{}{name}", folder.prefix)).map_err(|_| NAME_TOO_LONG)?;
    let bucket = folder.bucket.clone();
    Ok(Location { bucket, key })
}

/// Waits for memory for a page, for what will have been copied, and for parts.
async fn memory(scene: &Scene<'_>, objects: usize, parts_bytes: u64) -> Result<Charge, Refusal> {
    let bytes = limits::MOVE_PAGE_BYTES
        .saturating_add(rows_bytes(objects))
        .saturating_add(parts_bytes);
    scene.bounds.memory(bytes, TOO_MANY).await
}

fn rows_bytes(objects: usize) -> u64 {
    u64::try_from(objects)
        .unwrap_or(u64::MAX)
        .saturating_mul(Row::BYTES)
}

const NAME_TOO_LONG: Status = Status::failure("A name in the directory would become too long");
const TOO_MANY: Status = Status::failure("The directory holds too many files to be moved");
const MOVES_AT_ONCE: usize = 8;
/// Objects of one listing, those included that somebody adds while it goes on.
const WALKED_MAX: usize = 2 * limits::RENAMED_OBJECTS_MAX;
