//! Where the keys come from: a file, or a URL whose answer is kept for a bounded time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use reqwest::header::ACCEPT;
use reqwest::{Client, StatusCode, Url};
use tokio_util::task::TaskTracker;

use super::keys::{KeySet, KeySetError};
use crate::clock::Clock;
use crate::config;
use crate::idp::follow::{Reloaded, Seen};
use crate::idp::webhook::client::encoding;
use crate::limits;
use crate::refusal::{Reason, Refusal};
use crate::tasks::spawn_tracked;

/// The keys of a file.
#[derive(Debug)]
pub(super) struct KeyFile {
    path: String,
    current: RwLock<Arc<KeySet>>,
    seen: Seen,
}

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("{path}: {source}")]
    Read {
        path: String,
        source: std::io::Error,
    },
    #[error("{path}: {source}")]
    Set { path: String, source: KeySetError },
}

impl KeyFile {
    pub(super) fn open(path: &str) -> Result<Self, KeyFileError> {
        let seen = Seen::now(&[path]);
        let keys = Self::read(path)?;
        Ok(Self {
            path: path.to_owned(),
            current: RwLock::new(Arc::new(keys)),
            seen,
        })
    }

    fn read(path: &str) -> Result<KeySet, KeyFileError> {
        let path = || path.to_owned();
        let text = config::read_text(&path(), limits::JWKS_BYTES_MAX);
        let text = text.map_err(|source| KeyFileError::Read {
            path: path(),
            source,
        })?;
        KeySet::parse(text.as_bytes()).map_err(|source| KeyFileError::Set {
            path: path(),
            source,
        })
    }

    pub(super) fn keys(&self) -> Arc<KeySet> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }

    pub(super) fn changed(&self) -> bool {
        self.seen.changed(&[&self.path])
    }

    pub(super) fn reload(&self) -> Reloaded {
        match Self::read(&self.path) {
            Ok(keys) => {
                tracing::info!(file = &self.path, keys = keys.len(), "token keys reloaded");
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
                Reloaded::Done
            }
            Err(error) => {
                tracing::error!(%error, "the token keys cannot be used: the old keys stay in use");
                Reloaded::Failed
            }
        }
    }
}

/// How long keys from a URL are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyTimes {
    pub fresh_for: Duration,
    /// How much longer, while they cannot be fetched.
    pub stale_for: Duration,
    /// A token of an unknown key has them fetched no sooner than this after the last time.
    pub refetch_after: Duration,
}

/// The keys of a URL.
#[derive(Debug)]
pub(super) struct Remote(Arc<Source>);

#[derive(Debug)]
struct Source {
    client: RwLock<Client>,
    url: Url,
    timeout: Duration,
    times: KeyTimes,
    clock: Arc<dyn Clock>,
    held: Mutex<Held>,
    /// Whoever holds it fetches; the others wait for what comes of it.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// A fetch goes on when the login that began it is given up.
    fetches: TaskTracker,
}

/// What was fetched, and when (pure).
#[derive(Debug, Default)]
struct Held {
    keys: Option<(Arc<KeySet>, Instant)>,
    /// The end of the last fetch, whatever came of it.
    tried_at: Option<Instant>,
    fault: String,
}

impl Held {
    /// Says whether the keys are to be fetched now.
    fn is_due(&self, times: KeyTimes, unknown_key: bool, now: Instant) -> bool {
        let pause = match &self.keys {
            Some((_, at)) if now.saturating_duration_since(*at) < times.fresh_for => {
                if !unknown_key {
                    return false;
                }
                times.refetch_after
            }
            Some(_) | None => FAILURE_PAUSE,
        };
        self.tried_at
            .is_none_or(|at| now.saturating_duration_since(at) >= pause)
    }

    /// Returns the keys as long as they may be used at all.
    fn usable(&self, times: KeyTimes, now: Instant) -> Option<Arc<KeySet>> {
        let (keys, at) = self.keys.as_ref()?;
        let longest = times.fresh_for.saturating_add(times.stale_for);
        (now.saturating_duration_since(*at) < longest).then(|| Arc::clone(keys))
    }
}

impl Remote {
    pub(super) fn new(
        client: Client,
        url: Url,
        timeout: Duration,
        times: KeyTimes,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self(Arc::new(Source {
            client: RwLock::new(client),
            url,
            timeout,
            times,
            clock,
            held: Mutex::default(),
            turn: Arc::default(),
            fetches: TaskTracker::new(),
        }))
    }

    /// Asks as another one would, from the next fetch on.
    pub(super) fn take_connection_of(&self, other: &Self) {
        let client = other.0.client();
        let mut own = self
            .0
            .client
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *own = client;
    }

    pub(super) fn place(&self) -> Option<(String, u16)> {
        let host = self.0.url.host_str()?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Some((host.to_owned(), self.0.url.port_or_known_default()?))
    }

    /// Returns the keys, fetched again if they are due.
    pub(super) async fn keys(&self, unknown_key: bool) -> Result<Arc<KeySet>, Refusal> {
        if self.0.is_due(unknown_key) {
            // Those at hand are of no use for an unknown key.
            let usable = !unknown_key && self.0.usable().is_ok();
            let fetched = self.fetched(unknown_key);
            if usable {
                // Out of time or not: the old ones stand in.
                let _ = tokio::time::timeout(limits::KEYS_WAIT, fetched).await;
            } else {
                fetched.await;
            }
        }
        self.0.usable()
    }

    /// Waits for a fetch, somebody else's or one that goes on when nobody waits any more.
    async fn fetched(&self, unknown_key: bool) {
        let turn = Arc::clone(&self.0.turn).lock_owned().await;
        // Somebody may have fetched them meanwhile.
        if self.0.is_due(unknown_key) {
            let source = Arc::clone(&self.0);
            let fetch = async move {
                source.fetch().await;
                drop(turn);
            };
            // A panic is reported by the runtime, and is like a fetch that failed.
            drop(spawn_tracked(&self.0.fetches, fetch).await);
        }
    }
}

impl Source {
    fn client(&self) -> Client {
        let client = self.client.read().unwrap_or_else(PoisonError::into_inner);
        client.clone()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn usable(&self) -> Result<Arc<KeySet>, Refusal> {
        let held = self.held();
        let usable = held.usable(self.times, self.clock.now());
        usable.ok_or_else(|| Reason::TokenKeys.because(&held.fault))
    }

    fn is_due(&self, unknown_key: bool) -> bool {
        let now = self.clock.now();
        self.held().is_due(self.times, unknown_key, now)
    }

    async fn fetch(&self) {
        let began = self.clock.now();
        let fetched = tokio::time::timeout(self.timeout, self.get()).await;
        let fetched = fetched.unwrap_or_else(|_| Err("no complete answer in time".to_owned()));
        let mut held = self.held();
        held.tried_at = Some(self.clock.now());
        match fetched {
            Ok(keys) => {
                tracing::debug!(keys = keys.len(), "token keys fetched");
                // From the beginning: the answer may have been made then.
                held.keys = Some((Arc::new(keys), began));
            }
            Err(fault) => {
                tracing::warn!(fault, "the token keys cannot be fetched");
                held.fault = fault;
            }
        }
    }

    async fn get(&self) -> Result<KeySet, String> {
        let words = |error: reqwest::Error| crate::causes::chain(&error.without_url());
        let request = self.client().get(self.url.clone());
        let request = request.header(ACCEPT, "application/json");
        let mut response = request.send().await.map_err(words)?;
        if response.status() != StatusCode::OK {
            return Err(format!("the status was {}", response.status().as_u16()));
        }
        if let Some(how) = encoding(&response) {
            return Err(format!("the key set is compressed: {how}"));
        }
        let longest = usize::try_from(limits::JWKS_BYTES_MAX).unwrap_or(usize::MAX);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(words)? {
            if body.len().saturating_add(chunk.len()) > longest {
                return Err(format!("the key set is longer than {longest} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        KeySet::parse(&body).map_err(|error| error.to_string())
    }
}

/// After a fetch that failed, while keys are needed.
const FAILURE_PAUSE: Duration = Duration::from_secs(2);
