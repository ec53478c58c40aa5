//! SFTP VERSION 3 VOCABULARY (pure): requests, replies, status, open modes, attributes, extensions
//! (draft-ietf-secsh-filexfer-02, and OpenSSH's PROTOCOL for what it adds).
//!
//! Names and handles are bytes. A WRITE's payload is never copied here: it is handed on as the
//! slices in which it arrived ([`Payload`]). A packet that cannot be understood keeps its request
//! id, so that the client gets its answer to the right question.

#![warn(clippy::arithmetic_side_effects)]

pub use self::attributes::{Attributes, FileType, Given};
pub use self::frame::{Frame, FrameError, Frames};
pub use self::longname::longname;
pub use self::open_mode::OpenMode;
pub use self::pending::Pending;
pub use self::reply::{EXTENSIONS, Name, Replies, Reply};
pub use self::request::{
    CheckForm, CheckRequest, CheckedFile, CopyRequest, DecodeError, Extension, HandleId, Message,
    Payload, Request, RequestId, decode,
};
pub use self::status::{Status, StatusCode};

mod attributes;
mod frame;
mod longname;
mod open_mode;
mod pending;
mod reply;
mod request;
mod status;
mod wire;
