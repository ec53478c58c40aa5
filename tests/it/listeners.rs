//! Several listeners in one process: each with its own providers, keys and algorithms, started and
//! stopped while the others go on.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use embedded_s3::EmbeddedS3;
use portcullis::compose::{Composition, Running};
use portcullis::config::{Origin, Purpose};
use portcullis::gateway::{
    Gateway, GatewayParts, ListenerParts, ListenerState, Listeners, StartError,
};
use portcullis::limits::Limits;
use portcullis::metrics::Metrics;
use portcullis::ssh::{HostKey, HostKeys, Listener};
use portcullis::storage::credentials::Own;
use portcullis::storage::{Key, Location};
use russh::keys::{HashAlg, PublicKeyOrCertificate};
use russh::{Disconnect, client, kex};
use russh_sftp::client::RawSftpSession;
use russh_sftp::protocol::{FileAttributes, OpenFlags};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::common::provider::RecordingProvider;
use super::common::serving::{Serving, port_in};
use super::common::stores::Subject;

const ANNS: &str = "tidal-fern-41";
const BOBS: &str = "windy-kelp-77";
const PROXY: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 22\r\n";

/// What a client saw.
#[derive(Debug, Clone, Default)]
struct Seen(Arc<Mutex<Notes>>);

#[derive(Debug, Clone, Default)]
struct Notes {
    fingerprint: String,
    banner: String,
    farewell: String,
}

impl Seen {
    fn notes(&self) -> Notes {
        self.0.lock().unwrap().clone()
    }
}

impl client::Handler for Seen {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        server: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        if let PublicKeyOrCertificate::PublicKey { key, .. } = server {
            self.0.lock().unwrap().fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        }
        Ok(true)
    }

    async fn auth_banner(
        &mut self,
        banner: &str,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        banner.clone_into(&mut self.0.lock().unwrap().banner);
        Ok(())
    }

    async fn disconnected(
        &mut self,
        reason: client::DisconnectReason<Self::Error>,
    ) -> Result<(), Self::Error> {
        if let client::DisconnectReason::ReceivedDisconnect(info) = reason {
            self.0.lock().unwrap().farewell = info.message;
        }
        Ok(())
    }
}

/// Connects, behind these bytes, and offers a key exchange alone if one is named.
async fn reach(
    address: SocketAddr,
    first: &[u8],
    exchange: Option<kex::Name>,
) -> Option<(client::Handle<Seen>, Seen)> {
    let mut tcp = TcpStream::connect(address).await.ok()?;
    tcp.write_all(first).await.ok()?;
    let mut config = client::Config::default();
    if let Some(exchange) = exchange {
        config.preferred.kex = Cow::Owned(vec![exchange]);
    }
    let seen = Seen::default();
    let handle = client::connect_stream(Arc::new(config), tcp, seen.clone()).await;
    Some((handle.ok()?, seen))
}

/// Logs in; `None` if the connection or the login does not come about.
async fn log_in(
    address: SocketAddr,
    first: &[u8],
    (user, password): (&str, &str),
) -> Option<(client::Handle<Seen>, Seen)> {
    let (mut handle, seen) = reach(address, first, None).await?;
    let answer = handle.authenticate_password(user, password).await.ok()?;
    answer.success().then_some((handle, seen))
}

async fn sftp(handle: &client::Handle<Seen>) -> RawSftpSession {
    let channel = handle.channel_open_session().await.unwrap();
    channel.request_subsystem(true, "sftp").await.unwrap();
    let sftp = RawSftpSession::new(channel.into_stream());
    sftp.set_timeout(60);
    sftp.init().await.unwrap();
    sftp
}

async fn create(sftp: &RawSftpSession, path: &str) -> String {
    let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE;
    let opened = sftp.open(path, flags, FileAttributes::empty()).await;
    opened.unwrap().handle
}

async fn until(mut done: impl FnMut() -> bool) {
    let all = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(all).await;
}

async fn within<T>(all: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), all)
        .await
        .expect("took too long")
}

fn users(name: &str, password: &str) -> String {
    let hash = bcrypt::hash_with_salt(password, 4, [7; 16]).unwrap();
    format!(
        "[users.{name}]\npassword_hash = \"{hash}\"\n\
         mappings = [{{ entry = \"/\", target = \"/inbox/{name}\" }}]\n"
    )
}

const CONFIGURATION: &str = r#"
[identity]
providers = ["staff", "partners"]
provider = "static"
[provider.staff]
users_file = "FOLDER/staff.toml"
[provider.partners]
users_file = "FOLDER/partners.toml"
[listener.inner]
listen = "127.0.0.1:0"
providers = ["staff"]
host_key_files = ["FOLDER/inner_key"]
[listener.outer]
listen = "127.0.0.1:0"
providers = ["partners", "staff"]
host_key_files = ["FOLDER/outer_key"]
algorithms = "compatible"
proxy_protocol = "required"
trusted_networks = ["127.0.0.1"]
banner = "partners only"
[storage]
endpoint = "S3"
path_style = true
access_key_id = "KEY"
secret_access_key = "SECRET"
[admin]
listen = "off"
"#;

struct Folder {
    folder: TempDir,
    s3: EmbeddedS3,
}

impl Folder {
    async fn new() -> Self {
        let s3 = EmbeddedS3::start(embedded_s3::Settings {
            buckets: vec!["inbox".to_owned()],
            ..embedded_s3::Settings::default()
        })
        .await
        .unwrap();
        let this = Self {
            folder: tempfile::tempdir().unwrap(),
            s3,
        };
        this.write("staff.toml", &users("ann", ANNS));
        this.write("partners.toml", &users("bob", BOBS));
        for listener in ["inner", "outer"] {
            this.new_key(listener);
        }
        this.configure(CONFIGURATION);
        this
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folder.path().display())
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn configure(&self, text: &str) {
        let text = text
            .replace("FOLDER", &self.folder.path().display().to_string())
            .replace("S3", &self.s3.endpoint())
            .replace("KEY", self.s3.access_key())
            .replace("SECRET", self.s3.secret_key());
        self.write("portcullis.toml", &text);
    }

    /// Makes a host key and returns its fingerprint.
    fn new_key(&self, listener: &str) -> String {
        let state = tempfile::tempdir().unwrap();
        let paths = HostKey::kept_in(&state.path().display().to_string()).unwrap();
        let made = self.path("made_key");
        std::fs::copy(&paths[0], &made).unwrap();
        std::fs::rename(&made, self.path(&format!("{listener}_key"))).unwrap();
        HostKey::load(&paths[0]).unwrap().fingerprint()
    }

    fn fingerprint(&self, listener: &str) -> String {
        let path = self.path(&format!("{listener}_key"));
        HostKey::load(&path).unwrap().fingerprint()
    }

    async fn start(&self) -> anyhow::Result<Running> {
        let origin = Origin::read(Some(&self.path("portcullis.toml")))?;
        let config = origin.config(Purpose::Serve)?;
        let composition = Composition::of(&config)?;
        Box::pin(Running::start(&composition, origin)).await
    }
}

fn address(listeners: &Listeners, name: &str) -> SocketAddr {
    let all = listeners.all();
    let found = all.iter().find(|status| *status.name == *name);
    found.unwrap().address
}

#[tokio::test]
async fn each_listener_has_its_own_providers_keys_algorithms_banner_and_proxy_mode() {
    let folder = Folder::new().await;
    let running = folder.start().await.unwrap();
    let listeners = running.gateway().listeners();
    let (inner, outer) = (address(listeners, "inner"), address(listeners, "outer"));

    let (_ann, seen) = log_in(inner, b"", ("ann", ANNS)).await.unwrap();
    assert_eq!(seen.notes().fingerprint, folder.fingerprint("inner"));
    assert_eq!(seen.notes().banner, "");
    assert!(log_in(inner, b"", ("bob", BOBS)).await.is_none());

    let (bob, seen) = log_in(outer, PROXY, ("bob", BOBS)).await.unwrap();
    assert_eq!(seen.notes().fingerprint, folder.fingerprint("outer"));
    assert_eq!(seen.notes().banner, "partners only");
    assert!(
        log_in(outer, PROXY, ("ann", ANNS)).await.is_some(),
        "shared"
    );
    assert!(log_in(outer, b"", ("bob", BOBS)).await.is_none());
    assert!(log_in(inner, PROXY, ("ann", ANNS)).await.is_none());

    let old = Some(kex::DH_G14_SHA256);
    assert!(reach(outer, PROXY, old).await.is_some());
    assert!(reach(inner, b"", old).await.is_none());

    let session = sftp(&bob).await;
    let handle = create(&session, "/a").await;
    session.write(&handle, 0, b"abc".to_vec()).await.unwrap();
    session.close(&handle).await.unwrap();
    let stored = folder.s3.object("inbox", "bob/a").unwrap();
    assert_eq!(stored.body, b"abc"[..]);

    let metrics = running.gateway().admin_status().metrics();
    for line in [
        "portcullis_listener_connections_accepted_total{listener=\"inner\"} 4",
        "portcullis_listener_connections_accepted_total{listener=\"outer\"} 4",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    within(running.drain()).await;
    assert!(TcpStream::connect(inner).await.is_err());
    assert!(TcpStream::connect(outer).await.is_err());
}

/// One provider, and one listener.
const SINGLE: &str = r#"
listen = "127.0.0.1:0"
host_key_files = ["FOLDER/inner_key"]
[identity]
provider = "static"
users_file = "FOLDER/staff.toml"
[sftp]
history = HISTORY
[storage]
endpoint = "S3"
path_style = true
access_key_id = "KEY"
secret_access_key = "SECRET"
[admin]
listen = "off"
"#;

#[tokio::test]
async fn a_gateway_shows_versions_where_its_file_says_so() {
    let folder = Folder::new().await;
    folder.s3.keep_versions("inbox");
    folder.s3.put("inbox", "ann/f", "content");
    for (text, history) in [
        (SINGLE, true),
        (SINGLE, false),
        (CONFIGURATION, true),
        (CONFIGURATION, false),
    ] {
        let said = format!("{text}\n[sftp]\nhistory = HISTORY\n");
        let text = if text == SINGLE { text } else { &said };
        folder.configure(&text.replace("HISTORY", &history.to_string()));
        let running = folder.start().await.unwrap();
        let all = running.gateway().listeners().all();
        let inner = all.iter().find(|one| &*one.name == "inner");
        let at = inner.unwrap_or(&all[0]).address;
        let (ann, _) = log_in(at, b"", ("ann", ANNS)).await.unwrap();
        let opened = sftp(&ann).await.opendir("/.history/f").await;
        assert_eq!(opened.is_ok(), history, "{text}");
        within(running.drain()).await;
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_told_with_its_listener_and_nothing_stays_open() {
    let folder = Folder::new().await;
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap().port();
    let free = {
        let closed_again = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        closed_again.local_addr().unwrap()
    };
    let text = CONFIGURATION
        .replacen("127.0.0.1:0", &free.to_string(), 1)
        .replacen("127.0.0.1:0", &format!("127.0.0.1:{taken}"), 1);
    folder.configure(&text);
    let error = format!("{:#}", folder.start().await.unwrap_err());
    let expected = format!("failed to listen on 127.0.0.1:{taken} (listener.outer.listen)");
    assert!(error.contains(&expected), "{error}");
    assert!(TcpStream::connect(free).await.is_err());
    drop(held);
    let running = folder.start().await.unwrap();
    assert!(log_in(free, b"", ("ann", ANNS)).await.is_some());
    within(running.drain()).await;
}

#[tokio::test]
async fn a_wrong_network_is_told_with_the_provider_whose_port_it_is_for() {
    let folder = Folder::new().await;
    let (above, tables) = CONFIGURATION.split_once("[listener.inner]").unwrap();
    let (_, below) = tables.split_once("[storage]").unwrap();
    let port = "listen = \"127.0.0.1:0\"\nproxy_protocol = \"required\"\n\
        trusted_networks = [\"10.0.0.0/33\"]\n";
    let keys = "host_key_files = [\"FOLDER/inner_key\"]\n";
    folder.configure(&format!("{keys}{above}{port}[storage]{below}"));
    let error = format!("{:#}", folder.start().await.unwrap_err());
    let expected = "provider.partners.trusted_networks: ";
    assert!(error.contains(expected), "{error}");
}

async fn listening(serving: &mut Serving, name: &str) -> SocketAddr {
    loop {
        let line = serving.logged("\"listening\"").await;
        if line.contains(&format!("\"listener\":\"{name}\"")) {
            return SocketAddr::from(([127, 0, 0, 1], port_in(&line).parse().unwrap()));
        }
    }
}

async fn shown(at: SocketAddr, first: &[u8]) -> String {
    let (_client, seen) = reach(at, first, None).await.unwrap();
    seen.notes().fingerprint
}

#[tokio::test]
async fn a_changed_host_key_is_shown_by_all_listeners_that_share_it() {
    let folder = Folder::new().await;
    folder.configure(&CONFIGURATION.replace("outer_key", "inner_key"));
    let mut serving = Serving::start(&folder.path("portcullis.toml"));
    let line = serving.logged("\"host key\"").await;
    assert!(line.contains("\"listener\":\"inner, outer\""), "{line}");
    let inner = listening(&mut serving, "inner").await;
    let outer = listening(&mut serving, "outer").await;
    let new = folder.new_key("inner");
    serving.hang_up().await;
    let line = serving.logged(&new).await;
    assert!(line.contains("\"listener\":\"inner, outer\""), "{line}");
    for (at, first) in [(inner, &b""[..]), (outer, PROXY)] {
        within(async {
            while shown(at, first).await != new {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_refused_connection_is_told_with_its_listener() {
    let folder = Folder::new().await;
    for (name, first) in [("inner", &b""[..]), ("outer", PROXY)] {
        // A process for each: such lines are bounded in rate.
        let limits = "[limits]\nconnections_per_source_max = 1\n";
        folder.configure(&format!("{CONFIGURATION}{limits}"));
        let mut serving = Serving::start(&folder.path("portcullis.toml"));
        let at = listening(&mut serving, name).await;
        let _first = reach(at, first, None).await.unwrap();
        assert!(reach(at, first, None).await.is_none());
        let line = serving.logged("\"connection refused\"").await;
        assert!(
            line.contains("too many connections from one source"),
            "{line}"
        );
        assert!(line.contains(&format!("\"listener\":\"{name}\"")), "{line}");
        assert_eq!(line.matches("\"listener\"").count(), 1, "{line}");
    }
}

#[tokio::test]
async fn a_changed_host_key_is_shown_by_its_own_listener_alone() {
    let folder = Folder::new().await;
    let mut serving = Serving::start(&folder.path("portcullis.toml"));
    let inner = listening(&mut serving, "inner").await;
    let outer = listening(&mut serving, "outer").await;
    let (old, new) = (folder.fingerprint("inner"), folder.new_key("outer"));
    serving.hang_up().await;
    let line = serving.logged(&new).await;
    assert!(line.contains("\"listener\":\"outer\""), "{line}");
    within(async {
        while shown(outer, PROXY).await != new {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(shown(inner, b"").await, old);
}

// ---- started and stopped while the gateway runs ----

struct Stage {
    gateway: Gateway,
    provider: Arc<RecordingProvider>,
    subject: Subject,
}

impl Stage {
    /// A gateway with these listeners.
    async fn with(names: &[&str], limits: Limits) -> Self {
        let subject = Subject::memory();
        let stores = Arc::new(Own::new(subject.store.clone()));
        let stage = Self {
            gateway: Gateway::new(GatewayParts {
                limits: Limits {
                    refusal_delay: Duration::ZERO,
                    ..limits
                },
                ..GatewayParts::new(stores, Arc::new(Metrics::default()))
            }),
            provider: RecordingProvider::new(json!({
                "allow": true, "mappings": [{"entry": "/", "target": "/bucket/ann"}]
            })),
            subject,
        };
        for name in names {
            stage
                .start(name, "127.0.0.1:0".parse().unwrap())
                .await
                .unwrap();
        }
        stage
    }

    async fn start(&self, name: &str, address: SocketAddr) -> Result<SocketAddr, StartError> {
        let listener = Listener::bind(address).await?;
        let host_keys = HostKeys::new(vec![HostKey::generate().unwrap()]).unwrap();
        let provider = self.provider.clone();
        self.gateway.listeners().start(ListenerParts {
            name: name.into(),
            ..ListenerParts::new(listener, provider, host_keys)
        })
    }

    async fn enters(&self, name: &str) -> (client::Handle<Seen>, Seen) {
        let address = address(self.gateway.listeners(), name);
        log_in(address, b"", ("ann", ANNS)).await.unwrap()
    }

    fn state(&self, name: &str) -> Option<ListenerState> {
        let all = self.gateway.listeners().all();
        let found = all.iter().find(|status| *status.name == *name);
        found.map(|status| status.state)
    }
}

/// Returns the file `/a` of the user.
async fn stored(subject: &Subject) -> String {
    let location = Location {
        bucket: subject.bucket.clone(),
        key: Key::parse("ann/a").unwrap(),
    };
    let bytes = subject.read(&location).await;
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn a_listener_stops_and_starts_again_while_another_one_transfers() {
    let stage = Stage::with(&["one", "two"], Limits::default()).await;
    let listeners = stage.gateway.listeners();
    let place = address(listeners, "two");
    let (writer, _) = stage.enters("one").await;
    let session = sftp(&writer).await;
    let handle = create(&session, "/a").await;
    session.write(&handle, 0, b"be".to_vec()).await.unwrap();
    let (_idle, seen) = stage.enters("two").await;

    assert!(within(listeners.stop("two")).await);
    until(|| seen.notes().farewell == "the gateway is closing this port: connect again later")
        .await;
    assert!(TcpStream::connect(place).await.is_err());
    assert!(!listeners.stop("two").await, "it is gone");
    assert!(!listeners.begin_stop("three"));
    let readiness = stage.gateway.admin_status().readiness();
    assert!(readiness.is_ready(), "it was asked to stop");
    let metrics = stage.gateway.admin_status().metrics();
    assert!(metrics.contains("portcullis_listener_connections_open{listener=\"one\"} 1"));
    assert!(!metrics.contains("portcullis_listener_connections_open{listener=\"two\"}"));

    session.write(&handle, 2, b"fore".to_vec()).await.unwrap();
    session.close(&handle).await.unwrap();
    assert_eq!(stored(&stage.subject).await, "before");

    assert_eq!(stage.start("two", place).await.unwrap(), place);
    stage.enters("two").await;
    let again = stage.start("two", "127.0.0.1:0".parse().unwrap()).await;
    assert!(matches!(again, Err(StartError::Running)), "{again:?}");
    within(stage.gateway.drain()).await;
}

#[tokio::test]
async fn a_listener_that_stops_lets_its_own_transfers_end() {
    let stage = Stage::with(&["one", "two"], Limits::default()).await;
    let listeners = Arc::clone(stage.gateway.listeners());
    let (writer, _) = stage.enters("one").await;
    let session = sftp(&writer).await;
    let handle = create(&session, "/a").await;
    let place = address(&listeners, "one");
    assert!(listeners.begin_stop("one"));
    until(|| std::net::TcpStream::connect(place).is_err()).await;
    assert_eq!(stage.state("one"), Some(ListenerState::Stopping));
    assert_eq!(stage.state("two"), Some(ListenerState::Listening));
    let early = stage.start("one", place).await;
    assert!(matches!(early, Err(StartError::Running)), "{early:?}");

    session.write(&handle, 0, b"abc".to_vec()).await.unwrap();
    session.close(&handle).await.unwrap();
    assert_eq!(stored(&stage.subject).await, "abc");
    // Whoever asks again waits for the same end.
    let (first, second) =
        within(async { tokio::join!(listeners.stop("one"), listeners.stop("one")) }).await;
    assert!(first && second);
    assert_eq!(stage.state("one"), None);
    stage.start("one", place).await.unwrap();
    stage.enters("one").await;
    within(stage.gateway.drain()).await;
}

#[tokio::test]
async fn what_does_not_end_at_a_stopped_listener_is_cut_and_the_others_stay() {
    let limits = Limits {
        drain_timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let stage = Stage::with(&["one", "two"], limits).await;
    let (stays, _) = stage.enters("one").await;
    let (goes, _) = stage.enters("two").await;
    let (kept, cut) = (sftp(&stays).await, sftp(&goes).await);
    let (open, lost) = (create(&kept, "/a").await, create(&cut, "/b").await);
    assert!(within(stage.gateway.listeners().stop("two")).await);
    until(|| goes.is_closed()).await;
    assert!(cut.close(&lost).await.is_err());
    kept.write(&open, 0, b"abc".to_vec()).await.unwrap();
    kept.close(&open).await.unwrap();
    within(stays.disconnect(Disconnect::ByApplication, "", ""))
        .await
        .unwrap();
    within(stage.gateway.drain()).await;
}

#[tokio::test]
async fn the_process_drains_all_listeners_and_starts_none_after_that() {
    let stage = Stage::with(&["one", "two"], Limits::default()).await;
    let listeners = Arc::clone(stage.gateway.listeners());
    let places = ["one", "two"].map(|name| address(&listeners, name));
    let (writer, _) = stage.enters("one").await;
    let (_idle, seen) = stage.enters("two").await;
    let session = sftp(&writer).await;
    let handle = create(&session, "/a").await;
    let status = stage.gateway.admin_status();
    let (provider, subject) = (stage.provider.clone(), stage.subject);
    let drain = stage.gateway.drain();
    let finish = async {
        until(|| seen.notes().farewell == "the gateway is closing this port: connect again later")
            .await;
        assert!(!status.readiness().is_ready());
        for place in places {
            assert!(TcpStream::connect(place).await.is_err());
        }
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let host_keys = HostKeys::new(vec![HostKey::generate().unwrap()]).unwrap();
        let late = listeners.start(ListenerParts::new(listener, provider, host_keys));
        assert!(matches!(late, Err(StartError::Draining)), "{late:?}");
        session.write(&handle, 0, b"abc".to_vec()).await.unwrap();
        session.close(&handle).await.unwrap();
    };
    within(async { tokio::join!(drain, finish) }).await;
    assert_eq!(stored(&subject).await, "abc");
}

#[tokio::test]
async fn limits_are_those_of_the_process() {
    let limits = Limits {
        connections_per_user_max: 2,
        ..Limits::default()
    };
    let stage = Stage::with(&["one", "two"], limits).await;
    let (_first, _) = stage.enters("one").await;
    let (_second, _) = stage.enters("two").await;
    for name in ["one", "two"] {
        let place = address(stage.gateway.listeners(), name);
        assert!(log_in(place, b"", ("ann", ANNS)).await.is_none(), "{name}");
    }
    assert_eq!(stage.gateway.ssh().tally().over_user_limit_total, 2);
    within(stage.gateway.drain()).await;
}
