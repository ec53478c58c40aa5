//! The trials: each asks, and holds what comes back against what a gateway needs.

use futures_util::future::join_all;

use super::{Bench, Grade, Trial, refusal, word};
use crate::auth::OfferedKey;
use crate::idp::webhook::Webhook;
use crate::idp::{Credential, Exchange, Judged};
use crate::refusal::{Reason, Refusal, Verdict};
use crate::secret::Secret;

/// A service that takes longer makes people wait at every login.
const SLOW_MS: u64 = 1_000;
/// A client with an agent full of keys, a few times over.
const LOOK_UPS: usize = 12;
const IN_PARALLEL: usize = 8;

/// The first trial, without which the others say nothing.
pub(super) struct First {
    pub(super) trial: Trial,
    /// Why the others would say the same again, or nothing.
    pub(super) nothing_else: Option<&'static str>,
    pub(super) unreachable: bool,
}

pub(super) async fn right_password(bench: &Bench<'_>) -> First {
    let judged = bench.right().await.judged;
    let nothing_else = match &judged {
        Ok(_) => None,
        Err(refusal) if refusal.reason == Reason::StatusDenied => Some(
            "the service denied the given password, or it does not recognise the gateway: with \
             --config the test uses the gateway's headers, keys and certificates",
        ),
        Err(refusal) => Some(match refusal.verdict() {
            Verdict::Denied => {
                "give the right password of a user that the service knows; every test needs it"
            }
            Verdict::Unavailable => "the service does not answer, so every test would fail",
            Verdict::Invalid => "correct this answer first; every test needs it",
        }),
    };
    let verdict = judged.as_ref().map_err(Refusal::verdict);
    let trial = Trial {
        name: "right password",
        grade: yes(&judged),
        found: word(&judged),
        why: "nobody can log in like this",
    };
    First {
        trial,
        nothing_else,
        unreachable: verdict == Err(Verdict::Unavailable),
    }
}

pub(super) async fn wrong_passwords(bench: &Bench<'_>) -> Trial {
    let right = bench.subject.password.expose();
    // Named, not shown: the first one holds the right one.
    let wrong = [
        ("the right one and more", format!("{right}-not")),
        ("quotes and brackets", "\"};'--\\".to_owned()),
        ("beyond ASCII", "pässwörd ☂ \u{1f511}".to_owned()),
        ("a NUL inside", "a\0b".to_owned()),
        ("line breaks and an escape", "a\r\nb\u{1b}[2J".to_owned()),
        ("the word null", "null".to_owned()),
        ("an asterisk", "*".to_owned()),
        ("1024 characters", "x".repeat(1_024)),
    ];
    let user = &bench.subject.user;
    let mut answers = Vec::new();
    for (name, password) in wrong.iter().filter(|(_, password)| password != right) {
        answers.push(((*name).to_owned(), bench.password(user, password).await));
    }
    worst(
        "wrong passwords",
        answers,
        "deny every wrong password with status 200: an error would count as an outage, and \
         allowing it lets anybody in",
    )
}

pub(super) async fn blank_passwords(bench: &Bench<'_>) -> Trial {
    let mut answers = Vec::new();
    for password in ["", " ", "\t", "\0"] {
        // There exactly "" is the look-up of keys.
        if password.is_empty() && bench.tried.is_transfer_family() {
            continue;
        }
        let answer = bench.password(&bench.subject.user, password).await;
        answers.push((format!("{password:?}"), answer));
    }
    worst(
        "blank passwords",
        answers,
        "a blank password must not be taken for a key look-up or for a directory's anonymous \
         bind: anybody could log in. This gateway never sends one; others do",
    )
}

pub(super) async fn padded_password(bench: &Bench<'_>) -> Trial {
    let padded = format!("{} ", bench.subject.password.expose());
    let judged = bench.password(&bench.subject.user, &padded).await.judged;
    Trial {
        name: "right password and a space",
        grade: match judged.as_ref().map_err(Refusal::verdict) {
            Ok(_) => Grade::Advice,
            Err(Verdict::Denied) => Grade::Good,
            Err(Verdict::Invalid | Verdict::Unavailable) => Grade::Wrong,
        },
        found: word(&judged),
        why: "compare a password as it is: trimming makes two passwords of one",
    }
}

pub(super) async fn key_look_up(bench: &Bench<'_>) -> Trial {
    let user = &bench.subject.user;
    let judged = bench.ask(user, Credential::PublicKey).await.judged;
    let name = "key look-up";
    let why = "a request without a password asks for the user's public keys; the gateway verifies \
               the client's key";
    let (grade, found) = match (
        judged.as_ref().map_err(Refusal::verdict),
        &bench.subject.key,
    ) {
        (Ok(config), None) => (Grade::Good, keys_listed(config.public_keys.len())),
        (Ok(config), Some(key)) => {
            let listed = config.public_keys.iter().any(|key_line| {
                OfferedKey::from_line(&key_line.line).is_some_and(|listed| listed.blob == key.blob)
            });
            if listed {
                (Grade::Good, "the key is listed".to_owned())
            } else {
                let keys = keys_listed(config.public_keys.len());
                (Grade::Wrong, format!("{keys}, not this one"))
            }
        }
        (Err(Verdict::Denied), None) => (refusal(&judged), "no keys".to_owned()),
        (Err(Verdict::Denied), Some(_)) | (Err(Verdict::Invalid | Verdict::Unavailable), _) => {
            (Grade::Wrong, word(&judged))
        }
    };
    Trial {
        name,
        grade,
        found,
        why,
    }
}

pub(super) async fn unknown_user(bench: &Bench<'_>) -> Trial {
    let nobody = "portcullis-nobody-7f3a";
    let right = bench.subject.password.expose();
    let answers = vec![
        ("password".to_owned(), bench.password(nobody, right).await),
        (
            "key look-up".to_owned(),
            bench.ask(nobody, Credential::PublicKey).await,
        ),
    ];
    worst(
        "unknown user",
        answers,
        "deny an unknown name with status 200: scanners try thousands of them, and errors would \
         look like an outage",
    )
}

pub(super) async fn odd_names(bench: &Bench<'_>) -> Trial {
    let user = &bench.subject.user;
    let names = [
        String::new(),
        " ".to_owned(),
        "..".to_owned(),
        format!("../{user}"),
        format!("{user}/../{user}"),
        format!("{user}\0"),
        format!("{user}\n"),
        format!("{user}' OR '1'='1"),
        format!("{user})(uid=*"),
        "*".to_owned(),
        "${user}%s%n".to_owned(),
        "Jörg ☂".to_owned(),
        "x".repeat(100),
    ];
    let mut answers = Vec::new();
    let rule = bench.tried.user_names;
    let asked = |name: &&String| rule.is_none_or(|rule| rule.allows(name));
    for name in names.iter().filter(asked) {
        for credential in [
            Credential::Password(bench.subject.password.clone()),
            Credential::PublicKey,
        ] {
            answers.push((shorten(name), bench.ask(name, credential).await));
        }
    }
    worst(
        "odd user names",
        answers,
        "anybody on the internet can send any name: one that reaches a query, a path or a pattern \
         unescaped may match another user",
    )
}

pub(super) async fn other_case(bench: &Bench<'_>) -> Trial {
    let user = &*bench.subject.user;
    let mut other = user.to_uppercase();
    if other == user {
        other = user.to_lowercase();
    }
    let name = "name in another case";
    let why = "one person with two names has separate limits and logs for each: answer with the \
               canonical \"user\"";
    if other == user {
        return Trial {
            name,
            grade: Grade::Skipped,
            found: "the name has no case".to_owned(),
            why,
        };
    }
    let judged = bench
        .password(&other, bench.subject.password.expose())
        .await
        .judged;
    let grade = match &judged {
        Ok(config) if *config.user == *other => Grade::Advice,
        Ok(_) => Grade::Good,
        Err(_) => refusal(&judged),
    };
    Trial {
        name,
        grade,
        found: word(&judged),
        why,
    }
}

pub(super) async fn other_addresses(bench: &Bench<'_>) -> Trial {
    let mut answers = Vec::new();
    for address in ["192.0.2.7", "2001:db8::7"] {
        let Ok(source_ip) = address.parse() else {
            continue;
        };
        let password = Credential::Password(bench.subject.password.clone());
        let user = &bench.subject.user;
        let provider = &*bench.tried.provider;
        let answer = bench.ask_from(provider, user, password, source_ip);
        answers.push((address.to_owned(), answer.await));
    }
    // A yes and a no are both right: it is the service that knows its networks.
    let is_no_answer = |judged: &Judged| match judged.as_ref().map_err(Refusal::verdict) {
        Ok(_) | Err(Verdict::Denied) => false,
        Err(Verdict::Invalid | Verdict::Unavailable) => true,
    };
    let mut all = answers.iter();
    let bad = all.find(|(_, answer)| is_no_answer(&answer.judged));
    Trial {
        name: "other source addresses",
        grade: if bad.is_some() {
            Grade::Wrong
        } else {
            Grade::Good
        },
        found: match bad {
            Some((address, answer)) => format!("{address}: {}", word(&answer.judged)),
            None => "answered".to_owned(),
        },
        why: "clients connect over IPv4 and IPv6: a denial is an answer, an error is not",
    }
}

pub(super) async fn repeated_password(bench: &Bench<'_>) -> Trial {
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(bench.right().await);
    }
    same(
        "right password again",
        &answers,
        "clients open several connections with one password: a service that accepts it only once, \
         or counts logins, breaks them",
    )
}

pub(super) async fn repeated_look_ups(bench: &Bench<'_>) -> Trial {
    for _ in 0..LOOK_UPS {
        let user = &bench.subject.user;
        drop(bench.ask(user, Credential::PublicKey).await);
    }
    same(
        "password after many look-ups",
        &[bench.right().await],
        "anybody can cause key look-ups for any name: a service that counts them as failed logins \
         lets strangers lock users out",
    )
}

pub(super) async fn parallel_questions(bench: &Bench<'_>) -> Trial {
    let answers = join_all((0..IN_PARALLEL).map(|_| bench.right())).await;
    same(
        "eight requests at once",
        &answers,
        "after a restart all users log in at once: a service that answers one at a time makes \
         them wait until they give up",
    )
}

pub(super) async fn optional_keys(bench: &Bench<'_>) -> Trial {
    let name = "optional keys in the request";
    let why = "the contract may grow: ignore keys that the service does not know";
    let longer = bench.tried.webhook.clone().map(|mut settings| {
        settings.send_session_id = true;
        Webhook::new(settings)
    });
    let webhook = match longer {
        Some(Ok(webhook)) if !bench.tried.is_transfer_family() => webhook,
        Some(_) | None => {
            return Trial {
                name,
                grade: Grade::Skipped,
                found: "Transfer Family's event has none".to_owned(),
                why,
            };
        }
    };
    let password = Credential::Password(Secret::clone(&bench.subject.password));
    let (user, source_ip) = (&bench.subject.user, bench.subject.source_ip);
    let answer = bench.ask_from(&webhook, user, password, source_ip).await;
    same(name, &[answer], why)
}

pub(super) async fn speed(bench: &Bench<'_>) -> Trial {
    let slowest = bench.slowest_ms.load(std::sync::atomic::Ordering::Relaxed);
    Trial {
        name: "slowest answer",
        grade: if slowest > SLOW_MS {
            Grade::Advice
        } else {
            Grade::Good
        },
        found: format!("{slowest} ms"),
        why: "a user waits this long at the prompt, and the gateway gives up after \
              identity.total_timeout_ms",
    }
}

fn keys_listed(count: usize) -> String {
    let noun = if count == 1 { "key" } else { "keys" };
    format!("{count} {noun} listed")
}

fn yes(judged: &Judged) -> Grade {
    match judged {
        Ok(_) => Grade::Good,
        Err(_) => Grade::Wrong,
    }
}

/// Grades answers that must all be yes.
fn same(name: &'static str, answers: &[Exchange], why: &'static str) -> Trial {
    let bad = answers
        .iter()
        .find(|answer| yes(&answer.judged) != Grade::Good);
    Trial {
        name,
        grade: if bad.is_some() {
            Grade::Wrong
        } else {
            Grade::Good
        },
        found: bad.map_or_else(|| "allowed".to_owned(), |answer| word(&answer.judged)),
        why,
    }
}

/// Grades answers that must all be no, by the worst of them.
fn worst(name: &'static str, answers: Vec<(String, Exchange)>, why: &'static str) -> Trial {
    let mut grade = Grade::Good;
    let mut found = "denied".to_owned();
    for (asked, answer) in answers {
        let this = refusal(&answer.judged);
        let worse = match this {
            Grade::Wrong => grade != Grade::Wrong,
            Grade::Advice => grade == Grade::Good,
            Grade::Good | Grade::Skipped => false,
        };
        if worse {
            grade = this;
            found = format!("{asked}: {}", word(&answer.judged));
        }
    }
    Trial {
        name,
        grade,
        found,
        why,
    }
}

/// Names what was asked without a secret: only made-up passwords and names come here.
fn shorten(text: &str) -> String {
    let shown: String = text.chars().take(24).collect();
    let more = if shown.len() < text.len() { "…" } else { "" };
    format!("{shown:?}{more}")
}
