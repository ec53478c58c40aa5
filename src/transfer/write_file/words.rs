//! What a file that is written begins with, hears and asks for.

use std::sync::Arc;

use bytes::Bytes;

use super::RateMin;
use super::fill::BaseRead;
use crate::budget::{Budget, Charge, Purpose, Share};
use crate::sftp::{Given, OpenMode, Payload, Pending, Status};
use crate::storage::{
    ByteRange, Checksum, CompletedPart, ETag, Location, PartLayout, PartNumber, Precondition,
    Stored, UploadId,
};

/// What a file that is written begins with.
#[derive(Debug)]
pub struct Opening {
    pub mode: OpenMode,
    /// The object whose bytes are kept where nothing is written over them.
    pub base: Option<Base>,
    /// Where parts begin and end.
    pub layout: PartLayout,
    /// On what the commit depends.
    pub condition: Precondition,
    /// On what it depends when the client is gone: that the key is as OPEN found it. `None`: that
    /// is not known, or the store keeps no conditions.
    pub alone: Option<Precondition>,
    /// What may be kept of it if its client vanishes before CLOSE; `None`: nothing.
    pub partial: Option<KeptPartial>,
    /// As much as the user may store in one file.
    pub file_bytes_max: Option<u64>,
    /// Parts on their way at once.
    pub parts_in_flight_max: usize,
    /// Parts that the store copies at once.
    pub copies_in_flight_max: usize,
    /// What it copies in one part, where it copies all that stands before what is appended.
    pub range_bytes_min: u64,
    /// As much of what is written stays within reach of READs and other WRITEs.
    pub edit_bytes_max: u64,
    /// The first part leaves last: programs write headers when they know what follows.
    pub keep_first_part: bool,
    pub rate_min: RateMin,
    pub budget: Arc<Budget>,
    /// The user's share of the memory of parts.
    pub share: Share,
}

impl Opening {
    /// Has the file go over an object that was put where it is to be.
    pub(super) fn go_over(&mut self, base: Base) {
        self.condition = Precondition::IfMatch(base.etag.clone());
        if self.alone.is_some() {
            self.alone = Some(self.condition.clone());
        }
        self.base = Some(base);
    }
}

/// What may be kept of a file whose client vanishes before CLOSE: what came in sequence. Over a base
/// nothing but what was appended to it: bytes that were changed in its middle would be a mix of two
/// versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptPartial {
    /// The base may be replaced by itself and what was appended.
    pub over_base: bool,
}

/// A version of an object that a write goes over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    pub location: Location,
    pub etag: ETag,
    pub size: u64,
}

/// A range of another object that is written to the file, from an offset on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bringing {
    /// What the client calls the other object.
    pub path: Box<str>,
    pub source: Base,
    pub range: ByteRange,
    pub at: u64,
}

/// What happened to a file.
#[derive(Debug)]
pub enum Heard {
    Write {
        pending: Pending,
        offset: u64,
        payload: Payload,
    },
    Attributes {
        pending: Pending,
        size: Option<u64>,
        given: Given,
    },
    /// The client has bytes of another object brought here.
    Bring(Pending, Bringing),
    /// The store copies another object to where the file is to be: it is empty, and stays so until
    /// [`Heard::Copied`].
    CopyBegun,
    /// What is there now, and what of the client's words it has.
    Copied(Result<(Base, Given), Failure>),
    /// The size is set; whether that worked, CLOSE tells.
    Resize(u64),
    /// CLOSE came: nothing more can be asked of the file.
    CloseAsked,
    /// CLOSE has its turn among the requests on the same name.
    Close(Pending),
    /// The client is gone: only a CLOSE that came is still of use.
    ClientGone,
    /// Removed under its own name while it was written: CLOSE keeps nothing.
    Unlinked,
    /// A RENAME of the file is under way: no upload of it begins.
    Renaming,
    /// What the RENAME came to; `None`: the file keeps its name.
    Renamed(Option<Renamed>),
    /// The client is gone before CLOSE: what came in sequence is to be kept
    /// ([`WriteFile::may_be_kept`](super::WriteFile::may_be_kept)).
    Vanished,
    /// On what it depends that it is kept.
    Looked(Result<Precondition, Failure>),
    /// The client says that what it sent is not the file.
    Withdrawn,
    /// Nobody listens any more.
    SessionOver,
    /// Memory that was waited for.
    Memory(PartNumber, Charge),
    /// Memory for what is kept of copied parts; `None`: it did not come in time.
    PartsMemory(Option<Charge>),
    Created(Result<UploadId, Failure>),
    PartEnded {
        number: PartNumber,
        outcome: Result<CompletedPart, Failure>,
        /// What was sent; a copied part has none.
        checksum: Option<Checksum>,
    },
    /// Bytes of the base that were asked for.
    Base(BaseRead, Bytes),
    BaseEnded(BaseRead, Result<(), Failure>),
    /// The zeros that were announced may be made.
    ZerosDue,
    /// What the client said of the file is kept, or left.
    GivenSet,
    Committed(Result<Stored, Failure>),
    /// The time of [`WriteFile::deadline`](super::WriteFile::deadline) has come.
    Time {
        awaited: Awaited,
        /// The client is not listened to.
        held: bool,
        /// Nobody has given memory back for too long.
        stuck: bool,
    },
}

/// Where a file goes from now on that was renamed while it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renamed {
    pub location: Location,
    /// On what the commit depends there.
    pub condition: Precondition,
    /// The same when the client is gone.
    pub alone: Option<Precondition>,
    /// What may be kept of it if its client vanishes before CLOSE; `None`: nothing.
    pub partial: Option<KeptPartial>,
    /// The version of the stored file that went along, and which one it is there.
    pub moved: Option<(ETag, ETag)>,
    /// Its upload was begun there.
    pub is_where_begun: bool,
}

/// Who waits for memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    Nobody,
    Somebody,
    /// Others do, for less than their share, while this user has more.
    OthersWithLess,
}

/// What makes a file visible out of its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completing {
    pub upload: UploadId,
    pub parts: Vec<CompletedPart>,
    pub checksum: Option<Checksum>,
    pub condition: Precondition,
    /// The file was renamed since its upload began: its object moves on, on this condition.
    pub onward: Option<Precondition>,
    /// What the client said of the file when the upload had begun, and not before.
    pub given_late: Given,
    /// It is marked as partial.
    pub partial: bool,
}

/// Why something did not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub status: Status,
    /// For the log.
    pub reason: Box<str>,
}

/// A part that the store fills with a range of an object, as long as that is this version.
#[derive(Debug, PartialEq, Eq)]
pub struct PartCopy {
    pub upload: UploadId,
    pub number: PartNumber,
    pub source: Location,
    pub etag: ETag,
    pub range: ByteRange,
}

/// What is to be done for a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Waits for memory; [`Heard::Memory`] brings it.
    Wait {
        number: PartNumber,
        bytes: u64,
        purpose: Purpose,
    },
    /// Waits for memory for what is kept of so many copied parts; [`Heard::PartsMemory`] brings it.
    WaitForParts(u32),
    /// Begins the multipart upload.
    Create {
        given: Given,
    },
    SendPart {
        upload: UploadId,
        number: PartNumber,
        offset: u64,
        payload: Bytes,
    },
    CopyPart(PartCopy),
    /// Reads the base, one [`Heard::Base`] at a time.
    ReadBase {
        read: BaseRead,
        base: Base,
        range: ByteRange,
    },
    /// The next bytes of the base may come.
    ReadOn,
    /// What is being read is not wanted any more.
    LeaveBase,
    /// A range of another object was brought here, or was not.
    Brought {
        bringing: Box<Bringing>,
        status: Status,
    },
    /// So many zeros are about to be made: they count like bytes that the client sends.
    Zeros(u64),
    /// Looks at what stands under the key, before what came in sequence is kept; [`Heard::Looked`]
    /// says on what that depends.
    Look {
        size: u64,
        /// It is made of parts.
        parts: bool,
    },
    /// Makes the file visible, all its bytes at once.
    Put {
        payload: Bytes,
        condition: Precondition,
        given: Given,
        /// It is marked as partial.
        partial: bool,
    },
    /// Makes the file visible out of its parts.
    Complete(Completing),
    /// Gives the file that is there what the client said of it: nothing was written over it.
    SetGiven {
        etag: ETag,
        given: Given,
    },
    /// Ends the multipart upload.
    Abort(UploadId),
    /// Ends whatever is under way for the file, except for the creation of its upload.
    Stop,
    Answer(Pending, Status),
    /// Nothing of the file will become visible.
    Failed {
        reason: Box<str>,
        /// Its CLOSE had come.
        closed: bool,
    },
    /// The file is visible.
    Stored {
        size: u64,
        stored: Stored,
    },
    /// Everything was answered: the file can be forgotten.
    Over,
}
