//! Files whose session has ended, and of which it is not known yet what becomes of them.
//!
//! A client that comes back asks for the size of what it sent. As long as the session that it lost
//! stores that, whoever asks for the file waits for the outcome.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::storage::Location;

/// The files of the process whose outcome is open.
#[derive(Debug, Clone, Default)]
pub struct Unsettled(Arc<Mutex<HashMap<Location, Row>>>);

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

impl Unsettled {
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn whoever_asks_waits_until_the_last_outcome_is_known() {
        let unsettled = Unsettled::default();
        let [one, other] = ["a", "b"].map(|key| Location {
            bucket: Bucket::parse("bucket").unwrap(),
            key: Key::parse(key).unwrap(),
        });
        let (first, second) = (unsettled.begin(&one), unsettled.begin(&one));
        assert!(unsettled.settled(&other).now_or_never().is_some());
        drop(first);
        assert!(unsettled.settled(&one).now_or_never().is_none());
        drop(second);
        assert!(unsettled.settled(&one).now_or_never().is_some());
        assert!(unsettled.rows().is_empty());
    }
}
