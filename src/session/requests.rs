//! Where each request goes: answered at once, to its handle, or in line with other paths.

use std::time::Instant;

use bytes::Bytes;

use crate::limits;
use crate::sftp::{Attributes, Extension, HandleId, OpenMode, Reply, Request, RequestId, Status};
use crate::vfs::{EntryType, PathError, VirtualPath};

use super::actor::Session;
use super::handles::Handle;
use super::names::attributes_of;
use super::paths::Act;
use super::plan::{directory_attributes, file_attributes};
use super::status::{INVALID_HANDLE, OVER_LIMIT};

impl Session {
    /// Takes one request; every path through here ends in exactly one answer.
    pub(crate) fn request(&mut self, id: RequestId, request: Request) {
        let asked = self.environment.clock.now();
        let operation = request.operation();
        match request {
            Request::Read {
                handle,
                offset,
                length,
            } => self.read(id, handle, offset, length, asked),
            Request::Write {
                handle,
                offset,
                payload,
            } => self.write(id, handle, offset, payload),
            Request::Close { handle } => self.close(id, handle, asked),
            Request::FStat { handle } => self.fstat(id, handle, asked),
            Request::FSetStat { handle, attrs } => self.fsetstat(id, handle, &attrs, asked),
            Request::ReadDir { handle } => self.readdir(id, handle, asked),
            Request::RealPath { path } => self.realpath(id, operation, &path, asked),
            Request::Open {
                path,
                pflags,
                attrs,
            } => match OpenMode::from_pflags(pflags) {
                Some(mode) => self.path(id, operation, asked, &path, Act::Open { mode, attrs }),
                None => self.refuse(id, operation, asked, NO_MODE),
            },
            Request::Stat { path } | Request::LStat { path } => {
                self.path(id, operation, asked, &path, Act::Stat);
            }
            Request::SetStat { path, attrs } => {
                self.path(id, operation, asked, &path, Act::SetStat(attrs));
            }
            Request::OpenDir { path } => self.path(id, operation, asked, &path, Act::OpenDirectory),
            Request::Remove { path } => self.path(id, operation, asked, &path, Act::Remove),
            Request::MkDir { path } => self.path(id, operation, asked, &path, Act::MkDir),
            Request::RmDir { path } => self.path(id, operation, asked, &path, Act::RmDir),
            Request::Rename { from, to } => self.rename(id, operation, asked, &from, &to, false),
            Request::ReadLink | Request::SymLink => {
                self.refuse(id, operation, asked, Status::OP_UNSUPPORTED);
            }
            Request::Extended(extension) => self.extended(id, operation, asked, extension),
        }
    }

    fn extended(
        &mut self,
        id: RequestId,
        operation: &'static str,
        asked: Instant,
        extension: Extension,
    ) {
        match extension {
            Extension::Limits => {
                let handles = self.environment.limits.handles_per_session_max;
                let reply = Reply::Limits {
                    handles: u64::try_from(handles).unwrap_or(u64::MAX),
                    read: u64::from(limits::READ_BYTES_MAX),
                    write: u64::from(limits::WRITE_BYTES_MAX),
                };
                self.reply(id, operation, asked, &reply);
            }
            Extension::PosixRename { from, to } => {
                self.rename(id, operation, asked, &from, &to, true);
            }
            Extension::StatVfs { path } => self.path(id, operation, asked, &path, Act::StatVfs),
            Extension::FStatVfs { handle } => match self.handles.usable(handle) {
                Some(_) => self.reply(id, operation, asked, &Reply::StatVfs),
                None => self.refuse(id, operation, asked, INVALID_HANDLE),
            },
            Extension::FSync { handle } => self.fsync(id, handle, asked),
            Extension::LSetStat { path, attrs } => {
                self.path(id, operation, asked, &path, Act::SetStat(attrs));
            }
            Extension::ExpandPath { path } => {
                let path = expand_tilde(&path, self.home(), self.user.login_name());
                match path {
                    Some(path) => self.realpath(id, operation, &path, asked),
                    None => self.refuse(id, operation, asked, Status::NO_SUCH_FILE),
                }
            }
            Extension::HomeDirectory { user } => {
                // An empty name is the user's own; nobody else's is told.
                if user.is_empty() || *user == *self.user.login_name().as_bytes() {
                    let home = Bytes::copy_from_slice(self.home().as_str().as_bytes());
                    self.reply(id, operation, asked, &Reply::Path(home));
                } else {
                    self.refuse(id, operation, asked, Status::NO_SUCH_FILE);
                }
            }
            Extension::Unknown { name } => {
                tracing::debug!(name = %name.escape_ascii(), "unknown extension");
                self.refuse(id, operation, asked, Status::OP_UNSUPPORTED);
            }
        }
    }

    fn reply(&mut self, id: RequestId, operation: &'static str, asked: Instant, reply: &Reply) {
        self.out.reply(id, reply);
        self.answered(operation, asked, Status::OK.code);
    }

    fn home(&self) -> &VirtualPath {
        self.user.config().home.landing()
    }

    fn resolve(&self, raw: &[u8]) -> Result<VirtualPath, Status> {
        VirtualPath::resolve(self.home(), raw).map_err(status_of_path)
    }

    fn path(
        &mut self,
        id: RequestId,
        operation: &'static str,
        asked: Instant,
        raw: &[u8],
        act: Act,
    ) {
        match self.resolve(raw) {
            Ok(path) => self.ask_path(id, operation, asked, path, act),
            Err(status) => self.refuse(id, operation, asked, status),
        }
    }

    fn rename(
        &mut self,
        id: RequestId,
        operation: &'static str,
        asked: Instant,
        from: &[u8],
        to: &[u8],
        replace: bool,
    ) {
        match self.resolve(to) {
            Ok(to) => self.path(id, operation, asked, from, Act::Rename { to, replace }),
            Err(status) => self.refuse(id, operation, asked, status),
        }
    }

    fn realpath(&mut self, id: RequestId, operation: &'static str, raw: &[u8], asked: Instant) {
        match self.resolve(raw) {
            Ok(path) => {
                let path = Bytes::copy_from_slice(path.as_str().as_bytes());
                self.reply(id, operation, asked, &Reply::Path(path));
            }
            Err(status) => self.refuse(id, operation, asked, status),
        }
    }

    fn read(&mut self, id: RequestId, handle: HandleId, offset: u64, length: u32, asked: Instant) {
        let Some(Handle::File { reading, writing }) = self.handles.usable(handle) else {
            return self.refuse(id, "read", asked, INVALID_HANDLE);
        };
        if let Some(writing) = writing
            .as_ref()
            .filter(|w| w.is_written() || reading.is_none())
        {
            let status = if writing.mode.read {
                None
            } else {
                Some(NOT_FOR_READING)
            };
            let answer = status.map_or_else(|| own_bytes(writing, offset, length), Err);
            return match answer {
                Ok(bytes) => {
                    self.out.data_without_memory(id, bytes);
                    self.answered("read", asked, Status::OK.code);
                }
                Err(status) => self.refuse(id, "read", asked, status),
            };
        }
        match reading {
            Some(reading) => {
                reading.ask(id, offset, length, asked);
                self.advance_reading(handle);
            }
            None => self.refuse(id, "read", asked, INVALID_HANDLE),
        }
    }

    fn close(&mut self, id: RequestId, handle: HandleId, asked: Instant) {
        let writer = match self.handles.get_mut(handle) {
            Some(Handle::File {
                writing: Some(writing),
                ..
            }) if !writing.close_asked => {
                writing.close_asked = true;
                Some(writing.path.clone())
            }
            // A second CLOSE of a file whose first one is not answered yet.
            None
            | Some(Handle::File {
                writing: Some(_), ..
            }) => {
                return self.refuse(id, "close", asked, INVALID_HANDLE);
            }
            Some(Handle::File { writing: None, .. } | Handle::Directory(_)) => None,
        };
        if let Some(path) = writer {
            return self.ask_path(id, "close", asked, path, Act::Close(handle));
        }
        match self.handles.remove(handle) {
            Some(Handle::File {
                reading: Some(mut reading),
                ..
            }) => {
                self.report_download(&reading);
                self.refuse_unread(&mut reading);
            }
            Some(Handle::Directory(listing)) => {
                for (id, asked) in listing.pending {
                    self.refuse(id, "readdir", asked, INVALID_HANDLE);
                }
            }
            Some(Handle::File { reading: None, .. }) | None => {}
        }
        self.refuse(id, "close", asked, Status::OK);
    }

    fn fstat(&mut self, id: RequestId, handle: HandleId, asked: Instant) {
        let now = crate::clock::unix_seconds(self.environment.clock.wall());
        let attrs = match self.handles.usable(handle) {
            Some(Handle::File {
                writing: Some(writing),
                ..
            }) => file_attributes(writing.access, writing.size(), now),
            Some(Handle::File {
                reading: Some(reading),
                ..
            }) => attributes_of(&reading.meta, reading.access),
            Some(Handle::Directory(listing)) => directory_attributes(listing.access()),
            Some(Handle::File {
                reading: None,
                writing: None,
            })
            | None => {
                return self.refuse(id, "fstat", asked, INVALID_HANDLE);
            }
        };
        self.reply(id, "fstat", asked, &Reply::Attrs(attrs));
    }

    fn fsetstat(&mut self, id: RequestId, handle: HandleId, attrs: &Attributes, asked: Instant) {
        let file_bytes_max = self.user.config().limits.file_bytes;
        let too_large = attrs.size.zip(file_bytes_max);
        let status = match self.handles.usable(handle) {
            Some(_) if too_large.is_some_and(|(size, max)| size > max) => OVER_LIMIT,
            Some(Handle::File {
                writing: Some(writing),
                ..
            }) => writing.set_attributes(attrs).err().unwrap_or(Status::OK),
            Some(Handle::File { .. } | Handle::Directory(_)) if attrs.size.is_some() => {
                NOT_FOR_WRITING
            }
            Some(Handle::File { .. } | Handle::Directory(_)) => Status::OK,
            None => INVALID_HANDLE,
        };
        self.refuse(id, "fsetstat", asked, status);
    }

    /// Nothing is visible, and nothing lost, before CLOSE: what arrived is safe only then.
    fn fsync(&mut self, id: RequestId, handle: HandleId, asked: Instant) {
        let status = match self.handles.usable(handle) {
            Some(Handle::File {
                writing: Some(writing),
                ..
            }) => writing.failed.unwrap_or(Status::OK),
            Some(Handle::File { .. } | Handle::Directory(_)) => Status::OK,
            None => INVALID_HANDLE,
        };
        self.refuse(id, "fsync", asked, status);
    }

    fn readdir(&mut self, id: RequestId, handle: HandleId, asked: Instant) {
        match self.handles.get_mut(handle) {
            Some(Handle::Directory(listing)) => {
                listing.pending.push_back((id, asked));
                self.advance_listing(handle);
            }
            Some(Handle::File { .. }) | None => self.refuse(id, "readdir", asked, INVALID_HANDLE),
        }
    }

    /// Tells a person where files can be put.
    pub(super) fn explain_virtual(&mut self, path: &VirtualPath, home: &crate::vfs::HomeDirectory) {
        if self.lane_explained() {
            return;
        }
        let parent = path.parent().unwrap_or_else(VirtualPath::root);
        let directories = home.mappings().iter();
        let entries: Vec<_> = directories
            .filter(|mapping| mapping.entry_type == EntryType::Directory)
            .map(|m| m.entry.as_str())
            .take(8)
            .collect();
        self.out.stderr(format!(
            "\"{parent}\" is virtual: put files below {}\n",
            entries.join(", ")
        ));
    }

    fn lane_explained(&mut self) -> bool {
        let explained = self.explanations >= EXPLANATIONS_MAX;
        self.explanations = self.explanations.saturating_add(1);
        explained
    }
}

/// Returns bytes of a file that is being written, as long as they are still here.
fn own_bytes(writing: &super::writing::Writing, offset: u64, length: u32) -> Result<Bytes, Status> {
    let end = writing.size();
    if offset >= end {
        return Err(Status::EOF);
    }
    // What was not written, or waits for its place, is not here either.
    let length = u64::from(length).min(end.saturating_sub(offset));
    // A READ may end at the border of a part: a short answer is a right one.
    let here = |length| {
        writing
            .upload
            .read(offset, length)
            .map(Bytes::copy_from_slice)
    };
    let to_border = writing.upload.bytes_to_border(offset).min(length);
    if writing.must_park(offset, to_border) {
        return Err(NOT_HERE);
    }
    here(to_border).ok_or(NOT_HERE)
}

/// `~` and `~/…` are the landing directory; nobody else's home is known here.
fn expand_tilde(path: &[u8], home: &VirtualPath, user: &str) -> Option<Bytes> {
    let Some(rest) = path.strip_prefix(b"~") else {
        return Some(Bytes::copy_from_slice(path));
    };
    let (name, below) = match rest.iter().position(|byte| *byte == b'/') {
        Some(at) => rest.split_at_checked(at)?,
        None => (rest, &b""[..]),
    };
    let own = name.is_empty() || name == user.as_bytes();
    own.then(|| Bytes::from([home.as_str().as_bytes(), b"/", below].concat()))
}

const fn status_of_path(error: PathError) -> Status {
    match error {
        // OpenSSH's server answers ENAMETOOLONG and EINVAL with BAD_MESSAGE.
        PathError::TooLong => Status::new(crate::sftp::StatusCode::BadMessage, "Name too long"),
        PathError::NotUtf8 => Status::failure("File names must be UTF-8"),
        PathError::Nul => Status::failure("File names cannot have a NUL"),
        PathError::Relative | PathError::NotNormal => Status::NO_SUCH_FILE,
    }
}

const NO_MODE: Status = Status::failure("Open for reading or for writing");
const NOT_FOR_READING: Status = Status::denied("The file is not open for reading");
const NOT_FOR_WRITING: Status = Status::denied("The file is not open for writing");
const NOT_HERE: Status =
    Status::unsupported("These bytes can be read only when the file is closed");
const EXPLANATIONS_MAX: u32 = 20;
