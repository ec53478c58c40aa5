//! Does what a file that is written asks for: calls to the store, memory to wait for, answers.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::audit::{self, Range, Written};
use crate::clock::sleep_until;
use crate::limits;
use crate::metrics::{AfterDisconnect, MoveEnd, TransferEnd};
use crate::sftp::{Attributes, Given, HandleId, Status};
use crate::storage::{Checksum, ETag, Location, ObjectMeta, Precondition, Stored, UploadId};
use crate::transfer::WriteFile;
use crate::transfer::write_file::{
    Bringing, Completing, Effect, Heard, KeptPartial, Opening, RateMin, Renamed,
};
use crate::vfs::{Access, VirtualPath};

use super::act::{ForWriting, Keeping, NewPlace};
use super::calls::{Calls, Completion, Listener, Then};
use super::changes::ChangesMade;
use super::copying::leave_to_bucket;
use super::described::{Described, object_at};
use super::onward::Onward;
use super::partial::{Marking, Remains, look};
use super::shell::Shell;
use super::stored_time::store_with;
use super::times::{Late, worth_a_copy};
use super::unsettled::{LiveWriter, Unsettled};
use super::upload_records::{OverBase, RecordedUpload, Stage, UploadRecord};

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
    described: Described,
    tasks: Vec<AbortHandle>,
    /// What reads the base, and wakes that.
    reader: Option<AbortHandle>,
    read_on: Arc<Notify>,
    opened: Instant,
    /// What S3 confirmed, or was given.
    checksum: Option<Checksum>,
    /// Whether the commit depends on a file that is there, or on none.
    replaces: Option<bool>,
    /// What is kept if the client vanishes before CLOSE.
    keeping: Option<Keeping>,
    /// As long as the client is there nothing is kept of lost sessions that wrote the same file.
    live: Option<LiveWriter>,
    /// What another process needs to keep the upload; it goes with the last that has it.
    recorded: Option<Arc<RecordedUpload>>,
    unsettled: Unsettled,
    client_gone: bool,
    /// Nothing was stored under the name, when so many changes had been made.
    nothing_since: Option<ChangesMade>,
    /// When it got the name that it has, if that is not the one it was opened under.
    renamed: Option<Instant>,
    /// Where its upload was begun, if the file has another name since.
    begun: Option<Box<(VirtualPath, Location)>>,
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
        let (now, bounds) = (shell.now(), &shell.environment.limits);
        let replaces = match &found.condition {
            Precondition::IfMatch(_) => Some(true),
            Precondition::IfNoneMatch => Some(false),
            Precondition::None => found.base.is_some().then_some(true),
        };
        let opening = Opening {
            mode: found.mode,
            base: found.base,
            layout: shell.environment.budget.layout(),
            condition: found.condition,
            alone: found.alone,
            partial: found.keeping.map(|keeping| KeptPartial {
                over_base: keeping.over_base,
            }),
            file_bytes_max: shell.user.config().limits.file_bytes,
            parts_in_flight_max: bounds.parts_in_flight_per_upload_max,
            copies_in_flight_max: limits::RANGE_COPIES_PER_OBJECT_MAX,
            range_bytes_min: bounds.range_bytes_min,
            edit_bytes_max: bounds.edit_bytes_max,
            keep_first_part: bounds.keep_first_part,
            rate_min: RateMin {
                bytes_per_second: u64::try_from(bounds.upload_rate_bytes_min).unwrap_or(u64::MAX),
                over: bounds.upload_rate_window,
            },
            budget: Arc::clone(&shell.environment.budget),
            share: shell.user_session.memory().uploads.clone(),
        };
        let described = match &found.described {
            Some(meta) => Described::over(&place.location, meta, found.nonce, shell.failures()),
            None if opening.base.is_some() => {
                let object = object_at(&place.location, found.nonce);
                Described::over_unread(&place.location, object, shell.failures())
            }
            None => Described::whole(object_at(&place.location, found.nonce)),
        };
        let mut file = WriteFile::new(opening, now);
        // A size in OPEN's attributes is what the client expects, not what it sets.
        file.set_given(attrs.given());
        let unsettled = &shell.environment.unsettled;
        Self {
            file,
            described,
            tasks: Vec::new(),
            reader: None,
            read_on: Arc::default(),
            opened: now,
            checksum: None,
            replaces,
            keeping: found.keeping,
            live: live(unsettled, place, found.keeping),
            recorded: None,
            unsettled: unsettled.clone(),
            client_gone: false,
            nothing_since: found.nothing_since,
            renamed: None,
            begun: None,
        }
    }

    /// Says whether something is kept if the client vanishes before CLOSE.
    pub(crate) const fn keeps_partial(&self) -> bool {
        self.keeping.is_some()
    }

    /// Says whether a client that is there writes the file: one that came back is not to lose it to
    /// what is left of the connection that it lost.
    pub(super) fn is_written_elsewhere(&self, place: &Place) -> bool {
        self.live.is_none() && self.unsettled.is_written(&place.location)
    }

    /// Says whether nothing may be there that the file would replace.
    pub(super) fn replaces_nothing(&self) -> bool {
        self.replaces == Some(false) || self.file.mode().exclusive
    }

    /// Notes that the file goes over a copy from now on, which has what the client said of it.
    pub(super) fn goes_over(
        &mut self,
        shell: &Shell,
        place: &Place,
        (source, copied): (&Location, &ObjectMeta),
        given: Given,
    ) {
        let nonce = self.described.object.nonce;
        self.described = Described::over(&place.location, copied, nonce, shell.failures());
        let (from, to) = (&source.bucket, &place.location.bucket);
        leave_to_bucket(&*shell.store(), &mut self.described.object, from, to);
        store_with(&mut self.described.object, given);
        self.replaces = Some(true);
    }

    /// Says whether nothing is stored under its name, as far as the process knows.
    pub(super) fn is_new(&self, shell: &Shell, place: &Place) -> bool {
        let changes = &shell.environment.changes;
        let since = self.nothing_since;
        since.is_some_and(|made| !changes.since(made, &place.location))
    }

    /// Returns the name under which its upload was begun, if that is not its own any more.
    pub(super) fn begun_at(&self) -> Option<&VirtualPath> {
        let (path, _) = &**self.begun.as_ref()?;
        Some(path)
    }

    /// Says until when its CLOSE is expected: some clients send it right after a RENAME, and the
    /// program for which they do that has closed the file.
    pub(super) fn close_expected_until(&self) -> Option<Instant> {
        self.renamed?.checked_add(limits::CLOSE_AFTER_RENAME_FOR)
    }

    /// Takes the place that a RENAME gave it, and returns what the file is to hear of that.
    pub(super) fn renamed(
        &mut self,
        shell: &Shell,
        (before, place): (&Place, &Place),
        to: NewPlace,
    ) -> Renamed {
        let is_begun = self.file.is_begun();
        if is_begun && self.begun.is_none() {
            self.begun = Some(Box::new((before.path.clone(), before.location.clone())));
        }
        if self
            .begun
            .as_ref()
            .is_some_and(|begun| begun.1 == place.location)
        {
            self.begun = None;
        }
        let nonce = self.described.object.nonce;
        if self.described.moved(&place.location) {
            let (from, to) = (&before.location.bucket, &place.location.bucket);
            leave_to_bucket(&*shell.store(), &mut self.described.object, from, to);
        } else {
            self.described = Described::whole(object_at(&place.location, nonce));
        }
        let is_free = to.condition == Precondition::IfNoneMatch;
        self.replaces = Some(!is_free);
        self.nothing_since = is_free.then_some(to.made);
        self.renamed = Some(shell.now());
        // What is stored under another name would be no beginning of it.
        self.keeping = to.keeping.filter(|_| self.begun.is_none());
        self.live = live(&self.unsettled, place, self.keeping).filter(|_| !self.client_gone);
        Renamed {
            location: to.location,
            condition: to.condition,
            alone: to.alone,
            partial: self.keeping.map(|keeping| KeptPartial {
                over_base: keeping.over_base,
            }),
            moved: to.moved,
            is_where_begun: self.begun.is_none(),
        }
    }

    pub(crate) const fn file(&self) -> &WriteFile {
        &self.file
    }

    /// Tells the file what happened, and does what it asks for; `true`: nothing is left to do.
    pub(crate) fn hear(&mut self, shell: &mut Shell, place: &Place, heard: Heard) -> bool {
        if let Heard::ClientGone = heard {
            self.client_gone = true;
            self.live = None;
        }
        if let Heard::Unlinked = heard {
            self.recorded = None;
        }
        if let Heard::Committed(Ok(stored)) = &heard {
            self.checksum = stored.checksum.or(self.checksum);
        }
        let (now, before) = (shell.now(), self.file.received());
        if let Heard::Base(_, bytes) = &heard
            && self.file.is_bringing()
        {
            // They are like those that the client sends.
            let bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            shell.user_session.received(bytes, now);
        }
        self.file.hear(heard, now);
        let came = self.file.received().saturating_sub(before);
        if came > 0 {
            shell.environment.metrics.bytes_received(came);
            shell.user_session.received(came, now);
        }
        let mut is_over = false;
        while let Some(effect) = self.file.next_effect() {
            is_over |= effect == Effect::Over;
            self.run(shell, place, effect);
        }
        is_over
    }

    fn run(&mut self, shell: &mut Shell, place: &Place, effect: Effect) {
        let calls = self.calls(shell, place);
        match effect {
            Effect::Wait {
                number,
                bytes,
                purpose,
            } => {
                let share = shell.user_session.memory().uploads.clone();
                self.spawn(shell, calls.wait(share, number, bytes, purpose));
            }
            Effect::WaitForParts(parts) => {
                let memory = shell.user_session.memory().account.clone();
                let timeout = shell.environment.limits.gate_timeout;
                self.spawn(shell, calls.wait_for_parts(memory, parts, timeout));
            }
            Effect::Create { given } => {
                let described = self.described_with(given);
                self.recorded = self.record(shell, place);
                let recorded = self.recorded.clone();
                calls.create(&shell.environment.reaper, described, recorded);
            }
            Effect::SendPart {
                upload,
                number,
                payload,
                ..
            } => drop(self.spawn(shell, calls.part(upload, number, payload))),
            Effect::CopyPart(copy) => {
                let turns = shell.user_session.memory().range_copies.clone();
                self.spawn(shell, calls.part_copy(turns, copy));
            }
            Effect::ReadBase { read, base, range } => {
                let memory = shell.user_session.memory().account.clone();
                // One that is not wanted any more does not wake the next one.
                self.read_on = Arc::default();
                let read_on = Arc::clone(&self.read_on);
                let reader = calls.base((read, base, range), memory, read_on);
                self.reader = Some(self.spawn(shell, reader));
            }
            Effect::ReadOn => self.read_more(shell),
            Effect::LeaveBase => {
                if let Some(reader) = self.reader.take() {
                    reader.abort();
                }
            }
            Effect::Brought { bringing, status } => brought(shell, place, &bringing, status),
            Effect::Zeros(bytes) => self.make_zeros(shell, calls, bytes),
            Effect::Look { size, parts } => self.look(shell, calls, Remains { size, parts }),
            Effect::Put {
                payload,
                condition,
                given,
                partial,
            } => {
                let mut described = self.described_with(given);
                described.mark(partial);
                put(shell, place, calls.put(payload, described, condition));
            }
            Effect::Complete(completing) => self.complete(shell, place, completing),
            Effect::SetGiven { etag, given } => set_given(shell, place, etag, given),
            Effect::Abort(upload) => self.abort(shell, calls, upload),
            Effect::Stop => self.stop(),
            Effect::Answer(pending, status) => shell.answers.status(pending, status),
            Effect::Failed { reason, closed } => self.failed(shell, place, &reason, closed),
            Effect::Stored { size, stored } => self.stored(shell, place, size, &stored),
            Effect::Over => {}
        }
    }

    fn abort(&mut self, shell: &Shell, calls: Calls, upload: UploadId) {
        let (reaper, recorded) = (&shell.environment.reaper, self.recorded.take());
        reaper.abort_holding(calls.store, calls.location, upload, recorded);
        self.begun = None;
    }

    fn look(&mut self, shell: &mut Shell, calls: Calls, remains: Remains) {
        if let Some(keeping) = self.keeping {
            self.spawn(shell, look(calls, keeping, remains));
        }
    }

    fn complete(&mut self, shell: &Shell, place: &Place, completing: Completing) {
        self.checksum = completing.checksum;
        let calls = self.calls(shell, place);
        if completing.partial {
            let object = self.described.object.clone();
            let what = format!("partial upload of {}", place.location);
            let marking = Marking::new(shell, &place.path);
            let complete = marking.complete(calls, object, completing, self.recorded.take());
            return shell.environment.reaper.outlive(what, complete);
        }
        let completion = Completion {
            checksum: completing.checksum,
            object: self.described.object.clone(),
            then: match &completing.onward {
                Some(condition) => {
                    let late = shell.to_be_stored(Given::default(), completing.given_late);
                    let to = (&place.path, &place.location);
                    let onward = Onward::new(shell, to, condition.clone(), late);
                    Some(onward.after_commit())
                }
                None => after_commit(shell, place, completing.given_late),
            },
            recorded: self.recorded.take(),
            completing,
        };
        let reaper = &shell.environment.reaper;
        let what = format!("upload of {}", place.location);
        let complete = calls.complete(reaper.clone(), completion);
        reaper.outlive(what, complete);
    }

    /// Has the upload recorded that is about to begin, where something of it is kept and the gateway
    /// itself could finish it.
    fn record(&self, shell: &Shell, place: &Place) -> Option<Arc<RecordedUpload>> {
        let (keeping, records) = (self.keeping?, &shell.environment.upload_records);
        if !records.serve(&shell.store(), &place.location.bucket) {
            return None;
        }
        let user = &shell.user;
        let (layout, base) = self.file.parts_to_record()?;
        let record = UploadRecord {
            upload: None,
            location: place.location.clone(),
            path: place.path.clone(),
            user: user.config().user.clone(),
            login_name: user.login_name().into(),
            session_id: user.session_id().into(),
            source_ip: user.source_ip(),
            nonce: self.described.object.nonce,
            opened: keeping.opened,
            expires_at: user.config().expires_at,
            replace: keeping.replace,
            exclusive: keeping.exclusive,
            over: base.map(|base| OverBase {
                etag: base.etag.clone(),
                size: base.size,
            }),
            layout,
            stage: Stage::Open,
        };
        records.begin(record, &shell.environment.reaper)
    }

    fn stored(&self, shell: &Shell, place: &Place, size: u64, stored: &Stored) {
        let written = Written {
            received: self.file.received(),
            size,
            etag: &stored.etag.0,
            version_id: stored.version_id.as_deref(),
            checksum: self.checksum,
            replaced: self.replaces,
        };
        let took = shell.now().duration_since(self.opened);
        let metrics = &shell.environment.metrics;
        let end = if self.file.is_partial() {
            audit::partial_kept(place.file(), written, took);
            TransferEnd::Abandoned
        } else {
            audit::uploaded(place.file(), written, took);
            TransferEnd::Completed
        };
        metrics.upload_ended(end);
        if self.client_gone {
            let closed = !self.file.is_partial();
            metrics.ended_after_disconnect(closed, AfterDisconnect::Kept);
        }
    }

    fn failed(&self, shell: &Shell, place: &Place, reason: &str, closed: bool) {
        audit::upload_failed(place.file(), self.file.received(), reason);
        let end = if closed {
            TransferEnd::Failed
        } else {
            TransferEnd::Abandoned
        };
        let metrics = &shell.environment.metrics;
        metrics.upload_ended(end);
        let lost = closed || (self.keeps_partial() && self.file.received() > 0);
        if self.client_gone && lost {
            metrics.ended_after_disconnect(closed, AfterDisconnect::Failed);
        }
    }

    /// Zeros count like bytes that the client sends: they come no faster.
    fn make_zeros(&mut self, shell: &mut Shell, calls: Calls, bytes: u64) {
        let now = shell.now();
        shell.user_session.received(bytes, now);
        match shell.user_session.receives_again_at(now) {
            None => {
                calls.tell(Heard::ZerosDue);
            }
            Some(at) => {
                self.spawn(shell, async move {
                    sleep_until(calls.stop.clock(), at).await;
                    calls.tell(Heard::ZerosDue);
                });
            }
        }
    }

    /// Lets the next bytes of the base come; those of another file no faster than the user may
    /// send.
    fn read_more(&mut self, shell: &mut Shell) {
        let now = shell.now();
        let due = shell.user_session.receives_again_at(now);
        match due.filter(|_| self.file.is_bringing()) {
            None => self.read_on.notify_one(),
            Some(at) => {
                let (read_on, stop) = (Arc::clone(&self.read_on), shell.stop.clone());
                self.spawn(shell, async move {
                    sleep_until(stop.clock(), at).await;
                    read_on.notify_one();
                });
            }
        }
    }

    /// Returns who calls the store for it, where its upload was begun.
    fn calls(&self, shell: &Shell, place: &Place) -> Calls {
        let calls = calls_for(shell, place);
        match &self.begun {
            Some(begun) => Calls {
                location: begun.1.clone(),
                ..calls
            },
            None => calls,
        }
    }

    fn described_with(&mut self, given: Given) -> Described {
        store_with(&mut self.described.object, given);
        self.described.clone()
    }

    fn spawn(
        &mut self,
        shell: &mut Shell,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> AbortHandle {
        self.tasks.retain(|task| !task.is_finished());
        let handle = shell.spawn(task);
        self.tasks.push(handle.clone());
        handle
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

/// Has a whole object stored, whatever becomes of its session.
fn put(shell: &Shell, place: &Place, put: impl Future<Output = ()> + Send + 'static) {
    let what = format!("upload of {}", place.location);
    shell.environment.reaper.outlive(what, put);
}

/// Counts a range that was brought of another file, and writes what became of it.
fn brought(shell: &Shell, place: &Place, bringing: &Bringing, status: Status) {
    let end = match (status == Status::OK, shell.stop.check()) {
        (true, _) => MoveEnd::Done,
        (false, Ok(())) => MoveEnd::Failed,
        (false, Err(_)) => MoveEnd::Stopped,
    };
    shell.environment.metrics.copy_ended(end);
    let range = Range {
        from: &bringing.path,
        to: &place.path,
        range: bringing.range,
        at: bringing.at,
    };
    let failed = (status != Status::OK).then_some(status.sentence);
    audit::range_copied(range, failed);
}

/// Gives a file over which nothing was written what was said of it by its handle.
fn set_given(shell: &Shell, place: &Place, etag: ETag, given: Given) {
    let (calls, location) = (calls_for(shell, place), place.location.clone());
    match after_commit(shell, place, given) {
        Some(keep) => {
            let what = format!("attributes of {location}");
            shell.environment.reaper.outlive(what, async move {
                // Whether it is kept or left, a line says so.
                drop(keep(location, etag).await);
                calls.tell(Heard::GivenSet);
            });
        }
        None => {
            calls.tell(Heard::GivenSet);
        }
    }
}

/// Returns what is done when the file is there: what came too late for its upload is kept.
fn after_commit(shell: &Shell, place: &Place, given_late: Given) -> Option<Then> {
    let late = worth_a_copy(given_late, &shell.environment.limits)?;
    Some(Late::new(shell, &place.path, late).after_commit())
}

fn calls_for(shell: &Shell, place: &Place) -> Calls {
    Calls {
        store: shell.store(),
        location: place.location.clone(),
        stop: shell.stop.clone(),
        listener: Listener::File(shell.events.clone(), place.handle),
    }
}

fn live(unsettled: &Unsettled, place: &Place, keeping: Option<Keeping>) -> Option<LiveWriter> {
    keeping.map(|_| unsettled.writes(&place.location))
}
