//! What AWS's tools are told of host keys and algorithms: what clients are shown at this moment.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::arn::Named;
use super::refusal::Refusal;
use super::request::{Request, set, token};
use super::server::{Server, Servers};
use super::shown::Shown;
use crate::config::Algorithms;
use crate::idp::service_managed::Resource;
use crate::migrate::Policy;
use crate::ssh::{self, HostKey};

/// A host key of one or several listeners.
#[derive(Debug)]
pub(super) struct Key {
    fingerprint: String,
    algorithm: String,
    written: Option<SystemTime>,
    /// The listeners whose clients are shown it.
    used_by: Vec<Box<str>>,
    /// Those that announce it to clients that learn keys.
    announced_by: Vec<Box<str>>,
}

pub(super) fn list_keys(
    servers: &Servers,
    request: Request<'_>,
    region: &str,
) -> Result<Value, Refusal> {
    let server = request.required("ServerId")?;
    let keys = keys_of(&servers.of(server)?);
    let (max, after) = (request.max_results()?, request.next_token()?);
    let rows = keys.iter().map(|(id, key)| (&**id, key));
    let (page, next) = page(rows, max, after.as_deref());
    let rows = page.into_iter().map(|(id, key)| {
        let mut row = key.described(server, id, region);
        set(&mut row, "Fingerprint", padded(&key.fingerprint).into());
        row
    });
    let rows: Vec<_> = rows.collect();
    let mut answer = json!({"ServerId": server, "HostKeys": rows});
    if let Some(next) = next {
        set(&mut answer, "NextToken", next.into());
    }
    Ok(answer)
}

pub(super) fn describe_key(
    servers: &Servers,
    request: Request<'_>,
    region: &str,
) -> Result<Value, Refusal> {
    let (server, id) = (
        request.required("ServerId")?,
        request.required("HostKeyId")?,
    );
    let key = find_key(servers, server, id)?;
    let mut row = key.described(server, id, region);
    let fingerprint = padded(&key.fingerprint);
    set(&mut row, "HostKeyFingerprint", fingerprint.into());
    set(&mut row, "Tags", json!([]));
    Ok(json!({"HostKey": row}))
}

pub(super) fn list_policies(request: Request<'_>) -> Result<Value, Refusal> {
    let (max, after) = (request.max_results()?, request.next_token()?);
    let mut names: Vec<_> = [&[MODERN, COMPATIBLE][..], Policy::NAMES].concat();
    names.sort_unstable();
    let rows = names.into_iter().map(|name| (name, ()));
    let (page, next) = page(rows, max, after.as_deref());
    let names: Vec<_> = page.into_iter().map(|(name, ())| name).collect();
    let mut answer = json!({"SecurityPolicyNames": names});
    if let Some(next) = next {
        set(&mut answer, "NextToken", next.into());
    }
    Ok(answer)
}

/// Tells what a policy comes to here: of a policy of AWS that is what the gateway offers as well.
pub(super) fn describe_policy(request: Request<'_>) -> Result<Value, Refusal> {
    let name = request.required("SecurityPolicyName")?;
    if !is_policy_name(name) {
        return Err(Refusal::invalid(
            "SecurityPolicyName is not the name of a security policy, such as \
             TransferSecurityPolicy-2024-01",
        ));
    }
    let all = (
        ssh::ciphers(),
        ssh::key_exchanges(Algorithms::Compatible),
        ssh::macs(),
    );
    let (ciphers, kex, macs) = match name {
        COMPATIBLE => all,
        MODERN => (all.0, ssh::key_exchanges(Algorithms::Modern), all.2),
        _ => {
            let known = Policy::NAMES.contains(&name).then(|| Policy::named(name));
            let Some(policy) = known.flatten() else {
                return Err(Refusal::not_found(Resource::SecurityPolicy, name));
            };
            (
                both(policy.ciphers, &all.0),
                both(policy.kex, &all.1),
                both(policy.macs, &all.2),
            )
        }
    };
    Ok(json!({"SecurityPolicy": {
        "Fips": false,
        "SecurityPolicyName": name,
        "SshCiphers": ciphers,
        "SshKexs": kex,
        "SshMacs": macs,
        "SshHostKeyAlgorithms": ssh::host_key_signatures(),
        "Type": "SERVER",
        "Protocols": ["SFTP"],
    }}))
}

/// Finds a host key that a server has.
pub(super) fn find_key(servers: &Servers, server: &str, id: &str) -> Result<Key, Refusal> {
    let digits = id.strip_prefix(ID_PREFIX).unwrap_or_default();
    let is_digit = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    if digits.len() != ID_DIGITS || !digits.chars().all(is_digit) {
        return Err(Refusal::invalid(
            "HostKeyId is not one: hostkey- and 17 hexadecimal digits",
        ));
    }
    let mut keys = keys_of(&servers.of(server)?);
    let found = keys.remove(id);
    found.ok_or_else(|| Refusal::not_found(Resource::HostKey, id))
}

/// Returns the fingerprint of the key that the first listener prefers.
pub(super) fn first_fingerprint(shown: &[Shown]) -> Option<String> {
    let first = shown.first()?.transport.host_keys.iter().next()?;
    Some(padded(&first.fingerprint()))
}

/// Returns the policy that says what a server offers, at one of its listeners at least.
pub(super) fn policy_of(shown: &[Shown]) -> &'static str {
    let is_compatible = |shown: &Shown| match shown.transport.algorithms {
        Algorithms::Compatible => true,
        Algorithms::Modern => false,
    };
    if shown.iter().any(is_compatible) {
        COMPATIBLE
    } else {
        MODERN
    }
}

/// Returns every host key once, by its id.
fn keys_of(servers: &[&Server]) -> BTreeMap<String, Key> {
    let mut keys: BTreeMap<String, Key> = BTreeMap::new();
    for Shown {
        listener,
        transport,
    } in servers.iter().flat_map(|server| server.transports.shown())
    {
        let mut seen: Vec<String> = Vec::new();
        let host_keys = &transport.host_keys;
        let used = host_keys.iter().map(|key| (key, true));
        for (key, may_be_used) in used.chain(host_keys.next_keys().map(|key| (key, false))) {
            let algorithm = key.algorithm();
            // Of several keys with one algorithm clients are shown the first.
            let is_used = may_be_used && !seen.contains(&algorithm);
            seen.push(algorithm);
            let known = keys.entry(id_of(key)).or_insert_with(|| Key::of(key));
            let by = if is_used {
                &mut known.used_by
            } else {
                &mut known.announced_by
            };
            if !by.contains(&listener) {
                by.push(listener.clone());
            }
        }
    }
    keys
}

impl Key {
    fn of(key: &HostKey) -> Self {
        Self {
            fingerprint: key.fingerprint(),
            algorithm: key.algorithm(),
            written: key.written(),
            used_by: Vec::new(),
            announced_by: Vec::new(),
        }
    }

    /// What both a list and a description say.
    fn described(&self, server: &str, id: &str, region: &str) -> Value {
        let mut row = json!({
            "Arn": Named::HostKey { server, id }.write(region),
            "HostKeyId": id,
            "Type": self.algorithm,
            "Description": self.description(),
            "StorageType": "SERVICE_MANAGED",
        });
        let since = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).ok();
        if let Some(since) = self.written.and_then(since) {
            set(&mut row, "DateImported", since.as_secs().into());
        }
        row
    }

    /// Says by which listeners it is used: one alone has no name.
    fn description(&self) -> String {
        let by = |listeners: &[Box<str>]| match listeners {
            [only] if only.is_empty() => String::new(),
            names => format!(" by {}", names.join(", ")),
        };
        let mut text = String::new();
        if !self.used_by.is_empty() {
            text = format!("used{}", by(&self.used_by));
        }
        if !self.announced_by.is_empty() {
            if !text.is_empty() {
                text += "; ";
            }
            text += "announced";
            text += &by(&self.announced_by);
            text += ", not used yet";
        }
        text.chars().take(DESCRIPTION_CHARS_MAX).collect()
    }
}

/// Derives AWS's form of an id: the same key has the same one on every replica.
fn id_of(key: &HostKey) -> String {
    let digits = hex::encode(key.fingerprint_bytes());
    let digits: String = digits.chars().take(ID_DIGITS).collect();
    format!("{ID_PREFIX}{digits}")
}

/// AWS writes fingerprints with the padding that `ssh-keygen` leaves out.
fn padded(fingerprint: &str) -> String {
    format!("{fingerprint}=")
}

/// Takes a page of rows that are in the order of their names, and what stands for the next one.
fn page<'a, T>(
    rows: impl Iterator<Item = (&'a str, T)>,
    max: u16,
    after: Option<&str>,
) -> (Vec<(&'a str, T)>, Option<String>) {
    let mut rows = rows.filter(|(name, _)| after.is_none_or(|after| *name > after));
    let page: Vec<_> = rows.by_ref().take(max.into()).collect();
    let last = page.last().filter(|_| rows.next().is_some());
    let next = last.map(|(name, _)| token(name));
    (page, next)
}

/// AWS's model: `Transfer[A-Za-z0-9]*SecurityPolicy-[A-Za-z0-9-]+`, at most 100 characters.
fn is_policy_name(name: &str) -> bool {
    let rest = name.strip_prefix("Transfer");
    let parts = rest.and_then(|rest| rest.split_once("SecurityPolicy-"));
    parts.is_some_and(|(kind, version)| {
        let plain = |c: char| c.is_ascii_alphanumeric();
        name.len() <= POLICY_NAME_CHARS_MAX
            && kind.chars().all(plain)
            && !version.is_empty()
            && version.chars().all(|c| plain(c) || c == '-')
    })
}

fn both(theirs: &[&'static str], ours: &[&str]) -> Vec<&'static str> {
    let theirs = theirs.iter().copied();
    theirs.filter(|name| ours.contains(name)).collect()
}

/// What `ssh.algorithms` = `modern` and `compatible` are, in the form of AWS's names.
const MODERN: &str = "TransferSecurityPolicy-Portcullis-Modern";
const COMPATIBLE: &str = "TransferSecurityPolicy-Portcullis-Compatible";

const ID_PREFIX: &str = "hostkey-";
const ID_DIGITS: usize = 17;
#[cfg(test)]
pub(super) const ID_CHARS: usize = ID_PREFIX.len() + ID_DIGITS;
pub(super) const DESCRIPTION_CHARS_MAX: usize = 200;
pub(super) const POLICY_NAME_CHARS_MAX: usize = 100;
