//! A client that sees exact statuses.

use std::net::SocketAddr;
use std::sync::Arc;

use russh::client;
use russh::keys::PublicKeyOrCertificate;
use russh_sftp::client::RawSftpSession;
use russh_sftp::client::error::Error;
use russh_sftp::protocol::{FileAttributes, OpenFlags, StatusCode};

use super::{USER, within};

/// One connection with one SFTP session.
pub(super) struct Client {
    pub(super) ssh: client::Handle<Trusting>,
    pub(super) sftp: RawSftpSession,
}

/// A status other than OK.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refused {
    pub(super) code: StatusCode,
    pub(super) sentence: String,
}

/// What the answers to a transfer's requests said.
pub(super) type Outcome<T = ()> = Result<T, Refused>;

impl Refused {
    #[track_caller]
    fn of(error: Error) -> Self {
        let Error::Status(status) = error else {
            panic!("no status: {error:?}");
        };
        Self {
            code: status.status_code,
            sentence: status.error_message,
        }
    }

    pub(super) fn new(code: StatusCode, sentence: &str) -> Self {
        Self {
            code,
            sentence: sentence.to_owned(),
        }
    }

    pub(super) fn failure(sentence: &str) -> Self {
        Self::new(StatusCode::Failure, sentence)
    }
}

impl Client {
    /// Logs in and begins a session; `None` if the password is refused.
    pub(super) async fn connect(address: SocketAddr, password: &str) -> Option<Self> {
        let ssh = login(address, password, client::Config::default()).await?;
        let channel = ssh.channel_open_session().await.unwrap();
        channel.request_subsystem(true, "sftp").await.unwrap();
        let sftp = RawSftpSession::new(channel.into_stream());
        sftp.set_timeout(300);
        sftp.init().await.unwrap();
        Some(Self { ssh, sftp })
    }

    pub(super) async fn open(&self, path: &str, flags: OpenFlags) -> Outcome<String> {
        let opened = self.sftp.open(path, flags, FileAttributes::empty()).await;
        opened.map(|handle| handle.handle).map_err(Refused::of)
    }

    /// Begins a new file.
    pub(super) async fn create(&self, path: &str) -> Outcome<String> {
        let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE;
        self.open(path, flags).await
    }

    /// Writes from `offset` on.
    pub(super) async fn write(&self, handle: &str, offset: usize, bytes: &[u8]) -> Outcome {
        for (index, piece) in bytes.chunks(WRITE).enumerate() {
            let at = (offset + index * WRITE) as u64;
            let written = self.sftp.write(handle, at, piece.to_vec()).await;
            written.map_err(Refused::of)?;
        }
        Ok(())
    }

    pub(super) async fn close(&self, handle: &str) -> Outcome {
        let closed = self.sftp.close(handle).await;
        closed.map(drop).map_err(Refused::of)
    }

    /// Uploads a file; the file is closed whatever its WRITEs said, and CLOSE has the last word.
    pub(super) async fn upload(&self, path: &str, bytes: &[u8]) -> Outcome {
        let handle = self.create(path).await?;
        let written = self.write(&handle, 0, bytes).await;
        let closed = self.close(&handle).await;
        if written.is_err() {
            assert_eq!(closed, written, "CLOSE repeats what a WRITE was told");
        }
        closed
    }

    pub(super) async fn read(&self, handle: &str, offset: usize) -> Outcome<Vec<u8>> {
        let read = self.sftp.read(handle, offset as u64, READ).await;
        read.map(|data| data.data).map_err(Refused::of)
    }

    pub(super) async fn download(&self, path: &str) -> Outcome<Vec<u8>> {
        let handle = self.open(path, OpenFlags::READ).await?;
        let mut content = Vec::new();
        loop {
            match self.read(&handle, content.len()).await {
                Ok(bytes) => content.extend(bytes),
                Err(refused) if refused.code == StatusCode::Eof => break,
                Err(refused) => return Err(refused),
            }
        }
        self.close(&handle).await?;
        Ok(content)
    }

    /// Lists a directory, without `.` and `..`.
    pub(super) async fn names(&self, path: &str) -> Outcome<Vec<String>> {
        let handle = self.sftp.opendir(path).await.map_err(Refused::of)?.handle;
        let mut names = Vec::new();
        loop {
            match self.sftp.readdir(&handle).await.map_err(Refused::of) {
                Ok(page) => names.extend(page.files.into_iter().map(|file| file.filename)),
                Err(refused) if refused.code == StatusCode::Eof => break,
                Err(refused) => return Err(refused),
            }
        }
        self.close(&handle).await?;
        names.retain(|name| name != "." && name != "..");
        Ok(names)
    }

    pub(super) async fn size(&self, path: &str) -> Outcome<u64> {
        let attrs = self.sftp.stat(path).await.map_err(Refused::of)?.attrs;
        Ok(attrs.size.unwrap_or_default())
    }

    pub(super) async fn remove(&self, path: &str) -> Outcome {
        let removed = self.sftp.remove(path).await;
        removed.map(drop).map_err(Refused::of)
    }

    pub(super) async fn set(&self, path: &str, attributes: FileAttributes) -> Outcome {
        let set = self.sftp.setstat(path, attributes).await;
        set.map(drop).map_err(Refused::of)
    }

    pub(super) async fn mkdir(&self, path: &str) -> Outcome {
        let made = self.sftp.mkdir(path, FileAttributes::empty()).await;
        made.map(drop).map_err(Refused::of)
    }

    pub(super) async fn rmdir(&self, path: &str) -> Outcome {
        let removed = self.sftp.rmdir(path).await;
        removed.map(drop).map_err(Refused::of)
    }

    pub(super) async fn rename(&self, from: &str, to: &str) -> Outcome {
        let renamed = self.sftp.rename(from, to).await;
        renamed.map(drop).map_err(Refused::of)
    }
}

/// Connects and sends a password; `None` if it is refused.
pub(super) async fn login(
    address: SocketAddr,
    password: &str,
    config: client::Config,
) -> Option<client::Handle<Trusting>> {
    let connected = within(client::connect(Arc::new(config), address, Trusting)).await;
    let mut ssh = connected.unwrap();
    let answer = within(ssh.authenticate_password(USER, password)).await;
    answer.unwrap().success().then_some(ssh)
}

/// Trusts every server.
pub(super) struct Trusting;

impl client::Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

const WRITE: usize = 128 * 1024;
const READ: u32 = 128 * 1024;
