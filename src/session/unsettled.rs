//! Files whose session has ended, and of which it is not known yet what becomes of them.
//!
//! A client that comes back asks for the size of what it sent. As long as the session that it lost
//! stores that, whoever asks for the file waits for the outcome.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::storage::Location;

/// The files of the process whose outcome is open, and those that live clients write.
#[derive(Debug, Clone, Default)]
pub struct Unsettled(Arc<Files>);

#[derive(Debug, Default)]
struct Files {
    unsettled: Mutex<HashMap<Location, Row>>,
    /// Until it is cancelled nobody knows which other files are.
    unknown: Mutex<Option<CancellationToken>>,
    written: Mutex<HashMap<Location, usize>>,
}

#[derive(Debug, Default)]
struct Row {
    files: usize,
    settled: CancellationToken,
}

/// One such file; its outcome is known when this is dropped.
#[derive(Debug)]
pub(crate) struct Settling {
    all: Unsettled,
    location: Location,
}

/// A file that a client writes; it is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct LiveWriter {
    all: Unsettled,
    location: Location,
}

impl Unsettled {
    /// Notes that a client writes a file.
    pub(crate) fn writes(&self, location: &Location) -> LiveWriter {
        let mut written = self.written();
        let writers = written.entry(location.clone()).or_default();
        *writers = writers.saturating_add(1);
        LiveWriter {
            all: self.clone(),
            location: location.clone(),
        }
    }

    /// Says whether a client that is there writes a file.
    pub(crate) fn is_written(&self, location: &Location) -> bool {
        self.written().contains_key(location)
    }

    fn written(&self) -> MutexGuard<'_, HashMap<Location, usize>> {
        let written = &self.0.written;
        written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the outcome of a file is open.
    pub(crate) fn begin(&self, location: &Location) -> Settling {
        let mut rows = self.rows();
        let row = rows.entry(location.clone()).or_default();
        row.files = row.files.saturating_add(1);
        drop(rows);
        Settling {
            all: self.clone(),
            location: location.clone(),
        }
    }

    /// Has those wait who ask for [`Self::known`], until the token is cancelled: the process does not
    /// know yet which files others left behind.
    pub(crate) fn hold_back(&self) -> CancellationToken {
        let known = CancellationToken::new();
        *self.unknown() = Some(known.clone());
        known
    }

    fn unknown(&self) -> MutexGuard<'_, Option<CancellationToken>> {
        let unknown = &self.0.unknown;
        unknown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the process knows which files others left behind.
    pub(crate) async fn known(&self) {
        let unknown = self.unknown().clone();
        if let Some(known) = unknown {
            known.cancelled().await;
        }
    }

    /// Waits until the outcome of what is written to a place is known.
    pub(crate) async fn settled(&self, location: &Location) {
        loop {
            let row = self.rows().get(location).map(|row| row.settled.clone());
            match row {
                Some(settled) => settled.cancelled().await,
                None => return,
            }
        }
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<Location, Row>> {
        let rows = &self.0.unsettled;
        rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LiveWriter {
    fn drop(&mut self) {
        let mut written = self.all.written();
        if let Some(writers) = written.get_mut(&self.location) {
            *writers = writers.saturating_sub(1);
            if *writers == 0 {
                let _ = written.remove(&self.location);
            }
        }
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        let mut rows = self.all.rows();
        let Some(row) = rows.get_mut(&self.location) else {
            return;
        };
        row.files = row.files.saturating_sub(1);
        if row.files == 0
            && let Some(row) = rows.remove(&self.location)
        {
            row.settled.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::storage::{Bucket, Key};

    #[test]
    fn a_file_is_written_as_long_as_a_client_is_there() {
        let unsettled = Unsettled::default();
        let [one, other] = ["a", "b"].map(at);
        let (first, second) = (unsettled.writes(&one), unsettled.writes(&one));
        assert!(unsettled.is_written(&one) && !unsettled.is_written(&other));
        drop(first);
        assert!(unsettled.is_written(&one));
        drop(second);
        assert!(!unsettled.is_written(&one));
        assert!(unsettled.written().is_empty());
    }

    fn at(key: &str) -> Location {
        Location {
            bucket: Bucket::parse("bucket").unwrap(),
            key: Key::parse(key).unwrap(),
        }
    }

    #[test]
    fn whoever_asks_waits_until_the_last_outcome_is_known() {
        let unsettled = Unsettled::default();
        let [one, other] = ["a", "b"].map(at);
        let (first, second) = (unsettled.begin(&one), unsettled.begin(&one));
        assert!(unsettled.settled(&other).now_or_never().is_some());
        drop(first);
        assert!(unsettled.settled(&one).now_or_never().is_none());
        drop(second);
        assert!(unsettled.settled(&one).now_or_never().is_some());
        assert!(unsettled.rows().is_empty());
    }
}
