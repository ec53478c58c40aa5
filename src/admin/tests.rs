//! The ports over real sockets, and what they show.

use std::net::IpAddr;
use std::sync::Mutex;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;
use crate::idp::blocks::{Blocked, Blocks};

#[derive(Debug, Default)]
struct Scripted(Mutex<Readiness>);

impl AdminStatus for Scripted {
    fn readiness(&self) -> Readiness {
        self.0.lock().unwrap().clone()
    }

    fn metrics(&self) -> String {
        "portcullis_handles_open 3\n# EOF\n".to_owned()
    }

    fn jwks(&self) -> Option<String> {
        let keys = "{\"keys\":[]}".to_owned();
        self.0.lock().unwrap().listening.then_some(keys)
    }
}

/// Nothing is asked of it here.
#[derive(Debug)]
struct Idle(Arc<Blocks>);

#[async_trait]
impl AdminActions for Idle {
    async fn revoke(&self, _user: &str) -> Revoked {
        Revoked::default()
    }

    async fn forget(&self, _user: Option<&str>) -> usize {
        0
    }

    fn unlock(&self, _user: Option<&str>, _source: Option<IpAddr>) -> usize {
        0
    }

    fn blocks(&self) -> Arc<Blocks> {
        Arc::clone(&self.0)
    }

    async fn end_blocked(&self, _blocked: &Blocked) -> usize {
        0
    }
}

struct Running {
    address: SocketAddr,
    admin_status: Arc<Scripted>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

#[expect(clippy::disallowed_methods, reason = "the test owns the task")]
async fn start(limits: AdminLimits) -> Running {
    let admin = Admin::bind(SocketAddr::from(([127, 0, 0, 1], 0)), limits).await;
    let admin = admin.unwrap();
    let address = admin.local_addr().unwrap();
    let admin_status = Arc::new(Scripted::default());
    let stop = CancellationToken::new();
    let services = AdminServices {
        admin_status: admin_status.clone(),
        actions: Arc::new(Idle(Arc::default())),
        tokens: Arc::default(),
        aws: None,
    };
    let task = tokio::spawn(admin.serve(services, Arc::default(), stop.clone()));
    Running {
        address,
        admin_status,
        stop,
        task,
    }
}

async fn ask(address: SocketAddr, line: &str) -> String {
    ask_with(address, &format!("{line} HTTP/1.1")).await
}

async fn ask_with(address: SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{head}\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn a_gateway_is_ready_from_listening_until_draining_and_alive_throughout() {
    let admin = start(AdminLimits::default()).await;
    let ready = Readiness {
        listening: true,
        ..Readiness::default()
    };
    let draining = Readiness {
        draining: true,
        ..ready.clone()
    };
    // A store that some need is no reason to send everybody elsewhere.
    let away = Readiness {
        stores_away: vec!["storage".into(), "store.far".into()],
        ..ready.clone()
    };
    let all = "{\"listening\":true,\"draining\":false}";
    let shown = ",\"stores_away\":[\"storage\",\"store.far\"]}";
    for (readiness, status, body) in [
        (Readiness::default(), "503", "\"listening\":false"),
        (ready, "200", all),
        (draining, "503", "\"draining\":true"),
        (away, "200", shown),
    ] {
        *admin.admin_status.0.lock().unwrap() = readiness;
        let text = ask(admin.address, "GET /readyz").await;
        assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{text}");
        assert!(text.contains(body), "{text}");
        let text = ask(admin.address, "GET /livez").await;
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    }
}

#[tokio::test]
async fn metrics_are_shown_and_other_paths_and_methods_are_not_there() {
    let admin = start(AdminLimits::default()).await;
    // Prometheus' own format is what everybody reads; the newer one is for those who name it.
    let text = ask(admin.address, "GET /metrics").await;
    assert!(
        text.contains("content-type: text/plain; version=0.0.4"),
        "{text}"
    );
    assert!(text.ends_with("portcullis_handles_open 3\n"), "{text}");
    let accept = "GET /metrics HTTP/1.1\r\naccept: application/openmetrics-text; version=1.0.0";
    let text = ask_with(admin.address, accept).await;
    assert!(
        text.contains("content-type: application/openmetrics-text"),
        "{text}"
    );
    assert!(
        text.ends_with("portcullis_handles_open 3\n# EOF\n"),
        "{text}"
    );
    let text = ask(admin.address, "HEAD /metrics").await;
    assert!(
        text.starts_with("HTTP/1.1 200") && text.ends_with("\r\n\r\n"),
        "{text}"
    );
    assert!(
        ask(admin.address, "GET /etc")
            .await
            .starts_with("HTTP/1.1 404")
    );
    let text = ask(admin.address, "POST /livez").await;
    assert!(
        text.starts_with("HTTP/1.1 405") && text.contains("allow: GET, HEAD"),
        "{text}"
    );
}

#[tokio::test]
async fn keys_are_published_where_there_are_any() {
    let admin = start(AdminLimits::default()).await;
    let path = "GET /.well-known/jwks.json";
    let text = ask(admin.address, path).await;
    assert!(text.starts_with("HTTP/1.1 404"), "{text}");
    admin.admin_status.0.lock().unwrap().listening = true;
    let text = ask(admin.address, path).await;
    assert!(text.contains("content-type: application/json"), "{text}");
    assert!(text.ends_with("{\"keys\":[]}"), "{text}");
}

#[tokio::test]
async fn a_silent_connection_is_closed_and_gives_its_place_to_the_next() {
    let limits = AdminLimits {
        connections_max: 1,
        // Long enough for a client on a busy machine.
        head_timeout: Duration::from_secs(1),
        ..AdminLimits::default()
    };
    let admin = start(limits).await;
    let mut silent = TcpStream::connect(admin.address).await.unwrap();
    silent
        .write_all(b"GET /livez HTTP/1.1\r\nx: ")
        .await
        .unwrap();
    assert!(
        ask(admin.address, "GET /livez")
            .await
            .starts_with("HTTP/1.1 200")
    );
    let mut rest = Vec::new();
    // What it had sent may not have been read yet: then its end is a reset.
    if let Err(error) = silent.read_to_end(&mut rest).await {
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn it_stops_when_told_even_with_a_connection_open() {
    let limits = AdminLimits {
        // Long enough for a client on a busy machine.
        head_timeout: Duration::from_secs(1),
        ..AdminLimits::default()
    };
    let admin = start(limits).await;
    let _open = TcpStream::connect(admin.address).await.unwrap();
    assert!(
        ask(admin.address, "GET /livez")
            .await
            .starts_with("HTTP/1.1 200")
    );
    admin.stop.cancel();
    admin.task.await.unwrap();
    assert!(TcpStream::connect(admin.address).await.is_err());
}
