//! Requests that boto3 and AWS's command line sent, byte for byte, signatures included: a change that
//! would break these tools is seen without them. `tests/fixtures/aws/record.py` writes them.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use portcullis::admin::{
    Admin, AdminLimits, Aws, AwsKey, Scope, Server, ServerActions, Servers, Shown, TagChange,
    Transports, WantedServer,
};
use portcullis::auth::AuthSettings;
use portcullis::budget::Budget;
use portcullis::clock::SystemClock;
use portcullis::idp::PathHomes;
use portcullis::idp::service_managed::{
    Directory, Documents as _, Fault, ServiceManaged, Tag, Users, UsersSettings,
};
use portcullis::limits::Limits;
use portcullis::secret::Secret;
use portcullis::storage::credentials::Own;
use portcullis::storage::memory::MemoryStore;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::common::clock::FakeClock;

const SERVER: &str = "s-0123456789abcdef0";
/// From the beginning of the test's clock to noon of 29 November 2026, when all of them were signed.
const RECORDED_AFTER: Duration = Duration::from_secs(1_795_953_600 - 1_700_000_000);
/// In the order in which they are done.
const RECORDED: [&str; 25] = [
    "CreateUser",
    "CreateUser-path",
    "UpdateUser",
    "DescribeUser",
    "ListUsers",
    "ImportSshPublicKey",
    "DeleteSshPublicKey",
    "TagResource",
    "ListTagsForResource",
    "UntagResource",
    "TestIdentityProvider",
    "DeleteUser",
    "DescribeServer",
    "ListServers",
    "ListHostKeys",
    "DescribeHostKey",
    "ListSecurityPolicies",
    "DescribeSecurityPolicy",
    "CreateServer",
    "CreateServer-lambda",
    "UpdateServer",
    "StopServer",
    "StartServer",
    "TagResource-server",
    "DeleteServer",
];
const BOB: &str = r#"{"UserName": "bob", "Role": "arn:aws:iam::123456789012:role/sftp-user",
    "HomeDirectory": "/bucket/bob", "SshPublicKeys": [{"SshPublicKeyId": "key-0123456789abcdef0",
    "SshPublicKeyBody": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS",
    "DateImported": "2026-11-28T00:00:00Z"}]}"#;

/// Notes what is to be done to servers.
#[derive(Debug)]
struct Noted {
    server: Server,
    done: Mutex<Vec<String>>,
}

impl Noted {
    fn note(&self, what: String) {
        self.done.lock().unwrap().push(what);
    }
}

fn worded(wanted: &WantedServer) -> String {
    serde_json::to_string(&wanted.settings).unwrap()
}

#[async_trait]
impl ServerActions for Noted {
    fn servers(&self) -> Vec<Server> {
        vec![self.server.clone()]
    }

    async fn create(&self, wanted: WantedServer, tags: Vec<Tag>) -> Result<String, Fault> {
        wanted.settings.check()?;
        self.note(format!("create {} {}", worded(&wanted), tags.len()));
        Ok(SERVER.to_owned())
    }

    async fn update(&self, id: &str, change: WantedServer) -> Result<(), Fault> {
        self.note(format!("update {id} {}", worded(&change)));
        Ok(())
    }

    async fn start(&self, id: &str) -> Result<(), Fault> {
        self.note(format!("start {id}"));
        Ok(())
    }

    async fn stop(&self, id: &str) -> Result<(), Fault> {
        self.note(format!("stop {id}"));
        Ok(())
    }

    async fn delete(&self, id: &str) -> Result<(), Fault> {
        self.note(format!("delete {id}"));
        Ok(())
    }

    async fn tag(&self, id: &str, change: TagChange) -> Result<(), Fault> {
        let tags = match change {
            TagChange::Add(tags) => tags.len(),
            TagChange::Remove(keys) => keys.len(),
        };
        self.note(format!("tag {id} {tags}"));
        Ok(())
    }
}

/// Nothing listens.
#[derive(Debug)]
struct Nowhere;

impl Transports for Nowhere {
    fn shown(&self) -> Vec<Shown> {
        Vec::new()
    }
}

/// The API at the time of the recordings.
struct Api {
    address: SocketAddr,
    made: Arc<Noted>,
    _serving: JoinSet<()>,
    _directory: TempDir,
}

impl Api {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let documents = Directory::of(&directory.path().display().to_string(), SERVER);
        documents
            .create("bob", Bytes::from_static(BOB.as_bytes()))
            .await
            .unwrap();
        let settings = UsersSettings {
            path_homes: PathHomes::Confined,
            cached_for: Duration::ZERO,
            stale_for: Duration::ZERO,
            read_timeout: Duration::from_secs(60),
        };
        let users = Users::new(Arc::new(documents), settings, Arc::new(SystemClock));
        let users = Arc::new(users);
        let server = Server {
            id: SERVER.into(),
            name: Box::default(),
            provider: Arc::new(ServiceManaged::new(Arc::clone(&users))),
            provider_type: Some("SERVICE_MANAGED"),
            users: Some(users),
            auth: AuthSettings::default(),
            user_prefix: None,
            user_suffix: None,
            transports: Arc::new(Nowhere),
            made: None,
        };
        let made = Arc::new(Noted {
            server,
            done: Mutex::default(),
        });
        let clock = FakeClock::new();
        clock.advance(RECORDED_AFTER);
        let servers = Servers {
            all: Vec::new(),
            stores: Arc::new(Own::new(Arc::new(MemoryStore::new(&[])))),
            blocks: Arc::default(),
            clock: Arc::new(clock),
        };
        let key = AwsKey {
            access_key_id: "AKIDRECORDED".into(),
            secret_access_key: Secret::new("walnut-39".to_owned()),
            scope: Scope::All,
        };
        let budget = Budget::new(&Limits::default());
        let aws = Aws::new(vec![key], servers, Arc::default(), budget.account());
        let aws = Arc::new(aws.with_made(Arc::<Noted>::clone(&made)));
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let admin = Admin::bind(any, AdminLimits::for_aws()).await.unwrap();
        let address = admin.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(admin.serve_aws(aws, None, Arc::default(), CancellationToken::new()));
        Self {
            address,
            made,
            _serving: serving,
            _directory: directory,
        }
    }

    /// Sends bytes as they are; the connection is kept, as the tools keep it.
    async fn sent(&self, request: &[u8]) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut text = Vec::new();
        loop {
            let mut piece = [0; 4096];
            let read = stream.read(&mut piece).await.unwrap();
            assert_ne!(read, 0, "{}", String::from_utf8_lossy(&text));
            text.extend_from_slice(&piece[..read]);
            // A character may come in two pieces.
            if let Ok(text) = str::from_utf8(&text)
                && let Some((head, body)) = text.split_once("\r\n\r\n")
                && body.len() == length(head)
            {
                let status = head.get(9..12).unwrap().parse().unwrap();
                return (status, serde_json::from_str(body).unwrap());
            }
        }
    }
}

fn length(head: &str) -> usize {
    let mut lines = head.lines();
    let found = lines.find_map(|line| line.strip_prefix("content-length: "));
    found.unwrap().parse().unwrap()
}

fn folder() -> String {
    format!("{}/tests/fixtures/aws/recorded", env!("CARGO_MANIFEST_DIR"))
}

#[tokio::test]
async fn what_awss_tools_send_is_verified_understood_and_done() {
    for tool in ["boto3", "aws"] {
        let api = Api::start().await;
        let mut described = Value::Null;
        for name in RECORDED {
            let file = format!("{}/{tool}-{name}.http", folder());
            let request = std::fs::read(&file).unwrap();
            let (status, answer) = api.sent(&request).await;
            // No host key is there.
            let expected = match name {
                "DescribeHostKey" => (400, json!("ResourceNotFoundException")),
                _ => (200, Value::Null),
            };
            let found = (status, answer["__type"].clone());
            assert_eq!(found, expected, "{tool} {name}: {answer}");
            if name == "DescribeUser" {
                described = answer["User"].clone();
            }
        }
        let entries = described["HomeDirectoryMappings"].as_array().unwrap();
        assert_eq!(entries[1]["Entry"], "/räts & <more>.csv");
        assert_eq!(
            described["PosixProfile"]["SecondaryGids"],
            json!([100, 4_294_967_295_u32])
        );
        assert!(
            described["Policy"]
                .as_str()
                .unwrap()
                .contains("${transfer:HomeBucket}")
        );
        assert_eq!(described["SshPublicKeys"].as_array().unwrap().len(), 1);
        assert_eq!(described["Tags"].as_array().unwrap().len(), 2);
        let done = api.made.done.lock().unwrap().clone();
        let verbs: Vec<_> = done
            .iter()
            .filter_map(|one| one.split(' ').next())
            .collect();
        let expected = [
            "create", "create", "update", "stop", "start", "tag", "delete",
        ];
        assert_eq!(verbs, expected);
        assert!(
            done[1].contains("hello\\nyou") && done[1].ends_with(" 2"),
            "{done:?}"
        );
    }
}

#[tokio::test]
async fn a_recording_with_one_byte_changed_is_refused() {
    let api = Api::start().await;
    let request = std::fs::read(format!("{}/boto3-DeleteUser.http", folder())).unwrap();
    for (from, to) in [
        ("\"cid\"", "\"bob\""),
        ("TransferService.DeleteUser", "TransferService.DescribeUser"),
        ("20261129T120000Z", "20261129T120001Z"),
        ("Host: 127.0.0.1:8022", "Host: 127.0.0.1:8023"),
    ] {
        let text = str::from_utf8(&request).unwrap();
        assert!(text.contains(from), "{from}");
        let changed = text.replace(from, to);
        let longer = changed.len() - text.len();
        assert!(
            longer == 0 || !from.starts_with('"'),
            "the body keeps its length"
        );
        let (status, answer) = api.sent(changed.as_bytes()).await;
        let found = (status, &answer["__type"]);
        assert_eq!(found, (400, &json!("InvalidSignatureException")), "{from}");
    }
}

#[test]
fn every_recording_is_sent() {
    let there = std::fs::read_dir(folder()).unwrap();
    let there = there.map(|file| file.unwrap().file_name().into_string().unwrap());
    let there: BTreeSet<_> = there.filter(|name| name.ends_with(".http")).collect();
    let sent = RECORDED
        .iter()
        .flat_map(|name| ["boto3", "aws"].map(|tool| format!("{tool}-{name}.http")));
    assert_eq!(there, sent.collect());
}
