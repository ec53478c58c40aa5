//! An SFTP session over a store, without SSH: another project's client at the other end.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use portcullis::auth::AuthenticatedUser;
use portcullis::budget::Budget;
use portcullis::clock::SystemClock;
use portcullis::config::{Exec, StatTimes};
use portcullis::idp::UserConfig;
use portcullis::limits::Limits;
use portcullis::metrics::Metrics;
use portcullis::reaper::Reaper;
use portcullis::session::{
    self, Changes, Environment, Gone, Inbound, Kept, ListedTimes, Outbound, Unsettled,
    UploadRecords, UserSessions,
};
use portcullis::storage::{Nonces, SharedStore};
use portcullis::vfs::{Access, EntryType, HomeDirectory, Mapping, PartialUploads, VirtualPath};
use russh_sftp::client::RawSftpSession;
use russh_sftp::client::error::Error;
use russh_sftp::protocol::{FileAttributes, OpenFlags, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A session that runs, and the client that talks to it.
pub(crate) struct Talk {
    pub(crate) client: RawSftpSession,
    pub(crate) reaper: Reaper,
    pub(crate) budget: Arc<Budget>,
    tasks: JoinSet<()>,
}

pub(crate) struct FromDuplex {
    read: ReadHalf<DuplexStream>,
    gone: CancellationToken,
}
pub(crate) struct ToDuplex(WriteHalf<DuplexStream>, Arc<Mutex<String>>);

impl Inbound for FromDuplex {
    async fn next(&mut self) -> Option<Bytes> {
        let mut buffer = vec![0; 32 * 1024];
        let length = self.read.read(&mut buffer).await.ok()?;
        buffer.truncate(length);
        (length > 0).then(|| Bytes::from(buffer))
    }

    fn gone(&self) -> CancellationToken {
        self.gone.clone()
    }
}

impl Outbound for ToDuplex {
    async fn send(&mut self, bytes: Bytes) -> Result<(), Gone> {
        self.0.write_all(&bytes).await.map_err(|_| Gone)
    }

    async fn send_stderr(&mut self, text: Bytes) -> Result<(), Gone> {
        let text = String::from_utf8_lossy(&text);
        self.1.lock().unwrap().push_str(&text);
        Ok(())
    }
}

/// Maps `/` to the bucket `b`, everything allowed.
pub(crate) fn whole_bucket() -> HomeDirectory {
    let all = Mapping::parse("/", "/b", EntryType::Directory, Access::ReadWrite).unwrap();
    HomeDirectory::logical(vec![all], VirtualPath::root()).unwrap()
}

pub(crate) fn user(home: HomeDirectory, store: SharedStore) -> AuthenticatedUser {
    as_answered(UserConfig::new("ann", home), store)
}

/// Makes a user of an answer.
pub(crate) fn as_answered(config: UserConfig, store: SharedStore) -> AuthenticatedUser {
    let source = IpAddr::V4(Ipv4Addr::LOCALHOST);
    AuthenticatedUser::dangerous_without_login(Arc::new(config), source, "0123456789abcdef", store)
}

/// Runs a session over one end of a pipe, and returns the other.
pub(crate) fn begin(
    store: SharedStore,
    home: HomeDirectory,
    limits: Limits,
) -> (DuplexStream, Running) {
    begin_as(user(home, store), limits)
}

/// The same for a user whose answer may say more.
pub(crate) fn begin_as(user: AuthenticatedUser, limits: Limits) -> (DuplexStream, Running) {
    begin_in(user, limits, |_| {})
}

/// The same in a process that is not as usual.
pub(crate) fn begin_in(
    user: AuthenticatedUser,
    limits: Limits,
    change: impl FnOnce(&mut Environment),
) -> (DuplexStream, Running) {
    let (mut environment, gate) = (process(limits), Arc::default());
    change(&mut environment);
    let (reaper, budget) = (environment.reaper.clone(), Arc::clone(&environment.budget));
    let mut tasks = JoinSet::new();
    let Pipe {
        theirs,
        inbound,
        outbound,
        gone,
        stderr,
    } = Pipe::new();
    tasks.spawn(session::serve(
        environment,
        user,
        0,
        gate,
        inbound,
        outbound,
    ));
    let running = Running {
        reaper,
        budget,
        gone,
        stderr,
        tasks,
    };
    (theirs, running)
}

/// Returns what a process lends its sessions.
pub(crate) fn process(limits: Limits) -> Environment {
    let budget = Budget::new(&limits);
    let reaper = Reaper::new(Arc::new(Metrics::default()), Arc::new(SystemClock));
    Environment {
        budget: Arc::clone(&budget),
        reaper,
        limits: Arc::new(limits),
        metrics: Arc::new(Metrics::default()),
        clock: Arc::new(SystemClock),
        user_sessions: UserSessions::new(100, budget),
        nonces: Nonces::default(),
        kept: Kept::new(true),
        names_fresh_for: Duration::from_secs(2),
        stat_times: StatTimes::default(),
        listed_times: ListedTimes::new(false),
        partial_uploads: PartialUploads::Discard,
        unsettled: Unsettled::default(),
        changes: Changes::default(),
        upload_records: UploadRecords::default(),
        exec: Exec::All,
        summing: session::summing(),
        drain: CancellationToken::new(),
    }
}

/// A channel whose client is a test.
pub(crate) struct Pipe {
    pub(crate) theirs: DuplexStream,
    pub(crate) inbound: FromDuplex,
    pub(crate) outbound: ToDuplex,
    pub(crate) gone: CancellationToken,
    pub(crate) stderr: Arc<Mutex<String>>,
}

impl Pipe {
    pub(crate) fn new() -> Self {
        let (ours, theirs) = tokio::io::duplex(256 * 1024);
        let (read, write) = tokio::io::split(ours);
        let (gone, stderr) = (CancellationToken::new(), Arc::default());
        Self {
            theirs,
            inbound: FromDuplex {
                read,
                gone: gone.clone(),
            },
            outbound: ToDuplex(write, Arc::clone(&stderr)),
            gone,
            stderr,
        }
    }
}

/// What a test sees of a session from the other side.
pub(crate) struct Running {
    pub(crate) reaper: Reaper,
    pub(crate) budget: Arc<Budget>,
    /// Tells the session that its channel is gone.
    pub(crate) gone: CancellationToken,
    /// What the client's user reads.
    pub(crate) stderr: Arc<Mutex<String>>,
    pub(crate) tasks: JoinSet<()>,
}

impl Running {
    /// Waits until the session is gone.
    pub(crate) async fn end(mut self) -> Reaper {
        while self.tasks.join_next().await.is_some() {}
        self.reaper
    }
}

impl Talk {
    /// Starts a session over the whole bucket `b`.
    pub(crate) async fn start(store: SharedStore) -> Self {
        Self::with(store, whole_bucket(), Limits::default()).await
    }

    pub(crate) async fn with(store: SharedStore, home: HomeDirectory, limits: Limits) -> Self {
        let (theirs, running) = begin(store, home, limits);
        Self::over(theirs, running).await
    }

    /// Talks to a session that runs.
    pub(crate) async fn over(theirs: DuplexStream, running: Running) -> Self {
        let Running {
            reaper,
            budget,
            gone: _,
            stderr: _,
            tasks,
        } = running;
        let client = RawSftpSession::new(theirs);
        client.set_timeout(120);
        client.init().await.unwrap();
        Self {
            client,
            reaper,
            budget,
            tasks,
        }
    }

    pub(crate) async fn open(&self, path: &str, flags: OpenFlags) -> Result<String, StatusCode> {
        let opened = self.client.open(path, flags, FileAttributes::empty()).await;
        opened.map(|handle| handle.handle).map_err(code)
    }

    /// Creates or replaces a file.
    pub(crate) async fn create(&self, path: &str) -> Result<String, StatusCode> {
        self.open(
            path,
            OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE,
        )
        .await
    }

    pub(crate) async fn write(
        &self,
        handle: &str,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), StatusCode> {
        let written = self.client.write(handle, offset, bytes.to_vec()).await;
        written.map(drop).map_err(code)
    }

    /// Writes one piece after the other.
    pub(crate) async fn send(&self, handle: &str, offset: usize, bytes: &[u8]) {
        for (nth, piece) in bytes.chunks(PIECE_BYTES).enumerate() {
            let offset = (offset + nth * PIECE_BYTES) as u64;
            self.write(handle, offset, piece).await.unwrap();
        }
    }

    pub(crate) async fn close(&self, handle: &str) -> Result<(), StatusCode> {
        self.client.close(handle).await.map(drop).map_err(code)
    }

    pub(crate) async fn put(&self, path: &str, bytes: &[u8]) -> Result<(), StatusCode> {
        let handle = self.create(path).await?;
        for (at, piece) in bytes.chunks(32_768).enumerate() {
            self.write(&handle, (at * 32_768) as u64, piece).await?;
        }
        self.close(&handle).await
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Vec<u8>, StatusCode> {
        let handle = self.open(path, OpenFlags::READ).await?;
        let mut content = Vec::new();
        loop {
            match self
                .client
                .read(&handle, content.len() as u64, 32_768)
                .await
            {
                Ok(data) => content.extend(&data.data[..]),
                Err(error) => match code(error) {
                    StatusCode::Eof => break,
                    other => return Err(other),
                },
            }
        }
        self.close(&handle).await?;
        Ok(content)
    }

    pub(crate) async fn names(&self, path: &str) -> Result<Vec<String>, StatusCode> {
        let handle = self.client.opendir(path).await.map_err(code)?.handle;
        let mut names = Vec::new();
        loop {
            match self.client.readdir(&handle).await {
                Ok(page) => names.extend(page.files.into_iter().map(|file| file.filename)),
                Err(error) => match code(error) {
                    StatusCode::Eof => break,
                    other => return Err(other),
                },
            }
        }
        self.close(&handle).await?;
        names.retain(|name| name != "." && name != "..");
        Ok(names)
    }

    pub(crate) async fn size(&self, path: &str) -> Result<Option<u64>, StatusCode> {
        self.client
            .stat(path)
            .await
            .map(|attrs| attrs.attrs.size)
            .map_err(code)
    }

    /// Ends the session as the end of its connection does, whatever it waits for.
    pub(crate) async fn abandon(mut self) -> Reaper {
        self.tasks.shutdown().await;
        self.reaper
    }

    /// Cuts the connection and waits until the session is gone.
    pub(crate) async fn cut(self) -> (Reaper, Arc<Budget>) {
        let Self {
            client,
            reaper,
            budget,
            mut tasks,
        } = self;
        drop(client);
        while tasks.join_next().await.is_some() {}
        (reaper, budget)
    }
}

/// Returns the status a client got instead of an answer.
pub(crate) fn code(error: Error) -> StatusCode {
    match error {
        Error::Status(status) => status.status_code,
        other => panic!("no status: {other:?}"),
    }
}

/// How much one WRITE carries where many are sent.
const PIECE_BYTES: usize = 128 * 1024;
