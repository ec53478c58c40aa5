//! OPEN of a file that is read.

use crate::budget::{Charge, Share};
use crate::clock::{Clock, within};
use crate::limits;
use crate::sftp::Status;
use crate::storage::{
    ByteRange, GetObject, Location, ObjectBody, ObjectMeta, Result, SharedStore, StorageErrorKind,
};

use super::names::{Found, HEAD_START, find_in_listings, is_directory};
use super::plan::Folder;
use super::status::{CHANGED, IS_DIRECTORY, Refusal};
use super::sums::{OpeningSums, VersionSums, ask_for_sums};

/// What OPEN found: the object's metadata, and its first bytes on their way with their memory.
#[derive(Debug)]
pub(crate) struct OpenedObject {
    pub(crate) meta: ObjectMeta,
    pub(crate) opening: Option<(Charge, ObjectBody)>,
    pub(crate) sums: OpeningSums,
}

/// What a session saw of a file just before it opens it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Foreseen {
    /// Of the version that was there then.
    pub(crate) sums: Option<VersionSums>,
    /// The first GET is expected to bring all of it.
    pub(crate) is_small: bool,
}

/// One OPEN.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opening<'a> {
    pub(crate) store: &'a SharedStore,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) read_ahead: &'a Share,
    pub(crate) location: &'a Location,
    pub(crate) may_be_directory: bool,
    pub(crate) foreseen: &'a Foreseen,
}

impl Opening<'_> {
    /// Opens an object for reading: one GET answers OPEN and pins the version; without memory for
    /// its bytes it is a HEAD.
    pub(crate) async fn open(self) -> std::result::Result<OpenedObject, Refusal> {
        let (store, location) = (&**self.store, self.location);
        let found = match self.read_ahead.try_take(limits::OPENING_GET_BYTES) {
            Some(charge) => {
                let (body, sums) = self.first_bytes().await;
                body.map(|body| opened(body, charge, sums))
            }
            None => store.head(location).await.map(looked_at),
        };
        if found
            .as_ref()
            .is_ok_and(|found| found.meta.etag.is_deletion())
        {
            return Err(Status::PERMISSION_DENIED.into());
        }
        match found {
            Ok(opened) => Ok(opened),
            // An empty object has no first byte.
            Err(error) if error.kind == StorageErrorKind::RangeNotSatisfiable => {
                let meta = store.head(location).await?;
                if meta.size == 0 {
                    Ok(looked_at(meta))
                } else {
                    Err(CHANGED.into())
                }
            }
            Err(error) if error.kind == StorageErrorKind::NotFound => {
                let directory =
                    self.may_be_directory && is_directory(store, &Folder::of(location)).await?;
                let status = if directory {
                    IS_DIRECTORY
                } else {
                    Status::NO_SUCH_FILE
                };
                Err(status.into())
            }
            Err(error) if error.kind == StorageErrorKind::Denied && self.may_be_directory => {
                let denied = error.clone();
                match find_in_listings(store, location, error).await? {
                    Found::Directory => Err(IS_DIRECTORY.into()),
                    Found::File(_) | Found::Shown(_) | Found::Nothing => Err(denied.into()),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// GETs the first bytes. S3 tells the checksum of an object that it sends as a whole, and
    /// not of one of which a range was asked for: where the object is not expected to be small, a
    /// HEAD asks for it beside the GET. Of one that is larger all the same, the connection is given
    /// up once the first bytes are here.
    async fn first_bytes(&self) -> (Result<ObjectBody>, OpeningSums) {
        let sums = self.foreseen.sums.clone();
        let is_whole = self.foreseen.is_small && sums.is_none();
        let range = (!is_whole).then_some(ByteRange {
            start: 0,
            end: limits::OPENING_GET_BYTES,
        });
        let get = self
            .store
            .get(self.location, GetObject { range, etag: None });
        tokio::pin!(get);
        if let Some(sums) = sums {
            return (get.await, OpeningSums::Told(sums));
        }
        if is_whole || !self.store.capabilities(&self.location.bucket).checksums {
            return (get.await, OpeningSums::Unknown);
        }
        // A store that is near answers before a second question is worth asking.
        if let Some(body) = within(self.clock, HEAD_START, &mut get).await {
            return (body, OpeningSums::Unknown);
        }
        let mut coming = ask_for_sums(self.store.clone(), self.location.clone());
        tokio::select! {
            biased;
            body = &mut get => (body, OpeningSums::Coming(coming)),
            told = &mut coming => {
                let sums = told.map_or(OpeningSums::Unknown, OpeningSums::Told);
                (get.await, sums)
            }
        }
    }
}

fn opened(body: ObjectBody, mut charge: Charge, sums: OpeningSums) -> OpenedObject {
    let meta = body.meta.clone();
    charge.shrink_to(meta.size);
    OpenedObject {
        // A GET of a whole object finds an empty one as well.
        opening: (meta.size > 0).then_some((charge, body)),
        meta,
        sums,
    }
}

/// A HEAD tells all that there is to know of the checksums.
fn looked_at(meta: ObjectMeta) -> OpenedObject {
    OpenedObject {
        sums: OpeningSums::Told(VersionSums::of(&meta)),
        meta,
        opening: None,
    }
}
