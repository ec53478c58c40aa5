//! A store whose credentials end: renewed before they do, and once more when S3 says that they
//! have ended early.
//!
//! The call that finds them due renews them. A call that S3 refused as expired did nothing, so it is
//! made again, once, with new credentials.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::clock::{Clock, random_byte};
use crate::limits::{RENEWAL_GUESS_PAUSE, RENEWAL_LEAD, RENEWAL_PAUSE};
use crate::refreshing::{Refreshing, Schedule, Source};
use crate::refusal::{Refusal, Verdict};
use crate::storage::layer::{About, Layer};
use crate::storage::{Bucket, Capabilities, Result, SharedStore, StorageError, StorageErrorKind};

/// Gets new credentials, in the form of a store that uses them.
#[async_trait]
pub(super) trait Renewal: std::fmt::Debug + Send + Sync + 'static {
    async fn renew(&self) -> std::result::Result<Fresh, Refusal>;
}

/// A store with new credentials.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) store: SharedStore,
    /// `None`: they end when S3 says so.
    pub(super) lifetime: Option<Duration>,
}

/// Passes calls on to the store of the newest credentials.
#[derive(Debug)]
pub(super) struct Renewed {
    stores: Refreshing<Credentials>,
    /// Others differ from it in nothing but their credentials.
    first: SharedStore,
}

/// Where stores with new credentials come from.
#[derive(Debug)]
struct Credentials {
    renewal: Arc<dyn Renewal>,
    clock: Arc<dyn Clock>,
}

impl Renewed {
    pub(super) fn new(first: Fresh, renewal: Arc<dyn Renewal>, clock: Arc<dyn Clock>) -> Self {
        let now = clock.now();
        let credentials = Credentials {
            renewal,
            clock: Arc::clone(&clock),
        };
        let stores = Refreshing::new(credentials, RENEWAL_PAUSE, clock);
        let schedule = first.schedule(now);
        stores.hold(first.store.clone(), schedule);
        Self {
            stores,
            first: first.store,
        }
    }
}

#[async_trait]
impl Source for Credentials {
    type Value = SharedStore;
    type Error = StorageError;

    async fn fetch(&self) -> Result<(SharedStore, Schedule)> {
        match self.renewal.renew().await {
            Ok(fresh) => {
                tracing::debug!("credentials renewed");
                let schedule = fresh.schedule(self.clock.now());
                Ok((fresh.store, schedule))
            }
            Err(refusal) => {
                tracing::warn!(
                    reason = refusal.reason.as_str(),
                    detail = refusal.detail.as_deref(),
                    "credentials not renewed"
                );
                Err(expired(&refusal))
            }
        }
    }

    fn broken(why: &str) -> StorageError {
        let detail = format!("credentials not renewed: {why}");
        StorageError::new(StorageErrorKind::Unavailable, detail)
    }
}

impl Layer for Renewed {
    /// Makes a call, and again if S3 says that the credentials have ended.
    async fn around<T, F, R>(&self, about: About<'_>, run: R) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
        R: Fn(SharedStore) -> F + Send + Sync,
    {
        let bare = about.operation.answers_bare();
        let held = self.stores.get().await?;
        let (error, pause) = match run(held.value).await {
            // The first ones may have been taken back at once; new ones as well is no accident.
            Err(error) if error.kind == StorageErrorKind::Expired && held.number == 0 => {
                (error, Duration::ZERO)
            }
            Err(error) if error.kind == StorageErrorKind::Expired => (error, RENEWAL_PAUSE),
            Err(error) if bare && error.kind == StorageErrorKind::RefusedBare => {
                (error, RENEWAL_GUESS_PAUSE)
            }
            outcome => return outcome,
        };
        match self.stores.another(held.number, pause).await {
            Some(other) => run(other.value).await,
            // Others would be as good as these, and help as little.
            None => Err(error),
        }
    }

    fn capabilities(&self, bucket: &Bucket) -> Capabilities {
        self.first.capabilities(bucket)
    }
}

impl Fresh {
    fn schedule(&self, now: Instant) -> Schedule {
        let random = random_byte().unwrap_or_default();
        self.lifetime.map_or(Schedule::LASTING, |lifetime| {
            Schedule::after(now, renewed_after(lifetime, random), lifetime)
        })
    }
}

/// Returns the age at which credentials are renewed: ten to fifteen minutes before they end, or a
/// quarter to three eighths of a short life.
fn renewed_after(lifetime: Duration, random: u8) -> Duration {
    let lead = RENEWAL_LEAD.min(lifetime / 4);
    let spread = lead * u32::from(random) / 510;
    lifetime.saturating_sub(lead + spread)
}

/// What a failed renewal means for the call that needed it.
fn expired(refusal: &Refusal) -> StorageError {
    let kind = match refusal.verdict() {
        // Asking again changes nothing.
        Verdict::Denied | Verdict::Invalid => StorageErrorKind::Expired,
        Verdict::Unavailable => StorageErrorKind::Unavailable,
    };
    StorageError::new(kind, format!("credentials not renewed: {refusal}"))
}

#[cfg(test)]
mod tests;
