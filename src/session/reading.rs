//! Does what a file that is read asks for: GETs pinned to one `ETag`, memory, answers.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::task::AbortHandle;

use crate::audit;
use crate::clock::{Clock, within};
use crate::limits;
use crate::metrics::TransferEnd;
use crate::sftp::{Pending, Status};
use crate::storage::retry::{self, patient};
use crate::storage::{
    ByteRange, Composite, ETag, GetObject, Location, ObjectBody, ObjectMeta, Operation,
    SharedStore, StorageError, StorageErrorKind,
};
use crate::transfer::WriteFile;
use crate::transfer::read_file::{FetchId, ReadAnswer, ReadEffect, ReadFile, ReadHeard, Room};
use crate::transfer::write_file::{Composed, composed};

use super::checksums::Asked;
use super::events::Event;
use super::opening::OpenedObject;
use super::shell::{Failures, Shell};
use super::status::{CHANGED, of_storage};
use super::sums::OpeningSums;
use super::writing::Place;

/// A file that is read, with what is under way for it.
#[derive(Debug)]
pub(crate) struct Reading {
    file: ReadFile,
    meta: ObjectMeta,
    /// GETs, and waits for their memory.
    fetches: BTreeMap<FetchId, AbortHandle>,
    /// What OPEN found out that nobody needed yet.
    sums: OpeningSums,
    opened: Instant,
}

/// Where a file stands that is read, and what the same handle wrote to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadPlace<'a> {
    pub(crate) place: &'a Place,
    pub(crate) own: Option<&'a WriteFile>,
}

impl Deref for ReadPlace<'_> {
    type Target = Place;

    fn deref(&self) -> &Place {
        self.place
    }
}

impl Reading {
    /// Takes an object that was opened, and goes on with the GET that opened it.
    pub(crate) fn new(shell: &mut Shell, place: ReadPlace<'_>, opened: OpenedObject) -> Self {
        let now = shell.now();
        let OpenedObject {
            mut meta,
            opening,
            sums,
        } = opened;
        if let Some(told) = sums.told_of(&meta.etag) {
            meta.checksum = meta.checksum.or(told.whole);
        }
        let window_max = shell.environment.limits.read_ahead_per_handle_bytes_max;
        let damaged = of_storage(StorageErrorKind::ChecksumMismatch);
        let mut file = ReadFile::new(meta.size, meta.checksum, window_max, damaged, now);
        if meta.may_be_composite() {
            file.is_of_parts();
        }
        // Who opens a small file reads all of it.
        let is_small = (1..=limits::OPENING_GET_BYTES).contains(&meta.size);
        let asks = meta.checksum.is_none() && (is_small || sums.is_coming());
        let mut reading = Self {
            file,
            meta,
            fetches: BTreeMap::new(),
            sums,
            opened: now,
        };
        if asks {
            reading.file.checksum_was_asked();
            reading.ask_checksum(shell, place);
        }
        if let Some((charge, body)) = opening {
            let bytes = reading.file.opening_bytes();
            let fetch = reading.file.begin_opening(charge);
            let range = ByteRange {
                start: 0,
                end: bytes,
            };
            reading.fetch(shell, place, fetch, range, Some(body));
        }
        reading
    }

    pub(crate) const fn file(&self) -> &ReadFile {
        &self.file
    }

    pub(crate) const fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    /// Asks under which version the object is found in its new place.
    pub(crate) fn follow(&self, shell: &mut Shell, place: &Place) {
        let (store, location) = (shell.store(), place.location.clone());
        let (events, handle) = (shell.events.clone(), place.handle);
        let before = self.meta.clone();
        shell.spawn(async move {
            let outcome = found_again(store, &location, before).await;
            events.send(Event::Followed {
                handle,
                location,
                outcome,
            });
        });
    }

    /// Goes on with the version that was found in the new place.
    pub(crate) fn followed(
        &mut self,
        shell: &mut Shell,
        place: ReadPlace<'_>,
        outcome: Result<ObjectMeta, Status>,
    ) {
        let outcome = outcome.map(|meta| self.meta = meta);
        self.hear(shell, place, ReadHeard::Moved(outcome));
    }

    /// Tells the file what happened, and does what it asks for.
    pub(crate) fn hear(&mut self, shell: &mut Shell, place: ReadPlace<'_>, heard: ReadHeard) {
        self.file.hear(heard, shell.now());
        self.go_on(shell, place);
    }

    /// Does what the file asks for: answers as long as there is room for them, and GETs.
    pub(crate) fn go_on(&mut self, shell: &mut Shell, place: ReadPlace<'_>) {
        loop {
            let now = shell.now();
            let room = room(shell, now);
            let free = shell.environment.budget.read_ahead_free_bytes();
            let Some(effect) = self.file.next(room, free, now) else {
                return;
            };
            self.run(shell, place, effect);
        }
    }

    /// Closes the file: what was asked before and overtaken is refused.
    pub(crate) fn close(&mut self, shell: &mut Shell, place: ReadPlace<'_>, status: Status) {
        self.hear(shell, place, ReadHeard::Close(status));
        let took = shell.now().duration_since(self.opened);
        let sent = self.file.sent();
        let whole = sent >= self.meta.size;
        audit::downloaded(place.file(), &self.meta, sent, whole, took);
        let end = if self.file.is_failed() {
            TransferEnd::Failed
        } else if whole {
            TransferEnd::Completed
        } else {
            TransferEnd::Abandoned
        };
        shell.environment.metrics.download_ended(end);
    }

    fn run(&mut self, shell: &mut Shell, place: ReadPlace<'_>, effect: ReadEffect) {
        match effect {
            ReadEffect::WantMemory {
                fetch,
                bytes,
                waits,
            } => self.memory(shell, place, fetch, bytes, waits),
            ReadEffect::Fetch { fetch, range } => self.fetch(shell, place, fetch, range, None),
            ReadEffect::Cancel { fetch } => {
                if let Some(task) = self.fetches.remove(&fetch) {
                    task.abort();
                }
            }
            ReadEffect::AskChecksum => self.ask_checksum(shell, place),
            ReadEffect::AskSizes {
                composite,
                part_bytes,
            } => self.ask_sizes(shell, place, composite, part_bytes),
            ReadEffect::Damaged => shell.operation_failed("read", &place.path, "checksum mismatch"),
            ReadEffect::Answer {
                pending,
                offset,
                length,
                answer,
            } => {
                let own = place.own.filter(|own| own.is_written());
                let answer = match (answer, own) {
                    (ReadAnswer::Bytes { slices, .. }, Some(own)) => {
                        composed(own, offset, length, slices)
                    }
                    (ReadAnswer::Bytes { slices, .. }, None) => Ok(Composed::Base(slices)),
                    // Behind the end of what was there may be what was written.
                    (ReadAnswer::Status(Status::EOF), Some(own)) => {
                        composed(own, offset, length, Vec::new())
                    }
                    (ReadAnswer::Status(status), _) => Err(status),
                };
                answer_read(shell, pending, answer);
            }
        }
    }

    fn memory(
        &mut self,
        shell: &mut Shell,
        place: ReadPlace<'_>,
        fetch: FetchId,
        bytes: u64,
        waits: bool,
    ) {
        let memory = shell.user_session.memory().clone();
        let mut charge = memory.read_ahead.try_take(bytes);
        if waits && charge.is_none() {
            charge = memory.account.try_take(bytes);
        }
        if charge.is_some() || !waits {
            return self
                .file
                .hear(ReadHeard::Memory { fetch, charge }, shell.now());
        }
        let (events, handle) = (shell.events.clone(), place.handle);
        let task = shell.spawn(async move {
            let charge = tokio::select! {
                biased;
                charge = memory.read_ahead.take(bytes) => charge,
                charge = memory.account.take(bytes) => charge,
            };
            let charge = Some(charge);
            let heard = ReadHeard::Memory { fetch, charge };
            events.send(Event::Read { handle, heard });
        });
        self.fetches.insert(fetch, task);
    }

    fn fetch(
        &mut self,
        shell: &mut Shell,
        place: ReadPlace<'_>,
        fetch: FetchId,
        range: ByteRange,
        body: Option<ObjectBody>,
    ) {
        let source = Source {
            store: patient(&shell.store()),
            location: place.location.clone(),
            etag: self.meta.etag.clone(),
            failures: shell.failures(),
            clock: Arc::clone(&shell.environment.clock),
        };
        let (events, handle) = (shell.events.clone(), place.handle);
        let tell = move |heard| {
            // When the session is gone this task is aborted.
            events.send(Event::Read { handle, heard });
        };
        self.fetches.retain(|_, task| !task.is_finished());
        let task = shell.spawn(source.bring(fetch, range, body, tell));
        self.fetches.insert(fetch, task);
    }

    fn ask_checksum(&mut self, shell: &mut Shell, place: ReadPlace<'_>) {
        if !shell.store().capabilities(&place.location.bucket).checksums {
            return self.file.hear(ReadHeard::Checksum(None), shell.now());
        }
        let asked = self.asked(shell, place);
        let sums = std::mem::take(&mut self.sums);
        let (events, handle) = (shell.events.clone(), place.handle);
        shell.spawn(async move {
            let heard = ReadHeard::Checksum(asked.expectation(sums).await);
            events.send(Event::Read { handle, heard });
        });
    }

    fn ask_sizes(
        &self,
        shell: &mut Shell,
        place: ReadPlace<'_>,
        composite: Composite,
        part_bytes: u64,
    ) {
        let asked = self.asked(shell, place);
        let (events, handle) = (shell.events.clone(), place.handle);
        shell.spawn(async move {
            let heard = ReadHeard::Even(asked.is_even(composite, part_bytes).await);
            events.send(Event::Read { handle, heard });
        });
    }

    fn asked(&self, shell: &Shell, place: ReadPlace<'_>) -> Asked {
        Asked {
            store: shell.store(),
            location: place.location.clone(),
            meta: self.meta.clone(),
            untold: shell.untold.clone(),
            failures: shell.failures(),
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        for task in self.fetches.values() {
            task.abort();
        }
    }
}

fn answer_read(shell: &mut Shell, pending: Pending, answer: Result<Composed, Status>) {
    let bytes = match &answer {
        Ok(Composed::Base(slices)) => slices.iter().map(Bytes::len).sum(),
        Ok(Composed::Mixed(bytes)) => bytes.len(),
        Err(_) => 0,
    };
    let sent = u64::try_from(bytes).unwrap_or(u64::MAX);
    if sent > 0 {
        shell.environment.metrics.bytes_sent(sent);
        shell.user_session.sent(sent, shell.now());
    }
    match answer {
        Ok(Composed::Base(slices)) => {
            let length = u32::try_from(bytes).unwrap_or(u32::MAX);
            shell.answers.data(pending, length, slices);
        }
        Ok(Composed::Mixed(bytes)) => shell.answers.data_without_memory(pending, bytes),
        Err(status) => shell.answers.status(pending, status),
    }
}

fn room(shell: &Shell, now: Instant) -> Room {
    if shell.answers.out().is_full() {
        Room::Full
    } else if shell.user_session.sends_again_at(now).is_some() {
        Room::Paced
    } else {
        Room::Free
    }
}

/// Looks for an object that the session itself moved.
async fn found_again(
    store: SharedStore,
    location: &Location,
    before: ObjectMeta,
) -> Result<ObjectMeta, Status> {
    let meta = store
        .head(location)
        .await
        .map_err(|error| status_of_get(error.kind))?;
    let alike =
        meta.etag == before.etag || (meta.checksum.is_some() && meta.checksum == before.checksum);
    if alike && meta.size == before.size {
        Ok(meta)
    } else {
        Err(RENAMED)
    }
}

/// One version of one object.
struct Source {
    store: SharedStore,
    location: Location,
    etag: ETag,
    failures: Failures,
    clock: Arc<dyn Clock>,
}

impl Source {
    /// Brings a range, going on where a cut or throttled GET stopped.
    async fn bring(
        self,
        fetch: FetchId,
        range: ByteRange,
        mut body: Option<ObjectBody>,
        tell: impl Fn(ReadHeard) + Send + Sync,
    ) {
        let frame = |bytes| tell(ReadHeard::Frame { fetch, bytes });
        let end = |outcome| tell(ReadHeard::FetchEnded { fetch, outcome });
        let clock = &*self.clock;
        let mut at = range.start;
        let bucket = &self.location.bucket;
        let mut tries = retry::tries(&*self.store, Operation::Get, bucket, clock);
        while at < range.end {
            let before = at;
            let outcome = match body.take() {
                Some(body) => forward(clock, body, &mut at, range.end, &frame).await,
                None => match self.get(at, range.end).await {
                    Ok(body) => forward(clock, body, &mut at, range.end, &frame).await,
                    Err(error) => Err(error),
                },
            };
            if at > before {
                tries.restart(clock.now());
            }
            if let Err(mut error) = outcome {
                if !may_go_on(error.kind) || !tries.again_after(clock, &mut error).await {
                    self.failed(&error);
                    return end(Err(status_of_get(error.kind)));
                }
                tracing::debug!(location = %self.location, %error, at, "download resumed");
            }
        }
        end(Ok(()));
    }

    async fn get(&self, start: u64, end: u64) -> Result<ObjectBody, StorageError> {
        let get = GetObject {
            range: Some(ByteRange { start, end }),
            etag: Some(&self.etag),
        };
        self.store.get(&self.location, get).await
    }

    fn failed(&self, error: &StorageError) {
        if let Some(unlogged) = self.failures.line_due() {
            tracing::warn!(location = %self.location, %error, unlogged, "download failed");
        }
    }
}

async fn forward(
    clock: &dyn Clock,
    mut body: ObjectBody,
    at: &mut u64,
    end: u64,
    tell: &impl Fn(Bytes),
) -> Result<(), StorageError> {
    while *at < end {
        let Some(frame) = within(clock, limits::STALL_TIMEOUT, body.frames.next()).await else {
            let detail = "the body stalled";
            return Err(StorageError::new(StorageErrorKind::Unavailable, detail));
        };
        let Some(frame) = frame else {
            let detail = "the body ended early";
            return Err(StorageError::new(StorageErrorKind::Unavailable, detail));
        };
        let mut bytes = frame?;
        let room = usize::try_from(end.saturating_sub(*at)).unwrap_or(usize::MAX);
        bytes.truncate(room);
        *at = at.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        tell(bytes);
    }
    Ok(())
}

/// A pinned version that is gone means that the file was changed.
fn status_of_get(kind: StorageErrorKind) -> Status {
    if kind == StorageErrorKind::NotFound {
        CHANGED
    } else {
        of_storage(kind)
    }
}

const fn may_go_on(kind: StorageErrorKind) -> bool {
    matches!(
        kind,
        StorageErrorKind::Throttled
            | StorageErrorKind::Unavailable
            | StorageErrorKind::OutcomeUnknown
    )
}

pub(crate) const RENAMED: Status =
    Status::failure("The file was renamed; open it under its new name");
