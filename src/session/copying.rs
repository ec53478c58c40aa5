//! Objects that the store copies by itself: small ones at once, large ones in ranges side by side.
//!
//! A copy in ranges is a [`WriteFile`] of which nothing is written: its upload is completed or
//! aborted like every other, and the only thing that this adds is who runs what it asks for. A copy
//! as a whole keeps what belongs to the object by itself; one in ranges has to say it all again, so
//! where something of it cannot be read, the copy is made as a whole, or not at all.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::budget::Charge;
use crate::limits::{self, Limits};
use crate::sftp::{OpenMode, Status};
use crate::storage::{
    Bucket, Checksum, Digest, Location, NewObject, ObjectMeta, ObjectStore, PartLayout,
    Precondition, Properties, Result, StorageError, StorageErrorKind, Stored, Tags, Version,
};
use crate::tasks;
use crate::transfer::WriteFile;
use crate::transfer::write_file::{Base, Effect, Heard, Opening, RateMin};

use super::calls::{Calls, Completion, FirstFailure, Listener};
use super::carrying;
use super::commit::Commit;
use super::described::Described;
use super::names::copy_exclusive;
use super::scene::{Scene, Turn, are_apart};
use super::status::Refusal;

/// An object as it was found, and where a copy of it belongs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copying<'a> {
    pub(super) source: &'a Location,
    pub(super) found: &'a ObjectMeta,
    pub(super) target: &'a Location,
    /// What the copy is to carry.
    pub(super) object: &'a NewObject,
    pub(super) onto: Onto,
}

/// What the copy is to replace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Onto {
    Anything,
    /// Nothing is to be there, as far as the store can tell.
    Nothing,
    /// The version that is copied, which gets another description.
    Itself,
}

/// Copies an object, inside its store or from one to another.
///
/// The source's key stays in its bucket: who reads the other one may not have it. Key, class and
/// lock may not be set again by everybody, nor in every bucket; what is refused is left to the
/// bucket, the lock last.
pub(super) async fn copy(scene: &Scene<'_>, copying: Copying<'_>) -> Result<Stored> {
    let mut object = copying.object.clone();
    let (from, to) = (&copying.source.bucket, &copying.target.bucket);
    leave_to_bucket(&**scene.store, &mut object, from, to);
    let mut error = match copy_exactly(scene, copying.with(&object)).await {
        Ok(stored) => return Ok(stored),
        Err(error) => error,
    };
    let steps: [(fn(&mut Properties) -> bool, _); 2] = [
        (Properties::leave_key_and_class, "key and class"),
        (Properties::leave_lock, "key, class and lock"),
    ];
    for (leave, left) in steps {
        let refused = is_refused(error.kind) || error.kind == StorageErrorKind::Denied;
        if !refused || scene.bounds.stop.check().is_err() {
            break;
        }
        if !object.leave(leave) {
            continue;
        }
        let before = error;
        error = match copy_exactly(scene, copying.with(&object)).await {
            Ok(stored) => {
                if let Some(unlogged) = scene.bounds.failures.line_due() {
                    let source = copying.source;
                    tracing::warn!(%source, left, error = %before, unlogged, "copied without attributes that may not be set: the bucket's defaults apply");
                }
                return Ok(stored);
            }
            Err(error) => error,
        };
    }
    Err(error)
}

/// Leaves to another bucket what an object has from its own.
pub(super) fn leave_to_bucket(
    store: &dyn ObjectStore,
    object: &mut NewObject,
    from: &Bucket,
    to: &Bucket,
) {
    if are_apart(store, from, to) {
        // Keys and classes of one store are nothing to another.
        object.leave(Properties::leave_key_and_class);
    } else if from.present() != to.present() {
        object.leave(Properties::leave_key);
    }
}

/// Copies an object with all that the copy is to carry, or not at all.
pub(super) async fn copy_exactly(scene: &Scene<'_>, copying: Copying<'_>) -> Result<Stored> {
    if copying.is_apart(scene) {
        return copying.to_another_store(scene).await;
    }
    if !is_ranged(&scene.bounds.limits, copying.found.size) {
        return copying.as_a_whole(scene).await;
    }
    let may_be_whole = copying.found.size <= limits::COPY_BYTES_MAX;
    let capabilities = scene.store.capabilities(&copying.target.bucket);
    if copying.onto == Onto::Itself && capabilities.directories {
        // No byte is copied.
        return copying.as_a_whole(scene).await;
    }
    // Only a copy as a whole can be made where nothing is, and nowhere else.
    let only_whole = capabilities.conditional_copy && !capabilities.conditional_complete;
    if may_be_whole && copying.onto != Onto::Anything && only_whole {
        return copying.as_a_whole(scene).await;
    }
    let tags = match copying.tags(scene).await {
        Ok(tags) => tags,
        Err(error) if may_be_whole => {
            if let Some(unlogged) = scene.bounds.failures.line_due() {
                let source = copying.source;
                tracing::info!(%source, %error, unlogged, "copied as a whole: its tags cannot be read");
            }
            return copying.as_a_whole(scene).await;
        }
        Err(error) => return Err(error),
    };
    let error = match copying.in_ranges(scene, tags).await {
        Ok(stored) => return Ok(stored),
        Err(error) => error,
    };
    if !may_be_whole || !is_refused(error.kind) {
        return Err(error);
    }
    if let Err(refusal) = scene.bounds.stop.check() {
        return Err((&refusal).into());
    }
    if let Some(unlogged) = scene.bounds.failures.line_due() {
        let source = copying.source;
        tracing::info!(%source, %error, unlogged, "copied as a whole: the store refuses to copy it in ranges");
    }
    copying.as_a_whole(scene).await
}

/// What the store does not know, it refuses whoever asks for it.
const fn is_refused(kind: StorageErrorKind) -> bool {
    matches!(
        kind,
        StorageErrorKind::Refused | StorageErrorKind::RefusedBare
    )
}

/// What a copy of one file holds while it is made.
#[derive(Debug)]
#[must_use]
pub(super) struct Room {
    /// Among the user's long copies.
    turn: Option<Turn>,
    _parts: Option<Charge>,
}

impl Room {
    /// Says whether it had to be waited for: what was seen before may be otherwise by now.
    pub(super) fn waited(&self) -> bool {
        self.turn.as_ref().is_some_and(|turn| turn.waited)
    }

    pub(super) const fn is_long(&self) -> bool {
        self.turn.is_some()
    }
}

/// Waits for the user's turn, if a file of this size is long to copy, and for memory for its parts.
pub(super) async fn room(
    scene: &Scene<'_>,
    size: u64,
    apart: bool,
) -> std::result::Result<Room, Refusal> {
    let memory_bytes = scene.bounds.shares.uploads.pool().limit_bytes();
    let is_long =
        size > limits::COPY_BYTES_MAX || (apart && !carrying::is_whole(size, memory_bytes));
    let turn = if is_long {
        Some(scene.turn().await?)
    } else {
        None
    };
    let parts = match parts_bytes(&scene.bounds.limits, size, apart) {
        0 => None,
        bytes => Some(scene.bounds.memory(bytes, TOO_LARGE).await?),
    };
    Ok(Room {
        turn,
        _parts: parts,
    })
}

/// Returns what a copy of an object of this size keeps of its parts until it is complete.
pub(super) fn parts_bytes(limits: &Limits, size: u64, apart: bool) -> u64 {
    let layout = if apart {
        carrying::layout(size, limits.upload_memory_bytes_max)
    } else if is_ranged(limits, size) {
        PartLayout::of_copy(size, limits.range_bytes_min)
    } else {
        return 0;
    };
    let parts = match layout.parts() {
        0 | 1 => 0,
        parts => parts,
    };
    u64::from(parts).saturating_mul(limits::COPIED_PART_BYTES)
}

fn is_ranged(limits: &Limits, size: u64) -> bool {
    size > 0 && (size >= limits.range_copy_bytes_min || size > limits::COPY_BYTES_MAX)
}

impl<'a> Copying<'a> {
    /// The same with another description of the copy.
    const fn with<'o>(self, object: &'o NewObject) -> Copying<'o>
    where
        'a: 'o,
    {
        Copying { object, ..self }
    }

    fn is_apart(self, scene: &Scene<'_>) -> bool {
        scene.are_apart(&self.source.bucket, &self.target.bucket)
    }

    /// Reads it from its store and writes it to the other. Where that one refuses tags it goes
    /// without them: stores that have none refuse every one.
    async fn to_another_store(self, scene: &Scene<'_>) -> Result<Stored> {
        let tags = self.tags(scene).await?;
        let tagged = !tags.is_empty();
        let error = match self.carry(scene, tags).await {
            Err(error) if tagged && is_refused(error.kind) => error,
            outcome => return outcome,
        };
        scene
            .bounds
            .stop
            .check()
            .map_err(|refusal| StorageError::from(&refusal))?;
        let stored = self.carry(scene, Tags::new()).await?;
        if let Some(unlogged) = scene.bounds.failures.line_due() {
            let source = self.source;
            tracing::warn!(%source, %error, unlogged, "copied without tags, which the other store refuses");
        }
        Ok(stored)
    }

    async fn carry(self, scene: &Scene<'_>, tags: Tags) -> Result<Stored> {
        let memory_bytes = scene.bounds.shares.uploads.pool().limit_bytes();
        if !carrying::is_whole(self.found.size, memory_bytes) {
            return self.in_ranges(scene, tags).await;
        }
        let object = NewObject {
            tags,
            ..self.object.clone()
        };
        let condition = match self.onto {
            Onto::Anything => Precondition::None,
            Onto::Nothing => Precondition::IfNoneMatch,
            Onto::Itself => Precondition::IfMatch(self.found.etag.clone()),
        };
        let whole = carrying::Whole {
            source: Version {
                location: self.source,
                etag: &self.found.etag,
            },
            size: self.found.size,
            checksum: self.found.checksum,
            target: self.target,
            object: &object,
            condition: &condition,
        };
        whole.carry(scene).await
    }

    async fn as_a_whole(self, scene: &Scene<'_>) -> Result<Stored> {
        let condition = match self.onto {
            Onto::Anything => Precondition::None,
            Onto::Nothing => copy_exclusive(&**scene.store, &self.target.bucket),
            Onto::Itself => Precondition::IfMatch(self.found.etag.clone()),
        };
        let commit = Commit {
            store: &**scene.store,
            stop: &scene.bounds.stop,
            location: self.target,
            object: self.object,
            condition: &condition,
        };
        let source = Version {
            location: self.source,
            etag: &self.found.etag,
        };
        commit.copy(source).await
    }

    /// Asks for the tags: that a HEAD counts none does not mean that there are none, for it counts
    /// them only for those who may read them.
    async fn tags(self, scene: &Scene<'_>) -> Result<Tags> {
        let error = match scene.store.tags(self.source).await {
            Ok(tags) => return Ok(tags),
            Err(error) => error,
        };
        if is_refused(error.kind) || error.kind == StorageErrorKind::NotFound {
            // The store has no tags.
            return Ok(Tags::new());
        }
        if error.kind == StorageErrorKind::Denied {
            return Err(naming(
                &error,
                "its tags cannot be read without s3:GetObjectTagging",
            ));
        }
        Err(error)
    }

    async fn in_ranges(self, scene: &Scene<'_>, tags: Tags) -> Result<Stored> {
        let object = NewObject {
            tags,
            ..self.object.clone()
        };
        Ranged::new(scene, self, object).run().await
    }

    fn opening(self, scene: &Scene<'_>) -> Opening {
        let (bounds, apart) = (scene.bounds, self.is_apart(scene));
        let honoured = scene.store.capabilities(&self.target.bucket);
        let condition = match self.onto {
            // Across stores the commit looks for itself where no condition is honoured.
            Onto::Nothing if honoured.conditional_complete || apart => Precondition::IfNoneMatch,
            Onto::Nothing | Onto::Anything => Precondition::None,
            Onto::Itself => Precondition::IfMatch(self.found.etag.clone()),
        };
        Opening {
            mode: OpenMode {
                read: false,
                write: true,
                append: false,
                create: true,
                truncate: false,
                exclusive: self.onto == Onto::Nothing,
            },
            base: Some(Base {
                location: self.source.clone(),
                etag: self.found.etag.clone(),
                size: self.found.size,
            }),
            layout: if apart {
                carrying::layout(self.found.size, bounds.shares.uploads.pool().limit_bytes())
            } else {
                PartLayout::of_copy(self.found.size, bounds.limits.range_bytes_min)
            },
            condition,
            alone: None,
            partial: None,
            file_bytes_max: None,
            parts_in_flight_max: limits::RANGE_COPIES_PER_OBJECT_MAX,
            copies_in_flight_max: if apart {
                limits::CARRIED_PARTS_PER_OBJECT_MAX
            } else {
                limits::RANGE_COPIES_PER_OBJECT_MAX
            },
            range_bytes_min: bounds.limits.range_bytes_min,
            edit_bytes_max: 0,
            keep_first_part: false,
            // No client sends anything.
            rate_min: RateMin {
                bytes_per_second: 0,
                over: bounds.limits.upload_rate_window,
            },
            budget: Arc::clone(&bounds.budget),
            share: bounds.shares.uploads.clone(),
        }
    }
}

/// S3 names the call that it refuses, and not always the action that is missing.
fn naming(error: &StorageError, why: &str) -> StorageError {
    StorageError::new(error.kind, format!("{} ({why})", error.detail))
}

/// A copy in ranges, and what is under way for it.
struct Ranged<'a> {
    scene: &'a Scene<'a>,
    object: NewObject,
    /// The checksum that the source is known by.
    checksum: Option<Checksum>,
    file: WriteFile,
    calls: Calls,
    heard: mpsc::UnboundedReceiver<Heard>,
    failed: FirstFailure,
    /// Ends with this.
    tasks: JoinSet<()>,
    /// S3 has begun the upload.
    begun: bool,
    /// The parts come from another store.
    apart: bool,
    stored: Option<Stored>,
}

impl<'a> Ranged<'a> {
    fn new(scene: &'a Scene<'a>, copying: Copying<'_>, object: NewObject) -> Self {
        let (sender, heard) = mpsc::unbounded_channel();
        let failed = FirstFailure::default();
        let calls = Calls {
            store: scene.store.clone(),
            location: copying.target.clone(),
            stop: scene.bounds.stop.clone(),
            listener: Listener::Copy {
                heard: sender,
                failed: failed.clone(),
            },
        };
        let now = scene.bounds.clock().now();
        Self {
            scene,
            object,
            checksum: copying.found.checksum.and_then(Digest::crc64),
            file: WriteFile::copy(copying.opening(scene), now),
            calls,
            heard,
            failed,
            tasks: JoinSet::new(),
            begun: false,
            apart: copying.is_apart(scene),
            stored: None,
        }
    }

    /// Runs it to its end: the object is there, or its upload is being aborted.
    async fn run(&mut self) -> Result<Stored> {
        let (stop, mut stopped) = (&self.scene.bounds.stop, false);
        loop {
            while let Some(effect) = self.file.next_effect() {
                if effect == Effect::Over {
                    return self.outcome();
                }
                self.run_effect(effect);
            }
            let heard = tokio::select! {
                biased;
                refusal = stop.over(), if !stopped => {
                    stopped = true;
                    self.failed.note(&(&refusal).into());
                    Some(Heard::SessionOver)
                }
                heard = self.heard.recv() => heard,
            };
            while self.tasks.try_join_next().is_some() {}
            // `calls` keeps a sender.
            let heard = heard.unwrap_or(Heard::SessionOver);
            self.file.hear(heard, stop.clock().now());
        }
    }

    fn outcome(&mut self) -> Result<Stored> {
        if let Some(stored) = self.stored.take() {
            return Ok(stored);
        }
        let unknown = || StorageError::new(StorageErrorKind::Unavailable, "the copy was cancelled");
        let error = self.failed.get().unwrap_or_else(unknown);
        let tagged = !self.object.tags.is_empty();
        if tagged && !self.begun && error.kind == StorageErrorKind::Denied {
            let why = "its tags cannot be written without s3:PutObjectTagging";
            return Err(naming(&error, why));
        }
        Err(error)
    }

    /// Says whether what was carried is not what the source is known by.
    fn is_damaged(&self, carried: Option<Checksum>) -> bool {
        let known = self.checksum.filter(|_| self.apart);
        known
            .zip(carried)
            .is_some_and(|(known, carried)| known != carried)
    }

    fn fail(&self, kind: StorageErrorKind, why: &str) {
        self.failed.note(&StorageError::new(kind, why));
    }

    fn run_effect(&mut self, effect: Effect) {
        let reaper = self.scene.reaper;
        let calls = self.calls.clone();
        match effect {
            Effect::Create { given: _ } => {
                calls.create(reaper, Described::whole(self.object.clone()), None);
            }
            Effect::CopyPart(copy) => {
                self.begun = true;
                let bounds = self.scene.bounds;
                let shares = &bounds.shares;
                if self.apart {
                    let (incoming, uploads) = (bounds.incoming.clone(), shares.uploads.clone());
                    let part = calls.part_carried(incoming, uploads, copy);
                    tasks::spawn(&mut self.tasks, part);
                } else {
                    let turns = shares.range_copies.clone();
                    tasks::spawn(&mut self.tasks, calls.part_copy(turns, copy));
                }
            }
            Effect::Complete(completing) if self.is_damaged(completing.checksum) => {
                // What failed to be committed is aborted.
                calls.report(Err(carrying::damaged(&calls.location)));
            }
            Effect::Complete(completing) => {
                let completion = Completion {
                    checksum: self.checksum.or(completing.checksum),
                    object: self.object.clone(),
                    then: None,
                    recorded: None,
                    completing,
                };
                let what = format!("copy to {}", calls.location);
                reaper.outlive(what, calls.complete(reaper.clone(), completion));
            }
            Effect::Abort(upload) => reaper.abort(calls.store, calls.location, upload),
            Effect::Stop => self.tasks.abort_all(),
            Effect::Failed { reason, closed: _ } => {
                self.fail(StorageErrorKind::Unavailable, &reason);
            }
            Effect::Stored { size: _, stored } => {
                let checksum = None;
                self.stored = Some(Stored { checksum, ..stored });
            }
            Effect::Over => {}
            // Nothing of a copy comes here, and nobody asked for it by a request.
            Effect::Wait { .. }
            | Effect::WaitForParts(_)
            | Effect::SendPart { .. }
            | Effect::ReadBase { .. }
            | Effect::ReadOn
            | Effect::LeaveBase
            | Effect::Brought { .. }
            | Effect::Zeros(_)
            | Effect::Look { .. }
            | Effect::Put { .. }
            | Effect::SetGiven { .. }
            | Effect::Answer(..) => {
                self.fail(StorageErrorKind::Refused, "a copy asked for bytes");
                calls.tell(Heard::SessionOver);
            }
        }
    }
}

const TOO_LARGE: Status =
    Status::failure("The file is larger than the server can copy at the moment");
