//! Connections, driven by OpenSSH's client and by a scripted one.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use portcullis::auth::{AuthSettings, AuthenticatedUser, Authenticator, ThrottleSettings};
use portcullis::budget::{Budget, Gate};
use portcullis::clock::SystemClock;
use portcullis::config::{Algorithms, Ssh};
use portcullis::idp::{Credential, IdentityProvider, Judged, Question, UserConfig};
use portcullis::limits::Limits;
use portcullis::metrics::Metrics;
use portcullis::refusal::Reason;
use portcullis::session::{Inbound as _, Outbound as _};
use portcullis::ssh::{
    ChannelInbound, ChannelOutbound, Entrance, EntranceParts, HostKey, HostKeys, Listener,
    ProxyProtocol, ServeChannel, SshServer, SshServerParts, Transport,
};
use portcullis::vfs::{Access, HomeDirectory};
use russh::client;
use russh::keys::PublicKeyOrCertificate;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::common::login::{Records, alone};
use crate::common::stores::no_stores;

mod channels;
mod deadlines;
mod drain;
mod hardware_keys;
mod host_keys;
mod log;
mod login;
mod openssh;
mod places;
mod protocol;
mod proxied;
mod raw;
mod windows;

const USER: &str = "alice";
const PASSWORD: &str = "correct horse";

/// A gateway whose channels echo.
struct Server {
    address: SocketAddr,
    ssh: Arc<SshServer>,
    entrance: Arc<Entrance>,
    metrics: Arc<Metrics>,
    host_key: HostKey,
    provider: Arc<Provider>,
    stop: CancellationToken,
    serving: JoinSet<()>,
    farewells: Mutex<UnboundedReceiver<String>>,
    farewell: UnboundedSender<String>,
    directory: tempfile::TempDir,
}

/// What few tests change.
struct Setup {
    algorithms: Algorithms,
    rekey_bytes: u64,
    /// Others than the one that is made.
    host_keys: Option<HostKeys>,
    proxy: ProxyProtocol,
    throttle: ThrottleSettings,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            algorithms: Algorithms::default(),
            rekey_bytes: Ssh::default().rekey_bytes,
            host_keys: None,
            proxy: ProxyProtocol::default(),
            throttle: ThrottleSettings::default(),
        }
    }
}

impl Setup {
    fn transport(self, host_key: &HostKey) -> Transport {
        let own = || HostKeys::new(vec![host_key.clone()]).unwrap();
        Transport {
            host_keys: self.host_keys.unwrap_or_else(own),
            algorithms: self.algorithms,
            rekey_bytes: self.rekey_bytes,
            alone: None,
        }
    }
}

impl Server {
    async fn start() -> Self {
        Self::start_with(|_| {}, AuthSettings::default()).await
    }

    async fn with_limits(adjust: impl FnOnce(&mut Limits)) -> Self {
        Self::start_with(adjust, AuthSettings::default()).await
    }

    async fn start_with(adjust: impl FnOnce(&mut Limits), settings: AuthSettings) -> Self {
        Self::set_up(adjust, settings, Setup::default()).await
    }

    /// Expects what a load balancer sends first.
    async fn behind(
        proxy: ProxyProtocol,
        adjust: impl FnOnce(&mut Limits),
        settings: AuthSettings,
    ) -> Self {
        let setup = Setup {
            proxy,
            ..Setup::default()
        };
        Self::set_up(adjust, settings, setup).await
    }

    async fn set_up(
        adjust: impl FnOnce(&mut Limits),
        settings: AuthSettings,
        setup: Setup,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut limits = Limits {
            refusal_delay: Duration::ZERO,
            ..Limits::default()
        };
        adjust(&mut limits);
        let limits = Arc::new(limits);
        let clock = Arc::new(SystemClock);
        let provider = Arc::new(Provider {
            keys_file: format!("{}/keys", directory.path().display()),
            passwords: AtomicUsize::new(0),
            sources: std::sync::Mutex::default(),
        });
        let authenticator = Arc::new(Authenticator::new(
            provider.clone(),
            no_stores(),
            settings,
            alone(setup.throttle.clone(), Arc::new(Records::default())),
            Arc::clone(&limits),
            clock.clone(),
        ));
        let host_key = HostKey::generate().unwrap();
        let metrics = Arc::new(Metrics::default());
        let ssh = SshServer::new(SshServerParts {
            account: Arc::clone(Budget::new(&limits).account()),
            limits,
            clock,
            metrics: Arc::clone(&metrics),
        });
        let stop = CancellationToken::new();
        let parts = EntranceParts {
            name: Box::default(),
            authenticator,
            channels: Arc::new(Echo),
            proxy: setup.proxy.clone(),
            transport: setup.transport(&host_key),
            banner: None,
            draining: stop.clone(),
        };
        let entrance = Entrance::new(Arc::clone(&ssh), parts);
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        let receiving = listener.serve(Arc::clone(&entrance));
        let (draining, summing) = (Arc::clone(&entrance), Arc::clone(&ssh));
        serving.spawn(async move {
            receiving.await;
            draining.drain().await;
            summing.sum_up_rest();
        });
        let (farewell, farewells) = unbounded_channel();
        Self {
            address,
            ssh,
            entrance,
            metrics,
            host_key,
            provider,
            stop,
            serving,
            farewells: Mutex::new(farewells),
            farewell,
            directory,
        }
    }

    /// How often connections ended for each reason, where one did.
    fn ended(&self) -> Vec<(&'static str, u64)> {
        let mut ended = self.ssh.ended();
        ended.retain(|(_, count)| *count > 0);
        ended
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.directory.path().display())
    }

    /// Makes a key pair and lists it as the user's.
    async fn user_key(&self, arguments: &[&str]) -> String {
        let path = self.path(&arguments.concat());
        let made = Command::new("ssh-keygen")
            .args(["-q", "-N", "", "-f", &path])
            .args(arguments)
            .status()
            .await
            .unwrap();
        assert!(made.success());
        let public = std::fs::read_to_string(format!("{path}.pub")).unwrap();
        std::fs::write(self.path("keys"), public).unwrap();
        path
    }

    /// Runs `ssh … alice@gateway`, with a password if one is given.
    async fn ssh(&self, password: Option<&str>, arguments: &[&str], input: &[u8]) -> Output {
        let destination = arguments
            .iter()
            .position(|argument| argument.contains('@') && argument.starts_with(USER))
            .unwrap();
        let (options, destination) = arguments.split_at(destination);
        let askpass = self.path("askpass");
        let script = format!("#!/bin/sh\necho '{}'\n", password.unwrap_or_default());
        std::fs::write(&askpass, script).unwrap();
        std::fs::set_permissions(&askpass, std::fs::Permissions::from_mode(0o700)).unwrap();
        let batch = if password.is_some() { "no" } else { "yes" };
        let mut child = Command::new("ssh")
            .args(["-F", "none", "-p", &self.address.port().to_string()])
            .args([
                "-o",
                "IdentitiesOnly=yes",
                "-o",
                "NumberOfPasswordPrompts=1",
            ])
            .args(["-o", &format!("BatchMode={batch}")])
            // The first value of an option counts, so the caller's come before ours.
            .args(options)
            .args(["-o", "StrictHostKeyChecking=no"])
            .args(["-o", "UserKnownHostsFile=/dev/null"])
            .args(destination)
            .env_remove("SSH_AUTH_SOCK")
            .env("SSH_ASKPASS", &askpass)
            .env("SSH_ASKPASS_REQUIRE", "force")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let feeding = async {
            // The client may leave before it has read everything.
            drop(stdin.write_all(input).await);
            drop(stdin);
        };
        let (output, ()) = within(async { tokio::join!(child.wait_with_output(), feeding) }).await;
        output.unwrap()
    }

    /// Asks for the echo with OpenSSH's client and a password.
    async fn echo(&self, options: &[&str], input: &[u8]) -> Output {
        let arguments = [options, &["-s", "alice@127.0.0.1", "sftp"]].concat();
        self.ssh(Some(PASSWORD), &arguments, input).await
    }

    async fn connect(&self) -> client::Handle<Trusting> {
        self.connect_with(client::Config::default()).await
    }

    async fn connect_with(&self, config: client::Config) -> client::Handle<Trusting> {
        let trusting = Trusting(self.farewell.clone());
        client::connect(Arc::new(config), self.address, trusting)
            .await
            .unwrap()
    }

    /// Connects with the scripted client and logs in.
    async fn user(&self) -> client::Handle<Trusting> {
        let mut client = self.connect().await;
        let answer = client.authenticate_password(USER, PASSWORD).await.unwrap();
        assert!(answer.success());
        client
    }

    /// The next message with which a scripted client is disconnected.
    async fn farewell(&self) -> String {
        let mut farewells = self.farewells.lock().await;
        within(farewells.recv()).await.unwrap()
    }

    /// Waits until no connection and no session runs.
    async fn idle(&self) {
        within(async {
            while self.entrance.tasks_running() > 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }

    async fn drained(&mut self) {
        within(self.serving.join_next()).await.unwrap().unwrap();
    }
}

/// Bounds every wait: a test that hangs must fail.
async fn within<T>(waiting: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), waiting)
        .await
        .expect("took too long")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Knows one user: a password, and the keys in a file.
#[derive(Debug)]
struct Provider {
    keys_file: String,
    passwords: AtomicUsize,
    sources: std::sync::Mutex<Vec<IpAddr>>,
}

impl Provider {
    fn passwords_asked(&self) -> usize {
        self.passwords.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl IdentityProvider for Provider {
    async fn ask(&self, question: &Question) -> Judged {
        let denied = Err(Reason::UnknownUser.into());
        if let Credential::Password(_) = question.credential {
            self.passwords.fetch_add(1, Ordering::SeqCst);
            self.sources.lock().unwrap().push(question.source_ip);
        }
        let public_keys = match &question.credential {
            Credential::Password(password) if password.expose() == PASSWORD => Vec::new(),
            Credential::Password(_) => return denied,
            Credential::PublicKey => std::fs::read_to_string(&self.keys_file)
                .unwrap_or_default()
                .lines()
                .map(Into::into)
                .collect(),
        };
        if &*question.username != USER {
            return denied;
        }
        let home = HomeDirectory::path("/bucket/home", Access::ReadWrite).unwrap();
        Ok(Arc::new(UserConfig {
            public_keys,
            ..UserConfig::new(USER, home)
        }))
    }
}

/// Sends back what comes. `panic` panics, `flood` sends without end, `hold` takes nothing more,
/// `sink` answers nothing more, and `shut` closes the gate until it has seen that nothing comes
/// through.
#[derive(Debug)]
struct Echo;

impl ServeChannel for Echo {
    fn serve(
        &self,
        user: AuthenticatedUser,
        _channel: u32,
        gate: Arc<Gate>,
        mut inbound: ChannelInbound,
        mut outbound: ChannelOutbound,
    ) -> BoxFuture<'static, ()> {
        assert_eq!(user.login_name(), USER);
        Box::pin(async move {
            while let Some(bytes) = inbound.next().await {
                match &*bytes {
                    b"panic" => panic!("as asked"),
                    b"flood" => while outbound.send(vec![0; 1 << 20].into()).await.is_ok() {},
                    b"hold" => inbound.gone().cancelled().await,
                    b"sink" => while inbound.next().await.is_some() {},
                    b"shut" => {
                        let hold = gate.close();
                        outbound.send("shut".into()).await.unwrap();
                        let next = timeout(Duration::from_millis(100), inbound.next()).await;
                        assert!(next.is_err(), "the gate is closed");
                        outbound.send("open".into()).await.unwrap();
                        drop(hold);
                    }
                    _ => drop(outbound.send(bytes).await),
                }
            }
        })
    }
}

/// A client that trusts every server and notes with what words it is disconnected.
struct Trusting(UnboundedSender<String>);

impl client::Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }

    async fn disconnected(
        &mut self,
        reason: client::DisconnectReason<Self::Error>,
    ) -> Result<(), Self::Error> {
        match reason {
            client::DisconnectReason::ReceivedDisconnect(told) => {
                drop(self.0.send(told.message));
                Ok(())
            }
            client::DisconnectReason::Error(error) => Err(error),
        }
    }
}
