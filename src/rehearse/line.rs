//! Lines of logs: Transfer Family's, in both of its forms, alone or within what CloudWatch exports,
//! and the gateway's own.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::event::{Act, Event, Login, Place, act_of, method_of};
use super::old_text;
use crate::idp::AuthMethod;

/// What a line came to; nothing: it holds the pieces of a document together, or is empty.
pub(super) type Line = Result<Option<Event>, Unreadable>;

/// It is no line of a log that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable;

/// Reads one line.
pub(super) fn read(line: &str) -> Line {
    let line = line.trim_start_matches('\u{feff}').trim();
    if line.is_empty() {
        return Ok(None);
    }
    // What `aws logs filter-log-events` prints: one member a line.
    if let Some(value) = line.strip_prefix("\"message\":") {
        let value = value.trim().trim_end_matches(',');
        return match serde_json::from_str::<String>(value) {
            Ok(message) => message_of(&message),
            Err(_) => Err(Unreadable),
        };
    }
    if is_frame(line) {
        return Ok(None);
    }
    if let Some(columns) = line.strip_prefix("EVENTS\t") {
        let mut columns = columns.split('\t').map(message_of);
        return columns
            .find(|read| matches!(read, Ok(Some(_))))
            .unwrap_or(Err(Unreadable));
    }
    if !line.starts_with('{') {
        return message_of(line);
    }
    match serde_json::from_str::<Members<'_>>(line) {
        Ok(members) => object(&members),
        Err(_) => Err(Unreadable),
    }
}

/// Says whether a line is a piece of a printed document that holds no event.
fn is_frame(line: &str) -> bool {
    let is_bracket = |c: char| "{}[],".contains(c) || c.is_whitespace();
    let is_member = || {
        let name = line.strip_prefix('"').and_then(|rest| rest.split_once('"'));
        name.is_some_and(|(_, rest)| rest.starts_with(':'))
    };
    line.chars().all(is_bracket) || is_member()
}

/// Reads a message: an object, or text; what an export writes before it is passed over.
fn message_of(text: &str) -> Line {
    let text = text.trim();
    let object_at = text.find('{');
    if let Some(start) = object_at
        && text.ends_with('}')
        && let Some(Ok(members)) = text.get(start..).map(serde_json::from_str::<Members<'_>>)
    {
        return object(&members);
    }
    old_text::read(text).map(Some).ok_or(Unreadable)
}

/// The members of all forms; others are passed over.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Members<'a> {
    #[serde(borrow, rename = "activity-type")]
    activity_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    activity: Option<Cow<'a, str>>,
    #[serde(borrow)]
    level: Option<Cow<'a, str>>,
    message: Option<Value>,
    #[serde(rename = "@message")]
    at_message: Option<Value>,
    #[serde(borrow)]
    user: Option<Cow<'a, str>>,
    #[serde(borrow, alias = "session-id")]
    session_id: Option<Cow<'a, str>>,
    #[serde(borrow, alias = "source-ip")]
    source_ip: Option<Cow<'a, str>>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    kex: Option<Cow<'a, str>>,
    #[serde(borrow)]
    ciphers: Option<Cow<'a, str>>,
    #[serde(borrow)]
    cipher: Option<Cow<'a, str>>,
    #[serde(borrow)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "ssh-public-key-fingerprint", alias = "fingerprint")]
    fingerprint: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "ssh-public-key-type")]
    key_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    path: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "new-path")]
    new_path: Option<Cow<'a, str>>,
    #[serde(borrow)]
    mode: Option<Cow<'a, str>>,
    #[serde(borrow)]
    bucket: Option<Cow<'a, str>>,
    #[serde(borrow)]
    key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    to: Option<Cow<'a, str>>,
    #[serde(borrow)]
    to_bucket: Option<Cow<'a, str>>,
    #[serde(borrow)]
    to_key: Option<Cow<'a, str>>,
    bytes_out: Option<u64>,
}

fn object(members: &Members<'_>) -> Line {
    let message = members.message.as_ref().or(members.at_message.as_ref());
    let text = message.and_then(Value::as_str);
    if let Some(activity) = &members.activity_type {
        return Ok(Some(structured(activity, members, text)));
    }
    if members.level.is_some() {
        return Ok(Some(own(text.unwrap_or_default(), members)));
    }
    // An export wraps each line; some wrap the object itself.
    match message {
        Some(Value::String(message)) => message_of(message),
        Some(inner @ Value::Object(_)) => {
            let inner = inner.to_string();
            match serde_json::from_str::<Members<'_>>(&inner) {
                Ok(inner) if inner.activity_type.is_some() => object(&inner),
                Ok(_) | Err(_) => Err(Unreadable),
            }
        }
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_)) | None => {
            Err(Unreadable)
        }
    }
}

fn owned(text: Option<&Cow<'_, str>>) -> Option<String> {
    let text = text.map(|text| text.as_ref().to_owned());
    text.filter(|text| !text.is_empty())
}

fn login(members: &Members<'_>) -> Login {
    let ciphers = members.ciphers.as_ref().or(members.cipher.as_ref());
    let ciphers = ciphers.map(|all| all.split(',').map(str::to_owned).collect());
    Login {
        user: owned(members.user.as_ref()).unwrap_or_default(),
        session: owned(members.session_id.as_ref()),
        source: members.source_ip.as_ref().and_then(|ip| ip.parse().ok()),
        method: members.method.as_deref().and_then(method_of),
        fingerprint: owned(members.fingerprint.as_ref()),
        key_type: owned(members.key_type.as_ref()),
        kex: owned(members.kex.as_ref()),
        ciphers: ciphers.unwrap_or_default(),
        role: owned(members.role.as_ref()),
    }
}

/// Reads the structured form of Transfer Family.
fn structured(activity: &str, members: &Members<'_>, message: Option<&str>) -> Event {
    match activity {
        "CONNECTED" => {
            let mut login = login(members);
            // Only a login with a key has one.
            let has_key = login.fingerprint.is_some() || login.key_type.is_some();
            login.method = login.method.or(if has_key {
                Some(AuthMethod::PublicKey)
            } else {
                Some(AuthMethod::Password)
            });
            Event::Allowed(login)
        }
        "AUTH_FAILURE" => {
            let mut login = login(members);
            let named = message.and_then(old_text::fingerprint_in);
            login.fingerprint = login.fingerprint.or(named);
            Event::Refused(login)
        }
        "KEX_FAILURE" => Event::NoAlgorithm,
        "DISCONNECTED" => Event::Ended {
            session: owned(members.session_id.as_ref()),
        },
        other => match act_of(other, members.mode.as_deref().unwrap_or_default()) {
            Some(act) => {
                let stored = |path: Option<&Cow<'_, str>>| owned(path).map(Place::Stored);
                did(
                    act,
                    stored(members.path.as_ref()),
                    stored(members.new_path.as_ref()),
                    members,
                )
            }
            None => Event::Other,
        },
    }
}

/// Reads the gateway's own form.
fn own(message: &str, members: &Members<'_>) -> Event {
    let stored = |bucket: Option<&Cow<'_, str>>, key: Option<&Cow<'_, str>>| {
        let (bucket, key) = (owned(bucket)?, key?);
        Some(format!("/{bucket}/{}", key.trim_end_matches('/')))
    };
    match message {
        "login allowed" => return Event::Allowed(login(members)),
        "login refused" => return Event::Refused(login(members)),
        "disconnected" => {
            return Event::Ended {
                session: owned(members.session_id.as_ref()),
            };
        }
        _ => {}
    }
    let act = match members.activity.as_deref() {
        Some("CLOSE") if members.bytes_out.is_some() => Some(Act::Read),
        Some("CLOSE" | "PARTIAL_CLOSE") => Some(Act::Write),
        Some(other) => act_of(other, ""),
        None => None,
    };
    let Some(act) = act else {
        return Event::Other;
    };
    let seen =
        |path: Option<&Cow<'_, str>>, stored| owned(path).map(|path| Place::Seen { path, stored });
    let place = seen(
        members.path.as_ref(),
        stored(members.bucket.as_ref(), members.key.as_ref()),
    );
    let to = seen(
        members.to.as_ref(),
        stored(members.to_bucket.as_ref(), members.to_key.as_ref()),
    );
    did(act, place, to, members)
}

fn did(act: Act, place: Option<Place>, to: Option<Place>, members: &Members<'_>) -> Event {
    match place {
        Some(place) => Event::Did {
            act,
            place,
            to,
            user: owned(members.user.as_ref()),
            session: owned(members.session_id.as_ref()),
        },
        None => Event::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(line: &str) -> Event {
        match read(line) {
            Ok(Some(event)) => event,
            other => panic!("{line}: {other:?}"),
        }
    }

    const CONNECTED: &str = r#"{"role":"arn:aws:iam::123456789012:role/sftp-users","activity-type":"CONNECTED","ciphers":"aes128-ctr,aes128-ctr","client":"SSH-2.0-OpenSSH_7.4","source-ip":"192.0.2.7","resource-arn":"arn:aws:transfer:eu-west-1:123456789012:server/s-0123456789abcdef0","home-dir":"/","ssh-public-key":"AAAA","ssh-public-key-fingerprint":"SHA256:abc","ssh-public-key-type":"ssh-ed25519","user":"ann","kex":"ecdh-sha2-nistp256","session-id":"9ca9a0e1cec6ad9d"}"#;
    const OPEN: &str = r#"{"mode":"CREATE|TRUNCATE|WRITE","path":"/inbox/a b.txt","activity-type":"OPEN","resource-arn":"arn","session-id":"9ca9a0e1cec6ad9d"}"#;

    #[test]
    fn every_wrapping_of_a_line_is_the_same_line() {
        let quoted = serde_json::to_string(CONNECTED).unwrap();
        let plain = event(CONNECTED);
        let Event::Allowed(login) = &plain else {
            panic!("{plain:?}");
        };
        assert_eq!(login.method, Some(AuthMethod::PublicKey));
        assert_eq!(login.ciphers, ["aes128-ctr", "aes128-ctr"]);
        for wrapped in [
            format!("            \"message\": {quoted},"),
            format!("{{\"timestamp\": 1, \"message\": {quoted}, \"ingestionTime\": 2}}"),
            format!("{{\"@timestamp\": \"x\", \"@message\": {quoted}}}"),
            format!("{{\"message\": {CONNECTED}}}"),
            format!("2026-11-28T00:00:00.000Z {CONNECTED}"),
            format!("2026-11-28T00:00:00 ann.9ca9a0e1cec6ad9d {CONNECTED}"),
            format!("EVENTS\t3\t1\tann.9ca9a0e1cec6ad9d\t{CONNECTED}\t2"),
        ] {
            assert_eq!(event(&wrapped), plain, "{wrapped}");
        }
        for frame in [
            "{",
            "    \"events\": [",
            "\"timestamp\": 12,",
            "},",
            "",
            "]}",
        ] {
            assert_eq!(read(frame), Ok(None), "{frame}");
        }
        for other in ["hello", "{\"a\": ", "{\"a\": 1}", "[1, 2] x"] {
            assert_eq!(read(other), Err(Unreadable), "{other}");
        }
    }

    #[test]
    fn paths_and_modes_are_read() {
        let Event::Did {
            act,
            place,
            session,
            ..
        } = event(OPEN)
        else {
            panic!("no act");
        };
        assert_eq!((act, place.as_str()), (Act::Write, "/inbox/a b.txt"));
        assert_eq!(session.as_deref(), Some("9ca9a0e1cec6ad9d"));
        let close = r#"{"path":"/b/k","activity-type":"CLOSE","bytes-in":"121","session-id":"9"}"#;
        assert_eq!(event(close), Event::Other);
        let failure = r#"{"method":"publickey","activity-type":"AUTH_FAILURE","source-ip":"192.0.2.7","message":"RSA SHA256:abc","user":"ann"}"#;
        let Event::Refused(login) = event(failure) else {
            panic!("no refusal");
        };
        assert_eq!(login.fingerprint.as_deref(), Some("SHA256:abc"));
    }

    #[test]
    fn our_own_lines_are_read() {
        let line = r#"{"timestamp":"t","level":"INFO","target":"portcullis::audit","message":"uploaded","activity":"CLOSE","path":"/in/x","location":"s3://inbox/ann/x","bucket":"inbox","key":"ann/x","bytes_in":3,"user":"ann","session_id":"7f3a"}"#;
        let Event::Did {
            act, place, user, ..
        } = event(line)
        else {
            panic!("no act");
        };
        assert_eq!((act, user.as_deref()), (Act::Write, Some("ann")));
        let stored = Some("/inbox/ann/x".to_owned());
        let path = "/in/x".to_owned();
        assert_eq!(place, Place::Seen { path, stored });
        let line = r#"{"timestamp":"t","level":"INFO","message":"login allowed","user":"ann","method":"publickey","source_ip":"192.0.2.7","fingerprint":"SHA256:abc","kex":"curve25519-sha256","cipher":"aes256-gcm@openssh.com"}"#;
        assert!(matches!(event(line), Event::Allowed(login) if login.user == "ann"));
        let line = r#"{"timestamp":"t","level":"INFO","message":"listening"}"#;
        assert_eq!(event(line), Event::Other);
    }
}
