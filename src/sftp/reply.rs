//! Replies, encoded once, behind each other into the buffer that leaves.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::attributes::Attributes;
use super::longname::longname;
use super::request::{CheckForm, HandleId, RequestId};
use super::status::Status;
use crate::limits;

/// The extensions that VERSION names: only what works.
pub const EXTENSIONS: [(&str, &str); 12] = [
    ("posix-rename@openssh.com", "1"),
    ("statvfs@openssh.com", "2"),
    ("fstatvfs@openssh.com", "2"),
    ("fsync@openssh.com", "1"),
    ("lsetstat@openssh.com", "1"),
    ("limits@openssh.com", "1"),
    ("expand-path@openssh.com", "1"),
    ("home-directory", "1"),
    ("copy-data", "1"),
    // The draft's name for both, which WinSCP and paramiko look for, with the algorithms.
    ("check-file", "md5,sha1,sha256,sha512,crc32"),
    ("check-file-name", "1"),
    ("check-file-handle", "1"),
];

/// One row of a NAME reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    pub name: Bytes,
    pub attrs: Attributes,
}

/// An answer other than file data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Status(Status),
    Handle(HandleId),
    Attrs(Attributes),
    /// `now` (seconds since 1970) decides how `longname` shows times.
    Names {
        names: Vec<Name>,
        now: u32,
    },
    /// REALPATH and its kin: one name without attributes.
    Path(Bytes),
    Limits {
        handles: u64,
        read: u64,
        write: u64,
    },
    StatVfs,
    /// Checksums behind each other, and the algorithm as the client called it.
    Sums {
        form: CheckForm,
        algorithm: &'static str,
        sums: Bytes,
    },
}

impl Reply {
    /// Returns at least as many bytes as the reply has, for those that may be long.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        match self {
            Self::Status(_)
            | Self::Handle(_)
            | Self::Attrs(_)
            | Self::Limits { .. }
            | Self::StatVfs => SHORT_REPLY_BYTES_MAX,
            Self::Sums { sums, .. } => sums.len().saturating_add(SHORT_REPLY_BYTES_MAX),
            Self::Path(path) => path
                .len()
                .saturating_mul(2)
                .saturating_add(SHORT_REPLY_BYTES_MAX),
            Self::Names { names, .. } => {
                let bytes = names.iter().map(Name::bytes_max);
                bytes.fold(SHORT_REPLY_BYTES_MAX, usize::saturating_add)
            }
        }
    }
}

impl Name {
    /// Returns at least as many bytes as it has in a reply: there it stands twice, with attributes
    /// and the rest of its line.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.name.len().saturating_mul(2).saturating_add(128)
    }
}

/// The buffer into which replies are encoded.
#[derive(Debug, Default)]
pub struct Replies {
    pub buffer: BytesMut,
}

impl Replies {
    /// Appends VERSION 3 with our extensions.
    pub fn version(&mut self) {
        self.packet(|out| {
            out.put_u8(VERSION);
            out.put_u32(3);
            for (name, version) in EXTENSIONS {
                put_string(out, name.as_bytes());
                put_string(out, version.as_bytes());
            }
        });
    }

    /// Appends what goes before `length` bytes of file data.
    pub fn data_head(&mut self, id: RequestId, length: u32) {
        self.buffer.put_u32(length.saturating_add(9));
        self.buffer.put_u8(DATA);
        self.buffer.put_u32(id.0);
        self.buffer.put_u32(length);
    }

    /// Appends any other reply.
    pub fn reply(&mut self, id: RequestId, reply: &Reply) {
        self.packet(|out| match reply {
            Reply::Status(status) => {
                header(out, STATUS, id);
                out.put_u32(status.code.number());
                put_string(out, status.sentence.as_bytes());
                put_string(out, b"en");
            }
            Reply::Handle(handle) => {
                header(out, HANDLE, id);
                put_string(out, handle.to_wire().as_bytes());
            }
            Reply::Attrs(attrs) => {
                header(out, ATTRS, id);
                attrs.write(out);
            }
            Reply::Names { names, now } => {
                header(out, NAME, id);
                out.put_u32(u32::try_from(names.len()).unwrap_or(u32::MAX));
                for name in names {
                    put_string(out, &name.name);
                    counted(out, |out| longname(out, &name.name, &name.attrs, *now));
                    name.attrs.write(out);
                }
            }
            Reply::Path(path) => {
                header(out, NAME, id);
                out.put_u32(1);
                put_string(out, path);
                put_string(out, path);
                Attributes::default().write(out);
            }
            Reply::Limits {
                handles,
                read,
                write,
            } => {
                header(out, EXTENDED_REPLY, id);
                out.put_u64(u64::try_from(limits::PACKET_BYTES_MAX).unwrap_or(u64::MAX));
                out.put_u64(*read);
                out.put_u64(*write);
                out.put_u64(*handles);
            }
            Reply::StatVfs => {
                header(out, EXTENDED_REPLY, id);
                put_statvfs(out);
            }
            Reply::Sums {
                form,
                algorithm,
                sums,
            } => {
                header(out, EXTENDED_REPLY, id);
                if *form == CheckForm::Named {
                    put_string(out, b"check-file");
                }
                put_string(out, algorithm.as_bytes());
                out.extend_from_slice(sums);
            }
        });
    }

    fn packet(&mut self, fill: impl FnOnce(&mut BytesMut)) {
        counted(&mut self.buffer, fill);
    }
}

/// Puts the length before what `fill` appends.
fn counted(out: &mut BytesMut, fill: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u32(0);
    fill(out);
    let length = out.len().saturating_sub(start).saturating_sub(4);
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    if let Some(place) = out.get_mut(start..start.saturating_add(4)) {
        place.copy_from_slice(&length);
    }
}

fn header(out: &mut BytesMut, kind: u8, id: RequestId) {
    out.put_u8(kind);
    out.put_u32(id.0);
}

fn put_string(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(bytes);
}

/// S3 has no size and no end: half of an exbibyte is free, in blocks as large as a READ.
fn put_statvfs(out: &mut BytesMut) {
    const BLOCK: u64 = 256 * 1024;
    const BLOCKS: u64 = (1 << 60) / BLOCK;
    const FILES: u64 = 1 << 40;
    const NOSUID: u64 = 2;
    let free = BLOCKS >> 1;
    // f_bsize, f_frsize, f_blocks, f_bfree, f_bavail, f_files, f_ffree, f_favail, f_fsid, f_flag,
    // f_namemax (OpenSSH PROTOCOL §4.4)
    let name_max = 1_024;
    for field in [
        BLOCK, BLOCK, BLOCKS, free, free, FILES, FILES, FILES, 0, NOSUID, name_max,
    ] {
        out.put_u64(field);
    }
}

/// Longer than any reply without names, paths and data.
const SHORT_REPLY_BYTES_MAX: usize = 192;

const VERSION: u8 = 2;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRS: u8 = 105;
const EXTENDED_REPLY: u8 = 201;

#[cfg(test)]
mod tests {
    use russh_sftp::protocol::Packet;

    use super::*;
    use crate::sftp::FileType;

    /// Reads our bytes with another project's decoder.
    fn oracle(replies: Replies) -> Packet {
        let mut bytes = replies.buffer.freeze();
        let length = bytes.split_to(4);
        assert_eq!(
            length[..],
            u32::try_from(bytes.len()).unwrap().to_be_bytes()
        );
        Packet::try_from(&mut bytes).unwrap()
    }

    #[test]
    fn another_decoder_understands_our_replies() {
        let id = RequestId(7);
        let mut replies = Replies::default();
        replies.version();
        let Packet::Version(version) = oracle(replies) else {
            panic!("not VERSION")
        };
        assert_eq!(version.version, 3);
        assert_eq!(version.extensions["limits@openssh.com"], "1");

        let mut replies = Replies::default();
        replies.data_head(id, 3);
        replies.buffer.extend_from_slice(b"abc");
        let Packet::Data(data) = oracle(replies) else {
            panic!("not DATA")
        };
        assert_eq!((data.id, &*data.data), (7, &b"abc"[..]));

        let mut replies = Replies::default();
        let attrs = Attributes::of(FileType::Regular, 5, 0o644, 1_000);
        let names = vec![Name {
            name: Bytes::from_static(b"x"),
            attrs,
        }];
        replies.reply(id, &Reply::Names { names, now: 2_000 });
        let Packet::Name(names) = oracle(replies) else {
            panic!("not NAME")
        };
        assert_eq!(names.files[0].filename, "x");
        assert_eq!(names.files[0].attrs.size, Some(5));

        let mut replies = Replies::default();
        replies.reply(id, &Reply::Status(Status::NO_SUCH_FILE));
        let Packet::Status(status) = oracle(replies) else {
            panic!("not STATUS")
        };
        assert_eq!(status.error_message, "No such file");
    }
}
