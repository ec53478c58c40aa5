//! The session's one task: it owns everything, and everything that happens comes to it.
//!
//! Packets come in, events of storage calls come back, replies go out. Nothing here waits for
//! storage or for the client: what has to wait is kept as state.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::order::PathOrder;
use crate::auth::AuthenticatedUser;
use crate::budget::{Gate, GateHold, Slot};
use crate::metrics::TransferEnd;
use crate::sftp::{DecodeError, Frames, HandleId, Message, RequestId, Status, StatusCode, decode};
use crate::storage::{
    Checksum, CompletedPart, ListPage, ListQuery, Location, PartNumber, StorageError, Stored,
    UploadId,
};
use crate::{audit, limits};

use super::handles::{Handle, Handles};
use super::out::{self, Out};
use super::paths::{Answer, Lane, PathRequest};
use super::reading::Reading;
use super::writing::Writing;
use super::{Environment, Gone, Inbound, Outbound};

/// One user's SFTP conversation on one channel.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) environment: Environment,
    pub(crate) user: AuthenticatedUser,
    pub(crate) out: Arc<Out>,
    pub(crate) events: Events,
    pub(crate) tasks: JoinSet<()>,
    pub(crate) handles: Handles,
    pub(crate) order: PathOrder,
    pub(crate) lane: Lane,
    /// Sentences for people that were sent to the channel's stderr.
    pub(crate) explanations: u32,
    gate: Arc<Gate>,
    frames: Frames,
    greeted: bool,
    requests_open: usize,
    /// Held while too many requests wait.
    request_hold: Option<GateHold>,
    /// Held while too many WRITE bytes have no slot.
    write_hold: Option<(GateHold, Instant)>,
    unslotted: usize,
    progress: (u64, Instant),
}

/// What comes back from tasks.
#[derive(Debug)]
pub(crate) enum Event {
    Answered {
        request: Box<PathRequest>,
        answer: Answer,
    },
    Fetched {
        handle: HandleId,
        fetch: u64,
        outcome: Result<Option<Bytes>, Status>,
    },
    Checksum {
        handle: HandleId,
        checksum: Checksum,
    },
    Page {
        handle: HandleId,
        query: ListQuery,
        outcome: Result<ListPage, StorageError>,
    },
    Slot {
        handle: HandleId,
        number: PartNumber,
        slot: Slot,
    },
    Created {
        handle: HandleId,
        location: Location,
        outcome: Result<UploadId, StorageError>,
    },
    PartDone {
        handle: HandleId,
        number: PartNumber,
        outcome: Result<CompletedPart, StorageError>,
        checksum: Checksum,
    },
    Fill {
        handle: HandleId,
        offset: u64,
        bytes: Bytes,
        done: oneshot::Sender<()>,
    },
    Filled {
        handle: HandleId,
        outcome: Result<(), StorageError>,
    },
    Committed {
        handle: HandleId,
        outcome: Result<Stored, StorageError>,
    },
}

/// Where tasks send what happened. What waits here is bounded by what was asked for: frames by
/// the read-ahead permits, everything else by the calls under way.
#[derive(Debug, Clone)]
pub(crate) struct Events(mpsc::UnboundedSender<Event>);

impl Events {
    /// Sends an event; `false`: the session is gone.
    pub(crate) fn send(&self, event: Event) -> bool {
        self.0.send(event).is_ok()
    }
}

/// Why the loop ended.
enum End {
    /// The client is done, or the gateway drains.
    Finished,
    /// The channel is gone, or nobody listens at its other end.
    Gone,
}

/// Serves one channel to its end.
pub(super) async fn run<I: Inbound, O: Outbound>(
    environment: Environment,
    user: AuthenticatedUser,
    gate: Arc<Gate>,
    mut inbound: I,
    outbound: O,
) {
    let (sender, mut events) = mpsc::unbounded_channel();
    let out = Arc::new(Out::default());
    let mut writer = JoinSet::new();
    writer.spawn(out::write(Arc::clone(&out), outbound));
    let now = environment.clock.now();
    let metrics = Arc::clone(&environment.metrics);
    let mut session = Session {
        environment,
        user,
        out: Arc::clone(&out),
        events: Events(sender),
        tasks: JoinSet::new(),
        handles: Handles::new(metrics),
        order: PathOrder::default(),
        lane: Lane::default(),
        explanations: 0,
        gate,
        frames: Frames::default(),
        greeted: false,
        requests_open: 0,
        request_hold: None,
        write_hold: None,
        unslotted: 0,
        progress: (0, now),
    };
    let end = session.serve(&mut inbound, &mut events, &mut writer).await;
    session.give_up(&mut events);
    drop(session);
    if let End::Finished = end {
        out.finish();
        // The SSH layer bounds how long a client may leave its output untaken.
        while writer.join_next().await.is_some() {}
    }
}

impl Session {
    async fn serve<I: Inbound, O: Outbound>(
        &mut self,
        inbound: &mut I,
        events: &mut mpsc::UnboundedReceiver<Event>,
        writer: &mut JoinSet<Result<O, Gone>>,
    ) -> End {
        let drain = self.environment.drain.clone();
        let expiry = self.expiry();
        tokio::pin!(expiry);
        let out = Arc::clone(&self.out);
        let mut open = true;
        let mut slow_tick = ticker(SLOW_TICK);
        let mut fast_tick = ticker(FAST_TICK);
        loop {
            let idle = self.requests_open == 0;
            if idle && (!open || (drain.is_cancelled() && self.handles.is_empty())) {
                return End::Finished;
            }
            let gated = self.request_hold.is_some() || self.write_hold.is_some();
            tokio::select! {
                Some(event) = events.recv() => {
                    self.handle_event(event);
                    // What is there already is handled in one turn.
                    for _ in 0..EVENTS_PER_TURN_MAX {
                        let Ok(event) = events.try_recv() else { break };
                        self.handle_event(event);
                    }
                }
                bytes = inbound.next(), if open => match bytes {
                    Some(bytes) => {
                        if let Err(end) = self.take(bytes) {
                            return end;
                        }
                    }
                    None => open = false,
                },
                () = out.drained() => self.output_drained(),
                _ = fast_tick.tick(), if gated => {}
                _ = slow_tick.tick(), if !self.handles.is_empty() => {
                    self.reclaim_slots();
                    self.reclaim_read_ahead();
                }
                () = drain.cancelled(), if !drain.is_cancelled() => {}
                () = &mut expiry => {
                    tracing::info!("session ends: the identity provider's answer has expired");
                    return End::Finished;
                }
                // The writer ends by itself only when the channel is gone.
                _ = writer.join_next() => return End::Gone,
            }
            while self.tasks.try_join_next().is_some() {}
            self.regulate();
        }
    }

    /// Waits until the identity provider's answer is over its time, if it ever is.
    fn expiry(&self) -> impl Future<Output = ()> + use<> {
        let now = self.environment.clock.wall();
        let expires_at = self.user.config().expires_at;
        let left = expires_at.map(|end| end.duration_since(now).unwrap_or(Duration::ZERO));
        async move {
            match left {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Takes what the client sent. An error ends the session.
    fn take(&mut self, bytes: Bytes) -> Result<(), End> {
        self.frames.push(bytes);
        loop {
            let frame = match self.frames.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(()),
                Err(error) => {
                    tracing::info!(%error, "session ends: not an SFTP packet");
                    return Err(End::Finished);
                }
            };
            match decode(frame) {
                Ok(Message::Init { .. }) => {
                    self.greeted = true;
                    self.out.version();
                }
                Ok(Message::Request { .. }) if !self.greeted => {
                    tracing::info!("session ends: a request before INIT");
                    return Err(End::Finished);
                }
                Ok(Message::Request { id, request }) => {
                    self.arrived();
                    self.request(id, request);
                }
                Err(DecodeError::BadRequest { id }) => {
                    self.arrived();
                    let now = self.environment.clock.now();
                    self.refuse(id, "unreadable", now, Status::BAD_MESSAGE);
                }
                Err(DecodeError::UnknownType { id, kind }) => {
                    tracing::debug!(kind, "unknown request type");
                    self.arrived();
                    let now = self.environment.clock.now();
                    self.refuse(id, "unknown", now, Status::OP_UNSUPPORTED);
                }
                Err(error @ DecodeError::NoId) => {
                    tracing::info!(%error, "session ends");
                    return Err(End::Finished);
                }
            }
            let beyond = self.requests_open > limits::REQUESTS_WAITING_HARD_MAX
                || self.lane.bytes_waiting > limits::PATH_BYTES_WAITING_MAX
                || self.out.is_overfull();
            if beyond {
                tracing::warn!(
                    waiting = self.requests_open,
                    "session ends: too many requests or answers wait"
                );
                // Its answers are not kept for one who does not listen.
                return Err(End::Gone);
            }
        }
    }

    fn handle_event(&mut self, event: Event) {
        match event {
            Event::Answered { request, answer } => self.path_answered(&request, answer),
            Event::Fetched {
                handle,
                fetch,
                outcome,
            } => {
                if let Some(mut reading) = self.take_reading(handle) {
                    reading.arrive(fetch, outcome);
                    self.put_reading(handle, reading);
                    self.advance_reading(handle);
                }
            }
            Event::Checksum { handle, checksum } => {
                if let Some(mut reading) = self.take_reading(handle) {
                    reading.expect(checksum);
                    self.put_reading(handle, reading);
                }
            }
            Event::Page {
                handle,
                query,
                outcome,
            } => self.page_arrived(handle, query, outcome),
            Event::Slot {
                handle,
                number,
                slot,
            } => {
                if let Some(mut writing) = self.take_writing(handle) {
                    writing.slots_wanted.remove(&number);
                    if writing.failed.is_none() {
                        writing.upload.add_slot(number, slot);
                    }
                    self.put_writing(handle, writing);
                    self.advance_writing(handle);
                }
            }
            Event::Created {
                handle,
                location,
                outcome,
            } => self.created(handle, location, outcome),
            Event::PartDone {
                handle,
                number,
                outcome,
                checksum,
            } => {
                self.part_done(handle, number, outcome, checksum);
            }
            Event::Fill {
                handle,
                offset,
                bytes,
                done,
            } => self.fill(handle, offset, bytes, done),
            Event::Filled { handle, outcome } => self.filled(handle, outcome),
            Event::Committed { handle, outcome } => self.committed(handle, outcome),
        }
    }

    /// Ends what the client left open: nothing of it becomes visible.
    fn give_up(&mut self, events: &mut mpsc::UnboundedReceiver<Event>) {
        events.close();
        // An upload that was created just now is known only to its event.
        while let Ok(event) = events.try_recv() {
            match event {
                Event::Created {
                    handle,
                    location,
                    outcome: Ok(upload),
                } => self.created(handle, location, Ok(upload)),
                Event::Committed { handle, outcome } => self.committed(handle, outcome),
                Event::Answered { .. }
                | Event::Fetched { .. }
                | Event::Checksum { .. }
                | Event::Page { .. }
                | Event::Slot { .. }
                | Event::Created { .. }
                | Event::PartDone { .. }
                | Event::Fill { .. }
                | Event::Filled { .. } => {}
            }
        }
        for handle in self.handles.ids() {
            let Some(Handle::File { writing, reading }) = self.handles.remove(handle) else {
                continue;
            };
            if let Some(mut writing) = writing
                && !writing.committing
                && writing.failed.is_none()
            {
                self.fail_writing(
                    &mut writing,
                    Status::FAILURE,
                    "the session ended before CLOSE",
                );
            }
            if let Some(reading) = reading {
                self.report_download(&reading);
            }
        }
        self.gate.remove_unslotted(self.unslotted);
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

    // ---- counting ----

    fn arrived(&mut self) {
        self.requests_open = self.requests_open.saturating_add(1);
    }

    /// Notes that a request got its answer.
    pub(crate) fn answered(&mut self, operation: &'static str, asked: Instant, code: StatusCode) {
        self.requests_open = self.requests_open.saturating_sub(1);
        let took = self
            .environment
            .clock
            .now()
            .saturating_duration_since(asked);
        self.environment.metrics.request(operation, code, took);
    }

    pub(crate) fn refuse(
        &mut self,
        id: RequestId,
        operation: &'static str,
        asked: Instant,
        status: Status,
    ) {
        self.out.status(id, status);
        self.answered(operation, asked, status.code);
    }

    // ---- back-pressure ----

    /// Counts WRITE bytes that begin to wait for a slot.
    pub(crate) fn bytes_parked(&mut self, bytes: usize) {
        self.gate.add_unslotted(bytes);
        self.unslotted = self.unslotted.saturating_add(bytes);
    }

    /// Counts WRITE bytes that wait no more.
    pub(crate) fn bytes_unparked(&mut self, bytes: usize) {
        self.gate.remove_unslotted(bytes);
        self.unslotted = self.unslotted.saturating_sub(bytes);
    }

    /// Closes the gate where too much waits, and opens it where it does not.
    fn regulate(&mut self) {
        let now = self.environment.clock.now();
        let crowded =
            self.requests_open >= limits::REQUESTS_WAITING_SOFT_MAX || self.out.is_crowded();
        let hold = crowded && !self.is_output_stuck(now);
        match (hold, self.request_hold.is_some()) {
            (true, false) => self.request_hold = Some(self.gate.close()),
            (false, true) => self.request_hold = None,
            (true, true) | (false, false) => {}
        }
        let total = self.gate.unslotted();
        let full = self.unslotted > 0 && total > self.environment.budget.unslotted_bytes_max();
        match (full, self.write_hold.is_some()) {
            (true, false) => self.write_hold = Some((self.gate.close(), now)),
            (false, true) => self.write_hold = None,
            (true, true) | (false, false) => {}
        }
    }

    /// Says whether the client has to be heard for output to go on: its window adjustments come
    /// the same way as its requests.
    fn is_output_stuck(&mut self, now: Instant) -> bool {
        let sent = self.out.sent();
        if sent != self.progress.0 || !self.out.is_waiting() {
            self.progress = (sent, now);
        }
        now.saturating_duration_since(self.progress.1) >= FAST_TICK
    }

    /// Fails uploads that keep a slot from others without using it.
    fn reclaim_slots(&mut self) {
        let limits = Arc::clone(&self.environment.limits);
        let now = self.environment.clock.now();
        let gated_too_long = self
            .write_hold
            .as_ref()
            .is_some_and(|(_, since)| now.saturating_duration_since(*since) >= limits.gate_timeout);
        let holds_slots = self
            .handles
            .uploads()
            .any(|upload| upload.upload.slots_filling() > 0);
        let awaited = self.environment.budget.is_awaited();
        for handle in self.handles.ids() {
            let Some(mut writing) = self.take_writing(handle) else {
                continue;
            };
            let idle = now.saturating_duration_since(writing.touched) >= limits.slot_idle_timeout;
            // One whose CLOSE came and that waits for a slot itself may wait for its like.
            let stands = writing.closing.is_none() || !writing.parked.is_empty();
            let filling = writing.upload.slots_filling() > 0 && stands;
            if awaited && filling && idle {
                self.fail_writing(
                    &mut writing,
                    MEMORY,
                    "no bytes came while others wait for memory",
                );
            } else if gated_too_long && holds_slots && !writing.parked.is_empty() {
                self.fail_writing(&mut writing, MEMORY, "no memory became free for its bytes");
            }
            let failed = writing.failed.is_some();
            self.put_writing(handle, writing);
            if failed {
                self.advance_writing(handle);
            }
        }
    }

    /// Gives memory back that idle readers keep while others read.
    fn reclaim_read_ahead(&mut self) {
        if !self.environment.budget.read_ahead_is_crowded() {
            return;
        }
        let idle = self.environment.limits.slot_idle_timeout;
        let then = self.environment.clock.now().checked_sub(idle);
        for handle in self.handles.ids() {
            if let Some(Handle::File {
                reading: Some(reading),
                ..
            }) = self.handles.get_mut(handle)
                && reading.rest(then)
            {
                self.advance_reading(handle);
            }
        }
    }

    fn output_drained(&mut self) {
        if self.out.is_full() {
            return;
        }
        for handle in self.handles.ids() {
            match self.handles.get_mut(handle) {
                Some(Handle::File {
                    reading: Some(reading),
                    ..
                }) if reading.waiting() > 0 => {
                    self.advance_reading(handle);
                }
                Some(Handle::Directory(listing)) if !listing.pending.is_empty() => {
                    self.advance_listing(handle);
                }
                Some(Handle::File { .. } | Handle::Directory(_)) | None => {}
            }
        }
    }

    // ---- handles, taken out while they are worked on ----

    pub(crate) fn take_reading(&mut self, handle: HandleId) -> Option<Box<Reading>> {
        match self.handles.get_mut(handle)? {
            Handle::File { reading, .. } => reading.take(),
            Handle::Directory(_) => None,
        }
    }

    pub(crate) fn put_reading(&mut self, handle: HandleId, back: Box<Reading>) {
        if let Some(Handle::File { reading, .. }) = self.handles.get_mut(handle) {
            *reading = Some(back);
        }
    }

    pub(crate) fn take_writing(&mut self, handle: HandleId) -> Option<Box<Writing>> {
        match self.handles.get_mut(handle)? {
            Handle::File { writing, .. } => writing.take(),
            Handle::Directory(_) => None,
        }
    }

    pub(crate) fn put_writing(&mut self, handle: HandleId, back: Box<Writing>) {
        if let Some(Handle::File { writing, .. }) = self.handles.get_mut(handle) {
            *writing = Some(back);
        }
    }

    /// Forgets a handle whose CLOSE was answered; so is what was asked before and overtaken.
    pub(crate) fn drop_handle(&mut self, handle: HandleId, writing: Box<Writing>) {
        drop(writing);
        if let Some(Handle::File {
            reading: Some(mut reading),
            ..
        }) = self.handles.remove(handle)
        {
            self.report_download(&reading);
            self.refuse_unread(&mut reading);
        }
        self.start_paths();
    }
}

fn ticker(period: Duration) -> tokio::time::Interval {
    let mut ticker = tokio::time::interval(period);
    ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticker
}

const SLOW_TICK: Duration = Duration::from_secs(1);
const FAST_TICK: Duration = Duration::from_millis(20);
const EVENTS_PER_TURN_MAX: usize = 64;
const MEMORY: Status = Status::failure("The server is short of memory for uploads; try again");
