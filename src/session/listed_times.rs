//! The times that listings show of files, and their modes. S3 lists its own times; what was stored
//! with a file is told by a HEAD of that file, and remembered for its version.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::idp::UserConfig;
use crate::limits::{LISTED_HEADS_PER_USER_MAX, LISTED_TIMES_MAX};
use crate::sftp::Given;
use crate::storage::{
    Bucket, Key, ListPage, ListQuery, ListedObject, Location, ObjectStore, Result, StorageErrorKind,
};

use super::listed::Listed;
use super::stored_time::stored_with;

/// What the process remembers of stored times and modes, or that it shows S3's own times.
#[derive(Debug, Clone)]
pub struct ListedTimes {
    remembered: Option<Arc<Mutex<Remembered>>>,
    modes: bool,
}

/// Versions of objects by their hash, in two generations: the older one goes when the younger one
/// is full.
#[derive(Debug, Default)]
struct Remembered {
    young: HashMap<Hash, Given>,
    old: HashMap<Hash, Given>,
}

type Hash = [u8; 16];

impl ListedTimes {
    /// `stored`: those that were stored with files, where there are any.
    #[must_use]
    pub fn new(stored: bool) -> Self {
        Self {
            remembered: stored.then(Arc::default),
            modes: false,
        }
    }

    /// The same, with the modes and owners that were stored.
    #[must_use]
    pub fn with_modes(self, modes: bool) -> Self {
        Self { modes, ..self }
    }

    /// Says whether each file that is listed may cost a call.
    pub(crate) const fn asks(&self) -> bool {
        self.remembered.is_some()
    }

    /// Fetches a page, with the times that were stored with its files.
    ///
    /// # Errors
    /// Those of the listing, and a store that cannot be asked about a file: a listing never shows
    /// now one time and then the other.
    pub(crate) async fn fetch(
        &self,
        listed: &Listed,
        query: &ListQuery,
        (store, clock, user, turns): With<'_>,
    ) -> Result<ListPage> {
        let mut page = listed.fetch(store, query).await?;
        if let (Some(remembered), Listed::Folder(folder)) = (&self.remembered, listed) {
            let asker = Asker {
                store,
                clock,
                user,
                turns,
                remembered,
                modes: self.modes,
                bucket: &folder.bucket,
            };
            asker.put_into(&mut page).await?;
        }
        Ok(page)
    }
}

/// What pages are asked for with: the user's turns bound how many files are asked about at once.
pub(crate) type With<'a> = (
    &'a dyn ObjectStore,
    &'a dyn Clock,
    &'a UserConfig,
    &'a Semaphore,
);

/// Who asks about the files of one page.
#[derive(Debug, Clone, Copy)]
struct Asker<'a> {
    store: &'a dyn ObjectStore,
    clock: &'a dyn Clock,
    user: &'a UserConfig,
    turns: &'a Semaphore,
    remembered: &'a Mutex<Remembered>,
    modes: bool,
    bucket: &'a Bucket,
}

impl Asker<'_> {
    async fn put_into(self, page: &mut ListPage) -> Result<()> {
        // In boxes: the compiler cannot tell that futures of a closure may go to another thread.
        let mut asked: Vec<BoxFuture<'_, Result<()>>> = Vec::with_capacity(page.objects.len());
        for object in &mut page.objects {
            // A directory's marker is shown as `.`, if at all; nothing is stored with a deletion.
            if !object.key.ends_with('/') && !object.etag.is_deletion() {
                asked.push(self.put_stored(object).boxed());
            }
        }
        let mut asked = stream::iter(asked).buffer_unordered(LISTED_HEADS_PER_USER_MAX);
        while let Some(outcome) = asked.next().await {
            outcome?;
        }
        Ok(())
    }

    async fn put_stored(self, object: &mut ListedObject) -> Result<()> {
        let stored = self.stored(object).await?;
        if let Some(time) = stored.modified {
            object.modified = UNIX_EPOCH + Duration::from_secs(time.into());
        }
        if self.modes {
            (object.mode, object.owner) = (stored.mode, stored.owner);
        }
        Ok(())
    }

    async fn stored(self, object: &ListedObject) -> Result<Given> {
        let hash = hash(self.user, self.bucket, object);
        let known = held(self.remembered).get(&hash);
        if let Some(stored) = known {
            return Ok(stored);
        }
        // Nobody closes it.
        let _turn = self.turns.acquire().await.ok();
        let Some(stored) = ask(self.store, self.bucket, object).await? else {
            return Ok(Given::default());
        };
        if is_settled(object, self.clock) {
            held(self.remembered).add(hash, stored);
        }
        Ok(stored)
    }
}

/// Asks for what was stored with an object; `None`: nobody says, or it is another version
/// by now.
async fn ask(
    store: &dyn ObjectStore,
    bucket: &Bucket,
    object: &ListedObject,
) -> Result<Option<Given>> {
    let Ok(key) = Key::parse(&object.key) else {
        return Ok(None);
    };
    let location = Location {
        bucket: bucket.clone(),
        key,
    };
    match store.head(&location).await {
        Ok(meta) if meta.etag == object.etag => Ok(Some(stored_with(&meta))),
        Ok(_) => Ok(None),
        Err(error) => match error.kind {
            // The user may list it, or it is gone: S3's own time is all there is.
            StorageErrorKind::NotFound
            | StorageErrorKind::NoSuchBucket
            | StorageErrorKind::Denied
            | StorageErrorKind::Refused
            | StorageErrorKind::RefusedBare => Ok(None),
            StorageErrorKind::NoSuchUpload
            | StorageErrorKind::Precondition
            | StorageErrorKind::RangeNotSatisfiable
            | StorageErrorKind::ClockSkew
            | StorageErrorKind::Expired
            | StorageErrorKind::Throttled
            | StorageErrorKind::Unavailable
            | StorageErrorKind::OutcomeUnknown
            | StorageErrorKind::ChecksumMismatch => Err(error),
        },
    }
}

/// Says whether a version is known by the second in which it was stored: another one that is made
/// in the same second with the same bytes looks alike.
fn is_settled(object: &ListedObject, clock: &dyn Clock) -> bool {
    let age = clock.wall().duration_since(object.modified);
    age.is_ok_and(|age| age >= SETTLED_AFTER)
}

/// What one user may see is not remembered for another.
fn hash(user: &UserConfig, bucket: &Bucket, object: &ListedObject) -> Hash {
    let modified = object.modified.duration_since(UNIX_EPOCH);
    let modified = modified.unwrap_or_default().as_millis().to_be_bytes();
    let parts = [
        user.provider.as_bytes(),
        user.user.as_bytes(),
        bucket.as_str().as_bytes(),
        object.key.as_bytes(),
        object.etag.0.as_bytes(),
        &modified,
        // The name of a version may be that of a file as well.
        &[u8::from(bucket.is_history())],
    ];
    let mut hasher = Sha256::new();
    for part in parts {
        let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
        hasher.update(length.to_be_bytes());
        hasher.update(part);
    }
    let digest: [u8; 32] = hasher.finalize().into();
    let mut hash = Hash::default();
    for (to, from) in hash.iter_mut().zip(digest) {
        *to = from;
    }
    hash
}

impl Remembered {
    fn get(&self, hash: &Hash) -> Option<Given> {
        let found = self.young.get(hash).or_else(|| self.old.get(hash));
        found.copied()
    }

    fn add(&mut self, hash: Hash, stored: Given) {
        if self.young.len() >= LISTED_TIMES_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash, stored);
    }
}

fn held(remembered: &Mutex<Remembered>) -> MutexGuard<'_, Remembered> {
    remembered.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How old a version is that is taken for the only one of its second; clocks may differ a little.
const SETTLED_AFTER: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_times_are_remembered() {
        let mut remembered = Remembered::default();
        for number in 0..3 * u32::try_from(LISTED_TIMES_MAX).unwrap() {
            let mut hash = Hash::default();
            hash[..4].copy_from_slice(&number.to_be_bytes());
            let stored = Given {
                modified: Some(number),
                ..Given::default()
            };
            remembered.add(hash, stored);
            assert_eq!(remembered.get(&hash), Some(stored));
        }
        let all = remembered.young.len() + remembered.old.len();
        assert!(all <= LISTED_TIMES_MAX, "{all}");
        assert!(all >= LISTED_TIMES_MAX / 2, "{all}");
    }
}
