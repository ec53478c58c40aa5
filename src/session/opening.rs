//! OPEN of a file that is read.

use crate::limits;
use crate::sftp::Status;
use crate::storage::{
    ByteRange, GetObject, Location, ObjectBody, ObjectMeta, ObjectStore, StorageErrorKind,
};

use super::names::is_directory;
use super::plan::Folder;
use super::status::{CHANGED, IS_DIRECTORY, Refusal};

/// What OPEN found: the object's metadata, and its first bytes on their way.
#[derive(Debug)]
pub(crate) struct OpenedObject {
    pub(crate) meta: ObjectMeta,
    pub(crate) body: Option<ObjectBody>,
}

/// Opens an object for reading: one GET answers OPEN and pins the version.
pub(crate) async fn open_object(
    store: &dyn ObjectStore,
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
    match store.get(location, get).await {
        Ok(body) => Ok(OpenedObject {
            meta: body.meta.clone(),
            body: Some(body),
        }),
        // An empty object has no first byte.
        Err(error) if error.kind == StorageErrorKind::RangeNotSatisfiable => {
            let meta = store.head(location).await?;
            if meta.size == 0 {
                Ok(OpenedObject { meta, body: None })
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
        Err(error) => Err(error.into()),
    }
}
