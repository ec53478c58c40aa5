//! The example identity providers, asked as the gateway asks.

use std::process::Stdio;

use portcullis::idp::webhook::{Event, Webhook, WebhookSettings};
use portcullis::idp::{Credential, IdentityProvider as _, Question, Verdict};
use portcullis::secret::Secret;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/idp-examples/python");

/// Starts the example on a free port; `None`, with the reason printed, where Python is missing.
async fn start() -> Option<(Child, String)> {
    let spawned = Command::new("python3")
        .args(["idp.py", "--listen", "127.0.0.1:0"])
        .current_dir(FOLDER)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            println!("skipped: python3 does not start: {error}");
            return None;
        }
    };
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut line).await.unwrap();
    let url = line.trim().strip_prefix("listening on ").unwrap();
    Some((child, url.to_owned()))
}

async fn ask(webhook: &Webhook, user: &str, password: Option<&str>) -> Verdict {
    let secret = |text: &str| Credential::Password(Secret::new(text.to_owned()));
    let question = Question {
        request_id: "c1-1".into(),
        username: user.into(),
        credential: password.map_or(Credential::PublicKey, secret),
        source_ip: "192.0.2.7".parse().unwrap(),
        session_id: "c1".into(),
    };
    webhook.ask(&question).await.unwrap()
}

fn allowed(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Allowed(_))
}

#[tokio::test]
async fn the_python_example_keeps_the_contract() {
    let Some((_child, url)) = start().await else {
        return;
    };
    for event in [Event::Plain, Event::TransferFamily] {
        let mut settings = WebhookSettings::new(&url, "s-1");
        settings.event = event;
        let webhook = Webhook::new(settings).unwrap();
        for user in ["alice", "bob", "carol"] {
            let right = format!("{user}-secret");
            let answer = ask(&webhook, user, Some(&right)).await;
            assert!(allowed(&answer), "{event:?} {user} {answer:?}");
            let answer = ask(&webhook, user, Some("wrong")).await;
            assert!(!allowed(&answer), "{event:?} {user}");
            let answer = ask(&webhook, user, None).await;
            assert_eq!(
                allowed(&answer),
                user != "carol",
                "{event:?} {user} {answer:?}"
            );
        }
        for password in [Some("alice-secret"), None] {
            assert!(
                !allowed(&ask(&webhook, "nobody", password).await),
                "{event:?}"
            );
        }
    }
}
