//! Where the keys come from: a file, or a URL whose answer is kept for a bounded time.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::ACCEPT;
use reqwest::{Client, StatusCode};

use super::keys::{KeySet, KeySetError};
use crate::clock::Clock;
use crate::config;
use crate::endpoint::without_brackets;
use crate::idp::follow::{Reloaded, Seen};
use crate::idp::webhook::client::encoding;
use crate::limits;
use crate::refreshing::{Held, Refreshing, Schedule, Source};
use crate::refusal::{Reason, Refusal};

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
pub(super) struct Remote(Refreshing<Url>);

/// Where the keys are fetched.
#[derive(Debug)]
struct Url {
    client: RwLock<Client>,
    url: reqwest::Url,
    timeout: Duration,
    times: KeyTimes,
    clock: Arc<dyn Clock>,
}

impl Remote {
    pub(super) fn new(
        client: Client,
        url: reqwest::Url,
        timeout: Duration,
        times: KeyTimes,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let url = Url {
            client: RwLock::new(client),
            url,
            timeout,
            times,
            clock: Arc::clone(&clock),
        };
        Self(Refreshing::new(url, FAILURE_PAUSE, clock))
    }

    /// Asks as another one would, from the next fetch on.
    pub(super) fn take_connection_of(&self, other: &Self) {
        let client = other.0.source().client();
        let own = &self.0.source().client;
        *own.write().unwrap_or_else(PoisonError::into_inner) = client;
    }

    pub(super) fn place(&self) -> Option<(String, u16)> {
        let url = &self.0.source().url;
        let host = url.host_str()?;
        Some((
            without_brackets(host).to_owned(),
            url.port_or_known_default()?,
        ))
    }

    /// Returns the keys, fetched again if they are due.
    pub(super) async fn keys(&self) -> Result<Held<Arc<KeySet>>, Refusal> {
        let held = self.0.get().await;
        held.map_err(|fault| Reason::TokenKeys.because(&fault))
    }

    /// Returns other keys than those of this number, if there may be some by now.
    pub(super) async fn another(&self, known: u64) -> Option<Arc<KeySet>> {
        let pause = self.0.source().times.refetch_after;
        self.0.another(known, pause).await.map(|held| held.value)
    }
}

#[async_trait]
impl Source for Url {
    type Value = Arc<KeySet>;
    type Error = Box<str>;

    async fn fetch(&self) -> Result<(Arc<KeySet>, Schedule), Box<str>> {
        let began = self.clock.now();
        let fetched = tokio::time::timeout(self.timeout, self.get()).await;
        let fetched = fetched.unwrap_or_else(|_| Err("no complete answer in time".to_owned()));
        match fetched {
            Ok(keys) => {
                tracing::debug!(keys = keys.len(), "token keys fetched");
                let (fresh, stale) = (self.times.fresh_for, self.times.stale_for);
                // From the beginning: the answer may have been made then.
                let schedule = Schedule::after(began, fresh, fresh.saturating_add(stale));
                Ok((Arc::new(keys), schedule))
            }
            Err(fault) => {
                tracing::warn!(fault, "the token keys cannot be fetched");
                Err(fault.into())
            }
        }
    }

    fn broken(why: &str) -> Box<str> {
        why.into()
    }
}

impl Url {
    fn client(&self) -> Client {
        let client = self.client.read().unwrap_or_else(PoisonError::into_inner);
        client.clone()
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
