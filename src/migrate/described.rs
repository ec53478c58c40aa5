//! What AWS's tools print about servers, users, host keys and roles.
//!
//! Which description a text is, its members say: `Server`, `Users`, `User`, `HostKeys`, `HostKey`,
//! `Role`. One file may hold several texts, one after the other.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use super::input::{InputError, Node, kind};
use super::terraform;
use crate::clock::written;
use crate::idp::service_managed::{HomeDirectoryType, MapEntry, MapType, PosixProfile, Tag};
use crate::limits;

/// Everything that was described.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Descriptions {
    /// By id.
    pub servers: BTreeMap<String, Server>,
    /// By server and name.
    pub users: BTreeMap<(String, String), DescribedUser>,
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
    /// Takes in what one file says.
    ///
    /// # Errors
    /// It is no JSON, no description that is known, or a member is not as it should be.
    pub fn read(&mut self, file: &str, text: &str) -> Result<(), InputError> {
        let mut found = false;
        // Some shells write a mark at the beginning.
        let text = text.trim_start_matches('\u{feff}');
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        while let Some(value) = values.next() {
            let value = value.map_err(|error| InputError {
                file: file.to_owned(),
                place: format!("line {}", error.line()),
                why: format!("not JSON (column {})", error.column()),
            })?;
            found = true;
            let Value::Object(members) = &value else {
                return Err(unknown(file, &format!("found {}", kind(&value))));
            };
            self.take(file, members)?;
        }
        if !found {
            return Err(unknown(file, "the file is empty"));
        }
        let counted = [self.users.len(), self.listed.len(), self.host_keys.len()];
        if counted.iter().any(|count| *count > limits::MOVED_USERS_MAX) {
            let most = limits::MOVED_USERS_MAX;
            return Err(unknown(file, &format!("more than {most} users")));
        }
        Ok(())
    }

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

    fn take(&mut self, file: &str, members: &Map<String, Value>) -> Result<(), InputError> {
        let root = Node::root(file, members);
        if let Some(server) = root.node("Server")? {
            let server = server_of(&server)?;
            self.servers.insert(server.id.clone(), server);
        } else if let Some(user) = root.node("User")? {
            let name = user.need("UserName")?;
            let server = server_id(&root, &user, "user/")?;
            self.users.insert((server, name), user_of(&user)?);
        } else if root.has("Users") && root.has("ServerId") {
            let server = root.need("ServerId")?;
            for user in root.nodes("Users")? {
                let keys = user.number("SshPublicKeyCount")?;
                let name = user.need("UserName")?;
                self.listed.insert((server.clone(), name), keys);
            }
        } else if let Some(key) = root.node("HostKey")? {
            let server = server_id(&root, &key, "host-key/")?;
            self.keep_host_key(server, host_key_of(&key, "HostKeyFingerprint")?);
        } else if root.has("HostKeys") {
            for key in root.nodes("HostKeys")? {
                let server = server_id(&root, &key, "host-key/")?;
                self.keep_host_key(server, host_key_of(&key, "Fingerprint")?);
            }
        } else if let Some(role) = root.node("Role")? {
            let arn = role.need("Arn")?;
            let trust = trust_of(&role, "AssumeRolePolicyDocument")?;
            self.roles.insert(arn.clone(), IamRole { arn, trust });
        } else if root.has("resources") && root.has("version") {
            terraform::take(self, &root)?;
        } else {
            let names: Vec<_> = root.names().take(5).collect();
            let found = format!("found members: {}", names.join(", "));
            return Err(unknown(file, &found));
        }
        Ok(())
    }

    pub(super) fn keep_host_key(&mut self, server: String, key: HostKey) {
        self.host_keys
            .insert((server, key.fingerprint.clone()), key);
    }
}

fn unknown(file: &str, found: &str) -> InputError {
    InputError {
        file: file.to_owned(),
        place: "top level".to_owned(),
        why: format!(
            "not a known description: {found}; expected what aws transfer describe-server, \
             list-users, describe-user, list-host-keys, describe-host-key or aws iam get-role \
             print, or a Terraform state of version 4"
        ),
    }
}

fn server_of(server: &Node<'_>) -> Result<Server, InputError> {
    let none = Map::new();
    let empty = Node::root("", &none);
    let provider = server.node("IdentityProviderDetails")?;
    let provider = provider.unwrap_or_else(|| empty.clone());
    let endpoint = server.node("EndpointDetails")?;
    let protocol = server
        .node("ProtocolDetails")?
        .unwrap_or_else(|| empty.clone());
    let proxy = protocol.node("ProxyConfig")?;
    let workflows = server
        .node("WorkflowDetails")?
        .unwrap_or_else(|| empty.clone());
    let has_workflows =
        !workflows.nodes("OnUpload")?.is_empty() || !workflows.nodes("OnPartialUpload")?.is_empty();
    let logging = server.filled("LoggingRole")?;
    let structured = server.texts("StructuredLogDestinations")?;
    let invocation = provider.filled("InvocationRole")?;
    Ok(Server {
        id: server.need("ServerId")?,
        arn: server.filled("Arn")?,
        domain: server.filled("Domain")?,
        endpoint_type: server.filled("EndpointType")?,
        addresses: match endpoint {
            Some(endpoint) => endpoint.texts("AddressAllocationIds")?,
            None => Vec::new(),
        },
        provider_type: server.filled("IdentityProviderType")?,
        function: provider.filled("Function")?,
        url: provider.filled("Url")?,
        methods: provider.filled("SftpAuthenticationMethods")?,
        protocols: server.texts("Protocols")?,
        security_policy: server.filled("SecurityPolicyName")?,
        banner: server.filled("PreAuthenticationLoginBanner")?,
        hostname: hostname(&tags_of(server, "Tags")?),
        has_workflows,
        setstat_option: protocol.filled("SetStatOption")?,
        proxy_mode: match proxy {
            Some(proxy) => proxy.filled("SftpMode")?,
            None => None,
        },
        logs: logging.is_some() || !structured.is_empty(),
        own_roles: logging.into_iter().chain(invocation).collect(),
        fingerprint: server.filled("HostKeyFingerprint")?,
    })
}

/// Returns the name that Transfer Family's console keeps in a tag.
pub(super) fn hostname(tags: &[Tag]) -> Option<String> {
    let mut tags = tags.iter();
    let tag = tags.find(|tag| tag.key.ends_with("transfer:customHostname"))?;
    Some(tag.value.clone())
}

fn user_of(user: &Node<'_>) -> Result<DescribedUser, InputError> {
    let mapping = |row: &Node<'_>| {
        Ok(MapEntry {
            entry: row.need("Entry")?,
            target: row.need("Target")?,
            map_type: map_type(row, "Type")?,
        })
    };
    let key = |key: &Node<'_>| {
        Ok(DescribedKey {
            id: key.filled("SshPublicKeyId")?,
            body: key.need("SshPublicKeyBody")?,
            imported: time_of(key, "DateImported"),
        })
    };
    let mappings = user.nodes("HomeDirectoryMappings")?;
    let keys = user.nodes("SshPublicKeys")?;
    Ok(DescribedUser {
        role: user.filled("Role")?,
        policy: user.filled("Policy")?,
        home_type: home_type(user, "HomeDirectoryType")?,
        home: user.filled("HomeDirectory")?,
        mappings: mappings.iter().map(mapping).collect::<Result<_, _>>()?,
        posix: match user.node("PosixProfile")? {
            Some(profile) => Some(PosixProfile {
                uid: id_of(&profile, "Uid")?,
                gid: id_of(&profile, "Gid")?,
                secondary_gids: secondary(&profile, "SecondaryGids")?,
            }),
            None => None,
        },
        tags: tags_of(user, "Tags")?,
        keys: keys.iter().map(key).collect::<Result<_, _>>()?,
    })
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

fn tags_of(node: &Node<'_>, name: &str) -> Result<Vec<Tag>, InputError> {
    let tag = |tag: &Node<'_>| {
        Ok(Tag {
            key: tag.need("Key")?,
            value: tag.text("Value")?.unwrap_or_default(),
        })
    };
    node.nodes(name)?.iter().map(tag).collect()
}

fn host_key_of(key: &Node<'_>, fingerprint: &str) -> Result<HostKey, InputError> {
    Ok(HostKey {
        id: key.filled("HostKeyId")?,
        key_type: key.filled("Type")?,
        fingerprint: plain_fingerprint(&key.need(fingerprint)?),
        description: key.filled("Description")?,
    })
}

/// Returns a time as text; the first version of AWS's command line prints seconds.
fn time_of(node: &Node<'_>, name: &str) -> Option<String> {
    match node.value(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => {
            let text = number.to_string();
            let seconds = text.split('.').next()?.parse().ok()?;
            let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
            time.map(written)
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
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

/// Returns the server of a description: it says so, or its ARN does.
fn server_id(root: &Node<'_>, node: &Node<'_>, kind: &str) -> Result<String, InputError> {
    if let Some(id) = root.filled("ServerId")? {
        return Ok(id);
    }
    let arn = node.filled("Arn")?.unwrap_or_default();
    let named = arn.split_once(kind).map(|(_, rest)| rest);
    let id = named.and_then(|rest| rest.split('/').next());
    match id.filter(|id| !id.is_empty()) {
        Some(id) => Ok(id.to_owned()),
        None => Err(root.fault("ServerId", "missing, and no Arn names the server")),
    }
}
