//! Algorithms that old clients would lose, and host keys that they remember.

use super::super::algorithms::Policy;
use super::super::described::{Descriptions, Server};
use super::super::report::{Finding, Topic};
use super::Served;

/// Compares the server's security policy with what the gateway offers.
pub(super) fn algorithms(
    described: &Server,
    found: &Descriptions,
    served: &Served,
    macs: &[&str],
    out: &mut Vec<Finding>,
) {
    let id = &described.id;
    let Some(name) = &described.security_policy else {
        let finding = Finding::open(
            Topic::Algorithms,
            format!("{id}: its description has no security policy; no algorithm was compared"),
            "add the whole output of aws transfer describe-server, or --accept algorithms",
        );
        out.push(finding.numbered(2));
        return;
    };
    let Some(policy) = Policy::named(name) else {
        let finding = Finding::open(
            Topic::Algorithms,
            format!("{id}: the security policy {name} is unknown"),
            "compare its algorithms with docs/transfer-family.md; then --accept algorithms",
        );
        out.push(finding.numbered(2));
        return;
    };
    let lost = policy.lost(&served.key_exchanges, macs);
    let mut is_whole = true;
    if !lost.kex.is_empty() {
        is_whole = false;
        let (gone, kept) = (lost.kex.join(", "), lost.kept.join(", "));
        let change = if !served.is_compatible && lost.kex.iter().any(|kex| COMPATIBLE.contains(kex))
        {
            "set ssh.algorithms = \"compatible\"; look for clients with portcullis rehearse; then \
             --accept algorithms"
        } else {
            "look for clients with portcullis rehearse; then --accept algorithms"
        };
        let text = match &*kept {
            "" => format!("{id} ({name}): no key exchange of the old server is offered"),
            kept => format!(
                "{id} ({name}): a client that knows only {gone} is refused; one that also knows \
                 {kept} is not"
            ),
        };
        out.push(Finding::open(Topic::Algorithms, text, change).numbered(2));
    }
    if !lost.macs.is_empty() {
        is_whole = false;
        let gone = lost.macs.join(", ");
        let text = format!("{id} ({name}): a client that knows only the MACs {gone} is refused");
        let finding = Finding::open(Topic::Algorithms, text, "--accept algorithms");
        out.push(finding.numbered(2));
    }
    if lost.sha1_signatures && has_rsa(&described.id, found) {
        is_whole = false;
        let text = format!(
            "{id} ({name}): a client that signs with RSA and SHA-1 (ssh-rsa), or knows only such \
             host keys, is refused"
        );
        let change = "such clients need an update, or an ed25519 or ECDSA key; then --accept \
                      algorithms";
        out.push(Finding::open(Topic::Algorithms, text, change).numbered(1));
    }
    if is_whole {
        let text = format!("{id} ({name}): every algorithm is offered");
        out.push(Finding::ok(Topic::Algorithms, text));
    }
}

/// Says whether a key of a user, or of the host, may be RSA: with another provider nobody knows.
fn has_rsa(id: &str, found: &Descriptions) -> bool {
    let mut users = found.users_of(id).peekable();
    if users.peek().is_none() {
        return true;
    }
    let is_rsa = |key: &str| key.trim_start().starts_with("ssh-rsa");
    let mut keys = users.flat_map(|(_, user)| &user.keys);
    let mut host_keys = found
        .host_keys
        .iter()
        .filter(|((server, _), _)| server == id);
    keys.any(|key| is_rsa(&key.body))
        || host_keys.any(|(_, key)| key.key_type.as_deref().is_some_and(is_rsa))
}

/// Says which of the old host keys the gateway has, and what to do about the others.
pub(super) fn host_keys(
    described: &Server,
    found: &Descriptions,
    served: &Served,
    out: &mut Vec<Finding>,
) {
    let id = &described.id;
    let of_server = found
        .host_keys
        .iter()
        .filter(|((server, _), _)| server == id);
    let mut known: Vec<_> = of_server
        .map(|(_, key)| {
            let kind = key.key_type.as_deref().unwrap_or("key");
            (key.fingerprint.clone(), kind.to_owned(), key.id.clone())
        })
        .collect();
    if let Some(fingerprint) = &described.fingerprint {
        let fingerprint = fingerprint.trim_end_matches('=').to_owned();
        if known.iter().all(|(held, ..)| *held != fingerprint) {
            known.push((fingerprint, "key".to_owned(), None));
        }
    }
    if known.is_empty() {
        out.push(Finding::open(
            Topic::HostKeys,
            format!("{id}: no host key is described"),
            "add the output of aws transfer list-host-keys",
        ));
    }
    for (fingerprint, kind, key_id) in known {
        let about = format!("{id}: {kind} {fingerprint}");
        if served.host_keys.contains(&fingerprint) {
            out.push(Finding::ok(Topic::HostKeys, about));
            continue;
        }
        if served.host_keys_next.contains(&fingerprint) {
            let text = format!("{about}: the gateway announces this key, and does not use it yet");
            let change = "name its file in host_key_files instead of host_key_next_files";
            out.push(Finding::open(Topic::HostKeys, text, change).numbered(1));
            continue;
        }
        // The line is made to be pasted into a shell.
        let is_id = |id: &String| id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        let export = key_id.filter(is_id);
        let export = export.unwrap_or_else(|| "HOST_KEY_ID".to_owned());
        out.push(
            Finding::open(
                Topic::HostKeys,
                format!("{about}: the gateway does not have this key; clients that know it warn"),
                format!(
                    "if you imported it, name its file in host_key_files; if AWS made it, export \
                     it into a secret (aws transfer update-host-key --host-key-id {export}, \
                     storage type SECRETS_MANAGER); without an export import a new key into the \
                     old server weeks in advance and announce it; then --accept host-keys"
                ),
            )
            .numbered(1),
        );
    }
}

/// What `ssh.algorithms = "compatible"` adds.
const COMPATIBLE: &[&str] = &[
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group14-sha256",
];
