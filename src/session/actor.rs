//! The session's one task: it owns everything, and everything that happens comes to it.
//!
//! Packets come in, events of storage calls come back, replies go out. Nothing here waits for
//! storage or for the client: what has to wait is kept as state.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};

use crate::auth::AuthenticatedUser;
use crate::budget::{Charge, Gate, GateHold};
use crate::limits;
use crate::sftp::{DecodeError, Frames, HandleId, Message, RequestId, Status, StatusCode, decode};
use crate::storage::{
    Checksum, CompletedPart, ListPage, ListQuery, Location, PartNumber, StorageError, Stored,
    UploadId,
};
use crate::tasks;

use super::handles::{Handle, Handles};
use super::order::PathOrder;
use super::out::{self, Out};
use super::paths::{Answer, Lane, PathRequest};
use super::reading::Reading;
use super::seats::Seat;
use super::writing::Writing;
use super::{Environment, Gone, Inbound, Outbound};

/// One user's SFTP conversation on one channel.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) environment: Environment,
    pub(crate) user: AuthenticatedUser,
    pub(crate) seat: Seat,
    pub(crate) out: Arc<Out>,
    pub(crate) events: Events,
    /// Private: [`Session::spawn`] is the only door.
    tasks: JoinSet<()>,
    pub(crate) handles: Handles,
    pub(crate) order: PathOrder,
    pub(crate) lane: Lane,
    /// Sentences for people that were sent to the channel's stderr.
    pub(crate) explanations: u32,
    pub(super) gate: Arc<Gate>,
    frames: Frames,
    greeted: bool,
    pub(super) requests_open: usize,
    /// Held while too many requests wait.
    pub(super) request_hold: Option<GateHold>,
    /// Held while too many WRITE bytes have no slot.
    pub(super) write_hold: Option<(GateHold, Instant)>,
    /// Held while the client sends faster than its user may.
    pub(super) pace_hold: Option<GateHold>,
    pub(super) unslotted: usize,
    pub(super) progress: (u64, Instant),
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
    Memory {
        handle: HandleId,
        number: PartNumber,
        charge: Charge,
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
    seat: Seat,
    gate: Arc<Gate>,
    mut inbound: I,
    outbound: O,
) {
    let (sender, mut events) = mpsc::unbounded_channel();
    let out = Arc::new(Out::new(seat.memory().account.clone()));
    let mut writer = JoinSet::new();
    tasks::spawn(&mut writer, out::write(Arc::clone(&out), outbound));
    let now = environment.clock.now();
    let metrics = Arc::clone(&environment.metrics);
    let mut session = Session {
        environment,
        user,
        seat,
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
        pace_hold: None,
        unslotted: 0,
        progress: (0, now),
    };
    let end = session.serve(&mut inbound, &mut events, &mut writer).await;
    session.give_up(&mut events);
    session.sum_up_failures();
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
        let revoked = self.user.revoked().clone();
        let gone = inbound.gone();
        let expiry = self.expiry();
        tokio::pin!(expiry);
        let out = Arc::clone(&self.out);
        let mut open = true;
        let mut slow_tick = ticker(SLOW_TICK);
        let mut fast_tick = ticker(FAST_TICK);
        let mut pace_tick = ticker(FAST_TICK);
        loop {
            if revoked.is_cancelled() {
                // What is open is not committed, whatever the client still sends.
                tracing::info!("session ends: the user's access was taken back");
                return End::Gone;
            }
            let idle = self.requests_open == 0;
            if idle && (!open || (drain.is_cancelled() && self.handles.is_empty())) {
                return End::Finished;
            }
            let slowed = self.seat.sends_too_fast(self.environment.clock.now());
            let gated = self.request_hold.is_some() || self.write_hold.is_some();
            let hasty = self.pace_hold.is_some();
            tokio::select! {
                Some(event) = events.recv() => {
                    self.handle_event(event);
                    // What is there already is handled in one turn.
                    for _ in 0..EVENTS_PER_TURN_MAX {
                        let Ok(event) = events.try_recv() else { break };
                        self.handle_event(event);
                    }
                }
                bytes = inbound.next(), if open && !hasty => match bytes {
                    Some(bytes) => {
                        if let Err(end) = self.take(bytes) {
                            return end;
                        }
                    }
                    None => open = false,
                },
                () = out.drained() => self.output_drained(),
                _ = fast_tick.tick(), if gated || hasty => {}
                _ = pace_tick.tick(), if slowed => self.output_drained(),
                _ = slow_tick.tick(), if !self.handles.is_empty() => {
                    self.reclaim_slots();
                    self.reclaim_read_ahead();
                }
                // Its end would come with its bytes, which wait.
                () = gone.cancelled(), if hasty => return End::Gone,
                () = drain.cancelled(), if !drain.is_cancelled() => {}
                () = revoked.cancelled() => {}
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

    /// Begins a task that ends with the session, and whose lines in the log name it.
    pub(super) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        tasks::spawn(&mut self.tasks, task)
    }

    /// Takes what the client sent. An error ends the session.
    fn take(&mut self, bytes: Bytes) -> Result<(), End> {
        self.frames.push(bytes);
        loop {
            let frame = match self.frames.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(()),
                Err(error) => {
                    self.says_why_it_ends("not an SFTP packet", Some(&error));
                    return Err(End::Finished);
                }
            };
            match decode(frame) {
                Ok(Message::Init { .. }) => {
                    self.greeted = true;
                    self.out.version();
                }
                Ok(Message::Request { .. }) if !self.greeted => {
                    self.says_why_it_ends("a request before INIT", None);
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
                    self.says_why_it_ends("a request without a number", Some(&error));
                    return Err(End::Finished);
                }
            }
            let beyond = self.requests_open > limits::REQUESTS_WAITING_HARD_MAX
                || self.lane.bytes_waiting > limits::PATH_BYTES_WAITING_MAX
                || self.out.is_overfull();
            if beyond {
                if let Some(unlogged) = self.line_due() {
                    let waiting = self.requests_open;
                    tracing::warn!(waiting, unlogged, "session ends: too much waits");
                }
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
            Event::Memory {
                handle,
                number,
                charge,
            } => {
                if let Some(mut writing) = self.take_writing(handle) {
                    writing.slots_wanted.remove(&number);
                    if writing.failed.is_none() {
                        writing.upload.add_memory(number, charge);
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
                | Event::Memory { .. }
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
/// While the gate is closed: how soon it is seen that the client has to be heard again.
pub(super) const FAST_TICK: Duration = Duration::from_millis(5);
const EVENTS_PER_TURN_MAX: usize = 64;
