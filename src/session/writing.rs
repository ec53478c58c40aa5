//! An open file that is written: bytes into slots, parts on their way, the commit at CLOSE.
//!
//! The first WRITE decides what the handle is. On a new or truncated file everything is written
//! anew; on an existing one that is written from its first byte, what is not written over is kept.
//! Nothing is visible before CLOSE, and CLOSE is answered when S3 has confirmed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use tokio::task::AbortHandle;

use crate::budget::Budget;
use crate::sftp::{Attributes, OpenMode, Payload, RequestId, Status};
use crate::storage::{
    Checksum, CompletedPart, ETag, Location, NewObject, Nonce, PartNumber, Precondition, UploadId,
};
use crate::transfer::{Upload, UploadError, WriteStep};
use crate::vfs::{Access, VirtualPath};

use super::names::MTIME;
use super::order::Ticket;
use super::status::{NO_APPEND, NO_EDIT, OVER_LIMIT};

/// The state of one file that is written.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts of one file"
)]
pub(crate) struct Writing {
    pub(crate) path: VirtualPath,
    pub(crate) location: Location,
    pub(crate) access: Access,
    pub(crate) mode: OpenMode,
    /// The object that was there and was not truncated.
    pub(crate) base: Option<Base>,
    pub(crate) condition: Precondition,
    pub(crate) upload: Upload,
    pub(crate) parked: VecDeque<Parked>,
    /// Parts whose slot was asked for, and who waits for it.
    pub(crate) slots_wanted: BTreeMap<PartNumber, AbortHandle>,
    pub(crate) multipart: Multipart,
    pub(crate) parts: BTreeMap<PartNumber, (CompletedPart, Checksum)>,
    pub(crate) in_flight: BTreeMap<PartNumber, AbortHandle>,
    /// The size that the client set: what is not written below it is zeros.
    size_set: Option<u64>,
    append_at: u64,
    written: bool,
    pub(crate) object: NewObject,
    /// CLOSE came: nothing more may be asked of the handle.
    pub(crate) close_asked: bool,
    pub(crate) closing: Option<Closing>,
    pub(crate) committing: bool,
    pub(crate) filler: Option<AbortHandle>,
    pub(crate) failed: Option<Status>,
    /// Removed under its own name while it was written: CLOSE keeps nothing.
    pub(crate) unlinked: bool,
    pub(crate) received: u64,
    pub(crate) opened: Instant,
    /// When its last bytes came.
    pub(crate) touched: Instant,
}

/// A version of an object that a write goes over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) etag: ETag,
    pub(crate) size: u64,
}

/// A WRITE without a slot: its STATUS is withheld.
#[derive(Debug)]
pub(crate) struct Parked {
    pub(crate) from: Source,
    pub(crate) offset: u64,
    pub(crate) payload: Payload,
    pub(crate) consumed: usize,
    pub(crate) asked: Instant,
    /// How much it counts against the connection's allowance.
    pub(crate) bytes: usize,
}

impl Parked {
    pub(crate) const fn new(from: Source, offset: u64, payload: Payload, asked: Instant) -> Self {
        let bytes = payload.length;
        Self {
            from,
            offset,
            payload,
            consumed: 0,
            asked,
            bytes,
        }
    }

    fn end(&self) -> u64 {
        self.offset.saturating_add(as_u64(self.payload.length))
    }

    /// Forgets what stands at and after `size`.
    fn truncate(&mut self, size: u64) {
        let room = usize::try_from(size.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        self.payload.length = self.payload.length.min(room);
    }
}

/// Who wrote the bytes.
#[derive(Debug)]
pub(crate) enum Source {
    Client(RequestId),
    /// Our own filling of what the client left as it was.
    Filler(tokio::sync::oneshot::Sender<()>),
}

/// How far the multipart upload is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Multipart {
    None,
    Creating,
    Open(UploadId),
}

/// A CLOSE that waits for the commit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Closing {
    pub(crate) id: RequestId,
    pub(crate) ticket: Ticket,
    pub(crate) asked: Instant,
}

/// What CLOSE has to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// The file stays as it was.
    Nothing,
    /// So many bytes from the base, or zeros, are missing at `start`.
    Fill {
        start: u64,
        end: u64,
        from_base: bool,
    },
    /// Every byte is there.
    Commit { size: u64 },
}

impl Writing {
    pub(crate) fn new(
        path: VirtualPath,
        location: Location,
        access: Access,
        mode: OpenMode,
        base: Option<Base>,
        condition: Precondition,
        nonce: Nonce,
        budget: Arc<Budget>,
        opened: Instant,
    ) -> Self {
        let guess = mime_guess::from_path(location.key.as_str()).first_raw();
        let object = NewObject {
            content_type: Some(guess.unwrap_or("application/octet-stream").into()),
            ..NewObject::new(nonce)
        };
        Self {
            path,
            location,
            access,
            mode,
            base,
            condition,
            upload: Upload::new(budget),
            parked: VecDeque::new(),
            slots_wanted: BTreeMap::new(),
            multipart: Multipart::None,
            parts: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            size_set: None,
            append_at: 0,
            written: false,
            object,
            close_asked: false,
            closing: None,
            committing: false,
            filler: None,
            failed: None,
            unlinked: false,
            received: 0,
            opened,
            touched: opened,
        }
    }

    /// Checks a WRITE against what the handle is, and returns where its bytes belong.
    pub(crate) fn admit(
        &mut self,
        offset: u64,
        length: u64,
        file_bytes_max: Option<u64>,
    ) -> Result<u64, Status> {
        let offset = if self.mode.append {
            self.append_at
        } else {
            offset
        };
        let end = offset.checked_add(length).ok_or(TOO_LARGE)?;
        if file_bytes_max.is_some_and(|max| end > max) {
            return Err(OVER_LIMIT);
        }
        if length == 0 {
            return Ok(offset);
        }
        if !self.written
            && let Some(base) = &self.base
            && offset != 0
        {
            return Err(if offset == base.size {
                NO_APPEND
            } else {
                NO_EDIT
            });
        }
        self.written = true;
        self.append_at = self.append_at.max(end);
        self.received = self.received.saturating_add(length);
        Ok(offset)
    }

    /// Says whether a parked WRITE must stay in front of this one.
    pub(crate) fn must_park(&self, offset: u64, length: u64) -> bool {
        let end = offset.saturating_add(length);
        self.parked
            .iter()
            .any(|parked| offset < parked.end() && parked.offset < end)
    }

    /// Copies what has a slot.
    pub(crate) fn place(&mut self, parked: &mut Parked) -> Result<WriteStep, UploadError> {
        self.upload
            .write(parked.offset, &parked.payload, &mut parked.consumed)
    }

    /// Takes the attributes that can be kept.
    pub(crate) fn set_attributes(&mut self, attrs: &Attributes) -> Result<(), Status> {
        if let Some(size) = attrs.size {
            self.set_size(size)?;
        }
        if let Some((_, modified)) = attrs.times
            && self.multipart == Multipart::None
        {
            self.object.metadata.retain(|(name, _)| &**name != MTIME);
            self.object
                .metadata
                .push((MTIME.into(), modified.to_string().into()));
        }
        Ok(())
    }

    fn set_size(&mut self, size: u64) -> Result<(), Status> {
        if size < self.upload.end() {
            self.upload
                .truncate(size)
                .map_err(|error| status_of(&error))?;
        }
        // These WRITEs came before.
        for parked in &mut self.parked {
            parked.truncate(size);
        }
        if size == 0 && !self.written && self.base.take().is_some() {
            // The same as opening with TRUNC.
            self.condition = Precondition::None;
        }
        if let Some(base) = &mut self.base {
            // What was cut off does not come back when the size grows again.
            base.size = base.size.min(size);
        }
        self.append_at = size;
        self.size_set = Some(size);
        Ok(())
    }

    /// Returns the size that STAT and FSTAT show.
    pub(crate) fn size(&self) -> u64 {
        let floor = match (self.size_set, &self.base) {
            (Some(size), _) => size,
            (None, Some(base)) => base.size,
            (None, None) => 0,
        };
        let parked = self.parked.iter().map(Parked::end).max();
        floor.max(self.upload.end()).max(parked.unwrap_or(0))
    }

    /// Says whether CLOSE will make the file visible.
    pub(crate) const fn will_appear(&self) -> bool {
        self.failed.is_none() && !self.unlinked
    }

    /// Says whether the file is no longer what it was at OPEN.
    pub(crate) const fn is_written(&self) -> bool {
        self.written || self.size_set.is_some()
    }

    /// Says what is left to do at CLOSE, once every WRITE has its place.
    pub(crate) fn finish(&self) -> Result<Finish, Status> {
        if self.unlinked || (self.base.is_some() && !self.written && self.size_set.is_none()) {
            return Ok(Finish::Nothing);
        }
        let size = self.size();
        let Some((start, end)) = self.upload.first_gap(size) else {
            return Ok(Finish::Commit { size });
        };
        match (&self.base, self.size_set) {
            (Some(base), _) if start < base.size => Ok(Finish::Fill {
                start,
                end: end.min(base.size),
                from_base: true,
            }),
            (_, Some(set)) if start < set => {
                if self.upload.missing(size) > crate::limits::ZERO_FILL_BYTES_MAX {
                    return Err(GAP);
                }
                Ok(Finish::Fill {
                    start,
                    end: end.min(set),
                    from_base: false,
                })
            }
            (Some(_) | None, _) => Err(GAP),
        }
    }

    /// Returns how many part slots this file holds, filling or on their way.
    pub(crate) fn slots_held(&self) -> usize {
        self.upload
            .slots_filling()
            .saturating_add(self.in_flight.len())
    }
}

/// What a client hears of an upload's error.
pub(crate) const fn status_of(error: &UploadError) -> Status {
    match error {
        UploadError::AlreadyShipped => Status::unsupported(
            "These bytes were already sent to the storage and cannot be changed",
        ),
        UploadError::TooLarge => TOO_LARGE,
        UploadError::TooScattered => Status::failure("The writes are scattered too widely"),
        UploadError::Gap { .. } => GAP,
    }
}

fn as_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

const TOO_LARGE: Status = Status::failure("The file is larger than can be stored");
pub(super) const GAP: Status = Status::failure("Parts of the file were never written");
