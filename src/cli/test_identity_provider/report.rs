//! The findings in words: AWS's four fields, the verdict on one line, and all there is to know.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::examine::{Findings, Login};
use super::route::Route;
use crate::cli::secrets;
use crate::idp::UserConfig;
use crate::idp::warning::words;
use crate::refusal::{Reason, Refusal, Verdict, verdict_word};
use crate::vfs::{HomeDirectory, HomeType, Mapping};

/// Mappings that a person is shown.
const MAPPINGS_SHOWN: usize = 50;

/// What is reported.
pub(super) struct Report<'a> {
    /// `None` for a provider that asks nobody.
    pub(super) route: Option<&'a Route>,
    pub(super) findings: &'a Findings,
    pub(super) login: &'a Login,
}

impl Report<'_> {
    /// Says what a login would come to: `allowed · 1 mapping: / → s3://inbox/ann · …`.
    pub(super) fn headline(&self) -> String {
        let Findings {
            refusal,
            half,
            user,
            ..
        } = self.findings;
        let mut words = vec![verdict_word(refusal.as_ref()).to_owned()];
        if *half {
            words.push("the key is right; a password is also required".to_owned());
        }
        if let Some(Refusal { reason, .. }) = refusal {
            words.push(format!("{reason}: {}", reason.cause()));
        }
        if let Some(user) = user {
            words.push(mappings(user));
            words.push(self.buckets());
        }
        if let Some(exchange) = &self.findings.exchange {
            words.push(format!("{} ms", exchange.total.as_millis()));
        }
        words.join(" · ")
    }

    /// Everything, for people.
    pub(super) fn text(&self) -> String {
        let aws = self.aws();
        let mut text = String::new();
        for key in ["Url", "StatusCode", "Message", "Response"] {
            let value = aws.get(key).unwrap_or(&Value::Null);
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), ToOwned::to_owned);
            line(&mut text, &format!("{key}: {}", one_line(&value)));
        }
        line(&mut text, "");
        line(&mut text, &self.headline());
        if let Some(user) = &self.findings.user {
            describe(&mut text, user);
        }
        if let Some(role) = &self.findings.role {
            let until = role.expiry();
            row(
                &mut text,
                "assumed",
                &format!("{}, until {until}", role.role),
            );
            row(&mut text, "session", &role.session_name);
        }
        for check in &self.findings.buckets {
            let answer = check.fault.as_deref().unwrap_or("answers");
            row(&mut text, "bucket", &format!("{}: {answer}", check.bucket));
        }
        for warning in &self.findings.warnings {
            row(&mut text, "odd", &warning.to_string());
        }
        if let Some(refusal) = &self.findings.refusal {
            if let Some(detail) = &refusal.detail {
                row(&mut text, "detail", detail);
            }
            row(&mut text, "change", refusal.reason.remedy());
        }
        row(&mut text, "timing", &self.timing());
        text
    }

    /// Everything, for scripts: AWS's four fields stay where AWS has them.
    pub(super) fn json(&self) -> String {
        let findings = self.findings;
        let mut all = self.aws();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let route = |time: &Result<Duration, String>| time.as_ref().ok().copied().map(millis);
        let exchange = findings.exchange.as_ref();
        let refusal = findings.refusal.as_ref();
        let reason = refusal.map(|refusal| refusal.reason);
        let extra = json!({
            "verdict": verdict_word(refusal),
            "reason": reason.map(Reason::as_str),
            "detail": refusal.and_then(|refusal| refusal.detail.as_deref()),
            "cause": reason.map(Reason::cause),
            "change": reason.map(Reason::remedy),
            "passwordRequired": findings.half,
            "warnings": words(&findings.warnings),
            "user": findings.user.as_deref().map(user),
            "assumedRole": findings.role.as_ref().map(|role| json!({
                "role": role.role,
                "sessionName": role.session_name,
                "expiresAt": role.expiry(),
            })),
            "buckets": findings.buckets.iter().map(|check| json!({
                "bucket": check.bucket.as_str(),
                "answers": check.fault.is_none(),
                "fault": check.fault,
            })).collect::<Vec<_>>(),
            "timing": {
                "dnsMs": self.route.and_then(|r| route(&r.dns)),
                "connectMs": self.route.and_then(|r| route(&r.connect)),
                "firstByteMs": exchange.and_then(|e| e.first_byte).map(millis),
                "totalMs": exchange.map(|e| millis(e.total)),
            },
        });
        if let (Value::Object(all), Value::Object(extra)) = (&mut all, extra) {
            all.extend(extra);
        }
        format!("{all:#}\n")
    }

    /// What `aws transfer test-identity-provider` prints.
    fn aws(&self) -> Value {
        let exchange = self.findings.exchange.as_ref();
        let body = exchange.map_or(&[][..], |exchange| &exchange.body);
        let refusal = self.findings.refusal.as_ref();
        let said = refusal.map(|refusal| (refusal.verdict(), refusal.detail.as_deref()));
        let message = match (exchange, said) {
            (None, _) => "no request was sent",
            (Some(_), Some((Verdict::Invalid | Verdict::Unavailable, detail))) => {
                detail.unwrap_or("")
            }
            (Some(_), Some((Verdict::Denied, _)) | None) => "",
        };
        json!({
            "Url": exchange.map_or("", |exchange| &*exchange.url),
            "StatusCode": exchange.and_then(|exchange| exchange.status),
            "Message": message,
            "Response": self.without_password(&String::from_utf8_lossy(body)),
        })
    }

    /// A service that repeats the password must not make us show it.
    fn without_password(&self, text: &str) -> String {
        match &self.login.password {
            Some(password) => secrets::redacted(text, password),
            None => text.to_owned(),
        }
    }

    fn buckets(&self) -> String {
        let checks = &self.findings.buckets;
        let silent = checks.iter().filter(|check| check.fault.is_some());
        let silent: Vec<&str> = silent.map(|check| check.bucket.as_str()).collect();
        match (checks.len(), &*silent) {
            (1, []) => "bucket answers".to_owned(),
            (_, []) => "buckets answer".to_owned(),
            (_, [one]) => format!("bucket {one} does not answer"),
            (_, many) => format!("buckets {} do not answer", many.join(", ")),
        }
    }

    fn timing(&self) -> String {
        let shown = |time: &Result<Duration, String>| match time {
            Ok(time) => millis(*time),
            Err(why) => why.clone(),
        };
        let Some(exchange) = &self.findings.exchange else {
            return "no request was sent".to_owned();
        };
        let Some(route) = self.route else {
            return format!("total {}", millis(exchange.total));
        };
        let (dns, connect) = (shown(&route.dns), shown(&route.connect));
        let total = millis(exchange.total);
        let first = exchange
            .first_byte
            .map_or_else(|| "none".to_owned(), millis);
        // The HTTP client does not say how long the handshake took.
        let tls = if exchange.url.starts_with("https:") {
            " (with a connection of its own and TLS)"
        } else {
            " (with a connection of its own)"
        };
        format!("dns {dns} · connect {connect} · first byte {first}{tls} · total {total}")
    }
}

/// `2 mappings: / → s3://inbox/ann, …`
fn mappings(user: &UserConfig) -> String {
    if user.home.is_of_role() {
        return "no mappings: the role decides".to_owned();
    }
    let all = user.home.mappings();
    let noun = if all.len() == 1 {
        "mapping"
    } else {
        "mappings"
    };
    let shown: Vec<String> = all.iter().take(3).map(arrow).collect();
    let more = if all.len() > 3 { ", …" } else { "" };
    format!("{} {noun}: {}{more}", all.len(), shown.join(", "))
}

fn arrow(mapping: &Mapping) -> String {
    let prefix = match &*mapping.prefix {
        "" => String::new(),
        prefix => format!("/{prefix}"),
    };
    format!(
        "{} → s3://{}{prefix}",
        mapping.entry.as_str(),
        mapping.bucket
    )
}

fn describe(text: &mut String, user: &UserConfig) {
    row(text, "user", &user.user);
    row(text, "lands in", user.home.landing().as_str());
    let all = confining(user);
    for mapping in all.iter().take(MAPPINGS_SHOWN) {
        let shown = format!("{} ({})", arrow(mapping), mapping.access.as_str());
        row(text, "mapping", &shown);
    }
    if let Some(more) = all.len().checked_sub(MAPPINGS_SHOWN).filter(|n| *n > 0) {
        row(text, "mapping", &format!("and {more} more"));
    }
    if user.home.is_of_role() {
        row(
            text,
            "mapping",
            "none: the role decides (path_homes = \"role\")",
        );
    }
    if let Some(role) = &user.role {
        row(text, "role", role);
    }
    if user.policy.is_some() {
        row(text, "policy", "yes");
    }
    if !user.public_keys.is_empty() {
        row(text, "keys", &user.public_keys.len().to_string());
    }
    for network in &user.networks {
        row(
            text,
            "network",
            &format!("{}/{}", network.address, network.prefix_length),
        );
    }
}

/// Returns the mappings that confine the user: where the role alone does, none.
fn confining(user: &UserConfig) -> &[Mapping] {
    if user.home.is_of_role() {
        &[]
    } else {
        user.home.mappings()
    }
}

fn user(user: &UserConfig) -> Value {
    let mapping = |mapping: &Mapping| {
        json!({
            "entry": mapping.entry.as_str(),
            "bucket": mapping.bucket.as_str(),
            "prefix": mapping.prefix,
            "access": mapping.access.as_str(),
        })
    };
    let networks = user.networks.iter();
    let networks = networks.map(|n| format!("{}/{}", n.address, n.prefix_length));
    json!({
        "user": user.user,
        "home": user.home.landing().as_str(),
        "mappings": confining(user).iter().map(mapping).collect::<Vec<_>>(),
        "pathHomes": path_homes(&user.home),
        "role": user.role,
        "policy": user.policy,
        "publicKeys": user.public_keys.iter().map(|key| &*key.line).collect::<Vec<_>>(),
        "networks": networks.collect::<Vec<_>>(),
    })
}

/// Returns the word of the setting that a home of type PATH follows.
pub(in crate::cli) fn path_homes(home: &HomeDirectory) -> Option<&'static str> {
    match home.home_type() {
        HomeType::Logical => None,
        HomeType::Path if home.is_of_role() => Some("role"),
        HomeType::Path => Some("confined"),
    }
}

pub(in crate::cli) fn row(text: &mut String, name: &str, value: &str) {
    line(text, &format!("  {name:<9} {}", one_line(value)));
}

fn line(text: &mut String, words: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{words}");
}

/// A foreign text must not move the cursor.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1_000.0)
}
