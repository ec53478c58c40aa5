//! The operator's ports under connections that hold places: probes and scrapes are answered.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use portcullis::admin::{
    Admin, AdminActions, AdminLimits, AdminServices, AdminStatus, Readiness, Revoked,
};
use portcullis::idp::blocks::{Blocked, Blocks};
use portcullis::metrics::Metrics;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

#[derive(Debug)]
struct Gateway(Arc<Metrics>);

impl AdminStatus for Gateway {
    fn readiness(&self) -> Readiness {
        Readiness {
            listening: true,
            ..Readiness::default()
        }
    }

    fn metrics(&self) -> String {
        self.0.encode()
    }

    fn jwks(&self) -> Option<String> {
        None
    }
}

#[async_trait]
impl AdminActions for Gateway {
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
        unreachable!("nobody is blocked here")
    }

    async fn end_blocked(&self, _blocked: &Blocked) -> usize {
        0
    }
}

/// Both ports, on which nothing ever times out.
struct Ports {
    admin: SocketAddr,
    probe: SocketAddr,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    serving: JoinSet<()>,
}

/// What a connection does that does not end by itself.
const HOLDS: [&str; 4] = [
    "",
    "GET /livez HTTP/1.1\r\nx: ",
    "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "POST /forget HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
     content-length: 99\r\n\r\n{",
];

impl Ports {
    async fn open() -> Self {
        let hour = Duration::from_secs(3_600);
        let limits = AdminLimits {
            head_timeout: hour,
            connection_age_max: hour,
            ..AdminLimits::default()
        };
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let metrics = Arc::new(Metrics::default());
        let gateway = Arc::new(Gateway(Arc::clone(&metrics)));
        let stop = CancellationToken::new();
        let mut serving = JoinSet::new();
        let admin = Admin::bind(any, limits).await.unwrap();
        let probe = Admin::bind(any, limits).await.unwrap();
        let port = |admin: &Admin| {
            SocketAddr::from((Ipv4Addr::LOCALHOST, admin.local_addr().unwrap().port()))
        };
        let (admin_at, probe_at) = (port(&admin), port(&probe));
        let services = AdminServices {
            admin_status: gateway.clone(),
            actions: gateway.clone(),
            tokens: Arc::default(),
            aws: None,
        };
        serving.spawn(admin.serve(services, Arc::clone(&metrics), stop.clone()));
        serving.spawn(probe.serve_probes(gateway, Arc::clone(&metrics), stop.clone()));
        Self {
            admin: admin_at,
            probe: probe_at,
            metrics,
            stop,
            serving,
        }
    }

    /// Asks what probes and Prometheus ask, each on a connection of its own.
    async fn answer_everything(&self) {
        for _ in 0..8 {
            for address in [self.admin, self.probe] {
                for path in ["/livez", "/readyz"] {
                    let text = ask(address, &format!("GET {path}")).await;
                    assert!(
                        text.starts_with("HTTP/1.1 200"),
                        "{address} {path}: {text:?}"
                    );
                }
            }
            let text = ask(self.admin, "GET /metrics").await;
            assert!(
                text.starts_with("HTTP/1.1 200") && text.contains("portcullis_connections_open ")
            );
        }
    }

    fn shows(&self, line: &str) -> bool {
        self.metrics.encode().lines().any(|one| one == line)
    }

    async fn until_nobody_is_connected(&self) {
        for port in ["admin", "probe"] {
            let line = format!("portcullis_admin_connections_open{{port=\"{port}\"}} 0");
            within(async {
                while !self.shows(&line) {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            })
            .await;
        }
    }

    /// Nothing waits for what clients hold open.
    async fn end(mut self) {
        self.stop.cancel();
        within(async { while self.serving.join_next().await.is_some() {} }).await;
    }
}

async fn within<T>(waiting: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(20), waiting).await;
    waited.expect("took too long")
}

async fn connect(source: u8, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    let from = Ipv4Addr::new(127, 0, 0, source);
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    within(socket.connect(address)).await.unwrap()
}

async fn ask(address: SocketAddr, line: &str) -> String {
    let mut stream = connect(1, address).await;
    let request = format!("{line} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    within(async {
        // A kept connection does not end: a body says where it does.
        while !is_whole(&text) {
            assert_ne!(stream.read_buf(&mut text).await.unwrap(), 0, "{text:?}");
        }
    })
    .await;
    String::from_utf8(text).unwrap()
}

fn is_whole(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    length.is_some_and(|length| body.len() == length.parse::<usize>().unwrap())
}

/// Holds connections to a port, so many of each kind from each source.
async fn hold(
    address: SocketAddr,
    sources: std::ops::RangeInclusive<u8>,
    each: usize,
) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for source in sources {
        for kind in HOLDS {
            for _ in 0..each {
                let mut stream = connect(source, address).await;
                // Those before it may have been closed, and so may this one be.
                drop(stream.write_all(kind.as_bytes()).await);
                held.push(stream);
            }
        }
    }
    held
}

#[tokio::test]
async fn probes_and_scrapes_are_answered_beside_connections_of_one_address() {
    let ports = Ports::open().await;
    let mut held = hold(ports.admin, 1..=1, 45).await;
    held.extend(hold(ports.probe, 1..=1, 45).await);
    ports.answer_everything().await;
    for port in ["admin", "probe"] {
        let counted = format!("_over_limit_total{{port=\"{port}\",outcome=\"evicted\"}} ");
        assert!(ports.metrics.encode().contains(&counted), "{port}");
    }
    let refused = "_over_limit_total{port=\"admin\",outcome=\"refused\"}";
    assert!(!ports.metrics.encode().contains(refused));
    let refused = refused.replace("admin", "probe");
    assert!(!ports.metrics.encode().contains(&refused));
    drop(held);
    ports.until_nobody_is_connected().await;
    ports.end().await;
}

#[tokio::test]
async fn probes_and_scrapes_are_answered_beside_connections_of_many_addresses() {
    let ports = Ports::open().await;
    let mut held = hold(ports.admin, 2..=12, 6).await;
    held.extend(hold(ports.probe, 2..=12, 6).await);
    ports.answer_everything().await;
    // Both while they are held and when the port is to stop.
    ports.end().await;
    drop(held);
}

#[tokio::test]
async fn one_address_leaves_places_to_the_others() {
    let ports = Ports::open().await;
    let mut patient = connect(3, ports.admin).await;
    let held = hold(ports.admin, 2..=2, 30).await;
    let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    patient.write_all(request).await.unwrap();
    let mut text = String::new();
    within(patient.read_to_string(&mut text)).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    drop(held);
    ports.until_nobody_is_connected().await;
    ports.end().await;
}

#[tokio::test]
async fn the_port_for_probes_shows_nothing_else() {
    let ports = Ports::open().await;
    for (line, status) in [
        ("GET /livez", "200"),
        ("HEAD /readyz", "200"),
        ("GET /metrics", "404"),
        ("GET /.well-known/jwks.json", "404"),
        ("GET /", "404"),
        ("POST /livez", "405"),
        ("POST /forget", "405"),
        ("DELETE /livez", "405"),
    ] {
        let mut stream = connect(1, ports.probe).await;
        let request = format!("{line} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        // Nothing is kept open: the end of the stream is the end of the answer.
        within(stream.read_to_string(&mut text)).await.unwrap();
        assert!(
            text.starts_with(&format!("HTTP/1.1 {status}")),
            "{line}: {text}"
        );
    }
    ports.end().await;
}
