//! What is remembered of names once requests have run, and what the next ones see of it.

use std::time::Instant;

use crate::audit::Confirmed;
use crate::config::StatTimes;
use crate::sftp::{Reply, Status};
use crate::storage::{Location, Precondition};
use crate::vfs::{Ending, PartialUploads, VirtualPath};

use super::super::act::{Act, NewPlace, PathAnswer, PathRequest};
use super::super::changed::log_change;
use super::super::changes::ChangesMade;
use super::super::files::Files;
use super::super::fresh::{ListedFile, Names, Shown};
use super::super::known::{JustStated, Lately};
use super::super::names::{Looks, Stated};
use super::super::opening::Foreseen;
use super::super::order::Ticket;
use super::super::plan::Target;
use super::super::renamed;
use super::super::shell::Shell;
use super::Paths;

impl Paths {
    /// Notes what a request changed in the store, and answers it.
    pub(super) fn changed(
        &mut self,
        shell: &mut Shell,
        files: &mut Files,
        request: PathRequest,
        confirmed: &Confirmed,
    ) {
        if confirmed.replaced.is_some() {
            renamed::replaced(shell, files, &request);
        }
        self.done_to_names(shell, files, request, confirmed);
    }

    /// Notes what a request changed, and answers it.
    pub(super) fn done_to_names(
        &mut self,
        shell: &mut Shell,
        files: &mut Files,
        request: PathRequest,
        confirmed: &Confirmed,
    ) {
        self.note_change(shell, files, &request, confirmed);
        shell.answers.status(request.pending, Status::OK);
    }

    fn note_change(
        &mut self,
        shell: &mut Shell,
        files: &mut Files,
        request: &PathRequest,
        confirmed: &Confirmed,
    ) {
        let path = &request.path;
        match &request.act {
            // The version stays.
            Act::Rename { to, .. } if shell.user.config().home.is_past(path) => {
                if let Some(parent) = to.path.parent() {
                    self.known.directory(parent);
                }
                renamed::moved(shell, files, &to.path, &to.path);
            }
            Act::Rename { to, .. } => {
                self.known.forget(path);
                let parents = [path.parent(), to.path.parent()];
                for parent in parents.into_iter().flatten() {
                    self.known.directory(parent);
                }
                renamed::moved(shell, files, path, &to.path);
            }
            Act::RmDir => self.known.forget(path),
            Act::MkDir => self.known.directory(path.clone()),
            Act::Remove => {
                if let Some(parent) = path.parent() {
                    self.known.directory(parent);
                }
                renamed::unlink(shell, files, path);
            }
            Act::SetStat(_) => renamed::moved(shell, files, path, path),
            Act::Stat
            | Act::StatVfs
            | Act::ReadLink
            | Act::OpenDirectory
            | Act::Open { .. }
            | Act::Copy(_)
            | Act::Check(_)
            | Act::Close(_) => {}
        }
        let home = &shell.user.config().home;
        log_change(home, shell.now(), request, confirmed);
    }

    /// Gives a file that is being written its new name, and what waits in line for its handle.
    pub(super) fn written_moved(
        &mut self,
        shell: &mut Shell,
        files: &mut Files,
        request: &PathRequest,
        to: NewPlace,
    ) {
        let (handle, Some(path)) = (to.handle, request.act.new_name()) else {
            return;
        };
        let is_free = to.condition == Precondition::IfNoneMatch;
        renamed::unlink(shell, files, path);
        renamed::written_moved(shell, files, path, to);
        for request in &mut self.waiting {
            request.follow(handle, path, is_free);
        }
        let bytes = self.waiting.iter().map(PathRequest::path_bytes);
        self.bytes_waiting = bytes.fold(0, usize::saturating_add);
        for running in &mut self.ordered {
            if running.request.follow(handle, path, is_free) {
                let names = renamed::names_of(files, &running.request);
                self.order.renamed(running.ticket, names);
            }
        }
    }

    /// Notes what an answer shows that needed no look of its own.
    pub(super) fn note_attributes(
        &mut self,
        request: &PathRequest,
        reply: &Reply,
        by_listing: bool,
    ) {
        let Reply::Attrs(attrs) = reply else {
            return;
        };
        if attrs.names_directory() {
            self.known.directory(request.path.clone());
        } else {
            self.note_look(request, false, by_listing);
        }
    }

    /// Says what was seen under a name a moment ago, and whether its directory is worth a look.
    pub(super) fn lately(
        &mut self,
        request: &PathRequest,
        target: &Target,
        now: Instant,
    ) -> Lately {
        match &request.act {
            // A file mapping is one object: nobody looks beside it.
            Act::Open { mode, .. }
                if mode.puts_new() && matches!(target, Target::Object { .. }) =>
            {
                self.known.before_open(&request.path, now)
            }
            Act::Open { .. }
            | Act::Stat
            | Act::SetStat(_)
            | Act::StatVfs
            | Act::ReadLink
            | Act::OpenDirectory
            | Act::Remove
            | Act::MkDir
            | Act::RmDir
            | Act::Rename { .. }
            | Act::Copy(_)
            | Act::Check(_)
            | Act::Close(_) => self.known.lately(&request.path, now),
        }
    }

    /// Notes that a request is done: its names may have changed.
    pub(super) fn ended(&mut self, shell: &Shell, ticket: Ticket) {
        for name in self.order.done(ticket) {
            self.known.changed(&name, shell.now());
        }
    }

    /// Takes the names of a directory.
    pub(crate) fn listed(&mut self, directory: VirtualPath, asked: Instant, names: Names) {
        self.known.listed(directory, asked, names);
    }

    pub(super) fn note_stat(
        &mut self,
        shell: &Shell,
        request: &PathRequest,
        (stated, made): (Stated, ChangesMade),
        by_listing: bool,
    ) {
        let path = &request.path;
        if stated.attrs.names_directory() {
            self.expects = Looks::Both;
            return self.known.directory(path.clone());
        }
        self.expects = Looks::FileFirst;
        // Whoever goes on with an upload has to hear what is there now.
        if !may_be_partial(shell, path) {
            self.known.stated(JustStated {
                path: path.clone(),
                operation: request.pending.operation(),
                asked: request.pending.asked(),
                made,
                attrs: stated.attrs,
            });
        }
        self.note_look(request, false, by_listing);
        if let Some(sums) = stated.sums {
            let asked = request.pending.asked();
            self.known.saw_sums(path.clone(), asked, sums);
        }
    }

    /// Answers a STAT that asks what the LSTAT before it was told.
    pub(super) fn stated_again(
        &mut self,
        shell: &Shell,
        request: &PathRequest,
        location: &Location,
    ) -> Option<PathAnswer> {
        let changes = &shell.environment.changes;
        let attrs = self.known.stated_again(request, changes, location)?;
        Some(PathAnswer::Listed(attrs))
    }

    /// Returns what a listing showed just now of a file, where STAT shows the same.
    pub(super) fn listed_file(&self, shell: &Shell, request: &PathRequest) -> Option<ListedFile> {
        let is_same = match shell.environment.stat_times {
            StatTimes::Kept => false,
            // Whoever goes on with an upload has to hear what is there now.
            StatTimes::Store => {
                request.ending == Ending::Name && !may_be_partial(shell, &request.path)
            }
        };
        match self.known.shown(&request.path, shell.now())? {
            Shown::File(file) => Some(file).filter(|_| is_same),
            Shown::Directory | Shown::Nothing => None,
        }
    }

    /// Says what was seen just now of a file that is opened for reading. Of one that was not seen,
    /// it is expected to be like the last one.
    pub(super) fn foreseen(
        &self,
        request: &PathRequest,
        shown: Option<Shown>,
        now: Instant,
    ) -> Foreseen {
        if !matches!(&request.act, Act::Open { mode, .. } if !mode.write) {
            return Foreseen::default();
        }
        Foreseen {
            sums: self.known.sums_of(&request.path, now).cloned(),
            is_small: shown.map_or(self.opens_small_files, Shown::is_small_file),
        }
    }

    /// Notes that nothing was found under a name.
    pub(super) fn note_missing(&mut self, request: &PathRequest, by_listing: bool) {
        // That no directory is there says nothing of a file.
        let nothing = request.ending == Ending::Name;
        self.note_look(request, nothing, by_listing);
        if nothing && matches!(request.act, Act::Stat) {
            self.expects = Looks::NothingFirst;
        }
    }

    pub(super) fn note_look(&mut self, request: &PathRequest, nothing: bool, by_listing: bool) {
        if matches!(request.act, Act::Stat) && !by_listing {
            let asked = request.pending.asked();
            self.known
                .no_directory(request.path.clone(), asked, nothing);
        }
    }
}

/// Says whether files at a path may be kept whose client disconnected.
fn may_be_partial(shell: &Shell, path: &VirtualPath) -> bool {
    let otherwise = shell.environment.partial_uploads;
    shell.user.config().partial_uploads_at(path, otherwise) != PartialUploads::Discard
}
