//! What was asked of the server, for tests to look back on.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One request, in the order of arrival.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestRecord {
    /// The S3 operation, such as `PutObject`.
    pub operation: String,
    /// The bucket, or nothing.
    pub bucket: String,
    /// The exact key, or nothing.
    pub key: String,
    /// The part number of a part.
    pub part_number: Option<u16>,
    /// The upload a multipart request belongs to.
    pub upload_id: Option<String>,
    /// The prefix of a listing.
    pub prefix: Option<String>,
    /// The `Range` of a read or of the source of a copied part.
    pub range: Option<String>,
    /// The `If-Match` header.
    pub if_match: Option<String>,
    /// The `If-None-Match` header.
    pub if_none_match: Option<String>,
    /// The decoded source of a copy.
    pub copy_source: Option<String>,
    /// The `x-amz-copy-source-if-match` header.
    pub copy_source_if_match: Option<String>,
    /// The session token that the request was signed with.
    pub session_token: Option<String>,
    /// The status answered; none while there is no answer, and for good if it was withheld.
    pub status: Option<u16>,
    /// The length of the request body without its framing.
    pub bytes_in: u64,
    /// The length of the answer as announced.
    pub bytes_out: u64,
}

/// The last requests, bounded.
#[derive(Debug, Default)]
pub(crate) struct RequestLog {
    records: Mutex<Records>,
}

#[derive(Debug, Default)]
struct Records {
    kept: VecDeque<RequestRecord>,
    /// The number of the first kept record.
    first: usize,
}

impl RequestLog {
    /// Notes an arrival and returns the number to answer under.
    pub(crate) fn arrived(&self, record: RequestRecord) -> usize {
        let mut records = self.lock();
        if records.kept.len() == RECORDS_MAX {
            records.kept.pop_front();
            records.first += 1;
        }
        records.kept.push_back(record);
        records.first + records.kept.len() - 1
    }

    pub(crate) fn answered(&self, number: usize, status: u16, bytes_out: u64) {
        let mut records = self.lock();
        // A cleared record stays away: its number lies before the first.
        let index = number.checked_sub(records.first);
        if let Some(record) = index.and_then(|index| records.kept.get_mut(index)) {
            record.status = Some(status);
            record.bytes_out = bytes_out;
        }
    }

    pub(crate) fn all(&self) -> Vec<RequestRecord> {
        self.lock().kept.iter().cloned().collect()
    }

    pub(crate) fn count(&self, operation: &str) -> usize {
        self.lock()
            .kept
            .iter()
            .filter(|record| record.operation == operation)
            .count()
    }

    pub(crate) fn clear(&self) {
        let mut records = self.lock();
        records.first += records.kept.len();
        records.kept.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const RECORDS_MAX: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_keeps_the_last_and_forgets_the_cleared() {
        let log = RequestLog::default();
        let early = log.arrived(RequestRecord::default());
        for _ in 0..RECORDS_MAX {
            log.arrived(RequestRecord {
                operation: String::from("GetObject"),
                ..Default::default()
            });
        }
        assert_eq!(log.count("GetObject"), RECORDS_MAX);
        log.answered(early, 200, 0);
        assert!(log.all().iter().all(|record| record.status.is_none()));

        log.clear();
        let late = log.arrived(RequestRecord::default());
        log.answered(late, 404, 7);
        assert_eq!(
            log.all()
                .iter()
                .map(|record| record.status)
                .collect::<Vec<_>>(),
            [Some(404)]
        );
    }
}
