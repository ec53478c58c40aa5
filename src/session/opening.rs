//! OPEN of a file that is read.

use crate::budget::{Charge, Share};
use crate::limits;
use crate::sftp::Status;
use crate::storage::{
    ByteRange, GetObject, Location, ObjectBody, ObjectMeta, ObjectStore, StorageErrorKind,
};

use super::names::{Found, find_in_listings, is_directory};
use super::plan::Folder;
use super::status::{CHANGED, IS_DIRECTORY, Refusal};

/// What OPEN found: the object's metadata, and its first bytes on their way with their memory.
#[derive(Debug)]
pub(crate) struct OpenedObject {
    pub(crate) meta: ObjectMeta,
    pub(crate) opening: Option<(Charge, ObjectBody)>,
}

/// Opens an object for reading: one GET answers OPEN and pins the version; without memory for its
/// bytes it is a HEAD.
pub(crate) async fn open_object(
    store: &dyn ObjectStore,
    read_ahead: &Share,
    location: &Location,
    may_be_directory: bool,
) -> Result<OpenedObject, Refusal> {
    let opening = ByteRange {
        start: 0,
        end: limits::OPENING_GET_BYTES,
    };
    let get = GetObject {
        range: Some(opening),
        etag: None,
    };
    let found = match read_ahead.try_take(limits::OPENING_GET_BYTES) {
        Some(charge) => store
            .get(location, get)
            .await
            .map(|body| (body.meta.clone(), Some((charge, body)))),
        None => store.head(location).await.map(|meta| (meta, None)),
    };
    match found {
        Ok((meta, mut opening)) => {
            if let Some((charge, _)) = &mut opening {
                charge.shrink_to(meta.size);
            }
            Ok(OpenedObject { meta, opening })
        }
        // An empty object has no first byte.
        Err(error) if error.kind == StorageErrorKind::RangeNotSatisfiable => {
            let meta = store.head(location).await?;
            if meta.size == 0 {
                Ok(OpenedObject {
                    meta,
                    opening: None,
                })
            } else {
                Err(CHANGED.into())
            }
        }
        Err(error) if error.kind == StorageErrorKind::NotFound => {
            let directory = may_be_directory && is_directory(store, &Folder::of(location)).await?;
            let status = if directory {
                IS_DIRECTORY
            } else {
                Status::NO_SUCH_FILE
            };
            Err(status.into())
        }
        Err(error) if error.kind == StorageErrorKind::Denied && may_be_directory => {
            let denied = error.clone();
            match find_in_listings(store, location, error).await? {
                Found::Directory => Err(IS_DIRECTORY.into()),
                Found::File(_) | Found::Shown(_) | Found::Nothing => Err(denied.into()),
            }
        }
        Err(error) => Err(error.into()),
    }
}
