//! IDENTITY PROVIDER: ask the operator's service who may enter, and understand its answer.

use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;

pub use self::beginning::Beginning;
pub use self::exchange::{Examined, Exchange};
pub(crate) use self::key_text::{behind_options, field};
pub use self::names::{UserNameRule, folded, is_unprintable};
pub use self::network::{Network, NetworkError, host_of};
pub use self::warning::{Oddity, Warning};
pub(crate) use self::wire::keys::{RSA, type_of};
pub use crate::aws::Credentials as AwsCredentials;
use crate::refusal::Refusal;
use crate::secret::Secret;
use crate::storage::{Bucket, Location, ObjectSettings, SettingsAt};
use crate::vfs::{HomeDirectory, PartialUploads, VirtualPath};

pub mod api_gateway;
mod aws;
mod beginning;
pub mod blocks;
pub mod breaker;
pub mod cache;
mod exchange;
mod failure;
pub mod follow;
pub mod history;
pub mod http1;
mod key_text;
pub mod known;
pub mod lambda;
pub mod metered;
mod names;
mod network;
pub mod places;
pub mod replaceable;
pub mod router;
pub mod service_managed;
pub mod signature;
mod sigv4;
pub mod static_file;
mod status_only;
pub mod switched;
pub mod token;
pub mod warning;
pub mod webhook;
pub(crate) mod whole_file;
pub mod wire;

/// Answers one question about one login.
///
/// It lets the user in, or refuses: *denied*, *invalid* and *unavailable* stay apart all the way to
/// the log and the metric ([`crate::refusal::Verdict`]).
#[async_trait]
pub trait IdentityProvider: Debug + Send + Sync + 'static {
    /// Asks once; a question with a password is never sent twice.
    async fn ask(&self, question: &Question) -> Judged;
}

/// What is asked at login.
#[derive(Debug, Clone)]
pub struct Question {
    /// Unique per attempt; also in our log.
    pub request_id: Box<str>,
    pub username: Box<str>,
    pub credential: Credential,
    pub source_ip: IpAddr,
    pub session_id: Box<str>,
    pub asking: Asking,
}

/// The login that a question belongs to; the provider is not told of it.
#[derive(Debug, Clone, Default)]
pub struct Asking {
    /// The user was let in from this source within the last day.
    pub known: bool,
    /// The source may be that of many clients, such as a load balancer.
    pub stands_for_many: bool,
    /// When an answer is of no use any more.
    pub answer_by: Option<Instant>,
    pub beginning: Beginning,
}

/// How the user means to prove who they are.
#[derive(Debug, Clone)]
pub enum Credential {
    Password(Secret),
    /// A look-up: which keys are this user's? The gateway does the matching.
    PublicKey,
}

impl Credential {
    /// Says which method the credential belongs to.
    #[must_use]
    pub const fn method(&self) -> AuthMethod {
        match self {
            Self::Password(_) => AuthMethod::Password,
            Self::PublicKey => AuthMethod::PublicKey,
        }
    }
}

/// How a user proves who they are (RFC 4252 §7, §8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthMethod {
    Password,
    PublicKey,
}

impl AuthMethod {
    /// Returns the word of Transfer Family's logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::PublicKey => "publickey",
        }
    }
}

/// How far a session with a PATH home may walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PathHomes {
    /// Not out of the home directory.
    #[default]
    Confined,
    /// As far as the role lets it; nothing else confines it.
    Role,
}

/// What became of a question: whom it lets in, or why nobody.
pub type Judged = Result<Arc<UserConfig>, Refusal>;

/// The parsed answer: everything a session is built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserConfig {
    /// Which of the configured providers answered; empty when there is only one.
    pub provider: Box<str>,
    /// Canonical name: for `${transfer:UserName}`, limits and logs.
    pub user: Box<str>,
    pub home: HomeDirectory,
    pub role: Option<Box<str>>,
    /// JSON, after substitution of its variables.
    pub policy: Option<Box<str>>,
    /// Keys valid for this user; empty = no login by key.
    pub public_keys: Vec<ListedKey>,
    pub networks: Vec<Network>,
    pub limits: UserLimits,
    /// For mappings that do not say it themselves; `None`: as configured.
    pub partial_uploads: Option<PartialUploads>,
    /// What objects carry below mappings that do not say it themselves.
    pub objects: Option<Arc<ObjectSettings>>,
    pub expires_at: Option<SystemTime>,
    pub cache_for: Option<Duration>,
    /// What was odd and taken all the same.
    pub warnings: Vec<Warning>,
}

impl UserConfig {
    /// Returns what becomes of a file whose client disconnects before CLOSE: by its mapping, by the
    /// answer, or as `otherwise`.
    #[must_use]
    pub fn partial_uploads_at(
        &self,
        path: &VirtualPath,
        otherwise: PartialUploads,
    ) -> PartialUploads {
        let wanted = self.home.partial_uploads(path).or(self.partial_uploads);
        wanted.unwrap_or(otherwise)
    }

    /// Returns what a user is who has a home and nothing else.
    #[must_use]
    pub fn new(user: &str, home: HomeDirectory) -> Self {
        Self {
            provider: "".into(),
            user: user.into(),
            home,
            role: None,
            policy: None,
            public_keys: Vec::new(),
            networks: Vec::new(),
            limits: UserLimits::default(),
            partial_uploads: None,
            objects: None,
            expires_at: None,
            cache_for: None,
            warnings: Vec::new(),
        }
    }
}

impl UserConfig {
    /// Returns what a session is built from, with another home: the keys have let the user in by
    /// then, and are left out.
    #[must_use]
    pub fn entered(&self, home: HomeDirectory) -> Self {
        Self {
            provider: self.provider.clone(),
            user: self.user.clone(),
            home,
            role: self.role.clone(),
            policy: self.policy.clone(),
            public_keys: Vec::new(),
            networks: self.networks.clone(),
            limits: self.limits,
            partial_uploads: self.partial_uploads,
            objects: self.objects.clone(),
            expires_at: self.expires_at,
            cache_for: self.cache_for,
            warnings: self.warnings.clone(),
        }
    }

    /// Returns every setting that asks for something of objects which may be written, with the
    /// bucket that it is for; `None`: for all.
    pub fn object_settings(&self) -> impl Iterator<Item = (Option<&Bucket>, &ObjectSettings)> {
        let written = self.home.mappings().iter();
        let written = written.filter(|mapping| mapping.access.may_write());
        let mapped = written.filter_map(|mapping| {
            let objects = mapping.objects.as_deref().or(self.objects.as_deref())?;
            Some((Some(&mapping.bucket), objects))
        });
        let all = self.objects.as_deref().map(|objects| (None, objects));
        let found = mapped.chain(all);
        found.filter(|(_, objects)| objects.ask())
    }
}

impl SettingsAt for UserConfig {
    fn settings_at(&self, location: &Location) -> Option<Arc<ObjectSettings>> {
        let own = self.home.objects_at(location).or(self.objects.as_ref());
        own.filter(|objects| objects.ask()).map(Arc::clone)
    }
}

/// A key that an answer lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedKey {
    /// `algorithm base64 [comment]`; conditions may stand before it.
    pub line: Box<str>,
    /// When it stops letting its user in.
    pub expires_at: Option<SystemTime>,
}

impl From<&str> for ListedKey {
    fn from(line: &str) -> Self {
        Self {
            line: line.into(),
            expires_at: None,
        }
    }
}

/// Bounds that an answer puts on one user; `None` = the gateway's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UserLimits {
    pub sessions: Option<u32>,
    pub file_bytes: Option<u64>,
    pub bytes_per_second: Option<u64>,
}
