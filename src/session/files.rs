//! The open files and directories of a session, and what is asked of them by their handles.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::budget::{Charge, Share};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics::Metrics;
use crate::sftp::{Attributes, HandleId, Payload, Pending, Reply, Status};
use crate::storage::{ListPage, ListQuery, Location, ObjectMeta};
use crate::transfer::WriteFile;
use crate::transfer::read_file::ReadHeard;
use crate::transfer::write_file::{Awaited, Heard};
use crate::vfs::{Access, VirtualPath};

use super::act::ForWriting;
use super::list::Listing;
use super::listing::Directory;
use super::open_file::OpenFile;
use super::opening::OpenedObject;
use super::order::Ticket;
use super::reading::{ReadPlace, Reading};
use super::shell::Shell;
use super::status::INVALID_HANDLE;
use super::unsettled::{Settling, Unsettled};
use super::writing::{Place, Writing};

/// Handles by their numbers, which are never used twice in a session.
#[derive(Debug)]
pub(crate) struct Files {
    pub(super) open: BTreeMap<HandleId, Handle>,
    next: u32,
    metrics: Arc<Metrics>,
    /// When idle readers were looked for.
    rested_at: Instant,
    /// CLOSEs that wait for READs.
    closes_held: usize,
}

/// What a handle stands for.
#[derive(Debug)]
pub(super) enum Handle {
    Directory(Directory),
    File(Box<OpenFile>),
}

// ---- the table ----

impl Files {
    pub(crate) const fn new(metrics: Arc<Metrics>, now: Instant) -> Self {
        Self {
            open: BTreeMap::new(),
            next: 0,
            metrics,
            rested_at: now,
            closes_held: 0,
        }
    }

    fn insert(&mut self, handle: Handle) -> HandleId {
        self.metrics.handle_opened();
        let id = self.next_id();
        self.next = self.next.wrapping_add(1);
        self.open.insert(id, handle);
        id
    }

    const fn next_id(&self) -> HandleId {
        HandleId(self.next)
    }

    fn remove(&mut self, id: HandleId) -> Option<Handle> {
        let handle = self.open.remove(&id)?;
        self.metrics.handle_closed();
        Some(handle)
    }

    /// Returns a handle whose CLOSE did not come yet.
    pub(super) fn usable(&mut self, id: HandleId) -> Option<&mut Handle> {
        self.open.get_mut(&id).filter(|handle| match handle {
            Handle::File(file) => !file.is_close_asked(),
            Handle::Directory(_) => true,
        })
    }

    pub(crate) fn is_usable(&mut self, id: HandleId) -> bool {
        self.usable(id).is_some()
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn ids(&self) -> Vec<HandleId> {
        self.open.keys().copied().collect()
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &OpenFile> {
        self.open.values().filter_map(|handle| match handle {
            Handle::File(file) => Some(&**file),
            Handle::Directory(_) => None,
        })
    }

    /// Returns the places of the files that are being written and will be seen, with their sizes.
    pub(super) fn uploads(&self) -> impl Iterator<Item = (&Place, u64)> {
        self.files().filter_map(|file| {
            let writing = file.writing.as_ref()?.file();
            let appears = writing.will_appear();
            appears.then(|| (&file.place, writing.size()))
        })
    }

    /// Returns the file that is written under a path and will be seen, as STAT shows it.
    pub(crate) fn upload_at(&self, shell: &Shell, path: &VirtualPath) -> Option<Attributes> {
        let appears = |file: &&OpenFile| file.own().is_some_and(WriteFile::will_appear);
        let mut files = self.files().filter(appears);
        files
            .find(|file| file.place.path == *path)?
            .attributes(shell)
    }

    /// Returns a file that is written under a path and may be changed still.
    pub(crate) fn written_at(&self, path: &VirtualPath) -> Option<HandleId> {
        let mut files = self.files();
        let file = files.find(|file| {
            let writing = file.writing.as_ref().map(Writing::file);
            let open = writing.is_some_and(|own| own.will_appear() && !own.is_closing());
            open && file.place.path == *path
        })?;
        Some(file.place.handle)
    }

    /// Says whether a file is being written at a path or below it.
    pub(crate) fn is_written_under(&self, path: &VirtualPath) -> bool {
        self.uploads()
            .any(|(place, _)| place.path.below(path).is_some())
    }

    /// Returns names and sizes of the uploads that stand in a directory.
    pub(crate) fn uploads_in(&self, directory: &VirtualPath) -> Vec<(String, u64)> {
        let rows = self.uploads().filter_map(|(place, size)| {
            let inside = place.path.parent().as_ref() == Some(directory);
            let name = place.path.name().filter(|_| inside)?;
            Some((name.to_owned(), size))
        });
        rows.collect()
    }

    /// Returns how many WRITE bytes wait for memory.
    pub(crate) fn parked_bytes(&self) -> usize {
        let writing = self.files().filter_map(|file| file.writing.as_ref());
        writing.map(|writing| writing.file().parked_bytes()).sum()
    }

    /// Returns how many WRITEs wait for memory.
    pub(crate) fn parked_writes(&self) -> usize {
        let writing = self.files().filter_map(|file| file.writing.as_ref());
        writing.map(|writing| writing.file().parked_writes()).sum()
    }

    /// Returns when the next one wants to hear of the time.
    pub(crate) fn deadline(&self, shell: &Shell) -> Option<Instant> {
        let rest = self
            .rested_at
            .checked_add(shell.environment.limits.slot_idle_timeout);
        self.files().filter_map(|file| file.deadline(rest)).min()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        for _ in &self.open {
            self.metrics.handle_closed();
        }
    }
}

// ---- what is opened, what comes back, and the end ----

impl Files {
    pub(crate) fn open_directory(&mut self, listing: Box<Listing>) -> HandleId {
        self.insert(Handle::Directory(Directory::new(listing)))
    }

    pub(crate) fn open_file(
        &mut self,
        shell: &mut Shell,
        path: VirtualPath,
        location: Location,
        object: Option<(OpenedObject, Access)>,
        for_writing: Option<(ForWriting, Attributes)>,
    ) -> HandleId {
        let readable = object.as_ref().map(|(_, access)| *access);
        let writable = for_writing.as_ref().map(|(found, _)| found.access);
        let place = Place {
            handle: self.next_id(),
            path,
            location,
            access: writable.or(readable).unwrap_or(Access::Read),
        };
        let at = ReadPlace {
            place: &place,
            own: None,
        };
        let reading = object.map(|(object, _)| Reading::new(shell, at, object));
        let writing = for_writing.map(|(found, attrs)| Writing::new(shell, &place, found, &attrs));
        self.insert(Handle::File(Box::new(OpenFile {
            place,
            reading,
            writing,
            closing: None,
            held_close: None,
        })))
    }

    /// Gives a file another size, as OPEN, FSETSTAT and CLOSE would. Returns the place in the
    /// order if that was answered.
    pub(crate) fn resize(
        &mut self,
        shell: &mut Shell,
        (path, location): (VirtualPath, Location),
        writing: (ForWriting, Attributes),
        size: u64,
        (pending, ticket): (Pending, Ticket),
    ) -> Option<Ticket> {
        let handle = self.open_file(shell, path, location, None, Some(writing));
        self.hear_write(shell, handle, Heard::Resize(size));
        self.close_in_turn(shell, handle, pending, ticket)
    }

    pub(crate) fn hear_read(&mut self, shell: &mut Shell, handle: HandleId, heard: ReadHeard) {
        if let Some(Handle::File(file)) = self.open.get_mut(&handle) {
            file.hear_read(shell, heard);
        }
    }

    /// Tells a file that is written what happened. Returns the place in the order of its CLOSE
    /// when that was answered.
    pub(crate) fn hear_write(
        &mut self,
        shell: &mut Shell,
        handle: HandleId,
        heard: Heard,
    ) -> Option<Ticket> {
        let Some(Handle::File(file)) = self.open.get_mut(&handle) else {
            return None;
        };
        let writing = file.writing.as_mut()?;
        let is_over = writing.hear(shell, &file.place, heard);
        let ticket = file.closing.filter(|_| is_over);
        if is_over {
            self.close_now(shell, handle, INVALID_HANDLE);
        }
        ticket
    }

    /// Gives a CLOSE its turn.
    pub(crate) fn close_in_turn(
        &mut self,
        shell: &mut Shell,
        handle: HandleId,
        pending: Pending,
        ticket: Ticket,
    ) -> Option<Ticket> {
        if let Some(Handle::File(file)) = self.open.get_mut(&handle) {
            file.closing = Some(ticket);
            if file.keeps_for_reads() {
                file.held_close = Some((pending, shell.now()));
                self.closes_held = self.closes_held.saturating_add(1);
                return None;
            }
        }
        self.hear_write(shell, handle, Heard::Close(pending))
    }

    /// Goes on with CLOSEs that waited for READs. Returns those that were answered.
    pub(crate) fn close_read(&mut self, shell: &mut Shell, at_once: bool) -> Vec<Ticket> {
        let mut closed = Vec::new();
        if self.closes_held == 0 {
            return closed;
        }
        let now = shell.now();
        for id in self.ids() {
            if let Some(Handle::File(file)) = self.open.get_mut(&id)
                && let Some(pending) = file.take_close(now, at_once)
            {
                self.closes_held = self.closes_held.saturating_sub(1);
                closed.extend(self.hear_write(shell, id, Heard::Close(pending)));
            }
        }
        closed
    }

    pub(crate) fn page_arrived(
        &mut self,
        shell: &mut Shell,
        handle: HandleId,
        query: ListQuery,
        outcome: crate::storage::Result<ListPage>,
    ) {
        if let Some(Handle::Directory(directory)) = self.open.get_mut(&handle) {
            directory.page_arrived(shell, handle, query, outcome);
        }
    }

    pub(crate) fn page_memory(&mut self, shell: &mut Shell, handle: HandleId, charge: Charge) {
        if let Some(Handle::Directory(directory)) = self.open.get_mut(&handle) {
            directory.memory(shell, handle, charge);
        }
    }

    /// Goes on where there was no room for answers.
    pub(crate) fn answer_more(&mut self, shell: &mut Shell) {
        for (id, handle) in &mut self.open {
            match handle {
                Handle::File(file) => file.go_on_reading(shell),
                Handle::Directory(directory) => directory.go_on(shell, *id),
            }
        }
    }

    /// Tells those whose time has come. Returns the CLOSEs that were answered.
    pub(crate) fn time(&mut self, shell: &mut Shell, held: bool) -> Vec<Ticket> {
        let now = shell.now();
        self.rest(shell, now);
        let uploads = Arc::clone(shell.environment.budget.uploads());
        let stuck = uploads.quiet_for(now) >= shell.environment.limits.gate_timeout;
        let mut closed = Vec::new();
        for id in self.ids() {
            let Some(Handle::File(file)) = self.open.get_mut(&id) else {
                continue;
            };
            let due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
            if due(file.reading.as_ref().and_then(|r| r.file().deadline())) {
                file.go_on_reading(shell);
            }
            if file
                .writing
                .as_ref()
                .is_some_and(|w| due(w.file().deadline()))
            {
                let heard = Heard::Time {
                    // Asked for each: the one before may have given enough back.
                    awaited: awaited(&shell.user_session.memory().uploads),
                    held,
                    stuck,
                };
                closed.extend(self.hear_write(shell, id, heard));
            }
        }
        closed
    }

    /// Gives memory back that idle readers keep while others read.
    fn rest(&mut self, shell: &mut Shell, now: Instant) {
        let idle = shell.environment.limits.slot_idle_timeout;
        let Some(then) = now.checked_sub(idle).filter(|then| self.rested_at <= *then) else {
            return;
        };
        self.rested_at = now;
        if !shell.environment.budget.read_ahead_is_crowded() {
            return;
        }
        for handle in self.open.values_mut() {
            if let Handle::File(file) = handle
                && let Some(reading) = &file.reading
                && reading.file().is_idle_since(then)
            {
                file.hear_read(shell, ReadHeard::Rest);
            }
        }
    }

    /// Takes what was found under the new name of a file that is being read.
    pub(crate) fn followed(
        &mut self,
        shell: &mut Shell,
        handle: HandleId,
        location: &Location,
        outcome: Result<ObjectMeta, Status>,
    ) {
        // It may have been renamed again since.
        if let Some(Handle::File(file)) = self.open.get_mut(&handle)
            && file.place.location == *location
        {
            file.followed(shell, outcome);
        }
    }

    /// Keeps what can be kept where the client is gone, as much as the user may have: first the
    /// files whose CLOSE came, then what came in sequence of others.
    pub(crate) fn keep(
        &mut self,
        shell: &mut Shell,
        turns: &Arc<Semaphore>,
        only_partial: bool,
    ) -> Vec<(HandleId, OwnedSemaphorePermit)> {
        let mut kept = Vec::new();
        let mut ids = self.ids();
        let closed = |id: &HandleId| match self.open.get(id) {
            Some(Handle::File(file)) => file.is_close_asked(),
            Some(Handle::Directory(_)) | None => false,
        };
        ids.sort_by_key(|id| !closed(id));
        for id in ids {
            let Some(Handle::File(file)) = self.open.get(&id) else {
                continue;
            };
            let own = file.own().filter(|_| !only_partial || file.keeps_partial());
            let closed = own.is_some_and(WriteFile::may_end_alone);
            let partial = own.is_some_and(WriteFile::may_be_kept) && !file.is_written_elsewhere();
            let turn = Arc::clone(turns).try_acquire_owned();
            match turn.ok().filter(|_| closed || partial) {
                Some(turn) => {
                    kept.push((id, turn));
                    if partial {
                        self.hear_write(shell, id, Heard::Vanished);
                    }
                }
                None => {
                    self.hear_write(shell, id, Heard::SessionOver);
                }
            }
        }
        kept
    }

    /// Says whether something is kept of a file that is written, if the client vanishes.
    pub(crate) fn keeps_partial(&self) -> bool {
        self.files().any(OpenFile::keeps_partial)
    }

    /// Notes for all sessions that the outcome of such files is open.
    pub(crate) fn unsettled(&self, all: &Unsettled) -> Vec<(HandleId, Settling)> {
        let files = self.files().filter(|file| file.keeps_partial());
        let places = files.map(|file| &file.place);
        let begin = |place: &Place| (place.handle, all.begin(&place.location));
        places.map(begin).collect()
    }

    /// Tells the files that are written that their client is gone.
    pub(crate) fn client_gone(&mut self, shell: &mut Shell) {
        for id in self.ids() {
            self.hear_write(shell, id, Heard::ClientGone);
        }
    }

    /// Says whether a handle still stands for something.
    pub(crate) fn is_open(&self, id: HandleId) -> bool {
        self.open.contains_key(&id)
    }

    /// Says whether the CLOSE of a file that was written is at its turn.
    pub(crate) fn is_closing(&self, id: HandleId) -> bool {
        let mut files = self.files().filter(|file| file.place.handle == id);
        files.any(|file| file.closing.is_some())
    }

    /// Says whether any file is being written.
    pub(crate) fn is_writing(&self) -> bool {
        self.files().any(|file| file.writing.is_some())
    }

    /// Ends what the client left open: nothing of it becomes visible.
    pub(crate) fn session_over(&mut self, shell: &mut Shell) {
        for id in self.ids() {
            self.hear_write(shell, id, Heard::SessionOver);
        }
        for handle in self.open.values_mut() {
            if let Handle::File(file) = handle {
                file.stop_reading(shell, INVALID_HANDLE);
            }
        }
    }

    fn close_now(&mut self, shell: &mut Shell, handle: HandleId, status: Status) {
        match self.remove(handle) {
            Some(Handle::File(mut file)) => file.stop_reading(shell, status),
            Some(Handle::Directory(directory)) => directory.close(shell, status),
            None => {}
        }
    }
}

// ---- requests ----

impl Files {
    pub(crate) fn read(
        &mut self,
        shell: &mut Shell,
        pending: Pending,
        handle: HandleId,
        offset: u64,
        length: u32,
    ) {
        match self.usable(handle) {
            Some(Handle::File(file)) => file.read(shell, pending, offset, length),
            Some(Handle::Directory(_)) | None => shell.answers.status(pending, INVALID_HANDLE),
        }
    }

    pub(crate) fn write(
        &mut self,
        shell: &mut Shell,
        pending: Pending,
        handle: HandleId,
        offset: u64,
        payload: Payload,
    ) {
        match self.usable(handle) {
            Some(Handle::File(file)) if file.writing.is_some() => {
                let heard = Heard::Write {
                    pending,
                    offset,
                    payload,
                };
                // A WRITE answers no CLOSE.
                self.hear_write(shell, handle, heard);
            }
            Some(Handle::File(_) | Handle::Directory(_)) | None => {
                shell.answers.status(pending, INVALID_HANDLE);
            }
        }
    }

    /// Closes what was read. A file that was written has its turn among the requests on its name:
    /// then its path comes back with the request.
    pub(crate) fn close(
        &mut self,
        shell: &mut Shell,
        pending: Pending,
        handle: HandleId,
    ) -> Option<(Pending, VirtualPath)> {
        match self.usable(handle) {
            // Or a second CLOSE of a file whose first one is not answered yet.
            None => {
                shell.answers.status(pending, INVALID_HANDLE);
                None
            }
            Some(Handle::File(file)) if file.writing.is_some() => {
                let path = file.place.path.clone();
                self.hear_write(shell, handle, Heard::CloseAsked);
                Some((pending, path))
            }
            Some(Handle::File(_) | Handle::Directory(_)) => {
                self.close_now(shell, handle, INVALID_HANDLE);
                shell.answers.status(pending, Status::OK);
                None
            }
        }
    }

    pub(crate) fn fstat(&mut self, shell: &mut Shell, pending: Pending, handle: HandleId) {
        let attrs = self.usable(handle).and_then(|handle| match handle {
            Handle::Directory(directory) => Some(directory.attributes()),
            Handle::File(file) => file.attributes(shell),
        });
        match attrs {
            Some(attrs) => shell.answers.reply(pending, &Reply::Attrs(attrs)),
            None => shell.answers.status(pending, INVALID_HANDLE),
        }
    }

    pub(crate) fn fsetstat(
        &mut self,
        shell: &mut Shell,
        pending: Pending,
        handle: HandleId,
        attrs: &Attributes,
    ) {
        let status = match self.usable(handle) {
            Some(Handle::File(file)) if file.writing.is_some() => {
                return self.set_attributes(shell, pending, handle, attrs);
            }
            Some(Handle::File(_) | Handle::Directory(_)) if attrs.size.is_some() => NOT_FOR_WRITING,
            Some(Handle::File(_) | Handle::Directory(_)) => Status::OK,
            None => INVALID_HANDLE,
        };
        shell.answers.status(pending, status);
    }

    /// Gives attributes to a file that is written, also by its name: its CLOSE may have come.
    pub(crate) fn set_attributes(
        &mut self,
        shell: &mut Shell,
        pending: Pending,
        handle: HandleId,
        attrs: &Attributes,
    ) {
        let heard = Heard::Attributes {
            pending,
            size: attrs.size,
            given: attrs.given(),
        };
        // Attributes answer no CLOSE.
        self.hear_write(shell, handle, heard);
    }

    /// Nothing is visible, and nothing lost, before CLOSE: what arrived is safe only then.
    pub(crate) fn fsync(&mut self, shell: &mut Shell, pending: Pending, handle: HandleId) {
        let status = match self.usable(handle) {
            Some(Handle::File(file)) => {
                let failed = file.writing.as_ref().and_then(|w| w.file().failed());
                failed.unwrap_or(Status::OK)
            }
            Some(Handle::Directory(_)) => Status::OK,
            None => INVALID_HANDLE,
        };
        shell.answers.status(pending, status);
    }

    pub(crate) fn readdir(&mut self, shell: &mut Shell, pending: Pending, handle: HandleId) {
        match self.open.get_mut(&handle) {
            Some(Handle::Directory(directory)) => directory.ask(shell, handle, pending),
            Some(Handle::File(_)) | None => shell.answers.status(pending, INVALID_HANDLE),
        }
    }
}

/// Says who waits for memory of uploads, seen by a user.
fn awaited(uploads: &Share) -> Awaited {
    if uploads.has_too_much() {
        Awaited::OthersWithLess
    } else if uploads.pool().waiting() > 0 {
        Awaited::Somebody
    } else {
        Awaited::Nobody
    }
}

pub(super) const NOT_FOR_WRITING: Status = Status::denied("The file is not open for writing");
