//! Requests that name a path: put in order, planned, run over the storage, answered.

mod remembered;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::audit::Confirmed;
use crate::budget::Share;
use crate::limits;
use crate::sftp::{Attributes, Reply, Status};
use crate::storage::Location;
use crate::transfer::write_file::Heard;
use crate::vfs::{Access, Ending, EntryType, HomeDirectory, VirtualPath};

use super::act::{Act, ForWriting, PathAnswer, PathRequest, Planned, Running};
use super::changed::{log_unheard, replaces_version};
use super::changes::ChangesMade;
use super::copy_request;
use super::endings::OfDirectory;
use super::files::Files;
use super::known::Known;
use super::listed::BucketsShown;
use super::names::Looks;
use super::opening::OpenedObject;
use super::order::{PathOrder, Ticket};
use super::plan::{Target, file_attributes};
use super::progress::Progress;
use super::renamed;
use super::scene::Bounds;
use super::shell::Shell;
use super::status::{
    BEING_WRITTEN, BUCKET_LEVEL, EXISTS, IN_VIRTUAL, NOT_EMPTY, Refusal, TOO_MANY_HANDLES,
};
use super::work::Work;

/// The path requests that are not done.
#[derive(Debug)]
pub(crate) struct Paths {
    /// Not yet compared with each other.
    waiting: VecDeque<PathRequest>,
    bytes_waiting: usize,
    /// Until then the first of them waits for a CLOSE.
    waits_until: Option<Instant>,
    /// In order of arrival.
    ordered: VecDeque<Running>,
    order: PathOrder,
    running: usize,
    opening: usize,
    known: Known,
    /// No marker is put where a directory empties itself: one was refused.
    markers_refused: Arc<AtomicBool>,
    /// The buckets of the role, for a few seconds.
    buckets: BucketsShown,
    /// The file that was opened last to be read was small: the next one may be alike.
    opens_small_files: bool,
    /// How to look for a name like the one that STAT was asked about last.
    expects: Looks,
    /// Sentences for people that were sent to the channel's stderr.
    explanations: u32,
}

impl Paths {
    /// Begins without any; what is remembered of names is charged to the account.
    pub(crate) fn new(account: Share, names_fresh_for: Duration) -> Self {
        Self {
            waiting: VecDeque::new(),
            bytes_waiting: 0,
            waits_until: None,
            ordered: VecDeque::new(),
            order: PathOrder::default(),
            running: 0,
            opening: 0,
            known: Known::new(account, names_fresh_for),
            markers_refused: Arc::default(),
            buckets: BucketsShown::default(),
            opens_small_files: false,
            expects: Looks::Both,
            explanations: 0,
        }
    }

    /// Returns how many bytes the names of waiting requests keep.
    pub(crate) const fn bytes_waiting(&self) -> usize {
        self.bytes_waiting
    }

    /// Returns when something is to be forgotten.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let ends = [self.buckets.until(), self.known.until(), self.waits_until];
        ends.into_iter().flatten().min()
    }

    /// Forgets what is too old, and goes on with what has waited long enough.
    pub(crate) fn time(&mut self, shell: &mut Shell, files: &mut Files) {
        let now = shell.now();
        self.buckets.forget(now);
        self.known.forget_old(now);
        if self.waits_until.take_if(|until| *until <= now).is_some() {
            self.start(shell, files);
        }
    }

    /// Puts a request in line.
    pub(crate) fn ask(&mut self, shell: &mut Shell, files: &mut Files, request: PathRequest) {
        let sets_size = matches!(&request.act, Act::SetStat(attrs) if attrs.size.is_some());
        let request = if sets_size && !self.may_change(&request.path) {
            // What follows on its handle comes after it.
            match set_of_open_file(shell, files, request) {
                Some(request) => request,
                None => return,
            }
        } else {
            request
        };
        self.bytes_waiting = self.bytes_waiting.saturating_add(request.path_bytes());
        self.waiting.push_back(request);
        self.start(shell, files);
    }

    /// Notes that requests are done which hold a place in the order.
    pub(crate) fn done(
        &mut self,
        shell: &mut Shell,
        files: &mut Files,
        tickets: impl IntoIterator<Item = Ticket>,
    ) {
        let mut any = false;
        for ticket in tickets {
            self.ended(shell, ticket);
            any = true;
        }
        if any {
            self.start(shell, files);
        }
    }

    /// Answers a request that ran, and lets those go on that waited for it.
    pub(crate) fn answered(
        &mut self,
        shell: &mut Shell,
        files: &mut Files,
        running: Running,
        answer: PathAnswer,
    ) {
        self.answer(shell, files, running, answer);
        self.start(shell, files);
    }

    /// Starts what may run. Whatever ends at once may set others free: it begins again after each.
    fn start(&mut self, shell: &mut Shell, files: &mut Files) {
        while let Some(running) = self.next(shell, files) {
            if let Act::Close(handle) = running.request.act {
                let (pending, ticket) = (running.request.pending, running.ticket);
                if let Some(ticket) = files.close_in_turn(shell, handle, pending, ticket) {
                    self.ended(shell, ticket);
                }
                continue;
            }
            let (ticket, by_listing) = (running.ticket, running.by_listing);
            let Some(request) = set_of_open_file(shell, files, running.request) else {
                self.ended(shell, ticket);
                continue;
            };
            let running = Running {
                request,
                ticket,
                by_listing,
                made: shell.environment.changes.made(),
            };
            self.running = self.running.saturating_add(1);
            match self.begin(shell, files, &running.request) {
                Ok(Begun::Answered(answer)) => self.answer(shell, files, running, answer),
                Ok(Begun::Planned(planned)) => self.run(shell, files, running, planned),
                Err(status) => {
                    self.answer(shell, files, running, PathAnswer::Refused(status.into()));
                }
            }
        }
    }

    /// Says whether a request that is not done may change what a name stands for. Those that were
    /// not compared with each other yet may be many.
    fn may_change(&self, path: &VirtualPath) -> bool {
        !self.waiting.is_empty() || self.order.changes(path)
    }

    /// Takes the first request that nothing stands in the way of.
    fn next(&mut self, shell: &Shell, files: &Files) -> Option<Running> {
        while self.ordered.len() < limits::PATH_REQUESTS_AT_ONCE {
            let now = shell.now();
            let next = renamed::next_in_line(files, &mut self.waiting, &self.ordered, now);
            self.waits_until = next.as_ref().err().copied();
            let Ok(Some(request)) = next else {
                break;
            };
            self.bytes_waiting = self.bytes_waiting.saturating_sub(request.path_bytes());
            let changes = request.act.traits().changes;
            let ticket = self
                .order
                .arrive(renamed::names_of(files, &request), changes);
            self.ordered.push_back(Running {
                request,
                ticket,
                by_listing: false,
                made: ChangesMade::default(),
            });
        }
        let calls_max = shell.environment.limits.storage_calls_per_session_max;
        let free = self.running < calls_max;
        let at = self.ordered.iter().position(|one| {
            (free || matches!(one.request.act, Act::Close(_))) && self.order.may_run(one.ticket)
        })?;
        self.ordered.remove(at)
    }

    /// Counts a request that begins, and answers what needs no storage.
    fn begin(
        &mut self,
        shell: &Shell,
        files: &Files,
        request: &PathRequest,
    ) -> Result<Begun, Status> {
        if request.act.traits().opens {
            let open = files.len().saturating_add(self.opening);
            self.opening = self.opening.saturating_add(1);
            if open >= shell.environment.limits.handles_per_session_max {
                return Err(TOO_MANY_HANDLES);
            }
        }
        let config = Arc::clone(shell.user.config());
        let planned = request.plan(&config.home)?;
        if !matches!(request.act, Act::Stat) {
            self.known.asked_otherwise();
        }
        if let Some(answer) = self.answer_at_once(shell, files, request, &planned)? {
            return Ok(Begun::Answered(answer));
        }
        Ok(Begun::Planned(planned))
    }

    /// Answers what needs no storage: refusals, virtual directories, the session's own uploads.
    fn answer_at_once(
        &mut self,
        shell: &Shell,
        files: &Files,
        request: &PathRequest,
        planned: &Planned,
    ) -> Result<Option<PathAnswer>, Status> {
        let path = &request.path;
        // A path that means a directory does not mean the file that is being written.
        let upload = files
            .upload_at(shell, path)
            .filter(|_| request.ending == Ending::Name);
        let is_written = |path| files.is_written_under(path);
        if let Some(status) = self.no_bucket(shell, request, planned) {
            return Err(status);
        }
        let always = matches!(
            planned.target,
            Target::Virtual | Target::Buckets | Target::Root { .. }
        );
        match &request.act {
            Act::Copy(copy) => copy_request::check(files, copy.handle).map(|()| None),
            Act::StatVfs if always || upload.is_some() => {
                Ok(Some(PathAnswer::Reply(Reply::StatVfs)))
            }
            Act::ReadLink if always || upload.is_some() => Err(Status::OP_UNSUPPORTED),
            Act::Stat => Ok(self.stat_at_once(shell, request, &planned.target, upload)),
            Act::SetStat(attrs) if upload.is_some() && attrs.size.is_none() => {
                Ok(Some(PathAnswer::Reply(Reply::Status(Status::OK))))
            }
            Act::MkDir if upload.is_some() => Err(EXISTS),
            Act::Open { mode, .. } if mode.exclusive && upload.is_some() => Err(EXISTS),
            Act::Open { mode, .. }
                if mode.create && matches!(planned.target, Target::Virtual | Target::Nowhere) =>
            {
                let config = Arc::clone(shell.user.config());
                self.explain_virtual(shell, path, &config.home);
                Err(IN_VIRTUAL)
            }
            Act::Open { mode, .. }
                if mode.create && matches!(planned.target, Target::Bucket { .. }) =>
            {
                let config = Arc::clone(shell.user.config());
                self.explain_virtual(shell, path, &config.home);
                Err(BUCKET_LEVEL)
            }
            Act::RmDir if matches!(planned.target, Target::Object { .. }) && is_written(path) => {
                Err(NOT_EMPTY)
            }
            Act::Open { mode, .. } if mode.write && renamed::is_reserved(files, path) => {
                Err(BEING_WRITTEN)
            }
            Act::Rename { to, replace } => {
                renamed::check(files, request, to, *replace).map(|()| None)
            }
            Act::SetStat(_)
            | Act::StatVfs
            | Act::ReadLink
            | Act::OpenDirectory
            | Act::Open { .. }
            | Act::Remove
            | Act::MkDir
            | Act::RmDir
            | Act::Check(_)
            | Act::Close(_) => Ok(None),
        }
    }

    /// Answers a STAT of the session's own upload, and of what a listing showed just now.
    fn stat_at_once(
        &mut self,
        shell: &Shell,
        request: &PathRequest,
        target: &Target,
        upload: Option<Attributes>,
    ) -> Option<PathAnswer> {
        match (target, upload) {
            (Target::Object { .. } | Target::MappedFile { .. }, Some(attrs)) => {
                Some(PathAnswer::Reply(Reply::Attrs(attrs)))
            }
            (
                Target::Object {
                    location, access, ..
                },
                None,
            ) => {
                let Some(file) = self.listed_file(shell, request) else {
                    return self.stated_again(shell, request, location);
                };
                let attrs = file_attributes(*access, file.size, file.modified);
                Some(PathAnswer::Listed(attrs))
            }
            (Target::MappedFile { location, .. }, None) => {
                self.stated_again(shell, request, location)
            }
            (
                Target::Virtual
                | Target::Root { .. }
                | Target::Buckets
                | Target::Bucket { .. }
                | Target::Nowhere,
                _,
            ) => None,
        }
    }

    /// Gathers what a request sees while it runs.
    fn work(
        &mut self,
        shell: &Shell,
        files: &Files,
        request: &PathRequest,
        target: &Target,
    ) -> Work {
        let parent = request.act.new_name().unwrap_or(&request.path).parent();
        let out = Arc::clone(shell.answers.out());
        let clock = Arc::clone(&shell.environment.clock);
        let now = shell.now();
        let lately = self.lately(request, target, now);
        let doing = if matches!(request.act, Act::Copy(_)) {
            "copying"
        } else {
            "moving"
        };
        let shown = self.known.shown(&request.path, now);
        Work {
            store: shell.store(),
            memory: shell.user_session.memory().clone(),
            reaper: shell.environment.reaper.clone(),
            nonces: shell.environment.nonces,
            metrics: Arc::clone(&shell.environment.metrics),
            bounds: Bounds::of(shell),
            config: Arc::clone(shell.user.config()),
            uploading: files.uploads_in(&request.path),
            written: renamed::written_file(shell, files, request),
            to_is_written: request
                .act
                .new_name()
                .is_some_and(|to| files.is_written_under(to)),
            made: shell.environment.changes.made(),
            parent_known: parent.is_some_and(|parent| self.known.is_directory(&parent)),
            buckets: self.buckets.clone(),
            lately,
            shown,
            expects: self.expects,
            foreseen: self.foreseen(request, shown, now),
            shows: shell.shows(),
            listed_times: shell.environment.listed_times.clone(),
            hasher: self.known.hasher().clone(),
            partial_uploads: shell.environment.partial_uploads,
            unsettled: shell.environment.unsettled.clone(),
            upload_records: shell.environment.upload_records.clone(),
            events: shell.events.clone(),
            seen: self.known.is_directory(&request.path),
            kept: shell.environment.kept.clone(),
            markers_refused: Arc::clone(&self.markers_refused),
            progress: Progress::new(doing, request.path.clone(), out, clock),
        }
    }

    fn run(
        &mut self,
        shell: &mut Shell,
        files: &mut Files,
        mut running: Running,
        planned: Planned,
    ) {
        let request = &running.request;
        if replaces_version(shell, &request.act) {
            renamed::moving(shell, files, &request.path);
        }
        let work = self.work(shell, files, request, &planned.target);
        if let Some(written) = work.written {
            files.hear_write(shell, written.handle, Heard::Renaming);
        }
        running.by_listing = work.shown.is_some();
        let request = &running.request;
        let uploaded_here = matches!(request.act, Act::Remove)
            && request.ending == Ending::Name
            && files.upload_at(shell, &request.path).is_some();
        let act = &running.request.act;
        let outlives = act.traits().outlives || replaces_version(shell, act);
        let events = shell.events.clone();
        let what = outlives.then(|| format!("{} {}", request.pending.operation(), request.path));
        let work = async move {
            let outcome = outcome(&work, &running.request, planned, outlives).await;
            let answer = match outcome {
                // The name existed as an upload; that it did not exist in S3 is no error.
                Err(refusal) if uploaded_here && refusal.status == Status::NO_SUCH_FILE => {
                    PathAnswer::changed(Confirmed::default())
                }
                Ok(answer) => answer,
                Err(refusal) => PathAnswer::Refused(refusal),
            };
            if let Err(unheard) = events.answer(Box::new(running), answer)
                && outlives
            {
                let (running, answer) = *unheard;
                let (home, now) = (&work.config.home, work.bounds.clock().now());
                log_unheard(home, now, &running.request, &answer);
            }
        };
        match what {
            Some(what) => shell.environment.reaper.outlive(what, work),
            None => drop(shell.spawn(work)),
        }
    }

    fn answer(
        &mut self,
        shell: &mut Shell,
        files: &mut Files,
        running: Running,
        answer: PathAnswer,
    ) {
        let by_listing = running.by_listing;
        let (request, ticket, made) = (running.request, running.ticket, running.made);
        let traits = request.act.traits();
        self.running = self.running.saturating_sub(1);
        if traits.opens {
            self.opening = self.opening.saturating_sub(1);
        }
        if !matches!(answer, PathAnswer::Resized { .. }) {
            self.ended(shell, ticket);
        }
        match answer {
            PathAnswer::Resized {
                writing,
                location,
                size,
            } => {
                let place = (request.path, location);
                let writing = (*writing, request.act.opening_attributes());
                let pending = request.pending;
                let closed = files.resize(shell, place, writing, size, (pending, ticket));
                // It has its place in the order until then.
                if let Some(ticket) = closed {
                    self.ended(shell, ticket);
                }
            }
            PathAnswer::Changed(confirmed) => self.changed(shell, files, request, &confirmed),
            PathAnswer::RenamedOpen { confirmed, to } => {
                self.written_moved(shell, files, &request, *to);
                self.done_to_names(shell, files, request, &confirmed);
            }
            PathAnswer::Copied { confirmed, found } => {
                copy_request::copied(shell, files, &request, Ok((&confirmed, &found)));
                self.done_to_names(shell, files, request, &confirmed);
            }
            PathAnswer::Reply(reply) => {
                if replaces_version(shell, &request.act) {
                    renamed::stayed(shell, files, &request.path);
                }
                self.note_attributes(&request, &reply, by_listing);
                shell.answers.reply(request.pending, &reply);
            }
            PathAnswer::Stated(stated) => {
                let attrs = stated.attrs;
                self.note_stat(shell, &request, (stated, made), by_listing);
                shell.answers.reply(request.pending, &Reply::Attrs(attrs));
            }
            PathAnswer::Listed(attrs) => {
                shell.answers.reply(request.pending, &Reply::Attrs(attrs));
            }
            PathAnswer::Refused(refusal) => {
                if refusal.status == Status::NO_SUCH_FILE {
                    self.note_missing(&request, by_listing);
                }
                if replaces_version(shell, &request.act) {
                    renamed::stayed(shell, files, &request.path);
                }
                copy_request::copied(shell, files, &request, Err(&refusal));
                refuse(shell, request, &refusal);
            }
            PathAnswer::Directory { listing } => {
                self.known.directory(request.path);
                let handle = files.open_directory(listing);
                shell.answers.reply(request.pending, &Reply::Handle(handle));
            }
            PathAnswer::Opened {
                object,
                writing,
                location,
            } => self.opened(shell, files, request, (object, writing, location)),
        }
    }

    /// Gives a file that was opened its handle.
    fn opened(
        &mut self,
        shell: &mut Shell,
        files: &mut Files,
        request: PathRequest,
        (object, writing, location): OpenedFile,
    ) {
        let PathRequest {
            pending, path, act, ..
        } = request;
        if writing.is_some()
            && let Some(parent) = path.parent()
        {
            self.known.directory(parent);
        }
        let mut attrs = act.opening_attributes();
        if writing.as_ref().is_some_and(|found| found.base.is_some()) {
            // A mode is that of a new file.
            (attrs.permissions, attrs.owner) = (None, None);
        }
        let object = object.map(|object| *object);
        if let (Some((opened, _)), None) = (&object, &writing) {
            self.opens_small_files = opened.meta.size <= limits::OPENING_GET_BYTES;
        }
        let writing = writing.map(|found| (*found, attrs));
        let handle = files.open_file(shell, path, location, object, writing);
        shell.answers.reply(pending, &Reply::Handle(handle));
    }

    /// Tells a person where files can be put.
    fn explain_virtual(&mut self, shell: &Shell, path: &VirtualPath, home: &HomeDirectory) {
        if self.explanations >= EXPLANATIONS_MAX {
            return;
        }
        self.explanations = self.explanations.saturating_add(1);
        let parent = path.parent().unwrap_or_else(VirtualPath::root);
        let directories = home.mappings().iter();
        let entries: Vec<_> = directories
            .filter(|mapping| mapping.entry_type == EntryType::Directory)
            .map(|mapping| mapping.entry.as_str())
            .take(8)
            .collect();
        let entries = entries.join(", ");
        shell.answers.out().stderr(if home.is_of_role() {
            format!("\"{parent}\" holds buckets: put files into one of them\n")
        } else {
            format!("\"{parent}\" is virtual: put files below {entries}\n")
        });
    }

    /// Refuses what would make a name that no bucket can have, or something below one.
    fn no_bucket(
        &mut self,
        shell: &Shell,
        request: &PathRequest,
        planned: &Planned,
    ) -> Option<Status> {
        let target = planned.to.as_ref().unwrap_or(&planned.target);
        if *target != Target::Nowhere || !shell.user.config().home.is_of_role() {
            return None;
        }
        let makes = match &request.act {
            Act::MkDir | Act::Rename { .. } => true,
            Act::Open { mode, .. } => mode.create,
            Act::Stat
            | Act::SetStat(_)
            | Act::StatVfs
            | Act::ReadLink
            | Act::OpenDirectory
            | Act::Remove
            | Act::RmDir
            | Act::Copy(_)
            | Act::Check(_)
            | Act::Close(_) => false,
        };
        if !makes {
            return None;
        }
        let made = request.act.new_name().unwrap_or(&request.path);
        if made.parent().is_some_and(|parent| !parent.is_root()) {
            return Some(Status::NO_SUCH_FILE);
        }
        if matches!(request.act, Act::Open { .. }) {
            self.explain_virtual(shell, made, &shell.user.config().home);
        }
        Some(BUCKET_LEVEL)
    }
}

/// Has a request done.
async fn outcome(
    work: &Work,
    request: &PathRequest,
    planned: Planned,
    outlives: bool,
) -> Result<PathAnswer, Refusal> {
    if let Some(answer) = OfDirectory(work).ask(request, &planned.target).await? {
        return Ok(answer);
    }
    if outlives {
        work.change(request, planned).await
    } else {
        work.run(request, planned).await
    }
}

/// Gives a size, a time or a mode that is set by name to a file that is written under it; what is not
/// about one comes back.
fn set_of_open_file(
    shell: &mut Shell,
    files: &mut Files,
    request: PathRequest,
) -> Option<PathRequest> {
    if let Act::SetStat(attrs) = &request.act
        && (attrs.size.is_some() || attrs.given().is_something())
        && request.ending == Ending::Name
        && let Some(handle) = files.written_at(&request.path)
    {
        files.set_attributes(shell, request.pending, handle, attrs);
        return None;
    }
    Some(request)
}

/// Answers a request that failed, or that the user may not make.
fn refuse(shell: &mut Shell, request: PathRequest, refusal: &Refusal) {
    let (path, new) = (&request.path, request.act.new_name());
    match &refusal.detail {
        Some(detail) => {
            shell.operation_failed(request.pending.operation(), path, detail);
            shell.answers.status(request.pending, refusal.status);
        }
        None => shell.refuse(request.pending, Some(path), new, refusal.status),
    }
}

/// What is read, what is written, and where it stands.
type OpenedFile = (
    Option<Box<(OpenedObject, Access)>>,
    Option<Box<ForWriting>>,
    Location,
);

/// A request that was looked at.
enum Begun {
    Answered(PathAnswer),
    Planned(Planned),
}

const EXPLANATIONS_MAX: u32 = 20;
