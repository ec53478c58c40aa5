//! The probe as an SSH client: connect, know the server, log in, begin SFTP.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh_original::client::{self, AuthResult, Handle};
use russh_original::keys::ssh_key::PublicKey;
use russh_original::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh_sftp::client::RawSftpSession;
use tokio::net::TcpStream;

use super::target::Target;
use super::{Failed, Round, Step};
use crate::secret::Secret;

/// How the user proves who they are; both, where the server asks for both.
#[derive(Debug, Clone, Default)]
pub(super) struct Proof {
    pub(super) identity: Option<Arc<PrivateKey>>,
    pub(super) password: Option<Secret>,
}

/// Which servers are known.
#[derive(Debug, Clone)]
pub(super) enum Trust {
    /// None: the refusal says what key the server has.
    Nobody,
    KnownHosts(String),
    /// `SHA256:…`
    Fingerprint(String),
    Anybody,
}

/// A session ready for requests; the connection ends with it.
pub(super) struct Session {
    pub(super) sftp: RawSftpSession,
    ssh: Handle<Client>,
}

impl Session {
    /// Connects and logs in, one timed step after the other.
    pub(super) async fn open(
        target: &Target,
        proof: &Proof,
        trust: &Trust,
        patience: Duration,
        round: &mut Round,
    ) -> Result<Self, Failed> {
        let stream = round
            .step(Step::Connect, within(patience, connect(target)))
            .await?;
        let client = Client {
            target: target.clone(),
            trust: trust.clone(),
            verdict: Arc::default(),
        };
        let verdict = Arc::clone(&client.verdict);
        let greeting = async {
            let config = Arc::new(client::Config {
                nodelay: true,
                ..client::Config::default()
            });
            let connected = Box::pin(client::connect_stream(config, stream, client)).await;
            connected.map_err(|error| {
                let refusal = verdict
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take();
                refusal.unwrap_or_else(|| format!("no SSH server answers here: {error}"))
            })
        };
        let mut ssh = round.step(Step::Ssh, within(patience, greeting)).await?;
        let login = log_in(&mut ssh, &target.user, proof);
        round.step(Step::Login, within(patience, login)).await?;
        let sftp = begin_sftp(&ssh, patience);
        let sftp = round.step(Step::Sftp, within(patience, sftp)).await?;
        Ok(Self { sftp, ssh })
    }

    /// Says goodbye.
    pub(super) async fn close(self) {
        let Self { sftp, ssh } = self;
        drop(sftp);
        let reason = russh_original::Disconnect::ByApplication;
        drop(ssh.disconnect(reason, "probe done", "").await);
    }
}

async fn within<T>(
    patience: Duration,
    step: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    tokio::time::timeout(patience, step)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", patience.as_secs())))
}

async fn connect(target: &Target) -> Result<TcpStream, String> {
    let stream = TcpStream::connect((&*target.host, target.port)).await;
    let stream = stream.map_err(|error| error.to_string())?;
    stream
        .set_nodelay(true)
        .map_err(|error| error.to_string())?;
    Ok(stream)
}

async fn log_in(ssh: &mut Handle<Client>, user: &str, proof: &Proof) -> Result<(), String> {
    let failed = |error: russh_original::Error| format!("the connection ended: {error}");
    let mut tried = Vec::new();
    if let Some(identity) = &proof.identity {
        let hash = match identity.algorithm().is_rsa() {
            true => ssh.best_supported_rsa_hash().await.map_err(failed)?,
            false => None,
        };
        let key = PrivateKeyWithHashAlg::new(Arc::clone(identity), hash.flatten());
        match ssh
            .authenticate_publickey(user, key)
            .await
            .map_err(failed)?
        {
            AuthResult::Success => return Ok(()),
            AuthResult::Failure {
                partial_success: true,
                ..
            } => tried.push("the key was accepted, but the server also requires a password"),
            AuthResult::Failure { .. } => tried.push("the key was refused"),
        }
    }
    if let Some(password) = &proof.password {
        let answer = ssh.authenticate_password(user, password.expose()).await;
        match answer.map_err(failed)? {
            AuthResult::Success => return Ok(()),
            AuthResult::Failure {
                partial_success: true,
                ..
            } => tried.push("the password was accepted, but the server also requires a key"),
            AuthResult::Failure { .. } => tried.push("the password was refused"),
        }
    }
    Err(tried.join("; "))
}

async fn begin_sftp(ssh: &Handle<Client>, patience: Duration) -> Result<RawSftpSession, String> {
    let refused =
        |error: russh_original::Error| format!("the server does not open an SFTP session: {error}");
    let channel = ssh.channel_open_session().await.map_err(refused)?;
    channel
        .request_subsystem(true, "sftp")
        .await
        .map_err(refused)?;
    let sftp = RawSftpSession::new(channel.into_stream());
    sftp.set_timeout(patience.as_secs());
    sftp.init().await.map_err(|error| error.to_string())?;
    Ok(sftp)
}

/// Judges the server's key.
struct Client {
    target: Target,
    trust: Trust,
    /// Why the server was not trusted.
    verdict: Arc<Mutex<Option<String>>>,
}

impl Client {
    fn judge(&self, key: &PublicKey) -> Result<(), String> {
        let found = key.fingerprint(HashAlg::Sha256).to_string();
        let algorithm = key.algorithm();
        let shown = format!("{} {found}", algorithm.as_str());
        match &self.trust {
            Trust::Anybody => Ok(()),
            Trust::Nobody => Err(format!(
                "the server's key {shown} is unknown: compare it with the server's, then use \
                 --host-key-fingerprint {found} or --known-hosts"
            )),
            Trust::Fingerprint(expected) if *expected == found => Ok(()),
            Trust::Fingerprint(expected) => Err(format!(
                "the server has the key {shown}, not {expected}: it is another server, or its key \
                 has changed"
            )),
            Trust::KnownHosts(file) => {
                let (host, port) = (&self.target.host, self.target.port);
                match russh_original::keys::check_known_hosts_path(host, port, key, file) {
                    Ok(true) => Ok(()),
                    Ok(false) => Err(format!("{file} does not have the server's key {shown}")),
                    Err(error) => Err(format!(
                        "{file} has a different key than {shown} for this server: {error}"
                    )),
                }
            }
        }
    }
}

impl client::Handler for Client {
    type Error = russh_original::Error;

    async fn check_server_key(
        &mut self,
        key: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let judged = match key {
            PublicKeyOrCertificate::PublicKey { key, .. } => self.judge(key),
            PublicKeyOrCertificate::Certificate(_) => {
                Err("the server uses a certificate, which the probe does not support".to_owned())
            }
        };
        let mut verdict = self.verdict.lock().unwrap_or_else(PoisonError::into_inner);
        *verdict = judged.err();
        Ok(verdict.is_none())
    }
}
