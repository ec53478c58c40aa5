//! Users, looked up where the configuration has them: the only place of `rehearse` that knows
//! providers.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;

use crate::auth::AuthSettings;
use crate::compose::Composition;
use crate::compose::providers::{self, Opened};
use crate::config::{Algorithms, Listener, Provider};
use crate::idp::static_file::StaticFile;
use crate::idp::{Asking as OfLogin, Credential, IdentityProvider, Judged, Question};
use crate::refusal::{Reason, Verdict};
use crate::rehearse::{Known, Rules};
use crate::ssh;
use crate::storage::credentials::Stores;

/// Looks users up, as a login would, without a password.
pub(super) struct Asking {
    provider: Arc<dyn IdentityProvider>,
    auth: AuthSettings,
    algorithms: Algorithms,
    met: Arc<Mutex<Met>>,
    /// S3, where users are kept in a bucket.
    _stores: Option<Arc<dyn Stores>>,
}

/// What a look-up met on its way.
#[derive(Debug, Clone, Copy, Default)]
struct Met {
    /// A provider that is not asked.
    unasked: bool,
    /// A provider that may know passwords of users whose look-up it refuses.
    passwords: bool,
    has_password: Option<bool>,
}

/// A provider in the place of another one.
#[derive(Debug)]
struct Rehearsed {
    means: Means,
    met: Arc<Mutex<Met>>,
}

#[derive(Debug)]
enum Means {
    File(Arc<StaticFile>),
    Kept(Arc<dyn IdentityProvider>),
    Asked(Arc<dyn IdentityProvider>),
    NotAsked,
}

impl Asking {
    /// Puts the providers in the order of the listener.
    ///
    /// # Errors
    /// S3 cannot be set up.
    pub(super) async fn open(
        composition: &Composition<'_>,
        listener: &Listener,
        asks: bool,
    ) -> anyhow::Result<Self> {
        let stores = if asks {
            Some(composition.stores(&Arc::default()).await?)
        } else {
            None
        };
        let met = Arc::<Mutex<Met>>::default();
        let asked: Vec<_> = composition
            .opened
            .iter()
            .map(|one| {
                let rehearsed = Rehearsed {
                    means: Means::of(one, asks),
                    met: Arc::clone(&met),
                };
                (one, Arc::new(rehearsed) as Arc<dyn IdentityProvider>)
            })
            .collect();
        let (provider, auth) = providers::at(listener, &asked);
        Ok(Self {
            provider,
            auth,
            algorithms: listener.algorithms,
            met,
            _stores: stores,
        })
    }

    pub(super) fn rules(&self, now: SystemTime) -> Rules {
        Rules {
            methods: self.auth.methods,
            key_exchanges: ssh::key_exchanges(self.algorithms),
            ciphers: ssh::ciphers(),
            now,
        }
    }

    /// Looks a user up.
    pub(super) async fn look_up(&self, user: &str, source: Option<IpAddr>) -> Known {
        if !self.auth.user_names.allows(user) {
            return Known::Refused {
                reason: Reason::UserName,
                only_keys: false,
            };
        }
        let question = Question {
            request_id: "rehearsal".into(),
            username: user.into(),
            credential: Credential::PublicKey,
            source_ip: source.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            session_id: "rehearsal".into(),
            asking: OfLogin::default(),
        };
        *self.met.lock().unwrap_or_else(PoisonError::into_inner) = Met::default();
        let judged = self.provider.ask(&question).await;
        let met = *self.met.lock().unwrap_or_else(PoisonError::into_inner);
        match judged {
            Ok(config) => Known::found(config, met.has_password),
            Err(_) if met.unasked => Known::NotAsked,
            Err(refusal) => match refusal.verdict() {
                Verdict::Unavailable => Known::NotAsked,
                Verdict::Denied | Verdict::Invalid => Known::Refused {
                    reason: refusal.reason,
                    only_keys: met.passwords,
                },
            },
        }
    }
}

impl Means {
    fn of(opened: &Opened<'_>, asks: bool) -> Self {
        let provider: Arc<dyn IdentityProvider> = opened.provider.clone();
        match (opened.identity.provider(), &opened.file) {
            (_, Some(file)) => Self::File(Arc::clone(file)),
            (Provider::ServiceManaged, None) if asks || opened.users_bucket().is_none() => {
                Self::Kept(provider)
            }
            (
                Provider::Webhook
                | Provider::ApiGateway
                | Provider::Lambda
                | Provider::Static
                | Provider::Token,
                None,
            ) if asks => Self::Asked(provider),
            (
                Provider::Webhook
                | Provider::ApiGateway
                | Provider::Lambda
                | Provider::Static
                | Provider::Token
                | Provider::ServiceManaged,
                None,
            ) => Self::NotAsked,
        }
    }
}

#[async_trait]
impl IdentityProvider for Rehearsed {
    async fn ask(&self, question: &Question) -> Judged {
        let note = |note: &dyn Fn(&mut Met)| {
            note(&mut self.met.lock().unwrap_or_else(PoisonError::into_inner));
        };
        match &self.means {
            Means::File(file) => match file.described(&question.username) {
                Some((config, has_password)) => {
                    note(&|met| met.has_password = Some(has_password));
                    Ok(config)
                }
                None => Err(Reason::UnknownUser.into()),
            },
            Means::Kept(provider) => provider.ask(question).await,
            Means::Asked(provider) => {
                note(&|met| met.passwords = true);
                provider.ask(question).await
            }
            Means::NotAsked => {
                note(&|met| met.unasked = true);
                Err(Reason::GivenUp.into())
            }
        }
    }
}
