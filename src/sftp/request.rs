//! Requests: what a client can ask (draft-02 §6), decoded from one packet.

use bytes::Bytes;

use super::attributes::Attributes;
use super::frame::Frame;
use super::wire::{Reader, Truncated};

/// The number by which a client knows its question again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u32);

/// An open file or directory. A handle that we cannot have given out decodes to [`Self::UNKNOWN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HandleId(pub u32);

impl HandleId {
    /// Never given out.
    pub const UNKNOWN: Self = Self(u32::MAX);

    /// Returns the handle as it stands on the wire: text, since several clients cannot carry
    /// anything else.
    #[must_use]
    pub fn to_wire(self) -> String {
        format!("{:08x}", self.0)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Truncated> {
        let bytes = reader.string()?;
        let text = std::str::from_utf8(bytes)
            .ok()
            .filter(|text| text.len() == 8);
        let number = text.and_then(|text| u32::from_str_radix(text, 16).ok());
        // Only what we would have written: no sign, no capitals.
        let known = number
            .map(Self)
            .filter(|handle| handle.to_wire().as_bytes() == bytes);
        Ok(known.unwrap_or(Self::UNKNOWN))
    }
}

/// The bytes of a WRITE, in the slices in which they arrived.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Payload {
    pub slices: Vec<Bytes>,
    pub length: usize,
}

/// One packet, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    Init { version: u32 },
    Request { id: RequestId, request: Request },
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    Open {
        path: Bytes,
        pflags: u32,
        attrs: Attributes,
    },
    Close {
        handle: HandleId,
    },
    Read {
        handle: HandleId,
        offset: u64,
        length: u32,
    },
    Write {
        handle: HandleId,
        offset: u64,
        payload: Payload,
    },
    Stat {
        path: Bytes,
    },
    LStat {
        path: Bytes,
    },
    FStat {
        handle: HandleId,
    },
    SetStat {
        path: Bytes,
        attrs: Attributes,
    },
    FSetStat {
        handle: HandleId,
        attrs: Attributes,
    },
    OpenDir {
        path: Bytes,
    },
    ReadDir {
        handle: HandleId,
    },
    Remove {
        path: Bytes,
    },
    MkDir {
        path: Bytes,
    },
    RmDir {
        path: Bytes,
    },
    RealPath {
        path: Bytes,
    },
    Rename {
        from: Bytes,
        to: Bytes,
    },
    ReadLink {
        path: Bytes,
    },
    SymLink,
    Extended(Extension),
}

/// OpenSSH's additions (its PROTOCOL §4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extension {
    Limits,
    PosixRename { from: Bytes, to: Bytes },
    StatVfs { path: Bytes },
    FStatVfs { handle: HandleId },
    FSync { handle: HandleId },
    LSetStat { path: Bytes, attrs: Attributes },
    ExpandPath { path: Bytes },
    HomeDirectory { user: Bytes },
    Copy(CopyRequest),
    Check(CheckRequest),
    Unknown { name: Bytes },
}

/// What `copy-data` asks for (draft-ietf-secsh-filexfer-extensions-00 §7, OpenSSH PROTOCOL §4.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyRequest {
    pub from: HandleId,
    pub offset: u64,
    /// 0: up to the end.
    pub length: u64,
    pub to: HandleId,
    /// Where the bytes belong.
    pub at: u64,
}

/// What `check-file-name` and `check-file-handle` ask for (the same draft, §3), and `check-file`,
/// paramiko's word for the latter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckRequest {
    pub of: CheckedFile,
    /// Names between commas; the first one that is known is meant.
    pub algorithms: Bytes,
    pub offset: u64,
    /// 0: up to the end.
    pub length: u64,
    /// Each so many bytes have a sum of their own; 0: all have one.
    pub block: u32,
    pub form: CheckForm,
}

/// How a file is named whose checksum is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckedFile {
    Name(Bytes),
    Handle(HandleId),
}

/// What the answer to a question about a checksum looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckForm {
    /// As the draft says, and as `ProFTPD` answers: what `WinSCP` reads.
    Draft,
    /// The extension's name comes first: what paramiko reads.
    Named,
    /// For commands of the gateway: nothing is read, and no sum says that none is stored.
    Stored,
}

impl Request {
    /// Returns the word for logs and metrics.
    #[must_use]
    pub const fn operation(&self) -> &'static str {
        match self {
            Self::Open { .. } => "open",
            Self::Close { .. } => "close",
            Self::Read { .. } => "read",
            Self::Write { .. } => "write",
            Self::Stat { .. } => "stat",
            Self::LStat { .. } => "lstat",
            Self::FStat { .. } => "fstat",
            Self::SetStat { .. } => "setstat",
            Self::FSetStat { .. } => "fsetstat",
            Self::OpenDir { .. } => "opendir",
            Self::ReadDir { .. } => "readdir",
            Self::Remove { .. } => "remove",
            Self::MkDir { .. } => "mkdir",
            Self::RmDir { .. } => "rmdir",
            Self::RealPath { .. } => "realpath",
            Self::Rename { .. } => "rename",
            Self::ReadLink { .. } => "readlink",
            Self::SymLink => "symlink",
            Self::Extended(extension) => extension.operation(),
        }
    }
}

impl Extension {
    const fn operation(&self) -> &'static str {
        match self {
            Self::Limits => "limits",
            Self::PosixRename { .. } => "posix-rename",
            Self::StatVfs { .. } => "statvfs",
            Self::FStatVfs { .. } => "fstatvfs",
            Self::FSync { .. } => "fsync",
            Self::LSetStat { .. } => "lsetstat",
            Self::ExpandPath { .. } => "expand-path",
            Self::HomeDirectory { .. } => "home-directory",
            Self::Copy(_) => "copy-data",
            Self::Check(_) => "check-file",
            Self::Unknown { .. } => "extended",
        }
    }
}

/// A packet that cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The question is unreadable, but it is known which one: it gets `BAD_MESSAGE`.
    #[error("request {} is incomplete", id.0)]
    BadRequest { id: RequestId },
    /// A type that version 3 does not have: it gets `OP_UNSUPPORTED`.
    #[error("request {} has the unknown type {kind}", id.0)]
    UnknownType { id: RequestId, kind: u8 },
    /// Not even the id can be read: nothing can be answered, the session ends.
    #[error("a packet without a request id")]
    NoId,
}

/// Understands one packet.
///
/// # Errors
/// See [`DecodeError`]; bytes after the last field are ignored, as OpenSSH's server does.
pub fn decode(frame: Frame) -> Result<Message, DecodeError> {
    let mut reader = Reader::new(&frame.head);
    let kind = reader.u8().map_err(|Truncated| DecodeError::NoId)?;
    if kind == INIT {
        let version = reader.u32().map_err(|Truncated| DecodeError::NoId)?;
        return Ok(Message::Init { version });
    }
    let id = RequestId(reader.u32().map_err(|Truncated| DecodeError::NoId)?);
    let fields = Fields {
        head: &frame.head,
        reader,
    };
    match fields.request(kind, frame.payload) {
        Ok(Some(request)) => Ok(Message::Request { id, request }),
        Ok(None) => Err(DecodeError::UnknownType { id, kind }),
        Err(Truncated) => Err(DecodeError::BadRequest { id }),
    }
}

/// Where decoding stands in a packet whose id is known.
struct Fields<'a> {
    head: &'a Bytes,
    reader: Reader<'a>,
}

impl Fields<'_> {
    fn request(mut self, kind: u8, payload: Payload) -> Result<Option<Request>, Truncated> {
        let request = match kind {
            OPEN => Request::Open {
                path: self.bytes()?,
                pflags: self.reader.u32()?,
                attrs: Attributes::read(&mut self.reader)?,
            },
            CLOSE => Request::Close {
                handle: self.handle()?,
            },
            READ => Request::Read {
                handle: self.handle()?,
                offset: self.reader.u64()?,
                length: self.reader.u32()?,
            },
            WRITE => Request::Write {
                handle: self.handle()?,
                offset: self.reader.u64()?,
                payload: whole(self.reader, payload)?,
            },
            LSTAT => Request::LStat {
                path: self.bytes()?,
            },
            FSTAT => Request::FStat {
                handle: self.handle()?,
            },
            SETSTAT => Request::SetStat {
                path: self.bytes()?,
                attrs: Attributes::read(&mut self.reader)?,
            },
            FSETSTAT => Request::FSetStat {
                handle: self.handle()?,
                attrs: Attributes::read(&mut self.reader)?,
            },
            OPENDIR => Request::OpenDir {
                path: self.bytes()?,
            },
            READDIR => Request::ReadDir {
                handle: self.handle()?,
            },
            REMOVE => Request::Remove {
                path: self.bytes()?,
            },
            MKDIR => {
                let path = self.bytes()?;
                // Nothing of them is kept.
                Attributes::read(&mut self.reader)?;
                Request::MkDir { path }
            }
            RMDIR => Request::RmDir {
                path: self.bytes()?,
            },
            REALPATH => Request::RealPath {
                path: self.bytes()?,
            },
            STAT => Request::Stat {
                path: self.bytes()?,
            },
            RENAME => Request::Rename {
                from: self.bytes()?,
                to: self.bytes()?,
            },
            READLINK => Request::ReadLink {
                path: self.bytes()?,
            },
            SYMLINK => Request::SymLink,
            EXTENDED => Request::Extended(self.extension()?),
            _ => return Ok(None),
        };
        Ok(Some(request))
    }

    fn extension(&mut self) -> Result<Extension, Truncated> {
        let name = self.bytes()?;
        Ok(match &*name {
            b"limits@openssh.com" => Extension::Limits,
            b"posix-rename@openssh.com" => Extension::PosixRename {
                from: self.bytes()?,
                to: self.bytes()?,
            },
            b"statvfs@openssh.com" => Extension::StatVfs {
                path: self.bytes()?,
            },
            b"fstatvfs@openssh.com" => Extension::FStatVfs {
                handle: self.handle()?,
            },
            b"fsync@openssh.com" => Extension::FSync {
                handle: self.handle()?,
            },
            b"lsetstat@openssh.com" => Extension::LSetStat {
                path: self.bytes()?,
                attrs: Attributes::read(&mut self.reader)?,
            },
            b"expand-path@openssh.com" => Extension::ExpandPath {
                path: self.bytes()?,
            },
            b"home-directory" => Extension::HomeDirectory {
                user: self.bytes()?,
            },
            b"copy-data" => Extension::Copy(CopyRequest {
                from: self.handle()?,
                offset: self.reader.u64()?,
                length: self.reader.u64()?,
                to: self.handle()?,
                at: self.reader.u64()?,
            }),
            b"check-file-name" => {
                let of = CheckedFile::Name(self.bytes()?);
                Extension::Check(self.check(of, CheckForm::Draft)?)
            }
            b"check-file-handle" => {
                let of = CheckedFile::Handle(self.handle()?);
                Extension::Check(self.check(of, CheckForm::Draft)?)
            }
            b"check-file" => {
                let of = CheckedFile::Handle(self.handle()?);
                Extension::Check(self.check(of, CheckForm::Named)?)
            }
            _ => Extension::Unknown { name },
        })
    }

    fn check(&mut self, of: CheckedFile, form: CheckForm) -> Result<CheckRequest, Truncated> {
        Ok(CheckRequest {
            of,
            algorithms: self.bytes()?,
            offset: self.reader.u64()?,
            length: self.reader.u64()?,
            block: self.reader.u32()?,
            form,
        })
    }

    fn handle(&mut self) -> Result<HandleId, Truncated> {
        HandleId::read(&mut self.reader)
    }

    /// Reads a string as a slice of the packet.
    fn bytes(&mut self) -> Result<Bytes, Truncated> {
        Ok(self.head.slice_ref(self.reader.string()?))
    }
}

/// Checks that a WRITE carries as many bytes as it says; what follows them is ignored.
fn whole(mut reader: Reader<'_>, mut payload: Payload) -> Result<Payload, Truncated> {
    let said = usize::try_from(reader.u32()?).map_err(|_| Truncated)?;
    if payload.length < said {
        return Err(Truncated);
    }
    while payload.length > said {
        let Some(last) = payload.slices.last_mut() else {
            return Err(Truncated);
        };
        let surplus = payload.length.saturating_sub(said).min(last.len());
        last.truncate(last.len().saturating_sub(surplus));
        payload.length = payload.length.saturating_sub(surplus);
        if last.is_empty() {
            payload.slices.pop();
        }
    }
    Ok(payload)
}

pub(super) const INIT: u8 = 1;
const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const READ: u8 = 5;
pub(super) const WRITE: u8 = 6;
const LSTAT: u8 = 7;
const FSTAT: u8 = 8;
const SETSTAT: u8 = 9;
const FSETSTAT: u8 = 10;
const OPENDIR: u8 = 11;
const READDIR: u8 = 12;
const REMOVE: u8 = 13;
const MKDIR: u8 = 14;
const RMDIR: u8 = 15;
const REALPATH: u8 = 16;
const STAT: u8 = 17;
const RENAME: u8 = 18;
const READLINK: u8 = 19;
const SYMLINK: u8 = 20;
const EXTENDED: u8 = 200;
