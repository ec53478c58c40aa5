//! One server: who is asked about its logins, how users log in, and what of it has no counterpart.

use super::super::described::Server;
use super::super::report::{Finding, Topic};
use super::super::toml_text::quoted;
use super::{Configured, Gateway};
use crate::config::{Methods, PartialUploads, Provider, ProxyProtocol, Roles};

/// Compares a server with the provider that has its id.
pub(super) fn server(
    described: &Server,
    configured: Option<&Configured>,
    gateway: &Gateway,
    out: &mut Vec<Finding>,
) {
    let id = &described.id;
    match configured {
        Some(_) => out.push(Finding::ok(Topic::Server, format!("{id}: configured"))),
        None => out.push(Finding::open(
            Topic::Server,
            format!("{id}: no provider of the configuration has this server_id"),
            format!("set server_id = {}, also in [provider.NAME]", quoted(id)),
        )),
    }
    provider(described, configured, out);
    if let Some(configured) = configured {
        methods(described, configured, out);
        proxy(described, configured, out);
    }
    let shown = configured.map_or(&gateway.main, |one| &one.served);
    banner(described, shown.banner.as_deref(), out);
    absent(described, out);
    differences(described, gateway, out);
}

fn provider(described: &Server, configured: Option<&Configured>, out: &mut Vec<Finding>) {
    let id = &described.id;
    let (wanted, setting, place) = match described.provider_type.as_deref() {
        None | Some("SERVICE_MANAGED") => (Provider::ServiceManaged, "", None),
        Some("AWS_LAMBDA") => (Provider::Lambda, "function", described.function.as_deref()),
        Some("API_GATEWAY") => (Provider::ApiGateway, "url", described.url.as_deref()),
        Some("AWS_DIRECTORY_SERVICE") => {
            out.push(Finding::open(
                Topic::Provider,
                format!("{id}: AWS_DIRECTORY_SERVICE cannot move"),
                "write a webhook that asks the directory (docs/identity-provider.md)",
            ));
            return;
        }
        Some(other) => {
            let text = format!("{id}: the provider type {other:?} is unknown");
            out.push(Finding::open(Topic::Provider, text, "compare by hand"));
            return;
        }
    };
    let Some(configured) = configured else {
        return;
    };
    let word = wanted.as_str();
    let asked = match wanted {
        Provider::Lambda => configured.function.as_deref(),
        Provider::ApiGateway => Some(&*configured.url),
        Provider::Webhook | Provider::Static | Provider::Token | Provider::ServiceManaged => None,
    };
    let finding = if configured.provider == wanted {
        let same = |asked: &str, place: &str| {
            asked.trim_end_matches('/') == place.trim_end_matches('/')
                || (wanted == Provider::Lambda && is_function(asked, place))
        };
        match (asked, place) {
            (Some(asked), Some(place)) if !same(asked, place) => Finding::open(
                Topic::Provider,
                format!("{id}: the gateway asks {asked}, the old server {place}"),
                format!("set {setting} = {}", quoted(place)),
            ),
            _ => Finding::ok(Topic::Provider, format!("{id}: {word}")),
        }
    } else if configured.asks_as_aws && wanted != Provider::ServiceManaged {
        let text = format!("{id}: a webhook is asked with AWS's event instead of {word}");
        Finding::note(Topic::Provider, text)
    } else {
        let found = configured.provider.as_str();
        Finding::open(
            Topic::Provider,
            format!("{id}: the configuration has provider {found:?}, the old server {word:?}"),
            format!("set provider = \"{word}\""),
        )
    };
    out.push(finding);
}

/// Says whether a name, or a part of an ARN, is the function of an ARN.
fn is_function(asked: &str, arn: &str) -> bool {
    let name = arn.split(':').nth(6).unwrap_or(arn);
    asked == name || arn.ends_with(&format!(":{asked}"))
}

fn methods(described: &Server, configured: &Configured, out: &mut Vec<Finding>) {
    let id = &described.id;
    let wanted = match described.methods.as_deref() {
        // The service keeps no passwords.
        _ if configured.provider == Provider::ServiceManaged => return,
        None | Some("PUBLIC_KEY_OR_PASSWORD") => Methods::KeyOrPassword,
        Some("PASSWORD") => Methods::Password,
        Some("PUBLIC_KEY") => Methods::Key,
        Some("PUBLIC_KEY_AND_PASSWORD") => Methods::KeyAndPassword,
        Some(other) => {
            let text = format!("{id}: the login methods {other:?} are unknown");
            out.push(Finding::open(Topic::Methods, text, "compare by hand"));
            return;
        }
    };
    let (found, word) = (configured.methods.as_str(), wanted.as_str());
    out.push(if configured.methods == wanted {
        Finding::ok(Topic::Methods, format!("{id}: {word}"))
    } else {
        Finding::open(
            Topic::Methods,
            format!("{id}: the gateway allows {found}, the old server {word}"),
            format!("set methods = \"{word}\""),
        )
    });
    if wanted == Methods::KeyAndPassword {
        let text = format!("{id}: the answer to the password makes the session");
        out.push(Finding::note(Topic::Difference, text).numbered(8));
    }
}

fn proxy(described: &Server, configured: &Configured, out: &mut Vec<Finding>) {
    let id = &described.id;
    let wanted = match described.proxy_mode.as_deref() {
        Some("PROXY_PROTOCOL_V2_ENFORCED") => ProxyProtocol::Required,
        Some("NONE") | None => return,
        Some(other) => {
            let text = format!("{id}: the PROXY mode {other:?} is unknown");
            out.push(Finding::open(Topic::Difference, text, "compare by hand").numbered(31));
            return;
        }
    };
    if configured.served.proxy != wanted {
        let finding = Finding::open(
            Topic::Difference,
            format!("{id}: its load balancer sends a PROXY header, which the gateway refuses"),
            "set proxy_protocol = \"required\" and trusted_networks",
        );
        out.push(finding.numbered(31));
    }
}

fn banner(described: &Server, shown: Option<&str>, out: &mut Vec<Finding>) {
    let Some(banner) = &described.banner else {
        return;
    };
    let trimmed = |text: &str| text.trim().to_owned();
    if shown.map(trimmed) != Some(trimmed(banner)) {
        out.push(Finding::open(
            Topic::Server,
            format!(
                "{}: sftp.banner is not its PreAuthenticationLoginBanner",
                described.id
            ),
            format!("set sftp.banner = {}", quoted(banner)),
        ));
    }
}

/// Names what the gateway does not have.
fn absent(described: &Server, out: &mut Vec<Finding>) {
    let id = &described.id;
    let others = described.protocols.iter().filter(|name| *name != "SFTP");
    let others: Vec<_> = others.map(String::as_str).collect();
    if !others.is_empty() {
        out.push(Finding::open(
            Topic::Absent,
            format!("{id}: clients of {} cannot move", others.join(", ")),
            "let them use SFTP, or keep the old server for them; then --accept absent",
        ));
    }
    if described.has_workflows {
        out.push(Finding::open(
            Topic::Absent,
            format!("{id}: managed workflows do not run"),
            "start the same work by S3's own notifications; then --accept absent",
        ));
    }
    if described.domain.as_deref() == Some("EFS") {
        let finding = Finding::open(
            Topic::Absent,
            format!("{id}: its files are on EFS"),
            "mount the file system and serve it from a directory ([store.NAME] fs_ids)",
        );
        out.push(finding.numbered(17));
    }
}

fn differences(described: &Server, gateway: &Gateway, out: &mut Vec<Finding>) {
    let id = &described.id;
    let mut note = |number, text: String| {
        out.push(Finding::note(Topic::Difference, text).numbered(number));
    };
    match described.provider_type.as_deref() {
        Some("AWS_LAMBDA") => {
            note(
                5,
                format!("{id}: keys in the answer to a password refuse the login"),
            );
            note(6, format!("{id}: a key look-up sends an empty password"));
            note(9, format!("{id}: a request may take 8 seconds"));
        }
        Some("API_GATEWAY") => {
            note(
                5,
                format!("{id}: keys in the answer to a password refuse the login"),
            );
            note(7, format!("{id}: 401 and 403 deny the login"));
            note(9, format!("{id}: a request may take 8 seconds"));
        }
        _ => {}
    }
    if gateway.roles != Roles::Assume {
        note(
            13,
            format!("{id}: sessions use the gateway's own credentials, not the roles"),
        );
    }
    if gateway.partial_uploads == PartialUploads::Discard {
        note(
            20,
            format!("{id}: an interrupted upload leaves nothing behind"),
        );
    }
    if described.setstat_option.as_deref() != Some("ENABLE_NO_OP") {
        note(
            23,
            format!("{id}: SETSTAT succeeds; the old server refuses it"),
        );
    }
    if described.logs {
        note(
            34,
            format!("{id}: log lines have other names: portcullis rehearse reads both"),
        );
    }
}
