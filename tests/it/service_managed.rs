//! Users that the gateway keeps itself: what a login is answered, and what becomes of changes that
//! meet each other or a store that fails.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use portcullis::clock::SystemClock;
use portcullis::idp::router::{Route, Router};
use portcullis::idp::service_managed::{
    Directory, Document, Documents, Failure, Fault, Fields, HomeDirectoryType, InBucket, MapEntry,
    Names, ServiceManaged, User, Users, UsersSettings, Version,
};
use portcullis::idp::warning::words;
use portcullis::idp::wire::{self, Asked, Transport};
use portcullis::idp::{
    Asking, AuthMethod, Credential, IdentityProvider, Judged, PathHomes, Question, UserNameRule,
};
use portcullis::refusal::Verdict;
use portcullis::secret::Secret;
use portcullis::storage::failing::{Failing, Fault as Spoiled};
use portcullis::storage::memory::MemoryStore;
use portcullis::storage::{Bucket, Key, Location, Operation, StorageErrorKind};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::clock::FakeClock;
use crate::common::login::{LISTED_LINE, allowed};
use crate::common::provider::RecordingProvider;
use crate::idp_contract::FIXTURES;

const ROLE: &str = "arn:aws:iam::123456789012:role/sftp-user";
const CACHED: Duration = Duration::from_secs(2);
const STALE: Duration = Duration::from_secs(600);

/// Where the users of a test are kept.
pub(crate) enum Place {
    Files(TempDir),
    Objects(Arc<MemoryStore>, Arc<Failing>),
}

/// One replica; those of one place share their users.
pub(crate) struct Replica {
    pub(crate) users: Arc<Users>,
    provider: ServiceManaged,
    pub(crate) clock: Arc<FakeClock>,
}

fn bucket() -> Bucket {
    Bucket::parse("config").unwrap()
}

impl Place {
    pub(crate) fn files() -> Self {
        Self::Files(tempfile::tempdir().unwrap())
    }

    pub(crate) fn objects() -> Self {
        let memory = Arc::new(MemoryStore::new(&[&bucket()]));
        let failing = Arc::new(Failing::new(memory.clone()));
        Self::Objects(memory, failing)
    }

    pub(crate) fn replica(&self) -> Replica {
        match self {
            Self::Files(directory) => {
                let root = directory.path().display().to_string();
                replica(Arc::new(Directory::of(&root, "s-1")))
            }
            Self::Objects(_, failing) => {
                let users = InBucket::of(bucket(), "users", "s-1", Arc::new(SystemClock));
                users.connect(failing.clone());
                replica(Arc::new(users))
            }
        }
    }

    /// Writes a document as an editor does.
    fn write(&self, name: &str, text: &str) {
        match self {
            Self::Files(directory) => {
                let folder = format!("{}/s-1", directory.path().display());
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(format!("{folder}/{name}.json"), text).unwrap();
            }
            Self::Objects(memory, _) => {
                let key = Key::parse(&format!("users/s-1/{name}.json")).unwrap();
                let location = Location {
                    bucket: bucket(),
                    key,
                };
                drop(memory.insert(&location, text.to_owned()));
            }
        }
    }
}

pub(crate) fn replica(documents: Arc<dyn Documents>) -> Replica {
    let clock = Arc::new(FakeClock::new());
    let settings = UsersSettings {
        path_homes: PathHomes::Confined,
        cached_for: CACHED,
        stale_for: STALE,
        read_timeout: Duration::from_secs(20),
    };
    let users = Arc::new(Users::new(documents, settings, clock.clone()));
    Replica {
        provider: ServiceManaged::new(Arc::clone(&users)),
        users,
        clock,
    }
}

impl Replica {
    async fn create(&self, name: &str) -> Result<(), Fault> {
        let key = Some(LISTED_LINE);
        let created = self.users.create(name, home("/bucket/home"), vec![], key);
        created.await.map(drop)
    }

    async fn ask(&self, name: &str) -> Judged {
        self.provider
            .ask(&question(name, Credential::PublicKey))
            .await
    }

    /// The landing of a user who gets in.
    async fn landing(&self, name: &str) -> String {
        let config = self.ask(name).await.unwrap();
        config.home.landing().as_str().to_owned()
    }
}

fn question(name: &str, credential: Credential) -> Question {
    Question {
        request_id: "c1-1".into(),
        username: name.into(),
        credential,
        source_ip: "192.0.2.7".parse().unwrap(),
        session_id: "c1".into(),
        asking: Asking::default(),
    }
}

#[track_caller]
fn refused(judged: &Judged, verdict: Verdict, reason: &str) {
    let refusal = judged.as_ref().unwrap_err();
    assert_eq!(refusal.reason.as_str(), reason, "{refusal}");
    assert_eq!(refusal.verdict(), verdict, "{refusal}");
}

pub(crate) fn home(directory: &str) -> Fields {
    Fields {
        role: Some(ROLE.to_owned()),
        home_directory: Some(directory.to_owned()),
        ..Fields::default()
    }
}

/// A key of its own for each number.
pub(crate) fn key(number: u8) -> String {
    let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
    blob.extend([number; 32]);
    format!("ssh-ed25519 {} key-{number}", STANDARD.encode(blob))
}

#[tokio::test]
async fn a_user_logs_in_with_keys_and_without_passwords() {
    for place in [Place::files(), Place::objects()] {
        let one = place.replica();
        refused(&one.ask("ann").await, Verdict::Denied, "unknown-user");
        one.create("ann").await.unwrap();
        let config = one.ask("ann").await.unwrap();
        assert_eq!(config.public_keys, [LISTED_LINE.into()]);
        assert_eq!(config.role.as_deref(), Some(ROLE));
        assert_eq!(config.home.landing().as_str(), "/bucket/home");
        let password = Credential::Password(Secret::new("tidal-fern-41".to_owned()));
        let judged = one.provider.ask(&question("ann", password)).await;
        refused(&judged, Verdict::Denied, "keys-only");
        for other in ["ANN", "a/b", "..", "an", "ann.json"] {
            refused(&one.ask(other).await, Verdict::Denied, "unknown-user");
        }
        let again = one.create("ann").await.unwrap_err();
        assert!(matches!(again, Fault::Exists { .. }), "{again}");
        let keyless = one.users.create("bob", home("/bucket/b"), vec![], None);
        assert_eq!(keyless.await.unwrap(), None);
        refused(
            &one.ask("bob").await,
            Verdict::Denied,
            "no-usable-public-key",
        );
        one.users.delete("ann").await.unwrap();
        refused(&one.ask("ann").await, Verdict::Denied, "unknown-user");
        let gone = one.users.delete("ann").await.unwrap_err();
        assert!(matches!(gone, Fault::NotFound { .. }), "{gone}");
    }
}

#[tokio::test]
async fn every_replica_sees_a_change_when_its_answer_is_no_longer_fresh() {
    for place in [Place::files(), Place::objects()] {
        let (one, other) = (place.replica(), place.replica());
        one.create("ann").await.unwrap();
        assert_eq!(other.landing("ann").await, "/bucket/home");
        let moved = Fields {
            home_directory_type: Some(HomeDirectoryType::Logical),
            home_directory_mappings: Some(vec![MapEntry {
                entry: "/in".to_owned(),
                target: "/bucket/${transfer:UserName}/in".to_owned(),
                map_type: None,
            }]),
            home_directory: Some("/in".to_owned()),
            ..Fields::default()
        };
        one.users
            .change("ann", |user| user.update(moved.clone()))
            .await
            .unwrap();
        assert_eq!(
            one.landing("ann").await,
            "/in",
            "its own change counts at once"
        );
        assert_eq!(other.landing("ann").await, "/bucket/home");
        other.clock.advance(CACHED + Duration::from_millis(1));
        assert_eq!(other.landing("ann").await, "/in");
        one.users.delete("ann").await.unwrap();
        other.clock.advance(CACHED + Duration::from_millis(1));
        refused(&other.ask("ann").await, Verdict::Denied, "unknown-user");
    }
}

#[tokio::test]
async fn keys_that_two_replicas_import_at_once_are_all_kept() {
    for place in [Place::files(), Place::objects()] {
        let replicas = [place.replica(), place.replica()];
        replicas[0].create("ann").await.unwrap();
        let mut imports = Vec::new();
        for number in 1..=12 {
            let users = Arc::clone(&replicas[usize::from(number % 2)].users);
            imports.push(tokio::spawn(async move {
                users.import_key("ann", &key(number)).await.unwrap()
            }));
        }
        let mut ids = Vec::new();
        for import in imports {
            ids.push(import.await.unwrap());
        }
        let user = replicas[0].users.describe("ann").await.unwrap();
        assert_eq!(user.ssh_public_keys.len(), 13);
        for id in &ids {
            let mut keys = user.ssh_public_keys.iter();
            assert!(keys.any(|key| key.ssh_public_key_id == *id), "{id}");
        }
        let again = replicas[1].users.import_key("ann", &key(3)).await;
        assert!(matches!(again, Err(Fault::Exists { .. })), "{again:?}");
    }
}

#[tokio::test]
async fn of_many_who_create_a_user_one_does() {
    for place in [Place::files(), Place::objects()] {
        let replicas = [place.replica(), place.replica()];
        let creating = (0..8).map(|at| replicas[at % 2].create("ann"));
        let created = futures_util::future::join_all(creating).await;
        let made = created.iter().filter(|created| created.is_ok()).count();
        assert_eq!(made, 1, "{created:?}");
    }
}

#[tokio::test]
async fn a_store_that_fails_in_the_middle_leaves_the_old_user_or_the_new_one() {
    use StorageErrorKind::{Denied, OutcomeUnknown, Unavailable};
    for (operation, fault, outcome) in [
        (Operation::Put, Spoiled::LandThenLose, Some("/bucket/new")),
        (
            Operation::Put,
            Spoiled::Fail(OutcomeUnknown),
            Some("/bucket/new"),
        ),
        (
            Operation::Put,
            Spoiled::Fail(Unavailable),
            Some("/bucket/new"),
        ),
        (Operation::Put, Spoiled::Fail(Denied), None),
        (Operation::Get, Spoiled::Fail(Unavailable), None),
        (Operation::Get, Spoiled::CutBodyAfter(20), None),
    ] {
        let place = Place::objects();
        let one = place.replica();
        one.create("ann").await.unwrap();
        let Place::Objects(_, failing) = &place else {
            unreachable!()
        };
        failing.spoil(operation, 1, fault.clone());
        let changed = one
            .users
            .change("ann", |user| user.update(home("/bucket/new")))
            .await;
        assert_eq!(changed.is_ok(), outcome.is_some(), "{fault:?}: {changed:?}");
        if let Err(fault) = changed {
            assert!(matches!(fault, Fault::Unavailable(_)), "{fault}");
        }
        let expected = outcome.unwrap_or("/bucket/home");
        assert_eq!(one.landing("ann").await, expected, "{fault:?}");
        assert_eq!(failing.pending(), 0);
    }
}

#[tokio::test]
async fn who_was_seen_gets_in_while_the_store_is_away_and_who_is_gone_does_not() {
    let place = Place::objects();
    let (one, other) = (place.replica(), place.replica());
    let Place::Objects(_, failing) = &place else {
        unreachable!()
    };
    for name in ["ann", "bob", "cid"] {
        one.create(name).await.unwrap();
    }
    for name in ["ann", "bob"] {
        assert!(other.ask(name).await.is_ok());
    }
    one.users.delete("bob").await.unwrap();
    other.clock.advance(CACHED * 2);
    refused(&other.ask("bob").await, Verdict::Denied, "unknown-user");
    let away = |operation| {
        failing.spoil(operation, 1, Spoiled::Fail(StorageErrorKind::Unavailable));
    };
    away(Operation::Get);
    let config = other.ask("ann").await.unwrap();
    assert_eq!(words(&config.warnings), ["stale-answer"]);
    // For a moment nobody asks the store again about those that were seen.
    assert!(other.ask("ann").await.is_ok());
    assert_eq!(failing.pending(), 0);
    for name in ["bob", "cid"] {
        away(Operation::Get);
        refused(&other.ask(name).await, Verdict::Unavailable, "users-store");
    }
    other.clock.advance(STALE * 2);
    away(Operation::Get);
    refused(&other.ask("ann").await, Verdict::Unavailable, "users-store");
    assert!(words(&other.ask("ann").await.unwrap().warnings).is_empty());
}

#[tokio::test]
async fn a_document_that_somebody_wrote_counts_and_a_broken_one_lets_nobody_in() {
    let ann = |home: &str| {
        format!(
            r#"{{"UserName": "ann", "Role": "r", "HomeDirectory": "{home}", "SshPublicKeys": [
            {{"SshPublicKeyId": "key-1", "SshPublicKeyBody": "{LISTED_LINE}", "DateImported": ""}}]}}"#
        )
    };
    for place in [Place::files(), Place::objects()] {
        let one = place.replica();
        place.write("ann", &ann("/bucket/by-hand"));
        assert_eq!(one.landing("ann").await, "/bucket/by-hand");
        for (text, reason) in [
            ("{", "user-document"),
            (&*ann("/bucket/x").replace("Role", "Rolle"), "user-document"),
            (&*ann("/bucket/x").replace("ann", "bob"), "user-document"),
            (&*ann("/../x"), "home-not-normal"),
        ] {
            place.write("ann", text);
            one.clock.advance(CACHED * 2);
            refused(&one.ask("ann").await, Verdict::Invalid, reason);
        }
        let broken = one.users.describe("cid").await.unwrap_err();
        assert!(matches!(broken, Fault::NotFound { .. }), "{broken}");
        place.write("cid", &"x".repeat(4 << 20));
        refused(&one.ask("cid").await, Verdict::Invalid, "user-document");
        let broken = one.users.describe("cid").await.unwrap_err();
        assert!(matches!(broken, Fault::Document { .. }), "{broken}");
        place.write("ann", &ann("/bucket/good"));
        one.clock.advance(CACHED * 2);
        assert_eq!(one.landing("ann").await, "/bucket/good");
    }
}

#[tokio::test]
async fn users_are_listed_page_by_page() {
    for place in [Place::files(), Place::objects()] {
        let one = place.replica();
        for name in ["cid", "ann", "bob"] {
            one.create(name).await.unwrap();
        }
        place.write("README", "not a user");
        let first = one.users.list(None, 2).await;
        // It has the name of a user's document, so somebody should look at it.
        assert!(matches!(first, Err(Fault::Document { .. })), "{first:?}");
        place.write("README", r#"{"UserName": "README", "Role": "r"}"#);
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let page = one.users.list(after.as_deref(), 2).await.unwrap();
            assert!(page.users.len() <= 2);
            seen.extend(
                page.users
                    .into_iter()
                    .map(|user| (user.user_name, user.keys)),
            );
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        let expected = [("README", 0), ("ann", 1), ("bob", 1), ("cid", 1)];
        assert_eq!(seen, expected.map(|(name, keys)| (name.to_owned(), keys)));
        assert_eq!(one.users.count().await.unwrap(), Some(4));
    }
}

/// Somebody else is always faster.
#[derive(Debug)]
struct Contended(Directory);

#[async_trait]
impl Documents for Contended {
    async fn read(&self, name: &str) -> Result<Option<Document>, Failure> {
        self.0.read(name).await
    }

    async fn version(&self, name: &str) -> Result<Option<Version>, Failure> {
        self.0.version(name).await
    }

    async fn create(&self, name: &str, text: Bytes) -> Result<Version, Failure> {
        self.0.create(name, text).await
    }

    async fn replace(&self, _: &str, _: Bytes, _: &Version) -> Result<Version, Failure> {
        Err(Failure::Changed)
    }

    async fn remove(&self, _: &str, _: &Version) -> Result<(), Failure> {
        Err(Failure::Changed)
    }

    async fn list(&self, after: Option<&str>, max: u16) -> Result<Names, Failure> {
        self.0.list(after, max).await
    }
}

#[tokio::test]
async fn contention_without_end_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let files = Directory::of(&directory.path().display().to_string(), "s-1");
    let one = replica(Arc::new(Contended(files)));
    one.create("ann").await.unwrap();
    let imported = one.users.import_key("ann", &key(1)).await;
    assert_eq!(imported, Err(Fault::Contended));
    assert_eq!(one.users.delete("ann").await, Err(Fault::Contended));
    let wrong = one.users.import_key("ann", "no key").await;
    assert!(matches!(wrong, Err(Fault::Invalid(_))), "{wrong:?}");
}

#[tokio::test]
async fn other_users_are_answered_by_other_providers() {
    let place = Place::files();
    let one = place.replica();
    one.create("ann").await.unwrap();
    let webhook = RecordingProvider::new(allowed());
    let route = |provider: Arc<dyn IdentityProvider>| Route {
        provider,
        user_names: UserNameRule::Open,
        suffix: None,
        prefix: None,
        password_bytes_max: 1_024,
    };
    let router = Router::new(vec![route(Arc::new(one.provider)), route(webhook.clone())]);
    let ann = router.ask(&question("ann", Credential::PublicKey)).await;
    assert_eq!(ann.unwrap().role.as_deref(), Some(ROLE));
    assert!(webhook.calls().is_empty());
    assert!(
        router
            .ask(&question("bob", Credential::PublicKey))
            .await
            .is_ok()
    );
    let password = || Credential::Password(Secret::new("tidal".to_owned()));
    assert!(router.ask(&question("bob", password())).await.is_ok());
    let asked: Vec<_> = webhook.calls().into_iter().map(|c| c.username).collect();
    assert_eq!(asked, ["bob", "bob"]);
}

/// Every answer of Transfer Family's form that can be a document means the same as one.
#[test]
fn a_document_means_what_the_answer_of_a_function_means() {
    let fixtures: Value = serde_json::from_str(FIXTURES).unwrap();
    let mut compared = 0;
    for case in fixtures["cases"].as_array().unwrap() {
        let (name, username) = (&case["name"], case["username"].as_str().unwrap());
        let body = &case["body"];
        let Some(document) = document(username, body) else {
            continue;
        };
        let Ok(user) = User::read(username, document.to_string().as_bytes()) else {
            continue;
        };
        let mut answer = body.clone();
        answer["PublicKeys"] = json!([LISTED_LINE]);
        let asked = Asked {
            fs_ids: &[],
            username,
            method: AuthMethod::PublicKey,
            accept_keys_with_password: false,
            path_homes: PathHomes::Confined,
            transport: Transport::Http,
            function_error: false,
        };
        let expected = wire::parse(asked, 200, answer.to_string().as_bytes());
        let found = user.judged(PathHomes::Confined);
        match (found, expected) {
            (Ok(found), Ok(expected)) => {
                assert_eq!(found.home, expected.home, "{name}");
                assert_eq!(found.role, expected.role, "{name}");
                assert_eq!(found.policy, expected.policy, "{name}");
                assert_eq!(found.public_keys, expected.public_keys, "{name}");
            }
            (Err(found), Err(expected)) => assert_eq!(found.reason, expected.reason, "{name}"),
            (found, expected) => panic!("{name}: {found:?} and {expected:?}"),
        }
        compared += 1;
    }
    assert!(compared >= 15, "{compared}");
}

/// Writes an answer as a document; `None`: a document has no room for what it says.
fn document(username: &str, answer: &Value) -> Option<Value> {
    let role = answer["Role"].as_str().filter(|role| !role.is_empty())?;
    if answer.get("allow").is_some() {
        return None;
    }
    let mut document = json!({"UserName": username, "Role": role, "SshPublicKeys": [
        {"SshPublicKeyId": "key-1", "SshPublicKeyBody": LISTED_LINE, "DateImported": ""}]});
    for key in ["Policy", "HomeDirectoryType", "HomeDirectory"] {
        match &answer[key] {
            Value::Null => {}
            Value::String(text) => document[key] = json!(text),
            _other => return None,
        }
    }
    match &answer["HomeDirectoryDetails"] {
        Value::Null => {}
        Value::String(text) => {
            document["HomeDirectoryMappings"] = serde_json::from_str(text).ok()?;
        }
        _other => return None,
    }
    Some(document)
}
