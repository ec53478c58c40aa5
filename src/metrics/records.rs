//! Records of uploads under way.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::registrar::{Labels, Registrar};
use super::series;

/// What became of the record of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordEnd {
    Written,
    /// The upload goes on without.
    Unwritten,
    /// Of an upload whose gateway was killed: what arrived was kept.
    Kept,
    Discarded,
    /// The upload had ended.
    Gone,
    /// It is looked into again later.
    Later,
    Unreadable,
    /// A round could not list all of them.
    Unlisted,
}

impl RecordEnd {
    const ALL: [Self; 8] = [
        Self::Written,
        Self::Unwritten,
        Self::Kept,
        Self::Discarded,
        Self::Gone,
        Self::Later,
        Self::Unreadable,
        Self::Unlisted,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Unwritten => "unwritten",
            Self::Kept => "kept",
            Self::Discarded => "discarded",
            Self::Gone => "gone",
            Self::Later => "later",
            Self::Unreadable => "unreadable",
            Self::Unlisted => "unlisted",
        }
    }
}

/// The series of all of them.
#[derive(Debug)]
pub(super) struct UploadRecords(Family<Labels<1>, Counter>);

impl UploadRecords {
    pub(super) fn new(all: &mut Registrar) -> Self {
        let records = all.counters(
            "upload_records",
            "outcome",
            "Records of uploads (`sftp.partial_state`): written, or unwritten (the upload goes on without); and those of processes that ended, by what became of the upload: kept, discarded, gone (it had ended), later (looked into again), or unreadable; and unlisted: rounds that could not list all of them",
        );
        series::of_words(&records, "outcome", RecordEnd::ALL.map(RecordEnd::as_str));
        Self(records)
    }

    pub(super) fn count(&self, end: RecordEnd) {
        let _ = self.0.get_or_create(&[("outcome", end.as_str())]).inc();
    }
}
