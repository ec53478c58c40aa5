//! An open file that is read: GETs on their way, pinned to one `ETag`, and the READs they answer.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::task::AbortHandle;

use crate::audit;
use crate::clock::Clock;
use crate::limits;
use crate::metrics::TransferEnd;
use crate::seldom::Seldom;
use crate::sftp::{HandleId, RequestId, Status};
use crate::storage::{
    ByteRange, Checksum, ETag, GetObject, Location, ObjectBody, ObjectMeta, ObjectStore,
    SharedStore, StorageError, StorageErrorKind,
};
use crate::transfer::{Download, Fetch, ReadStep};
use crate::vfs::{Access, VirtualPath};

use super::actor::{Event, Events, Session};
use super::failures;
use super::names::is_directory;
use super::plan::Folder;
use super::status::{CHANGED, IS_DIRECTORY, Refusal, of_storage};

/// The state of one file that is read.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) path: VirtualPath,
    pub(crate) location: Location,
    pub(crate) access: Access,
    pub(crate) meta: ObjectMeta,
    download: Download,
    /// READs that are not yet worked on: some clients ask for a whole file at once.
    queue: VecDeque<QueuedRead>,
    /// When those that are worked on were asked.
    asked: VecDeque<Instant>,
    fetches: HashMap<u64, AbortHandle>,
    /// GETs that run on the session's own small allowance, the pool being empty.
    unpooled: Vec<u64>,
    /// The whole object's checksum was asked for.
    checksum_asked: bool,
    failed: Option<Status>,
    pub(crate) sent: u64,
    pub(crate) opened: Instant,
    /// When it was last asked for bytes.
    touched: Instant,
}

#[derive(Debug, Clone, Copy)]
struct QueuedRead {
    id: RequestId,
    offset: u64,
    length: u32,
    asked: Instant,
}

/// What OPEN found: the object's metadata, and its first bytes on their way.
#[derive(Debug)]
pub(crate) struct OpenedObject {
    pub(crate) meta: ObjectMeta,
    pub(crate) body: Option<ObjectBody>,
}

/// Opens an object for reading: one GET answers OPEN and pins the version.
pub(crate) async fn open_object(
    store: &dyn ObjectStore,
    location: &Location,
    may_be_directory: bool,
) -> Result<OpenedObject, Refusal> {
    let opening = ByteRange {
        start: 0,
        end: limits::OPENING_GET_BYTES,
    };
    let get = GetObject {
        range: Some(opening),
        etag: None,
    };
    match store.get(location, get).await {
        Ok(body) => Ok(OpenedObject {
            meta: body.meta.clone(),
            body: Some(body),
        }),
        // An empty object has no first byte.
        Err(error) if error.kind == StorageErrorKind::RangeNotSatisfiable => {
            let meta = store.head(location).await?;
            if meta.size == 0 {
                Ok(OpenedObject { meta, body: None })
            } else {
                Err(CHANGED.into())
            }
        }
        Err(error) if error.kind == StorageErrorKind::NotFound => {
            let directory = may_be_directory && is_directory(store, &Folder::of(location)).await?;
            let status = if directory {
                IS_DIRECTORY
            } else {
                Status::NO_SUCH_FILE
            };
            Err(status.into())
        }
        Err(error) => Err(error.into()),
    }
}

impl Reading {
    pub(crate) fn new(
        path: VirtualPath,
        location: Location,
        access: Access,
        meta: ObjectMeta,
        window_max: u64,
        opened: Instant,
    ) -> Self {
        let download = Download::new(meta.size, window_max, meta.checksum);
        Self {
            path,
            location,
            access,
            meta,
            download,
            queue: VecDeque::new(),
            asked: VecDeque::new(),
            fetches: HashMap::new(),
            unpooled: Vec::new(),
            checksum_asked: false,
            failed: None,
            sent: 0,
            opened,
            touched: opened,
        }
    }

    /// Takes a READ.
    pub(crate) fn ask(&mut self, id: RequestId, offset: u64, length: u32, asked: Instant) {
        let length = length.min(limits::READ_BYTES_MAX);
        self.touched = asked;
        self.queue.push_back(QueuedRead {
            id,
            offset,
            length,
            asked,
        });
    }

    /// Lets its read-ahead go if nobody has asked for it since `then`; returns whether it did.
    pub(crate) fn rest(&mut self, then: Option<Instant>) -> bool {
        let idle = self.waiting() == 0 && then.is_some_and(|then| self.touched <= then);
        if idle {
            self.download.rest();
        }
        idle
    }

    /// Takes the whole object's checksum.
    pub(crate) const fn expect(&mut self, checksum: Checksum) {
        self.download.expect(checksum);
    }

    pub(crate) const fn is_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Returns how many READs wait for an answer.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len().saturating_add(self.asked.len())
    }

    /// Takes what a GET brought.
    pub(crate) fn arrive(&mut self, fetch: u64, outcome: Result<Option<Bytes>, Status>) {
        match outcome {
            Ok(Some(bytes)) => self.download.arrive(fetch, bytes),
            Ok(None) => self.forget(fetch),
            Err(status) => {
                self.forget(fetch);
                self.failed = Some(status);
            }
        }
    }

    fn forget(&mut self, fetch: u64) {
        self.fetches.remove(&fetch);
        self.unpooled.retain(|id| *id != fetch);
    }

    fn take_queued(&mut self) {
        while self.download.reads_pending() < limits::READS_PER_HANDLE_AT_ONCE {
            let Some(read) = self.queue.pop_front() else {
                return;
            };
            self.asked.push_back(read.asked);
            self.download.read(read.id, read.offset, read.length);
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        for fetch in self.fetches.values() {
            fetch.abort();
        }
    }
}

impl Session {
    /// Starts the first GET's bytes on their way to a handle that was just opened.
    pub(crate) fn begin_reading(
        &mut self,
        handle: HandleId,
        reading: &mut Reading,
        body: ObjectBody,
    ) {
        let end = limits::OPENING_GET_BYTES.min(reading.meta.size);
        // Where the pool is empty they are let go, and come again when a READ asks for them.
        let Some(permit) = self.environment.budget.try_read_ahead(end) else {
            return;
        };
        let fetch = reading.download.begin_opening(end, permit);
        self.spawn_fetch(handle, reading, fetch, Some(body));
    }

    /// Answers what can be answered, and GETs what is needed next.
    pub(crate) fn advance_reading(&mut self, handle: HandleId) {
        let Some(mut reading) = self.take_reading(handle) else {
            return;
        };
        loop {
            reading.take_queued();
            let progressed = self.answer_reads(&mut reading);
            if !progressed || reading.queue.is_empty() {
                break;
            }
        }
        for fetch in reading.download.take_abandoned() {
            if let Some(task) = reading.fetches.remove(&fetch.id) {
                task.abort();
            }
            reading.forget(fetch.id);
        }
        if reading.failed.is_none() {
            self.start_fetches(handle, &mut reading);
        }
        self.put_reading(handle, reading);
    }

    pub(crate) fn report_download(&self, reading: &Reading) {
        let took = self.environment.clock.now().duration_since(reading.opened);
        let whole = reading.sent >= reading.meta.size;
        audit::downloaded(&reading.path, &reading.location, reading.sent, whole, took);
        let end = if reading.is_failed() {
            TransferEnd::Failed
        } else if whole {
            TransferEnd::Completed
        } else {
            TransferEnd::Abandoned
        };
        self.environment.metrics.download_ended(end);
    }

    fn answer_reads(&mut self, reading: &mut Reading) -> bool {
        let mut progressed = false;
        let now = self.environment.clock.now();
        while !self.out.is_full() && !self.seat.sends_too_fast(now) {
            if let Some(status) = reading.failed {
                return self.refuse_reads(reading, status);
            }
            match reading.download.step() {
                ReadStep::Wait => break,
                ReadStep::Bytes { id, length, slices } => {
                    reading.sent = reading.sent.saturating_add(u64::from(length));
                    self.environment.metrics.bytes_sent(u64::from(length));
                    self.seat.sent(u64::from(length), now);
                    self.out.data(id, length, slices);
                    self.answered_read(reading, Status::OK);
                }
                ReadStep::EndOfFile { id } => {
                    self.out.status(id, Status::EOF);
                    self.answered_read(reading, Status::EOF);
                }
                ReadStep::Corrupt { id } => {
                    let status = of_storage(StorageErrorKind::ChecksumMismatch);
                    reading.failed = Some(status);
                    self.operation_failed("read", &reading.path, "checksum mismatch");
                    self.out.status(id, status);
                    self.answered_read(reading, status);
                }
            }
            progressed = true;
        }
        progressed
    }

    /// Answers the READs of a file that was closed before they could be.
    pub(crate) fn refuse_unread(&mut self, reading: &mut Reading) {
        self.refuse_reads(reading, super::status::INVALID_HANDLE);
    }

    fn refuse_reads(&mut self, reading: &mut Reading, status: Status) -> bool {
        let ids: Vec<_> = reading.download.take_pending().collect();
        let queued = std::mem::take(&mut reading.queue);
        reading.asked.extend(queued.iter().map(|read| read.asked));
        for id in ids
            .into_iter()
            .chain(queued.into_iter().map(|read| read.id))
        {
            self.out.status(id, status);
            self.answered_read(reading, status);
        }
        false
    }

    fn answered_read(&mut self, reading: &mut Reading, status: Status) {
        if let Some(asked) = reading.asked.pop_front() {
            self.answered("read", asked, status.code);
        }
    }

    fn start_fetches(&mut self, handle: HandleId, reading: &mut Reading) {
        let budget = std::sync::Arc::clone(&self.environment.budget);
        while let Some(mut fetch) = reading.download.next_fetch(budget.read_ahead_is_crowded()) {
            let length = fetch.range.end.saturating_sub(fetch.range.start);
            let permit = budget.try_read_ahead(length);
            if permit.is_none() {
                // The pool is empty: what is asked still comes, in small steps.
                if !fetch.demanded || reading.unpooled.len() >= UNPOOLED_FETCHES_MAX {
                    break;
                }
                let end = fetch.range.start.saturating_add(limits::OPENING_GET_BYTES);
                fetch.range.end = fetch.range.end.min(end);
                reading.unpooled.push(fetch.id);
            }
            if !fetch.demanded {
                self.ask_checksum(handle, reading);
            }
            reading.download.begin(fetch, permit);
            self.spawn_fetch(handle, reading, fetch, None);
        }
    }

    /// Asks for what a ranged GET does not tell: a reader that goes on in sequence may read the
    /// whole object.
    fn ask_checksum(&mut self, handle: HandleId, reading: &mut Reading) {
        let kept = self.user.store().capabilities().checksums;
        if !kept || reading.checksum_asked || !reading.download.lacks_checksum() {
            return;
        }
        reading.checksum_asked = true;
        let (store, events) = (self.user.store().clone(), self.events.clone());
        let (location, etag) = (reading.location.clone(), reading.meta.etag.clone());
        self.spawn(async move {
            if let Ok(meta) = store.head(&location).await
                && meta.etag == etag
                && let Some(checksum) = meta.checksum
            {
                events.send(Event::Checksum { handle, checksum });
            }
        });
    }

    fn spawn_fetch(
        &mut self,
        handle: HandleId,
        reading: &mut Reading,
        fetch: Fetch,
        body: Option<ObjectBody>,
    ) {
        let source = Source {
            store: self.user.store().clone(),
            location: reading.location.clone(),
            etag: reading.meta.etag.clone(),
            failures: std::sync::Arc::clone(self.seat.failures()),
            clock: std::sync::Arc::clone(&self.environment.clock),
        };
        let task = bring(source, handle, fetch, body, self.events.clone());
        reading.fetches.insert(fetch.id, self.spawn(task));
    }
}

/// One version of one object.
struct Source {
    store: SharedStore,
    location: Location,
    etag: ETag,
    failures: std::sync::Arc<Seldom>,
    clock: std::sync::Arc<dyn Clock>,
}

impl Source {
    fn failed(&self, error: &StorageError) {
        if let Some(unlogged) = failures::due(&self.failures, &*self.clock) {
            tracing::warn!(location = %self.location, %error, unlogged, "download failed");
        }
    }
}

/// Brings a range, going on where a cut or throttled GET stopped.
async fn bring(
    source: Source,
    handle: HandleId,
    fetch: Fetch,
    mut body: Option<ObjectBody>,
    events: Events,
) {
    let mut at = fetch.range.start;
    let mut failures = 0_u32;
    let say = |outcome| {
        // When the session is gone this task is aborted.
        events.send(Event::Fetched {
            handle,
            fetch: fetch.id,
            outcome,
        });
    };
    while at < fetch.range.end {
        let before = at;
        let outcome = match body.take() {
            Some(body) => forward(body, &mut at, fetch.range.end, &say).await,
            None => {
                let range = ByteRange {
                    start: at,
                    end: fetch.range.end,
                };
                let get = GetObject {
                    range: Some(range),
                    etag: Some(&source.etag),
                };
                match source.store.get(&source.location, get).await {
                    Ok(body) => forward(body, &mut at, fetch.range.end, &say).await,
                    Err(error) => Err(error),
                }
            }
        };
        failures = if at > before {
            0
        } else {
            failures.saturating_add(1)
        };
        if let Err(error) = outcome {
            if !may_go_on(error.kind) || failures >= limits::GET_ATTEMPTS_MAX {
                source.failed(&error);
                return say(Err(status_of_get(error.kind)));
            }
            tracing::debug!(location = %source.location, %error, at, "get is taken up again");
            tokio::time::sleep(RESUME_PAUSE.saturating_mul(failures.saturating_add(1))).await;
        }
    }
    say(Ok(None));
}

async fn forward(
    mut body: ObjectBody,
    at: &mut u64,
    end: u64,
    say: &impl Fn(Result<Option<Bytes>, Status>),
) -> Result<(), StorageError> {
    while *at < end {
        let frame = tokio::time::timeout(STALL_TIMEOUT, body.frames.next()).await;
        let frame = frame
            .map_err(|_| StorageError::new(StorageErrorKind::Unavailable, "the body stalled"))?;
        let Some(frame) = frame else {
            let detail = "the body ended early";
            return Err(StorageError::new(StorageErrorKind::Unavailable, detail));
        };
        let mut bytes = frame?;
        let room = usize::try_from(end.saturating_sub(*at)).unwrap_or(usize::MAX);
        bytes.truncate(room);
        *at = at.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        say(Ok(Some(bytes)));
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

const UNPOOLED_FETCHES_MAX: usize = 2;
const RESUME_PAUSE: Duration = Duration::from_millis(100);
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
