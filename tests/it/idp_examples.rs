//! The example identity providers, each a process of its own, asked as the gateway asks.

use std::process::{Output, Stdio};

use crate::common::refusals::is;
use portcullis::aws::AccessKey;
use portcullis::clock::SystemClock;
use portcullis::idp::lambda::{Lambda, LambdaSettings};
use portcullis::idp::webhook::{Event, Webhook, WebhookSettings};
use portcullis::idp::{
    Asking, AwsCredentials, Credential, Examined as _, IdentityProvider as _, Judged, Question,
    UserConfig,
};
use portcullis::refusal::{Reason, Verdict};
use portcullis::secret::Secret;
use portcullis::vfs::HomeType;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

/// Which of the two answers an example can give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Forms {
    /// `alice` gets the plain one, the others Transfer Family's.
    Both,
    /// Everybody gets Transfer Family's, and it is asked in that form only.
    TransferFamily,
}

#[tokio::test]
async fn the_python_example_keeps_the_contract() {
    keeps_the_contract("python", command("python3", &["idp.py"]), Forms::Both).await;
}

#[tokio::test]
async fn the_node_example_keeps_the_contract() {
    keeps_the_contract("node", command("node", &["idp.mjs"]), Forms::Both).await;
}

#[tokio::test]
async fn the_lambda_example_keeps_the_contract() {
    let python = command("python3", &["run_local.py"]);
    keeps_the_contract("aws-lambda", python, Forms::TransferFamily).await;
}

#[tokio::test]
async fn a_lambda_function_that_raises_denies_as_lambda_does() {
    // Any function that does not take an event and a context.
    let python = command(
        "python3",
        &["run_local.py", "--handler", "operator.truediv"],
    );
    let Some(example) = Example::start("aws-lambda", python).await else {
        return;
    };
    let webhook = example.webhook(Event::TransferFamily);
    let exchange = webhook
        .examine(&question("alice", Some("x")), &SystemClock)
        .await;
    assert_eq!(exchange.status, Some(200));
    assert!(is(&exchange.judged, Verdict::Denied), "{exchange:?}");
    let body: serde_json::Value = serde_json::from_slice(&exchange.body).unwrap();
    assert_eq!(body["errorType"], "TypeError");
    assert!(body["errorMessage"].is_string());

    // Where Lambda is: the header says that the function raised.
    let mut settings = LambdaSettings::new("idp", "s-1");
    settings.region = Some("eu-west-1".to_owned());
    settings.endpoint = Some(example.url.trim_end_matches('/').to_owned());
    settings.credentials = AwsCredentials::Static(AccessKey::new(
        "AKIDEXAMPLE",
        &Secret::new("walnut-39".to_owned()),
        None,
    ));
    let lambda = Lambda::new(settings).unwrap();
    let answer = lambda.ask(&question("alice", Some("x"))).await;
    let refusal = answer.unwrap_err();
    assert_eq!(refusal.reason, Reason::FunctionError);
    assert_eq!(refusal.detail.as_deref(), Some("TypeError"));
}

#[tokio::test]
async fn the_go_example_keeps_the_contract() {
    // Built and not `go run`: that would leave its own child behind when it is killed.
    let built = tempfile::tempdir().unwrap();
    let program = built.path().join("idp").to_str().unwrap().to_owned();
    let mut go = command("go", &["build", "-o", &program, "."]);
    go.env("GOTOOLCHAIN", "local").env("GOFLAGS", "-mod=mod");
    match go.current_dir(folder("go")).output().await {
        Ok(Output { status, .. }) if status.success() => {
            keeps_the_contract("go", command(&program, &[]), Forms::Both).await;
        }
        Ok(Output { stderr, .. }) if needs_newer_go(&stderr) => skip("go", "go is too old"),
        Ok(Output { stderr, .. }) => panic!("{}", String::from_utf8_lossy(&stderr)),
        Err(error) => skip("go", &format!("go does not start: {error}")),
    }
}

#[tokio::test]
async fn the_postgres_example_keeps_the_contract() {
    keeps_the_contract("postgres", command("./try.sh", &[]), Forms::Both).await;
}

#[tokio::test]
async fn the_postgres_example_without_its_database_is_unavailable_and_denies_nobody() {
    let nowhere = "postgresql:///idp?host=/nowhere";
    let python = command("python3", &["idp.py", "--database", nowhere]);
    let Some(example) = Example::start("postgres", python).await else {
        return;
    };
    assert_unavailable(&example, Event::Plain).await;
}

async fn assert_unavailable(example: &Example, event: Event) {
    let answer = ask(&example.webhook(event), "alice", Some("alice-secret")).await;
    assert!(is(&answer, Verdict::Unavailable), "{answer:?}");
}

async fn keeps_the_contract(name: &str, command: Command, forms: Forms) {
    let Some(example) = Example::start(name, command).await else {
        return;
    };
    if forms == Forms::Both {
        asked(&example.webhook(Event::Plain), forms).await;
        // A password stays one, however it looks.
        let blank = ask(&example.webhook(Event::Plain), "alice", Some("")).await;
        assert!(is(&blank, Verdict::Denied), "{blank:?}");
    }
    asked(&example.webhook(Event::TransferFamily), forms).await;
    example.logged_answers(forms);
    nothing_is_an_error(&example, forms).await;
}

/// Asks what the gateway's own list of trials asks, about a user with a password and one without.
async fn nothing_is_an_error(example: &Example, forms: Forms) {
    let event = if forms == Forms::Both {
        Event::Plain
    } else {
        Event::TransferFamily
    };
    let webhook = example.webhook(event);
    let long = "x".repeat(1_024);
    let passwords = [
        "wrong",
        "a\0b",
        "a\r\nb",
        "\u{1f511} ☂",
        "\u{1b}[2J",
        "null",
        " ",
        &long,
    ];
    let names = ["alice", "nobody", "", "a\0", "Jörg \u{1f511}", "__proto__"];
    let of_dave = passwords.map(|password| ("dave", password));
    for (user, password) in of_dave.into_iter().chain(names.map(|name| (name, "a\0b"))) {
        let asked = question(user, Some(password));
        let exchange = webhook.examine(&asked, &SystemClock).await;
        assert_eq!(exchange.status, Some(200), "{user:?} {password:?}");
        let judged = &exchange.judged;
        assert!(
            is(judged, Verdict::Denied),
            "{user:?} {password:?} {judged:?}"
        );
    }
    let config = allowed(webhook.ask(&question("dave", None)).await);
    assert_eq!(config.public_keys.len(), 1, "{config:?}");

    let mut tester = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    tester.args(["test-identity-provider", "--contract", &example.url]);
    tester.args(["--user", "alice", "--password-stdin"]);
    if forms == Forms::TransferFamily {
        tester.arg("--transfer-family");
    }
    let mut tester = tester
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = tester.stdin.take().unwrap();
    stdin.write_all(b"alice-secret\n").await.unwrap();
    drop(stdin);
    let output = tester.wait_with_output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("· 0 wrong ·"), "{text}");
}

/// Asks about everybody, in every way.
async fn asked(webhook: &Webhook, forms: Forms) {
    for user in ["alice", "bob", "carol"] {
        let right = format!("{user}-secret");
        let config = allowed(ask(webhook, user, Some(&right)).await);
        assert_home(user, &config, forms);
        assert!(config.public_keys.is_empty(), "{user} {config:?}");
        assert!(config.warnings.is_empty(), "{user} {config:?}");
        let wrong = ask(webhook, user, Some("wrong")).await;
        assert!(is(&wrong, Verdict::Denied), "{user} {wrong:?}");
    }
    for user in ["alice", "bob"] {
        let config = allowed(ask(webhook, user, None).await);
        assert_home(user, &config, forms);
        let [key] = &*config.public_keys else {
            panic!("{user} {config:?}")
        };
        assert!(key.line.starts_with("ssh-ed25519 AAAA"), "{user} {key:?}");
    }
    for (user, password) in [
        ("carol", None),
        ("nobody", None),
        ("nobody", Some("alice-secret")),
    ] {
        let answer = ask(webhook, user, password).await;
        assert!(is(&answer, Verdict::Denied), "{user} {answer:?}");
    }
}

fn allowed(answer: Judged) -> UserConfig {
    match answer {
        Ok(config) => UserConfig::clone(&config),
        refused => panic!("{refused:?}"),
    }
}

/// All examples know the same three users.
fn assert_home(user: &str, config: &UserConfig, forms: Forms) {
    let mappings: Vec<_> = config
        .home
        .mappings()
        .iter()
        .map(|mapping| {
            let (entry, access) = (mapping.entry.as_str(), mapping.access.as_str());
            format!("{entry} {}/{} {access}", mapping.bucket, mapping.prefix)
        })
        .collect();
    let (write, read) = match forms {
        Forms::Both => ("write", "read"),
        // This form cannot say who may do what: the role does.
        Forms::TransferFamily => ("read-write", "read-write"),
    };
    let (home_type, expected) = match user {
        "alice" => (
            HomeType::Logical,
            vec![
                format!("/in my-bucket/alice/in {write}"),
                format!("/out my-bucket/alice/out {read}"),
            ],
        ),
        "bob" => (
            HomeType::Logical,
            vec!["/ my-bucket/bob read-write".to_owned()],
        ),
        _ => (
            HomeType::Path,
            vec!["/my-bucket/carol my-bucket/carol read-write".to_owned()],
        ),
    };
    assert_eq!(mappings, expected, "{user}");
    assert_eq!(config.home.home_type(), home_type, "{user}");
}

async fn ask(webhook: &Webhook, user: &str, password: Option<&str>) -> Judged {
    webhook.ask(&question(user, password)).await
}

fn question(user: &str, password: Option<&str>) -> Question {
    let secret = |text: &str| Credential::Password(Secret::new(text.to_owned()));
    Question {
        request_id: "c1-1".into(),
        username: user.into(),
        credential: password.map_or(Credential::PublicKey, secret),
        source_ip: "192.0.2.7".parse().unwrap(),
        session_id: "c1".into(),
        asking: Asking::default(),
    }
}

/// An example that listens, until it is dropped.
struct Example {
    url: String,
    /// Killed with this value; `try.sh` ends, and cleans up, when its standard input does.
    _process: Child,
    log: tempfile::NamedTempFile,
}

impl Example {
    /// Starts an example on a free port; `None` where what it runs on is missing.
    async fn start(name: &str, mut command: Command) -> Option<Self> {
        let log = tempfile::NamedTempFile::new().unwrap();
        let cleans_up = command.as_std().get_program() == "./try.sh";
        let spawned = command
            .args(["--listen", "127.0.0.1:0"])
            .current_dir(folder(name))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.reopen().unwrap())
            .kill_on_drop(!cleans_up)
            .spawn();
        let mut process = match spawned {
            Ok(process) => process,
            Err(error) => {
                skip(name, &format!("it does not start: {error}"));
                return None;
            }
        };
        let mut line = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut line).await.unwrap();
        if let Some(url) = line.trim().strip_prefix("listening on ") {
            let url = url.to_owned();
            return Some(Self {
                url,
                _process: process,
                log,
            });
        }
        let status = process.wait().await.unwrap();
        let stderr = std::fs::read_to_string(log.path()).unwrap();
        let missing = status.code() == Some(MISSING) || stderr.contains("ModuleNotFoundError");
        assert!(missing, "{name} ended with {status}: {stderr}");
        skip(name, stderr.trim());
        None
    }

    /// Expects a line of its log for each answer: who, what, and which question it was.
    fn logged_answers(&self, forms: Forms) {
        let text = std::fs::read_to_string(self.log.path()).unwrap();
        let told = |words: &[&str]| {
            let mut lines = text.lines();
            lines.any(|line| words.iter().all(|word| line.contains(word)))
        };
        // Transfer Family's event has no id of the question; Lambda gives each event one.
        let id = if forms == Forms::Both {
            "c1-1"
        } else {
            "\"requestId\": \""
        };
        assert!(told(&[id, "alice", "allowed"]), "{text}");
        assert!(told(&[id, "nobody", "denied"]), "{text}");
        assert!(!text.contains("alice-secret"), "{text}");
    }

    fn webhook(&self, event: Event) -> Webhook {
        let mut settings = WebhookSettings::new(&self.url, "s-1");
        settings.event = event;
        Webhook::new(settings).unwrap()
    }
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

fn folder(name: &str) -> String {
    format!("{}/idp-examples/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn needs_newer_go(stderr: &[u8]) -> bool {
    let text = String::from_utf8_lossy(stderr);
    [
        "requires go",
        "invalid go version",
        "is not in GOROOT",
        "is not in std",
    ]
    .iter()
    .any(|sign| text.contains(sign))
}

/// Says why an example is not tested; where everything is to be tested, that is a failure.
pub(crate) fn skip(name: &str, reason: &str) {
    assert!(!must_run(), "CI=1, and {name} does not run: {reason}");
    println!("skipped: {name}: {reason}");
}

#[expect(clippy::disallowed_methods, reason = "a switch of this test alone")]
fn must_run() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "1")
}

/// The exit status of `try.sh` where something is not installed.
const MISSING: i32 = 69;
