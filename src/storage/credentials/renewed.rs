//! A store whose credentials end: renewed before they do, and once more when S3 says that they
//! have ended early.
//!
//! Nothing runs in the background: the call that finds them due renews them, and only that one
//! waits. The others go on with what they have while it is good, and wait when it is not. A call
//! that S3 refused as expired did nothing, so it is made again, once, with new credentials.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::clock::Clock;
use crate::limits::{RENEWAL_GUESS_PAUSE, RENEWAL_LEAD, RENEWAL_PAUSE};
use crate::refusal::{Refusal, Verdict};
use crate::storage::layer::{About, Layer};
use crate::storage::{Capabilities, Result, SharedStore, StorageError, StorageErrorKind};

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

impl Layer for Renewed {
    /// Makes a call, and again if S3 says that the credentials have ended.
    async fn around<T, F, R>(&self, about: About<'_>, run: R) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
        R: Fn(SharedStore) -> F + Send + Sync,
    {
        let bare = about.operation.answers_bare();
        let held = self.usable().await?;
        let (error, pause) = match run(held.store.clone()).await {
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
            Some(store) => run(store).await,
            None => Err(error),
        }
    }

    fn capabilities(&self) -> Capabilities {
        self.state().held.store.capabilities()
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

#[cfg(test)]
mod tests;
