//! Two keys of the same account side by side, so that nothing breaks while one replaces the other.
//!
//! One of them is in use. When S3 or STS says that it does not know it (any more), the call did
//! nothing and is made again with the other one; if that one is known, it is in use from then on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::aws::AccessKey;
use crate::clock::Clock;
use crate::limits::LOG_INTERVAL;
use crate::seldom::Seldom;
use crate::storage::layer::{About, Layer};
use crate::storage::metered::Meter;
use crate::storage::regional::Regional;
use crate::storage::s3::S3Store;
use crate::storage::{self, Bucket, Capabilities, SharedStore, StorageError, StorageErrorKind};

/// Which of two keys is in use.
#[derive(Debug)]
pub(super) struct Rotation {
    /// Whose keys they are: the section of the configuration.
    keys: Box<str>,
    in_use: AtomicUsize,
    meter: Meter,
    clock: Arc<dyn Clock>,
    line: Seldom,
}

impl Rotation {
    pub(super) fn new(keys: &str, meter: &Meter, clock: Arc<dyn Clock>) -> Self {
        meter.key_in_use(keys, 1);
        Self {
            keys: keys.into(),
            in_use: AtomicUsize::default(),
            meter: meter.clone(),
            clock,
            line: Seldom::default(),
        }
    }

    /// Makes a call with what stands for the key in use, and once more with the other one if that
    /// key is refused. If the other one is known, it is in use from then on.
    pub(super) async fn either<'c, C, T, E, F>(
        &self,
        [first, second]: [&'c C; 2],
        run: impl Fn(&'c C) -> F,
        told: impl Fn(&E) -> KeyTold,
    ) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let (used, other, held, spare) = match self.in_use.load(Ordering::Relaxed) {
            0 => (0, 1, first, second),
            _ => (1, 0, second, first),
        };
        let refused = match run(held).await {
            Err(error) if told(&error) == KeyTold::Unknown => error,
            outcome => return outcome,
        };
        let outcome = run(spare).await;
        match outcome.as_ref().map_err(told) {
            Err(KeyTold::Unknown) => Err(refused),
            Err(KeyTold::Nothing) => outcome,
            Ok(_) | Err(KeyTold::Known) => {
                self.turn(used, other);
                outcome
            }
        }
    }

    /// Puts the other key in use, unless that was done already.
    fn turn(&self, from: usize, to: usize) {
        let (order, position) = (Ordering::Relaxed, to.saturating_add(1));
        let turned = self.in_use.compare_exchange(from, to, order, order);
        if turned.is_err() {
            return;
        }
        self.meter.key_in_use(&self.keys, position);
        if let Some(unlogged) = self.line.due(self.clock.now(), LOG_INTERVAL) {
            let keys = &*self.keys;
            tracing::warn!(
                keys,
                position,
                unlogged,
                "S3 no longer takes the access key in use: the other one is used"
            );
        }
    }
}

/// A store under two keys.
#[derive(Debug)]
struct Rotating {
    stores: [SharedStore; 2],
    rotation: Rotation,
}

/// Counts what is asked of a store, and tries a second key where there is one.
pub(super) fn counted(
    store: &S3Store,
    next: Option<&AccessKey>,
    keys: &str,
    meter: &Meter,
    clock: Arc<dyn Clock>,
) -> SharedStore {
    let over = |store| meter.over(Regional::before(store));
    let Some(next) = next else {
        return over(store.clone());
    };
    let second = store.with_key(next);
    Arc::new(Rotating {
        stores: [over(store.clone()), over(second)],
        rotation: Rotation::new(keys, meter, clock),
    })
}

impl Layer for Rotating {
    async fn around<T, F, R>(&self, about: About<'_>, run: R) -> storage::Result<T>
    where
        T: Send,
        F: Future<Output = storage::Result<T>> + Send,
        R: Fn(SharedStore) -> F + Send + Sync,
    {
        let told = |error: &StorageError| told(about, error);
        let run = |store: &SharedStore| run(Arc::clone(store));
        self.rotation
            .either(self.stores.each_ref(), run, told)
            .await
    }

    fn capabilities(&self, bucket: &Bucket) -> Capabilities {
        let [first, _] = &self.stores;
        first.capabilities(bucket)
    }
}

/// What a failure tells about the key that was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyTold {
    /// The key is refused, or may be.
    Unknown,
    /// The key is good: the call failed for something else.
    Known,
    Nothing,
}

fn told(about: About<'_>, error: &StorageError) -> KeyTold {
    if is_of_key(about, error) {
        KeyTold::Unknown
    } else if says_that_it_is_known(error.kind) {
        KeyTold::Known
    } else {
        KeyTold::Nothing
    }
}

/// Says whether a call was refused for its key, or may have been: the refusal of a HEAD says no
/// more than that.
fn is_of_key(about: About<'_>, error: &StorageError) -> bool {
    let bare = matches!(
        error.kind,
        StorageErrorKind::Denied | StorageErrorKind::RefusedBare
    );
    error.key_refused || (bare && about.operation.answers_bare())
}

/// Says whether a failure can only come to whose key is known.
const fn says_that_it_is_known(kind: StorageErrorKind) -> bool {
    match kind {
        StorageErrorKind::NotFound
        | StorageErrorKind::NoSuchBucket
        | StorageErrorKind::NoSuchUpload
        | StorageErrorKind::Precondition
        | StorageErrorKind::RangeNotSatisfiable
        | StorageErrorKind::Denied => true,
        StorageErrorKind::ClockSkew
        | StorageErrorKind::Expired
        | StorageErrorKind::Throttled
        | StorageErrorKind::Unavailable
        | StorageErrorKind::OutcomeUnknown
        | StorageErrorKind::ChecksumMismatch
        | StorageErrorKind::Refused
        | StorageErrorKind::RefusedBare => false,
    }
}
