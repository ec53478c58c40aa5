//! Where each request goes: answered at once, to its handle, or in line with other paths.

use bytes::Bytes;

use crate::limits;
use crate::sftp::{CheckRequest, Extension, OpenMode, Pending, Reply, Request, Status};
use crate::vfs::{Ending, PathError, VirtualPath, WrittenPath};

use super::act::{Act, PathRequest};
use super::actor::Session;
use super::check_request::{self, CheckedPath};
use super::copy_request;
use super::front::Front;
use super::status::{INVALID_HANDLE, NO_LINKS};

impl<F: Front> Session<F> {
    /// Takes one request; every path through here ends in exactly one answer.
    pub(crate) fn request(&mut self, pending: Pending, request: Request) {
        let (shell, files) = (&mut self.shell, &mut self.files);
        // Of a client that is gone only what completes an upload is of use.
        let completes = matches!(
            request,
            Request::Write { .. }
                | Request::FSetStat { .. }
                | Request::Extended(Extension::Copy(_))
                | Request::Close { .. }
        );
        if self.client_gone && !completes {
            return shell.answers.status(pending, Status::FAILURE);
        }
        match request {
            Request::Read {
                handle,
                offset,
                length,
            } => files.read(shell, pending, handle, offset, length),
            Request::Write {
                handle,
                offset,
                payload,
            } => files.write(shell, pending, handle, offset, payload),
            Request::Close { handle } => {
                // A file that was written has its turn among the requests on its name.
                if let Some((pending, path)) = files.close(shell, pending, handle) {
                    let act = Act::Close(handle);
                    let ending = Ending::Name;
                    self.ask(PathRequest {
                        pending,
                        path,
                        ending,
                        act,
                    });
                }
            }
            Request::FStat { handle } => files.fstat(shell, pending, handle),
            Request::FSetStat { handle, attrs } => {
                let attrs = shell.kept(attrs);
                files.fsetstat(shell, pending, handle, &attrs);
            }
            Request::ReadDir { handle } => files.readdir(shell, pending, handle),
            Request::RealPath { path } => self.realpath(pending, &path),
            Request::Open {
                path,
                pflags,
                attrs,
            } => match OpenMode::from_pflags(pflags) {
                Some(mode) => {
                    let attrs = shell.kept(attrs);
                    self.path(pending, &path, Act::Open { mode, attrs });
                }
                None => shell.answers.status(pending, NO_MODE),
            },
            Request::Stat { path } | Request::LStat { path } => {
                self.path(pending, &path, Act::Stat);
            }
            Request::SetStat { path, attrs } => {
                let attrs = shell.kept(attrs);
                self.path(pending, &path, Act::SetStat(attrs));
            }
            Request::OpenDir { path } => self.path(pending, &path, Act::OpenDirectory),
            Request::Remove { path } => self.path(pending, &path, Act::Remove),
            Request::MkDir { path } => self.path(pending, &path, Act::MkDir),
            Request::RmDir { path } => self.path(pending, &path, Act::RmDir),
            Request::Rename { from, to } => self.rename(pending, &from, &to, false),
            Request::ReadLink { path } => self.path(pending, &path, Act::ReadLink),
            Request::SymLink => {
                shell.refuse(pending, None, None, NO_LINKS);
            }
            Request::Extended(extension) => self.extended(pending, extension),
        }
    }

    fn extended(&mut self, pending: Pending, extension: Extension) {
        let (shell, files) = (&mut self.shell, &mut self.files);
        match extension {
            Extension::Limits => {
                let handles = shell.environment.limits.handles_per_session_max;
                let reply = Reply::Limits {
                    handles: u64::try_from(handles).unwrap_or(u64::MAX),
                    read: u64::from(limits::READ_BYTES_MAX),
                    write: u64::from(limits::WRITE_BYTES_MAX),
                };
                shell.answers.reply(pending, &reply);
            }
            Extension::PosixRename { from, to } => self.rename(pending, &from, &to, true),
            Extension::StatVfs { path } => self.path(pending, &path, Act::StatVfs),
            Extension::FStatVfs { handle } => {
                if files.is_usable(handle) {
                    shell.answers.reply(pending, &Reply::StatVfs);
                } else {
                    shell.answers.status(pending, INVALID_HANDLE);
                }
            }
            Extension::FSync { handle } => files.fsync(shell, pending, handle),
            Extension::LSetStat { path, attrs } => {
                let attrs = shell.kept(attrs);
                self.path(pending, &path, Act::SetStat(attrs));
            }
            Extension::ExpandPath { path } => {
                let path = expand_tilde(&path, self.home(), self.shell.user.login_name());
                match path {
                    Some(path) => self.realpath(pending, &path),
                    None => self.refuse(pending, Status::NO_SUCH_FILE),
                }
            }
            Extension::HomeDirectory { user } => {
                // An empty name is the user's own; nobody else's is told.
                if user.is_empty() || *user == *self.shell.user.login_name().as_bytes() {
                    let home = Bytes::copy_from_slice(self.home().as_str().as_bytes());
                    self.shell.answers.reply(pending, &Reply::Path(home));
                } else {
                    self.refuse(pending, Status::NO_SUCH_FILE);
                }
            }
            Extension::Copy(asked) => {
                if let Some(request) = copy_request::ask(shell, files, pending, asked) {
                    self.ask(request);
                }
            }
            Extension::Check(asked) => self.check(pending, asked),
            Extension::Unknown { name } => {
                tracing::debug!(name = %name.escape_ascii(), "unknown extension");
                self.refuse(pending, Status::OP_UNSUPPORTED);
            }
        }
    }

    fn refuse(&mut self, pending: Pending, status: Status) {
        self.shell.refuse(pending, None, None, status);
    }

    fn ask(&mut self, request: PathRequest) {
        self.paths.ask(&mut self.shell, &mut self.files, request);
    }

    fn home(&self) -> &VirtualPath {
        self.shell.user.config().home.landing()
    }

    fn resolve(&self, raw: &[u8]) -> Result<WrittenPath, Status> {
        WrittenPath::resolve(self.home(), raw).map_err(status_of_path)
    }

    fn path(&mut self, pending: Pending, raw: &[u8], act: Act) {
        match self.resolve(raw) {
            Ok(WrittenPath { path, ending }) => self.ask(PathRequest {
                pending,
                path,
                ending,
                act,
            }),
            Err(status) => self.refuse(pending, status),
        }
    }

    fn rename(&mut self, pending: Pending, from: &[u8], to: &[u8], replace: bool) {
        match self.resolve(to) {
            Ok(to) => self.path(pending, from, Act::Rename { to, replace }),
            Err(status) => self.refuse(pending, status),
        }
    }

    fn check(&mut self, pending: Pending, asked: CheckRequest) {
        match check_request::asked(&mut self.files, asked) {
            Ok((CheckedPath::Written(path), check)) => {
                self.path(pending, &path, Act::Check(Box::new(check)));
            }
            Ok((CheckedPath::Open(path), check)) => self.ask(PathRequest {
                pending,
                path,
                ending: Ending::Name,
                act: Act::Check(Box::new(check)),
            }),
            Err(status) => self.refuse(pending, status),
        }
    }

    fn realpath(&mut self, pending: Pending, raw: &[u8]) {
        match self.resolve(raw) {
            Ok(WrittenPath { path, .. }) => {
                let path = Bytes::copy_from_slice(path.as_str().as_bytes());
                self.shell.answers.reply(pending, &Reply::Path(path));
            }
            Err(status) => self.refuse(pending, status),
        }
    }
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
