//! The older form of Transfer Family's log: `user.session ACTIVITY Key=value …`.
//!
//! Values may hold spaces, so one ends where the next known key begins.

use std::collections::BTreeMap;

use super::event::{Event, Login, Place, act_of, method_of};
use crate::idp::AuthMethod;

/// Reads one line; none: it is not of this form.
pub(super) fn read(text: &str) -> Option<Event> {
    let mut rest = text;
    // A time, and the name of the stream, may stand before.
    for _ in 0..=WORDS_BEFORE {
        let (who, after) = rest.split_once(' ')?;
        let (activity, values) = after.split_once(' ').unwrap_or((after, ""));
        if ACTIVITIES.contains(&activity) && (who == "ERRORS" || who.contains('.')) {
            return Some(event(who, activity, values));
        }
        rest = after;
    }
    None
}

fn event(who: &str, activity: &str, values: &str) -> Event {
    let values = values_of(values);
    let value = |key: &str| values.get(key).map(|value| (*value).to_owned());
    // Names may have dots; sessions have none.
    let (user, session) = who.rsplit_once('.').unzip();
    let (user, session) = (user.map(str::to_owned), session.map(str::to_owned));
    let login = || Login {
        user: value("User").or_else(|| user.clone()).unwrap_or_default(),
        session: session.clone(),
        source: value("SourceIP").and_then(|ip| ip.parse().ok()),
        method: values.get("Method").and_then(|word| method_of(word)),
        fingerprint: None,
        key_type: None,
        kex: value("Kex"),
        ciphers: value("Ciphers")
            .map(|all| all.split(',').map(str::to_owned).collect())
            .unwrap_or_default(),
        role: value("Role"),
    };
    match activity {
        "CONNECTED" => Event::Allowed(login()),
        "AUTH_FAILURE" => {
            let named = values.get("Message").and_then(|text| fingerprint_in(text));
            let mut login = login();
            if named.is_some() {
                login.method = Some(AuthMethod::PublicKey);
            }
            login.fingerprint = named;
            Event::Refused(login)
        }
        "KEX_FAILURE" => Event::NoAlgorithm,
        "DISCONNECTED" => Event::Ended { session },
        other => {
            let mode = value("Mode").unwrap_or_default();
            let place = value("Path").map(Place::Stored);
            match (act_of(other, &mode), place) {
                (Some(act), Some(place)) => Event::Did {
                    act,
                    place,
                    to: value("NewPath").map(Place::Stored),
                    user,
                    session,
                },
                (Some(_) | None, _) => Event::Other,
            }
        }
    }
}

/// Returns the values by their keys.
fn values_of(text: &str) -> BTreeMap<&'static str, &str> {
    let mut starts: Vec<(usize, usize, &'static str)> = Vec::new();
    for key in KEYS {
        for (at, _) in text.match_indices(key) {
            let before = text.get(..at).unwrap_or_default();
            let end = at.saturating_add(key.len());
            let is_word = before.is_empty() || before.ends_with(' ');
            if is_word && text.get(end..).is_some_and(|rest| rest.starts_with('=')) {
                starts.push((at, end.saturating_add(1), key));
            }
        }
    }
    starts.sort_unstable();
    let ends = starts.iter().skip(1).map(|(at, ..)| *at);
    let ends: Vec<_> = ends.chain([text.len()]).collect();
    let mut values = BTreeMap::new();
    for ((_, begin, key), end) in starts.into_iter().zip(ends) {
        let value = text.get(begin..end).unwrap_or_default().trim();
        let value = value.strip_prefix('"').unwrap_or(value);
        let value = value.strip_suffix('"').unwrap_or(value);
        // What a path says of another key belongs to the path.
        values.entry(key).or_insert(value);
    }
    values
}

/// Returns the fingerprint that a message names.
pub(super) fn fingerprint_in(message: &str) -> Option<String> {
    let mut words = message.split_whitespace();
    let word = words.find(|word| word.starts_with("SHA256:"))?;
    Some(word.trim_end_matches(['"', '=']).to_owned())
}

const WORDS_BEFORE: usize = 2;

const ACTIVITIES: &[&str] = &[
    "AUTH_FAILURE",
    "CLOSE",
    "CONNECTED",
    "CONNECTION_REJECTED",
    "CREATE_SYMLINK",
    "DELETE",
    "DISCONNECTED",
    "ERROR",
    "EXIT_REASON",
    "KEX_FAILURE",
    "MKDIR",
    "OPEN",
    "PARTIAL_CLOSE",
    "RENAME",
    "RMDIR",
    "SETSTAT",
    "TLS_RESUME_FAILURE",
];

const KEYS: &[&str] = &[
    "BytesIn",
    "BytesOut",
    "Ciphers",
    "Client",
    "HomeDir",
    "Kex",
    "Message",
    "Method",
    "Mode",
    "NewPath",
    "Operation",
    "Path",
    "Role",
    "SourceIP",
    "User",
    "UserPolicy",
];

#[cfg(test)]
mod tests {
    use super::super::event::Act;
    use super::*;

    #[test]
    fn lines_of_the_older_form_are_read() {
        let line = "first.last.0049cd844c7536c0 CONNECTED SourceIP=192.0.2.7 User=first.last \
                    HomeDir=LOGICAL Client=SSH-2.0-OpenSSH_8.1 Role=arn:aws:iam::1:role/x \
                    Kex=ecdh-sha2-nistp256 Ciphers=aes128-ctr,aes128-ctr";
        let Some(Event::Allowed(login)) = read(line) else {
            panic!("no login");
        };
        assert_eq!(login.user, "first.last");
        assert_eq!(login.session.as_deref(), Some("0049cd844c7536c0"));
        assert_eq!(login.kex.as_deref(), Some("ecdh-sha2-nistp256"));
        let stamped = format!("2026-11-28T00:00:00.000Z {line}");
        assert!(matches!(read(&stamped), Some(Event::Allowed(_))));
        let tailed = format!("2026-11-28T00:00:00 first.last.0049cd844c7536c0 {line}");
        assert!(matches!(read(&tailed), Some(Event::Allowed(_))));
    }

    #[test]
    fn a_path_may_hold_spaces_and_equals_signs() {
        let line = "ann.0049cd844c7536c0 RENAME Path=/inbox/a Mode b=c.txt NewPath=/inbox/d e.txt";
        let Some(Event::Did {
            act,
            place,
            to,
            user,
            ..
        }) = read(line)
        else {
            panic!("no act");
        };
        assert_eq!(
            (act, place.as_str()),
            (Act::Rename, "/inbox/a Mode b=c.txt")
        );
        assert_eq!(to.as_ref().map(Place::as_str), Some("/inbox/d e.txt"));
        assert_eq!(user.as_deref(), Some("ann"));
        let line = "ERRORS AUTH_FAILURE Method=publickey User=ann Message=\"RSA SHA256:abc\" \
                    SourceIP=192.0.2.7";
        let Some(Event::Refused(login)) = read(line) else {
            panic!("no refusal");
        };
        assert_eq!(login.fingerprint.as_deref(), Some("SHA256:abc"));
        assert_eq!(read("nothing of the kind"), None);
        assert_eq!(read(""), None);
    }
}
