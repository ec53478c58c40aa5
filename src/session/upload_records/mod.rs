//! Records of uploads under way: what another process needs to keep what arrived of them, if this
//! one is killed.

mod leases;
mod record;
mod records;

pub(super) use self::leases::Ended;
pub(super) use self::record::{OverBase, Stage, UploadRecord, in_sequence};
pub use self::records::{RecordSettings, UploadRecords};
pub(super) use self::records::{RecordedUpload, Taken, Unread};
