//! Does what a file that is written asks for: calls to the store, memory to wait for, answers.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::audit::{self, Written};
use crate::budget::{Purpose, Share};
use crate::clock::sleep_until;
use crate::metrics::TransferEnd;
use crate::reaper::Reaper;
use crate::sftp::{Attributes, HandleId};
use crate::storage::retry;
use crate::storage::{
    ByteRange, Checksum, CompletedPart, ETag, GetObject, Location, NewObject, Nonce, ObjectBody,
    Operation, PartNumber, Precondition, SharedStore, StorageError, StorageErrorKind, Stored,
    UploadId, UploadPart, UploadPartCopy, Version,
};
use crate::transfer::WriteFile;
use crate::transfer::write_file::{Effect, Failure, Heard, Opening, RateMin};
use crate::vfs::{Access, VirtualPath};

use super::act::ForWriting;
use super::commit::Commit;
use super::events::Events;
use super::expiry::Stop;
use super::names::MTIME;
use super::shell::Shell;
use super::status::of_storage;

/// Where an open file stands.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) handle: HandleId,
    pub(crate) path: VirtualPath,
    pub(crate) location: Location,
    pub(crate) access: Access,
}

/// A file that is written, with what is under way for it.
#[derive(Debug)]
pub(crate) struct Writing {
    file: WriteFile,
    object: NewObject,
    tasks: Vec<AbortHandle>,
    /// Wakes the one that reads the base.
    read_on: Arc<Notify>,
    opened: Instant,
    /// What S3 confirmed, or was given.
    checksum: Option<Checksum>,
    /// Whether the commit depends on a file that is there, or on none.
    replaces: Option<bool>,
}

impl Place {
    /// Returns what a line says of it.
    pub(crate) const fn file(&self) -> audit::File<'_> {
        audit::File {
            path: &self.path,
            location: &self.location,
        }
    }
}

impl Writing {
    pub(crate) fn new(shell: &Shell, place: &Place, found: ForWriting, attrs: &Attributes) -> Self {
        let (now, limits) = (shell.now(), &shell.environment.limits);
        let replaces = match &found.condition {
            Precondition::IfMatch(_) => Some(true),
            Precondition::IfNoneMatch => Some(false),
            Precondition::None => found.base.is_some().then_some(true),
        };
        let opening = Opening {
            mode: found.mode,
            base: found.base,
            condition: found.condition,
            alone: found.alone,
            file_bytes_max: shell.user.config().limits.file_bytes,
            parts_in_flight_max: limits.parts_in_flight_per_upload_max,
            rate_min: RateMin {
                bytes_per_second: u64::try_from(limits.upload_rate_bytes_min).unwrap_or(u64::MAX),
                over: limits.upload_rate_window,
            },
            budget: Arc::clone(&shell.environment.budget),
            share: shell.seat.memory().uploads.clone(),
        };
        let mut file = WriteFile::new(opening, now);
        // A size in OPEN's attributes is what the client expects, not what it sets.
        file.set_modified(attrs.times.map(|(_, modified)| modified));
        Self {
            file,
            object: object_at(&place.location, found.nonce),
            tasks: Vec::new(),
            read_on: Arc::default(),
            opened: now,
            checksum: None,
            replaces,
        }
    }

    pub(crate) const fn file(&self) -> &WriteFile {
        &self.file
    }

    /// Tells the file what happened, and does what it asks for; `true`: nothing is left to do.
    pub(crate) fn hear(&mut self, shell: &mut Shell, place: &Place, heard: Heard) -> bool {
        if let Heard::Committed(Ok(stored)) = &heard {
            self.checksum = stored.checksum.or(self.checksum);
        }
        let (now, before) = (shell.now(), self.file.received());
        self.file.hear(heard, now);
        let came = self.file.received().saturating_sub(before);
        if came > 0 {
            shell.environment.metrics.bytes_received(came);
            shell.seat.received(came, now);
        }
        let mut is_over = false;
        while let Some(effect) = self.file.next_effect() {
            is_over |= effect == Effect::Over;
            self.run(shell, place, effect);
        }
        is_over
    }

    fn run(&mut self, shell: &mut Shell, place: &Place, effect: Effect) {
        let calls = Calls::new(shell, place);
        match effect {
            Effect::Wait {
                number,
                bytes,
                purpose,
            } => {
                let share = shell.seat.memory().uploads.clone();
                self.spawn(shell, calls.wait(share, number, bytes, purpose));
            }
            Effect::Create { modified } => self.create(shell, calls, modified),
            Effect::SendPart {
                upload,
                number,
                payload,
                ..
            } => self.spawn(shell, calls.part(upload, number, payload)),
            Effect::CopyPart {
                upload,
                number,
                etag,
                range,
            } => self.spawn(shell, calls.part_copy(upload, number, etag, range)),
            Effect::ReadBase { etag, range } => {
                let memory = shell.seat.memory().account.clone();
                let read_on = Arc::clone(&self.read_on);
                self.spawn(shell, calls.base(etag, range, memory, read_on));
            }
            Effect::ReadOn => self.read_on.notify_one(),
            Effect::Zeros(bytes) => self.make_zeros(shell, calls, bytes),
            Effect::Put {
                payload,
                condition,
                modified,
            } => {
                let object = self.object_with(modified);
                let what = format!("upload of {}", place.location);
                let put = calls.put(payload, object, condition);
                shell.environment.reaper.outlive(what, put);
            }
            Effect::Complete {
                upload,
                parts,
                checksum,
                condition,
            } => {
                self.checksum = checksum;
                let (object, reaper) = (self.object.clone(), shell.environment.reaper.clone());
                let what = format!("upload of {}", place.location);
                let complete = calls.complete(reaper, upload, parts, checksum, object, condition);
                shell.environment.reaper.outlive(what, complete);
            }
            Effect::Abort(upload) => {
                let (store, location) = (shell.store(), place.location.clone());
                shell.environment.reaper.abort(store, location, upload);
            }
            Effect::Stop => self.stop(),
            Effect::Answer(pending, status) => shell.answers.status(pending, status),
            Effect::Failed { reason, closed } => self.failed(shell, place, &reason, closed),
            Effect::Stored { size, etag } => self.stored(shell, place, size, &etag),
            Effect::Over => {}
        }
    }

    fn stored(&self, shell: &Shell, place: &Place, size: u64, etag: &ETag) {
        let written = Written {
            bytes: size,
            etag: &etag.0,
            checksum: self.checksum,
            replaced: self.replaces,
        };
        let took = shell.now().duration_since(self.opened);
        audit::uploaded(place.file(), written, took);
        let metrics = &shell.environment.metrics;
        metrics.upload_ended(TransferEnd::Completed);
    }

    fn failed(&self, shell: &Shell, place: &Place, reason: &str, closed: bool) {
        audit::upload_failed(place.file(), self.file.received(), reason);
        let end = if closed {
            TransferEnd::Failed
        } else {
            TransferEnd::Abandoned
        };
        shell.environment.metrics.upload_ended(end);
    }

    /// Begins the multipart upload. It outlives the session: whoever created it must end it.
    fn create(&mut self, shell: &Shell, calls: Calls, modified: Option<u32>) {
        let object = self.object_with(modified);
        let reaper = shell.environment.reaper.clone();
        let what = format!("begin of an upload to {}", calls.location);
        shell.environment.reaper.outlive(what, async move {
            let outcome = calls.store.create(&calls.location, &object).await;
            if let Err(error) = &outcome
                && error.kind == StorageErrorKind::OutcomeUnknown
            {
                let location = &calls.location;
                tracing::warn!(%location, %error, "an upload may have been begun that nobody knows");
            }
            let created = outcome.as_ref().ok().cloned();
            let (store, location) = (calls.store.clone(), calls.location.clone());
            let heard = calls.tell(Heard::Created(outcome.map_err(|error| failure(&error))));
            if let (false, Some(upload)) = (heard, created) {
                reaper.abort(store, location, upload);
            }
        });
    }

    /// Zeros count like bytes that the client sends: they come no faster.
    fn make_zeros(&mut self, shell: &mut Shell, calls: Calls, bytes: u64) {
        let now = shell.now();
        shell.seat.received(bytes, now);
        match shell.seat.receives_again_at(now) {
            None => {
                calls.tell(Heard::ZerosDue);
            }
            Some(at) => self.spawn(shell, async move {
                sleep_until(calls.stop.clock(), at).await;
                calls.tell(Heard::ZerosDue);
            }),
        }
    }

    fn object_with(&mut self, modified: Option<u32>) -> NewObject {
        if let Some(modified) = modified {
            let time = (MTIME.into(), modified.to_string().into());
            self.object.metadata = vec![time];
        }
        self.object.clone()
    }

    fn spawn(&mut self, shell: &mut Shell, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.retain(|task| !task.is_finished());
        self.tasks.push(shell.spawn(task));
    }

    fn stop(&mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What a new object at a place is to carry.
fn object_at(location: &Location, nonce: Nonce) -> NewObject {
    let guess = mime_guess::from_path(location.key.as_str()).first_raw();
    NewObject {
        content_type: Some(guess.unwrap_or("application/octet-stream").into()),
        ..NewObject::new(nonce)
    }
}

/// Calls for one file, which tell it how they ended.
struct Calls {
    store: SharedStore,
    location: Location,
    handle: HandleId,
    events: Events,
    stop: Stop,
}

impl Calls {
    fn new(shell: &Shell, place: &Place) -> Self {
        Self {
            store: shell.store(),
            location: place.location.clone(),
            handle: place.handle,
            events: shell.events.clone(),
            stop: shell.stop.clone(),
        }
    }

    fn commit<'a>(&'a self, object: &'a NewObject, condition: &'a Precondition) -> Commit<'a> {
        Commit {
            store: &*self.store,
            stop: &self.stop,
            location: &self.location,
            object,
            condition,
        }
    }

    fn tell(&self, heard: Heard) -> bool {
        self.events.write(self.handle, heard)
    }

    async fn wait(self, share: Share, number: PartNumber, bytes: u64, purpose: Purpose) {
        let charge = share.take_for(bytes, purpose).await;
        self.tell(Heard::Memory(number, charge));
    }

    async fn part(self, upload: UploadId, number: PartNumber, payload: Bytes) {
        let checksum = Checksum::of(&payload);
        let part = UploadPart {
            upload: &upload,
            number,
            checksum,
        };
        let outcome = match self.store.part(&self.location, payload, part).await {
            Ok(part) if part.checksum.is_some_and(|found| found != checksum) => Err(Failure {
                status: of_storage(StorageErrorKind::ChecksumMismatch),
                reason: "a part was stored with other bytes".into(),
            }),
            outcome => outcome.map_err(|error| failure(&error)),
        };
        self.tell(Heard::PartEnded {
            number,
            outcome,
            checksum: Some(checksum),
        });
    }

    async fn part_copy(self, upload: UploadId, number: PartNumber, etag: ETag, range: ByteRange) {
        let part = UploadPartCopy {
            upload: &upload,
            number,
            source: Version {
                location: &self.location,
                etag: &etag,
            },
            range,
        };
        let outcome = self.store.part_copy(&self.location, part).await;
        self.tell(Heard::PartEnded {
            number,
            outcome: outcome.map_err(|error| failure(&error)),
            checksum: None,
        });
    }

    /// Brings a range of the base, one piece after the other has its place.
    async fn base(self, etag: ETag, range: ByteRange, memory: Share, read_on: Arc<Notify>) {
        // One piece at a time is ours; it leaves for a slot before the next one comes.
        let _charge = memory.take(BASE_PIECE_BYTES).await;
        let outcome = self.pieces(etag, range, &read_on).await;
        self.tell(Heard::BaseEnded(outcome.map_err(|error| failure(&error))));
    }

    async fn pieces(
        &self,
        etag: ETag,
        range: ByteRange,
        read_on: &Notify,
    ) -> Result<(), StorageError> {
        let store = retry::patient(&self.store);
        let mut tries = retry::tries(&*store, Operation::Get, self.stop.clock());
        let mut left = range;
        while left.start < left.end {
            let before = left.start;
            let get = GetObject {
                range: Some(left),
                etag: Some(&etag),
            };
            let outcome = match store.get(&self.location, get).await {
                Ok(body) => self.pass_on(body, &mut left, read_on).await,
                // It was repeated for as long as it may be.
                Err(error) => return Err(error),
            };
            if left.start > before {
                tries.restart(self.stop.clock().now());
            }
            if let Err(mut error) = outcome
                && !tries.again_after(self.stop.clock(), &mut error).await
            {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Passes the bytes of a body on, until it ends or is cut.
    async fn pass_on(
        &self,
        mut body: ObjectBody,
        left: &mut ByteRange,
        read_on: &Notify,
    ) -> Result<(), StorageError> {
        let piece_bytes = usize::try_from(BASE_PIECE_BYTES).unwrap_or(usize::MAX);
        while left.start < left.end {
            let Some(frame) = body.frames.next().await else {
                let detail = "the body ended early";
                return Err(StorageError::new(StorageErrorKind::Unavailable, detail));
            };
            let mut frame = frame?;
            let room = usize::try_from(left.end.saturating_sub(left.start));
            frame.truncate(room.unwrap_or(usize::MAX));
            let bytes = u64::try_from(frame.len()).unwrap_or(u64::MAX);
            left.start = left.start.saturating_add(bytes);
            while !frame.is_empty() {
                let piece = frame.split_to(frame.len().min(piece_bytes));
                self.tell(Heard::Base(piece));
                read_on.notified().await;
            }
        }
        Ok(())
    }

    async fn put(self, payload: Bytes, object: NewObject, condition: Precondition) {
        let checksum = Checksum::of(&payload);
        let commit = self.commit(&object, &condition);
        let outcome = commit.put(payload, checksum).await;
        self.report(outcome);
    }

    async fn complete(
        self,
        reaper: Reaper,
        upload: UploadId,
        parts: Vec<CompletedPart>,
        checksum: Option<Checksum>,
        object: NewObject,
        condition: Precondition,
    ) {
        let commit = self.commit(&object, &condition);
        let outcome = commit.complete(&upload, &parts, checksum).await;
        let failed = outcome.is_err();
        if !self.report(outcome) && failed {
            reaper.abort(self.store, self.location, upload);
        }
    }

    /// Tells the session, or the log if nobody listens any more; returns whether somebody does.
    fn report(&self, outcome: Result<Stored, StorageError>) -> bool {
        let lost = match &outcome {
            Ok(stored) => format!("committed, etag {}", stored.etag.0),
            Err(error) => format!("failed: {error}"),
        };
        let heard = self.tell(Heard::Committed(outcome.map_err(|error| failure(&error))));
        if !heard {
            let location = &self.location;
            tracing::warn!(%location, outcome = lost, "commit ended after its session");
        }
        heard
    }
}

fn failure(error: &StorageError) -> Failure {
    Failure {
        status: of_storage(error.kind),
        reason: error.to_string().into(),
    }
}

/// How much of the base is under way at once.
const BASE_PIECE_BYTES: u64 = 256 * 1024;
