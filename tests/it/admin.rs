//! The operator's port: commands, and what AWS's tools ask.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use portcullis::admin::{
    Admin, AdminActions, AdminLimits, AdminServices, AdminStatus, AdminTokens, Readiness, Revoked,
};
use portcullis::idp::blocks::{Blocked, Blocks};
use portcullis::metrics::Metrics;
use portcullis::secret::Secret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Default)]
struct Gateway(Mutex<Vec<String>>, Arc<Blocks>);

impl AdminStatus for Gateway {
    fn readiness(&self) -> Readiness {
        Readiness::default()
    }

    fn metrics(&self) -> String {
        String::new()
    }

    fn jwks(&self) -> Option<String> {
        None
    }
}

#[async_trait]
impl AdminActions for Gateway {
    async fn revoke(&self, user: &str) -> Revoked {
        self.0.lock().unwrap().push(format!("revoke {user}"));
        Revoked {
            connections: 2,
            answers: 1,
        }
    }

    async fn forget(&self, user: Option<&str>) -> usize {
        self.0.lock().unwrap().push(format!("forget {user:?}"));
        3
    }

    fn unlock(&self, user: Option<&str>, source: Option<IpAddr>) -> usize {
        self.0
            .lock()
            .unwrap()
            .push(format!("unlock {user:?} {source:?}"));
        4
    }

    fn blocks(&self) -> Arc<Blocks> {
        Arc::clone(&self.1)
    }

    async fn end_blocked(&self, blocked: &Blocked) -> usize {
        self.0.lock().unwrap().push(format!("end {blocked}"));
        5
    }
}

struct Port {
    address: SocketAddr,
    gateway: Arc<Gateway>,
    _tasks: JoinSet<()>,
}

impl Port {
    async fn open(token: Option<&str>) -> Self {
        Self::with(token, None).await
    }

    async fn with(token: Option<&str>, next: Option<&str>) -> Self {
        let admin = Admin::bind("127.0.0.1:0".parse().unwrap(), AdminLimits::default()).await;
        let admin = admin.unwrap();
        let address = admin.local_addr().unwrap();
        let gateway = Arc::new(Gateway::default());
        let secret = |token: Option<&str>| token.map(|token| Secret::new(token.to_owned()));
        let services = AdminServices {
            admin_status: gateway.clone(),
            actions: gateway.clone(),
            tokens: Arc::new(AdminTokens::new([token, next].map(secret))),
            aws: None,
        };
        let mut tasks = JoinSet::new();
        let metrics = Arc::new(Metrics::default());
        tasks.spawn(admin.serve(services, metrics, CancellationToken::new()));
        Self {
            address,
            gateway,
            _tasks: tasks,
        }
    }

    async fn post(&self, path: &str, headers: &str, body: &str) -> String {
        self.post_to("localhost:9090", path, headers, body).await
    }

    async fn post_to(&self, host: &str, path: &str, headers: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}\
             content-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        // A refusal may come before the body is read.
        drop(stream.read_to_string(&mut text).await);
        text
    }

    fn done(&self) -> Vec<String> {
        std::mem::take(&mut self.gateway.0.lock().unwrap())
    }
}

#[tokio::test]
async fn blocks_are_made_listed_and_lifted() {
    let port = Port::open(None).await;
    let answer = async |path: &str, body: &str| {
        let text = port.post(path, JSON, body).await;
        text.rsplit("\r\n").next().unwrap().to_owned()
    };
    let made = answer("/block", r#"{"user":"Ann","seconds":3600}"#).await;
    assert!(
        made.contains(r#""connections":5,"kept":false,"until":"2"#),
        "{made}"
    );
    assert_eq!(port.done(), ["end ann"]);
    let made = answer("/block", r#"{"network":"203.0.113.0/24"}"#).await;
    assert_eq!(
        made,
        r#"{"connections":5,"kept":false,"until":null,"why":null}"#
    );
    assert_eq!(port.done(), ["end 203.0.113.0/24"]);
    let listed = answer("/blocks", "{}").await;
    for part in [
        r#""user":"ann""#,
        r#"{"network":"203.0.113.0/24","until":null}"#,
    ] {
        assert!(listed.contains(part), "{listed}");
    }
    for (body, why) in [
        ("{}", "a block needs exactly one"),
        (r#"{"user":""}"#, "a block needs exactly one"),
        (
            r#"{"user":"a","network":"::/0"}"#,
            "a block needs exactly one",
        ),
        (r#"{"network":"here"}"#, "is not an IP network"),
        (r#"{"provider":"staff"}"#, "no provider has that name"),
        (r#"{"user":"a","seconds":0}"#, "must be 1 to"),
        (r#"{"user":"a","seconds":863999913600}"#, "100 years"),
        (r#"{"user":"a","minutes":1}"#, "the keys of the command"),
    ] {
        let text = answer("/block", body).await;
        assert!(text.contains(why), "{body}: {text}");
    }
    let seconds = r#"{"user":"ann","seconds":9}"#;
    assert!(
        answer("/revoke", seconds)
            .await
            .contains("this command needs")
    );
    assert_eq!(
        answer("/unblock", r#"{"user":"aNN"}"#).await,
        r#"{"lifted":true,"why":null}"#
    );
    assert_eq!(
        answer("/unblock", r#"{"user":"ann"}"#).await,
        r#"{"lifted":false,"why":null}"#
    );
    assert_eq!(port.done(), Vec::<String>::new());
}

const JSON: &str = "content-type: application/json\r\n";

#[tokio::test]
async fn commands_are_obeyed_and_say_what_they_found() {
    let port = Port::open(None).await;
    for (path, body, answer, done) in [
        (
            "/revoke",
            r#"{"user":"ann"}"#,
            r#"{"answers":1,"connections":2}"#,
            "revoke ann",
        ),
        ("/forget", "{}", r#"{"answers":3}"#, "forget None"),
        (
            "/forget",
            r#"{"user":"ann"}"#,
            r#"{"answers":3}"#,
            "forget Some(\"ann\")",
        ),
        (
            "/unlock",
            r#"{"user":"ann","source":"192.0.2.7"}"#,
            r#"{"entries":4}"#,
            "unlock Some(\"ann\") Some(192.0.2.7)",
        ),
    ] {
        let text = port.post(path, JSON, body).await;
        assert!(
            text.starts_with("HTTP/1.1 200") && text.ends_with(answer),
            "{text}"
        );
        assert_eq!(port.done(), [done]);
    }
}

#[tokio::test]
async fn a_name_that_was_made_to_mean_this_machine_gives_no_commands() {
    let port = Port::open(None).await;
    let order = r#"{"user":"ann"}"#;
    for host in [
        "evil.example",
        "evil.example:9090",
        "192.0.2.1",
        "",
        "localhost.evil.example",
    ] {
        let text = port.post_to(host, "/revoke", JSON, order).await;
        assert!(text.starts_with("HTTP/1.1 403"), "{host}: {text}");
        let twice = format!("{JSON}host: {host}\r\n");
        let text = port.post("/revoke", &twice, order).await;
        assert!(!text.starts_with("HTTP/1.1 200"), "{host}: {text}");
        let text = port
            .post(&format!("http://{host}/revoke"), JSON, order)
            .await;
        assert!(!text.starts_with("HTTP/1.1 200"), "{host}: {text}");
    }
    assert!(port.done().is_empty());
    for host in ["127.0.0.1:9090", "[::1]:9090", "LOCALHOST", "127.8.8.8"] {
        let text = port.post_to(host, "/revoke", JSON, order).await;
        assert!(text.starts_with("HTTP/1.1 200"), "{host}: {text}");
    }
    let with_token = Port::open(Some("maple-17")).await;
    let headers = format!("{JSON}authorization: Bearer maple-17\r\n");
    let text = with_token
        .post_to("gateway.example", "/revoke", &headers, order)
        .await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
}

#[tokio::test]
async fn what_is_no_command_does_nothing() {
    let port = Port::open(None).await;
    let huge = format!("{{\"user\":\"{}\"}}", "x".repeat(70_000));
    for (path, headers, body, status) in [
        ("/revoke", JSON, "{}", 400),
        ("/revoke", JSON, r#"{"user":""}"#, 400),
        ("/revoke", JSON, r#"{"user":"a","source":"192.0.2.7"}"#, 400),
        ("/forget", JSON, r#"{"usr":"a"}"#, 400),
        ("/unlock", JSON, r#"{"source":"nowhere"}"#, 400),
        ("/unlock", JSON, "not json", 400),
        // What a page in the operator's browser could send.
        (
            "/revoke",
            "content-type: text/plain\r\n",
            r#"{"user":"ann"}"#,
            415,
        ),
        ("/revoke", "", r#"{"user":"ann"}"#, 415),
        ("/revoke", JSON, &*huge, 413),
        ("/", JSON, "{}", 405),
        ("/metrics", JSON, "{}", 405),
    ] {
        let text = port.post(path, headers, body).await;
        assert!(
            text.starts_with(&format!("HTTP/1.1 {status}")),
            "{path} {body:.40}: {text}"
        );
    }
    assert_eq!(port.done(), Vec::<String>::new());
}

#[tokio::test]
async fn with_a_token_only_those_who_bring_it_give_commands() {
    let port = Port::open(Some("brass-key-9")).await;
    for (header, status) in [
        ("", 401),
        ("authorization: Bearer brass-key-8\r\n", 401),
        ("authorization: Bearer brass-key-9x\r\n", 401),
        ("authorization: brass-key-9\r\n", 401),
        ("authorization: Bearer brass-key-9\r\n", 200),
    ] {
        let text = port
            .post("/revoke", &format!("{JSON}{header}"), r#"{"user":"ann"}"#)
            .await;
        assert!(
            text.starts_with(&format!("HTTP/1.1 {status}")),
            "{header}: {text}"
        );
    }
    assert_eq!(port.done(), ["revoke ann"]);
}

#[tokio::test]
async fn either_of_two_tokens_is_taken_and_no_other() {
    for tokens in [
        (Some("brass-key-9"), Some("brass-key-10")),
        (None, Some("brass-key-10")),
    ] {
        let port = Port::with(tokens.0, tokens.1).await;
        for (token, taken) in [
            ("brass-key-9", tokens.0.is_some()),
            ("brass-key-10", true),
            ("brass-key-1", false),
            ("", false),
        ] {
            let headers = format!("{JSON}authorization: Bearer {token}\r\n");
            let text = port.post("/revoke", &headers, r#"{"user":"ann"}"#).await;
            let status = if taken { 200 } else { 401 };
            let expected = format!("HTTP/1.1 {status}");
            assert!(text.starts_with(&expected), "{token}: {text}");
        }
    }
}
