//! Two keys of the same account side by side, so that nothing breaks while one replaces the other.
//!
//! One of them is in use. When S3 or STS says that it does not know it (any more), the call did
//! nothing and is made again with the other one; if that one is known, it is in use from then on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::clock::Clock;
use crate::limits::LOG_INTERVAL;
use crate::secret::Secret;
use crate::seldom::Seldom;
use crate::storage::layer::{About, Layer};
use crate::storage::metered::Meter;
use crate::storage::regional::Regional;
use crate::storage::s3::S3Store;
use crate::storage::{Capabilities, Result, SharedStore, StorageError, StorageErrorKind};

/// The second key of a pair.
#[derive(Debug, Clone)]
pub struct NextKey {
    pub access_key: String,
    pub secret_key: Secret,
}

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

    /// Returns the place of the key in use, and that of the other one.
    pub(super) fn places(&self) -> (usize, usize) {
        match self.in_use.load(Ordering::Relaxed) {
            0 => (0, 1),
            _ => (1, 0),
        }
    }

    /// Puts the other key in use, unless that was done already.
    pub(super) fn turn(&self, from: usize, to: usize) {
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
    next: Option<&NextKey>,
    keys: &str,
    meter: &Meter,
    clock: Arc<dyn Clock>,
) -> SharedStore {
    let over = |store| meter.over(Regional::before(store));
    let Some(next) = next else {
        return over(store.clone());
    };
    let second = store.with_keys(&next.access_key, &next.secret_key, None);
    Arc::new(Rotating {
        stores: [over(store.clone()), over(second)],
        rotation: Rotation::new(keys, meter, clock),
    })
}

impl Layer for Rotating {
    async fn around<T, F, R>(&self, about: About<'_>, run: R) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
        R: Fn(SharedStore) -> F + Send + Sync,
    {
        let (used, other) = self.rotation.places();
        let [first, second] = &self.stores;
        let (held, spare) = if used == 0 {
            (first, second)
        } else {
            (second, first)
        };
        let refused = match run(Arc::clone(held)).await {
            Err(error) if is_of_key(about, &error) => error,
            outcome => return outcome,
        };
        match run(Arc::clone(spare)).await {
            Err(error) if is_of_key(about, &error) => Err(refused),
            Err(error) if !says_that_it_is_known(error.kind) => Err(error),
            outcome => {
                self.rotation.turn(used, other);
                outcome
            }
        }
    }

    fn capabilities(&self) -> Capabilities {
        let [first, _] = &self.stores;
        first.capabilities()
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
