//! A store whose credentials end: renewed before they do, and once more when S3 says that they
//! have ended early.
//!
//! Nothing runs in the background: the call that finds them due renews them, and only that one
//! waits. The others go on with what they have while it is good, and wait when it is not. A call
//! that S3 refused as expired did nothing, so it is made again, once, with new credentials.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;

use crate::clock::Clock;
use crate::limits::{RENEWAL_GUESS_PAUSE, RENEWAL_LEAD, RENEWAL_PAUSE};
use crate::refusal::{Refusal, Verdict};
use crate::storage::{
    Bucket, ByteRange, Capabilities, Checksum, CompletedPart, ETag, ListPage, ListQuery, Location,
    NewObject, ObjectBody, ObjectMeta, ObjectStore, PartNumber, Precondition, Result, SharedStore,
    StorageError, StorageErrorKind, Stored, UploadId,
};

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
    renewal: Arc<dyn Renewal>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Held by the one who renews.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    held: Held,
    /// Why the last renewal failed, and how long nobody tries again.
    failed: Option<(StorageError, Instant)>,
}

#[derive(Debug, Clone)]
struct Held {
    store: SharedStore,
    /// Tells one set of credentials from the next.
    number: u64,
    since: Instant,
    /// When they are renewed, and when they end.
    times: Option<(Instant, Instant)>,
}

/// What is wrong with the credentials at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    None,
    /// They are good, but not for long.
    Soon,
    /// They cannot be used.
    Now,
}

impl Renewed {
    pub(super) fn new(first: Fresh, renewal: Arc<dyn Renewal>, clock: Arc<dyn Clock>) -> Self {
        let held = Held::new(first, 0, clock.now());
        Self {
            renewal,
            clock,
            state: Mutex::new(State { held, failed: None }),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Makes a call, and again if S3 says that the credentials have ended.
    ///
    /// `bare`: the call's refusals have no body, so they do not say why. S3 answers 400 to a HEAD
    /// with expired credentials.
    async fn through<T, F>(&self, bare: bool, call: impl Fn(SharedStore) -> F + Send) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
    {
        let held = self.usable().await?;
        let (error, pause) = match call(held.store.clone()).await {
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
        match self.after(&held, pause).await {
            Some(store) => call(store).await,
            None => Err(error),
        }
    }

    /// Returns credentials that are good now.
    async fn usable(&self) -> Result<Held> {
        let held = self.state().held.clone();
        let turn = match held.need(self.clock.now()) {
            Need::None => return Ok(held),
            // Somebody is at it already.
            Need::Soon => match self.turn.try_lock() {
                Ok(turn) => turn,
                Err(_) => return Ok(held),
            },
            Need::Now => self.turn.lock().await,
        };
        let outcome = self.renew(held.number).await;
        drop(turn);
        match outcome {
            Ok(held) => Ok(held),
            Err(_) if held.need(self.clock.now()) == Need::Soon => Ok(held),
            Err(error) => Err(error),
        }
    }

    /// Returns the store to try again with, once `failed` has been refused as expired.
    async fn after(&self, failed: &Held, pause: Duration) -> Option<SharedStore> {
        let _turn = self.turn.lock().await;
        let now = self.clock.now();
        if self.state().held.number == failed.number
            && now.saturating_duration_since(failed.since) < pause
        {
            // They are as good as new: more of them would help as little.
            return None;
        }
        Some(self.renew(failed.number).await.ok()?.store)
    }

    /// Renews the credentials if nobody did since; the caller has the turn.
    async fn renew(&self, known: u64) -> Result<Held> {
        {
            let state = self.state();
            if state.held.number != known {
                return Ok(state.held.clone());
            }
            if let Some((error, until)) = &state.failed
                && self.clock.now() < *until
            {
                return Err(error.clone());
            }
        }
        let renewed = self.renewal.renew().await;
        let now = self.clock.now();
        let mut state = self.state();
        match renewed {
            Ok(fresh) => {
                let number = known.wrapping_add(1);
                state.held = Held::new(fresh, number, now);
                state.failed = None;
                tracing::debug!(number, "credentials renewed");
                Ok(state.held.clone())
            }
            Err(refusal) => {
                tracing::warn!(
                    reason = refusal.reason.as_str(),
                    detail = refusal.detail.as_deref(),
                    "credentials not renewed"
                );
                let error = expired(&refusal);
                let until = now.checked_add(RENEWAL_PAUSE).unwrap_or(now);
                state.failed = Some((error.clone(), until));
                Err(error)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn new(fresh: Fresh, number: u64, now: Instant) -> Self {
        let mut random = [0];
        // Without randomness the spread is lost and nothing else.
        let [random] = getrandom::fill(&mut random).map_or([0], |()| random);
        let times = fresh.lifetime.and_then(|lifetime| {
            let due = now.checked_add(renewed_after(lifetime, random))?;
            Some((due, now.checked_add(lifetime)?))
        });
        Self {
            store: fresh.store,
            number,
            since: now,
            times,
        }
    }

    fn need(&self, now: Instant) -> Need {
        match self.times {
            Some((_, end)) if now >= end => Need::Now,
            Some((due, _)) if now >= due => Need::Soon,
            Some(_) | None => Need::None,
        }
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

#[async_trait]
impl ObjectStore for Renewed {
    async fn head(&self, location: &Location) -> Result<ObjectMeta> {
        let call = |store: SharedStore| async move { store.head(location).await };
        self.through(true, call).await
    }

    async fn get(
        &self,
        location: &Location,
        range: Option<ByteRange>,
        etag: Option<&ETag>,
    ) -> Result<ObjectBody> {
        let call = |store: SharedStore| async move { store.get(location, range, etag).await };
        self.through(false, call).await
    }

    async fn list(&self, bucket: &Bucket, query: &ListQuery) -> Result<ListPage> {
        let call = |store: SharedStore| async move { store.list(bucket, query).await };
        self.through(false, call).await
    }

    async fn put(
        &self,
        location: &Location,
        payload: Bytes,
        checksum: Checksum,
        object: &NewObject,
        condition: &Precondition,
    ) -> Result<Stored> {
        let call = |store: SharedStore| {
            let payload = payload.clone();
            async move {
                store
                    .put(location, payload, checksum, object, condition)
                    .await
            }
        };
        self.through(false, call).await
    }

    async fn copy(
        &self,
        source: &Location,
        source_etag: &ETag,
        target: &Location,
        object: &NewObject,
        condition: &Precondition,
    ) -> Result<Stored> {
        let call = |store: SharedStore| async move {
            store
                .copy(source, source_etag, target, object, condition)
                .await
        };
        self.through(false, call).await
    }

    async fn delete(&self, location: &Location, etag: Option<&ETag>) -> Result<()> {
        let call = |store: SharedStore| async move { store.delete(location, etag).await };
        self.through(false, call).await
    }

    async fn create(&self, location: &Location, object: &NewObject) -> Result<UploadId> {
        let call = |store: SharedStore| async move { store.create(location, object).await };
        self.through(false, call).await
    }

    async fn part(
        &self,
        location: &Location,
        upload: &UploadId,
        number: PartNumber,
        offset: u64,
        payload: Bytes,
        checksum: Checksum,
    ) -> Result<CompletedPart> {
        let call = |store: SharedStore| {
            let payload = payload.clone();
            async move {
                store
                    .part(location, upload, number, offset, payload, checksum)
                    .await
            }
        };
        self.through(false, call).await
    }

    async fn part_copy(
        &self,
        location: &Location,
        upload: &UploadId,
        number: PartNumber,
        source: &Location,
        source_etag: &ETag,
        range: ByteRange,
    ) -> Result<CompletedPart> {
        let call = |store: SharedStore| async move {
            store
                .part_copy(location, upload, number, source, source_etag, range)
                .await
        };
        self.through(false, call).await
    }

    async fn parts(&self, location: &Location, upload: &UploadId) -> Result<Vec<CompletedPart>> {
        let call = |store: SharedStore| async move { store.parts(location, upload).await };
        self.through(false, call).await
    }

    async fn complete(
        &self,
        location: &Location,
        upload: &UploadId,
        parts: &[CompletedPart],
        checksum: Option<Checksum>,
        condition: &Precondition,
    ) -> Result<Stored> {
        let call = |store: SharedStore| async move {
            store
                .complete(location, upload, parts, checksum, condition)
                .await
        };
        self.through(false, call).await
    }

    async fn abort(&self, location: &Location, upload: &UploadId) -> Result<()> {
        let call = |store: SharedStore| async move { store.abort(location, upload).await };
        self.through(false, call).await
    }

    async fn check_bucket(&self, bucket: &Bucket) -> Result<()> {
        let call = |store: SharedStore| async move { store.check_bucket(bucket).await };
        self.through(true, call).await
    }

    fn capabilities(&self) -> Capabilities {
        self.state().held.store.capabilities()
    }
}

#[cfg(test)]
mod tests;
