//! Requests that name a path: put in order, planned, run over the storage, answered.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use crate::limits;
use crate::sftp::{Attributes, HandleId, OpenMode, Reply, RequestId, Status};
use crate::storage::{Location, Nonce, Precondition};
use crate::vfs::{Access, VirtualPath};

use super::actor::{Event, Session};
use super::handles::Handle;
use super::list::Listing;
use super::order::Ticket;
use super::plan::{Need, Target, plan, refuse_disclosure};
use super::progress::Progress;
use super::reading::{OpenedObject, Reading};
use super::status::{EXISTS, NOT_EMPTY, Refusal, TOO_MANY_HANDLES};
use super::work::Work;
use super::writing::{Base, Closing, Writing};

/// A request that names a path, from its arrival to its answer.
#[derive(Debug)]
pub(crate) struct PathRequest {
    pub(crate) id: RequestId,
    pub(crate) operation: &'static str,
    pub(crate) asked: Instant,
    pub(crate) path: VirtualPath,
    pub(crate) act: Act,
    ticket: Option<Ticket>,
}

/// What is to be done with the path.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    Stat,
    SetStat(Attributes),
    StatVfs,
    OpenDirectory,
    Open {
        mode: OpenMode,
        attrs: Attributes,
    },
    Remove,
    MkDir,
    RmDir,
    Rename {
        to: VirtualPath,
        replace: bool,
    },
    /// A writer's CLOSE: here the name changes what it stands for.
    Close(HandleId),
}

/// What the storage made of it.
#[derive(Debug)]
pub(crate) enum Answer {
    Reply(Reply),
    Refused(Refusal),
    Directory {
        listing: Box<Listing>,
    },
    Opened {
        object: Option<Box<(OpenedObject, Access)>>,
        writing: Option<ForWriting>,
        location: Location,
    },
}

/// What OPEN found out for a writer.
#[derive(Debug)]
pub(crate) struct ForWriting {
    pub(super) mode: OpenMode,
    pub(super) access: Access,
    pub(super) base: Option<Base>,
    pub(super) condition: Precondition,
    pub(super) nonce: Nonce,
}

/// The path requests that are not done.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// Not yet compared with each other.
    waiting: VecDeque<PathRequest>,
    pub(crate) bytes_waiting: usize,
    /// In order of arrival; each has a ticket.
    ordered: VecDeque<PathRequest>,
    running: usize,
    opening: usize,
    /// [`Session::start_paths`] is at work: what ends at once must not begin it anew, or the
    /// stack would grow with the client's requests.
    starting: bool,
    /// Directories that this session saw: a file may be put there without looking again.
    pub(super) known: BTreeSet<VirtualPath>,
    /// Paths under which STAT found no directory a moment ago: most clients look before they put.
    pub(super) looked: VecDeque<(VirtualPath, Instant)>,
}

impl PathRequest {
    fn path_bytes(&self) -> usize {
        let second = self.act.new_name().map_or(0, |name| name.as_str().len());
        self.path.as_str().len().saturating_add(second)
    }
}

impl Act {
    const fn changes(&self) -> bool {
        match self {
            Self::Stat | Self::StatVfs | Self::OpenDirectory => false,
            Self::Open { mode, .. } => mode.write,
            Self::SetStat(_)
            | Self::Remove
            | Self::MkDir
            | Self::RmDir
            | Self::Rename { .. }
            | Self::Close(_) => true,
        }
    }

    /// Says whether it is to come to its end even if its session does not: half of a rename is
    /// worse than either end of it.
    const fn outlives(&self) -> bool {
        match self {
            Self::Remove | Self::MkDir | Self::RmDir | Self::Rename { .. } => true,
            Self::Stat
            | Self::SetStat(_)
            | Self::StatVfs
            | Self::OpenDirectory
            | Self::Open { .. }
            | Self::Close(_) => false,
        }
    }

    /// Returns the second name of a rename.
    pub(super) const fn new_name(&self) -> Option<&VirtualPath> {
        match self {
            Self::Rename { to, .. } => Some(to),
            Self::Stat
            | Self::SetStat(_)
            | Self::StatVfs
            | Self::OpenDirectory
            | Self::Open { .. }
            | Self::Remove
            | Self::MkDir
            | Self::RmDir
            | Self::Close(_) => None,
        }
    }

    pub(super) const fn need(&self) -> Need {
        match self {
            Self::Stat | Self::StatVfs | Self::OpenDirectory | Self::Close(_) => Need::Look,
            Self::Open { mode, .. } if !mode.write => Need::Read,
            Self::Open { .. }
            | Self::SetStat(_)
            | Self::Remove
            | Self::MkDir
            | Self::RmDir
            | Self::Rename { .. } => Need::Write,
        }
    }
}

impl Session {
    /// Puts a request in line.
    pub(crate) fn ask_path(
        &mut self,
        id: RequestId,
        operation: &'static str,
        asked: Instant,
        path: VirtualPath,
        act: Act,
    ) {
        let request = PathRequest {
            id,
            operation,
            asked,
            path,
            act,
            ticket: None,
        };
        let bytes = request.path_bytes();
        self.lane.bytes_waiting = self.lane.bytes_waiting.saturating_add(bytes);
        self.lane.waiting.push_back(request);
        self.start_paths();
    }

    /// Starts what may run.
    pub(crate) fn start_paths(&mut self) {
        if std::mem::replace(&mut self.lane.starting, true) {
            return;
        }
        // Whatever ended at once may have set others free: begin again after each.
        while let Some(request) = self.next_path() {
            self.start_path(request);
        }
        self.lane.starting = false;
    }

    /// Takes the first request that nothing stands in the way of.
    fn next_path(&mut self) -> Option<PathRequest> {
        while self.lane.ordered.len() < limits::PATH_REQUESTS_AT_ONCE {
            let Some(mut request) = self.lane.waiting.pop_front() else {
                break;
            };
            let bytes = request.path_bytes();
            self.lane.bytes_waiting = self.lane.bytes_waiting.saturating_sub(bytes);
            let mut paths = vec![request.path.clone()];
            paths.extend(request.act.new_name().cloned());
            request.ticket = Some(self.order.arrive(paths, request.act.changes()));
            self.lane.ordered.push_back(request);
        }
        let calls_max = self.environment.limits.storage_calls_per_session_max;
        let free = self.lane.running < calls_max;
        let at = self.lane.ordered.iter().position(|request| {
            (free || matches!(request.act, Act::Close(_)))
                && request
                    .ticket
                    .is_some_and(|ticket| self.order.may_run(ticket))
        })?;
        self.lane.ordered.remove(at)
    }

    fn start_path(&mut self, request: PathRequest) {
        if let Act::Close(handle) = request.act {
            return self.begin_close(&request, handle);
        }
        self.lane.running = self.lane.running.saturating_add(1);
        if matches!(request.act, Act::Open { .. } | Act::OpenDirectory) {
            let open = self.handles.len().saturating_add(self.lane.opening);
            self.lane.opening = self.lane.opening.saturating_add(1);
            if open >= self.environment.limits.handles_per_session_max {
                return self.path_answered(&request, Answer::Refused(TOO_MANY_HANDLES.into()));
            }
        }
        match self.answer_at_once(&request) {
            Ok(Some(answer)) => self.path_answered(&request, answer),
            Err(status) => self.path_answered(&request, Answer::Refused(status.into())),
            Ok(None) => self.run_path(request),
        }
    }

    /// Answers what needs no storage: refusals, virtual directories, the session's own uploads.
    fn answer_at_once(&mut self, request: &PathRequest) -> Result<Option<Answer>, Status> {
        let config = std::sync::Arc::clone(self.user.config());
        let target = plan(&config.home, &request.path, request.act.need())?;
        let upload = self.handles.upload_at(&request.path);
        match (&request.act, &target) {
            (Act::StatVfs, _) => Ok(Some(Answer::Reply(Reply::StatVfs))),
            (Act::Stat, Target::Object { access, .. } | Target::MappedFile { access, .. }) => {
                let now = crate::clock::unix_seconds(self.environment.clock.wall());
                let attrs =
                    upload.map(|upload| super::plan::file_attributes(*access, upload.size(), now));
                Ok(attrs.map(|attrs| Answer::Reply(Reply::Attrs(attrs))))
            }
            (Act::SetStat(attrs), _) if upload.is_some() && attrs.size.is_none() => {
                Ok(Some(Answer::Reply(Reply::Status(Status::OK))))
            }
            (Act::MkDir, _) if upload.is_some() => Err(EXISTS),
            (Act::Open { mode, .. }, _) if mode.exclusive && upload.is_some() => Err(EXISTS),
            (Act::Open { mode, .. }, Target::Virtual | Target::Nowhere) if mode.create => {
                self.explain_virtual(&request.path, &config.home);
                Err(Status::NO_SUCH_FILE)
            }
            (Act::RmDir, Target::Object { .. }) => {
                if self.handles.is_written_under(&request.path) {
                    Err(NOT_EMPTY)
                } else {
                    Ok(None)
                }
            }
            (Act::Rename { to, .. }, source) => {
                let to_target = plan(&config.home, to, Need::Write)?;
                refuse_disclosure(source, &to_target)?;
                // What CLOSE is going to write belongs to the name that it was opened under.
                if self.handles.is_written_under(&request.path) || self.handles.is_written_under(to)
                {
                    Err(BEING_WRITTEN)
                } else {
                    Ok(None)
                }
            }
            _ => Ok(None),
        }
    }

    fn run_path(&mut self, request: PathRequest) {
        let config = std::sync::Arc::clone(self.user.config());
        let uploading = self.handles.uploads_in(&request.path);
        let made = if let Act::Rename { to, .. } = &request.act {
            to
        } else {
            &request.path
        };
        let no_directory = self.looked_lately(&request.path);
        let parent_known = made
            .parent()
            .is_some_and(|parent| self.lane.known.contains(&parent));
        let uploaded_here =
            matches!(request.act, Act::Remove) && self.handles.upload_at(&request.path).is_some();
        let (store, events) = (self.user.store().clone(), self.events.clone());
        let (reaper, nonces) = (self.environment.reaper.clone(), self.environment.nonces);
        let (memory, stop) = (self.seat.memory().account.clone(), self.stop());
        let turns = std::sync::Arc::clone(self.seat.moves());
        let failures = std::sync::Arc::clone(self.seat.failures());
        let metrics = std::sync::Arc::clone(&self.environment.metrics);
        let outlives = request.act.outlives();
        let clock = std::sync::Arc::clone(&self.environment.clock);
        let out = std::sync::Arc::clone(&self.out);
        let progress = Progress::new(request.path.clone(), out, clock, failures);
        let work = async move {
            let work = Work {
                store: &store,
                reaper: &reaper,
                nonces,
                memory,
                stop,
                turns,
                metrics,
                events: &events,
                config: &config,
                uploading,
                parent_known,
                no_directory,
                progress,
            };
            let answer = match work.run(&request).await {
                // The name existed as an upload; that it did not exist in S3 is no error.
                Err(refusal) if uploaded_here && refusal.status == Status::NO_SUCH_FILE => {
                    Answer::Reply(Reply::Status(Status::OK))
                }
                Ok(answer) => answer,
                Err(refusal) => Answer::Refused(refusal),
            };
            let (operation, done) = (request.operation, !matches!(answer, Answer::Refused(_)));
            let path = request.path.clone();
            let heard = events.send(Event::Answered {
                request: Box::new(request),
                answer,
            });
            if outlives && !heard {
                tracing::warn!(operation, %path, done, "change ended after its session");
            }
        };
        if outlives {
            self.environment.reaper.outlive(work);
        } else {
            self.spawn(work);
        }
    }

    pub(super) fn unlink_uploads(&mut self, path: &VirtualPath) {
        for upload in self.handles.uploads_mut() {
            if upload.path == *path {
                upload.unlinked = true;
            }
        }
    }

    /// Answers a request that ran, and lets those go on that waited for it.
    pub(crate) fn path_answered(&mut self, request: &PathRequest, answer: Answer) {
        self.lane.running = self.lane.running.saturating_sub(1);
        if matches!(request.act, Act::Open { .. } | Act::OpenDirectory) {
            self.lane.opening = self.lane.opening.saturating_sub(1);
        }
        if let Some(ticket) = request.ticket {
            self.order.done(ticket);
        }
        let code = match answer {
            Answer::Reply(reply) => {
                self.note_change(request, &reply);
                if let Reply::Attrs(attrs) = &reply
                    && !attrs.names_directory()
                {
                    self.note_look(request);
                }
                self.out.reply(request.id, &reply);
                crate::sftp::StatusCode::Ok
            }
            Answer::Refused(refusal) => {
                if refusal.status == Status::NO_SUCH_FILE {
                    self.note_look(request);
                }
                if let Some(detail) = &refusal.detail {
                    self.operation_failed(request.operation, &request.path, detail);
                }
                self.out.status(request.id, refusal.status);
                refusal.status.code
            }
            Answer::Directory { listing } => {
                self.know(request.path.clone());
                let handle = self.handles.insert(Handle::Directory(listing));
                self.out.reply(request.id, &Reply::Handle(handle));
                crate::sftp::StatusCode::Ok
            }
            Answer::Opened {
                object,
                writing,
                location,
            } => {
                let handle = self.opened(request, object, writing, location);
                self.out.reply(request.id, &Reply::Handle(handle));
                crate::sftp::StatusCode::Ok
            }
        };
        self.answered(request.operation, request.asked, code);
        self.start_paths();
    }

    fn opened(
        &mut self,
        request: &PathRequest,
        object: Option<Box<(OpenedObject, Access)>>,
        writing: Option<ForWriting>,
        location: Location,
    ) -> HandleId {
        let now = self.environment.clock.now();
        let handle = self.handles.insert(Handle::File {
            reading: None,
            writing: None,
        });
        if let Some((opened, access)) = object.map(|object| *object) {
            let window = self.environment.limits.read_ahead_per_handle_bytes_max;
            let path = request.path.clone();
            let place = location.clone();
            let mut reading = Reading::new(path, place, access, opened.meta, window, now);
            if let Some(body) = opened.body {
                self.begin_reading(handle, &mut reading, body);
            }
            self.put_reading(handle, Box::new(reading));
        }
        if let Some(found) = writing {
            if let Some(parent) = request.path.parent() {
                self.know(parent);
            }
            let budget = std::sync::Arc::clone(&self.environment.budget);
            let ForWriting {
                mode,
                access,
                base,
                condition,
                nonce,
            } = found;
            let path = request.path.clone();
            let mut writing = Writing::new(
                path, location, access, mode, base, condition, nonce, budget, now,
            );
            if let Act::Open { attrs, .. } = &request.act {
                // A size in OPEN's attributes is what the client expects, not what it sets.
                let attrs = Attributes {
                    size: None,
                    ..*attrs
                };
                writing.set_attributes(&attrs).ok();
            }
            self.put_writing(handle, Box::new(writing));
        }
        handle
    }

    fn begin_close(&mut self, request: &PathRequest, handle: HandleId) {
        let PathRequest {
            id,
            asked,
            ticket: Some(ticket),
            ..
        } = *request
        else {
            return;
        };
        let Some(mut writing) = self.take_writing(handle) else {
            return;
        };
        writing.closing = Some(Closing { id, ticket, asked });
        self.put_writing(handle, writing);
        self.advance_writing(handle);
    }
}

const BEING_WRITTEN: Status = Status::failure("The file is being written; close it first");
