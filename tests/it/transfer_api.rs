//! `quickstart --transfer-api`: servers that AWS's tools make, change, stop and delete, each of which
//! real clients log in to.

use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, Command};

use super::common::fake_idp::{FakeIdp, Reply};
use super::common::lambda::{FakeLambda, Outcome};
use crate::common::signed::signed;

const ROLE: &str = "arn:aws:iam::123456789012:role/sftp";
const BUCKET: &str = "amzn-s3-demo-bucket1";
const FUNCTION: &str = "arn:aws:lambda:eu-west-1:123456789012:function:idp";

/// What makes a server on a port that no other test takes while nothing listens there.
pub(crate) fn on_own_port() -> Value {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let port = 20_000 + std::process::id() % 1_000 * 10 + number;
    json!({"ProtocolDetails": {"SftpPorts": [{"SftpPort": port}]}})
}

/// The binary, which ends with this.
pub(crate) struct Quickstart {
    pub(crate) child: Child,
    log: Lines<BufReader<ChildStderr>>,
    pub(crate) told: Value,
    directory: TempDir,
}

impl Quickstart {
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), arguments).await
    }

    /// Keeps its state in the directory if the arguments say so.
    pub(crate) async fn start_in(directory: TempDir, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["quickstart", "--json", "--listen", "127.0.0.1:0"])
            .arg("--transfer-api=127.0.0.1:0")
            .args(arguments)
            .current_dir(directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().unwrap();
        Self {
            child,
            log,
            told: serde_json::from_str(&line).unwrap(),
            directory,
        }
    }

    /// Ends it as Ctrl-C does, and hands out the directory.
    pub(crate) async fn end(mut self) -> TempDir {
        let pid = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().await;
        assert!(sent.unwrap().success());
        self.child.wait().await.unwrap();
        self.directory
    }

    /// Hands out the directory of one that is dead.
    pub(crate) fn end_dead(self) -> TempDir {
        self.directory
    }

    async fn logged(&mut self, words: &str) -> String {
        while let Some(line) = self.log.next_line().await.unwrap() {
            if line.contains(words) {
                return line;
            }
        }
        panic!("the process ended without saying {words}")
    }

    async fn call(&self, operation: &str, body: &Value) -> (u16, Value) {
        let text = |key: &str| self.told[key].as_str().unwrap();
        let host = text("transfer_endpoint").strip_prefix("http://").unwrap();
        let key = (text("access_key"), text("secret_key"));
        let (target, body) = (format!("TransferService.{operation}"), body.to_string());
        let (time, authorization) = signed(key, host, &target, &body, 0);
        let length = body.len();
        let request = format!(
            "POST / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\
             content-type: application/x-amz-json-1.1\r\nx-amz-target: {target}\r\n\
             x-amz-date: {time}\r\nauthorization: {authorization}\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        let mut stream = TcpStream::connect(host).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        let status = text.get(9..12).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap())
    }

    pub(crate) async fn done(&self, operation: &str, body: Value) -> Value {
        let (status, answer) = self.call(operation, &body).await;
        assert_eq!(status, 200, "{operation} {body}: {answer}");
        answer
    }

    /// Returns AWS's name of the error, and its text.
    async fn refused(&self, operation: &str, body: Value) -> (String, String) {
        let (status, answer) = self.call(operation, &body).await;
        assert_eq!(status, 400, "{operation} {body}: {answer}");
        let text = |key: &str| answer[key].as_str().unwrap().to_owned();
        (text("__type"), text("Message"))
    }

    pub(crate) async fn create(&self, body: Value) -> String {
        let answer = self.done("CreateServer", body).await;
        let id = answer["ServerId"].as_str().unwrap();
        assert!(id.len() == 19 && id.starts_with("s-"), "{id}");
        id.to_owned()
    }

    pub(crate) async fn described(&self, id: &str) -> Value {
        let answer = self.done("DescribeServer", json!({"ServerId": id})).await;
        answer["Server"].clone()
    }

    pub(crate) async fn port(&self, id: &str) -> u64 {
        let server = self.described(id).await;
        let port = server["ProtocolDetails"]["SftpPorts"][0]["SftpPort"].as_u64();
        let port = port.unwrap();
        let address = json!({"Key": "aws:portcullis:address",
            "Value": format!("127.0.0.1:{port}")});
        assert!(
            server["Tags"].as_array().unwrap().contains(&address),
            "{server}"
        );
        port
    }

    pub(crate) fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.directory.path().display())
    }

    /// Makes a pair of keys, unless it is there; returns the line of the public one.
    pub(crate) async fn key_pair(&self) -> String {
        let file = self.file("key");
        if !std::fs::exists(&file).unwrap() {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", "ann", "-f", &file])
                .status()
                .await;
            assert!(made.unwrap().success());
        }
        std::fs::read_to_string(format!("{file}.pub")).unwrap()
    }

    /// Makes a user whose home is a directory of the demo's bucket.
    async fn create_user(&self, id: &str, name: &str) {
        let key = self.key_pair().await;
        let body = json!({"ServerId": id, "UserName": name, "Role": ROLE,
            "HomeDirectory": format!("/{BUCKET}/home"), "SshPublicKeyBody": key});
        self.done("CreateUser", body).await;
    }

    fn client(&self, port: u64, user: &str, options: &[&str]) -> Child {
        Command::new("sftp")
            .args(["-F", "none", "-b", "-", "-P", &port.to_string()])
            .args(["-i", &self.file("key"), "-o", "IdentitiesOnly=yes"])
            .args(["-o", "StrictHostKeyChecking=accept-new"])
            .args(["-o", &format!("UserKnownHostsFile={}", self.file("known"))])
            .args(options)
            .arg(format!("{user}@127.0.0.1"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    async fn sftp(&self, port: u64, user: &str, commands: &str, options: &[&str]) -> Output {
        let mut child = self.client(port, user, options);
        let mut input = child.stdin.take().unwrap();
        input.write_all(commands.as_bytes()).await.unwrap();
        drop(input);
        child.wait_with_output().await.unwrap()
    }

    pub(crate) async fn lets_in(&self, port: u64, user: &str) -> bool {
        let output = self.sftp(port, user, "ls\n", &[]).await;
        output.status.success()
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one walk")]
async fn a_made_server_serves_until_it_is_stopped_and_deleted() {
    let mut quickstart = Quickstart::start(&[]).await;
    let tags = json!([{"Key": "stage", "Value": "test"}]);
    let mut body = on_own_port();
    body["Tags"] = tags.clone();
    let id = quickstart.create(body).await;
    let same = quickstart.create(json!({"Tags": tags})).await;
    assert_ne!(id, same, "tags name nothing");
    let line = quickstart.logged("server listening").await;
    let port = quickstart.port(&id).await;
    assert!(
        line.contains(&id) && line.contains(&format!("127.0.0.1:{port}")),
        "{line}"
    );
    quickstart.create_user(&id, "ann").await;
    let put = "put /etc/hostname name\nls -1\n";
    let output = quickstart.sftp(port, "ann", put, &[]).await;
    assert!(
        String::from_utf8_lossy(&output.stdout).ends_with("name\n"),
        "{output:?}"
    );
    let other = quickstart.port(&same).await;
    assert!(
        !quickstart.lets_in(other, "ann").await,
        "that is another server's user"
    );
    quickstart.create_user(&same, "bob").await;
    let output = quickstart.sftp(other, "bob", "ls -1\n", &[]).await;
    assert!(
        String::from_utf8_lossy(&output.stdout).ends_with("name\n"),
        "one S3: {output:?}"
    );
    let one = json!({"ServerId": id});
    for _ in 0..2 {
        quickstart.done("StopServer", one.clone()).await;
        while quickstart.described(&id).await["State"] == "STOPPING" {
            tokio::task::yield_now().await;
        }
        assert_eq!(quickstart.described(&id).await["State"], "OFFLINE");
        assert!(!quickstart.lets_in(port, "ann").await);
    }
    assert!(quickstart.lets_in(other, "bob").await);
    for _ in 0..2 {
        quickstart.done("StartServer", one.clone()).await;
        assert_eq!(quickstart.described(&id).await["State"], "ONLINE");
        assert!(
            quickstart.lets_in(port, "ann").await,
            "with the host key that it had"
        );
    }
    let (kind, text) = quickstart.refused("DeleteServer", one.clone()).await;
    assert_eq!(
        (&*kind, text.contains("delete them first")),
        ("InvalidRequestException", true)
    );
    let user = json!({"ServerId": id, "UserName": "ann"});
    // Deleted while a session is on: that ends, since its listener drains.
    let mut session = quickstart.client(port, "ann", &[]);
    let mut typed = session.stdin.take().unwrap();
    let mut shown = BufReader::new(session.stdout.take().unwrap()).lines();
    typed.write_all(b"pwd\n").await.unwrap();
    while let Some(line) = shown.next_line().await.unwrap() {
        if line.starts_with("Remote working directory") {
            break;
        }
    }
    quickstart.done("DeleteUser", user).await;
    quickstart.done("DeleteServer", one.clone()).await;
    // The client notices when it types the next command.
    while session.try_wait().unwrap().is_none() {
        drop(typed.write_all(b"ls\n").await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!session.wait().await.unwrap().success());
    for operation in [
        "DescribeServer",
        "StartServer",
        "StopServer",
        "DeleteServer",
        "UpdateServer",
    ] {
        let (kind, _) = quickstart.refused(operation, one.clone()).await;
        assert_eq!(kind, "ResourceNotFoundException", "{operation}");
    }
    let listed = quickstart.done("ListServers", json!({})).await;
    assert_eq!(listed["Servers"].as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed["Servers"][0]["UserCount"], 1);
    assert!(quickstart.lets_in(other, "bob").await);
}

#[tokio::test]
async fn the_function_or_the_url_of_a_server_is_asked() {
    let quickstart = Quickstart::start(&[]).await;
    let provider = |kind: &str, details: Value| json!({"IdentityProviderType": kind, "IdentityProviderDetails": details});
    let function = provider("AWS_LAMBDA", json!({"Function": FUNCTION}));
    let (kind, text) = quickstart.refused("CreateServer", function.clone()).await;
    assert_eq!(
        (&*kind, text.contains("--lambda-endpoint")),
        ("InvalidRequestException", true)
    );
    drop(quickstart);

    let lambda = FakeLambda::scripted([]).await;
    let mut quickstart = Quickstart::start(&["--lambda-endpoint", &lambda.url()]).await;
    let key = quickstart.key_pair().await;
    let policy = json!({"Version": "2012-10-17", "Statement": []}).to_string();
    let yes = json!({"Role": ROLE, "HomeDirectory": format!("/{BUCKET}/fn"),
        "PublicKeys": [key], "Policy": policy});
    let id = quickstart.create(function).await;
    let port = quickstart.port(&id).await;
    assert!(
        !quickstart.lets_in(port, "ann").await,
        "the function denies"
    );
    lambda.then([Outcome::json(&yes), Outcome::json(&yes)]);
    assert!(quickstart.lets_in(port, "ann").await);
    let asked = lambda.invocations().pop().unwrap();
    assert!(asked.function.ends_with("function:idp"), "{asked:?}");
    assert!(
        asked.event.contains(&format!("\"serverId\":\"{id}\"")),
        "{asked:?}"
    );
    quickstart
        .logged("the session policy is not enforced here")
        .await;
    let tried = json!({"ServerId": id, "UserName": "ann"});
    let tried = quickstart.done("TestIdentityProvider", tried).await;
    assert_eq!(
        (&tried["StatusCode"], &tried["Message"]),
        (&json!(200), &json!("")),
        "{tried}"
    );

    // Another function from the next login on; its sessions need not end.
    let next = format!("{FUNCTION}-next");
    let change = json!({"ServerId": id, "IdentityProviderDetails": {"Function": next}});
    assert_eq!(
        quickstart.done("UpdateServer", change).await,
        json!({"ServerId": id})
    );
    assert!(!quickstart.lets_in(port, "ann").await);
    let asked = lambda.invocations().pop().unwrap();
    assert!(asked.function.ends_with("idp-next"), "{asked:?}");

    // Then an API in its place, and users of the server's own.
    let api = FakeIdp::start([Reply::Json(200, yes.clone())]).await;
    let url = format!("http://{}/prod", api.address());
    let change = provider("API_GATEWAY", json!({"Url": url, "InvocationRole": ROLE}));
    let mut body = change.clone();
    body["ServerId"] = json!(id);
    quickstart.done("UpdateServer", body).await;
    assert!(quickstart.lets_in(port, "ann").await);
    let head = api.asked().pop().unwrap().head;
    assert!(
        head.starts_with(&format!("GET /prod/servers/{id}/users/ann/config?")),
        "{head}"
    );
    let (kind, _) = quickstart
        .refused("ListUsers", json!({"ServerId": id}))
        .await;
    assert_eq!(kind, "InvalidRequestException");
    let body = json!({"ServerId": id, "IdentityProviderType": "SERVICE_MANAGED",
        "IdentityProviderDetails": {}});
    quickstart.done("UpdateServer", body).await;
    quickstart.create_user(&id, "bob").await;
    assert!(quickstart.lets_in(port, "bob").await);
    assert!(!quickstart.lets_in(port, "ann").await);
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one walk")]
async fn servers_come_back_with_their_ids_ports_keys_and_users() {
    let quickstart = Quickstart::start(&["--state", "state"]).await;
    let id = quickstart.create(on_own_port()).await;
    let off = quickstart.create(on_own_port()).await;
    let taken = quickstart.create(on_own_port()).await;
    quickstart.create_user(&id, "ann").await;
    let given = {
        let made = Command::new("ssh-keygen")
            .args([
                "-q",
                "-t",
                "ecdsa",
                "-N",
                "",
                "-f",
                &quickstart.file("given"),
            ])
            .status()
            .await;
        assert!(made.unwrap().success());
        std::fs::read_to_string(quickstart.file("given")).unwrap()
    };
    let mut body = on_own_port();
    body["HostKey"] = json!(given);
    let with_key = quickstart.create(body).await;
    quickstart
        .done("StopServer", json!({"ServerId": off}))
        .await;
    let tags = json!([{"Key": "stage", "Value": "test"}, {"Key": "team", "Value": "x"}]);
    let arn = format!("arn:aws:transfer:eu-west-1:000000000000:server/{id}");
    quickstart
        .done("TagResource", json!({"Arn": arn, "Tags": tags}))
        .await;
    quickstart
        .done("UntagResource", json!({"Arn": arn, "TagKeys": ["team"]}))
        .await;
    let mut before = Vec::new();
    for one in [&id, &off, &with_key] {
        before.push(quickstart.described(one).await);
    }
    let port = quickstart.port(&id).await;
    assert!(quickstart.lets_in(port, "ann").await);
    let taken_port = quickstart.port(&taken).await;
    let directory = quickstart.end().await;

    let address = format!("127.0.0.1:{taken_port}");
    let other = tokio::net::TcpListener::bind(&address).await.unwrap();
    let mut quickstart = Quickstart::start_in(directory, &["--state", "state"]).await;
    for (one, before) in [&id, &off, &with_key].into_iter().zip(&before) {
        let now = quickstart.described(one).await;
        let mut before = before.clone();
        if one == &off {
            before["State"] = json!("OFFLINE");
        }
        assert_eq!(now, before);
    }
    assert_eq!(before[0]["Tags"][0], tags[0]);
    assert_eq!(
        before[0]["Tags"].as_array().unwrap().len(),
        2,
        "with that of the address"
    );
    let listed = quickstart
        .done("ListTagsForResource", json!({"Arn": arn}))
        .await;
    assert_eq!(listed["Tags"], before[0]["Tags"]);
    assert!(
        quickstart.lets_in(port, "ann").await,
        "with the key and the host key"
    );
    quickstart.logged("the server does not start").await;
    assert_eq!(quickstart.described(&taken).await["State"], "START_FAILED");
    let (kind, text) = quickstart
        .refused("StartServer", json!({"ServerId": taken}))
        .await;
    let names_port = text.contains(&taken_port.to_string());
    assert_eq!(
        (&*kind, names_port),
        ("InvalidRequestException", true),
        "{text}"
    );
    drop(other);
    quickstart
        .done("StartServer", json!({"ServerId": taken}))
        .await;
    assert_eq!(quickstart.described(&taken).await["State"], "ONLINE");
    quickstart
        .done("DeleteServer", json!({"ServerId": taken}))
        .await;

    let place = quickstart.file(&format!("state/servers/{taken}"));
    assert!(!std::fs::exists(place).unwrap());
    let document = quickstart.file(&format!("state/servers/{id}/server.json"));
    let directory = quickstart.end().await;
    std::fs::write(&document, "{}").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args([
            "quickstart",
            "--transfer-api=127.0.0.1:0",
            "--listen",
            "127.0.0.1:0",
        ])
        .args(["--state", "state"])
        .current_dir(directory.path())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("server.json"),
        "{said}"
    );
}

#[tokio::test]
async fn an_update_changes_what_the_next_client_meets() {
    let mut quickstart = Quickstart::start(&[]).await;
    let policy = "TransferSecurityPolicy-FIPS-2024-01";
    let id = quickstart
        .create(json!({"SecurityPolicyName": policy, "PreAuthenticationLoginBanner": "hello you"}))
        .await;
    let left_out = quickstart
        .logged("in the security policy, and not offered")
        .await;
    assert!(
        left_out.contains("diffie-hellman-group18-sha512"),
        "{left_out}"
    );
    let port = quickstart.port(&id).await;
    quickstart.create_user(&id, "ann").await;
    let curve = ["-o", "KexAlgorithms=curve25519-sha256"];
    let output = quickstart.sftp(port, "ann", "ls\n", &curve).await;
    assert!(!output.status.success(), "not in that policy");
    let chacha = ["-o", "Ciphers=chacha20-poly1305@openssh.com"];
    assert!(
        !quickstart
            .sftp(port, "ann", "ls\n", &chacha)
            .await
            .status
            .success()
    );
    let output = quickstart.sftp(port, "ann", "ls\n", &[]).await;
    assert!(output.status.success(), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("hello you"),
        "{output:?}"
    );

    let mut session = quickstart.client(port, "ann", &[]);
    let mut typed = session.stdin.take().unwrap();
    typed.write_all(b"pwd\n").await.unwrap();
    let mut shown = BufReader::new(session.stdout.take().unwrap()).lines();
    while let Some(line) = shown.next_line().await.unwrap() {
        if line.starts_with("Remote working directory") {
            break;
        }
    }
    let change = json!({"ServerId": id, "SecurityPolicyName": "TransferSecurityPolicy-2020-06",
        "PreAuthenticationLoginBanner": "hello again"});
    quickstart.done("UpdateServer", change).await;
    assert_eq!(quickstart.described(&id).await["State"], "ONLINE");
    let output = quickstart.sftp(port, "ann", "ls\n", &chacha).await;
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("hello again"));
    drop((typed, session));

    // Another port: the old one is given up.
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let wanted = u64::from(free.local_addr().unwrap().port());
    let to =
        |port: u64| json!({"ServerId": id, "ProtocolDetails": {"SftpPorts": [{"SftpPort": port}]}});
    let (kind, _) = quickstart.refused("UpdateServer", to(wanted)).await;
    assert_eq!(kind, "InvalidRequestException", "the port is taken");
    assert!(quickstart.lets_in(port, "ann").await, "nothing was changed");
    drop(free);
    quickstart.done("UpdateServer", to(wanted)).await;
    assert_eq!(quickstart.port(&id).await, wanted);
    assert!(quickstart.lets_in(wanted, "ann").await);
    assert!(!quickstart.lets_in(port, "ann").await);
    let second = json!({"ProtocolDetails": {"SftpPorts": [{"SftpPort": wanted}]}});
    let (kind, text) = quickstart.refused("CreateServer", second).await;
    assert_eq!(kind, "InvalidRequestException");
    assert!(text.contains(&id), "{text}");
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one walk")]
async fn what_cannot_be_served_is_refused_by_name() {
    let quickstart = Quickstart::start(&[]).await;
    let id = quickstart.create(json!({})).await;
    let invalid = "InvalidRequestException";
    for (operation, body, expected) in [
        ("CreateServer", json!({"Protocols": ["FTPS"]}), invalid),
        ("CreateServer", json!({"Domain": "EFS"}), invalid),
        (
            "CreateServer",
            json!({"IdentityProviderType": "AWS_LAMBDA"}),
            invalid,
        ),
        (
            "CreateServer",
            json!({"IdentityProviderType": "AWS_DIRECTORY_SERVICE"}),
            invalid,
        ),
        ("CreateServer", json!({"Colour": "red"}), invalid),
        (
            "CreateServer",
            json!({"ProtocolDetails": {"Colour": "red"}}),
            invalid,
        ),
        (
            "CreateServer",
            json!({"Protocols": "SFTP"}),
            "SerializationException",
        ),
        (
            "CreateServer",
            json!({"EndpointType": 1}),
            "SerializationException",
        ),
        ("CreateServer", json!({"HostKey": "no key"}), invalid),
        (
            "CreateServer",
            json!({"HostKey": 1}),
            "SerializationException",
        ),
        ("CreateServer", json!({"Tags": [{"Key": "a"}]}), invalid),
        (
            "CreateServer",
            json!({"Tags": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]}),
            invalid,
        ),
        (
            "CreateServer",
            json!({"Tags": [{"Key": "aws:x", "Value": "1"}]}),
            invalid,
        ),
        (
            "CreateServer",
            json!({"SecurityPolicyName": "TransferSecurityPolicy-1999-01"}),
            "ResourceNotFoundException",
        ),
        ("UpdateServer", json!({}), invalid),
        ("UpdateServer", json!({"ServerId": id, "Tags": []}), invalid),
        (
            "UpdateServer",
            json!({"ServerId": id, "Protocols": ["SFTP", "FTP"]}),
            invalid,
        ),
        ("StartServer", json!({}), invalid),
        (
            "StopServer",
            json!({"ServerId": 1}),
            "SerializationException",
        ),
        (
            "DeleteServer",
            json!({"ServerId": "../state"}),
            "ResourceNotFoundException",
        ),
        ("CreateConnector", json!({}), "UnknownOperationException"),
    ] {
        let (kind, _) = quickstart.refused(operation, body.clone()).await;
        assert_eq!(kind, expected, "{operation} {body}");
    }
    let listed = quickstart.done("ListServers", json!({})).await;
    assert_eq!(listed["Servers"].as_array().unwrap().len(), 1, "{listed}");
    let mut made = vec![id];
    while made.len() < portcullis::limits::MADE_SERVERS_MAX {
        made.push(quickstart.create(json!({})).await);
    }
    let (kind, text) = quickstart.refused("CreateServer", json!({})).await;
    assert_eq!(
        (&*kind, text.contains("50 servers")),
        (invalid, true),
        "{text}"
    );
    let page = quickstart
        .done("ListServers", json!({"MaxResults": 30}))
        .await;
    let next = json!({"MaxResults": 30, "NextToken": page["NextToken"]});
    let rest = quickstart.done("ListServers", next).await;
    assert_eq!(rest["Servers"].as_array().unwrap().len(), 20);
    assert_eq!(rest.get("NextToken"), None);
    let first = made.swap_remove(0);
    quickstart
        .done("DeleteServer", json!({"ServerId": first}))
        .await;
    quickstart.create(json!({})).await;
}
