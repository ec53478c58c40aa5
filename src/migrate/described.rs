//! What is known of servers, users, host keys and roles, and members that AWS and Terraform write
//! alike.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::input::{InputError, Node, kind};
use crate::idp::service_managed::{HomeDirectoryType, MapEntry, MapType, PosixProfile, Tag};

/// Everything that was described.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Descriptions {
    /// By id.
    pub servers: BTreeMap<String, Server>,
    /// By server and name.
    pub users: BTreeMap<(String, String), DescribedUser>,
    /// Where each of them is described.
    user_files: BTreeMap<(String, String), Arc<str>>,
    /// Users of a listing, with the number of their keys.
    pub listed: BTreeMap<(String, String), i64>,
    /// By server and fingerprint.
    pub host_keys: BTreeMap<(String, String), HostKey>,
    /// By ARN.
    pub roles: BTreeMap<String, IamRole>,
}

/// A server of Transfer Family.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Server {
    pub id: String,
    pub arn: Option<String>,
    pub domain: Option<String>,
    pub endpoint_type: Option<String>,
    /// Elastic addresses, by their ids.
    pub addresses: Vec<String>,
    pub provider_type: Option<String>,
    pub function: Option<String>,
    pub url: Option<String>,
    pub methods: Option<String>,
    pub protocols: Vec<String>,
    pub security_policy: Option<String>,
    pub banner: Option<String>,
    pub hostname: Option<String>,
    pub has_workflows: bool,
    pub setstat_option: Option<String>,
    pub proxy_mode: Option<String>,
    pub logs: bool,
    /// Roles that the service itself uses.
    pub own_roles: Vec<String>,
    pub fingerprint: Option<String>,
    /// How many users it keeps itself; a state of Terraform does not say so.
    pub user_count: Option<i64>,
}

impl Server {
    /// Returns the region that the ARN names.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        let region = self.arn.as_deref()?.split(':').nth(3)?;
        Some(region).filter(|region| !region.is_empty())
    }
}

/// A user of a server that keeps its users itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DescribedUser {
    pub role: Option<String>,
    pub policy: Option<String>,
    pub home_type: HomeDirectoryType,
    pub home: Option<String>,
    pub mappings: Vec<MapEntry>,
    pub posix: Option<PosixProfile>,
    pub tags: Vec<Tag>,
    pub keys: Vec<DescribedKey>,
}

impl DescribedUser {
    /// Says whether another description is about the same user at the same time: AWS and Terraform
    /// write a few things otherwise.
    fn is_same(&self, other: &Self) -> bool {
        fn parts(user: &DescribedUser) -> (Option<&str>, Vec<&Tag>, Vec<Vec<&str>>) {
            // Terraform writes `/` for what is not set.
            let is_logical = user.home_type == HomeDirectoryType::Logical;
            let home = user.home.as_deref();
            let home = home.filter(|home| !(is_logical && *home == "/"));
            let mut tags: Vec<_> = user.tags.iter().collect();
            tags.sort_by(|one, other| one.key.cmp(&other.key));
            let keys = user.keys.iter();
            let mut keys: Vec<Vec<_>> = keys
                .map(|key| key.body.split_whitespace().take(2).collect())
                .collect();
            keys.sort();
            (home, tags, keys)
        }
        self.role == other.role
            && self.policy == other.policy
            && self.home_type == other.home_type
            && self.mappings == other.mappings
            && self.posix == other.posix
            && parts(self) == parts(other)
    }
}

/// A key of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DescribedKey {
    pub id: Option<String>,
    pub body: String,
    pub imported: Option<String>,
}

/// A host key; AWS shows its fingerprint and never the key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostKey {
    pub id: Option<String>,
    pub key_type: Option<String>,
    pub fingerprint: String,
    pub description: Option<String>,
}

/// A role of IAM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IamRole {
    pub arn: String,
    pub trust: Value,
}

impl Descriptions {
    /// Says whether nothing was described.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the users of a server.
    pub fn users_of(&self, server: &str) -> impl Iterator<Item = (&str, &DescribedUser)> {
        let users = self.users.range((server.to_owned(), String::new())..);
        let own = users.take_while({
            let server = server.to_owned();
            move |((of, _), _)| *of == server
        });
        own.map(|((_, name), user)| (name.as_str(), user))
    }

    /// Keeps a user; a second description has to say the same.
    pub(super) fn keep_user(
        &mut self,
        (server, name): (String, String),
        user: DescribedUser,
        root: &Node<'_>,
    ) -> Result<(), InputError> {
        let who = (server, name);
        if let Some(held) = self.users.get(&who) {
            if held.is_same(&user) {
                return Ok(());
            }
            let before = self
                .user_files
                .get(&who)
                .map_or("another file", |file| &**file);
            let (server, name) = &who;
            let why = format!(
                "user {name} of {server} is described otherwise in {before}; leave one of them out"
            );
            return Err(root.fault("User", why));
        }
        self.user_files.insert(who.clone(), root.file().into());
        self.users.insert(who, user);
        Ok(())
    }

    pub(super) fn keep_host_key(&mut self, server: String, key: HostKey) {
        self.host_keys
            .insert((server, key.fingerprint.clone()), key);
    }
}

/// Returns the name that Transfer Family's console keeps in a tag.
pub(super) fn hostname(tags: &[Tag]) -> Option<String> {
    let mut tags = tags.iter();
    let tag = tags.find(|tag| tag.key.ends_with("transfer:customHostname"))?;
    Some(tag.value.clone())
}

pub(super) fn map_type(row: &Node<'_>, name: &str) -> Result<Option<MapType>, InputError> {
    match row.filled(name)?.as_deref() {
        None => Ok(None),
        Some("FILE") => Ok(Some(MapType::File)),
        Some("DIRECTORY") => Ok(Some(MapType::Directory)),
        Some(other) => Err(row.fault(name, format!("found {other:?}; allowed: FILE, DIRECTORY"))),
    }
}

pub(super) fn home_type(user: &Node<'_>, name: &str) -> Result<HomeDirectoryType, InputError> {
    match user.filled(name)? {
        None => Ok(HomeDirectoryType::Path),
        Some(word) => HomeDirectoryType::from_word(&word)
            .ok_or_else(|| user.fault(name, format!("found {word:?}; allowed: PATH, LOGICAL"))),
    }
}

pub(super) fn id_of(profile: &Node<'_>, name: &str) -> Result<u32, InputError> {
    let number = profile.number(name)?;
    u32::try_from(number).map_err(|_| profile.fault(name, "expected a number from 0 to 4294967295"))
}

pub(super) fn secondary(profile: &Node<'_>, name: &str) -> Result<Vec<u32>, InputError> {
    let Some(Value::Array(gids)) = profile.value(name) else {
        return Ok(Vec::new());
    };
    let gid = |gid: &Value| gid.as_u64().and_then(|gid| u32::try_from(gid).ok());
    let gids = gids.iter().map(gid).collect::<Option<_>>();
    gids.ok_or_else(|| profile.fault(name, "expected a list of numbers"))
}

/// Returns a fingerprint as OpenSSH prints it: AWS ends some with `=`.
pub(super) fn plain_fingerprint(text: &str) -> String {
    text.trim().trim_end_matches('=').to_owned()
}

/// Returns the trust policy of a role: an object, or its text, as the API returns it.
pub(super) fn trust_of(role: &Node<'_>, name: &str) -> Result<Value, InputError> {
    match role.value(name) {
        Some(Value::String(text)) => {
            let decoded = percent_decoded(text);
            let read = serde_json::from_str(text).or_else(|_| serde_json::from_str(&decoded));
            read.map_err(|_| role.fault(name, "the text is not a JSON document"))
        }
        Some(Value::Object(document)) => Ok(Value::Object(document.clone())),
        Some(other) => {
            let found = kind(other);
            Err(role.fault(name, format!("expected a policy, found {found}")))
        }
        None => Err(role.fault(name, "missing; expected the trust policy")),
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        let digits = after.get(..2);
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(b'%');
                rest = after;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}
