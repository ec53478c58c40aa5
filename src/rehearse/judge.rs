//! One event, held against what a user is here: the same outcome, or another one.

use std::sync::Arc;
use std::time::SystemTime;

use super::event::{Act, Login, Place};
use crate::auth::{Methods, OfferedKey};
use crate::idp::{AuthMethod, UserConfig, type_of};
use crate::refusal::Reason;
use crate::vfs::{self, Access, EntryType, HomeDirectory, Mapping, VirtualPath};

/// What is known of a user.
#[derive(Debug, Clone)]
pub enum Known {
    Found {
        config: Arc<UserConfig>,
        /// Of the keys, as OpenSSH prints them.
        fingerprints: Vec<Box<str>>,
        /// Whether there is a password; none: only the provider knows.
        has_password: Option<bool>,
    },
    /// A look-up is refused.
    Refused {
        reason: Reason,
        /// The provider may still know a password of the user.
        only_keys: bool,
    },
    /// Nobody was asked, or nobody answered.
    NotAsked,
}

/// What holds for everybody.
#[derive(Debug, Clone)]
pub struct Rules {
    pub methods: Methods,
    pub key_exchanges: Vec<&'static str>,
    pub ciphers: Vec<&'static str>,
    pub now: SystemTime,
}

/// How an outcome is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// A login that was allowed is refused.
    Login(LoginChange),
    /// An operation is refused, or is about another object.
    Path(PathChange),
}

/// What becomes of a login that was allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Same,
    Changed(Change),
    /// Nobody was asked, or the log does not show what decides.
    NotKnown,
}

/// Why a login ends otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LoginChange {
    /// By the name of a reason.
    Refused(&'static str),
    Method,
    KeyExchange,
    Cipher,
    OtherRole,
    /// It was refused before.
    Allowed,
}

/// Why an operation ends otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathChange {
    Outside,
    ReadOnly,
    WriteOnly,
    Root,
    Elsewhere,
    Link,
    Name,
}

impl Change {
    /// Returns the name of the change.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Login(LoginChange::Refused(reason)) => reason,
            Self::Login(LoginChange::Method) => "method-not-allowed",
            Self::Login(LoginChange::KeyExchange) => "key-exchange-not-offered",
            Self::Login(LoginChange::Cipher) => "cipher-not-offered",
            Self::Login(LoginChange::OtherRole) => "other-role",
            Self::Login(LoginChange::Allowed) => "allowed-now",
            Self::Path(PathChange::Outside) => "outside-of-mappings",
            Self::Path(PathChange::ReadOnly) => "mapping-is-read-only",
            Self::Path(PathChange::WriteOnly) => "mapping-is-write-only",
            Self::Path(PathChange::Root) => "mapping-itself",
            Self::Path(PathChange::Elsewhere) => "other-object",
            Self::Path(PathChange::Link) => "links-not-supported",
            Self::Path(PathChange::Name) => "name-not-allowed",
        }
    }

    /// Says what the change means.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Login(LoginChange::Refused(reason)) => {
                let reason = Reason::ALL.iter().find(|one| one.as_str() == reason);
                reason.map_or("the login is refused", |reason| reason.cause())
            }
            Self::Login(LoginChange::Method) => "identity.methods does not allow this method",
            Self::Login(LoginChange::KeyExchange) => {
                "this key exchange is not offered: the client connects only with another one"
            }
            Self::Login(LoginChange::Cipher) => {
                "this cipher is not offered: the client connects only with another one"
            }
            Self::Login(LoginChange::OtherRole) => "the session has another role",
            Self::Login(LoginChange::Allowed) => "the login was refused and is allowed",
            Self::Path(PathChange::Outside) => "no mapping of the user leads there",
            Self::Path(PathChange::ReadOnly) => "the mapping only allows reading",
            Self::Path(PathChange::WriteOnly) => "the mapping only allows writing",
            Self::Path(PathChange::Root) => "the root of a mapping cannot be changed",
            Self::Path(PathChange::Elsewhere) => "the path leads to another object",
            Self::Path(PathChange::Link) => "there are no links",
            Self::Path(PathChange::Name) => "the gateway does not take this name",
        }
    }
}

impl Known {
    /// Makes what is known out of a user's configuration.
    #[must_use]
    pub fn found(config: Arc<UserConfig>, has_password: Option<bool>) -> Self {
        let keys = config.public_keys.iter();
        let keys = keys.filter_map(|key| OfferedKey::from_line(&key.line));
        Self::Found {
            fingerprints: keys.map(|key| key.fingerprint()).collect(),
            config,
            has_password,
        }
    }

    /// Returns how much of it is kept in memory, in mappings and keys.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::Found { config, .. } => {
                let mappings = config.home.mappings().len();
                mappings.saturating_add(config.public_keys.len())
            }
            Self::Refused { .. } | Self::NotAsked => 0,
        }
    }
}

impl Rules {
    /// Judges a login that was allowed.
    #[must_use]
    pub fn login(&self, login: &Login, known: &Known) -> Outcome {
        if let Some(change) = self.login_change(login, known) {
            return Outcome::Changed(Change::Login(change));
        }
        match known {
            Known::Found { .. } if self.is_shown_by(login) => Outcome::Same,
            // What a look-up refuses and nobody judged is known to nobody.
            Known::Found { .. } | Known::Refused { .. } | Known::NotAsked => Outcome::NotKnown,
        }
    }

    /// Says whether a log shows everything that a login needs here: where both a key and a
    /// password are needed, a line with one of them does not tell of the other.
    fn is_shown_by(&self, login: &Login) -> bool {
        match self.methods {
            Methods::KeyAndPassword => {
                login.fingerprint.is_some() && login.method == Some(AuthMethod::Password)
            }
            Methods::KeyOrPassword | Methods::Password | Methods::Key => true,
        }
    }

    fn login_change(&self, login: &Login, known: &Known) -> Option<LoginChange> {
        let refused = |reason: Reason| Some(LoginChange::Refused(reason.as_str()));
        if let Some(kex) = &login.kex
            && !self.key_exchanges.contains(&kex.as_str())
        {
            return Some(LoginChange::KeyExchange);
        }
        let is_offered = |cipher: &String| self.ciphers.contains(&cipher.as_str());
        if !login.ciphers.iter().all(is_offered) {
            return Some(LoginChange::Cipher);
        }
        let allowed = match login.method {
            Some(AuthMethod::PublicKey) => self.methods.key(),
            Some(AuthMethod::Password) => self.methods.password(),
            None => true,
        };
        if !allowed {
            return Some(LoginChange::Method);
        }
        let (config, fingerprints, has_password) = match known {
            Known::Found {
                config,
                fingerprints,
                has_password,
            } => (config, fingerprints, has_password),
            Known::Refused { reason, only_keys } => {
                let may_have_password = *only_keys && login.method != Some(AuthMethod::PublicKey);
                return if may_have_password {
                    None
                } else {
                    refused(*reason)
                };
            }
            Known::NotAsked => return None,
        };
        let (needs_key, needs_password) = self.needed(login.method);
        if needs_key {
            let key_type = login.key_type.as_deref();
            if key_type.is_some_and(|name| type_of(name).is_none()) {
                return refused(Reason::KeyTypeUnsupported);
            }
            if fingerprints.is_empty() {
                return refused(Reason::NoUsablePublicKey);
            }
            let listed = |named: &String| fingerprints.iter().any(|key| **key == **named);
            if !login.fingerprint.as_ref().is_none_or(listed) {
                return refused(Reason::KeyNotListed);
            }
        }
        if needs_password && *has_password == Some(false) {
            return refused(Reason::NoPassword);
        }
        if let Some(source) = login.source
            && !config.networks.is_empty()
            && !config.networks.iter().any(|one| one.contains(source))
        {
            return refused(Reason::SourceNotInNetworks);
        }
        if config.expires_at.is_some_and(|end| end <= self.now) {
            return refused(Reason::AnswerExpired);
        }
        match (&login.role, &config.role) {
            (Some(before), Some(now)) if **before != **now => Some(LoginChange::OtherRole),
            _ => None,
        }
    }

    /// Says whether a login needs a key, and whether a password: what the log says it was, or what
    /// the methods leave no choice about.
    const fn needed(&self, method: Option<AuthMethod>) -> (bool, bool) {
        match (self.methods, method) {
            (Methods::KeyAndPassword, _) => (true, true),
            (_, Some(AuthMethod::PublicKey)) | (Methods::Key, None) => (true, false),
            (_, Some(AuthMethod::Password)) | (Methods::Password, None) => (false, true),
            (Methods::KeyOrPassword, None) => (false, false),
        }
    }

    /// Judges a login that was refused: only a key that is listed here says that it is allowed.
    #[must_use]
    pub fn refused_login(&self, login: &Login, known: &Known) -> Option<Change> {
        let fingerprint = login.fingerprint.as_deref()?;
        let Known::Found { fingerprints, .. } = known else {
            return None;
        };
        let is_listed = fingerprints.iter().any(|key| &**key == fingerprint);
        let mut same = login.clone();
        same.method = Some(AuthMethod::PublicKey);
        (is_listed && self.login(&same, known) == Outcome::Same)
            .then_some(Change::Login(LoginChange::Allowed))
    }
}

/// Judges an operation of a user; none: it does the same here, if S3 allows it.
pub(super) fn operation(
    act: Act,
    place: &Place,
    to: Option<&Place>,
    home: &HomeDirectory,
) -> Option<Change> {
    if act == Act::Link {
        return Some(Change::Path(PathChange::Link));
    }
    let first = path(act, place, home);
    let second = || to.and_then(|to| path(Act::Write, to, home));
    first.or_else(second).map(Change::Path)
}

fn path(act: Act, place: &Place, home: &HomeDirectory) -> Option<PathChange> {
    match place {
        Place::Stored(path) => stored(act, path, home),
        Place::Seen { path, stored } => seen(act, path, stored.as_deref(), home),
    }
}

/// Judges `/bucket/key`: any mapping that leads there will do.
fn stored(act: Act, path: &str, home: &HomeDirectory) -> Option<PathChange> {
    if home.is_of_role() {
        return None;
    }
    let (bucket, key) = path.trim_start_matches('/').split_once('/').unzip();
    let bucket = bucket.unwrap_or_else(|| path.trim_matches('/'));
    let key = key.unwrap_or_default().trim_end_matches('/');
    let mappings = home
        .mappings()
        .iter()
        .filter(|one| leads_to(one, bucket, key));
    let changes = mappings.map(|mapping| {
        if is_root(mapping, key) && is_of_name(act) {
            Some(PathChange::Root)
        } else {
            by_access(act, mapping.access)
        }
    });
    let changes: Vec<_> = changes.collect();
    if changes.contains(&None) {
        return None;
    }
    changes
        .into_iter()
        .flatten()
        .next()
        .or(Some(PathChange::Outside))
}

fn leads_to(mapping: &Mapping, bucket: &str, key: &str) -> bool {
    let below = key.strip_prefix(&*mapping.prefix);
    mapping.bucket.as_str() == bucket
        && match mapping.entry_type {
            EntryType::File => key == &*mapping.prefix,
            EntryType::Directory => {
                mapping.prefix.is_empty()
                    || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
}

/// The entry of a directory is there whatever is stored.
fn is_root(mapping: &Mapping, key: &str) -> bool {
    match mapping.entry_type {
        EntryType::Directory => key == &*mapping.prefix,
        EntryType::File => false,
    }
}

/// Says whether an operation changes a name rather than what is below it.
const fn is_of_name(act: Act) -> bool {
    match act {
        Act::Remove | Act::MakeDirectory | Act::RemoveDirectory | Act::Rename => true,
        Act::Read | Act::Write | Act::ReadWrite | Act::SetAttributes | Act::Link => false,
    }
}

const fn by_access(act: Act, access: Access) -> Option<PathChange> {
    if act.writes() && !access.may_write() && !matches!(act, Act::SetAttributes) {
        Some(PathChange::ReadOnly)
    } else if act.reads() && !access.may_read() {
        Some(PathChange::WriteOnly)
    } else {
        None
    }
}

/// Judges what a client sees, and where that was.
fn seen(act: Act, path: &str, stored: Option<&str>, home: &HomeDirectory) -> Option<PathChange> {
    let Ok(path) = VirtualPath::resolve(home.landing(), path.as_bytes()) else {
        return Some(PathChange::Name);
    };
    let Ok(place) = home.place(&path) else {
        return Some(PathChange::Name);
    };
    let (access, location) = match &place {
        vfs::Place::Inside { mapping, location } => (mapping.access, Some(location)),
        vfs::Place::File { mapping, location } => (mapping.access, Some(location)),
        vfs::Place::MappingRoot { .. } | vfs::Place::Virtual if is_of_name(act) => {
            return Some(PathChange::Root);
        }
        vfs::Place::MappingRoot { mapping } => (mapping.access, None),
        vfs::Place::Bucket { access, .. } => (*access, None),
        vfs::Place::Buckets => return None,
        vfs::Place::Virtual | vfs::Place::Nowhere => return Some(PathChange::Outside),
    };
    let there = location.map(|at| format!("/{}/{}", at.bucket, at.key));
    if let (Some(there), Some(stored)) = (&there, stored)
        && there.trim_end_matches('/') != stored.trim_end_matches('/')
    {
        return Some(PathChange::Elsewhere);
    }
    by_access(act, access)
}
