//! The token provider: the password is a JWT of the operator's issuer, and its claims say what the
//! user sees. Nobody is asked; only the issuer's public keys are fetched now and then.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jsonwebtoken::{Algorithm, AlgorithmFamily};
use reqwest::Url;

use self::judge::{Accepted, Envelope, Rules};
use self::jwks::{KeyFile, Remote};
pub use self::jwks::{KeyFileError, KeyTimes};
use self::keys::KeySet;
pub use self::keys::KeySetError;
pub use self::template::TemplateError;
use self::template::{Row, Template, Values};
use super::follow::{Followed, Reloaded};
use super::webhook::client::{self, ClientSettings};
use super::webhook::{ClientError, may_carry};
use super::wire;
use super::wire::json::Object;
use super::{Credential, Examined, Exchange, IdentityProvider, Judged, Question, UserConfig};
use crate::clock::Clock;
use crate::limits;
use crate::metrics::Holding;
use crate::refusal::{Reason, Refusal};
use crate::secret::Secret;
use crate::vfs::{HomeDirectory, VirtualPath};

mod judge;
mod jwks;
mod keys;
mod template;

/// What the operator set.
#[derive(Debug, Clone)]
pub struct TokenSettings {
    pub keys: KeySource,
    pub issuer: String,
    pub audience: String,
    /// As in the header of a token: `RS256`.
    pub algorithms: Vec<String>,
    pub clock_skew: Duration,
    /// The claim that must equal the user name.
    pub user_claim: String,
    /// Rows of `entry=target:access`, with claims in braces.
    pub mappings: Vec<String>,
    pub home: Option<String>,
    pub role: Option<String>,
    pub policy: Option<String>,
}

/// Where the issuer's keys are.
#[derive(Debug, Clone)]
pub enum KeySource {
    File(String),
    Url {
        url: String,
        connect_timeout: Duration,
        total_timeout: Duration,
        ca_pem: Option<Vec<u8>>,
        times: KeyTimes,
    },
}

/// Says which setting cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenSettingsError {
    #[error("token_jwks_url is not a URL: {0}")]
    Url(String),
    #[error("token_jwks_url: allowed: https://, or http:// to this host")]
    Plaintext,
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("token_jwks_file: {0}")]
    File(#[from] KeyFileError),
    #[error("token_algorithms: unknown algorithm {0:?}; allowed: RS, PS, ES (256, 384) and EdDSA")]
    Algorithm(String),
    #[error("token_algorithms: the list is empty")]
    NoAlgorithm,
    #[error("token_mappings: none")]
    NoMapping,
    #[error("{setting}: {source}")]
    Template {
        setting: &'static str,
        source: TemplateError,
    },
}

/// Judges passwords that are tokens.
#[derive(Debug)]
pub struct Token {
    rules: Rules,
    keys: Keys,
    rows: Vec<Row>,
    home: Option<Template>,
    role: Option<Template>,
    policy: Option<Template>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
enum Keys {
    File(KeyFile),
    Remote(Remote),
    /// For fuzzing and tests of the judgement alone.
    Fixed(Arc<KeySet>),
}

impl Token {
    /// Checks the settings; keys of a file are read, keys of a URL are fetched when they are
    /// needed.
    ///
    /// # Errors
    /// Names the setting that cannot be used.
    pub fn new(
        settings: &TokenSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, TokenSettingsError> {
        let keys = match &settings.keys {
            KeySource::File(path) => Keys::File(KeyFile::open(path)?),
            KeySource::Url {
                url,
                connect_timeout,
                total_timeout,
                ca_pem,
                times,
            } => {
                let url = Url::parse(url).map_err(|e| TokenSettingsError::Url(e.to_string()))?;
                // Whoever changes the keys on their way makes any token.
                if url.scheme() != "https" && !(url.scheme() == "http" && may_carry(&url, false)) {
                    return Err(TokenSettingsError::Plaintext);
                }
                let client = client::client(&ClientSettings {
                    connect_timeout: *connect_timeout,
                    ca_pem: ca_pem.as_deref(),
                    identity_pem: None,
                    encrypted: url.scheme() == "https",
                })?;
                let clock = Arc::clone(&clock);
                Keys::Remote(Remote::new(client, url, *total_timeout, *times, clock))
            }
        };
        Self::assemble(settings, keys, clock)
    }

    /// Makes a provider whose keys are those of a text; where the settings say they are does not
    /// count.
    ///
    /// # Errors
    /// Names the setting that cannot be used.
    pub fn with_keys(
        settings: &TokenSettings,
        jwks: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, TokenSettingsError> {
        let keys = KeySet::parse(jwks.as_bytes()).map_err(|source| KeyFileError::Set {
            path: String::new(),
            source,
        })?;
        Self::assemble(settings, Keys::Fixed(Arc::new(keys)), clock)
    }

    fn assemble(
        settings: &TokenSettings,
        keys: Keys,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, TokenSettingsError> {
        let wrong = |setting| move |source| TokenSettingsError::Template { setting, source };
        let template = |setting, text: &Option<String>| {
            let parsed = text.as_deref().map(Template::parse).transpose();
            parsed.map_err(wrong(setting))
        };
        let rows = settings.mappings.iter().map(|row| Row::parse(row));
        let rows: Vec<_> = rows
            .collect::<Result<_, _>>()
            .map_err(wrong("token_mappings"))?;
        if rows.is_empty() {
            return Err(TokenSettingsError::NoMapping);
        }
        let policy = settings.policy.as_deref().map(Template::parse_policy);
        Ok(Self {
            rules: Rules {
                issuer: settings.issuer.as_str().into(),
                audience: settings.audience.as_str().into(),
                algorithms: algorithms(&settings.algorithms)?,
                clock_skew: settings.clock_skew,
                user_claim: settings.user_claim.as_str().into(),
            },
            keys,
            rows,
            home: template("token_home", &settings.home)?,
            role: template("token_role", &settings.role)?,
            policy: policy.transpose().map_err(wrong("token_policy"))?,
            clock,
        })
    }

    /// Judges a token with keys that are at hand, as far as no other keys are needed.
    async fn judge(&self, user: &str, token: &Secret) -> Judged {
        if token.expose().len() > limits::TOKEN_BYTES_MAX {
            return Err(Reason::PasswordTooLong.into());
        }
        let envelope = Envelope::open(token.expose(), &self.rules)?;
        let (mut keys, number) = self.keys.get().await?;
        if envelope.is_of_unknown_key(&keys)
            && let Some(others) = self.keys.another(number).await
        {
            keys = others;
        }
        let accepted = envelope.judge(&keys, &self.rules, user, self.clock.wall())?;
        self.allow(user, &accepted)
    }

    fn allow(&self, user: &str, accepted: &Accepted) -> Judged {
        let claims = &accepted.claims;
        let mappings = self.rows.iter().map(|row| row.fill(claims));
        let mappings = mappings.collect::<Result<Vec<_>, _>>()?;
        let fill = |template: &Option<Template>, values| {
            let filled = template.as_ref().map(|t| t.fill(claims, values));
            filled.transpose()
        };
        let landing = match fill(&self.home, Values::Path)? {
            None => VirtualPath::root(),
            Some(home) => VirtualPath::parse(&home)
                .map_err(|error| Reason::HomeNotNormal.because(&format!("{home:?}: {error}")))?,
        };
        let home = HomeDirectory::logical(mappings, landing)
            .map_err(|error| error.reason().because(&error.to_string()))?;
        let role = fill(&self.role, Values::Role)?;
        let policy = fill(&self.policy, Values::Policy)?;
        let config = UserConfig {
            role: role.as_deref().map(wire::role).transpose()?,
            policy: policy.map(wire::policy).transpose()?,
            expires_at: Some(accepted.expires_at),
            ..UserConfig::new(user, home)
        };
        Ok(Arc::new(config))
    }

    /// Fetches keys from now on as another one would, and keeps those at hand.
    pub fn take_connection_of(&self, other: &Self) {
        if let (Keys::Remote(remote), Keys::Remote(other)) = (&self.keys, &other.keys) {
            remote.take_connection_of(other);
        }
    }

    /// Judges without waiting, with the keys of [`Token::with_keys`].
    ///
    /// # Errors
    /// The token lets nobody in, or the keys are elsewhere.
    pub fn judge_now(&self, user: &str, token: &str) -> Judged {
        let Keys::Fixed(keys) = &self.keys else {
            return Err(Reason::TokenKeys.because("the keys are not loaded"));
        };
        let envelope = Envelope::open(token, &self.rules)?;
        let accepted = envelope.judge(keys, &self.rules, user, self.clock.wall())?;
        self.allow(user, &accepted)
    }
}

impl Keys {
    /// Returns the keys, and a number that tells them from others.
    async fn get(&self) -> Result<(Arc<KeySet>, u64), Refusal> {
        match self {
            Self::File(file) => Ok((file.keys(), 0)),
            Self::Remote(remote) => remote.keys().await.map(|held| (held.value, held.number)),
            Self::Fixed(keys) => Ok((Arc::clone(keys), 0)),
        }
    }

    /// Returns keys of which one may be the one that a token names.
    async fn another(&self, known: u64) -> Option<Arc<KeySet>> {
        match self {
            Self::Remote(remote) => remote.another(known).await,
            // A file is followed.
            Self::File(_) | Self::Fixed(_) => None,
        }
    }
}

#[async_trait]
impl IdentityProvider for Token {
    async fn ask(&self, question: &Question) -> Judged {
        match &question.credential {
            Credential::Password(token) => self.judge(&question.username, token).await,
            Credential::PublicKey => Err(Reason::TokenOnly.into()),
        }
    }
}

#[async_trait]
impl Examined for Token {
    async fn examine(&self, question: &Question, clock: &dyn Clock) -> Exchange {
        Exchange::in_process(self, question, clock).await
    }

    fn place(&self) -> Option<(String, u16)> {
        match &self.keys {
            Keys::Remote(remote) => remote.place(),
            Keys::File(_) | Keys::Fixed(_) => None,
        }
    }
}

impl Followed for Token {
    fn holds(&self) -> Holding {
        Holding::TokenKeys
    }

    fn changed(&self) -> bool {
        matches!(&self.keys, Keys::File(file) if file.changed())
    }

    fn reload(&self) -> Reloaded {
        match &self.keys {
            Keys::File(file) => file.reload(),
            Keys::Remote(_) | Keys::Fixed(_) => Reloaded::Unchanged,
        }
    }
}

/// Takes asymmetric algorithms only: with a symmetric one, anybody with a public key could sign.
fn algorithms(names: &[String]) -> Result<Vec<Algorithm>, TokenSettingsError> {
    let known = |name: &String| {
        let algorithm: Option<Algorithm> = name.parse().ok();
        algorithm
            .filter(|algorithm| algorithm.family() != AlgorithmFamily::Hmac)
            .ok_or_else(|| TokenSettingsError::Algorithm(name.clone()))
    };
    let algorithms = names.iter().map(known).collect::<Result<Vec<_>, _>>()?;
    if algorithms.is_empty() {
        return Err(TokenSettingsError::NoAlgorithm);
    }
    Ok(algorithms)
}
