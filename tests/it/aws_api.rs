//! AWS's API for service-managed users: the commands of AWS's page on logical directories, then a
//! login; what is refused, and by which name.

use std::process::{Output, Stdio};

use rustls_pki_types::ServerName;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_rustls::TlsConnector;

use super::common::serving::Serving;
use super::common::signed::signed;

pub(crate) const SERVER: &str = "s-0123456789abcdef0";
const ROLE: &str = "arn:aws:iam::123456789012:role/sftp-user";
const KEY: &str = "ssh-ed25519 \
    AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS ann@laptop";
/// The keys of the configuration: name, scope, id and secret.
const KEYS: [(&str, &str, &str, &str); 4] = [
    ("tester", "test", "AKIDTEST", "tidal-fern-41"),
    ("reader", "read", "AKIDREAD", "walnut-39"),
    ("users", "users", "AKIDUSERS", "maple-17"),
    ("all", "all", "AKIDALL", "hazel-7"),
];

/// The binary, its log and everything that it reads.
pub(crate) struct Gateway {
    pub(crate) serving: Serving,
    ssh: String,
    pub(crate) admin: String,
    /// The port for AWS's tools, if they have one of their own.
    pub(crate) api: Option<(String, TlsConnector)>,
    pub(crate) directory: TempDir,
    /// Of files that are named from outside.
    pub(crate) extra: Option<TempDir>,
    pub(crate) s3: embedded_s3::EmbeddedS3,
}

impl Gateway {
    /// Keeps the users in files, or in the bucket `config`.
    async fn start(in_bucket: bool) -> Self {
        Self::start_with(in_bucket, "", None).await
    }

    /// The same with more settings of `[admin]`; with a port for AWS's tools, behind TLS if
    /// something can connect there.
    pub(crate) async fn start_with(
        in_bucket: bool,
        more: &str,
        connector: Option<TlsConnector>,
    ) -> Self {
        let s3 = embedded_s3::EmbeddedS3::start(embedded_s3::Settings {
            buckets: vec!["bucket".to_owned(), "config".to_owned()],
            log_requests: true,
            ..embedded_s3::Settings::default()
        });
        let s3 = s3.await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().display().to_string();
        let store = match in_bucket {
            true => "users_store = \"s3://config/sftp/users\"\n",
            false => "",
        };
        let keys = KEYS.map(|(name, scope, id, secret)| {
            format!(
                "[api_key.{name}]\naccess_key_id = \"{id}\"\nsecret_access_key = \"{secret}\"\n\
                 scope = \"{scope}\"\n"
            )
        });
        let config = format!(
            "listen = \"127.0.0.1:0\"\nstate_directory = \"{root}/state\"\n\
             server_id = \"{SERVER}\"\n\
             [identity]\nprovider = \"service-managed\"\n{store}\
             [storage]\nendpoint = \"{}\"\npath_style = true\naccess_key_id = \"{}\"\n\
             secret_access_key = \"{}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n{}{}",
            s3.endpoint(),
            s3.access_key(),
            s3.secret_key(),
            more.replace("ROOT", &root),
            keys.concat(),
        );
        std::fs::write(format!("{root}/portcullis.toml"), config).unwrap();
        let mut serving = Serving::start(&format!("{root}/portcullis.toml"));
        let ssh = serving.port("\"listening\"").await;
        let api = match connector {
            Some(connector) => {
                let port = serving.port("listening for AWS's tools").await;
                Some((port, connector))
            }
            None => None,
        };
        let admin = serving.port("admin listening").await;
        Self {
            serving,
            ssh,
            admin,
            api,
            directory,
            extra: None,
            s3,
        }
    }

    /// Calls an operation with a key; returns the status and the answer.
    pub(crate) async fn call(&self, scope: &str, operation: &str, body: &str) -> (u16, Value) {
        let key = KEYS.iter().find(|(_, one, ..)| *one == scope).unwrap();
        self.call_with((key.2, key.3), operation, body, 0).await
    }

    async fn call_with(
        &self,
        key: (&str, &str),
        operation: &str,
        body: &str,
        seconds_ago: u64,
    ) -> (u16, Value) {
        let port = self.api.as_ref().map_or(&self.admin, |(port, _)| port);
        let host = format!("127.0.0.1:{port}");
        let target = format!("TransferService.{operation}");
        let (time, authorization) = signed(key, &host, &target, body, seconds_ago);
        let length = body.len();
        let request = format!(
            "POST / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\
             content-type: application/x-amz-json-1.1\r\nx-amz-target: {target}\r\n\
             x-amz-date: {time}\r\nauthorization: {authorization}\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        let stream = TcpStream::connect(&host).await.unwrap();
        let text = match &self.api {
            None => exchange(stream, &request).await,
            Some((_, connector)) => {
                let name = ServerName::try_from("127.0.0.1").unwrap();
                let stream = connector.connect(name, stream).await.unwrap();
                exchange(stream, &request).await
            }
        };
        let status = text.get(9..12).unwrap_or("0").parse().unwrap();
        let (_, body) = text.split_once("\r\n\r\n").unwrap_or_default();
        (status, serde_json::from_str(body).unwrap_or_default())
    }

    /// Calls an operation that has to succeed.
    pub(crate) async fn done(&self, operation: &str, body: Value) -> Value {
        let (status, answer) = self.call("users", operation, &body.to_string()).await;
        assert_eq!(status, 200, "{operation} {body}: {answer}");
        answer
    }

    /// Calls an operation that is refused; returns AWS's name of the error.
    pub(crate) async fn refused(&self, operation: &str, body: Value) -> String {
        let (status, answer) = self.call("users", operation, &body.to_string()).await;
        assert_eq!(status, 400, "{operation} {body}: {answer}");
        assert!(
            answer["Message"]
                .as_str()
                .is_some_and(|text| text.len() > 5)
        );
        answer["__type"].as_str().unwrap().to_owned()
    }

    /// Makes a pair of keys for OpenSSH; returns the line of the public one.
    pub(crate) async fn key_pair(&self) -> String {
        let file = format!("{}/key", self.directory.path().display());
        let made = Command::new("ssh-keygen")
            .args([
                "-q",
                "-t",
                "ed25519",
                "-N",
                "",
                "-C",
                "ann@laptop",
                "-f",
                &file,
            ])
            .status()
            .await;
        assert!(made.unwrap().success());
        std::fs::read_to_string(format!("{file}.pub")).unwrap()
    }

    /// Runs commands of OpenSSH's client as a user with that key.
    pub(crate) async fn sftp(&self, user: &str, commands: &str) -> Output {
        let key = format!("{}/key", self.directory.path().display());
        let mut child = Command::new("sftp")
            .args(["-F", "none", "-q", "-b", "-", "-P", &self.ssh, "-i", &key])
            .args(["-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no"])
            .args(["-o", "UserKnownHostsFile=/dev/null"])
            .arg(format!("{user}@127.0.0.1"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(commands.as_bytes()).await.unwrap();
        drop(input);
        child.wait_with_output().await.unwrap()
    }

    async fn listed(&self, user: &str) -> Vec<String> {
        let output = self.sftp(user, "ls -1\n").await;
        let text = String::from_utf8(output.stdout).unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}");
        let lines = text.lines().filter(|line| !line.starts_with("sftp>"));
        lines.map(|line| line.trim().to_owned()).collect()
    }
}

/// Sends a request and returns the whole answer.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    // A refusal may come before the body is read.
    drop(stream.write_all(request.as_bytes()).await);
    drop(stream.flush().await);
    let mut text = Vec::new();
    drop(stream.read_to_end(&mut text).await);
    String::from_utf8(text).unwrap()
}

fn user(name: &str) -> Value {
    json!({"ServerId": SERVER, "UserName": name})
}

#[expect(clippy::needless_pass_by_value, reason = "reads like the request")]
fn with(mut body: Value, more: Value) -> Value {
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

fn new_user(name: &str, more: Value) -> Value {
    with(with(user(name), json!({"Role": ROLE})), more)
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one walk")]
async fn a_user_who_was_created_logs_in_and_finds_the_folders() {
    for in_bucket in [false, true] {
        let mut gateway = Gateway::start(in_bucket).await;
        // AWS's page on logical directories: `pics` and `doc` of two places, below a home of both.
        let mappings = json!([
            {"Entry": "/home/marymajor/pics", "Target": "/bucket/pics"},
            {"Entry": "/home/marymajor/doc", "Target": "/bucket/${transfer:UserName}/doc"},
            {"Entry": "/home/marymajor/rates.csv", "Target": "/bucket/rates.csv", "Type": "FILE"},
        ]);
        let created = new_user(
            "marymajor",
            json!({"HomeDirectoryType": "LOGICAL", "HomeDirectory": "/home/marymajor",
                "HomeDirectoryMappings": mappings, "Tags": [{"Key": "team", "Value": "x"}]}),
        );
        let answer = gateway.done("CreateUser", created).await;
        assert_eq!(answer, user("marymajor"));
        let denied = gateway.sftp("marymajor", "ls\n").await;
        assert!(!denied.status.success(), "there is no key pair yet");
        let line = gateway.key_pair().await;
        let keeper = json!({"HomeDirectory": "/bucket", "SshPublicKeyBody": line});
        gateway.done("CreateUser", new_user("keeper", keeper)).await;
        let put = gateway
            .sftp("keeper", "put /etc/hostname rates.csv\n")
            .await;
        assert!(put.status.success());
        let key = json!({"SshPublicKeyBody": line});
        let answer = gateway
            .done("ImportSshPublicKey", with(user("marymajor"), key.clone()))
            .await;
        let key_id = answer["SshPublicKeyId"].as_str().unwrap().to_owned();
        assert_eq!((key_id.len(), key_id.get(..4)), (21, Some("key-")));
        let mut names = gateway.listed("marymajor").await;
        names.sort();
        assert_eq!(names, ["doc", "pics", "rates.csv"]);
        let put = "cd doc\nput /etc/hostname name.txt\n";
        assert!(gateway.sftp("marymajor", put).await.status.success());
        // A user with a directory of a bucket, who moves to a logical one.
        let path = json!({"HomeDirectory": "/bucket/marymajor", "SshPublicKeyBody": line});
        gateway
            .done("CreateUser", new_user("nikkiwolf", path))
            .await;
        assert_eq!(gateway.listed("nikkiwolf").await, ["doc"]);
        let logical = json!({"HomeDirectoryType": "LOGICAL",
            "HomeDirectoryMappings": [{"Entry": "/", "Target": "/bucket/marymajor/doc"}]});
        gateway
            .done("UpdateUser", with(user("nikkiwolf"), logical))
            .await;
        assert_eq!(gateway.listed("nikkiwolf").await, ["name.txt"]);
        // What is known of them.
        let described = gateway.done("DescribeUser", user("marymajor")).await;
        let found = &described["User"];
        assert_eq!(found["HomeDirectoryMappings"], mappings);
        assert_eq!(found["HomeDirectory"], "/home/marymajor");
        assert_eq!(found["Tags"], json!([{"Key": "team", "Value": "x"}]));
        assert!(found["SshPublicKeys"][0]["DateImported"].is_u64());
        let arn = format!("arn:aws:transfer:eu-west-1:000000000000:user/{SERVER}/marymajor");
        assert_eq!(found["Arn"], arn);
        // Without the key, and without the user.
        let key = json!({"SshPublicKeyId": key_id});
        gateway
            .done("DeleteSshPublicKey", with(user("marymajor"), key.clone()))
            .await;
        assert!(!gateway.sftp("marymajor", "ls\n").await.status.success());
        let gone = with(user("marymajor"), key);
        assert_eq!(
            gateway.refused("DeleteSshPublicKey", gone).await,
            "ResourceNotFoundException"
        );
        gateway.done("DeleteUser", user("nikkiwolf")).await;
        assert!(!gateway.sftp("nikkiwolf", "ls\n").await.status.success());
        let line = gateway.serving.logged("\"DeleteUser\"").await;
        for part in ["portcullis::audit", "AKIDUSERS", "nikkiwolf", "127.0.0.1"] {
            assert!(line.contains(part), "{line}");
        }
        if in_bucket {
            drop(gateway.s3);
        } else {
            let place = gateway.directory.path().display();
            let file = format!("{place}/state/users/{SERVER}/marymajor.json");
            let text = std::fs::read_to_string(file).unwrap();
            assert!(text.contains("\"UserName\": \"marymajor\""), "{text}");
        }
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table")]
async fn what_aws_refuses_is_refused_by_its_name() {
    let gateway = Gateway::start(false).await;
    gateway.done("CreateUser", new_user("ann", json!({}))).await;
    let key = json!({"SshPublicKeyBody": KEY});
    gateway
        .done("ImportSshPublicKey", with(user("ann"), key.clone()))
        .await;
    let logical = |rows: Value, home: Value| {
        let more = json!({"HomeDirectoryType": "LOGICAL", "HomeDirectoryMappings": rows,
            "HomeDirectory": home});
        new_user("bob", more)
    };
    let one = json!([{"Entry": "/in", "Target": "/bucket/in"}]);
    let many: Vec<_> = (0..2_001)
        .map(|at| json!({"Entry": format!("/d{at}"), "Target": "/bucket/x"}))
        .collect();
    let elsewhere = json!({"ServerId": "s-00000000000000000", "UserName": "bob", "Role": ROLE});
    let (invalid, wrong) = ("InvalidRequestException", "SerializationException");
    let (missing, there) = ("ResourceNotFoundException", "ResourceExistsException");
    for (operation, body, error) in [
        ("CreateUser", json!({}), invalid),
        ("CreateUser", json!([]), wrong),
        ("CreateUser", user("bob"), invalid),
        ("CreateUser", new_user("ann", json!({})), there),
        ("CreateUser", elsewhere, missing),
        ("CreateUser", new_user("a", json!({})), invalid),
        ("CreateUser", new_user("bob", json!({"Role": ""})), invalid),
        ("CreateUser", new_user("bob", json!({"Role": 7})), wrong),
        ("CreateUser", new_user("bob", json!({"Roll": "x"})), invalid),
        (
            "CreateUser",
            new_user("bob", json!({"Policy": "{"})),
            invalid,
        ),
        (
            "CreateUser",
            new_user("bob", json!({"HomeDirectoryType": "path"})),
            invalid,
        ),
        (
            "CreateUser",
            new_user("bob", json!({"HomeDirectory": "in"})),
            invalid,
        ),
        (
            "CreateUser",
            new_user("bob", json!({"PosixProfile": {"Uid": -1, "Gid": 0}})),
            invalid,
        ),
        (
            "CreateUser",
            new_user("bob", json!({"Tags": [{"Key": "x"}]})),
            invalid,
        ),
        (
            "CreateUser",
            new_user("bob", json!({"SshPublicKeyBody": "no key"})),
            invalid,
        ),
        ("CreateUser", logical(json!([]), Value::Null), invalid),
        ("CreateUser", logical(json!("/in"), Value::Null), invalid),
        ("CreateUser", logical(json!(many), Value::Null), invalid),
        (
            "CreateUser",
            logical(json!([{"Entry": "/in"}]), Value::Null),
            invalid,
        ),
        (
            "CreateUser",
            logical(
                json!([{"Entry": "/in", "Target": "/bucket/in/"}]),
                Value::Null,
            ),
            invalid,
        ),
        (
            "CreateUser",
            logical(
                json!([{"Entry": "/in", "Target": "/b/x"}, {"Entry": "/in/x", "Target": "/b/y"}]),
                Value::Null,
            ),
            invalid,
        ),
        (
            "CreateUser",
            logical(one.clone(), json!("/elsewhere")),
            invalid,
        ),
        ("CreateUser", logical(one, json!("/bucket/in")), invalid),
        (
            "UpdateUser",
            with(user("eve"), json!({"Role": ROLE})),
            missing,
        ),
        (
            "UpdateUser",
            with(user("ann"), json!({"Tags": []})),
            invalid,
        ),
        (
            "UpdateUser",
            with(user("ann"), json!({"HomeDirectoryType": "LOGICAL"})),
            invalid,
        ),
        ("ImportSshPublicKey", with(user("ann"), key), there),
        ("ImportSshPublicKey", user("ann"), invalid),
        ("DeleteUser", user("eve"), missing),
        ("DescribeUser", user("eve"), missing),
        ("DescribeUser", user("../x"), invalid),
        (
            "ListUsers",
            json!({"ServerId": SERVER, "MaxResults": 0}),
            invalid,
        ),
        (
            "ListUsers",
            json!({"ServerId": SERVER, "MaxResults": 1_001}),
            invalid,
        ),
        (
            "ListUsers",
            json!({"ServerId": SERVER, "MaxResults": "7"}),
            wrong,
        ),
        (
            "ListUsers",
            json!({"ServerId": SERVER, "NextToken": "made up"}),
            "InvalidNextTokenException",
        ),
        (
            "TagResource",
            json!({"Arn": "arn:aws:s3:::bucket", "Tags": []}),
            invalid,
        ),
        ("CreateServer", json!({}), "UnknownOperationException"),
    ] {
        let shown: String = body.to_string().chars().take(200).collect();
        let found = gateway.refused(operation, body).await;
        assert_eq!(found, error, "{operation} {shown}");
    }
    let twice = format!(r#"{{"ServerId":"{SERVER}","UserName":"ann","UserName":"bob"}}"#);
    for (body, error) in [(&*twice, wrong), ("{", wrong), ("", wrong)] {
        let (status, answer) = gateway.call("users", "DeleteUser", body).await;
        assert_eq!((status, &answer["__type"]), (400, &json!(error)), "{body}");
    }
    let huge = with(user("ann"), json!({"Policy": "x".repeat(4 << 20)}));
    let (status, _) = gateway.call("users", "UpdateUser", &huge.to_string()).await;
    assert!(matches!(status, 413 | 0), "{status}");
    let described = gateway.done("DescribeUser", user("ann")).await;
    assert_eq!(described["User"]["Role"], ROLE);
    let listed = gateway.done("ListUsers", json!({"ServerId": SERVER})).await;
    assert_eq!(listed["Users"].as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed["Users"][0]["SshPublicKeyCount"], 1);
}

#[tokio::test]
async fn a_key_may_do_what_its_scope_says_and_nothing_without_its_secret() {
    let gateway = Gateway::start(false).await;
    let create = new_user("ann", json!({})).to_string();
    let describe = json!({"ServerId": SERVER}).to_string();
    let test = user("ann").to_string();
    for (scope, allowed) in [
        ("test", [false, false, true]),
        ("read", [false, true, false]),
        ("users", [true, true, false]),
        ("all", [true, true, true]),
    ] {
        let calls = [
            ("CreateUser", &create),
            ("DescribeServer", &describe),
            ("TestIdentityProvider", &test),
        ];
        for ((operation, body), allowed) in calls.into_iter().zip(allowed) {
            let (_, answer) = gateway.call(scope, operation, body).await;
            let denied = answer["__type"] == "AccessDeniedException";
            assert_eq!(!denied, allowed, "{scope} {operation}: {answer}");
        }
    }
    let key = ("AKIDALL", "hazel-7");
    for (key, seconds_ago, error) in [
        (("AKIDALL", "hazel-8"), 0, "InvalidSignatureException"),
        (("AKIDALL", "maple-17"), 0, "InvalidSignatureException"),
        (("AKIDNOBODY", "hazel-7"), 0, "UnrecognizedClientException"),
        (key, 301, "InvalidSignatureException"),
    ] {
        let call = gateway.call_with(key, "DeleteUser", &test, seconds_ago);
        let (status, answer) = call.await;
        assert_eq!((status, &answer["__type"]), (400, &json!(error)));
    }
    gateway.done("DescribeUser", user("ann")).await;
}

#[tokio::test]
async fn pages_tags_and_servers_are_told_as_aws_tells_them() {
    let gateway = Gateway::start(true).await;
    for name in ["ann", "bob", "cid", "dan", "eve"] {
        gateway.done("CreateUser", new_user(name, json!({}))).await;
    }
    let mut names = Vec::new();
    let mut request = json!({"ServerId": SERVER, "MaxResults": 2});
    loop {
        let page = gateway.done("ListUsers", request.clone()).await;
        for user in page["Users"].as_array().unwrap() {
            names.push(user["UserName"].as_str().unwrap().to_owned());
        }
        match page.get("NextToken") {
            Some(next) => request["NextToken"] = next.clone(),
            None => break,
        }
    }
    assert_eq!(names, ["ann", "bob", "cid", "dan", "eve"]);
    let server = gateway
        .done("DescribeServer", json!({"ServerId": SERVER}))
        .await;
    assert_eq!(server["Server"]["IdentityProviderType"], "SERVICE_MANAGED");
    assert_eq!(server["Server"]["UserCount"], 5);
    let servers = gateway.done("ListServers", json!({})).await;
    assert_eq!(servers["Servers"][0]["ServerId"], SERVER);
    let arn = format!("arn:aws:transfer:us-east-1:123456789012:user/{SERVER}/ann");
    let tags = json!([{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]);
    gateway
        .done("TagResource", json!({"Arn": arn, "Tags": tags}))
        .await;
    let page = json!({"Arn": arn, "MaxResults": 1});
    let first = gateway.done("ListTagsForResource", page.clone()).await;
    assert_eq!(first["Tags"], json!([{"Key": "a", "Value": "1"}]));
    let next = with(page, json!({"NextToken": first["NextToken"]}));
    let second = gateway.done("ListTagsForResource", next).await;
    assert_eq!(second["Tags"], json!([{"Key": "b", "Value": "2"}]));
    assert!(second.get("NextToken").is_none());
    gateway
        .done("UntagResource", json!({"Arn": arn, "TagKeys": ["a"]}))
        .await;
    let left = gateway
        .done("ListTagsForResource", json!({"Arn": arn}))
        .await;
    assert_eq!(left["Tags"], json!([{"Key": "b", "Value": "2"}]));
}

#[tokio::test]
async fn many_requests_at_once_are_each_done_or_refused() {
    let gateway = Gateway::start(true).await;
    gateway.done("CreateUser", new_user("ann", json!({}))).await;
    let tagging = (0..12).map(|at| {
        let arn = format!("arn:aws:transfer:us-east-1:123456789012:user/{SERVER}/ann");
        let body = json!({"Arn": arn, "Tags": [{"Key": format!("k{at}"), "Value": ""}]});
        let gateway = &gateway;
        async move {
            gateway
                .call("users", "TagResource", &body.to_string())
                .await
        }
    });
    let answers = futures_util::future::join_all(tagging).await;
    let done = answers.iter().filter(|(status, _)| *status == 200).count();
    for (status, answer) in &answers {
        let throttled = answer["__type"] == "ThrottlingException";
        assert!(*status == 200 || throttled, "{status} {answer}");
    }
    let described = gateway.done("DescribeUser", user("ann")).await;
    let tags = described["User"]["Tags"].as_array().unwrap();
    assert_eq!(tags.len(), done, "what was answered is what is there");
}

/// AWS's own command line and boto3, where the clients of `tests/clients` are installed.
#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one page of commands")]
async fn the_commands_of_aws_run_as_they_are() {
    let tool = format!("{}/target/venv/bin/aws", env!("CARGO_MANIFEST_DIR"));
    if !std::fs::exists(&tool).unwrap() {
        println!("skipped: {tool} is not there");
        return;
    }
    let gateway = Gateway::start(true).await;
    let endpoint = format!("http://127.0.0.1:{}", gateway.admin);
    let aws = async |command: &str, arguments: &[&str]| {
        let output = Command::new(&tool)
            .args([
                "transfer",
                command,
                "--endpoint-url",
                &endpoint,
                "--output",
                "json",
            ])
            .args(["--server-id", SERVER])
            .args(arguments)
            .env("AWS_ACCESS_KEY_ID", "AKIDUSERS")
            .env("AWS_SECRET_ACCESS_KEY", "maple-17")
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_CONFIG_FILE", "/dev/null")
            .output()
            .await
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.success(), answer, error)
    };
    let line = gateway.key_pair().await;
    let mary = ["--user-name", "marymajor-1"];
    let mappings = "[{\"Entry\": \"/pics\", \"Target\": \"/bucket/pics\"}, \
                    {\"Entry\": \"/doc\", \"Target\": \"/bucket/doc\"}]";
    let create = [
        &mary[..],
        &["--role", ROLE, "--home-directory-type", "LOGICAL"],
        &[
            "--home-directory-mappings",
            mappings,
            "--ssh-public-key-body",
            &line,
        ],
    ];
    let (done, answer, error) = aws("create-user", &create.concat()).await;
    assert!(done, "{error}");
    assert_eq!(answer["UserName"], "marymajor-1");
    let mut names = gateway.listed("marymajor-1").await;
    names.sort();
    assert_eq!(names, ["doc", "pics"]);
    let (_, _, error) = aws("create-user", &create.concat()).await;
    assert!(error.contains("ResourceExistsException"), "{error}");
    let overlap = "[{\"Entry\": \"/a\", \"Target\": \"/bucket/a\"}, \
                    {\"Entry\": \"/a/b\", \"Target\": \"/bucket/b\"}]";
    let update = [&mary[..], &["--home-directory-mappings", overlap]].concat();
    let (_, _, error) = aws("update-user", &update).await;
    assert!(
        error.contains("InvalidRequestException") && error.contains("overlap"),
        "{error}"
    );
    let (done, answer, error) = aws("describe-user", &mary).await;
    assert!(done, "{error}");
    let key = answer["User"]["SshPublicKeys"][0]["SshPublicKeyId"].clone();
    // Version 1 of the command line prints a number, version 2 a text.
    assert!(!answer["User"]["SshPublicKeys"][0]["DateImported"].is_null());
    let remove = [&mary[..], &["--ssh-public-key-id", key.as_str().unwrap()]].concat();
    let (done, _, error) = aws("delete-ssh-public-key", &remove).await;
    assert!(done, "{error}");
    let (done, answer, error) = aws("list-users", &[]).await;
    assert!(done, "{error}");
    assert_eq!(answer["Users"][0]["SshPublicKeyCount"], 0);
    let (done, _, error) = aws("delete-user", &mary).await;
    assert!(done, "{error}");
    let (_, _, error) = aws("describe-user", &mary).await;
    assert!(error.contains("ResourceNotFoundException"), "{error}");
}
